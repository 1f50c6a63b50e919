//! Names for replay state: keyed hashes of scope, key, session and topic.

use alloc::{borrow::ToOwned, string::String};
use core::hash::{Hash, Hasher};

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::keyring::ScopeRef;
use crate::topic::TopicName;
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
    recent: Option<Recent>,
}

/// The state key that was asked for last: most messages come from where the last one came from.
#[derive(Debug)]
struct Recent {
    levels: Option<u8>,
    scope: String,
    sender: Option<(KeyId, SessionId)>,
    topic: String,
    key: StateKey,
}

impl StateKeys {
    pub(super) const fn new(key: [u8; 16]) -> Self {
        Self { key, recent: None }
    }

    /// The key of the hash.
    pub(super) const fn secret(&self) -> &[u8; 16] {
        &self.key
    }

    /// The key of a window with its sender, or of a record without one.
    // SPEC §7, "State is … keyed by"; §7.1 latest
    pub(super) fn get(
        &mut self,
        scope: ScopeRef<'_>,
        sender: Option<(KeyId, SessionId)>,
        topic: TopicName<'_>,
    ) -> StateKey {
        let (levels, text) = match scope {
            ScopeRef::Path(path) => (Some(path.depth()), path.as_str()),
            ScopeRef::Named(name) => (None, name),
        };
        if let Some(recent) = &self.recent
            && (recent.sender, recent.levels) == (sender, levels)
            && recent.topic == topic.as_str()
            && recent.scope == text
        {
            return recent.key;
        }
        let key = self.hash(scope, sender, topic);
        // the texts keep their buffers
        let (mut scope, mut name) = match self.recent.take() {
            Some(recent) => (recent.scope, recent.topic),
            None => (String::new(), String::new()),
        };
        text.clone_into(&mut scope);
        topic.as_str().clone_into(&mut name);
        self.recent = Some(Recent { levels, scope, sender, topic: name, key });
        key
    }

    fn hash(
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
    use std::vec::Vec;

    const ID: SessionId = SessionId::Random([1; 12]);

    #[test]
    fn a_named_scope_and_a_path_of_one_text_do_not_share_state() {
        let mut keys = StateKeys::new([1; 16]);
        let topic = TopicName::parse("a").unwrap();
        let path = keys.get(ScopeRef::Path(topic.path(1)), None, topic);
        assert_ne!(path, keys.get(ScopeRef::Named("a"), None, topic));
    }

    #[test]
    fn the_key_asked_for_last_is_not_given_for_another() {
        let name = |text| TopicName::parse(text).unwrap();
        let paths = ["a", "b"].map(|text| ScopeRef::Path(name(text).path(1)));
        let mut senders = std::vec![None];
        for kid in [KeyId::new([0; 4]), KeyId::new([1; 4])] {
            senders.extend([ID, SessionId::Random([8; 12])].map(|id| Some((kid, id))));
        }
        let mut parts = Vec::new();
        for scope in [paths[0], paths[1], ScopeRef::Named("a")] {
            for sender in &senders {
                parts.extend(["a/b", "a/c"].map(|topic| (scope, *sender, name(topic))));
            }
        }
        let mut keys = StateKeys::new([1; 16]);
        for last in &parts {
            for (scope, sender, topic) in parts.iter().copied() {
                let before = keys.get(last.0, last.1, last.2);
                let asked = keys.get(scope, sender, topic);
                assert_eq!(asked, keys.hash(scope, sender, topic));
                assert_eq!(asked == before, (scope, sender, topic) == *last);
            }
        }
    }
}
