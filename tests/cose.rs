//! Messages as this library seals them, expanded for a COSE library of another make.
//!
//! `MQTT_SEAL_COSE_MESSAGES=FILE cargo test --test cose` writes them to FILE, one JSON object a
//! line; `scripts/cose_check.py` opens them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

use core::fmt::Write as _;

use mqtt_seal::cose::{compress, expand};
use mqtt_seal::guard::{Guard, Outgoing};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::message::danger::{self, RawMessage};
use mqtt_seal::policy::{Links, Policy, PropertyHandling, Rule, Scope};
use mqtt_seal::schedule;
use mqtt_seal::secret::{ScopeKey, SharedKey};
use mqtt_seal::suite::Suite;
use mqtt_seal::topic::TopicName;
use mqtt_seal::wire::aad::Aad;
use mqtt_seal::wire::property::Property;
use mqtt_seal::wire::{Header, SenderNumber, SessionId};
use serde_json::{Value, json};

const TOPIC: &str = "plant/a/temp";
const REALM: &str = "acme-prod";
const PROPERTIES: [Property<'static>; 3] = [
    Property::ContentType("text/plain"),
    Property::CorrelationData(&[0, 255]),
    Property::User("unit", "°C"),
];
/// Their heads take one byte in CBOR, two, three and five.
const LENGTHS: [usize; 6] = [0, 2, 7, 100, 1_000, 70_000];
/// AES-256-GCM-SIV has no number that other libraries know.
const SUITES: [Suite; 4] = [
    Suite::ChaCha20Poly1305,
    Suite::Aes256Gcm,
    Suite::ChaCha20Poly1305Commit,
    Suite::Aes256GcmCommit,
];

fn topic() -> TopicName<'static> {
    TopicName::parse(TOPIC).unwrap()
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A shared key of its own for each suite, and the scope key of [`TOPIC`] below it.
fn keys(suite: Suite) -> (SharedKey, ScopeKey) {
    let shared = SharedKey::take(&mut random());
    let root = schedule::root(&shared, REALM).unwrap();
    let scope = schedule::path_scope(&root, topic().path(2), suite);
    (shared, scope)
}

/// What a COSE library needs to open `sealed`, and what it has to find.
fn message(suite: Suite, scope: &ScopeKey, sealed: &[u8], plaintext: &[u8]) -> Value {
    let (header, len) = Header::parse(sealed).unwrap();
    let session = danger::expose_session(scope, suite, &header.id);
    let cose = expand(sealed, suite, Some(&session.iv)).unwrap();
    assert_eq!(compress(&cose).unwrap(), sealed);
    let mut external_aad = vec![];
    Aad {
        suite: suite.id(),
        cose_algorithm: suite.cose_algorithm(),
        header: &sealed[..len],
        topic: TOPIC,
        bind: Some(&PROPERTIES),
    }
    .external(|part| external_aad.extend_from_slice(part));
    json!({
        "comment": format!("{suite}, {}, {} bytes", header.id, plaintext.len()),
        "suite": suite.id(),
        "key": to_hex(&session.key),
        "commitment": session.commitment.map(|com| to_hex(&com)),
        "external_aad": to_hex(&external_aad),
        "plaintext": to_hex(plaintext),
        "cose_iv": to_hex(&cose),
    })
}

/// Session form, as the Guard seals.
fn by_guard(suite: Suite) -> Vec<Value> {
    let (shared, scope) = keys(suite);
    let rule = Rule::sealed(["plant/#"]).suite(suite).properties(PropertyHandling::Bind);
    let rule = rule.scope(Scope::Path { depth: 2 }).build().unwrap();
    let keyring = Keyring::new(vec![Grant::shared(&shared, REALM).unwrap().with_suite(suite)]);
    let guard = Guard::new(Policy::new(vec![rule]), keyring, Links::Tcp).unwrap();
    let (mut tx, _) = guard.split();
    tx.connected("sensor-7");
    let mut seal = |len| {
        let (payload, mut sealed) = (vec![b'x'; len], vec![]);
        let outgoing = Outgoing::new(TOPIC, &payload).properties(&PROPERTIES);
        tx.seal(&outgoing, &mut sealed).unwrap();
        message(suite, &scope, &sealed, &payload)
    };
    LENGTHS.iter().map(|len| seal(*len)).collect()
}

/// Compact form, at a counter of every length.
fn compact(suite: Suite) -> Vec<Value> {
    let (_, scope) = keys(suite);
    let seal = |(number, counter)| {
        let message_to_seal = RawMessage {
            suite,
            id: SessionId::Sender(SenderNumber::new(number).unwrap()),
            counter,
            inner: false,
            topic: Some(topic()),
            bind: Some(&PROPERTIES),
            plaintext: b"27.5",
        };
        let mut out = [0; 128];
        let sealed = danger::seal(&scope, &message_to_seal, &mut out).unwrap().unwrap();
        message(suite, &scope, sealed, b"27.5")
    };
    [(0, 0), (63, 63), (64, 16_384), (SenderNumber::MAX, u32::MAX - 1)].map(seal).into()
}

#[test]
fn fresh_messages_expand_for_another_library() {
    let messages: Vec<_> =
        SUITES.iter().flat_map(|suite| [by_guard(*suite), compact(*suite)].concat()).collect();
    assert_eq!(messages.len(), SUITES.len() * (LENGTHS.len() + 4));
    if let Some(file) = std::env::var_os("MQTT_SEAL_COSE_MESSAGES") {
        let lines: Vec<_> = messages.iter().map(Value::to_string).collect();
        std::fs::write(file, lines.join("\n")).unwrap();
    }
}
