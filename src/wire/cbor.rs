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

/// Bytes of a head.
pub(crate) const fn head_len(value: u64) -> u64 {
    match value {
        0..=23 => 1,
        24..=0xFF => 2,
        0x100..=0xFFFF => 3,
        0x1_0000..=0xFFFF_FFFF => 5,
        _ => 9,
    }
}

/// Bytes of a string of `len` bytes, with its head.
pub(crate) const fn string_len(len: u64) -> u64 {
    head_len(len).saturating_add(len)
}

/// The number of items as a head takes it.
pub(crate) fn len<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

/// CBOR writes a negative n as −1 − n.
fn negative(value: i32) -> u64 {
    u64::try_from((-1_i64).saturating_sub(i64::from(value))).unwrap_or(0)
}

/// What stands where another item was looked for.
#[cfg(feature = "alloc")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ItemError {
    /// The bytes end within the item.
    Cut,
    /// A head is longer than it need be, or of indefinite length.
    Encoding,
    /// Another item.
    Other,
}

/// Reads items one after another; deterministic encoding only.
#[cfg(feature = "alloc")]
#[derive(Clone)]
pub(crate) struct Items<'a>(super::Reader<'a>);

#[cfg(feature = "alloc")]
impl<'a> Items<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(super::Reader(bytes))
    }

    /// Whether everything was read.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.0.is_empty()
    }

    /// The value in a head of this major type.
    pub(crate) fn head(&mut self, major: u8) -> Result<u64, ItemError> {
        let first = self.0.u8().ok_or(ItemError::Cut)?;
        if first >> 5 != major {
            return Err(ItemError::Other);
        }
        let (value, least) = match first & 0x1F {
            value @ 0..=23 => (u64::from(value), 0),
            24 => (self.argument::<1>()?, 24),
            25 => (self.argument::<2>()?, 0x100),
            26 => (self.argument::<4>()?, 0x1_0000),
            27 => (self.argument::<8>()?, 0x1_0000_0000),
            _ => return Err(ItemError::Encoding),
        };
        if value < least { Err(ItemError::Encoding) } else { Ok(value) }
    }

    fn argument<const N: usize>(&mut self) -> Result<u64, ItemError> {
        let bytes = self.0.array::<N>().ok_or(ItemError::Cut)?;
        Ok(bytes.into_iter().fold(0, |value, byte| (value << 8) | u64::from(byte)))
    }

    /// Reads over a head of this major type and value.
    pub(crate) fn expect_head(&mut self, major: u8, value: u64) -> Result<(), ItemError> {
        if self.head(major)? == value { Ok(()) } else { Err(ItemError::Other) }
    }

    /// A byte or text string. The bytes of a text are not looked at.
    pub(crate) fn string(&mut self, major: u8) -> Result<&'a [u8], ItemError> {
        let len = usize::try_from(self.head(major)?).map_err(|_| ItemError::Cut)?;
        self.0.bytes(len).ok_or(ItemError::Cut)
    }

    /// A text string.
    pub(crate) fn text(&mut self) -> Result<&'a str, ItemError> {
        core::str::from_utf8(self.string(TEXT)?).map_err(|_| ItemError::Other)
    }

    /// A string of exactly `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self, major: u8) -> Result<&'a [u8; N], ItemError> {
        self.string(major)?.try_into().map_err(|_| ItemError::Other)
    }
}
