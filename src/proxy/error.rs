//! Why a proxy does not start, or takes up no other rules and keys.

use core::error::Error;
use core::fmt;
use std::io;
use std::string::String;

use super::Listen;
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
    /// No certificate can be for a host of this name.
    ServerName {
        /// The name.
        host: String,
    },
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
                write!(f, "rule {rule} asks for compact form, which a proxy does not seal in")
            }
        }
    }
}

impl Error for UnfitRule {}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoListener => f.write_str("nothing is listened on: name an address"),
            Self::NoBroker => f.write_str("no broker is named"),
            Self::NotLoopback { listen } => write!(
                f,
                "{listen} can be reached from other machines, and what comes there is in clear: \
                 use 127.0.0.1, [::1] or a Unix socket"
            ),
            Self::ServerName { host } => write!(f, "no certificate can be for a host '{host}'"),
            Self::Rule(error) => error.fmt(f),
            Self::EmptySuffix => {
                f.write_str("the plain link needs a client ID of its own: name a suffix")
            }
            Self::Store(error) => error.fmt(f),
            Self::Thread(error) => write!(f, "no thread: {}", error.kind()),
            Self::NoEntropy(error) => error.fmt(f),
            Self::Listen { listen, error } => {
                write!(f, "{listen} cannot be listened on: {}", error.kind())
            }
        }
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
