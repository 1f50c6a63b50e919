//! Policies as TOML. Knows the names of the settings; what they mean is the policy's affair.
//!
//! A file has one `[[rule]]` for each rule, and the first that matches a topic decides:
//!
//! ```toml
//! [[rule]]
//! topics = ["plant/+/temp"]            # required
//! payload = "sealed"                   # required: "sealed", "clear", "mixed" or "observe"
//! transport = "any"                    # "tls", "tcp" or "any"; default: "any" where payloads are
//!                                      # published sealed, "tls" where they are published clear
//! # all that follows is for rules that seal or open
//! suite = "chacha20-poly1305"          # default; or another name of `Suite::ALL`
//! scope = { name = "temps" }           # or { depth = 0..=16 }; default { depth = 1 }
//! form = "session"                     # default; or "compact"
//! replay = "window"                    # default; or "latest", "fresh" or "off"
//! first_contact = "timed"              # or "refuse"; default "accept"; with "window" alone
//! max_age_ms = 60000                   # default; with "fresh" or first_contact = "timed" alone
//! max_skew_ms = 5000                   # default
//! own = "deliver"                      # default; or "drop"
//! bare_delete = "report"               # default; or "ignore"
//! retain = "refuse"                    # default; or "allow"; with replay = "window" alone
//! topic_binding = "carried"            # or { strip = "site-b/" }; default "full"
//! carried_filter = "plant/#"           # with topic_binding = "carried" alone
//! properties = "carry"                 # default; or "bind" or "ignore"
//! pad = 64                             # 1..=65535; default no padding
//! timestamp = true                     # default false
//! ttl = 30                             # seconds, with timestamp = true; default none
//! max_packet = 65536                   # default 262144
//!
//! [[rule]]                             # for a migration
//! topics = ["legacy/#"]
//! payload = "mixed"                    # publishes sealed and opens both
//!                                      # "observe": publishes clear and opens both
//! until = 2027-03-31                   # required for these two: their last day, in UTC
//!                                      # or their last moment, as in 2027-03-31T23:59:59Z
//!                                      # or 1806537599999, in Unix milliseconds
//! ```
//!
//! ```
//! use mqtt_seal::store::policy_file;
//! use mqtt_seal::topic::TopicName;
//!
//! let policy = policy_file::parse(
//!     r#"
//!     [[rule]]
//!     topics = ["sensor/temp/#"]
//!     payload = "sealed"
//!     scope = { depth = 2 }
//!
//!     [[rule]]
//!     topics = ["public/#"]
//!     payload = "clear"
//!     transport = "tcp"
//!     "#,
//! )?;
//! assert_eq!(policy.rules().len(), 2);
//! assert!(policy.rule(TopicName::parse("elsewhere").unwrap()).is_none());
//! # Ok::<(), policy_file::PolicyFileError>(())
//! ```

mod error;

use alloc::{string::String, vec::Vec};
use std::{fs, path::Path};

pub use error::{PolicyFault, PolicyFileError};

use super::moment::Unit;
use super::position::Located;
use super::section::{Section, Setting, Shape, document};
use crate::policy::{
    BareDelete, FirstContact, Own, Payload, Policy, PropertyHandling, Replay, Retain, Rule,
    RuleBuilder, RuleError, Scope, TopicBinding, Transport,
};
use crate::topic::TopicFilter;
use crate::wire::Form;

const RULE_KEYS: &[&str] = &[
    "topics",
    "payload",
    "until",
    "transport",
    "suite",
    "scope",
    "form",
    "replay",
    "retain",
    "first_contact",
    "max_age_ms",
    "max_skew_ms",
    "own",
    "bare_delete",
    "topic_binding",
    "carried_filter",
    "properties",
    "pad",
    "timestamp",
    "ttl",
    "max_packet",
];
const PAYLOADS: &[&str] = &["sealed", "clear", "mixed", "observe"];
const TRANSPORTS: &[&str] = &["tls", "tcp", "any"];
const FORMS: &[&str] = &["session", "compact"];
const REPLAYS: &[&str] = &["window", "latest", "fresh", "off"];
const FIRST_CONTACTS: &[&str] = &["accept", "timed", "refuse"];
const OWNS: &[&str] = &["deliver", "drop"];
const BARE_DELETES: &[&str] = &["report", "ignore"];
const RETAINS: &[&str] = &["refuse", "allow"];
const BINDINGS: &[&str] = &["full", "carried"];
const PROPERTIES: &[&str] = &["carry", "bind", "ignore"];

type Parsed<T> = Result<T, Located<PolicyFault>>;

/// The policy that `text` describes.
///
/// # Errors
/// [`PolicyFileError::Invalid`] with the first thing that is wrong, and its place.
pub fn parse(text: &str) -> Result<Policy, PolicyFileError> {
    policy(text).map_err(|fault| PolicyFileError::invalid(None, text, fault))
}

/// The policy that the file at `path` describes.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("policy.toml");
/// use mqtt_seal::store::policy_file;
///
/// std::fs::write(&path, "[[rule]]\ntopic = [\"a/#\"]\npayload = \"sealed\"\n").unwrap();
/// let error = policy_file::read(&path).unwrap_err().to_string();
/// assert!(error.ends_with(r#"policy.toml:2:1: unknown key "topic": did you mean "topics"?"#));
/// ```
///
/// # Errors
/// [`PolicyFileError::Unreadable`]; [`PolicyFileError::Invalid`] with the first thing that is
/// wrong, and its place.
pub fn read(path: impl AsRef<Path>) -> Result<Policy, PolicyFileError> {
    let path = path.as_ref();
    let bytes = fs::read(path)
        .map_err(|error| PolicyFileError::Unreadable { path: path.into(), kind: error.kind() })?;
    let invalid = |text, fault| PolicyFileError::invalid(Some(path), text, fault);
    match core::str::from_utf8(&bytes) {
        Ok(text) => policy(text).map_err(|fault| invalid(text, fault)),
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let good = core::str::from_utf8(good).unwrap_or_default();
            let fault = Located::new(good.len(), PolicyFault::NotUtf8);
            Err(invalid(good, fault))
        }
    }
}

fn policy(text: &str) -> Parsed<Policy> {
    let document = document(text).map_err(|error| {
        let message = error.what.message().into();
        Located::new(error.at, PolicyFault::Syntax { message })
    })?;
    let document = Section::new(0, document.get_ref());
    document.check_keys(&["rule"])?;
    let no_rules = |at| Located::new(at, PolicyFault::NoRules);
    let setting = document.get("rule").ok_or_else(|| no_rules(0))?;
    let sections = setting.sections()?;
    if sections.is_empty() {
        return Err(no_rules(setting.at));
    }
    let rules: Parsed<Vec<Rule>> = sections.into_iter().map(rule).collect();
    rules.map(Policy::new)
}

fn rule(section: Section<'_>) -> Parsed<Rule> {
    section.check_keys(RULE_KEYS)?;
    let topics = section.need("topics")?.texts()?;
    let mut builder = start(section, topics.iter().map(|topic| topic.what))?;
    if let Some(transport) = section.get("transport") {
        let transports = [Transport::Tls, Transport::Tcp, Transport::Any];
        builder = builder.transport(transport.choice(TRANSPORTS, &transports)?);
    }
    builder = keys(section, builder)?;
    builder = replay(section, builder)?;
    builder = judgement(section, builder)?;
    builder = binding(section, builder)?;
    builder = sizes(section, builder)?;
    builder
        .build()
        .map_err(|error| Located::new(place(section, &topics, error), PolicyFault::Rule(error)))
}

/// A rule for `topics` under its kind of payload.
// SPEC §1, "policy"
fn start<'t>(section: Section<'t>, topics: impl Iterator<Item = &'t str>) -> Parsed<RuleBuilder> {
    // the dates come after the choice
    let (mixed, observe) = (Payload::Mixed { until: 0 }, Payload::Observe { until: 0 });
    let payloads = [Payload::Sealed, Payload::Clear, mixed, observe];
    let payload = section.need("payload")?.choice(PAYLOADS, &payloads)?;
    let until = || section.need("until")?.moment(Unit::Milliseconds);
    match payload {
        Payload::Mixed { .. } => return Ok(Rule::mixed(topics, until()?)),
        Payload::Observe { .. } => return Ok(Rule::observe(topics, until()?)),
        Payload::Sealed | Payload::Clear => {}
    }
    match (section.get("until"), payload) {
        (Some(setting), _) => Err(Located::new(setting.key_at, PolicyFault::UntilUnused)),
        (None, Payload::Clear) => Ok(Rule::clear(topics)),
        (None, _) => Ok(Rule::sealed(topics)),
    }
}

/// The settings that choose the key and its use.
fn keys(section: Section<'_>, mut builder: RuleBuilder) -> Parsed<RuleBuilder> {
    if let Some(setting) = section.get("suite") {
        builder = builder.suite(setting.suite()?);
    }
    if let Some(setting) = section.get("scope") {
        builder = builder.scope(scope(setting)?);
    }
    if let Some(setting) = section.get("form") {
        builder = builder.form(setting.choice(FORMS, &[Form::Session, Form::Compact])?);
    }
    Ok(builder)
}

fn scope(setting: Setting<'_>) -> Parsed<Scope> {
    let section = setting.section()?;
    section.check_keys(&["depth", "name"])?;
    match (section.get("depth"), section.get("name")) {
        (Some(depth), None) => {
            let depth = u8::try_from(depth.number()?).unwrap_or(u8::MAX);
            Ok(Scope::Path { depth })
        }
        (None, Some(name)) => Ok(Scope::Named(name.text()?.into())),
        (None, None) => Err(Located::new(setting.at, PolicyFault::ScopeKind)),
        (Some(depth), Some(name)) => {
            let second = depth.key_at.max(name.key_at);
            Err(Located::new(second, PolicyFault::ScopeKind))
        }
    }
}

fn replay(section: Section<'_>, mut builder: RuleBuilder) -> Parsed<RuleBuilder> {
    let mut replay = Replay::default();
    if let Some(setting) = section.get("replay") {
        let replays = [Replay::Window, Replay::Latest, Replay::Fresh, Replay::Off];
        replay = setting.choice(REPLAYS, &replays)?;
        builder = builder.replay(replay);
    }
    if let Some(setting) = section.get("retain") {
        builder = builder.retain(setting.choice(RETAINS, &[Retain::Refuse, Retain::Allow])?);
        if replay != Replay::Window {
            return Err(Located::new(setting.key_at, PolicyFault::RetainUnused));
        }
    }
    Ok(builder)
}

/// The settings of freshness, and of messages that nobody else made.
fn judgement(section: Section<'_>, mut builder: RuleBuilder) -> Parsed<RuleBuilder> {
    if let Some(setting) = section.get("first_contact") {
        let ways = [FirstContact::Accept, FirstContact::Timed, FirstContact::Refuse];
        builder = builder.first_contact(setting.choice(FIRST_CONTACTS, &ways)?);
    }
    if let Some(setting) = section.get("max_age_ms") {
        builder = builder.max_age(unsigned(setting)?);
    }
    if let Some(setting) = section.get("max_skew_ms") {
        builder = builder.max_skew(unsigned(setting)?);
    }
    if let Some(setting) = section.get("own") {
        builder = builder.own(setting.choice(OWNS, &[Own::Deliver, Own::Drop])?);
    }
    if let Some(setting) = section.get("bare_delete") {
        let ways = [BareDelete::Report, BareDelete::Ignore];
        builder = builder.bare_delete(setting.choice(BARE_DELETES, &ways)?);
    }
    Ok(builder)
}

/// A number that is not negative and no larger than `T` holds.
fn unsigned<T: TryFrom<i64>>(setting: Setting<'_>) -> Parsed<T> {
    let out_of_range = PolicyFault::OutOfRange { key: setting.name };
    T::try_from(setting.number()?).map_err(|_| Located::new(setting.at, out_of_range))
}

fn binding(section: Section<'_>, mut builder: RuleBuilder) -> Parsed<RuleBuilder> {
    if let Some(setting) = section.get("topic_binding") {
        builder = builder.topic_binding(topic_binding(setting)?);
    }
    if let Some(setting) = section.get("carried_filter") {
        builder = builder.carried_filter(setting.text()?);
    }
    if let Some(setting) = section.get("properties") {
        let ways = [PropertyHandling::Carry, PropertyHandling::Bind, PropertyHandling::Ignore];
        builder = builder.properties(setting.choice(PROPERTIES, &ways)?);
    }
    Ok(builder)
}

fn topic_binding(setting: Setting<'_>) -> Parsed<TopicBinding> {
    if let Some(section) = setting.as_section() {
        section.check_keys(&["strip"])?;
        let prefix: String = section.need("strip")?.text()?.into();
        return Ok(TopicBinding::Strip(prefix));
    }
    setting.text().map_err(|_| setting.is_not(Shape::TextOrTable))?;
    let carried = setting.choice(BINDINGS, &[false, true])?;
    Ok(if carried { TopicBinding::Carried } else { TopicBinding::Full })
}

/// The settings that change what a message contains, and how much.
fn sizes(section: Section<'_>, mut builder: RuleBuilder) -> Parsed<RuleBuilder> {
    // a negative number is as wrong as 0
    let size = |setting: Setting<'_>| -> Parsed<usize> {
        Ok(usize::try_from(setting.number()?).unwrap_or_default())
    };
    if let Some(setting) = section.get("pad") {
        builder = builder.pad(size(setting)?);
    }
    if let Some(setting) = section.get("timestamp") {
        builder = builder.timestamp(setting.flag()?);
    }
    if let Some(setting) = section.get("ttl") {
        builder = builder.ttl(unsigned(setting)?);
    }
    if let Some(setting) = section.get("max_packet") {
        builder = builder.max_packet(size(setting)?);
    }
    Ok(builder)
}

/// Where the setting stands of which the rule complains.
fn place(section: Section<'_>, topics: &[Located<&str>], error: RuleError) -> usize {
    let value = |name| section.get(name).map(|setting| setting.at);
    let key = |name| section.get(name).map(|setting| setting.key_at);
    let inner = |outer, name| {
        let table = section.get(outer)?.as_section()?;
        table.get(name).map(|setting| setting.at)
    };
    let at = match error {
        RuleError::NoTopics => value("topics"),
        RuleError::Topic(_) | RuleError::SharedTopic => first_bad(topics),
        RuleError::ScopeDepth => inner("scope", "depth"),
        RuleError::ScopeName | RuleError::ReservedScope => inner("scope", "name"),
        RuleError::StripPrefix => inner("topic_binding", "strip"),
        RuleError::CarriedNeedsName => key("topic_binding"),
        RuleError::CarriedFilterUnused => key("carried_filter"),
        RuleError::CarriedFilter(_) => value("carried_filter"),
        RuleError::Pad => value("pad"),
        RuleError::MaxPacket => value("max_packet"),
        RuleError::TtlNeedsTimestamp => key("ttl"),
        RuleError::NotForReplay { setting, .. } | RuleError::NotForClear { setting } => {
            key(setting)
        }
    };
    at.unwrap_or(section.at)
}

fn first_bad(topics: &[Located<&str>]) -> Option<usize> {
    let bad = |topic: &&Located<&str>| {
        TopicFilter::parse(topic.what).map_or(true, |filter| filter.share_group().is_some())
    };
    topics.iter().find(bad).map(|topic| topic.at)
}

#[cfg(test)]
mod tests;
