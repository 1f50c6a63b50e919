//! The vectors are really compared: a directory with one nibble changed fails.

use std::path::Path;
use std::process::Command;

use crate::json::directory;

/// Changes the first hexadecimal digit behind the first or the last `key` in `file`.
fn change_a_nibble(file: &Path, key: &str, first: bool) {
    let mut text = std::fs::read_to_string(file).unwrap();
    let quoted = format!("\"{key}\":");
    let at = if first { text.find(&quoted) } else { text.rfind(&quoted) };
    let at = at.unwrap_or_else(|| panic!("no {key} in {}", file.display()));
    let value = at + quoted.len();
    let digit = value + text[value..].find(|c: char| c.is_ascii_hexdigit()).unwrap();
    let other = if &text[digit..=digit] == "1" { "2" } else { "1" };
    text.replace_range(digit..=digit, other);
    std::fs::write(file, text).unwrap();
}

/// Runs this test program on another directory and tells whether it passed.
fn passes(directory: &Path, tests: &str) -> bool {
    Command::new(std::env::current_exe().unwrap())
        .arg(tests)
        .env("MQTT_SEAL_VECTORS", directory)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
        .status
        .success()
}

#[test]
fn a_changed_nibble_in_any_file_is_noticed() {
    let files = [
        ("keys.json", "rk", false, "keys::"),
        ("seal.json", "sealed", false, "seal::"),
        ("open_accept.json", "sealed", false, "open::"),
        ("open_reject.json", "sealed", false, "open::"),
        ("topics.json", "topic", false, "topics::"),
        ("replay.json", "ctr", true, "replay::"),
        ("cose.json", "cose_iv", false, "cose::"),
        ("cose.json", "cose_partial_iv", false, "cose::"),
        ("cose.json", "key", false, "cose::"),
        ("cose.json", "external_aad", false, "cose::"),
        ("cose.json", "plaintext", false, "cose::"),
        ("auth.json", "prk", false, "auth::"),
        ("auth.json", "nonce", false, "auth::"),
        ("auth.json", "m1", true, "auth::"),
        ("auth.json", "m2", true, "auth::"),
        ("auth.json", "m3", true, "auth::"),
        ("auth.json", "spki", false, "auth::"),
    ];
    for (file, key, first, tests) in files {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(directory()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "json") {
                std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
            }
        }
        assert!(passes(copy.path(), tests), "{file} passes as it is");
        change_a_nibble(&copy.path().join(file), key, first);
        assert!(!passes(copy.path(), tests), "{file} with a nibble of {key} changed");
    }
}
