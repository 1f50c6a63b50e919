//! Another configuration for a sending half that is in use. Knows no file and no connection.

use alloc::sync::Arc;

use super::{GuardTx, Sending, sealing_key};
use crate::guard::{Config, Name, Outgoing, SealError, scope_of};
use crate::policy::Payload;
use crate::topic::TopicName;
use crate::wire::header::KeyId;

impl GuardTx {
    /// Seals by `config` from now on; the receiving half of the same client has to take the same
    /// one. Sessions whose key still seals go on, with their counters; the keys of all others are
    /// wiped, and with them the sessions. Leases stay.
    ///
    /// A will that lies at the broker is not changed by this: connect anew where
    /// [`GuardTx::sealing_key_id`] says another key than it was sealed under.
    // SPEC §4, "Generations"
    pub fn replace(&mut self, config: Arc<Config>) {
        self.recent = None;
        self.scopes.retain(|name, sending| sending.goes_on(&config, name));
        self.config = config;
    }

    /// The ID of the key that `message` would be sealed under; `None` if its rule does not seal.
    ///
    /// # Errors
    /// [`SealError::Topic`], [`SealError::Refused`], [`SealError::Suite`], [`SealError::NoKey`],
    /// [`SealError::SeveralKeys`], [`SealError::KeyCollision`].
    pub fn sealing_key_id(&self, message: &Outgoing<'_>) -> Result<Option<KeyId>, SealError> {
        let topic = TopicName::parse(message.topic).map_err(SealError::Topic)?;
        let rule = self.config.policy.rule(topic).ok_or(SealError::Refused)?;
        if !matches!(rule.payload(), Payload::Sealed | Payload::Mixed { .. }) {
            return Ok(None);
        }
        let name = Name::new(scope_of(rule, topic), rule.suite());
        sealing_key(&self.config, name).map(|key| Some(key.kid))
    }
}

impl Sending {
    /// Whether the key of the scope is still the one that seals; takes over what else is new of it.
    fn goes_on(&mut self, config: &Config, name: Name<'_>) -> bool {
        let Ok(key) = sealing_key(config, name) else { return false };
        if !key.is(&self.key) {
            return false;
        }
        if key.sender != self.key.sender {
            self.compact = None;
        }
        self.key = key;
        true
    }
}
