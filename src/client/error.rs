//! What a client can report, by who is at fault: the configuration, the call, the network.

mod link;

use core::error::Error;
use core::fmt;
use std::io;

pub use link::{CertificateFault, Ending, LinkError, PeerFault, Refusal};

use super::reply::ReplyError;
use crate::guard::{QoS, RestoreError, SealError};
use crate::peer::NameError;
use crate::policy::{Link, SubscribeError};
use crate::topic::{FilterError, TopicError};
use crate::update::WrongRun;

/// Why a client is not started. Never caused by network data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The options name no link.
    NoLink,
    /// The guard was made for other links than the options name.
    OtherLinks,
    /// The MQTT options of a link bring a transport of their own.
    Transport {
        /// The link.
        link: Link,
    },
    /// There are credentials for the plain link, where anyone on the way can read them.
    CredentialsOnPlainLink,
    /// Both links have the same client ID: the broker would end one for the other.
    SameClientId,
    /// The MQTT options ask for a session that outlives its connection.
    PersistentSession {
        /// The link.
        link: Link,
    },
    /// A persistent subscriber without a client ID, with two links, or with a durable outbox.
    PersistentSubscriber,
    /// The guard does not take the will.
    Will {
        /// The link.
        link: Link,
        /// Why.
        error: SealError,
    },
    /// The will's topic goes by the other link.
    WillOnOtherLink {
        /// The link whose options have the will.
        link: Link,
    },
    /// The will's topic is no topic name.
    WillTopic(TopicError),
    /// The will has more bytes than MQTT can carry.
    WillTooLarge {
        /// Its length.
        len: usize,
    },
    /// The keep-alive interval has more seconds than MQTT can carry.
    KeepAlive {
        /// The link.
        link: Link,
    },
    /// There is no tokio runtime to run the links on.
    NoRuntime,
    /// No thread can be started for the durable outbox or the replay log.
    NoThread(io::ErrorKind),
    /// The rows of the replay log are no good.
    ReplayLog(RestoreError),
    /// A name for peer authentication is none; the broker's is the host and port of the link.
    PeerName(NameError),
    /// A topic for peer authentication is none.
    PeerTopic(TopicError),
    /// Peer authentication is required, and the TLS link was given a configuration of rustls, which
    /// does not tell what the server shows.
    PeerNeedsTlsConfig,
    /// The TLS link is to be verified by peer authentication, which is not required.
    PeerAuthNeeded,
    /// No key update is stored yet, so that the first could be an old one, and peer authentication
    /// is not required.
    UpdatesNeedRun,
    /// Peer authentication is of another device or key than the key updates.
    UpdatesOfOther(WrongRun),
    /// The topic of the will belongs to key updates.
    WillOnKeyTopic,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLink => f.write_str("the options name no link: add tcp, tls or both"),
            Self::OtherLinks => f.write_str(
                "the guard was made for other links than the options name: name the same",
            ),
            Self::Transport { link } => {
                write!(f, "the mqtt options of the {link} link set a transport: leave it as it is")
            }
            Self::CredentialsOnPlainLink => f.write_str(
                "the tcp link would send the credentials in clear: give them to the tls link",
            ),
            Self::SameClientId => {
                f.write_str("both links have the same client id: give each its own")
            }
            Self::PersistentSession { link } => write!(
                f,
                "the {link} link asks for a persistent session: set clean_session to true, \
                 or make the client a persistent_subscriber"
            ),
            Self::PersistentSubscriber => f.write_str(
                "a persistent subscriber needs a client id, one link, and no durable outbox",
            ),
            Self::Will { link, error } => write!(f, "the will on the {link} link: {error}"),
            Self::WillOnOtherLink { link } => write!(
                f,
                "the policy does not let the topic of the will go by the {link} link: \
                 give the will to the other"
            ),
            Self::WillTopic(error) => write!(f, "the topic of the will is none: {error}"),
            Self::WillTooLarge { len } => {
                write!(f, "the will has {len} bytes, and at most 65535 are possible")
            }
            Self::KeepAlive { link } => {
                write!(f, "the keep-alive of the {link} link is above 65535 seconds: shorten it")
            }
            Self::NoRuntime => f.write_str("no tokio runtime is running: start the client in one"),
            Self::NoThread(kind) => {
                write!(f, "no thread for the durable outbox or the replay log: {kind}")
            }
            Self::ReplayLog(error) => error.fmt(f),
            Self::PeerName(error) => write!(f, "a name for peer authentication: {error}"),
            Self::PeerTopic(error) => write!(f, "a topic for peer authentication: {error}"),
            Self::PeerNeedsTlsConfig => f.write_str(
                "peer authentication has to see the server's key: \
                 give the tls link a TlsConfig of this crate",
            ),
            Self::PeerAuthNeeded => f.write_str(
                "nothing verifies the server of the tls link: \
                 add require_peer_auth, or a root or pin",
            ),
            Self::UpdatesNeedRun => f.write_str(
                "no key update is stored yet, and the first could be an old one: \
                 add require_peer_auth",
            ),
            Self::UpdatesOfOther(error) => {
                write!(f, "peer authentication does not go with the key updates: {error}")
            }
            Self::WillOnKeyTopic => {
                f.write_str("the topic of the will belongs to key updates: choose another")
            }
        }
    }
}

impl Error for ConfigError {}

/// Why a request was not accepted: nothing of it was queued, nothing was sent. In
/// [`Ticket`](super::Ticket) and [`Event::PublishFailed`](super::Event::PublishFailed), why an
/// accepted message came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientError {
    /// The guard does not seal the message.
    Seal(SealError),
    /// The packet would exceed the limit of the link or of its broker, at which the connection
    /// would be lost.
    TooLarge {
        /// Bytes of the packet.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The client was made a persistent subscriber: another has to publish.
    OnlySubscribes,
    /// A persistent subscriber takes `QoS` 0 and 1.
    SubscriberQoS,
    /// The text is no topic filter.
    Filter(FilterError),
    /// The policy does not let the filter be subscribed.
    Subscribe(SubscribeError),
    /// An MQTT 5 property that an application cannot set.
    Property(PropertyFault),
    /// The message cannot be replied to.
    Reply(ReplyError),
    /// The broker takes no messages of this quality of service.
    QoS {
        /// The highest that it takes.
        max: QoS,
    },
    /// The broker keeps no retained messages.
    NoRetain,
    /// The broker refused the message.
    Refused(PublishRefusal),
    /// The message is of `QoS` 0, and its link was down or had no room: it was let go.
    Dropped,
    /// The durable outbox could not store the message.
    NotStored {
        /// What the operating system says.
        kind: io::ErrorKind,
    },
    /// The topic belongs to peer authentication and carries nothing else.
    AuthTopic,
    /// The topic belongs to key updates and carries nothing else.
    KeyTopic,
    /// The queue is full: wait, or use the call that does.
    Full,
    /// The client was disconnected.
    Closed,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seal(error) => error.fmt(f),
            Self::TooLarge { len, max } => {
                write!(f, "the packet has {len} bytes, and the link's limit is {max}")
            }
            Self::OnlySubscribes => {
                f.write_str("a persistent subscriber publishes nothing: publish by another client")
            }
            Self::SubscriberQoS => f.write_str("a persistent subscriber takes no qos 2: ask for 1"),
            Self::Filter(error) => error.fmt(f),
            Self::Subscribe(error) => error.fmt(f),
            Self::Property(fault) => fault.fmt(f),
            Self::Reply(error) => error.fmt(f),
            Self::QoS { max } => write!(f, "the broker takes no qos above {max}"),
            Self::NoRetain => f.write_str("the broker keeps no retained messages"),
            Self::Refused(refusal) => write!(f, "the broker refused the message: {refusal}"),
            Self::Dropped => {
                f.write_str("a message of qos 0 was let go: its link was down or had no room")
            }
            Self::NotStored { kind } => {
                write!(f, "the durable outbox could not store the message: {kind}")
            }
            Self::AuthTopic => {
                f.write_str("the topic belongs to peer authentication: publish on another")
            }
            Self::KeyTopic => f.write_str("the topic belongs to key updates: use another"),
            Self::Full => f.write_str("the queue is full: poll, or wait for room"),
            Self::Closed => f.write_str("the client was disconnected"),
        }
    }
}

impl Error for ClientError {}

/// What an application cannot set of a PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PropertyFault {
    /// A topic alias: messages are sent again on other connections, where it means nothing.
    TopicAlias,
    /// A subscription identifier: only brokers set them.
    SubscriptionIdentifier,
    /// A payload format indicator other than 0 and 1.
    PayloadFormat,
}

impl fmt::Display for PropertyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TopicAlias => "a topic alias cannot be set: leave it out",
            Self::SubscriptionIdentifier => "a subscription identifier cannot be set: leave it out",
            Self::PayloadFormat => "the payload format indicator is neither 0 nor 1",
        })
    }
}

impl Error for PropertyFault {}

/// Why a broker refuses a message (MQTT 5.0 §3.4.2.1, §3.5.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PublishRefusal {
    /// 0x80: it does not say why.
    Unspecified,
    /// 0x83: for a reason of its own.
    ImplementationSpecific,
    /// 0x87: the client is not authorized.
    NotAuthorized,
    /// 0x90: it does not accept the topic.
    TopicName,
    /// 0x91: it takes the packet ID for one in use.
    PacketIdInUse,
    /// 0x97: a quota is exceeded.
    QuotaExceeded,
    /// 0x99: the payload is not of the format that the indicator says.
    PayloadFormat,
}

impl PublishRefusal {
    /// The reason code of MQTT 5.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0x80,
            Self::ImplementationSpecific => 0x83,
            Self::NotAuthorized => 0x87,
            Self::TopicName => 0x90,
            Self::PacketIdInUse => 0x91,
            Self::QuotaExceeded => 0x97,
            Self::PayloadFormat => 0x99,
        }
    }
}

impl fmt::Display for PublishRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "it does not say why",
            Self::ImplementationSpecific => "it has a reason of its own",
            Self::NotAuthorized => "the client is not authorized",
            Self::TopicName => "it does not accept the topic",
            Self::PacketIdInUse => "it takes the packet id for one in use",
            Self::QuotaExceeded => "a quota is exceeded",
            Self::PayloadFormat => "the payload is not of the format that its indicator says",
        })
    }
}

#[cfg(test)]
mod tests;
