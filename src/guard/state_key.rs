//! Names for replay state: keyed hashes of scope, key, session and topic.

use core::hash::{Hash, Hasher};

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::keyring::ScopeRef;
use crate::topic::{TopicFilter, TopicName};
use crate::wire::header::{KeyId, SessionId};

/// A keyed hash of (scope, KID, session ID with its length, topic of the AAD) for windows, and of
/// (scope, topic) for records: 128 bits, so that no two state keys that an attacker can choose fall
/// together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct StateKey {
    pub(super) scope: u64,
    pub(super) hash: StateHash,
}

/// The part of a state key that is unique within a scope. Tombstones go by the upper half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct StateHash {
    pub(super) upper: u64,
    pub(super) lower: u64,
}

/// Makes state keys.
#[derive(Debug)]
pub(super) struct StateKeys {
    key: [u8; 16],
}

impl StateKeys {
    pub(super) const fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    /// The key of the hash.
    pub(super) const fn secret(&self) -> &[u8; 16] {
        &self.key
    }

    /// Names a filter.
    pub(super) fn filter(&self, filter: TopicFilter<'_>) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        filter.as_str().hash(&mut hasher);
        hasher.finish128().h1
    }

    /// The key of a window with its sender, or of a record without one.
    // SPEC §7, "State is … keyed by"; §7.1 latest
    pub(super) fn get(
        &self,
        scope: ScopeRef<'_>,
        sender: Option<(KeyId, SessionId)>,
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
        if let Some((kid, id)) = sender {
            hasher.write(&kid.to_bytes());
            let (id, len) = id.encode();
            hasher.write_u8(u8::try_from(len).unwrap_or(u8::MAX));
            hasher.write(id.get(..len).unwrap_or(&id));
        }
        topic.as_str().hash(&mut hasher);
        let hash = hasher.finish128();
        StateKey { scope, hash: StateHash { upper: hash.h1, lower: hash.h2 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, vec::Vec};

    const ID: SessionId = SessionId::Random([1; 12]);

    #[test]
    fn every_part_of_a_state_makes_another_key() {
        let name = |text| TopicName::parse(text).unwrap();
        let paths = ["a", "b"].map(|text| ScopeRef::Path(name(text).path(1)));
        let mut senders = std::vec![None];
        for kid in [KeyId::new([0; 4]), KeyId::new([1; 4])] {
            senders.extend([ID, SessionId::Random([8; 12])].map(|id| Some((kid, id))));
        }
        let keys = StateKeys::new([1; 16]);
        let mut made = Vec::new();
        // a named scope and a path of one text differ, too
        for scope in [paths[0], paths[1], ScopeRef::Named("a")] {
            for sender in &senders {
                made.extend(["a/b", "a/c"].map(|topic| keys.get(scope, *sender, name(topic))));
            }
        }
        let different: BTreeSet<_> =
            made.iter().map(|key| (key.scope, key.hash.upper, key.hash.lower)).collect();
        assert_eq!(different.len(), made.len());
        assert_eq!(keys.get(paths[0], senders[1], name("a/b")), made[2]);
    }
}
