//! CONNACK: whether the broker takes the client, and what it asks of it.

use std::vec::Vec;

use super::properties::Properties;
use super::{Frame, Malformed, SERVER_REFERENCE, Version, write};
use crate::wire::Reader;

const RECEIVE_MAX: u8 = 0x21;
const MAX_QOS: u8 = 0x24;
const RETAIN: u8 = 0x25;
const MAX_PACKET: u8 = 0x27;
const ASSIGNED_ID: u8 = 0x12;

/// A broker's answer to CONNECT (MQTT 5.0 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connack<'a> {
    /// Whether the broker has kept a session.
    pub session_present: bool,
    /// 0 if it takes the client.
    pub reason: u8,
    /// Its properties.
    pub properties: Properties<'a>,
}

impl<'a> Connack<'a> {
    /// The parts of a packet.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(frame: &Frame<'a>, version: Version) -> Result<Self, Malformed> {
        let mut reader = Reader(frame.body);
        let flags = reader.u8().ok_or(Malformed)?;
        let reason = reader.u8().ok_or(Malformed)?;
        // a broker that does not know version 5 refuses as one of an older one does
        let properties = match version {
            Version::V5 if !reader.0.is_empty() => Properties::read(&mut reader)?,
            _ => Properties::default(),
        };
        if version.is_5() && !reader.0.is_empty() {
            return Err(Malformed);
        }
        Ok(Self { session_present: flags & 1 != 0, reason, properties })
    }

    /// Bytes of the largest packet that the broker takes, if it says so.
    #[must_use]
    pub fn max_packet(&self) -> Option<u32> {
        self.properties.number(MAX_PACKET)
    }

    /// Messages of `QoS` 1 and 2 that may be unacknowledged, if the broker says so.
    #[must_use]
    pub fn receive_max(&self) -> Option<u16> {
        self.properties.number(RECEIVE_MAX).and_then(|max| u16::try_from(max).ok())
    }

    /// The highest quality of service that the broker takes.
    #[must_use]
    pub fn max_qos(&self) -> u8 {
        self.properties.number(MAX_QOS).map_or(2, |max| u8::try_from(max).unwrap_or(2))
    }

    /// Whether the broker keeps retained messages.
    #[must_use]
    pub fn retain_available(&self) -> bool {
        self.properties.number(RETAIN) != Some(0)
    }

    /// The client ID that the broker has chosen.
    #[must_use]
    pub fn assigned_id(&self) -> Option<&'a str> {
        let id = self.properties.get(ASSIGNED_ID)?.bytes()?;
        core::str::from_utf8(id).ok()
    }

    /// Whether it refers to another server.
    pub(in crate::proxy) fn refers(&self) -> bool {
        self.properties.get(SERVER_REFERENCE).is_some()
    }

    /// Writes the same packet with other limits and without another server; what is `None` is not
    /// told.
    pub(in crate::proxy) fn write_with(
        &self,
        max_packet: Option<u32>,
        receive_max: Option<u16>,
        out: &mut Vec<u8>,
    ) {
        let mut properties = Vec::new();
        let others = |id: &u8| ![MAX_PACKET, RECEIVE_MAX, SERVER_REFERENCE].contains(id);
        for setting in self.properties.iter().filter(|setting| others(&setting.id)) {
            properties.extend_from_slice(setting.raw);
        }
        if let Some(max) = receive_max {
            properties.push(RECEIVE_MAX);
            properties.extend_from_slice(&max.to_be_bytes());
        }
        if let Some(max) = max_packet {
            properties.push(MAX_PACKET);
            properties.extend_from_slice(&max.to_be_bytes());
        }
        let len = write::properties_len(properties.len()).saturating_add(2);
        write::fixed(out, 0x20, len);
        out.extend_from_slice(&[self.session_present.into(), self.reason]);
        write::length(out, properties.len());
        out.extend_from_slice(&properties);
    }
}
