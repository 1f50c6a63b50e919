//! The way from clear to sealed topics, which has one direction. Knows no keys and no clock.

use core::fmt;

use super::{Payload, Policy, Rule};
use crate::topic::TopicFilter;

/// A rule is less strict than one before it was: from `sealed` over `mixed` and `observe` to `clear`,
/// each lets more clear text through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StepBack {
    /// The place of the rule in the new policy, counted from 0.
    pub rule: usize,
}

impl fmt::Display for StepBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.rule.saturating_add(1);
        write!(f, "rule {number} lets clear text through where it was refused: make it as strict")
    }
}

impl core::error::Error for StepBack {}

const fn level(payload: Payload) -> u8 {
    match payload {
        Payload::Clear => 0,
        Payload::Observe { .. } => 1,
        Payload::Mixed { .. } => 2,
        Payload::Sealed => 3,
    }
}

impl Policy {
    /// The place of its rule, each filter and how strict that is, first match first.
    pub(crate) fn ladder(&self) -> impl Iterator<Item = (usize, TopicFilter<'_>, u8)> {
        let rules = self.rules().iter().enumerate();
        let level = |rule: &Rule| level(rule.payload());
        rules.flat_map(move |(at, rule)| rule.topics().map(move |topic| (at, topic, level(rule))))
    }

    /// The first rule that is less strict than `before` was, for some topic that it decides. It is
    /// on the safe side: a rule counts too whose topics only the union of several rules shows to
    /// have been as lenient before.
    #[must_use]
    pub fn step_back(&self, before: &Self) -> Option<StepBack> {
        let lenient = |(at, filter, level)| {
            !is_decided_above(self, at, filter)
                && was_stricter(before, filter, level, |other| is_decided_above(self, at, other))
        };
        self.ladder().find(|rule| lenient(*rule)).map(|(rule, ..)| StepBack { rule })
    }
}

/// Whether a rule before `at` decides all topics of `filter`.
fn is_decided_above(policy: &Policy, at: usize, filter: TopicFilter<'_>) -> bool {
    policy.ladder().take_while(|(other, ..)| *other < at).any(|(_, other, _)| other.covers(filter))
}

/// Whether some topic of `filter` was decided more strictly than by `wanted`, but for those of filters
/// that are still decided elsewhere.
fn was_stricter(
    before: &Policy,
    filter: TopicFilter<'_>,
    wanted: u8,
    elsewhere: impl Fn(TopicFilter<'_>) -> bool,
) -> bool {
    for (_, other, level) in before.ladder() {
        if level > wanted && other.overlaps(filter) && !elsewhere(other) {
            return true;
        }
        // and nothing of it comes to the rules below
        if other.covers(filter) {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &[(&str, &str)]) -> Policy {
        let rule = |(kind, topic): &(&str, &str)| match *kind {
            "clear" => Rule::clear([*topic]),
            "observe" => Rule::observe([*topic], 9),
            "mixed" => Rule::mixed([*topic], 9),
            _ => Rule::sealed([*topic]),
        };
        Policy::new(rules.iter().map(|it| rule(it).build().unwrap()).collect())
    }

    fn step(before: &[(&str, &str)], after: &[(&str, &str)]) -> Option<usize> {
        policy(after).step_back(&policy(before)).map(|back| back.rule)
    }

    #[test]
    fn ladder_goes_up_and_not_down() {
        let levels = ["clear", "observe", "mixed", "sealed"];
        for (from, low) in levels.iter().enumerate() {
            for (to, high) in levels.iter().enumerate() {
                let back = step(&[(low, "a/#")], &[("sealed", "b"), (high, "a/#")]);
                assert_eq!(back, (to < from).then_some(1), "{low} to {high}");
            }
        }
    }

    #[test]
    fn wider_and_narrower_rules_are_steps_back_too() {
        assert_eq!(step(&[("sealed", "a/b")], &[("clear", "#")]), Some(0));
        assert_eq!(step(&[("sealed", "a/#")], &[("clear", "a/b"), ("sealed", "a/#")]), Some(0));
    }

    #[test]
    fn what_was_clear_above_a_sealed_rule_may_stay_so() {
        let both = [("clear", "a/b"), ("sealed", "a/#")];
        assert_eq!(step(&both, &both), None);
        assert_eq!(step(&both, &[both[1], both[0]]), None);
    }

    #[test]
    fn what_was_clear_below_a_sealed_rule_may_stay_so() {
        let both = [("sealed", "a/b"), ("sealed", "c/#"), ("clear", "a/+"), ("clear", "#")];
        assert_eq!(step(&both, &both), None);
        assert_eq!(step(&both, &[both[1], both[0], both[3]]), None);
        // nothing stands above it that decides what was sealed
        assert_eq!(step(&both, &[both[0], both[2], both[3]]), Some(2));
        assert_eq!(step(&both, &[both[3], both[0], both[1]]), Some(0));
    }

    #[test]
    fn topics_without_a_rule_before_or_after_are_no_step_back() {
        assert_eq!(step(&[("sealed", "a")], &[("clear", "b")]), None);
        assert_eq!(step(&[("sealed", "a")], &[]), None);
    }

    #[test]
    fn step_back_says_which_rule() {
        use std::string::ToString;
        let text = "rule 2 lets clear text through where it was refused: make it as strict";
        assert_eq!(StepBack { rule: 1 }.to_string(), text);
    }
}
