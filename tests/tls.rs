//! Client certificates and pins on a link, against a real Mosquitto and a server that cheats.
#![cfg(all(unix, feature = "rumqttc", feature = "tls"))]
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

use mqtt_seal::guard::Guard;
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::policy::{Links, Policy, Rule, Transport};
use mqtt_seal::rumqttc_v4::{
    AsyncClient, CertificateFault, ClientOptions, Event, EventLoop, LinkError, QoS,
};
use mqtt_seal::secret::SharedKey;
use mqtt_seal::tls::{SpkiPin, TlsConfig, TlsConfigBuilder, TlsVersions};
use rumqttc::MqttOptions;
use support::DEADLINE;
use support::certs::{Certs, ClientFiles, ServerFiles};
use support::mosquitto::{BrokerTls, Mosquitto, Setup};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{AlertDescription, Error as TlsError, ServerConfig};

const VERSIONS: [TlsVersions; 2] = [TlsVersions::Tls12Only, TlsVersions::Tls13Only];

fn connect(port: u16, tls: &TlsConfigBuilder, versions: TlsVersions) -> (AsyncClient, EventLoop) {
    let rule = Rule::sealed(["#"]).transport(Transport::Tls).build().unwrap();
    let grant = Grant::shared(&SharedKey::take(&mut [7; 32]), "test");
    let guard = Guard::new(Policy::new(vec![rule]), Keyring::new(vec![grant.unwrap()]), Links::Tls)
        .unwrap();
    let pause = Duration::from_millis(20);
    let config = tls.clone().versions(versions).build().unwrap();
    let options = ClientOptions::new()
        .reconnect_pause(pause, pause)
        .tls(MqttOptions::new("client", "localhost", port), &config);
    AsyncClient::new(guard, options, 10).unwrap()
}

async fn next(events: &mut EventLoop) -> Event {
    let event = tokio::time::timeout(DEADLINE, events.poll()).await;
    event.expect("nothing happened before the deadline").expect("the event loop ended")
}

/// A sealed message comes back through the broker, under both versions.
async fn works(port: u16, tls: &TlsConfigBuilder) {
    for versions in VERSIONS {
        let (client, mut events) = connect(port, tls, versions);
        client.subscribe("a/b", QoS::AtLeastOnce).await.unwrap();
        loop {
            match next(&mut events).await {
                Event::Subscribed { .. } => {
                    client.publish("a/b", QoS::AtLeastOnce, false, "hello").await.unwrap();
                }
                Event::Message(message) => {
                    assert_eq!(message.payload, b"hello");
                    break;
                }
                Event::LinkDown { error, .. } => panic!("{versions:?}: {error}"),
                _ => {}
            }
        }
    }
}

/// Why the link does not come up under one version.
///
/// Behind the alert the server closes the connection at once, and what the client is still writing
/// may fail first; at one of the next attempts it does not.
async fn refusal(port: u16, tls: &TlsConfigBuilder, versions: TlsVersions) -> LinkError {
    let (_client, mut events) = connect(port, tls, versions);
    let mut passed_over = Vec::new();
    while passed_over.len() < 100 {
        match next(&mut events).await {
            Event::LinkUp { .. } => panic!("{versions:?}: the link came up"),
            Event::LinkDown { error: error @ (LinkError::Io(_) | LinkError::Closed), .. } => {
                passed_over.push(error);
            }
            Event::LinkDown { error, .. } => return error,
            _ => {}
        }
    }
    panic!("{versions:?}: {passed_over:?}");
}

fn trusting(certs: &Certs) -> TlsConfigBuilder {
    TlsConfig::builder().ca_file(&certs.ca.pem)
}

fn alert(description: AlertDescription) -> LinkError {
    LinkError::Tls(TlsError::AlertReceived(description))
}

// -- client certificates --

fn insisting(certs: &Certs) -> Mosquitto {
    let client_ca = Some(certs.ca.pem.as_path());
    Mosquitto::start(&Setup { client_ca, ..Setup::new(&certs.good) })
}

fn showing(certs: &Certs, client: &ClientFiles) -> TlsConfigBuilder {
    trusting(certs).client_cert(&client.cert.pem, &client.key)
}

#[tokio::test]
async fn broker_accepts_a_client_certificate_of_its_ca() {
    let certs = Certs::new();
    let broker = insisting(&certs);
    works(broker.tls_port(), &showing(&certs, &certs.client)).await;
    let key_pem = fs::read(&certs.client.key).unwrap();
    let mut key = PrivateKeyDer::from_pem_slice(&key_pem).unwrap().secret_der().to_vec();
    let cert = fs::read(&certs.client.cert.der).unwrap();
    works(broker.tls_port(), &trusting(&certs).client_cert_bytes(&cert, &mut key)).await;
}

#[tokio::test]
async fn broker_refuses_a_client_without_a_certificate() {
    let certs = Certs::new();
    let broker = insisting(&certs);
    let tls = trusting(&certs);
    let refused = |versions| refusal(broker.tls_port(), &tls, versions);
    let error = refused(TlsVersions::Tls13Only).await;
    assert_eq!(error, alert(AlertDescription::CertificateRequired));
    assert_eq!(error.to_string(), "tls failed: received fatal alert: CertificateRequired");
    // The older version has no alert of that name (RFC 5246, section 7.4.6).
    let error = refused(TlsVersions::Tls12Only).await;
    assert_eq!(error, alert(AlertDescription::HandshakeFailure));
}

#[tokio::test]
async fn broker_refuses_a_client_certificate_of_another_ca() {
    let certs = Certs::new();
    let broker = insisting(&certs);
    for versions in VERSIONS {
        let tls = showing(&certs, &certs.client_of_other_ca);
        let error = refusal(broker.tls_port(), &tls, versions).await;
        assert_eq!(error, alert(AlertDescription::UnknownCA), "{versions:?}");
    }
}

#[tokio::test]
async fn client_certificate_is_no_hindrance_where_none_is_asked_for() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    works(broker.tls_port(), &showing(&certs, &certs.client)).await;
}

// -- pins --

fn pin(server: &ServerFiles) -> SpkiPin {
    SpkiPin::of_certificate(&fs::read(&server.cert.pem).unwrap()).unwrap()
}

fn alone(pin: SpkiPin) -> TlsConfigBuilder {
    TlsConfig::builder().pin(pin).verify_by_pin_alone()
}

#[tokio::test]
async fn broker_with_the_pinned_key_is_accepted() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    works(broker.tls_port(), &trusting(&certs).pin(pin(&certs.good))).await;
    works(broker.tls_port(), &alone(pin(&certs.good))).await;
}

#[tokio::test]
async fn broker_with_another_key_is_refused() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let wrong = pin(&certs.of_other_ca);
    for versions in VERSIONS {
        for tls in [trusting(&certs).pin(wrong), alone(wrong)] {
            let error = refusal(broker.tls_port(), &tls, versions).await;
            assert_eq!(error, LinkError::Certificate(CertificateFault::Pin), "{versions:?}");
        }
    }
}

#[tokio::test]
async fn pin_stands_for_ca_name_and_dates_only_alone() {
    let certs = Certs::new();
    for (server, fault) in [
        (&certs.of_other_ca, CertificateFault::UnknownIssuer),
        (&certs.wrong_host, CertificateFault::WrongName),
        (&certs.expired, CertificateFault::Expired),
    ] {
        let broker = Mosquitto::start(&Setup::new(server));
        let beside = trusting(&certs).pin(pin(server));
        let error = refusal(broker.tls_port(), &beside, TlsVersions::Both).await;
        assert_eq!(error, LinkError::Certificate(fault));
        works(broker.tls_port(), &alone(pin(server))).await;
    }
}

#[tokio::test]
async fn pin_and_client_certificate_go_together() {
    let certs = Certs::new();
    let broker = insisting(&certs);
    let client = &certs.client;
    let tls = alone(pin(&certs.good)).client_cert(&client.cert.der, &client.key);
    works(broker.tls_port(), &tls).await;
}

// -- another's certificate --

/// Shows one certificate and signs with the key of another.
#[derive(Debug)]
struct Cheat(Arc<CertifiedKey>);

impl ResolvesServerCert for Cheat {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

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
            // Whatever comes of it, the client says.
            let _ = acceptor.accept(client).await;
        }
    });
    port
}

#[tokio::test]
async fn genuine_certificate_with_another_key_is_refused() {
    let certs = Certs::new();
    let port = cheat(&certs.good, &certs.of_other_ca).await;
    let genuine = pin(&certs.good);
    for versions in VERSIONS {
        for tls in [trusting(&certs), trusting(&certs).pin(genuine), alone(genuine)] {
            let error = refusal(port, &tls, versions).await;
            assert_eq!(error, LinkError::Certificate(CertificateFault::BadSignature));
        }
    }
}

// -- versions of the broker --

#[tokio::test]
async fn pin_holds_whatever_version_the_broker_chooses() {
    let certs = Certs::new();
    for tls in [BrokerTls::Only12, BrokerTls::Only13] {
        let broker = Mosquitto::start(&Setup { tls, ..Setup::new(&certs.good) });
        let (right, wrong) = (pin(&certs.good), pin(&certs.of_other_ca));
        let (_client, mut events) = connect(broker.tls_port(), &alone(right), TlsVersions::Both);
        assert!(matches!(next(&mut events).await, Event::LinkUp { .. }));
        let error = refusal(broker.tls_port(), &alone(wrong), TlsVersions::Both).await;
        assert_eq!(error, LinkError::Certificate(CertificateFault::Pin));
    }
}
