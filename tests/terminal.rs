//! The command-line tool on a terminal, where it shows what it keeps from pipes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use regex::Regex;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use support::certs::Certs;
use support::mosquitto::{Mosquitto, Setup};
use support::wait_until;
use tempfile::TempDir;

/// A terminal, and everything that was printed there.
struct Terminal {
    /// The end of whoever sits at it.
    keys: File,
    other_end: File,
    printed: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn new() -> Self {
        // or it would become that of the test program, if that leads a session, and end it with
        // itself; and programs of other tests would keep it open
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let other_end = File::from(ioctl_tiocgptpeer(&ours, flags).unwrap());
        let printed = Arc::<Mutex<Vec<u8>>>::default();
        let (keys, kept) = (File::from(ours), Arc::clone(&printed));
        let mut ours = keys.try_clone().unwrap();
        thread::spawn(move || {
            let mut some = [0; 1024];
            // an error says that the other end is closed
            while let Ok(len @ 1..) = ours.read(&mut some) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(some.get(..len).unwrap());
            }
        });
        Self { keys, other_end, printed }
    }

    fn end(&self) -> Stdio {
        self.other_end.try_clone().unwrap().into()
    }

    fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.keys, size).unwrap();
    }

    fn press(&self, keys: &[u8]) {
        (&self.keys).write_all(keys).unwrap();
    }

    /// Forgets what was printed so far.
    fn clear(&self) {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether what is typed comes line by line, and is shown, as before a screen takes over.
    fn is_as_it_was(&self) -> bool {
        let modes = tcgetattr(&self.other_end).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO)
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

/// `watch` on a terminal, in a folder with keys, when it is subscribed and has its screen.
fn watcher(folder: &Path, broker: &Mosquitto, terminal: &Terminal) -> Child {
    assert!(tool(folder, "keygen acme-prod").stdout(Stdio::null()).status().unwrap().success());
    terminal.resize(120, 10);
    let watch = format!("watch -i watcher -p {} -t sensor/#", broker.tcp_port());
    let watch = tool(folder, &watch)
        .stdin(terminal.end())
        .stdout(terminal.end())
        .stderr(terminal.end())
        .spawn()
        .unwrap();
    broker.wait_for_log("Sending SUBACK to watcher");
    // it takes the terminal meanwhile: what is typed before is lost
    wait_until("screen", || terminal.printed(), || !terminal.is_as_it_was());
    watch
}

fn publish(folder: &Path, broker: &Mosquitto, payload: &str) {
    let publish = format!("pub -p {} -t sensor/temp -m {payload}", broker.tcp_port());
    assert!(tool(folder, &publish).status().unwrap().success());
}

#[test]
fn watch_shows_both_sides_and_gives_the_terminal_back() {
    let (folder, terminal) = (TempDir::new().unwrap(), Terminal::new());
    let broker = Mosquitto::start(&Setup::new(&Certs::new().good));
    let mut watch = watcher(folder.path(), &broker, &terminal);
    terminal.wait_for("the broker sees.*a key holder sees");
    publish(folder.path(), &broker, "twenty-seven");
    terminal.wait_for("(?s)sensor/temp.*0[.]1.*fc40[0-9a-f]{20}.*twenty-seven");
    broker.publish("sensor/odd", b"forged");
    terminal.wait_for("rejected: the payload is not");

    terminal.clear();
    terminal.resize(80, 5);
    terminal.wait_for("(?s)the broker.*a key");
    publish(folder.path(), &broker, "twenty-eight");
    terminal.wait_for("eight");

    terminal.press(b"x");
    terminal.press(b"q");
    assert_eq!(watch.wait().unwrap().code(), Some(0));
    assert!(terminal.is_as_it_was());
    terminal.wait_for(r"sensor/temp +2 +0 .*\r\n");
}

#[test]
fn watch_gives_the_terminal_back_on_control_c_and_after_an_error() {
    let (folder, terminal) = (TempDir::new().unwrap(), Terminal::new());
    let broker = Mosquitto::start(&Setup::new(&Certs::new().good));
    let mut watch = watcher(folder.path(), &broker, &terminal);
    terminal.press(&[3]);
    assert_eq!(watch.wait().unwrap().code(), Some(0));
    assert!(terminal.is_as_it_was());

    let on_terminal = |args: &str| {
        let mut watch = tool(folder.path(), args);
        watch.stdin(terminal.end()).stdout(terminal.end()).stderr(terminal.end()).status().unwrap()
    };
    assert_eq!(on_terminal("watch -p 1 -t sensor/#").code(), Some(1));
    terminal.wait_for("the network failed: connection refused");
    assert!(terminal.is_as_it_was());
}
