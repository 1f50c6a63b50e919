//! What an authority says of a broker, as CBOR and back. Knows no keys.

use alloc::vec::Vec;

use crate::wire::cbor::{self, ARRAY, BYTES, Items, MAP, UNSIGNED};

/// The SHA-256 of a TLS server's `SubjectPublicKeyInfo` (RFC 7469 §2.4).
pub type SpkiHash = [u8; 32];

/// Entries of the map: pins, serial, time (SPEC §9, attest).
const ENTRIES: u64 = 3;

/// The most pins of which an attestation, which has at most 65,535 bytes (SPEC §9, m2), speaks:
/// each takes 34, and all the rest at most 25.
pub const MAX_PINS: usize = 1_926;

/// What the authority says: which TLS keys the broker has, how new the device's keys should be,
/// and what time it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attestation {
    /// The TLS keys of the broker; of none, no TLS key is accepted.
    pub pins: Vec<SpkiHash>,
    /// The serial of the newest key update for this device.
    pub serial: u64,
    /// The authority's clock, in Unix milliseconds.
    pub time: u64,
}

impl Attestation {
    /// Reads exactly this map in deterministic encoding; `None` for anything else.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut items = Items::new(bytes);
        items.expect_head(MAP, ENTRIES).ok()?;
        items.expect_head(UNSIGNED, 1).ok()?;
        let pins = read_pins(&mut items)?;
        items.expect_head(UNSIGNED, 2).ok()?;
        let serial = items.head(UNSIGNED).ok()?;
        items.expect_head(UNSIGNED, 3).ok()?;
        let time = items.head(UNSIGNED).ok()?;
        items.is_empty().then_some(Self { pins, serial, time })
    }
}

/// An array of hashes.
pub(crate) fn read_pins(items: &mut Items<'_>) -> Option<Vec<SpkiHash>> {
    let count = items.head(ARRAY).ok()?;
    // a wrong count ends with the bytes, before it costs memory
    (0..count).map(|_| items.array(BYTES).ok().copied()).collect()
}

/// Writes an array of hashes.
pub(crate) fn write_pins(pins: &[SpkiHash], mut put: impl FnMut(&[u8])) {
    cbor::head(ARRAY, cbor::len(pins), &mut put);
    for pin in pins {
        cbor::string(BYTES, pin, &mut put);
    }
}

/// Writes an attestation.
pub(crate) fn write(pins: &[SpkiHash], serial: u64, time: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut put = |part: &[u8]| bytes.extend_from_slice(part);
    cbor::head(MAP, ENTRIES, &mut put);
    cbor::head(UNSIGNED, 1, &mut put);
    write_pins(pins, &mut put);
    for (label, value) in [(2, serial), (3, time)] {
        cbor::head(UNSIGNED, label, &mut put);
        cbor::head(UNSIGNED, value, &mut put);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attestation_has_room_for_the_most_pins_and_no_more() {
        let len = |pins| write(&alloc::vec![[0xFF; 32]; pins], u64::MAX, u64::MAX).len();
        let most = usize::from(u16::MAX);
        assert!(len(MAX_PINS) <= most && len(MAX_PINS + 1) > most);
    }
}
