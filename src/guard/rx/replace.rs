//! Another configuration for a receiving half that is in use. Knows no file.

use alloc::sync::Arc;

use super::{GuardRx, ScopeKeys};
use crate::guard::{Config, Name};

impl GuardRx {
    /// Opens by `config` from now on; the sending half of the same client has to take the same one.
    /// Replay state and counts stay, as do the sessions of keys that still open; what was derived
    /// from all other keys is wiped. The replay log, if there is one, has to be told by
    /// [`GuardRx::take_writes`] how strict the rules are now.
    ///
    /// Ask [`GuardRx::check_step_back`] and [`Policy::step_back`](crate::policy::Policy::step_back)
    /// first: nothing is refused here.
    // SPEC §4, "Generations"
    pub fn replace(&mut self, config: Arc<Config>) {
        self.recent = None;
        self.scopes.retain(|name, keys| keys.goes_on(&config, name));
        self.judge.table.mark(&config.policy);
        self.config = config;
    }
}

impl ScopeKeys {
    /// Takes up the keys that open now, with the sessions of those that did before. Whether there
    /// are any.
    fn goes_on(&mut self, config: &Config, name: Name<'_>) -> bool {
        let mut now = Self::new(config, name);
        for receiving in &mut now.keys {
            let known = self.keys.iter_mut().find(|known| known.key.is(&receiving.key));
            if let Some(known) = known {
                core::mem::swap(&mut receiving.sessions, &mut known.sessions);
            }
        }
        now.failures = self.failures;
        *self = now;
        !self.keys.is_empty()
    }
}
