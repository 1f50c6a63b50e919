//! The keys that this client was granted, and what each of them opens. Knows no files.

use alloc::{string::String, vec::Vec};

use crate::schedule;
use crate::secret::{NodeKey, RootKey, ScopeKey, SharedKey};
use crate::suite::Suite;
use crate::topic::PathScope;
use crate::wire::header::KeyId;

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

/// One key and what it is for.
///
/// A root key opens every scope of its realm, a node key every path scope at or below its path, a
/// scope key one scope under one suite. Give a device no more than it must have.
#[derive(Debug)]
pub struct Grant {
    material: Material,
    suite: Option<Suite>,
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
}

impl Grant {
    const fn new(material: Material, suite: Option<Suite>) -> Self {
        Self { material, suite }
    }

    /// The root key of `realm` under a shared key.
    #[must_use]
    pub fn shared(key: &SharedKey, realm: &str) -> Self {
        Self::root(schedule::root(key, realm))
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
                let start = NodeKey::take(&mut zeroize::Zeroizing::new(*key.expose()));
                schedule::scope(&schedule::descend(start, below), suite)
            }
            (Material::Path { path, key }, ScopeRef::Path(wanted))
                if path.get() == Some(wanted) =>
            {
                ScopeKey::take(&mut zeroize::Zeroizing::new(*key.expose()))
            }
            (Material::Named { name, key }, ScopeRef::Named(wanted)) if name == wanted => {
                ScopeKey::take(&mut zeroize::Zeroizing::new(*key.expose()))
            }
            _ => return None,
        };
        Some(LiveKey { kid: schedule::key_id(&key, suite), suite, key })
    }
}

/// A scope key that is ready to open or to seal.
#[derive(Debug)]
pub(crate) struct LiveKey {
    pub(crate) kid: KeyId,
    pub(crate) suite: Suite,
    pub(crate) key: ScopeKey,
}

/// All grants of this client, oldest first. The newest that covers a scope under the suite of the
/// rule seals there; all of them open.
#[derive(Debug, Default)]
pub struct Keyring {
    grants: Vec<Grant>,
}

impl Keyring {
    /// A keyring of these grants, oldest first.
    #[must_use]
    pub const fn new(grants: Vec<Grant>) -> Self {
        Self { grants }
    }

    /// The keys of `scope`, oldest first: those of which an older one has the KID are left out, and
    /// at most the [`MAX_LIVE_KEYS`] oldest stay.
    // SPEC §4, "Lookup" and KeyCollision
    pub(crate) fn live_keys(&self, scope: ScopeRef<'_>, suite: Suite) -> Vec<LiveKey> {
        let mut keys: Vec<LiveKey> = Vec::new();
        for key in self.grants.iter().filter_map(|grant| grant.derive(scope, suite)) {
            if keys.len() < MAX_LIVE_KEYS && keys.iter().all(|older| older.kid != key.kid) {
                keys.push(key);
            }
        }
        keys
    }
}
