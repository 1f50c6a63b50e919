//! Connections cut at random between clients and a real Mosquitto: on sealed rules each message
//! arrives at the application exactly once. `MQTT_SEAL_LONG=1` sends ten times as many.
#![cfg(feature = "rumqttc")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod support;

use core::hash::{BuildHasher, Hasher};
use core::time::Duration;
use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;

use mqtt_seal::client::{AsyncClient, Event, EventLoop};
use mqtt_seal::guard::{Guard, OpenError, QoS};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::policy::{Links, Policy, Rule, Transport};
use mqtt_seal::replay::Rejected;
use mqtt_seal::secret::SharedKey;
use mqtt_seal::{rumqttc_v4, rumqttc_v5};
use support::DEADLINE;
use support::certs::Certs;
use support::mosquitto::{Mosquitto, Setup};
use support::relay::Relay;

/// One in five is of `QoS` 2: 2,000 and 500.
const MESSAGES: usize = 2_500;
/// Between two cuts so many messages arrive, more or less.
const BETWEEN_CUTS: usize = 150;

fn count() -> usize {
    if std::env::var_os("MQTT_SEAL_LONG").is_some() { 10 * MESSAGES } else { MESSAGES }
}

fn guard() -> Guard {
    let rule = Rule::sealed(["sealed/#"]).transport(Transport::Tcp).build().unwrap();
    let shared = SharedKey::take(&mut [7; 32]);
    let keyring = Keyring::new(vec![Grant::shared(&shared, "test").unwrap()]);
    Guard::new(Policy::new(vec![rule]), keyring, Links::Tcp).unwrap()
}

fn broker() -> Mosquitto {
    let certs = Certs::new();
    let lines = &["max_inflight_messages 1000", "autosave_on_changes true"];
    Mosquitto::start(&Setup { persistence: true, lines, ..Setup::new(&certs.good) })
}

/// Publishes everything while the relay is cut at random, and takes leave.
async fn publish<V: 'static>(writer: AsyncClient<V>, mut events: EventLoop) {
    let told = tokio::spawn(async move { while events.poll().await.is_some() {} });
    let mut tickets = Vec::new();
    for number in 0..count() {
        let qos = if number % 5 == 4 { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
        let sent = writer.publish("sealed/a", qos, false, number.to_string());
        tickets.push(sent.await.unwrap());
    }
    for ticket in tickets {
        ticket.await.unwrap();
    }
    writer.disconnect().await.unwrap();
    told.await.unwrap();
}

/// Takes everything in, and cuts the writer off again and again.
async fn arrive_once(relay: &Relay, events: &mut EventLoop) -> usize {
    let mut numbers = BTreeSet::new();
    let (mut until, mut cuts) = (BETWEEN_CUTS, 0);
    while numbers.len() < count() {
        let event = tokio::time::timeout(DEADLINE, events.poll()).await;
        match event.expect("messages were lost").expect("the event loop ended") {
            Event::Message(message) => {
                let text = String::from_utf8(message.payload).unwrap();
                assert!(numbers.insert(text.parse::<usize>().unwrap()), "{text} twice");
            }
            Event::Rejected { reason, .. } => {
                assert_eq!(reason, OpenError::Rejected(Rejected::Duplicate));
            }
            _ => {}
        }
        if numbers.len() >= until {
            relay.cut().await;
            cuts += 1;
            let random = RandomState::new().build_hasher().finish();
            until = numbers.len() + usize::try_from(random % 300).unwrap();
        }
    }
    cuts
}

async fn subscribed(events: &mut EventLoop) {
    while !matches!(events.poll().await, Some(Event::Subscribed { .. })) {}
}

const PAUSE: Duration = Duration::from_millis(5);

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_of_mqtt_3_lose_and_repeat_nothing() {
    use rumqttc_v4::{AsyncClient, ClientOptions};
    let broker = broker();
    let relay = Relay::start(broker.tcp_port()).await;
    let mqtt =
        |id, port| ClientOptions::new().tcp(rumqttc::MqttOptions::new(id, "localhost", port));
    let options = mqtt("reader", broker.tcp_port()).auto_ack(true);
    let (reader, mut events) = AsyncClient::new(guard(), options, 10).unwrap();
    reader.subscribe("sealed/#", QoS::ExactlyOnce).await.unwrap();
    subscribed(&mut events).await;
    let options = mqtt("writer", relay.port()).reconnect_pause(PAUSE, PAUSE);
    let (writer, written) = AsyncClient::new(guard(), options, 100).unwrap();
    let publishing = tokio::spawn(publish(writer, written));
    assert!(arrive_once(&relay, &mut events).await > 3);
    tokio::time::timeout(DEADLINE, publishing).await.expect("it goes on").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_of_mqtt_5_lose_and_repeat_nothing() {
    use rumqttc_v5::{AsyncClient, ClientOptions};
    let broker = broker();
    let relay = Relay::start(broker.tcp_port()).await;
    let mqtt =
        |id, port| ClientOptions::new().tcp(rumqttc::v5::MqttOptions::new(id, "localhost", port));
    let options = mqtt("reader", broker.tcp_port()).auto_ack(true);
    let (reader, mut events) = AsyncClient::new(guard(), options, 10).unwrap();
    reader.subscribe("sealed/#", QoS::ExactlyOnce).await.unwrap();
    subscribed(&mut events).await;
    let options = mqtt("writer", relay.port()).reconnect_pause(PAUSE, PAUSE);
    let (writer, written) = AsyncClient::new(guard(), options, 100).unwrap();
    let publishing = tokio::spawn(publish(writer, written));
    assert!(arrive_once(&relay, &mut events).await > 3);
    tokio::time::timeout(DEADLINE, publishing).await.expect("it goes on").unwrap();
}
