//! The test support itself: were it wrong, the tests that lean on it would prove nothing.

mod support;

use core::panic::AssertUnwindSafe;
use std::net::{TcpListener, TcpStream};
use std::panic::catch_unwind;

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, Packet, QoS, TlsConfiguration,
    Transport,
};

use mqtt_seal::tls::{TlsConfig, TlsVersions};
use rustls::CertificateError;
use support::certs::{Certs, ServerFiles};
use support::contains;
use support::mosquitto::{BrokerTls, Mosquitto, Setup, mosquitto_pub};
use support::plain_sub::{PlainSub, Seen};
use support::relay::Relay;

const MARKER: &[u8; 16] = b"0123456789abcdef";

fn seen(topic: &str, payload: &[u8]) -> Seen {
    Seen { topic: topic.to_owned(), payload: payload.to_owned() }
}

fn client(id: &str, port: u16) -> MqttOptions {
    MqttOptions::new(id, "localhost", port)
}

fn over_tls(id: &str, port: u16, tls: &TlsConfig) -> MqttOptions {
    let mut options = client(id, port);
    let config = TlsConfiguration::Rustls(tls.client_config());
    options.set_transport(Transport::tls_with_config(config));
    options
}

async fn connected(events: &mut EventLoop) -> Result<(), ConnectionError> {
    while !matches!(events.poll().await?, Event::Incoming(Packet::ConnAck(_))) {}
    Ok(())
}

// -- Mosquitto and its subscriber --

#[test]
fn message_over_tls_reaches_the_plain_subscriber() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let sub = PlainSub::start(&broker, "#");
    assert!(broker.publish_tls(&certs.ca.pem, "a b/c", b"\x00\xfc\xffhello"));
    assert_eq!(sub.wait_for(1), [seen("a b/c", b"\x00\xfc\xffhello")]);
}

#[test]
fn plain_subscriber_sees_its_filter_only_and_in_order() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let sub = PlainSub::start(&broker, "a/#");
    broker.publish("a/1", b"one");
    broker.publish("b/1", b"not for it");
    broker.publish("a/2", b"");
    assert_eq!(sub.wait_for_topic("a/2"), [seen("a/1", b"one"), seen("a/2", b"")]);
}

#[test]
fn stopped_broker_takes_no_connection_and_restarts_on_its_ports() {
    let certs = Certs::new();
    let mut broker = Mosquitto::start(&Setup::new(&certs.good));
    broker.stop();
    assert!(!broker.publish_tls(&certs.ca.pem, "t", b"lost"));
    broker.restart();
    let sub = PlainSub::start(&broker, "t");
    broker.publish("t", b"kept");
    assert_eq!(sub.wait_for(1), [seen("t", b"kept")]);
    assert_eq!(broker.log().matches(" running\n").count(), 2);
}

#[test]
fn broker_stops_however_soon_it_is_told_to() {
    let certs = Certs::new();
    for _ in 0..10 {
        Mosquitto::start(&Setup::new(&certs.good)).stop();
    }
}

#[test]
fn retained_message_outlives_the_broker_with_persistence_only() {
    let certs = Certs::new();
    for (persistence, expected) in [(true, &b"retained"[..]), (false, b"fresh")] {
        let mut broker = Mosquitto::start(&Setup { persistence, ..Setup::new(&certs.good) });
        assert!(mosquitto_pub(broker.tcp_port(), "t", b"retained", &["-r"]));
        broker.restart();
        let sub = PlainSub::start(&broker, "t");
        broker.publish("t", b"fresh");
        assert_eq!(sub.wait_for(1)[0].payload, expected);
    }
}

#[test]
fn broker_that_rejects_its_configuration_fails_the_test_with_its_log() {
    let certs = Certs::new();
    let setup = Setup { lines: &["no_such_option 1"], ..Setup::new(&certs.good) };
    let panic = catch_unwind(|| Mosquitto::start(&setup)).err().unwrap();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("no_such_option"), "{message}");
}

#[test]
fn broker_does_not_start_on_a_port_of_another() {
    let certs = Certs::new();
    let mut broker = Mosquitto::start(&Setup::new(&certs.good));
    broker.stop();
    let _other = TcpListener::bind(("127.0.0.1", broker.tls_port())).unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| broker.restart())).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("a port was taken by another"), "{message}");
}

#[test]
fn killed_broker_forgets_and_restarts() {
    let certs = Certs::new();
    let setup = Setup { persistence: true, ..Setup::new(&certs.good) };
    let mut broker = Mosquitto::start(&setup);
    assert!(mosquitto_pub(broker.tcp_port(), "t", b"retained", &["-r"]));
    broker.kill();
    broker.restart();
    let sub = PlainSub::start(&broker, "t");
    broker.publish("t", b"fresh");
    assert_eq!(sub.wait_for(1), [seen("t", b"fresh")]);
}

#[test]
fn dropped_broker_is_gone() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let port = broker.tcp_port();
    drop(broker);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn dropped_subscriber_is_gone() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let sub = PlainSub::start(&broker, "t");
    let farewell = format!("Client {} closed its connection", sub.id());
    drop(sub);
    broker.wait_for_log(&farewell);
}

// -- certificates and our TLS configuration against OpenSSL's --

async fn connect_to(
    server: &ServerFiles,
    tls: BrokerTls,
    config: &TlsConfig,
) -> Result<(), ConnectionError> {
    let broker = Mosquitto::start(&Setup { tls, ..Setup::new(server) });
    let (_client, mut events) = AsyncClient::new(over_tls("tls", broker.tls_port(), config), 10);
    connected(&mut events).await
}

/// The reason for which our end refused the broker.
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
fn refusal(error: ConnectionError) -> CertificateError {
    let ConnectionError::Tls(rumqttc::TlsError::Io(error)) = error else { panic!("{error:?}") };
    match error.get_ref().unwrap().downcast_ref() {
        Some(rustls::Error::InvalidCertificate(reason)) => reason.clone(),
        _ => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn good_certificate_is_accepted_by_ca_in_pem_and_der() {
    let certs = Certs::new();
    for ca in [&certs.ca.pem, &certs.ca.der] {
        let config = TlsConfig::builder().ca_file(ca).build().unwrap();
        connect_to(&certs.good, BrokerTls::Both, &config).await.unwrap();
    }
}

#[tokio::test]
async fn versions_of_both_ends_have_to_meet() {
    let certs = Certs::new();
    for (broker, ours, meet) in [
        (BrokerTls::Only12, TlsVersions::Both, true),
        (BrokerTls::Only13, TlsVersions::Both, true),
        (BrokerTls::Only12, TlsVersions::Tls12Only, true),
        (BrokerTls::Only13, TlsVersions::Tls13Only, true),
        (BrokerTls::Only12, TlsVersions::Tls13Only, false),
        (BrokerTls::Only13, TlsVersions::Tls12Only, false),
    ] {
        let config = TlsConfig::builder().ca_file(&certs.ca.pem).versions(ours).build().unwrap();
        let result = connect_to(&certs.good, broker, &config).await;
        assert_eq!(result.is_ok(), meet, "{ours:?}: {result:?}");
    }
}

#[tokio::test]
async fn bad_certificates_are_refused_for_what_is_wrong_with_them() {
    let certs = Certs::new();
    let config = TlsConfig::builder().ca_file(&certs.ca.pem).build().unwrap();
    let reason =
        async |server| refusal(connect_to(server, BrokerTls::Both, &config).await.unwrap_err());
    let expired = reason(&certs.expired).await;
    assert!(matches!(expired, CertificateError::ExpiredContext { .. }), "{expired:?}");
    let wrong_host = reason(&certs.wrong_host).await;
    assert!(
        matches!(wrong_host, CertificateError::NotValidForNameContext { .. }),
        "{wrong_host:?}"
    );
    assert_eq!(reason(&certs.of_other_ca).await, CertificateError::UnknownIssuer);
}

// -- the relay --

#[tokio::test]
async fn relay_records_both_directions() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let relay = Relay::start(broker.tcp_port()).await;
    let (client, mut events) = AsyncClient::new(client("relayed", relay.port()), 10);
    client.try_subscribe("t", QoS::AtLeastOnce).unwrap();
    client.try_publish("t", QoS::AtLeastOnce, false, MARKER.to_vec()).unwrap();
    while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::Publish(_))) {}
    assert!(contains(&relay.to_target(), MARKER));
    assert!(contains(&relay.to_client(), MARKER));
    assert!(contains(&relay.to_target(), b"relayed"));
    assert!(!contains(&relay.to_client(), b"relayed"));
    assert_eq!(relay.recorded().len(), relay.to_target().len() + relay.to_client().len());
}

#[tokio::test]
async fn relay_before_tls_records_no_payload() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let relay = Relay::start(broker.tls_port()).await;
    let tls = TlsConfig::builder().ca_file(&certs.ca.der).build().unwrap();
    let (client, mut events) = AsyncClient::new(over_tls("relayed", relay.port(), &tls), 10);
    client.try_publish("t", QoS::AtLeastOnce, false, MARKER.to_vec()).unwrap();
    while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::PubAck(_))) {}
    assert!(!contains(&relay.recorded(), MARKER));
    assert!(!relay.recorded().is_empty());
}

#[tokio::test]
async fn cut_relay_ends_connections_and_takes_new_ones() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let relay = Relay::start(broker.tcp_port()).await;
    let (_client, mut events) = AsyncClient::new(client("cut", relay.port()), 10);
    connected(&mut events).await.unwrap();
    relay.cut().await;
    assert!(events.poll().await.is_err());
    connected(&mut events).await.unwrap();
}
