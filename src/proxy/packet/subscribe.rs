//! SUBSCRIBE without some of its filters, and SUBACK with their answers.

use std::vec::Vec;

use super::properties::Properties;
use super::{Frame, Malformed, Version, write};
use crate::wire::Reader;

/// A request for messages (MQTT 5.0 §3.8).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subscribe<'a> {
    /// The packet ID.
    pub id: u16,
    /// Its properties.
    pub properties: Properties<'a>,
    /// Filters and their options; the filters are not checked.
    pub filters: Vec<(&'a [u8], u8)>,
}

impl<'a> Subscribe<'a> {
    /// The parts of a packet.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(frame: &Frame<'a>, version: Version) -> Result<Self, Malformed> {
        let mut reader = Reader(frame.body);
        let id = super::id::read(&mut reader)?;
        let properties = match version {
            Version::V5 => Properties::read(&mut reader)?,
            Version::V31 | Version::V311 => Properties::default(),
        };
        let mut filters = Vec::new();
        while !reader.0.is_empty() {
            let filter = reader.lp().ok_or(Malformed)?;
            filters.push((filter, reader.u8().ok_or(Malformed)?));
        }
        if filters.is_empty() { Err(Malformed) } else { Ok(Self { id, properties, filters }) }
    }

    /// Writes the packet with those filters that `keep` says, by their number.
    pub(in crate::proxy) fn write_some(
        &self,
        version: Version,
        keep: impl Fn(usize) -> bool,
        out: &mut Vec<u8>,
    ) {
        let kept = || self.filters.iter().enumerate().filter(|(at, _)| keep(*at)).map(|(_, f)| f);
        let filters = kept().map(|(filter, _)| write::lp_len(filter).saturating_add(1));
        let properties = match version {
            Version::V5 => write::properties_len(self.properties.as_bytes().len()),
            Version::V31 | Version::V311 => 0,
        };
        let len = filters.fold(properties.saturating_add(2), usize::saturating_add);
        // its lower half is reserved, and 2 (MQTT 5.0 §3.8.1)
        write::fixed(out, 0x82, len);
        out.extend_from_slice(&self.id.to_be_bytes());
        if version.is_5() {
            write::length(out, self.properties.as_bytes().len());
            out.extend_from_slice(self.properties.as_bytes());
        }
        for (filter, options) in kept() {
            write::lp(out, filter);
            out.push(*options);
        }
    }
}

/// The answer to SUBSCRIBE (MQTT 5.0 §3.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Suback<'a> {
    /// The packet ID.
    pub id: u16,
    /// Its properties.
    pub properties: Properties<'a>,
    /// One for each filter, in order.
    pub reasons: &'a [u8],
}

impl<'a> Suback<'a> {
    /// The parts of a packet.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(frame: &Frame<'a>, version: Version) -> Result<Self, Malformed> {
        let mut reader = Reader(frame.body);
        let id = super::id::read(&mut reader)?;
        let properties = match version {
            Version::V5 => Properties::read(&mut reader)?,
            Version::V31 | Version::V311 => Properties::default(),
        };
        Ok(Self { id, properties, reasons: reader.0 })
    }

    /// Writes the packet with these answers.
    pub(in crate::proxy) fn write_with(&self, version: Version, reasons: &[u8], out: &mut Vec<u8>) {
        let properties = match version {
            Version::V5 => write::properties_len(self.properties.as_bytes().len()),
            Version::V31 | Version::V311 => 0,
        };
        write::fixed(out, 0x90, properties.saturating_add(2).saturating_add(reasons.len()));
        out.extend_from_slice(&self.id.to_be_bytes());
        if version.is_5() {
            write::length(out, self.properties.as_bytes().len());
            out.extend_from_slice(self.properties.as_bytes());
        }
        out.extend_from_slice(reasons);
    }

    /// An answer that the proxy gives alone.
    pub(in crate::proxy) fn own(id: u16) -> Self {
        Self { id, properties: Properties::default(), reasons: &[] }
    }
}
