//! Sealed payloads through a broker that knows nothing of them: a real Mosquitto.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;

use mqtt_seal::client::{CertificateFault, LinkError};
use mqtt_seal::guard::{Guard, OpenError, Protection};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::policy::{Link, Links, Policy, Rule, RuleBuilder, Transport};
use mqtt_seal::rumqttc_v4::{AsyncClient, ClientOptions, Event, EventLoop, Message, QoS};
use mqtt_seal::secret::SharedKey;
use mqtt_seal::tls::{TlsConfig, TlsVersions};
use rumqttc::MqttOptions;
use support::certs::{CertFiles, Certs, ServerFiles};
use support::contains;
use support::mosquitto::{BrokerTls, Mosquitto, Setup};
use support::plain_sub::PlainSub;
use support::relay::Relay;
use tokio::time::timeout;

/// Stands in every published payload: two bytes like `27` turn up in ciphertext by chance.
const MARKER: &[u8; 16] = b"MARKER+MARKER+16";

/// The four cells of {clear, sealed} × {tcp, tls}.
const CELLS: [(&str, bool, Transport); 4] = [
    ("cell/clear-tcp", false, Transport::Tcp),
    ("cell/clear-tls", false, Transport::Tls),
    ("cell/sealed-tcp", true, Transport::Tcp),
    ("cell/sealed-tls", true, Transport::Tls),
];

fn policy() -> Policy {
    let rule = |(topic, sealed, transport): (&str, bool, Transport)| {
        let rule: RuleBuilder = if sealed { Rule::sealed([topic]) } else { Rule::clear([topic]) };
        rule.transport(transport).build().unwrap()
    };
    let mut rules: Vec<Rule> = CELLS.into_iter().map(rule).collect();
    rules.push(Rule::sealed(["sealed/#"]).transport(Transport::Tcp).build().unwrap());
    Policy::new(rules)
}

fn keyring(key: u8) -> Keyring {
    Keyring::new(vec![Grant::shared(&SharedKey::take(&mut [key; 32]), "tests").unwrap()])
}

/// Where a client connects.
struct Place<'a> {
    tcp: u16,
    tls: u16,
    certs: &'a Certs,
    versions: TlsVersions,
}

impl<'a> Place<'a> {
    fn of(broker: &Mosquitto, certs: &'a Certs) -> Self {
        let (tcp, tls) = (broker.tcp_port(), broker.tls_port());
        Self { tcp, tls, certs, versions: TlsVersions::Both }
    }

    fn client(&self, name: &str, key: u8) -> (AsyncClient, EventLoop) {
        let config = TlsConfig::builder()
            .ca_file(&self.certs.ca.pem)
            .versions(self.versions)
            .build()
            .unwrap();
        let mqtt = |link: &str, port| MqttOptions::new(format!("{name}-{link}"), "localhost", port);
        let options = ClientOptions::new()
            .tcp(mqtt("tcp", self.tcp))
            .tls(mqtt("tls", self.tls), config.client_config());
        let guard = Guard::new(policy(), keyring(key), Links::Both).unwrap();
        AsyncClient::new(guard, options, 100).unwrap()
    }
}

/// The next event that `wanted` takes; others are passed over.
async fn next<T>(events: &mut EventLoop, what: &str, wanted: impl Fn(Event) -> Option<T>) -> T {
    let found = async {
        while let Some(event) = events.poll().await {
            let text = format!("{event:?}");
            match wanted(event) {
                Some(found) => return found,
                None => println!("passed over: {text}"),
            }
        }
        panic!("the client stopped before {what}");
    };
    timeout(support::DEADLINE, found).await.unwrap_or_else(|_| panic!("no {what}"))
}

async fn subscribe(client: &AsyncClient, events: &mut EventLoop, filter: &str) -> Link {
    client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
    next(events, "subscription", |event| match event {
        Event::Subscribed { filter: granted, link, .. } if granted == filter => Some(link),
        _ => None,
    })
    .await
}

async fn message(client: &AsyncClient, events: &mut EventLoop) -> Message {
    let message = next(events, "message", |event| match event {
        Event::Message(message) => Some(message),
        _ => None,
    })
    .await;
    client.ack(&message).await.unwrap();
    message
}

async fn rejection(events: &mut EventLoop) -> (String, Link, OpenError) {
    next(events, "rejection", |event| match event {
        Event::Rejected { topic, link, reason, .. } => Some((topic, link, reason)),
        _ => None,
    })
    .await
}

async fn publish(client: &AsyncClient, topic: &str, payload: &[u8]) {
    client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
}

async fn four_cells(tls: BrokerTls, versions: TlsVersions) {
    const COUNT: usize = 100;
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup { tls, ..Setup::new(&certs.good) });
    let place = Place { versions, ..Place::of(&broker, &certs) };
    let broker_view = PlainSub::start(&broker, "cell/#");
    let (publisher, _publisher_events) = place.client("publisher", 1);
    let (subscriber, mut events) = place.client("subscriber", 1);
    for (topic, sealed, transport) in CELLS {
        let link = subscribe(&subscriber, &mut events, topic).await;
        assert_eq!(link == Link::Tls, transport == Transport::Tls);
        for number in 0..COUNT {
            publish(&publisher, topic, &[MARKER, number.to_string().as_bytes()].concat()).await;
        }
        for number in 0..COUNT {
            let message = message(&subscriber, &mut events).await;
            assert_eq!(message.payload, [MARKER, number.to_string().as_bytes()].concat());
            assert_eq!((message.topic.as_str(), message.link), (topic, link));
            assert_eq!(message.delivery.protection == Protection::Sealed, sealed);
        }
    }
    let seen = broker_view.wait_for(4 * COUNT);
    assert_eq!(seen.len(), 4 * COUNT);
    for message in seen {
        let clear = contains(&message.payload, MARKER);
        assert_eq!(clear, message.topic.contains("clear"), "{}", message.topic);
        assert_eq!(!clear, message.payload.starts_with(&[0xFC]), "{}", message.topic);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_cells_arrive_over_tls_1_2() {
    four_cells(BrokerTls::Only12, TlsVersions::Tls12Only).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_cells_arrive_over_tls_1_3() {
    four_cells(BrokerTls::Only13, TlsVersions::Tls13Only).await;
}

/// A subscriber to `sealed/#` over tcp, and a publisher with the same key.
async fn sealed_pair(broker: &Mosquitto, certs: &Certs) -> [(AsyncClient, EventLoop); 2] {
    let place = Place::of(broker, certs);
    let publisher = place.client("publisher", 1);
    let (subscriber, mut events) = place.client("subscriber", 1);
    assert_eq!(subscribe(&subscriber, &mut events, "sealed/#").await, Link::Tcp);
    [publisher, (subscriber, events)]
}

/// The next good message still arrives.
async fn good_message_arrives(publisher: &AsyncClient, subscriber: &mut (AsyncClient, EventLoop)) {
    publish(publisher, "sealed/good", b"27").await;
    let message = message(&subscriber.0, &mut subscriber.1).await;
    assert_eq!((message.topic.as_str(), message.payload.as_slice()), ("sealed/good", &b"27"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_unknown_and_the_next_good_message_arrives() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let [publisher, mut subscriber] = sealed_pair(&broker, &certs).await;
    let (stranger, _events) = Place::of(&broker, &certs).client("stranger", 2);
    publish(&stranger, "sealed/temp", MARKER).await;
    let rejected = rejection(&mut subscriber.1).await;
    assert_eq!(rejected, ("sealed/temp".into(), Link::Tcp, OpenError::UnknownKey));
    good_message_arrives(&publisher.0, &mut subscriber).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_under_another_topic_is_not_authentic_and_the_next_good_one_arrives() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let broker_view = PlainSub::start(&broker, "sealed/#");
    let [publisher, mut subscriber] = sealed_pair(&broker, &certs).await;
    publish(&publisher.0, "sealed/temp", b"27").await;
    assert_eq!(message(&subscriber.0, &mut subscriber.1).await.payload, b"27");

    let stolen = broker_view.wait_for_topic("sealed/temp")[0].payload.clone();
    broker.publish("sealed/valve", &stolen);
    let rejected = rejection(&mut subscriber.1).await;
    assert_eq!(rejected, ("sealed/valve".into(), Link::Tcp, OpenError::NotAuthentic));
    good_message_arrives(&publisher.0, &mut subscriber).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_clear_text_is_refused_and_the_next_good_message_arrives() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let [publisher, mut subscriber] = sealed_pair(&broker, &certs).await;
    broker.publish("sealed/temp", b"99");
    let rejected = rejection(&mut subscriber.1).await;
    assert_eq!(rejected, ("sealed/temp".into(), Link::Tcp, OpenError::ClearOnSealedTopic));
    good_message_arrives(&publisher.0, &mut subscriber).await;
}

/// Connects to a broker with the certificate `bad`, which is refused as `fault`; then the broker
/// comes back with a good one, and what was accepted before arrives.
async fn certificate(bad: impl Fn(&Certs) -> &ServerFiles, fault: CertificateFault) {
    let certs = Certs::new();
    let dir = tempfile::tempdir().unwrap();
    let [pem, der, key] = ["cert.pem", "cert.der", "key"].map(|name| dir.path().join(name));
    let server = ServerFiles { cert: CertFiles { pem, der }, key };
    let install = |files: &ServerFiles| {
        fs::copy(&files.cert.pem, &server.cert.pem).unwrap();
        fs::copy(&files.key, &server.key).unwrap();
    };
    install(bad(&certs));
    let mut broker = Mosquitto::start(&Setup::new(&server));
    let (client, mut events) = Place::of(&broker, &certs).client("client", 1);
    publish(&client, "cell/sealed-tls", MARKER).await;
    let error = next(&mut events, "refusal", |event| match event {
        Event::LinkDown { link: Link::Tls, error, .. } => Some(error),
        _ => None,
    })
    .await;
    assert_eq!(error, LinkError::Certificate(fault));

    broker.stop();
    install(&certs.good);
    broker.restart();
    let broker_view = PlainSub::start(&broker, "cell/#");
    subscribe(&client, &mut events, "cell/sealed-tls").await;
    publish(&client, "cell/sealed-tls", b"27").await;
    loop {
        let message = message(&client, &mut events).await;
        assert_eq!(message.link, Link::Tls);
        if message.payload == b"27" {
            break;
        }
    }
    let seen = broker_view.wait_for_topic("cell/sealed-tls")[0].payload.clone();
    assert!(seen.starts_with(&[0xFC]) && !contains(&seen, MARKER));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_ca_is_refused_by_name() {
    certificate(|certs| &certs.of_other_ca, CertificateFault::UnknownIssuer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_refused_by_name() {
    certificate(|certs| &certs.expired, CertificateFault::Expired).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_host_is_refused_by_name() {
    certificate(|certs| &certs.wrong_host, CertificateFault::WrongName).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_subscription_carries_no_tls_topic_over_the_plain_link() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let relay = Relay::start(broker.tcp_port()).await;
    let place = Place { tcp: relay.port(), ..Place::of(&broker, &certs) };
    let (subscriber, mut events) = place.client("subscriber", 1);
    assert_eq!(subscribe(&subscriber, &mut events, "#").await, Link::Tls);

    let (publisher, _publisher_events) = Place::of(&broker, &certs).client("publisher", 1);
    for topic in ["cell/clear-tls", "cell/sealed-tls", "cell/clear-tcp"] {
        publish(&publisher, topic, MARKER).await;
        let message = message(&subscriber, &mut events).await;
        assert_eq!((message.topic.as_str(), message.link), (topic, Link::Tls));
    }
    // the plain link is alive, and what it may carry does go there
    publish(&subscriber, "cell/clear-tcp", b"by the plain link").await;
    assert_eq!(message(&subscriber, &mut events).await.payload, b"by the plain link");
    let recorded = relay.recorded();
    assert!(contains(&recorded, b"by the plain link"), "the relay was used");
    assert!(!contains(&recorded, b"-tls") && !contains(&recorded, MARKER));
}
