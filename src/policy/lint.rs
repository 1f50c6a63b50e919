//! Rules that are legal and yet probably not meant.

use alloc::vec::Vec;
use core::fmt;

use super::{Payload, Policy, Replay, Retain, Rule, Transport};

/// Something in a policy that deserves a second look. Rules are numbered from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Lint {
    /// Everything that the rule matches is decided by an earlier one.
    Unreachable {
        /// The rule that never decides.
        rule: usize,
        /// An earlier one that takes its place.
        by: usize,
    },
    /// A clear and a sealed rule have topics in common, and neither is an exception within the
    /// other: which of the two decides depends on their order.
    Crossing {
        /// The earlier rule.
        rule: usize,
        /// The later one.
        with: usize,
    },
    /// Payloads go in clear over plain TCP.
    ClearOverTcp {
        /// The rule.
        rule: usize,
    },
    /// Values may be retained, but a window may refuse them to a late subscriber.
    RetainUnderWindow {
        /// The rule.
        rule: usize,
    },
    /// A rule for a migration is over.
    MigrationOver {
        /// The rule.
        rule: usize,
    },
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { rule, by } => {
                write!(f, "rule {rule} never decides: rule {by} matches all its topics before it")
            }
            Self::Crossing { rule, with } => write!(
                f,
                "rules {rule} and {with} cross, one clear and one sealed: \
                 some topics match both, and the order decides"
            ),
            Self::ClearOverTcp { rule } => {
                write!(f, "rule {rule} sends payloads in clear over plain tcp: anybody reads them")
            }
            Self::RetainUnderWindow { rule } => write!(
                f,
                "rule {rule} allows retained values under replay = \"window\": \
                 a repeated subscriber may not be given them"
            ),
            Self::MigrationOver { rule } => {
                write!(f, "rule {rule} is for a migration whose end date has passed: seal now")
            }
        }
    }
}

impl Policy {
    /// What deserves a second look; `now` in Unix milliseconds, if there is a clock.
    #[must_use]
    pub fn lint(&self, now: Option<u64>) -> Vec<Lint> {
        let mut lints = Vec::new();
        for (number, rule) in (1..).zip(&self.rules) {
            let earlier = || (1..).zip(&self.rules).take_while(move |(other, _)| *other < number);
            if let Some((by, _)) = earlier().find(|(_, other)| covers(other, rule)) {
                lints.push(Lint::Unreachable { rule: number, by });
            }
            for (other, _) in earlier().filter(|(_, other)| crosses(other, rule)) {
                lints.push(Lint::Crossing { rule: other, with: number });
            }
            lints.extend(single(number, rule, now));
        }
        lints
    }
}

fn single(number: usize, rule: &Rule, now: Option<u64>) -> impl Iterator<Item = Lint> {
    let plain = rule.transport() != Transport::Tls;
    let over = match rule.payload() {
        Payload::Mixed { until } | Payload::Observe { until } => now.is_some_and(|now| now > until),
        Payload::Clear | Payload::Sealed => false,
    };
    let sends_clear = matches!(rule.payload(), Payload::Clear | Payload::Observe { .. });
    let window = rule.replay() == Replay::Window && rule.retain() == Retain::Allow;
    [
        (sends_clear && plain, Lint::ClearOverTcp { rule: number }),
        (window, Lint::RetainUnderWindow { rule: number }),
        (over, Lint::MigrationOver { rule: number }),
    ]
    .into_iter()
    .filter_map(|(found, lint)| found.then_some(lint))
}

/// Whether each filter of `rule` lies within a filter of `other`.
fn covers(other: &Rule, rule: &Rule) -> bool {
    rule.topics().all(|inner| other.topics().any(|outer| outer.covers(inner)))
}

/// Whether a filter of each have topics in common, and neither lies within the other.
fn crosses(earlier: &Rule, later: &Rule) -> bool {
    let sealed = |rule: &Rule| rule.payload() != Payload::Clear;
    sealed(earlier) != sealed(later)
        && earlier
            .topics()
            .any(|a| later.topics().any(|b| a.overlaps(b) && !a.covers(b) && !b.covers(a)))
}
