//! How a broker by TLS is verified, and what it is shown, as flags. Knows no command.

use std::path::PathBuf;
use std::{fs, io};

use clap::Args;
use mqtt_seal::tls::{SpkiPin, TlsConfig, TlsConfigBuilder};

use crate::fault::Fault;

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TlsArgs {
    /// Connect by TLS, to a broker whose certificate one of these CAs signed
    #[arg(long, value_name = "FILE")]
    pub(crate) cafile: Option<PathBuf>,
    /// The same, with all .pem, .crt and .der files of a folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) capath: Option<PathBuf>,
    /// Connect by TLS, and trust whom this system trusts; the default on port 8883
    #[arg(long)]
    pub(crate) tls_use_os_certs: bool,
    /// Connect by TLS, to a broker with this public key; beside a CA or alone
    #[arg(long)]
    pub(crate) pin: Vec<SpkiPin>,
    /// This client's certificate, for brokers that ask for one
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
}

impl TlsArgs {
    /// Whether any of them is there.
    pub(crate) fn is_named(&self) -> bool {
        self.names_trust() || self.cert.is_some()
    }

    /// Whether somebody is named who is trusted.
    pub(crate) fn names_trust(&self) -> bool {
        let ca = self.cafile.is_some() || self.capath.is_some();
        ca || self.tls_use_os_certs || !self.pin.is_empty()
    }

    /// For a broker that the authority alone verifies. Reads the client's certificate.
    pub(crate) fn by_peer(&self) -> Result<TlsConfig, Fault> {
        self.finish(TlsConfig::builder().verify_by_peer_alone())
    }

    /// Reads the files. Without a CA and without a pin, the system's roots are trusted.
    pub(crate) fn config(&self) -> Result<TlsConfig, Fault> {
        let mut builder = TlsConfig::builder();
        let ca = self.cafile.is_some() || self.capath.is_some();
        for path in self.cafile.iter().cloned().chain(self.ca_files()?) {
            builder = builder.ca_file(path);
        }
        for pin in &self.pin {
            builder = builder.pin(*pin);
        }
        builder = match (ca, self.pin.is_empty()) {
            _ if self.tls_use_os_certs => builder.system_roots(),
            (false, true) => builder.system_roots(),
            (false, false) => builder.verify_by_pin_alone(),
            (true, _) => builder,
        };
        self.finish(builder)
    }

    /// With the certificate that the broker is shown.
    fn finish(&self, mut builder: TlsConfigBuilder) -> Result<TlsConfig, Fault> {
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            builder = builder.client_cert(cert, key);
        }
        builder.build().map_err(|error| Fault::told(&error, "correct the options"))
    }

    fn ca_files(&self) -> Result<Vec<PathBuf>, Fault> {
        let Some(folder) = &self.capath else {
            return Ok(Vec::new());
        };
        let unreadable = |error: io::Error| {
            let what = format!("{}: cannot be read, {}", folder.display(), error.kind());
            Fault::new(what, "name a folder with CA certificates")
        };
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if matches!(extension, Some("pem" | "crt" | "der")) {
                files.push(path);
            }
        }
        if files.is_empty() {
            let what = format!("{}: there is no .pem, .crt or .der file", folder.display());
            return Err(Fault::new(what, "name a folder with CA certificates"));
        }
        Ok(files)
    }
}
