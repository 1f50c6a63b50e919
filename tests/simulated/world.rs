//! The schedule: what happens next, and what must hold in the end.

use std::collections::BTreeMap;

use mqtt_seal::guard::QoS;
use mqtt_seal::replay::{Rejected, Verdict};
use mqtt_seal::wire::Header;

use crate::broker::{Broker, Packet};
use crate::receiver::{Fate, Receiver};
use crate::rng::Rng;
use crate::sender::{COMPACT, Sender};

const STEPS: usize = 60;

/// How often each thing happened.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub(crate) fn verdict(&mut self, verdict: Verdict) {
        self.count(match verdict {
            Verdict::New => "new",
            Verdict::Fresh => "fresh",
            Verdict::Redelivered => "redelivered",
            _ => "other verdict",
        });
    }

    pub(crate) fn rejected(&mut self, rejected: Rejected) {
        self.count(rejected.name());
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            *self.0.entry(what).or_default() += times;
        }
    }

    pub(crate) fn assert_all_happened(&self) {
        for what in [
            "new",
            "fresh",
            "redelivered",
            "Duplicate",
            "TooOld",
            "Stale",
            "NotFresh",
            "crash",
            "clean restart",
            "unclean restart",
            "log rolled back",
            "counters rolled back",
            "sender restart",
            "sender reconnect",
            "replay",
            "duplicate",
            "drop",
            "lost QoS 0",
            "nonce used again under aes-256-gcm-siv",
            "held to delivery",
            "shared",
        ] {
            assert!(self.0.get(what).is_some_and(|times| *times > 100), "{what}: {:?}", self.0);
        }
    }
}

pub(crate) struct World {
    rng: Rng,
    now: u64,
    senders: Vec<Sender>,
    receivers: Vec<Receiver>,
    /// Whether the first two receivers share a subscription.
    shared: bool,
    broker: Broker,
    /// What each (KID, ID, CTR) was used for.
    used: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Who has to be given each message.
    owed: Vec<(Packet, Vec<usize>)>,
    number: u64,
    tally: Tally,
}

impl World {
    pub(crate) fn run(seed: u64) -> Tally {
        let mut rng = Rng::new(seed);
        let senders = 1 + rng.below(3);
        let senders: Vec<_> = (1..).take(senders).map(|n| Sender::new(n, &mut rng)).collect();
        let receivers: Vec<_> = (0..=rng.below(3)).map(|_| Receiver::new(&mut rng)).collect();
        let mut broker = Broker::default();
        broker.queues.resize_with(receivers.len(), BTreeMap::new);
        let shared = receivers.len() > 1 && rng.one_in(3);
        let mut world = Self {
            rng,
            now: 1_795_000_000_000,
            senders,
            receivers,
            shared,
            broker,
            used: BTreeMap::new(),
            owed: vec![],
            number: 0,
            tally: Tally::default(),
        };
        for _ in 0..STEPS {
            world.step();
        }
        world.settle();
        world.tally
    }

    fn step(&mut self) {
        // sometimes hours pass
        self.now += if self.rng.one_in(40) { 40_000_000 } else { 1 + self.rng.below(2_000) as u64 };
        match self.rng.below(100) {
            0..35 => self.publish(),
            35..80 => self.deliver(),
            80..84 => self.attack(),
            84..88 => self.confirm(),
            88..91 => self.reconnect(),
            91..93 => self.restart_sender(),
            93..95 => self.resend(),
            95..98 => self.restart_receiver(),
            _ => self.roll_back(),
        }
    }

    fn publish(&mut self) {
        self.number += 1;
        let (number, now) = (self.number, self.now);
        let sender = self.rng.below(self.senders.len());
        let Some(packet) = self.senders[sender].seal(number, now, &mut self.rng) else { return };
        self.check_nonce(&packet);
        if packet.qos == QoS::AtMostOnce && self.rng.one_in(5) {
            self.tally.count("lost QoS 0");
            return;
        }
        let to = self.subscribers();
        self.broker.publish(&packet, &to);
        self.owed.push((packet.clone(), to));
        // the acknowledgement gets lost
        if packet.qos != QoS::AtMostOnce && self.rng.one_in(4) {
            self.senders[sender].outbox.push(packet);
        }
    }

    fn subscribers(&mut self) -> Vec<usize> {
        let all = 0..self.receivers.len();
        if !self.shared {
            return all.collect();
        }
        self.tally.count("shared");
        let out = self.rng.below(2);
        all.filter(|receiver| *receiver != out).collect()
    }

    /// SPEC §2: a nonce is used again only under the suite that survives it.
    fn check_nonce(&mut self, packet: &Packet) {
        let (header, _) = Header::parse(&packet.bytes).unwrap();
        let nonce = header.encode().as_bytes()[2..].to_vec();
        if let Some(before) = self.used.insert(nonce, packet.bytes.clone())
            && before != packet.bytes
        {
            assert_eq!(packet.topic, COMPACT, "a nonce was used again");
            self.tally.count("nonce used again under aes-256-gcm-siv");
        }
    }

    fn deliver(&mut self) {
        let receiver = self.rng.below(self.receivers.len());
        let queues: Vec<_> = self.broker.queues[receiver].keys().copied().collect();
        if queues.is_empty() {
            return;
        }
        let queue = *self.rng.pick(&queues);
        let waiting = self.broker.queues[receiver].get_mut(&queue).unwrap();
        let packet = waiting.front().unwrap().clone();
        let fate = if packet.qos == QoS::AtMostOnce && self.rng.one_in(10) {
            self.tally.count("drop");
            Fate::Acknowledged
        } else {
            self.give(receiver, &packet)
        };
        // the broker sends it again if its acknowledgement gets lost
        if fate == Fate::Unacknowledged || packet.qos == QoS::AtLeastOnce && self.rng.one_in(8) {
            self.tally.count("duplicate");
            if packet.qos != QoS::AtMostOnce {
                return;
            }
        }
        self.forget(receiver, queue);
    }

    fn forget(&mut self, receiver: usize, queue: (&'static str, u8)) {
        let queues = &mut self.broker.queues[receiver];
        queues.get_mut(&queue).unwrap().pop_front();
        queues.retain(|_, packets| !packets.is_empty());
    }

    fn give(&mut self, receiver: usize, packet: &Packet) -> Fate {
        let (now, mut dice) = (self.now, self.rng.fork());
        let crash = || dice.one_in(30);
        let fate = self.receivers[receiver].receive(packet, now, crash, &mut self.tally);
        match fate {
            Fate::Unacknowledged => {
                self.tally.count("crash");
                // the process died, or its log failed and is well again
                if self.rng.one_in(2) {
                    self.receivers[receiver].restart(false, &mut self.rng);
                }
            }
            // the packet is acknowledged when the application has confirmed
            Fate::Waits if self.rng.one_in(3) => self.receivers[receiver].confirm_all(),
            Fate::Waits => {
                return if self.rng.one_in(4) {
                    Fate::Unacknowledged
                } else {
                    self.confirmed(receiver)
                };
            }
            Fate::Acknowledged => {}
        }
        fate
    }

    fn confirmed(&mut self, receiver: usize) -> Fate {
        self.receivers[receiver].confirm_all();
        Fate::Acknowledged
    }

    /// Somebody on the way repeats what was recorded.
    fn attack(&mut self) {
        if self.broker.recorded.is_empty() {
            return;
        }
        self.tally.count("replay");
        let mut packet = self.rng.pick(&self.broker.recorded).clone();
        packet.retain = self.rng.one_in(2);
        let receiver = self.rng.below(self.receivers.len());
        self.give(receiver, &packet);
    }

    fn confirm(&mut self) {
        let receiver = self.rng.below(self.receivers.len());
        self.receivers[receiver].confirm_all();
    }

    fn reconnect(&mut self) {
        self.tally.count("sender reconnect");
        let sender = self.rng.below(self.senders.len());
        self.senders[sender].reconnect();
        self.resend();
    }

    fn restart_sender(&mut self) {
        self.tally.count("sender restart");
        let sender = self.rng.below(self.senders.len());
        self.senders[sender].restart(&mut self.rng);
    }

    /// What was not acknowledged is sent again, as the bytes it was.
    fn resend(&mut self) {
        for sender in 0..self.senders.len() {
            for packet in core::mem::take(&mut self.senders[sender].outbox) {
                let to = self.subscribers();
                self.broker.publish(&packet, &to);
            }
        }
    }

    fn restart_receiver(&mut self) {
        let receiver = self.rng.below(self.receivers.len());
        let clean = self.rng.one_in(2);
        self.tally.count(if clean { "clean restart" } else { "unclean restart" });
        self.receivers[receiver].restart(clean, &mut self.rng);
        self.broker.subscribed(receiver);
    }

    fn roll_back(&mut self) {
        let receiver = self.rng.below(self.receivers.len());
        if self.receivers[receiver].roll_back(&mut self.rng) {
            self.tally.count("log rolled back");
        }
        let sender = self.rng.below(self.senders.len());
        if self.senders[sender].roll_back(&mut self.rng) {
            self.tally.count("counters rolled back");
            for receiver in &mut self.receivers {
                receiver.counters_rolled_back = true;
            }
        }
    }

    /// Faults end, everything on its way arrives, and every debt is paid.
    fn settle(&mut self) {
        self.resend();
        for receiver in 0..self.receivers.len() {
            for packet in core::mem::take(&mut self.broker.queues[receiver]).into_values().flatten()
            {
                self.receivers[receiver].receive(&packet, self.now, || false, &mut self.tally);
                self.receivers[receiver].confirm_all();
            }
        }
        for (packet, to) in &self.owed {
            for receiver in to.iter().map(|at| &self.receivers[*at]) {
                if receiver.owes(packet) {
                    self.tally.count("held to delivery");
                    let there = receiver.delivered.contains(&packet.number);
                    assert!(there, "{packet:?} was accepted and lost");
                }
            }
        }
    }
}
