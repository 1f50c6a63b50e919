//! Delivery traces through one receiver.

use std::collections::{BTreeMap, BTreeSet};

use mqtt_seal::guard::{Guard, GuardRx, Incoming, ReplayLimits};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::message::danger::{self, RawMessage};
use mqtt_seal::message::{self, Opener};
use mqtt_seal::policy::{Link, Links, Policy, Replay, Rule, Scope};
use mqtt_seal::replay::{Rejected, Verdict};
use mqtt_seal::schedule;
use mqtt_seal::secret::{ScopeKey, SharedKey};
use mqtt_seal::suite::Suite;
use mqtt_seal::topic::TopicName;
use mqtt_seal::wire::inner::{InnerFields, Kind};
use mqtt_seal::wire::{SenderNumber, SessionId};
use serde_json::Value;

use crate::NOT_YET;
use crate::json::{bytes, list, number, read, text};
use crate::keys::session_id;

/// What of the list of things to come a trace needs.
fn needs(case: &Value) -> BTreeSet<&'static str> {
    let mut needs = BTreeSet::new();
    let events = case["events"].as_array().unwrap();
    let receiver = |key: &str| case["receiver"].get(key).is_some();
    let policies = events.iter().map(|event| &event["policy"]).chain([&case["policy"]]);
    for policy in policies.filter_map(Value::as_str) {
        match policy {
            "latest" => needs.insert("policy latest"),
            "fresh" => needs.insert("policy fresh"),
            _ => false,
        };
    }
    let has = |op: &str| events.iter().any(|event| event["op"] == op);
    let mut need = |name, needed: bool| needed && needs.insert(name);
    need("store", has("stop") || has("start") || receiver("store"));
    need("own sessions", has("own") || receiver("own"));
    need("first_contact", receiver("first_contact"));
    need("echo", has("echo"));
    need("max_skew and max_age of a rule", receiver("max_skew") || receiver("max_age"));
    needs
}

/// One key by its name in the traces.
fn shared_key(name: &str) -> SharedKey {
    let mut key = [0; 32];
    key[..name.len()].copy_from_slice(name.as_bytes());
    SharedKey::take(&mut key)
}

/// The traces name senders by ID bytes that may be no shortest varint, which no message can have:
/// those stand for the first sender numbers of the same length.
fn legal_id(id: &[u8]) -> SessionId {
    let least = match id.len() {
        2 => 1 << 6,
        4 => 1 << 14,
        _ => 0,
    };
    match session_id(id) {
        SessionId::Sender(number) if number.get() < least => {
            SessionId::Sender(SenderNumber::new(number.get() + least).unwrap())
        }
        id => id,
    }
}

/// One message of a trace, or many.
struct Message<'a> {
    event: &'a Value,
    index: u64,
}

impl Message<'_> {
    fn text(&self, key: &str, default: &str) -> String {
        self.event[key].as_str().unwrap_or(default).replace("{i}", &self.index.to_string())
    }

    fn topic(&self) -> String {
        format!("{}/{}", self.text("scope", "s"), self.text("topic", "t"))
    }

    fn id(&self) -> Vec<u8> {
        let id = bytes(self.event, "id");
        let step = self.event["id_step"].as_u64().unwrap_or(0) * self.index;
        if step == 0 {
            return id;
        }
        let mut wide = [0; 16];
        wide[4..].copy_from_slice(&id);
        (u128::from_be_bytes(wide) + u128::from(step)).to_be_bytes()[4..].to_vec()
    }

    fn counter(&self) -> u32 {
        let step =
            self.event["ctr_step"].as_i64().unwrap_or(0) * i64::try_from(self.index).unwrap();
        let counter = i64::try_from(number(self.event, "ctr")).unwrap() + step;
        u32::try_from(counter).unwrap()
    }

    fn scope(&self) -> ScopeKey {
        let root = schedule::root(&shared_key(&self.text("key", "k")), "r").unwrap();
        let topic = self.topic();
        let path = TopicName::parse(&topic).unwrap().path(1);
        schedule::path_scope(&root, path, Suite::default())
    }

    fn seal(&self) -> Vec<u8> {
        let topic = self.topic();
        let fields = InnerFields {
            timestamp: self.event["ts"].as_u64(),
            ttl: self.event["ttl"].as_u64().map(|ttl| ttl.try_into().unwrap()),
            kind: (self.event["kind"] == "will").then_some(Kind::Will),
            ..InnerFields::default()
        };
        let mut plaintext = vec![];
        fields.encode(|part| plaintext.extend_from_slice(part));
        plaintext.push(b'x');
        let message = RawMessage {
            suite: Suite::default(),
            id: legal_id(&self.id()),
            counter: self.counter(),
            inner: !fields.is_empty(),
            topic: TopicName::parse(&topic).ok(),
            bind: None,
            plaintext: &plaintext,
        };
        let mut out = vec![0; 256];
        danger::seal(&self.scope(), &message, &mut out).unwrap().unwrap().to_vec()
    }
}

fn messages(case: &Value) -> Vec<Message<'_>> {
    let events = case["events"].as_array().unwrap().iter();
    events
        .flat_map(|event| {
            match text(event, "op") {
                "msg" | "ack" => 0..1,
                "range" => 0..number(event, "count"),
                _ => 0..0,
            }
            .map(move |index| Message { event, index })
        })
        .collect()
}

fn guard(case: &Value, messages: &[Message<'_>]) -> GuardRx {
    let keys: BTreeSet<String> = messages.iter().map(|message| message.text("key", "k")).collect();
    let grants = keys.iter().map(|name| Grant::shared(&shared_key(name), "r").unwrap()).collect();
    let replay = if case["policy"] == "off" { Replay::Off } else { Replay::Window };
    let rule = Rule::sealed(["#"]).scope(Scope::Path { depth: 1 }).replay(replay).build().unwrap();
    let guard = Guard::new(Policy::new(vec![rule]), Keyring::new(grants), Links::Tcp).unwrap();
    let (_, mut rx) = guard.split();
    if case["receiver"]["manual"] == true {
        rx.confirm_manually();
    }
    let mut limits = ReplayLimits::default();
    let set = |limit: &mut usize, key: &str| {
        if let Some(value) = case["receiver"][key].as_u64() {
            *limit = value.try_into().unwrap();
        }
    };
    set(&mut limits.windows, "windows");
    set(&mut limits.windows_total, "windows_total");
    set(&mut limits.ring, "ring");
    set(&mut limits.ring_total, "ring_total");
    rx.set_replay_limits(limits);
    rx
}

fn run_guard(case: &Value) {
    let messages = messages(case);
    let mut rx = guard(case, &messages);
    let mut receipts = BTreeMap::new();
    for message in &messages {
        let name = (message.topic(), message.text("key", "k"), message.id(), message.counter());
        if message.event["op"] == "ack" {
            rx.confirm(receipts[&name]);
            continue;
        }
        let (topic, sealed) = (message.topic(), message.seal());
        let now = message.event["now"].as_u64();
        let mut out = vec![];
        let verdict = rx.open(&Incoming::new(&topic, &sealed, Link::Tcp).at(now), &mut out);
        if let Ok(delivery) = &verdict {
            receipts.extend(delivery.receipt.map(|receipt| (name, receipt)));
        }
        let verdict = match verdict.map(|delivery| delivery.verdict) {
            Ok(Some(Verdict::New)) => "New",
            Ok(Some(Verdict::Redelivered)) => "Redelivered",
            // under `off` the traces call every delivery Unchecked
            Ok(Some(Verdict::Unchecked)) => "Unchecked",
            Err(error) => error.name(),
            other => panic!("{other:?}"),
        };
        let at = message.index;
        assert_eq!(verdict, text(message.event, "expect"), "{at} of {} in {case}", message.event);
    }
    let overflows = case["expect_events"].as_array().map_or(0, Vec::len);
    assert_eq!(rx.forgotten(), overflows as u64, "{case}");
}

/// The traces with a window of 64 are for the layer without a heap.
fn run_opener(case: &Value) {
    let mut openers = BTreeMap::new();
    for message in messages(case) {
        let topic = message.topic();
        let scope = message.scope();
        let key = *scope.expose();
        let opener = openers
            .entry(key)
            .or_insert_with(|| Opener::<16>::new(scope, Suite::default()).unwrap());
        let mut sealed = message.seal();
        let verdict = match opener.open_in_place(TopicName::parse(&topic).unwrap(), &mut sealed) {
            Ok(_) => "New",
            Err(message::OpenError::Rejected(Rejected::Duplicate)) => "Duplicate",
            Err(message::OpenError::Rejected(Rejected::TooOld)) => "TooOld",
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(verdict, text(message.event, "expect"), "{} in {case}", message.event);
    }
}

#[test]
fn traces_give_the_verdicts_of_the_vectors() {
    let mut left_out = BTreeMap::new();
    let mut run = 0;
    for case in list(&read("replay.json"), "cases") {
        let needs = needs(case);
        for need in &needs {
            assert!(
                NOT_YET.contains(&("replay", need)),
                "{need} is not in the list of things to come"
            );
            *left_out.entry(*need).or_insert(0) += 1;
        }
        if !needs.is_empty() {
            continue;
        }
        run += 1;
        match case["receiver"]["width"].as_u64() {
            Some(64) => run_opener(case),
            Some(other) => panic!("width {other}"),
            None => run_guard(case),
        }
    }
    println!("{run} traces run; left out, by what they need: {left_out:?}");
    assert!(run > 0);
    if std::env::var_os("MQTT_SEAL_VECTORS").is_none() {
        for (file, need) in NOT_YET {
            let needed = file != "replay" || left_out.contains_key(need);
            assert!(needed, "no trace needs {need:?} any more: take it off the list");
        }
    }
}
