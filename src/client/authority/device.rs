//! One device of an authority: what it is to have, and how far it has come. Knows no network.

use core::fmt;
use std::string::String;
use std::vec::Vec;

use sha2::{Digest, Sha256};

use crate::keyring::Grant;
use crate::peer::{PeerId, PeerKey, SpkiHash};
use crate::schedule::RealmError;
use crate::store::key_file::{KeyFile, Share, ShareError};
use crate::store::ledger_file::{DIGEST_LEN, DeviceRow, Granted, Progress, Settings};
use crate::topic::{TopicError, TopicName};
use crate::update::{AckError, Entry, EntryError, Publisher, Snapshot, SnapshotError};
use crate::wire::SenderNumber;

/// In front of what is digested.
const DIGESTED: &[u8] = b"mqtt-seal v1 ledger digest\0";
const KEYS_DIGESTED: &[u8] = b"mqtt-seal v1 ledger keys\0";

/// Why a device is given no update: it keeps what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unfit {
    /// The key file does not have what the device is granted.
    Share(ShareError),
    /// Updates have no word for what it is granted.
    Entry(EntryError),
    /// The keys make no snapshot.
    Snapshot(SnapshotError),
    /// The device seals in compact form, and the key file allots no sender number to it.
    NoSender,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(error) => error.fmt(f),
            Self::Entry(error) => error.fmt(f),
            Self::Snapshot(error) => error.fmt(f),
            Self::NoSender => {
                f.write_str("the key file allots no sender number to the device: allot one")
            }
        }
    }
}

impl core::error::Error for Unfit {}

/// Why a row is no device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub(super) enum NoDevice {
    Id,
    Realm(RealmError),
    Topic(TopicError),
}

#[derive(Debug)]
pub(super) struct Device {
    pub(super) key: PeerKey,
    pub(super) response: String,
    pub(super) publisher: Publisher,
    pub(super) revoked: bool,
    pub(super) progress: Progress,
    /// Whether the broker may have lost what was published.
    pub(super) lost: bool,
    shares: Vec<Granted>,
    compact: bool,
}

/// What a device is to have.
pub(super) struct Wanted {
    entries: Vec<Entry>,
    pins: Vec<SpkiHash>,
    generation: u32,
    /// A digest of the keys of that generation.
    keys: [u8; DIGEST_LEN],
    /// The greatest generation of these that it has.
    known: u32,
    sender: Option<SenderNumber>,
}

impl Device {
    pub(super) fn new(
        settings: &Settings,
        id: &str,
        row: DeviceRow,
        progress: Progress,
    ) -> Result<Self, NoDevice> {
        let DeviceRow { key, shares, compact, revoked, .. } = row;
        let response = settings.response(id);
        TopicName::parse(&response).map_err(NoDevice::Topic)?;
        let id = PeerId::parse(id).map_err(|_| NoDevice::Id)?;
        let topics = settings.topics(id).map_err(NoDevice::Topic)?;
        let publisher = Publisher::new(&key, settings.realm(), id, topics);
        let publisher = publisher.map_err(NoDevice::Realm)?;
        let key = PeerKey::pairwise(&key, settings.realm()).map_err(NoDevice::Realm)?;
        Ok(Self { key, response, publisher, revoked, progress, lost: true, shares, compact })
    }

    /// Whether generation `generation` may seal for all that this device cares.
    pub(super) const fn is_waited_for(&self, generation: u32) -> bool {
        !self.revoked && self.progress.known < generation
    }

    /// What it is to have of `keys`. A device that was revoked is to have nothing.
    pub(super) fn wanted(
        &self,
        id: &str,
        keys: &KeyFile,
        pins: &[SpkiHash],
    ) -> Result<Wanted, Unfit> {
        if self.revoked {
            let (entries, pins, keys) = (Vec::new(), Vec::new(), [0; DIGEST_LEN]);
            let known = self.progress.known;
            return Ok(Wanted { entries, pins, generation: 0, keys, known, sender: None });
        }
        let sender =
            if self.compact { Some(keys.sender_of(id).ok_or(Unfit::NoSender)?) } else { None };
        let shares: Vec<Share<'_>> = self.shares.iter().map(Granted::share).collect();
        let own = keys.grant_for(&shares, None).map_err(Unfit::Share)?;
        let generation = own.grants().map(Grant::generation).max().unwrap_or_default();
        let newest = own.grants().filter(|grant| grant.generation() == generation);
        let keys = digest_of_keys(newest);
        let known = self.has_of(generation, &keys);
        let mut entries = Vec::with_capacity(own.grants().count());
        for grant in own.grants() {
            let grant = grant.again();
            let takes = |sender: &SenderNumber| self.has_to_take(*sender, &grant, known);
            let grant = match sender.filter(takes) {
                Some(sender) => grant.with_sender(sender),
                None => grant,
            };
            entries.push(Entry::new(grant).map_err(Unfit::Entry)?);
        }
        Ok(Wanted { entries, pins: pins.to_vec(), generation, keys, known, sender })
    }

    /// The greatest generation that it has, where `generation` with these keys is the greatest there
    /// is.
    fn has_of(&self, generation: u32, keys: &[u8; DIGEST_LEN]) -> u32 {
        let Progress { known, known_keys, .. } = &self.progress;
        // what it had beyond was erased, and its number may have been given to another key
        let same = known_keys == keys || *known_keys == [0; DIGEST_LEN];
        if *known == generation && !same {
            return generation.saturating_sub(1);
        }
        (*known).min(generation)
    }

    // SPEC §10, "The authority removes 9, under the next serial"
    fn has_to_take(&self, sender: SenderNumber, grant: &Grant, known: u32) -> bool {
        self.progress.known_sender != Some(sender) || grant.generation() > known
    }

    /// The snapshot of what it is to have: under the next serial if no serial has these contents
    /// yet. Whether it is a new one.
    // SPEC §10: a serial has one content
    pub(super) fn renew(&mut self, wanted: Wanted) -> Result<(Snapshot, bool), Unfit> {
        let Wanted { entries, pins, generation, keys, known: has, sender } = wanted;
        let serial = self.progress.serial;
        let new =
            |entries, pins, serial| Snapshot::new(serial, entries, pins).map_err(Unfit::Snapshot);
        let snapshot = new(entries, pins, 1)?;
        let digest = digest(&snapshot);
        let known = serial > 0 && digest == self.progress.digest;
        if !known {
            self.progress.serial = serial.saturating_add(1);
            self.progress.digest = digest;
            self.progress.offered = generation;
            self.progress.offered_keys = keys;
            self.progress.offered_sender = sender;
            self.progress.known = has;
        }
        Ok((snapshot.with_serial(self.progress.serial), !known))
    }

    /// Takes an acknowledgement; whether it is news.
    pub(super) fn acknowledge(
        &mut self,
        topic: &str,
        bytes: &[u8],
        now: u64,
    ) -> Result<Acknowledged, AckError> {
        let serial = self.publisher.acknowledged(topic, bytes)?;
        let progress = &mut self.progress;
        if serial > progress.serial {
            // a ledger of yesterday: what has this serial is not known here
            progress.serial = serial;
            progress.digest = [0; DIGEST_LEN];
            progress.seen = now;
            return Ok(Acknowledged::Ahead { serial });
        }
        if serial < progress.serial || serial <= progress.acknowledged {
            return Ok(Acknowledged::Old);
        }
        progress.acknowledged = serial;
        progress.known = progress.offered;
        progress.known_keys = progress.offered_keys;
        progress.known_sender = progress.offered_sender;
        progress.seen = now;
        Ok(Acknowledged::New { serial })
    }
}

/// What an acknowledgement says.
pub(super) enum Acknowledged {
    /// The device has the newest.
    New { serial: u64 },
    /// Nothing that is not known, or is no more of interest.
    Old,
    /// It has a newer one than there should be.
    Ahead { serial: u64 },
}

fn digest(snapshot: &Snapshot) -> [u8; DIGEST_LEN] {
    let text = snapshot.encode();
    Sha256::new().chain_update(DIGESTED).chain_update(&text).finalize().into()
}

/// What tells a generation from another that was given its number.
fn digest_of_keys<'g>(grants: impl Iterator<Item = &'g Grant>) -> [u8; DIGEST_LEN] {
    let start = Sha256::new().chain_update(KEYS_DIGESTED);
    grants.fold(start, |hash, grant| hash.chain_update(grant.parts().expose())).finalize().into()
}
