//! The hash of a server's public key. Knows no connection.

use core::error::Error;
use core::fmt;
use core::str::FromStr;

use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use sha2::{Digest, Sha256};

use super::fault::CertFault;
use super::form;
use crate::peer::{SpkiHash, parse_pin, pin_text};

/// A public key that a server may have: the SHA-256 of its `SubjectPublicKeyInfo` (RFC 7469,
/// section 2.4).
///
/// It stays the same over certificates that are renewed with the same key. A pin is public.
///
/// ```
/// use mqtt_seal::tls::SpkiPin;
///
/// let pin = SpkiPin::parse("sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")?;
/// let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// assert_eq!(pin, SpkiPin::parse(hex)?);
/// assert_eq!(pin.to_string(), "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
/// # Ok::<(), mqtt_seal::tls::SpkiPinError>(())
/// ```
///
/// OpenSSL computes it from the certificate in `server.crt`, as hexadecimal digits:
///
/// ```text
/// openssl x509 -in server.crt -noout -pubkey |
///     openssl pkey -pubin -outform DER | openssl dgst -sha256
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpkiPin(SpkiHash);

impl SpkiPin {
    /// Reads `sha256/` and 44 characters of base64, or 64 hexadecimal digits of either case.
    ///
    /// # Errors
    ///
    /// [`SpkiPinError::Text`]: it is neither
    pub fn parse(text: &str) -> Result<Self, SpkiPinError> {
        parse_pin(text).map(Self).ok_or(SpkiPinError::Text)
    }

    /// Returns the pin of the key in a certificate, in PEM or DER.
    ///
    /// Of several certificates it is that of the first, which in a server's file is its own. The
    /// certificate is not verified.
    ///
    /// # Errors
    ///
    /// [`SpkiPinError::Certificate`]: there is none, or one of them is damaged
    pub fn of_certificate(bytes: &[u8]) -> Result<Self, SpkiPinError> {
        let certs = form::parsed_certificates(bytes).map_err(SpkiPinError::Certificate)?;
        let first = certs.first().ok_or(SpkiPinError::Certificate(CertFault::NoCertificate))?;
        Self::of(first)
            .map_err(|cause| SpkiPinError::Certificate(CertFault::Refused { index: 1, cause }))
    }

    /// Of this hash.
    #[cfg(feature = "rumqttc")]
    pub(crate) const fn from_bytes(hash: SpkiHash) -> Self {
        Self(hash)
    }

    /// The hash, as an authority vouches for it.
    #[must_use]
    pub const fn to_bytes(self) -> SpkiHash {
        self.0
    }

    /// The pin of one certificate in DER.
    pub(super) fn of(cert: &CertificateDer<'_>) -> Result<Self, rustls::Error> {
        let spki = ParsedCertificate::try_from(cert)?.subject_public_key_info();
        Ok(Self(Sha256::digest(&spki).into()))
    }
}

impl FromStr for SpkiPin {
    type Err = SpkiPinError;

    fn from_str(text: &str) -> Result<Self, SpkiPinError> {
        Self::parse(text)
    }
}

impl fmt::Display for SpkiPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&pin_text(&self.0))
    }
}

impl fmt::Debug for SpkiPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpkiPin({self})")
    }
}

/// Why there is no pin.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SpkiPinError {
    /// The text is neither `sha256/` with 44 characters of base64 nor 64 hexadecimal digits.
    Text,
    /// The bytes are no certificate.
    Certificate(CertFault),
}

// Two parts each: what happened; what to do.
impl fmt::Display for SpkiPinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str(
                "this is no pin; write sha256/ and 44 characters of base64, or 64 hexadecimal \
                 digits",
            ),
            Self::Certificate(fault) => write!(f, "what the pin should be made of {fault}"),
        }
    }
}

impl Error for SpkiPinError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Certificate(fault) => fault.source(),
            Self::Text => None,
        }
    }
}

/// The server's certificate passed every other check, but its key is none of those pinned.
///
/// It stands in the [`rustls::Error`] that ends the handshake, as
/// [`CertificateError::Other`](rustls::CertificateError::Other).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinMismatch {
    presented: SpkiPin,
}

impl PinMismatch {
    pub(super) const fn new(presented: SpkiPin) -> Self {
        Self { presented }
    }

    /// Returns the pin of the key in the server's certificate.
    ///
    /// Whoever answered has not shown yet that it holds that key. Pin it only if you know from
    /// elsewhere that it is the server's.
    #[must_use]
    pub const fn presented(&self) -> SpkiPin {
        self.presented
    }
}

// Two parts: what happened; what to do.
impl fmt::Display for PinMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the server's key has the pin {}, which is not configured; see whether the server got \
             a new key or somebody else answers",
            self.presented
        )
    }
}

impl Error for PinMismatch {}
