//! Reading the vector files.

use std::path::PathBuf;

use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::policy::{
    Policy, PropertyHandling, Replay, Retain, Rule, RuleBuilder, RuleError, Scope, TopicBinding,
    Transport,
};
use mqtt_seal::secret::SharedKey;
use mqtt_seal::suite::Suite;
use mqtt_seal::wire::property::Property;
use serde_json::Value;

pub(crate) fn directory() -> PathBuf {
    std::env::var_os("MQTT_SEAL_VECTORS")
        .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors").into(), PathBuf::from)
}

pub(crate) fn read(file: &str) -> Value {
    let path = directory().join(file);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// The cases of one list; a list without cases is an error.
pub(crate) fn list<'a>(file: &'a Value, name: &str) -> &'a Vec<Value> {
    let list = file[name].as_array().unwrap_or_else(|| panic!("no list {name}"));
    assert!(!list.is_empty(), "{name} is empty");
    list
}

pub(crate) fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_else(|| panic!("no text {key} in {case}"))
}

pub(crate) fn number(case: &Value, key: &str) -> u64 {
    case[key].as_u64().unwrap_or_else(|| panic!("no number {key} in {case}"))
}

pub(crate) fn small(case: &Value, key: &str) -> u32 {
    number(case, key).try_into().unwrap()
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "hex has two digits a byte");
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

pub(crate) fn bytes(case: &Value, key: &str) -> Vec<u8> {
    hex(text(case, key))
}

pub(crate) fn array<const N: usize>(case: &Value, key: &str) -> [u8; N] {
    bytes(case, key).try_into().unwrap()
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

pub(crate) fn suite(case: &Value) -> Suite {
    Suite::from_id(number(case, "suite").try_into().unwrap()).expect("a known suite")
}

pub(crate) fn shared_key(case: &Value) -> SharedKey {
    SharedKey::take(&mut array(case, "shared_key"))
}

pub(crate) fn keyring(keys: &[Value]) -> Keyring {
    let grant =
        |key| Grant::shared(&shared_key(key), text(key, "realm")).unwrap().with_suite(suite(key));
    Keyring::new(keys.iter().map(grant).collect())
}

pub(crate) fn rule(json: &Value, suite: Suite) -> Result<Rule, RuleError> {
    rule_with(json, suite, |builder| builder)
}

/// The rule of a case, with a last word on sealed rules.
pub(crate) fn rule_with(
    json: &Value,
    suite: Suite,
    last: impl Fn(RuleBuilder) -> RuleBuilder,
) -> Result<Rule, RuleError> {
    let filter = [text(json, "filter")];
    let until = json.get("until").and_then(Value::as_u64);
    // the builder has no migration rule without an end date: what the format calls illegal
    let builder = match (text(json, "protect"), until) {
        ("clear", _) => return Rule::clear(filter).transport(Transport::Any).build(),
        ("sealed", _) => Rule::sealed(filter),
        ("mixed", Some(until)) => Rule::mixed(filter, until),
        ("observe", Some(until)) => Rule::observe(filter, until).transport(Transport::Any),
        ("mixed" | "observe", None) => return Err(RuleError::NoTopics),
        (other, _) => panic!("protect {other}"),
    };
    let mut builder = builder.suite(suite);
    if let Some(depth) = json["scope"]["depth"].as_i64() {
        let depth = u8::try_from(depth).map_err(|_| RuleError::ScopeDepth)?;
        builder = builder.scope(Scope::Path { depth });
    } else if let Some(name) = json["scope"]["named"].as_str() {
        builder = builder.scope(Scope::Named(name.into()));
    }
    if let Some(prefix) = json["topic_binding"]["strip"].as_str() {
        builder = builder.topic_binding(TopicBinding::Strip(prefix.into()));
    } else if json["topic_binding"] == "carried" {
        builder = builder.topic_binding(TopicBinding::Carried);
    }
    if let Some(filter) = json["carried_filter"].as_str() {
        builder = builder.carried_filter(filter);
    }
    builder = builder.properties(match json["properties"].as_str() {
        None | Some("carry") => PropertyHandling::Carry,
        Some("bind") => PropertyHandling::Bind,
        Some("ignore") => PropertyHandling::Ignore,
        Some(other) => panic!("properties {other}"),
    });
    if json["ts"] == true {
        builder = builder.timestamp(true);
    }
    if json["retain"] == "allow" {
        builder = builder.retain(Retain::Allow);
    }
    builder = builder.replay(match json["replay"].as_str() {
        None | Some("window") => Replay::Window,
        Some("latest") => Replay::Latest,
        Some("fresh") => Replay::Fresh,
        Some("off") => Replay::Off,
        Some(other) => panic!("replay {other}"),
    });
    last(builder).build()
}

pub(crate) fn policy(rules: &[Value], suite: Suite) -> Policy {
    Policy::new(rules.iter().map(|json| rule(json, suite).unwrap()).collect())
}

/// Properties with their texts, in packet order.
pub(crate) struct Properties(Vec<(u64, String, String, Vec<u8>)>);

impl Properties {
    pub(crate) fn read(json: &Value) -> Self {
        let one = |pair: &Value| {
            let id = pair[0].as_u64().unwrap();
            let value = &pair[1];
            match id {
                1 => (id, value.to_string(), String::new(), vec![]),
                9 => (id, String::new(), String::new(), hex(value.as_str().unwrap())),
                38 => (
                    id,
                    value[0].as_str().unwrap().into(),
                    value[1].as_str().unwrap().into(),
                    vec![],
                ),
                _ => (id, value.as_str().unwrap().into(), String::new(), vec![]),
            }
        };
        Self(json.as_array().unwrap().iter().map(one).collect())
    }

    pub(crate) fn get(&self) -> Vec<Property<'_>> {
        self.0
            .iter()
            .map(|(id, first, second, data)| match id {
                1 => Property::PayloadFormat(first == "1"),
                3 => Property::ContentType(first),
                8 => Property::ResponseTopic(first),
                9 => Property::CorrelationData(data),
                38 => Property::User(first, second),
                other => panic!("property {other}"),
            })
            .collect()
    }
}
