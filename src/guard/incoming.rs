//! What comes in: a message, what is told about it when it is delivered, and why it is not.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::{fmt, num::NonZeroU32};

use zeroize::Zeroizing;

use super::Outer;
use super::log::Write;
use super::rows::Lease;
use super::state_key::StateKey;
use crate::policy::{BareDelete, Link};
use crate::replay::{Rejected, Verdict};
use crate::session::Authentic;
use crate::topic::TopicError;
use crate::wire::header::{KeyId, SessionId};
use crate::wire::inner::Kind;
use crate::wire::property::{Properties, Property};

/// A message that arrived.
///
/// `Debug` prints the number of bytes and properties in place of them.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Incoming<'a> {
    /// The topic name of the PUBLISH, its alias resolved.
    pub topic: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
    /// The link it came by.
    pub link: Link,
    /// Its MQTT 5 properties, of the five that belong to a payload.
    pub properties: &'a [Property<'a>],
    /// Its RETAIN flag.
    pub retain: bool,
    /// Whether it may have come by a shared subscription, whose members see parts of each stream.
    pub shared: bool,
    /// The clock in Unix milliseconds; `None` on a device without one.
    pub now: Option<u64>,
}

impl<'a> Incoming<'a> {
    /// A message without RETAIN and properties, by no shared subscription, at a receiver without a
    /// clock.
    #[must_use]
    pub const fn new(topic: &'a str, payload: &'a [u8], link: Link) -> Self {
        Self { topic, payload, link, properties: &[], retain: false, shared: false, now: None }
    }

    /// With these MQTT 5 properties.
    #[must_use]
    pub const fn properties(mut self, properties: &'a [Property<'a>]) -> Self {
        self.properties = properties;
        self
    }

    /// With this RETAIN flag.
    #[must_use]
    pub const fn retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }

    /// Perhaps by a shared subscription.
    #[must_use]
    pub const fn shared(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }

    /// At this time, in Unix milliseconds.
    #[must_use]
    pub const fn at(mut self, now: Option<u64>) -> Self {
        self.now = now;
        self
    }
}

impl fmt::Debug for Incoming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("topic", &self.topic)
            .field("payload_len", &self.payload.len())
            .field("link", &self.link)
            .field("properties", &self.properties.len())
            .field("retain", &self.retain)
            .field("shared", &self.shared)
            .field("now", &self.now)
            .finish()
    }
}

/// How a delivered payload was protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protection {
    /// Not at all: the topic's rule allows that.
    Clear,
    /// Sealed by a holder of the scope's key.
    Sealed,
}

/// Names a delivered message until [`GuardRx::confirm`](super::GuardRx::confirm).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// Whether the state is a record; else it is a stream.
    pub(super) record: bool,
    pub(super) state: StateKey,
    pub(super) kid: KeyId,
    pub(super) id: SessionId,
    pub(super) counter: u32,
}

/// A message that was opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Opened {
    /// Its payload is in the caller's buffer.
    Delivered(Delivery),
    /// The replay log has to know something first: make the claim's writes, then
    /// [`GuardRx::finish`](super::GuardRx::finish). Without a log this does not happen.
    NeedsClaim(Claim),
}

impl Opened {
    /// What is told about the message, where no claim has to be made first.
    #[must_use]
    pub fn delivered(self) -> Option<Delivery> {
        match self {
            Self::Delivered(delivery) => Some(delivery),
            Self::NeedsClaim(_) => None,
        }
    }
}

/// An authentic message that waits for its replay log.
///
/// A claim that is dropped was never made: its message is opened again when the broker repeats it.
/// So do not acknowledge it. Make the writes of all claims in the order in which they were opened,
/// and finish one claim before opening the next message of its topic.
///
/// `Debug` prints the payload's length in place of its bytes.
#[must_use]
pub struct Claim(pub(super) Box<Claimed>);

/// What a claim holds, out of the way of messages that need none.
pub(super) struct Claimed {
    pub(super) writes: Vec<Write>,
    pub(super) receipt: Receipt,
    pub(super) lease: Option<Lease>,
    pub(super) delivery: Delivery,
    pub(super) payload: Zeroizing<Vec<u8>>,
}

impl Claim {
    /// What has to be durable before the message is delivered: all of it, in this order.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.0.writes
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("writes", &self.0.writes.len())
            .field("payload_len", &self.0.payload.len())
            .finish_non_exhaustive()
    }
}

/// What is told about a payload that is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// How the payload was protected.
    pub protection: Protection,
    /// What the replay state says; `None` for clear payloads.
    pub verdict: Option<Verdict>,
    /// Key, session and counter of a sealed payload.
    pub proof: Option<Authentic>,
    /// The generation of the key of a sealed payload.
    pub generation: Option<u32>,
    /// What the message is beside an ordinary one.
    pub kind: Option<Kind>,
    /// When it was sealed, in Unix milliseconds, if the sender said so.
    pub timestamp: Option<u64>,
    /// Seconds of validity after the timestamp, if the sender said so.
    pub ttl: Option<u32>,
    /// The authenticated topic that takes the place of the packet's, under
    /// `topic_binding = "carried"`.
    pub carried_topic: Option<String>,
    /// Whether this client sealed it itself.
    pub own: bool,
    /// Counters of the sender's session that did not come before this message: so many messages
    /// were lost or are late. Told only where each of them was for this topic and this client.
    pub gap: Option<NonZeroU32>,
    /// What to confirm the message with, once the application has dealt with it; `None` where
    /// nothing waits for that.
    pub receipt: Option<Receipt>,
    pub(super) echo: Option<[u8; 8]>,
    /// Whether a rule for a migration let it through in clear.
    pub(super) migrating: bool,
    pub(super) props: Props,
    pub(super) outer: Outer,
}

/// PROPS as it stood inside, where it was hidden.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Props(pub(super) Vec<u8>);

impl fmt::Debug for Props {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Delivery {
    pub(super) fn clear(migrating: bool) -> Self {
        Self {
            protection: Protection::Clear,
            verdict: None,
            proof: None,
            generation: None,
            kind: None,
            timestamp: None,
            ttl: None,
            carried_topic: None,
            own: false,
            gap: None,
            receipt: None,
            echo: None,
            migrating,
            props: Props::default(),
            outer: Outer::All,
        }
    }

    /// The message's properties: those that came inside, then those of the packet that count.
    pub fn properties<'a>(
        &'a self,
        packet: &'a [Property<'a>],
    ) -> impl Iterator<Item = Property<'a>> {
        let inside = Properties::parse(&self.props.0).unwrap_or_default();
        inside.iter().chain(packet.iter().copied().filter(|property| self.outer.has(property)))
    }
}

/// Why a message is not delivered. The application may be told the topic, the link and this;
/// never the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpenError {
    /// The topic is no topic name.
    Topic(TopicError),
    /// No rule covers the topic, or the carried topic does not belong to the rule.
    Refused,
    /// The rule keeps the topic to TLS, and the message came over plain TCP.
    WrongTransport,
    /// An empty payload: the retained value was deleted, by whom cannot be told; and what the rule
    /// says that this is worth.
    Cleared(BareDelete),
    /// A payload that was never sealed, on a topic whose rule asks for sealing.
    ClearOnSealedTopic,
    /// A version or a flag that this edition does not know.
    Unsupported,
    /// The header is cut or a number is out of range, or authentic plain text breaks the format.
    Malformed,
    /// Sealed under a key that is not in the keyring, or not of this scope.
    UnknownKey,
    /// Not made by a holder of the key, or not for this topic.
    NotAuthentic,
    /// Authentic, and refused by the replay state.
    Rejected(Rejected),
    /// The receiver was stopped, and its replay log closed.
    Stopped,
}

impl OpenError {
    /// The error's name, for logs and counters.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Topic(_) => "Topic",
            Self::Refused => "Refused",
            Self::WrongTransport => "WrongTransport",
            Self::Cleared(_) => "Cleared",
            Self::Stopped => "Stopped",
            Self::ClearOnSealedTopic => "ClearOnSealedTopic",
            Self::Unsupported => "Unsupported",
            Self::Malformed => "Malformed",
            Self::UnknownKey => "UnknownKey",
            Self::NotAuthentic => "NotAuthentic",
            Self::Rejected(rejected) => rejected.name(),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Topic(error) => return error.fmt(f),
            Self::Rejected(rejected) => return rejected.fmt(f),
            Self::Refused => "no rule of the policy covers the topic",
            Self::WrongTransport => "the topic's rule asks for tls, and the message came over tcp",
            Self::Stopped => "the receiver was stopped",
            Self::Cleared(_) => "the payload is empty: somebody deleted the retained value",
            Self::ClearOnSealedTopic => {
                "the payload is not sealed, and the topic's rule asks for it"
            }
            Self::Unsupported => "the message has an unknown version or flag",
            Self::Malformed => "the message is malformed",
            Self::UnknownKey => "the message is sealed under a key that the keyring does not hold",
            Self::NotAuthentic => "the message is not authentic",
        })
    }
}

impl core::error::Error for OpenError {}
