//! The files of `packaging` say what the tool takes.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::scene::{SEALED, TOOL, run};
use crate::support::certs::Certs;

fn packaged(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name);
    fs::read_to_string(path).unwrap()
}

/// A folder as `/etc/mqtt-seal` is meant to be, but for `proxy.toml`.
fn folder(certs: &Certs) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("policy.toml"), SEALED).unwrap();
    fs::copy(&certs.ca.pem, folder.path().join("ca.pem")).unwrap();
    run(folder.path(), &["keygen", "acme-prod"]);
    folder
}

#[test]
fn the_example_configuration_is_accepted() {
    let certs = Certs::new();
    let folder = folder(&certs);
    fs::write(folder.path().join("proxy.toml"), packaged("proxy.toml")).unwrap();
    let said = run(folder.path(), &["proxy", "--config", "proxy.toml", "--check"]);
    for part in ["127.0.0.1:1883", "broker.example:8883, by tls", "policy.toml: 1 rule"] {
        assert!(said.contains(part), "{said}");
    }
}

/// What is commented out is meant to be switched on.
#[test]
fn every_setting_of_the_example_is_one() {
    let certs = Certs::new();
    let folder = folder(&certs);
    let all: Vec<_> = packaged("proxy.toml")
        .lines()
        .map(|line| line.strip_prefix("#").filter(|line| !line.starts_with(' ')).unwrap_or(line))
        .map(String::from)
        .collect();
    let settings = all.iter().filter(|line| line.contains(" = ")).count();
    assert!(settings >= 20, "{settings} settings");
    let file = mqtt_seal::store::proxy_file::parse(&all.join("\n"), folder.path()).unwrap();
    assert!(file.status_payloads.is_some() && file.danger_listen_anywhere.is_some());
}

#[test]
fn unit_and_image_start_the_proxy_with_a_configuration() {
    let unit = packaged("mqtt-seal-proxy.service");
    assert!(unit.contains("ExecStart=/usr/bin/mqtt-seal proxy --config "), "{unit}");
    assert!(unit.contains("\nType=notify\n"), "{unit}");
    let image = packaged("Dockerfile");
    assert!(image.contains(r#""proxy", "--config""#), "{image}");
    assert!(image.lines().any(|line| line.starts_with("USER ")), "{image}");
}

/// The commands of its first block, but for the last, which goes on.
#[test]
fn the_start_in_the_manual_is_accepted() {
    let certs = Certs::new();
    let folder = TempDir::new().unwrap();
    fs::copy(&certs.ca.pem, folder.path().join("ca.pem")).unwrap();
    let manual = include_str!("../../docs/proxy.md");
    let (_, block) = manual.split_once("```console\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let lines: Vec<_> =
        block.lines().map(|line| line.strip_prefix("$ mqtt-seal ").unwrap()).collect();
    let (last, first) = lines.split_last().unwrap();
    assert!(first.iter().any(|line| line.strip_suffix(" --check") == Some(last)), "{lines:?}");
    for line in first {
        let command = format!("'{TOOL}' {line}");
        let output = Command::new("sh").current_dir(folder.path()).args(["-c", &command]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
