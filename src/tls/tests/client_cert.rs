//! What a client shows of itself, and what it cannot.

use rcgen::{ExtendedKeyUsagePurpose, Issuer, PKCS_ED25519, PKCS_RSA_SHA256};
use rustls::RootCertStore;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;

use super::*;
use crate::tls::client_cert::MAX_KEY_LEN;

/// For these tests alone: ring makes no RSA keys.
const RSA_KEY: &str = include_str!("rsa_key.pem");

const MEMORY: ClientOrigin = ClientOrigin::Memory;

/// A server that asks clients for a certificate of `clients`.
fn asking_server(ca: &Ca, clients: &Ca) -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_string()]).unwrap();
    let cert = params.signed_by(&key, ca).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(clients.as_ref().der().clone()).unwrap();
    let roots = Arc::new(roots);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS12, &TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![cert.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    Arc::new(config)
}

fn client_params() -> CertificateParams {
    let mut params = CertificateParams::new(vec!["client".to_string()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn client_of(ca: &Ca) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    (client_params().signed_by(&key, ca).unwrap(), key)
}

/// A handshake with a server that insists on a certificate of `ca`.
fn shows(ca: &Ca, cert: &[u8], key: &[u8]) {
    let server = asking_server(ca, ca);
    for versions in [TlsVersions::Tls12Only, TlsVersions::Tls13Only] {
        let builder = trusting(ca).client_cert_bytes(cert, &mut key.to_vec());
        let tls = builder.versions(versions).build().unwrap();
        connect(&tls, &server).unwrap();
    }
}

/// What a PKCS #8 key of ring or OpenSSL ends with: the key in the form of its kind.
fn inner(pkcs8: &[u8]) -> &[u8] {
    // The first OCTET STRING that begins with a SEQUENCE.
    let mut tails = (0..40).map(|at| &pkcs8[at..]);
    let found = tails.find_map(|tail| match tail {
        [0x04, 0x82, _, _, body @ ..] | [0x04, 0x81, _, body @ ..] | [0x04, ..=0x7f, body @ ..] => {
            body.starts_with(&[0x30]).then_some(body)
        }
        _ => None,
    });
    found.unwrap()
}

fn to_pem(label: &str, der: &[u8]) -> Vec<u8> {
    use base64ct::{Base64, Encoding};
    pem(label, &Base64::encode_string(der))
}

fn rsa_key() -> (KeyPair, Vec<u8>) {
    let key = KeyPair::from_pem_and_sign_algo(RSA_KEY, &PKCS_RSA_SHA256).unwrap();
    let der = PrivatePkcs8KeyDer::from_pem_slice(RSA_KEY.as_bytes()).unwrap();
    (key, der.secret_pkcs8_der().to_vec())
}

fn key_fault(key: &[u8]) -> KeyFault {
    let ca = new_ca();
    let (cert, _) = client_of(&ca);
    let builder = trusting(&ca).client_cert_bytes(cert.der(), &mut key.to_vec());
    match builder.build().unwrap_err() {
        TlsConfigError::ClientKey { origin: MEMORY, fault } => fault,
        other => panic!("{other:?}"),
    }
}

fn cert_fault(cert: &[u8]) -> CertFault {
    let ca = new_ca();
    let (_, key) = client_of(&ca);
    let mut key = key.serialize_der();
    let builder = trusting(&ca).client_cert_bytes(cert, &mut key);
    match builder.build().unwrap_err() {
        TlsConfigError::ClientCert { origin: MEMORY, fault } => fault,
        other => panic!("{other:?}"),
    }
}

/// A certificate and its key as files that the key's owner alone may use.
struct Files {
    dir: TempDir,
    ca: Ca,
}

impl Files {
    fn new() -> Self {
        let (dir, ca) = (TempDir::new().unwrap(), new_ca());
        let (cert, key) = client_of(&ca);
        let files = Self { dir, ca };
        fs::write(files.cert(), cert.pem()).unwrap();
        files.write_key(key.serialize_pem().as_bytes());
        files
    }

    fn cert(&self) -> PathBuf {
        self.dir.path().join("client.crt")
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("client.key")
    }

    fn write_key(&self, bytes: &[u8]) {
        fs::write(self.key(), bytes).unwrap();
        self.set_mode(0o600);
    }

    fn set_mode(&self, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(self.key(), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn build(&self) -> Result<TlsConfig, TlsConfigError> {
        trusting(&self.ca).client_cert(self.cert(), self.key()).build()
    }

    fn key_error(&self) -> (KeyFault, String) {
        let error = self.build().unwrap_err();
        let TlsConfigError::ClientKey { origin: ClientOrigin::File(path), fault } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(*path, self.key());
        (*fault, error.to_string())
    }
}

// -- what is accepted --

#[test]
fn client_certificate_in_either_form_is_shown() {
    let ca = new_ca();
    let (cert, key) = client_of(&ca);
    shows(&ca, cert.pem().as_bytes(), key.serialize_pem().as_bytes());
    shows(&ca, cert.der(), &key.serialize_der());
    shows(&ca, cert.pem().as_bytes(), &key.serialize_der());
    shows(&ca, cert.der(), key.serialize_pem().as_bytes());
}

#[test]
fn client_certificate_of_files_is_shown() {
    let files = Files::new();
    let tls = files.build().unwrap();
    connect(&tls, &asking_server(&files.ca, &files.ca)).unwrap();
}

#[test]
fn client_key_in_sec1_is_used() {
    let ca = new_ca();
    let (cert, key) = client_of(&ca);
    let pkcs8 = key.serialize_der();
    shows(&ca, cert.der(), inner(&pkcs8));
    // as `openssl ecparam -genkey` writes it
    let parameters = pem("EC PARAMETERS", "BggqhkjOPQMBBw==");
    let key = [parameters, to_pem("EC PRIVATE KEY", inner(&pkcs8))].concat();
    shows(&ca, cert.der(), &key);
}

#[test]
fn client_key_for_rsa_is_used_in_each_form() {
    let ca = new_ca();
    let (key, pkcs8) = rsa_key();
    let cert = client_params().signed_by(&key, &ca).unwrap();
    let pkcs1 = to_pem("RSA PRIVATE KEY", inner(&pkcs8));
    for key in [RSA_KEY.as_bytes(), &pkcs8, &pkcs1, inner(&pkcs8)] {
        shows(&ca, cert.der(), key);
    }
}

#[test]
fn client_key_for_ed25519_is_used() {
    let ca = new_ca();
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let cert = client_params().signed_by(&key, &ca).unwrap();
    shows(&ca, cert.der(), &key.serialize_der());
}

#[test]
fn client_certificate_is_shown_with_its_chain() {
    let ca = new_ca();
    let middle_key = KeyPair::generate().unwrap();
    let mut middle = CertificateParams::new(Vec::new()).unwrap();
    middle.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    middle.distinguished_name.push(DnType::CommonName, "middle");
    let middle_cert = middle.signed_by(&middle_key, &ca).unwrap();
    let (cert, key) = {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&middle, &middle_key);
        (client_params().signed_by(&key, &issuer).unwrap(), key)
    };
    let chain = cert.pem() + &middle_cert.pem();
    shows(&ca, chain.as_bytes(), &key.serialize_der());
    let alone = trusting(&ca).client_cert_bytes(cert.der(), &mut key.serialize_der());
    assert!(connect(&alone.build().unwrap(), &asking_server(&ca, &ca)).is_err());
}

#[test]
fn client_key_beside_a_certificate_is_found() {
    let ca = new_ca();
    let (cert, key) = client_of(&ca);
    let both = cert.pem() + &key.serialize_pem();
    for line_end in ["\n", "\r\n", "\r"] {
        shows(&ca, cert.der(), both.replace('\n', line_end).as_bytes());
    }
    shows(&ca, cert.der(), format!("\u{feff}{}", key.serialize_pem()).as_bytes());
}

#[test]
fn client_without_a_certificate_is_refused_where_one_is_asked_for() {
    let ca = new_ca();
    let error = connect(&trusting(&ca).build().unwrap(), &asking_server(&ca, &ca)).unwrap_err();
    assert_eq!(error, rustls::Error::NoCertificatesPresented);
}

#[test]
fn last_client_certificate_replaces_the_others() {
    let files = Files::new();
    let first = trusting(&files.ca).client_cert("no/such.crt", "no/such.key");
    assert!(first.client_cert(files.cert(), files.key()).build().is_ok());
}

// -- secrets --

#[test]
fn client_key_in_memory_is_wiped_at_its_source() {
    let mut key = KeyPair::generate().unwrap().serialize_der();
    let _ = TlsConfig::builder().client_cert_bytes(b"", &mut key);
    assert!(key.iter().all(|byte| *byte == 0));
}

#[test]
fn debug_of_a_builder_shows_no_client_key() {
    let mut key = KeyPair::generate().unwrap().serialize_pem().into_bytes();
    let of_bytes = TlsConfig::builder().client_cert_bytes(b"cert", &mut key);
    assert!(format!("{of_bytes:?}").contains("client_cert: Some(Bytes { .. })"));
    let of_files = TlsConfig::builder().client_cert("c.pem", "k.pem");
    let shown = "client_cert: Some(Files { cert: \"c.pem\", key: \"k.pem\" })";
    assert!(format!("{of_files:?}").contains(shown));
}

#[test]
fn debug_of_a_config_shows_no_client_key() {
    let tls = Files::new().build().unwrap();
    assert_eq!(format!("{tls:?}"), "TlsConfig { .. }");
}

// -- files that are not there, or anybody's --

#[test]
fn missing_client_files_are_named() {
    let files = Files::new();
    for path in [files.cert(), files.key()] {
        fs::remove_file(&path).unwrap();
        let other = Files::new();
        let (cert, key) = if path == files.cert() {
            (path.clone(), other.key())
        } else {
            (other.cert(), path.clone())
        };
        let error = trusting(&files.ca).client_cert(cert, key).build().unwrap_err();
        assert_eq!(error, TlsConfigError::ClientFileMissing { path: path.clone() });
        assert_eq!(
            error.to_string(),
            format!(
                "client certificate or key {} does not exist; correct the path or copy the file \
                 there",
                path.display()
            )
        );
    }
}

#[test]
fn folders_are_no_client_files() {
    let files = Files::new();
    let folder = files.dir.path().to_path_buf();
    let error = trusting(&files.ca).client_cert(&folder, files.key()).build().unwrap_err();
    let kind = io::ErrorKind::IsADirectory;
    assert_eq!(error, TlsConfigError::ClientFileUnreadable { path: folder.clone(), kind });
    assert_eq!(
        error.to_string(),
        format!(
            "client certificate or key {} cannot be read (is a directory); see that it is a file \
             and that this user may read it",
            folder.display()
        )
    );
    let error = trusting(&files.ca).client_cert(files.cert(), &folder).build().unwrap_err();
    let origin = ClientOrigin::File(folder.clone());
    assert_eq!(error, TlsConfigError::ClientKey { origin, fault: KeyFault::NotAFile });
    assert_eq!(
        error.to_string(),
        format!("client key {} is no file; name the file with the key", folder.display())
    );
}

#[test]
fn client_key_is_read_only_if_it_is_its_owners_alone() {
    let files = Files::new();
    for mode in (0o400..=0o777_u32).filter(|mode| mode & 0o700 >= 0o400) {
        files.set_mode(mode);
        if mode.trailing_zeros() >= 6 {
            assert!(files.build().is_ok(), "{mode:o}");
            continue;
        }
        let (fault, text) = files.key_error();
        assert_eq!(fault, KeyFault::Permissions { mode });
        assert_eq!(
            text,
            format!(
                "client key {} can be used by others than its owner (mode {mode:04o}); run chmod \
                 600 on it",
                files.key().display()
            )
        );
    }
}

#[test]
fn client_key_beyond_the_limit_is_too_large() {
    let files = Files::new();
    let len = usize::try_from(MAX_KEY_LEN).unwrap();
    let mut bytes = fs::read(files.key()).unwrap();
    bytes.resize(len, b'\n');
    files.write_key(&bytes);
    assert!(files.build().is_ok());
    bytes.push(b'\n');
    files.write_key(&bytes);
    let (fault, text) = files.key_error();
    assert_eq!(fault, KeyFault::TooLarge);
    assert!(text.ends_with(" is longer than 1 MiB; name a file that holds only the key"));
    assert_eq!(key_fault(&bytes), KeyFault::TooLarge);
}

// -- bytes that are something else --

#[test]
fn client_certificate_that_is_a_key_is_named() {
    let (_, rsa) = rsa_key();
    let ca = new_ca();
    let (cert, key) = client_of(&ca);
    let both = cert.pem() + &key.serialize_pem();
    let clear = [key.serialize_pem().into_bytes(), key.serialize_der(), rsa, both.into_bytes()];
    let encrypted = [pem("ENCRYPTED PRIVATE KEY", "MAA="), encrypted_der()];
    for bytes in clear.iter().chain(&encrypted) {
        assert_eq!(cert_fault(bytes), CertFault::IsPrivateKey);
    }
    let error = TlsConfigError::ClientCert { origin: MEMORY, fault: CertFault::IsPrivateKey };
    assert_eq!(
        error.to_string(),
        "client certificate given as bytes holds a private key; leave only certificates there and \
         keep the key in a file of its own"
    );
}

#[test]
fn client_key_that_is_a_certificate_is_named() {
    let (cert, _) = client_of(&new_ca());
    for bytes in [cert.pem().as_bytes(), cert.der()] {
        assert_eq!(key_fault(bytes), KeyFault::IsCertificate);
    }
    let files = Files::new();
    files.write_key(&fs::read(files.cert()).unwrap());
    let (_, text) = files.key_error();
    assert_eq!(
        text,
        format!(
            "client key {} is a certificate; name the private key here and the certificate before \
             it",
            files.key().display()
        )
    );
}

#[test]
fn client_key_of_another_certificate_is_named() {
    let files = Files::new();
    let (_, rsa) = rsa_key();
    let keys = [
        KeyPair::generate().unwrap().serialize_der(),
        KeyPair::generate_for(&PKCS_ED25519).unwrap().serialize_der(),
        rsa,
    ];
    for key in keys {
        files.write_key(&key);
        let error = files.build().unwrap_err();
        let [cert, key] = [files.cert(), files.key()].map(ClientOrigin::File);
        assert_eq!(error, TlsConfigError::ClientKeyMismatch { cert, key });
        assert_eq!(
            error.to_string(),
            format!(
                "client key {} does not belong to client certificate {}; name the key that the \
                 certificate was made for, and put the client's own certificate first",
                files.key().display(),
                files.cert().display()
            )
        );
    }
}

#[test]
fn client_key_of_the_second_certificate_does_not_match() {
    let ca = new_ca();
    let (cert, key) = client_of(&ca);
    let chain = ca.as_ref().pem() + &cert.pem();
    let mut key = key.serialize_der();
    let error = trusting(&ca).client_cert_bytes(chain.as_bytes(), &mut key).build().unwrap_err();
    assert_eq!(error, TlsConfigError::ClientKeyMismatch { cert: MEMORY, key: MEMORY });
}

/// `EncryptedPrivateKeyInfo` as `openssl pkcs8 -topk8 -outform DER` begins it.
fn encrypted_der() -> Vec<u8> {
    let mut der = vec![
        0x30, 0x81, 0xec, 0x30, 0x57, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05,
        0x0d,
    ];
    der.resize(0xec + 3, 7);
    der
}

#[test]
fn encrypted_client_key_is_named() {
    let older = b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                  DEK-Info: AES-128-CBC,5EF9F4D7\n\nMAA=\n-----END EC PRIVATE KEY-----\n";
    let newer = pem("ENCRYPTED PRIVATE KEY", "MAA=");
    for key in [&older[..], &newer, &encrypted_der()] {
        assert_eq!(key_fault(key), KeyFault::Encrypted);
    }
    assert_eq!(
        TlsConfigError::ClientKey { origin: MEMORY, fault: KeyFault::Encrypted }.to_string(),
        "client key given as bytes is encrypted; decrypt it first with openssl pkcs8 -in OLD -out \
         NEW and name NEW"
    );
}

#[test]
fn client_key_faults_are_told_apart() {
    let key = KeyPair::generate().unwrap().serialize_pem();
    let cut = &key[..key.len() - 30];
    for (bytes, fault, text) in [
        (&b" \n"[..], KeyFault::Empty, "is empty; put the private key there, in PEM or DER"),
        (
            b"hello",
            KeyFault::NotPemOrDer,
            "is neither PEM nor DER; export the private key again in one of these forms",
        ),
        (
            &pem("PRIVATE KEY", "M*I="),
            KeyFault::BadBase64 { index: 1 },
            "has a section 1 that is not valid base64; copy it again, byte for byte",
        ),
        (
            cut.as_bytes(),
            KeyFault::BrokenPem { index: 1 },
            "has a section 1 with a damaged BEGIN line or no END line; copy it again, to its last \
             line",
        ),
        (
            &pem("PUBLIC KEY", "MAA="),
            KeyFault::NoKey,
            "is PEM without a private key; name one with a section BEGIN PRIVATE KEY",
        ),
        (
            key.repeat(2).as_bytes(),
            KeyFault::SeveralKeys,
            "holds more than one private key; leave only that of the certificate",
        ),
        (
            &pem("OPENSSH PRIVATE KEY", "MAA="),
            KeyFault::Unsupported,
            "is damaged or of an unsupported kind; use ECDSA P-256 or P-384, Ed25519 or RSA of \
             2048 bits and more, in PKCS #8, SEC1 or PKCS #1",
        ),
    ] {
        assert_eq!(key_fault(bytes), fault);
        assert_eq!(fault.to_string(), text);
    }
}

#[test]
fn damaged_client_key_is_unsupported() {
    let good = KeyPair::generate().unwrap().serialize_der();
    for len in [20, good.len() - 1] {
        assert_eq!(key_fault(&good[..len]), KeyFault::Unsupported);
        assert_eq!(key_fault(&to_pem("PRIVATE KEY", &good[..len])), KeyFault::Unsupported);
    }
    assert_eq!(key_fault(&pem("PRIVATE KEY", "")), KeyFault::Unsupported);
}

#[test]
fn client_certificate_faults_are_told_apart() {
    let cert = new_ca().as_ref().pem();
    let cut = &cert[..cert.len() - 40];
    let damaged = [cert.as_bytes(), &pem("CERTIFICATE", "MAIFAA==")].concat();
    for (bytes, text) in [
        (&b""[..], "is empty; put the certificate there, in PEM or DER"),
        (
            &vec![b'#'; form::MAX_CERTS_LEN + 1],
            "is longer than 4 MiB; name a file that holds only certificates",
        ),
        (b"hello", "is neither PEM nor DER; export the certificate again in one of these forms"),
        (
            &pem("CERTIFICATE", "M*I="),
            "has a section 1 that is not valid base64; copy it again, byte for byte",
        ),
        (
            cut.as_bytes(),
            "has a section 1 with a damaged BEGIN line or no END line; copy it again, to its last \
             line",
        ),
        (
            &pem("PUBLIC KEY", "MAA="),
            "is PEM without a certificate; name one with a section BEGIN CERTIFICATE",
        ),
        (
            &damaged,
            "has a certificate 2 that is damaged or not of X.509 version 3; export or make it again",
        ),
    ] {
        assert_eq!(cert_fault(bytes).to_string(), text);
    }
    let error = TlsConfigError::ClientCert { origin: MEMORY, fault: cert_fault(&damaged) };
    let cause = rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
    assert_eq!(error.source().unwrap().to_string(), cause.to_string());
}

#[test]
fn error_of_a_client_key_shows_no_part_of_it() {
    let files = Files::new();
    let key = fs::read_to_string(files.key()).unwrap();
    let line = key.lines().nth(1).unwrap();
    for bytes in [key.repeat(2), key.replace("MIG", "M*G"), key[..key.len() - 30].to_string()] {
        files.write_key(bytes.as_bytes());
        let error = files.build().unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&line[..8]));
    }
}

#[cfg(feature = "rumqttc")]
#[test]
fn probe_shows_no_certificate() {
    let ca = new_ca();
    let (cert, key) = client_of(&ca);
    let tls = TlsConfig::builder()
        .verify_by_peer_alone()
        .client_cert_bytes(cert.der(), &mut key.serialize_der())
        .build()
        .unwrap();
    let server = asking_server(&ca, &ca);
    let (config, shown) = tls.probe();
    assert!(connect_by(config, &server).is_err());
    assert!(connect_by(tls.watched(shown.get()).0, &server).is_ok());
}
