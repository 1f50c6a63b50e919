//! Two sessions that are told the same: one packet by packet, the other in pieces.

use mqtt_seal::policy::Links;
use mqtt_seal::proxy::fuzzing::{Connection, Shared, Side};
use mqtt_seal::proxy::packet::{Frame, Kind, Version};

use super::oracle::Reader;
use super::{NOW, Observer, frames, is_sealed, keyring, rules};
use crate::packet::{Meaning, ours};

/// The ends, in the order of every array of three.
pub const SIDES: [Side; 3] = [Side::Client, Side::Main, Side::Plain];
/// Bytes of the largest packet that is taken in.
const MAX_PACKET: usize = 4_096;

/// What was written to each side.
pub type Written = [Vec<u8>; 3];

struct End {
    shared: Shared,
    connection: Connection,
    inbox: [Vec<u8>; 3],
    readers: [Reader; 3],
    ended: Option<String>,
    packets: u64,
    /// Whether there is a plain link beside the main one.
    plain: bool,
    /// Bytes of what one packet may have been at most.
    longest: usize,
}

impl End {
    fn new(shared: Shared, number: u64, version: Version) -> Self {
        let connection = Connection::new(&shared, number);
        let readers = SIDES.map(|_| Reader::new(version));
        Self {
            shared,
            connection,
            inbox: Default::default(),
            readers,
            ended: None,
            packets: 0,
            plain: false,
            longest: 0,
        }
    }

    fn feed(&mut self, side: usize, bytes: &[u8], piece: usize) -> Written {
        for piece in bytes.chunks(piece.max(1)) {
            self.inbox[side].extend_from_slice(piece);
            self.longest = self.longest.max(self.inbox[side].len());
            self.pump();
        }
        SIDES.map(|side| self.connection.written(side))
    }

    /// Deals with what can be dealt with.
    fn pump(&mut self) {
        let mut moved = true;
        while moved && self.ended.is_none() {
            moved = false;
            for (side, inbox) in SIDES.into_iter().zip(&mut self.inbox) {
                match self.connection.take(side, inbox, NOW) {
                    Ok((bytes, packets)) => {
                        inbox.drain(..bytes);
                        self.packets += packets;
                        moved |= packets > 0;
                    }
                    Err(ended) => {
                        // the last of them could not be dealt with
                        self.packets += whole(inbox);
                        self.ended = Some(ended);
                        return;
                    }
                }
            }
            let opened = self.connection.open_plain();
            self.plain |= opened;
            moved |= opened;
        }
    }
}

/// Both sessions.
pub struct Pair {
    ends: [End; 2],
    observer: Observer,
    version: Version,
    number: u64,
    /// Whether both may write something else from now on: where the order of packets from two
    /// sides is not the only one, or one was mangled that is random.
    pub ambiguous: bool,
}

impl Pair {
    /// A proxy with these links, and its first connection.
    #[must_use]
    pub fn new(links: Links, version: Version) -> Self {
        let end = || End::new(Shared::new(rules(), keyring(), links, MAX_PACKET), 1, version);
        let ends = [end(), end()];
        Self { ends, observer: Observer::default(), version, number: 1, ambiguous: false }
    }

    /// The client connects again.
    pub fn reconnect(&mut self) {
        self.number += 1;
        for end in &mut self.ends {
            *end = End::new(end.shared.clone(), self.number, self.version);
        }
    }

    /// Bytes by which sealing lengthens a packet at most.
    #[must_use]
    pub fn growth(&self) -> usize {
        self.ends[0].shared.growth() as usize
    }

    /// Packets that were dealt with on this connection.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.ends[0].packets
    }

    /// Bytes of the longest packet of this connection at most.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.ends[0].longest
    }

    /// Whether anything can come from `side`.
    #[must_use]
    pub fn has(&self, side: usize) -> bool {
        !matches!(SIDES[side], Side::Plain) || self.ends[0].plain
    }

    /// Whether nothing more comes.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ends[0].ended.is_some() || self.ends[0].connection.is_over()
    }

    /// Gives one packet to both, in pieces to the second, and compares what they write.
    ///
    /// # Panics
    /// If it differs.
    pub fn feed(&mut self, side: usize, packets: [&[u8]; 2], piece: usize) -> [Written; 2] {
        let waits = |at: usize| !self.ends[0].inbox[at].is_empty();
        let one = Frame::first(packets[0], usize::MAX);
        let one = one.is_ok_and(|one| one.is_some_and(|one| one.bytes.len() == packets[0].len()));
        // random bytes behind half a packet come to stand for something else
        self.ambiguous |= waits(side) && packets[0] != packets[1];
        // what is more than one packet may be dealt with before or after what waits there
        self.ambiguous |= (waits(side) || !one) && (0..3).any(|at| at != side && waits(at));
        let [first, second] = &mut self.ends;
        let written =
            [first.feed(side, packets[0], usize::MAX), second.feed(side, packets[1], piece)];
        if !self.ambiguous {
            let [first, second] = &mut self.ends;
            assert_eq!(first.ended, second.ended);
            for (at, readers) in first.readers.iter_mut().zip(&mut second.readers).enumerate() {
                let a = essence(&written[0][at], readers.0, &mut self.observer, at);
                let b = essence(&written[1][at], readers.1, &mut self.observer, at);
                assert_eq!(a, b, "to {:?}", SIDES[at]);
            }
        }
        written
    }
}

/// How many packets stand in `bytes`, and one that may be none.
fn whole(mut bytes: &[u8]) -> u64 {
    let mut count = 1;
    while let Ok(Some(frame)) = Frame::first(bytes, usize::MAX) {
        bytes = &bytes[frame.bytes.len()..];
        count += 1;
    }
    count
}

/// The packets of `bytes` without what is random: sealed payloads are opened.
fn essence(bytes: &[u8], reader: &mut Reader, observer: &mut Observer, at: usize) -> Vec<Vec<u8>> {
    let one = |frame: &_| match reader.message(frame) {
        Some(message) if at != 0 && is_sealed(&message.topic) => {
            let head = frame.bytes.len() - message.payload.len();
            let opened = observer.open(&message.topic, message.payload, &message.properties);
            [&frame.bytes[..head], &opened.unwrap_or_default()].concat()
        }
        // sealed bytes that were brought under a topic that is not sealed
        Some(message) if at == 0 && message.payload.first() == Some(&0xFC) => {
            frame.bytes[..frame.bytes.len() - message.payload.len()].to_vec()
        }
        None if frame.kind == Kind::Connect => {
            let Ok(Some(Meaning::Connect(mut connect))) = ours(frame, Version::V5) else {
                panic!("no CONNECT: {frame:?}")
            };
            // random, and checked elsewhere
            connect.will.iter_mut().for_each(|will| will.payload.clear());
            format!("{connect:?}").into_bytes()
        }
        _ => frame.bytes.to_vec(),
    };
    frames(bytes).iter().map(one).collect()
}
