//! From COSE to the wire.

use alloc::vec::Vec;

use super::{
    COM, CTR, CoseError, ENCRYPT0, HEADERS, HEADERS_WITH_COM, ID, IV, KID, PARTIAL_IV, PARTS, TAG,
    VF, partial_iv,
};
use crate::suite::{NONCE_LEN, Suite};
use crate::wire::cbor::{ARRAY, BYTES, ItemError, Items, MAP, TEXT, UNSIGNED};
use crate::wire::header::{COM_LEN, Header, HeaderError, MAGIC, TAG_LEN, WILL_COUNTER};
use crate::wire::{aad, varint};

/// Writes a tagged `COSE_Encrypt0` as the sealed payload that it was expanded from. The result is
/// shorter than `cose`.
///
/// Exactly what [`expand`](super::expand()) makes is taken: the same items in the same order and
/// encoding. The IV itself may be any, since only a holder of the key can tell the right one; it
/// is left out. Nothing is authenticated.
///
/// Two invariants are worth fuzzing: for every payload that expands,
/// `compress(&expand(sealed, suite, iv)?)? == sealed`; and on arbitrary bytes `compress` never
/// panics, and what it accepts expands to the same bytes again.
///
/// # Errors
/// The first item from the front that is wrong by itself: [`CoseError::Cut`] or
/// [`CoseError::Encoding`] at any; [`CoseError::NotEncrypt0`], [`CoseError::Algorithm`],
/// [`CoseError::Headers`], [`CoseError::KeyId`], [`CoseError::Iv`] or [`CoseError::PartialIv`],
/// [`CoseError::SessionId`], [`CoseError::Unsupported`], [`CoseError::Commitment`],
/// [`CoseError::Counter`], [`CoseError::Ciphertext`], [`CoseError::Trailing`], each in its place.
/// Then what does not fit the rest: [`CoseError::PartialIv`], [`CoseError::Commitment`],
/// [`CoseError::Unsupported`], [`CoseError::SessionId`].
// SPEC §5
pub fn compress(cose: &[u8]) -> Result<Vec<u8>, CoseError> {
    let mut items = Items::new(cose);
    items.expect_head(TAG, ENCRYPT0).map_err(at(CoseError::NotEncrypt0))?;
    items.expect_head(ARRAY, PARTS).map_err(at(CoseError::NotEncrypt0))?;
    let protected = items.string(BYTES).map_err(at(CoseError::Algorithm))?;
    if suites(protected).next().is_none() {
        return Err(CoseError::Algorithm);
    }
    let headers = Headers::read(&mut items)?;
    let ciphertext = items.string(BYTES).map_err(at(CoseError::Ciphertext))?;
    if ciphertext.len() < TAG_LEN {
        return Err(CoseError::Ciphertext);
    }
    if !items.is_empty() {
        return Err(CoseError::Trailing);
    }
    headers.check(protected)?;
    headers.payload(ciphertext)
}

/// The suites with this protected header.
fn suites(protected: &[u8]) -> impl Iterator<Item = Suite> {
    Suite::ALL
        .into_iter()
        .filter(move |suite| aad::protected(suite.cose_algorithm()).as_bytes() == protected)
}

/// Names what an item is that is not the one expected: `other`, unless it cannot be read at all.
fn at(other: CoseError) -> impl Fn(ItemError) -> CoseError {
    move |error| match error {
        ItemError::Cut => CoseError::Cut,
        ItemError::Encoding => CoseError::Encoding,
        ItemError::Other => other,
    }
}

/// The unprotected headers.
struct Headers<'a> {
    kid: &'a [u8; 4],
    /// `None` where the message has an IV.
    partial_iv: Option<&'a [u8]>,
    id: &'a [u8],
    vf: u64,
    commitment: Option<&'a [u8; COM_LEN]>,
    counter: u32,
}

impl<'a> Headers<'a> {
    fn read(items: &mut Items<'a>) -> Result<Self, CoseError> {
        let commits = match items.head(MAP).map_err(at(CoseError::Headers))? {
            HEADERS => false,
            HEADERS_WITH_COM => true,
            _ => return Err(CoseError::Headers),
        };
        label(items, KID)?;
        let kid = items.array(BYTES).map_err(at(CoseError::KeyId))?;
        let partial_iv = read_iv(items)?;
        label(items, ID)?;
        let id = items.string(BYTES).map_err(at(CoseError::SessionId))?;
        name(items, VF)?;
        let vf = items.head(UNSIGNED).map_err(at(CoseError::Unsupported))?;
        let mut commitment = None;
        if commits {
            name(items, COM)?;
            commitment = Some(items.array(BYTES).map_err(at(CoseError::Commitment))?);
        }
        name(items, CTR)?;
        let counter = items.head(UNSIGNED).map_err(at(CoseError::Counter))?;
        let counter = u32::try_from(counter)
            .ok()
            .filter(|counter| *counter <= WILL_COUNTER)
            .ok_or(CoseError::Counter)?;
        Ok(Self { kid, partial_iv, id, vf, commitment, counter })
    }

    /// Whether the headers fit each other and the protected one.
    fn check(&self, protected: &[u8]) -> Result<(), CoseError> {
        let counter = self.counter.to_be_bytes();
        if self.partial_iv.is_some_and(|given| given != partial_iv(&counter)) {
            return Err(CoseError::PartialIv);
        }
        let len = self.commitment.map_or(0, |commitment| commitment.len());
        if !suites(protected).any(|suite| suite.commitment_len() == len) {
            return Err(CoseError::Commitment);
        }
        Ok(())
    }

    /// The sealed payload. What is wrong with its header now can only be VF, or an ID that does
    /// not fit it: then the counter is not read where it was written.
    fn payload(&self, ciphertext: &[u8]) -> Result<Vec<u8>, CoseError> {
        let vf = u8::try_from(self.vf).map_err(|_| CoseError::Unsupported)?;
        let (counter, len) = varint::encode(self.counter);
        let counter = counter.get(..len).unwrap_or(&counter);
        let commitment = self.commitment.map_or(&[][..], |commitment| commitment);
        let front = [&[MAGIC, vf], self.kid.as_slice(), self.id, counter];
        let header_len = front.iter().fold(0, |len: usize, part| len.saturating_add(part.len()));
        let mut out = front.concat();
        out.reserve_exact(commitment.len().saturating_add(ciphertext.len()));
        out.extend_from_slice(commitment);
        out.extend_from_slice(ciphertext);
        match Header::parse(&out) {
            Ok((header, len)) if len == header_len && header.counter == self.counter => Ok(out),
            Err(HeaderError::Unsupported) => Err(CoseError::Unsupported),
            _ => Err(CoseError::SessionId),
        }
    }
}

/// The Partial IV, or `None` in place of an IV.
fn read_iv<'a>(items: &mut Items<'a>) -> Result<Option<&'a [u8]>, CoseError> {
    match items.head(UNSIGNED).map_err(at(CoseError::Headers))? {
        IV => items.array::<NONCE_LEN>(BYTES).map(|_| None).map_err(at(CoseError::Iv)),
        PARTIAL_IV => items.string(BYTES).map(Some).map_err(at(CoseError::PartialIv)),
        _ => Err(CoseError::Headers),
    }
}

fn label(items: &mut Items<'_>, label: u64) -> Result<(), CoseError> {
    items.expect_head(UNSIGNED, label).map_err(at(CoseError::Headers))
}

fn name(items: &mut Items<'_>, name: &[u8]) -> Result<(), CoseError> {
    let found = items.string(TEXT).map_err(at(CoseError::Headers))?;
    if found == name { Ok(()) } else { Err(CoseError::Headers) }
}
