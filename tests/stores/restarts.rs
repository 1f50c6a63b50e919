//! Receivers that confirm by hand, evict and stop in every order.

use mqtt_seal::guard::{
    Delivery, Guard, GuardRx, GuardTx, Incoming, MemoryLog, OpenError, OpenWithLogError, Outgoing,
    Prefer, ReplayLimits, ReplayLog,
};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::policy::{Link, Links, Policy, Rule, Scope};
use mqtt_seal::replay::Rejected;
use mqtt_seal::secret::SharedKey;
use mqtt_seal::wire::Kind;

const TOO_OLD: OpenError = OpenError::Rejected(Rejected::TooOld);

fn guard() -> Guard {
    let rule = Rule::sealed(["#"]).scope(Scope::Path { depth: 0 }).build().unwrap();
    let grant = Grant::shared(&SharedKey::take(&mut [7; 32]), "r").unwrap();
    Guard::new(Policy::new(vec![rule]), Keyring::new(vec![grant]), Links::Tcp).unwrap()
}

/// A receiver and its log.
struct Receiver {
    rx: GuardRx,
    log: MemoryLog,
    prefer: Prefer,
    manual: bool,
}

impl Receiver {
    fn new(prefer: Prefer, manual: bool) -> Self {
        let mut log = MemoryLog::default();
        let rx = Self::start(&mut log, prefer, manual);
        Self { rx, log, prefer, manual }
    }

    fn start(log: &mut MemoryLog, prefer: Prefer, manual: bool) -> GuardRx {
        let (_, mut rx) = guard().with_replay_log(log, prefer).unwrap().split();
        if manual {
            rx.confirm_manually();
        }
        rx
    }

    /// With room for one window.
    fn small(mut self) -> Self {
        let mut limits = ReplayLimits::default();
        limits.windows = 1;
        self.rx.set_replay_limits(limits);
        self
    }

    fn crash(&mut self) {
        self.rx = Self::start(&mut self.log, self.prefer, self.manual);
    }

    fn stop(&mut self) {
        let writes = self.rx.stop();
        self.log.write(&writes).unwrap();
        self.crash();
    }

    fn open(&mut self, topic: &str, bytes: &[u8]) -> Result<Delivery, OpenError> {
        let message = Incoming::new(topic, bytes, Link::Tcp);
        match self.rx.open_with_log(&message, &mut vec![], &mut self.log) {
            Ok(delivery) => Ok(delivery),
            Err(OpenWithLogError::Open(error)) => Err(error),
            Err(other) => panic!("{other}"),
        }
    }

    /// Opens a message on the one topic and confirms it.
    fn take(&mut self, bytes: &[u8]) -> Result<(), OpenError> {
        if let Some(receipt) = self.open("a", bytes)?.receipt {
            self.rx.confirm_with_log(receipt, &mut self.log).unwrap();
        }
        Ok(())
    }
}

fn seal(tx: &mut GuardTx, message: &Outgoing<'_>) -> Vec<u8> {
    let mut out = vec![];
    tx.seal(message, &mut out).unwrap();
    out
}

fn messages(tx: &mut GuardTx, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|_| seal(tx, &Outgoing::new("a", b"27"))).collect()
}

#[test]
fn confirmed_messages_stay_refused_over_a_crash_a_stop_and_a_crash() {
    let all = messages(&mut guard().split().0, 100);
    let mut receiver = Receiver::new(Prefer::NoReplay, true);
    for message in &all[..10] {
        receiver.take(message).unwrap();
    }
    receiver.crash();
    assert_eq!(receiver.take(&all[0]), Err(TOO_OLD));
    // delivered, and not confirmed
    receiver.open("a", &all[80]).unwrap();
    receiver.stop();
    receiver.crash();
    assert_eq!(receiver.take(&all[0]), Err(TOO_OLD));
}

#[test]
fn confirmed_messages_stay_refused_over_an_eviction_a_stop_and_a_crash() {
    let (mut tx, _) = guard().split();
    let all = messages(&mut tx, 3);
    let other = seal(&mut tx, &Outgoing::new("b", b"27"));
    let mut receiver = Receiver::new(Prefer::NoReplay, true).small();
    receiver.take(&all[0]).unwrap();
    receiver.open("b", &other).unwrap();
    receiver.open("a", &all[1]).unwrap();
    receiver.stop();
    receiver.crash();
    assert_eq!(receiver.take(&all[0]), Err(TOO_OLD));
}

#[test]
fn a_confirmed_will_stays_refused_when_its_row_is_written_anew() {
    for manual in [false, true] {
        let (mut tx, _) = guard().split();
        let mut will = Outgoing::new("a", b"off");
        will.kind = Some(Kind::Will);
        let will = seal(&mut tx, &will);
        let all = messages(&mut tx, 100);
        let mut receiver = Receiver::new(Prefer::NoReplay, manual);
        receiver.take(&all[0]).unwrap();
        receiver.take(&will).unwrap();
        receiver.crash();
        assert_eq!(receiver.take(&will), Err(TOO_OLD));
        receiver.take(&all[80]).unwrap();
        receiver.crash();
        assert_eq!(receiver.take(&will), Err(TOO_OLD));
    }
}

#[test]
fn a_confirmation_after_eviction_is_written_and_covers_no_more_than_it_must() {
    let (mut tx, _) = guard().split();
    let all = messages(&mut tx, 100);
    let other = seal(&mut tx, &Outgoing::new("b", b"27"));
    let mut receiver = Receiver::new(Prefer::NoLoss, true).small();
    let first = receiver.open("a", &all[0]).unwrap();
    for message in &all[1..] {
        receiver.open("a", message).unwrap();
    }
    receiver.open("b", &other).unwrap();
    receiver.rx.confirm_with_log(first.receipt.unwrap(), &mut receiver.log).unwrap();
    receiver.crash();
    assert_eq!(receiver.take(&all[0]), Err(TOO_OLD));
    for message in &all[1..] {
        receiver.take(message).unwrap();
    }
}

#[test]
fn what_was_evicted_and_never_confirmed_comes_again_after_a_stop() {
    let (mut tx, _) = guard().split();
    let all = messages(&mut tx, 1);
    let other = seal(&mut tx, &Outgoing::new("b", b"27"));
    let mut receiver = Receiver::new(Prefer::NoLoss, true).small();
    receiver.open("a", &all[0]).unwrap();
    receiver.open("b", &other).unwrap();
    receiver.stop();
    receiver.take(&all[0]).unwrap();
}

#[test]
fn what_a_clean_stop_wrote_holds_over_the_next_crash() {
    for prefer in [Prefer::NoReplay, Prefer::NoLoss] {
        let all = messages(&mut guard().split().0, 61);
        let mut receiver = Receiver::new(prefer, false);
        for message in &all[..60] {
            receiver.take(message).unwrap();
        }
        receiver.stop();
        receiver.crash();
        for message in &all[..60] {
            assert_eq!(receiver.take(message), Err(TOO_OLD));
        }
        assert_eq!(receiver.take(&all[60]).is_ok(), prefer == Prefer::NoLoss);
    }
}

#[test]
fn a_receiver_that_restores_forgets_what_it_held_before() {
    let all = messages(&mut guard().split().0, 1);
    let mut receiver = Receiver::new(Prefer::NoReplay, false);
    receiver.take(&all[0]).unwrap();
    // a receiver that refused a forged message on the topic already, and one that restores twice
    let mut forged = all[0].clone();
    *forged.last_mut().unwrap() ^= 1;
    let (_, mut rx) = guard().split();
    rx.open(&Incoming::new("a", &forged, Link::Tcp), &mut vec![]).unwrap_err();
    for _ in 0..2 {
        let writes = rx.restore(receiver.log.rows().unwrap(), Prefer::NoReplay).unwrap();
        receiver.log.write(&writes).unwrap();
    }
    receiver.rx = rx;
    assert_eq!(receiver.take(&all[0]), Err(TOO_OLD));
}
