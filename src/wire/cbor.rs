//! CBOR in deterministic encoding (RFC 8949 §4.2): heads and strings. Knows no structure of ours.

/// Major types (RFC 8949 §3.1).
pub(crate) const UNSIGNED: u8 = 0;
pub(crate) const NEGATIVE: u8 = 1;
pub(crate) const BYTES: u8 = 2;
pub(crate) const TEXT: u8 = 3;
pub(crate) const ARRAY: u8 = 4;
pub(crate) const MAP: u8 = 5;

/// The simple value null.
pub(crate) const NULL: &[u8] = &[0xF6];

/// A byte or text string.
pub(crate) fn string(major: u8, bytes: &[u8], mut put: impl FnMut(&[u8])) {
    head(major, len(bytes), &mut put);
    put(bytes);
}

/// An integer.
pub(crate) fn integer(value: i32, put: impl FnMut(&[u8])) {
    match u64::try_from(value) {
        Ok(value) => head(UNSIGNED, value, put),
        Err(_) => head(NEGATIVE, negative(value), put),
    }
}

/// The head of a CBOR item, in its shortest form (RFC 8949 §4.2.1).
pub(crate) fn head(major: u8, value: u64, mut put: impl FnMut(&[u8])) {
    let major = major << 5;
    let [.., a, b, c, d] = value.to_be_bytes();
    match value {
        0..=23 => put(&[major | d]),
        24..=0xFF => put(&[major | 0x18, d]),
        0x100..=0xFFFF => put(&[major | 0x19, c, d]),
        0x1_0000..=0xFFFF_FFFF => put(&[major | 0x1A, a, b, c, d]),
        _ => {
            put(&[major | 0x1B]);
            put(&value.to_be_bytes());
        }
    }
}

/// The number of items as a head takes it.
pub(crate) fn len<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

/// CBOR writes a negative n as −1 − n.
fn negative(value: i32) -> u64 {
    u64::try_from((-1_i64).saturating_sub(i64::from(value))).unwrap_or(0)
}
