//! MQTT in bytes, 3.1.1 and 5, and an end of a connection that reads and writes them. Blocks its
//! thread, no longer than the deadline.

use core::net::SocketAddr;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use super::DEADLINE;

/// The level of a version in CONNECT.
pub(crate) const V311: u8 = 4;
pub(crate) const V5: u8 = 5;

pub(crate) const CONNACK: u8 = 0x20;
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const PUBREL: u8 = 0x62;
pub(crate) const PUBCOMP: u8 = 0x70;
pub(crate) const DUP: u8 = 0x08;

/// One end of a connection.
pub(crate) struct Link(TcpStream);

/// The first byte of a packet, and what is behind its fixed header.
pub(crate) type Packet = (u8, Vec<u8>);

impl Link {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        Self::new(TcpStream::connect(address)?)
    }

    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Self(stream))
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.0
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// The next packet; an error when the other end has closed. Panics if nothing comes.
    pub(crate) fn receive(&mut self) -> io::Result<Packet> {
        let first = self.byte()?;
        let mut len = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            len |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; len];
        self.0.read_exact(&mut body).map_err(in_time)?;
        Ok((first, body))
    }

    /// Whether the other end closes without another byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.byte(), Err(error) if error.kind() != ErrorKind::WouldBlock)
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.0.read_exact(&mut byte).map_err(in_time)?;
        Ok(byte[0])
    }
}

fn in_time(error: io::Error) -> io::Error {
    assert!(error.kind() != ErrorKind::WouldBlock, "nothing came in {DEADLINE:?}");
    error
}

/// A packet of this first byte.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend(length(body.len()));
    bytes.extend(body);
    bytes
}

fn length(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A text with its length.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

/// CONNECT without will and login.
pub(crate) fn connect(version: u8, client_id: &str, clean: bool) -> Vec<u8> {
    let mut body = [text("MQTT"), vec![version, u8::from(clean) << 1, 0, 0]].concat();
    if version == V5 {
        // a session that is kept has to say so
        let expiry: &[u8] = if clean { &[0] } else { &[5, 0x11, 0, 0, 0xff, 0xff] };
        body.extend(expiry);
    }
    body.extend(text(client_id));
    packet(0x10, &body)
}

/// CONNACK of a broker that takes the client.
pub(crate) fn connack(version: u8, session_present: bool) -> Vec<u8> {
    let body = [u8::from(session_present), 0, 0];
    packet(CONNACK, &body[..if version == V5 { 3 } else { 2 }])
}

/// PUBLISH; `flags` are those of its first byte.
pub(crate) fn publish(version: u8, flags: u8, topic: &str, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    if flags & 6 != 0 {
        body.extend(id.to_be_bytes());
    }
    if version == V5 {
        body.push(0);
    }
    body.extend(payload);
    packet(0x30 | flags, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
pub(crate) fn acknowledge(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

/// The packet ID in front of a body.
pub(crate) fn id(body: &[u8]) -> u16 {
    u16::from_be_bytes([body[0], body[1]])
}

/// Topic, packet ID and payload of a PUBLISH of `QoS` 1 or 2, without properties.
pub(crate) fn read_publish(version: u8, body: &[u8]) -> (String, u16, Vec<u8>) {
    let len = usize::from(id(body));
    let topic = String::from_utf8(body[2..][..len].into()).unwrap();
    let rest = &body[2 + len..];
    let header = if version == V5 { 3 + usize::from(rest[2]) } else { 2 };
    (topic, id(rest), rest[header..].into())
}
