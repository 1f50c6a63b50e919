//! Packets into bytes. Knows how MQTT writes numbers and texts, and no packet.

use std::vec::Vec;

/// Bytes of a variable byte integer.
pub(super) const fn length_len(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// Writes a variable byte integer.
pub(super) fn length(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = u8::try_from(value & 0x7F).unwrap_or_default();
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Writes a fixed header, and makes room for what follows.
pub(super) fn fixed(out: &mut Vec<u8>, first: u8, remaining: usize) {
    out.reserve(remaining.saturating_add(super::MAX_FIXED_HEADER));
    out.push(first);
    length(out, remaining);
}

/// Bytes of a text with its length.
pub(super) const fn lp_len(bytes: &[u8]) -> usize {
    bytes.len().saturating_add(2)
}

/// Writes a text with its length, which is at most 65,535.
pub(super) fn lp(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Bytes of properties with their length.
pub(super) const fn properties_len(bytes: usize) -> usize {
    length_len(bytes).saturating_add(bytes)
}
