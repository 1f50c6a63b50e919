//! Two cases that were measured on real brokers and that lose messages where a replay window spans
//! a whole session.

use mqtt_seal::guard::{Guard, GuardRx, GuardTx, Incoming, Outgoing, QoS};
use mqtt_seal::policy::{Link, Links};
use mqtt_seal::replay::Verdict;

use crate::sender::{keyring, policy};

fn pair() -> (GuardTx, GuardRx) {
    let guard = || Guard::new(policy(), keyring(0), Links::Tcp).unwrap().split();
    (guard().0, guard().1)
}

fn seal(tx: &mut GuardTx, topic: &str, qos: QoS, retain: bool) -> Vec<u8> {
    let mut out = vec![];
    let message = Outgoing::new(topic, b"27").qos(qos).retain(retain).at(Some(1));
    tx.seal(&message, &mut out).unwrap();
    out
}

fn is_new(rx: &mut GuardRx, topic: &str, bytes: &[u8], retain: bool) -> bool {
    let message = Incoming::new(topic, bytes, Link::Tcp).retain(retain).at(Some(1));
    let opened = rx.open(&message, &mut vec![]).unwrap();
    opened.delivered().unwrap().verdict == Some(Verdict::New)
}

#[test]
fn a_backlog_of_5000_overtaken_by_live_traffic_loses_nothing() {
    let (mut tx, mut rx) = pair();
    let mut send = |qos| seal(&mut tx, "w/1", qos, false);
    let backlog: Vec<_> = (0..5_000).map(|_| send(QoS::AtLeastOnce)).collect();
    let live: Vec<_> = (0..5_000).map(|_| send(QoS::AtMostOnce)).collect();
    for bytes in live.iter().chain(&backlog) {
        assert!(is_new(&mut rx, "w/1", bytes, false));
    }
}

#[test]
fn a_thousand_retained_values_behind_a_live_message_are_all_delivered() {
    for level in ["w", "l"] {
        let (mut tx, mut rx) = pair();
        let topic = |n: u32| format!("{level}/{n}");
        let retained: Vec<_> =
            (0..1_000).map(|n| seal(&mut tx, &topic(n), QoS::AtLeastOnce, true)).collect();
        let live = seal(&mut tx, &topic(1_000), QoS::AtLeastOnce, false);
        assert!(is_new(&mut rx, &topic(1_000), &live, false));
        for (n, bytes) in (0..).zip(&retained) {
            assert!(is_new(&mut rx, &topic(n), bytes, true), "{level}/{n}");
        }
    }
}
