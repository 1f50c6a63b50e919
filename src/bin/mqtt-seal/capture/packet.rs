//! The few packets of MQTT that tell something: CONNECT and PUBLISH, of 3.1, 3.1.1 and 5. Reads
//! what others sent; sends nothing.

/// Reads fields off the front of bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.bytes(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        self.bytes(2)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }

    fn binary(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.bytes(usize::from(len))
    }

    fn text(&mut self) -> Option<&'a str> {
        core::str::from_utf8(self.binary()?).ok()
    }

    /// A variable byte integer of 1 to 4 bytes (MQTT 5.0 §1.5.5).
    fn length(&mut self) -> Option<usize> {
        let mut length = 0_usize;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            length |= usize::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(length);
            }
        }
        None
    }

    /// Properties of MQTT 5; gives the topic alias, the one that a reader needs, or 0, which is none.
    fn properties(&mut self) -> Option<u16> {
        let len = self.length()?;
        let mut all = Fields(self.bytes(len)?);
        let mut alias = 0;
        while let Some(id) = all.u8() {
            let rest = match id {
                0x23 => {
                    alias = all.u16()?;
                    0
                }
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => 1,
                0x13 | 0x21 | 0x22 => 2,
                0x02 | 0x11 | 0x18 | 0x27 => 4,
                0x0B => {
                    all.length()?;
                    0
                }
                0x26 => {
                    all.binary()?;
                    usize::from(all.u16()?)
                }
                0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => {
                    usize::from(all.u16()?)
                }
                _ => return None,
            };
            all.bytes(rest)?;
        }
        Some(alias)
    }
}

/// A packet: its first byte and what follows the length.
#[derive(Debug)]
pub(super) struct Packet<'a> {
    first: u8,
    body: Fields<'a>,
}

/// What the front of bytes is.
#[derive(Debug)]
pub(super) enum Front<'a> {
    Packet(Packet<'a>, usize),
    /// The rest of it is not there.
    Cut,
    Malformed,
}

/// The packet at the front of `bytes`, and its length.
pub(super) fn front(bytes: &[u8]) -> Front<'_> {
    let mut fields = Fields(bytes);
    let Some(first) = fields.u8() else { return Front::Cut };
    let Some(len) = fields.length() else {
        return if bytes.len() < 5 { Front::Cut } else { Front::Malformed };
    };
    match fields.bytes(len) {
        Some(body) => {
            let len = bytes.len().saturating_sub(fields.0.len());
            Front::Packet(Packet { first, body: Fields(body) }, len)
        }
        None => Front::Cut,
    }
}

/// A CONNECT, without its secrets.
#[derive(Debug)]
pub(super) struct Connect<'a> {
    /// 3, 4 or 5: MQTT 3.1, 3.1.1, 5.
    pub(super) level: u8,
    pub(super) client_id: &'a str,
    /// Topic and payload.
    pub(super) will: Option<(&'a str, &'a [u8])>,
    pub(super) user_name: Option<&'a str>,
    pub(super) password: bool,
}

/// A PUBLISH.
#[derive(Debug)]
pub(super) struct Publish<'a> {
    /// Empty where the alias stands for it.
    pub(super) topic: &'a str,
    /// 0 if there is none.
    pub(super) alias: u16,
    pub(super) payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// The packet as a CONNECT, if it is one.
    pub(super) fn connect(&self) -> Option<Connect<'a>> {
        if self.first != 0x10 {
            return None;
        }
        let mut body = self.body;
        let level = match (body.binary()?, body.u8()?) {
            (b"MQIsdp", 3) => 3,
            (b"MQTT", level @ (4 | 5)) => level,
            _ => return None,
        };
        let (flags, _keep_alive) = (body.u8()?, body.u16()?);
        if level == 5 {
            body.properties()?;
        }
        let client_id = body.text()?;
        let mut will = None;
        if flags & 0x04 != 0 {
            if level == 5 {
                body.properties()?;
            }
            will = Some((body.text()?, body.binary()?));
        }
        let user_name = if flags & 0x80 == 0 { None } else { Some(body.text()?) };
        Some(Connect { level, client_id, will, user_name, password: flags & 0x40 != 0 })
    }

    /// Whether it is a PUBLISH, well formed or not.
    pub(super) const fn is_publish(&self) -> bool {
        self.first >> 4 == 3
    }

    /// The fields of a PUBLISH of this protocol level; `None` if it is malformed.
    pub(super) fn publish(&self, level: u8) -> Option<Publish<'a>> {
        let mut body = self.body;
        let topic = body.text()?;
        if self.first & 0x06 != 0 {
            body.u16()?;
        }
        let alias = if level == 5 { body.properties()? } else { 0 };
        Some(Publish { topic, alias, payload: body.0 })
    }
}
