//! The topic of the last message and what was found out about it: most messages come on the topic
//! of the one before.

use super::state_key::StateKey;
use crate::policy::{Policy, Rule};
use crate::topic::{OwnedName, TopicError, TopicName};
use crate::wire::header::{KeyId, SessionId};

/// One topic. Everything in it follows from the topic, the policy and the keyring: it is forgotten
/// when these are replaced.
#[derive(Debug, Default)]
pub(super) struct Recent {
    topic: OwnedName,
    /// The place of its rule in the policy; `None` before the first topic.
    rule: Option<usize>,
    memo: Memo,
}

/// What is found out later, and holds as long as the topic does.
#[derive(Debug, Default)]
pub(super) struct Memo {
    /// Where its scope stands in a cache. Only the scope of another topic could take that place.
    pub(super) place: Option<usize>,
    /// The stream or record of the last message.
    state: Option<(KeyId, SessionId, StateKey)>,
}

/// Why there is no rule.
#[derive(Debug, Clone, Copy)]
pub(super) enum NoRule {
    Topic(TopicError),
    Refused,
}

impl Recent {
    /// Turns to `topic`: its rule, its name and what is known of it.
    pub(super) fn turn_to<'a>(
        &'a mut self,
        policy: &'a Policy,
        topic: &str,
    ) -> Result<(&'a Rule, TopicName<'a>, &'a mut Memo), NoRule> {
        if self.rule.is_none() || self.topic.as_str() != topic {
            let name = TopicName::parse(topic).map_err(NoRule::Topic)?;
            let rule = policy.rules().iter().position(|rule| rule.matches(name));
            self.rule = Some(rule.ok_or(NoRule::Refused)?);
            self.topic.set(name);
            self.memo = Memo::default();
        }
        let rule = self.rule.and_then(|rule| policy.rules().get(rule)).ok_or(NoRule::Refused)?;
        let topic = self.topic.get().ok_or(NoRule::Refused)?;
        Ok((rule, topic, &mut self.memo))
    }
}

impl Memo {
    /// The state of the last message, if it was of this sender.
    pub(super) fn state(&self, kid: KeyId, id: SessionId) -> Option<StateKey> {
        self.state.filter(|last| (last.0, last.1) == (kid, id)).map(|(.., state)| state)
    }

    pub(super) const fn set_state(&mut self, kid: KeyId, id: SessionId, state: StateKey) {
        self.state = Some((kid, id, state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn policy() -> Policy {
        let rule = |topic: &str| Rule::sealed([topic]).build().unwrap();
        Policy::new(vec![rule("a/#"), rule("b/#")])
    }

    #[test]
    fn another_topic_knows_nothing_of_the_one_before() {
        let (policy, mut recent) = (policy(), Recent::default());
        let (rule, topic, memo) = recent.turn_to(&policy, "a/1").unwrap();
        assert!(rule.matches(topic));
        memo.place = Some(3);
        assert_eq!(recent.turn_to(&policy, "a/1").unwrap().2.place, Some(3));
        let (rule, topic, memo) = recent.turn_to(&policy, "b/1").unwrap();
        assert!(rule.matches(topic) && topic.as_str() == "b/1");
        assert_eq!(memo.place, None);
    }

    #[test]
    fn a_topic_without_a_rule_is_refused_each_time_and_changes_nothing() {
        let (policy, mut recent) = (policy(), Recent::default());
        for topic in ["", "c", "a/+"] {
            assert!(recent.turn_to(&policy, topic).is_err());
        }
        recent.turn_to(&policy, "a/1").unwrap().2.place = Some(3);
        for _ in 0..2 {
            assert!(matches!(recent.turn_to(&policy, "c"), Err(NoRule::Refused)));
            assert!(matches!(recent.turn_to(&policy, ""), Err(NoRule::Topic(_))));
        }
        assert_eq!(recent.turn_to(&policy, "a/1").unwrap().2.place, Some(3));
    }
}
