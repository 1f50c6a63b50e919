//! Configurations for a single connection, which tell whose key the server proved to hold. Knows no
//! authority.

use core::fmt;
use std::sync::{Arc, OnceLock};
use std::vec::Vec;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::verifier::PinVerifier;
use super::{SpkiPin, TlsConfig};

/// The TLS of a link: a [`TlsConfig`], or a configuration of rustls that was made elsewhere.
#[derive(Clone)]
pub struct LinkTls(pub(crate) Source);

#[derive(Clone)]
pub(crate) enum Source {
    Ours(TlsConfig),
    Foreign(Arc<ClientConfig>),
}

impl LinkTls {
    /// Whether nothing but peer authentication verifies the server.
    pub(crate) const fn is_by_peer_alone(&self) -> bool {
        matches!(&self.0, Source::Ours(config) if config.is_by_peer_alone())
    }

    pub(crate) fn into_config(self) -> Arc<ClientConfig> {
        match self.0 {
            Source::Ours(config) => config.client_config(),
            Source::Foreign(config) => config,
        }
    }
}

impl From<&TlsConfig> for LinkTls {
    fn from(tls: &TlsConfig) -> Self {
        Self(Source::Ours(tls.clone()))
    }
}

impl From<Arc<ClientConfig>> for LinkTls {
    fn from(config: Arc<ClientConfig>) -> Self {
        Self(Source::Foreign(config))
    }
}

impl From<ClientConfig> for LinkTls {
    fn from(config: ClientConfig) -> Self {
        Self(Source::Foreign(Arc::new(config)))
    }
}

impl fmt::Debug for LinkTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkTls").finish_non_exhaustive()
    }
}

/// The key that the server of one connection showed. Once the handshake is complete, it has proved
/// to hold it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown(Arc<OnceLock<SpkiPin>>);

impl Shown {
    pub(crate) fn get(&self) -> Option<SpkiPin> {
        self.0.get().copied()
    }
}

impl TlsConfig {
    /// Whether servers are verified by a run of peer authentication and nothing else.
    pub(crate) const fn is_by_peer_alone(&self) -> bool {
        self.checks.peer_alone
    }

    /// What servers are verified by, in a word.
    #[cfg(feature = "proxy")]
    pub(crate) const fn verified_by(&self) -> &'static str {
        match (&self.checks.chain, self.checks.pins.is_empty()) {
            _ if self.checks.peer_alone => "authority",
            (Some(_), true) => "ca",
            (Some(_), false) => "ca and pin",
            (None, _) => "pin",
        }
    }

    /// For one connection to a server that has one of these keys; without any, one of those that
    /// the configuration accepts.
    pub(crate) fn watched(
        &self,
        keys: impl IntoIterator<Item = SpkiPin>,
    ) -> (Arc<ClientConfig>, Shown) {
        let mut pins: Vec<_> = keys.into_iter().collect();
        if pins.is_empty() {
            pins.clone_from(&self.checks.pins);
        }
        self.watch(Some(self.checks.verifier(pins)))
    }

    /// For one connection to whatever server answers, to which nothing is shown.
    pub(crate) fn probe(&self) -> (Arc<ClientConfig>, Shown) {
        self.watch(None)
    }

    fn watch(&self, checks: Option<PinVerifier>) -> (Arc<ClientConfig>, Shown) {
        let shown = Shown::default();
        let mut config = ClientConfig::clone(&self.client);
        // rustls asks no verifier when a session is resumed
        config.resumption = Resumption::disabled();
        if checks.is_none() {
            config.client_auth_cert_resolver = Arc::new(Nobody);
        }
        let signatures = self.checks.verifier(Vec::new());
        let watcher = Watcher { checks, signatures, shown: shown.clone() };
        // Dangerous is who checks no signatures; this one does.
        config.dangerous().set_certificate_verifier(Arc::new(watcher));
        (Arc::new(config), shown)
    }
}

/// Notes which key the server shows. The handshake's signatures are checked whatever else is.
#[derive(Debug)]
struct Watcher {
    /// `None`: any certificate will do.
    checks: Option<PinVerifier>,
    signatures: PinVerifier,
    shown: Shown,
}

impl ServerCertVerifier for Watcher {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = SpkiPin::of(end_entity)?;
        if let Some(checks) = &self.checks {
            checks.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            )?;
        }
        // a second handshake in one connection would have to be with the same server
        if *self.shown.0.get_or_init(|| shown) == shown {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General("the server changed its key".into()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_verify_schemes()
    }
}

/// Shows no certificate.
#[derive(Debug)]
struct Nobody;

impl ResolvesClientCert for Nobody {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
