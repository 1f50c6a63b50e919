//! What is secret stays in its files: the command-line tool shows it in no output, and nobody who
//! lists processes sees it.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use base64ct::{Base64, Base64UrlUnpadded, Encoding as _};
use regex::Regex;
use support::certs::Certs;
use support::contains;
use support::mosquitto::{Mosquitto, Setup};
use tempfile::TempDir;

const PASSWORD: &str = "marker-of-a-password";

/// What must not be seen, in each way it could be written.
struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// The password, and all keys of the files in `folder`.
    fn of(folder: &Path) -> Self {
        let mut all = Self(vec![PASSWORD.into()]);
        let line = Regex::new("(?m)^key = \"([^\"]+)\"$").unwrap();
        for file in fs::read_dir(folder).unwrap() {
            let text = fs::read(file.unwrap().path()).unwrap();
            let text = String::from_utf8_lossy(&text).into_owned();
            for key in line.captures_iter(&text) {
                all.0.extend(ways_to_write(&key[1]));
                assert!(all.are_in(text.as_bytes()), "a key is not found in its own file");
            }
        }
        assert!(all.0.len() > 1, "no file has a key");
        all
    }

    fn are_in(&self, bytes: &[u8]) -> bool {
        self.0.iter().any(|secret| contains(bytes, secret))
    }

    #[track_caller]
    fn assert_not_in(&self, bytes: &[u8]) {
        assert!(!self.are_in(bytes), "{}", String::from_utf8_lossy(bytes));
    }
}

fn ways_to_write(key: &str) -> Vec<Vec<u8>> {
    let bytes = Base64::decode_vec(key).unwrap();
    assert!(bytes.len() >= 16, "{} bytes would be found by chance", bytes.len());
    let list = format!("{bytes:?}");
    vec![
        key.trim_end_matches('=').into(),
        Base64UrlUnpadded::encode_string(&bytes).into(),
        base16ct::lower::encode_string(&bytes).into(),
        base16ct::upper::encode_string(&bytes).into(),
        list.trim_matches(['[', ']']).into(),
        bytes,
    ]
}

fn tool(folder: &Path, args: &str) -> Command {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_mqtt-seal"));
    tool.current_dir(folder).args(args.split_whitespace()).stdin(Stdio::null());
    tool.env("RUST_BACKTRACE", "1").env("RUST_LOG", "trace").env_remove("MQTT_SEAL_KEYS");
    tool.stdout(Stdio::piped()).stderr(Stdio::piped());
    tool
}

fn both(output: Output) -> Vec<u8> {
    [output.stdout, output.stderr].concat()
}

fn printed(folder: &Path, args: &str) -> Vec<u8> {
    both(tool(folder, args).output().unwrap())
}

/// A fresh folder with keys of every kind, and what their making printed.
fn keys() -> (TempDir, Vec<u8>) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("password"), PASSWORD).unwrap();
    let commands = [
        "keygen acme-prod",
        "grant pump-7 --node plant/a",
        "grant pump-8 --scope plant/b --named temps --suite aes-256-gcm-siv --form compact",
        "rotate add",
        "rotate activate --until 2999-03-31",
        "authority new --prefix acme",
        "authority enrol pump-9 --node plant/c",
        "authority rotate",
        "authority devices",
        "authority devices --json",
        "authority revoke pump-9",
    ];
    let printed = commands.map(|command| {
        let output = tool(folder.path(), command).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        both(output)
    });
    (folder, printed.concat())
}

#[test]
fn every_way_to_write_a_key_is_recognised() {
    let (folder, _) = keys();
    let secrets = Secrets::of(folder.path());
    let key = fs::read_to_string(folder.path().join("pump-7.keys.toml")).unwrap();
    let key = key.lines().find_map(|line| line.strip_prefix("key = ")).unwrap();
    for way in ways_to_write(key.trim_matches('"')) {
        assert!(secrets.are_in(&[b"before ", way.as_slice(), b" behind"].concat()));
    }
}

#[test]
fn commands_about_keys_print_none() {
    let (folder, making) = keys();
    let secrets = Secrets::of(folder.path());
    secrets.assert_not_in(&making);
    for file in ["keys.toml", "pump-7.keys.toml", "pump-8.keys.toml"] {
        for command in ["keys", "keys --json", "keys --topic plant/a/x", "seal --topic plant/a/x"] {
            secrets.assert_not_in(&printed(folder.path(), &format!("{command} --keys {file}")));
        }
    }
}

#[test]
fn what_is_wrong_with_a_key_file_is_told_without_its_keys() {
    let (folder, _) = keys();
    let secrets = Secrets::of(folder.path());
    let text = fs::read_to_string(folder.path().join("keys.toml")).unwrap();
    let damaged = [
        text.replace("key = \"", "key = "),
        text.replace("=\"\n", "=\n"),
        text.replace("=\"\n", "=AA\"\n"),
        text.replace("key = \"", "key = \"!"),
        text.replace("key = \"", "kex = \""),
        text.replace("key = \"", "created = \""),
        text.replace("key = \"", "[\""),
    ];
    // where it is, by line and column
    let place = Regex::new(r"damaged\.toml:\d+:\d+: ").unwrap();
    for damaged in damaged {
        assert!(secrets.are_in(damaged.as_bytes()), "{damaged}");
        // the copy has the mode without which nobody would look into it
        let file = folder.path().join("damaged.toml");
        fs::copy(folder.path().join("keys.toml"), &file).unwrap();
        fs::write(&file, damaged).unwrap();
        let output = tool(folder.path(), "keys --keys damaged.toml").output().unwrap();
        assert!(!output.status.success());
        let told = both(output);
        secrets.assert_not_in(&told);
        assert!(place.is_match(&String::from_utf8_lossy(&told)), "{told:?}");
    }
}

/// What everybody, and what the owner of a process sees of it.
fn seen_of(process: &Child) -> Vec<u8> {
    let file = |name| fs::read(format!("/proc/{}/{name}", process.id())).unwrap();
    [file("cmdline"), file("environ")].concat()
}

#[test]
fn publisher_and_subscriber_show_no_secret() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let (folder, _) = keys();
    let secrets = Secrets::of(folder.path());
    let login = "-u user --pw-file password --danger-credentials-in-clear";
    let to_broker = format!("-p {} -t plant/a/x {login}", broker.tcp_port());

    let subscribe = format!("sub -i subscriber -C 1 --json {to_broker}");
    let subscriber = tool(folder.path(), &subscribe).spawn().unwrap();
    broker.wait_for_log("Sending SUBACK to subscriber");
    let publish = format!("pub -i publisher -l {to_broker}");
    let mut publisher = tool(folder.path(), &publish).stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = publisher.stdin.take().unwrap();
    let seen_of_subscriber = seen_of(&subscriber);
    lines.write_all(b"27\n").unwrap();
    broker.wait_for_log("Received PUBLISH from publisher");
    let seen_of_publisher = seen_of(&publisher);
    drop(lines);

    assert!(
        contains(&seen_of_subscriber, b"password\0") && contains(&seen_of_subscriber, b"PATH=")
    );
    secrets.assert_not_in(&seen_of_subscriber);
    secrets.assert_not_in(&seen_of_publisher);
    secrets.assert_not_in(&both(publisher.wait_with_output().unwrap()));
    let received = both(subscriber.wait_with_output().unwrap());
    assert!(contains(&received, b"\"payload\":\"27\""), "{}", String::from_utf8_lossy(&received));
    secrets.assert_not_in(&received);
    secrets.assert_not_in(broker.log().as_bytes());
}
