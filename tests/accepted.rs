//! What a client has accepted: told, bounded, stored, and sent after all. Against a real Mosquitto.
#![cfg(all(feature = "rumqttc", feature = "store"))]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use core::ops::Range;
use core::time::Duration;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mqtt_seal::guard::{Guard, OpenError, QoS, SealError};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::policy::{Link, Links, Policy, Replay, Rule, Transport};
use mqtt_seal::replay::{Rejected, Verdict};
use mqtt_seal::rumqttc_v4::{AsyncClient, ClientError, ClientOptions, Event, EventLoop, Message};
use mqtt_seal::secret::SharedKey;
use mqtt_seal::session::{CounterStore, LeaseError};
use mqtt_seal::store::counter_file::{CounterFile, Rollback};
use mqtt_seal::store::outbox_file::OutboxFile;
use mqtt_seal::suite::Suite;
use mqtt_seal::wire::{Form, SenderNumber};
use rumqttc::MqttOptions;
use support::certs::Certs;
use support::mosquitto::{Mosquitto, Setup, mosquitto_pub};
use support::plain_sub::PlainSub;
use support::{DEADLINE, contains, wait_until};

const MARKER: &str = "0123456789abcdef";
const RELIABLE: [QoS; 2] = [QoS::AtLeastOnce, QoS::ExactlyOnce];

fn number() -> SenderNumber {
    SenderNumber::new(5).unwrap()
}

fn policy() -> Policy {
    let rule = |rule: mqtt_seal::policy::RuleBuilder| rule.transport(Transport::Tcp).build();
    let compact = Rule::sealed(["compact/#"]).suite(Suite::Aes256GcmSiv).form(Form::Compact);
    let rules = [Rule::sealed(["sealed/#"]), Rule::clear(["clear/#"]), compact];
    Policy::new(rules.map(|builder| rule(builder).unwrap()).into())
}

fn guard() -> Guard {
    guard_of(policy())
}

fn guard_of(policy: Policy) -> Guard {
    let grant = Grant::shared(&SharedKey::take(&mut [7; 32]), "test").unwrap();
    let keyring = Keyring::new(vec![grant.with_sender(number())]);
    Guard::new(policy, keyring, Links::Tcp).unwrap()
}

fn options(id: &str, port: u16) -> ClientOptions {
    let pause = Duration::from_millis(20);
    let options = ClientOptions::new().tcp(MqttOptions::new(id, "localhost", port));
    options.reconnect_pause(pause, Duration::from_millis(200))
}

fn client(options: ClientOptions) -> (AsyncClient, EventLoop) {
    AsyncClient::new(guard(), options, 10).unwrap()
}

fn durable(id: &str, port: u16, path: &Path) -> ClientOptions {
    options(id, port).durable_outbox(OutboxFile::open(path).unwrap()).unwrap()
}

/// Drops a client; returns when its links have ended and its outbox is closed.
fn gone(client: (AsyncClient, EventLoop), path: &Path) {
    drop(client);
    let show = || path.display().to_string();
    wait_until("end of the client", show, || OutboxFile::open(path).is_ok());
}

fn broker() -> (Certs, Mosquitto) {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    (certs, broker)
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it never came")
}

async fn wait_for<T>(events: &mut EventLoop, pick: impl Fn(Event) -> Option<T>) -> T {
    loop {
        let event = soon(events.poll()).await.expect("the event loop ended");
        if let Some(picked) = pick(event) {
            return picked;
        }
    }
}

async fn message(events: &mut EventLoop) -> Message {
    wait_for(events, |event| match event {
        Event::Message(message) => Some(message),
        _ => None,
    })
    .await
}

async fn subscribed(client: &AsyncClient, events: &mut EventLoop, filter: &str) {
    client.subscribe(filter, QoS::ExactlyOnce).await.unwrap();
    wait_for(events, |event| matches!(event, Event::Subscribed { .. }).then_some(())).await;
}

async fn link_up(events: &mut EventLoop) {
    wait_for(events, |event| matches!(event, Event::LinkUp { .. }).then_some(())).await;
}

#[tokio::test]
async fn ticket_of_every_qos_comes_from_a_real_broker() {
    let (_certs, broker) = broker();
    let (writer, mut events) = client(options("writer", broker.tcp_port()));
    link_up(&mut events).await;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let ticket = writer.publish("sealed/a", qos, false, MARKER).await.unwrap();
        assert_eq!(soon(ticket).await, Ok(()));
    }
    let unheard = writer.try_publish("sealed/a", QoS::AtLeastOnce, false, MARKER).unwrap();
    drop(unheard);
    writer.try_disconnect().unwrap();
    while soon(events.poll()).await.is_some() {}
    let late = writer.try_publish("sealed/a", QoS::AtMostOnce, false, MARKER);
    assert_eq!(late.map(drop), Err(ClientError::Closed));
}

#[tokio::test]
async fn message_of_qos_0_without_link_or_room_is_let_go_at_once() {
    let (_certs, mut broker) = broker();
    broker.stop();
    let (writer, mut events) = client(options("writer", broker.tcp_port()).outbox_bytes(100));
    let offline = writer.publish("sealed/a", QoS::AtMostOnce, false, MARKER).await.unwrap();
    assert_eq!(soon(offline).await, Err(ClientError::Dropped));
    // as many bytes as there is room for, and longer than that alone
    writer.try_publish("clear/a", QoS::AtLeastOnce, false, vec![7; 200]).unwrap();
    let full = writer.try_publish("clear/a", QoS::AtLeastOnce, false, "");
    assert_eq!(full.map(drop), Err(ClientError::Full));
    let full = writer.try_publish("clear/a", QoS::AtMostOnce, false, "").unwrap();
    assert_eq!(soon(full).await, Err(ClientError::Dropped));
    let counted = |event| match event {
        Event::Dropped { count, .. } => Some(count),
        _ => None,
    };
    let mut dropped = 0;
    while dropped < 2 {
        dropped += wait_for(&mut events, counted).await;
    }
    broker.restart();
    let room = writer.publish("clear/a", QoS::AtLeastOnce, false, "").await.unwrap();
    assert_eq!(soon(room).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn publisher_that_dies_sends_what_it_had_accepted_as_the_same_bytes() {
    let (_certs, mut broker) = broker();
    broker.stop();
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("outbox"), folder.path().join("copy"));
    let (writer, events) = client(durable("writer", broker.tcp_port(), &path));
    for qos in RELIABLE {
        writer.publish("sealed/a", qos, false, MARKER).await.unwrap();
    }
    let stored = fs::read(&path).unwrap();
    assert!(!contains(&stored, MARKER.as_bytes()));
    writer.publish("clear/a", QoS::AtLeastOnce, false, MARKER).await.unwrap();
    // as a process that is killed leaves it, whatever this one does later
    fs::copy(&path, &copy).unwrap();
    gone((writer, events), &path);
    let stored = fs::read(&copy).unwrap();
    assert!(contains(&stored, MARKER.as_bytes()));

    broker.restart();
    let seen = PlainSub::start(&broker, "#");
    let (writer, mut events) = client(durable("writer", broker.tcp_port(), &copy));
    writer.publish("clear/last", QoS::AtLeastOnce, false, "last").await.unwrap();
    let mut seen = seen.wait_for(4);
    seen.sort_by(|a, b| b.topic.cmp(&a.topic));
    let topics: Vec<_> = seen.iter().map(|seen| seen.topic.as_str()).collect();
    assert_eq!(topics, ["sealed/a", "sealed/a", "clear/last", "clear/a"]);
    for sealed in &seen[..2] {
        assert!(contains(&stored, &sealed.payload));
    }
    // what was acknowledged is gone
    writer.disconnect().await.unwrap();
    while soon(events.poll()).await.is_some() {}
    assert_eq!(OutboxFile::open(&copy).unwrap().waiting().unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_message_opens_once_however_often_it_is_sent() {
    let (_certs, mut broker) = broker();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox");
    broker.stop();
    let (writer, events) = client(durable("writer", broker.tcp_port(), &path));
    writer.publish("sealed/a", QoS::AtLeastOnce, false, MARKER).await.unwrap();
    let copies = ["first", "second"].map(|name| folder.path().join(name));
    for copy in &copies {
        fs::copy(&path, copy).unwrap();
    }
    gone((writer, events), &path);
    broker.restart();
    let (reader, mut events) = client(options("reader", broker.tcp_port()).auto_ack(true));
    subscribed(&reader, &mut events, "sealed/#").await;
    let _running = copies.map(|copy| {
        let id = copy.file_name().unwrap().to_str().unwrap();
        client(durable(id, broker.tcp_port(), &copy))
    });
    let mut told = BTreeSet::new();
    while told.len() < 2 {
        told.insert(
            wait_for(&mut events, |event| match event {
                Event::Message(message) => Some(message.delivery.verdict.unwrap() == Verdict::New),
                Event::Rejected { reason, .. } => {
                    Some(reason != OpenError::Rejected(Rejected::Duplicate))
                }
                _ => None,
            })
            .await,
        );
    }
}

#[tokio::test]
async fn stored_message_without_a_rule_is_told_and_stays_for_a_start_that_has_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox");
    let (writer, _events) = client(durable("writer", 1, &path));
    writer.publish("clear/a", QoS::AtLeastOnce, false, MARKER).await.unwrap();
    let copy = folder.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    let sealed = Rule::sealed(["sealed/#"]).transport(Transport::Tcp).build().unwrap();
    let guard = guard_of(Policy::new(vec![sealed]));
    let (writer, mut events) = AsyncClient::new(guard, durable("writer", 1, &copy), 10).unwrap();
    let failed = wait_for(&mut events, |event| match event {
        Event::StaysStored { topic, reason, .. } => Some((topic, reason)),
        _ => None,
    });
    assert_eq!(failed.await, ("clear/a".into(), SealError::Refused));
    writer.disconnect().await.unwrap();
    while soon(events.poll()).await.is_some() {}
    assert_eq!(OutboxFile::open(&copy).unwrap().waiting().unwrap(), 1);
    let (_certs, broker) = broker();
    let (writer, mut events) = client(durable("writer", broker.tcp_port(), &copy));
    link_up(&mut events).await;
    writer.disconnect().await.unwrap();
    while soon(events.poll()).await.is_some() {}
    assert_eq!(OutboxFile::open(&copy).unwrap().waiting().unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_clear_message_is_sealed_where_its_rule_seals_now() {
    let (_certs, mut broker) = broker();
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("outbox"), folder.path().join("copy"));
    broker.stop();
    let (writer, events) = client(durable("writer", broker.tcp_port(), &path));
    writer.publish("clear/a", QoS::AtLeastOnce, false, MARKER).await.unwrap();
    fs::copy(&path, &copy).unwrap();
    gone((writer, events), &path);
    broker.restart();
    let seen = PlainSub::start(&broker, "#");
    let all = Rule::sealed(["#"]).transport(Transport::Tcp).build().unwrap();
    let options = durable("other", broker.tcp_port(), &copy);
    let _running = AsyncClient::new(guard_of(Policy::new(vec![all])), options, 10).unwrap();
    assert_eq!(seen.wait_for(1)[0].payload[0], 0xFC);
}

#[tokio::test]
async fn counters_of_compact_form_are_reserved_as_they_are_used() {
    const MESSAGES: usize = 3_000;
    let (_certs, broker) = broker();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("counters");
    CounterFile::provision(&path, number()).unwrap();
    let store = CounterFile::open(&path, number(), Rollback::Possible).unwrap();
    let (reader, mut events) = client(options("reader", broker.tcp_port()).auto_ack(true));
    subscribed(&reader, &mut events, "compact/#").await;
    let options = options("writer", broker.tcp_port()).counter_store(number(), store);
    let (writer, _written) = client(options);
    tokio::spawn(async move {
        for _ in 0..MESSAGES {
            writer.publish("compact/a", QoS::AtLeastOnce, false, "27").await.unwrap();
        }
        writer.disconnect().await.unwrap();
    });
    let mut counters = BTreeSet::new();
    for _ in 0..MESSAGES {
        let proof = message(&mut events).await.delivery.proof.unwrap();
        assert!(counters.insert(proof.counter()));
    }
    assert_eq!(counters.last().copied(), u32::try_from(MESSAGES - 1).ok());
}

/// A store that gives counters once.
struct Once(bool);

impl CounterStore for Once {
    type Error = std::io::Error;

    fn cannot_roll_back(&self) -> bool {
        false
    }

    fn reserve(&mut self, count: u32) -> Result<Range<u32>, std::io::Error> {
        if core::mem::replace(&mut self.0, true) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Ok(0..count.min(4))
    }
}

#[tokio::test]
async fn message_without_counters_is_refused_and_the_store_named() {
    let (_certs, broker) = broker();
    let options = options("writer", broker.tcp_port()).counter_store(number(), Once(false));
    let (writer, mut events) = client(options);
    link_up(&mut events).await;
    let error = LeaseError::NeedsLease { count: 1 };
    let exhausted = ClientError::Seal(SealError::Lease { number: number(), error });
    let mut sent = 0;
    let refused = loop {
        match writer.publish("compact/a", QoS::AtLeastOnce, false, "27").await {
            Ok(ticket) => soon(ticket).await.unwrap(),
            Err(error) => break error,
        }
        sent += 1;
    };
    assert_eq!((sent, refused), (4, exhausted));
    let failed = wait_for(&mut events, |event| match event {
        Event::CountersFailed { number, error, .. } => Some((number, error.to_string())),
        _ => None,
    });
    assert_eq!(failed.await, (number(), "no storage space".into()));
    // the link goes on
    let other = writer.publish("clear/a", QoS::AtLeastOnce, false, "27").await.unwrap();
    assert_eq!(soon(other).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn unacknowledged_message_is_delivered_again_and_an_acknowledged_one_is_not() {
    let (_certs, broker) = broker();
    let seen = PlainSub::start(&broker, "sealed/#");
    let (both, mut events) = client(options("both", broker.tcp_port()));
    subscribed(&both, &mut events, "sealed/#").await;
    both.publish("sealed/a", QoS::AtLeastOnce, false, MARKER).await.unwrap();
    let first = message(&mut events).await;
    assert_eq!(first.delivery.verdict, Some(Verdict::New));
    let bytes = seen.wait_for(1)[0].payload.clone();
    let again = || assert!(mosquitto_pub(broker.tcp_port(), "sealed/a", &bytes, &[]));
    again();
    let second = message(&mut events).await;
    assert_eq!(second.delivery.verdict, Some(Verdict::Redelivered));
    both.ack(&first).await.unwrap();
    again();
    let rejected = wait_for(&mut events, |event| match event {
        Event::Rejected { topic, link, reason, .. } => Some((topic, link, reason)),
        _ => None,
    });
    let duplicate = OpenError::Rejected(Rejected::Duplicate);
    assert_eq!(rejected.await, ("sealed/a".into(), Link::Tcp, duplicate));
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_is_authentic_if_sealed_and_told_apart_if_not() {
    let (_certs, broker) = broker();
    let (both, mut events) = client(options("both", broker.tcp_port()));
    both.subscribe_many([("sealed/#", QoS::AtLeastOnce), ("clear/#", QoS::AtLeastOnce)])
        .await
        .unwrap();
    for _ in 0..2 {
        wait_for(&mut events, |event| matches!(event, Event::Subscribed { .. }).then_some(()))
            .await;
    }
    both.delete("sealed/a", QoS::AtLeastOnce, true).await.unwrap();
    let deletion = message(&mut events).await;
    assert!(deletion.is_deletion() && deletion.payload.is_empty());
    both.publish("sealed/a", QoS::AtLeastOnce, true, "").await.unwrap();
    let cleared = wait_for(&mut events, |event| match event {
        Event::Cleared { topic, link, .. } => Some((topic, link)),
        _ => None,
    });
    assert_eq!(cleared.await, ("sealed/a".into(), Link::Tcp));
    // the broker keeps nothing of either
    both.subscribe("sealed/a", QoS::AtLeastOnce).await.unwrap();
    both.publish("clear/b", QoS::AtLeastOnce, false, "").await.unwrap();
    assert_eq!(message(&mut events).await.topic, "clear/b");
}

#[tokio::test]
async fn first_command_after_the_start_is_fresh() {
    let (_certs, broker) = broker();
    let rule = Rule::sealed(["command/#"]).replay(Replay::Fresh).timestamp(true);
    let policy = Policy::new(vec![rule.transport(Transport::Tcp).build().unwrap()]);
    let options = options("both", broker.tcp_port());
    let (both, mut events) = AsyncClient::new(guard_of(policy), options, 10).unwrap();
    subscribed(&both, &mut events, "command/#").await;
    both.publish("command/a", QoS::AtLeastOnce, false, MARKER).await.unwrap();
    assert_eq!(message(&mut events).await.delivery.verdict, Some(Verdict::Fresh));
}

#[tokio::test]
async fn subscribing_many_asks_for_all_or_none() {
    let (_certs, broker) = broker();
    let (reader, mut events) = client(options("reader", broker.tcp_port()));
    let refused = reader.subscribe_many([("clear/#", QoS::AtMostOnce), ("a/#/b", QoS::AtMostOnce)]);
    assert!(matches!(refused.await, Err(ClientError::Filter(_))));
    reader.subscribe("sealed/#", QoS::AtMostOnce).await.unwrap();
    let first = wait_for(&mut events, |event| match event {
        Event::Subscribed { filter, .. } => Some(filter),
        _ => None,
    });
    assert_eq!(first.await, "sealed/#");
}
