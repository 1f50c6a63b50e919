//! A map that knows which entry was used least recently. The entries stand in one vector, linked by
//! their places in it.

use alloc::vec::Vec;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Marks the end of the chain.
const NONE: u32 = u32::MAX;

/// A map from `K`, which is a keyed hash already, to `V`.
#[derive(Debug)]
pub(super) struct Lru<K, V> {
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    nodes: Vec<Node<K, V>>,
    newest: u32,
    oldest: u32,
}

#[derive(Debug)]
struct Node<K, V> {
    key: K,
    value: V,
    newer: u32,
    older: u32,
}

fn place(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

impl<K: core::hash::Hash + Eq + Copy, V> Lru<K, V> {
    /// Bytes of one entry, without its place in the table.
    #[cfg(test)]
    pub(super) const ENTRY_SIZE: usize = size_of::<Node<K, V>>();

    pub(super) fn new() -> Self {
        Self {
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            nodes: Vec::new(),
            newest: NONE,
            oldest: NONE,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    fn hash(&self, key: &K) -> u64 {
        use core::hash::BuildHasher;
        self.hasher.hash_one(key)
    }

    fn index(&self, key: &K) -> Option<u32> {
        // the stream of the last message, as a rule
        if self.nodes.get(place(self.newest)).is_some_and(|node| node.key == *key) {
            return Some(self.newest);
        }
        // hashing costs more than the question
        if self.nodes.is_empty() {
            return None;
        }
        self.table
            .find(self.hash(key), |index| {
                self.nodes.get(place(*index)).is_some_and(|n| n.key == *key)
            })
            .copied()
    }

    /// Looks `key` up without calling it used.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.index(key).and_then(|index| self.nodes.get(place(index))).map(|node| &node.value)
    }

    /// Changes the value of `key`, and makes it the newest if the change says so. `None` if it is
    /// not there.
    pub(super) fn update<T>(
        &mut self,
        key: &K,
        change: impl FnOnce(&mut V) -> (T, bool),
    ) -> Option<T> {
        let index = self.index(key)?;
        let (result, used) = change(&mut self.nodes.get_mut(place(index))?.value);
        if used && index != self.newest {
            self.unlink(index);
            self.link(index);
        }
        Some(result)
    }

    /// The value of `key`, to be changed without calling it used.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.index(key).and_then(|index| self.nodes.get_mut(place(index))).map(|n| &mut n.value)
    }

    /// All entries, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        let mut next = self.oldest;
        core::iter::from_fn(move || {
            let node = self.nodes.get(place(next))?;
            next = node.newer;
            Some((node.key, &node.value))
        })
    }

    /// Enters `value` as the newest under a key that is not there.
    pub(super) fn insert(&mut self, key: K, value: V) {
        debug_assert!(self.index(&key).is_none(), "the key is new");
        let index = u32::try_from(self.nodes.len()).unwrap_or(NONE);
        if index == NONE {
            return;
        }
        self.nodes.push(Node { key, value, newer: NONE, older: NONE });
        self.link(index);
        let (hash, hasher, nodes) = (self.hash(&key), &self.hasher, &self.nodes);
        self.table.insert_unique(hash, index, |index| {
            use core::hash::BuildHasher;
            nodes.get(place(*index)).map_or(0, |node| hasher.hash_one(node.key))
        });
    }

    /// Takes the least recently used entry out.
    pub(super) fn pop_oldest(&mut self) -> Option<(K, V)> {
        let key = self.nodes.get(place(self.oldest))?.key;
        self.remove(&key).map(|value| (key, value))
    }

    /// Takes the entry of `key` out.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let index = self.index(key)?;
        self.unlink(index);
        self.forget(key, index);
        let last = u32::try_from(self.nodes.len().checked_sub(1)?).ok()?;
        if last != index {
            // the last node moves into the gap: tell its neighbours and the table
            let moved = self.nodes.get(place(last))?.key;
            self.forget(&moved, last);
            let hash = self.hash(&moved);
            let (hasher, nodes) = (&self.hasher, &self.nodes);
            self.table.insert_unique(hash, index, |other| {
                use core::hash::BuildHasher;
                let at = if *other == index { last } else { *other };
                nodes.get(place(at)).map_or(0, |node| hasher.hash_one(node.key))
            });
            let (newer, older) = self.nodes.get(place(last)).map(|n| (n.newer, n.older))?;
            self.relink(newer, older, index);
        }
        Some(self.nodes.swap_remove(place(index)).value)
    }

    fn forget(&mut self, key: &K, index: u32) {
        let hash = self.hash(key);
        if let Ok(entry) = self.table.find_entry(hash, |other| *other == index) {
            entry.remove();
        }
    }

    /// Makes the neighbours of a node that stood elsewhere point to `index`.
    fn relink(&mut self, newer: u32, older: u32, index: u32) {
        match self.nodes.get_mut(place(newer)) {
            Some(node) => node.older = index,
            None => self.newest = index,
        }
        match self.nodes.get_mut(place(older)) {
            Some(node) => node.newer = index,
            None => self.oldest = index,
        }
    }

    fn unlink(&mut self, index: u32) {
        let Some((newer, older)) = self.nodes.get(place(index)).map(|n| (n.newer, n.older)) else {
            return;
        };
        match self.nodes.get_mut(place(newer)) {
            Some(node) => node.older = older,
            None => self.newest = older,
        }
        match self.nodes.get_mut(place(older)) {
            Some(node) => node.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link(&mut self, index: u32) {
        let newest = self.newest;
        if let Some(node) = self.nodes.get_mut(place(index)) {
            node.newer = NONE;
            node.older = newest;
        }
        match self.nodes.get_mut(place(newest)) {
            Some(node) => node.newer = index,
            None => self.oldest = index,
        }
        self.newest = index;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    proptest! {
        #[test]
        fn lru_agrees_with_a_vector(steps in prop::collection::vec((0_u8..4, 0_u8..40), 1..400)) {
            let mut lru = Lru::new();
            let mut model: Vec<(u8, usize)> = vec![];
            for (time, (step, key)) in steps.into_iter().enumerate() {
                let at = model.iter().position(|(k, _)| *k == key);
                match (step, at) {
                    (0 | 1, None) => { lru.insert(key, time); model.push((key, time)); }
                    (0 | 1, Some(at)) => {
                        let entry = model.remove(at);
                        model.push(entry);
                        let mut seen = None;
                        let see = |value: &mut usize| { seen = Some(*value); ((), true) };
                        prop_assert_eq!(lru.update(&key, see), Some(()));
                        prop_assert_eq!(seen, Some(entry.1));
                    }
                    (3, Some(_)) if time % 2 == 0 => {
                        // what is refused is not used
                        prop_assert_eq!(lru.update(&key, |_| ((), false)), Some(()));
                    }
                    (2, at) => {
                        let expected = at.map(|at| model.remove(at).1);
                        prop_assert_eq!(lru.remove(&key), expected);
                    }
                    (_, _) => {
                        let expected = (!model.is_empty()).then(|| model.remove(0));
                        prop_assert_eq!(lru.pop_oldest(), expected);
                    }
                }
                prop_assert_eq!(lru.len(), model.len());
                for (key, value) in &model {
                    prop_assert_eq!(lru.get(key), Some(value));
                }
                let entries: Vec<_> = lru.iter().map(|(key, value)| (key, *value)).collect();
                prop_assert_eq!(entries, model.clone());
            }
        }
    }
}
