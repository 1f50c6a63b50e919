//! The pairwise channel that a run sets up. Knows no message.

use alloc::{format, string::String, vec, vec::Vec};
use core::fmt;

use super::RUN_MS;
use crate::keyring::{Grant, Keyring, MAX_LIVE_KEYS, State};
use crate::schedule;
use crate::secret::{RootKey, SharedKey};
use crate::suite::Suite;
use crate::topic::PathScope;

/// The suite of the channel (SPEC §9).
const SUITE: Suite = Suite::ChaCha20Poly1305;

/// SSK: the fresh key of one run, for one device. Only a run makes one.
///
/// Under a group key every member that saw the run knows it too.
pub struct PeerSession {
    device: String,
    key: SharedKey,
}

impl PeerSession {
    pub(super) fn new(device: &str, key: SharedKey) -> Self {
        Self { device: device.into(), key }
    }

    /// The realm of the channel, `$peer/` and the device's id.
    #[must_use]
    pub fn realm(&self) -> String {
        format!("$peer/{}", self.device)
    }

    /// The key alone, for whoever builds a channel of their own.
    #[must_use]
    pub fn into_key(self) -> SharedKey {
        self.key
    }

    fn root(&self) -> Option<RootKey> {
        // 6 bytes and an id of at most 58 are a realm
        schedule::root(&self.key, &self.realm()).ok()
    }
}

impl fmt::Debug for PeerSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerSession({}, ..)", self.device)
    }
}

/// The keys of the channel between a device and its authority: a new run replaces them, and the
/// ones before open for 30 seconds more.
#[derive(Debug, Default)]
pub struct Channel {
    current: Option<RootKey>,
    /// Oldest first; no more than a scope has keys for.
    replaced: Vec<Replaced>,
    generation: u32,
}

#[derive(Debug)]
struct Replaced {
    key: RootKey,
    at: u64,
}

impl Channel {
    /// A channel that no run has set up yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Seals under `session` from now on. `now` is any clock in milliseconds that never goes back.
    // SPEC §9, "a new SSK replaces the old one"
    pub fn install(&mut self, session: &PeerSession, now: u64) {
        let Some(root) = session.root() else { return };
        self.replaced.extend(self.current.replace(root).map(|key| Replaced { key, at: now }));
        let surplus = self.replaced.len().saturating_add(1).saturating_sub(MAX_LIVE_KEYS);
        self.replaced.drain(..surplus);
        self.generation = self.generation.saturating_add(1);
    }

    /// When the keyring has to be made again, on the clock of [`Channel::install`]: from this
    /// millisecond on the replaced key must not open any more.
    #[must_use]
    pub fn expires(&self) -> Option<u64> {
        self.replaced.first().map(|old| old.at.saturating_add(RUN_MS).saturating_add(1))
    }

    /// Forgets the replaced key once its time is over. Whether it did: make the keyring again.
    pub fn expire(&mut self, now: u64) -> bool {
        let before = self.replaced.len();
        self.replaced.retain(|old| now.saturating_sub(old.at) <= RUN_MS);
        self.replaced.len() < before
    }

    /// The keys for a Guard: one path scope of depth 0 under the first suite, active and, for 30
    /// seconds, retiring. They open nothing but the channel, whatever a policy says.
    // SPEC §9, "path scope of depth 0"
    #[must_use]
    pub fn keyring(&self) -> Keyring {
        let grant = |root: &RootKey| {
            let root = RootKey::take(&mut zeroize::Zeroizing::new(*root.expose()));
            let scope = crate::keyring::ScopeRef::Path(PathScope::REALM);
            Grant::root(root).narrow_to_scope(scope, SUITE)
        };
        let mut grants: Vec<Grant> = vec![];
        for old in self.replaced.iter().filter_map(|old| grant(&old.key)) {
            let generation = self.generation.saturating_sub(1);
            let state = State::Retiring { not_after: None };
            grants.push(old.with_generation(generation).with_state(state));
        }
        let current = self.current.as_ref().and_then(grant);
        grants.extend(current.map(|grant| grant.with_generation(self.generation)));
        Keyring::new(grants)
    }
}
