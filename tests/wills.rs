//! Wills on sealed topics, left with a real Mosquitto that loses its clients.
#![cfg(feature = "rumqttc")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use core::time::Duration;
use std::collections::BTreeSet;

use mqtt_seal::client::{Event, EventLoop, Message};
use mqtt_seal::guard::{Guard, QoS};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::policy::{Links, Policy, Rule, Transport};
use mqtt_seal::secret::SharedKey;
use mqtt_seal::{rumqttc_v4, rumqttc_v5};
use support::certs::Certs;
use support::mosquitto::{Mosquitto, Setup};
use support::plain_sub::PlainSub;
use support::relay::Relay;
use support::{DEADLINE, contains};

const MARKER: &str = "0123456789abcdef";
const TOPIC: &str = "sealed/status";

fn guard() -> Guard {
    let rule = Rule::sealed(["sealed/#"]).transport(Transport::Tcp).timestamp(true);
    let shared = SharedKey::take(&mut [7; 32]);
    let keyring = Keyring::new(vec![Grant::shared(&shared, "test").unwrap()]);
    Guard::new(Policy::new(vec![rule.build().unwrap()]), keyring, Links::Tcp).unwrap()
}

fn broker() -> (Certs, Mosquitto) {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    (certs, broker)
}

async fn wait_for<T>(events: &mut EventLoop, pick: impl Fn(Event) -> Option<T>) -> T {
    loop {
        let event = tokio::time::timeout(DEADLINE, events.poll()).await;
        let event = event.expect("nothing happened before the deadline");
        if let Some(picked) = pick(event.expect("the event loop ended")) {
            return picked;
        }
    }
}

async fn link_up(events: &mut EventLoop) {
    wait_for(events, |event| matches!(event, Event::LinkUp { .. }).then_some(())).await;
}

async fn message(events: &mut EventLoop) -> Message {
    wait_for(events, |event| {
        assert!(!matches!(event, Event::Rejected { .. }), "{event:?}");
        match event {
            Event::Message(message) => Some(message),
            _ => None,
        }
    })
    .await
}

/// A subscriber of the broker itself, so that no cut concerns it.
async fn reader(broker: &Mosquitto) -> (rumqttc_v5::AsyncClient, EventLoop) {
    let mqtt = rumqttc::v5::MqttOptions::new("reader", "localhost", broker.tcp_port());
    let options = rumqttc_v5::ClientOptions::new().tcp(mqtt).auto_ack(true);
    let (reader, mut events) = rumqttc_v5::AsyncClient::new(guard(), options, 10).unwrap();
    reader.subscribe("sealed/#", QoS::ExactlyOnce).await.unwrap();
    wait_for(&mut events, |event| matches!(event, Event::Subscribed { .. }).then_some(())).await;
    (reader, events)
}

/// Cuts the writer off three times: each will arrives, each of a session of its own.
async fn arrive_anew(
    relay: &Relay,
    writer: &mut EventLoop,
    seen: &PlainSub,
    reader: &mut EventLoop,
) {
    let mut sessions = BTreeSet::new();
    for number in 1..=3 {
        link_up(writer).await;
        relay.cut().await;
        let will = message(reader).await;
        assert!(will.is_will() && !will.is_deletion());
        assert_eq!((will.topic.as_str(), will.payload.as_slice()), (TOPIC, MARKER.as_bytes()));
        assert!(will.delivery.timestamp.is_some());
        let proof = will.delivery.proof.unwrap();
        assert_eq!(proof.counter(), u32::MAX - 1);
        assert!(sessions.insert(proof.session().to_string()), "{number}");
        let seen = seen.wait_for(number);
        assert!(seen.iter().all(|seen| !contains(&seen.payload, MARKER.as_bytes())));
    }
    assert!(!contains(&relay.to_target(), MARKER.as_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn will_of_mqtt_3_arrives_sealed_and_anew_for_each_connection() {
    let (_certs, broker) = broker();
    let relay = Relay::start(broker.tcp_port()).await;
    let (_reader, mut events) = reader(&broker).await;
    let seen = PlainSub::start(&broker, "#");
    let mut mqtt = rumqttc::MqttOptions::new("writer", "localhost", relay.port());
    let qos = rumqttc::QoS::AtLeastOnce;
    mqtt.set_last_will(rumqttc::LastWill::new(TOPIC, MARKER, qos, false));
    let pause = Duration::from_millis(20);
    let options = rumqttc_v4::ClientOptions::new().tcp(mqtt).reconnect_pause(pause, pause);
    let (_writer, mut written) = rumqttc_v4::AsyncClient::new(guard(), options, 10).unwrap();
    arrive_anew(&relay, &mut written, &seen, &mut events).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn will_of_mqtt_5_arrives_with_its_properties_hidden_inside() {
    let (_certs, broker) = broker();
    let relay = Relay::start(broker.tcp_port()).await;
    let (_reader, mut events) = reader(&broker).await;
    let seen = PlainSub::start(&broker, "#");
    let mut mqtt = rumqttc::v5::MqttOptions::new("writer", "localhost", relay.port());
    let properties = rumqttc::v5::mqttbytes::v5::LastWillProperties {
        delay_interval: None,
        payload_format_indicator: Some(1),
        message_expiry_interval: None,
        content_type: Some(MARKER.into()),
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
    };
    let qos = rumqttc::v5::mqttbytes::QoS::AtLeastOnce;
    let will =
        rumqttc::v5::mqttbytes::v5::LastWill::new(TOPIC, MARKER, qos, false, Some(properties));
    mqtt.set_last_will(will);
    let pause = Duration::from_millis(20);
    let options = rumqttc_v5::ClientOptions::new().tcp(mqtt).reconnect_pause(pause, pause);
    let (_writer, mut written) = rumqttc_v5::AsyncClient::new(guard(), options, 10).unwrap();
    link_up(&mut written).await;
    relay.cut().await;
    let will = message(&mut events).await;
    assert_eq!(will.properties.content_type.as_deref(), Some(MARKER));
    assert_eq!(will.properties.payload_format, Some(true));
    let seen = seen.wait_for(1);
    assert!(!contains(&seen[0].payload, MARKER.as_bytes()));
    assert!(!contains(&relay.to_target(), MARKER.as_bytes()));
    // and anew for the next connection
    link_up(&mut written).await;
    relay.cut().await;
    assert!(message(&mut events).await.is_will());
}

#[tokio::test(flavor = "multi_thread")]
async fn will_is_of_the_session_of_the_status_that_it_replaces() {
    let (_certs, broker) = broker();
    let relay = Relay::start(broker.tcp_port()).await;
    let (_reader, mut events) = reader(&broker).await;
    let mut mqtt = rumqttc::MqttOptions::new("writer", "localhost", relay.port());
    let qos = rumqttc::QoS::AtLeastOnce;
    mqtt.set_last_will(rumqttc::LastWill::new(TOPIC, "gone", qos, false));
    let options = rumqttc_v4::ClientOptions::new().tcp(mqtt);
    let (writer, _written) = rumqttc_v4::AsyncClient::new(guard(), options, 10).unwrap();
    writer.publish(TOPIC, QoS::AtLeastOnce, false, "here").await.unwrap().await.unwrap();
    let status = message(&mut events).await.delivery.proof.unwrap().session();
    relay.cut().await;
    let will = message(&mut events).await;
    assert_eq!(will.delivery.proof.unwrap().session(), status);
}
