//! What the targets share: input in parts, and a guard with one rule of each kind.

pub mod packet;
pub mod peer;
pub mod proxy;
mod replay;
pub mod restart;

use std::sync::LazyLock;

use mqtt_seal::guard::{Guard, GuardRx};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::policy::{
    Links, Policy, PropertyHandling, Replay, Rule, RuleError, Scope, TopicBinding, Transport,
};
use mqtt_seal::schedule;
use mqtt_seal::secret::{RootKey, ScopeKey, SharedKey};
use mqtt_seal::session::{Entropy, NoEntropy};
use mqtt_seal::suite::Suite;
use mqtt_seal::topic::TopicName;
use mqtt_seal::wire::property::Property;

pub use replay::{message, replay_receiver};

/// The last moment at which the migration rules accept clear text.
pub const UNTIL: u64 = 1_800_000_000_000;

/// Topics that the rules of [`POLICY`] cover, at least one for each rule.
pub const TOPICS: [&str; 20] = [
    "full/a",
    "full/a/b",
    "strip/x/y",
    "strip/strip/x",
    "strip/",
    "carried/1",
    "carried/2/3",
    "loose/1",
    "loose/2",
    "bind/a",
    "ignore/a",
    "off/a",
    "gcm/a",
    "siv/a/b/c",
    "commit/a",
    "gcm-commit/a",
    "mixed/a",
    "observe/a",
    "clear/a",
    "refused/a",
];

/// A rule of each kind.
pub static POLICY: LazyLock<Policy> = LazyLock::new(policy);

/// The key from which all others come.
static ROOT: LazyLock<RootKey> =
    LazyLock::new(|| schedule::root(&SharedKey::take(&mut [7; 32]), "acme-prod").unwrap());

fn policy() -> Policy {
    let named = |name: &str| Scope::Named(name.into());
    let rules = [
        Rule::sealed(["full/#"]).build(),
        Rule::sealed(["strip/#"])
            .topic_binding(TopicBinding::Strip("strip/".into()))
            .scope(Scope::Path { depth: 2 })
            .build(),
        Rule::sealed(["carried/#"])
            .topic_binding(TopicBinding::Carried)
            .scope(named("carried"))
            .carried_filter("plant/+/temp")
            .build(),
        // the inner topic has to come to this rule again
        Rule::sealed(["loose/#"])
            .topic_binding(TopicBinding::Carried)
            .scope(named("loose"))
            .build(),
        Rule::sealed(["bind/#"]).properties(PropertyHandling::Bind).build(),
        Rule::sealed(["ignore/#"]).properties(PropertyHandling::Ignore).build(),
        Rule::sealed(["off/#"]).replay(Replay::Off).build(),
        Rule::sealed(["gcm/#"]).suite(Suite::Aes256Gcm).build(),
        Rule::sealed(["siv/#"]).suite(Suite::Aes256GcmSiv).scope(Scope::Path { depth: 16 }).build(),
        Rule::sealed(["commit/#"]).suite(Suite::ChaCha20Poly1305Commit).build(),
        Rule::sealed(["gcm-commit/#"]).suite(Suite::Aes256GcmCommit).scope(named("gcm")).build(),
        Rule::mixed(["mixed/#"], UNTIL).build(),
        Rule::observe(["observe/#"], UNTIL).transport(Transport::Tcp).build(),
        Rule::clear(["clear/#"]).transport(Transport::Tcp).build(),
    ];
    Policy::new(rules.into_iter().collect::<Result<_, RuleError>>().expect("the rules are legal"))
}

/// The receiving half of a guard with [`POLICY`] and every key.
///
/// # Panics
/// Never: nothing is drawn at random.
#[must_use]
pub fn receiver() -> GuardRx {
    let keyring = Keyring::new(vec![Grant::root(RootKey::take(&mut { *ROOT.expose() }))]);
    let guard = Guard::with_entropy(POLICY.clone(), keyring, Links::Tcp, Box::new(Constant));
    guard.expect("a constant does not fail").split().1
}

/// The same at every run: a crash has to come again.
#[derive(Debug)]
pub struct Constant;

impl Entropy for Constant {
    fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), NoEntropy> {
        *out = [9; 32];
        Ok(())
    }
}

/// The topic as `rule` authenticates it; `None` under `carried`.
#[must_use]
pub fn bound<'a>(rule: &Rule, topic: TopicName<'a>) -> Option<TopicName<'a>> {
    match rule.topic_binding() {
        TopicBinding::Full => Some(topic),
        TopicBinding::Strip(prefix) => Some(topic.strip(prefix)),
        _ => None,
    }
}

/// The scope key of `topic` under `rule`.
#[must_use]
pub fn scope_key(rule: &Rule, topic: TopicName<'_>) -> ScopeKey {
    match rule.scope() {
        Scope::Named(name) => schedule::named_scope(&ROOT, name, rule.suite()),
        Scope::Path { depth } => {
            let path = bound(rule, topic).unwrap_or(topic).path(*depth);
            schedule::path_scope(&ROOT, path, rule.suite())
        }
        scope => unreachable!("{scope:?}"),
    }
}

/// A packet's properties: none, the format indicator, or one of each and two of the last.
#[must_use]
pub fn packet_properties<'a>(choice: u8, text: &'a str) -> Vec<Property<'a>> {
    match choice % 3 {
        0 => vec![],
        1 => vec![Property::PayloadFormat(true)],
        _ => vec![
            Property::User("a", text),
            Property::CorrelationData(text.as_bytes()),
            Property::ContentType(text),
            Property::PayloadFormat(false),
            Property::ResponseTopic("reply/to"),
            Property::User(text, ""),
        ],
    }
}

/// Takes the first `N` bytes off `data`; zeros where there are fewer.
pub fn take<const N: usize>(data: &mut &[u8]) -> [u8; N] {
    let (head, rest) = data.split_at(N.min(data.len()));
    *data = rest;
    std::array::from_fn(|i| head.get(i).copied().unwrap_or(0))
}

/// From this length on, a word of base64 letters may be a key: half of 32 bytes has 22.
const SECRET: usize = 16;

/// What is `shown` of a file with this text holds no part of it that may be a key.
pub fn assert_shows_no_secret(text: &str, shown: &str) {
    let of_base64 = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
    for word in text.split(|c| !of_base64(c)).filter(|word| word.len() >= SECRET) {
        assert!(!shown.contains(word), "{shown}");
    }
}
