//! The device's side of its updates: which snapshot counts. Knows no storage and no clock.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::fmt;

use sha2::{Digest, Sha256};

use super::link::{Link, LinkError, OpenError, Opened};
use super::{PublishError, Snapshot, Topics, codec};
#[cfg(feature = "rumqttc")]
use crate::peer::PeerKey;
use crate::peer::{Authenticated, PeerId, Proof};
use crate::policy::DEFAULT_MAX_SKEW_MS;
use crate::replay::{Arrival, LatestRecord, Rejected};
use crate::schedule::{self, RealmError, auth};
use crate::secret::SharedKey;
use crate::session::{Authentic, Entropy};
use crate::wire::header::KeyId;

/// Why an update is not taken. The device's keys stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UpdateError {
    /// No serial is stored and no run was completed: the update could be an old one. Complete a
    /// run, and take the message again.
    NeedsRun,
    /// It does not open.
    Open(OpenError),
    /// It was delivered before, is older than the newest, or has no timestamp that fits.
    Rejected(Rejected),
    /// It opens, and is no snapshot, or one of reserved scopes or of the device's own key.
    Contents,
    /// Its serial is lower than it has to be: somebody rolled the update back.
    RolledBack {
        /// Its serial.
        serial: u64,
        /// The lowest that is taken.
        least: u64,
    },
    /// Its serial is the one that is stored, and its contents are others: of two authorities, or of
    /// one whose ledger of yesterday was put back. The next serial is taken again.
    OtherContents {
        /// Its serial.
        serial: u64,
    },
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeedsRun => f.write_str(
                "no serial is stored: complete a peer authentication before taking updates",
            ),
            Self::Open(error) => error.fmt(f),
            Self::Rejected(error) => error.fmt(f),
            Self::Contents => f.write_str("the update is no snapshot of keys for this device"),
            Self::RolledBack { serial, least } => {
                write!(f, "the update has serial {serial}, and {least} is the least: it is old")
            }
            Self::OtherContents { serial } => write!(
                f,
                "the update has serial {serial} as the stored one, and other keys: the authority \
                 runs twice or has an old ledger, order a rotation there"
            ),
        }
    }
}

impl core::error::Error for UpdateError {}

/// A run that says nothing of this device's updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WrongRun {
    /// It was made under a group key: any member could have said it.
    GroupMembership,
    /// It was made for another device or in another realm.
    OtherDevice,
}

impl fmt::Display for WrongRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GroupMembership => {
                "a run under a group key proves nothing about updates: use the pairwise key"
            }
            Self::OtherDevice => "the run was made for another device or realm",
        })
    }
}

impl core::error::Error for WrongRun {}

/// An update that should have come: the authority says that there is a newer one. Give the broker
/// a few seconds after the run before you report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Withheld {
    /// The highest serial that the device has stored.
    pub stored: Option<u64>,
    /// The serial that there should be.
    pub newest: u64,
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stored, newest } = self;
        match stored {
            Some(stored) => write!(f, "the newest key update is {newest}, only {stored} came"),
            None => write!(f, "the newest key update is {newest}, and none came"),
        }
    }
}

/// What came in.
#[derive(Debug)]
#[non_exhaustive]
pub enum Received<'r> {
    /// A newer snapshot: store it, and then call [`Update::stored`].
    New(Box<Update<'r>>),
    /// The one that is stored already. Nothing changes; acknowledge it again, since the first
    /// acknowledgement may have been lost.
    Known(AckDue),
}

/// That a serial is stored, to be told to the authority. Only the receiver makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AckDue {
    serial: u64,
}

impl AckDue {
    /// The serial.
    #[must_use]
    pub const fn serial(&self) -> u64 {
        self.serial
    }
}

/// A newer snapshot that is not in force yet. Dropped, it leaves no trace, and comes again.
#[derive(Debug)]
pub struct Update<'r> {
    receiver: &'r mut Receiver,
    record: LatestRecord,
    proof: Authentic,
    snapshot: Snapshot,
}

impl Update<'_> {
    /// The serial to store, together with the keys: a device that has stored the serial alone
    /// ignores the message when it comes again.
    #[must_use]
    pub const fn serial(&self) -> u64 {
        self.snapshot.serial
    }

    /// The keys to store.
    #[must_use]
    pub const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Serial, keys and first leases are on durable storage: the snapshot is in force. It takes
    /// the place of everything that came by updates before.
    #[must_use]
    pub fn stored(self) -> (Snapshot, AckDue) {
        let Self { receiver, mut record, proof, snapshot } = self;
        receiver.resume(&snapshot);
        record.confirm(&proof);
        receiver.record = Some(record);
        let ack = AckDue { serial: snapshot.serial };
        (snapshot, ack)
    }
}

/// Takes a device's updates.
#[derive(Debug)]
pub struct Receiver {
    link: Link,
    /// Of the key for peer authentication that belongs to the same pairwise key.
    key_id: KeyId,
    topics: Topics,
    device: String,
    realm: String,
    serial: Option<u64>,
    /// Of what is stored with that serial, as far as it is known.
    contents: Option<[u8; 32]>,
    /// The highest serial that the authority said there is.
    attested: Option<u64>,
    record: Option<LatestRecord>,
}

impl Receiver {
    /// The receiver of a device that shares `key` with its authority, and with nobody else.
    /// `serial` is the highest that the device has stored; without one, updates wait for a run.
    ///
    /// # Errors
    /// [`RealmError`] if `realm` is none.
    pub fn new(
        key: &SharedKey,
        realm: &str,
        device: PeerId<'_>,
        topics: Topics,
        serial: Option<u64>,
    ) -> Result<Self, RealmError> {
        let link = Link::new(key, realm, device)?;
        let key_id = auth::key_id(&auth::key(&schedule::root(key, realm)?));
        let (device, realm) = (device.as_str().into(), realm.into());
        let (contents, attested, record) = (None, None, None);
        Ok(Self { link, key_id, topics, device, realm, serial, contents, attested, record })
    }

    /// Where to listen, and where to acknowledge.
    #[must_use]
    pub const fn topics(&self) -> &Topics {
        &self.topics
    }

    /// The highest serial that is stored.
    #[must_use]
    pub const fn serial(&self) -> Option<u64> {
        self.serial
    }

    /// The ID of the key that updates are sealed under: it tells devices, realms and pairwise keys
    /// apart.
    #[cfg(feature = "rumqttc")]
    pub(crate) const fn kid(&self) -> KeyId {
        self.link.kid()
    }

    /// Takes up what is stored.
    pub(crate) fn resume(&mut self, stored: &Snapshot) {
        self.serial = Some(stored.serial);
        self.contents = Some(digest(stored));
    }

    /// Whether runs under `key` as `device` say something of this device's updates.
    #[cfg(feature = "rumqttc")]
    pub(crate) fn check(&self, key: &PeerKey, device: &str) -> Result<(), WrongRun> {
        self.check_run(key.proof(), key.id, device, &key.realm)
    }

    fn check_run(
        &self,
        proof: Proof,
        key_id: KeyId,
        device: &str,
        realm: &str,
    ) -> Result<(), WrongRun> {
        if proof != Proof::PeerAuthenticated {
            return Err(WrongRun::GroupMembership);
        }
        if key_id != self.key_id || device != self.device || realm != self.realm {
            return Err(WrongRun::OtherDevice);
        }
        Ok(())
    }

    /// Takes note of the newest serial from a completed run.
    ///
    /// # Errors
    /// [`WrongRun`] if the run says nothing of this device's updates; nothing is changed then.
    // SPEC §9, attest[2]
    pub fn attested(&mut self, run: &Authenticated) -> Result<(), WrongRun> {
        self.check_run(run.proof(), run.key_id, run.device(), run.realm())?;
        self.attested = self.attested.max(Some(run.attestation().serial));
        Ok(())
    }

    /// The update that the authority speaks of and the broker has not delivered.
    // SPEC §9, "attest[2] exposes a broker that withholds key updates"
    #[must_use]
    pub fn withheld(&self) -> Option<Withheld> {
        let newest = self.attested?;
        (newest > self.serial.unwrap_or(0)).then_some(Withheld { stored: self.serial, newest })
    }

    /// What is to be acknowledged beside an old update that is refused: the authority may have lost
    /// its memory of the newer ones.
    #[cfg(feature = "rumqttc")]
    pub(crate) fn due(&self) -> Option<AckDue> {
        self.serial.map(|serial| AckDue { serial })
    }

    /// Opens an update. Authenticated are the snapshot, the topic and the time. `retained` says
    /// whether the packet had RETAIN set; `now` is in Unix milliseconds, where there is a clock.
    ///
    /// # Errors
    /// [`UpdateError`], in the order of its variants. After [`UpdateError::NeedsRun`] the message
    /// can be taken again.
    pub fn open(
        &mut self,
        topic: &str,
        bytes: &[u8],
        retained: bool,
        now: Option<u64>,
    ) -> Result<Received<'_>, UpdateError> {
        let least = self.serial.or(self.attested).ok_or(UpdateError::NeedsRun)?;
        if topic != self.topics.keys {
            return Err(UpdateError::Open(OpenError::OtherTopic));
        }
        let opened = self.link.open(topic, bytes).map_err(UpdateError::Open)?;
        let record = self.judge(&opened, retained, now).map_err(UpdateError::Rejected)?;
        let snapshot = Snapshot::decode(&opened.text).ok_or(UpdateError::Contents)?;
        if snapshot.entries().iter().any(|entry| self.link.is_below(entry)) {
            return Err(UpdateError::Contents);
        }
        let serial = snapshot.serial;
        if serial < least {
            return Err(UpdateError::RolledBack { serial, least });
        }
        if self.serial == Some(serial) {
            if self.contents.is_some_and(|stored| stored != digest(&snapshot)) {
                return Err(UpdateError::OtherContents { serial });
            }
            self.record = Some(record);
            return Ok(Received::Known(AckDue { serial }));
        }
        let update = Update { receiver: self, record, proof: opened.proof, snapshot };
        Ok(Received::New(Box::new(update)))
    }

    /// The replay policy `latest` with TS.
    // SPEC §7.1
    fn judge(
        &self,
        opened: &Opened,
        retain: bool,
        now: Option<u64>,
    ) -> Result<LatestRecord, Rejected> {
        let timestamp = opened.timestamp.ok_or(Rejected::NotFresh)?;
        let ahead = |now: u64| timestamp > now.saturating_add(DEFAULT_MAX_SKEW_MS);
        if now.is_some_and(ahead) {
            return Err(Rejected::NotFresh);
        }
        let arrival = Arrival {
            timestamp: Some(timestamp),
            retain,
            now,
            max_skew: DEFAULT_MAX_SKEW_MS,
            confirm: false,
        };
        let Some(mut record) = self.record.clone() else {
            return Ok(LatestRecord::first(&opened.proof, &arrival));
        };
        record.accept(&opened.proof, &arrival).map(|_| record)
    }

    /// Seals an acknowledgement: `out` is replaced by what to publish on
    /// [`Topics::acknowledgements`].
    ///
    /// # Errors
    /// [`PublishError::NoEntropy`] if `rng` failed; `out` is empty then.
    pub fn acknowledge(
        &mut self,
        ack: AckDue,
        rng: &mut dyn Entropy,
        extra: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Result<(), PublishError> {
        let text = codec::write_ack(ack.serial);
        let sealed = self.link.seal(&self.topics.acknowledgements, None, &text, (rng, extra), out);
        sealed.map_err(|error: LinkError| error.into())
    }
}

/// Two snapshots with one serial have the same contents, or the authority lost its memory.
fn digest(snapshot: &Snapshot) -> [u8; 32] {
    Sha256::digest(&*snapshot.encode()).into()
}
