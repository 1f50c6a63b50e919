//! Why a link lost its connection, or did not get one. Never caused by the application.

use core::error::Error;
use core::fmt;
use std::io;

use crate::guard::SealError;

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
    /// A probe had no answer in time: its server may be anybody, and is looked for anew.
    Silent,
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
            Self::Silent => {
                "the authority did not answer: see whether it runs, and knows this device and broker"
            }
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

impl LinkError {
    /// Whether the broker refuses clients that do not say who they are.
    pub(in crate::client) const fn wants_login(&self) -> bool {
        matches!(self, Self::Refused(Refusal::Credentials | Refusal::NotAuthorized))
    }

    /// Whether a probe that ends so says something of the server or the authority, which somebody
    /// has to look at: not that the broker is away.
    #[cfg(feature = "proxy")]
    pub(crate) const fn is_refusal(&self) -> bool {
        matches!(self, Self::Peer(_) | Self::Certificate(_) | Self::Tls(_) | Self::Refused(_))
    }
}

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
