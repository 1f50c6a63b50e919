//! A guard's two halves on both ends, in one thread.

use super::*;
use crate::guard::{
    Guard, GuardEvent, GuardRx, GuardTx, MemoryLog, OpenError, Opened, Outgoing, Prefer, QoS,
    ReplayLog, SealError,
};
use crate::keyring::{Grant, Keyring};
use crate::policy::{BareDelete, Link, Links, Own, RuleBuilder};
use crate::secret::SharedKey;
use crate::session::{Entropy, NoEntropy};
use std::{format, vec};

const NOW: u64 = 1_795_000_000_000;

fn guard(rule: &RuleBuilder) -> Guard {
    let shared = SharedKey::take(&mut [7; 32]);
    let keyring = Keyring::new(vec![Grant::shared(&shared, "realm").unwrap()]);
    let policy = Policy::new(vec![rule.clone().build().unwrap()]);
    Guard::new(policy, keyring, Links::Tcp).unwrap()
}

fn pair(rule: &RuleBuilder) -> (GuardTx, GuardRx) {
    (guard(rule).split().0, guard(rule).split().1)
}

fn seal(tx: &mut GuardTx, message: &Outgoing<'_>) -> Vec<u8> {
    let mut out = vec![];
    tx.seal(message, &mut out).unwrap();
    out
}

fn at(now: u64) -> Incoming<'static> {
    Incoming::new("a/b", &[], Link::Tcp).at(Some(now))
}

/// Opens `bytes` as the payload of `message`.
fn open(rx: &mut GuardRx, message: Incoming<'_>, bytes: &[u8]) -> Result<Delivery, OpenError> {
    let message = Incoming { payload: bytes, ..message };
    rx.open(&message, &mut vec![]).map(|opened| opened.delivered().unwrap())
}

fn verdict(rx: &mut GuardRx, message: Incoming<'_>, bytes: &[u8]) -> Result<Verdict, Rejected> {
    match open(rx, message, bytes) {
        Ok(delivery) => Ok(delivery.verdict.unwrap()),
        Err(OpenError::Rejected(rejected)) => Err(rejected),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_value_of_any_age_is_taken_once_and_never_rolled_back() {
    let rule = Rule::sealed(["#"]).replay(Replay::Latest).timestamp(true);
    let (mut tx, mut rx) = pair(&rule);
    let value = Outgoing::new("a/b", b"on").retain(true).qos(QoS::AtLeastOnce);
    let old = seal(&mut tx, &value.at(Some(NOW)));
    tx.connected("the next connection");
    let new = seal(&mut tx, &value.at(Some(NOW + 1)));
    let late = at(NOW + 1_000_000_000);
    assert_eq!(verdict(&mut rx, late, &old), Ok(Verdict::New));
    assert_eq!(verdict(&mut rx, late, &new), Ok(Verdict::New));
    assert_eq!(verdict(&mut rx, late, &old), Err(Rejected::Stale));
    assert_eq!(verdict(&mut rx, late.retain(true), &old), Err(Rejected::Stale));
    assert_eq!(verdict(&mut rx, late, &new), Err(Rejected::Duplicate));
    // who subscribes again is shown the value
    assert_eq!(verdict(&mut rx, late.retain(true), &new), Ok(Verdict::Redelivered));
}

#[test]
fn the_validity_of_the_rule_or_of_the_message_travels_and_is_judged() {
    let rule = Rule::sealed(["#"]).replay(Replay::Fresh).timestamp(true).ttl(2);
    let (mut tx, mut rx) = pair(&rule);
    rx.started(0);
    let command = Outgoing::new("a/b", b"open").at(Some(NOW));
    let [of_rule, of_message] = [command, command.ttl(1)].map(|message| seal(&mut tx, &message));
    assert_eq!(verdict(&mut rx, at(NOW + 1_001), &of_message), Err(Rejected::NotFresh));
    assert_eq!(verdict(&mut rx, at(NOW + 1_000), &of_message), Ok(Verdict::Fresh));
    assert_eq!(verdict(&mut rx, at(NOW + 2_001), &of_rule), Err(Rejected::NotFresh));
    assert_eq!(open(&mut rx, at(NOW + 2_000), &of_rule).unwrap().ttl, Some(2));
}

#[test]
fn a_validity_without_a_timestamp_is_refused() {
    let (mut tx, _) = pair(&Rule::sealed(["#"]));
    let mut out = vec![];
    let error = tx.seal(&Outgoing::new("a", b"27").ttl(1), &mut out).unwrap_err();
    assert_eq!(error, SealError::TtlNeedsTimestamp);
}

#[test]
fn an_echo_stands_in_for_a_clock() {
    let (mut tx, mut rx) = pair(&Rule::sealed(["#"]).replay(Replay::Fresh));
    let challenge = rx.challenge(&mut getrandom::SysRng).unwrap();
    let bytes = seal(&mut tx, &Outgoing::new("a/b", b"open").echo(challenge));
    let without = seal(&mut tx, &Outgoing::new("a/b", b"open"));
    let clockless = Incoming::new("a/b", &[], Link::Tcp);
    assert_eq!(verdict(&mut rx, clockless, &without), Err(Rejected::NotFresh));
    assert_eq!(verdict(&mut rx, clockless, &bytes), Ok(Verdict::Fresh));
    let next = seal(&mut tx, &Outgoing::new("a/b", b"open").echo(challenge));
    rx.challenge(&mut getrandom::SysRng).unwrap();
    assert_eq!(verdict(&mut rx, clockless, &next), Err(Rejected::NotFresh));
}

#[test]
fn a_failing_generator_leaves_the_challenge_in_force() {
    struct Broken;
    impl Entropy for Broken {
        fn fill(&mut self, _: &mut [u8; 32]) -> Result<(), NoEntropy> {
            Err(NoEntropy)
        }
    }
    let (mut tx, mut rx) = pair(&Rule::sealed(["#"]).replay(Replay::Fresh));
    let challenge = rx.challenge(&mut getrandom::SysRng).unwrap();
    assert_eq!(rx.challenge(&mut Broken), Err(NoEntropy));
    let bytes = seal(&mut tx, &Outgoing::new("a/b", b"open").echo(challenge));
    assert_eq!(verdict(&mut rx, at(NOW), &bytes), Ok(Verdict::Fresh));
}

#[test]
fn without_a_log_the_first_time_told_counts_as_the_start() {
    let rule = Rule::sealed(["#"]).replay(Replay::Fresh).timestamp(true);
    let (mut tx, mut rx) = pair(&rule);
    let before = seal(&mut tx, &Outgoing::new("a/b", b"open").at(Some(NOW - 1)));
    let since = seal(&mut tx, &Outgoing::new("a/b", b"open").at(Some(NOW)));
    assert_eq!(verdict(&mut rx, at(NOW), &before), Err(Rejected::NotFresh));
    assert_eq!(verdict(&mut rx, at(NOW), &since), Ok(Verdict::Fresh));
    let (_, mut rx) =
        guard(&rule).with_replay_log(&mut MemoryLog::default(), Prefer::NoReplay).unwrap().split();
    let message = Incoming { payload: &before, ..at(NOW) };
    assert!(matches!(rx.open(&message, &mut vec![]), Ok(Opened::NeedsClaim(_))));
}

#[test]
fn own_messages_are_marked_or_dropped() {
    for (own, delivered) in [(Own::Deliver, true), (Own::Drop, false)] {
        let rule = Rule::sealed(["#"]).own(own);
        let (mut tx, mut rx) = guard(&rule).split();
        let mine = seal(&mut tx, &Outgoing::new("a/b", b"27"));
        let theirs = seal(&mut pair(&rule).0, &Outgoing::new("a/b", b"27"));
        assert!(!open(&mut rx, at(NOW), &theirs).unwrap().own);
        let mine = open(&mut rx, at(NOW), &mine);
        match mine {
            Ok(delivery) => assert!(delivered && delivery.own),
            Err(error) => assert!(!delivered && error == OpenError::Rejected(Rejected::Own)),
        }
    }
}

/// What the second of two messages with `lost` others between them tells of a gap.
fn gap_of(rule: &RuleBuilder, lost: u32, shared: bool) -> Option<u32> {
    let (mut tx, mut rx) = pair(rule);
    let message = Outgoing::new("a/b", b"27");
    let first = seal(&mut tx, &message);
    for _ in 0..lost {
        seal(&mut tx, &message);
    }
    let second = seal(&mut tx, &message);
    assert_eq!(open(&mut rx, at(NOW).shared(shared), &first).unwrap().gap, None);
    open(&mut rx, at(NOW).shared(shared), &second).unwrap().gap.map(NonZeroU32::get)
}

#[test]
fn a_gap_is_told_only_where_it_is_evidence() {
    let deep = Rule::sealed(["#"]).scope(Scope::Path { depth: 3 });
    assert_eq!(gap_of(&deep, 2, false), Some(2));
    assert_eq!(gap_of(&deep, 0, false), None);
    // others of a group get what is missing here
    assert_eq!(gap_of(&deep, 2, true), None);
    // "a/b/c" has the same scope as "a/b"
    assert_eq!(gap_of(&Rule::sealed(["#"]).scope(Scope::Path { depth: 2 }), 2, false), None);
    let named = |filter: &str| Rule::sealed([filter]).scope(Scope::Named("s".into()));
    assert_eq!(gap_of(&named("a/b"), 2, false), Some(2));
    assert_eq!(gap_of(&named("a/+"), 2, false), None);
    assert_eq!(gap_of(&named("a/b").replay(Replay::Off), 2, false), None);
}

#[test]
fn a_bare_deletion_says_what_the_rule_makes_of_it() {
    for worth in [BareDelete::Report, BareDelete::Ignore] {
        let (_, mut rx) = pair(&Rule::sealed(["#"]).bare_delete(worth));
        assert_eq!(open(&mut rx, at(NOW), b"").unwrap_err(), OpenError::Cleared(worth));
        assert_eq!(rx.counts().cleared, 1);
    }
}

#[test]
fn a_message_that_comes_too_late_is_loud_and_counted_apart() {
    let (mut tx, mut rx) = pair(&Rule::sealed(["#"]));
    let first = seal(&mut tx, &Outgoing::new("a/b", b"27"));
    for _ in 0..1_024 {
        let bytes = seal(&mut tx, &Outgoing::new("a/b", b"27"));
        open(&mut rx, at(NOW), &bytes).unwrap();
    }
    assert_eq!(verdict(&mut rx, at(NOW), &first), Err(Rejected::TooOld));
    assert_eq!(rx.next_event(), Some(GuardEvent::TooOld { so_far: 1 }));
    assert_eq!((rx.counts().new, rx.counts().too_old, rx.counts().duplicate), (1_024, 1, 0));
}

#[test]
fn every_outcome_is_counted() {
    let (mut tx, mut rx) = pair(&Rule::sealed(["a/#"]));
    let bytes = seal(&mut tx, &Outgoing::new("a/b", b"27"));
    let open = |rx: &mut GuardRx, topic: &str, bytes: &[u8]| {
        rx.open(&Incoming::new(topic, bytes, Link::Tcp), &mut vec![]).is_ok()
    };
    let mut strange = bytes.clone();
    strange[2] ^= 1;
    let mut forged = bytes.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert!(!open(&mut rx, "a/+", &bytes));
    assert!(!open(&mut rx, "b", &bytes));
    assert!(!open(&mut rx, "a/b", b"27"));
    assert!(!open(&mut rx, "a/b", &[0xFC, 0x60]));
    assert!(!open(&mut rx, "a/b", &[0xFC, 0xC0]));
    assert!(!open(&mut rx, "a/b", &strange));
    assert!(!open(&mut rx, "a/b", &forged));
    assert!(open(&mut rx, "a/b", &bytes));
    assert!(!open(&mut rx, "a/b", &bytes));
    let counts = *rx.counts();
    let one_each = [
        counts.refused,
        counts.clear_on_sealed_topic,
        counts.unsupported,
        counts.unknown_key,
        counts.not_authentic,
        counts.new,
        counts.duplicate,
    ];
    assert_eq!((one_each, counts.malformed), ([1; 7], 2));
}

#[test]
fn a_claim_that_is_not_finished_was_never_made() {
    let rule = Rule::sealed(["#"]);
    for manual in [false, true] {
        for replay in [Replay::Window, Replay::Latest] {
            let rule = rule.clone().replay(replay);
            let mut log = MemoryLog::default();
            let guard = guard(&rule).with_replay_log(&mut log, Prefer::NoReplay).unwrap();
            let (_, mut rx) = guard.split();
            if manual {
                rx.confirm_manually();
            }
            let bytes = seal(&mut pair(&rule).0, &Outgoing::new("a/b", b"27"));
            let message = Incoming { payload: &bytes, ..at(NOW) };
            for _ in 0..2 {
                match rx.open(&message, &mut vec![]).unwrap() {
                    // the log failed
                    Opened::NeedsClaim(claim) => drop(claim),
                    // with acknowledgement by hand, windows are written when it comes
                    Opened::Delivered(_) => assert!(manual && replay == Replay::Window),
                }
            }
            let mut out = vec![];
            if let Opened::NeedsClaim(claim) = rx.open(&message, &mut out).unwrap() {
                assert!(out.is_empty());
                log.write(claim.writes()).unwrap();
                assert_eq!(rx.finish(claim, &mut out).verdict, Some(Verdict::New));
            }
            assert_eq!(out, b"27");
            if !manual {
                let again = verdict(&mut rx, at(NOW), &bytes);
                assert_eq!(again, Err(Rejected::Duplicate), "{replay:?}");
            }
        }
    }
}

#[test]
fn an_unconfirmed_message_comes_again_though_its_window_is_forgotten() {
    let rule = Rule::sealed(["#"]);
    let (mut tx, mut rx) = pair(&rule);
    rx.set_replay_limits(ReplayLimits { windows: 1, ..ReplayLimits::default() });
    rx.confirm_manually();
    let bytes = seal(&mut tx, &Outgoing::new("a/b", b"27"));
    let other = seal(&mut tx, &Outgoing::new("a/c", b"27"));
    let receipt = open(&mut rx, at(NOW), &bytes).unwrap().receipt.unwrap();
    open(&mut rx, Incoming::new("a/c", &[], Link::Tcp), &other).unwrap();
    assert_eq!(verdict(&mut rx, at(NOW), &bytes), Ok(Verdict::Redelivered));
    assert_eq!(rx.confirm(receipt), []);
    assert_eq!(verdict(&mut rx, at(NOW), &bytes), Err(Rejected::TooOld));
}

#[test]
fn a_receiver_that_stopped_opens_nothing_sealed() {
    let rule = Rule::sealed(["#"]);
    let (mut tx, mut rx) = pair(&rule);
    assert_eq!(rx.stop(), []);
    let bytes = seal(&mut tx, &Outgoing::new("a/b", b"27"));
    assert_eq!(open(&mut rx, at(NOW), &bytes).unwrap_err(), OpenError::Stopped);
}

#[test]
fn a_log_that_is_no_good_opens_nothing() {
    let mut log = MemoryLog::default();
    let (_, mut rx) = guard(&Rule::sealed(["#"])).split();
    let rows = {
        let guard = guard(&Rule::sealed(["#"])).with_replay_log(&mut log, Prefer::NoReplay);
        drop(guard.unwrap());
        log.rows().unwrap()
    };
    let cut = rows.into_iter().map(|(key, value)| (key, value[1..].to_vec())).collect();
    assert!(rx.restore(cut, Prefer::NoReplay).is_err());
    let bytes = seal(&mut pair(&Rule::sealed(["#"])).0, &Outgoing::new("a/b", b"27"));
    assert_eq!(open(&mut rx, at(NOW), &bytes).unwrap_err(), OpenError::Stopped);
}

#[test]
fn debug_of_a_claim_shows_no_payload() {
    let rule = Rule::sealed(["#"]);
    let guard = guard(&rule).with_replay_log(&mut MemoryLog::default(), Prefer::NoReplay).unwrap();
    let (_, mut rx) = guard.split();
    let bytes = seal(&mut pair(&rule).0, &Outgoing::new("a/b", b"marker-marker-12"));
    let opened = rx.open(&Incoming { payload: &bytes, ..at(NOW) }, &mut vec![]).unwrap();
    let text = format!("{opened:?}");
    assert!(text.contains("payload_len: 16") && !text.contains("109"), "{text}");
}

/// A receiver that confirms by hand, on `log`, with room for one window.
fn small(rule: &RuleBuilder, log: &mut MemoryLog) -> GuardRx {
    let limits = ReplayLimits { windows: 1, ..ReplayLimits::default() };
    let guard = guard(rule).with_replay_limits(limits);
    let (_, mut rx) = guard.with_replay_log(log, Prefer::NoReplay).unwrap().split();
    rx.confirm_manually();
    rx
}

#[test]
fn what_was_confirmed_before_a_stream_was_evicted_stays_refused_over_all_stops() {
    let rule = Rule::sealed(["#"]);
    let mut will = Outgoing::new("a/b", b"gone");
    will.kind = Some(crate::wire::Kind::Will);
    for message in [Outgoing::new("a/b", b"27"), will] {
        let (mut tx, mut log) = (pair(&rule).0, MemoryLog::default());
        tx.connected("x");
        let bytes = seal(&mut tx, &message);
        let others: Vec<_> = (0..100).map(|_| seal(&mut tx, &Outgoing::new("a/b", b""))).collect();
        let mut rx = small(&rule, &mut log);
        let receipt = open(&mut rx, at(NOW), &bytes).unwrap().receipt.unwrap();
        log.write(&rx.confirm(receipt)).unwrap();
        // an unclean stop leaves a tombstone, from which the next message makes a window
        let mut rx = small(&rule, &mut log);
        open(&mut rx, at(NOW), &others[80]).unwrap();
        log.write(&rx.stop()).unwrap();
        // after a clean stop and an unclean one
        drop(small(&rule, &mut log));
        let mut rx = small(&rule, &mut log);
        assert_eq!(verdict(&mut rx, at(NOW), &bytes), Err(Rejected::TooOld));
        // and where another message of the stream is confirmed
        let receipt = open(&mut rx, at(NOW), &others[90]).unwrap().receipt.unwrap();
        log.write(&rx.confirm(receipt)).unwrap();
        let mut rx = small(&rule, &mut log);
        assert_eq!(verdict(&mut rx, at(NOW), &bytes), Err(Rejected::TooOld));
    }
}

#[test]
fn a_will_keeps_its_session_whatever_else_is_sealed() {
    let rule = Rule::sealed(["#"]).replay(Replay::Latest).timestamp(true);
    let rule = rule.scope(Scope::Path { depth: 2 });
    let (mut tx, mut rx) = pair(&rule);
    tx.connected("gateway");
    let mut will = Outgoing::new("a/b", b"off").at(Some(NOW));
    will.kind = Some(crate::wire::Kind::Will);
    let sealed = seal(&mut tx, &will);
    for n in 0..1_024 {
        seal(&mut tx, &Outgoing::new(&format!("a/{n}"), b"x").at(Some(NOW)));
    }
    let status = seal(&mut tx, &Outgoing::new("a/b", b"on").at(Some(NOW + 1)));
    open(&mut rx, at(NOW + 1), &status).unwrap();
    // the broker publishes it for a client that was cut off
    open(&mut rx, at(NOW + 2), &sealed).unwrap();
    assert_eq!(tx.seal(&will, &mut vec![]), Err(SealError::WillSealed));
}

#[test]
fn a_rule_that_is_off_knows_no_duplicates() {
    let stripped =
        Rule::sealed(["x/#"]).replay(Replay::Off).topic_binding(TopicBinding::Strip("x/".into()));
    let rules = || {
        let whole = Rule::sealed(["#"]).build().unwrap();
        let shared = SharedKey::take(&mut [7; 32]);
        let keyring = Keyring::new(vec![Grant::shared(&shared, "realm").unwrap()]);
        let policy = Policy::new(vec![stripped.clone().build().unwrap(), whole]);
        Guard::new(policy, keyring, Links::Tcp).unwrap().split()
    };
    let ((mut tx, _), (_, mut rx)) = (rules(), rules());
    let bytes = seal(&mut tx, &Outgoing::new("a/b", b"27"));
    assert_eq!(verdict(&mut rx, at(NOW), &bytes), Ok(Verdict::New));
    let bridged = Incoming::new("x/a/b", &[], Link::Tcp);
    assert_eq!(verdict(&mut rx, bridged, &bytes), Ok(Verdict::Unchecked));
}

#[test]
fn an_acknowledgement_after_eviction_counts_for_a_value_too() {
    let rule = Rule::sealed(["#"]).replay(Replay::Latest);
    let (mut tx, mut rx) = pair(&rule);
    rx.set_replay_limits(ReplayLimits { records: 1, ..ReplayLimits::default() });
    rx.confirm_manually();
    let bytes = seal(&mut tx, &Outgoing::new("a/b", b"on"));
    let other = seal(&mut tx, &Outgoing::new("a/c", b"on"));
    let receipt = open(&mut rx, at(NOW), &bytes).unwrap().receipt.unwrap();
    open(&mut rx, Incoming::new("a/c", &[], Link::Tcp), &other).unwrap();
    assert_eq!(verdict(&mut rx, at(NOW), &bytes), Ok(Verdict::Redelivered));
    assert_eq!(rx.confirm(receipt), []);
    assert_eq!(verdict(&mut rx, at(NOW), &bytes), Err(Rejected::Duplicate));
}

#[test]
fn the_counter_of_a_will_is_no_evidence_of_a_gap() {
    let (mut tx, mut rx) = pair(&Rule::sealed(["#"]).scope(Scope::Path { depth: 3 }));
    tx.connected("x");
    let mut will = Outgoing::new("a/b", b"off");
    will.kind = Some(crate::wire::Kind::Will);
    let will = seal(&mut tx, &will);
    let first = seal(&mut tx, &Outgoing::new("a/b", b"27"));
    open(&mut rx, at(NOW), &first).unwrap();
    assert_eq!(open(&mut rx, at(NOW), &will).unwrap().gap, None);
}

#[test]
fn rows_keep_their_order_over_two_unclean_stops() {
    let rule = Rule::sealed(["#"]);
    let (mut tx, _) = pair(&rule);
    let topics = ["a/1", "a/2", "a/3"];
    let sealed = topics.map(|topic| seal(&mut tx, &Outgoing::new(topic, b"27")));
    let mut log = MemoryLog::default();
    let start = |log: &mut MemoryLog, limits| {
        let guard = guard(&rule).with_replay_limits(limits);
        guard.with_replay_log(log, Prefer::NoReplay).unwrap().split().1
    };
    let open = |rx: &mut GuardRx, log: &mut MemoryLog, at: usize| {
        let message = Incoming::new(topics[at], &sealed[at], Link::Tcp);
        rx.open_with_log(&message, &mut vec![], log).is_ok()
    };
    // the first topic is the last that was written
    let mut rx = start(&mut log, ReplayLimits::default());
    for at in [1, 2, 0] {
        assert!(open(&mut rx, &mut log, at));
    }
    drop(start(&mut log, ReplayLimits::default()));
    let mut rx = start(&mut log, ReplayLimits { ring: 1, ..ReplayLimits::default() });
    assert_eq!(rx.forgotten(), 2);
    assert!(!open(&mut rx, &mut log, 0) && open(&mut rx, &mut log, 1));
}

#[test]
fn limits_hold_for_what_is_restored() {
    let rule = Rule::sealed(["#"]).replay(Replay::Latest);
    let (mut tx, _) = pair(&rule);
    let mut log = MemoryLog::default();
    let (_, mut rx) = guard(&rule).with_replay_log(&mut log, Prefer::NoReplay).unwrap().split();
    for topic in ["a/1", "a/2"] {
        let bytes = seal(&mut tx, &Outgoing::new(topic, b"on"));
        let message = Incoming::new(topic, &bytes, Link::Tcp);
        rx.open_with_log(&message, &mut vec![], &mut log).unwrap();
    }
    let limits = ReplayLimits { records: 1, ring: 0, ..ReplayLimits::default() };
    let guard = guard(&rule).with_replay_limits(limits);
    let (_, rx) = guard.with_replay_log(&mut log, Prefer::NoReplay).unwrap().split();
    assert_eq!(rx.forgotten(), 1);
}

#[test]
fn what_waits_for_confirmation_is_bounded() {
    let mut judge = Judge::new([1; 16]);
    judge.table.manual = true;
    let topic = TopicName::parse("a").unwrap();
    let (kid, id) = (crate::wire::KeyId::new([0; 4]), crate::wire::SessionId::Random([1; 12]));
    let state = judge.table.stream_key(crate::keyring::ScopeRef::Named("s"), kid, id, topic);
    for counter in (0..).take(MAX_UNCONFIRMED + 10) {
        let receipt = Receipt { record: false, state, kid, id, counter };
        judge.wait(&receipt, Verdict::New, None);
    }
    assert_eq!(judge.waiting.len(), MAX_UNCONFIRMED);
}
