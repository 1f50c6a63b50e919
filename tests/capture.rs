//! `inspect` on what dumpcap captures of a real Mosquitto's traffic. Capturing needs the rights for
//! it: run as root, or give dumpcap its capabilities (`dpkg-reconfigure wireshark-common`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::certs::Certs;
use support::mosquitto::{Mosquitto, Setup};
use support::{program, wait_until};
use tempfile::TempDir;

const TOOL: &str = env!("CARGO_BIN_EXE_mqtt-seal");

/// A running dumpcap; dropping it kills the process.
struct Capture {
    child: Child,
    folder: TempDir,
}

impl Capture {
    /// Captures what goes to and from these ports on loopback, into `file` of a fresh folder. The
    /// format is that of a flag of dumpcap: `-n` is pcapng, `-P` pcap.
    fn start(ports: [u16; 2], format: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let filter = format!("tcp port {} or tcp port {}", ports[0], ports[1]);
        let child = Command::new(program("dumpcap"))
            .args(["-i", "lo", format, "-f", &filter, "-w"])
            .arg(folder.path().join("file"))
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let capture = Self { child, folder };
        let file = capture.folder.path().join("file");
        let there = || fs::metadata(&file).is_ok_and(|file| file.len() > 0);
        wait_until("capturing", || capture.log(), there);
        capture
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Ends it when the file holds `text`, and waits until the file is whole.
    fn end_after(&mut self, text: &[u8]) {
        let file = self.folder.path().join("file");
        let there = || support::contains(&fs::read(&file).unwrap(), text);
        wait_until("the last packet", || self.log(), there);
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success(), "{}", self.log());
    }

    fn inspect(&self, keys: &Path) -> Vec<Value> {
        let mut tool = Command::new(TOOL);
        tool.args(["inspect", "--json", "--open", "--keys"]).arg(keys);
        let output = tool.arg(self.folder.path().join("file")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn tool(folder: &Path, args: &[&str]) {
    run(Command::new(TOOL).current_dir(folder).args(args));
}

fn shows_what_went_by(format: &str) {
    let (certs, home) = (Certs::new(), TempDir::new().unwrap());
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let (port, tls_port) = (broker.tcp_port().to_string(), broker.tls_port().to_string());
    tool(home.path(), &["keygen", "acme-prod"]);
    let mut capture = Capture::start([broker.tcp_port(), broker.tls_port()], format);

    let long = "x".repeat(100_000);
    let sealed = ["-t", "sensor/temp", "-q", "1", "-m"];
    let plain = ["-h", "127.0.0.1", "-p", &port];
    tool(home.path(), &[&["pub", "-i", "pump"], &plain[..], &sealed[..], &["27"]].concat());
    tool(home.path(), &[&["pub", "-i", "pump", "-V", "5"], &plain[..], &sealed, &[&long]].concat());
    let ca = certs.ca.pem.to_str().unwrap();
    let tls = ["-h", "localhost", "-p", &tls_port, "--cafile", ca];
    tool(home.path(), &[&["pub", "-i", "hidden"], &tls[..], &sealed[..], &["28"]].concat());
    run(Command::new(program("mosquitto_pub"))
        .args(plain)
        .args(["-V", "mqttv31", "-i", "old", "-u", "joe", "-P", "1234", "-t", "public", "-m"])
        .args(["last-message", "--will-topic", "gone", "--will-payload", "off"]));
    capture.end_after(b"last-message");

    let seen = capture.inspect(&home.path().join("keys.toml"));
    let connects: Vec<_> = seen.iter().filter_map(|line| line.get("connect")).collect();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let clients: Vec<_> =
        connects.iter().map(|c| (text(&c["client_id"]), text(&c["protocol"]))).collect();
    let expected = [("pump", "MQTT 3.1.1"), ("pump", "MQTT 5"), ("old", "MQTT 3.1")];
    assert_eq!(clients, expected.map(|(id, protocol)| (id.to_owned(), protocol.to_owned())));
    assert_eq!(connects[2]["password_in_clear"], true);

    let messages: Vec<_> = seen.iter().filter(|line| line.get("topic").is_some()).collect();
    let topics: Vec<_> = messages.iter().map(|message| text(&message["topic"])).collect();
    assert_eq!(topics, ["sensor/temp", "sensor/temp", "gone", "public"]);
    assert_eq!([&messages[0]["inside"]["bytes"], &messages[1]["inside"]["bytes"]], [2, 100_000]);
    assert_eq!([&messages[2]["sealed"], &messages[2]["will"]], [false, true]);
    let tls: Vec<_> = seen.iter().filter_map(|line| line.get("tls")).collect();
    assert_eq!(tls.len(), 1);
    assert!(tls[0]["there"].as_u64() > Some(100) && tls[0]["back"].as_u64() > Some(100), "{tls:?}");
}

#[test]
fn a_capture_in_pcapng_shows_what_went_by() {
    shows_what_went_by("-n");
}

#[test]
fn a_capture_in_pcap_shows_what_went_by() {
    shows_what_went_by("-P");
}
