//! A client as MQTT wants it: it repeats what is not acknowledged, and says so by DUP.

use std::collections::{BTreeSet, VecDeque};

use mqtt_seal::proxy::packet::{Acknowledgement, Connack, Frame, Kind, Publish, Version};

use super::{ALIKE, Ledger, number_of, payload};
use crate::proxy::{TOPICS, packet, properties, publish, text};

/// Messages that wait for an acknowledgement at most, and their packet IDs, which go round.
const WINDOW: usize = 3;
const IDS: u16 = 5;

/// A message that is not acknowledged.
#[derive(Debug)]
struct Out {
    id: u16,
    number: u32,
    place: usize,
    qos: u8,
    /// PUBREC has come.
    received: bool,
}

impl Out {
    fn publish(&self, version: Version, dup: u8) -> Vec<u8> {
        let topic = TOPICS[self.place];
        let payload = payload(if topic == ALIKE { 0 } else { self.number });
        publish(version, self.qos << 1 | dup, topic, self.id, &[], &payload)
    }
}

/// The client.
#[derive(Debug)]
pub struct Client {
    version: Version,
    /// Whether it goes on with PUBREL although the broker has lost the session.
    releases: bool,
    /// Whether its next session is a new one.
    clean: bool,
    /// Whether the session ends with this connection.
    passing: bool,
    has_will: bool,
    connected: bool,
    out: Vec<Out>,
    window: usize,
    last_id: u16,
    last_number: u32,
    /// IDs that came free a moment ago: what says the same under one of them is the same message.
    warm: BTreeSet<u16>,
    /// Those that did so before the proxy stopped, until they stand for something else.
    stuck: BTreeSet<u16>,
    /// IDs of messages that were taken with PUBREC.
    held: BTreeSet<u16>,
    /// What is to be said of messages that came, and their numbers.
    acknowledgements: VecDeque<(u8, u16, u32)>,
}

impl Client {
    pub(super) fn new(version: Version, [releases, has_will]: [bool; 2]) -> Self {
        Self {
            version,
            releases,
            clean: false,
            passing: false,
            has_will,
            connected: false,
            out: vec![],
            window: WINDOW,
            last_id: 0,
            last_number: 0,
            warm: BTreeSet::new(),
            stuck: BTreeSet::new(),
            held: BTreeSet::new(),
            acknowledgements: VecDeque::new(),
        }
    }

    /// CONNECT.
    pub(super) fn connect(&mut self) -> Vec<u8> {
        self.passing = self.clean;
        let mut body = vec![];
        text(&mut body, b"MQTT");
        let level = if self.version.is_5() { 5 } else { 4 };
        let flags = u8::from(self.clean) << 1 | u8::from(self.has_will) << 2;
        body.extend_from_slice(&[level, flags, 0, 60]);
        properties(&mut body, self.version, &[0x11, 0, 0, 255, 255]);
        text(&mut body, b"pump-7");
        if self.has_will {
            properties(&mut body, self.version, &[]);
            text(&mut body, b"sealed/b");
            text(&mut body, &payload(0));
        }
        packet(0x10, &body)
    }

    pub(super) fn disconnected(&mut self) {
        self.connected = false;
        self.acknowledgements.clear();
    }

    /// The program starts anew: it knows nothing, and asks for a new session.
    pub(super) fn restart(&mut self) {
        self.out.clear();
        self.held.clear();
        (self.last_id, self.clean) = (0, true);
    }

    /// Whether it says that nothing comes again once it has left.
    pub(super) fn is_passing(&self) -> bool {
        self.passing
    }

    /// Whether it waits for nothing.
    pub(super) fn is_done(&self) -> bool {
        self.out.is_empty() && self.acknowledgements.is_empty()
    }

    /// Whether this packet ID waits for an acknowledgement; of which message.
    pub(super) fn waits_for(&self, id: u16) -> Option<u32> {
        self.out.iter().find(|out| out.id == id).map(|out| out.number)
    }

    /// Whether this message waits for an acknowledgement.
    pub(super) fn waits(&self, number: u32) -> bool {
        self.out.iter().any(|out| out.number == number)
    }

    /// Publishes, if it may: the packet, and the number of the message.
    pub(super) fn publish(&mut self, place: usize, qos: u8) -> Option<(Vec<u8>, u32)> {
        if !self.connected || self.out.len() >= self.window {
            return None;
        }
        let mut id = 0;
        if qos > 0 {
            // the lowest, as some clients do, or round
            let next = if TOPICS[place] == ALIKE { 1 } else { self.last_id % IDS + 1 };
            let is_free = |id: &u16| {
                let known = self.warm.contains(id) || self.stuck.contains(id);
                self.waits_for(*id).is_none() && !(TOPICS[place] == ALIKE && known)
            };
            id = (next..=IDS).chain(1..next).find(is_free)?;
            self.last_id = id;
        }
        self.last_number += 1;
        let out = Out { id, number: self.last_number, place, qos, received: false };
        let packet = out.publish(self.version, 0);
        if qos > 0 {
            self.out.push(out);
        }
        Some((packet, self.last_number))
    }

    /// The proxy stops, and will not delete what it was about to.
    pub(super) fn stopped(&mut self) {
        self.stuck.append(&mut self.warm);
    }

    /// A moment passes.
    pub(super) fn wait(&mut self) {
        self.warm.clear();
    }

    /// Acknowledges what came, in that order; what it says, and of which message.
    pub(super) fn acknowledge(&mut self, count: usize) -> Vec<(Vec<u8>, u32)> {
        let some = self.acknowledgements.drain(..count.min(self.acknowledgements.len()));
        some.map(|(first, id, number)| (packet(first, &id.to_be_bytes()), number)).collect()
    }

    /// Takes a packet; what it says to it at once.
    ///
    /// # Panics
    /// If that cannot be.
    pub(super) fn take(&mut self, frame: &Frame<'_>, ledger: &mut Ledger) -> Vec<Vec<u8>> {
        match frame.kind {
            Kind::Connack => return self.welcome(frame),
            Kind::Publish => self.deliver(frame, ledger),
            Kind::Pubrel => {
                let id = id(frame);
                self.held.remove(&id);
                return vec![packet(0x70, &id.to_be_bytes())];
            }
            Kind::Puback | Kind::Pubcomp => {
                let at = self.find(frame);
                let out = self.out.remove(at);
                assert_eq!(out.qos == 1, frame.kind == Kind::Puback, "{out:?}");
                self.stuck.remove(&out.id);
                self.warm.insert(out.id);
                ledger.acknowledged(TOPICS[out.place], out.number);
            }
            Kind::Pubrec => {
                let at = self.find(frame);
                let out = &mut self.out[at];
                assert_eq!(out.qos, 2, "{out:?}");
                out.received = true;
                ledger.acknowledged(TOPICS[out.place], out.number);
                return vec![packet(0x62, &out.id.to_be_bytes())];
            }
            Kind::Disconnect if self.version.is_5() => {}
            kind => panic!("{kind:?} to the client"),
        }
        vec![]
    }

    fn find(&self, frame: &Frame<'_>) -> usize {
        let acknowledgement = Acknowledgement::parse(frame).expect("an acknowledgement");
        assert!(!acknowledgement.is_refusal(), "{frame:?}");
        let known = self.out.iter().position(|out| out.id == acknowledgement.id);
        known.unwrap_or_else(|| panic!("{frame:?}, which nobody waits for: {:?}", self.out))
    }

    /// What is not acknowledged goes out again.
    fn welcome(&mut self, frame: &Frame<'_>) -> Vec<Vec<u8>> {
        let connack = Connack::parse(frame, self.version).expect("a CONNACK");
        assert_eq!(connack.reason, 0);
        (self.connected, self.clean) = (true, false);
        self.window = connack.receive_max().map_or(WINDOW, |max| WINDOW.min(max.into()));
        if !connack.session_present {
            self.held.clear();
            let releases = self.releases;
            self.out.iter_mut().for_each(|out| out.received &= releases);
        }
        let again = |out: &Out| {
            if out.received {
                return packet(0x62, &out.id.to_be_bytes());
            }
            out.publish(self.version, 8)
        };
        self.out.iter().map(again).collect()
    }

    fn deliver(&mut self, frame: &Frame<'_>, ledger: &mut Ledger) {
        let publish = Publish::parse(frame, self.version).expect("a PUBLISH");
        let number = number_of(publish.payload, b"far away").expect("from the other sender");
        let qos = publish.flags >> 1 & 3;
        let again = qos == 2 && !self.held.insert(publish.id);
        if !again {
            let topic = std::str::from_utf8(publish.topic).expect("a text");
            let times = ledger.arrived(topic, number);
            let may = qos < 2 || ledger.replayed.contains(&number);
            assert!(times == 1 || may, "{number} again, at QoS 2");
            assert!(!ledger.confirmed.contains(&number), "{number} again, after its confirmation");
        }
        match qos {
            0 => {}
            1 => self.acknowledgements.push_back((0x40, publish.id, number)),
            _ => self.acknowledgements.push_back((0x50, publish.id, number)),
        }
    }
}

fn id(frame: &Frame<'_>) -> u16 {
    Acknowledgement::parse(frame).expect("an acknowledgement").id
}
