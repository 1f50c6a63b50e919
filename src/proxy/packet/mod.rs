//! MQTT packets, as far as a proxy must understand them: where one ends, and what of it may have to
//! be changed. Knows no keys, and keeps the bytes of what it does not look into.
//!
//! Written for 3.1, 3.1.1 and 5.0 from the OASIS specifications. A packet that breaks a rule which
//! matters here is [`Malformed`]; everything else passes as it is, for the other end to judge.

mod connack;
mod connect;
mod disconnect;
mod id;
mod properties;
mod publish;
mod subscribe;
mod write;

pub use connack::Connack;
pub use connect::{Connect, Will};
pub use id::{Acknowledgement, acknowledge};
pub use properties::{Properties, Setting, Value};
pub use publish::Publish;
pub use subscribe::{Suback, Subscribe};

pub(super) use disconnect::Disconnect;
pub(super) use id::{disconnect, refuse_connection};
pub(super) use publish::{Draft, set_dup, write_property};

use core::fmt;

/// Bytes of the largest packet that MQTT can express behind its fixed header (MQTT 5.0 §1.5.5).
pub const MAX_REMAINING: usize = 268_435_455;
/// The identifier of Server Reference. A client that went there would pass by the proxy, in clear.
const SERVER_REFERENCE: u8 = 0x1C;
/// Bytes of the longest fixed header (MQTT 5.0 §2.1).
pub const MAX_FIXED_HEADER: usize = 5;

/// The version of MQTT that a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Version {
    /// 3.1, protocol level 3.
    V31,
    /// 3.1.1, protocol level 4.
    V311,
    /// 5.0.
    V5,
}

impl Version {
    /// Whether packets have properties and reason codes.
    #[must_use]
    pub const fn is_5(self) -> bool {
        matches!(self, Self::V5)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        })
    }
}

/// The kinds of packets: the upper half of the first byte (MQTT 5.0 §2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// 1.
    Connect,
    /// 2.
    Connack,
    /// 3.
    Publish,
    /// 4.
    Puback,
    /// 5.
    Pubrec,
    /// 6.
    Pubrel,
    /// 7.
    Pubcomp,
    /// 8.
    Subscribe,
    /// 9.
    Suback,
    /// 10.
    Unsubscribe,
    /// 11.
    Unsuback,
    /// 12.
    Pingreq,
    /// 13.
    Pingresp,
    /// 14.
    Disconnect,
    /// 15.
    Auth,
}

impl Kind {
    /// All kinds, that with number 1 first.
    pub const ALL: [Self; 15] = [
        Self::Connect,
        Self::Connack,
        Self::Publish,
        Self::Puback,
        Self::Pubrec,
        Self::Pubrel,
        Self::Pubcomp,
        Self::Subscribe,
        Self::Suback,
        Self::Unsubscribe,
        Self::Unsuback,
        Self::Pingreq,
        Self::Pingresp,
        Self::Disconnect,
        Self::Auth,
    ];

    fn of(first: u8) -> Option<Self> {
        let number = usize::from(first >> 4);
        number.checked_sub(1).and_then(|index| Self::ALL.get(index)).copied()
    }
}

/// Bytes that are no packet of MQTT, or one that breaks a rule that matters here. The connection
/// cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PacketError {
    /// The first byte or the length is none, or the contents do not fit them.
    Malformed,
    /// The packet is longer than the limit.
    TooLarge {
        /// Its length in bytes, by its own claim.
        len: usize,
    },
}

/// The contents of a packet do not fit its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "it says no more")]
pub struct Malformed;

impl From<Malformed> for PacketError {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("a packet is malformed"),
            Self::TooLarge { len } => write!(f, "a packet of {len} bytes is above the limit"),
        }
    }
}

impl core::error::Error for PacketError {}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        PacketError::Malformed.fmt(f)
    }
}

impl core::error::Error for Malformed {}

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame<'a> {
    /// Its kind.
    pub kind: Kind,
    /// The lower half of its first byte.
    pub flags: u8,
    /// What follows the fixed header.
    pub body: &'a [u8],
    /// The whole packet.
    pub bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first packet of `bytes`; `None` as long as it is not complete. What is longer than
    /// `max` bytes is refused as soon as it says so.
    ///
    /// # Errors
    /// [`PacketError`].
    pub fn first(bytes: &'a [u8], max: usize) -> Result<Option<Self>, PacketError> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let kind = Kind::of(first).ok_or(PacketError::Malformed)?;
        let Some((remaining, header)) = properties::length(rest)? else {
            return Ok(None);
        };
        let header = header.saturating_add(1);
        let len = header.saturating_add(remaining);
        if len > max {
            return Err(PacketError::TooLarge { len });
        }
        let Some(bytes) = bytes.get(..len) else {
            return Ok(None);
        };
        let body = bytes.get(header..).unwrap_or_default();
        Ok(Some(Self { kind, flags: first & 0x0F, body, bytes }))
    }

    /// What is there of a packet, whose end may be missing.
    pub(super) fn front(bytes: &'a [u8]) -> Option<Self> {
        let (&first, rest) = bytes.split_first()?;
        let (_, header) = properties::length(rest).ok()??;
        let body = rest.get(header..)?;
        Some(Self { kind: Kind::of(first)?, flags: first & 0x0F, body, bytes })
    }
}

#[cfg(test)]
mod tests;
