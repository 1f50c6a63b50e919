//! The command-line tool on a terminal, where it shows what it keeps from pipes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use regex::Regex;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use support::certs::Certs;
use support::mosquitto::{Mosquitto, Setup};
use support::wait_until;
use tempfile::TempDir;

/// A terminal, and everything that was printed there.
struct Terminal {
    other_end: File,
    printed: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn new() -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let path = Path::new(OsStr::from_bytes(name.as_bytes()));
        let other_end = File::options().read(true).write(true).open(path).unwrap();
        let printed = Arc::<Mutex<Vec<u8>>>::default();
        let (mut ours, kept) = (File::from(ours), Arc::clone(&printed));
        thread::spawn(move || {
            let mut some = [0; 1024];
            // an error says that the other end is closed
            while let Ok(len @ 1..) = ours.read(&mut some) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(some.get(..len).unwrap());
            }
        });
        Self { other_end, printed }
    }

    fn end(&self) -> Stdio {
        self.other_end.try_clone().unwrap().into()
    }

    fn printed(&self) -> String {
        let printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&printed).into_owned()
    }

    fn wait_for(&self, pattern: &str) {
        let regex = Regex::new(pattern).unwrap();
        wait_until(pattern, || self.printed(), || regex.is_match(&self.printed()));
    }
}

fn tool(folder: &Path, args: &str) -> Command {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_mqtt-seal"));
    tool.current_dir(folder).args(args.split_whitespace()).stdin(Stdio::null());
    tool.env("TERM", "xterm").env_remove("NO_COLOR").env_remove("MQTT_SEAL_KEYS");
    tool
}

/// A publisher of lines, in a folder with keys.
fn publisher(folder: &Path, broker: &Mosquitto, stderr: Stdio) -> Child {
    assert!(tool(folder, "keygen acme-prod").stdout(Stdio::null()).status().unwrap().success());
    let publish = format!("pub -p {} -t sensor/temp -l -q 1", broker.tcp_port());
    tool(folder, &publish).stdin(Stdio::piped()).stderr(stderr).spawn().unwrap()
}

#[test]
fn rate_of_lines_is_shown_on_a_terminal() {
    let (folder, terminal) = (TempDir::new().unwrap(), Terminal::new());
    let broker = Mosquitto::start(&Setup::new(&Certs::new().good));
    let mut publisher = publisher(folder.path(), &broker, terminal.end());
    let mut lines = publisher.stdin.take().unwrap();
    lines.write_all(b"1\n2\n3\n").unwrap();
    terminal.wait_for(r"3 messages, [0-9.,]+/s");
    lines.write_all(b"4\n").unwrap();
    terminal.wait_for(r"4 messages, [0-9.,]+/s");
    drop(lines);
    assert!(publisher.wait().unwrap().success());
    terminal.wait_for("4 messages published\r\n");
}

#[test]
fn rate_of_lines_is_kept_from_a_pipe() {
    let folder = TempDir::new().unwrap();
    let broker = Mosquitto::start(&Setup::new(&Certs::new().good));
    let mut publisher = publisher(folder.path(), &broker, Stdio::piped());
    publisher.stdin.take().unwrap().write_all(b"1\n2\n3\n").unwrap();
    let output = publisher.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn error_is_coloured_on_a_terminal() {
    let (folder, terminal) = (TempDir::new().unwrap(), Terminal::new());
    tool(folder.path(), "keys").stderr(terminal.end()).status().unwrap();
    terminal.wait_for("^\x1b\\[1;31merror:\x1b\\[0m ");
}

#[test]
fn error_is_plain_on_a_terminal_whose_user_says_so() {
    let (folder, terminal) = (TempDir::new().unwrap(), Terminal::new());
    tool(folder.path(), "keys").env("NO_COLOR", "1").stderr(terminal.end()).status().unwrap();
    terminal.wait_for("^error: ");
}
