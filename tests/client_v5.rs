//! The rumqttc adapter for MQTT 5 against a real Mosquitto.
#![cfg(all(feature = "rumqttc", feature = "tls"))]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use core::time::Duration;
use std::collections::BTreeSet;

use mqtt_seal::guard::{Guard, OpenError, Protection, SealError};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::policy::{Link, Links, Policy, PropertyHandling, Rule, Transport};
use mqtt_seal::rumqttc_v4;
use mqtt_seal::rumqttc_v5::{AsyncClient, ClientError, ClientOptions, Event, EventLoop};
use mqtt_seal::rumqttc_v5::{Ending, LinkError, Message, PropertyFault, PublishProperties};
use mqtt_seal::rumqttc_v5::{PublishRefusal, QoS, ReplyError};
use mqtt_seal::secret::SharedKey;
use mqtt_seal::topic::TopicError;
use rumqttc::v5::MqttOptions;
use support::certs::Certs;
use support::fake_broker::{FakeBroker, publish_packet};
use support::mosquitto::{Mosquitto, Setup, mosquitto_pub};
use support::plain_sub::PlainSub;
use support::relay::Relay;
use support::{DEADLINE, contains};

const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const MARKER: &str = "0123456789abcdef";

/// One topic tree for each way to treat properties, and one in clear.
fn policy() -> Policy {
    let sealed = |filter: &str, properties| {
        let rule = Rule::sealed([filter]).transport(Transport::Tcp).properties(properties);
        rule.build().unwrap()
    };
    Policy::new(vec![
        sealed("carry/#", PropertyHandling::Carry),
        sealed("bind/#", PropertyHandling::Bind),
        sealed("ignore/#", PropertyHandling::Ignore),
        Rule::clear(["clear/#"]).transport(Transport::Tcp).build().unwrap(),
    ])
}

fn guard() -> Guard {
    let shared = SharedKey::take(&mut [7; 32]);
    let keyring = Keyring::new(vec![Grant::shared(&shared, "test")]);
    Guard::new(policy(), keyring, Links::Tcp).unwrap()
}

fn options() -> ClientOptions {
    let pause = Duration::from_millis(20);
    ClientOptions::new().reconnect_pause(pause, Duration::from_millis(200))
}

fn client(id: &str, port: u16) -> (AsyncClient, EventLoop) {
    let options = options().tcp(MqttOptions::new(id, "localhost", port));
    AsyncClient::new(guard(), options, 10).unwrap()
}

fn client_v4(id: &str, port: u16) -> (rumqttc_v4::AsyncClient, EventLoop) {
    let mqtt = rumqttc::MqttOptions::new(id, "localhost", port);
    let options = rumqttc_v4::ClientOptions::new().tcp(mqtt);
    rumqttc_v4::AsyncClient::new(guard(), options, 10).unwrap()
}

fn broker_with(lines: &[&str]) -> Mosquitto {
    let certs = Certs::new();
    Mosquitto::start(&Setup { lines, ..Setup::new(&certs.good) })
}

/// All that an application may set.
fn all_properties() -> PublishProperties {
    PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(3_600),
        response_topic: Some("carry/answers".into()),
        correlation_data: Some(b"correlation-marker".to_vec().into()),
        user_properties: vec![("k".into(), "v".into()), ("k".into(), "w".into())],
        content_type: Some("text/marker".into()),
        ..PublishProperties::default()
    }
}

/// Whether these are the properties of [`all_properties`].
fn is_all(message: &Message) -> bool {
    let properties = &message.properties;
    properties.payload_format == Some(true)
        && properties.response_topic.as_deref() == Some("carry/answers")
        && properties.correlation_data.as_deref() == Some(b"correlation-marker")
        && properties.user == [("k".into(), "v".into()), ("k".into(), "w".into())]
        && properties.content_type.as_deref() == Some("text/marker")
}

async fn next(events: &mut EventLoop) -> Option<Event> {
    let event = tokio::time::timeout(DEADLINE, events.poll()).await;
    event.expect("nothing happened before the deadline")
}

/// The next event that `pick` wants; the others are let go.
async fn wait_for<T>(events: &mut EventLoop, pick: impl Fn(Event) -> Option<T>) -> T {
    loop {
        let event = next(events).await.expect("the event loop ended");
        if let Some(picked) = pick(event) {
            return picked;
        }
    }
}

async fn message(events: &mut EventLoop) -> Message {
    wait_for(events, |event| match event {
        Event::Message(message) => Some(message),
        Event::Rejected { topic, reason, .. } => panic!("{topic} rejected: {reason}"),
        _ => None,
    })
    .await
}

async fn rejected(events: &mut EventLoop) -> (String, OpenError) {
    wait_for(events, |event| match event {
        Event::Rejected { topic, reason, .. } => Some((topic, reason)),
        _ => None,
    })
    .await
}

/// The next message that was given up. The connection must not have been lost before.
async fn failed(events: &mut EventLoop) -> (String, ClientError) {
    wait_for(events, |event| match event {
        Event::PublishFailed { topic, reason, .. } => Some((topic, reason)),
        Event::LinkDown { error, .. } => panic!("the link went down: {error}"),
        _ => None,
    })
    .await
}

async fn link_down(events: &mut EventLoop) -> LinkError {
    wait_for(events, |event| match event {
        Event::LinkDown { error, .. } => Some(error),
        _ => None,
    })
    .await
}

async fn link_up(events: &mut EventLoop) {
    let up = |event| matches!(event, Event::LinkUp { .. }).then_some(());
    wait_for(events, up).await;
}

async fn subscribed<V>(
    client: &mqtt_seal::client::AsyncClient<V>,
    events: &mut EventLoop,
    wanted: &str,
) {
    client.subscribe(wanted, QoS::ExactlyOnce).await.unwrap();
    wait_for(events, |event| match event {
        Event::Subscribed { filter, link: Link::Tcp, .. } if filter == wanted => Some(()),
        _ => None,
    })
    .await;
}

#[tokio::test]
async fn messages_of_every_qos_arrive_with_their_properties() {
    let broker = broker_with(&[]);
    let seen = PlainSub::start(&broker, "#");
    let (client, mut events) = client("both", broker.tcp_port());
    subscribed(&client, &mut events, "#").await;
    for qos in LEVELS {
        for topic in ["carry/a", "bind/a", "ignore/a", "clear/a"] {
            let sent = client.publish_with_properties(topic, qos, false, MARKER, all_properties());
            sent.await.unwrap();
            let message = message(&mut events).await;
            assert_eq!((message.topic.as_str(), message.qos), (topic, qos));
            assert_eq!(message.payload, MARKER.as_bytes());
            assert!(is_all(&message), "{topic}: {message:?}");
            let clear = topic == "clear/a";
            assert_eq!(message.delivery.protection == Protection::Clear, clear);
            client.ack(&message).await.unwrap();
        }
    }
    for seen in seen.wait_for(12) {
        let clear = seen.topic == "clear/a";
        assert_eq!(contains(&seen.payload, MARKER.as_bytes()), clear);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn carried_properties_are_hidden_and_bound_ones_are_not() {
    let broker = broker_with(&[]);
    let relay = Relay::start(broker.tcp_port()).await;
    let (client, mut events) = client("both", relay.port());
    subscribed(&client, &mut events, "#").await;
    for (topic, outside) in [("carry/a", false), ("bind/a", true)] {
        let before = relay.recorded().len();
        let sent =
            client.publish_with_properties(topic, QoS::AtLeastOnce, false, "", all_properties());
        sent.await.unwrap();
        assert!(is_all(&message(&mut events).await));
        let recorded = relay.to_target();
        let both = [recorded, relay.to_client()].concat();
        assert!(both.len() > before);
        for marker in ["correlation-marker", "text/marker", "carry/answers"] {
            assert_eq!(contains(&both, marker.as_bytes()), outside, "{topic}: {marker}");
        }
    }
}
