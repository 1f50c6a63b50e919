//! A broker's DISCONNECT without the server that it refers to. Knows no connection.

use std::vec::Vec;

use super::properties::Properties;
use super::{Frame, Malformed, SERVER_REFERENCE, write};
use crate::wire::Reader;

/// The end of a connection, with properties (MQTT 5.0 §3.14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) struct Disconnect<'a> {
    reason: u8,
    properties: Properties<'a>,
}

impl<'a> Disconnect<'a> {
    /// The parts of a packet of version 5; neither reason nor properties have to be there.
    pub(in crate::proxy) fn parse(frame: &Frame<'a>) -> Result<Self, Malformed> {
        let mut reader = Reader(frame.body);
        let reason = reader.u8().unwrap_or_default();
        let none = reader.0.is_empty();
        let properties = if none { Properties::default() } else { Properties::read(&mut reader)? };
        if reader.0.is_empty() { Ok(Self { reason, properties }) } else { Err(Malformed) }
    }

    /// Whether it refers to another server.
    pub(in crate::proxy) fn refers(&self) -> bool {
        self.properties.get(SERVER_REFERENCE).is_some()
    }

    /// Writes the same packet without another server.
    pub(in crate::proxy) fn write(&self, out: &mut Vec<u8>) {
        let mut properties = Vec::new();
        let others = |id: u8| id != SERVER_REFERENCE;
        for setting in self.properties.iter().filter(|setting| others(setting.id)) {
            properties.extend_from_slice(setting.raw);
        }
        write::fixed(out, 0xE0, write::properties_len(properties.len()).saturating_add(1));
        out.push(self.reason);
        write::length(out, properties.len());
        out.extend_from_slice(&properties);
    }
}
