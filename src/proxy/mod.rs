//! A proxy on the client's own machine: MQTT in clear on the near side, sealed payloads on the far
//! side, for clients that are never compiled again. Knows keys and rules by a guard alone.
//!
//! Every connection of a client becomes one to the broker, and a second one over plain TCP where a
//! rule says `transport = "tcp"` and there is a TLS link. Packets that need no change pass as the
//! bytes that they are.

mod clients;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod keeper;
mod listener;
mod meters;
mod options;
pub mod packet;
mod relay;
mod row;
mod sent;
mod server;
mod session;
mod status;
mod stream;
mod target;
mod vouch;

pub use error::{ProxyError, ProxyReloadError, UnfitRule};
pub use options::{
    DEFAULT_MAX_CONNECTIONS, DEFAULT_MAX_PACKET, DEFAULT_PLAIN_SUFFIX, Listen, ProxyOptions,
};
pub use server::{Proxy, ProxyHandle};

use core::fmt;
use std::string::String;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::guard::Config;
use crate::policy::{Links, StepBack};
use clients::Clients;
use keeper::Keeper;
use meters::{Meters, RuleMeters};
use sent::DigestKey;
use session::Limits;
use vouch::Vouching;

/// Rules and keys in force, and what is counted under them.
#[derive(Debug)]
struct InForce {
    config: Arc<Config>,
    meters: RuleMeters,
    /// Bytes that sealing adds to a packet at most, but for properties.
    growth: u32,
}

impl InForce {
    fn new(config: Config) -> Self {
        let rules = config.policy().rules();
        let growth = rules.iter().map(session::growth).max().unwrap_or_default();
        Self { meters: RuleMeters::new(rules), growth, config: Arc::new(config) }
    }
}

/// How connections are treated.
#[derive(Debug, Clone)]
struct Settings {
    links: Links,
    max_packet: usize,
    plain_suffix: String,
    credentials_in_clear: bool,
    forward_bare_deletes: bool,
    /// How the broker is verified.
    verified_by: &'static str,
    /// The topics of the proxy's own runs of peer authentication, which carry nothing else.
    auth_topics: Option<[String; 2]>,
}

impl Settings {
    // SPEC §9, "matched exactly before policy"
    fn is_auth_topic(&self, topic: &str) -> bool {
        self.auth_topics.iter().flatten().any(|own| own == topic)
    }
}

/// What all connections share.
struct Core {
    settings: Settings,
    in_force: RwLock<Arc<InForce>>,
    clients: Clients,
    keeper: Option<Arc<Keeper>>,
    digest_key: DigestKey,
    meters: Meters,
    /// What is known of the broker's key, where the authority alone verifies it.
    vouching: Option<Arc<Vouching>>,
    /// What the broker at the plain link said last.
    plain_limits: Mutex<Limits>,
}

impl Core {
    fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts other rules and keys in force, for all clients.
    fn replace(&self, config: Config) -> Result<(), StepBack> {
        let before = self.in_force();
        let step_back = config.policy().step_back(before.config.policy());
        step_back.map_or(Ok(()), Err)?;
        let in_force = Arc::new(InForce::new(config));
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&in_force);
        self.clients.replace(&in_force);
        self.meters.reloads.add(1);
        Ok(())
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("settings", &self.settings).finish_non_exhaustive()
    }
}
