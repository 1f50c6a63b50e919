//! One rule.

mod builder;

use alloc::{string::String, vec::Vec};
use core::fmt;

pub use builder::RuleBuilder;

use super::MAX_SCOPE_DEPTH;
use crate::suite::Suite;
use crate::topic::{FilterError, OwnedFilter, TopicFilter, TopicName};
use crate::wire::header::Form;

/// What happens to payloads under a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Payload {
    /// They are sealed; clear text is refused.
    Sealed,
    /// They pass as they are, in both directions.
    Clear,
    /// For migration: published sealed, received either way, until a date.
    Mixed {
        /// The last moment at which clear text is accepted, in Unix milliseconds.
        until: u64,
    },
    /// For migration: published clear, received either way, until a date.
    Observe {
        /// The last moment at which clear text is published and accepted, in Unix milliseconds.
        until: u64,
    },
}

/// Which connection a rule asks for. It governs this client's hop alone, never the other end's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// Never over plain TCP. The default of clear rules.
    Tls,
    /// Plain TCP is allowed, and used if there is a plain link.
    Tcp,
    /// TLS if the client has a TLS link, else plain TCP. The default of sealed rules.
    Any,
}

/// The topics that one key protects.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// The first `depth` levels of the topic: 0..=16.
    Path {
        /// Number of levels; the whole topic if it has fewer.
        depth: u8,
    },
    /// A label, for filters that are no subtree.
    Named(String),
}

/// How received repetitions are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Replay {
    /// A window of 1,024 counters per sender session and topic.
    #[default]
    Window,
    /// The newest value of each topic: for retained values, wills and state.
    Latest,
    /// As `Window`, for messages that prove they were just made: for commands.
    Fresh,
    /// No check.
    Off,
}

/// What the first message of a sender session on a topic needs under a `window` rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum FirstContact {
    /// Nothing.
    #[default]
    Accept,
    /// A timestamp within `max_age`, or the echo of this receiver's challenge.
    Timed,
    /// It is never accepted.
    Refuse,
}

/// What becomes of messages that this client sealed itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Own {
    /// They are delivered, and marked.
    #[default]
    Deliver,
    /// They are not delivered.
    Drop,
}

/// What a deletion is worth that anyone could have made: an empty payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum BareDelete {
    /// The application is told.
    #[default]
    Report,
    /// Nothing.
    Ignore,
}

/// Whether values may be retained under a `window` rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Retain {
    /// No: a repeated subscriber might not be given the value.
    #[default]
    Refuse,
    /// Yes, with that knowledge.
    Allow,
}

/// What of the topic is authenticated.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum TopicBinding {
    /// The whole name.
    #[default]
    Full,
    /// The name without this prefix, which ends in `/`: for bridges that add or remove it.
    Strip(String),
    /// The name as the sender wrote it travels inside: for bridges that remap at will.
    Carried,
}

/// What happens to the five MQTT 5 properties that belong to a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum PropertyHandling {
    /// Moved inside: hidden and authentic.
    #[default]
    Carry,
    /// Left outside and authenticated.
    Bind,
    /// Left outside and not protected.
    Ignore,
}

/// Why a rule is no legal configuration. Never caused by network data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RuleError {
    /// It has no topics.
    NoTopics,
    /// One of its topics is no filter.
    Topic(FilterError),
    /// One of its topics is a shared subscription, which only clients make.
    SharedTopic,
    /// The depth of the scope is above 16.
    ScopeDepth,
    /// The name of the scope is empty, too long or contains U+0000.
    ScopeName,
    /// The name of the scope begins with `$`, which the format reserves.
    ReservedScope,
    /// The stripped prefix is empty or does not end in `/`.
    StripPrefix,
    /// A carried topic needs a named scope: the path is not known before opening.
    CarriedNeedsName,
    /// There is a filter for carried topics, but topics are not carried.
    CarriedFilterUnused,
    /// The filter for carried topics is no filter.
    CarriedFilter(FilterError),
    /// The block of the padding is 0 or above 65,535.
    Pad,
    /// The packet limit has no room for a header and a tag.
    MaxPacket,
    /// A setting that only some kinds of replay protection know.
    NotForReplay {
        /// The setting.
        setting: &'static str,
        /// The values of `replay` that it belongs to.
        needs: &'static str,
    },
    /// A validity is counted from the timestamp, and there is none.
    TtlNeedsTimestamp,
    /// The rule leaves payloads clear and yet says how to seal them.
    NotForClear {
        /// The setting that has no meaning.
        setting: &'static str,
    },
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTopics => f.write_str("a rule needs topics: name at least one filter"),
            Self::Topic(error) | Self::CarriedFilter(error) => error.fmt(f),
            Self::SharedTopic => {
                f.write_str("a rule names topics: write the filter without \"$share/group/\"")
            }
            Self::ScopeDepth => write!(f, "a path scope has a depth of 0 to {MAX_SCOPE_DEPTH}"),
            Self::ScopeName => {
                f.write_str("the name of a scope has 1 to 65535 bytes and no U+0000")
            }
            Self::ReservedScope => {
                f.write_str("names of scopes that begin with '$' are reserved: choose another")
            }
            Self::StripPrefix => {
                f.write_str("the prefix to strip is not empty and ends in '/', as in \"site-b/\"")
            }
            Self::CarriedNeedsName => {
                f.write_str("topic_binding = \"carried\" needs a named scope")
            }
            Self::CarriedFilterUnused => {
                f.write_str("carried_filter has a meaning only with topic_binding = \"carried\"")
            }
            Self::Pad => f.write_str("pad is a block of 1 to 65535 bytes"),
            Self::MaxPacket => {
                f.write_str("max_packet has no room for a header and a tag: say 74 or more")
            }
            Self::NotForReplay { setting, needs } => {
                write!(f, "{setting} has a meaning only with {needs}: remove one of them")
            }
            Self::TtlNeedsTimestamp => {
                f.write_str("ttl is counted from the timestamp: set timestamp = true")
            }
            Self::NotForClear { setting } => {
                write!(f, "{setting} has no meaning under payload = \"clear\": remove one of them")
            }
        }
    }
}

impl core::error::Error for RuleError {}

/// Topics, and what is done with them.
#[derive(Debug, Clone)]
pub struct Rule {
    topics: Vec<OwnedFilter>,
    payload: Payload,
    transport: Transport,
    suite: Suite,
    scope: Scope,
    form: Form,
    replay: Replay,
    retain: Retain,
    first_contact: FirstContact,
    max_age: u64,
    max_skew: u64,
    own: Own,
    bare_delete: BareDelete,
    topic_binding: TopicBinding,
    carried_filter: Option<OwnedFilter>,
    properties: PropertyHandling,
    pad: usize,
    timestamp: bool,
    ttl: Option<u32>,
    max_packet: usize,
}

impl Rule {
    /// Starts a rule under which payloads are sealed. Defaults: the first suite, a path scope of
    /// depth 1, `window` replay, the whole topic bound, properties carried, no padding, no
    /// timestamp, 256 KiB, TLS if there is a TLS link.
    pub fn sealed<T: Into<String>>(topics: impl IntoIterator<Item = T>) -> RuleBuilder {
        RuleBuilder::new(topics, Payload::Sealed, Transport::Any)
    }

    /// Starts a rule under which payloads pass as they are, by default over TLS alone.
    pub fn clear<T: Into<String>>(topics: impl IntoIterator<Item = T>) -> RuleBuilder {
        RuleBuilder::new(topics, Payload::Clear, Transport::Tls)
    }

    /// Starts a rule for a migration: see [`Payload::Mixed`].
    pub fn mixed<T: Into<String>>(topics: impl IntoIterator<Item = T>, until: u64) -> RuleBuilder {
        RuleBuilder::new(topics, Payload::Mixed { until }, Transport::Any)
    }

    /// Starts a rule for a migration: see [`Payload::Observe`].
    pub fn observe<T: Into<String>>(
        topics: impl IntoIterator<Item = T>,
        until: u64,
    ) -> RuleBuilder {
        RuleBuilder::new(topics, Payload::Observe { until }, Transport::Tls)
    }

    /// Whether one of the rule's filters matches.
    #[must_use]
    pub fn matches(&self, topic: TopicName<'_>) -> bool {
        self.topics.iter().any(|filter| filter.matches(topic))
    }

    /// Whether some topic is matched by the rule and by `filter`.
    #[must_use]
    pub fn overlaps(&self, filter: TopicFilter<'_>) -> bool {
        self.topics().any(|own| own.overlaps(filter))
    }

    /// The rule's filters.
    pub fn topics(&self) -> impl Iterator<Item = TopicFilter<'_>> {
        self.topics.iter().map(OwnedFilter::get)
    }

    /// What happens to payloads.
    #[must_use]
    pub const fn payload(&self) -> Payload {
        self.payload
    }

    /// Which connection it asks for.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// The suite to seal with.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The topics that one key protects.
    #[must_use]
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The form that messages are sealed in; both forms are opened.
    #[must_use]
    pub const fn form(&self) -> Form {
        self.form
    }

    /// How repetitions are told apart.
    #[must_use]
    pub const fn replay(&self) -> Replay {
        self.replay
    }

    /// Whether values may be retained.
    #[must_use]
    pub const fn retain(&self) -> Retain {
        self.retain
    }

    /// What the first message of a sender session on a topic needs.
    #[must_use]
    pub const fn first_contact(&self) -> FirstContact {
        self.first_contact
    }

    /// How old in milliseconds a message may be that has to be fresh.
    #[must_use]
    pub const fn max_age(&self) -> u64 {
        self.max_age
    }

    /// How far in milliseconds a timestamp may lie ahead of the receiver's clock.
    #[must_use]
    pub const fn max_skew(&self) -> u64 {
        self.max_skew
    }

    /// What becomes of messages that this client sealed itself.
    #[must_use]
    pub const fn own(&self) -> Own {
        self.own
    }

    /// What a deletion is worth that anyone could have made.
    #[must_use]
    pub const fn bare_delete(&self) -> BareDelete {
        self.bare_delete
    }

    /// What of the topic is authenticated.
    #[must_use]
    pub const fn topic_binding(&self) -> &TopicBinding {
        &self.topic_binding
    }

    /// The filter that a carried topic has to match, if the rule names one.
    #[must_use]
    pub fn carried_filter(&self) -> Option<TopicFilter<'_>> {
        self.carried_filter.as_ref().map(OwnedFilter::get)
    }

    /// What happens to properties.
    #[must_use]
    pub const fn properties(&self) -> PropertyHandling {
        self.properties
    }

    /// The block in bytes that plain texts are padded to; 0 for no padding.
    #[must_use]
    pub const fn pad(&self) -> usize {
        self.pad
    }

    /// Whether messages carry the time of their sealing.
    #[must_use]
    pub const fn timestamp(&self) -> bool {
        self.timestamp
    }

    /// Seconds of validity that messages carry, if any.
    #[must_use]
    pub const fn ttl(&self) -> Option<u32> {
        self.ttl
    }

    /// The largest sealed payload in bytes.
    #[must_use]
    pub const fn max_packet(&self) -> usize {
        self.max_packet
    }
}
