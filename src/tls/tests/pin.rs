//! Which keys are accepted, with a CA behind them and without.

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::*;

const VERSIONS: [TlsVersions; 2] = [TlsVersions::Tls12Only, TlsVersions::Tls13Only];

/// Shows a certificate, and signs with whatever key it has.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// A server's certificate and key.
struct Identity {
    cert: rcgen::Certificate,
    key: KeyPair,
}

impl Identity {
    fn of(ca: &Ca) -> Self {
        Self::with(ca, |_| {})
    }

    fn with(ca: &Ca, change: impl Fn(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_string()]).unwrap();
        change(&mut params);
        Self { cert: params.signed_by(&key, ca).unwrap(), key }
    }

    fn pin(&self) -> SpkiPin {
        SpkiPin::of_certificate(self.cert.der()).unwrap()
    }

    fn server(&self) -> Arc<ServerConfig> {
        self.server_with_key_of(self)
    }

    /// Shows this certificate and signs with the key of another.
    fn server_with_key_of(&self, other: &Self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::try_from(other.key.serialize_der()).unwrap();
        let chain = vec![self.cert.der().clone()];
        let shown = CertifiedKey::new(chain, any_supported_type(&key).unwrap());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS12, &TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Shows(Arc::new(shown))));
        Arc::new(config)
    }
}

/// The handshake's error under each version.
fn refusals(builder: &TlsConfigBuilder, server: &Arc<ServerConfig>) -> Vec<rustls::Error> {
    let build = |versions| builder.clone().versions(versions).build().unwrap();
    VERSIONS.map(|versions| connect(&build(versions), server).unwrap_err()).into()
}

fn accepts(builder: &TlsConfigBuilder, server: &Arc<ServerConfig>) {
    for versions in VERSIONS {
        connect(&builder.clone().versions(versions).build().unwrap(), server).unwrap();
    }
}

/// The pin that was shown instead of those wanted.
fn mismatch(error: &rustls::Error) -> SpkiPin {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        panic!("{error:?}");
    };
    other.0.downcast_ref::<PinMismatch>().unwrap().presented()
}

fn alone(pin: SpkiPin) -> TlsConfigBuilder {
    TlsConfig::builder().pin(pin).verify_by_pin_alone()
}

// -- pins as text --

/// Of `key` and its certificate by OpenSSL 3: see the documentation of `SpkiPin`.
const CERT: &str = include_str!("pinned.crt");
const CERT_PIN_HEX: &str = include_str!("pinned.sha256");

#[test]
fn pin_of_a_certificate_is_that_of_openssl() {
    let pin = SpkiPin::of_certificate(CERT.as_bytes()).unwrap();
    assert_eq!(pin, SpkiPin::parse(CERT_PIN_HEX.trim()).unwrap());
}

#[test]
fn pin_is_read_in_each_form() {
    use base64ct::{Base64, Encoding};
    for seed in 0..=255_u8 {
        let hash: [u8; 32] = core::array::from_fn(|at| seed.wrapping_mul(31) ^ at.to_le_bytes()[0]);
        let text = format!("sha256/{}", Base64::encode_string(&hash));
        let hex = hash.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        let pin = SpkiPin::parse(&text).unwrap();
        assert_eq!(SpkiPin::parse(&hex).unwrap(), pin);
        assert_eq!(SpkiPin::parse(&hex.to_uppercase()).unwrap(), pin);
        assert_eq!(pin.to_string(), text);
        assert_eq!(text.parse(), Ok(pin));
        assert_eq!(format!("{pin:?}"), format!("SpkiPin({text})"));
    }
}

#[test]
fn text_that_is_no_pin_is_refused() {
    let good = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert!(SpkiPin::parse(good).is_ok() && SpkiPin::parse(hex).is_ok());
    let mut bad = vec![
        String::new(),
        "sha256/".to_string(),
        good.replace("sha256/", ""),
        good.replace("sha256/", "sha1/"),
        good.replace("sha256/", "SHA256/"),
        good.replace('=', ""),
        good.replace('=', "=="),
        good.replace('/', "_"),
        good.replace('U', "V"), // a bit behind the last byte
        good.replacen("47", "4=", 1),
        good.replacen("47", "4é", 1),
        format!("{good} "),
        format!(" {good}"),
        format!("{good}\n"),
        hex[1..].to_string(),
        format!("{hex}0"),
        format!("sha256/{hex}"),
        hex.replace('e', "g"),
        hex.replace('e', "+"),
        "é".repeat(32),
    ];
    bad.extend((0..good.len()).map(|len| good[..len].to_string()));
    bad.extend((0..hex.len()).map(|len| hex[..len].to_string()));
    for text in bad {
        assert_eq!(SpkiPin::parse(&text), Err(SpkiPinError::Text), "{text:?}");
    }
    assert_eq!(
        SpkiPinError::Text.to_string(),
        "this is no pin; write sha256/ and 44 characters of base64, or 64 hexadecimal digits"
    );
}

#[test]
fn pin_of_a_certificate_is_of_the_first_in_either_form() {
    let ca = new_ca();
    let server = Identity::of(&ca);
    let chain = server.cert.pem() + &ca.as_ref().pem();
    assert_eq!(SpkiPin::of_certificate(chain.as_bytes()).unwrap(), server.pin());
    assert_ne!(SpkiPin::of_certificate(ca.as_ref().der()).unwrap(), server.pin());
}

#[test]
fn pin_of_no_certificate_is_refused() {
    let key = KeyPair::generate().unwrap();
    let error = SpkiPin::of_certificate(&key.serialize_der()).unwrap_err();
    assert_eq!(error, SpkiPinError::Certificate(CertFault::IsPrivateKey));
    assert_eq!(
        error.to_string(),
        "what the pin should be made of holds a private key; leave only certificates there and \
         keep the key in a file of its own"
    );
    let damaged = pem("CERTIFICATE", "MAIFAA==");
    let error = SpkiPin::of_certificate(&damaged).unwrap_err();
    assert!(matches!(error, SpkiPinError::Certificate(CertFault::Refused { index: 1, .. })));
    assert!(error.source().is_some());
}

// -- beside a CA --

#[test]
fn pinned_server_is_accepted() {
    let ca = new_ca();
    let server = Identity::of(&ca);
    accepts(&trusting(&ca).pin(server.pin()), &server.server());
    accepts(&alone(server.pin()), &server.server());
}

#[test]
fn any_of_the_pins_is_accepted() {
    let ca = new_ca();
    let servers = [(); 3].map(|()| Identity::of(&ca));
    let both = [trusting(&ca), TlsConfig::builder().verify_by_pin_alone()];
    for builder in both.map(|builder| servers.iter().fold(builder, |b, s| b.pin(s.pin()))) {
        for server in &servers {
            accepts(&builder, &server.server());
        }
        for error in refusals(&builder, &Identity::of(&ca).server()) {
            mismatch(&error);
        }
    }
}

#[test]
fn server_with_another_key_is_a_pin_mismatch() {
    let ca = new_ca();
    let (wanted, other) = (Identity::of(&ca), Identity::of(&ca));
    for builder in [trusting(&ca).pin(wanted.pin()), alone(wanted.pin())] {
        for error in refusals(&builder, &other.server()) {
            assert_eq!(mismatch(&error), other.pin());
        }
    }
    assert_eq!(
        PinMismatch::new(other.pin()).to_string(),
        format!(
            "the server's key has the pin {}, which is not configured; see whether the server got \
             a new key or somebody else answers",
            other.pin()
        )
    );
}

#[test]
fn pin_of_the_ca_is_not_that_of_its_servers() {
    let ca = new_ca();
    let pin = SpkiPin::of_certificate(ca.as_ref().der()).unwrap();
    for error in refusals(&trusting(&ca).pin(pin), &Identity::of(&ca).server()) {
        mismatch(&error);
    }
}

#[test]
fn pin_does_not_stand_for_the_ca() {
    let server = Identity::of(&new_ca());
    for error in refusals(&trusting(&new_ca()).pin(server.pin()), &server.server()) {
        assert_eq!(error, CertificateError::UnknownIssuer.into());
    }
}

fn of_another_host(ca: &Ca) -> Identity {
    Identity::with(ca, |params| {
        params.subject_alt_names =
            CertificateParams::new(vec!["other.example".to_string()]).unwrap().subject_alt_names;
    })
}

fn expired(ca: &Ca) -> Identity {
    Identity::with(ca, |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1))
}

#[test]
fn pin_does_not_stand_for_name_and_dates() {
    let ca = new_ca();
    for server in [of_another_host(&ca), expired(&ca)] {
        for error in refusals(&trusting(&ca).pin(server.pin()), &server.server()) {
            let rustls::Error::InvalidCertificate(fault) = error else { panic!("{error:?}") };
            assert!(matches!(
                fault,
                CertificateError::NotValidForNameContext { .. }
                    | CertificateError::ExpiredContext { .. }
            ));
        }
    }
}

// -- alone --

#[test]
fn pin_alone_looks_at_no_issuer_name_and_date() {
    let ca = new_ca();
    for server in [Identity::of(&ca), of_another_host(&ca), expired(&ca)] {
        accepts(&alone(server.pin()), &server.server());
    }
}

#[test]
fn pin_alone_needs_a_pin() {
    let error = TlsConfig::builder().verify_by_pin_alone().build().unwrap_err();
    assert_eq!(error, TlsConfigError::NoPin);
    assert_eq!(
        error.to_string(),
        "the server is to be verified by its pin alone, and there is no pin; add one or name a CA \
         file instead"
    );
}

#[test]
fn pin_alone_and_roots_contradict_each_other() {
    let ca = new_ca();
    let pin = Identity::of(&ca).pin();
    for builder in [alone(pin).ca_bytes(ca.as_ref().der()), alone(pin).system_roots()] {
        assert_eq!(builder.build().unwrap_err(), TlsConfigError::RootsBesidePinAlone);
    }
    assert_eq!(
        TlsConfigError::RootsBesidePinAlone.to_string(),
        "the server is to be verified by its pin alone, and root certificates are named; leave \
         out one of both"
    );
}

#[test]
fn pin_without_roots_is_not_taken_as_pin_alone() {
    let pin = Identity::of(&new_ca()).pin();
    assert_eq!(TlsConfig::builder().pin(pin).build().unwrap_err(), TlsConfigError::NoRoots);
}

// -- another's certificate --

#[test]
fn genuine_certificate_with_another_key_is_refused() {
    let ca = new_ca();
    let genuine = Identity::of(&ca);
    let server = genuine.server_with_key_of(&Identity::of(&ca));
    for builder in [trusting(&ca).pin(genuine.pin()), alone(genuine.pin()), trusting(&ca)] {
        for error in refusals(&builder, &server) {
            assert_eq!(error, CertificateError::BadSignature.into());
        }
    }
}

// -- resumption --

fn resumed(first: &TlsConfig, second: &TlsConfig, server: &Arc<ServerConfig>) -> bool {
    connect(first, server).unwrap();
    let second = connect(second, server).unwrap();
    second.handshake_kind() == Some(HandshakeKind::Resumed)
}

#[test]
fn session_is_resumed_under_the_same_pins_only_within_one_configuration() {
    let ca = new_ca();
    let identity = Identity::of(&ca);
    let server = identity.server();
    for builder in [trusting(&ca).pin(identity.pin()), alone(identity.pin())] {
        for versions in VERSIONS {
            let build = || builder.clone().versions(versions).build().unwrap();
            let tls = build();
            assert!(resumed(&tls, &tls.clone(), &server));
            assert!(!resumed(&tls, &build(), &server));
        }
    }
}

#[test]
fn session_of_one_pin_does_not_pass_another() {
    let ca = new_ca();
    let (identity, other) = (Identity::of(&ca), Identity::of(&ca));
    let server = identity.server();
    for versions in VERSIONS {
        let all = [trusting(&ca), trusting(&ca).pin(identity.pin()), alone(identity.pin())];
        for first in all.map(|builder| builder.versions(versions).build().unwrap()) {
            assert!(resumed(&first, &first, &server));
            for second in [trusting(&ca).pin(other.pin()), alone(other.pin())] {
                let second = second.versions(versions).build().unwrap();
                assert_eq!(mismatch(&connect(&second, &server).unwrap_err()), identity.pin());
            }
        }
    }
}
