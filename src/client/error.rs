//! What a client can report, by who is at fault: the configuration, the call, the network.

use core::error::Error;
use core::fmt;
use std::io;

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

/// Why a connection was lost, or not made.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum LinkError {
    /// The network failed.
    Io(io::ErrorKind),
    /// The broker did not answer in time.
    Timeout,
    /// The broker, or somebody on the way, closed the connection.
    Closed,
    /// The broker refused the connection.
    Refused(Refusal),
    /// The broker's certificate was not accepted.
    Certificate(CertificateFault),
    /// TLS failed otherwise.
    #[cfg(feature = "tls")]
    Tls(rustls::Error),
    /// The host is neither a DNS name nor an IP address, so no certificate can be checked.
    HostName,
    /// An incoming packet was larger than the limit.
    PacketTooLarge {
        /// Bytes of its body.
        len: usize,
    },
    /// More than 64 MiB of messages wait for the application: the broker sends on without waiting
    /// for acknowledgements, or the application does not poll. Or more than 4 MiB or 1,024 of them
    /// wait for peer authentication.
    TooMuchWaiting,
    /// The broker ended the connection and said why.
    Ended(Ending),
    /// The broker used a topic alias or a subscription identifier, and was asked for none.
    NotAskedFor,
    /// The broker refused so many messages of `QoS` 2 that the MQTT client has no room left to
    /// send; a new connection has.
    ManyRefused,
    /// The will could not be sealed, so that no connection is made.
    Will(SealError),
    /// The session that the will belongs to is used up: the connection is made anew.
    SessionUsedUp,
    /// What the MQTT client says it sent is not what it was given: the connection is made anew, and
    /// what is not acknowledged sent again.
    OutOfStep,
    /// The broker broke the rules of MQTT.
    Protocol,
    /// The replay log failed: the link ends, and no other connection is made.
    ReplayLog,
    /// Peer authentication failed.
    Peer(PeerFault),
    /// The will is sealed anew under the key of now: the client took leave of the broker and
    /// connects again at once.
    Reloaded,
}

/// Why peer authentication ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerFault {
    /// The server's TLS key is none of those that the authority knows of this broker: somebody
    /// stands between, or the authority was not told of a new key.
    BrokerNotVouched,
    /// The authority's attestation is malformed.
    Attestation,
    /// The broker refuses clients without user name and password, which no server is told before it
    /// is known who it is.
    PinNeeded,
    /// The broker refuses the subscription of the authority's answers.
    NotSubscribed,
    /// The random generator failed.
    NoEntropy,
}

impl fmt::Display for PeerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BrokerNotVouched => {
                "the authority does not know the broker's tls key: somebody stands between, or \
                 tell the authority"
            }
            Self::Attestation => "the authority's attestation is malformed: look at the authority",
            Self::PinNeeded => {
                "the broker refuses clients without a password, and its key is not known: pin it"
            }
            Self::NotSubscribed => {
                "the broker refuses the topic of the authority's answers: allow it to this client"
            }
            Self::NoEntropy => "the random generator failed",
        })
    }
}

/// Why a broker ends a connection (MQTT 5.0 §3.14.2.1), as far as that calls for different
/// remedies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ending {
    /// It shuts down, is busy or ends connections for administrative reasons.
    Unavailable,
    /// Another connection has the same client ID.
    TakenOver,
    /// It heard nothing for too long.
    KeepAlive,
    /// The client is not authorized.
    NotAuthorized,
    /// A limit was exceeded: of packet size, rate, number or quota.
    Limit,
    /// It does not support something that was asked for, or not this topic.
    NotSupported,
    /// Another broker is to be used.
    Moved,
    /// It takes what was sent for a breach of MQTT.
    Protocol,
    /// Something else, or it does not say.
    Other,
}

/// Why a broker refuses a connection (MQTT 3.1.1 §3.2.2.3, MQTT 5.0 §3.2.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// It does not speak this version of MQTT.
    ProtocolVersion,
    /// It does not allow the client ID.
    ClientId,
    /// It is not available.
    Unavailable,
    /// User name or password are wrong.
    Credentials,
    /// The client is not authorized.
    NotAuthorized,
    /// The client is banned.
    Banned,
    /// A limit is exceeded: of quota, rate or packet size.
    Limit,
    /// Another broker is to be used.
    Moved,
    /// It does not accept the will.
    Will,
    /// Something else, or it does not say.
    Other,
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CertificateFault {
    /// No root certificate of the configuration stands behind it.
    UnknownIssuer,
    /// It is no longer valid.
    Expired,
    /// It is not yet valid; perhaps the clock is wrong.
    NotYetValid,
    /// It was made for another host.
    WrongName,
    /// Its signature is wrong: a root of the same name has another key. Or that of the handshake
    /// is: the certificate is another's.
    BadSignature,
    /// Its issuer revoked it.
    Revoked,
    /// The key in it is none of those pinned.
    Pin,
    /// Something else; it may be damaged, or not meant for a server.
    Other,
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(kind) => write!(f, "the network failed: {kind}"),
            Self::Timeout => f.write_str("the broker did not answer in time"),
            Self::Closed => f.write_str("the connection was closed from outside"),
            Self::Refused(refusal) => write!(f, "the broker refused the connection: {refusal}"),
            Self::Certificate(fault) => {
                write!(f, "the broker's certificate was not accepted: {fault}")
            }
            #[cfg(feature = "tls")]
            Self::Tls(error) => write!(f, "tls failed: {error}"),
            Self::HostName => {
                f.write_str("the broker's host is neither a dns name nor an ip address")
            }
            Self::PacketTooLarge { len } => {
                write!(f, "an incoming packet of {len} bytes exceeds the limit")
            }
            Self::TooMuchWaiting => f.write_str(
                "more than 64 MiB of messages wait for the application: poll, and acknowledge",
            ),
            Self::Ended(ending) => write!(f, "the broker ended the connection: {ending}"),
            Self::NotAskedFor => f.write_str(
                "the broker used a topic alias or a subscription identifier without being asked",
            ),
            Self::ManyRefused => {
                f.write_str("the broker refused many messages: the connection is made anew")
            }
            Self::Will(error) => write!(f, "the will could not be sealed: {error}"),
            Self::SessionUsedUp => {
                f.write_str("the session of the will is used up: the connection is made anew")
            }
            Self::OutOfStep => f.write_str(
                "the mqtt client sent something else than it was given: \
                 the connection is made anew",
            ),
            Self::Protocol => f.write_str("the broker broke the rules of mqtt"),
            Self::ReplayLog => {
                f.write_str("the replay log failed: mend it, and start the client anew")
            }
            Self::Peer(fault) => write!(f, "peer authentication failed: {fault}"),
            Self::Reloaded => {
                f.write_str("the will is sealed under another key now: the client connects again")
            }
        }
    }
}

impl Error for LinkError {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProtocolVersion => "it does not speak this version of mqtt",
            Self::ClientId => "it does not allow the client id",
            Self::Unavailable => "it is not available",
            Self::Credentials => "user name or password are wrong",
            Self::NotAuthorized => "the client is not authorized",
            Self::Banned => "the client is banned",
            Self::Limit => "a limit is exceeded",
            Self::Moved => "another broker is to be used",
            Self::Will => "it does not accept the will",
            Self::Other => "it does not say why",
        })
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unavailable => "it is not available",
            Self::TakenOver => "another connection has the same client id",
            Self::KeepAlive => "it heard nothing for too long",
            Self::NotAuthorized => "the client is not authorized",
            Self::Limit => "a limit is exceeded",
            Self::NotSupported => "it does not support what was asked for",
            Self::Moved => "another broker is to be used",
            Self::Protocol => "it takes what was sent for a breach of mqtt",
            Self::Other => "it does not say why",
        })
    }
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownIssuer => "no trusted root stands behind it",
            Self::Expired => "it has expired",
            Self::NotYetValid => "it is not valid yet, or this clock is wrong",
            Self::WrongName => "it was made for another host",
            Self::BadSignature => "its signature is wrong",
            Self::Revoked => "it was revoked",
            Self::Pin => "its key is none of those pinned",
            Self::Other => "it is damaged or not meant for this use",
        })
    }
}

impl From<&io::Error> for LinkError {
    fn from(error: &io::Error) -> Self {
        #[cfg(feature = "tls")]
        if let Some(tls) = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
            return Self::from(tls);
        }
        match error.kind() {
            io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::UnexpectedEof => Self::Closed,
            kind => Self::Io(kind),
        }
    }
}

#[cfg(feature = "tls")]
impl From<&rustls::Error> for LinkError {
    fn from(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(fault) => Self::Certificate(fault.into()),
            other => Self::Tls(other.clone()),
        }
    }
}

#[cfg(feature = "tls")]
impl From<&rustls::CertificateError> for CertificateFault {
    fn from(error: &rustls::CertificateError) -> Self {
        use rustls::CertificateError as E;
        match error {
            E::UnknownIssuer => Self::UnknownIssuer,
            E::Expired | E::ExpiredContext { .. } => Self::Expired,
            E::NotValidYet | E::NotValidYetContext { .. } => Self::NotYetValid,
            E::NotValidForName | E::NotValidForNameContext { .. } => Self::WrongName,
            E::BadSignature => Self::BadSignature,
            E::Revoked => Self::Revoked,
            E::Other(other) if other.0.is::<crate::tls::PinMismatch>() => Self::Pin,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests;
