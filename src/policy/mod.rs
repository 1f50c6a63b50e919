//! Rules: which protection and which transport a topic has. Knows no keys and no network.
//!
//! The first rule whose filters match a topic decides; without one the topic is refused. A policy
//! is local configuration and never negotiated, so that nobody on the way can weaken it.
//!
//! ```
//! use mqtt_seal::policy::{Policy, Rule, Scope, Transport};
//! use mqtt_seal::topic::TopicName;
//!
//! let policy = Policy::new(vec![
//!     Rule::sealed(["plant/#"]).scope(Scope::Path { depth: 1 }).build()?,
//!     Rule::clear(["public/#"]).transport(Transport::Tcp).build()?,
//! ]);
//! assert!(policy.rule(TopicName::parse("plant/a").unwrap()).is_some());
//! assert!(policy.rule(TopicName::parse("elsewhere").unwrap()).is_none());
//! # Ok::<(), mqtt_seal::policy::RuleError>(())
//! ```

mod explain;
mod ladder;
mod lint;
mod rule;

use alloc::vec::Vec;
use core::fmt;

pub use explain::Explanation;
pub use ladder::StepBack;
pub use lint::Lint;
pub use rule::{
    BareDelete, FirstContact, Own, Payload, PropertyHandling, Replay, Retain, Rule, RuleBuilder,
    RuleError, Scope, TopicBinding, Transport,
};

use crate::topic::{TopicFilter, TopicName};

/// Largest number of levels of a path scope (SPEC §1).
pub const MAX_SCOPE_DEPTH: u8 = 16;
/// How old in milliseconds a message may be that has to be fresh, unless a rule says otherwise
/// (SPEC §7.1).
pub const DEFAULT_MAX_AGE_MS: u64 = 60_000;
/// How far in milliseconds a timestamp may lie ahead of the receiver's clock, unless a rule says
/// otherwise (SPEC §7.1).
pub const DEFAULT_MAX_SKEW_MS: u64 = 5_000;
/// Largest sealed payload in bytes unless a rule says otherwise: 256 KiB (SPEC §8).
pub const DEFAULT_MAX_PACKET: usize = 256 * 1024;

/// One of the two connections that a client may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Link {
    /// Plain TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        })
    }
}

/// Which links a client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Links {
    /// Plain TCP alone.
    Tcp,
    /// TLS alone.
    Tls,
    /// Both.
    Both,
}

impl Links {
    /// Whether there is a TLS link.
    #[must_use]
    pub const fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Both)
    }

    /// The link that a rule's publications take, or `None` if the rule asks for TLS and there is
    /// none.
    #[must_use]
    pub const fn publish_link(self, transport: Transport) -> Option<Link> {
        match (self, transport) {
            (Self::Both, Transport::Tcp) | (Self::Tcp, Transport::Tcp | Transport::Any) => {
                Some(Link::Tcp)
            }
            (Self::Tls | Self::Both, _) => Some(Link::Tls),
            (Self::Tcp, Transport::Tls) => None,
        }
    }

    /// Whether a message under a rule may come in by `link`.
    #[must_use]
    pub const fn accepts(self, transport: Transport, link: Link) -> bool {
        match (link, transport) {
            (Link::Tls, _) | (Link::Tcp, Transport::Tcp) => true,
            (Link::Tcp, Transport::Tls) => false,
            (Link::Tcp, Transport::Any) => !self.has_tls(),
        }
    }
}

/// Why a filter cannot be subscribed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SubscribeError {
    /// No rule has a topic in common with the filter: nothing could be delivered.
    Refused,
    /// A rule within the filter asks for TLS, and the client has no TLS link.
    NeedsTls,
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "no rule of the policy covers any topic of the filter",
            Self::NeedsTls => {
                "the filter covers topics whose rule asks for tls, and there is no tls link"
            }
        })
    }
}

impl core::error::Error for SubscribeError {}

/// An ordered list of rules.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    rules: Vec<Rule>,
}

impl Policy {
    /// A policy of these rules, the first that matches deciding.
    #[must_use]
    pub const fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// The rules in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule for `topic`. `None`: the topic is refused.
    #[must_use]
    pub fn rule(&self, topic: TopicName<'_>) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.matches(topic))
    }

    /// The one link on which `filter` is subscribed: TLS as soon as the filter has a topic in
    /// common with a rule that says `tls` or `any`, plain only if every such rule says `tcp`. A
    /// broker can so be made to send nothing in clear that a rule keeps to TLS.
    ///
    /// # Errors
    /// [`SubscribeError::Refused`], [`SubscribeError::NeedsTls`].
    pub fn subscribe_link(
        &self,
        filter: TopicFilter<'_>,
        links: Links,
    ) -> Result<Link, SubscribeError> {
        let mut link = None;
        for rule in self.rules.iter().filter(|rule| rule.overlaps(filter)) {
            match links.publish_link(rule.transport()) {
                None => return Err(SubscribeError::NeedsTls),
                Some(Link::Tls) => link = Some(Link::Tls),
                Some(Link::Tcp) => link = link.or(Some(Link::Tcp)),
            }
        }
        link.ok_or(SubscribeError::Refused)
    }
}

#[cfg(test)]
mod tests;
