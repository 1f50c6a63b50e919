//! The inner header: what stands authenticated in front of the payload, and the padding behind it.

use core::fmt;

use super::{Reader, property, property::Carried, property::Properties, property::Property};
use crate::topic::TopicName;

const TS: u8 = 1 << 0;
const TTL: u8 = 1 << 1;
const TOPIC: u8 = 1 << 2;
const PROPS: u8 = 1 << 3;
const PAD: u8 = 1 << 4;
const ECHO: u8 = 1 << 5;
const KIND: u8 = 1 << 6;
const RESERVED: u8 = 1 << 7;

/// Padding starts with this byte and goes on in zeros (ISO/IEC 7816-4).
const PAD_MARK: u8 = 0x80;
/// Largest timestamp: 48 bits of milliseconds.
pub const MAX_TIMESTAMP: u64 = (1 << 48) - 1;

/// What a message is beside an ordinary one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The authenticated end of a value; its payload is empty.
    Delete,
    /// Published by the broker for a client that was cut off.
    Will,
}

/// The fields of an inner header. Default: none.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct InnerHeader<'a> {
    /// When the message was sealed, in Unix milliseconds, at most [`MAX_TIMESTAMP`].
    pub timestamp: Option<u64>,
    /// Seconds of validity after the timestamp, which must be there.
    pub ttl: Option<u32>,
    /// The topic that the sender published under.
    pub topic: Option<TopicName<'a>>,
    /// The MQTT 5 properties that were moved inside.
    pub properties: Option<Properties<'a>>,
    /// The challenge of a receiver that this message answers.
    pub echo: Option<[u8; 8]>,
    /// What the message is beside an ordinary one.
    pub kind: Option<Kind>,
    /// Whether padding stands behind the payload.
    pub padded: bool,
    /// Bytes of the inner header itself: where the payload starts.
    pub len: usize,
}

/// The plain text does not hold what its inner header promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct InnerError;

impl fmt::Display for InnerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the inner header or the padding is malformed")
    }
}

impl core::error::Error for InnerError {}

impl<'a> InnerHeader<'a> {
    /// Reads an authenticated plain text that starts with an inner header; returns it and the
    /// payload without padding.
    ///
    /// # Errors
    /// [`InnerError`] if anything is cut, out of range or not allowed.
    // SPEC §3
    pub fn parse(plaintext: &'a [u8]) -> Result<(Self, &'a [u8]), InnerError> {
        Self::read(plaintext).ok_or(InnerError)
    }

    fn read(plaintext: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut reader = Reader(plaintext);
        let flags = reader.u8()?;
        let has = |bit| flags & bit != 0;
        if has(RESERVED) || (has(TTL) && !has(TS)) {
            return None;
        }
        let mut header = Self { padded: has(PAD), ..Self::default() };
        if has(TS) {
            let bytes: [u8; 6] = reader.array()?;
            let value = bytes.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte));
            header.timestamp = Some(value);
        }
        if has(TTL) {
            header.ttl = Some(reader.u32()?);
        }
        if has(TOPIC) {
            header.topic = Some(TopicName::from_bytes(reader.lp()?).ok()?);
        }
        if has(PROPS) {
            header.properties = Some(Properties::parse(reader.lp()?)?);
        }
        if has(ECHO) {
            header.echo = Some(reader.array()?);
        }
        if has(KIND) {
            header.kind = Some(match reader.u8()? {
                1 => Kind::Delete,
                2 => Kind::Will,
                _ => return None,
            });
        }
        header.len = plaintext.len().saturating_sub(reader.0.len());
        let payload = if has(PAD) { strip_padding(reader.0)? } else { reader.0 };
        if header.kind == Some(Kind::Delete) && !payload.is_empty() {
            return None;
        }
        Some((header, payload))
    }
}

/// Removes any number of zeros, then exactly one mark.
fn strip_padding(padded: &[u8]) -> Option<&[u8]> {
    let last = padded.iter().rposition(|byte| *byte != 0)?;
    let (payload, padding) = padded.split_at_checked(last)?;
    (padding.first() == Some(&PAD_MARK)).then_some(payload)
}

/// What the sender puts in front of a payload and behind it.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::exhaustive_structs, reason = "the format is frozen, so are its fields")]
pub struct InnerFields<'a> {
    /// See [`InnerHeader::timestamp`].
    pub timestamp: Option<u64>,
    /// See [`InnerHeader::ttl`]; not written without a timestamp.
    pub ttl: Option<u32>,
    /// See [`InnerHeader::topic`].
    pub topic: Option<TopicName<'a>>,
    /// The properties of the packet, in its order.
    pub properties: &'a [Property<'a>],
    /// Whether all of them go inside, or the format indicator alone.
    pub carry_all: bool,
    /// See [`InnerHeader::echo`].
    pub echo: Option<[u8; 8]>,
    /// See [`InnerHeader::kind`].
    pub kind: Option<Kind>,
    /// Bytes of padding behind the payload; 0 for none.
    pub padding: usize,
}

impl InnerFields<'_> {
    fn carried(&self) -> Carried {
        if self.carry_all { Carried::All } else { Carried::FormatOnly }
    }

    fn props_len(&self) -> usize {
        property::encoded_len(self.properties, self.carried())
    }

    fn flags(&self) -> u8 {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        bit(self.timestamp.is_some(), TS)
            | bit(self.timestamp.is_some() && self.ttl.is_some(), TTL)
            | bit(self.topic.is_some(), TOPIC)
            | bit(self.props_len() > 0, PROPS)
            | bit(self.padding > 0, PAD)
            | bit(self.echo.is_some(), ECHO)
            | bit(self.kind.is_some(), KIND)
    }

    /// Whether there is anything to write: without, the message has no inner header at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flags() == 0
    }

    /// Bytes in front of the payload; 0 if [`InnerFields::is_empty`].
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        let lp = |len: usize| if len > 0 { len.saturating_add(2) } else { 0 };
        let topic = self.topic.map_or(0, |topic| topic.as_str().len());
        let fixed: usize = [
            (true, 1),
            (self.timestamp.is_some(), 6),
            (self.timestamp.is_some() && self.ttl.is_some(), 4),
            (self.echo.is_some(), 8),
            (self.kind.is_some(), 1),
        ]
        .into_iter()
        .filter_map(|(set, len)| set.then_some(len))
        .sum();
        fixed.saturating_add(lp(topic)).saturating_add(lp(self.props_len()))
    }

    /// Writes what stands in front of the payload, in pieces, to `put`. PROPS and TOPIC have at
    /// most 65,535 bytes each, which the caller has checked.
    // SPEC §3, "fields in bit order"
    pub fn encode(&self, mut put: impl FnMut(&[u8])) {
        if self.is_empty() {
            return;
        }
        put(&[self.flags()]);
        if let Some(timestamp) = self.timestamp {
            let [_, _, bytes @ ..] = timestamp.min(MAX_TIMESTAMP).to_be_bytes();
            put(&bytes);
            if let Some(ttl) = self.ttl {
                put(&ttl.to_be_bytes());
            }
        }
        let lp = |len: usize| u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
        if let Some(topic) = self.topic {
            put(&lp(topic.as_str().len()));
            put(topic.as_str().as_bytes());
        }
        let props = self.props_len();
        if props > 0 {
            put(&lp(props));
            property::encode(self.properties, self.carried(), &mut put);
        }
        if let Some(echo) = self.echo {
            put(&echo);
        }
        match self.kind {
            None => {}
            Some(Kind::Delete) => put(&[1]),
            Some(Kind::Will) => put(&[2]),
        }
    }
}

/// Bytes of padding, 1..=`block`, that make a plain text of `unpadded` bytes, inner header
/// included, a multiple of `block`. A block of 0 counts as 1.
// SPEC §3, "Padding"
#[must_use]
pub fn padding_len(block: usize, unpadded: usize) -> usize {
    let block = block.max(1);
    let over = unpadded.checked_rem(block).unwrap_or(0);
    block.saturating_sub(over)
}

/// Fills `padding` with the mark and zeros.
pub fn write_padding(padding: &mut [u8]) {
    padding.fill(0);
    if let Some(first) = padding.first_mut() {
        *first = PAD_MARK;
    }
}
