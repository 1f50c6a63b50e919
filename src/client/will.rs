//! A will as the application gave it, sealed anew for every connection. Knows no connection.

use std::string::String;
use std::vec::Vec;

use zeroize::Zeroizing;

use super::entry::Entry;
use super::error::ConfigError;
use super::guards::now;
use super::properties::Attached;
use crate::guard::{GuardTx, Plan, QoS, SealError};
use crate::policy::Link;
use crate::topic::TopicName;
use crate::wire::header::KeyId;
use crate::wire::inner::Kind;

/// The most that a 16-bit field of MQTT can say.
const MAX_FIELD: usize = 65_535;

/// A will of some MQTT options.
pub(super) struct Will {
    /// As it stands in the options: perhaps no topic name.
    pub(super) topic: Vec<u8>,
    pub(super) payload: Zeroizing<Vec<u8>>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// `None` before MQTT 5.
    pub(super) attached: Option<Attached>,
}

/// Whether another key would mend it.
pub(super) const fn lacks_key(error: SealError) -> bool {
    matches!(error, SealError::NoKey | SealError::SeveralKeys | SealError::KeyCollision(_))
}

impl Will {
    /// The will as a message that was not sealed yet. One that deletes a retained value stays what
    /// it is.
    fn entry(&self) -> Entry {
        let topic = String::from_utf8_lossy(&self.topic).into_owned();
        let deletes = self.payload.is_empty() && self.retain;
        Entry::new(topic, self.qos, self.retain, self.payload.to_vec())
            .attach(self.attached.clone())
            .of_kind((!deletes).then_some(Kind::Will))
    }

    /// The will for the connection that is made next on `link`, whose sessions begin here.
    // SPEC §6: sealed anew before every CONNECT, in the session of that connection
    pub(super) fn seal(
        &self,
        guard: &mut GuardTx,
        link: Link,
        client_id: &str,
    ) -> Result<Entry, SealError> {
        guard.connected_on(link, client_id);
        let mut entry = self.entry();
        entry.seal_plain(guard, link, now())?;
        Ok(entry)
    }

    /// The key that it would be sealed under now; `None` if it would lie at the broker in clear.
    pub(super) fn key(&self, guard: &GuardTx) -> Option<KeyId> {
        let entry = self.entry();
        entry.kind?;
        guard.sealing_key_id(&entry.outgoing(&[], None)).ok().flatten()
    }

    /// Whether the policy lets it lie at the broker of `link`, and it fits.
    pub(super) fn check(&self, guard: &GuardTx, link: Link) -> Result<(), ConfigError> {
        TopicName::from_bytes(&self.topic).map_err(ConfigError::WillTopic)?;
        let entry = self.entry();
        let properties = entry.properties();
        let plan = guard.plan(&entry.outgoing(&properties, now()));
        let plan = plan.map_err(|error| ConfigError::Will { link, error })?;
        let (goes_by, growth) = match plan {
            Plan::Pass { link } => (link, 0),
            Plan::Seal { link, growth, .. } => (link, growth),
        };
        if goes_by != link {
            return Err(ConfigError::WillOnOtherLink { link });
        }
        let len = self.payload.len().saturating_add(growth);
        if len > MAX_FIELD { Err(ConfigError::WillTooLarge { len }) } else { Ok(()) }
    }
}
