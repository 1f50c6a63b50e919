//! Why a proxy does not start, or takes up no other rules and keys.

use core::error::Error;
use core::fmt;
use core::net::SocketAddr;
use std::io;
use std::string::String;

use super::Listen;
use crate::client::ConfigError;
use crate::policy::StepBack;
use crate::session::NoEntropy;
use crate::store::outbox_file::OutboxFileError;

/// Why a proxy does not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProxyError {
    /// No listener is named.
    NoListener,
    /// No broker is named.
    NoBroker,
    /// A listener that other machines reach.
    NotLoopback {
        /// The listener.
        listen: Listen,
    },
    /// The status page would be at an address that other machines reach.
    StatusNotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// No certificate can be for a host of this name.
    ServerName {
        /// The name.
        host: String,
    },
    /// The broker is to be verified by its authority, and there is no peer authentication to ask it.
    PeerAuthNeeded,
    /// Peer authentication is required, and the broker is not by TLS, or verified by something else.
    PeerNotAlone,
    /// A name or a topic of peer authentication is none.
    Peer(ConfigError),
    /// A rule says what a proxy cannot do.
    Rule(UnfitRule),
    /// The plain link would have the client ID of the main one: the broker ends one of the two.
    EmptySuffix,
    /// The store cannot be used.
    Store(OutboxFileError),
    /// A thread cannot be started.
    Thread(io::Error),
    /// The random generator failed.
    NoEntropy(NoEntropy),
    /// A listener cannot be opened.
    Listen {
        /// Where.
        listen: Listen,
        /// What the operating system says.
        error: io::Error,
    },
}

/// A rule says what a proxy cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UnfitRule {
    /// It asks for TLS, and there is no broker by TLS.
    NeedsTls {
        /// The number of the rule, from 1.
        rule: usize,
    },
    /// It asks for compact form, whose counters a proxy does not keep.
    CompactForm {
        /// The number of the rule, from 1.
        rule: usize,
    },
}

/// Why other rules and keys are not taken up. Those before stay in force.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyReloadError {
    /// A rule lets clear text through where a rule before was stricter.
    StepBack(StepBack),
    /// A rule says what a proxy cannot do.
    Rule(UnfitRule),
}

impl fmt::Display for UnfitRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeedsTls { rule } => {
                write!(f, "rule {rule} asks for tls, and there is no broker by tls: name one")
            }
            Self::CompactForm { rule } => {
                write!(
                    f,
                    "rule {rule} asks for compact form, which a proxy does not seal in: leave it out"
                )
            }
        }
    }
}

impl Error for UnfitRule {}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoListener => f.write_str("nothing is listened on: name an address"),
            Self::NoBroker => f.write_str("no broker is named: name one, by tls or by plain tcp"),
            Self::NotLoopback { listen } => write!(
                f,
                "{listen} can be reached from other machines, and what comes there is in clear: \
                 use 127.0.0.1, [::1] or a Unix socket"
            ),
            Self::StatusNotLoopback { address } => write!(
                f,
                "{address} can be reached from other machines, and the status page is for this one: \
                 use 127.0.0.1 or [::1]"
            ),
            Self::ServerName { host } => {
                write!(
                    f,
                    "no certificate can be for a host '{host}': name the one in the certificate"
                )
            }
            Self::PeerAuthNeeded => f.write_str(
                "nothing verifies the broker by tls: add require_peer_auth, or a root or pin",
            ),
            Self::PeerNotAlone => f.write_str(
                "the authority verifies a broker by tls, alone: name one, without a root or pin",
            ),
            Self::Peer(error) => error.fmt(f),
            Self::Rule(error) => error.fmt(f),
            Self::EmptySuffix => {
                f.write_str("the plain link needs a client ID of its own: name a suffix")
            }
            Self::Store(error) => error.fmt(f),
            Self::Thread(error) => {
                let kind = error.kind();
                write!(f, "a thread cannot be started, {kind}: free some resources")
            }
            Self::NoEntropy(error) => error.fmt(f),
            Self::Listen { listen, error } => {
                let (kind, remedy) = (error.kind(), remedy(error.kind()));
                write!(f, "{listen} cannot be listened on, {kind}: {remedy}")
            }
        }
    }
}

/// What to do where a listener cannot be opened.
const fn remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied => "name a port above 1023, or a folder of one's own",
        io::ErrorKind::NotFound => "make the socket's folder first",
        io::ErrorKind::AlreadyExists => "something else has this name: remove it, or name another",
        io::ErrorKind::AddrNotAvailable => "name an address of this machine",
        _ => "name another address, or end what has it",
    }
}

impl Error for ProxyError {}

impl fmt::Display for ProxyReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StepBack(error) => error.fmt(f),
            Self::Rule(error) => error.fmt(f),
        }
    }
}

impl Error for ProxyReloadError {}

impl From<NoEntropy> for ProxyError {
    fn from(error: NoEntropy) -> Self {
        Self::NoEntropy(error)
    }
}

impl From<OutboxFileError> for ProxyError {
    fn from(error: OutboxFileError) -> Self {
        Self::Store(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn errors_of_a_start_say_what_to_do() {
        let anywhere = SocketAddr::from(([0, 0, 0, 0], 1883));
        let needs = UnfitRule::NeedsTls { rule: 2 };
        let errors = [
            (ProxyError::NoListener, "nothing is listened on: name an address"),
            (ProxyError::NoBroker, "no broker is named: name one, by tls or by plain tcp"),
            (
                ProxyError::NotLoopback { listen: Listen::Tcp(anywhere) },
                "0.0.0.0:1883 can be reached from other machines, and what comes there is in clear: \
                 use 127.0.0.1, [::1] or a Unix socket",
            ),
            (
                ProxyError::StatusNotLoopback { address: anywhere },
                "0.0.0.0:1883 can be reached from other machines, and the status page is for this \
                 one: use 127.0.0.1 or [::1]",
            ),
            (
                ProxyError::ServerName { host: "a b".into() },
                "no certificate can be for a host 'a b': name the one in the certificate",
            ),
            (
                ProxyError::PeerAuthNeeded,
                "nothing verifies the broker by tls: add require_peer_auth, or a root or pin",
            ),
            (
                ProxyError::PeerNotAlone,
                "the authority verifies a broker by tls, alone: name one, without a root or pin",
            ),
            (
                ProxyError::Rule(needs),
                "rule 2 asks for tls, and there is no broker by tls: name one",
            ),
            (
                ProxyError::Rule(UnfitRule::CompactForm { rule: 3 }),
                "rule 3 asks for compact form, which a proxy does not seal in: leave it out",
            ),
            (ProxyError::EmptySuffix, "the plain link needs a client ID of its own: name a suffix"),
            (
                ProxyError::Thread(io::ErrorKind::OutOfMemory.into()),
                "a thread cannot be started, out of memory: free some resources",
            ),
            (
                ProxyError::Listen {
                    listen: Listen::Tcp(anywhere),
                    error: io::ErrorKind::AddrInUse.into(),
                },
                "0.0.0.0:1883 cannot be listened on, address in use: \
                 name another address, or end what has it",
            ),
        ];
        for (error, text) in errors {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn an_error_of_a_reload_is_that_of_its_cause() {
        let needs = UnfitRule::NeedsTls { rule: 1 };
        let error = ProxyReloadError::Rule(needs);
        assert_eq!(error.to_string(), needs.to_string());
    }
}
