//! The authority's side of one device's updates. Knows no storage and no clock.

use alloc::vec::Vec;
use core::fmt;

use super::link::{Link, LinkError, OpenError};
use super::{Snapshot, Topics, codec};
use crate::peer::PeerId;
use crate::schedule::RealmError;
use crate::secret::SharedKey;
use crate::session::{Entropy, NoEntropy};
use crate::wire::inner::MAX_TIMESTAMP;

/// Why an update was not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// An entry is the pairwise key of the device itself, which no other key may be.
    PairwiseKey,
    /// The random generator failed.
    NoEntropy(NoEntropy),
    /// The snapshot is longer than the AEAD takes.
    TooLarge,
    /// The clock, or the timestamp of the last update, is beyond what a message can say (2^48
    /// milliseconds).
    Clock,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PairwiseKey => {
                "an entry is the pairwise key of the device itself: send a group's key"
            }
            Self::NoEntropy(error) => return error.fmt(f),
            Self::TooLarge => "the snapshot is too large to be sealed: send fewer keys",
            Self::Clock => "the clock is beyond the year 10889: set it",
        })
    }
}

impl core::error::Error for PublishError {}

impl From<LinkError> for PublishError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::NoEntropy(error) => Self::NoEntropy(error),
            LinkError::TooLarge => Self::TooLarge,
        }
    }
}

/// Why an acknowledgement is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AckError {
    /// It does not open.
    Open(OpenError),
    /// It opens, and holds no serial.
    Contents,
}

impl fmt::Display for AckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Contents => f.write_str("the acknowledgement holds no serial"),
        }
    }
}

impl core::error::Error for AckError {}

/// Seals the updates of one device and opens its acknowledgements.
#[derive(Debug)]
pub struct Publisher {
    link: Link,
    topics: Topics,
    /// The timestamp of the last update, in Unix milliseconds.
    last: u64,
}

impl Publisher {
    /// The publisher for a device that shares `key` with its authority, and with nobody else.
    ///
    /// # Errors
    /// [`RealmError`] if `realm` is none.
    pub fn new(
        key: &SharedKey,
        realm: &str,
        device: PeerId<'_>,
        topics: Topics,
    ) -> Result<Self, RealmError> {
        Ok(Self { link: Link::new(key, realm, device)?, topics, last: 0 })
    }

    /// Goes on behind an update with this timestamp, of an earlier run of the program: devices do
    /// not take one that is older than the last, whatever the clock says after a restart.
    #[must_use]
    pub const fn resume(mut self, last: u64) -> Self {
        self.last = last;
        self
    }

    /// The timestamp of the last update, in Unix milliseconds, to be stored with it; 0 before the
    /// first.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// Where to publish, retained, and where to listen.
    #[must_use]
    pub const fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Seals an update: `out` is replaced by what to retain on [`Topics::keys`]. `now` is in Unix
    /// milliseconds; `extra` is what tells this run of the program from others.
    ///
    /// # Errors
    /// [`PublishError::PairwiseKey`], [`PublishError::Clock`], [`PublishError::NoEntropy`],
    /// [`PublishError::TooLarge`]. `out` holds no key then.
    // SPEC §10
    pub fn publish(
        &mut self,
        snapshot: &Snapshot,
        now: u64,
        rng: &mut dyn Entropy,
        extra: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Result<(), PublishError> {
        if snapshot.entries().iter().any(|entry| self.link.is_below(entry)) {
            return Err(PublishError::PairwiseKey);
        }
        // receivers take another session only with a later timestamp
        let timestamp = now.max(self.last.saturating_add(1));
        if timestamp > MAX_TIMESTAMP {
            return Err(PublishError::Clock);
        }
        let text = snapshot.encode();
        self.link.seal(&self.topics.keys, Some(timestamp), &text, (rng, extra), out)?;
        self.last = timestamp;
        Ok(())
    }

    /// Opens an acknowledgement and returns the serial that the device has stored. It may be an
    /// old one that was repeated: only a serial higher than those before is news.
    ///
    /// # Errors
    /// [`AckError`] with what is wrong with it.
    pub fn acknowledged(&self, topic: &str, bytes: &[u8]) -> Result<u64, AckError> {
        if topic != self.topics.acknowledgements {
            return Err(AckError::Open(OpenError::OtherTopic));
        }
        let opened = self.link.open(topic, bytes).map_err(AckError::Open)?;
        codec::read_ack(&opened.text).ok_or(AckError::Contents)
    }
}
