//! The hash of a TLS server's key as a text. Knows no certificate and no file.

use alloc::string::String;

use super::SpkiHash;

/// Stands before the base64 of a pin (RFC 7469, appendix B, and many programs).
const PREFIX: &str = "sha256/";

/// The standard alphabet (RFC 4648, section 4).
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Reads `sha256/` and 44 characters of base64, or 64 hexadecimal digits of either case.
pub(crate) fn parse_pin(text: &str) -> Option<SpkiHash> {
    match text.strip_prefix(PREFIX) {
        Some(base64) => from_base64(base64),
        None => from_hex(text),
    }
}

/// The first of the two.
pub(crate) fn pin_text(hash: &SpkiHash) -> String {
    let mut text = String::from(PREFIX);
    text.push_str(&to_base64(hash));
    text
}

// 43 digits and one `=`: 30 bytes, and 2 more with 2 bits that must be zero.
fn from_base64(text: &str) -> Option<SpkiHash> {
    let digits = text.strip_suffix('=').filter(|digits| digits.len() == 43)?;
    let mut values = [0; 44]; // the `=` as a zero
    for (value, digit) in values.iter_mut().zip(digits.bytes()) {
        *value = BASE64.iter().zip(0_u32..).find(|(own, _)| **own == digit)?.1;
    }
    let mut bytes = [0; 33];
    for (group, quad) in bytes.chunks_exact_mut(3).zip(values.chunks_exact(4)) {
        let bits = quad.iter().fold(0, |bits, value| bits << 6 | value);
        let [_, octets @ ..] = bits.to_be_bytes();
        group.copy_from_slice(&octets);
    }
    let [hash @ .., 0] = bytes else {
        return None;
    };
    Some(hash)
}

fn to_base64(hash: &SpkiHash) -> String {
    let mut text = String::with_capacity(44);
    for group in hash.chunks(3) {
        let octet = |at| group.get(at).copied().unwrap_or_default();
        let bits = u32::from_be_bytes([0, octet(0), octet(1), octet(2)]);
        for shift in [18, 12, 6, 0].into_iter().take(group.len().saturating_add(1)) {
            let value = usize::try_from(bits >> shift & 0x3f).unwrap_or_default();
            text.extend(BASE64.get(value).copied().map(char::from));
        }
    }
    text.push('=');
    text
}

fn from_hex(text: &str) -> Option<SpkiHash> {
    if text.len() != 64 {
        return None;
    }
    let mut hash = SpkiHash::default();
    for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = pair
            .iter()
            .try_fold(0, |bits, digit| Some(bits << 4 | char::from(*digit).to_digit(16)?))?;
        *byte = u8::try_from(digits).ok()?;
    }
    Some(hash)
}
