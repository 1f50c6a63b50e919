//! A broker, a folder with keys and rules, and a proxy between it and clients.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use tempfile::TempDir;

use crate::support::certs::Certs;
use crate::support::mosquitto::{Mosquitto, Setup, mosquitto_pub};
use crate::support::{program, wait_until};

pub(crate) const TOOL: &str = env!("CARGO_BIN_EXE_mqtt-seal");

pub(crate) const SEALED: &str = "[[rule]]\ntopics = [\"sensor/#\"]\npayload = \"sealed\"\n";
pub(crate) const CLEAR: &str =
    "[[rule]]\ntopics = [\"sensor/#\"]\npayload = \"clear\"\ntransport = \"any\"\n";

pub(crate) const FRESH: &str = "[[rule]]\ntopics = [\"lock/set\"]\npayload = \"sealed\"\n\
                                replay = \"fresh\"\ntimestamp = true\n";

/// What a proxy needs.
pub(crate) struct Scene {
    pub(crate) broker: Mosquitto,
    pub(crate) folder: TempDir,
    _certs: Certs,
}

impl Scene {
    /// A broker, keys, and these rules in `policy.toml`.
    pub(crate) fn new(policy: &str) -> Self {
        let certs = Certs::new();
        let broker = Mosquitto::start(&Setup::new(&certs.good));
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("policy.toml"), policy).unwrap();
        run(folder.path(), &["keygen", "acme-prod"]);
        Self { broker, folder, _certs: certs }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts rules in `policy.toml`.
    pub(crate) fn write_policy(&self, policy: &str) {
        fs::write(self.file("policy.toml"), policy).unwrap();
    }

    /// A proxy before this scene's broker, when it listens.
    pub(crate) fn proxy(&self, args: &[&str]) -> Proxy {
        self.proxy_told(args, None)
    }

    /// The same, which tells a supervisor at `notify` how far it is.
    pub(crate) fn proxy_told(&self, args: &[&str], notify: Option<&Path>) -> Proxy {
        let mut tool = Command::new(TOOL);
        let broker = format!("localhost:{}", self.broker.tcp_port());
        let (out, log) = (self.file("proxy.out"), self.file("proxy.log"));
        tool.current_dir(self.folder.path())
            .args(["proxy", "--broker", &broker, "--listen", "127.0.0.1:0"])
            .args(["--policy", "policy.toml", "--max-connections", "100"])
            .args(args)
            .env_remove("MQTT_SEAL_KEYS")
            .env_remove("MQTT_SEAL_POLICY")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&log).unwrap());
        if let Some(socket) = notify {
            tool.env("NOTIFY_SOCKET", socket);
        }
        let child = tool.spawn().unwrap();
        let proxy = Proxy { child, out, log };
        wait_until("start of the proxy", || proxy.log(), || proxy.out().contains("listening"));
        proxy
    }
}

/// Runs the tool in `folder`; returns what it prints.
pub(crate) fn run(folder: &Path, args: &[&str]) -> String {
    let output = Command::new(TOOL).current_dir(folder).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A running proxy; dropping it kills the process.
pub(crate) struct Proxy {
    child: Child,
    out: PathBuf,
    log: PathBuf,
}

impl Proxy {
    pub(crate) fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_until(text, || self.log(), || self.log().contains(text));
    }

    /// The port of its first listener.
    pub(crate) fn port(&self) -> u16 {
        let out = self.out();
        let port = out.lines().find_map(|line| line.strip_prefix("listening on 127.0.0.1:"));
        port.unwrap().parse().unwrap()
    }

    /// The address of its status page.
    pub(crate) fn page(&self) -> String {
        wait_until("status page", || self.log(), || self.out().contains("status page on "));
        let out = self.out();
        out.lines().find_map(|line| line.strip_prefix("status page on ")).unwrap().to_owned()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Blocks until it has ended.
    pub(crate) fn ended(mut self) -> ExitStatus {
        let log = fs::read_to_string(&self.log).unwrap();
        let mut status = None;
        wait_until(
            "end of the proxy",
            || log.clone(),
            || {
                status = self.child.try_wait().unwrap();
                status.is_some()
            },
        );
        status.unwrap()
    }

    /// Publishes by it at `QoS` 1, with further arguments of `mosquitto_pub`.
    pub(crate) fn publish(&self, topic: &str, payload: &[u8], args: &[&str]) -> bool {
        mosquitto_pub(self.port(), topic, payload, args)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A `mosquitto_sub` that prints into a file; dropping it kills the process.
pub(crate) struct Subscriber {
    child: Child,
    out: PathBuf,
}

impl Subscriber {
    /// Subscribed at `port` as `id`, once the broker says so.
    pub(crate) fn start(scene: &Scene, port: u16, id: &str, filter: &str, format: &str) -> Self {
        let out = scene.file(&format!("{id}.out"));
        let child = Command::new(program("mosquitto_sub"))
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-i", id, "-q", "1", "-V", "5"])
            .args(["-t", filter, "-F", format])
            .stdout(File::create(&out).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        scene.broker.wait_for_log(&format!("Sending SUBACK to {id}"));
        Self { child, out }
    }

    /// What it printed, once that has so many lines.
    pub(crate) fn lines(&self, number: usize) -> Vec<String> {
        let read = || fs::read_to_string(&self.out).unwrap();
        wait_until("messages", read, || read().matches('\n').count() >= number);
        read().lines().map(String::from).collect()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
