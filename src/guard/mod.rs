//! A whole client's protection, synchronous and without I/O: what goes out through [`GuardTx`],
//! what comes in through [`GuardRx`]. Knows no MQTT client; the caller brings bytes and time.
//!
//! ```
//! use mqtt_seal::guard::{Guard, Incoming, Outgoing};
//! use mqtt_seal::keyring::{Grant, Keyring};
//! use mqtt_seal::policy::{Link, Links, Policy, Rule};
//! use mqtt_seal::secret::SharedKey;
//!
//! let guard = || {
//!     let policy = Policy::new(vec![Rule::sealed(["sensor/#"]).build()?]);
//!     let shared = SharedKey::take(&mut [7; 32]); // 32 random bytes, from your provisioning
//!     let keyring = Keyring::new(vec![Grant::shared(&shared, "acme-prod")?]);
//!     Ok::<_, Box<dyn std::error::Error>>(Guard::new(policy, keyring, Links::Tcp)?)
//! };
//! let (mut tx, _) = guard()?.split();
//! let (_, mut rx) = guard()?.split();
//!
//! tx.connected("sensor-7"); // at every MQTT connection
//! let mut sealed = Vec::new();
//! tx.seal(&Outgoing::new("sensor/temp", b"27"), &mut sealed)?;
//!
//! let mut payload = Vec::new();
//! rx.open(&Incoming::new("sensor/temp", &sealed, Link::Tcp), &mut payload)?;
//! assert_eq!(payload, b"27");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod aad;
mod contents;
mod counts;
mod event;
mod incoming;
mod judge;
mod leases;
mod log;
mod lru;
mod marks;
mod outgoing;
mod own;
mod recent;
mod restore;
mod rows;
mod rx;
mod scopes;
mod shelf;
mod state_key;
mod table;
mod tx;
mod with_log;

use alloc::{boxed::Box, sync::Arc};
use core::fmt;

pub use counts::Counts;
pub use event::GuardEvent;
pub use incoming::{Claim, Delivery, Incoming, OpenError, Opened, Protection, Receipt};
pub use log::{LogError, MemoryLog, Prefer, ROW_KEY_LEN, ReplayLog, RestoreError, RowKey, Write};
pub use outgoing::{Outgoing, Plan, SealError, Sealed};
pub use rx::GuardRx;
pub use table::ReplayLimits;
pub use tx::{GuardTx, RenewError};
pub use with_log::OpenWithLogError;

use scopes::Name;

use crate::keyring::{Keyring, ScopeRef};
use crate::policy::{Links, Policy, PropertyHandling, Rule, Scope, TopicBinding};
use crate::session::{Entropy, NoEntropy};
use crate::topic::TopicName;
use crate::wire::property::Property;

/// MQTT's quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum QoS {
    /// 0: sent once, perhaps lost.
    #[default]
    AtMostOnce,
    /// 1: repeated until acknowledged.
    AtLeastOnce,
    /// 2: delivered once between neighbours.
    ExactlyOnce,
}

/// Which of the five properties that belong to a payload stand on the packet and count there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outer {
    All,
    AllButFormat,
    None,
}

impl Outer {
    // SPEC §5, properties
    const fn of(handling: PropertyHandling) -> Self {
        match handling {
            PropertyHandling::Carry => Self::None,
            PropertyHandling::Bind | PropertyHandling::Ignore => Self::AllButFormat,
        }
    }

    const fn has(self, property: &Property<'_>) -> bool {
        match self {
            Self::All => true,
            Self::AllButFormat => !matches!(property, Property::PayloadFormat(_)),
            Self::None => false,
        }
    }
}

/// Both halves of a client's protection.
#[derive(Debug)]
pub struct Guard {
    tx: GuardTx,
    rx: GuardRx,
}

/// What both halves of a guard agree on: policy, keys and links. Many guards may share one.
#[derive(Debug)]
pub struct Config {
    policy: Policy,
    keyring: Keyring,
    links: Links,
}

impl Config {
    /// These rules and keys, for a client with these links.
    #[must_use]
    pub const fn new(policy: Policy, keyring: Keyring, links: Links) -> Self {
        Self { policy, keyring, links }
    }

    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The links that are decided for.
    #[must_use]
    pub const fn links(&self) -> Links {
        self.links
    }

    /// The keys.
    #[cfg(feature = "rumqttc")]
    pub(crate) const fn keyring(&self) -> &Keyring {
        &self.keyring
    }
}

impl Guard {
    /// A guard for a client with these links, with randomness of the operating system.
    ///
    /// # Errors
    /// [`NoEntropy`] if the operating system has none.
    #[cfg(feature = "std")]
    pub fn new(policy: Policy, keyring: Keyring, links: Links) -> Result<Self, NoEntropy> {
        Self::with_entropy(policy, keyring, links, Box::new(getrandom::SysRng))
    }

    /// A guard for a client with these links, with randomness from `entropy`.
    ///
    /// # Errors
    /// [`NoEntropy`] if `entropy` fails.
    pub fn with_entropy(
        policy: Policy,
        keyring: Keyring,
        links: Links,
        entropy: Box<dyn Entropy + Send>,
    ) -> Result<Self, NoEntropy> {
        Self::from_config(Arc::new(Config::new(policy, keyring, links)), entropy)
    }

    /// A guard that shares `config` with others, each for a client of its own: with replay state
    /// and sessions of its own, and randomness from `entropy`.
    ///
    /// # Errors
    /// [`NoEntropy`] if `entropy` fails.
    pub fn from_config(
        config: Arc<Config>,
        mut entropy: Box<dyn Entropy + Send>,
    ) -> Result<Self, NoEntropy> {
        let mut random = [0; 32];
        entropy.fill(&mut random)?;
        let (announce, own) = own::ring();
        Ok(Self {
            rx: GuardRx::new(Arc::clone(&config), own, &random),
            tx: GuardTx::new(config, announce, entropy),
        })
    }

    /// Keeps replay state within these limits, in place of those of the format.
    #[must_use]
    pub fn with_replay_limits(mut self, limits: ReplayLimits) -> Self {
        self.rx.set_replay_limits(limits);
        self
    }

    /// Takes up a log also where a rule is less strict than one with the same filter was: see
    /// [`GuardRx::danger_allow_step_back`].
    #[must_use]
    pub const fn danger_allow_step_back(mut self) -> Self {
        self.rx.danger_allow_step_back();
        self
    }

    /// Takes up what `log` holds, of an earlier run of this client. From now on
    /// [`GuardRx::open`] asks for writes to the log, before what it delivers. Set the limits first.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn with_replay_log<L: ReplayLog + ?Sized>(
        mut self,
        log: &mut L,
        prefer: Prefer,
    ) -> Result<Self, LogError<L::Error>> {
        let rows = log.rows().map_err(LogError::Log)?;
        let writes = self.rx.restore(rows, prefer).map_err(LogError::Restore)?;
        log.write(&writes).map_err(LogError::Log)?;
        Ok(self)
    }

    /// The two halves, each for the task that needs it.
    #[must_use]
    pub fn split(self) -> (GuardTx, GuardRx) {
        (self.tx, self.rx)
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        self.tx.config().policy()
    }

    /// The links that the guard decides for.
    #[must_use]
    pub fn links(&self) -> Links {
        self.tx.config().links()
    }
}

/// The topic as `rule` authenticates it; `None` under `carried`.
// SPEC §5, topic_binding
fn bound_topic<'a>(rule: &Rule, topic: TopicName<'a>) -> Option<TopicName<'a>> {
    match rule.topic_binding() {
        TopicBinding::Full => Some(topic),
        TopicBinding::Strip(prefix) => Some(topic.strip(prefix)),
        TopicBinding::Carried => None,
    }
}

/// The scope of a message on `topic` under `rule`. Paths are cut from the topic after stripping.
fn scope_of<'a>(rule: &'a Rule, topic: TopicName<'a>) -> ScopeRef<'a> {
    match rule.scope() {
        Scope::Named(name) => ScopeRef::Named(name),
        Scope::Path { depth } => {
            ScopeRef::Path(bound_topic(rule, topic).unwrap_or(topic).path(*depth))
        }
    }
}

impl fmt::Display for QoS {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtMostOnce => "0",
            Self::AtLeastOnce => "1",
            Self::ExactlyOnce => "2",
        })
    }
}

#[cfg(test)]
mod tests;
