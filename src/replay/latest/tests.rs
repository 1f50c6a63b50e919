//! The traces of the vectors that concern one record, without quotas, stores and echo.

use super::*;
use crate::wire::header::SenderNumber;
use serde_json::Value;
use std::collections::HashMap;
use std::{format, string::String, vec::Vec};

const MAX_SKEW_MS: u64 = 5_000;

fn session_id(hex: &str, step: u64) -> SessionId {
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at.saturating_add(2)], 16).unwrap())
        .collect();
    if let Ok(sid) = <[u8; 12]>::try_from(bytes.as_slice()) {
        let mut wide = [0; 16];
        wide[4..].copy_from_slice(&sid);
        let id = u128::from_be_bytes(wide).saturating_add(u128::from(step)).to_be_bytes();
        return SessionId::Random(id[4..].try_into().unwrap());
    }
    // the length counts: 1, 2 and 4 bytes are different senders
    let number = bytes.iter().fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
    SessionId::Sender(SenderNumber::new(number & SenderNumber::MAX).unwrap())
}

/// Whether a trace needs nothing but records.
fn concerns_records_alone(case: &Value) -> bool {
    let events = case["events"].as_array().unwrap();
    let receiver = case["receiver"].as_object().unwrap();
    case["policy"] == "latest"
        && receiver.keys().all(|key| key == "manual")
        && events.iter().all(|event| {
            let op = event["op"].as_str().unwrap();
            matches!(op, "msg" | "range" | "ack") && event.get("policy").is_none()
        })
}

/// A receiver of `latest` topics, reduced to its records.
#[derive(Default)]
struct Receiver {
    records: HashMap<(String, String), LatestRecord>,
    keys: HashMap<String, KeyId>,
    manual: bool,
}

impl Receiver {
    fn step(&mut self, event: &Value, index: u64) -> &'static str {
        let text = |key: &str, default: &str| {
            event[key].as_str().unwrap_or(default).replace("{i}", &format!("{index}"))
        };
        let next = u8::try_from(self.keys.len()).unwrap();
        let kid = *self.keys.entry(text("key", "k")).or_insert_with(|| KeyId::new([next; 4]));
        let steps = |key: &str| event[key].as_u64().unwrap_or(0).saturating_mul(index);
        let id = session_id(event["id"].as_str().unwrap(), steps("id_step"));
        let counter = event["ctr"].as_u64().unwrap().saturating_add(steps("ctr_step"));
        let message = Authentic::forged(kid, id, u32::try_from(counter).unwrap());
        let place = (text("scope", "s"), text("topic", "t"));
        if event["op"] == "ack" {
            self.records.get_mut(&place).unwrap().confirm(&message);
            return "acknowledged";
        }
        let arrival = Arrival {
            timestamp: event["ts"].as_u64(),
            retain: event["retain"] == true,
            now: event["now"].as_u64(),
            max_skew: MAX_SKEW_MS,
            confirm: !self.manual,
        };
        // the receiver's own check of the clock comes before the record
        let ahead =
            |now: u64| arrival.timestamp.is_some_and(|ts| ts > now.saturating_add(MAX_SKEW_MS));
        if arrival.now.is_some_and(ahead) {
            return "NotFresh";
        }
        let Some(record) = self.records.get_mut(&place) else {
            self.records.insert(place, LatestRecord::first(&message, &arrival));
            return "New";
        };
        match record.accept(&message, &arrival) {
            Ok(Verdict::New) => "New",
            Ok(Verdict::Redelivered) => "Redelivered",
            Err(Rejected::Duplicate) => "Duplicate",
            Err(Rejected::Stale) => "Stale",
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn records_give_the_verdicts_of_the_vectors() {
    let json: Value =
        serde_json::from_str(include_str!("../../../tests/vectors/replay.json")).unwrap();
    let cases = json["cases"].as_array().unwrap().iter();
    let mut run = 0;
    for case in cases.filter(|case| concerns_records_alone(case)) {
        let manual = case["receiver"]["manual"] == true;
        let mut receiver = Receiver { manual, ..Receiver::default() };
        for event in case["events"].as_array().unwrap() {
            for index in 0..event["count"].as_u64().unwrap_or(1) {
                let verdict = receiver.step(event, index);
                let expected = event["expect"].as_str().unwrap_or("acknowledged");
                assert_eq!(verdict, expected, "{index} of {event} in {}", case["comment"]);
            }
        }
        run += 1;
    }
    assert!(run > 30, "{run} traces");
}

#[test]
fn a_tombstone_has_forgotten_who_is_out() {
    let kid = KeyId::new([0; 4]);
    let message = |id: u8, counter| Authentic::forged(kid, SessionId::Random([id; 12]), counter);
    let arrival = Arrival { confirm: true, ..Arrival::default() };
    let mut record = LatestRecord::first(&message(1, 5), &arrival);
    record.accept(&message(2, 0), &arrival).unwrap();
    assert_eq!(record.clone().accept(&message(1, 5), &arrival), Err(Rejected::Stale));
    assert_eq!(
        LatestRecord::after(record.tombstone()).accept(&message(1, 5), &arrival),
        Ok(Verdict::New)
    );
    let stale = LatestRecord::after(record.tombstone()).accept(&message(2, 0), &arrival);
    assert_eq!(stale, Err(Rejected::Duplicate));
}
