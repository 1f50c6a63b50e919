//! What a network capture shows of MQTT: who connected, and what was published. Knows no key.

mod packet;
mod segments;
mod stream;

use std::collections::HashMap;

pub(crate) use segments::is_capture;

use crate::fault::Fault;
use packet::{Connect, Front, Packet, Publish};
use segments::{Direction, Segment};
use stream::Stream;

/// Bytes of a direction that may wait until it is known what is spoken.
const MAX_UNKNOWN: usize = 64 << 10;

/// Something that was seen, in the order of the capture.
#[derive(Debug)]
pub(crate) enum Seen<'a> {
    /// A client said who it is.
    Connect {
        level: u8,
        client_id: &'a str,
        user_name: Option<&'a str>,
        /// Whether a password went by, for anybody to read.
        password: bool,
    },
    /// A message, or a will.
    Message { topic: &'a str, payload: &'a [u8], will: bool },
    /// A message under a topic alias that was agreed on before the capture began.
    UnknownAlias { alias: u16, len: usize },
    /// A connection by TLS, and the bytes that it carried there and back. Told at the end.
    Tls { there: u64, back: u64 },
    /// Bytes are missing in the capture: nothing more of this direction is shown.
    Hole,
    /// No packet of MQTT: nothing more of this direction is shown.
    Malformed,
}

/// Reads a capture file; tells each thing with the connection's direction.
pub(crate) fn read(
    capture: &[u8],
    mut tell: impl FnMut(String, &Seen<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut talks = Talks::default();
    segments::each(capture, |segment| talks.take(segment, &mut tell))?;
    talks.end(&mut tell)
}

/// All connections, by the direction that was seen first; in that order.
#[derive(Debug, Default)]
struct Talks {
    places: HashMap<Direction, usize>,
    talks: Vec<Talk>,
}

type Tell<'a> = &'a mut dyn FnMut(String, &Seen<'_>) -> Result<(), Fault>;

impl Talks {
    fn take(&mut self, segment: &Segment<'_>, tell: Tell<'_>) -> Result<(), Fault> {
        let (direction, back) = (segment.direction, segment.direction.back());
        let there = !self.places.contains_key(&back);
        let key = if there { direction } else { back };
        // a port that is used again is another connection
        let known = self.places.get(&key).copied();
        let old = known.filter(|place| {
            !(there && segment.syn && self.talks.get(*place).is_some_and(Talk::has_bytes))
        });
        let place = old.unwrap_or(self.talks.len());
        if old.is_none() {
            self.places.insert(key, place);
            self.talks.push(Talk::new(key));
        }
        match self.talks.get_mut(place) {
            Some(talk) => talk.take(segment, there, tell),
            None => Ok(()),
        }
    }

    fn end(&self, tell: Tell<'_>) -> Result<(), Fault> {
        self.talks.iter().try_for_each(|talk| talk.end(&mut *tell))
    }
}

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Unknown,
    /// MQTT of this protocol level.
    Mqtt(u8),
    Tls,
    Other,
}

/// One connection.
#[derive(Debug)]
struct Talk {
    direction: Direction,
    spoken: Spoken,
    there: Half,
    back: Half,
}

#[derive(Debug, Default)]
struct Half {
    stream: Stream,
    /// What is in order and not read yet.
    bytes: Vec<u8>,
    count: u64,
    aliases: HashMap<u16, String>,
    /// Whether nothing more of it is shown.
    over: bool,
}

impl Talk {
    fn new(direction: Direction) -> Self {
        let (there, back) = (Half::default(), Half::default());
        Self { direction, spoken: Spoken::Unknown, there, back }
    }

    const fn has_bytes(&self) -> bool {
        self.there.count > 0
    }

    fn take(&mut self, segment: &Segment<'_>, there: bool, tell: Tell<'_>) -> Result<(), Fault> {
        let half = if there { &mut self.there } else { &mut self.back };
        let new = half.stream.take(segment.number, segment.syn, segment.data);
        half.count = half.count.saturating_add(u64::try_from(new.len()).unwrap_or(u64::MAX));
        if !half.over {
            half.bytes.extend(new);
        }
        if self.spoken == Spoken::Unknown {
            self.spoken = spoken(&half.bytes);
        }
        match self.spoken {
            Spoken::Mqtt(level) => {
                let (there, back) = (self.direction, self.direction.back());
                self.there.read(level, there, tell)?;
                self.back.read(level, back, tell)
            }
            Spoken::Unknown if half.bytes.len() <= MAX_UNKNOWN => Ok(()),
            Spoken::Tls | Spoken::Other | Spoken::Unknown => {
                (self.there.bytes, self.back.bytes) = (Vec::new(), Vec::new());
                Ok(())
            }
        }
    }

    fn end(&self, tell: Tell<'_>) -> Result<(), Fault> {
        match self.spoken {
            Spoken::Tls => {
                let seen = Seen::Tls { there: self.there.count, back: self.back.count };
                tell(self.direction.to_string(), &seen)
            }
            Spoken::Mqtt(_) => {
                let halves = [(self.direction, &self.there), (self.direction.back(), &self.back)];
                let holes = halves.into_iter().filter(|(_, half)| half.stream.has_hole());
                holes.into_iter().try_for_each(|(way, _)| tell(way.to_string(), &Seen::Hole))
            }
            Spoken::Unknown | Spoken::Other => Ok(()),
        }
    }
}

/// What a direction that begins with `bytes` speaks.
fn spoken(bytes: &[u8]) -> Spoken {
    // a handshake record of TLS 1.x (RFC 8446 §5.1)
    if let [0x16, 0x03, ..] = bytes {
        return Spoken::Tls;
    }
    match (bytes.first(), packet::front(bytes)) {
        // 0x20 is the broker's side, before the client's was captured
        (None | Some(0x20), _) | (Some(0x10), Front::Cut) => Spoken::Unknown,
        (_, Front::Packet(packet, _)) => {
            packet.connect().map_or(Spoken::Other, |connect| Spoken::Mqtt(connect.level))
        }
        (_, Front::Cut | Front::Malformed) => Spoken::Other,
    }
}

impl Half {
    fn read(&mut self, level: u8, way: Direction, tell: Tell<'_>) -> Result<(), Fault> {
        let mut bytes = core::mem::take(&mut self.bytes);
        let mut read = 0_usize;
        while !self.over {
            match packet::front(bytes.get(read..).unwrap_or_default()) {
                Front::Cut => break,
                Front::Malformed => self.give_up(way, tell)?,
                Front::Packet(packet, len) => {
                    self.tell(level, &packet, way, tell)?;
                    read = read.saturating_add(len);
                }
            }
        }
        if !self.over {
            bytes.drain(..read);
            self.bytes = bytes;
        }
        Ok(())
    }

    fn give_up(&mut self, way: Direction, tell: Tell<'_>) -> Result<(), Fault> {
        self.over = true;
        tell(way.to_string(), &Seen::Malformed)
    }

    fn tell(
        &mut self,
        level: u8,
        packet: &Packet<'_>,
        way: Direction,
        tell: Tell<'_>,
    ) -> Result<(), Fault> {
        if let Some(connect) = packet.connect() {
            return tell_connect(&connect, way, tell);
        }
        if !packet.is_publish() {
            return Ok(());
        }
        match packet.publish(level) {
            Some(publish) => self.tell_publish(&publish, way, tell),
            None => self.give_up(way, tell),
        }
    }

    fn tell_publish(
        &mut self,
        publish: &Publish<'_>,
        way: Direction,
        tell: Tell<'_>,
    ) -> Result<(), Fault> {
        let (mut topic, payload) = (publish.topic, publish.payload);
        if publish.alias != 0 && !topic.is_empty() {
            self.aliases.insert(publish.alias, topic.to_owned());
        } else if publish.alias != 0 {
            let Some(known) = self.aliases.get(&publish.alias) else {
                let seen = Seen::UnknownAlias { alias: publish.alias, len: payload.len() };
                return tell(way.to_string(), &seen);
            };
            topic = known;
        }
        tell(way.to_string(), &Seen::Message { topic, payload, will: false })
    }
}

fn tell_connect(connect: &Connect<'_>, way: Direction, tell: Tell<'_>) -> Result<(), Fault> {
    let Connect { level, client_id, user_name, password, .. } = *connect;
    tell(way.to_string(), &Seen::Connect { level, client_id, user_name, password })?;
    match connect.will {
        Some((topic, payload)) => {
            tell(way.to_string(), &Seen::Message { topic, payload, will: true })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
