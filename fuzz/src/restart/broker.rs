//! A broker as MQTT wants it, and the session of one client there.

use std::collections::{BTreeSet, VecDeque};

use mqtt_seal::proxy::packet::{Acknowledgement, Connect, Frame, Kind, Publish, Version};

use super::Ledger;
use crate::proxy::{packet, properties, publish};

/// Messages that the client has not acknowledged at most, and their packet IDs, which go round.
const WINDOW: usize = 3;
const IDS: u16 = 5;

/// A message for the client.
#[derive(Debug, Clone)]
pub struct Far {
    pub number: u32,
    pub topic: &'static str,
    pub qos: u8,
    pub sealed: Vec<u8>,
    /// Whether it came before: nobody waits for it.
    pub again: bool,
}

#[derive(Debug)]
struct Inflight {
    id: u16,
    far: Far,
    /// PUBREC has come.
    received: bool,
}

/// The broker.
#[derive(Debug)]
pub struct Broker {
    version: Version,
    /// Whether it takes one message at a time.
    narrow: bool,
    /// Whether there is a session, and whether it outlives its connection.
    present: bool,
    keeps: bool,
    connected: bool,
    /// IDs of messages of `QoS` 2 that are not released.
    held: BTreeSet<u16>,
    queue: VecDeque<Far>,
    inflight: Vec<Inflight>,
    last_id: u16,
}

impl Broker {
    pub(super) fn new(version: Version, narrow: bool) -> Self {
        Self {
            version,
            narrow,
            present: false,
            keeps: false,
            connected: false,
            held: BTreeSet::new(),
            queue: VecDeque::new(),
            inflight: vec![],
            last_id: 0,
        }
    }

    /// Forgets the client.
    pub(super) fn forget(&mut self) {
        *self = Self { connected: self.connected, ..Self::new(self.version, self.narrow) };
    }

    /// The connection is no more.
    pub(super) fn disconnected(&mut self) {
        if std::mem::take(&mut self.connected) && !self.keeps {
            self.forget();
        }
    }

    /// Whether it waits for nothing.
    pub(super) fn is_done(&self) -> bool {
        self.queue.is_empty() && self.inflight.is_empty()
    }

    /// A message comes for the client; what is sent at once.
    pub(super) fn bring(&mut self, far: Far) -> Vec<Vec<u8>> {
        // as many brokers do
        if far.qos == 0 && !self.connected {
            return vec![];
        }
        self.queue.push_back(far);
        self.send()
    }

    fn send(&mut self) -> Vec<Vec<u8>> {
        let mut packets = vec![];
        while self.connected && self.inflight.len() < WINDOW {
            let Some(far) = self.queue.pop_front() else { break };
            if far.qos == 0 {
                packets.push(publish(self.version, 0, far.topic, 0, &[], &far.sealed));
                continue;
            }
            while self.last_id == 0 || self.inflight.iter().any(|one| one.id == self.last_id) {
                self.last_id = self.last_id % IDS + 1;
            }
            let one = Inflight { id: self.last_id, far, received: false };
            self.last_id = self.last_id % IDS + 1;
            packets.push(one.publish(self.version, 0));
            self.inflight.push(one);
        }
        packets
    }

    /// Takes a packet; what it says to it at once.
    ///
    /// # Panics
    /// If that cannot be.
    pub(super) fn take(&mut self, frame: &Frame<'_>, ledger: &mut Ledger) -> Vec<Vec<u8>> {
        assert_eq!(self.connected, frame.kind != Kind::Connect, "{frame:?}");
        match frame.kind {
            Kind::Connect => return self.connect(frame),
            Kind::Publish => return self.publish(frame, ledger),
            Kind::Disconnect => {}
            Kind::Pingreq => return vec![packet(0xD0, &[])],
            Kind::Puback | Kind::Pubrec | Kind::Pubrel | Kind::Pubcomp => {
                return self.acknowledged(frame, ledger);
            }
            kind => panic!("{kind:?} to the broker"),
        }
        vec![]
    }

    fn connect(&mut self, frame: &Frame<'_>) -> Vec<Vec<u8>> {
        let connect = Connect::parse(frame).expect("a CONNECT").expect("of a known version");
        if connect.clean() {
            self.forget();
        }
        let present = self.present;
        (self.present, self.connected) = (true, true);
        self.keeps = match self.version.is_5() {
            true => connect.properties.number(0x11).is_some_and(|seconds| seconds > 0),
            false => !connect.clean(),
        };
        let mut body = vec![u8::from(present), 0];
        properties(&mut body, self.version, if self.narrow { &[0x21, 0, 1] } else { &[] });
        let mut packets = vec![packet(0x20, &body)];
        packets.extend(self.inflight.iter().map(|one| one.again(self.version)));
        packets.extend(self.send());
        packets
    }

    fn publish(&mut self, frame: &Frame<'_>, ledger: &mut Ledger) -> Vec<Vec<u8>> {
        let publish = Publish::parse(frame, self.version).expect("a PUBLISH");
        let qos = publish.flags >> 1 & 3;
        if qos < 2 || self.held.insert(publish.id) {
            ledger.subscriber.take(&publish);
        }
        match qos {
            0 => vec![],
            1 => vec![packet(0x40, &publish.id.to_be_bytes())],
            _ => vec![packet(0x50, &publish.id.to_be_bytes())],
        }
    }

    fn acknowledged(&mut self, frame: &Frame<'_>, ledger: &mut Ledger) -> Vec<Vec<u8>> {
        let id = Acknowledgement::parse(frame).expect("an acknowledgement").id;
        let body = id.to_be_bytes();
        let at = self.inflight.iter().position(|one| one.id == id);
        match (frame.kind, at) {
            (Kind::Pubrel, _) => {
                self.held.remove(&id);
                return vec![packet(0x70, &body)];
            }
            (Kind::Puback, Some(at)) if self.inflight[at].far.qos == 1 => {
                ledger.done(&self.inflight.remove(at).far);
                return self.send();
            }
            (Kind::Pubrec, at) => {
                if let Some(at) = at {
                    ledger.done(&self.inflight[at].far);
                    self.inflight[at].received = true;
                }
                return vec![packet(0x62, &body)];
            }
            (Kind::Pubcomp, Some(at)) if self.inflight[at].received => {
                self.inflight.remove(at);
                return self.send();
            }
            // the session in which it was asked for is lost
            (_, None) => vec![],
            (kind, Some(at)) => panic!("{kind:?} for {:?}", self.inflight[at]),
        }
    }
}

impl Inflight {
    fn publish(&self, version: Version, dup: u8) -> Vec<u8> {
        let flags = self.far.qos << 1 | dup;
        publish(version, flags, self.far.topic, self.id, &[], &self.far.sealed)
    }

    fn again(&self, version: Version) -> Vec<u8> {
        if self.received {
            return packet(0x62, &self.id.to_be_bytes());
        }
        self.publish(version, 8)
    }
}
