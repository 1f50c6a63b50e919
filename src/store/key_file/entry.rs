//! A grant as it stands in a key file. Knows which grants contradict one another.

use alloc::vec::Vec;

use zeroize::Zeroizing;

use super::KeyFault;
use crate::keyring::{Grant, Parts, State};
use crate::secret::{KEY_LEN, SharedKey};

/// A grant, and the shared key that it came from if the file has that one.
pub(super) struct Entry {
    pub(super) shared: Option<SharedKey>,
    pub(super) grant: Grant,
    /// When the key was drawn, in Unix seconds.
    pub(super) created: Option<u64>,
}

impl Entry {
    pub(super) fn kind(&self) -> &'static str {
        match (&self.shared, self.grant.parts()) {
            (Some(_), _) => "shared",
            (None, Parts::Root(_)) => "root",
            (None, Parts::Node { .. }) => "node",
            (None, Parts::Scope { .. }) => "scope",
        }
    }

    /// The secret bytes that the file has. Whoever calls this answers for what becomes of them.
    pub(super) fn expose(&self) -> &[u8; KEY_LEN] {
        match &self.shared {
            Some(key) => key.expose(),
            None => self.grant.parts().expose(),
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.grant.state() == State::Active
    }

    /// The same entry again.
    pub(super) fn again(&self) -> Self {
        let again = |key: &SharedKey| SharedKey::take(&mut Zeroizing::new(*key.expose()));
        let shared = self.shared.as_ref().map(again);
        Self { shared, grant: self.grant.again(), created: self.created }
    }

    /// Whether both are for the same, in whatever generation.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        let place = match (self.grant.parts(), other.grant.parts()) {
            (Parts::Root(_), Parts::Root(_)) => true,
            (Parts::Node { path, .. }, Parts::Node { path: other, .. }) => path == other,
            (Parts::Scope { scope, .. }, Parts::Scope { scope: other, .. }) => scope == other,
            _ => false,
        };
        place && self.kind() == other.kind() && self.grant.suite() == other.grant.suite()
    }

    /// Whether both are the same key in the same place, generation and state.
    pub(super) fn is(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq;
        let (a, b) = (&self.grant, &other.grant);
        let alike = a.generation() == b.generation() && a.state() == b.state();
        alike && self.is_beside(other) && bool::from(self.expose().ct_eq(other.expose()))
    }

    /// What `self` contradicts in `others`.
    // SPEC §4, "Generations"
    pub(super) fn contradicts(&self, others: &[Self]) -> Option<Contradiction> {
        let beside = || others.iter().filter(|other| self.is_beside(other));
        let generation = self.grant.generation();
        if beside().any(|other| other.grant.generation() == generation) {
            return Some(Contradiction::SameGeneration);
        }
        let active = self.is_active() && beside().any(Self::is_active);
        active.then_some(Contradiction::TwoActive)
    }
}

/// What two grants for the same cannot be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Contradiction {
    SameGeneration,
    TwoActive,
}

impl From<Contradiction> for KeyFault {
    fn from(contradiction: Contradiction) -> Self {
        match contradiction {
            Contradiction::SameGeneration => Self::SameGeneration,
            Contradiction::TwoActive => Self::TwoActive,
        }
    }
}

/// Entries again, with room for `more`. What grows or closes a gap would leave keys behind.
pub(super) fn again<'a>(entries: impl Iterator<Item = &'a Entry>, more: usize) -> Vec<Entry> {
    let most = entries.size_hint().1.unwrap_or_default();
    let mut copies = Vec::with_capacity(most.saturating_add(more));
    copies.extend(entries.map(Entry::again));
    copies
}
