//! The keys that this client was granted, and what each of them opens. Knows no files.

mod narrow;

use alloc::{string::String, vec::Vec};
use core::fmt;

use crate::schedule::{self, RealmError};
use crate::secret::{NodeKey, RootKey, ScopeKey, SharedKey};
use crate::suite::Suite;
use crate::topic::PathScope;
use crate::wire::header::{KeyId, SenderNumber};

pub(crate) use narrow::Parts;
use narrow::{same_node, same_scope};

/// Most live keys of one scope (SPEC §4, "Lookup").
pub const MAX_LIVE_KEYS: usize = 8;

/// A scope of a message, as its rule and topic say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScopeRef<'a> {
    /// The first levels of a topic.
    Path(PathScope<'a>),
    /// A label of the policy.
    Named(&'a str),
}

/// What a grant covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Covers<'a> {
    /// Every scope of the realm.
    Realm,
    /// Every path scope at or below this path.
    Node(PathScope<'a>),
    /// This scope alone.
    Scope(ScopeRef<'a>),
}

/// What a generation of keys may do. Everybody can open a generation before anybody seals with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum State {
    /// It opens only, until everybody has it.
    Pending,
    /// It seals and opens; one generation of a scope does.
    #[default]
    Active,
    /// It opens only.
    Retiring {
        /// The last second at which it opens, in Unix seconds; `None` until it is erased.
        not_after: Option<u64>,
    },
}

impl State {
    /// Whether a key in this state opens at `now`, in Unix milliseconds. Without a clock a
    /// retiring key opens until it is erased.
    const fn opens(self, now: Option<u64>) -> bool {
        match (self, now) {
            (Self::Retiring { not_after: Some(not_after) }, Some(now)) => now / 1_000 <= not_after,
            _ => true,
        }
    }
}

/// Two live keys of one scope have the same KID, which happens once in 2^32 pairs. The newer one
/// neither opens nor seals in that scope: draw another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct KeyCollision {
    /// The KID of both.
    pub kid: KeyId,
}

impl fmt::Display for KeyCollision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "two keys of one scope have the key ID {}: draw another generation", self.kid)
    }
}

impl core::error::Error for KeyCollision {}

/// One key and what it is for.
///
/// A root key opens every scope of its realm, a node key every path scope at or below its path, a
/// scope key one scope under one suite. Give a device no more than it must have.
#[derive(Debug)]
pub struct Grant {
    material: Material,
    suite: Option<Suite>,
    generation: u32,
    state: State,
    sender: Option<SenderNumber>,
}

#[derive(Debug)]
enum Material {
    Root(RootKey),
    Node { path: OwnedPath, key: NodeKey },
    Path { path: OwnedPath, key: ScopeKey },
    Named { name: String, key: ScopeKey },
}

#[derive(Debug)]
struct OwnedPath {
    text: String,
    levels: u8,
}

impl OwnedPath {
    fn new(path: PathScope<'_>) -> Self {
        Self { text: path.as_str().into(), levels: path.depth() }
    }

    fn get(&self) -> Option<PathScope<'_>> {
        PathScope::from_parts(&self.text, self.levels)
    }

    fn scope(&self) -> PathScope<'_> {
        // what was a path scope is one again
        self.get().unwrap_or(PathScope::REALM)
    }
}

impl Grant {
    const fn new(material: Material, suite: Option<Suite>) -> Self {
        Self { material, suite, generation: 1, state: State::Active, sender: None }
    }

    /// The root key of `realm` under a shared key.
    ///
    /// # Errors
    /// [`RealmError`] if `realm` has more than 64 bytes or contains U+0000.
    pub fn shared(key: &SharedKey, realm: &str) -> Result<Self, RealmError> {
        schedule::root(key, realm).map(Self::root)
    }

    /// A root key.
    #[must_use]
    pub const fn root(key: RootKey) -> Self {
        Self::new(Material::Root(key), None)
    }

    /// The key of the node at `path`.
    #[must_use]
    pub fn node(path: PathScope<'_>, key: NodeKey) -> Self {
        Self::new(Material::Node { path: OwnedPath::new(path), key }, None)
    }

    /// The key of one scope under one suite.
    #[must_use]
    pub fn scope(scope: ScopeRef<'_>, suite: Suite, key: ScopeKey) -> Self {
        let material = match scope {
            ScopeRef::Path(path) => Material::Path { path: OwnedPath::new(path), key },
            ScopeRef::Named(name) => Material::Named { name: name.into(), key },
        };
        Self::new(material, Some(suite))
    }

    /// Keeps a root or node key to one suite; without, it follows the suite of the rule. The suite
    /// of a scope key stays what it is.
    #[must_use]
    pub fn with_suite(mut self, suite: Suite) -> Self {
        if matches!(self.material, Material::Root(_) | Material::Node { .. }) {
            self.suite = Some(suite);
        }
        self
    }

    /// Of this generation; the first has the number 1, which is the default.
    #[must_use]
    pub const fn with_generation(mut self, generation: u32) -> Self {
        self.generation = generation;
        self
    }

    /// In this state; the default is [`State::Active`].
    #[must_use]
    pub const fn with_state(mut self, state: State) -> Self {
        self.state = state;
        self
    }

    /// With the sender number that the authority allotted to this client, which no other sender
    /// below the granted key has: what sealing in compact form needs.
    #[must_use]
    pub const fn with_sender(mut self, sender: SenderNumber) -> Self {
        self.sender = Some(sender);
        self
    }

    /// The sender number of this client under the key.
    #[must_use]
    pub const fn sender(&self) -> Option<SenderNumber> {
        self.sender
    }

    /// The one suite that it is for; `None`: it follows the suite of the rule.
    #[must_use]
    pub const fn suite(&self) -> Option<Suite> {
        self.suite
    }

    /// The number of its generation.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// What its generation may do.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// What the grant covers.
    #[must_use]
    pub fn covers(&self) -> Covers<'_> {
        match &self.material {
            Material::Root(_) => Covers::Realm,
            Material::Node { path, .. } => Covers::Node(path.scope()),
            Material::Path { path, .. } => Covers::Scope(ScopeRef::Path(path.scope())),
            Material::Named { name, .. } => Covers::Scope(ScopeRef::Named(name)),
        }
    }

    /// The KID of `scope` under the grant's suite, or else under `suite`. `None`: the grant does
    /// not cover the scope.
    #[must_use]
    pub fn key_id(&self, scope: ScopeRef<'_>, suite: Suite) -> Option<KeyId> {
        self.derive(scope, suite).map(|live| live.kid)
    }

    /// The scope key of `scope` under the grant's suite, or else under `suite`.
    fn derive(&self, scope: ScopeRef<'_>, suite: Suite) -> Option<LiveKey> {
        let suite = self.suite.unwrap_or(suite);
        let key = match (&self.material, scope) {
            (Material::Root(root), ScopeRef::Path(path)) => schedule::path_scope(root, path, suite),
            (Material::Root(root), ScopeRef::Named(name)) => {
                schedule::named_scope(root, name, suite)
            }
            (Material::Node { path, key }, ScopeRef::Path(wanted)) => {
                let below = wanted.below(path.get()?)?;
                schedule::scope(&schedule::descend(same_node(key), below), suite)
            }
            (Material::Path { path, key }, ScopeRef::Path(wanted))
                if path.get() == Some(wanted) =>
            {
                same_scope(key)
            }
            (Material::Named { name, key }, ScopeRef::Named(wanted)) if name == wanted => {
                same_scope(key)
            }
            _ => return None,
        };
        let Self { generation, state, sender, .. } = *self;
        Some(LiveKey { kid: schedule::key_id(&key, suite), suite, key, generation, state, sender })
    }
}

/// A scope key that is ready to open or to seal.
#[derive(Debug)]
pub(crate) struct LiveKey {
    pub(crate) kid: KeyId,
    pub(crate) suite: Suite,
    pub(crate) key: ScopeKey,
    pub(crate) generation: u32,
    pub(crate) sender: Option<SenderNumber>,
    state: State,
}

impl LiveKey {
    pub(crate) const fn opens(&self, now: Option<u64>) -> bool {
        self.state.opens(now)
    }

    /// Takes over what another grant of the same key allows.
    const fn unite(&mut self, other: &Self) {
        if matches!(other.state, State::Active) {
            self.state = State::Active;
        }
        if self.sender.is_none() {
            self.sender = other.sender;
        }
    }

    /// Whether both are the same key, whatever may be done with it.
    pub(crate) fn is(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq;
        self.suite == other.suite && bool::from(self.key.expose().ct_eq(other.key.expose()))
    }
}

/// The keys of one scope.
#[derive(Debug, Default)]
pub(crate) struct LiveKeys {
    /// Oldest generation first.
    pub(crate) keys: Vec<LiveKey>,
    /// The newest key that had to be left out, because an older one has its KID.
    pub(crate) collision: Option<KeyCollision>,
}

/// Why nothing can be sealed in a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoSealingKey {
    /// No active key covers the scope under the suite.
    None,
    /// Active keys of more than one generation cover it.
    Several,
    /// The active one has the KID of an older one.
    Collision(KeyCollision),
}

/// All grants of this client. Those that cover a scope open in it; the active one seals there.
#[derive(Debug, Default)]
pub struct Keyring {
    grants: Vec<Grant>,
}

impl Keyring {
    /// A keyring of these grants. Among those of one generation, the first counts as the older.
    #[must_use]
    pub fn new(mut grants: Vec<Grant>) -> Self {
        grants.sort_by_key(Grant::generation);
        Self { grants }
    }

    /// The grants, oldest generation first.
    #[must_use]
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// The keys of `scope`, at most [`MAX_LIVE_KEYS`]: the newest stay.
    // SPEC §4, "Lookup" and KeyCollision
    pub(crate) fn live_keys(&self, scope: ScopeRef<'_>, suite: Suite) -> LiveKeys {
        let mut live = LiveKeys::default();
        for key in self.grants.iter().filter_map(|grant| grant.derive(scope, suite)) {
            match live.keys.iter_mut().find(|older| older.kid == key.kid) {
                // a root and a node of one generation give the same key
                Some(older) if older.is(&key) => older.unite(&key),
                Some(_) => live.collision = Some(KeyCollision { kid: key.kid }),
                None => live.keys.push(key),
            }
        }
        let surplus = live.keys.len().saturating_sub(MAX_LIVE_KEYS);
        live.keys.drain(..surplus);
        live
    }

    /// The one active key of `scope` under `suite`.
    pub(crate) fn sealing_key(
        &self,
        scope: ScopeRef<'_>,
        suite: Suite,
    ) -> Result<LiveKey, NoSealingKey> {
        let LiveKeys { keys, collision } = self.live_keys(scope, suite);
        let mut active =
            keys.into_iter().filter(|key| key.suite == suite && key.state == State::Active);
        match (active.next(), active.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(NoSealingKey::Several),
            (None, _) => Err(collision.map_or(NoSealingKey::None, NoSealingKey::Collision)),
        }
    }
}

#[cfg(test)]
mod tests;
