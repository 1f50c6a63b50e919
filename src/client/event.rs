//! What the application is told.

use core::error::Error;
use core::fmt;
use core::ops::RangeInclusive;
use core::time::Duration;
use std::boxed::Box;
use std::io;
use std::string::String;
use std::vec::Vec;

use super::error::{ClientError, LinkError, PeerFault};
use super::properties::Properties;
use crate::guard::{Delivery, GuardEvent, OpenError, QoS, SealError};
use crate::peer::{Authenticated, SpkiHash};
use crate::policy::Link;
use crate::update::{UpdateError, Withheld};
use crate::wire::header::SenderNumber;
use crate::wire::inner::Kind;

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "nearly all events are the large one")]
pub enum Event {
    /// A message that the policy lets through; a sealed one was opened. Acknowledge it when it is
    /// dealt with.
    Message(Message),
    /// A message that was not delivered. It was acknowledged, or it would come again for ever.
    #[non_exhaustive]
    Rejected {
        /// The topic of its packet; with U+FFFD for what is not UTF-8.
        topic: String,
        /// The link it came by.
        link: Link,
        /// Why.
        reason: OpenError,
    },
    /// An empty payload on a sealed topic: somebody deleted the retained value, and anyone on the
    /// way could say so. It was acknowledged. A sealed deletion is a message:
    /// [`Message::is_deletion`].
    #[non_exhaustive]
    Cleared {
        /// The topic.
        topic: String,
        /// The link it came by.
        link: Link,
    },
    /// A link is connected.
    #[non_exhaustive]
    LinkUp {
        /// The link.
        link: Link,
        /// Whether the broker kept a session of an earlier connection.
        session_present: bool,
    },
    /// A link lost its connection, or could not make one. It tries again by itself.
    #[non_exhaustive]
    LinkDown {
        /// The link.
        link: Link,
        /// Why.
        error: LinkError,
    },
    /// The broker granted a subscription: at the request, and again at each new connection.
    #[non_exhaustive]
    Subscribed {
        /// The filter.
        filter: String,
        /// The one link that it is subscribed on.
        link: Link,
        /// The highest quality of service that was granted.
        qos: QoS,
    },
    /// The broker refused a subscription, or its limit for packets does not let it be asked for.
    /// That is tried again at the next connection.
    #[non_exhaustive]
    SubscribeFailed {
        /// The filter.
        filter: String,
        /// The link.
        link: Link,
    },
    /// A subscription ended on request: the broker said so, or there is no connection on which it
    /// could go on.
    #[non_exhaustive]
    Unsubscribed {
        /// The filter.
        filter: String,
        /// The link.
        link: Link,
    },
    /// A message that had been accepted was given up: it could not be sealed or exceeds a limit
    /// of the broker, and did not leave; or the broker refused it.
    #[non_exhaustive]
    PublishFailed {
        /// Its topic.
        topic: String,
        /// Why.
        reason: ClientError,
    },
    /// Messages of `QoS` 0 were let go: their link was down, its queue full, or its connection
    /// broke before they were handed to it.
    #[non_exhaustive]
    Dropped {
        /// How many.
        count: u64,
    },
    /// The durable outbox could not be written: messages are refused, or sent again after the next
    /// start although they arrived.
    #[non_exhaustive]
    OutboxFailed {
        /// What the operating system says.
        kind: io::ErrorKind,
    },
    /// A stored message has no rule, link or key to be sent by, at a start or since: it stays stored
    /// for the next.
    #[non_exhaustive]
    StaysStored {
        /// Its topic.
        topic: String,
        /// Why.
        reason: SealError,
    },
    /// The replay log failed. From now on nothing is delivered and nothing acknowledged: all links
    /// end.
    #[non_exhaustive]
    ReplayLogFailed {
        /// What the log says.
        error: Box<dyn Error + Send + Sync>,
    },
    /// No counters could be reserved for a sender number in compact form. It is tried again when a
    /// message needs them.
    #[non_exhaustive]
    CountersFailed {
        /// The sender number.
        number: SenderNumber,
        /// What its store says.
        error: Box<dyn Error + Send + Sync>,
    },
    /// The authority proved that it is there, and over TLS vouched for the broker's key. The link is
    /// up with this.
    #[non_exhaustive]
    Authenticated {
        /// The link.
        link: Link,
        /// The authority's id.
        peer: String,
        /// From the question to the answer.
        rtt: Duration,
        /// By how many milliseconds the authority's clock is ahead of this one, at least and at
        /// most; `None` if this one stands before 1970.
        clock_offset: Option<RangeInclusive<i64>>,
        /// What was proved, what the authority said, and the key of the channel between the two.
        run: Box<Authenticated>,
    },
    /// Peer authentication failed in a way that ends the connection. It is tried again with the
    /// next.
    #[non_exhaustive]
    PeerRefused {
        /// The link.
        link: Link,
        /// Why.
        fault: PeerFault,
    },
    /// The authority did not answer in time, or the broker does not pass its answer on. Nothing of
    /// the application goes out; another run was begun.
    #[non_exhaustive]
    PeerSilent {
        /// The link.
        link: Link,
    },
    /// Other rules and keys are in force: after a reload, or at a date of a key update.
    Reloaded,
    /// Changed files of rules or keys are not taken up: those before stay in force.
    #[non_exhaustive]
    ReloadFailed {
        /// Which is no good and why, or why the client cannot work by them: `store::FilesError` or
        /// [`ReloadError`](super::ReloadError).
        error: Box<dyn Error + Send + Sync>,
    },
    /// The keys of an update are stored and in force.
    #[non_exhaustive]
    KeysUpdated {
        /// The link that it came by.
        link: Link,
        /// Its serial.
        serial: u64,
        /// The TLS keys that the broker may have, as the authority says: the hash of each. A link
        /// that verifies its server by the peer alone enforces them from its next start on; others
        /// do not.
        pins: Vec<SpkiHash>,
    },
    /// Something on the topic of key updates is no newer update of this device, or the broker serves
    /// an old one. The keys stay as they are.
    #[non_exhaustive]
    UpdateRefused {
        /// The link that it came by.
        link: Link,
        /// Why.
        reason: UpdateError,
    },
    /// The authority says that there is a newer key update, and the broker has not delivered it
    /// [in time](super::KeyUpdates::grace).
    #[non_exhaustive]
    UpdateWithheld {
        /// The link that it should have come by.
        link: Link,
        /// What is stored, and what there should be.
        withheld: Withheld,
    },
    /// A key update could not be stored, so that its keys are not in force. It is asked for again.
    #[non_exhaustive]
    UpdateNotStored {
        /// What the store says.
        error: Box<dyn Error + Send + Sync>,
    },
    /// What this client published here with RETAIN is sealed under a key that does not seal any more,
    /// and is not [published again](super::ClientOptions::republish_retained). Publish it again before
    /// that key is erased.
    #[non_exhaustive]
    RetainedUnderOldKey {
        /// The topic.
        topic: String,
    },
    /// The guard tells something that the operator should know.
    Guard(GuardEvent),
    /// Events were not kept, for want of polling: messages of `QoS` 0, rejections, what the guard
    /// tells, or messages of connections that ended.
    #[non_exhaustive]
    Missed {
        /// How many.
        count: u64,
    },
}

/// A message for the application.
///
/// `Debug` prints the payload's length in place of its bytes.
#[derive(Clone)]
#[non_exhaustive]
pub struct Message {
    /// The topic: under `topic_binding = "carried"` the authenticated one, else the packet's.
    pub topic: String,
    /// The payload in clear.
    pub payload: Vec<u8>,
    /// Its MQTT 5 properties. Of a sealed message under `properties = "carry"` they are those that
    /// came inside, also over MQTT 3.1.1, and under `"bind"` those of the packet: authentic both.
    /// Under `"ignore"`, and of a clear message, they are what the packet had: anyone on the way
    /// could set them. The format indicator of a sealed message is authentic always.
    pub properties: Properties,
    /// The quality of service it came with.
    pub qos: QoS,
    /// Whether the broker had retained it.
    pub retain: bool,
    /// Whether the broker had perhaps sent it before.
    pub dup: bool,
    /// The link it came by.
    pub link: Link,
    /// How it was protected, and what else is known.
    pub delivery: Delivery,
    /// The topic of the packet, where `topic` is another.
    pub(super) packet_topic: Option<String>,
    pub(super) receipt: Option<Receipt>,
}

impl Message {
    /// Whether a holder of the key says that the topic's value has ended. The payload is empty.
    #[must_use]
    pub fn is_deletion(&self) -> bool {
        self.delivery.kind == Some(Kind::Delete)
    }

    /// Whether it is a sealed will, so that its sender's connection has ended.
    #[must_use]
    pub fn is_will(&self) -> bool {
        self.delivery.kind == Some(Kind::Will)
    }
}

/// What has to be known to acknowledge a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) link: Link,
    pub(super) id: u16,
    pub(super) qos: QoS,
    /// The message's number among all of its link, over all connections.
    pub(super) number: u64,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic)
            .field("payload_len", &self.payload.len())
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("dup", &self.dup)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}
