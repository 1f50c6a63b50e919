use core::error::Error;
use std::format;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::string::{String, ToString};
use std::sync::Arc;
use std::vec::Vec;
use std::{env, vec};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{
    CertificateError, ClientConnection, HandshakeKind, ProtocolVersion, ServerConfig,
    ServerConnection,
};
use tempfile::TempDir;

use super::*;

// base64 in tests comes with that feature
#[cfg(all(unix, feature = "serde"))]
mod client_cert;
#[cfg(feature = "serde")]
mod pin;
#[cfg(feature = "rumqttc")]
mod watch;

type Ca = CertifiedIssuer<'static, KeyPair>;

fn new_ca() -> Ca {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    // A name of its own: rustls looks for an issuer by name first.
    params.distinguished_name.push(DnType::CommonName, format!("CA {:x?}", key.public_key_raw()));
    Ca::self_signed(params, key).unwrap()
}

fn pem(label: &str, body: &str) -> Vec<u8> {
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n").into_bytes()
}

fn server(ca: &Ca) -> Arc<ServerConfig> {
    server_of(ca, &[&TLS12, &TLS13])
}

fn server_of(ca: &Ca, versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_string()]).unwrap();
    let cert = params.signed_by(&key, ca).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    Arc::new(config)
}

/// Runs one handshake in memory; the error is that of whichever end failed first.
fn connect(tls: &TlsConfig, server: &Arc<ServerConfig>) -> Result<ClientConnection, rustls::Error> {
    connect_by(tls.client_config(), server)
}

fn connect_by(
    config: Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> Result<ClientConnection, rustls::Error> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(config, name)?;
    let mut server = ServerConnection::new(Arc::clone(server))?;
    while client.is_handshaking() || server.is_handshaking() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() {
            server.read_tls(&mut wire).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() {
            client.read_tls(&mut wire).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok(client)
}

fn trusting(ca: &Ca) -> TlsConfigBuilder {
    TlsConfig::builder().ca_bytes(ca.as_ref().pem().as_bytes())
}

fn refusal(bytes: &[u8]) -> TlsConfigError {
    TlsConfig::builder().ca_bytes(bytes).build().unwrap_err()
}

fn file(content: &[u8]) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ca.crt");
    fs::write(&path, content).unwrap();
    (dir, path)
}

const MEMORY: CaOrigin = CaOrigin::Memory;

// -- what is accepted --

#[test]
fn ca_in_pem_is_trusted() {
    let ca = new_ca();
    let (_dir, path) = file(ca.as_ref().pem().as_bytes());
    let tls = TlsConfig::builder().ca_file(path).build().unwrap();
    connect(&tls, &server(&ca)).unwrap();
}

#[test]
fn ca_in_der_is_trusted() {
    let ca = new_ca();
    let (_dir, path) = file(ca.as_ref().der());
    let tls = TlsConfig::builder().ca_file(path).build().unwrap();
    connect(&tls, &server(&ca)).unwrap();
}

#[test]
fn each_certificate_of_one_pem_is_trusted() {
    let cas = [new_ca(), new_ca(), new_ca()];
    let bundle: String = cas.iter().map(|ca| ca.as_ref().pem()).collect();
    let tls = TlsConfig::builder().ca_bytes(bundle.as_bytes()).build().unwrap();
    for ca in &cas {
        connect(&tls, &server(ca)).unwrap();
    }
}

#[test]
fn each_ca_named_is_trusted() {
    let (first, second) = (new_ca(), new_ca());
    let tls = trusting(&first).ca_bytes(second.as_ref().der()).build().unwrap();
    connect(&tls, &server(&first)).unwrap();
    connect(&tls, &server(&second)).unwrap();
}

#[test]
fn pem_with_text_and_other_sections_around_is_accepted() {
    let ca = new_ca();
    let mut bytes = b"Certificate:\r\n    Version: 3\r\n".to_vec();
    bytes.extend(pem("PUBLIC KEY", "MAA="));
    bytes.extend(ca.as_ref().pem().replace('\n', "\r\n").into_bytes());
    bytes.extend(b"the end");
    let tls = TlsConfig::builder().ca_bytes(&bytes).build().unwrap();
    connect(&tls, &server(&ca)).unwrap();
}

#[test]
fn pem_behind_a_byte_order_mark_is_accepted() {
    let ca = new_ca();
    let bytes = format!("\u{feff}{}", ca.as_ref().pem());
    let tls = TlsConfig::builder().ca_bytes(bytes.as_bytes()).build().unwrap();
    connect(&tls, &server(&ca)).unwrap();
}

#[test]
fn server_of_another_ca_is_refused() {
    let tls = trusting(&new_ca()).build().unwrap();
    assert_eq!(
        connect(&tls, &server(&new_ca())).unwrap_err(),
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)
    );
}

// -- versions --

fn spoken(
    versions: TlsVersions,
    server: &[&'static SupportedProtocolVersion],
) -> Option<ProtocolVersion> {
    let ca = new_ca();
    let tls = trusting(&ca).versions(versions).build().unwrap();
    connect(&tls, &server_of(&ca, server)).ok()?.protocol_version()
}

#[test]
fn newest_version_of_both_ends_is_spoken() {
    assert_eq!(spoken(TlsVersions::default(), &[&TLS12, &TLS13]), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(spoken(TlsVersions::default(), &[&TLS13]), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(spoken(TlsVersions::default(), &[&TLS12]), Some(ProtocolVersion::TLSv1_2));
}

#[test]
fn tls_1_2_alone_is_spoken_when_asked_for() {
    assert_eq!(spoken(TlsVersions::Tls12Only, &[&TLS12, &TLS13]), Some(ProtocolVersion::TLSv1_2));
    assert_eq!(spoken(TlsVersions::Tls12Only, &[&TLS13]), None);
}

#[test]
fn tls_1_3_alone_is_spoken_when_asked_for() {
    assert_eq!(spoken(TlsVersions::Tls13Only, &[&TLS12, &TLS13]), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(spoken(TlsVersions::Tls13Only, &[&TLS12]), None);
}

// -- sharing --

#[test]
fn clone_resumes_the_session_of_the_original() {
    let ca = new_ca();
    let server = server(&ca);
    for versions in [TlsVersions::Tls12Only, TlsVersions::Tls13Only] {
        let tls = trusting(&ca).versions(versions).build().unwrap();
        let first = connect(&tls, &server).unwrap();
        assert_eq!(first.handshake_kind(), Some(HandshakeKind::Full), "{versions:?}");
        let second = connect(&tls.clone(), &server).unwrap();
        assert_eq!(second.handshake_kind(), Some(HandshakeKind::Resumed), "{versions:?}");
    }
}

#[test]
fn debug_of_a_builder_shows_no_bytes() {
    let key = KeyPair::generate().unwrap().serialize_pem();
    let builder = TlsConfig::builder().ca_bytes(key.as_bytes()).ca_file("ca.pem");
    assert_eq!(
        format!("{builder:?}"),
        "TlsConfigBuilder { cas: [Bytes(..), File(\"ca.pem\")], system_roots: false, \
         pins: [], pin_alone: false, peer_alone: false, client_cert: None, versions: Both }"
    );
}

#[test]
fn debug_of_a_config_shows_its_name_only() {
    let tls = trusting(&new_ca()).build().unwrap();
    assert_eq!(format!("{tls:?}"), "TlsConfig { .. }");
}

// -- what is refused --

#[test]
fn nothing_named_is_no_roots() {
    let error = TlsConfig::builder().build().unwrap_err();
    assert_eq!(error, TlsConfigError::NoRoots);
    assert_eq!(
        error.to_string(),
        "no root certificates configured; name a CA file or trust the system's roots"
    );
}

#[test]
fn missing_file_is_named() {
    let error = TlsConfig::builder().ca_file("no/such/ca.pem").build().unwrap_err();
    assert_eq!(error, TlsConfigError::CaMissing { path: "no/such/ca.pem".into() });
    assert_eq!(
        error.to_string(),
        "CA file no/such/ca.pem does not exist; correct the path or copy the file there"
    );
}

#[test]
fn directory_is_unreadable() {
    let dir = TempDir::new().unwrap();
    let error = TlsConfig::builder().ca_file(dir.path()).build().unwrap_err();
    let (path, kind) = (dir.path().to_path_buf(), io::ErrorKind::IsADirectory);
    assert_eq!(error, TlsConfigError::CaUnreadable { path, kind });
    assert_eq!(
        error.to_string(),
        format!(
            "CA file {} cannot be read (is a directory); see that it is a file and that this \
             user may read it",
            dir.path().display()
        )
    );
}

#[test]
fn file_beyond_the_limit_is_too_large() {
    let (_dir, path) = file(&vec![b'#'; form::MAX_CERTS_LEN + 1]);
    let error = TlsConfig::builder().ca_file(&path).build().unwrap_err();
    assert_eq!(error, TlsConfigError::CaTooLarge { origin: CaOrigin::File(path.clone()) });
    assert_eq!(
        error.to_string(),
        format!(
            "CA file {} is longer than 4 MiB; name a file that holds only CA certificates",
            path.display()
        )
    );
}

#[test]
fn file_at_the_limit_is_read() {
    let mut bytes = vec![b'\n'; form::MAX_CERTS_LEN];
    let cert = new_ca().as_ref().pem();
    bytes[..cert.len()].copy_from_slice(cert.as_bytes());
    let (_dir, path) = file(&bytes);
    assert!(TlsConfig::builder().ca_file(path).build().is_ok());
}

#[test]
fn empty_file_is_empty() {
    for bytes in [&b""[..], b"\n", b" \r\n\t\n"] {
        let (_dir, path) = file(bytes);
        let error = TlsConfig::builder().ca_file(&path).build().unwrap_err();
        assert_eq!(error, TlsConfigError::CaEmpty { origin: CaOrigin::File(path.clone()) });
        assert_eq!(
            error.to_string(),
            format!(
                "CA file {} is empty; put the CA certificate there, in PEM or DER",
                path.display()
            )
        );
    }
}

#[test]
fn private_key_in_pem_is_named_whatever_its_label() {
    for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
        let error = refusal(&pem(label, "MAA="));
        assert_eq!(error, TlsConfigError::CaIsPrivateKey { origin: MEMORY }, "{label}");
    }
    assert_eq!(
        TlsConfigError::CaIsPrivateKey { origin: MEMORY }.to_string(),
        "CA given as bytes holds a private key; name the certificate instead and keep the key \
         where it was made"
    );
}

#[test]
fn private_key_in_der_is_named() {
    let pkcs8 = KeyPair::generate().unwrap().serialize_der();
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_der();
    let mut pkcs1 = vec![0x30, 0x82, 0x01, 0x22, 0x02, 0x01, 0x00];
    pkcs1.resize(0x122 + 4, 7);
    let mut sec1 = vec![0x30, 0x77, 0x02, 0x01, 0x01];
    sec1.resize(0x77 + 2, 7);
    for key in [pkcs8, ed25519, pkcs1, sec1] {
        assert_eq!(refusal(&key), TlsConfigError::CaIsPrivateKey { origin: MEMORY });
    }
}

#[test]
fn private_key_beside_a_certificate_is_named() {
    let ca = new_ca();
    let both = format!("CA\n{}{}", ca.as_ref().pem(), ca.key().serialize_pem());
    for line_end in ["\n", "\r\n", "\r"] {
        let error = refusal(both.replace('\n', line_end).as_bytes());
        assert_eq!(error, TlsConfigError::CaIsPrivateKey { origin: MEMORY }, "{line_end:?}");
    }
}

#[test]
fn error_of_a_private_key_shows_no_part_of_it() {
    let key = KeyPair::generate().unwrap().serialize_pem();
    let line = key.lines().nth(1).unwrap();
    let error = refusal(key.as_bytes());
    assert!(!format!("{error} {error:?}").contains(&line[..8]));
}

#[test]
fn garbage_is_neither_pem_nor_der() {
    for bytes in [&b"hello"[..], b"0\tis a number", &[0xff; 300], &[0x31, 0x82, 0, 1, 5]] {
        assert_eq!(refusal(bytes), TlsConfigError::CaNotPemOrDer { origin: MEMORY });
    }
    assert_eq!(
        refusal(b"hello").to_string(),
        "CA given as bytes is neither PEM nor DER; export the CA certificate again in one of \
         these forms"
    );
}

#[test]
fn base64_slip_is_found_in_its_section() {
    let good = new_ca().as_ref().pem();
    let bad = good.replacen("MII", "M*I", 1);
    let error = refusal(format!("{good}{bad}").as_bytes());
    assert_eq!(error, TlsConfigError::CaBadBase64 { origin: MEMORY, index: 2 });
    assert_eq!(
        error.to_string(),
        "section 2 of CA given as bytes is not valid base64; copy the file again, byte for byte"
    );
}

#[test]
fn pem_that_was_cut_is_broken() {
    let good = new_ca().as_ref().pem();
    let cut = &good[..good.len() - 40];
    let error = refusal(cut.as_bytes());
    assert_eq!(error, TlsConfigError::CaBrokenPem { origin: MEMORY, index: 1 });
    assert_eq!(
        error.to_string(),
        "section 1 of CA given as bytes has a damaged BEGIN line or no END line; copy the file \
         again, to its last line"
    );
}

#[test]
fn pem_with_a_damaged_begin_line_is_broken() {
    let bad = new_ca().as_ref().pem().replacen("CERTIFICATE-----", "CERTIFICATE---", 1);
    let error = refusal(bad.as_bytes());
    assert_eq!(error, TlsConfigError::CaBrokenPem { origin: MEMORY, index: 1 });
}

#[test]
fn pem_without_a_certificate_is_named() {
    for label in ["PUBLIC KEY", "CERTIFICATE REQUEST", "SOMETHING ELSE"] {
        let error = refusal(&pem(label, "MAA="));
        assert_eq!(error, TlsConfigError::CaNoCertificate { origin: MEMORY }, "{label}");
    }
    assert_eq!(
        refusal(&pem("PUBLIC KEY", "MAA=")).to_string(),
        "CA given as bytes is PEM without a certificate; name a file with a section BEGIN \
         CERTIFICATE"
    );
}

#[test]
fn certificate_that_does_not_parse_is_refused() {
    let good = new_ca().as_ref().pem();
    let error = refusal(&[good.as_bytes(), &pem("CERTIFICATE", "MAIFAA==")].concat());
    let TlsConfigError::CaRefused { origin: MEMORY, index: 2, cause } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*cause, rustls::Error::InvalidCertificate(CertificateError::BadEncoding));
    assert_eq!(error.source().unwrap().to_string(), cause.to_string());
    assert_eq!(
        error.to_string(),
        "certificate 2 of CA given as bytes is damaged or no certificate; export it again from \
         where it was made"
    );
}

#[test]
fn der_cut_or_extended_is_refused() {
    let good = new_ca().as_ref().der().to_vec();
    for len in [200, good.len() - 1] {
        let error = refusal(&good[..len]);
        assert!(matches!(error, TlsConfigError::CaRefused { index: 1, .. }), "{error:?}");
    }
    let error = refusal(&[&good[..], b"\n"].concat());
    assert!(matches!(error, TlsConfigError::CaRefused { index: 1, .. }), "{error:?}");
}

#[test]
fn one_bad_ca_among_good_ones_fails_the_build() {
    let error = trusting(&new_ca()).ca_bytes(b"hello").build().unwrap_err();
    assert_eq!(error, TlsConfigError::CaNotPemOrDer { origin: MEMORY });
}

// -- the system's roots --

#[test]
fn system_without_a_usable_root_is_named() {
    for certs in [vec![], vec![CertificateDer::from(vec![0x30, 0x00])]] {
        let error = add_system(&mut RootCertStore::empty(), certs).unwrap_err();
        assert_eq!(error, TlsConfigError::NoSystemRoots);
    }
    assert_eq!(
        TlsConfigError::NoSystemRoots.to_string(),
        "the system has no usable root certificates; install them (on Debian the package \
         ca-certificates) or name a CA file"
    );
}

#[test]
fn unusable_root_of_the_system_is_left_out() {
    let mut roots = RootCertStore::empty();
    let good = new_ca().as_ref().der().clone();
    add_system(&mut roots, vec![CertificateDer::from(vec![0x30, 0x00]), good]).unwrap();
    assert_eq!(roots.len(), 1);
}

// A process's environment cannot be set safely from within: the two tests below
// run this program again, with one environment each.
const CHILD: &str = "MQTT_SEAL_TEST_SYSTEM_ROOTS";

fn roots_of_the_system_with(cert_file: &str) -> String {
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "tls::tests::child_prints_the_number_of_roots"])
        .env("SSL_CERT_FILE", cert_file)
        .env_remove("SSL_CERT_DIR")
        .env(CHILD, "1")
        .output()
        .unwrap();
    let printed = String::from_utf8(child.stdout).unwrap();
    let (_, after) = printed.split_once("roots: ").unwrap();
    after.lines().next().unwrap().to_string()
}

#[test]
fn child_prints_the_number_of_roots() {
    if env::var_os(CHILD).is_some() {
        let roots = TlsConfig::builder().system_roots().roots();
        std::println!("\nroots: {:?}", roots.map(|roots| roots.len()));
    }
}

#[test]
fn roots_of_the_system_are_trusted() {
    let bundle: String = [new_ca(), new_ca()].iter().map(|ca| ca.as_ref().pem()).collect();
    let (_dir, path) = file(bundle.as_bytes());
    assert_eq!(roots_of_the_system_with(path.to_str().unwrap()), "Ok(2)");
}

#[test]
fn absent_roots_of_the_system_are_an_error() {
    assert_eq!(roots_of_the_system_with("no/such/bundle.pem"), "Err(NoSystemRoots)");
}
