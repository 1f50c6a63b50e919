//! What the README shows is what the library takes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use mqtt_seal::store::{key_file, policy_file};
use mqtt_seal::topic::TopicName;

/// The contents of all fenced blocks of one language.
fn blocks(language: &str) -> Vec<&'static str> {
    let readme = include_str!("../README.md");
    let fence = format!("```{language}\n");
    readme.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn policy_and_keys_of_the_readme_are_read() {
    let toml = blocks("toml");
    assert_eq!(toml.len(), 2);
    let policy = policy_file::parse(toml[0]).unwrap();
    assert_eq!(policy.rules().len(), 2);
    assert!(policy.rule(TopicName::parse("sensor/7/temp").unwrap()).is_some());
    let keyring = key_file::parse(&mut toml[1].to_owned()).unwrap();
    assert_eq!(keyring.grants().len(), 1);
}

#[test]
fn the_program_of_the_readme_is_short() {
    let shown = blocks("rust,no_run")[0].lines().filter(|line| !line.starts_with('#'));
    let shown: Vec<_> = shown.filter(|line| !line.is_empty()).collect();
    assert!(shown.len() <= 17, "{} lines", shown.len());
}

#[test]
fn files_that_the_readme_links_to_are_there() {
    let readme = include_str!("../README.md");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let links: Vec<_> =
        readme.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
    assert!(links.len() > 5);
    for link in links {
        assert!(root.join(link).is_file(), "{link}");
    }
}
