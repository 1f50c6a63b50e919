//! The command-line tool as people see it: transcripts in `tests/cmd`, one for each command.
//! `SNAPSHOTS=overwrite cargo test --features cli --test cli` writes them anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "support/transcript.rs"]
mod transcript;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use regex::Regex;
use snapbox::{Assert, Data, Redactions};
use tempfile::TempDir;

const TOOL: &str = env!("CARGO_BIN_EXE_mqtt-seal");

/// What is another at each run, and what stands for it in the transcripts.
const VARYING: [(&str, &str); 7] = [
    ("[STAMP]", r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z"),
    ("[KID]", r"\b(?<redacted>[0-9a-f]{8})\b"),
    ("[SECOND]", r#""(?:created|not_after)":(?<redacted>\d+)"#),
    ("[DAY]", r"(?m)for .*, until (?<redacted>\d{4}-\d\d-\d\d)$"),
    ("[SESSION]", r"\b(?<redacted>[0-9a-f]{24})\b"),
    ("[TODAY]", r"sealed on (?<redacted>\d{4}-\d\d-\d\d)"),
    ("[PIN]", r"sha256/(?<redacted>[A-Za-z0-9+/]{43}=)"),
];

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A fresh folder with the files of `tests/cmd/files`.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    for file in fs::read_dir(root("tests/cmd/files")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    folder
}

#[track_caller]
fn assert_transcript(name: &str) {
    let path = root(&format!("tests/cmd/{name}.md"));
    let folder = folder();
    let now = transcript::run(&fs::read_to_string(&path).unwrap(), folder.path());
    let mut redactions = Redactions::new();
    redactions.insert("[CWD]", folder.path().canonicalize().unwrap()).unwrap();
    for (name, pattern) in VARYING {
        redactions.insert(name, Regex::new(pattern).unwrap()).unwrap();
    }
    let assert = Assert::new().action_env(snapbox::assert::DEFAULT_ACTION_ENV);
    assert.normalize_paths(false).redact_with(redactions).eq(now, Data::read_from(&path, None));
}

macro_rules! transcripts {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            assert_transcript(stringify!($name));
        })*
        const TRANSCRIPTS: &[&str] = &[$(stringify!($name)),*];
    };
}

transcripts!(
    tool,
    keygen,
    grant,
    keys,
    rotate,
    policy,
    certs,
    seal,
    open,
    inspect,
    completions,
    man
);

fn output(args: &[&str]) -> String {
    let output = Command::new(TOOL).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The names of the commands in a help text.
fn commands(help: &str) -> Vec<String> {
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let lines = list.lines().take_while(|line| line.starts_with("  "));
    let names = lines.filter(|line| !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(String::from).collect()
}

/// The lines of a help text that show how the tool is called.
fn examples(help: &str) -> Vec<String> {
    let (_, text) = help.split_once("Example:\n").unwrap_or_default();
    let lines = text.lines().map_while(|line| line.strip_prefix("  "));
    lines.map(|line| line.trim().to_owned()).collect()
}

/// Every command line that some transcript runs.
fn run_lines() -> BTreeSet<String> {
    let files = TRANSCRIPTS.iter().map(|name| root(&format!("tests/cmd/{name}.md")));
    let texts: Vec<_> = files.map(|path| fs::read_to_string(path).unwrap()).collect();
    let lines = texts.iter().flat_map(|text| text.lines());
    lines.filter_map(|line| line.strip_prefix("$ ")).map(String::from).collect()
}

#[test]
fn every_command_has_an_example_that_a_transcript_runs() {
    let names = commands(&output(&["--help"]));
    assert!(names.len() >= 7, "{names:?}");
    let run = run_lines();
    for name in &names {
        assert!(TRANSCRIPTS.contains(&name.as_str()), "{name} has no transcript");
        let examples = examples(&output(&[name, "--help"]));
        assert!(!examples.is_empty(), "{name} --help has no example");
        for example in examples {
            assert!(run.contains(&example), "no transcript runs: {example}");
        }
    }
}

#[test]
fn every_transcript_is_run() {
    let names = fs::read_dir(root("tests/cmd")).unwrap().map(|file| file.unwrap().path());
    for path in names.filter(|path| path.is_file()) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(TRANSCRIPTS.contains(&name), "tests/cmd/{name}.md is run by no test");
    }
}

#[test]
fn devices_that_are_granted_at_once_have_different_numbers() {
    const DEVICES: usize = 12;
    let folder = folder();
    let tool = || {
        let mut tool = Command::new(TOOL);
        tool.current_dir(folder.path()).stdout(Stdio::null());
        tool
    };
    assert!(tool().args(["keygen", "acme-prod"]).status().unwrap().success());
    let grant = |number: usize| {
        let device = format!("pump-{number}");
        tool().args(["grant", &device, "--node", "plant", "--form", "compact"]).spawn().unwrap()
    };
    let grants: Vec<_> = (0..DEVICES).map(grant).collect();
    for mut grant in grants {
        assert!(grant.wait().unwrap().success());
    }
    let senders: BTreeSet<_> = (0..DEVICES)
        .map(|number| {
            let file = folder.path().join(format!("pump-{number}.keys.toml"));
            let keys = fs::read_to_string(file).unwrap();
            keys.lines().find(|line| line.starts_with("sender = ")).unwrap().to_owned()
        })
        .collect();
    assert_eq!(senders.len(), DEVICES, "{senders:?}");
}
