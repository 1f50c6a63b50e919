//! Why a TLS configuration could not be built. Holds paths and positions, never
//! what stood in a file.

use core::error::Error;
use core::fmt;
use std::io;
use std::path::PathBuf;

use super::fault::{CertFault, KeyFault};

/// Where a CA came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CaOrigin {
    /// The file of [`TlsConfigBuilder::ca_file`](super::TlsConfigBuilder::ca_file).
    File(PathBuf),
    /// The bytes of [`TlsConfigBuilder::ca_bytes`](super::TlsConfigBuilder::ca_bytes).
    Memory,
}

impl fmt::Display for CaOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "CA file {}", path.display()),
            Self::Memory => f.write_str("CA given as bytes"),
        }
    }
}

/// Where a client's certificate or private key came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientOrigin {
    /// A file of [`TlsConfigBuilder::client_cert`](super::TlsConfigBuilder::client_cert).
    File(PathBuf),
    /// Bytes of [`TlsConfigBuilder::client_cert_bytes`](super::TlsConfigBuilder::client_cert_bytes).
    Memory,
}

impl fmt::Display for ClientOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Memory => f.write_str("given as bytes"),
        }
    }
}

/// Why [`TlsConfigBuilder::build`](super::TlsConfigBuilder::build) failed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum TlsConfigError {
    /// Neither a CA nor the system's roots were named.
    NoRoots,
    /// The CA file does not exist.
    CaMissing {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The CA file exists and cannot be read.
    CaUnreadable {
        /// The path as it was given.
        path: PathBuf,
        /// What the operating system said.
        kind: io::ErrorKind,
    },
    /// The CA is longer than 4 MiB.
    CaTooLarge {
        /// Which CA.
        origin: CaOrigin,
    },
    /// The CA has no bytes, or white space only.
    CaEmpty {
        /// Which CA.
        origin: CaOrigin,
    },
    /// The CA holds a private key, alone or beside certificates.
    CaIsPrivateKey {
        /// Which CA.
        origin: CaOrigin,
    },
    /// The CA is neither PEM nor DER.
    CaNotPemOrDer {
        /// Which CA.
        origin: CaOrigin,
    },
    /// A section of the PEM has base64 that does not decode.
    CaBadBase64 {
        /// Which CA.
        origin: CaOrigin,
        /// Which section, counted from 1.
        index: usize,
    },
    /// A section of the PEM has a damaged `BEGIN` line or no `END` line.
    CaBrokenPem {
        /// Which CA.
        origin: CaOrigin,
        /// Which section, counted from 1.
        index: usize,
    },
    /// The PEM is sound and holds no certificate.
    CaNoCertificate {
        /// Which CA.
        origin: CaOrigin,
    },
    /// The bytes of a certificate do not parse as one.
    CaRefused {
        /// Which CA.
        origin: CaOrigin,
        /// Which certificate, counted from 1.
        index: usize,
        /// What the certificate parser said.
        cause: rustls::Error,
    },
    /// The system has no root certificates that can be used.
    NoSystemRoots,
    /// The server is to be verified by its pin alone, and there is no pin.
    NoPin,
    /// Verification by peer authentication alone was asked for together with roots or pins.
    OthersBesidePeerAlone,
    /// The server is to be verified by its pin alone, and roots were named too.
    RootsBesidePinAlone,
    /// The file of the client's certificate or key does not exist.
    ClientFileMissing {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The file of the client's certificate or key exists and cannot be read.
    ClientFileUnreadable {
        /// The path as it was given.
        path: PathBuf,
        /// What the operating system said.
        kind: io::ErrorKind,
    },
    /// The client's certificate cannot be used.
    ClientCert {
        /// Where it came from.
        origin: ClientOrigin,
        /// What is wrong with it.
        fault: CertFault,
    },
    /// The client's private key cannot be used.
    ClientKey {
        /// Where it came from.
        origin: ClientOrigin,
        /// What is wrong with it.
        fault: KeyFault,
    },
    /// The client's private key belongs to another certificate.
    ClientKeyMismatch {
        /// Where the certificate came from.
        cert: ClientOrigin,
        /// Where the key came from.
        key: ClientOrigin,
    },
}

// Two parts each: what happened; what to do.
impl fmt::Display for TlsConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoots => f.write_str(
                "no root certificates configured; name a CA file or trust the system's roots",
            ),
            Self::CaMissing { path } => write!(
                f,
                "CA file {} does not exist; correct the path or copy the file there",
                path.display()
            ),
            Self::CaUnreadable { path, kind } => write!(
                f,
                "CA file {} cannot be read ({kind}); see that it is a file and that this user \
                 may read it",
                path.display()
            ),
            Self::CaTooLarge { origin } => write!(
                f,
                "{origin} is longer than 4 MiB; name a file that holds only CA certificates"
            ),
            Self::CaEmpty { origin } => {
                write!(f, "{origin} is empty; put the CA certificate there, in PEM or DER")
            }
            Self::CaIsPrivateKey { origin } => write!(
                f,
                "{origin} holds a private key; name the certificate instead and keep the key \
                 where it was made"
            ),
            Self::CaNotPemOrDer { origin } => write!(
                f,
                "{origin} is neither PEM nor DER; export the CA certificate again in one of \
                 these forms"
            ),
            Self::CaBadBase64 { origin, index } => write!(
                f,
                "section {index} of {origin} is not valid base64; copy the file again, byte for \
                 byte"
            ),
            Self::CaBrokenPem { origin, index } => write!(
                f,
                "section {index} of {origin} has a damaged BEGIN line or no END line; copy the \
                 file again, to its last line"
            ),
            Self::CaNoCertificate { origin } => write!(
                f,
                "{origin} is PEM without a certificate; name a file with a section BEGIN \
                 CERTIFICATE"
            ),
            Self::CaRefused { origin, index, .. } => write!(
                f,
                "certificate {index} of {origin} is damaged or no certificate; export it again \
                 from where it was made"
            ),
            Self::NoSystemRoots => f.write_str(
                "the system has no usable root certificates; install them (on Debian the package \
                 ca-certificates) or name a CA file",
            ),
            other => other.fmt_by_pin_or_client(f),
        }
    }
}

impl TlsConfigError {
    fn fmt_by_pin_or_client(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPin => f.write_str(
                "the server is to be verified by its pin alone, and there is no pin; add one or \
                 name a CA file instead",
            ),
            Self::OthersBesidePeerAlone => f.write_str(
                "peer authentication is to verify the server alone, and there are roots or pins; \
                 leave out one or the other",
            ),
            Self::RootsBesidePinAlone => f.write_str(
                "the server is to be verified by its pin alone, and root certificates are named; \
                 leave out one of both",
            ),
            Self::ClientFileMissing { path } => write!(
                f,
                "client certificate or key {} does not exist; correct the path or copy the file \
                 there",
                path.display()
            ),
            Self::ClientFileUnreadable { path, kind } => write!(
                f,
                "client certificate or key {} cannot be read ({kind}); see that it is a file and \
                 that this user may read it",
                path.display()
            ),
            Self::ClientCert { origin, fault } => {
                write!(f, "client certificate {origin} {fault}")
            }
            Self::ClientKey { origin, fault } => write!(f, "client key {origin} {fault}"),
            Self::ClientKeyMismatch { cert, key } => write!(
                f,
                "client key {key} does not belong to client certificate {cert}; name the key that \
                 the certificate was made for, and put the client's own certificate first"
            ),
            _ => Ok(()),
        }
    }
}

impl Error for TlsConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::CaRefused { cause, .. } => Some(cause),
            Self::ClientCert { fault, .. } => fault.source(),
            _ => None,
        }
    }
}
