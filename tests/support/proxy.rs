//! `mqtt-seal proxy` as a process: on a free port, killed at will, and started again on the same.

use core::net::{Ipv4Addr, SocketAddr};
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use mqtt_seal::guard::Guard;
use mqtt_seal::policy::{Links, Policy};
use mqtt_seal::store::key_file::KeyFile;
use mqtt_seal::store::policy_file;
use tempfile::TempDir;

use super::{free_port, wait_until};

/// The shared key 07 07 … of the realm `test`.
const KEYS: &str = "realm = \"test\"\n\n[[grant]]\nkind = \"shared\"\ngeneration = 1\n\
                    key = \"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\"\n";
/// Sealed under `sealed/`, clear under `clear/`, by any link or by TCP.
pub(crate) const POLICY: &str = "[[rule]]\ntopics = [\"sealed/#\"]\npayload = \"sealed\"\n\
                                 transport = \"tcp\"\nmax_packet = 16000000\n\n\
                                 [[rule]]\ntopics = [\"clear/#\"]\npayload = \"clear\"\n\
                                 transport = \"tcp\"\n\n\
                                 [[rule]]\ntopics = [\"tls/#\"]\npayload = \"sealed\"\n";

/// Keys and policy in files.
pub(crate) struct Scene {
    folder: TempDir,
}

impl Scene {
    pub(crate) fn new(policy: &str) -> Self {
        let scene = Self { folder: TempDir::new().unwrap() };
        fs::write(scene.file("policy.toml"), policy).unwrap();
        fs::write(scene.file("keys.toml"), KEYS).unwrap();
        fs::set_permissions(scene.file("keys.toml"), Permissions::from_mode(0o600)).unwrap();
        scene
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn policy(&self) -> Policy {
        policy_file::read(self.file("policy.toml")).unwrap()
    }

    /// What opens and seals as the proxy does.
    pub(crate) fn guard(&self, links: Links) -> Guard {
        let keyring = KeyFile::read(self.file("keys.toml")).unwrap().keyring();
        Guard::new(self.policy(), keyring, links).unwrap()
    }

    /// Starts a proxy with these arguments beside files and listener.
    pub(crate) fn proxy(&self, args: &[&str]) -> Proxy {
        let mut proxy = Proxy {
            child: None,
            port: free_port(),
            log: self.file("proxy.log"),
            keys: self.file("keys.toml"),
            policy: self.file("policy.toml"),
            args: args.iter().map(ToString::to_string).collect(),
        };
        proxy.start();
        proxy
    }
}

/// A proxy; dropping it kills the process.
pub(crate) struct Proxy {
    child: Option<Child>,
    port: u16,
    log: PathBuf,
    keys: PathBuf,
    policy: PathBuf,
    args: Vec<String>,
}

impl Proxy {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// All that it has said.
    pub(crate) fn log(&self) -> String {
        read(&self.log)
    }

    /// Kills it, without a word.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it, on the port that it had; returns when it takes clients.
    pub(crate) fn start(&mut self) {
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let before = self.log().len();
        let child = self.child.insert(self.command(log).spawn().unwrap());
        let path = self.log.clone();
        let since = || read(&path).get(before..).unwrap_or_default().to_owned();
        let mut port = None;
        wait_until("start of the proxy", since, || {
            port = listened_on(&since());
            assert!(child.try_wait().unwrap().is_none(), "the proxy ended:\n{}", since());
            port.is_some()
        });
        self.port = port.unwrap();
    }

    fn command(&self, log: File) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-seal"));
        command
            .args(["proxy", "--listen", &format!("127.0.0.1:{}", self.port), "--keys"])
            .arg(&self.keys)
            .arg("--policy")
            .arg(&self.policy)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        command
    }

    /// Ends it in good order.
    pub(crate) fn terminate(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        wait_until("end of the proxy", || self.log(), || child.try_wait().unwrap().is_some());
    }

    /// Bytes of memory that the process has in use.
    pub(crate) fn memory(&self) -> usize {
        let kilobytes: usize = self.fact("VmRSS:").strip_suffix(" kB").unwrap().parse().unwrap();
        kilobytes << 10
    }

    /// Threads of the process.
    pub(crate) fn threads(&self) -> usize {
        self.fact("Threads:").parse().unwrap()
    }

    /// What the system says of the process.
    fn fact(&self, name: &str) -> String {
        let pid = self.child.as_ref().unwrap().id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
    }
}

impl Drop for Proxy {
    #[expect(clippy::print_stderr, reason = "a test that fails shows what the proxy said")]
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the proxy has said:\n{}", self.log());
        }
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// The port that a proxy names; a broker is called `localhost` here, so that it is no other's.
fn listened_on(log: &str) -> Option<u16> {
    let number = |rest: &str| -> Option<u16> {
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        // the text may be half written
        (digits.len() < rest.len()).then(|| digits.parse().ok()).flatten()
    };
    log.split("127.0.0.1:").skip(1).filter_map(number).find(|port| *port != 0)
}
