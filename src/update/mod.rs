//! Key updates over MQTT: how a device's keys change while it is away or running. Knows no MQTT
//! client, no storage and no clock; the caller brings messages, durable writes and time.
//!
//! For each device there is one retained message, a full [`Snapshot`] of its keys, sealed under a
//! scope that only the device and its authority have. The authority makes it with a
//! [`Publisher`]; the [`Receiver`] of the device takes it if its serial is higher than the highest
//! that was stored, and acknowledges it.
//!
//! ```
//! use mqtt_seal::keyring::Grant;
//! use mqtt_seal::peer::PeerId;
//! use mqtt_seal::secret::SharedKey;
//! use mqtt_seal::update::{Entry, Publisher, Received, Receiver, Snapshot, Topics};
//!
//! // 32 random bytes, from your provisioning, that only these two hold
//! let pairwise = SharedKey::take(&mut [7; 32]);
//! let id = PeerId::parse("sensor-7")?;
//! let topics = || Topics::new("acme", id);
//! let mut publisher = Publisher::new(&pairwise, "acme-prod", id, topics()?)?;
//! let mut receiver = Receiver::new(&pairwise, "acme-prod", id, topics()?, Some(4))?;
//!
//! let group = SharedKey::take(&mut [9; 32]);
//! let entry = Entry::new(Grant::shared(&group, "acme-prod")?.with_generation(2))?;
//! let snapshot = Snapshot::new(5, vec![entry], vec![])?;
//! let (mut sealed, mut rng) = (Vec::new(), getrandom::SysRng);
//! let now = 1_800_000_000_000; // Unix milliseconds
//! publisher.publish(&snapshot, now, &mut rng, &[], &mut sealed)?;
//!
//! let Received::New(update) = receiver.open("acme/keys/sensor-7", &sealed, true, Some(now))?
//!     else { panic!("5 is more than 4") };
//! // here the device writes update.serial() and the keys to its storage, in one step
//! let (snapshot, ack) = update.stored();
//! assert_eq!(snapshot.grants(Some(now), |_| None).len(), 1);
//! receiver.acknowledge(ack, &mut rng, &[], &mut sealed)?;
//! assert_eq!(publisher.acknowledged("acme/keys/sensor-7/ack", &sealed)?, 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod codec;
mod entry;
#[cfg(feature = "rumqttc")]
mod held;
mod link;
mod publisher;
mod receiver;
mod store;

use alloc::{format, string::String, vec::Vec};
use core::fmt;

use zeroize::Zeroizing;

pub use entry::{Entry, EntryError, KeyState, SenderStep};
#[cfg(feature = "rumqttc")]
pub use held::StateError;
#[cfg(feature = "rumqttc")]
pub(crate) use held::{Held, Taken};
pub use link::OpenError;
pub use publisher::{AckError, PublishError, Publisher};
pub use receiver::{AckDue, Received, Receiver, Update, UpdateError, Withheld, WrongRun};
pub use store::UpdateStore;

use crate::keyring::Grant;
use crate::peer::{PeerId, SpkiHash};
use crate::topic::{TopicError, TopicName};
use crate::wire::header::SenderNumber;

/// The two topics of a device's updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    keys: String,
    acknowledgements: String,
}

impl Topics {
    /// `<prefix>/keys/<id>` and `<prefix>/keys/<id>/ack`.
    ///
    /// # Errors
    /// [`TopicError`] if these are no topic names, or none that can be subscribed.
    // SPEC §10
    pub fn new(prefix: &str, device: PeerId<'_>) -> Result<Self, TopicError> {
        let keys = format!("{prefix}/keys/{}", device.as_str());
        let acknowledgements = format!("{keys}/ack");
        TopicName::parse(&acknowledgements)?.subscribable()?;
        Ok(Self { keys, acknowledgements })
    }

    /// Where updates are retained.
    #[must_use]
    pub fn keys(&self) -> &str {
        &self.keys
    }

    /// Where the device acknowledges them.
    #[must_use]
    pub fn acknowledgements(&self) -> &str {
        &self.acknowledgements
    }
}

/// Why entries make no snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The serial is 0, which says that there is no update.
    SerialZero,
    /// Two entries are about the same generation of the same key.
    SameKeyTwice {
        /// The place of the second of them.
        entry: usize,
    },
    /// Two generations of the same key are active at the same time, by their dates.
    TwoActive {
        /// The place of one of them.
        entry: usize,
    },
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SerialZero => f.write_str("serials begin with 1: 0 says that there is no update"),
            Self::SameKeyTwice { entry } => {
                write!(f, "entry {entry} repeats a generation of a key: leave one of them out")
            }
            Self::TwoActive { entry } => {
                write!(f, "entry {entry} is active beside another generation: retire one of them")
            }
        }
    }
}

impl core::error::Error for SnapshotError {}

/// All that a device has by key updates: what is not in it is erased.
#[derive(Debug)]
pub struct Snapshot {
    serial: u64,
    entries: Vec<Entry>,
    pins: Vec<SpkiHash>,
}

impl Snapshot {
    /// The snapshot with this serial, which is higher than every one before: these keys, and the
    /// TLS keys that the device's broker may have.
    ///
    /// # Errors
    /// [`SnapshotError`] with the first that holds, in the order of its variants.
    pub fn new(
        serial: u64,
        entries: Vec<Entry>,
        pins: Vec<SpkiHash>,
    ) -> Result<Self, SnapshotError> {
        if serial == 0 {
            return Err(SnapshotError::SerialZero);
        }
        if let Some(entry) = repeated(&entries) {
            return Err(SnapshotError::SameKeyTwice { entry });
        }
        if let Some(entry) = active_together(&entries) {
            return Err(SnapshotError::TwoActive { entry });
        }
        Ok(Self { serial, entries, pins })
    }

    /// The same under another serial, which is not 0.
    #[cfg(all(feature = "rumqttc", feature = "serde", feature = "store"))]
    pub(crate) const fn with_serial(mut self, serial: u64) -> Self {
        self.serial = serial;
        self
    }

    /// Its number: the higher one is the newer.
    #[must_use]
    pub const fn serial(&self) -> u64 {
        self.serial
    }

    /// The keys.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The TLS keys that the device's broker may have.
    #[must_use]
    pub fn pins(&self) -> &[SpkiHash] {
        &self.pins
    }

    /// The keys that open or seal at `now`, in Unix milliseconds, for a keyring that takes the
    /// place of everything that came by updates before; `leased` tells the sender number that a
    /// counter store of the device has a lease for, under the key of an entry. Ask again at every
    /// date of [`Snapshot::next_date`].
    #[must_use]
    pub fn grants(
        &self,
        now: Option<u64>,
        leased: impl Fn(&Entry) -> Option<SenderNumber>,
    ) -> Vec<Grant> {
        let mut grants = Vec::with_capacity(self.entries.len());
        grants.extend(self.entries.iter().filter_map(|entry| entry.grant(now, leased(entry))));
        grants
    }

    /// The next moment at which [`Snapshot::grants`] changes, in Unix milliseconds.
    #[must_use]
    pub fn next_date(&self, now: u64) -> Option<u64> {
        self.entries.iter().flat_map(Entry::dates).filter(|date| *date > now).min()
    }

    /// The plain text of an update.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut len = 0_usize;
        codec::write(self, |part| len = len.saturating_add(part.len()));
        // all of it at once: what a vector leaves behind when it grows would not be wiped
        let mut bytes = Zeroizing::new(Vec::with_capacity(len));
        codec::write(self, |part| bytes.extend_from_slice(part));
        bytes
    }

    /// Reads the plain text of an update; `None` if it is not exactly what the format says.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        codec::read(bytes)
    }
}

/// The place of an entry about a generation of a key that another is about.
fn repeated(entries: &[Entry]) -> Option<usize> {
    let mut sorted: Vec<_> = entries.iter().enumerate().collect();
    sorted.sort_by_key(|(at, entry)| (entry.target(), entry.generation(), *at));
    let same = |a: &Entry, b: &Entry| (a.target(), a.generation()) == (b.target(), b.generation());
    pairs(&sorted).find(|((_, a), (_, b))| same(a, b)).map(|(_, (at, _))| at)
}

/// The place of an entry that is active while another generation of the same key is.
// SPEC §4, "exactly one per scope"
fn active_together(entries: &[Entry]) -> Option<usize> {
    let active = |(_, entry): &(usize, &Entry)| entry.state() == KeyState::Active;
    let mut sorted: Vec<_> = entries.iter().enumerate().filter(active).collect();
    sorted.sort_by_key(|(_, entry)| (entry.target(), entry.not_before()));
    let together = |a: &Entry, b: &Entry| {
        a.target() == b.target() && a.not_after().is_none_or(|end| Some(end) >= b.not_before())
    };
    pairs(&sorted).find(|((_, a), (_, b))| together(a, b)).map(|(_, (at, _))| at)
}

/// Each item with the next.
fn pairs<T: Copy>(items: &[T]) -> impl Iterator<Item = (T, T)> {
    items.iter().copied().zip(items.iter().copied().skip(1))
}

#[cfg(test)]
mod tests;
