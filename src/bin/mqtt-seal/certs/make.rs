//! Makes a CA, a broker's certificate, clients' certificates, and the broker's configuration.

use core::net::IpAddr;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use mqtt_seal::tls::SpkiPin;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::ServerName;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::fault::Fault;
use crate::show;

/// What Mosquitto listens on for TLS (IANA: secure-mqtt) and in clear (IANA: mqtt).
const TLS_PORT: u16 = 8883;
/// How long the CA is good: ten years.
const CA_DAYS: u16 = 3_650;
/// How long certificates are good: what clients of Apple, the strictest, accept.
const DAYS: u16 = 825;

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// A name or an address of the broker, as clients connect to it; may be repeated
    #[arg(long, required = true)]
    host: Vec<String>,
    /// A client that is to have a certificate; the broker then insists on one; may be repeated
    #[arg(long, value_name = "NAME")]
    client: Vec<String>,
    /// The folder for the files; a CA that is there is used again
    #[arg(long, value_name = "FOLDER", default_value = "certs")]
    dir: PathBuf,
    /// The broker's private key, in PEM as PKCS #8; without, one of ECDSA P-256 is made
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Days for which the certificates are good
    #[arg(long, default_value_t = DAYS)]
    days: u16,
    /// The port of the TLS listener
    #[arg(long, default_value_t = TLS_PORT)]
    port: u16,
    /// Also listen in clear on this port, for this machine alone
    #[arg(long, value_name = "PORT")]
    plain: Option<u16>,
}

struct Ca {
    issuer: Issuer<'static, KeyPair>,
}

impl Args {
    pub(super) fn run(&self) -> Result<(), Fault> {
        // before anything is written
        self.check_names()?;
        let given = self.key.as_deref().map(read_key).transpose()?;
        fs::create_dir_all(&self.dir).map_err(|error| unwritten(&self.dir, error.kind()))?;
        let ca = self.ca()?;
        let key_file = self.broker(&ca, given)?;
        for name in &self.client {
            self.client(&ca, name)?;
        }
        let config = self.dir.join("mosquitto.conf");
        write(&config, self.config(&key_file)?.as_bytes(), false)?;
        show::line(&format!("start the broker: mosquitto -c {}", config.display()))
    }

    fn check_names(&self) -> Result<(), Fault> {
        let host = |host: &&String| ServerName::try_from(host.as_str()).is_err();
        if let Some(host) = self.host.iter().find(host) {
            return Err(no_host(host));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let odd = |name: &&String| name.is_empty() || !name.chars().all(plain);
        if let Some(name) = self.client.iter().find(odd) {
            let what = format!("the client's name {name:?} is no file name");
            return Err(Fault::usage(what, "use letters, digits, - and _"));
        }
        Ok(())
    }

    fn ca(&self) -> Result<Ca, Fault> {
        let (pem, key_file) = (self.dir.join("ca.pem"), self.dir.join("ca.key"));
        if key_file.exists() {
            let key = read_key(&key_file)?;
            let cert = read_text(&pem)?;
            let issuer = Issuer::from_ca_cert_pem(&cert, key).map_err(|_| broken(&pem))?;
            show::line(&format!("{}: the CA that was there", pem.display()))?;
            return Ok(Ca { issuer });
        }
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "mqtt-seal CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        date(&mut params, CA_DAYS);
        let key = KeyPair::generate().map_err(made_none)?;
        let cert = params.self_signed(&key).map_err(made_none)?;
        write_key(&key_file, &key)?;
        self.write_cert("ca", &cert)?;
        show::line(&format!("{}: the CA: give it to every client", pem.display()))?;
        Ok(Ca { issuer: Issuer::new(params, key) })
    }

    /// Certifies the broker; returns where its key is.
    fn broker(&self, ca: &Ca, given: Option<KeyPair>) -> Result<PathBuf, Fault> {
        let key = given.map_or_else(KeyPair::generate, Ok).map_err(made_none)?;
        let mut params =
            CertificateParams::new(self.host.clone()).map_err(|_| no_host(&self.host.join(" ")))?;
        let first = self.host.first().map_or("broker", String::as_str);
        params.distinguished_name.push(DnType::CommonName, first);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let cert = self.certify(ca, params, &key)?;
        let key_file = match &self.key {
            Some(path) => path.clone(),
            None => self.dir.join("broker.key"),
        };
        if self.key.is_none() {
            write_key(&key_file, &key)?;
        }
        let pem = self.write_cert("broker", &cert)?;
        let pin = SpkiPin::of_certificate(cert.der()).map_err(|_| broken(&pem))?;
        let hosts = self.host.join(", ");
        show::line(&format!("{}: the broker, as {hosts}; pin {pin}", pem.display()))?;
        Ok(key_file)
    }

    fn client(&self, ca: &Ca, name: &str) -> Result<(), Fault> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().map_err(made_none)?;
        let cert = self.certify(ca, params, &key)?;
        let stem = format!("client-{name}");
        write_key(&self.dir.join(format!("{stem}.key")), &key)?;
        let pem = self.write_cert(&stem, &cert)?;
        show::line(&format!("{}: the client {name}", pem.display()))
    }

    fn certify(
        &self,
        ca: &Ca,
        mut params: CertificateParams,
        key: &KeyPair,
    ) -> Result<Certificate, Fault> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        date(&mut params, self.days);
        params.signed_by(key, &ca.issuer).map_err(made_none)
    }

    /// Writes both forms of a certificate; returns where the PEM is.
    fn write_cert(&self, stem: &str, cert: &Certificate) -> Result<PathBuf, Fault> {
        let pem = self.dir.join(format!("{stem}.pem"));
        write(&pem, cert.pem().as_bytes(), false)?;
        write(&self.dir.join(format!("{stem}.der")), cert.der(), false)?;
        Ok(pem)
    }

    fn config(&self, key_file: &Path) -> Result<String, Fault> {
        let absolute = |path: &Path| {
            let path = fs::canonicalize(path).map_err(|error| unwritten(path, error.kind()))?;
            Ok::<_, Fault>(path.display().to_string())
        };
        let (cert, key) = (absolute(&self.dir.join("broker.pem"))?, absolute(key_file)?);
        let address = if self.host.iter().all(|host| is_here(host)) { " 127.0.0.1" } else { "" };
        let mut lines = vec![
            "# Who may connect is not asked for here: see password_file and acl_file.".to_owned(),
            "allow_anonymous true".into(),
        ];
        lines.extend(root_lines(&self.dir));
        lines.extend([
            String::new(),
            format!("listener {}{address}", self.port),
            format!("certfile {cert}"),
            format!("keyfile {key}"),
        ]);
        if !self.client.is_empty() {
            let ca = absolute(&self.dir.join("ca.pem"))?;
            lines.extend([format!("cafile {ca}"), "require_certificate true".into()]);
        }
        if let Some(port) = self.plain {
            lines.extend([String::new(), format!("listener {port} 127.0.0.1")]);
        }
        lines.push(String::new());
        Ok(lines.join("\n"))
    }
}

/// Started by root, Mosquitto becomes another user, who cannot read root's keys.
#[cfg(unix)]
fn root_lines(folder: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    match fs::metadata(folder) {
        Ok(metadata) if metadata.uid() == 0 => vec![
            "# Better: chown -R mosquitto this folder, and leave this line out.".into(),
            "user root".into(),
        ],
        _ => Vec::new(),
    }
}

#[cfg(not(unix))]
fn root_lines(_: &Path) -> Vec<String> {
    Vec::new()
}

fn no_host(host: &str) -> Fault {
    let what = format!("{host:?} is no host name and no address");
    Fault::usage(what, "name each with --host, in ASCII, as in broker.example")
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// From an hour ago, for clocks that are late, and for this many days.
fn date(params: &mut CertificateParams, days: u16) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now.saturating_sub(Duration::HOUR);
    params.not_after = now.saturating_add(Duration::days(days.into()));
}

fn read_text(path: &Path) -> Result<Zeroizing<String>, Fault> {
    let text = fs::read_to_string(path).map(Zeroizing::new);
    text.map_err(|error| {
        let what = format!("{}: cannot be read, {}", path.display(), error.kind());
        Fault::new(what, "check the path and its permissions")
    })
}

fn read_key(path: &Path) -> Result<KeyPair, Fault> {
    KeyPair::from_pem(&read_text(path)?).map_err(|_| {
        let path = path.display();
        Fault::new(
            format!("{path}: this is no private key in PEM as PKCS #8, or one of an unknown kind"),
            format!(
                "use ECDSA P-256, Ed25519 or RSA of 2048 bits and more; \
                 openssl pkcs8 -topk8 -nocrypt -in {path} changes its form"
            ),
        )
    })
}

fn write_key(path: &Path, key: &KeyPair) -> Result<(), Fault> {
    write(path, Zeroizing::new(key.serialize_pem()).as_bytes(), true)
}

/// Writes a new file; what is there is never overwritten. A secret one is for its owner alone from
/// the first moment.
fn write(path: &Path, bytes: &[u8], secret: bool) -> Result<(), Fault> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if secret {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    let written = options.open(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|error| unwritten(path, error.kind()))
}

fn unwritten(path: &Path, kind: io::ErrorKind) -> Fault {
    let path = path.display();
    if kind == io::ErrorKind::AlreadyExists {
        let what = format!("{path}: there is such a file already, and it was not touched");
        return Fault::new(what, "name another folder with --dir, or move it away");
    }
    let what = format!("{path}: cannot be written, {kind}");
    Fault::new(what, "check the folder and its permissions")
}

fn broken(path: &Path) -> Fault {
    let what = format!("{}: this is no certificate of a CA", path.display());
    Fault::new(what, "name another folder with --dir")
}

fn made_none(_: rcgen::Error) -> Fault {
    Fault::new("no certificate could be made", "try again, with another key if you named one")
}
