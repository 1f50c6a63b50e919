//! The associated data: the `Enc_structure` of a `COSE_Encrypt0` (RFC 9052 §5.3), so that a sealed
//! payload is COSE in another dress.

use super::cbor::{
    ARRAY, BYTES, MAP, NULL, TEXT, UNSIGNED, head, head_len, integer, len, string, string_len,
};
use super::property::Property;

/// The head of an array of three, and a text of eight bytes.
const CONTEXT: &[u8] = b"\x83\x68Encrypt0";
/// The head of an array of five, and a text of twelve bytes.
const NAME: &[u8] = b"\x85\x6Cmqtt-seal v1";
/// A map of nothing.
const NOT_BOUND: &[u8] = b"\xA0";
/// The properties that `bind` covers; 0x01 never is (SPEC §5).
const BOUND: [u8; 4] = [0x03, 0x08, 0x09, 0x26];

/// What is authenticated beside the plain text.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "the format is frozen, so are its parts")]
pub struct Aad<'a> {
    /// The suite's number.
    pub suite: u16,
    /// The suite's algorithm in the COSE registry.
    pub cose_algorithm: i32,
    /// All bytes before the commitment.
    pub header: &'a [u8],
    /// The topic as the rule binds it; empty under `carried`.
    pub topic: &'a str,
    /// The packet's properties if the rule binds them.
    pub bind: Option<&'a [Property<'a>]>,
}

impl Aad<'_> {
    /// Writes the associated data into `buf` and returns it; `None` if `buf` is too small.
    #[must_use]
    pub fn write<'b>(&self, buf: &'b mut [u8]) -> Option<&'b [u8]> {
        let mut len = 0_usize;
        let mut fits = true;
        self.encode(|part| {
            let end = len.saturating_add(part.len());
            match buf.get_mut(len..end) {
                Some(slot) => slot.copy_from_slice(part),
                None => fits = false,
            }
            len = end;
        });
        buf.get(..len).filter(|_| fits)
    }

    /// Bytes that [`Aad::encode`] makes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let mut len = 0_usize;
        self.encode(|part| len = len.saturating_add(part.len()));
        len
    }

    /// Writes the associated data, in pieces, to `put`.
    // SPEC §5
    pub fn encode(&self, mut put: impl FnMut(&[u8])) {
        let protected = protected(self.cose_algorithm);
        put(CONTEXT);
        string(BYTES, protected.as_bytes(), &mut put);
        head(BYTES, self.external_len(), &mut put);
        self.external(put);
    }

    /// Bytes that [`Aad::external`] makes.
    fn external_len(&self) -> u64 {
        if self.bind.is_some() {
            let mut total = 0_u64;
            self.external(|part| total = total.saturating_add(len(part)));
            return total;
        }
        let strings =
            string_len(len(self.header)).saturating_add(string_len(len(self.topic.as_bytes())));
        let fixed =
            len(NAME).saturating_add(head_len(self.suite.into())).saturating_add(len(NOT_BOUND));
        strings.saturating_add(fixed)
    }

    /// `external_aad` alone, which a COSE library is given.
    pub fn external(&self, mut put: impl FnMut(&[u8])) {
        put(NAME);
        head(UNSIGNED, u64::from(self.suite), &mut put);
        string(BYTES, self.header, &mut put);
        string(TEXT, self.topic.as_bytes(), &mut put);
        match self.bind {
            None => put(NOT_BOUND),
            Some(properties) => bind(properties, &mut put),
        }
    }
}

/// A map of exactly {3, 8, 9, 38}: the value, or null; under 38 an array of pairs.
fn bind(properties: &[Property<'_>], put: &mut impl FnMut(&[u8])) {
    head(MAP, len(&BOUND), &mut *put);
    for id in BOUND {
        head(UNSIGNED, u64::from(id), &mut *put);
        let mut values = properties.iter().filter(|property| property.id() == id).peekable();
        if values.peek().is_none() {
            put(NULL);
            continue;
        }
        if id == 0x26 {
            let count = values.clone().fold(0_u64, |count, _| count.saturating_add(1));
            head(ARRAY, count, &mut *put);
        }
        for value in values {
            match value {
                Property::CorrelationData(data) => string(BYTES, data, &mut *put),
                Property::User(name, value) => {
                    head(ARRAY, 2, &mut *put);
                    string(TEXT, name.as_bytes(), &mut *put);
                    string(TEXT, value.as_bytes(), &mut *put);
                }
                _ => string(TEXT, value.parts().0, &mut *put),
            }
        }
    }
}

/// The protected header of a message, {1: alg}.
// SPEC §5, protected
pub(crate) fn protected(cose_algorithm: i32) -> Protected {
    let mut protected = Protected::default();
    head(MAP, 1, |part| protected.put(part));
    head(UNSIGNED, 1, |part| protected.put(part));
    integer(cose_algorithm, |part| protected.put(part));
    protected
}

/// The protected header as bytes: at most eight.
#[derive(Default)]
pub(crate) struct Protected {
    bytes: [u8; 8],
    len: usize,
}

impl Protected {
    fn put(&mut self, part: &[u8]) {
        for byte in part {
            if let Some(slot) = self.bytes.get_mut(self.len) {
                *slot = *byte;
                self.len = self.len.saturating_add(1);
            }
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}
