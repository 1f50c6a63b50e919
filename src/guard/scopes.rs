//! A bounded cache from scopes to whatever a half of the Guard keeps for them.

use alloc::{string::String, vec::Vec};
use core::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::keyring::ScopeRef;
use crate::suite::Suite;
use crate::topic::PathScope;

/// Scopes of which derived keys are kept. A client that uses more derives again.
const MAX_SCOPES: usize = 1_024;

/// Names a scope under the suite of its rule.
#[derive(Debug)]
struct OwnedName {
    /// `None` for a named scope.
    levels: Option<u8>,
    text: String,
    suite: Suite,
}

/// The same without a heap, for looking up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name<'a> {
    scope: ScopeRef<'a>,
    suite: Suite,
}

impl<'a> Name<'a> {
    pub(super) const fn new(scope: ScopeRef<'a>, suite: Suite) -> Self {
        Self { scope, suite }
    }

    pub(super) const fn scope(&self) -> ScopeRef<'a> {
        self.scope
    }

    pub(super) const fn suite(&self) -> Suite {
        self.suite
    }

    const fn parts(&self) -> (Option<u8>, &'a str) {
        match self.scope {
            ScopeRef::Path(path) => (Some(path.depth()), path.as_str()),
            ScopeRef::Named(name) => (None, name),
        }
    }

    fn to_owned(self) -> OwnedName {
        let (levels, text) = self.parts();
        OwnedName { levels, text: text.into(), suite: self.suite }
    }

    fn is(&self, owned: &OwnedName) -> bool {
        self.parts() == (owned.levels, owned.text.as_str()) && self.suite == owned.suite
    }
}

/// A map from scopes to `T`, of at most [`MAX_SCOPES`]. It looks first where it looked last.
#[derive(Debug)]
pub(super) struct Scopes<T> {
    entries: Vec<(OwnedName, T)>,
    /// Places in `entries`.
    table: HashTable<usize>,
    hasher: DefaultHashBuilder,
    last: usize,
    /// The entry that goes next, once there are too many.
    oldest: usize,
}

impl<T> Scopes<T> {
    pub(super) fn new() -> Self {
        Self {
            entries: Vec::new(),
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            last: 0,
            oldest: 0,
        }
    }

    fn place(&self, name: Name<'_>) -> Option<usize> {
        if self.entries.get(self.last).is_some_and(|(owned, _)| name.is(owned)) {
            return Some(self.last);
        }
        let is = |place: &usize| self.entries.get(*place).is_some_and(|(owned, _)| name.is(owned));
        self.table.find(hash(&self.hasher, name.suite, name.parts()), is).copied()
    }

    pub(super) fn get(&self, name: Name<'_>) -> Option<&T> {
        self.place(name).and_then(|place| self.entries.get(place)).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, name: Name<'_>) -> Option<&mut T> {
        self.last = self.place(name)?;
        self.entries.get_mut(self.last).map(|(_, value)| value)
    }

    /// The value at a place that [`Scopes::last_place`] told.
    pub(super) fn at_mut(&mut self, place: usize) -> Option<&mut T> {
        self.entries.get_mut(place).map(|(_, value)| value)
    }

    /// Where the last value was found or entered.
    pub(super) const fn last_place(&self) -> usize {
        self.last
    }

    /// Enters `value` under a name that is not there, when the cache is full in place of the oldest
    /// that may go. If none may, the cache grows.
    pub(super) fn insert(&mut self, name: Name<'_>, value: T, may_go: impl Fn(&T) -> bool) {
        let entry = (name.to_owned(), value);
        let place = if let Some(place) = self.victim(may_go) {
            self.forget(place);
            if let Some(slot) = self.entries.get_mut(place) {
                *slot = entry;
            }
            self.oldest = place.saturating_add(1);
            place
        } else {
            self.entries.push(entry);
            self.entries.len().saturating_sub(1)
        };
        self.last = place;
        let (hasher, entries) = (&self.hasher, &self.entries);
        self.table.insert_unique(hash(hasher, name.suite, name.parts()), place, |place| {
            entries.get(*place).map_or(0, |(owned, _)| owned.hash(hasher))
        });
    }

    /// The place of the oldest entry that may go, if the cache is full.
    fn victim(&self, may_go: impl Fn(&T) -> bool) -> Option<usize> {
        let len = self.entries.len();
        if len < MAX_SCOPES {
            return None;
        }
        let mut places = (self.oldest..len).chain(0..self.oldest.min(len));
        places.find(|place| self.entries.get(*place).is_some_and(|(_, value)| may_go(value)))
    }

    /// Keeps what `keep` says, in the order in which it was entered. All places change.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(Name<'_>, &mut T) -> bool) {
        self.entries
            .retain_mut(|(owned, value)| owned.name().is_some_and(|name| keep(name, value)));
        self.table.clear();
        (self.last, self.oldest) = (0, 0);
        let (hasher, entries) = (&self.hasher, &self.entries);
        for (place, (owned, _)) in entries.iter().enumerate() {
            self.table.insert_unique(owned.hash(hasher), place, |place| {
                entries.get(*place).map_or(0, |(owned, _)| owned.hash(hasher))
            });
        }
    }

    /// Takes the entry at `place` out of the table.
    fn forget(&mut self, place: usize) {
        let Some((owned, _)) = self.entries.get(place) else { return };
        if let Ok(entry) = self.table.find_entry(owned.hash(&self.hasher), |other| *other == place)
        {
            entry.remove();
        }
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().map(|(_, value)| value)
    }
}

impl OwnedName {
    /// What was a scope is one again.
    fn name(&self) -> Option<Name<'_>> {
        let scope = match self.levels {
            Some(levels) => ScopeRef::Path(PathScope::from_parts(&self.text, levels)?),
            None => ScopeRef::Named(&self.text),
        };
        Some(Name::new(scope, self.suite))
    }

    fn hash(&self, hasher: &DefaultHashBuilder) -> u64 {
        hash(hasher, self.suite, (self.levels, self.text.as_str()))
    }
}

fn hash(hasher: &DefaultHashBuilder, suite: Suite, parts: (Option<u8>, &str)) -> u64 {
    hasher.hash_one((suite, parts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::TopicName;
    use std::format;

    #[test]
    fn the_oldest_scope_goes_when_there_are_too_many() {
        let mut scopes = Scopes::new();
        let name = |text| Name::new(ScopeRef::Named(text), Suite::default());
        let texts: Vec<_> = (0..MAX_SCOPES.saturating_add(10)).map(|n| format!("{n}")).collect();
        for (number, text) in texts.iter().enumerate() {
            scopes.insert(name(text), number, |_| true);
            assert_eq!(scopes.get(name(text)), Some(&number));
        }
        let kept = texts.iter().filter(|text| scopes.get(name(text)).is_some()).count();
        assert_eq!(kept, MAX_SCOPES);
        assert!(texts.iter().take(10).all(|text| scopes.get_mut(name(text)).is_none()));
    }
    #[test]
    fn what_is_retained_is_found_and_what_is_not_is_gone() {
        let mut scopes = Scopes::new();
        let topic = |text| TopicName::parse(text).unwrap();
        let path =
            |text, depth| Name::new(ScopeRef::Path(topic(text).path(depth)), Suite::default());
        let named = Name::new(ScopeRef::Named("a/b"), Suite::default());
        for (number, name) in [path("a/b/c", 2), named, path("a/b/c", 3)].into_iter().enumerate() {
            scopes.insert(name, number, |_| true);
        }
        scopes.retain(|name, number| *number != 1 && name != named);
        assert_eq!(scopes.get(path("a/b/x", 2)), Some(&0));
        assert_eq!(scopes.get(named), None);
        assert_eq!(scopes.get(path("a/b/c", 3)), Some(&2));
    }
}
