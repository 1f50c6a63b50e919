//! A certification authority of its own for each test, servers' certificates good and bad, and
//! those of clients. ECDSA over P-256, as rustls and OpenSSL both take it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

/// One certificate in both forms.
pub(crate) struct CertFiles {
    pub(crate) pem: PathBuf,
    pub(crate) der: PathBuf,
}

/// What a TLS server needs.
pub(crate) struct ServerFiles {
    pub(crate) cert: CertFiles,
    /// The private key, PKCS #8 in PEM.
    pub(crate) key: PathBuf,
}

/// What a client shows of itself where a server asks for it.
pub(crate) struct ClientFiles {
    pub(crate) cert: CertFiles,
    /// The private key, PKCS #8 in PEM, for its owner alone.
    pub(crate) key: PathBuf,
}

/// Two authorities, and servers of the first unless said otherwise. The files
/// live as long as this value.
pub(crate) struct Certs {
    pub(crate) ca: CertFiles,
    pub(crate) other_ca: CertFiles,
    /// For `localhost` and 127.0.0.1.
    pub(crate) good: ServerFiles,
    /// Good but for its last day, which was in 2020.
    pub(crate) expired: ServerFiles,
    /// Good but for its name: `other.example` alone.
    pub(crate) wrong_host: ServerFiles,
    /// Good but for its issuer: `other_ca`.
    pub(crate) of_other_ca: ServerFiles,
    pub(crate) client: ClientFiles,
    /// Good but for its issuer: `other_ca`.
    pub(crate) client_of_other_ca: ClientFiles,
    _dir: TempDir,
}

type Ca = CertifiedIssuer<'static, KeyPair>;

impl Certs {
    pub(crate) fn new() -> Self {
        let temp = TempDir::new().unwrap();
        let dir = temp.path();
        let ca = new_ca("mqtt-seal test CA");
        let other_ca = new_ca("another test CA");
        let here = &["localhost", "127.0.0.1"];
        let mut expired = server_params(here);
        expired.not_after = date_time_ymd(2020, 1, 1);
        Self {
            good: write_server(dir, "good", &server_params(here), &ca),
            expired: write_server(dir, "expired", &expired, &ca),
            wrong_host: write_server(dir, "wrong-host", &server_params(&["other.example"]), &ca),
            of_other_ca: write_server(dir, "of-other-ca", &server_params(here), &other_ca),
            client: write_client(dir, "client", &ca),
            client_of_other_ca: write_client(dir, "client-of-other-ca", &other_ca),
            ca: write_cert(dir, "ca", ca.as_ref()),
            other_ca: write_cert(dir, "other-ca", other_ca.as_ref()),
            _dir: temp,
        }
    }
}

fn new_ca(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ca::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn server_params(names: &[&str]) -> CertificateParams {
    let names = names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "mqtt-seal test server");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn write_server(dir: &Path, name: &str, params: &CertificateParams, ca: &Ca) -> ServerFiles {
    let (cert, key) = write_signed(dir, name, params, ca);
    ServerFiles { cert, key }
}

fn write_client(dir: &Path, name: &str, ca: &Ca) -> ClientFiles {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let (cert, key) = write_signed(dir, name, &params, ca);
    ClientFiles { cert, key }
}

fn write_signed(
    dir: &Path,
    name: &str,
    params: &CertificateParams,
    ca: &Ca,
) -> (CertFiles, PathBuf) {
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, ca).unwrap();
    let key_file = dir.join(format!("{name}.key"));
    fs::write(&key_file, key.serialize_pem()).unwrap();
    fs::set_permissions(&key_file, Permissions::from_mode(0o600)).unwrap();
    (write_cert(dir, name, &cert), key_file)
}

fn write_cert(dir: &Path, name: &str, cert: &Certificate) -> CertFiles {
    let files =
        CertFiles { pem: dir.join(format!("{name}.pem")), der: dir.join(format!("{name}.der")) };
    fs::write(&files.pem, cert.pem()).unwrap();
    fs::write(&files.der, cert.der()).unwrap();
    files
}
