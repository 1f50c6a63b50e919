//! PUBLISH: its parts, and a packet made of other ones. Knows no alias by its topic.

use std::vec::Vec;

use super::properties::Properties;
use super::{Frame, Malformed, Version, write};
use crate::guard::QoS;
use crate::wire::Reader;
use crate::wire::property::Property;

/// The flag of a packet that is sent again.
const DUP: u8 = 0b1000;

/// A message (MQTT 5.0 §3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Publish<'a> {
    /// The lower half of its first byte.
    pub flags: u8,
    /// Its quality of service.
    pub qos: QoS,
    /// The topic; empty where an alias stands for it. Not checked.
    pub topic: &'a [u8],
    /// The packet ID; 0 at `QoS` 0.
    pub id: u16,
    /// Its properties.
    pub properties: Properties<'a>,
    /// Its payload.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// The parts of a packet.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(frame: &Frame<'a>, version: Version) -> Result<Self, Malformed> {
        let flags = frame.flags;
        let qos = match (flags >> 1) & 3 {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            2 => QoS::ExactlyOnce,
            _ => return Err(Malformed),
        };
        let mut reader = Reader(frame.body);
        let topic = reader.lp().ok_or(Malformed)?;
        let id = match qos {
            QoS::AtMostOnce => 0,
            _ => super::id::read(&mut reader)?,
        };
        let properties = match version {
            Version::V5 => Properties::read(&mut reader)?,
            Version::V31 | Version::V311 => Properties::default(),
        };
        Ok(Self { flags, qos, topic, id, properties, payload: reader.0 })
    }

    /// Whether it is to be retained, or was.
    #[must_use]
    pub const fn retain(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Whether it says that it was sent before.
    #[must_use]
    pub const fn dup(&self) -> bool {
        self.flags & DUP != 0
    }

    /// The topic alias.
    ///
    /// # Errors
    /// [`Malformed`] for 0, which is none.
    pub fn alias(&self) -> Result<Option<u16>, Malformed> {
        let alias = self.properties.number(0x23).map(u16::try_from);
        match alias.transpose().map_err(|_| Malformed)? {
            Some(0) => Err(Malformed),
            alias => Ok(alias),
        }
    }

    /// The five properties that belong to the payload, in order.
    ///
    /// # Errors
    /// [`Malformed`] if a text is none.
    pub fn payload_properties(&self, out: &mut Vec<Property<'a>>) -> Result<(), Malformed> {
        read_payload_properties(self.properties, out)
    }
}

/// See [`Publish::payload_properties`].
pub(super) fn read_payload_properties<'a>(
    properties: Properties<'a>,
    out: &mut Vec<Property<'a>>,
) -> Result<(), Malformed> {
    let text = |bytes| core::str::from_utf8(bytes).map_err(|_| Malformed);
    for setting in properties.iter() {
        out.push(match (setting.id, setting.value) {
            (0x01, value) => match value.number() {
                Some(0) => Property::PayloadFormat(false),
                Some(1) => Property::PayloadFormat(true),
                _ => return Err(Malformed),
            },
            (0x03, super::Value::Bytes(bytes)) => Property::ContentType(text(bytes)?),
            (0x08, super::Value::Bytes(bytes)) => Property::ResponseTopic(text(bytes)?),
            (0x09, super::Value::Bytes(bytes)) => Property::CorrelationData(bytes),
            (0x26, super::Value::Pair(name, value)) => Property::User(text(name)?, text(value)?),
            _ => continue,
        });
    }
    Ok(())
}

/// A packet in the making: everything of it but the payload's bytes.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) struct Draft<'a> {
    pub(in crate::proxy) version: Version,
    pub(in crate::proxy) flags: u8,
    pub(in crate::proxy) topic: &'a [u8],
    pub(in crate::proxy) id: u16,
    /// Written, without their length; nothing before version 5.
    pub(in crate::proxy) properties: &'a [u8],
}

impl Draft<'_> {
    /// Bytes behind the fixed header, with a payload of so many.
    fn remaining(&self, payload: usize) -> usize {
        let id = if self.flags & 0b0110 == 0 { 0 } else { 2 };
        let properties = match self.version {
            Version::V5 => write::properties_len(self.properties.len()),
            _ => 0,
        };
        [write::lp_len(self.topic), id, properties, payload]
            .into_iter()
            .fold(0, usize::saturating_add)
    }

    /// Bytes of the whole packet, with a payload of so many.
    pub(in crate::proxy) fn len(&self, payload: usize) -> usize {
        let remaining = self.remaining(payload);
        remaining.saturating_add(1).saturating_add(write::length_len(remaining))
    }

    /// Writes the packet.
    pub(in crate::proxy) fn write(&self, payload: &[u8], out: &mut Vec<u8>) {
        write::fixed(out, 0x30 | self.flags, self.remaining(payload.len()));
        write::lp(out, self.topic);
        if self.flags & 0b0110 != 0 {
            out.extend_from_slice(&self.id.to_be_bytes());
        }
        if self.version.is_5() {
            write::length(out, self.properties.len());
            out.extend_from_slice(self.properties);
        }
        out.extend_from_slice(payload);
    }
}

/// Writes properties of the payload as they stand on a packet.
pub(in crate::proxy) fn write_property(property: &Property<'_>, out: &mut Vec<u8>) {
    out.push(property.id());
    match *property {
        Property::PayloadFormat(text) => out.push(text.into()),
        Property::ContentType(text) | Property::ResponseTopic(text) => {
            write::lp(out, text.as_bytes());
        }
        Property::CorrelationData(data) => write::lp(out, data),
        Property::User(name, value) => {
            write::lp(out, name.as_bytes());
            write::lp(out, value.as_bytes());
        }
    }
}

/// The same packet as bytes, marked as sent again or not.
pub(in crate::proxy) fn set_dup(packet: &mut [u8], dup: bool) {
    if let Some(first) = packet.first_mut() {
        *first = if dup { *first | DUP } else { *first & !DUP };
    }
}
