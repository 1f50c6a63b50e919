//! Delivery traces through one receiver.

use std::collections::{BTreeMap, BTreeSet};

use mqtt_seal::guard::{
    Delivery, Guard, GuardRx, Incoming, MemoryLog, OpenError, Opened, Prefer, Receipt,
    ReplayLimits, ReplayLog, Write,
};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::message::danger::{self, RawMessage};
use mqtt_seal::message::{self, Opener};
use mqtt_seal::policy::{
    FirstContact, Link, Links, Own, Policy, Replay, Rule, Scope, TopicBinding,
};
use mqtt_seal::replay::{Rejected, Verdict};
use mqtt_seal::schedule;
use mqtt_seal::secret::{ScopeKey, SharedKey};
use mqtt_seal::session::{Entropy, NoEntropy};
use mqtt_seal::suite::Suite;
use mqtt_seal::topic::TopicName;
use mqtt_seal::wire::inner::{InnerFields, Kind};
use mqtt_seal::wire::{SenderNumber, SessionId};
use serde_json::Value;

use crate::json::{bytes, list, number, read, text};
use crate::keys::session_id;

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
#[derive(Clone, Copy)]
struct Message<'a> {
    event: &'a Value,
    index: u64,
    policy: &'a str,
    carried: bool,
}

impl Message<'_> {
    fn text(&self, key: &str, default: &str) -> String {
        self.event[key].as_str().unwrap_or(default).replace("{i}", &self.index.to_string())
    }

    /// The rule, then scope and topic of the trace.
    fn topic(&self) -> String {
        format!("{}/{}/{}", self.policy, self.text("scope", "s"), self.text("topic", "t"))
    }

    fn id(&self) -> Vec<u8> {
        let id = bytes(self.event, "id");
        // the IDs of an `own` count up
        let step = u64::from(self.event["op"] == "own");
        let step = self.event["id_step"].as_u64().unwrap_or(step) * self.index;
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
        if self.carried {
            return schedule::named_scope(&root, "c", Suite::default());
        }
        let topic = self.topic();
        let path = TopicName::parse(&topic).unwrap().path(2);
        schedule::path_scope(&root, path, Suite::default())
    }

    fn session(&self) -> SessionId {
        legal_id(&self.id())
    }

    fn seal(&self) -> Vec<u8> {
        let topic = self.topic();
        let topic = TopicName::parse(&topic).unwrap();
        let echo = self.event.get("echo").map(|_| bytes(self.event, "echo").try_into().unwrap());
        let fields = InnerFields {
            timestamp: self.event["ts"].as_u64(),
            ttl: self.event["ttl"].as_u64().map(|ttl| ttl.try_into().unwrap()),
            topic: self.carried.then_some(topic),
            echo,
            kind: (self.event["kind"] == "will").then_some(Kind::Will),
            ..InnerFields::default()
        };
        let mut plaintext = vec![];
        fields.encode(|part| plaintext.extend_from_slice(part));
        plaintext.push(b'x');
        let message = RawMessage {
            suite: Suite::default(),
            id: self.session(),
            counter: self.counter(),
            inner: !fields.is_empty(),
            topic: (!self.carried).then_some(topic),
            bind: None,
            plaintext: &plaintext,
        };
        let mut out = vec![0; 256];
        danger::seal(&self.scope(), &message, &mut out).unwrap().unwrap().to_vec()
    }
}

/// What an event stands for: the messages of an `ack`, `msg` or `range`, the sessions of an `own`.
fn messages<'a>(case: &'a Value, event: &'a Value) -> impl Iterator<Item = Message<'a>> {
    let count = match text(event, "op") {
        "range" => number(event, "count"),
        "own" => event["count"].as_u64().unwrap_or(1),
        _ => 1,
    };
    let policy = event["policy"].as_str().unwrap_or_else(|| text(case, "policy"));
    let carried = case["receiver"]["topic_binding"] == "carried";
    (0..count).map(move |index| Message { event, index, policy, carried })
}

const WAYS: [(&str, Replay); 4] = [
    ("window", Replay::Window),
    ("latest", Replay::Latest),
    ("fresh", Replay::Fresh),
    ("off", Replay::Off),
];

fn policies(case: &Value) -> BTreeSet<&str> {
    let events = case["events"].as_array().unwrap().iter().map(|event| &event["policy"]);
    events.chain([&case["policy"]]).filter_map(Value::as_str).collect()
}

/// One rule for each way of replay protection, below its name.
fn rules(case: &Value) -> Vec<Rule> {
    let receiver = &case["receiver"];
    let rule = |(name, replay)| {
        let mut rule = Rule::sealed([format!("{name}/#")]).replay(replay);
        rule = match receiver["topic_binding"].as_str() {
            Some("carried") => {
                rule.scope(Scope::Named("c".into())).topic_binding(TopicBinding::Carried)
            }
            _ => rule.scope(Scope::Path { depth: 2 }),
        };
        if replay == Replay::Window {
            rule = match receiver["first_contact"].as_str() {
                Some("timed") => rule.first_contact(FirstContact::Timed),
                Some("refuse") => rule.first_contact(FirstContact::Refuse),
                _ => rule,
            };
        }
        if let (Replay::Fresh, Some(age)) = (replay, receiver["max_age"].as_u64()) {
            rule = rule.max_age(age);
        }
        if let Some(skew) = receiver["max_skew"].as_u64() {
            rule = rule.max_skew(skew);
        }
        if receiver["own"] == "drop" {
            rule = rule.own(Own::Drop);
        }
        rule.build().unwrap()
    };
    WAYS.into_iter().map(rule).collect()
}

fn limits(case: &Value) -> ReplayLimits {
    let mut limits = ReplayLimits::default();
    let set = |limit: &mut usize, key: &str| {
        if let Some(value) = case["receiver"][key].as_u64() {
            *limit = value.try_into().unwrap();
        }
    };
    set(&mut limits.windows, "windows");
    set(&mut limits.windows_total, "windows_total");
    set(&mut limits.records, "records");
    set(&mut limits.records_total, "records_total");
    set(&mut limits.ring, "ring");
    set(&mut limits.ring_total, "ring_total");
    limits
}

/// A receiver and what survives it.
struct Receiver<'a> {
    case: &'a Value,
    rx: GuardRx,
    log: Option<MemoryLog>,
    receipts: BTreeMap<Identity, Receipt>,
    overflows: u64,
}

/// What an acknowledgement names a message by.
type Identity = (String, String, Vec<u8>, u32);

impl<'a> Receiver<'a> {
    fn new(case: &'a Value) -> Self {
        let stored = case["receiver"]["store"] != false;
        let mut log = stored.then(MemoryLog::default);
        let rx = Self::start(case, log.as_mut(), Prefer::NoReplay);
        Self { case, rx, log, receipts: BTreeMap::new(), overflows: 0 }
    }

    fn start(case: &Value, log: Option<&mut MemoryLog>, prefer: Prefer) -> GuardRx {
        let events = case["events"].as_array().unwrap().iter();
        let names: BTreeSet<&str> =
            events.map(|event| event["key"].as_str().unwrap_or("k")).collect();
        let grant = |name| Grant::shared(&shared_key(name), "r").unwrap();
        let keyring = Keyring::new(names.into_iter().map(grant).collect());
        let mut guard = Guard::new(Policy::new(rules(case)), keyring, Links::Tcp)
            .unwrap()
            .with_replay_limits(limits(case));
        if let Some(log) = log {
            guard = guard.with_replay_log(log, prefer).unwrap();
        }
        let (_, mut rx) = guard.split();
        if case["receiver"]["manual"] == true {
            rx.confirm_manually();
        }
        if let Some(started) = case["receiver"]["started"].as_u64() {
            rx.started(started);
        }
        rx
    }

    fn write(&mut self, writes: &[Write]) {
        if let Some(log) = &mut self.log {
            log.write(writes).unwrap();
        }
    }

    fn identity(message: &Message<'_>) -> Identity {
        (message.topic(), message.text("key", "k"), message.id(), message.counter())
    }

    fn deliver(&mut self, message: &Message<'_>) -> Result<Delivery, OpenError> {
        let (topic, sealed) = (message.topic(), message.seal());
        let incoming = Incoming::new(&topic, &sealed, Link::Tcp)
            .retain(message.event["retain"] == true)
            .at(message.event["now"].as_u64());
        let mut out = vec![];
        let delivery = match self.rx.open(&incoming, &mut out)? {
            Opened::Delivered(delivery) => delivery,
            Opened::NeedsClaim(claim) => {
                assert!(out.is_empty(), "nothing is delivered before it is written");
                self.write(claim.writes());
                self.rx.finish(claim, &mut out)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(out, b"x");
        Ok(delivery)
    }

    fn receive(&mut self, message: &Message<'_>) {
        let delivered = self.deliver(message);
        if let Ok(delivery) = &delivered {
            let receipt = delivery.receipt.map(|receipt| (Self::identity(message), receipt));
            self.receipts.extend(receipt);
            assert_eq!(delivery.own, message.event["expect_own"] == true, "{}", message.event);
        }
        let verdict = match &delivered {
            Ok(delivery) => match delivery.verdict.unwrap() {
                Verdict::New => "New",
                Verdict::Fresh => "Fresh",
                Verdict::Redelivered => "Redelivered",
                Verdict::Unchecked => "Unchecked",
                other => panic!("{other:?}"),
            },
            Err(error) => error.name(),
        };
        let expected = text(message.event, "expect");
        let (at, event) = (message.index, message.event);
        assert_eq!(verdict, expected, "{at} of {event} in {}", self.case);
    }

    fn step(&mut self, event: &Value) {
        match text(event, "op") {
            "msg" | "range" => {
                messages(self.case, event).for_each(|message| self.receive(&message));
            }
            "ack" => {
                for message in messages(self.case, event) {
                    let writes = self.rx.confirm(self.receipts[&Self::identity(&message)]);
                    self.write(&writes);
                }
            }
            "own" => {
                for message in messages(self.case, event) {
                    // the scopes of its rules stand for the one of the trace
                    for policy in policies(self.case) {
                        let scope = Message { policy, ..message }.scope();
                        let kid = schedule::key_id(&scope, Suite::default());
                        self.rx.add_own_session(kid, message.session());
                    }
                    let writes = self.rx.take_writes();
                    self.write(&writes);
                }
            }
            "echo" => {
                let mut entropy = Fixed(bytes(event, "value"));
                self.rx.challenge(&mut entropy).unwrap();
            }
            "stop" => {
                if event["clean"] == true {
                    let writes = self.rx.stop();
                    self.write(&writes);
                }
            }
            "start" => {
                let prefer =
                    if event["prefer"] == "no_loss" { Prefer::NoLoss } else { Prefer::NoReplay };
                self.overflows += self.rx.forgotten();
                self.rx = Self::start(self.case, self.log.as_mut(), prefer);
            }
            other => panic!("{other}"),
        }
    }
}

/// Randomness that is none.
struct Fixed(Vec<u8>);

impl Entropy for Fixed {
    fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), NoEntropy> {
        out[..self.0.len()].copy_from_slice(&self.0);
        Ok(())
    }
}

fn run_guard(case: &Value) {
    let mut receiver = Receiver::new(case);
    for event in case["events"].as_array().unwrap() {
        receiver.step(event);
    }
    let expected = case["expect_events"].as_array().map_or(0, Vec::len);
    assert_eq!(receiver.overflows + receiver.rx.forgotten(), expected as u64, "{case}");
}

/// The traces with a window of 64 are for the layer without a heap.
fn run_opener(case: &Value) {
    let mut openers = BTreeMap::new();
    let events = case["events"].as_array().unwrap().iter();
    for message in events.flat_map(|event| messages(case, event)) {
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
    let file = read("replay.json");
    let cases = list(&file, "cases");
    assert!(!cases.is_empty());
    for case in cases {
        match case["receiver"]["width"].as_u64() {
            Some(64) => run_opener(case),
            Some(other) => panic!("width {other}"),
            None => run_guard(case),
        }
    }
}
