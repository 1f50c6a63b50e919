//! Replay windows of all sender sessions and topics, within limits. Knows no keys.

use alloc::{borrow::ToOwned, string::String, vec::Vec};
use core::hash::{Hash, Hasher};

use hashbrown::HashMap;
use siphasher::sip128::{Hasher128, SipHasher13};

use super::lru::Lru;
use crate::keyring::ScopeRef;
use crate::replay::{Rejected, Tombstone, Window};
use crate::session::Authentic;
use crate::topic::TopicName;
use crate::wire::header::{KeyId, SessionId};

/// How much replay state a receiver keeps. The defaults are those of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayLimits {
    /// Windows of one scope, about 170 bytes each: 16,384.
    pub windows: usize,
    /// Windows in all: 65,536.
    pub windows_total: usize,
    /// Tombstones of one scope, about 40 bytes each: 65,536.
    pub ring: usize,
    /// Tombstones in all: 262,144.
    pub ring_total: usize,
}

impl Default for ReplayLimits {
    // SPEC §7.3
    fn default() -> Self {
        Self { windows: 16_384, windows_total: 65_536, ring: 65_536, ring_total: 262_144 }
    }
}

/// A keyed hash of (scope, KID, session ID with its length, topic of the AAD): 128 bits, so that
/// no two state keys that an attacker can choose fall together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct StateKey {
    scope: u64,
    hash: u128,
}

/// All windows of one receiver.
#[derive(Debug)]
pub(super) struct Windows {
    key: [u8; 16],
    limits: ReplayLimits,
    scopes: HashMap<u64, PerScope>,
    live: usize,
    tombstones: usize,
    /// Tombstones that a ring had no room for.
    lost: u64,
    recent: Option<Recent>,
}

/// The state key that was asked for last: most messages come from where the last one came from.
#[derive(Debug)]
struct Recent {
    levels: Option<u8>,
    scope: String,
    kid: KeyId,
    id: SessionId,
    topic: String,
    key: StateKey,
}

#[derive(Debug)]
struct PerScope {
    windows: Lru<u128, Window>,
    /// By the upper half of the hash.
    ring: Lru<u64, Tombstone>,
}

impl Windows {
    pub(super) fn new(key: [u8; 16], limits: ReplayLimits) -> Self {
        Self { key, limits, scopes: HashMap::new(), live: 0, tombstones: 0, lost: 0, recent: None }
    }

    pub(super) fn set_limits(&mut self, limits: ReplayLimits) {
        self.limits = limits;
        let scopes: Vec<u64> = self.scopes.keys().copied().collect();
        for scope in scopes {
            self.shrink(scope);
        }
    }

    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    // SPEC §7, "State is … keyed by"
    pub(super) fn state_key(
        &mut self,
        scope: ScopeRef<'_>,
        kid: KeyId,
        id: SessionId,
        topic: TopicName<'_>,
    ) -> StateKey {
        let (levels, text) = match scope {
            ScopeRef::Path(path) => (Some(path.depth()), path.as_str()),
            ScopeRef::Named(name) => (None, name),
        };
        if let Some(recent) = &self.recent
            && (recent.kid, recent.id, recent.levels) == (kid, id, levels)
            && recent.topic == topic.as_str()
            && recent.scope == text
        {
            return recent.key;
        }
        let key = self.hash(scope, kid, id, topic);
        // the texts keep their buffers
        let (mut scope, mut name) = match self.recent.take() {
            Some(recent) => (recent.scope, recent.topic),
            None => (String::new(), String::new()),
        };
        text.clone_into(&mut scope);
        topic.as_str().clone_into(&mut name);
        self.recent = Some(Recent { levels, scope, kid, id, topic: name, key });
        key
    }

    fn hash(
        &self,
        scope: ScopeRef<'_>,
        kid: KeyId,
        id: SessionId,
        topic: TopicName<'_>,
    ) -> StateKey {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        match scope {
            ScopeRef::Path(path) => {
                hasher.write_u8(0);
                hasher.write_u8(path.depth());
                path.as_str().hash(&mut hasher);
            }
            ScopeRef::Named(name) => {
                hasher.write_u8(1);
                name.hash(&mut hasher);
            }
        }
        let scope = hasher.finish128().h1;
        hasher.write(&kid.to_bytes());
        let (id, len) = id.encode();
        hasher.write_usize(len);
        hasher.write(id.get(..len).unwrap_or(&id));
        topic.as_str().hash(&mut hasher);
        StateKey { scope, hash: hasher.finish128().as_u128() }
    }

    /// Whether `counter` could be accepted under `key`; touches nothing.
    pub(super) fn check(&self, key: StateKey, counter: u32) -> Result<(), Rejected> {
        let Some(scope) = self.scopes.get(&key.scope) else {
            return Ok(());
        };
        match scope.windows.get(&key.hash) {
            Some(window) => window.check(counter),
            None => Ok(()),
        }
    }

    /// Enters an authentic message.
    pub(super) fn accept(&mut self, key: StateKey, message: &Authentic) -> Result<(), Rejected> {
        let scope = self
            .scopes
            .entry(key.scope)
            .or_insert_with(|| PerScope { windows: Lru::new(), ring: Lru::new() });
        // a refused message must not keep its window alive
        if let Some(accepted) = scope.windows.update(&key.hash, |window| window.accept(message)) {
            accepted
        } else {
            let buried = half(key.hash);
            let mut window = match scope.ring.get(&buried) {
                Some(tombstone) => {
                    tombstone.check(message.counter())?;
                    Window::after(*tombstone)
                }
                None => Window::new(),
            };
            window.accept(message)?;
            if scope.ring.remove(&buried).is_some() {
                self.tombstones = self.tombstones.saturating_sub(1);
            }
            scope.windows.insert(key.hash, window);
            self.live = self.live.saturating_add(1);
            self.shrink(key.scope);
            Ok(())
        }
    }

    /// Evicts what exceeds the limits of `scope` and of all.
    // SPEC §7.3
    fn shrink(&mut self, scope: u64) {
        while self.scopes.get(&scope).is_some_and(|s| s.windows.len() > self.limits.windows) {
            self.evict(scope);
        }
        while self.live > self.limits.windows_total
            && let Some(most) = self.largest(|scope| scope.windows.len())
        {
            self.evict(most);
        }
    }

    fn largest(&self, len: impl Fn(&PerScope) -> usize) -> Option<u64> {
        self.scopes.iter().max_by_key(|(_, scope)| len(scope)).map(|(key, _)| *key)
    }

    /// Turns the least recently accepted window of `scope` into a tombstone.
    fn evict(&mut self, scope: u64) {
        let Some(state) = self.scopes.get_mut(&scope) else {
            return;
        };
        let Some((hash, window)) = state.windows.pop_oldest() else {
            return;
        };
        self.live = self.live.saturating_sub(1);
        if state.ring.remove(&half(hash)).is_none() {
            self.tombstones = self.tombstones.saturating_add(1);
        }
        state.ring.insert(half(hash), window.tombstone());
        if state.ring.len() > self.limits.ring {
            self.lose(scope);
        }
        if self.tombstones > self.limits.ring_total
            && let Some(most) = self.largest(|scope| scope.ring.len())
        {
            self.lose(most);
        }
    }

    fn lose(&mut self, scope: u64) {
        let Some(state) = self.scopes.get_mut(&scope) else {
            return;
        };
        if state.ring.pop_oldest().is_some() {
            self.tombstones = self.tombstones.saturating_sub(1);
            self.lost = self.lost.saturating_add(1);
        }
        if state.ring.len() == 0 && state.windows.len() == 0 {
            self.scopes.remove(&scope);
        }
    }
}

/// The half of a hash that tombstones are kept by.
fn half(hash: u128) -> u64 {
    u64::try_from(hash >> 64).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
