//! QUIC's variable-length integer (RFC 9000 §16), in its shortest form only.

use super::Reader;

/// Largest value that eight bytes hold beside their length.
pub const MAX: u64 = (1 << 62) - 1;

/// Bytes that `value` takes: 1, 2, 4 or 8.
#[must_use]
pub const fn len(value: u32) -> usize {
    match value {
        0..=0x3F => 1,
        0x40..=0x3FFF => 2,
        0x4000..=0x3FFF_FFFF => 4,
        _ => 8,
    }
}

/// `value` in its shortest form: the first [`len`] bytes of the array.
#[must_use]
pub fn encode(value: u32) -> ([u8; 8], usize) {
    let len = len(value);
    // the two top bits of the first byte are log2 of the length
    let prefix: u64 = match len {
        1 => 0,
        2 => 0b01 << 62,
        4 => 0b10 << 62,
        _ => 0b11 << 62,
    };
    let shift = match len {
        1 => 56,
        2 => 48,
        4 => 32,
        _ => 0,
    };
    ((prefix | (u64::from(value) << shift)).to_be_bytes(), len)
}

/// Reads one integer; `None` if it is cut or not in its shortest form.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<u64> {
    // the least value of each length is one that no shorter one holds
    let (value, least) = match reader.0.first()? >> 6 {
        0 => (u64::from(reader.u8()?), 0),
        1 => (u64::from(u16::from_be_bytes(reader.array()?) & 0x3FFF), 1 << 6),
        2 => (u64::from(reader.u32()? & 0x3FFF_FFFF), 1 << 14),
        _ => (u64::from_be_bytes(reader.array()?) & MAX, 1 << 30),
    };
    (value >= least).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_boundary_comes_back() {
        for value in [0, 1, 63, 64, 16_383, 16_384, (1 << 30) - 1, 1 << 30, u32::MAX] {
            let (bytes, len) = encode(value);
            assert_eq!(len, super::len(value));
            let mut reader = Reader(&bytes[..len]);
            assert_eq!(read(&mut reader), Some(u64::from(value)));
            assert!(reader.0.is_empty());
        }
    }

    #[test]
    fn cut_integers_are_refused() {
        for value in [64, 16_384, 1 << 30] {
            let (bytes, len) = encode(value);
            for cut in 0..len {
                assert_eq!(read(&mut Reader(&bytes[..cut])), None);
            }
        }
    }

    #[test]
    fn longer_forms_are_refused() {
        let longer: [&[u8]; 4] = [
            &[0x40, 0],
            &[0x40, 63],
            &[0x80, 0, 0x3F, 0xFF],
            &[0xC0, 0, 0, 0, 0x3F, 0xFF, 0xFF, 0xFF],
        ];
        for bytes in longer {
            assert_eq!(read(&mut Reader(bytes)), None);
        }
    }
}
