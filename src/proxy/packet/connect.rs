//! CONNECT: who connects, and with which will. Knows nothing of what a broker makes of it.

use core::fmt;
use std::vec::Vec;

use super::properties::Properties;
use super::publish::read_payload_properties;
use super::{Frame, Malformed, Version, write};
use crate::guard::QoS;
use crate::wire::Reader;
use crate::wire::property::Property;

/// The bit by which Mosquitto's bridges mark themselves in the protocol level.
const BRIDGE: u8 = 0x80;
const CLEAN: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER: u8 = 0x80;
/// The properties Maximum Packet Size, and Authentication Method and Data.
const MAX_PACKET: u8 = 0x27;
const AUTH: [u8; 2] = [0x15, 0x16];

/// The first packet of a client (MQTT 5.0 §3.1). `Debug` prints neither password nor will.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connect<'a> {
    /// The version.
    pub version: Version,
    /// Name and level of the protocol, as they stand.
    protocol: &'a [u8],
    /// The flags, as they stand.
    flags: u8,
    /// Seconds between signs of life; 0 for none.
    pub keep_alive: u16,
    /// Its properties.
    pub properties: Properties<'a>,
    /// The client ID; empty where the broker is to choose one.
    pub client_id: &'a str,
    /// The will.
    pub will: Option<Will<'a>>,
    /// User name and password, as they stand.
    login: &'a [u8],
}

/// What a broker publishes for a client that is cut off.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Will<'a> {
    /// Its quality of service.
    pub qos: QoS,
    /// Whether it is to be retained.
    pub retain: bool,
    /// Its properties.
    pub properties: Properties<'a>,
    /// Its topic. Not checked.
    pub topic: &'a [u8],
    /// Its payload.
    pub payload: &'a [u8],
}

impl<'a> Will<'a> {
    /// The five properties that belong to the payload, in order.
    ///
    /// # Errors
    /// [`Malformed`] if a text is none.
    pub fn payload_properties(&self, out: &mut Vec<Property<'a>>) -> Result<(), Malformed> {
        read_payload_properties(self.properties, out)
    }
}

impl<'a> Connect<'a> {
    /// The parts of a packet; `None` if its version is not known here.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(frame: &Frame<'a>) -> Result<Option<Self>, Malformed> {
        let mut reader = Reader(frame.body);
        let name = reader.lp().ok_or(Malformed)?;
        let level = reader.u8().ok_or(Malformed)?;
        let version = match (name, level & !BRIDGE) {
            (b"MQIsdp", 3) => Version::V31,
            (b"MQTT", 4) => Version::V311,
            (b"MQTT", 5) => Version::V5,
            (b"MQIsdp" | b"MQTT", _) => return Ok(None),
            _ => return Err(Malformed),
        };
        let protocol = frame.body.get(..name.len().saturating_add(3)).ok_or(Malformed)?;
        Self::rest(reader, version, protocol).map(Some)
    }

    fn rest(
        mut reader: Reader<'a>,
        version: Version,
        protocol: &'a [u8],
    ) -> Result<Self, Malformed> {
        let flags = reader.u8().ok_or(Malformed)?;
        let keep_alive = u16::from_be_bytes(reader.array().ok_or(Malformed)?);
        let properties = optional(&mut reader, version)?;
        let client_id = reader.lp_text().ok_or(Malformed)?;
        let will = match flags & WILL {
            0 => None,
            _ => Some(will(&mut reader, version, flags)?),
        };
        let login = reader.0;
        for present in [USER, PASSWORD] {
            if flags & present != 0 {
                reader.lp().ok_or(Malformed)?;
            }
        }
        if reader.0.is_empty() && flags & 1 == 0 {
            Ok(Self { version, protocol, flags, keep_alive, properties, client_id, will, login })
        } else {
            Err(Malformed)
        }
    }

    /// Whether the broker is to forget what it kept for the client.
    #[must_use]
    pub const fn clean(&self) -> bool {
        self.flags & CLEAN != 0
    }

    /// Whether it has a password or a user name, or begins extended authentication, whose data may
    /// follow in AUTH.
    #[must_use]
    pub fn has_credentials(&self) -> bool {
        self.flags & (USER | PASSWORD) != 0
            || AUTH.iter().any(|id| self.properties.get(*id).is_some())
    }

    /// Bytes of the largest packet that the client takes, if it says so.
    #[must_use]
    pub fn max_packet(&self) -> Option<u32> {
        self.properties.number(MAX_PACKET)
    }

    /// Writes the same packet with another limit for packets, and another will of the same flags:
    /// its properties, without their length, and its payload.
    pub(in crate::proxy) fn write_with(
        &self,
        max_packet: Option<u32>,
        will: Option<(&[u8], &[u8])>,
        out: &mut Vec<u8>,
    ) {
        let mut properties = Vec::new();
        for setting in self.properties.iter().filter(|setting| setting.id != MAX_PACKET) {
            properties.extend_from_slice(setting.raw);
        }
        if let Some(max) = max_packet {
            properties.push(MAX_PACKET);
            properties.extend_from_slice(&max.to_be_bytes());
        }
        let mut body = Vec::new();
        body.extend_from_slice(self.protocol);
        body.push(self.flags);
        body.extend_from_slice(&self.keep_alive.to_be_bytes());
        self.put_properties(&properties, &mut body);
        write::lp(&mut body, self.client_id.as_bytes());
        if let (Some(Will { topic, .. }), Some((properties, payload))) = (self.will, will) {
            self.put_properties(properties, &mut body);
            write::lp(&mut body, topic);
            write::lp(&mut body, payload);
        }
        body.extend_from_slice(self.login);
        write::fixed(out, 0x10, body.len());
        out.extend_from_slice(&body);
        zeroize::Zeroize::zeroize(&mut body);
    }

    /// Writes the CONNECT of another connection that only publishes: under another client ID, with
    /// a clean start, without will, credentials and properties.
    pub(in crate::proxy) fn write_plain(&self, client_id: &str, out: &mut Vec<u8>) {
        let properties = usize::from(self.version.is_5());
        let len = self.protocol.len().saturating_add(3).saturating_add(properties);
        write::fixed(out, 0x10, len.saturating_add(write::lp_len(client_id.as_bytes())));
        out.extend_from_slice(self.protocol);
        out.push(CLEAN);
        out.extend_from_slice(&self.keep_alive.to_be_bytes());
        self.put_properties(&[], out);
        write::lp(out, client_id.as_bytes());
    }

    fn put_properties(&self, properties: &[u8], out: &mut Vec<u8>) {
        if self.version.is_5() {
            write::length(out, properties.len());
            out.extend_from_slice(properties);
        }
    }
}

fn optional<'a>(reader: &mut Reader<'a>, version: Version) -> Result<Properties<'a>, Malformed> {
    if version.is_5() { Properties::read(reader) } else { Ok(Properties::default()) }
}

fn will<'a>(reader: &mut Reader<'a>, version: Version, flags: u8) -> Result<Will<'a>, Malformed> {
    let qos = match (flags >> 3) & 3 {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        2 => QoS::ExactlyOnce,
        _ => return Err(Malformed),
    };
    Ok(Will {
        qos,
        retain: flags & WILL_RETAIN != 0,
        properties: optional(reader, version)?,
        topic: reader.lp().ok_or(Malformed)?,
        payload: reader.lp().ok_or(Malformed)?,
    })
}

impl fmt::Debug for Connect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("version", &self.version)
            .field("client_id", &self.client_id)
            .field("clean", &self.clean())
            .field("keep_alive", &self.keep_alive)
            .field("will", &self.will)
            .field("login", &(self.flags & (USER | PASSWORD) != 0))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Will<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { qos, retain, payload, .. } = self;
        write!(f, "Will({qos}, retain {retain}, {} bytes)", payload.len())
    }
}
