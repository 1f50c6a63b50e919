//! A real Mosquitto on free loopback ports, one plain and one for TLS.

use core::fmt::Write as _;
use core::net::{Ipv4Addr, SocketAddr};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::certs::ServerFiles;
use super::{free_port, program, wait_until};

/// The TLS versions that the broker accepts.
#[derive(Clone, Copy, Default)]
pub(crate) enum BrokerTls {
    #[default]
    Both,
    Only12,
    Only13,
}

// Mosquitto's own `tls_version tlsv1.2` means 1.2 or newer.
const OPENSSL_1_2: &str = "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = tls\n\
                           [tls]\nMaxProtocol = TLSv1.2\n";

/// How a broker is set up; `Setup::new(&certs.good)` is the plain case.
pub(crate) struct Setup<'a> {
    pub(crate) server: &'a ServerFiles,
    pub(crate) tls: BrokerTls,
    /// Insists on client certificates of this CA at the TLS listener.
    pub(crate) client_ca: Option<&'a Path>,
    /// Whether messages and sessions outlive `stop`.
    pub(crate) persistence: bool,
    /// Further lines of mosquitto.conf.
    pub(crate) lines: &'a [&'a str],
    /// Users and hashes of their passwords, for the TLS listener alone: it refuses others.
    pub(crate) tls_passwords: Option<&'a Path>,
}

impl<'a> Setup<'a> {
    pub(crate) fn new(server: &'a ServerFiles) -> Self {
        Self {
            server,
            tls: BrokerTls::Both,
            client_ca: None,
            persistence: false,
            lines: &[],
            tls_passwords: None,
        }
    }
}

/// A running broker; dropping it kills the process.
pub(crate) struct Mosquitto {
    child: Option<Child>,
    dir: TempDir,
    tcp: u16,
    tls: u16,
}

impl Mosquitto {
    /// Starts a broker and returns when it takes connections.
    pub(crate) fn start(setup: &Setup<'_>) -> Self {
        // Between the choice of a port and its use another program may take it.
        for _ in 0..10 {
            let [tcp, tls] = [free_port(), free_port()];
            let mut broker = Self { child: None, dir: TempDir::new().unwrap(), tcp, tls };
            let openssl = if let BrokerTls::Only12 = setup.tls { OPENSSL_1_2 } else { "" };
            fs::write(broker.file("openssl.cnf"), openssl).unwrap();
            fs::write(broker.file("mosquitto.conf"), broker.config(setup)).unwrap();
            if broker.launch() {
                return broker;
            }
        }
        panic!("ten pairs of ports in a row were taken by others");
    }

    pub(crate) fn tcp_port(&self) -> u16 {
        self.tcp
    }

    pub(crate) fn tls_port(&self) -> u16 {
        self.tls
    }

    /// All that the broker has logged, over restarts.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.file("log")).unwrap_or_default()).into_owned()
    }

    /// The file that [`log`](Self::log) reads.
    pub(crate) fn log_file(&self) -> PathBuf {
        self.file("log")
    }

    /// Blocks until the broker has logged `text`.
    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_until(text, || self.log(), || self.log().contains(text));
    }

    /// Stops the broker in good order, so that it saves what it is set up to save.
    pub(crate) fn stop(&mut self) {
        let Some(child) = &mut self.child else { return };
        let pid = child.id().to_string();
        let signal = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(signal.unwrap().success());
        let log = self.dir.path().join("log");
        let show = || fs::read_to_string(&log).unwrap();
        wait_until("stop of the broker", show, || child.try_wait().unwrap().is_some());
        self.child = None;
    }

    /// Kills the broker: what it has not saved is lost.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts the broker again, on the same ports; a running one is stopped first.
    pub(crate) fn restart(&mut self) {
        self.stop();
        assert!(self.launch(), "a port was taken by another:\n{}", self.log());
    }

    /// Publishes over the plain listener at QoS 1, as a client that knows no keys.
    pub(crate) fn publish(&self, topic: &str, payload: &[u8]) {
        assert!(mosquitto_pub(self.tcp, topic, payload, &[]), "{}", self.log());
    }

    /// The same over TLS; returns whether it went through.
    pub(crate) fn publish_tls(&self, ca_pem: &Path, topic: &str, payload: &[u8]) -> bool {
        let ca = ca_pem.to_str().unwrap();
        mosquitto_pub(self.tls, topic, payload, &["--cafile", ca])
    }

    fn config(&self, setup: &Setup<'_>) -> String {
        let Self { tcp, tls, .. } = self;
        let (cert, key) = (setup.server.cert.pem.display(), setup.server.key.display());
        // The queue without a limit: a test that loses messages should not blame it.
        let mut config = String::from(
            "log_dest stderr\nlog_type all\nallow_anonymous true\nset_tcp_nodelay true\n\
             max_queued_messages 0\n",
        );
        if setup.persistence {
            let dir = self.dir.path().display();
            writeln!(config, "persistence true\npersistence_location {dir}/").unwrap();
        }
        if is_root(self.dir.path()) {
            config.push_str("user root\n");
        }
        for line in setup.lines {
            writeln!(config, "{line}").unwrap();
        }
        if setup.tls_passwords.is_some() {
            config.insert_str(0, "per_listener_settings true\n");
        }
        writeln!(config, "listener {tcp} 127.0.0.1").unwrap();
        if setup.tls_passwords.is_some() {
            config.push_str("allow_anonymous true\n");
        }
        writeln!(config, "listener {tls} 127.0.0.1\ncertfile {cert}\nkeyfile {key}").unwrap();
        if let Some(passwords) = setup.tls_passwords {
            writeln!(config, "allow_anonymous false\npassword_file {}", passwords.display())
                .unwrap();
        }
        if let Some(ca) = setup.client_ca {
            writeln!(config, "cafile {}\nrequire_certificate true", ca.display()).unwrap();
        }
        // The older version alone is up to OpenSSL: see `OPENSSL_1_2`.
        if let BrokerTls::Only13 = setup.tls {
            config.push_str("tls_version tlsv1.3\n");
        }
        config
    }

    /// Returns whether both ports could be had.
    fn launch(&mut self) -> bool {
        let log = OpenOptions::new().create(true).append(true).open(self.file("log")).unwrap();
        let before = fs::read(self.file("log")).unwrap().len();
        let child = self.child.insert(spawn(&self.dir, log));
        let log = self.dir.path().join("log");
        let since = || {
            let all = fs::read(&log).unwrap();
            String::from_utf8_lossy(&all[before..]).into_owned()
        };
        let mut exited = false;
        wait_until("start of the broker", since, || {
            exited = child.try_wait().unwrap().is_some();
            exited || since().contains(" running\n")
        });
        if exited {
            assert!(since().contains("Address already in use"), "{}", since());
            self.child = None;
            return false;
        }
        for port in [self.tcp, self.tls] {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            wait_until(
                "connection to the broker",
                || self.log(),
                || TcpStream::connect(address).is_ok(),
            );
        }
        // The system takes connections for it earlier. Before its main loop has begun, and behind
        // "running", Mosquitto would forget a signal to stop.
        let port = format!(" on port {}.", self.tcp);
        let is_taken = |line: &str| line.contains("New connection from ") && line.ends_with(&port);
        wait_until("the broker's first turn", || self.log(), || since().lines().any(is_taken));
        true
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs `mosquitto_pub` at QoS 1 with further `args`; returns whether the broker took the message.
pub(crate) fn mosquitto_pub(port: u16, topic: &str, payload: &[u8], args: &[&str]) -> bool {
    // Of no input at all it makes no message.
    let source = if payload.is_empty() { "-n" } else { "-s" };
    let mut child = Command::new(program("mosquitto_pub"))
        .args(["-h", "localhost", "-p", &port.to_string()])
        .args(["-q", "1", "-t", topic, source])
        .args(args)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // An end that gave up early does not read; its exit status tells.
    let _ = child.stdin.take().unwrap().write_all(payload);
    child.wait().unwrap().success()
}

/// Makes a file of passwords for a broker, with one user.
pub(crate) fn write_password(path: &Path, user: &str, password: &str) {
    let mut tool = Command::new(program("mosquitto_passwd"));
    let made = tool.args(["-b", "-c"]).arg(path).args([user, password]).status();
    assert!(made.unwrap().success());
}

fn spawn(dir: &TempDir, log: File) -> Child {
    Command::new(program("mosquitto"))
        .arg("-c")
        .arg(dir.path().join("mosquitto.conf"))
        .env("OPENSSL_CONF", dir.path().join("openssl.cnf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

// Started by root, Mosquitto would change to a user that cannot read our files.
fn is_root(own_dir: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(own_dir).unwrap().uid() == 0
}
