//! What can be wrong with bytes that should be certificates or a private key. Holds positions,
//! never what stood there.

use core::error::Error;
use core::fmt;

use super::error::{CaOrigin, TlsConfigError};

/// What is wrong with bytes that should be certificates.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CertFault {
    /// They are longer than 4 MiB.
    TooLarge,
    /// There are none, or white space only.
    Empty,
    /// They hold a private key, alone or beside certificates.
    IsPrivateKey,
    /// They are neither PEM nor DER.
    NotPemOrDer,
    /// A section of the PEM has base64 that does not decode.
    BadBase64 {
        /// Which section, counted from 1.
        index: usize,
    },
    /// A section of the PEM has a damaged `BEGIN` line or no `END` line.
    BrokenPem {
        /// Which section, counted from 1.
        index: usize,
    },
    /// The PEM is sound and holds no certificate.
    NoCertificate,
    /// The bytes of a certificate do not parse as one of X.509 version 3.
    Refused {
        /// Which certificate, counted from 1.
        index: usize,
        /// What the certificate parser said.
        cause: rustls::Error,
    },
}

impl CertFault {
    /// The same about a CA.
    pub(super) fn in_ca(self, origin: &CaOrigin) -> TlsConfigError {
        let origin = origin.clone();
        match self {
            Self::TooLarge => TlsConfigError::CaTooLarge { origin },
            Self::Empty => TlsConfigError::CaEmpty { origin },
            Self::IsPrivateKey => TlsConfigError::CaIsPrivateKey { origin },
            Self::NotPemOrDer => TlsConfigError::CaNotPemOrDer { origin },
            Self::BadBase64 { index } => TlsConfigError::CaBadBase64 { origin, index },
            Self::BrokenPem { index } => TlsConfigError::CaBrokenPem { origin, index },
            Self::NoCertificate => TlsConfigError::CaNoCertificate { origin },
            Self::Refused { index, cause } => TlsConfigError::CaRefused { origin, index, cause },
        }
    }
}

// To stand behind the name of the bytes. Two parts each: what happened; what to do.
impl fmt::Display for CertFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => {
                f.write_str("is longer than 4 MiB; name a file that holds only certificates")
            }
            Self::Empty => f.write_str("is empty; put the certificate there, in PEM or DER"),
            Self::IsPrivateKey => f.write_str(
                "holds a private key; leave only certificates there and keep the key in a file \
                 of its own",
            ),
            Self::NotPemOrDer => f.write_str(
                "is neither PEM nor DER; export the certificate again in one of these forms",
            ),
            Self::BadBase64 { index } => write!(
                f,
                "has a section {index} that is not valid base64; copy it again, byte for byte"
            ),
            Self::BrokenPem { index } => write!(
                f,
                "has a section {index} with a damaged BEGIN line or no END line; copy it again, \
                 to its last line"
            ),
            Self::NoCertificate => f.write_str(
                "is PEM without a certificate; name one with a section BEGIN CERTIFICATE",
            ),
            Self::Refused { index, .. } => write!(
                f,
                "has a certificate {index} that is damaged or not of X.509 version 3; export or \
                 make it again"
            ),
        }
    }
}

impl Error for CertFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Refused { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

/// What is wrong with bytes that should be a client's private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyFault {
    /// It is a folder, a device or a pipe.
    NotAFile,
    /// Others than its owner have access to the file.
    Permissions {
        /// Its permission bits.
        mode: u32,
    },
    /// They are longer than 1 MiB.
    TooLarge,
    /// There are none, or white space only.
    Empty,
    /// They are a certificate, without a key beside it.
    IsCertificate,
    /// The key is encrypted under a passphrase.
    Encrypted,
    /// They are neither PEM nor DER.
    NotPemOrDer,
    /// A section of the PEM has base64 that does not decode.
    BadBase64 {
        /// Which section, counted from 1.
        index: usize,
    },
    /// A section of the PEM has a damaged `BEGIN` line or no `END` line.
    BrokenPem {
        /// Which section, counted from 1.
        index: usize,
    },
    /// The PEM is sound and holds no private key.
    NoKey,
    /// The PEM holds more than one private key.
    SeveralKeys,
    /// The key is damaged, or of a kind or form that is not supported.
    Unsupported,
}

// To stand behind the name of the bytes. Two parts each: what happened; what to do.
impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permissions { mode } => write!(
                f,
                "can be used by others than its owner (mode {mode:04o}); run chmod 600 on it"
            ),
            Self::BadBase64 { index } => write!(
                f,
                "has a section {index} that is not valid base64; copy it again, byte for byte"
            ),
            Self::BrokenPem { index } => write!(
                f,
                "has a section {index} with a damaged BEGIN line or no END line; copy it again, \
                 to its last line"
            ),
            fixed => f.write_str(fixed.text()),
        }
    }
}

impl KeyFault {
    /// The message, where nothing in it varies.
    const fn text(self) -> &'static str {
        match self {
            Self::NotAFile => "is no file; name the file with the key",
            Self::TooLarge => "is longer than 1 MiB; name a file that holds only the key",
            Self::Empty => "is empty; put the private key there, in PEM or DER",
            Self::IsCertificate => {
                "is a certificate; name the private key here and the certificate before it"
            }
            Self::Encrypted => {
                "is encrypted; decrypt it first with openssl pkcs8 -in OLD -out NEW and name NEW"
            }
            Self::NotPemOrDer => {
                "is neither PEM nor DER; export the private key again in one of these forms"
            }
            Self::NoKey => {
                "is PEM without a private key; name one with a section BEGIN PRIVATE KEY"
            }
            Self::SeveralKeys => {
                "holds more than one private key; leave only that of the certificate"
            }
            Self::Unsupported => {
                "is damaged or of an unsupported kind; use ECDSA P-256 or P-384, Ed25519 or RSA of \
                 2048 bits and more, in PKCS #8, SEC1 or PKCS #1"
            }
            _ => "",
        }
    }
}

impl Error for KeyFault {}
