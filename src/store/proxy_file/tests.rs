//! Settings that are read, and those that are not.

use std::string::ToString as _;
use std::vec;

use super::*;

fn error(text: &str) -> String {
    parse(text, "/etc").unwrap_err().to_string()
}

#[test]
fn every_setting_is_read() {
    let known: Vec<_> = KEYS.iter().map(|key| format!("{key} = ")).collect();
    let (before, _) =
        include_str!("../proxy_file.rs").split_once("//! ```\n//!\n//! ```\n").unwrap();
    let (_, example) = before.split_once("//! ```toml\n").unwrap();
    let example = example.replace("//! ", "");
    for key in known {
        assert!(example.lines().any(|line| line.starts_with(&key)), "{key} is in no example");
    }
    let file = parse(&example, "/etc").unwrap();
    assert_eq!(file.listen[0].value, "127.0.0.1:1883");
    assert_eq!(file.tls_broker.unwrap().at.to_string(), "2:14");
    assert_eq!(file.pin[0].value, "sha256/…");
    assert_eq!((file.max_packet, file.max_connections), (Some(16 << 20), Some(10_000)));
    assert_eq!((file.log, file.log_level), (Some("text"), Some("info")));
    assert_eq!(file.plain_suffix.unwrap(), "-tcp");
    let flags = [
        file.tls_use_os_certs,
        file.status_payloads,
        file.danger_listen_anywhere,
        file.danger_credentials_in_clear,
        file.danger_forward_bare_deletes,
    ];
    assert_eq!(flags, [Some(false); 5]);
    let paths = [file.cafile, file.capath, file.device, file.cert, file.key, file.keys];
    let paths = paths.into_iter().chain([file.policy, file.store]).collect::<Vec<_>>();
    assert!(paths.iter().all(|path| path.as_ref().unwrap().starts_with("/etc")), "{paths:?}");
}

#[test]
fn an_empty_file_names_nothing() {
    assert_eq!(parse("", "/etc").unwrap(), ProxyFile::default());
}

#[test]
fn paths_are_relative_to_the_file_unless_absolute() {
    let text = "listen = [\"unix:a.sock\", \"unix:/b.sock\"]\nkeys = \"/keys\"\nstore = \"s\"";
    let file = parse(text, "/etc").unwrap();
    let listen: Vec<_> = file.listen.iter().map(|written| written.value.as_str()).collect();
    assert_eq!(listen, vec!["unix:/etc/a.sock", "unix:/b.sock"]);
    assert_eq!(file.keys.unwrap(), Path::new("/keys"));
    assert_eq!(file.store.unwrap(), Path::new("/etc/s"));
}

#[test]
fn errors_name_place_and_remedy() {
    assert_eq!(error("\nbrokr = 1"), "2:1: unknown key \"brokr\": did you mean \"broker\"?");
    assert!(error("colour = 1").starts_with("1:1: unknown key \"colour\": use listen, broker, "));
    assert_eq!(
        error("broker = 1883"),
        "1:10: broker has the wrong type: write a text, as in \"…\""
    );
    assert_eq!(
        error("listen = [\"a\", 1]"),
        "1:16: listen has the wrong type: write a list of texts, as in [\"…\", \"…\"]"
    );
    assert_eq!(error("log = \"xml\""), "1:7: log has no value \"xml\": use \"text\" or \"json\"");
    for number in ["0", "-1"] {
        let text = format!("max_packet = {number}");
        let expected = "1:14: max_packet is out of range: write a whole number above 0";
        assert_eq!(error(&text), expected);
    }
    assert!(error("listen = [").contains("this is not TOML"));
}

#[test]
fn errors_of_files_name_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    let shown = path.display();
    let error = || read(&path).unwrap_err().to_string();
    let missing = "cannot be read, entity not found: check the path and its permissions";
    assert_eq!(error(), format!("{shown}: {missing}"));
    fs::write(&path, b"log = \"\xff\"").unwrap();
    assert_eq!(error(), format!("{shown}:1:8: this is not UTF-8: save the file as UTF-8 text"));
    fs::write(&path, "log = 1").unwrap();
    assert!(error().starts_with(&format!("{shown}:1:7: log has the wrong type")));
}
