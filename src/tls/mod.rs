//! Certificates and versions to one shared TLS configuration. Opens no
//! connection and knows no broker.
//!
//! The cryptography is ring's, named explicitly: the process's default provider
//! is neither asked nor set, so a second provider in the same program does no
//! harm. Whom to trust has no default either: name a CA file, or the system's
//! roots, or both. Pins narrow that down to the keys that a server may have, or
//! stand for it. A client that the broker asks for a certificate shows its own.
//!
//! ```
//! use mqtt_seal::tls::{TlsConfig, TlsConfigError};
//!
//! let refused = TlsConfig::builder().ca_file("no/such/ca.pem").build();
//! assert!(matches!(refused, Err(TlsConfigError::CaMissing { .. })));
//! ```
//!
//! rumqttc takes the configuration as it is, since both sides mean the same
//! rustls:
//!
//! ```
//! # #[cfg(feature = "rumqttc")] {
//! use mqtt_seal::tls::TlsConfig;
//! use rumqttc::{MqttOptions, TlsConfiguration, Transport};
//!
//! fn over_tls(options: &mut MqttOptions, tls: &TlsConfig) {
//!     let config = TlsConfiguration::Rustls(tls.client_config());
//!     options.set_transport(Transport::tls_with_config(config));
//! }
//! # }
//! ```

mod ca;
mod client_cert;
mod error;
mod fault;
mod form;
mod pin;
#[cfg(test)]
mod tests;
mod verifier;
#[cfg(feature = "rumqttc")]
mod watch;

pub use error::{CaOrigin, ClientOrigin, TlsConfigError};
pub use fault::{CertFault, KeyFault};
pub use pin::{PinMismatch, SpkiPin, SpkiPinError};
#[cfg(feature = "rumqttc")]
pub use watch::LinkTls;
#[cfg(feature = "rumqttc")]
pub(crate) use watch::{Shown, Source};

use core::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::vec::Vec;

use rustls::client::{WantsClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, SupportedProtocolVersion, WantsVerifier};

use client_cert::{ClientCertSource, KeyBytes};
use verifier::PinVerifier;

/// How a TLS link is set up: whom it trusts, what it shows of itself and the versions it speaks.
///
/// A clone shares the configuration and with it the store of sessions. Give
/// clones, not rebuilt equals, to the connections of one client: a reconnect
/// then resumes its session instead of verifying certificates anew.
///
/// A session that is resumed was verified when it began, under the same roots
/// and pins: a configuration never changes, and no two share their sessions.
/// What has happened since, as a certificate that expired, does not count.
#[derive(Clone)]
pub struct TlsConfig {
    client: Arc<ClientConfig>,
    #[cfg(feature = "rumqttc")]
    checks: Checks,
}

/// What a server's certificate has to comply with.
#[derive(Clone)]
struct Checks {
    chain: Option<Arc<WebPkiServerVerifier>>,
    pins: Vec<SpkiPin>,
    #[cfg(feature = "rumqttc")]
    peer_alone: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Checks {
    /// The chain, if there are roots, and one of these pins; of none and without roots, no server
    /// is accepted.
    fn verifier(&self, pins: Vec<SpkiPin>) -> PinVerifier {
        PinVerifier::new(pins, self.chain.clone(), self.algorithms)
    }
}

impl TlsConfig {
    /// Starts a configuration that trusts nobody yet and speaks TLS 1.2 and 1.3.
    #[must_use]
    pub fn builder() -> TlsConfigBuilder {
        TlsConfigBuilder::default()
    }

    /// Returns the configuration for a connector; every call hands out the same one.
    #[must_use]
    pub fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig").finish_non_exhaustive()
    }
}

/// The TLS versions that a link offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsVersions {
    /// TLS 1.3, or 1.2 where the broker has nothing newer.
    #[default]
    Both,
    /// TLS 1.2 only (RFC 5246).
    Tls12Only,
    /// TLS 1.3 only (RFC 8446).
    Tls13Only,
}

impl TlsVersions {
    fn in_rustls(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Both => Vec::from([&TLS13, &TLS12]),
            Self::Tls12Only => Vec::from([&TLS12]),
            Self::Tls13Only => Vec::from([&TLS13]),
        }
    }
}

/// Collects what a [`TlsConfig`] needs; nothing is read before [`build`](Self::build).
#[derive(Clone, Debug, Default)]
pub struct TlsConfigBuilder {
    cas: Vec<CaSource>,
    system_roots: bool,
    pins: Vec<SpkiPin>,
    pin_alone: bool,
    peer_alone: bool,
    client_cert: Option<ClientCertSource>,
    versions: TlsVersions,
}

impl TlsConfigBuilder {
    /// Trusts the certificates in a file: PEM with one or more of them, or one in DER.
    ///
    /// The content decides which it is, the name does not. Further calls add
    /// further files.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.cas.push(CaSource::File(path.into()));
        self
    }

    /// Trusts the certificates in memory, in the forms that [`ca_file`](Self::ca_file) takes.
    #[must_use]
    pub fn ca_bytes(mut self, bytes: &[u8]) -> Self {
        self.cas.push(CaSource::Bytes(bytes.to_vec()));
        self
    }

    /// Trusts whom the operating system trusts.
    ///
    /// On Unix the variables `SSL_CERT_FILE` and `SSL_CERT_DIR` take precedence,
    /// as with OpenSSL. Certificates of the system that cannot be read are left
    /// out; those of [`ca_file`](Self::ca_file) never are.
    #[must_use]
    pub fn system_roots(mut self) -> Self {
        self.system_roots = true;
        self
    }

    /// Accepts the server only with this key, in addition to all other checks.
    ///
    /// Further calls add further pins, of which the server needs one: name that
    /// of the next key before the server changes to it. Another key ends the
    /// handshake with [`PinMismatch`].
    ///
    /// What counts is the server's own certificate; pins of its CAs do not match.
    #[must_use]
    pub fn pin(mut self, pin: SpkiPin) -> Self {
        self.pins.push(pin);
        self
    }

    /// Verifies the server by its pin and nothing else, for servers whose
    /// certificate no CA has signed.
    ///
    /// The server must show that it holds the pinned key: the signature over the
    /// handshake is checked as ever. Of its certificate nothing counts but that
    /// key: **issuer, host name and dates are not looked at**, so a pinned key is
    /// accepted on any host and for ever, until the pin is taken away here. There
    /// is no way to revoke it at the server's end.
    ///
    /// ```
    /// use mqtt_seal::tls::{SpkiPin, TlsConfig};
    ///
    /// let pin = SpkiPin::parse("sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")?;
    /// let tls = TlsConfig::builder().pin(pin).verify_by_pin_alone().build()?;
    /// # drop(tls);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn verify_by_pin_alone(mut self) -> Self {
        self.pin_alone = true;
        self
    }

    /// Verifies the server by a run of peer authentication and nothing else: the client of this
    /// crate asks its authority which key the server may have, over a connection that gives nothing
    /// away, and then connects anew to a server with the very key that it saw. No certificate has
    /// to be installed. Issuer, host name and dates are not looked at.
    ///
    /// It takes a client with `require_peer_auth`; everywhere else ([`TlsConfig::client_config`])
    /// such a configuration accepts no server at all.
    // SPEC §9, `verify = "peer"`
    #[must_use]
    pub const fn verify_by_peer_alone(mut self) -> Self {
        self.peer_alone = true;
        self
    }

    /// Shows the broker a certificate where it asks for one (mutual TLS).
    ///
    /// `cert_path` is PEM with the client's own certificate and behind it those
    /// that lead to its CA, or the one certificate in DER. `key_path` is the
    /// private key of the first: in PEM or DER, as PKCS #8, SEC1 or PKCS #1, not
    /// encrypted; nobody but the owner may have access to the file. The content
    /// decides which form it is, the names do not. A further call replaces both.
    ///
    /// Under TLS 1.2 the certificate is sent in clear.
    ///
    /// Memory that held the key is wiped, but for copies that the PEM reader and
    /// ring make for themselves.
    #[must_use]
    pub fn client_cert(
        mut self,
        cert_path: impl Into<PathBuf>,
        key_path: impl Into<PathBuf>,
    ) -> Self {
        let (cert, key) = (cert_path.into(), key_path.into());
        self.client_cert = Some(ClientCertSource::Files { cert, key });
        self
    }

    /// The same from memory. `key` is wiped; the copy is too, when the last clone
    /// of the builder is dropped.
    #[must_use]
    pub fn client_cert_bytes(mut self, cert: &[u8], key: &mut [u8]) -> Self {
        let (cert, key) = (cert.to_vec(), Arc::new(KeyBytes::take(key)));
        self.client_cert = Some(ClientCertSource::Bytes { cert, key });
        self
    }

    /// Limits the TLS versions; without this call both are offered.
    #[must_use]
    pub fn versions(mut self, versions: TlsVersions) -> Self {
        self.versions = versions;
        self
    }

    /// Reads the files and returns the configuration.
    ///
    /// All or nothing: one CA that cannot be used fails the whole.
    ///
    /// # Errors
    ///
    /// In this order:
    /// - [`OthersBesidePeerAlone`](TlsConfigError::OthersBesidePeerAlone),
    ///   [`NoPin`](TlsConfigError::NoPin),
    ///   [`RootsBesidePinAlone`](TlsConfigError::RootsBesidePinAlone): the calls contradict each
    ///   other
    /// - [`NoRoots`](TlsConfigError::NoRoots): neither a CA nor the system's roots were named
    /// - for each CA, in the order of the calls:
    ///   [`CaMissing`](TlsConfigError::CaMissing), [`CaUnreadable`](TlsConfigError::CaUnreadable),
    ///   [`CaTooLarge`](TlsConfigError::CaTooLarge), [`CaEmpty`](TlsConfigError::CaEmpty),
    ///   [`CaIsPrivateKey`](TlsConfigError::CaIsPrivateKey),
    ///   [`CaNotPemOrDer`](TlsConfigError::CaNotPemOrDer),
    ///   [`CaBadBase64`](TlsConfigError::CaBadBase64), [`CaBrokenPem`](TlsConfigError::CaBrokenPem),
    ///   [`CaNoCertificate`](TlsConfigError::CaNoCertificate),
    ///   [`CaRefused`](TlsConfigError::CaRefused)
    /// - [`NoSystemRoots`](TlsConfigError::NoSystemRoots): the system has none that can be used
    /// - for the client's certificate:
    ///   [`ClientFileMissing`](TlsConfigError::ClientFileMissing),
    ///   [`ClientFileUnreadable`](TlsConfigError::ClientFileUnreadable),
    ///   [`ClientCert`](TlsConfigError::ClientCert)
    /// - for its key: the same two, [`ClientKey`](TlsConfigError::ClientKey),
    ///   [`ClientKeyMismatch`](TlsConfigError::ClientKeyMismatch)
    pub fn build(&self) -> Result<TlsConfig, TlsConfigError> {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let checks = self.checks(&ring)?;
        let verifying = verifying(offering(ring, self.versions), &checks);
        let client = match &self.client_cert {
            Some(source) => verifying.with_client_cert_resolver(source.load()?),
            None => verifying.with_no_client_auth(),
        };
        Ok(TlsConfig {
            client: Arc::new(client),
            #[cfg(feature = "rumqttc")]
            checks,
        })
    }

    fn checks(&self, ring: &Arc<CryptoProvider>) -> Result<Checks, TlsConfigError> {
        let chain = match (self.peer_alone, self.pin_alone) {
            (true, _) => self.nothing_else()?,
            (false, true) => self.no_chain()?,
            (false, false) => Some(self.chain(ring)?),
        };
        let algorithms = ring.signature_verification_algorithms;
        Ok(Checks {
            chain,
            pins: self.pins.clone(),
            #[cfg(feature = "rumqttc")]
            peer_alone: self.peer_alone,
            algorithms,
        })
    }

    const fn nothing_else(&self) -> Result<Option<Arc<WebPkiServerVerifier>>, TlsConfigError> {
        let others = self.pin_alone || self.system_roots;
        if others || !self.pins.is_empty() || !self.cas.is_empty() {
            return Err(TlsConfigError::OthersBesidePeerAlone);
        }
        Ok(None)
    }

    const fn no_chain(&self) -> Result<Option<Arc<WebPkiServerVerifier>>, TlsConfigError> {
        if self.pins.is_empty() {
            return Err(TlsConfigError::NoPin);
        }
        if !self.cas.is_empty() || self.system_roots {
            return Err(TlsConfigError::RootsBesidePinAlone);
        }
        Ok(None)
    }

    fn chain(
        &self,
        ring: &Arc<CryptoProvider>,
    ) -> Result<Arc<WebPkiServerVerifier>, TlsConfigError> {
        let roots = Arc::new(self.roots()?);
        let builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(ring));
        // Without revocation lists, the one thing that it can lack is roots.
        builder.build().map_err(|_| TlsConfigError::NoRoots)
    }

    fn roots(&self) -> Result<RootCertStore, TlsConfigError> {
        if self.cas.is_empty() && !self.system_roots {
            return Err(TlsConfigError::NoRoots);
        }
        let mut roots = RootCertStore::empty();
        for ca in &self.cas {
            match ca {
                CaSource::File(path) => ca::add_file(&mut roots, path)?,
                CaSource::Bytes(bytes) => ca::add(&mut roots, bytes, &CaOrigin::Memory)?,
            }
        }
        if self.system_roots {
            add_system(&mut roots, rustls_native_certs::load_native_certs().certs)?;
        }
        Ok(roots)
    }
}

fn verifying(
    offering: ConfigBuilder<ClientConfig, WantsVerifier>,
    checks: &Checks,
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    match &checks.chain {
        Some(chain) if checks.pins.is_empty() => offering.with_webpki_verifier(Arc::clone(chain)),
        _ => {
            let verifier = checks.verifier(checks.pins.clone());
            // Dangerous is who checks no signatures; this one does.
            offering.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    }
}

fn offering(
    ring: Arc<CryptoProvider>,
    versions: TlsVersions,
) -> ConfigBuilder<ClientConfig, WantsVerifier> {
    #[expect(clippy::expect_used, reason = "no input has a part in it")]
    ClientConfig::builder_with_provider(ring)
        .with_protocol_versions(&versions.in_rustls())
        .expect("ring has cipher suites for TLS 1.2 and 1.3")
}

#[derive(Clone)]
enum CaSource {
    File(PathBuf),
    Bytes(Vec<u8>),
}

// Not derived: the bytes may turn out to be a private key.
impl fmt::Debug for CaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Bytes(_) => f.debug_tuple("Bytes").finish_non_exhaustive(),
        }
    }
}

fn add_system(
    roots: &mut RootCertStore,
    certs: Vec<CertificateDer<'static>>,
) -> Result<(), TlsConfigError> {
    match roots.add_parsable_certificates(certs) {
        (0, _) => Err(TlsConfigError::NoSystemRoots),
        _ => Ok(()),
    }
}
