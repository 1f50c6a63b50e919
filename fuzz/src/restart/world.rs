//! Everybody, and the packets between them.

use std::collections::{BTreeSet, VecDeque};

use mqtt_seal::guard::{GuardTx, Outgoing};
use mqtt_seal::policy::Links;
use mqtt_seal::proxy::packet::{Acknowledgement, Frame, Kind, Version};

use super::broker::Far;
use super::{Broker, Client, Ledger, Proxy, sender};
use crate::proxy::{NOW, TOPICS, frames};

const CLIENT: usize = 0;
const MAIN: usize = 1;
const PLAIN: usize = 2;
/// Topics of the other sender. Messages of `QoS` 0 have one of their own, for they are confirmed as
/// they come.
const FAR_TOPICS: [&str; 4] = ["sealed/a", "sealed/b", "tcp/a", "latest/a"];
const FAR_QOS_0: &str = "bind/a";
/// More than everything that can be on its way.
const MANY: usize = 10_000;

/// A packet on its way to the proxy, and the message that the client confirms by it.
type Inward = (Vec<u8>, Option<u32>);

/// The world.
#[derive(Debug)]
pub struct World {
    proxy: Proxy,
    client: Client,
    brokers: [Broker; 2],
    ledger: Ledger,
    /// The other sender, with the first key and the second.
    far: [GuardTx; 2],
    far_number: u32,
    /// What it has sent.
    past: Vec<Far>,
    inward: [VecDeque<Inward>; 3],
    outward: [VecDeque<Vec<u8>>; 3],
    /// Bytes for the broker that were taken in under the first edition of the rules.
    exempt: usize,
    /// Messages of which the proxy has told the client that they have arrived.
    heard: BTreeSet<u32>,
    /// Editions of rules and keys at the next start.
    editions: [usize; 2],
    now: u64,
}

impl World {
    /// A world with this broker, client and links.
    #[must_use]
    pub fn new(version: Version, links: Links, client: [bool; 2], narrow: bool) -> Self {
        Self {
            proxy: Proxy::start(links, [0; 2], &[]),
            client: Client::new(version, client),
            brokers: [Broker::new(version, false), Broker::new(version, narrow)],
            ledger: Ledger::new(version),
            far: [sender(0), sender(1)],
            far_number: 0,
            past: vec![],
            inward: Default::default(),
            outward: Default::default(),
            exempt: 0,
            heard: BTreeSet::new(),
            editions: [0; 2],
            now: NOW,
        }
    }

    /// The client connects, if it has no connection.
    pub fn connect(&mut self) {
        if !self.proxy.serves() {
            self.cut([0; 2], false);
            self.proxy.accept();
            let connect = self.client.connect();
            self.inward[CLIENT].push_back((connect, None));
        }
    }

    /// The client publishes.
    pub fn publish(&mut self, place: usize, qos: u8) {
        let place = place % TOPICS.len();
        let Some((packet, number)) = self.client.publish(place, qos) else { return };
        self.ledger.published(TOPICS[place], number);
        self.inward[CLIENT].push_back((packet, None));
    }

    /// The client acknowledges so many messages.
    pub fn acknowledge(&mut self, count: usize) {
        let said = self.client.acknowledge(count);
        self.inward[CLIENT].extend(said.into_iter().map(|(packet, of)| (packet, Some(of))));
    }

    /// Somebody else publishes something, by the new key if the proxy has that.
    pub fn bring(&mut self, place: usize, qos: u8, new_key: bool) {
        self.far_number += 1;
        let number = self.far_number;
        let topic = if qos == 0 { FAR_QOS_0 } else { FAR_TOPICS[place % FAR_TOPICS.len()] };
        let payload = [b"far away", &number.to_be_bytes()[..]].concat();
        let tx = &mut self.far[usize::from(new_key && self.proxy.editions[1] > 0)];
        let mut sealed = vec![];
        let outgoing = Outgoing::new(topic, &payload).at(Some(NOW));
        tx.seal(&outgoing, &mut sealed).expect("a rule covers it");
        self.send(Far { number, topic, qos, sealed, again: false });
    }

    /// The broker brings again what is long done.
    pub fn bring_again(&mut self, place: usize, qos: u8) {
        let Some(at) = place.checked_rem(self.past.len()) else { return };
        let far = Far { qos, again: true, ..self.past[at].clone() };
        if self.ledger.confirmed.contains(&far.number) {
            self.ledger.replayed.insert(far.number);
            self.send(far);
        }
    }

    fn send(&mut self, far: Far) {
        self.past.push(far.clone());
        let packets = self.brokers[0].bring(far);
        self.inward[MAIN].extend(packets.into_iter().map(|packet| (packet, None)));
    }

    /// So many packets move on one way: to the proxy from one of its sides, or from it.
    pub fn step(&mut self, way: usize, count: usize) {
        for _ in 0..count {
            let moved = if way < 3 { self.inward(way) } else { self.outward(way % 3) };
            if !moved {
                return;
            }
        }
    }

    /// The proxy takes a packet in.
    fn inward(&mut self, side: usize) -> bool {
        let Some((bytes, confirms)) = self.inward[side].pop_front() else { return false };
        self.ledger.confirmed.extend(confirms);
        if side != CLIENT {
            self.expect(&bytes);
        }
        let _ = self.proxy.take(side, &bytes, self.now);
        self.collect();
        true
    }

    /// The proxy hears that a message has arrived: it forgets that in a moment.
    fn expect(&mut self, bytes: &[u8]) {
        let frame = Frame::first(bytes, usize::MAX).expect("a packet").expect("all of it");
        if frame.kind == Kind::Puback {
            let id = Acknowledgement::parse(&frame).expect("an acknowledgement").id;
            self.heard.extend(self.client.waits_for(id));
        }
    }

    /// Somebody takes a packet from the proxy.
    fn outward(&mut self, side: usize) -> bool {
        let Some(bytes) = self.outward[side].pop_front() else { return false };
        let frame = Frame::first(&bytes, usize::MAX).expect("a packet").expect("all of it");
        let said = match side {
            CLIENT => self.client.take(&frame, &mut self.ledger),
            _ => self.brokers[side - 1].take(&frame, &mut self.ledger),
        };
        self.inward[side].extend(said.into_iter().map(|packet| (packet, None)));
        true
    }

    /// Takes what the proxy writes.
    fn collect(&mut self) {
        for side in [CLIENT, MAIN, PLAIN] {
            let bytes = self.proxy.written(side);
            for frame in frames(&bytes) {
                let exempt = side == MAIN && self.exempt > 0;
                if side == MAIN {
                    self.exempt = self.exempt.saturating_sub(frame.bytes.len());
                }
                let clear = side != CLIENT && self.ledger.watch(side == PLAIN, &frame);
                assert!(!clear || exempt || self.proxy.editions[0] == 0, "in clear: {frame:?}");
                self.outward[side].push_back(frame.bytes.to_vec());
            }
        }
    }

    /// The store writes so many jobs.
    pub fn work(&mut self, jobs: usize) {
        self.proxy.work(jobs);
        self.collect();
    }

    /// Everything happens that can.
    ///
    /// # Panics
    /// If that takes no end.
    pub fn calm(&mut self) {
        for _ in 0..MANY {
            self.acknowledge(MANY);
            let mut moved = self.proxy.work(MANY);
            self.collect();
            for side in [CLIENT, MAIN, PLAIN] {
                moved |= self.outward(side);
                moved |= self.inward(side);
            }
            if !moved {
                return;
            }
        }
        panic!("no end");
    }

    /// The connection ends. What was written still arrives, or a part of it; and if it is the client
    /// that ends it, what waits for the store.
    pub fn cut(&mut self, arrives: [usize; 2], lingers: bool) {
        self.proxy.ended(false, self.now);
        if lingers {
            self.work(MANY);
        }
        self.lose(arrives);
        self.proxy.forget();
    }

    /// What is on its way is lost, but for a part.
    fn lose(&mut self, arrives: [usize; 2]) {
        for (side, part) in [(CLIENT, arrives[0]), (MAIN, arrives[1]), (PLAIN, arrives[1])] {
            let all = self.outward[side].len();
            self.step(3 + side, all * (part & 3) / 3);
            self.outward[side].clear();
        }
        self.inward = Default::default();
        self.exempt = 0;
        self.client.disconnected();
        self.brokers.iter_mut().for_each(Broker::disconnected);
    }

    /// The proxy is killed, and starts again.
    pub fn kill(&mut self, arrives: [usize; 2]) {
        self.lose(arrives);
        self.client.stopped();
        self.proxy.editions = self.editions;
        self.proxy.killed();
        // up to 64 of each sender may come again
        self.ledger.confirmed.clear();
    }

    /// The proxy is stopped, and starts again.
    pub fn restart(&mut self, arrives: [usize; 2]) {
        self.proxy.ended(true, self.now);
        self.work(MANY);
        self.lose(arrives);
        self.proxy.forget();
        self.client.stopped();
        self.proxy.editions = self.editions;
        self.proxy.restart();
    }

    /// The operator brings other rules or keys, which hold from now on or from the next start.
    pub fn edit(&mut self, which: usize, now: bool) {
        self.editions[which] = 1;
        if now {
            self.exempt = self.proxy.waiting();
            self.proxy.editions = self.editions;
            self.proxy.reload();
        }
    }

    /// A while passes in which no acknowledgement comes.
    pub fn wait(&mut self) {
        self.now += 1_500;
        self.excuse();
        self.client.wait();
        self.proxy.expire();
    }

    /// What the client has not heard by now comes as another message.
    fn excuse(&mut self) {
        for number in std::mem::take(&mut self.heard) {
            if self.client.waits(number) {
                self.ledger.excuse(number);
            }
        }
    }

    /// The client leaves in good order, with what it has read.
    pub fn leave(&mut self) {
        if !self.proxy.serves() {
            return;
        }
        self.step(3 + CLIENT, MANY);
        self.inward[CLIENT].push_back((vec![0xE0, 0], None));
        self.step(CLIENT, MANY);
        if self.client.is_passing() {
            self.excuse();
        }
        self.cut([3; 2], true);
    }

    /// The client's program starts anew, and knows nothing of before.
    pub fn forget(&mut self) {
        self.cut([0; 2], false);
        self.client.restart();
        self.ledger.lost();
    }

    /// The broker loses the client's session.
    pub fn lose_session(&mut self, arrives: [usize; 2]) {
        self.cut(arrives, false);
        self.brokers[0].forget();
        self.ledger.lost();
    }

    /// Everything comes to its end, if nothing else goes wrong.
    ///
    /// # Panics
    /// If something is left.
    pub fn finish(&mut self) {
        for _ in 0..3 {
            self.connect();
            self.calm();
        }
        self.ledger.check();
        assert!(self.client.is_done(), "{:?}", self.client);
        assert!(self.brokers[0].is_done(), "{:?}", self.brokers[0]);
    }
}
