//! A rule in the making, and the checks that every rule has passed.

use alloc::{string::String, vec::Vec};

use super::{
    BareDelete, FirstContact, Own, Payload, PropertyHandling, Replay, Retain, Rule, RuleError,
    Scope, TopicBinding, Transport,
};
use crate::policy::{DEFAULT_MAX_AGE_MS, DEFAULT_MAX_PACKET, DEFAULT_MAX_SKEW_MS, MAX_SCOPE_DEPTH};
use crate::suite::Suite;
use crate::topic::{MAX_TOPIC_LEN, OwnedFilter, TopicFilter};
use crate::wire::header::Form;

/// A rule in the making; [`RuleBuilder::build`] checks it.
#[derive(Debug, Clone)]
pub struct RuleBuilder {
    rule: Rule,
    topics: Vec<String>,
    pad: Option<usize>,
    carried_filter: Option<String>,
    /// The first setting that only sealing knows.
    sealing: Option<&'static str>,
    /// Whether the settings of freshness were given, `max_age` apart.
    first_contact: Option<FirstContact>,
    max_age: Option<u64>,
}

impl RuleBuilder {
    pub(super) fn new<T: Into<String>>(
        topics: impl IntoIterator<Item = T>,
        payload: Payload,
        transport: Transport,
    ) -> Self {
        let rule = Rule {
            topics: Vec::new(),
            payload,
            transport,
            suite: Suite::default(),
            scope: Scope::Path { depth: 1 },
            form: Form::Session,
            replay: Replay::default(),
            retain: Retain::default(),
            first_contact: FirstContact::default(),
            max_age: DEFAULT_MAX_AGE_MS,
            max_skew: DEFAULT_MAX_SKEW_MS,
            own: Own::default(),
            bare_delete: BareDelete::default(),
            topic_binding: TopicBinding::default(),
            carried_filter: None,
            properties: PropertyHandling::default(),
            pad: 0,
            timestamp: false,
            ttl: None,
            max_packet: DEFAULT_MAX_PACKET,
        };
        let topics = topics.into_iter().map(Into::into).collect();
        Self {
            rule,
            topics,
            pad: None,
            carried_filter: None,
            sealing: None,
            first_contact: None,
            max_age: None,
        }
    }

    fn sealing(mut self, setting: &'static str) -> Self {
        self.sealing = self.sealing.or(Some(setting));
        self
    }

    /// Which connection to ask for.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.rule.transport = transport;
        self
    }

    /// The suite to seal with. Default: `chacha20-poly1305`.
    #[must_use]
    pub fn suite(mut self, suite: Suite) -> Self {
        self.rule.suite = suite;
        self.sealing("suite")
    }

    /// The topics that one key protects. Default: a path scope of depth 1.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.rule.scope = scope;
        self.sealing("scope")
    }

    /// The form to seal in. Default: session form. Compact form saves eleven bytes and needs a
    /// sender number and a durable counter; its topics are published at one `QoS` each.
    #[must_use]
    pub fn form(mut self, form: Form) -> Self {
        self.rule.form = form;
        self.sealing("form")
    }

    /// How repetitions are told apart. Default: `window`.
    #[must_use]
    pub fn replay(mut self, replay: Replay) -> Self {
        self.rule.replay = replay;
        self.sealing("replay")
    }

    /// Whether values may be retained under `window`. Default: no.
    #[must_use]
    pub fn retain(mut self, retain: Retain) -> Self {
        self.rule.retain = retain;
        self.sealing("retain")
    }

    /// What the first message of a sender session on a topic needs, under `window`. Default:
    /// nothing.
    #[must_use]
    pub fn first_contact(mut self, first_contact: FirstContact) -> Self {
        self.first_contact = Some(first_contact);
        self.sealing("first_contact")
    }

    /// How old in milliseconds a message may be that has to be fresh: under `fresh`, and for the
    /// first contact. Default: 60,000.
    #[must_use]
    pub fn max_age(mut self, milliseconds: u64) -> Self {
        self.max_age = Some(milliseconds);
        self.sealing("max_age_ms")
    }

    /// How far in milliseconds a timestamp may lie ahead of the receiver's clock. Default: 5,000.
    #[must_use]
    pub fn max_skew(mut self, milliseconds: u64) -> Self {
        self.rule.max_skew = milliseconds;
        self.sealing("max_skew_ms")
    }

    /// What becomes of messages that this client sealed itself. Default: they are delivered.
    #[must_use]
    pub fn own(mut self, own: Own) -> Self {
        self.rule.own = own;
        self.sealing("own")
    }

    /// What a deletion is worth that anyone could have made. Default: the application is told.
    #[must_use]
    pub fn bare_delete(mut self, bare_delete: BareDelete) -> Self {
        self.rule.bare_delete = bare_delete;
        self.sealing("bare_delete")
    }

    /// What of the topic is authenticated. Default: all of it.
    #[must_use]
    pub fn topic_binding(mut self, binding: TopicBinding) -> Self {
        self.rule.topic_binding = binding;
        self.sealing("topic_binding")
    }

    /// The filter that carried topics have to match. Default: this rule is the first that matches
    /// the carried topic.
    #[must_use]
    pub fn carried_filter(mut self, filter: impl Into<String>) -> Self {
        self.carried_filter = Some(filter.into());
        self.sealing("carried_filter")
    }

    /// What happens to properties. Default: they are carried.
    #[must_use]
    pub fn properties(mut self, properties: PropertyHandling) -> Self {
        self.rule.properties = properties;
        self.sealing("properties")
    }

    /// Pads plain texts to a multiple of `block` bytes: 1..=65,535.
    #[must_use]
    pub fn pad(mut self, block: usize) -> Self {
        self.pad = Some(block);
        self.sealing("pad")
    }

    /// Whether messages carry the time of their sealing, which needs a clock. Default: no.
    #[must_use]
    pub fn timestamp(mut self, timestamp: bool) -> Self {
        self.rule.timestamp = timestamp;
        self.sealing("timestamp")
    }

    /// Seconds for which messages are valid after their timestamp; judged by `fresh` rules alone.
    /// Default: they do not say.
    #[must_use]
    pub fn ttl(mut self, seconds: u32) -> Self {
        self.rule.ttl = Some(seconds);
        self.sealing("ttl")
    }

    /// The largest sealed payload in bytes. Default: 256 KiB.
    #[must_use]
    pub fn max_packet(mut self, max_packet: usize) -> Self {
        self.rule.max_packet = max_packet;
        self.sealing("max_packet")
    }

    /// Checks the rule.
    ///
    /// # Errors
    /// [`RuleError`] with the first thing that is wrong.
    pub fn build(mut self) -> Result<Rule, RuleError> {
        if let (Payload::Clear, Some(setting)) = (self.rule.payload, self.sealing) {
            return Err(RuleError::NotForClear { setting });
        }
        for topic in &self.topics {
            let filter = TopicFilter::parse(topic).map_err(RuleError::Topic)?;
            if filter.share_group().is_some() {
                return Err(RuleError::SharedTopic);
            }
            self.rule.topics.push(OwnedFilter::new(filter));
        }
        if self.rule.topics.is_empty() {
            return Err(RuleError::NoTopics);
        }
        check_scope(&self.rule.scope)?;
        self.rule.carried_filter = check_binding(&self.rule, self.carried_filter.as_deref())?;
        self.rule.pad = match self.pad {
            None => 0,
            Some(block) if (1..=usize::from(u16::MAX)).contains(&block) => block,
            Some(_) => return Err(RuleError::Pad),
        };
        self.check_freshness()?;
        // the longest header, a commitment and a tag
        if self.rule.max_packet < 26 + 32 + 16 {
            return Err(RuleError::MaxPacket);
        }
        Ok(self.rule)
    }

    // SPEC §7.1: first_contact is of window rules, max_age of those that ask for freshness
    fn check_freshness(&mut self) -> Result<(), RuleError> {
        let misplaced = |setting, needs| Err(RuleError::NotForReplay { setting, needs });
        if let Some(first_contact) = self.first_contact {
            if self.rule.replay != Replay::Window {
                return misplaced("first_contact", "replay = \"window\"");
            }
            self.rule.first_contact = first_contact;
        }
        if let Some(max_age) = self.max_age {
            let timed = self.rule.first_contact == FirstContact::Timed;
            if self.rule.replay != Replay::Fresh && !timed {
                return misplaced("max_age_ms", "replay = \"fresh\" or first_contact = \"timed\"");
            }
            self.rule.max_age = max_age;
        }
        if self.rule.ttl.is_some() && !self.rule.timestamp {
            return Err(RuleError::TtlNeedsTimestamp);
        }
        Ok(())
    }
}

// SPEC §1, "scope"; §10, reserved names
fn check_scope(scope: &Scope) -> Result<(), RuleError> {
    match scope {
        Scope::Path { depth } if *depth > MAX_SCOPE_DEPTH => Err(RuleError::ScopeDepth),
        Scope::Named(name) if name.starts_with('$') => Err(RuleError::ReservedScope),
        Scope::Named(name)
            if name.is_empty() || name.len() > MAX_TOPIC_LEN || name.contains('\0') =>
        {
            Err(RuleError::ScopeName)
        }
        Scope::Path { .. } | Scope::Named(_) => Ok(()),
    }
}

// SPEC §5, topic_binding
fn check_binding(
    rule: &Rule,
    carried_filter: Option<&str>,
) -> Result<Option<OwnedFilter>, RuleError> {
    match &rule.topic_binding {
        TopicBinding::Strip(prefix) if !prefix.ends_with('/') => {
            return Err(RuleError::StripPrefix);
        }
        TopicBinding::Carried if matches!(rule.scope, Scope::Path { .. }) => {
            return Err(RuleError::CarriedNeedsName);
        }
        TopicBinding::Carried => {}
        _ if carried_filter.is_some() => return Err(RuleError::CarriedFilterUnused),
        _ => {}
    }
    let filter = carried_filter.map(TopicFilter::parse).transpose();
    match filter.map_err(RuleError::CarriedFilter)? {
        Some(filter) if filter.share_group().is_some() => Err(RuleError::SharedTopic),
        filter => Ok(filter.map(OwnedFilter::new)),
    }
}
