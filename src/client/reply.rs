//! Where a reply may go. Judges by the policy alone; publishes nothing.

use core::fmt;

use super::event::Message;
use crate::guard::Protection;
use crate::policy::{Link, Links, Payload, Policy, PropertyHandling, Rule, Transport};
use crate::topic::TopicName;

/// Why a message is not replied to. Nothing was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReplyError {
    /// The message names no response topic, or one that is no topic name.
    NoResponseTopic,
    /// The message was sealed, and its response topic was not protected with it: anyone on the
    /// way could have set it.
    NotAuthentic,
    /// No rule of the policy covers the response topic.
    Refused,
    /// The request's rule seals, and that of the response topic does not.
    NotSealed,
    /// The request's rule takes TLS, and that of the response topic allows plain TCP.
    NotTls,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoResponseTopic => "the message names no valid response topic",
            Self::NotAuthentic => {
                "the message is sealed and its response topic is not protected: \
                 use properties = \"carry\" or \"bind\""
            }
            Self::Refused => "no rule of the policy covers the response topic: add one",
            Self::NotSealed => {
                "the request's rule seals and that of the response topic does not: seal both"
            }
            Self::NotTls => {
                "the request's rule takes tls and that of the response topic does not: \
                 use the same transport"
            }
        })
    }
}

impl core::error::Error for ReplyError {}

/// The topic that `request` may be replied to on: never one that is protected less than `request`
/// was, whoever asks for it.
///
/// A rule that seals what is published under it counts as sealing even where it accepts clear
/// requests for a while: else a forged clear request would draw the reply out in clear. A clear
/// request's response topic is not authentic, but neither is anything else of it.
pub(super) fn topic<'a>(
    policy: &Policy,
    links: Links,
    request: &'a Message,
) -> Result<&'a str, ReplyError> {
    let topic = request.properties.response_topic.as_deref().ok_or(ReplyError::NoResponseTopic)?;
    let name = TopicName::parse(topic).map_err(|_| ReplyError::NoResponseTopic)?;
    let asked = request.packet_topic.as_deref().unwrap_or(&request.topic);
    // what was delivered has a rule, unless it is from another client
    let asked = TopicName::parse(asked).ok().and_then(|topic| policy.rule(topic));
    let asked = asked.ok_or(ReplyError::Refused)?;
    let sealed = request.delivery.protection == Protection::Sealed;
    if sealed && asked.properties() == PropertyHandling::Ignore {
        return Err(ReplyError::NotAuthentic);
    }
    let reply = policy.rule(name).ok_or(ReplyError::Refused)?;
    if (sealed || seals(asked)) && !seals(reply) {
        return Err(ReplyError::NotSealed);
    }
    let by_tls = asked.transport() != Transport::Tcp
        && links.publish_link(asked.transport()) == Some(Link::Tls);
    if by_tls && reply.transport() == Transport::Tcp {
        return Err(ReplyError::NotTls);
    }
    Ok(topic)
}

/// Whether what is published under `rule` is sealed.
const fn seals(rule: &Rule) -> bool {
    matches!(rule.payload(), Payload::Sealed | Payload::Mixed { .. })
}

#[cfg(test)]
mod tests;
