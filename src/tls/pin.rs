//! The hash of a server's public key. Knows no connection.

use core::error::Error;
use core::fmt;
use core::str::FromStr;
use std::string::String;

use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use sha2::{Digest, Sha256};

use super::fault::CertFault;
use super::form;

/// Stands before the base64 of a pin (RFC 7469, appendix B, and many programs).
const PREFIX: &str = "sha256/";

/// The length of SHA-256 in bytes (FIPS 180-4).
const HASH_LEN: usize = 32;

/// The standard alphabet (RFC 4648, section 4).
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

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
pub struct SpkiPin([u8; HASH_LEN]);

impl SpkiPin {
    /// Reads `sha256/` and 44 characters of base64, or 64 hexadecimal digits of either case.
    ///
    /// # Errors
    ///
    /// [`SpkiPinError::Text`]: it is neither
    pub fn parse(text: &str) -> Result<Self, SpkiPinError> {
        let hash = match text.strip_prefix(PREFIX) {
            Some(base64) => from_base64(base64),
            None => from_hex(text),
        };
        hash.map(Self).ok_or(SpkiPinError::Text)
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
    pub(crate) const fn from_bytes(hash: [u8; HASH_LEN]) -> Self {
        Self(hash)
    }

    /// The hash, as an authority vouches for it.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; HASH_LEN] {
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
        write!(f, "{PREFIX}{}", to_base64(&self.0))
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

// 43 digits and one `=`: 30 bytes, and 2 more with 2 bits that must be zero.
fn from_base64(text: &str) -> Option<[u8; HASH_LEN]> {
    let digits = text.strip_suffix('=').filter(|digits| digits.len() == 43)?;
    let mut values = [0; 44]; // the `=` as a zero
    for (value, digit) in values.iter_mut().zip(digits.bytes()) {
        *value = BASE64.iter().zip(0_u32..).find(|(own, _)| **own == digit)?.1;
    }
    let mut bytes = [0; HASH_LEN + 1];
    for (group, quad) in bytes.chunks_exact_mut(3).zip(values.chunks_exact(4)) {
        let bits = quad.iter().fold(0, |bits, value| bits << 6 | value);
        let [_, octets @ ..] = bits.to_be_bytes();
        group.copy_from_slice(&octets);
    }
    let [hash @ .., 0] = bytes else {
        return None;
    };
    Some(hash)
}

fn to_base64(hash: &[u8; HASH_LEN]) -> String {
    let mut text = String::with_capacity(44);
    for group in hash.chunks(3) {
        let octet = |at| group.get(at).copied().unwrap_or_default();
        let bits = u32::from_be_bytes([0, octet(0), octet(1), octet(2)]);
        for shift in [18, 12, 6, 0].into_iter().take(group.len().saturating_add(1)) {
            let value = usize::try_from(bits >> shift & 0x3f).unwrap_or_default();
            text.extend(BASE64.get(value).copied().map(char::from));
        }
    }
    text.push('=');
    text
}

fn from_hex(text: &str) -> Option<[u8; HASH_LEN]> {
    if text.len() != 64 {
        return None;
    }
    let mut hash = [0; HASH_LEN];
    for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = pair
            .iter()
            .try_fold(0, |bits, digit| Some(bits << 4 | char::from(*digit).to_digit(16)?))?;
        *byte = u8::try_from(digits).ok()?;
    }
    Some(hash)
}
