//! Packets that carry little more than a packet ID, and those that a proxy makes itself.

use std::vec::Vec;

use super::{Frame, Kind, Malformed, Version};
use crate::wire::Reader;

/// A packet ID, which is never 0 (MQTT 5.0 §2.2.1).
pub(super) fn read(reader: &mut Reader<'_>) -> Result<u16, Malformed> {
    match reader.array().map(u16::from_be_bytes) {
        None | Some(0) => Err(Malformed),
        Some(id) => Ok(id),
    }
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP, and the front of SUBACK and UNSUBACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acknowledgement {
    /// The packet ID.
    pub id: u16,
    /// The reason code of the first four; 0 where there is none.
    pub reason: u8,
}

impl Acknowledgement {
    /// The parts of a packet.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(frame: &Frame<'_>) -> Result<Self, Malformed> {
        let mut reader = Reader(frame.body);
        let id = read(&mut reader)?;
        Ok(Self { id, reason: reader.u8().unwrap_or_default() })
    }

    /// Whether it says that the message was refused (MQTT 5.0 §2.4).
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        self.reason >= 0x80
    }
}

/// Writes an acknowledgement. A reason other than 0 is told by version 5 alone.
pub fn acknowledge(kind: Kind, id: u16, reason: u8, version: Version, out: &mut Vec<u8>) {
    let first = match kind {
        Kind::Pubrec => 0x50,
        // its lower half is reserved, and 2 (MQTT 5.0 §3.6.1)
        Kind::Pubrel => 0x62,
        Kind::Pubcomp => 0x70,
        _ => 0x40,
    };
    let [high, low] = id.to_be_bytes();
    if reason == 0 || !version.is_5() {
        out.extend_from_slice(&[first, 2, high, low]);
    } else {
        out.extend_from_slice(&[first, 3, high, low, reason]);
    }
}

/// Writes a CONNACK that refuses.
pub(in crate::proxy) fn refuse_connection(reason: u8, version: Version, out: &mut Vec<u8>) {
    match version {
        Version::V5 => out.extend_from_slice(&[0x20, 3, 0, reason, 0]),
        _ => out.extend_from_slice(&[0x20, 2, 0, reason]),
    }
}

/// Writes a server's DISCONNECT, which is of version 5.
pub(in crate::proxy) fn disconnect(reason: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xE0, 2, reason, 0]);
}
