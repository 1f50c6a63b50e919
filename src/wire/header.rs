//! The header in front of the ciphertext.

use core::fmt;

use super::{Reader, varint};

/// First byte of every sealed payload. A diagnostic, never a security decision.
pub const MAGIC: u8 = 0xFC;
/// Bytes of an AEAD tag.
pub const TAG_LEN: usize = 16;
/// Bytes of the commitment that committing suites add.
pub const COM_LEN: usize = 32;
/// Bytes of a session ID in session form.
pub const SID_LEN: usize = 12;
/// Longest header: magic, VF, KID, SID, and a counter of eight bytes.
pub const MAX_HEADER_LEN: usize = 26;
/// The counter of wills, the largest on the wire: 2^32 − 2.
pub const WILL_COUNTER: u32 = u32::MAX - 1;
/// The largest counter of an ordinary message: 2^32 − 3.
pub const MAX_COUNTER: u32 = u32::MAX - 2;

/// Magic, VF and KID.
const START_LEN: usize = 6;
const VERSION_MASK: u8 = 0b1100_0000;
const DATA_V1: u8 = 0b0100_0000;
const COMPACT: u8 = 0b0010_0000;
const INNER: u8 = 0b0001_0000;
const RESERVED: u8 = 0b0000_1111;

/// Names a scope key on the wire: the first four bytes derived from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 4]);

impl KeyId {
    /// From its bytes on the wire.
    #[must_use]
    pub const fn new(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// As on the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 4] {
        self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Which of the two forms a message has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Form {
    /// A random session ID of 12 bytes; the sender stores nothing.
    Session,
    /// A sender number of 1, 2 or 4 bytes and a durable counter.
    Compact,
}

/// A sender number: 0..=2^30−1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SenderNumber(u32);

impl SenderNumber {
    /// The largest sender number, 2^30 − 1.
    pub const MAX: u32 = (1 << 30) - 1;

    /// `None` above [`SenderNumber::MAX`].
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number <= Self::MAX { Some(Self(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// One sender's use of one scope key: a random SID, or a sender number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionId {
    /// Session form.
    Random([u8; SID_LEN]),
    /// Compact form.
    Sender(SenderNumber),
}

impl SessionId {
    /// The form of messages under this ID.
    #[must_use]
    pub const fn form(&self) -> Form {
        match self {
            Self::Random(_) => Form::Session,
            Self::Sender(_) => Form::Compact,
        }
    }

    const fn encoded_len(&self) -> usize {
        match self {
            Self::Random(_) => SID_LEN,
            Self::Sender(number) => varint::len(number.get()),
        }
    }

    /// The bytes of the ID as on the wire, in the first part of the array, and their number:
    /// 12 in session form; 1, 2 or 4 in compact form.
    #[must_use]
    pub fn encode(&self) -> ([u8; SID_LEN], usize) {
        match self {
            Self::Random(sid) => (*sid, SID_LEN),
            Self::Sender(number) => {
                let (bytes, len) = varint::encode(number.get());
                let mut id = [0; SID_LEN];
                for (to, from) in id.iter_mut().zip(bytes) {
                    *to = from;
                }
                (id, len)
            }
        }
    }
}

#[cfg(feature = "alloc")]
impl SessionId {
    /// The ID that [`SessionId::encode`] wrote these bytes for.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if let Ok(sid) = bytes.try_into() {
            return Some(Self::Random(sid));
        }
        let mut reader = Reader(bytes);
        let number = u32::try_from(varint::read(&mut reader)?).ok()?;
        reader.0.is_empty().then(|| SenderNumber::new(number).map(Self::Sender))?
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random(sid) => sid.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::Sender(number) => write!(f, "sender {}", number.get()),
        }
    }
}

/// Everything in front of the commitment or ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// The scope key.
    pub kid: KeyId,
    /// The sender's session.
    pub id: SessionId,
    /// The counter: 0..=2^32−2.
    pub counter: u32,
    /// Whether the plain text starts with an inner header.
    pub inner: bool,
}

/// Why bytes are no sealed payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// The first byte is not the magic: this was never sealed.
    NotSealed,
    /// A version or a flag that this edition does not know.
    Unsupported,
    /// Cut, a number out of range or not in its shortest form, or no room for a tag.
    Malformed,
}

impl Header {
    /// A header for `counter` of a session.
    #[must_use]
    pub const fn new(kid: KeyId, id: SessionId, counter: u32, inner: bool) -> Self {
        Self { kid, id, counter, inner }
    }

    /// Reads the header of `bytes` and returns it with its length. At least a tag stands behind it.
    ///
    /// # Errors
    /// In this order: [`HeaderError::NotSealed`], [`HeaderError::Unsupported`],
    /// [`HeaderError::Malformed`].
    // SPEC §2
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize), HeaderError> {
        let mut reader = Reader(bytes);
        if reader.u8() != Some(MAGIC) {
            return Err(HeaderError::NotSealed);
        }
        let vf = reader.u8().ok_or(HeaderError::Malformed)?;
        if vf & VERSION_MASK != DATA_V1 || vf & RESERVED != 0 {
            return Err(HeaderError::Unsupported);
        }
        let header = Self::parse_fields(&mut reader, vf).ok_or(HeaderError::Malformed)?;
        if reader.0.len() < TAG_LEN {
            return Err(HeaderError::Malformed);
        }
        Ok((header, bytes.len().saturating_sub(reader.0.len())))
    }

    fn parse_fields(reader: &mut Reader<'_>, vf: u8) -> Option<Self> {
        let kid = KeyId(reader.array()?);
        let id = if vf & COMPACT == 0 {
            SessionId::Random(reader.array()?)
        } else {
            let number = u32::try_from(varint::read(reader)?).ok()?;
            SessionId::Sender(SenderNumber::new(number)?)
        };
        let counter = u32::try_from(varint::read(reader)?).ok()?;
        let inner = vf & INNER != 0;
        (counter <= WILL_COUNTER).then_some(Self { kid, id, counter, inner })
    }

    /// Bytes that [`Header::encode`] makes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let id = self.id.encoded_len();
        id.saturating_add(varint::len(self.counter)).saturating_add(START_LEN)
    }

    /// VF, the second byte.
    // SPEC §2
    pub(crate) fn version_and_flags(&self) -> u8 {
        let form = if self.id.form() == Form::Compact { COMPACT } else { 0 };
        let inner = if self.inner { INNER } else { 0 };
        DATA_V1 | form | inner
    }

    /// The header as on the wire: the first [`Header::encoded_len`] bytes of the array.
    #[must_use]
    pub fn encode(&self) -> EncodedHeader {
        let [a, b, c, d] = self.kid.0;
        let mut bytes = [0; MAX_HEADER_LEN];
        let (start, rest) = bytes.split_at_mut(START_LEN);
        start.copy_from_slice(&[MAGIC, self.version_and_flags(), a, b, c, d]);
        // what arrays hold beyond their length is overwritten, or stands behind the end
        let id_len = match &self.id {
            SessionId::Random(sid) => put(rest, (sid, SID_LEN)),
            SessionId::Sender(number) => {
                let (id, len) = varint::encode(number.get());
                put(rest, (&id, len))
            }
        };
        let (counter, len) = varint::encode(self.counter);
        let counter_len = put(rest.get_mut(id_len..).unwrap_or_default(), (&counter, len));
        let len = START_LEN.saturating_add(id_len).saturating_add(counter_len);
        EncodedHeader { bytes, len }
    }
}

/// Copies a whole array to the start of `out`, which takes an instruction or two, and returns how
/// much of it counts.
fn put<const N: usize>(out: &mut [u8], (part, len): (&[u8; N], usize)) -> usize {
    if let Some(slot) = out.first_chunk_mut() {
        *slot = *part;
    }
    len
}

/// A header as bytes.
#[derive(Debug, Clone, Copy)]
pub struct EncodedHeader {
    bytes: [u8; MAX_HEADER_LEN],
    len: usize,
}

impl EncodedHeader {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> [SessionId; 4] {
        let sender = |number| SessionId::Sender(SenderNumber::new(number).unwrap());
        [SessionId::Random([7; 12]), sender(0), sender(64), sender(SenderNumber::MAX)]
    }

    #[test]
    fn header_comes_back_at_every_counter_length() {
        for id in ids() {
            for counter in [0, 63, 64, 16_383, 16_384, (1 << 30) - 1, 1 << 30, WILL_COUNTER] {
                for inner in [false, true] {
                    let header = Header::new(KeyId([1, 2, 3, 4]), id, counter, inner);
                    let mut bytes = std::vec::Vec::from(header.encode().as_bytes());
                    assert_eq!(bytes.len(), header.encoded_len());
                    bytes.extend([0; TAG_LEN]);
                    assert_eq!(Header::parse(&bytes), Ok((header, header.encoded_len())));
                }
            }
        }
    }

    #[test]
    fn every_cut_is_malformed() {
        for id in ids() {
            let header = Header::new(KeyId([1, 2, 3, 4]), id, 1 << 30, true);
            let mut bytes = std::vec::Vec::from(header.encode().as_bytes());
            bytes.extend([0; TAG_LEN]);
            assert_eq!(Header::parse(&bytes[..0]), Err(HeaderError::NotSealed));
            for cut in 1..bytes.len() {
                assert_eq!(Header::parse(&bytes[..cut]), Err(HeaderError::Malformed), "{cut}");
            }
        }
    }

    #[test]
    fn every_other_version_and_flag_is_unsupported() {
        let bytes = Header::new(KeyId([0; 4]), ids()[0], 0, false).encode();
        let mut bytes = [bytes.as_bytes(), &[0; TAG_LEN]].concat();
        for vf in 0..=u8::MAX {
            bytes[1] = vf;
            let known = matches!(vf, 0x40 | 0x50 | 0x60 | 0x70);
            assert_eq!(Header::parse(&bytes) == Err(HeaderError::Unsupported), !known, "{vf:02x}");
        }
    }
}
