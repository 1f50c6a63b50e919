//! A publisher: seals, keeps what is not acknowledged, restarts.

use core::{convert::Infallible, ops::Range};

use mqtt_seal::guard::{Guard, GuardTx, Outgoing, QoS, SealError};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::policy::{Links, Policy, Replay, Retain, Rule, Scope};
use mqtt_seal::secret::SharedKey;
use mqtt_seal::session::CounterStore;
use mqtt_seal::suite::Suite;
use mqtt_seal::wire::{Form, Kind, SenderNumber};

use crate::broker::Packet;
use crate::rng::Rng;

/// Topics, by what their rules say.
pub(crate) const WINDOW: [&str; 2] = ["w/1", "w/2"];
pub(crate) const LATEST: [&str; 2] = ["l/1", "l/2"];
pub(crate) const UNDATED: &str = "u/1";
pub(crate) const FRESH: &str = "f/1";
/// Compact form, under the suite that survives a counter store that is rolled back.
pub(crate) const COMPACT: &str = "c/1";
/// Compact form under another suite.
pub(crate) const COMPACT_STRICT: &str = "k/1";
pub(crate) const TOPICS: [&str; 8] =
    [WINDOW[0], WINDOW[1], LATEST[0], LATEST[1], UNDATED, FRESH, COMPACT, COMPACT_STRICT];

/// Where replay state goes by windows.
pub(crate) fn is_windowed(topic: &str) -> bool {
    WINDOW.contains(&topic) || [COMPACT, COMPACT_STRICT].contains(&topic)
}

pub(crate) fn policy() -> Policy {
    let compact = |topics: &str, suite| Rule::sealed([topics]).form(Form::Compact).suite(suite);
    let rules = [
        Rule::sealed(["w/#"]).retain(Retain::Allow),
        Rule::sealed(["l/#"]).replay(Replay::Latest).timestamp(true),
        Rule::sealed(["u/#"]).replay(Replay::Latest),
        Rule::sealed(["f/#"]).replay(Replay::Fresh).timestamp(true),
        compact("c/#", Suite::Aes256GcmSiv).scope(Scope::Named("compact".into())),
        compact("k/#", Suite::ChaCha20Poly1305).scope(Scope::Named("strict".into())),
    ];
    Policy::new(rules.into_iter().map(|rule| rule.build().unwrap()).collect())
}

pub(crate) fn keyring(number: u32) -> Keyring {
    let grant = Grant::shared(&SharedKey::take(&mut [7; 32]), "simulation").unwrap();
    Keyring::new(vec![grant.with_sender(SenderNumber::new(number).unwrap())])
}

/// A counter store that may come back in an older state, or declares that it does not.
#[derive(Clone)]
struct Counters {
    next: u32,
    declared: bool,
}

impl CounterStore for Counters {
    type Error = Infallible;

    fn cannot_roll_back(&self) -> bool {
        self.declared
    }

    fn reserve(&mut self, count: u32) -> Result<Range<u32>, Infallible> {
        let range = self.next..self.next + count;
        self.next = range.end;
        Ok(range)
    }
}

pub(crate) struct Sender {
    number: u32,
    tx: GuardTx,
    counters: Counters,
    backup: Counters,
    /// Not acknowledged by the broker.
    pub(crate) outbox: Vec<Packet>,
}

fn start(number: u32, rng: &mut Rng) -> GuardTx {
    let entropy = Box::new(rng.fork());
    let guard = Guard::with_entropy(policy(), keyring(number), Links::Tcp, entropy).unwrap();
    let (mut tx, _) = guard.split();
    tx.connected(&format!("sender-{number}"));
    tx
}

impl Sender {
    pub(crate) fn new(number: u32, rng: &mut Rng) -> Self {
        let counters = Counters { next: 0, declared: rng.one_in(2) };
        let backup = counters.clone();
        Self { number, tx: start(number, rng), counters, backup, outbox: vec![] }
    }

    /// Seals the message of this number; `None` where the rule refuses.
    pub(crate) fn seal(&mut self, number: u64, now: u64, rng: &mut Rng) -> Option<Packet> {
        let topic = *rng.pick(&TOPICS);
        let compact = [COMPACT, COMPACT_STRICT].contains(&topic);
        // one quality of service for each topic of compact form
        let qos = if compact { QoS::AtLeastOnce } else { *rng.pick(&QOS) };
        let payload = number.to_be_bytes();
        let retain = topic != FRESH && !compact && rng.one_in(2);
        let mut message = Outgoing::new(topic, &payload).qos(qos).retain(retain).at(Some(now));
        if (LATEST.contains(&topic) || topic == UNDATED) && rng.one_in(10) {
            message.payload = &[];
            message.kind = Some(Kind::Delete);
        }
        let sender = SenderNumber::new(self.number).unwrap();
        if compact && self.tx.wants_lease(sender) {
            self.tx.renew(sender, &mut self.counters, 4).unwrap();
        }
        let mut bytes = vec![];
        match self.tx.seal(&message, &mut bytes) {
            Ok(_) => Some(Packet { topic, qos, retain, bytes, number }),
            Err(SealError::RollbackPossible) => {
                assert!(topic == COMPACT_STRICT && !self.counters.declared);
                None
            }
            Err(error) => panic!("{topic}: {error}"),
        }
    }

    /// The network connection is made again.
    pub(crate) fn reconnect(&mut self) {
        self.tx.connected(&format!("sender-{}", self.number));
    }

    /// The process starts again; what was on its way is sent as the bytes it was.
    pub(crate) fn restart(&mut self, rng: &mut Rng) {
        self.tx = start(self.number, rng);
    }

    /// A backup of the counter store is made, or put back with a restart.
    pub(crate) fn roll_back(&mut self, rng: &mut Rng) -> bool {
        if self.counters.declared || rng.one_in(2) {
            self.backup = self.counters.clone();
            return false;
        }
        self.counters = self.backup.clone();
        self.restart(rng);
        true
    }
}

pub(crate) const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
