//! The bytes of a CA file to root certificates. Trusts no input and keeps no key.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::vec::Vec;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject, SectionKind};
use zeroize::Zeroizing;

use super::error::{CaOrigin, TlsConfigError};

/// The longest CA file that is read, in bytes: about twenty times the bundle
/// of all public roots (0.2 MiB in Debian 12).
pub(super) const MAX_CA_LEN: usize = 4 << 20;

/// Opens a PEM section (RFC 7468, section 2).
const PEM_BEGIN: &[u8] = b"-----BEGIN ";

/// What Windows editors put in front of a text; no PEM reader expects it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Adds all certificates of the file at `path`.
pub(super) fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsConfigError> {
    let bytes = read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => TlsConfigError::CaMissing { path: path.into() },
        kind => TlsConfigError::CaUnreadable { path: path.into(), kind },
    })?;
    add(roots, &bytes, &CaOrigin::File(path.into()))
}

/// Adds all certificates in `bytes`, or none and an error.
pub(super) fn add(
    roots: &mut RootCertStore,
    bytes: &[u8],
    origin: &CaOrigin,
) -> Result<(), TlsConfigError> {
    let mut checked = Vec::new();
    for (cert, index) in certificates(bytes, origin)?.into_iter().zip(1..) {
        let mut one = RootCertStore::empty();
        let refused = |cause| TlsConfigError::CaRefused { origin: origin.clone(), index, cause };
        one.add(cert).map_err(refused)?;
        checked.append(&mut one.roots);
    }
    roots.extend(checked);
    Ok(())
}

// Wiped when dropped: the file may turn out to be a private key.
fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    // The full capacity at once: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_CA_LEN.saturating_add(2)));
    let limit = u64::try_from(MAX_CA_LEN).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn certificates(
    bytes: &[u8],
    origin: &CaOrigin,
) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let origin = || origin.clone();
    if bytes.len() > MAX_CA_LEN {
        return Err(TlsConfigError::CaTooLarge { origin: origin() });
    }
    if bytes.trim_ascii().is_empty() {
        return Err(TlsConfigError::CaEmpty { origin: origin() });
    }
    let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    if is_der_key(bytes) || pem_labels(text).any(is_key_label) {
        return Err(TlsConfigError::CaIsPrivateKey { origin: origin() });
    }
    if der_content(bytes).is_some() {
        return Ok(Vec::from([CertificateDer::from(bytes.to_vec())]));
    }
    if pem_labels(text).next().is_none() {
        return Err(TlsConfigError::CaNotPemOrDer { origin: origin() });
    }
    pem_certificates(text, origin)
}

fn pem_certificates(
    text: &[u8],
    origin: impl Fn() -> CaOrigin,
) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let mut certs = Vec::new();
    for (section, index) in <(SectionKind, Vec<u8>)>::pem_slice_iter(text).zip(1..) {
        match section {
            Ok((SectionKind::Certificate, der)) => certs.push(CertificateDer::from(der)),
            Ok(_) => {}
            Err(pem::Error::Base64Decode(_)) => {
                return Err(TlsConfigError::CaBadBase64 { origin: origin(), index });
            }
            Err(_) => {
                return Err(TlsConfigError::CaBrokenPem { origin: origin(), index });
            }
        }
    }
    if certs.is_empty() {
        return Err(TlsConfigError::CaNoCertificate { origin: origin() });
    }
    Ok(certs)
}

fn pem_labels(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| matches!(byte, b'\n' | b'\r')).filter_map(|line| line.strip_prefix(PEM_BEGIN))
}

// `PRIVATE KEY`, and the same after `RSA`, `EC`, `ENCRYPTED`, `OPENSSH` and more.
fn is_key_label(label: &[u8]) -> bool {
    label.windows(KEY_LABEL.len()).any(|part| part == KEY_LABEL)
}

const KEY_LABEL: &[u8] = b"PRIVATE KEY";

/// The content of a DER `SEQUENCE` (X.690, section 8.1), which certificates and keys both are.
///
/// In the short form the length must be exact, as two letters of a text could
/// pass for a header; in the long form the second byte is not ASCII.
fn der_content(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [0x30, len @ ..=0x7f, content @ ..] => {
            (usize::from(*len) == content.len()).then_some(content)
        }
        [0x30, 0x81, _, content @ ..]
        | [0x30, 0x82, _, _, content @ ..]
        | [0x30, 0x83, _, _, _, content @ ..] => Some(content),
        _ => None,
    }
}

// A key opens with its version as an INTEGER, 0 or 1 (RFC 5208, RFC 8017, RFC
// 5915); a certificate with another SEQUENCE (RFC 5280, section 4.1).
fn is_der_key(bytes: &[u8]) -> bool {
    matches!(der_content(bytes), Some([0x02, 0x01, 0x00 | 0x01, ..]))
}
