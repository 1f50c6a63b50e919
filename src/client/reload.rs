//! Other rules and keys for a running client: checked as a whole, then in force at once. Knows no
//! file.

use core::error::Error;
use core::fmt;
use std::sync::Arc;

use super::error::ConfigError;
use super::event::Event;
use super::handle::{AsyncClient, Shared};
use super::options::check_will;
use crate::guard::{Config, Guard, GuardTx};
use crate::keyring::Keyring;
use crate::policy::{Link, Policy, StepBack, SubscribeError};
use crate::session::NoEntropy;
use crate::topic::TopicFilter;

/// Why other rules and keys are not taken up. Those before stay in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReloadError {
    /// A rule lets clear text through where a rule before was stricter.
    StepBack(StepBack),
    /// A rule needs a link that the client was not started with.
    NeedsLink {
        /// The link.
        link: Link,
    },
    /// A rule allows larger packets than the client was started for.
    PacketLimit {
        /// Bytes of the largest packet under the new policy.
        len: usize,
        /// The limit that the client was started with.
        max: usize,
    },
    /// A filter that is subscribed may not be any more.
    Subscription(SubscribeError),
    /// A filter that is subscribed would have to be on the other link.
    SubscriptionMoves {
        /// The link that it is subscribed on.
        link: Link,
    },
    /// A will is not possible any more.
    Will(ConfigError),
    /// The random generator failed.
    NoEntropy(NoEntropy),
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StepBack(error) => error.fmt(f),
            Self::NeedsLink { link } => {
                write!(
                    f,
                    "a rule needs the {link} link, which is not running: start the client anew"
                )
            }
            Self::PacketLimit { len, max } => write!(
                f,
                "a rule allows packets of {len} bytes, and the client was started for {max}: \
                 start it anew"
            ),
            Self::Subscription(error) => write!(f, "a filter that is subscribed: {error}"),
            Self::SubscriptionMoves { link } => write!(
                f,
                "a filter on the {link} link would have to move to the other: unsubscribe it first"
            ),
            Self::Will(error) => error.fmt(f),
            Self::NoEntropy(error) => error.fmt(f),
        }
    }
}

impl Error for ReloadError {}

impl<V> AsyncClient<V> {
    /// Puts other rules and keys in force, for both directions and all links at once, and tells
    /// [`Event::Reloaded`]; or leaves everything as it is.
    ///
    /// Messages that wait are sealed by the new rules, those that were sealed before stay as they
    /// are. Replay state and counters go on. Where a will was sealed under another key than it
    /// would be now, its link takes leave of the broker and connects anew
    /// ([`LinkError::Reloaded`](super::LinkError::Reloaded)). Each retained value that this
    /// client published since its start under a key that does not seal any more has to be published
    /// again before that key is erased: the client does so by itself, where
    /// [`republish_retained`](super::ClientOptions::republish_retained) says so, or tells
    /// [`Event::RetainedUnderOldKey`], for 4,096 topics of a link.
    ///
    /// Keys that came by [key updates](super::KeyUpdates) stay beside those of `keyring`.
    ///
    /// Files of both are read by `store::read_files`; `watch_files` does all of it when they change.
    ///
    /// # Errors
    /// [`ReloadError`] with the first that holds, in the order of its variants.
    // SPEC §4, "Generations"
    pub fn reload(&self, policy: Policy, keyring: Keyring) -> Result<(), ReloadError> {
        self.shared().reload(policy, keyring)
    }

    /// As [`AsyncClient::reload`], also where that lets clear text through which was refused before:
    /// whoever can publish to the broker can then pass it off as genuine.
    ///
    /// # Errors
    /// As [`AsyncClient::reload`], but for [`ReloadError::StepBack`].
    pub fn danger_reload_with_step_back(
        &self,
        policy: Policy,
        keyring: Keyring,
    ) -> Result<(), ReloadError> {
        self.shared().replace(policy, keyring)
    }
}

impl Shared {
    /// Refuses what is less strict.
    pub(super) fn reload(&self, policy: Policy, keyring: Keyring) -> Result<(), ReloadError> {
        let step_back = self.policy(|before| policy.step_back(before));
        step_back.map_or(Ok(()), Err).map_err(ReloadError::StepBack)?;
        let seen = self.guards.rx().guard.check_step_back(&policy);
        seen.map_err(ReloadError::StepBack)?;
        self.replace(policy, keyring)
    }

    fn replace(&self, policy: Policy, keyring: Keyring) -> Result<(), ReloadError> {
        if let Some(task) = &self.updates {
            task.updates.rebase(policy, keyring, |config| self.check(config))?;
        } else {
            let config = Arc::new(Config::new(policy, keyring, self.links));
            self.check(&config)?;
            self.guards.replace(&config);
        }
        let _ = self.inbox.push(Event::Reloaded);
        Ok(())
    }

    /// Whether the links as they run can work with `config`.
    fn check(&self, config: &Arc<Config>) -> Result<(), ReloadError> {
        let policy = config.policy();
        let mut wanted =
            policy.rules().iter().map(|rule| self.links.publish_link(rule.transport()));
        if let Some(link) = wanted.find_map(|link| link.filter(|link| self.lane(*link).is_none())) {
            return Err(ReloadError::NeedsLink { link });
        }
        let (len, max) = (self.settings.packet_limits(policy).1, self.max_packet);
        if len > max {
            return Err(ReloadError::PacketLimit { len, max });
        }
        self.check_filters(policy)?;
        self.check_wills(config)
    }

    fn check_filters(&self, policy: &Policy) -> Result<(), ReloadError> {
        for (filter, link) in self.filters().iter() {
            let Ok(filter) = TopicFilter::parse(filter) else { continue };
            let now = policy.subscribe_link(filter, self.links);
            if now.map_err(ReloadError::Subscription)? != *link {
                return Err(ReloadError::SubscriptionMoves { link: *link });
            }
        }
        Ok(())
    }

    fn check_wills(&self, config: &Arc<Config>) -> Result<(), ReloadError> {
        let candidate = || -> Result<GuardTx, NoEntropy> {
            let entropy = std::boxed::Box::new(getrandom::SysRng);
            Guard::from_config(Arc::clone(config), entropy).map(|guard| guard.split().0)
        };
        for (link, will) in &self.wills {
            let guard = candidate().map_err(ReloadError::NoEntropy)?;
            let updates = self.updates.as_ref().map(|task| task.updates.topics());
            check_will(will, &guard, *link, updates).map_err(ReloadError::Will)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
