//! Peer authentication of a running client, against real brokers and those who pass for them.
#![cfg(all(unix, feature = "rumqttc", feature = "tls", feature = "serde"))]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use core::net::Ipv4Addr;
use core::time::Duration;
use std::fs;
use std::sync::Arc;

use mqtt_seal::client::{Event, EventLoop, PeerFault};
use mqtt_seal::guard::{Guard, QoS};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::peer::{Names, PeerId, PeerKey};
use mqtt_seal::policy::{Links, Policy, Rule};
use mqtt_seal::rumqttc_v4::{CertificateFault, ClientError, ConfigError, LinkError, PeerAuth};
use mqtt_seal::secret::SharedKey;
use mqtt_seal::store::device_file::DeviceFile;
use mqtt_seal::tls::{SpkiPin, TlsConfig, TlsConfigBuilder, TlsVersions};
use mqtt_seal::topic::{TopicError, TopicName};
use mqtt_seal::{rumqttc_v4, rumqttc_v5};
use sha2::{Digest, Sha256};
use support::authority::{AuthorityLoop, device};
use support::certs::{Certs, ServerFiles};
use support::mosquitto::{Mosquitto, Setup, write_password};
use support::relay::Relay;
use support::{DEADLINE, contains};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

const CLIENT_ID: &str = "real-client-id";
const USER: &str = "real-user";
const TOPIC: &str = "plant/secret";

fn guard(links: Links) -> Guard {
    let grant = Grant::shared(&SharedKey::take(&mut [7; 32]), "test").unwrap();
    let policy = Policy::new(vec![Rule::sealed(["#"]).build().unwrap()]);
    Guard::new(policy, Keyring::new(vec![grant]), links).unwrap()
}

fn by_peer() -> TlsConfigBuilder {
    TlsConfig::builder().verify_by_peer_alone()
}

/// With everything that a stranger must not see.
fn over_tls(port: u16, tls: &TlsConfigBuilder) -> (rumqttc_v4::AsyncClient, EventLoop) {
    over_tls_as(device(), port, tls)
}

fn over_tls_as(
    device: PeerAuth,
    port: u16,
    tls: &TlsConfigBuilder,
) -> (rumqttc_v4::AsyncClient, EventLoop) {
    let mut mqtt = rumqttc::MqttOptions::new(CLIENT_ID, "localhost", port);
    let will = rumqttc::LastWill::new(TOPIC, "gone", rumqttc::QoS::AtLeastOnce, false);
    mqtt.set_credentials(USER, "real-password").set_last_will(will);
    let pause = Duration::from_millis(20);
    let options = rumqttc_v4::ClientOptions::new()
        .reconnect_pause(pause, pause)
        .require_peer_auth(device)
        .tls(mqtt, &tls.clone().build().unwrap());
    rumqttc_v4::AsyncClient::new(guard(Links::Tls), options, 10).unwrap()
}

fn over_tls_v5(port: u16) -> (rumqttc_v5::AsyncClient, EventLoop) {
    let mut mqtt = rumqttc::v5::MqttOptions::new(CLIENT_ID, "localhost", port);
    mqtt.set_credentials(USER, "real-password");
    let options = rumqttc_v5::ClientOptions::new()
        .require_peer_auth(device())
        .tls(mqtt, &by_peer().build().unwrap());
    rumqttc_v5::AsyncClient::new(guard(Links::Tls), options, 10).unwrap()
}

/// The key of a server as an authority names it.
fn spki(server: &ServerFiles) -> [u8; 32] {
    let cert = CertificateDer::from_pem_file(&server.cert.pem).unwrap();
    let spki = ParsedCertificate::try_from(&cert).unwrap().subject_public_key_info();
    Sha256::digest(&spki).into()
}

fn pin(server: &ServerFiles) -> SpkiPin {
    SpkiPin::of_certificate(&fs::read(&server.cert.pem).unwrap()).unwrap()
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

async fn up(events: &mut EventLoop) {
    wait_for(events, |event| match event {
        Event::LinkUp { .. } => Some(()),
        Event::LinkDown { error, .. } => panic!("{error}"),
        _ => None,
    })
    .await;
}

async fn down(events: &mut EventLoop) -> LinkError {
    wait_for(events, |event| match event {
        Event::LinkDown { error, .. } => Some(error),
        Event::LinkUp { .. } => panic!("the link came up"),
        _ => None,
    })
    .await
}

async fn payload(events: &mut EventLoop) -> Vec<u8> {
    wait_for(events, |event| match event {
        Event::Message(message) => Some(message.payload),
        _ => None,
    })
    .await
}

/// Lines of a broker's log that tell of a new client.
fn connects(broker: &Mosquitto) -> Vec<String> {
    let log = broker.log();
    let new = log.lines().filter(|line| line.contains("New client connected"));
    new.filter(|line| !line.contains(" as authority")).map(Into::into).collect()
}

// -- a server that no CA stands behind --

#[tokio::test]
async fn server_of_an_unknown_ca_is_accepted_with_the_attestation_alone() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.of_other_ca));
    let port = broker.tls_port();
    let authority =
        AuthorityLoop::start(broker.tcp_port(), &[(port, &[spki(&certs.of_other_ca)])]).await;
    for versions in [TlsVersions::Tls12Only, TlsVersions::Tls13Only] {
        let (client, mut events) = over_tls(port, &by_peer().versions(versions));
        client.subscribe(TOPIC, QoS::AtLeastOnce).await.unwrap();
        wait_for(&mut events, |event| matches!(event, Event::Subscribed { .. }).then_some(()))
            .await;
        client.publish(TOPIC, QoS::AtLeastOnce, false, "27").await.unwrap();
        assert_eq!(payload(&mut events).await, b"27");
    }
    assert!(authority.accepted() >= 2, "{}", authority.accepted());
}

#[tokio::test]
async fn version_5_is_authenticated_as_well() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.of_other_ca));
    let port = broker.tls_port();
    let _authority =
        AuthorityLoop::start(broker.tcp_port(), &[(port, &[spki(&certs.of_other_ca)])]).await;
    let (client, mut events) = over_tls_v5(port);
    client.subscribe(TOPIC, QoS::AtLeastOnce).await.unwrap();
    wait_for(&mut events, |event| matches!(event, Event::Subscribed { .. }).then_some(())).await;
    client.publish(TOPIC, QoS::AtLeastOnce, false, "27").await.unwrap();
    assert_eq!(payload(&mut events).await, b"27");
    let connects = connects(&broker);
    assert!(!connects[0].contains(CLIENT_ID) && !connects[0].contains(USER), "{connects:?}");
    assert!(connects[1].contains(CLIENT_ID) && connects[1].contains(USER), "{connects:?}");
}

#[tokio::test]
async fn name_and_password_go_out_behind_the_probe() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.of_other_ca));
    let port = broker.tls_port();
    let _authority =
        AuthorityLoop::start(broker.tcp_port(), &[(port, &[spki(&certs.of_other_ca)])]).await;
    let (_client, mut events) = over_tls(port, &by_peer());
    up(&mut events).await;
    let connects = connects(&broker);
    assert_eq!(connects.len(), 2, "{connects:?}");
    assert!(!connects[0].contains(CLIENT_ID) && !connects[0].contains(USER), "{connects:?}");
    assert!(connects[1].contains(CLIENT_ID) && connects[1].contains(USER), "{connects:?}");
}

#[tokio::test]
async fn each_connection_is_authenticated_and_the_first_alone_is_probed() {
    let certs = Certs::new();
    let mut broker = Mosquitto::start(&Setup::new(&certs.of_other_ca));
    let port = broker.tls_port();
    let vouched = [spki(&certs.of_other_ca)];
    let authority = AuthorityLoop::start(broker.tcp_port(), &[(port, &vouched)]).await;
    let (_client, mut events) = over_tls(port, &by_peer());
    up(&mut events).await;
    drop(authority);
    broker.restart();
    let _authority = AuthorityLoop::start(broker.tcp_port(), &[(port, &vouched)]).await;
    wait_for(&mut events, |event| matches!(event, Event::Authenticated { .. }).then_some(())).await;
    let probes = connects(&broker).iter().filter(|line| !line.contains(CLIENT_ID)).count();
    assert_eq!(probes, 1, "{}", broker.log());
}

#[tokio::test]
async fn new_key_of_the_server_is_accepted_once_it_is_vouched_for() {
    let certs = Certs::new();
    let mut broker = Mosquitto::start(&Setup::new(&certs.of_other_ca));
    let port = broker.tls_port();
    let vouched = [spki(&certs.of_other_ca), spki(&certs.good)];
    let authority = AuthorityLoop::start(broker.tcp_port(), &[(port, &vouched)]).await;
    let (_client, mut events) = over_tls(port, &by_peer());
    up(&mut events).await;
    drop(authority);
    fs::copy(&certs.good.cert.pem, &certs.of_other_ca.cert.pem).unwrap();
    fs::copy(&certs.good.key, &certs.of_other_ca.key).unwrap();
    broker.restart();
    let _authority = AuthorityLoop::start(broker.tcp_port(), &[(port, &vouched)]).await;
    let pinned = |event| match event {
        Event::LinkDown { error: LinkError::Certificate(fault), .. } => Some(fault),
        _ => None,
    };
    assert_eq!(wait_for(&mut events, pinned).await, CertificateFault::Pin);
    wait_for(&mut events, |event| matches!(event, Event::LinkUp { .. }).then_some(())).await;
}

// -- those who pass for the broker --

#[tokio::test]
async fn server_that_is_not_vouched_for_is_told_nothing() {
    let certs = Certs::new();
    // it passes the run on to the authority: the most that a man in the middle can do
    let other = Mosquitto::start(&Setup::new(&certs.of_other_ca));
    let port = other.tls_port();
    let _authority = AuthorityLoop::start(other.tcp_port(), &[(port, &[spki(&certs.good)])]).await;
    let (client, mut events) = over_tls(port, &by_peer());
    client.subscribe(TOPIC, QoS::AtLeastOnce).await.unwrap();
    client.publish(TOPIC, QoS::AtLeastOnce, false, "payload").await.unwrap();
    for _ in 0..3 {
        let refused = |event| match event {
            Event::PeerRefused { fault, .. } => Some(fault),
            _ => None,
        };
        assert_eq!(wait_for(&mut events, refused).await, PeerFault::BrokerNotVouched);
        assert_eq!(down(&mut events).await, LinkError::Peer(PeerFault::BrokerNotVouched));
    }
    let log = other.log();
    assert!(log.contains("auth/req"), "{log}");
    for secret in [CLIENT_ID, USER, TOPIC, "Will message"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[tokio::test]
async fn plain_answer_of_nobody_lets_nothing_out() {
    let certs = Certs::new();
    let other = Mosquitto::start(&Setup::new(&certs.of_other_ca));
    let pause = Duration::from_millis(50);
    let mqtt = rumqttc::MqttOptions::new(CLIENT_ID, "localhost", other.tls_port());
    let options = rumqttc_v4::ClientOptions::new()
        .require_peer_auth(device().patience(pause))
        .tls(mqtt, &by_peer().build().unwrap());
    let (client, mut events) =
        rumqttc_v4::AsyncClient::new(guard(Links::Tls), options, 10).unwrap();
    client.publish(TOPIC, QoS::AtLeastOnce, false, "payload").await.unwrap();
    for _ in 0..2 {
        wait_for(&mut events, |event| matches!(event, Event::PeerSilent { .. }).then_some(()))
            .await;
    }
    let log = other.log();
    assert!(!log.contains(TOPIC) && !log.contains(CLIENT_ID), "{log}");
}

/// Whoever stood in the broker's place for a moment must not keep a device for ever.
#[tokio::test]
async fn silent_server_that_is_not_known_is_left() {
    let certs = Certs::new();
    let other = Mosquitto::start(&Setup::new(&certs.of_other_ca));
    let pause = Duration::from_millis(50);
    let mqtt = rumqttc::MqttOptions::new(CLIENT_ID, "localhost", other.tls_port());
    let options = rumqttc_v4::ClientOptions::new()
        .reconnect_pause(pause, pause)
        .require_peer_auth(device().patience(pause))
        .tls(mqtt, &by_peer().build().unwrap());
    let (_client, mut events) =
        rumqttc_v4::AsyncClient::new(guard(Links::Tls), options, 10).unwrap();
    for _ in 0..2 {
        // told each time, so that waiting alone would wait for ever
        let left = tokio::time::timeout(DEADLINE, down(&mut events)).await;
        assert_eq!(left.unwrap(), LinkError::Peer(PeerFault::Silent));
    }
}

struct Cheat(Arc<CertifiedKey>);

impl core::fmt::Debug for Cheat {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Cheat")
    }
}

impl ResolvesServerCert for Cheat {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// A server that shows one certificate and signs by another key.
async fn cheat(shown: &ServerFiles, signing: &ServerFiles) -> u16 {
    let cert = CertificateDer::from_pem_file(&shown.cert.pem).unwrap();
    let key = PrivateKeyDer::from_pem_file(&signing.key).unwrap();
    let key = ring::sign::any_supported_type(&key).unwrap();
    let resolver = Cheat(Arc::new(CertifiedKey::new(vec![cert], key)));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            // whatever comes of it, the client says
            let _ = acceptor.accept(client).await;
        }
    });
    port
}

#[tokio::test]
async fn stolen_certificate_with_another_key_is_refused_in_the_handshake() {
    let certs = Certs::new();
    let port = cheat(&certs.good, &certs.of_other_ca).await;
    for versions in [TlsVersions::Tls12Only, TlsVersions::Tls13Only] {
        let (_client, mut events) = over_tls(port, &by_peer().versions(versions));
        let error = down(&mut events).await;
        assert_eq!(error, LinkError::Certificate(CertificateFault::BadSignature));
    }
}

/// What the library says it does not prove: SPEC §9, "on plain TCP, that nobody relays".
#[tokio::test(flavor = "multi_thread")]
async fn relay_on_plain_tcp_is_not_found_out_but_reads_nothing() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let relay = Relay::start(broker.tcp_port()).await;
    let _authority = AuthorityLoop::start(broker.tcp_port(), &[(relay.port(), &[])]).await;
    let options = rumqttc_v4::ClientOptions::new().require_peer_auth(device());
    let (client, mut events) = over_tcp("plain", relay.port(), options);
    client.subscribe(TOPIC, QoS::AtLeastOnce).await.unwrap();
    wait_for(&mut events, |event| matches!(event, Event::Subscribed { .. }).then_some(())).await;
    client.publish(TOPIC, QoS::AtLeastOnce, false, "0123456789abcdef").await.unwrap();
    assert_eq!(payload(&mut events).await, b"0123456789abcdef");
    let seen = relay.recorded();
    assert!(contains(&seen, b"auth/req") && !contains(&seen, b"0123456789abcdef"));
}

/// Over plain TCP, with these options beside.
fn over_tcp(
    id: &str,
    port: u16,
    options: rumqttc_v4::ClientOptions,
) -> (rumqttc_v4::AsyncClient, EventLoop) {
    let rule = Rule::sealed(["#"]).transport(mqtt_seal::policy::Transport::Tcp).build().unwrap();
    let grant = Grant::shared(&SharedKey::take(&mut [7; 32]), "test").unwrap();
    let guard = Guard::new(Policy::new(vec![rule]), Keyring::new(vec![grant]), Links::Tcp);
    let options = options.tcp(rumqttc::MqttOptions::new(id, "localhost", port));
    rumqttc_v4::AsyncClient::new(guard.unwrap(), options, 10).unwrap()
}

#[tokio::test]
async fn what_a_broker_kept_for_a_subscriber_is_delivered_behind_authentication() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let port = broker.tcp_port();
    let _authority = AuthorityLoop::start(port, &[(port, &[])]).await;
    let subscriber = || {
        let options = rumqttc_v4::ClientOptions::new().persistent_subscriber();
        over_tcp(CLIENT_ID, port, options.require_peer_auth(device()).auto_ack(true))
    };
    let (client, mut events) = subscriber();
    client.subscribe(TOPIC, QoS::AtLeastOnce).await.unwrap();
    wait_for(&mut events, |event| matches!(event, Event::Subscribed { .. }).then_some(())).await;
    client.disconnect().await.unwrap();
    while tokio::time::timeout(DEADLINE, events.poll()).await.unwrap().is_some() {}
    let (writer, _events) = over_tcp("writer", port, rumqttc_v4::ClientOptions::new());
    writer.publish(TOPIC, QoS::AtLeastOnce, false, "27").await.unwrap().await.unwrap();
    let (_client, mut events) = subscriber();
    wait_for(&mut events, |event| {
        assert!(!matches!(event, Event::Message(_)));
        matches!(event, Event::Authenticated { .. }).then_some(())
    })
    .await;
    assert_eq!(payload(&mut events).await, b"27");
}

// -- beside roots and pins --

#[tokio::test]
async fn root_or_pin_needs_no_probe_and_the_attestation_counts_beside() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let port = broker.tls_port();
    let good = [spki(&certs.good)];
    let ca = || TlsConfig::builder().ca_file(&certs.ca.pem);
    let pinned = || TlsConfig::builder().pin(pin(&certs.good)).verify_by_pin_alone();
    let vouching = AuthorityLoop::start(broker.tcp_port(), &[(port, &good)]).await;
    for tls in [ca(), pinned(), ca().pin(pin(&certs.good))] {
        let (_client, mut events) = over_tls(port, &tls);
        up(&mut events).await;
    }
    assert!(connects(&broker).iter().all(|line| line.contains(CLIENT_ID)), "{}", broker.log());
    drop(vouching);
    let other = [spki(&certs.of_other_ca)];
    let _not_vouching = AuthorityLoop::start(broker.tcp_port(), &[(port, &other)]).await;
    for tls in [ca(), pinned()] {
        let (_client, mut events) = over_tls(port, &tls);
        assert_eq!(down(&mut events).await, LinkError::Peer(PeerFault::BrokerNotVouched));
    }
}

#[tokio::test]
async fn root_and_pin_are_enforced_whatever_the_authority_says() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.of_other_ca));
    let port = broker.tls_port();
    let _authority =
        AuthorityLoop::start(broker.tcp_port(), &[(port, &[spki(&certs.of_other_ca)])]).await;
    let ca = TlsConfig::builder().ca_file(&certs.ca.pem);
    let pinned = TlsConfig::builder().pin(pin(&certs.good)).verify_by_pin_alone();
    for (tls, fault) in [(ca, CertificateFault::UnknownIssuer), (pinned, CertificateFault::Pin)] {
        let (_client, mut events) = over_tls(port, &tls);
        assert_eq!(down(&mut events).await, LinkError::Certificate(fault));
    }
}

#[tokio::test]
async fn broker_that_refuses_strangers_needs_a_pin() {
    let certs = Certs::new();
    let lines = &["allow_anonymous false"];
    let broker = Mosquitto::start(&Setup { lines, ..Setup::new(&certs.good) });
    let (_client, mut events) = over_tls(broker.tls_port(), &by_peer());
    assert_eq!(down(&mut events).await, LinkError::Peer(PeerFault::PinNeeded));
    assert!(!broker.log().contains(USER), "{}", broker.log());
}

// -- pins in the device's file --

/// A broker by TLS that lets in who knows the password, and nobody else.
fn broker_with_password(server: &ServerFiles, folder: &TempDir) -> Mosquitto {
    let passwords = folder.path().join("passwords");
    write_password(&passwords, USER, "real-password");
    Mosquitto::start(&Setup { tls_passwords: Some(&passwords), ..Setup::new(server) })
}

/// `device-7` as its file says, with this pin in it.
fn device_of_file(pinned: &ServerFiles) -> PeerAuth {
    let mut text = format!(
        "realm = \"test\"\ndevice = \"device-7\"\nauthority = \"authority\"\n\
         prefix = \"acme\"\nrequest = \"auth/req\"\nresponse = \"auth/device-7/res\"\n\
         pins = [\"{}\"]\nkey = \"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\"\n",
        pin(pinned)
    );
    let file = DeviceFile::parse(&mut text).unwrap();
    let Names { device, authority, request, response, .. } = file.names("localhost:1").unwrap();
    PeerAuth::new(file.peer_key().unwrap(), device, authority, request, response).pins(file.pins())
}

/// Nothing of a client stands in the log.
fn assert_told_nothing(log: &str) {
    for secret in [CLIENT_ID, USER, TOPIC, "Will message"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[tokio::test]
async fn broker_that_refuses_strangers_is_asked_for_at_once_by_the_pin_in_the_file() {
    let (certs, folder) = (Certs::new(), TempDir::new().unwrap());
    let broker = broker_with_password(&certs.of_other_ca, &folder);
    let port = broker.tls_port();
    let authority =
        AuthorityLoop::start(broker.tcp_port(), &[(port, &[spki(&certs.of_other_ca)])]).await;
    let device = device_of_file(&certs.of_other_ca);
    let (_client, mut events) = over_tls_as(device, port, &by_peer());
    wait_for(&mut events, |event| match event {
        Event::Authenticated { .. } => Some(()),
        Event::LinkUp { .. } => panic!("not authenticated"),
        Event::LinkDown { error, .. } => panic!("{error}"),
        _ => None,
    })
    .await;
    up(&mut events).await;
    let connects = connects(&broker);
    assert_eq!(connects.len(), 1, "{connects:?}");
    assert!(connects[0].contains(CLIENT_ID) && connects[0].contains(USER), "{connects:?}");
    drop(authority);
}

#[tokio::test]
async fn wrong_pin_at_a_broker_that_refuses_strangers_lets_nothing_out() {
    let (certs, folder) = (Certs::new(), TempDir::new().unwrap());
    let broker = broker_with_password(&certs.of_other_ca, &folder);
    let port = broker.tls_port();
    let _authority =
        AuthorityLoop::start(broker.tcp_port(), &[(port, &[spki(&certs.of_other_ca)])]).await;
    let (_client, mut events) = over_tls_as(device_of_file(&certs.good), port, &by_peer());
    for _ in 0..2 {
        let error = down(&mut events).await;
        assert_eq!(error, LinkError::Certificate(CertificateFault::Pin));
        assert_eq!(down(&mut events).await, LinkError::Peer(PeerFault::PinNeeded));
    }
    let log = broker.log();
    assert!(log.contains("not authorised"), "{log}");
    assert_told_nothing(&log);
}

#[tokio::test]
async fn old_pin_costs_a_probe_where_strangers_are_let_in() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.of_other_ca));
    let port = broker.tls_port();
    let _authority =
        AuthorityLoop::start(broker.tcp_port(), &[(port, &[spki(&certs.of_other_ca)])]).await;
    let (_client, mut events) = over_tls_as(device_of_file(&certs.good), port, &by_peer());
    assert_eq!(down(&mut events).await, LinkError::Certificate(CertificateFault::Pin));
    up(&mut events).await;
    let connects = connects(&broker);
    assert_eq!(connects.len(), 2, "{connects:?}");
    assert!(!connects[0].contains(CLIENT_ID) && !connects[0].contains(USER), "{connects:?}");
}

#[tokio::test]
async fn pin_that_the_authority_does_not_confirm_lets_no_message_out() {
    let (certs, folder) = (Certs::new(), TempDir::new().unwrap());
    let broker = broker_with_password(&certs.of_other_ca, &folder);
    let port = broker.tls_port();
    let _authority = AuthorityLoop::start(broker.tcp_port(), &[(port, &[spki(&certs.good)])]).await;
    let device = device_of_file(&certs.of_other_ca);
    let (client, mut events) = over_tls_as(device, port, &by_peer());
    client.subscribe(TOPIC, QoS::AtLeastOnce).await.unwrap();
    client.publish(TOPIC, QoS::AtLeastOnce, false, "payload").await.unwrap();
    assert_eq!(down(&mut events).await, LinkError::Peer(PeerFault::BrokerNotVouched));
    assert_eq!(down(&mut events).await, LinkError::Peer(PeerFault::PinNeeded));
    let log = broker.log();
    // the broker quotes topics of messages
    assert!(log.contains("'auth/req'") && !log.contains(&format!("'{TOPIC}'")), "{log}");
    assert!(!log.contains(&format!("{TOPIC} (QoS")), "{log}");
}

/// A probe shows no certificate: another server in the broker's place, for a moment, must not shut
/// the device out for good.
#[tokio::test]
async fn broker_that_wants_a_certificate_is_found_again_by_its_pin() {
    let certs = Certs::new();
    let setup = Setup { client_ca: Some(&certs.ca.pem), ..Setup::new(&certs.of_other_ca) };
    let mut broker = Mosquitto::start(&setup);
    let (tcp, port) = (broker.tcp_port(), broker.tls_port());
    let key = [spki(&certs.of_other_ca)];
    let authority = AuthorityLoop::start(tcp, &[(port, &key)]).await;
    let tls = by_peer().client_cert(&certs.client.cert.pem, &certs.client.key);
    let (_client, mut events) = over_tls_as(device_of_file(&certs.of_other_ca), port, &tls);
    up(&mut events).await;
    drop(authority);
    let ServerFiles { cert, key: secret } = &certs.of_other_ca;
    let own = [&cert.pem, secret].map(|file| fs::read(file).unwrap());
    fs::copy(&certs.good.cert.pem, &cert.pem).unwrap();
    fs::copy(&certs.good.key, secret).unwrap();
    broker.restart();
    let refused = |event| match event {
        Event::LinkDown { error: LinkError::Tls(_), .. } => Some(()),
        _ => None,
    };
    // told of each connection, so that waiting alone would wait for ever
    tokio::time::timeout(DEADLINE, wait_for(&mut events, refused)).await.unwrap();
    for (file, bytes) in [&cert.pem, secret].into_iter().zip(own) {
        fs::write(file, bytes).unwrap();
    }
    broker.restart();
    let _authority = AuthorityLoop::start(tcp, &[(port, &key)]).await;
    let up = wait_for(&mut events, |event| matches!(event, Event::LinkUp { .. }).then_some(()));
    tokio::time::timeout(DEADLINE, up).await.unwrap();
}

// -- configurations that would verify nothing --

#[tokio::test]
async fn peer_alone_without_the_authority_or_its_own_tls_is_no_configuration() {
    let tls = by_peer().build().unwrap();
    let mqtt = || rumqttc::MqttOptions::new("id", "localhost", 1);
    let options = rumqttc_v4::ClientOptions::new().tls(mqtt(), &tls);
    let started = rumqttc_v4::AsyncClient::new(guard(Links::Tls), options, 10);
    assert_eq!(started.unwrap_err(), ConfigError::PeerAuthNeeded);
    let foreign = rumqttc_v4::ClientOptions::new().tls(mqtt(), tls.client_config());
    let started =
        rumqttc_v4::AsyncClient::new(guard(Links::Tls), foreign.require_peer_auth(device()), 10);
    assert_eq!(started.unwrap_err(), ConfigError::PeerNeedsTlsConfig);
}

#[tokio::test]
async fn configuration_for_the_peer_alone_accepts_no_server_elsewhere() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let config = by_peer().build().unwrap().client_config();
    let mqtt = rumqttc::MqttOptions::new("id", "localhost", broker.tls_port());
    let options = rumqttc_v4::ClientOptions::new().tls(mqtt, config);
    let (_client, mut events) =
        rumqttc_v4::AsyncClient::new(guard(Links::Tls), options, 10).unwrap();
    assert_eq!(down(&mut events).await, LinkError::Certificate(CertificateFault::Pin));
}

#[tokio::test]
async fn topics_of_a_run_are_not_for_the_application() {
    let (client, _events) = over_tls(1, &by_peer());
    for topic in ["auth/req", "auth/device-7/res"] {
        let refused = client.try_publish(topic, QoS::AtLeastOnce, false, "text").unwrap_err();
        assert_eq!(refused, ClientError::AuthTopic);
    }
}

#[tokio::test]
async fn topic_whose_subscription_is_shared_is_refused() {
    let name = |text| TopicName::parse(text).unwrap();
    let id = |text| PeerId::parse(text).unwrap();
    for [request, response] in [["$share/a/b", "res"], ["req", "$share/a/b"]] {
        let key = PeerKey::pairwise(&SharedKey::take(&mut [9; 32]), "test").unwrap();
        let auth = PeerAuth::new(key, id("d"), id("a"), name(request), name(response));
        let options = rumqttc_v4::ClientOptions::new()
            .require_peer_auth(auth)
            .tls(rumqttc::MqttOptions::new("id", "localhost", 1), &by_peer().build().unwrap());
        let started = rumqttc_v4::AsyncClient::new(guard(Links::Tls), options, 10);
        assert_eq!(started.unwrap_err(), ConfigError::PeerTopic(TopicError::Shared));
    }
}
