//! A subscriber with a replay log or none, and the promises that it is held to.

use std::collections::{BTreeMap, BTreeSet};

use mqtt_seal::guard::{
    Delivery, Guard, GuardRx, Incoming, MemoryLog, OpenError, Opened, Prefer, QoS, Receipt,
    ReplayLog,
};
use mqtt_seal::policy::{Link, Links};
use mqtt_seal::replay::{Rejected, Verdict};
use mqtt_seal::wire::Header;

use crate::broker::Packet;
use crate::rng::Rng;
use crate::sender::{self, COMPACT, FRESH, LATEST, is_windowed};
use crate::world::Tally;

/// What tells messages apart: topic, and header but for its flags.
type Identity = (&'static str, Vec<u8>);

fn identity(packet: &Packet) -> Identity {
    let (header, _) = Header::parse(&packet.bytes).unwrap();
    (packet.topic, header.encode().as_bytes()[2..].to_vec())
}

/// What became of a packet at the receiver.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Fate {
    /// The broker may forget it.
    Acknowledged,
    /// It is delivered and waits for the application.
    Waits,
    /// The process died, or the log failed, before it was acknowledged.
    Unacknowledged,
}

#[expect(clippy::struct_excessive_bools, reason = "what it is excused for, one by one")]
pub(crate) struct Receiver {
    rx: GuardRx,
    log: Option<MemoryLog>,
    backup: Option<MemoryLog>,
    prefer: Prefer,
    manual: bool,
    /// Delivered and, with manual acknowledgement, confirmed, since its memory began.
    done: BTreeSet<Identity>,
    /// Delivered as fresh and, with manual acknowledgement, confirmed, ever.
    fresh: BTreeSet<Identity>,
    /// Message numbers that the application was given, ever.
    pub(crate) delivered: BTreeSet<u64>,
    /// The newest value that the application was given, by topic, ever.
    newest: BTreeMap<&'static str, u64>,
    /// Messages whose claims failed, ever; and the values that the state, or that of the last
    /// clean stop, knows of them.
    failed: BTreeSet<u64>,
    stored: BTreeSet<(&'static str, u64)>,
    moved: BTreeSet<(&'static str, u64)>,
    waiting: Vec<(Receipt, Identity)>,
    /// Whether genuine messages may have been given up.
    pub(crate) gave_up: bool,
    /// Whether counters of compact form were used twice: of two messages under one, one comes.
    pub(crate) counters_rolled_back: bool,
    /// Whether the log was put back to an older state, so that it owes nothing any more.
    rolled_back: bool,
}

impl Receiver {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let mut log = (!rng.one_in(4)).then(MemoryLog::default);
        let prefer = *rng.pick(&[Prefer::NoReplay, Prefer::NoLoss]);
        let manual = rng.one_in(2);
        let rx = Self::start(log.as_mut(), prefer, manual, rng);
        Self {
            rx,
            backup: log.clone(),
            log,
            prefer,
            manual,
            done: BTreeSet::new(),
            fresh: BTreeSet::new(),
            delivered: BTreeSet::new(),
            newest: BTreeMap::new(),
            failed: BTreeSet::new(),
            stored: BTreeSet::new(),
            moved: BTreeSet::new(),
            waiting: vec![],
            gave_up: false,
            counters_rolled_back: false,
            rolled_back: false,
        }
    }

    fn start(log: Option<&mut MemoryLog>, prefer: Prefer, manual: bool, rng: &mut Rng) -> GuardRx {
        let entropy = Box::new(rng.fork());
        let keyring = sender::keyring(0);
        let guard = Guard::with_entropy(sender::policy(), keyring, Links::Tcp, entropy).unwrap();
        let guard = match log {
            Some(log) => guard.with_replay_log(log, prefer).unwrap(),
            None => guard,
        };
        let (_, mut rx) = guard.split();
        if manual {
            rx.confirm_manually();
        }
        rx
    }

    /// Gives `packet` to the guard. `crash` lets the process die, or its log fail, on the way.
    pub(crate) fn receive(
        &mut self,
        packet: &Packet,
        now: u64,
        mut crash: impl FnMut() -> bool,
        tally: &mut Tally,
    ) -> Fate {
        let mut out = vec![];
        let message = Incoming::new(packet.topic, &packet.bytes, Link::Tcp)
            .retain(packet.retain)
            .shared(true)
            .at(Some(now));
        let delivery = match self.rx.open(&message, &mut out) {
            Ok(Opened::Delivered(delivery)) => delivery,
            Ok(Opened::NeedsClaim(claim)) => {
                if crash() {
                    // the record has moved on, and the value is given when it comes again
                    self.moved.insert((packet.topic, packet.number));
                    self.failed.insert(packet.number);
                    return Fate::Unacknowledged;
                }
                self.log.as_mut().unwrap().write(claim.writes()).unwrap();
                if crash() {
                    // written and never delivered: without manual acknowledgement it is given up
                    self.gave_up |= !self.manual;
                    self.failed.insert(packet.number);
                    self.moved.insert((packet.topic, packet.number));
                    self.stored.insert((packet.topic, packet.number));
                    return Fate::Unacknowledged;
                }
                self.rx.finish(claim, &mut out)
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                self.refused(packet, error, tally);
                return Fate::Acknowledged;
            }
        };
        if !out.is_empty() {
            assert_eq!(out, packet.number.to_be_bytes());
        }
        self.accepted(packet, &delivery, now, tally);
        match delivery.receipt {
            Some(receipt) => {
                self.waiting.push((receipt, identity(packet)));
                Fate::Waits
            }
            None => Fate::Acknowledged,
        }
    }

    fn accepted(&mut self, packet: &Packet, delivery: &Delivery, now: u64, tally: &mut Tally) {
        let identity = identity(packet);
        let verdict = delivery.verdict.unwrap();
        tally.verdict(verdict);
        match verdict {
            Verdict::New if is_windowed(packet.topic) => {
                assert!(!self.done.contains(&identity), "{packet:?} was new twice");
                if !self.manual {
                    self.done.insert(identity);
                }
            }
            Verdict::New => {}
            Verdict::Fresh => {
                assert!(now - delivery.timestamp.unwrap() <= 60_000, "{packet:?} is old");
                let again = self.fresh.contains(&identity);
                assert!(!again || self.rolled_back, "{packet:?} was fresh twice");
                if !self.manual {
                    self.fresh.insert(identity);
                }
            }
            Verdict::Redelivered => {
                // what is not confirmed, the newest value with RETAIN, or one whose claim failed
                let failed = self.failed.contains(&packet.number);
                assert!(self.manual || packet.retain || failed, "{packet:?}");
                assert!(!self.done.contains(&identity), "{packet:?} was confirmed");
            }
            other => panic!("{other}"),
        }
        self.delivered.insert(packet.number);
        let newest = self.newest.entry(packet.topic).or_default();
        if LATEST.contains(&packet.topic) && verdict == Verdict::New {
            assert!(packet.number >= *newest || self.rolled_back || self.log.is_none());
        }
        *newest = packet.number.max(*newest);
    }

    fn refused(&mut self, packet: &Packet, error: OpenError, tally: &mut Tally) {
        let OpenError::Rejected(rejected) = error else {
            panic!("{packet:?}: {error}");
        };
        tally.rejected(rejected);
        match rejected {
            Rejected::Duplicate | Rejected::Stale
                if !is_windowed(packet.topic) && packet.topic != FRESH =>
            {
                // refused only where the application has one as new
                let moved = self.moved.iter().filter(|(topic, _)| *topic == packet.topic);
                let moved = moved.map(|(_, number)| *number).max();
                let newest = self.newest.get(packet.topic).copied().max(moved);
                let excused = self.gave_up;
                assert!(newest >= Some(packet.number) || excused, "{packet:?}: {error}");
            }
            Rejected::Duplicate | Rejected::TooOld => {
                let known = self.delivered.contains(&packet.number);
                let excused = self.gave_up || self.has_twins(packet);
                assert!(known || excused, "{packet:?}: {error}");
            }
            Rejected::NotFresh => assert_eq!(packet.topic, FRESH),
            other => panic!("{packet:?}: {other}"),
        }
    }

    /// The application acknowledges everything that it was given.
    pub(crate) fn confirm_all(&mut self) {
        for (receipt, identity) in core::mem::take(&mut self.waiting) {
            let writes = self.rx.confirm(receipt);
            if let Some(log) = &mut self.log {
                log.write(&writes).unwrap();
            }
            if is_windowed(identity.0) {
                self.done.insert(identity);
            } else if identity.0 == FRESH {
                self.fresh.insert(identity);
            }
        }
    }

    /// The process ends and starts again.
    pub(crate) fn restart(&mut self, clean: bool, rng: &mut Rng) {
        if clean {
            let writes = self.rx.stop();
            if let Some(log) = &mut self.log {
                log.write(&writes).unwrap();
            }
        }
        self.waiting.clear();
        // a clean stop writes what was accepted and not delivered, too
        if clean && self.log.is_some() {
            self.stored.clone_from(&self.moved);
        } else {
            self.moved.clone_from(&self.stored);
        }
        match (&self.log, self.prefer) {
            (Some(_), _) if clean => {}
            // what is not remembered may come again
            (None, _) | (Some(_), Prefer::NoLoss) => self.done.clear(),
            (Some(_), _) => self.gave_up = true,
        }
        // fresh rules fall to the lease under either preference
        self.gave_up |= !clean;
        self.rx = Self::start(self.log.as_mut(), self.prefer, self.manual, rng);
    }

    /// A backup of the log is made, or put back with an unclean restart.
    pub(crate) fn roll_back(&mut self, rng: &mut Rng) -> bool {
        if self.log.is_none() || rng.one_in(2) {
            self.backup.clone_from(&self.log);
            return false;
        }
        self.log.clone_from(&self.backup);
        self.rolled_back = true;
        self.restart(false, rng);
        self.done.clear();
        true
    }

    fn has_twins(&self, packet: &Packet) -> bool {
        self.counters_rolled_back && packet.topic == COMPACT
    }

    /// Whether a message of this quality on this topic has to have come by the end.
    pub(crate) fn owes(&self, packet: &Packet) -> bool {
        let excused = self.gave_up || self.has_twins(packet);
        packet.qos != QoS::AtMostOnce && is_windowed(packet.topic) && !excused
    }
}
