//! Entries of many scopes: each scope has a quota, and all of them together have another.

use alloc::collections::BTreeSet;

use hashbrown::HashMap;

use super::lru::Lru;

/// A map from a scope and `K` to `V` that knows what is too much.
#[derive(Debug)]
pub(super) struct Shelf<K, V> {
    scopes: HashMap<u64, Lru<K, V>>,
    /// How many entries each scope has, to find the one with the most.
    sizes: BTreeSet<(usize, u64)>,
    len: usize,
    quota: usize,
    total: usize,
}

impl<K: core::hash::Hash + Eq + Copy, V> Shelf<K, V> {
    pub(super) fn new(quota: usize, total: usize) -> Self {
        Self { scopes: HashMap::new(), sizes: BTreeSet::new(), len: 0, quota, total }
    }

    /// Sets the quotas. What is too much then stays until [`Shelf::excess`] takes it.
    pub(super) const fn set_limits(&mut self, quota: usize, total: usize) {
        self.quota = quota;
        self.total = total;
    }

    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Looks an entry up without calling it used.
    pub(super) fn get(&self, scope: u64, key: &K) -> Option<&V> {
        self.scopes.get(&scope)?.get(key)
    }

    /// Changes an entry without calling it used.
    pub(super) fn get_mut(&mut self, scope: u64, key: &K) -> Option<&mut V> {
        self.scopes.get_mut(&scope)?.get_mut(key)
    }

    /// Changes an entry, and makes it the newest of its scope if the change says so. `None` if it
    /// is not there.
    pub(super) fn update<T>(
        &mut self,
        scope: u64,
        key: &K,
        change: impl FnOnce(&mut V) -> (T, bool),
    ) -> Option<T> {
        self.scopes.get_mut(&scope)?.update(key, change)
    }

    /// Enters an entry that is not there as the newest of its scope.
    pub(super) fn insert(&mut self, scope: u64, key: K, value: V) {
        let entries = self.scopes.entry(scope).or_insert_with(Lru::new);
        let before = entries.len();
        entries.insert(key, value);
        let after = entries.len();
        self.resized(scope, before, after);
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, scope: u64, key: &K) -> Option<V> {
        let entries = self.scopes.get_mut(&scope)?;
        let before = entries.len();
        let value = entries.remove(key)?;
        let after = entries.len();
        self.resized(scope, before, after);
        Some(value)
    }

    /// Takes out the oldest entry of `scope` if that has too many, else the oldest of the scope
    /// with the most if there are too many in all.
    // SPEC §7.3
    pub(super) fn excess(&mut self, scope: u64) -> Option<(u64, K, V)> {
        let full = self.scopes.get(&scope).is_some_and(|entries| entries.len() > self.quota);
        let from = if full {
            scope
        } else if self.len > self.total {
            self.sizes.last()?.1
        } else {
            return None;
        };
        let entries = self.scopes.get_mut(&from)?;
        let before = entries.len();
        let (key, value) = entries.pop_oldest()?;
        let after = entries.len();
        self.resized(from, before, after);
        Some((from, key, value))
    }

    pub(super) fn scopes(&self) -> impl Iterator<Item = u64> {
        self.scopes.keys().copied()
    }

    /// All entries; those of one scope oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, K, &V)> {
        self.scopes
            .iter()
            .flat_map(|(scope, entries)| entries.iter().map(|(key, value)| (*scope, key, value)))
    }

    fn resized(&mut self, scope: u64, before: usize, after: usize) {
        self.len = self.len.saturating_sub(before).saturating_add(after);
        self.sizes.remove(&(before, scope));
        if after == 0 {
            self.scopes.remove(&scope);
        } else {
            self.sizes.insert((after, scope));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(quota: usize, total: usize, entries: &[(u64, u8)]) -> Shelf<u8, ()> {
        let mut shelf = Shelf::new(quota, total);
        for (scope, key) in entries {
            shelf.insert(*scope, *key, ());
        }
        shelf
    }

    #[test]
    fn the_oldest_of_a_full_scope_goes_first() {
        let mut shelf = filled(2, 3, &[(1, 1), (2, 1), (2, 2), (2, 3)]);
        assert_eq!(shelf.excess(2), Some((2, 1, ())));
        assert_eq!(shelf.excess(2), None);
    }

    #[test]
    fn beyond_the_total_the_scope_with_the_most_gives_one_up() {
        let mut shelf = filled(9, 3, &[(1, 1), (1, 2), (1, 3), (2, 1)]);
        assert_eq!(shelf.excess(2), Some((1, 1, ())));
        assert_eq!(shelf.excess(2), None);
    }

    #[test]
    fn a_scope_that_lost_everything_takes_no_room() {
        let mut shelf = filled(0, 0, &[(1, 1), (2, 1)]);
        while shelf.excess(1).is_some() {}
        assert_eq!(shelf.len(), 0);
        assert_eq!((shelf.scopes.len(), shelf.sizes.len()), (0, 0));
    }

    #[test]
    fn removal_counts() {
        let mut shelf = filled(1, 1, &[(1, 1), (1, 2)]);
        assert_eq!(shelf.remove(1, &1), Some(()));
        assert_eq!(shelf.remove(1, &1), None);
        assert_eq!(shelf.excess(1), None);
    }
}
