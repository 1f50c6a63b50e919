//! The rumqttc adapter for MQTT 5 against a real Mosquitto.
#![cfg(all(feature = "rumqttc", feature = "tls"))]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::Arc;

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
use tokio::sync::Notify;

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
    let keyring = Keyring::new(vec![Grant::shared(&shared, "test").unwrap()]);
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

/// What the sealed payload of a message is on the broker, published before anyone listens.
async fn sealed(broker: &Mosquitto, topic: &str, properties: PublishProperties) -> Vec<u8> {
    let seen = PlainSub::start(broker, topic);
    let (writer, mut events) = client("writer", broker.tcp_port());
    let sent = writer.publish_with_properties(topic, QoS::AtLeastOnce, false, MARKER, properties);
    sent.await.unwrap();
    writer.disconnect().await.unwrap();
    while next(&mut events).await.is_some() {}
    seen.wait_for(1).remove(0).payload
}

/// Publishes with MQTT 5 properties, as somebody without keys.
fn publish_with(broker: &Mosquitto, topic: &str, payload: &[u8], properties: &[&[&str]]) {
    let mut args = vec!["-V", "mqttv5"];
    for property in properties {
        args.extend(["-D", "publish"]);
        args.extend_from_slice(property);
    }
    assert!(mosquitto_pub(broker.tcp_port(), topic, payload, &args), "{}", broker.log());
}

#[tokio::test]
async fn forged_outer_properties_are_discarded_under_carry() {
    let broker = broker_with(&[]);
    for (id, properties) in [("with", all_properties()), ("without", PublishProperties::default())]
    {
        let topic = "carry/".to_owned() + id;
        let payload = sealed(&broker, &topic, properties).await;
        let (reader, mut events) = client("reader", broker.tcp_port());
        subscribed(&reader, &mut events, &topic).await;
        let forged: &[&[&str]] = &[
            &["response-topic", "carry/forged"],
            &["correlation-data", "forged"],
            &["content-type", "forged"],
            &["user-property", "forged", "forged"],
        ];
        publish_with(&broker, &topic, &payload, forged);
        let message = message(&mut events).await;
        assert_eq!(message.payload, MARKER.as_bytes());
        assert_eq!(is_all(&message), id == "with");
        assert_eq!(message.properties.iter().count() > 0, id == "with");
    }
}

#[tokio::test]
async fn changed_properties_are_not_authentic_under_bind() {
    let broker = broker_with(&[]);
    let topic = "bind/a";
    let bound = PublishProperties {
        content_type: Some("right".into()),
        user_properties: vec![("k".into(), "v".into())],
        payload_format_indicator: Some(1),
        ..PublishProperties::default()
    };
    let payload = sealed(&broker, topic, bound).await;
    let (reader, mut events) = client("reader", broker.tcp_port());
    subscribed(&reader, &mut events, topic).await;
    let (right, user) = (["content-type", "right"], ["user-property", "k", "v"]);
    let forged: [&[&[&str]]; 5] = [
        &[],
        &[&right],
        &[&["content-type", "wrong"], &user],
        &[&right, &user, &user],
        &[&right, &user, &["response-topic", "bind/forged"]],
    ];
    for properties in forged {
        publish_with(&broker, topic, &payload, properties);
        let rejected = rejected(&mut events).await;
        assert_eq!(rejected, (topic.into(), OpenError::NotAuthentic), "{properties:?}");
    }
    publish_with(&broker, topic, &payload, &[&right, &user]);
    let message = message(&mut events).await;
    assert_eq!(message.properties.content_type.as_deref(), Some("right"));
    assert_eq!(message.properties.payload_format, Some(true));
}

#[tokio::test]
async fn ignored_properties_are_those_of_the_packet_and_nobody_is_answered_by_them() {
    let broker = broker_with(&[]);
    let payload = sealed(&broker, "ignore/a", all_properties()).await;
    let (reader, mut events) = client("reader", broker.tcp_port());
    subscribed(&reader, &mut events, "ignore/a").await;
    publish_with(&broker, "ignore/a", &payload, &[&["response-topic", "carry/forged"]]);
    let message = message(&mut events).await;
    assert_eq!(message.properties.response_topic.as_deref(), Some("carry/forged"));
    // the format indicator came inside
    assert_eq!(message.properties.payload_format, Some(true));
    let answered = reader.reply(&message, QoS::AtLeastOnce, MARKER).await;
    assert_eq!(answered.map(drop), Err(ClientError::Reply(ReplyError::NotAuthentic)));
}

#[tokio::test]
async fn carried_properties_reach_a_subscriber_of_mqtt_3() {
    let broker = broker_with(&[]);
    let (reader, mut read) = client_v4("reader", broker.tcp_port());
    let (writer, mut written) = client("writer", broker.tcp_port());
    subscribed(&reader, &mut read, "carry/#").await;
    let sent = writer.publish_with_properties(
        "carry/a",
        QoS::ExactlyOnce,
        false,
        MARKER,
        all_properties(),
    );
    sent.await.unwrap();
    let message_4 = message(&mut read).await;
    assert_eq!(message_4.payload, MARKER.as_bytes());
    assert!(is_all(&message_4), "{message_4:?}");
    assert_eq!(message_4.delivery.properties(&[]).count(), 6);
    // and back, without any
    subscribed(&writer, &mut written, "bind/#").await;
    reader.publish("bind/a", QoS::AtLeastOnce, false, MARKER).await.unwrap();
    let message_5 = message(&mut written).await;
    assert_eq!(message_5.payload, MARKER.as_bytes());
    assert_eq!(message_5.properties.iter().count(), 0);
}

#[tokio::test]
async fn answers_go_to_the_response_topic_with_the_correlation_data() {
    let broker = broker_with(&[]);
    let (asking, mut answers) = client("asking", broker.tcp_port());
    let (answering, mut asked) = client("answering", broker.tcp_port());
    subscribed(&asking, &mut answers, "carry/answers").await;
    subscribed(&answering, &mut asked, "+/ask").await;
    for topic in ["carry/ask", "bind/ask", "clear/ask"] {
        let sent =
            asking.publish_with_properties(topic, QoS::AtLeastOnce, false, "?", all_properties());
        sent.await.unwrap();
        let request = message(&mut asked).await;
        answering.reply(&request, QoS::AtLeastOnce, MARKER).await.unwrap();
        let answer = message(&mut answers).await;
        assert_eq!((answer.topic.as_str(), answer.payload), ("carry/answers", MARKER.into()));
        let data = answer.properties.correlation_data.as_deref();
        assert_eq!(data, Some(&b"correlation-marker"[..]));
        assert_eq!(answer.delivery.protection, Protection::Sealed);
    }
    for (response_topic, error) in [
        (None, ReplyError::NoResponseTopic),
        (Some("clear/answers"), ReplyError::NotSealed),
        (Some("no/rule"), ReplyError::Refused),
    ] {
        let ask = PublishProperties {
            response_topic: response_topic.map(String::from),
            ..PublishProperties::default()
        };
        let sent = asking.publish_with_properties("carry/ask", QoS::AtLeastOnce, false, "?", ask);
        sent.await.unwrap();
        let request = message(&mut asked).await;
        let answered = answering.try_reply(&request, QoS::AtLeastOnce, MARKER);
        assert_eq!(answered.map(drop), Err(ClientError::Reply(error)));
    }
}

#[tokio::test]
async fn properties_that_only_brokers_set_are_refused() {
    let (client, _events) = client("writer", 1);
    let alias = PublishProperties { topic_alias: Some(1), ..PublishProperties::default() };
    let id =
        PublishProperties { subscription_identifiers: vec![1], ..PublishProperties::default() };
    let format =
        PublishProperties { payload_format_indicator: Some(2), ..PublishProperties::default() };
    for (properties, fault) in [
        (alias, PropertyFault::TopicAlias),
        (id, PropertyFault::SubscriptionIdentifier),
        (format, PropertyFault::PayloadFormat),
    ] {
        let sent =
            client.try_publish_with_properties("carry/a", QoS::AtMostOnce, false, "", properties);
        assert_eq!(sent.map(drop), Err(ClientError::Property(fault)));
    }
    let wildcard =
        PublishProperties { response_topic: Some("a/#".into()), ..PublishProperties::default() };
    let sent = client.publish_with_properties("carry/a", QoS::AtMostOnce, false, "", wildcard);
    assert!(matches!(sent.await, Err(ClientError::Seal(SealError::Property(_)))));
}

#[tokio::test]
async fn what_the_broker_has_no_room_for_is_told_and_the_connection_lives() {
    let broker = broker_with(&["max_packet_size 200"]);
    let (client, mut events) = client("both", broker.tcp_port());
    subscribed(&client, &mut events, "+/a").await;
    let long = PublishProperties {
        user_properties: vec![("k".into(), "v".repeat(200))],
        ..PublishProperties::default()
    };
    let none = PublishProperties::default();
    for (topic, len, properties) in
        [("clear/a", 200, none.clone()), ("carry/a", 160, none), ("bind/a", 1, long)]
    {
        let text = vec![7; len];
        let sent = client.publish_with_properties(topic, QoS::AtLeastOnce, false, text, properties);
        sent.await.unwrap();
        let (failed, reason) = failed(&mut events).await;
        assert_eq!(failed, topic);
        assert!(matches!(reason, ClientError::TooLarge { max: 200, .. }), "{reason:?}");
    }
    let filter = "carry/".to_owned() + &"x".repeat(200);
    client.subscribe(filter.clone(), QoS::AtLeastOnce).await.unwrap();
    wait_for(&mut events, |event| match event {
        Event::SubscribeFailed { filter: failed, .. } => (failed == filter).then_some(()),
        Event::LinkDown { error, .. } => panic!("the link went down: {error}"),
        _ => None,
    })
    .await;
    // 2 bytes of header, 2 and 7 of the topic, 2 of the packet ID, 1 of the properties
    client.publish("clear/a", QoS::AtLeastOnce, false, vec![7; 185]).await.unwrap();
    assert_eq!(message(&mut events).await.payload.len(), 185);
    client.publish("clear/a", QoS::AtLeastOnce, false, vec![7; 186]).await.unwrap();
    assert_eq!(failed(&mut events).await.1, ClientError::TooLarge { len: 201, max: 200 });
}

#[tokio::test]
async fn refused_message_is_told_with_its_reason_and_the_next_arrives() {
    let dir = tempfile::TempDir::new().unwrap();
    let acl = dir.path().join("acl");
    std::fs::write(&acl, "topic read #\ntopic write carry/#\n").unwrap();
    let broker = broker_with(&[&format!("acl_file {}", acl.display())]);
    let (client, mut events) = client("both", broker.tcp_port());
    subscribed(&client, &mut events, "carry/#").await;
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        client.publish("clear/a", qos, false, MARKER).await.unwrap();
        let refused = ClientError::Refused(PublishRefusal::NotAuthorized);
        assert_eq!(failed(&mut events).await, ("clear/a".into(), refused));
        client.publish("carry/a", qos, false, MARKER).await.unwrap();
        let message = message(&mut events).await;
        assert_eq!(message.payload, MARKER.as_bytes());
        client.ack(&message).await.unwrap();
    }
    // what was refused is done with
    client.disconnect().await.unwrap();
    while next(&mut events).await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_lose_nothing() {
    const MESSAGES: usize = 300;
    let broker = broker_with(&["max_inflight_messages 1000"]);
    let relay = Relay::start(broker.tcp_port()).await;
    let mqtt = MqttOptions::new("reader", "localhost", broker.tcp_port());
    let options_of_reader = options().tcp(mqtt).auto_ack(true);
    let (reader, mut events) = AsyncClient::new(guard(), options_of_reader, 10).unwrap();
    subscribed(&reader, &mut events, "carry/#").await;
    let (writer, mut written) = client("writer", relay.port());
    let last_cut = Arc::new(Notify::new());
    let was_cut = Arc::clone(&last_cut);
    let publish = tokio::spawn(async move {
        for number in 0..MESSAGES {
            // so that there is a connection to cut until then
            if number == MESSAGES - 1 {
                was_cut.notified().await;
            }
            let qos = LEVELS[1 + number % 2];
            let text = number.to_string();
            let sent =
                writer.publish_with_properties("carry/a", qos, false, text, all_properties());
            sent.await.unwrap();
        }
        writer.disconnect().await.unwrap();
    });
    let mut numbers = BTreeSet::new();
    while numbers.len() < MESSAGES {
        // repetitions of what had come through are rejected as such
        if let Some(Event::Message(message)) = next(&mut events).await {
            assert!(is_all(&message));
            let text = String::from_utf8(message.payload).unwrap();
            assert!(numbers.insert(text.parse::<usize>().unwrap()), "{text} twice");
            if numbers.len() % 60 == 30 {
                link_up(&mut written).await;
                relay.cut().await;
            }
            if numbers.len() == MESSAGES - 30 {
                last_cut.notify_one();
            }
        }
    }
    publish.await.unwrap();
    while next(&mut written).await.is_some() {}
}

#[tokio::test]
async fn topic_that_is_none_is_named_acknowledged_and_the_next_message_arrives() {
    let broker = FakeBroker::start().await;
    let (client, mut events) = client("reader", broker.port());
    let mut connection = broker.accept(&[]).await;
    for (id, topic, error) in [
        (1, &b"clear/\xff"[..], TopicError::NotUtf8),
        (2, b"", TopicError::Empty),
        (3, b"clear/#", TopicError::Wildcard),
        (4, b"clear/\0", TopicError::Nul),
    ] {
        let publish = publish_packet(topic, id, &[], b"text");
        connection.send(0x32, &publish).await;
        let (told, reason) = rejected(&mut events).await;
        assert_eq!(reason, OpenError::Topic(error));
        assert_eq!(told, String::from_utf8_lossy(topic));
        let (first, body) = connection.receive().await;
        assert_eq!((first, &body[..2]), (0x40, &id.to_be_bytes()[..]));
    }
    connection.send(0x32, &publish_packet(b"clear/a", 5, &[], b"text")).await;
    let message = message(&mut events).await;
    assert_eq!(message.payload, b"text");
    client.ack(&message).await.unwrap();
    assert_eq!(connection.receive().await.0, 0x40);
}

#[tokio::test]
async fn alias_and_subscription_identifier_end_the_connection_and_the_link_goes_on() {
    let broker = FakeBroker::start().await;
    let (_client, mut events) = client("reader", broker.port());
    for (topic, properties) in [
        // the alias is known to nobody
        (&b""[..], &[0x23, 0, 1][..]),
        (b"clear/a", &[0x23, 0, 1]),
        (b"clear/a", &[0x0b, 1]),
        // of several, bytes are left in front of the payload
        (b"clear/a", &[0x0b, 1, 0x0b, 2, 0x0b, 3]),
    ] {
        let mut connection = broker.accept(&[]).await;
        link_up(&mut events).await;
        connection.send(0x32, &publish_packet(topic, 1, properties, b"text")).await;
        assert_eq!(link_down(&mut events).await, LinkError::NotAskedFor);
    }
}

#[tokio::test]
async fn no_alias_and_no_session_is_asked_for() {
    let broker = FakeBroker::start().await;
    let (_client, _events) = client("reader", broker.port());
    let (flags, properties) = broker.connect().await;
    assert_eq!(flags, 2, "clean start and nothing else");
    // session expiry 0, maximum packet size, topic alias maximum 0
    assert_eq!(properties[..5], [0x11, 0, 0, 0, 0]);
    assert_eq!((properties[5], properties[10..].to_vec()), (0x27, vec![0x22, 0, 0]));
}

#[tokio::test]
async fn receive_maximum_narrows_the_window_and_nothing_else() {
    let broker = FakeBroker::start().await;
    let (client, mut events) = client("both", broker.port());
    let mut connection = broker.accept(&[0x21, 0, 1]).await;
    for text in ["first", "second"] {
        client.publish("clear/a", QoS::AtLeastOnce, false, text).await.unwrap();
    }
    let (_, first) = connection.receive().await;
    assert!(contains(&first, b"first"));
    // the second one waits, and an acknowledgement does not
    connection.send(0x32, &publish_packet(b"clear/b", 9, &[], b"text")).await;
    let message = message(&mut events).await;
    client.ack(&message).await.unwrap();
    assert_eq!(connection.receive().await.0, 0x40);
    let id = [first[9], first[10]];
    connection.send(0x40, &id).await;
    let (_, second) = connection.receive().await;
    assert!(contains(&second, b"second"));
    // an ID of its own: the broker may still be busy with the one before
    assert_ne!([second[9], second[10]], id);
}

#[tokio::test]
async fn quality_and_retain_beyond_the_broker_are_told() {
    let broker = FakeBroker::start().await;
    let (client, mut events) = client("writer", broker.port());
    let mut connection = broker.accept(&[0x24, 1, 0x25, 0]).await;
    client.publish("clear/a", QoS::ExactlyOnce, false, MARKER).await.unwrap();
    client.publish("clear/b", QoS::AtLeastOnce, true, MARKER).await.unwrap();
    client.publish("clear/c", QoS::AtLeastOnce, false, MARKER).await.unwrap();
    let max = QoS::AtLeastOnce;
    assert_eq!(failed(&mut events).await, ("clear/a".into(), ClientError::QoS { max }));
    assert_eq!(failed(&mut events).await, ("clear/b".into(), ClientError::NoRetain));
    assert!(contains(&connection.receive().await.1, b"clear/c"));
}

#[tokio::test]
async fn many_refusals_of_qos_2_do_not_stop_the_link() {
    const MESSAGES: usize = 60;
    let broker = FakeBroker::start().await;
    let mut mqtt = MqttOptions::new("writer", "localhost", broker.port());
    mqtt.set_outgoing_inflight_upper_limit(1);
    let (client, mut events) = AsyncClient::new(guard(), options().tcp(mqtt), 100).unwrap();
    for number in 0..MESSAGES {
        let topic = "clear/".to_owned() + &number.to_string();
        client.publish(topic, QoS::ExactlyOnce, false, MARKER).await.unwrap();
    }
    let refuse = tokio::spawn(async move {
        loop {
            let mut connection = broker.accept(&[]).await;
            while let Some((_, body)) = connection.try_receive().await {
                let id = 2 + usize::from(body[1]);
                connection.send(0x50, &[body[id], body[id + 1], 0x97]).await;
            }
        }
    });
    let (mut refused, mut downs) = (BTreeSet::new(), Vec::new());
    while refused.len() < MESSAGES {
        match next(&mut events).await {
            Some(Event::PublishFailed { topic, reason, .. }) => {
                assert_eq!(reason, ClientError::Refused(PublishRefusal::QuotaExceeded));
                assert!(refused.insert(topic));
            }
            Some(Event::LinkDown { error, .. }) => downs.push(error),
            _ => {}
        }
    }
    refuse.abort();
    assert!(!downs.is_empty());
    assert!(downs.iter().all(|error| *error == LinkError::ManyRefused), "{downs:?}");
}

#[tokio::test]
async fn keep_alive_of_zero_from_the_broker_does_not_end_the_connection() {
    let broker = FakeBroker::start().await;
    let (client, mut events) = client("writer", broker.port());
    let mut connection = broker.accept(&[0x13, 0, 0]).await;
    link_up(&mut events).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.publish("clear/a", QoS::AtLeastOnce, false, MARKER).await.unwrap();
    while connection.receive().await.0 >> 4 != 3 {}
}

#[tokio::test]
async fn reason_of_the_broker_for_ending_a_connection_is_told() {
    let broker = FakeBroker::start().await;
    let (_client, mut events) = client("reader", broker.port());
    for (code, ending) in
        [(0x8b, Ending::Unavailable), (0x8e, Ending::TakenOver), (0x95, Ending::Limit)]
    {
        let mut connection = broker.accept(&[]).await;
        connection.send(0xe0, &[code, 0]).await;
        assert_eq!(link_down(&mut events).await, LinkError::Ended(ending));
    }
}
