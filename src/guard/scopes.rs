//! A bounded cache from scopes to whatever a half of the Guard keeps for them.

use alloc::string::String;

use hashbrown::{Equivalent, HashMap};

use crate::keyring::ScopeRef;
use crate::suite::Suite;
use crate::topic::PathScope;

/// Scopes of which derived keys are kept. A client that uses more derives again.
const MAX_SCOPES: usize = 1_024;

/// Names a scope under the suite of its rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct OwnedName {
    /// `None` for a named scope.
    levels: Option<u8>,
    text: String,
    suite: Suite,
}

/// The same without a heap, for looking up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Name<'a> {
    levels: Option<u8>,
    text: &'a str,
    suite: Suite,
}

impl<'a> Name<'a> {
    pub(super) fn new(scope: ScopeRef<'a>, suite: Suite) -> Self {
        match scope {
            ScopeRef::Path(path) => Self { levels: Some(path.depth()), text: path.as_str(), suite },
            ScopeRef::Named(name) => Self { levels: None, text: name, suite },
        }
    }

    pub(super) fn scope(&self) -> ScopeRef<'a> {
        match self.levels.and_then(|levels| PathScope::from_parts(self.text, levels)) {
            Some(path) => ScopeRef::Path(path),
            None => ScopeRef::Named(self.text),
        }
    }

    pub(super) const fn suite(&self) -> Suite {
        self.suite
    }

    fn to_owned(self) -> OwnedName {
        OwnedName { levels: self.levels, text: self.text.into(), suite: self.suite }
    }
}

impl Equivalent<OwnedName> for Name<'_> {
    fn equivalent(&self, key: &OwnedName) -> bool {
        self.levels == key.levels && self.text == key.text && self.suite == key.suite
    }
}

/// A map from scopes to `T`, of at most [`MAX_SCOPES`].
#[derive(Debug)]
pub(super) struct Scopes<T> {
    map: HashMap<OwnedName, T>,
}

impl<T> Scopes<T> {
    pub(super) fn new() -> Self {
        Self { map: HashMap::new() }
    }

    pub(super) fn get(&self, name: Name<'_>) -> Option<&T> {
        self.map.get(&name)
    }

    pub(super) fn get_mut(&mut self, name: Name<'_>) -> Option<&mut T> {
        self.map.get_mut(&name)
    }

    /// Enters `value`, in place of any other when the cache is full.
    pub(super) fn insert(&mut self, name: Name<'_>, value: T) -> &mut T {
        if self.map.len() >= MAX_SCOPES {
            let other = self.map.keys().next().cloned();
            if let Some(other) = other {
                self.map.remove(&other);
            }
        }
        self.map.entry(name.to_owned()).insert(value).into_mut()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.map.values_mut()
    }
}
