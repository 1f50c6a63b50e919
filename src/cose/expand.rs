//! From the wire to COSE.

use alloc::vec::Vec;

use super::{
    COM, CTR, CoseError, ENCRYPT0, HEADERS, HEADERS_WITH_COM, ID, IV, KID, PARTIAL_IV, PARTS, TAG,
    VF, partial_iv,
};
use crate::schedule;
use crate::suite::{NONCE_LEN, Suite};
use crate::wire::aad;
use crate::wire::cbor::{ARRAY, BYTES, MAP, TEXT, UNSIGNED, head, string};
use crate::wire::header::{Header, HeaderError, TAG_LEN};

/// No message grows by more: 52 bytes, and some to spare.
pub(super) const MAX_GROWTH: usize = 64;

/// Writes the sealed payload `sealed` as a tagged `COSE_Encrypt0`, at most 64 bytes longer.
///
/// `iv` is the session's, before the counter is added to it; with it the message carries the
/// nonce, without it the counter as Partial IV. Nothing is authenticated: under a wrong `suite` or
/// `iv` the result is well formed, and no key opens it. [`compress`](super::compress()) gives
/// `sealed` back whichever they are.
///
/// # Errors
/// In this order: [`CoseError::NotSealed`], [`CoseError::Unsupported`], [`CoseError::Malformed`].
// SPEC §5
pub fn expand(
    sealed: &[u8],
    suite: Suite,
    iv: Option<&[u8; NONCE_LEN]>,
) -> Result<Vec<u8>, CoseError> {
    let (header, len) = Header::parse(sealed).map_err(|error| match error {
        HeaderError::NotSealed => CoseError::NotSealed,
        HeaderError::Unsupported => CoseError::Unsupported,
        HeaderError::Malformed => CoseError::Malformed,
    })?;
    let (commitment, ciphertext) = sealed
        .get(len..)
        .and_then(|body| body.split_at_checked(suite.commitment_len()))
        .filter(|(_, ciphertext)| ciphertext.len() >= TAG_LEN)
        .ok_or(CoseError::Malformed)?;

    let mut out = Vec::with_capacity(sealed.len().saturating_add(MAX_GROWTH));
    let mut put = |part: &[u8]| out.extend_from_slice(part);
    head(TAG, ENCRYPT0, &mut put);
    head(ARRAY, PARTS, &mut put);
    string(BYTES, aad::protected(suite.cose_algorithm()).as_bytes(), &mut put);
    unprotected(&header, iv, commitment, &mut put);
    string(BYTES, ciphertext, &mut put);
    Ok(out)
}

fn unprotected(
    header: &Header,
    iv: Option<&[u8; NONCE_LEN]>,
    commitment: &[u8],
    put: &mut impl FnMut(&[u8]),
) {
    let count = if commitment.is_empty() { HEADERS } else { HEADERS_WITH_COM };
    head(MAP, count, &mut *put);
    head(UNSIGNED, KID, &mut *put);
    string(BYTES, &header.kid.to_bytes(), &mut *put);
    if let Some(iv) = iv {
        head(UNSIGNED, IV, &mut *put);
        string(BYTES, &schedule::nonce(iv, header.counter), &mut *put);
    } else {
        head(UNSIGNED, PARTIAL_IV, &mut *put);
        string(BYTES, partial_iv(&header.counter.to_be_bytes()), &mut *put);
    }
    head(UNSIGNED, ID, &mut *put);
    let (id, len) = header.id.encode();
    string(BYTES, id.get(..len).unwrap_or(&id), &mut *put);
    string(TEXT, VF, &mut *put);
    head(UNSIGNED, u64::from(header.version_and_flags()), &mut *put);
    if !commitment.is_empty() {
        string(TEXT, COM, &mut *put);
        string(BYTES, commitment, &mut *put);
    }
    string(TEXT, CTR, &mut *put);
    head(UNSIGNED, u64::from(header.counter), put);
}
