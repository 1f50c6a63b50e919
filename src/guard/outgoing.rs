//! What goes out: a message, what will become of it, what became of it, and why it did not.

use core::fmt;

use super::{Outer, QoS};
use crate::keyring::KeyCollision;
use crate::policy::{Link, PropertyHandling};
use crate::session::{LeaseError, NoEntropy};
use crate::suite::SuiteNotBuilt;
use crate::topic::TopicError;
use crate::wire::header::{SenderNumber, SessionId};
use crate::wire::inner::Kind;
use crate::wire::property::{Property, PropertyError};

/// A message that is to be published.
///
/// `Debug` prints the number of bytes and properties in place of them.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Outgoing<'a> {
    /// The topic name.
    pub topic: &'a str,
    /// The application's bytes.
    pub payload: &'a [u8],
    /// The quality of service of the PUBLISH.
    pub qos: QoS,
    /// Its RETAIN flag.
    pub retain: bool,
    /// Its MQTT 5 properties, of the five that belong to a payload.
    pub properties: &'a [Property<'a>],
    /// What the message is beside an ordinary one.
    pub kind: Option<Kind>,
    /// Seconds for which it is valid, in place of the rule's; needs a rule with timestamps.
    pub ttl: Option<u32>,
    /// The challenge of the receiver that it answers.
    pub echo: Option<[u8; 8]>,
    /// The clock in Unix milliseconds; `None` on a device without one.
    pub now: Option<u64>,
}

impl<'a> Outgoing<'a> {
    /// An ordinary message at `QoS` 0, not retained, without properties and clock.
    #[must_use]
    pub const fn new(topic: &'a str, payload: &'a [u8]) -> Self {
        let properties = &[];
        Self {
            topic,
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
            properties,
            kind: None,
            ttl: None,
            echo: None,
            now: None,
        }
    }

    /// With this quality of service.
    #[must_use]
    pub const fn qos(mut self, qos: QoS) -> Self {
        self.qos = qos;
        self
    }

    /// With this RETAIN flag.
    #[must_use]
    pub const fn retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }

    /// With these MQTT 5 properties.
    #[must_use]
    pub const fn properties(mut self, properties: &'a [Property<'a>]) -> Self {
        self.properties = properties;
        self
    }

    /// As a deletion or a will.
    #[must_use]
    pub const fn kind(mut self, kind: Option<Kind>) -> Self {
        self.kind = kind;
        self
    }

    /// Valid for so many seconds.
    #[must_use]
    pub const fn ttl(mut self, seconds: u32) -> Self {
        self.ttl = Some(seconds);
        self
    }

    /// In answer to this challenge of a receiver without a clock.
    #[must_use]
    pub const fn echo(mut self, challenge: [u8; 8]) -> Self {
        self.echo = Some(challenge);
        self
    }

    /// At this time, in Unix milliseconds.
    #[must_use]
    pub const fn at(mut self, now: Option<u64>) -> Self {
        self.now = now;
        self
    }
}

impl fmt::Debug for Outgoing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("topic", &self.topic)
            .field("payload_len", &self.payload.len())
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("properties", &self.properties.len())
            .field("kind", &self.kind)
            .field("ttl", &self.ttl)
            .field("echo", &self.echo.is_some())
            .field("now", &self.now)
            .finish()
    }
}

/// What will become of a message, before anything is spent on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Plan {
    /// It goes out as it is.
    Pass {
        /// The link to publish on.
        link: Link,
    },
    /// It will be sealed.
    Seal {
        /// The link to publish on.
        link: Link,
        /// Bytes that sealing adds to the payload, padding and inner header included.
        growth: usize,
        /// What becomes of its properties.
        properties: PropertyHandling,
    },
}

impl Plan {
    /// Whether `property` will stay on the packet; if not, it is moved inside.
    #[must_use]
    pub const fn keeps(&self, property: &Property<'_>) -> bool {
        match self {
            Self::Pass { .. } => true,
            Self::Seal { properties, .. } => Outer::of(*properties).has(property),
        }
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sealed {
    /// The link to publish on.
    pub link: Link,
    /// The session and counter it was sealed under; `None` if it passed as it was.
    pub sealed: Option<(SessionId, u32)>,
    pub(super) outer: Outer,
}

impl Sealed {
    /// Whether `property` stays on the packet; if not, it was moved inside.
    #[must_use]
    pub const fn keeps(&self, property: &Property<'_>) -> bool {
        self.outer.has(property)
    }
}

/// Why a message was not published. Nothing of it left, in clear or sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealError {
    /// The topic is no topic name.
    Topic(TopicError),
    /// A property breaks a rule of MQTT.
    Property(PropertyError),
    /// No rule of the policy covers the topic.
    Refused,
    /// The rule asks for TLS, and there is no TLS link.
    NoLink,
    /// The rule needs a clock, and none is set.
    ClockNeeded,
    /// A validity without a timestamp to count it from.
    TtlNeedsTimestamp,
    /// A retained value under a `window` rule.
    RetainNeedsLatest,
    /// No active key covers the topic's scope under the rule's suite.
    NoKey,
    /// Active keys of more than one generation cover the topic's scope.
    SeveralKeys,
    /// The active key may not be used.
    KeyCollision(KeyCollision),
    /// A deletion with a payload: a deletion has none.
    DeletePayload,
    /// The will of this connection was sealed already: call `connected` before the next CONNECT.
    WillSealed,
    /// The session has no counter left, and it cannot end while its will lies at the broker:
    /// connect again.
    ReconnectFirst,
    /// The rule asks for compact form, and the grant has no sender number.
    NoSender,
    /// The rule asks for compact form under a suite that does not survive a counter store that
    /// comes back in an older state.
    RollbackPossible,
    /// The counters of the sender number do not suffice: reserve some for this number.
    Lease {
        /// The sender number.
        number: SenderNumber,
        /// What is wrong.
        error: LeaseError,
    },
    /// The suite is not in this build.
    Suite(SuiteNotBuilt),
    /// No randomness for a new session.
    NoEntropy(NoEntropy),
    /// Sealed, it would exceed the packet limit of the rule.
    TooLarge {
        /// Bytes of the sealed payload.
        len: usize,
        /// The rule's limit in bytes.
        max: usize,
    },
}

impl SealError {
    /// The error's name, for logs and counters.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Topic(_) => "Topic",
            Self::Property(_) => "Property",
            Self::Refused => "Refused",
            Self::NoLink => "NoLink",
            Self::ClockNeeded => "ClockNeeded",
            Self::TtlNeedsTimestamp => "TtlNeedsTimestamp",
            Self::RetainNeedsLatest => "RetainNeedsLatest",
            Self::NoKey => "NoKey",
            Self::SeveralKeys => "SeveralKeys",
            Self::KeyCollision(_) => "KeyCollision",
            Self::DeletePayload => "DeletePayload",
            Self::WillSealed => "WillSealed",
            Self::ReconnectFirst => "ReconnectFirst",
            Self::NoSender => "NoSender",
            Self::RollbackPossible => "RollbackPossible",
            Self::Lease { .. } => "Lease",
            Self::Suite(_) => "Suite",
            Self::NoEntropy(_) => "NoEntropy",
            Self::TooLarge { .. } => "TooLarge",
        }
    }
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(error) => error.fmt(f),
            Self::Property(error) => error.fmt(f),
            Self::Refused => f.write_str("no rule of the policy covers the topic: add one"),
            Self::NoLink => f.write_str(
                "the topic's rule asks for tls, and there is no tls link: configure one",
            ),
            Self::ClockNeeded => f.write_str("the topic's rule needs a clock: set it"),
            Self::TtlNeedsTimestamp => f.write_str(
                "a validity is counted from the timestamp: set timestamp = true in the rule",
            ),
            Self::RetainNeedsLatest => f.write_str(
                "a retained value under replay = \"window\" may never be delivered: \
                 publish without RETAIN, or set retain = \"allow\"",
            ),
            Self::NoKey => {
                f.write_str("no key of the keyring seals in the topic's scope: grant one")
            }
            Self::SeveralKeys => f.write_str(
                "active keys of more than one generation cover the topic's scope: let one retire",
            ),
            Self::KeyCollision(error) => error.fmt(f),
            Self::DeletePayload => f.write_str("a deletion has no payload: leave it empty"),
            Self::WillSealed => {
                f.write_str("the will of this connection was sealed already: connect again")
            }
            Self::ReconnectFirst => f.write_str(
                "the session is used up and cannot end while its will lies at the broker: \
                 connect again",
            ),
            Self::NoSender => f.write_str(
                "the topic's rule asks for compact form, and the grant has no sender number: \
                 ask for one",
            ),
            Self::RollbackPossible => f.write_str(
                "compact form needs suite aes-256-gcm-siv, or a counter store that is declared \
                 never to be rolled back",
            ),
            Self::Lease { number, error } => {
                write!(f, "sender number {}: {error}", number.get())
            }
            Self::Suite(error) => error.fmt(f),
            Self::NoEntropy(error) => error.fmt(f),
            Self::TooLarge { len, max } => {
                write!(f, "the sealed payload has {len} bytes and max_packet is {max}")
            }
        }
    }
}

impl core::error::Error for SealError {}
