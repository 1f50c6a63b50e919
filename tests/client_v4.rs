//! The rumqttc adapter against a real Mosquitto.
#![cfg(all(feature = "rumqttc", feature = "tls"))]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use core::time::Duration;
use std::collections::BTreeSet;

use mqtt_seal::guard::{Guard, OpenError, Protection, SealError};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::policy::{Link, Links, Policy, Rule, SubscribeError, Transport};
use mqtt_seal::rumqttc_v4::{AsyncClient, ClientError, ClientOptions, Event, EventLoop};
use mqtt_seal::rumqttc_v4::{CertificateFault, ConfigError, LinkError, Message, QoS, Refusal};
use mqtt_seal::secret::SharedKey;
use mqtt_seal::tls::TlsConfig;
use rumqttc::MqttOptions;
use support::certs::Certs;
use support::mosquitto::{Mosquitto, Setup};
use support::plain_sub::PlainSub;
use support::relay::Relay;
use support::{DEADLINE, contains};

const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const MARKER: &str = "0123456789abcdef";

/// Sealed and clear topics that are allowed over tcp, sealed ones for tls alone.
fn policy() -> Policy {
    Policy::new(vec![
        Rule::sealed(["sealed/tcp/#"]).transport(Transport::Tcp).max_packet(400).build().unwrap(),
        Rule::clear(["clear/tcp/#"]).transport(Transport::Tcp).build().unwrap(),
        Rule::sealed(["sealed/tls/#"]).transport(Transport::Tls).build().unwrap(),
    ])
}

fn guard(links: Links) -> Guard {
    guard_with_key(links, 7)
}

fn guard_with_key(links: Links, key: u8) -> Guard {
    let shared = SharedKey::take(&mut [key; 32]);
    let keyring = Keyring::new(vec![Grant::shared(&shared, "test").unwrap()]);
    Guard::new(policy(), keyring, links).unwrap()
}

fn mqtt(id: &str, port: u16) -> MqttOptions {
    MqttOptions::new(id, "localhost", port)
}

fn options() -> ClientOptions {
    let pause = Duration::from_millis(20);
    ClientOptions::new().reconnect_pause(pause, Duration::from_millis(200))
}

fn over_tcp(id: &str, port: u16) -> (AsyncClient, EventLoop) {
    AsyncClient::new(guard(Links::Tcp), options().tcp(mqtt(id, port)), 10).unwrap()
}

fn broker() -> (Certs, Mosquitto) {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    (certs, broker)
}

fn client_tls(certs: &Certs) -> TlsConfig {
    TlsConfig::builder().ca_file(&certs.ca.pem).build().unwrap()
}

fn over_tls(id: &str, port: u16, certs: &Certs) -> (AsyncClient, EventLoop) {
    let options = options().tls(mqtt(id, port), &client_tls(certs));
    AsyncClient::new(guard(Links::Tls), options, 10).unwrap()
}

/// A broker that sends the next message only when the one before is acknowledged.
fn one_at_a_time(certs: &Certs) -> Mosquitto {
    let lines = &["max_inflight_messages 1"];
    Mosquitto::start(&Setup { lines, ..Setup::new(&certs.good) })
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
        _ => None,
    })
    .await
}

async fn rejected(events: &mut EventLoop) -> (String, Link, OpenError) {
    wait_for(events, |event| match event {
        Event::Rejected { topic, link, reason, .. } => Some((topic, link, reason)),
        _ => None,
    })
    .await
}

async fn link_up(events: &mut EventLoop) -> Link {
    wait_for(events, |event| match event {
        Event::LinkUp { link, .. } => Some(link),
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

async fn subscribed(client: &AsyncClient, events: &mut EventLoop, filter: &str) -> Link {
    client.subscribe(filter, QoS::ExactlyOnce).await.unwrap();
    resubscribed(events, filter).await
}

async fn resubscribed(events: &mut EventLoop, wanted: &str) -> Link {
    wait_for(events, |event| match event {
        Event::Subscribed { filter, link, .. } if filter == wanted => Some(link),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn messages_of_every_qos_arrive_sealed_and_clear() {
    let (_certs, broker) = broker();
    let seen = PlainSub::start(&broker, "#");
    let (client, mut events) = over_tcp("both", broker.tcp_port());
    subscribed(&client, &mut events, "+/tcp/#").await;
    for qos in LEVELS {
        for (topic, protection) in
            [("sealed/tcp/a", Protection::Sealed), ("clear/tcp/a", Protection::Clear)]
        {
            client.publish(topic, qos, false, MARKER).await.unwrap();
            let message = message(&mut events).await;
            assert_eq!((message.topic.as_str(), message.qos), (topic, qos));
            assert_eq!(message.payload, MARKER.as_bytes());
            assert_eq!(message.delivery.protection, protection);
            client.ack(&message).await.unwrap();
        }
    }
    for seen in seen.wait_for(6) {
        let sealed = seen.topic.starts_with("sealed");
        assert_eq!(contains(&seen.payload, MARKER.as_bytes()), !sealed);
    }
}

#[tokio::test]
async fn disconnect_delivers_what_was_accepted_and_ends_the_events() {
    let (_certs, broker) = broker();
    let seen = PlainSub::start(&broker, "#");
    let (client, mut events) = over_tcp("leaving", broker.tcp_port());
    for number in 0..10 {
        let payload = format!("{number}");
        let sent = client.publish("clear/tcp/a", QoS::ExactlyOnce, false, payload);
        sent.await.unwrap();
    }
    client.disconnect().await.unwrap();
    while let Some(event) = next(&mut events).await {
        assert!(matches!(event, Event::LinkUp { .. }), "{event:?}");
    }
    let texts: Vec<_> = seen.wait_for(10).into_iter().map(|seen| seen.payload).collect();
    assert_eq!(texts, (0..10).map(|n| format!("{n}").into_bytes()).collect::<Vec<_>>());
    let late = client.publish("clear/tcp/a", QoS::AtMostOnce, false, "late");
    assert_eq!(late.await.map(drop), Err(ClientError::Closed));
    broker.wait_for_log("Client leaving disconnected.");
}

#[tokio::test]
async fn rejected_message_is_acknowledged_and_the_next_arrives() {
    let certs = Certs::new();
    let broker = one_at_a_time(&certs);
    let (client, mut events) = over_tcp("reader", broker.tcp_port());
    subscribed(&client, &mut events, "sealed/tcp/#").await;
    // the broker sends the next one only when this one is acknowledged
    broker.publish("sealed/tcp/a", b"forged in clear");
    let reason = OpenError::ClearOnSealedTopic;
    let forged = ("sealed/tcp/a".into(), Link::Tcp, reason);
    assert_eq!(rejected(&mut events).await, forged);
    for text in ["first", "second"] {
        let sent = client.publish("sealed/tcp/a", QoS::ExactlyOnce, false, text);
        sent.await.unwrap();
        let message = message(&mut events).await;
        assert_eq!(message.payload, text.as_bytes());
        client.ack(&message).await.unwrap();
    }
}

#[tokio::test]
async fn wrong_key_is_named_and_the_next_message_arrives() {
    let (_certs, broker) = broker();
    let (client, mut events) = over_tcp("reader", broker.tcp_port());
    subscribed(&client, &mut events, "sealed/tcp/#").await;
    let stranger = options().tcp(mqtt("stranger", broker.tcp_port()));
    let stranger = AsyncClient::new(guard_with_key(Links::Tcp, 8), stranger, 10).unwrap();
    let sent = stranger.0.publish("sealed/tcp/a", QoS::AtLeastOnce, false, MARKER);
    sent.await.unwrap();
    assert_eq!(rejected(&mut events).await.2, OpenError::UnknownKey);
    let sent = client.publish("sealed/tcp/a", QoS::AtLeastOnce, false, MARKER);
    sent.await.unwrap();
    assert_eq!(message(&mut events).await.payload, MARKER.as_bytes());
}

#[tokio::test]
async fn accepted_messages_survive_restarts_of_the_broker() {
    const MESSAGES: usize = 300;
    let certs = Certs::new();
    let mut broker = Mosquitto::start(&Setup {
        persistence: true,
        lines: &["max_inflight_messages 1000", "autosave_on_changes true", "autosave_interval 1"],
        ..Setup::new(&certs.good)
    });
    // Keeps what it has seen: a subscriber whose session ends would lose what the broker has.
    let (reader, mut seen) = over_tcp("reader", broker.tcp_port());
    let (client, mut events) = over_tcp("writer", broker.tcp_port());
    subscribed(&reader, &mut seen, "clear/tcp/+").await;
    let publish = tokio::spawn({
        let client = client.clone();
        async move {
            for number in 0..MESSAGES {
                let qos = LEVELS[1 + number % 2];
                let topic = "clear/tcp/retained/".to_owned() + &number.to_string();
                client.publish(topic, qos, true, MARKER).await.unwrap();
            }
            client.disconnect().await.unwrap();
        }
    });
    link_up(&mut events).await;
    for _ in 0..2 {
        broker.restart();
        link_up(&mut events).await;
    }
    publish.await.unwrap();
    while next(&mut events).await.is_some() {}
    // every value was retained: whoever comes now is given all of them
    reader.subscribe("clear/tcp/retained/#", QoS::AtLeastOnce).await.unwrap();
    let mut numbers = BTreeSet::new();
    while numbers.len() < MESSAGES {
        let message = message(&mut seen).await;
        let (_, number) = message.topic.rsplit_once('/').unwrap();
        numbers.insert(number.parse::<usize>().unwrap());
        reader.ack(&message).await.unwrap();
    }
}

#[tokio::test]
async fn subscriptions_come_back_after_a_restart() {
    let (_certs, mut broker) = broker();
    let (client, mut events) = over_tcp("reader", broker.tcp_port());
    subscribed(&client, &mut events, "clear/tcp/#").await;
    broker.stop();
    link_down(&mut events).await;
    broker.restart();
    assert_eq!(resubscribed(&mut events, "clear/tcp/#").await, Link::Tcp);
    broker.publish("clear/tcp/a", b"back");
    assert_eq!(message(&mut events).await.payload, b"back");
}

#[tokio::test]
async fn ended_subscription_brings_nothing_more() {
    let (_certs, broker) = broker();
    let (client, mut events) = over_tcp("reader", broker.tcp_port());
    subscribed(&client, &mut events, "clear/tcp/a").await;
    subscribed(&client, &mut events, "clear/tcp/b").await;
    client.unsubscribe("clear/tcp/a").await.unwrap();
    let ended = |event| matches!(event, Event::Unsubscribed { .. }).then_some(());
    wait_for(&mut events, ended).await;
    broker.publish("clear/tcp/a", b"unseen");
    broker.publish("clear/tcp/b", b"seen");
    assert_eq!(message(&mut events).await.payload, b"seen");
}

#[tokio::test]
async fn what_the_policy_refuses_is_refused_at_once() {
    // no broker: nothing here needs one
    let (client, _events) = over_tcp("writer", 1);
    for (topic, error) in [("no/rule", SealError::Refused), ("sealed/tls/a", SealError::NoLink)] {
        let sent = client.publish(topic, QoS::AtLeastOnce, false, MARKER);
        assert_eq!(sent.await.map(drop), Err(ClientError::Seal(error)));
    }
    let retained = client.try_publish("sealed/tcp/a", QoS::AtLeastOnce, true, MARKER);
    assert_eq!(retained.map(drop), Err(ClientError::Seal(SealError::RetainNeedsLatest)));
    for (filter, error) in [
        ("no/rule/#", SubscribeError::Refused),
        ("sealed/#", SubscribeError::NeedsTls),
        ("$share/group/#", SubscribeError::NeedsTls),
    ] {
        let asked = client.subscribe(filter, QoS::AtMostOnce).await;
        assert_eq!(asked, Err(ClientError::Subscribe(error)), "{filter}");
    }
    let filter = client.try_subscribe("a/#/b", QoS::AtMostOnce);
    assert!(matches!(filter, Err(ClientError::Filter(_))));
}

#[tokio::test]
async fn oversize_messages_are_refused_and_the_connection_lives() {
    let (_certs, broker) = broker();
    let limited = options().tcp(mqtt("writer", broker.tcp_port())).max_packet_size(10_000, 300);
    let (client, mut events) = AsyncClient::new(guard(Links::Tcp), limited, 10).unwrap();
    subscribed(&client, &mut events, "+/tcp/#").await;
    // 2 of 300 bytes are a packet's own, 2 and 11 the topic's, 2 the packet ID's
    let fits = 300 - 3 - 2 - 11 - 2;
    for (topic, len, max) in [("clear/tcp/a", fits, 300), ("sealed/tcp/a", 299 - 53, 300)] {
        let mut at_once = client.try_publish(topic, QoS::AtLeastOnce, false, vec![7; len + 1]);
        if topic.starts_with("sealed") {
            at_once = client.try_publish(topic, QoS::AtLeastOnce, false, vec![7; len + 1]);
        }
        assert_eq!(at_once.map(drop), Err(ClientError::TooLarge { len: 301, max }));
        client.publish(topic, QoS::AtLeastOnce, false, vec![7; len]).await.unwrap();
        let message = message(&mut events).await;
        assert_eq!(message.payload.len(), len);
        client.ack(&message).await.unwrap();
    }
    let by_rule = client.try_publish("sealed/tcp/a", QoS::AtLeastOnce, false, vec![7; 400]);
    assert!(matches!(by_rule, Err(ClientError::Seal(SealError::TooLarge { max: 400, .. }))));
}

#[tokio::test]
async fn full_queue_holds_publishers_back_until_there_is_room() {
    let (_certs, mut broker) = broker();
    broker.stop();
    let (client, mut events) = over_tcp("writer", broker.tcp_port());
    let publish = || client.try_publish("clear/tcp/a", QoS::AtLeastOnce, false, MARKER);
    for _ in 0..10 {
        assert_eq!(publish().map(drop), Ok(()));
    }
    assert_eq!(publish().map(drop), Err(ClientError::Full));
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.publish("clear/tcp/a", QoS::AtLeastOnce, false, MARKER).await }
    });
    link_down(&mut events).await;
    assert!(!waiting.is_finished());
    broker.restart();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn task_that_polls_may_publish_more_than_the_queue_holds() {
    let (_certs, broker) = broker();
    let options = options().tcp(mqtt("both", broker.tcp_port())).event_capacity(1);
    let (client, mut events) = AsyncClient::new(guard(Links::Tcp), options, 1).unwrap();
    subscribed(&client, &mut events, "clear/tcp/#").await;
    for number in 0..500 {
        let text = format!("{number}");
        let sent = client.publish("clear/tcp/a", QoS::AtLeastOnce, false, text);
        tokio::time::timeout(DEADLINE, sent).await.expect("it hangs").unwrap();
    }
    for number in 0..500 {
        let message = message(&mut events).await;
        assert_eq!(message.payload, format!("{number}").into_bytes());
        client.ack(&message).await.unwrap();
    }
}

#[tokio::test]
async fn auto_ack_acknowledges_when_the_next_event_is_asked_for() {
    let certs = Certs::new();
    let broker = one_at_a_time(&certs);
    let mut mqtt = mqtt("both", broker.tcp_port());
    // the broker's limit holds for what it is sent, too
    mqtt.set_inflight(1);
    let options = options().tcp(mqtt).auto_ack(true);
    let (client, mut events) = AsyncClient::new(guard(Links::Tcp), options, 10).unwrap();
    subscribed(&client, &mut events, "clear/tcp/#").await;
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtLeastOnce] {
        client.publish("clear/tcp/a", qos, false, MARKER).await.unwrap();
    }
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtLeastOnce] {
        assert_eq!(message(&mut events).await.qos, qos);
    }
}

#[tokio::test]
async fn without_an_ack_the_broker_sends_no_more() {
    let certs = Certs::new();
    let broker = one_at_a_time(&certs);
    let (client, mut events) = over_tcp("both", broker.tcp_port());
    subscribed(&client, &mut events, "clear/tcp/#").await;
    for (qos, text) in [
        (QoS::AtLeastOnce, "held"),
        (QoS::AtLeastOnce, "behind it"),
        (QoS::AtMostOnce, "overtakes"),
    ] {
        client.publish("clear/tcp/a", qos, false, text).await.unwrap();
    }
    let held = message(&mut events).await;
    assert_eq!(held.payload, b"held");
    assert_eq!(message(&mut events).await.payload, b"overtakes");
    client.ack(&held).await.unwrap();
    assert_eq!(message(&mut events).await.payload, b"behind it");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_topics_never_go_over_the_plain_link() {
    let (certs, broker) = broker();
    let relay = Relay::start(broker.tcp_port()).await;
    let options = options()
        .tcp(mqtt("both", relay.port()))
        .tls(mqtt("both-tls", broker.tls_port()), &client_tls(&certs));
    let (client, mut events) = AsyncClient::new(guard(Links::Both), options, 10).unwrap();
    for (filter, link) in
        [("#", Link::Tls), ("$share/group/sealed/#", Link::Tls), ("clear/tcp/#", Link::Tcp)]
    {
        assert_eq!(subscribed(&client, &mut events, filter).await, link, "{filter}");
    }
    for (topic, link) in [("sealed/tls/a", Link::Tls), ("clear/tcp/a", Link::Tcp)] {
        client.publish(topic, QoS::AtLeastOnce, false, MARKER).await.unwrap();
        wait_for(&mut events, |event| match event {
            Event::Message(message) => {
                (message.topic == topic && message.link == link).then_some(())
            }
            _ => None,
        })
        .await;
    }
    let recorded = relay.recorded();
    assert!(!contains(&recorded, b"sealed/tls"));
    assert!(contains(&recorded, b"clear/tcp/a"));
}

#[tokio::test]
async fn link_that_no_rule_needs_is_not_opened() {
    let (certs, broker) = broker();
    let rule = Rule::sealed(["#"]).build().unwrap();
    let keyring =
        Keyring::new(vec![Grant::shared(&SharedKey::take(&mut [7; 32]), "test").unwrap()]);
    let guard = Guard::new(Policy::new(vec![rule]), keyring, Links::Both).unwrap();
    let options = options()
        .tcp(mqtt("never-seen", broker.tcp_port()))
        .tls(mqtt("seen", broker.tls_port()), &client_tls(&certs));
    let (client, mut events) = AsyncClient::new(guard, options, 10).unwrap();
    subscribed(&client, &mut events, "#").await;
    client.publish("a", QoS::AtLeastOnce, false, MARKER).await.unwrap();
    assert_eq!(message(&mut events).await.link, Link::Tls);
    assert!(!broker.log().contains("never-seen"));
}

#[tokio::test]
async fn certificate_faults_are_named_and_a_good_one_connects() {
    let certs = Certs::new();
    for (server, fault) in [
        (&certs.of_other_ca, CertificateFault::UnknownIssuer),
        (&certs.expired, CertificateFault::Expired),
        (&certs.wrong_host, CertificateFault::WrongName),
    ] {
        let broker = Mosquitto::start(&Setup::new(server));
        let (_client, mut events) = over_tls("writer", broker.tls_port(), &certs);
        assert_eq!(link_down(&mut events).await, LinkError::Certificate(fault));
    }
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let (_client, mut events) = over_tls("writer", broker.tls_port(), &certs);
    assert_eq!(link_up(&mut events).await, Link::Tls);
}

#[tokio::test]
async fn absent_and_refusing_brokers_are_named() {
    let (_client, mut events) = over_tcp("writer", 1);
    let refused = LinkError::Io(std::io::ErrorKind::ConnectionRefused);
    assert_eq!(link_down(&mut events).await, refused);
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup {
        lines: &["clientid_prefixes none-has-this"],
        ..Setup::new(&certs.good)
    });
    let (_client, mut events) = over_tcp("writer", broker.tcp_port());
    let refused = LinkError::Refused(Refusal::NotAuthorized);
    assert_eq!(link_down(&mut events).await, refused);
}

#[tokio::test]
async fn options_that_would_leak_or_fight_are_refused() {
    let port = 1883;
    let start =
        |links, options: ClientOptions| AsyncClient::new(guard(links), options, 10).unwrap_err();
    assert_eq!(start(Links::Tcp, options()), ConfigError::NoLink);
    let tcp = |change: fn(&mut MqttOptions)| {
        let mut mqtt = mqtt("id", port);
        change(&mut mqtt);
        options().tcp(mqtt)
    };
    assert_eq!(start(Links::Both, tcp(|_| ())), ConfigError::OtherLinks);
    let credentials = tcp(|mqtt| {
        mqtt.set_credentials("user", "secret");
    });
    assert_eq!(start(Links::Tcp, credentials), ConfigError::CredentialsOnPlainLink);
    let unix = tcp(|mqtt| {
        mqtt.set_transport(rumqttc::Transport::unix());
    });
    let link = Link::Tcp;
    assert_eq!(start(Links::Tcp, unix), ConfigError::Transport { link });
    let persistent = tcp(|mqtt| {
        mqtt.set_clean_session(false);
    });
    assert_eq!(start(Links::Tcp, persistent), ConfigError::PersistentSession { link });
    let will = tcp(|mqtt| {
        let will = rumqttc::LastWill::new("no/rule", "gone", rumqttc::QoS::AtMostOnce, false);
        mqtt.set_last_will(will);
    });
    let error = SealError::Refused;
    assert_eq!(start(Links::Tcp, will), ConfigError::Will { link, error });
    let certs = Certs::new();
    let twins = tcp(|_| ()).tls(mqtt("id", port), &client_tls(&certs));
    assert_eq!(start(Links::Both, twins), ConfigError::SameClientId);
}

#[test]
fn client_outside_of_a_runtime_is_refused() {
    let options = options().tcp(mqtt("id", 1883));
    let refused = AsyncClient::new(guard(Links::Tcp), options, 10).unwrap_err();
    assert_eq!(refused, ConfigError::NoRuntime);
}

#[tokio::test]
async fn dropping_all_handles_ends_the_links() {
    let (_certs, broker) = broker();
    let (client, mut events) = over_tcp("dropped", broker.tcp_port());
    link_up(&mut events).await;
    drop(client);
    drop(events);
    let ended = async {
        while !broker.log().contains("Client dropped closed") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, ended).await.expect("the link goes on");
}

#[tokio::test]
async fn burst_within_the_limits_of_the_broker_arrives_whole_on_one_connection() {
    const MESSAGES: usize = 400;
    for levels in [[QoS::ExactlyOnce; 2], [QoS::AtLeastOnce, QoS::ExactlyOnce]] {
        let (_certs, broker) = broker();
        let (writer, mut written) = over_tcp("writer", broker.tcp_port());
        let options = options().tcp(mqtt("reader", broker.tcp_port())).auto_ack(true);
        let (reader, mut events) = AsyncClient::new(guard(Links::Tcp), options, 10).unwrap();
        subscribed(&reader, &mut events, "sealed/tcp/#").await;
        for number in 0..MESSAGES {
            let qos = levels[number % 2];
            writer.publish("sealed/tcp/a", qos, false, number.to_string()).await.unwrap();
        }
        writer.disconnect().await.unwrap();
        while let Some(event) = next(&mut written).await {
            assert!(matches!(event, Event::LinkUp { .. }), "{event:?}");
        }
        let mut numbers = BTreeSet::new();
        while numbers.len() < MESSAGES {
            let text = String::from_utf8(message(&mut events).await.payload).unwrap();
            assert!(numbers.insert(text.parse::<usize>().unwrap()), "{text} twice");
        }
    }
}
