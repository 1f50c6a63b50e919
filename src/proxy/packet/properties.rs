//! Properties of MQTT 5: which there are, and where each ends. Knows no packet.

use super::Malformed;
use crate::wire::Reader;

/// Bytes of the longest variable byte integer (MQTT 5.0 §1.5.5).
const MAX_LENGTH_BYTES: usize = 4;
/// Subscription Identifier and User Property: all others stand at most once.
const MAY_REPEAT: [u8; 2] = [0x0B, 0x26];

/// The variable byte integer in front of `bytes`, and how long it is; `None` if it is not complete.
pub(super) fn length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let (mut value, mut shift, mut read) = (0_usize, 0_u32, 0_usize);
    for byte in bytes.iter().take(MAX_LENGTH_BYTES) {
        value |= usize::from(byte & 0x7F) << shift;
        read = read.saturating_add(1);
        if byte & 0x80 == 0 {
            return Ok(Some((value, read)));
        }
        shift = shift.saturating_add(7);
    }
    if read < MAX_LENGTH_BYTES { Ok(None) } else { Err(Malformed) }
}

/// What a property says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// A number, of one, two, four or a variable number of bytes.
    Number(u32),
    /// A text or binary data.
    Bytes(&'a [u8]),
    /// A name and a value.
    Pair(&'a [u8], &'a [u8]),
}

impl<'a> Value<'a> {
    /// The number, where it is one.
    #[must_use]
    pub const fn number(self) -> Option<u32> {
        match self {
            Self::Number(number) => Some(number),
            Self::Bytes(_) | Self::Pair(..) => None,
        }
    }

    /// The text, where it is one.
    #[must_use]
    pub const fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Number(_) | Self::Pair(..) => None,
        }
    }
}

/// A property as it stands in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting<'a> {
    /// Its identifier (MQTT 5.0 §2.2.2.2).
    pub id: u8,
    /// What it says.
    pub value: Value<'a>,
    /// All its bytes.
    pub raw: &'a [u8],
}

impl<'a> Setting<'a> {
    // MQTT 5.0 §2.2.2.2, table 2-4
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let all = reader.0;
        let id = reader.u8()?;
        let value = match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => {
                Value::Number(reader.u8()?.into())
            }
            0x13 | 0x21 | 0x22 | 0x23 => Value::Number(u16::from_be_bytes(reader.array()?).into()),
            0x02 | 0x11 | 0x18 | 0x27 => Value::Number(reader.u32()?),
            0x0B => {
                let (number, len) = length(reader.0).ok()??;
                reader.bytes(len)?;
                Value::Number(u32::try_from(number).ok()?)
            }
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => {
                Value::Bytes(reader.lp()?)
            }
            0x26 => Value::Pair(reader.lp()?, reader.lp()?),
            _ => return None,
        };
        let len = all.len().saturating_sub(reader.0.len());
        Some(Self { id, value, raw: all.get(..len)? })
    }
}

/// The properties of a packet, each of a known kind, complete, and there once if it may not repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    /// Takes the properties with their length from the front of `reader`.
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (len, header) = length(reader.0)?.ok_or(Malformed)?;
        reader.bytes(header).ok_or(Malformed)?;
        let bytes = reader.bytes(len).ok_or(Malformed)?;
        let mut settings = Reader(bytes);
        let mut seen = 0_u64;
        while !settings.0.is_empty() {
            let Setting { id, .. } = Setting::read(&mut settings).ok_or(Malformed)?;
            let bit = 1_u64 << (id & 63);
            // MQTT 5.0 §2.2.2.2. Of two topic aliases one reader takes the first, another the last
            if seen & bit != 0 && !MAY_REPEAT.contains(&id) {
                return Err(Malformed);
            }
            seen |= bit;
        }
        Ok(Self(bytes))
    }

    /// Each of them, in order.
    pub fn iter(self) -> impl Iterator<Item = Setting<'a>> {
        let mut reader = Reader(self.0);
        core::iter::from_fn(move || Setting::read(&mut reader))
    }

    /// The first with this identifier.
    #[must_use]
    pub fn get(self, id: u8) -> Option<Value<'a>> {
        self.iter().find(|setting| setting.id == id).map(|setting| setting.value)
    }

    /// The number of the first with this identifier.
    #[must_use]
    pub fn number(self, id: u8) -> Option<u32> {
        self.get(id).and_then(Value::number)
    }

    /// All their bytes, without their length.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}
