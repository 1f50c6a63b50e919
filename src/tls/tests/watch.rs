//! What is seen of a server, and what is accepted meanwhile.

use super::*;

fn by_peer() -> TlsConfigBuilder {
    TlsConfig::builder().verify_by_peer_alone()
}

fn pin_of(ca: &Ca) -> (Arc<ServerConfig>, SpkiPin) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["other.example".to_string()]).unwrap();
    let cert = params.signed_by(&key, ca).unwrap();
    let pin = SpkiPin::of_certificate(cert.der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS12, &TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.serialize_der().try_into().unwrap());
    (Arc::new(config.unwrap()), pin)
}

#[test]
fn probe_of_any_server_tells_its_key_and_the_next_connection_is_held_to_it() {
    let ca = new_ca();
    let ((server, pin), (other, _)) = (pin_of(&ca), pin_of(&ca));
    for versions in [TlsVersions::Tls12Only, TlsVersions::Tls13Only] {
        let tls = by_peer().versions(versions).build().unwrap();
        let (config, shown) = tls.probe();
        assert_eq!(shown.get(), None);
        connect_by(config, &server).unwrap();
        assert_eq!(shown.get(), Some(pin));
        assert!(connect_by(tls.watched(Some(pin)).0, &server).is_ok());
        assert!(connect_by(tls.watched(Some(pin)).0, &other).is_err());
    }
}

#[test]
fn without_a_key_that_was_vouched_for_only_a_probe_goes_through() {
    let (server, _) = pin_of(&new_ca());
    let tls = by_peer().build().unwrap();
    assert!(connect_by(tls.watched(None).0, &server).is_err());
    assert!(connect(&tls, &server).is_err());
}

#[test]
fn watched_connections_resume_nothing() {
    let ca = new_ca();
    let server = server(&ca);
    for versions in [TlsVersions::Tls12Only, TlsVersions::Tls13Only] {
        let tls = trusting(&ca).versions(versions).build().unwrap();
        let (config, _) = tls.watched(None);
        for _ in 0..2 {
            let connected = connect_by(Arc::clone(&config), &server).unwrap();
            assert_eq!(connected.handshake_kind(), Some(HandshakeKind::Full), "{versions:?}");
        }
    }
}

#[test]
fn roots_of_a_watched_configuration_count() {
    let (trusted, other) = (new_ca(), new_ca());
    let tls = trusting(&trusted).build().unwrap();
    assert!(connect_by(tls.watched(None).0, &server(&trusted)).is_ok());
    assert!(connect_by(tls.watched(None).0, &server(&other)).is_err());
}

#[test]
fn peer_alone_stands_beside_nothing_else() {
    let ca = new_ca();
    let pin = SpkiPin::parse(&"00".repeat(32)).unwrap();
    let der = ca.as_ref().der();
    let others = [
        by_peer().pin(pin),
        by_peer().ca_bytes(der),
        by_peer().system_roots(),
        by_peer().pin(pin).verify_by_pin_alone(),
    ];
    for builder in others {
        assert_eq!(builder.build().unwrap_err(), TlsConfigError::OthersBesidePeerAlone);
    }
    assert_eq!(
        TlsConfigError::OthersBesidePeerAlone.to_string(),
        "peer authentication is to verify the server alone, and there are roots or pins; leave \
         out one or the other"
    );
}
