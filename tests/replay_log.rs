//! A client that is made again on its replay log, against a real Mosquitto.
#![cfg(all(feature = "rumqttc", feature = "store"))]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;
use std::path::Path;

use mqtt_seal::guard::{
    Guard, MemoryLog, OpenError, Prefer, QoS, ROW_KEY_LEN, ReplayLog, RestoreError, RowKey, Write,
};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::policy::{Links, Policy, Rule, Transport};
use mqtt_seal::replay::Rejected;
use mqtt_seal::rumqttc_v4::{AsyncClient, ClientOptions, ConfigError, Event, EventLoop};
use mqtt_seal::secret::SharedKey;
use mqtt_seal::store::outbox_file::OutboxFile;
use mqtt_seal::store::replay_file::ReplayFile;
use rumqttc::MqttOptions;
use support::DEADLINE;
use support::certs::Certs;
use support::mosquitto::{Mosquitto, Setup, mosquitto_pub};
use support::plain_sub::PlainSub;

fn guard() -> Guard {
    let rule = Rule::sealed(["sealed/#"]).transport(Transport::Tcp).build().unwrap();
    let shared = SharedKey::take(&mut [7; 32]);
    let keyring = Keyring::new(vec![Grant::shared(&shared, "test").unwrap()]);
    Guard::new(Policy::new(vec![rule]), keyring, Links::Tcp).unwrap()
}

fn options(port: u16) -> ClientOptions {
    ClientOptions::new().tcp(MqttOptions::new("both", "localhost", port))
}

fn client(options: ClientOptions) -> (AsyncClient, EventLoop) {
    AsyncClient::new(guard(), options, 10).unwrap()
}

fn logged(port: u16, path: &Path) -> ClientOptions {
    options(port).replay_log(ReplayFile::open(path).unwrap(), Prefer::NoReplay).unwrap()
}

async fn wait_for<T>(events: &mut EventLoop, pick: impl Fn(Event) -> Option<T>) -> T {
    loop {
        let event = tokio::time::timeout(DEADLINE, events.poll()).await.expect("it never came");
        if let Some(picked) = pick(event.expect("the event loop ended")) {
            return picked;
        }
    }
}

async fn subscribed(client: &AsyncClient, events: &mut EventLoop) {
    client.subscribe("sealed/#", QoS::AtLeastOnce).await.unwrap();
    wait_for(events, |event| matches!(event, Event::Subscribed { .. }).then_some(())).await;
}

async fn rejected(events: &mut EventLoop) -> OpenError {
    wait_for(events, |event| match event {
        Event::Rejected { reason, .. } => Some(reason),
        _ => None,
    })
    .await
}

/// Publishes to itself, acknowledges, takes leave; the bytes that the broker saw.
async fn first_run(broker: &Mosquitto, path: &Path) -> Vec<u8> {
    drop(ReplayFile::create(path).unwrap());
    let seen = PlainSub::start(broker, "sealed/#");
    let (both, mut events) = client(logged(broker.tcp_port(), path));
    subscribed(&both, &mut events).await;
    let ticket = both.publish("sealed/a", QoS::AtLeastOnce, false, "27").await.unwrap();
    let is_message = |event| match event {
        Event::Message(message) => Some(message),
        _ => None,
    };
    both.ack(&wait_for(&mut events, is_message).await).await.unwrap();
    ticket.await.unwrap();
    both.disconnect().await.unwrap();
    while events.poll().await.is_some() {}
    seen.wait_for(1)[0].payload.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn message_of_the_run_before_is_a_duplicate_after_a_clean_end() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let bytes = first_run(&broker, &path).await;
    let (both, mut events) = client(logged(broker.tcp_port(), &path));
    subscribed(&both, &mut events).await;
    assert!(mosquitto_pub(broker.tcp_port(), "sealed/a", &bytes, &[]));
    assert_eq!(rejected(&mut events).await, OpenError::Rejected(Rejected::Duplicate));
}

#[tokio::test]
async fn log_with_rows_that_are_none_starts_no_client() {
    let mut log = MemoryLog::default();
    log.write(&[Write::Put(RowKey::new([9; ROW_KEY_LEN]), vec![1])]).unwrap();
    let options = options(1).replay_log(log, Prefer::NoReplay).unwrap();
    let refused = AsyncClient::new(guard(), options, 10).map(drop).unwrap_err();
    assert!(matches!(refused, ConfigError::ReplayLog(RestoreError::Damaged)), "{refused}");
}

// on one thread, so that the link connects when the subscription was asked for
#[tokio::test]
async fn stored_message_of_the_run_before_is_known_as_own() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("outbox"), folder.path().join("copy"));
    let durable = |port, path: &Path| options(port).durable_outbox(OutboxFile::open(path).unwrap());
    let (writer, _events) = client(durable(1, &path).unwrap());
    writer.publish("sealed/a", QoS::AtLeastOnce, false, "27").await.unwrap();
    fs::copy(&path, &copy).unwrap();
    // subscriptions go out before messages
    let (both, mut events) = client(durable(broker.tcp_port(), &copy).unwrap());
    both.try_subscribe("sealed/#", QoS::AtLeastOnce).unwrap();
    let own = wait_for(&mut events, |event| match event {
        Event::Message(message) => Some(message.delivery.own),
        _ => None,
    });
    assert!(own.await);
}
