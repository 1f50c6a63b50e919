//! How strict each rule was so far, over restarts: less strict it becomes only on purpose.

use super::rows::{self, Row};
use super::table::ReplayTable;
use crate::policy::{Policy, StepBack};

impl ReplayTable {
    /// Whether a rule of `policy` is less strict than one with the same filter was.
    pub(super) fn check_marks(&self, policy: &Policy) -> Result<(), StepBack> {
        let mark = |filter| self.marks.get(&self.keys.filter(filter)).copied().unwrap_or(0);
        let step_back = policy.ladder().find(|(_, filter, level)| mark(*filter) > *level);
        step_back.map_or(Ok(()), |(rule, ..)| Err(StepBack { rule }))
    }

    /// Notes how strict the rules are, in the log if there is one.
    pub(super) fn mark(&mut self, policy: &Policy) {
        let Some(journal) = &mut self.journal else { return };
        for (_, filter, level) in policy.ladder() {
            let hash = self.keys.filter(filter);
            if self.marks.insert(hash, level) != Some(level) {
                journal.put(rows::mark_key(hash), &Row::Mark(level));
            }
        }
    }
}
