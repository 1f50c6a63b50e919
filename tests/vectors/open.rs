//! Messages that open and messages that do not.

use mqtt_seal::guard::{Delivery, Guard, Incoming, OpenError, Protection};
use mqtt_seal::policy::{Link, Links};
use mqtt_seal::wire::Kind;
use serde_json::Value;

use crate::json::{Properties, bytes, hex, keyring, list, policy, read, suite, text, to_hex};

/// What a receiver with empty replay state makes of `sealed`.
pub(crate) fn open(
    rules: &[Value],
    keys: &[Value],
    now: Option<u64>,
    (topic, props): (&str, &Value),
    sealed: &[u8],
) -> Result<(Vec<u8>, Delivery), OpenError> {
    let suite = keys.last().map_or_else(Default::default, suite);
    let guard = Guard::new(policy(rules, suite), keyring(keys), Links::Tcp).unwrap();
    let (_, mut rx) = guard.split();
    let props = Properties::read(props);
    let props = props.get();
    let message = Incoming::new(topic, sealed, Link::Tcp).properties(&props).at(now);
    let mut out = vec![];
    let delivery = rx.open(&message, &mut out).map(|opened| opened.delivered().unwrap());
    if delivery.is_err() {
        assert!(out.is_empty(), "nothing is handed out with an error");
    }
    delivery.map(|delivery| (out, delivery))
}

/// Compares a delivery with the verdict of a case.
pub(crate) fn check_ok(
    case: &Value,
    verdict: &Value,
    (topic, props): (&str, &Value),
    (payload, delivery): &(Vec<u8>, Delivery),
) {
    let protection = match text(verdict, "ok") {
        "Sealed" => Protection::Sealed,
        _ => Protection::Clear,
    };
    assert_eq!(delivery.protection, protection, "{case}");
    assert_eq!(to_hex(payload), text(verdict, "payload"), "{case}");
    assert_eq!(
        delivery.carried_topic.as_deref().unwrap_or(topic),
        text(verdict, "topic"),
        "{case}"
    );
    let kind = delivery.kind.map(|kind| if kind == Kind::Delete { "delete" } else { "will" });
    assert_eq!(kind, verdict["kind"].as_str(), "{case}");
    assert_eq!(delivery.timestamp, verdict["inner"]["ts"].as_u64(), "{case}");
    assert_eq!(delivery.ttl.map(u64::from), verdict["inner"]["ttl"].as_u64(), "{case}");
    let (outer, expected) = (Properties::read(props), Properties::read(&verdict["props"]));
    let outer = outer.get();
    let got: Vec<_> = delivery.properties(&outer).collect();
    assert_eq!(got, expected.get(), "{case}");
}

fn open_case(case: &Value, sealed: &[u8]) -> Result<(Vec<u8>, Delivery), OpenError> {
    open(
        case["rules"].as_array().unwrap(),
        case["keys"].as_array().unwrap(),
        case["now"].as_u64(),
        (text(case, "topic"), &case["props"]),
        sealed,
    )
}

#[test]
fn odd_but_legal_messages_open() {
    for case in list(&read("open_accept.json"), "cases") {
        let opened = open_case(case, &bytes(case, "sealed"));
        let opened = opened.unwrap_or_else(|error| panic!("{error:?} {case}"));
        check_ok(case, &case["expect"], (text(case, "topic"), &case["props"]), &opened);
    }
}

#[test]
fn every_broken_rule_gives_its_error() {
    for case in list(&read("open_reject.json"), "cases") {
        let error = open_case(case, &bytes(case, "sealed")).map(drop).unwrap_err();
        assert_eq!(error.name(), text(case, "expect"), "{case}");
    }
}

fn name(opened: Result<(Vec<u8>, Delivery), OpenError>) -> &'static str {
    opened.map_or_else(|error| error.name(), |_| "ok")
}

#[test]
fn every_truncation_gives_its_error() {
    for case in list(&read("open_reject.json"), "truncations") {
        let sealed = hex(text(case, "sealed"));
        for (len, expected) in case["expect"].as_array().unwrap().iter().enumerate() {
            assert_eq!(name(open_case(case, &sealed[..len])), *expected, "{len} of {case}");
        }
    }
}

#[test]
fn every_flipped_bit_gives_its_error() {
    for case in list(&read("open_reject.json"), "bit_flips") {
        let sealed = hex(text(case, "sealed"));
        for (bit, expected) in case["expect"].as_array().unwrap().iter().enumerate() {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 0x80 >> (bit % 8);
            assert_eq!(name(open_case(case, &flipped)), *expected, "bit {bit} of {case}");
        }
    }
}
