//! Certificates and a private key to what a client shows of itself. Keeps the key inside the
//! cryptography only.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec::Vec;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use zeroize::{Zeroize, Zeroizing};

use super::ca;
use super::error::{ClientOrigin, TlsConfigError};
use super::fault::KeyFault;
use super::form;
use crate::store::private_file::{self, PrivateFileError};

/// The longest key that is read, in bytes: a hundred times RSA of 16,384 bits in PEM.
pub(super) const MAX_KEY_LEN: u64 = 1 << 20;

/// Says in the head of a section that its body is encrypted (RFC 1421, section 4.6.1.1), as
/// OpenSSL writes it in its own older form.
const PROC_TYPE: &[u8] = b"Proc-Type:";

/// The label of a certificate, up to where the line ends.
const CERTIFICATE_LABEL: &[u8] = b"CERTIFICATE-----";

/// Where certificate and key come from.
#[derive(Clone)]
pub(super) enum ClientCertSource {
    Files { cert: PathBuf, key: PathBuf },
    Bytes { cert: Vec<u8>, key: Arc<KeyBytes> },
}

/// The bytes of a private key, wiped when dropped.
pub(super) struct KeyBytes(Zeroizing<Vec<u8>>);

impl KeyBytes {
    /// Copies the bytes and wipes the source.
    pub(super) fn take(source: &mut [u8]) -> Self {
        let bytes = Self(Zeroizing::new(source.to_vec()));
        source.zeroize();
        bytes
    }
}

// Not derived: no byte of a key, no path within `Bytes`.
impl fmt::Debug for ClientCertSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files { cert, key } => {
                f.debug_struct("Files").field("cert", cert).field("key", key).finish()
            }
            Self::Bytes { .. } => f.debug_struct("Bytes").finish_non_exhaustive(),
        }
    }
}

impl ClientCertSource {
    /// Reads both, and sees that they belong together.
    pub(super) fn load(&self) -> Result<Arc<SingleCertAndKey>, TlsConfigError> {
        let (cert, key) = self.origins();
        let (chain, signing_key) = match self {
            Self::Files { cert, key } => (chain_of_file(cert)?, key_of_file(key)?),
            Self::Bytes { cert, key } => (
                chain(cert, &ClientOrigin::Memory)?,
                signing_key(&key.0).map_err(|fault| key_error(&ClientOrigin::Memory, fault))?,
            ),
        };
        let certified = CertifiedKey::new(chain, signing_key);
        // The one other cause would be a certificate that does not parse, and it has.
        if certified.keys_match().is_err() {
            return Err(TlsConfigError::ClientKeyMismatch { cert, key });
        }
        Ok(Arc::new(SingleCertAndKey::from(certified)))
    }

    fn origins(&self) -> (ClientOrigin, ClientOrigin) {
        match self {
            Self::Files { cert, key } => {
                (ClientOrigin::File(cert.clone()), ClientOrigin::File(key.clone()))
            }
            Self::Bytes { .. } => (ClientOrigin::Memory, ClientOrigin::Memory),
        }
    }
}

fn chain_of_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let bytes = ca::read(path).map_err(|error| unread(path, error.kind()))?;
    chain(&bytes, &ClientOrigin::File(path.into()))
}

fn chain(
    bytes: &[u8],
    origin: &ClientOrigin,
) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    form::parsed_certificates(bytes)
        .map_err(|fault| TlsConfigError::ClientCert { origin: origin.clone(), fault })
}

fn key_of_file(path: &Path) -> Result<Arc<dyn SigningKey>, TlsConfigError> {
    let origin = ClientOrigin::File(path.into());
    let bytes = private_file::read(path, MAX_KEY_LEN).map_err(|error| match error {
        PrivateFileError::Io(error) => unread(path, error.kind()),
        PrivateFileError::NotAFile => key_error(&origin, KeyFault::NotAFile),
        PrivateFileError::Permissions { mode } => {
            key_error(&origin, KeyFault::Permissions { mode })
        }
        PrivateFileError::TooLong => key_error(&origin, KeyFault::TooLarge),
    })?;
    signing_key(&bytes).map_err(|fault| key_error(&origin, fault))
}

fn unread(path: &Path, kind: io::ErrorKind) -> TlsConfigError {
    match kind {
        io::ErrorKind::NotFound => TlsConfigError::ClientFileMissing { path: path.into() },
        kind => TlsConfigError::ClientFileUnreadable { path: path.into(), kind },
    }
}

fn key_error(origin: &ClientOrigin, fault: KeyFault) -> TlsConfigError {
    TlsConfigError::ClientKey { origin: origin.clone(), fault }
}

/// The one private key in `bytes`.
///
/// Of what is made on the way, all that is ours is wiped. The PEM reader leaves base64 in memory
/// that it gave back, and ring does not wipe its keys.
fn signing_key(bytes: &[u8]) -> Result<Arc<dyn SigningKey>, KeyFault> {
    if u64::try_from(bytes.len()).is_ok_and(|len| len > MAX_KEY_LEN) {
        return Err(KeyFault::TooLarge);
    }
    if bytes.trim_ascii().is_empty() {
        return Err(KeyFault::Empty);
    }
    if form::is_der(bytes) {
        return key_of_der(bytes);
    }
    key_of_der(&pem_key(form::without_mark(bytes))?)
}

fn key_of_der(der: &[u8]) -> Result<Arc<dyn SigningKey>, KeyFault> {
    if form::is_der_encrypted_key(der) {
        return Err(KeyFault::Encrypted);
    }
    if form::is_der_key(der) {
        let key = PrivateKeyDer::try_from(der).map_err(|_| KeyFault::Unsupported)?;
        // The cause says no more, but in words of its own.
        return any_supported_type(&key).map_err(|_| KeyFault::Unsupported);
    }
    match form::parsed_certificates(der) {
        Ok(_) => Err(KeyFault::IsCertificate),
        Err(_) => Err(KeyFault::Unsupported),
    }
}

fn pem_key(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    if form::pem_labels(text).next().is_none() {
        return Err(KeyFault::NotPemOrDer);
    }
    // First of all: the body of the older form is no base64 as a whole.
    let head = form::lines(text).any(|line| line.starts_with(PROC_TYPE));
    if head || form::pem_labels(text).any(|label| label.starts_with(b"ENCRYPTED ")) {
        return Err(KeyFault::Encrypted);
    }
    let mut keys = pem_keys(text)?;
    match (keys.pop(), keys.is_empty()) {
        (Some(key), true) => Ok(key),
        (Some(_), false) => Err(KeyFault::SeveralKeys),
        (None, _) => Err(without_key(text)),
    }
}

fn pem_keys(text: &[u8]) -> Result<Vec<Zeroizing<Vec<u8>>>, KeyFault> {
    let mut keys = Vec::new();
    for (section, index) in <(SectionKind, Vec<u8>)>::pem_slice_iter(text).zip(1..) {
        match section.map(|(kind, der)| (kind, Zeroizing::new(der))) {
            Ok((kind, der)) if is_key(kind) => keys.push(der),
            Ok(_) => {}
            Err(pem::Error::Base64Decode(_)) => return Err(KeyFault::BadBase64 { index }),
            Err(_) => return Err(KeyFault::BrokenPem { index }),
        }
    }
    Ok(keys)
}

const fn is_key(kind: SectionKind) -> bool {
    matches!(kind, SectionKind::PrivateKey | SectionKind::EcPrivateKey | SectionKind::RsaPrivateKey)
}

fn without_key(text: &[u8]) -> KeyFault {
    if form::pem_labels(text).any(form::is_key_label) {
        KeyFault::Unsupported
    } else if form::pem_labels(text).any(|label| label.starts_with(CERTIFICATE_LABEL)) {
        KeyFault::IsCertificate
    } else {
        KeyFault::NoKey
    }
}
