//! Keys that an authority changes over a real Mosquitto, while clients talk or are away.
#![cfg(all(unix, feature = "rumqttc", feature = "tls"))]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use core::fmt::Write as _;
use core::time::Duration;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs, io};

use mqtt_seal::client::{AsyncClient, Event, EventLoop, KeyUpdates, PeerAuth, PeerFault};
use mqtt_seal::guard::{Guard, OpenError, QoS};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::peer::SpkiHash;
use mqtt_seal::policy::{Links, Policy, Rule, Transport};
use mqtt_seal::rumqttc_v4::{ClientError, ConfigError};
use mqtt_seal::secret::SharedKey;
use mqtt_seal::store::update_file::UpdateFile;
use mqtt_seal::tls::TlsConfig;
use mqtt_seal::update::{Entry, KeyState, Snapshot, UpdateError, WrongRun};
use mqtt_seal::{rumqttc_v4, rumqttc_v5};
use sha2::{Digest, Sha256};
use support::DEADLINE;
use support::authority::{
    AuthorityLoop, PREFIX, REALM, device, device_named, id, keys_topic, pairwise,
};
use support::certs::{Certs, ServerFiles};
use support::mosquitto::{Mosquitto, Setup, mosquitto_pub, write_password};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::server::ParsedCertificate;

const MESSAGES: usize = 30;
const CHILD_PORT: &str = "MQTT_SEAL_UPDATES_PORT";
const CHILD_STORE: &str = "MQTT_SEAL_UPDATES_STORE";

fn policy() -> Policy {
    let tcp =
        |rule: mqtt_seal::policy::RuleBuilder| rule.transport(Transport::Tcp).build().unwrap();
    Policy::new(vec![tcp(Rule::clear(["clear/#"])), tcp(Rule::sealed(["#"]))])
}

fn grant(number: u8) -> Grant {
    let grant =
        Grant::shared(&SharedKey::take(&mut [number.wrapping_add(100); 32]), REALM).unwrap();
    grant.with_generation(number.into())
}

fn guard(keyring: Vec<Grant>) -> Guard {
    Guard::new(policy(), Keyring::new(keyring), Links::Tcp).unwrap()
}

fn snapshot(serial: u64, generations: &[(u8, KeyState)]) -> Snapshot {
    let entry =
        |&(number, state): &(u8, KeyState)| Entry::new(grant(number)).unwrap().with_state(state);
    Snapshot::new(serial, generations.iter().map(entry).collect(), vec![]).unwrap()
}

/// A broker, the authority, and a folder for what devices store.
struct Scene {
    broker: Mosquitto,
    authority: AuthorityLoop,
    folder: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let broker = Mosquitto::start(&Setup::new(&Certs::new().good));
        let port = broker.tcp_port();
        let authority = AuthorityLoop::start(port, &[(port, &[])]).await;
        Self { broker, authority, folder: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn updates(&self, name: &str) -> KeyUpdates {
        updates(&self.path(name), name)
    }

    fn v4(&self, name: &str) -> Node<rumqttc_v4::V4> {
        let options = rumqttc_v4::ClientOptions::new()
            .require_peer_auth(device_named(name))
            .key_updates(self.updates(name));
        v4(name, self.broker.tcp_port(), vec![], options)
    }

    fn v5(&self, name: &str) -> Node<rumqttc_v5::V5> {
        let mqtt = rumqttc::v5::MqttOptions::new(name, "localhost", self.broker.tcp_port());
        let options = rumqttc_v5::ClientOptions::new()
            .tcp(mqtt)
            .auto_ack(true)
            .require_peer_auth(device_named(name))
            .key_updates(self.updates(name));
        let (client, events) = rumqttc_v5::AsyncClient::new(guard(vec![]), options, 1_000).unwrap();
        Node::new(name, client, events)
    }

    /// A member that has its keys by other means.
    fn member(&self, keyring: Vec<Grant>) -> Node<rumqttc_v4::V4> {
        v4("member", self.broker.tcp_port(), keyring, rumqttc_v4::ClientOptions::new())
    }

    /// Puts a message where the broker has the newest update.
    fn retain(&self, name: &str, bytes: &[u8]) {
        let topic = keys_topic(name);
        assert!(mosquitto_pub(self.broker.tcp_port(), &topic, bytes, &["-r"]));
    }
}

/// Waits until the store is free: a client that was dropped ends soon after, and a program that
/// another test starts holds all locks for a moment.
fn updates(path: &Path, name: &str) -> KeyUpdates {
    let mut opened = None;
    support::wait_until("end of the store's use", String::new, || {
        opened = UpdateFile::open(path).ok();
        opened.is_some()
    });
    KeyUpdates::new(&pairwise(name), REALM, id(name), PREFIX, opened.unwrap()).unwrap()
}

fn v4(
    name: &str,
    port: u16,
    keyring: Vec<Grant>,
    options: rumqttc_v4::ClientOptions,
) -> Node<rumqttc_v4::V4> {
    let mqtt = rumqttc::MqttOptions::new(name, "localhost", port);
    let options = options.tcp(mqtt).auto_ack(true);
    let (client, events) = rumqttc_v4::AsyncClient::new(guard(keyring), options, 1_000).unwrap();
    Node::new(name, client, events)
}

/// A running client.
struct Node<V> {
    client: AsyncClient<V>,
    events: EventLoop,
    topic: String,
    sent: usize,
    /// When the test fails, whatever happens until then.
    until: Instant,
}

impl<V> Node<V> {
    fn new(name: &str, client: AsyncClient<V>, events: EventLoop) -> Self {
        let (topic, now) = (format!("plant/{name}"), Instant::now());
        Self { client, events, topic, sent: 0, until: now.checked_add(DEADLINE).unwrap() }
    }

    async fn next(&mut self) -> Option<Event> {
        let event = tokio::time::timeout_at(self.until, self.events.poll()).await;
        event.expect("it did not happen before the deadline")
    }

    async fn wait_for<T>(&mut self, pick: impl Fn(Event) -> Option<T>) -> T {
        loop {
            if let Some(picked) = pick(self.next().await.expect("the event loop ended")) {
                return picked;
            }
        }
    }

    async fn updated(&mut self) -> u64 {
        self.wait_for(|event| match event {
            Event::KeysUpdated { serial, .. } => Some(serial),
            Event::UpdateRefused { reason, .. } => panic!("{reason}"),
            _ => None,
        })
        .await
    }

    async fn subscribed(&mut self, filter: &str) {
        self.client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        self.wait_for(|event| matches!(event, Event::Subscribed { .. }).then_some(())).await;
    }

    async fn publish(&mut self) {
        let end = self.sent.saturating_add(MESSAGES);
        for number in self.sent..end {
            let (topic, text) = (self.topic.clone(), number.to_string());
            self.client.publish(topic, QoS::AtLeastOnce, false, text).await.unwrap();
        }
        self.sent = end;
    }

    /// Waits until all messages on `topic` came, each once, and nothing of the key topics.
    async fn receive(&mut self, topic: &str, count: usize, seen: &mut BTreeSet<String>) {
        while seen.len() < count {
            match self.next().await.expect("the event loop ended") {
                Event::Message(message) if message.topic == topic => {
                    assert!(seen.insert(String::from_utf8(message.payload).unwrap()));
                }
                Event::Message(message) => {
                    assert!(message.topic.starts_with("plant/"), "{}", message.topic);
                }
                Event::Rejected { reason, topic, .. } => panic!("{topic}: {reason}"),
                _ => {}
            }
        }
    }

    async fn message(&mut self) -> String {
        self.wait_for(|event| match event {
            Event::Message(message) => Some(String::from_utf8(message.payload).unwrap()),
            Event::Rejected { reason, topic, .. } => panic!("{topic}: {reason}"),
            _ => None,
        })
        .await
    }

    async fn refused(&mut self) -> UpdateError {
        self.wait_for(|event| match event {
            Event::UpdateRefused { reason, .. } => Some(reason),
            Event::KeysUpdated { serial, .. } => panic!("{serial} is in force"),
            _ => None,
        })
        .await
    }
}

const ACTIVE: KeyState = KeyState::Active;
const PENDING: KeyState = KeyState::Pending;
const RETIRING: KeyState = KeyState::Retiring;

#[tokio::test(flavor = "multi_thread")]
async fn generation_goes_through_all_states_by_updates_and_no_message_is_lost() {
    let scene = Scene::new().await;
    let Scene { authority, .. } = &scene;
    let first = snapshot(1, &[(1, ACTIVE)]);
    for name in ["device-7", "device-8"] {
        authority.publish(name, &first).await;
    }
    let (mut a, mut b) = (scene.v4("device-7"), scene.v5("device-8"));
    assert_eq!((a.updated().await, b.updated().await), (1, 1));
    a.subscribed("plant/#").await;
    b.subscribed("plant/#").await;
    let (mut seen_a, mut seen_b) = (BTreeSet::new(), BTreeSet::new());
    let steps = [
        snapshot(2, &[(1, ACTIVE), (2, PENDING)]),
        snapshot(3, &[(1, RETIRING), (2, ACTIVE)]),
        snapshot(4, &[(2, ACTIVE)]),
    ];
    for step in &steps {
        // one device is ahead of the other, and messages are on their way both ways meanwhile
        for name in ["device-7", "device-8"] {
            a.publish().await;
            b.publish().await;
            if step.serial() == 4 {
                // what is sealed under a key is done with before that is erased
                a.receive("plant/device-8", b.sent, &mut seen_a).await;
                b.receive("plant/device-7", a.sent, &mut seen_b).await;
            }
            authority.publish(name, step).await;
            a.receive("plant/device-8", b.sent, &mut seen_a).await;
            b.receive("plant/device-7", a.sent, &mut seen_b).await;
            authority.wait_for_ack(name, step.serial());
        }
    }
    a.publish().await;
    b.receive("plant/device-7", a.sent, &mut seen_b).await;
    // generation 1 opens nothing any more, and generation 2 is what both seal with
    let mut member = scene.member(vec![grant(1)]);
    member.subscribed("plant/#").await;
    a.publish().await;
    let reason = member.wait_for(|event| match event {
        Event::Rejected { reason, .. } => Some(reason),
        Event::Message(message) => panic!("{message:?}"),
        _ => None,
    });
    assert_eq!(reason.await, OpenError::UnknownKey);
}

#[tokio::test(flavor = "multi_thread")]
async fn device_that_was_away_for_several_serials_catches_up() {
    let scene = Scene::new().await;
    scene.authority.publish("device-7", &snapshot(1, &[(1, ACTIVE)])).await;
    let mut node = scene.v4("device-7");
    assert_eq!(node.updated().await, 1);
    scene.authority.wait_for_ack("device-7", 1);
    drop(node);
    // it has ended when its store is free
    drop(scene.updates("device-7"));
    for (serial, number) in [(2, 2), (3, 3), (4, 4)] {
        scene.authority.publish("device-7", &snapshot(serial, &[(number, ACTIVE)])).await;
    }
    let mut node = scene.v4("device-7");
    assert_eq!(node.updated().await, 4);
    node.subscribed("plant/#").await;
    let mut member = scene.member(vec![grant(4)]);
    member.publish().await;
    assert_eq!(node.message().await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_update_is_refused_and_told_and_the_keys_stay() {
    let scene = Scene::new().await;
    let old = scene.authority.seal("device-7", &snapshot(1, &[(1, ACTIVE)]));
    scene.authority.publish("device-7", &snapshot(2, &[(2, ACTIVE)])).await;
    let mut node = scene.v4("device-7");
    assert_eq!(node.updated().await, 2);
    scene.authority.wait_for_ack("device-7", 2);
    drop(node);
    scene.retain("device-7", &old);
    let mut node = scene.v4("device-7");
    assert_eq!(node.refused().await, UpdateError::RolledBack { serial: 1, least: 2 });
    node.subscribed("plant/#").await;
    let mut member = scene.member(vec![grant(2)]);
    member.publish().await;
    assert_eq!(node.message().await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn first_update_of_a_device_is_not_an_old_one() {
    let scene = Scene::new().await;
    scene.authority.attest("device-7", 5);
    let old = scene.authority.seal("device-7", &snapshot(4, &[(1, ACTIVE)]));
    scene.retain("device-7", &old);
    let mut node = scene.v4("device-7");
    assert_eq!(node.refused().await, UpdateError::RolledBack { serial: 4, least: 5 });
}

#[tokio::test(flavor = "multi_thread")]
async fn withheld_update_is_told() {
    let scene = Scene::new().await;
    scene.authority.publish("device-7", &snapshot(1, &[(1, ACTIVE)])).await;
    let mut node = scene.v4("device-7");
    assert_eq!(node.updated().await, 1);
    drop(node);
    scene.authority.attest("device-7", 2);
    // it is never published
    let updates = scene.updates("device-7").grace(Duration::from_millis(1));
    let options = rumqttc_v4::ClientOptions::new().require_peer_auth(device()).key_updates(updates);
    let mut node = v4("device-7", scene.broker.tcp_port(), vec![], options);
    let withheld = node.wait_for(|event| match event {
        Event::UpdateWithheld { withheld, .. } => Some(withheld),
        _ => None,
    });
    let withheld = withheld.await;
    assert_eq!((withheld.stored, withheld.newest), (Some(1), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn message_that_is_ahead_of_its_key_is_delivered_behind_it() {
    let scene = Scene::new().await;
    for name in ["device-7", "device-8"] {
        scene.authority.publish(name, &snapshot(1, &[(1, ACTIVE)])).await;
    }
    let (mut a, mut b) = (scene.v4("device-7"), scene.v5("device-8"));
    assert_eq!((a.updated().await, b.updated().await), (1, 1));
    a.subscribed("plant/#").await;
    b.subscribed("plant/#").await;
    let mut member = scene.member(vec![grant(2)]);
    member.publish().await;
    for name in ["device-7", "device-8"] {
        // all were taken, and none could be opened; the first is that of the update
        let acks = || scene.broker.log().matches(&format!("Received PUBACK from {name} ")).count();
        support::wait_until("their acknowledgement", || scene.broker.log(), || acks() > MESSAGES);
        scene.authority.publish(name, &snapshot(2, &[(1, ACTIVE), (2, PENDING)])).await;
    }
    let expected: Vec<_> = (0..MESSAGES).map(|number| number.to_string()).collect();
    let (mut from_a, mut from_b) = (vec![], vec![]);
    for _ in 0..MESSAGES {
        from_a.push(a.message().await);
        from_b.push(b.message().await);
    }
    assert_eq!((&from_a, &from_b), (&expected, &expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn persistent_subscriber_takes_what_came_while_it_was_away_and_the_key_of_it() {
    let scene = Scene::new().await;
    scene.authority.publish("device-7", &snapshot(1, &[(1, ACTIVE)])).await;
    let start = || {
        let options = rumqttc_v4::ClientOptions::new()
            .persistent_subscriber()
            .require_peer_auth(device())
            .key_updates(scene.updates("device-7"));
        v4("device-7", scene.broker.tcp_port(), vec![], options)
    };
    let mut node = start();
    assert_eq!(node.updated().await, 1);
    node.subscribed("plant/#").await;
    scene.authority.wait_for_ack("device-7", 1);
    drop(node);
    // it has ended when its store is free: what it acknowledges before that ends with it
    drop(scene.updates("device-7"));
    let member = scene.member(vec![grant(2)]);
    let ticket = member.client.publish("plant/a", QoS::AtLeastOnce, false, "away").await.unwrap();
    ticket.await.unwrap();
    scene.authority.publish("device-7", &snapshot(2, &[(2, ACTIVE)])).await;
    let mut node = start();
    assert_eq!(node.message().await, "away");
    scene.authority.wait_for_ack("device-7", 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_device_opens_nothing_of_the_next_generation() {
    let scene = Scene::new().await;
    for name in ["device-7", "device-8"] {
        scene.authority.publish(name, &snapshot(1, &[(1, ACTIVE)])).await;
    }
    let (mut a, mut b) = (scene.v4("device-7"), scene.v5("device-8"));
    assert_eq!((a.updated().await, b.updated().await), (1, 1));
    b.subscribed("plant/#").await;
    scene.authority.publish("device-7", &snapshot(2, &[(2, ACTIVE)])).await;
    scene.authority.publish("device-8", &snapshot(2, &[])).await;
    assert_eq!((a.updated().await, b.updated().await), (2, 2));
    a.client.publish("plant/a", QoS::AtLeastOnce, false, "secret").await.unwrap();
    let refused = b.client.publish("plant/b", QoS::AtLeastOnce, false, "forged").await;
    assert!(matches!(refused, Err(ClientError::Seal(_))), "{refused:?}");
    // both updates, and the message
    let acks = || scene.broker.log().matches("Received PUBACK from device-8 ").count();
    support::wait_until("its acknowledgement", || scene.broker.log(), || acks() >= 3);
    b.client.disconnect().await.unwrap();
    let mut reasons = vec![];
    while let Some(event) = b.next().await {
        match event {
            Event::Rejected { topic, reason, .. } => reasons.push((topic, reason)),
            Event::Message(message) => panic!("{message:?}"),
            _ => {}
        }
    }
    assert_eq!(reasons, [("plant/a".into(), OpenError::UnknownKey)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_of_keys_are_not_for_the_application() {
    let scene = Scene::new().await;
    scene.authority.publish("device-7", &snapshot(1, &[(1, ACTIVE)])).await;
    let mut node = scene.v4("device-7");
    assert_eq!(node.updated().await, 1);
    let own = ["acme/keys/device-7", "acme/keys/device-7/ack"];
    for topic in own {
        let refused = node.client.publish(topic, QoS::AtLeastOnce, false, "text").await;
        assert_eq!(refused.unwrap_err(), ClientError::KeyTopic);
        let refused = node.client.subscribe(topic, QoS::AtLeastOnce).await;
        assert_eq!(refused.unwrap_err(), ClientError::KeyTopic);
    }
    // nor by a filter that covers them
    node.subscribed("#").await;
    let before = node.client.publish("plant/a", QoS::AtLeastOnce, false, "before").await.unwrap();
    before.await.unwrap();
    let mut texts = vec![];
    for topic in own {
        scene.broker.publish(topic, b"text");
    }
    scene.broker.publish("clear/end", b"end");
    loop {
        match node.next().await.unwrap() {
            Event::Message(message) if message.topic == "clear/end" => break,
            Event::Message(message) => texts.push(message.topic),
            Event::Rejected { topic, .. } | Event::Cleared { topic, .. } => texts.push(topic),
            _ => {}
        }
    }
    texts.retain(|topic| !topic.starts_with("auth/"));
    assert_eq!(texts, ["plant/a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_told_shows_a_key() {
    let scene = Scene::new().await;
    let first = snapshot(1, &[(1, ACTIVE)]);
    let secrets = [[101; 32], [9; 32]].map(|key| format!("{key:?}").replace(['[', ']'], ""));
    scene.authority.publish("device-7", &first).await;
    let updates = scene.updates("device-7");
    let mut told = format!("{updates:?} {updates:#?}");
    let options = rumqttc_v4::ClientOptions::new().require_peer_auth(device()).key_updates(updates);
    write!(told, "{options:?}").unwrap();
    let mut node = v4("device-7", scene.broker.tcp_port(), vec![], options);
    loop {
        let event = node.next().await.unwrap();
        write!(told, "{event:?}").unwrap();
        if matches!(event, Event::KeysUpdated { .. }) {
            break;
        }
    }
    write!(told, "{:?} {:?} {first:?}", node.client, node.events).unwrap();
    for secret in secrets {
        assert!(!told.contains(&secret), "{told}");
    }
}

#[tokio::test]
async fn device_that_stored_nothing_needs_peer_authentication_under_the_same_key() {
    let folder = TempDir::new().unwrap();
    let options = || {
        let mqtt = rumqttc::MqttOptions::new("id", "localhost", 1);
        rumqttc_v4::ClientOptions::new().tcp(mqtt)
    };
    let start = |options| rumqttc_v4::AsyncClient::new(guard(vec![]), options, 10).map(drop);
    let without = options().key_updates(updates(&folder.path().join("a"), "device-7"));
    assert_eq!(start(without), Err(ConfigError::UpdatesNeedRun));
    let other = options()
        .require_peer_auth(device_named("device-8"))
        .key_updates(updates(&folder.path().join("b"), "device-7"));
    assert_eq!(start(other), Err(ConfigError::UpdatesOfOther(WrongRun::OtherDevice)));
    let mut mqtt = rumqttc::MqttOptions::new("id", "localhost", 1);
    mqtt.set_last_will(rumqttc::LastWill::new(
        keys_topic("device-7"),
        "gone",
        rumqttc::QoS::AtLeastOnce,
        false,
    ));
    let will = rumqttc_v4::ClientOptions::new()
        .tcp(mqtt)
        .require_peer_auth(device())
        .key_updates(updates(&folder.path().join("c"), "device-7"));
    assert_eq!(start(will), Err(ConfigError::WillOnKeyTopic));
}

// -- the TLS keys of the broker --

/// The key of a server as an authority names it.
fn spki(server: &ServerFiles) -> SpkiHash {
    let cert = CertificateDer::from_pem_file(&server.cert.pem).unwrap();
    let spki = ParsedCertificate::try_from(&cert).unwrap().subject_public_key_info();
    Sha256::digest(&spki).into()
}

/// Connections of the device under its own client ID, and others.
fn connects(broker: &Mosquitto) -> (usize, usize) {
    let log = broker.log();
    let new = log.lines().filter(|line| line.contains("New client connected"));
    let (own, others): (Vec<_>, Vec<_>) = new
        .filter(|line| !line.contains(" as authority"))
        .partition(|line| line.contains("device-7"));
    (own.len(), others.len())
}

/// A device that the authority alone verifies its broker for.
fn by_tls(port: u16, path: &Path, peer: PeerAuth) -> Node<rumqttc_v4::V4> {
    let mut mqtt = rumqttc::MqttOptions::new("device-7", "localhost", port);
    mqtt.set_credentials("device-7", "real-password");
    let tls = TlsConfig::builder().verify_by_peer_alone().build().unwrap();
    let options = rumqttc_v4::ClientOptions::new()
        .tls(mqtt, &tls)
        .reconnect_pause(Duration::from_millis(20), Duration::from_millis(20))
        .require_peer_auth(peer)
        .key_updates(updates(path, "device-7"));
    let policy = Policy::new(vec![Rule::sealed(["#"]).build().unwrap()]);
    let guard = Guard::new(policy, Keyring::default(), Links::Tls).unwrap();
    let (client, events) = rumqttc_v4::AsyncClient::new(guard, options, 10).unwrap();
    Node::new("device-7", client, events)
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_whose_key_is_named_is_not_probed_and_another_is() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.of_other_ca));
    let port = broker.tls_port();
    let (right, wrong) = (spki(&certs.of_other_ca), spki(&certs.good));
    let authority = AuthorityLoop::start(broker.tcp_port(), &[(port, &[right])]).await;
    let folder = TempDir::new().unwrap();
    let mut expected = (0, 0);
    // what is named by one update counts from the next start on, until then what the device's file
    // names; and again where an update names none
    let mut serial = 0;
    for (store, own, updates) in [
        ("a", vec![], [(vec![right], 1), (vec![wrong], 0), (vec![right], 1), (vec![], 0)]),
        ("b", vec![right], [(vec![wrong], 0), (vec![right], 1), (vec![], 0), (vec![right], 0)]),
    ] {
        for (named, probes) in updates {
            serial += 1;
            let update = Snapshot::new(serial, vec![], named).unwrap();
            authority.publish("device-7", &update).await;
            let mut node = by_tls(port, &folder.path().join(store), device().pins(&own));
            assert_eq!(node.updated().await, serial);
            authority.wait_for_ack("device-7", serial);
            drop(node);
            expected = (expected.0 + 1, expected.1 + probes);
            assert_eq!(connects(&broker), expected, "{store} {serial}: {}", broker.log());
        }
    }
}

/// No probe gets into a broker that wants a password: another server in its place, for a moment,
/// must not shut the device out for good.
#[tokio::test(flavor = "multi_thread")]
async fn broker_that_wants_a_password_is_found_again_after_another_stood_in_its_place() {
    let certs = Certs::new();
    let folder = TempDir::new().unwrap();
    let (path, passwords) = (folder.path().join("updates"), folder.path().join("passwords"));
    // it may be back before the authority is, and is to ask again soon
    let start = |port| by_tls(port, &path, device().patience(Duration::from_secs(1)));
    let key = spki(&certs.of_other_ca);
    // where it gets the pin
    let open = Mosquitto::start(&Setup::new(&certs.of_other_ca));
    let authority = AuthorityLoop::start(open.tcp_port(), &[(open.tls_port(), &[key])]).await;
    authority.publish("device-7", &Snapshot::new(1, vec![], vec![key]).unwrap()).await;
    assert_eq!(start(open.tls_port()).updated().await, 1);
    drop((authority, open));

    write_password(&passwords, "device-7", "real-password");
    let tls_passwords = Some(passwords.as_path());
    let mut broker = Mosquitto::start(&Setup { tls_passwords, ..Setup::new(&certs.of_other_ca) });
    let (tcp, port) = (broker.tcp_port(), broker.tls_port());
    let authority = AuthorityLoop::start(tcp, &[(port, &[key])]).await;
    let mut node = start(port);
    node.wait_for(|event| matches!(event, Event::LinkUp { .. }).then_some(())).await;
    drop(authority);
    let ServerFiles { cert, key: secret } = &certs.of_other_ca;
    let own = [&cert.pem, secret].map(|file| fs::read(file).unwrap());
    fs::copy(&certs.good.cert.pem, &cert.pem).unwrap();
    fs::copy(&certs.good.key, secret).unwrap();
    broker.restart();
    let needs_pin = |event| match event {
        Event::PeerRefused { fault, .. } => Some(fault),
        _ => None,
    };
    assert_eq!(node.wait_for(needs_pin).await, PeerFault::PinNeeded);
    for (file, bytes) in [&cert.pem, secret].into_iter().zip(own) {
        fs::write(file, bytes).unwrap();
    }
    broker.restart();
    let _authority = AuthorityLoop::start(tcp, &[(port, &[key])]).await;
    node.wait_for(|event| matches!(event, Event::LinkUp { .. }).then_some(())).await;
}

// -- a device that is killed --

/// What a child runs: takes updates, and tells their serials. In an ordinary run it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn device_of_a_process_takes_updates() {
    let (Ok(port), Ok(path)) = (env::var(CHILD_PORT), env::var(CHILD_STORE)) else { return };
    let options = rumqttc_v4::ClientOptions::new()
        .require_peer_auth(device())
        .key_updates(updates(Path::new(&path), "device-7"));
    let mut node = v4("device-7", port.parse().unwrap(), vec![], options);
    loop {
        let serial = node.updated().await;
        writeln!(io::stdout(), "\nupdated {serial}").unwrap();
    }
}

struct Process(Child);

impl Process {
    fn start(scene: &Scene) -> Self {
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "device_of_a_process_takes_updates", "--nocapture"])
            .env(CHILD_PORT, scene.broker.tcp_port().to_string())
            .env(CHILD_STORE, scene.path("device-7"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    /// Kills it once it has told a serial; returns that.
    fn kill_behind_an_update(mut self) -> u64 {
        let output = BufReader::new(self.0.stdout.take().unwrap());
        let serial = output.lines().find_map(|line| {
            line.unwrap().strip_prefix("updated ").map(|serial| serial.parse().unwrap())
        });
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        serial.expect("the device ended by itself")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_device_knows_what_it_told_and_what_it_acknowledged() {
    let scene = Scene::new().await;
    let mut serial = 0;
    for _ in 0..3 {
        let process = Process::start(&scene);
        // some of these are on their way to storage when it is killed
        for number in 1..=20 {
            serial += 1;
            scene.authority.publish("device-7", &snapshot(serial, &[(number, ACTIVE)])).await;
        }
        let told = tokio::task::spawn_blocking(|| process.kill_behind_an_update()).await.unwrap();
        let stored = scene.updates("device-7").serial().unwrap();
        let acknowledged = scene.authority.acknowledged("device-7").into_iter().max();
        assert!(stored >= told && Some(stored) >= acknowledged, "{stored} {told} {acknowledged:?}");
    }
    // and its keys: without a run, which has no authority any more
    let Scene { broker, authority, .. } = &scene;
    authority.publish("device-7", &snapshot(100, &[(100, ACTIVE)])).await;
    let told = Process::start(&scene);
    let told = tokio::task::spawn_blocking(|| told.kill_behind_an_update()).await.unwrap();
    assert_eq!(told, 100);
    let options = rumqttc_v4::ClientOptions::new().key_updates(scene.updates("device-7"));
    let mut node = v4("device-7", broker.tcp_port(), vec![], options);
    node.subscribed("plant/#").await;
    let mut member = scene.member(vec![grant(100)]);
    member.publish().await;
    assert_eq!(node.message().await, "0");
}
