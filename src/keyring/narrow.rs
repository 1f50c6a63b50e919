//! Grants cut down to what one device must have. Knows no files.

use zeroize::Zeroizing;

#[cfg(feature = "serde")]
use super::State;
use super::{Grant, Material, OwnedPath, ScopeRef};
use crate::schedule;
use crate::secret::{KEY_LEN, NodeKey, RootKey, ScopeKey};
use crate::suite::Suite;
use crate::topic::PathScope;

/// What a grant is for, and its key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Parts<'a> {
    Root(&'a RootKey),
    Node { path: PathScope<'a>, key: &'a NodeKey },
    Scope { scope: ScopeRef<'a>, key: &'a ScopeKey },
}

impl<'a> Parts<'a> {
    /// The secret bytes. Whoever calls this answers for what becomes of them.
    pub(crate) fn expose(self) -> &'a [u8; KEY_LEN] {
        match self {
            Self::Root(key) => key.expose(),
            Self::Node { key, .. } => key.expose(),
            Self::Scope { key, .. } => key.expose(),
        }
    }
}

impl Grant {
    /// A grant of the node at `path` alone: it opens what this one opens at or below `path`, and
    /// holds no more than it must. Its generation, state and suite are those of this grant; its
    /// sender number is for [`Grant::with_sender`] to add, since each device has its own.
    ///
    /// `None` if this grant does not cover the node, or if `path` has no level: the node of the
    /// whole realm has the bytes of the root key, with which named scopes could be opened too.
    ///
    /// ```
    /// use mqtt_seal::keyring::Grant;
    /// use mqtt_seal::secret::SharedKey;
    /// use mqtt_seal::topic::{PathScope, TopicName};
    ///
    /// let shared = SharedKey::take(&mut [7; 32]); // 32 random bytes, from your provisioning
    /// let authority = Grant::shared(&shared, "acme-prod")?;
    /// let plant = |topic| TopicName::parse(topic).unwrap().path(2);
    /// let device = authority.narrow_to_node(plant("plant/a")).unwrap();
    /// assert!(device.narrow_to_node(plant("plant/b")).is_none());
    /// assert!(authority.narrow_to_node(PathScope::REALM).is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    // SPEC §4, "Holding NK"
    #[must_use]
    pub fn narrow_to_node(&self, path: PathScope<'_>) -> Option<Self> {
        if path.depth() == 0 {
            return None;
        }
        let (start, below) = match &self.material {
            Material::Root(root) => (schedule::root_node(root), path.levels()),
            Material::Node { path: own, key } => (same_node(key), path.below(own.get()?)?),
            Material::Path { .. } | Material::Named { .. } => return None,
        };
        let key = schedule::descend(start, below);
        let material = Material::Node { path: OwnedPath::new(path), key };
        Some(self.with_material(material, self.suite))
    }

    /// A grant of one scope under one suite alone: it opens nothing else, and holds no more than
    /// it must. Its generation and state are those of this grant; its sender number is for
    /// [`Grant::with_sender`] to add, since each device has its own.
    ///
    /// `None` if this grant does not cover the scope, or is kept to another suite.
    // SPEC §4, "holding SK"
    #[must_use]
    pub fn narrow_to_scope(&self, scope: ScopeRef<'_>, suite: Suite) -> Option<Self> {
        let live = self.derive(scope, suite).filter(|live| live.suite == suite)?;
        let Self { material, .. } = Self::scope(scope, suite, live.key);
        Some(self.with_material(material, Some(suite)))
    }

    /// The same grant again, sender number and all. Not `Clone`: every copy of a key is on purpose.
    pub(crate) fn again(&self) -> Self {
        let material = match &self.material {
            Material::Root(key) => Material::Root(RootKey::take(&mut copied(key.expose()))),
            Material::Node { path, key } => {
                Material::Node { path: path.again(), key: same_node(key) }
            }
            Material::Path { path, key } => {
                Material::Path { path: path.again(), key: same_scope(key) }
            }
            Material::Named { name, key } => {
                Material::Named { name: name.clone(), key: same_scope(key) }
            }
        };
        Self { sender: self.sender, ..self.with_material(material, self.suite) }
    }

    /// The same grant again, but for the sender number.
    pub(crate) fn without_sender(&self) -> Self {
        Self { sender: None, ..self.again() }
    }

    /// Puts it into another state.
    #[cfg(feature = "serde")]
    pub(crate) const fn set_state(&mut self, state: State) {
        self.state = state;
    }

    /// What it is for, and its key.
    pub(crate) fn parts(&self) -> Parts<'_> {
        match &self.material {
            Material::Root(key) => Parts::Root(key),
            Material::Node { path: own, key } => Parts::Node { path: own.scope(), key },
            Material::Path { path: own, key } => {
                Parts::Scope { scope: ScopeRef::Path(own.scope()), key }
            }
            Material::Named { name, key } => Parts::Scope { scope: ScopeRef::Named(name), key },
        }
    }

    fn with_material(&self, material: Material, suite: Option<Suite>) -> Self {
        let Self { generation, state, .. } = *self;
        Self { material, suite, generation, state, sender: None }
    }
}

impl OwnedPath {
    fn again(&self) -> Self {
        Self { text: self.text.clone(), levels: self.levels }
    }
}

fn copied(key: &[u8; KEY_LEN]) -> Zeroizing<[u8; KEY_LEN]> {
    Zeroizing::new(*key)
}

pub(super) fn same_node(key: &NodeKey) -> NodeKey {
    NodeKey::take(&mut copied(key.expose()))
}

pub(super) fn same_scope(key: &ScopeKey) -> ScopeKey {
    ScopeKey::take(&mut copied(key.expose()))
}
