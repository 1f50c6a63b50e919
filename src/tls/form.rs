//! What bytes are: certificates or a private key, in PEM or DER. Trusts no input and keeps no key.

use std::vec::Vec;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::server::ParsedCertificate;

use super::fault::CertFault;

/// The longest file with certificates that is read, in bytes: about twenty times the bundle
/// of all public roots (0.2 MiB in Debian 12).
pub(super) const MAX_CERTS_LEN: usize = 4 << 20;

/// Opens a PEM section (RFC 7468, section 2).
const PEM_BEGIN: &[u8] = b"-----BEGIN ";

/// Stands in the label of every private key, in clear or encrypted.
const KEY_LABEL: &[u8] = b"PRIVATE KEY";

/// What Windows editors put in front of a text; no PEM reader expects it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// All certificates in `bytes`, not yet parsed; at least one.
pub(super) fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertFault> {
    if bytes.len() > MAX_CERTS_LEN {
        return Err(CertFault::TooLarge);
    }
    if bytes.trim_ascii().is_empty() {
        return Err(CertFault::Empty);
    }
    let text = without_mark(bytes);
    if is_der_key(bytes) || is_der_encrypted_key(bytes) || pem_labels(text).any(is_key_label) {
        return Err(CertFault::IsPrivateKey);
    }
    if is_der(bytes) {
        return Ok(Vec::from([CertificateDer::from(bytes.to_vec())]));
    }
    if pem_labels(text).next().is_none() {
        return Err(CertFault::NotPemOrDer);
    }
    pem_certificates(text)
}

/// The same, each parsed as a certificate of X.509 version 3.
pub(super) fn parsed_certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertFault> {
    let certs = certificates(bytes)?;
    for (cert, index) in certs.iter().zip(1..) {
        ParsedCertificate::try_from(cert).map_err(|cause| CertFault::Refused { index, cause })?;
    }
    Ok(certs)
}

fn pem_certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertFault> {
    let mut certs = Vec::new();
    for (section, index) in <(SectionKind, Vec<u8>)>::pem_slice_iter(text).zip(1..) {
        match section {
            Ok((SectionKind::Certificate, der)) => certs.push(CertificateDer::from(der)),
            Ok(_) => {}
            Err(pem::Error::Base64Decode(_)) => return Err(CertFault::BadBase64 { index }),
            Err(_) => return Err(CertFault::BrokenPem { index }),
        }
    }
    if certs.is_empty() {
        return Err(CertFault::NoCertificate);
    }
    Ok(certs)
}

pub(super) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)
}

/// The lines of a text, whatever ends them; an empty one between CR and LF.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| matches!(byte, b'\n' | b'\r'))
}

/// What stands behind each `BEGIN`, up to the end of the line.
pub(super) fn pem_labels(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines(text).filter_map(|line| line.strip_prefix(PEM_BEGIN))
}

// `PRIVATE KEY`, and the same after `RSA`, `EC`, `ENCRYPTED`, `OPENSSH` and more.
pub(super) fn is_key_label(label: &[u8]) -> bool {
    label.windows(KEY_LABEL.len()).any(|part| part == KEY_LABEL)
}

/// Whether the bytes open like DER of a certificate or a key.
pub(super) fn is_der(bytes: &[u8]) -> bool {
    der_content(bytes).is_some()
}

// A key opens with its version as an INTEGER, 0 or 1 (RFC 5208, RFC 8017, RFC
// 5915); a certificate with another SEQUENCE (RFC 5280, section 4.1).
pub(super) fn is_der_key(bytes: &[u8]) -> bool {
    matches!(der_content(bytes), Some([0x02, 0x01, 0x00 | 0x01, ..]))
}

// An encrypted key opens with its algorithm, a SEQUENCE that begins with an OBJECT IDENTIFIER (RFC
// 5208, section 6); the first SEQUENCE of a certificate begins with a version or a number.
pub(super) fn is_der_encrypted_key(bytes: &[u8]) -> bool {
    matches!(
        der_content(bytes),
        Some([0x30, ..=0x7f, 0x06, ..] | [0x30, 0x81, _, 0x06, ..] | [0x30, 0x82, _, _, 0x06, ..])
    )
}

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
