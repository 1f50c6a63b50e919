//! Receivers in a process of their own, which is killed.

use std::collections::BTreeSet;
use std::env;
use std::io::{self, BufRead, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use mqtt_seal::guard::{OpenError, OpenWithLogError, Prefer};
use mqtt_seal::replay::{Rejected, Verdict};
use mqtt_seal::store::replay_file::{ReplayFile, ReplayFileError};

use crate::scene::{Message, Scene, guard, receiver, seal};

const KILLS: usize = 20;
/// What a broker sends ahead of the answers.
const IN_FLIGHT: usize = 40;
/// Names the log of a child, and tells one from an ordinary run of the tests.
const PATH: &str = "MQTT_SEAL_STORES_LOG";
/// Whether the child confirms by hand and prefers no loss; else neither.
const NO_LOSS: &str = "MQTT_SEAL_STORES_NO_LOSS";

const TOPICS: [&str; 3] = ["event/a", "event/b", "event/c"];

const DELIVERED: &str = "delivered";
const WORDS: [&str; 3] = [DELIVERED, "done", "refused"];

/// Opens what comes by `lines`, "topic sealed" in hexadecimal, and tells what becomes of it:
/// "delivered N", then "done N"; "refused NAME"; or "failed", and why its log did.
fn serve(log: &mut ReplayFile, no_loss: bool, lines: impl BufRead, mut tell: impl FnMut(String)) {
    let prefer = if no_loss { Prefer::NoLoss } else { Prefer::NoReplay };
    let mut rx = receiver(log, prefer);
    if no_loss {
        rx.confirm_manually();
    }
    for line in lines.lines() {
        let line = line.unwrap();
        let Some((topic, sealed)) = line.split_once(' ') else { break };
        let message = Message { topic: topic.into(), sealed: from_hex(sealed) };
        match message.deliver(&mut rx, log) {
            Ok((delivery, payload)) => {
                let number = String::from_utf8(payload).unwrap();
                tell(format!("{DELIVERED} {number}"));
                if let Some(receipt) = delivery.receipt {
                    rx.confirm_with_log(receipt, log).unwrap();
                }
                tell(format!("done {number}"));
            }
            Err(OpenWithLogError::Open(OpenError::Rejected(rejected))) => {
                tell(format!("refused {}", rejected.name()));
            }
            Err(OpenWithLogError::Log(error)) => return tell(format!("failed {error}")),
            Err(error) => panic!("{error}"),
        }
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn line(message: &Message) -> String {
    format!("{} {}\n", message.topic, to_hex(&message.sealed))
}

/// What a child runs; in an ordinary run it serves three messages without being killed.
#[test]
fn receiver_of_a_process_delivers_what_it_is_sent() {
    if let Ok(path) = env::var(PATH) {
        let mut log = ReplayFile::open(path).unwrap();
        let input = io::stdin().lock();
        serve(&mut log, env::var(NO_LOSS).is_ok(), input, |text| {
            writeln!(io::stdout(), "\n{text}").unwrap();
        });
        return;
    }
    let (_scene, mut log) = Scene::new();
    let lines: String = stream(3).iter().map(line).collect();
    let mut told = vec![];
    serve(&mut log, false, lines.as_bytes(), |text| told.push(text));
    let expected = (0..3).flat_map(|n| [format!("delivered {n}"), format!("done {n}")]);
    assert_eq!(told, expected.collect::<Vec<_>>());
}

/// Messages of one session on several topics.
fn stream(count: usize) -> Vec<Message> {
    let (mut tx, _) = guard().split();
    (0..count).map(|number| seal(&mut tx, TOPICS[number % TOPICS.len()], number)).collect()
}

/// A receiver in a process, for which a file that may not grow is an error and no signal.
fn child(scene: &Scene, no_loss: bool) -> Child {
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "kill::receiver_of_a_process_delivers_what_it_is_sent", "--nocapture"])
        .env(PATH, scene.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if no_loss {
        command.env(NO_LOSS, "1");
    }
    command.spawn().unwrap()
}

/// The next number of a sequence that looks random.
fn draw(state: &mut u64, below: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 1).unwrap() % below
}

/// What children told over their lives.
#[derive(Default)]
struct Told {
    /// Numbers in the order in which they were delivered.
    delivered: Vec<usize>,
    /// Answers, to the messages in the order in which they were sent.
    answers: usize,
}

impl Told {
    /// Reads until so many lines came or the child is gone.
    fn read(&mut self, lines: &mut impl Iterator<Item = io::Result<String>>, limit: usize) {
        let told = lines.map(Result::unwrap).filter_map(|line| {
            let (word, rest) = line.split_once(' ')?;
            Some((word.to_owned(), rest.to_owned())).filter(|(word, _)| WORDS.contains(&&**word))
        });
        for (word, rest) in told.take(limit) {
            if word == DELIVERED {
                self.delivered.push(rest.parse().unwrap());
            } else {
                self.answers += 1;
            }
        }
    }
}

/// Sends what was not answered, as a broker would, to one child after the other, and kills each in
/// the middle; the last may live until it has dealt with everything. Returns what was delivered.
fn run(no_loss: bool, count: usize, kills: usize) -> Vec<usize> {
    let (scene, log) = Scene::new();
    drop(log);
    let mut open = stream(count);
    let mut delivered = vec![];
    let mut random = 0x9E37_79B9_7F4A_7C15;
    for life in 0..=kills {
        let mut child = child(&scene, no_loss);
        let mut input = child.stdin.take().unwrap();
        let killed = life < kills;
        let sent = open.iter().take(if killed { IN_FLIGHT } else { count });
        let sent = sent.map(line).collect::<String>();
        // fails if the child is killed before; one that is to be killed is to wait for more
        let sender = std::thread::spawn(move || {
            let _ = input.write_all(sent.as_bytes());
            killed.then_some(input)
        });
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut told = Told::default();
        if killed {
            told.read(&mut lines, draw(&mut random, IN_FLIGHT));
            for _ in 0..draw(&mut random, 200_000) {
                core::hint::spin_loop();
            }
            child.kill().unwrap();
        }
        told.read(&mut lines, usize::MAX);
        let status = child.wait().unwrap();
        assert_eq!(status.success(), !killed, "{status} in life {life}");
        drop(sender.join().unwrap());
        open.drain(..told.answers);
        delivered.extend(told.delivered);
    }
    assert!(open.is_empty());
    delivered
}

#[test]
fn killed_receiver_that_prefers_no_replay_delivers_nothing_twice() {
    let count = KILLS * IN_FLIGHT * 3;
    let delivered = run(false, count, KILLS);
    let distinct: BTreeSet<usize> = delivered.iter().copied().collect();
    assert_eq!(distinct.len(), delivered.len(), "delivered twice");
    // a lease, and what was in flight
    let missing = count - distinct.len();
    assert!(missing <= KILLS * 66, "{missing} of {count} are missing");
}

#[test]
fn killed_receiver_that_prefers_no_loss_loses_nothing() {
    let count = KILLS * IN_FLIGHT;
    let delivered = run(true, count, KILLS);
    let distinct: BTreeSet<usize> = delivered.iter().copied().collect();
    assert_eq!(distinct.len(), count);
    // what was not confirmed: one message of each life
    let again = delivered.len() - distinct.len();
    assert!(again <= KILLS, "{again} came twice");
}

#[test]
fn second_process_on_a_log_is_refused_until_the_first_is_killed() {
    let (scene, log) = Scene::new();
    drop(log);
    let mut child = child(&scene, false);
    let mut input = child.stdin.take().unwrap();
    let message = &stream(1)[0];
    input.write_all(line(message).as_bytes()).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = Told::default();
    told.read(&mut lines, 2);
    assert_eq!((told.delivered, told.answers), (vec![0], 1), "it has the log open");
    let error = ReplayFile::open(scene.path()).unwrap_err();
    assert!(matches!(error, ReplayFileError::InUse { .. }), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    let mut log = scene.log();
    let mut rx = receiver(&mut log, Prefer::NoReplay);
    assert_eq!(message.open(&mut rx, &mut log), Err(Rejected::TooOld));
    drop(input);
}

#[test]
fn receiver_whose_log_cannot_be_written_delivers_nothing_until_it_can() {
    let (scene, log) = Scene::new();
    drop(log);
    let messages = stream(2);
    let mut child = child(&scene, false);
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = Told::default();
    input.write_all(line(&messages[0]).as_bytes()).unwrap();
    told.read(&mut lines, 2);
    let limited =
        Command::new("prlimit").args(["--fsize=0", "--pid", &child.id().to_string()]).status();
    assert!(limited.unwrap().success());
    input.write_all(line(&messages[1]).as_bytes()).unwrap();
    let failed = lines.map(Result::unwrap).find(|line| line.starts_with("failed")).unwrap();
    assert!(failed.contains("cannot be read or written, File too large"), "{failed}");
    child.wait().unwrap();

    let mut log = scene.log();
    let mut rx = receiver(&mut log, Prefer::NoReplay);
    assert_eq!(messages[0].open(&mut rx, &mut log), Err(Rejected::TooOld));
    assert_eq!(messages[1].open(&mut rx, &mut log), Ok(Verdict::New));
}
