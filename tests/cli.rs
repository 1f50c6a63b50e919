//! The command-line tool as people see it: transcripts in `tests/cmd`, one for each command.
//! `SNAPSHOTS=overwrite cargo test --features cli,demo --test cli` writes them anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;
#[path = "support/transcript.rs"]
mod transcript;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{fs, io, thread};

use regex::{Captures, Regex};
use snapbox::{Assert, Data, Redactions};
use support::certs::Certs;
use support::mosquitto::{Mosquitto, Setup};
use support::{free_port, wait_until};
use tempfile::TempDir;

const TOOL: &str = env!("CARGO_BIN_EXE_mqtt-seal");

/// What is another at each run, and what stands for it in the transcripts.
const VARYING: [(&str, &str); 10] = [
    ("[STAMP]", r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z"),
    ("[KID]", r"\b(?<redacted>[0-9a-f]{8})\b"),
    ("[SECOND]", r#""(?:created|not_after)":(?<redacted>\d+)"#),
    ("[SEALED]", r"fc40(?<redacted>[0-9a-f]{36})"),
    ("[TIME]", r"(?<redacted> +\d+\.\d{3}) s"),
    ("[DAY]", r"(?m)for .*, until (?<redacted>\d{4}-\d\d-\d\d)$"),
    ("[SESSION]", r"\b(?<redacted>[0-9a-f]{24})\b"),
    ("[TODAY]", r"sealed on (?<redacted>\d{4}-\d\d-\d\d)"),
    ("[RATE]", r"(?m)^\S+ +\d+ +\d+ +(?<redacted>\d+\.\d) "),
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
    let (folder, text) = (folder(), fs::read_to_string(&path).unwrap());
    let now = if text.contains("$PORT") {
        with_broker(&text, folder.path())
    } else {
        transcript::run(&text, folder.path(), &[])
    };
    let mut redactions = Redactions::new();
    redactions.insert("[CWD]", folder.path().canonicalize().unwrap()).unwrap();
    for (name, pattern) in VARYING {
        redactions.insert(name, Regex::new(pattern).unwrap()).unwrap();
    }
    let assert = Assert::new().action_env(snapbox::assert::DEFAULT_ACTION_ENV);
    assert.normalize_paths(false).redact_with(redactions).eq(now, Data::read_from(&path, None));
}

/// Runs a transcript that needs a broker.
fn with_broker(text: &str, folder: &Path) -> String {
    let certs = Certs::new();
    fs::copy(&certs.ca.pem, folder.join("ca.pem")).unwrap();
    fs::copy(&certs.other_ca.pem, folder.join("other-ca.pem")).unwrap();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let settings = [
        ("PORT", broker.tcp_port().to_string()),
        ("TLS_PORT", broker.tls_port().to_string()),
        ("BROKER_LOG", broker.log_file().display().to_string()),
    ];
    transcript::run(text, folder, &settings)
}

macro_rules! transcripts {
    ($($name:ident),*) => {
        $(mod $name {
            #[test]
            fn is_what_the_tool_prints() {
                super::assert_transcript(stringify!($name));
            }
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
    authority,
    policy,
    certs,
    seal,
    open,
    inspect,
    proxy,
    publish,
    subscribe,
    watch,
    completions,
    man,
    demo
);

/// It must not be lost while the tool does something else than wait.
#[test]
fn interrupt_ends_a_subscriber_that_prints_when_it_comes() {
    let (folder, certs) = (folder(), Certs::new());
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let port = broker.tcp_port().to_string();
    let tool = || {
        let mut tool = Command::new(TOOL);
        tool.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        tool
    };
    assert!(tool().args(["keygen", "acme-prod"]).status().unwrap().success());
    let subscribe = ["sub", "-i", "printing", "-p", &port, "-t", "#"];
    let mut sub = Background(tool().args(subscribe).stdout(Stdio::piped()).spawn().unwrap());
    broker.wait_for_log("Sending SUBACK to printing");
    // more than a pipe holds
    fs::write(folder.path().join("payload"), vec![b'x'; 200_000]).unwrap();
    let publish = ["pub", "-p", &port, "-t", "a", "-f", "payload"];
    assert!(tool().args(publish).status().unwrap().success());
    let mut printed = sub.0.stdout.take().unwrap();
    printed.read_exact(&mut [0]).unwrap();
    let interrupt = Command::new("kill").args(["-INT", &sub.0.id().to_string()]).status();
    assert!(interrupt.unwrap().success());
    thread::spawn(move || io::copy(&mut printed, &mut io::sink()));
    let mut status = None;
    wait_until("end of the subscriber", String::new, || {
        status = sub.0.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.unwrap().success(), "{status:?}");
}

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

/// Every command line that some transcript, or the quickstart, runs.
fn run_lines() -> BTreeSet<String> {
    let files = TRANSCRIPTS.iter().map(|name| root(&format!("tests/cmd/{name}.md")));
    let files = files.chain([root("docs/quickstart.md")]);
    let texts: Vec<_> = files.map(|path| fs::read_to_string(path).unwrap()).collect();
    let lines = texts.iter().flat_map(|text| text.lines());
    let lines = lines.filter_map(|line| line.strip_prefix("$ "));
    lines.map(|line| line.trim_end_matches(" &").to_owned()).collect()
}

#[test]
fn every_command_has_an_example_that_a_transcript_runs() {
    let names = commands(&output(&["--help"]));
    assert!(names.len() >= 7, "{names:?}");
    let run = run_lines();
    for name in &names {
        let transcript = match name.as_str() {
            "pub" => "publish",
            "sub" => "subscribe",
            name => name,
        };
        assert!(TRANSCRIPTS.contains(&transcript), "{name} has no transcript");
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

/// Runs a part of the quickstart in a fresh folder, on free ports: what ends in ` &` goes on in the
/// background until the end, and the last command is repeated until the subscriber has something,
/// since nobody tells when it is subscribed. Returns its first line, and how many commands there
/// were.
fn quickstart(part: &str) -> (String, usize) {
    let folder = TempDir::new().unwrap();
    let text = fs::read_to_string(root("docs/quickstart.md")).unwrap();
    let (_, text) = text.split_once(part).unwrap();
    let (_, text) = text.split_once("```console\n").unwrap();
    let (text, _) = text.split_once("```").unwrap();
    // at once: a port may contain another
    let [tcp, tls] = [free_port(), free_port()].map(|port| port.to_string());
    let ports = Regex::new("[18]883").unwrap();
    let text = ports.replace_all(text, |port: &Captures<'_>| match &port[0] {
        "1883" => tcp.clone(),
        _ => tls.clone(),
    });
    let commands: Vec<_> = text.lines().map(|line| line.strip_prefix("$ ").unwrap()).collect();
    let (last, first) = commands.split_last().unwrap();
    let output = |number: usize| folder.path().join(format!("output-{number}"));
    let mut background = Vec::new();
    for (number, command) in first.iter().enumerate() {
        let output = output(number);
        let printed = || fs::read_to_string(&output).unwrap();
        if let Some(command) = command.strip_suffix(" &") {
            let command = format!("exec {command}");
            let mut shell = transcript::into_file(&command, folder.path(), &output);
            background.push(Background(shell.spawn().unwrap()));
            if command.contains("mosquitto ") {
                wait_until("start of the broker", printed, || printed().contains(" running\n"));
            }
        } else {
            run(command, folder.path(), &output);
        }
    }
    let subscriber = output(first.len() - 1);
    let printed = || fs::read_to_string(&subscriber).unwrap();
    wait_until("reading", printed, || {
        run(last, folder.path(), &output(first.len()));
        printed().contains('\n')
    });
    (printed().lines().next().unwrap().to_owned(), commands.len())
}

fn run(command: &str, folder: &Path, output: &Path) {
    let status = transcript::into_file(command, folder, output).status().unwrap();
    assert!(status.success(), "{command}\n{}", fs::read_to_string(output).unwrap());
}

/// A process that ends with the test.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn quickstart_over_tcp_ends_with_a_reading_in_five_commands() {
    let (printed, commands) = quickstart("## Over plain TCP");
    assert_eq!(printed, "sensor/temp 27");
    assert!(commands <= 5, "{commands} commands");
}

#[test]
fn quickstart_over_tls_ends_with_a_reading_in_eight_commands() {
    let (printed, commands) = quickstart("## Over TLS");
    assert_eq!(printed, "sensor/temp 27");
    assert!(commands <= 8, "{commands} commands");
}

/// Starts what `certs` set up in `folder`, on a free port of its own.
fn certified(folder: &Path, args: &[&str]) -> (Background, String) {
    let port = free_port().to_string();
    let made = Command::new(TOOL)
        .current_dir(folder)
        .args(["certs", "--host", "localhost", "--port", &port])
        .args(args)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (broker(folder), port)
}

/// The broker of `certs/mosquitto.conf`, running.
fn broker(folder: &Path) -> Background {
    let log = folder.join("broker-log");
    let command = "exec mosquitto -c certs/mosquitto.conf";
    let broker = Background(transcript::into_file(command, folder, &log).spawn().unwrap());
    let logged = || fs::read_to_string(&log).unwrap();
    wait_until("start of the broker", logged, || logged().contains(" running\n"));
    broker
}

fn shell(command: &str, folder: &Path) -> (bool, String) {
    let output = folder.join("output");
    let status = transcript::into_file(command, folder, &output).status().unwrap();
    (status.success(), fs::read_to_string(&output).unwrap())
}

#[test]
fn openssl_verifies_the_broker_that_certs_set_up() {
    let folder = folder();
    let (_broker, port) = certified(folder.path(), &[]);
    let (done, printed) = shell(
        &format!(
            "openssl s_client -connect localhost:{port} -CAfile certs/ca.pem -verify_return_error \
             -verify_hostname localhost -x509_strict"
        ),
        folder.path(),
    );
    assert!(done && printed.contains("Verify return code: 0 (ok)"), "{printed}");
}

#[test]
fn the_broker_takes_clients_with_a_certificate_of_its_ca_alone() {
    let folder = folder();
    let (_broker, port) = certified(folder.path(), &["--client", "pump-7"]);
    assert!(shell("mqtt-seal keygen acme-prod", folder.path()).0);
    let publish = format!("mqtt-seal pub -p {port} --cafile certs/ca.pem -t sensor/temp -m 27");
    let own = " --cert certs/client-pump-7.pem --key certs/client-pump-7.key";
    let (done, printed) = shell(&(publish.clone() + own), folder.path());
    assert!(done, "{printed}");
    assert!(!shell(&publish, folder.path()).0);
}

#[test]
fn the_old_recipe_is_explained_where_a_broker_shows_it() {
    let folder = folder();
    let (broker_of_certs, port) = certified(folder.path(), &[]);
    drop(broker_of_certs);
    let recipe = "openssl req -new -key certs/broker.key -subj /CN=localhost -out old.csr && \
                  openssl x509 -req -in old.csr -CA certs/ca.pem -CAkey certs/ca.key -out certs/broker.pem";
    assert!(shell(recipe, folder.path()).0);
    let _broker = broker(folder.path());
    let check = format!("mqtt-seal certs check localhost:{port} --ca certs/ca.pem");
    let (done, printed) = shell(&check, folder.path());
    assert!(!done && printed.contains("it is X.509 version 1"), "{printed}");
}
