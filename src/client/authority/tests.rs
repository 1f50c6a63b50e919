//! The engine at a broker that is a map, with devices that are real.

mod property;
mod rotation;
mod texts;

use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

use super::*;
use crate::keyring::{Grant, State};
use crate::peer::{BrokerName, Device as Peer, Hop, Names, PeerId, PeerKey, Record, RequestError};
use crate::secret::SharedKey;
use crate::session::{Entropy, NoEntropy};
use crate::store::key_file::{KeyFile, Share};
use crate::store::ledger_file::{DeviceRow, Granted, Loaded, Progress, Rotation, Settings};
use crate::topic::TopicName;
use crate::update::{Entry, KeyState, Publisher, Received, Receiver, Snapshot, UpdateError};

const START: u64 = 1_800_000_000_000;
const BROKER: &str = "b:1883";

/// Draws other bytes each time.
#[derive(Default)]
struct Counting(u64);

impl Entropy for Counting {
    fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), NoEntropy> {
        self.0 = self.0.wrapping_add(1);
        *out = [0x5A; 32];
        out[..8].copy_from_slice(&self.0.to_be_bytes());
        Ok(())
    }
}

fn settings() -> Settings {
    Settings::new("r", "authority", "p").unwrap()
}

fn id(number: usize) -> String {
    format!("d{number}")
}

/// The pairwise key of a device.
fn pairwise(number: usize) -> SharedKey {
    SharedKey::take(&mut [u8::try_from(number).unwrap().wrapping_add(1); 32])
}

fn row(number: usize) -> DeviceRow {
    let node = Share::Node(TopicName::parse("plant/a").unwrap().path(2));
    DeviceRow::new(pairwise(number), vec![Granted::new(node)], number == 0, START)
}

fn first_keys() -> KeyFile {
    let mut keys = KeyFile::generate("r", &mut Counting(1_000)).unwrap();
    keys.allot("d0").unwrap();
    keys
}

fn order(past: u32, ordered: u64) -> Rotation {
    Rotation { past, ordered, patience: 100, retire: 50 }
}

/// A device: what it has stored, and what it could not say.
struct Member {
    receiver: Receiver,
    snapshot: Option<Snapshot>,
    /// An acknowledgement that is on its way.
    ack: Option<Vec<u8>>,
    /// The contents of each serial that it has seen.
    contents: BTreeMap<u64, Vec<u8>>,
}

impl Member {
    fn new(number: usize) -> Self {
        let name = id(number);
        let peer = PeerId::parse(&name).unwrap();
        let topics = settings().topics(peer).unwrap();
        let receiver = Receiver::new(&pairwise(number), "r", peer, topics, Some(0)).unwrap();
        Self { receiver, snapshot: None, ack: None, contents: BTreeMap::new() }
    }

    /// Takes the retained message.
    fn take(&mut self, payload: &[u8], now: u64, rng: &mut Counting) {
        let topic = self.receiver.topics().keys().to_string();
        let ack = match self.receiver.open(&topic, payload, true, Some(now)) {
            Ok(Received::New(update)) => {
                let (snapshot, ack) = update.stored();
                let text = snapshot.encode().to_vec();
                let known = self.contents.entry(ack.serial()).or_insert_with(|| text.clone());
                assert_eq!(*known, text, "a serial was used twice");
                self.snapshot = Some(snapshot);
                ack
            }
            Ok(Received::Known(ack)) => ack,
            Err(UpdateError::Rejected(_)) => return,
            Err(error) => panic!("{error}"),
        };
        let mut sealed = Vec::new();
        self.receiver.acknowledge(ack, rng, &[], &mut sealed).unwrap();
        self.ack = Some(sealed);
    }

    fn generations(&self, state: KeyState) -> Vec<u32> {
        let entries = self.snapshot.iter().flat_map(Snapshot::entries);
        let those = entries.filter(|entry| entry.state() == state);
        those.map(Entry::generation).collect()
    }

    fn has(&self, generation: u32) -> bool {
        let mut entries = self.snapshot.iter().flat_map(Snapshot::entries);
        entries.any(|entry| entry.generation() == generation)
    }
}

/// An authority, its files, its broker and its devices.
struct World {
    fleet: Fleet,
    keys: KeyFile,
    // the ledger
    stored: BTreeMap<String, Progress>,
    revoked: Vec<usize>,
    order: Option<Rotation>,
    stamp: u64,
    /// The newest update that the broker has for each device.
    retained: BTreeMap<String, Vec<u8>>,
    members: Vec<Member>,
    now: u64,
    rng: Counting,
    steps: Vec<Step>,
}

impl World {
    fn new(devices: usize) -> Self {
        let mut world = Self {
            fleet: Fleet::new(&settings(), vec![], START).unwrap(),
            keys: first_keys(),
            stored: BTreeMap::new(),
            revoked: vec![],
            order: None,
            stamp: 0,
            retained: BTreeMap::new(),
            members: (0..devices).map(Member::new).collect(),
            now: START,
            rng: Counting::default(),
            steps: vec![],
        };
        world.restart();
        world
    }

    fn rows(&self) -> Loaded {
        let row = |number: usize| {
            let row = DeviceRow { revoked: self.revoked.contains(&number), ..row(number) };
            let progress = self.stored.get(&id(number)).copied().unwrap_or_default();
            (id(number), row, progress)
        };
        let devices = (0..self.members.len()).map(row).collect();
        Loaded { devices, rotation: self.order, stamp: self.stamp }
    }

    /// The authority is another process: it has what is stored.
    fn restart(&mut self) {
        self.fleet = Fleet::new(&settings(), vec![], self.now).unwrap();
        self.fleet.vouch(BrokerName::parse(BROKER).unwrap(), vec![]);
        let rows = self.rows();
        self.fleet.load(rows).unwrap();
        self.fleet.connected();
    }

    /// Others change the ledger.
    fn reload(&mut self) {
        let rows = self.rows();
        self.fleet.load(rows).unwrap();
    }

    fn greatest(&self) -> u32 {
        self.keys.grants().map(Grant::generation).max().unwrap()
    }

    fn rotate(&mut self) {
        self.order = Some(order(self.greatest(), self.now));
        self.reload();
    }

    fn revoke(&mut self, number: usize) {
        self.revoked.push(number);
        self.rotate();
    }

    /// One step of the rotation, if it is time for one.
    fn step(&mut self) {
        if let Some(step) = self.fleet.step(&self.keys, self.now) {
            step.apply(&mut self.keys, &mut self.rng, self.now).unwrap();
            self.steps.push(step);
            self.fleet.keys_changed();
        }
    }

    /// Stores and publishes; with `most` 0 only stores what was heard.
    fn prepare(&mut self, most: usize) {
        let prepared = self.fleet.prepare(&self.keys, self.now, &mut self.rng, &[], most).unwrap();
        let changes = prepared.changes();
        for (id, progress) in &changes.progress {
            let old = self.stored.insert(id.clone(), *progress).unwrap_or_default();
            assert!(old.serial <= progress.serial, "a serial went back");
        }
        if let Some(stamp) = changes.stamp {
            assert!(stamp > self.stamp, "a timestamp went back");
            self.stamp = stamp;
        }
        if changes.sealing.zip(self.order).is_some_and(|(active, order)| order.past < active) {
            self.order = None;
        }
        for Outgoing { topic, payload, .. } in prepared.stored() {
            self.retained.insert(topic, payload);
        }
    }

    fn deliver(&mut self, number: usize) {
        let member = &mut self.members[number];
        if let Some(payload) = self.retained.get(member.receiver.topics().keys()) {
            member.take(payload, self.now, &mut self.rng);
        }
    }

    fn acknowledge(&mut self, number: usize) -> Option<Heard> {
        let ack = self.members[number].ack.take()?;
        let topic = self.members[number].receiver.topics().acknowledgements().to_string();
        let heard = self.fleet.receive(&topic, &ack, self.now, &mut self.rng, &[]);
        Some(heard.unwrap())
    }

    /// Everything that is to be done now is done, for these devices.
    fn settle(&mut self, online: &[usize]) {
        for _ in 0..12 {
            self.step();
            self.prepare(100);
            for number in online {
                self.deliver(*number);
                self.acknowledge(*number);
            }
        }
        self.prepare(100);
    }

    fn sealing(&self) -> Vec<u32> {
        let active = self.keys.grants().filter(|grant| grant.state() == State::Active);
        active.map(Grant::generation).collect()
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now.saturating_add(seconds.saturating_mul(1_000));
    }
}

// --- requests ---

fn peer(number: usize) -> Peer {
    peer_over(BROKER, number)
}

fn peer_over(broker: &str, number: usize) -> Peer {
    let (name, request) = (id(number), settings().request());
    let response = settings().response(&name);
    let names = Names {
        device: PeerId::parse(&name).unwrap(),
        authority: PeerId::parse("authority").unwrap(),
        broker: BrokerName::parse(broker).unwrap(),
        request: TopicName::parse(&request).unwrap(),
        response: TopicName::parse(&response).unwrap(),
    };
    Peer::new(PeerKey::pairwise(&pairwise(number), "r").unwrap(), &names)
}

impl World {
    fn ask(&mut self, bytes: &[u8]) -> Result<Heard, HeardError> {
        self.fleet.receive("p/auth/req", bytes, self.now, &mut self.rng, &[])
    }
}

#[test]
fn device_that_completes_a_run_is_seen_and_told_its_serial() {
    let mut world = World::new(2);
    world.settle(&[]);
    world.pass(7);
    let (mut peer, mut m1, mut m3) = (peer(1), Vec::new(), Vec::new());
    peer.start(0, &mut Counting(9), &[], &mut m1).unwrap();
    let Ok(Heard::Challenge { device, broker, answer }) = world.ask(&m1) else { panic!() };
    assert_eq!((device.as_str(), broker.as_str(), answer.retain), ("d1", BROKER, false));
    let record = Record { topic: &answer.topic, bytes: &answer.payload, now: 0 };
    let run = peer.receive(&record, Hop::Plain, &mut m3).unwrap();
    assert_eq!(run.attestation().serial, 1);
    let heard = world.ask(&m3);
    assert_eq!(heard, Ok(Heard::Seen { device: "d1".into(), broker: BROKER.into() }));
    world.prepare(0);
    assert_eq!(world.stored["d1"].seen, START + 7_000);
    let again = world.ask(&m3);
    assert_eq!(again, Err(HeardError::Request(RequestError::Repeated)));
}

/// It has the broker under another name, or is connected to another: its owner wants to know.
#[test]
fn device_that_asks_over_another_broker_is_told_and_not_answered() {
    let mut world = World::new(2);
    let mut m1 = Vec::new();
    peer_over("127.0.0.1:1883", 1).start(0, &mut Counting(9), &[], &mut m1).unwrap();
    let (device, broker) = ("d1".into(), "127.0.0.1:1883".into());
    assert_eq!(world.ask(&m1), Ok(Heard::OtherBroker { device, broker }));
    // not whoever says so
    let last = m1.len() - 1;
    m1[last] ^= 1;
    assert_eq!(world.ask(&m1), Err(HeardError::Request(RequestError::NotAuthentic)));
}

#[test]
fn revoked_device_is_not_answered() {
    let mut world = World::new(2);
    world.revoke(1);
    let mut m1 = Vec::new();
    peer(1).start(0, &mut Counting(9), &[], &mut m1).unwrap();
    assert_eq!(world.ask(&m1), Err(HeardError::Request(RequestError::UnknownDevice)));
    m1.clear();
    peer(0).start(0, &mut Counting(9), &[], &mut m1).unwrap();
    assert!(world.ask(&m1).is_ok());
}

#[test]
fn messages_on_other_topics_or_of_nobody_are_refused() {
    let mut world = World::new(1);
    let mut hear = |topic: &str| world.fleet.receive(topic, b"x", START, &mut Counting(0), &[]);
    assert_eq!(hear("p/keys/d0"), Err(HeardError::OtherTopic));
    assert_eq!(hear("p/keys/d9/ack"), Err(HeardError::UnknownDevice));
    assert!(matches!(hear("p/keys/d0/ack"), Err(HeardError::Acknowledgement(_))));
    assert!(matches!(hear("p/auth/req"), Err(HeardError::Request(RequestError::Malformed))));
}

#[test]
fn repeated_acknowledgement_is_no_news() {
    let mut world = World::new(2);
    world.settle(&[]);
    world.deliver(1);
    let ack = world.members[1].ack.clone().unwrap();
    let hear = |world: &mut World| {
        world.fleet.receive("p/keys/d1/ack", &ack, START, &mut Counting(0), &[]).unwrap()
    };
    assert_eq!(hear(&mut world), Heard::Acknowledged { device: "d1".into(), serial: 1 });
    assert_eq!(hear(&mut world), Heard::Old);
    world.rotate();
    world.settle(&[]);
    assert_eq!(hear(&mut world), Heard::Old, "serial 2 is the newest");
    assert_eq!(world.stored["d1"].acknowledged, 1);
}

#[test]
fn late_acknowledgement_of_an_older_update_is_none_of_the_newest() {
    let mut world = World::new(2);
    world.prepare(100);
    world.deliver(1);
    world.rotate();
    world.step();
    world.prepare(100);
    assert_eq!(world.acknowledge(1), Some(Heard::Old));
    world.settle(&[0]);
    assert_eq!(world.sealing(), [1], "device 1 does not have generation 2");
}

#[test]
fn ledger_of_yesterday_is_noticed_and_overtaken() {
    let mut world = World::new(2);
    world.settle(&[0, 1]);
    let yesterday = world.stored.clone();
    world.rotate();
    world.settle(&[0, 1]);
    let has = world.stored["d1"].serial;
    world.stored = yesterday;
    world.restart();
    // the device says again what it has
    world.now += 1;
    world.deliver(1);
    let ahead = Heard::Ahead { device: "d1".into(), serial: has };
    assert_eq!(world.acknowledge(1), Some(ahead));
    world.settle(&[1]);
    assert_eq!(world.stored["d1"].serial, has + 1);
    assert!(world.stored["d1"].is_current());
}

#[test]
fn forged_requests_leave_no_trace() {
    let mut world = World::new(1);
    let before = format!("{:?}", world.fleet);
    let mut m1 = Vec::new();
    peer(0).start(0, &mut Counting(9), &[], &mut m1).unwrap();
    for at in 0..m1.len() {
        for bit in 0..8 {
            let mut forged = m1.clone();
            forged[at] ^= 1 << bit;
            assert!(world.ask(&forged).is_err(), "{at} {bit}");
        }
    }
    assert_eq!(format!("{:?}", world.fleet), before);
}

#[test]
fn debug_prints_no_key() {
    let mut world = World::new(3);
    world.settle(&[0, 1, 2]);
    let printed = format!("{:?} {:?}", world.fleet, world.steps);
    assert!(printed.contains("AuthKey(..)"), "{printed}");
    for byte in 1..=3_u8 {
        assert!(!printed.contains(&format!("{byte}, {byte}, {byte}, {byte}")), "{printed}");
    }
}
