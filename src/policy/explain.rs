//! Why a topic is treated as it is.

use alloc::{borrow::ToOwned, string::String};
use core::fmt;

use super::{Link, Links, Payload, Policy, Rule, Scope, TopicBinding};
use crate::topic::TopicName;

/// What a policy says of one topic; [`fmt::Display`] tells it in a few lines.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Explanation {
    /// The topic that was asked about.
    pub topic: String,
    /// The rule that decides and its number, from 1; `None`: the topic is refused.
    pub rule: Option<(usize, Rule)>,
    /// The first filter of that rule that matches.
    pub filter: Option<String>,
    /// The scope of the topic: its first levels, or a name in quotes.
    pub scope: Option<String>,
    /// Where publications go; `None` if nothing can be published.
    pub link: Option<Link>,
    /// Numbers, from 1, of later rules that match too and do not count.
    pub shadowed: alloc::vec::Vec<usize>,
}

impl Policy {
    /// Tells which rule decides over `topic` at a client with these links, and what follows.
    #[must_use]
    pub fn explain(&self, topic: TopicName<'_>, links: Links) -> Explanation {
        let mut matching = (1..).zip(&self.rules).filter(|(_, rule)| rule.matches(topic));
        let rule = matching.next();
        let shadowed = matching.map(|(number, _)| number).collect();
        Explanation {
            topic: topic.as_str().to_owned(),
            filter: rule.and_then(|(_, rule)| {
                let mut filters = rule.topics();
                filters.find(|filter| filter.matches(topic)).map(|f| f.as_str().to_owned())
            }),
            scope: rule
                .filter(|(_, rule)| rule.payload() != Payload::Clear)
                .map(|(_, rule)| scope_text(rule, topic)),
            link: rule.and_then(|(_, rule)| links.publish_link(rule.transport())),
            rule: rule.map(|(number, rule)| (number, rule.clone())),
            shadowed,
        }
    }
}

fn scope_text(rule: &Rule, topic: TopicName<'_>) -> String {
    match (rule.scope(), rule.topic_binding()) {
        (Scope::Named(name), _) => alloc::format!("{name:?}"),
        (Scope::Path { depth }, TopicBinding::Strip(prefix)) => path(topic.strip(prefix), *depth),
        (Scope::Path { depth }, _) => path(topic, *depth),
    }
}

fn path(topic: TopicName<'_>, depth: u8) -> String {
    match topic.path(depth) {
        path if path.depth() == 0 => "the whole realm".to_owned(),
        path => path.as_str().to_owned(),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((number, rule)) = &self.rule else {
            return write!(f, "{}: refused, because no rule matches", self.topic);
        };
        let filter = self.filter.as_deref().unwrap_or_default();
        let payload = match rule.payload() {
            Payload::Sealed => "sealed",
            Payload::Clear => "clear",
            Payload::Mixed { .. } => "mixed",
            Payload::Observe { .. } => "observe",
        };
        writeln!(f, "{}: {payload}, by rule {number} (\"{filter}\")", self.topic)?;
        if let Some(scope) = &self.scope {
            writeln!(f, "  scope: {scope}, suite: {}", rule.suite())?;
        }
        match self.link {
            Some(link) => write!(f, "  published over: {link}")?,
            None => write!(f, "  published over: nothing, there is no tls link")?,
        }
        for number in &self.shadowed {
            write!(f, "\n  rule {number} matches too, but comes later")?;
        }
        Ok(())
    }
}
