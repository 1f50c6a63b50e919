//! A publisher with a durable outbox is killed at random, and started again.

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mqtt_seal::client::Event;
use mqtt_seal::guard::OpenError;
use mqtt_seal::replay::Rejected;
use mqtt_seal::{rumqttc_v4::V4, rumqttc_v5::V5};

use crate::scene::{Extras, Version, broker, count, parse, qos, random, reader, soon};

/// Tells a child from an ordinary run of the tests: version, port, first number, outbox.
const CHILD: &str = "MQTT_SEAL_CHAOS_PUBLISHER";
const ACCEPTED: &str = "accepted ";
/// Before a kill at most so many messages are accepted.
const BETWEEN_KILLS: usize = 500;

/// Publishes from a number on, and says what was accepted.
async fn serve<V: Version>(port: u16, first: usize, outbox: &Path, mut tell: impl FnMut(usize)) {
    let extras = Extras { outbox: Some(outbox.into()), ..Extras::default() };
    let (writer, mut events) = V::client("writer", port, extras);
    for number in first..count() {
        writer.publish("sealed/a", qos(number), false, number.to_string()).await.unwrap();
        tell(number);
    }
    writer.disconnect().await.unwrap();
    while events.poll().await.is_some() {}
}

/// What a child runs; in an ordinary run there is nothing left to publish.
#[tokio::test]
async fn publisher_of_a_process_takes_leave_when_all_is_acknowledged() {
    let Ok(child) = env::var(CHILD) else {
        let folder = tempfile::tempdir().unwrap();
        let (_certs, broker) = broker();
        let mut told = 0;
        let path = folder.path().join("outbox");
        serve::<V4>(broker.tcp_port(), count() - 3, &path, |_| told += 1).await;
        assert_eq!(told, 3);
        return;
    };
    let mut parts = child.splitn(4, ' ');
    let mut part = || parts.next().unwrap();
    let (version, port, first) = (part(), part().parse().unwrap(), part().parse().unwrap());
    let outbox = Path::new(part());
    let tell = |number| writeln!(std::io::stdout(), "\n{ACCEPTED}{number}").unwrap();
    if version == V4::NAME {
        serve::<V4>(port, first, outbox, tell).await;
    } else {
        serve::<V5>(port, first, outbox, tell).await;
    }
}

fn child<V: Version>(port: u16, first: usize, outbox: &Path) -> Child {
    let name = "publisher::publisher_of_a_process_takes_leave_when_all_is_acknowledged";
    Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, format!("{} {port} {first} {}", V::NAME, outbox.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Lets one child after the other publish, each from behind what may have been accepted before.
/// Returns what was accepted for certain, and the number of kills.
fn lives<V: Version>(port: u16, outbox: &Path) -> (BTreeSet<usize>, usize) {
    let (mut accepted, mut first, mut kills) = (BTreeSet::new(), 0, 0);
    loop {
        let mut child = child::<V>(port, first, outbox);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut left = 1 + random(BETWEEN_KILLS);
        for line in lines {
            let Some(number) = line.unwrap().strip_prefix(ACCEPTED).map(|n| parse(n.as_bytes()))
            else {
                continue;
            };
            accepted.insert(number);
            // one more may be stored that the child had no time to tell of
            first = number + 2;
            left = left.saturating_sub(1);
            if left == 0 {
                child.kill().unwrap();
            }
        }
        if child.wait().unwrap().success() {
            return (accepted, kills);
        }
        kills += 1;
    }
}

fn take(event: Event, numbers: &mut BTreeSet<usize>) {
    match event {
        Event::Message(message) => {
            let number = parse(&message.payload);
            assert!(numbers.insert(number), "{number} twice");
        }
        Event::Rejected { reason, .. } => {
            assert_eq!(reason, OpenError::Rejected(Rejected::Duplicate));
        }
        _ => {}
    }
}

async fn kill<V: Version>() {
    let (_certs, broker) = broker();
    let folder = tempfile::tempdir().unwrap();
    let (port, path) = (broker.tcp_port(), folder.path().join("outbox"));
    let (_reader, mut events) = reader::<V>(port).await;
    let mut lives = tokio::task::spawn_blocking(move || lives::<V>(port, &path));
    let mut numbers = BTreeSet::new();
    let mut told: Option<(BTreeSet<usize>, usize)> = None;
    while !told.as_ref().is_some_and(|(accepted, _)| accepted.is_subset(&numbers)) {
        tokio::select! {
            event = soon(events.poll()) => {
                take(event.expect("the event loop ended"), &mut numbers);
            }
            outcome = &mut lives, if told.is_none() => told = Some(outcome.unwrap()),
        }
    }
    let (accepted, kills) = told.unwrap();
    assert!(kills > 1, "{kills}");
    let sent = accepted.len();
    println!("mqtt {}: {sent} accepted, {kills} kills, lost/twice 0/0", V::NAME);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_publisher_of_mqtt_3_loses_and_repeats_nothing() {
    kill::<V4>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_publisher_of_mqtt_5_loses_and_repeats_nothing() {
    kill::<V5>().await;
}
