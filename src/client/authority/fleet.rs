//! All devices of an authority: who is answered, what is published, what a rotation waits for.
//! Knows no network, no file and no clock; the caller brings messages, durable writes and time.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};
use std::string::String;
use std::vec::Vec;

use super::device::{Acknowledged, Device, Unfit};
use super::step::{self, Situation, Step};
use crate::peer::{
    Action, Authority, BrokerName, Enrolled, PeerId, Record, RequestError, SpkiHash,
};
use crate::policy::DEFAULT_MAX_SKEW_MS;
use crate::session::Entropy;
use crate::store::key_file::KeyFile;
use crate::store::ledger_file::{Changes, Loaded, Progress, Rotation, Settings};
use crate::topic::TopicName;
use crate::update::{AckError, PublishError};
use crate::wire::control::Challenge;

/// A row of the ledger that is no device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadRow {
    /// Its id.
    pub device: String,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the ledger's row of {} is damaged: enrol it under another id", self.device)
    }
}

impl core::error::Error for BadRow {}

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outgoing {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Whether the broker is to retain it.
    pub retain: bool,
}

/// What became of a message that came in.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Heard {
    /// A challenge: publish the answer.
    #[non_exhaustive]
    Challenge {
        /// The device.
        device: String,
        /// The broker that the device is told the keys of.
        broker: String,
        /// The answer.
        answer: Outgoing,
    },
    /// An authentic challenge for the keys of a broker that is not vouched for: nothing is answered.
    /// The two have other names of the broker, or the device is connected to another.
    #[non_exhaustive]
    OtherBroker {
        /// The device.
        device: String,
        /// The broker, as the device is configured with it.
        broker: String,
    },
    /// A run was completed: the device is there.
    #[non_exhaustive]
    Seen {
        /// The device.
        device: String,
        /// The broker that it is connected to.
        broker: String,
    },
    /// The device has the newest that there is for it.
    #[non_exhaustive]
    Acknowledged {
        /// The device.
        device: String,
        /// The serial.
        serial: u64,
    },
    /// An acknowledgement that says nothing new: it was repeated, or a newer update is on its way.
    Old,
    /// The device has a newer update than the ledger knows of: an older copy of the ledger was put
    /// back. The device is given all it is to have anew, under a serial after that.
    #[non_exhaustive]
    Ahead {
        /// The device.
        device: String,
        /// The serial that it has.
        serial: u64,
    },
}

/// Why a message is not taken. None of it is told to whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeardError {
    /// It came on a topic that the authority does not listen to.
    OtherTopic,
    /// No device has this id.
    UnknownDevice,
    /// It is no challenge or confirmation that can be taken.
    Request(RequestError),
    /// It is no acknowledgement that can be taken.
    Acknowledgement(AckError),
}

impl fmt::Display for HeardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherTopic => f.write_str("the message came on another topic: it was ignored"),
            Self::UnknownDevice => f.write_str("no device has this id: it was ignored"),
            Self::Request(error) => error.fmt(f),
            Self::Acknowledgement(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for HeardError {}

/// What is to be stored, and then published. Only [`Fleet::prepare`] makes one.
#[derive(Debug)]
#[must_use = "what is not stored must not be published"]
pub struct Prepared {
    changes: Changes,
    outgoing: Vec<Outgoing>,
    updated: Vec<(String, u64)>,
    unfit: Vec<(String, Unfit)>,
}

impl Prepared {
    /// What to write to the ledger first.
    #[must_use]
    pub const fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Devices that are given a new update, and its serial.
    pub fn updated(&self) -> impl Iterator<Item = (&str, u64)> {
        self.updated.iter().map(|(device, serial)| (device.as_str(), *serial))
    }

    /// Devices that keep what they have, and why.
    pub fn unfit(&self) -> impl Iterator<Item = (&str, Unfit)> {
        self.unfit.iter().map(|(device, reason)| (device.as_str(), *reason))
    }

    /// The changes are on durable storage: this is to be published.
    #[must_use]
    pub fn stored(self) -> Vec<Outgoing> {
        self.outgoing
    }
}

/// The state of an authority between two messages.
#[derive(Debug)]
pub struct Fleet {
    settings: Settings,
    request: String,
    peer: Authority,
    devices: BTreeMap<String, Device>,
    pins: Vec<SpkiHash>,
    rotation: Option<Rotation>,
    /// The newest timestamp of an update, in Unix milliseconds.
    stamp: u64,
    connected: bool,
    offered: Option<u64>,
    /// Devices whose progress is not stored.
    changed: BTreeSet<String>,
    /// Devices for which there may be something to publish.
    due: BTreeSet<String>,
}

impl Fleet {
    /// An authority without devices. `started` is its clock now, in Unix milliseconds; devices may
    /// have brokers with any of `pins`.
    ///
    /// # Errors
    /// [`BadRow`] with the authority's id if the settings are none.
    pub fn new(settings: &Settings, pins: Vec<SpkiHash>, started: u64) -> Result<Self, BadRow> {
        let request = settings.request();
        let bad = || BadRow { device: settings.authority().into() };
        let id = PeerId::parse(settings.authority()).map_err(|_| bad())?;
        let topic = TopicName::parse(&request).map_err(|_| bad())?;
        let peer = Authority::new(id, topic, started);
        Ok(Self {
            settings: settings.clone(),
            request,
            peer,
            devices: BTreeMap::new(),
            pins,
            rotation: None,
            stamp: 0,
            connected: false,
            offered: None,
            changed: BTreeSet::new(),
            due: BTreeSet::new(),
        })
    }

    /// Vouches for a broker with these TLS keys; of none, devices accept no TLS link to it.
    pub fn vouch(&mut self, broker: BrokerName<'_>, pins: Vec<SpkiHash>) {
        self.peer.vouch(broker, pins);
    }

    /// Takes over what the ledger holds: at the start, and whenever somebody else changed it. Of
    /// devices that are known, their progress is not: here it is newer.
    ///
    /// # Errors
    /// [`BadRow`] with the first that is no device; those before it are taken.
    pub fn load(&mut self, loaded: Loaded) -> Result<(), BadRow> {
        self.rotation = loaded.rotation;
        self.stamp = self.stamp.max(loaded.stamp);
        for (id, row, progress) in loaded.devices {
            match self.devices.get_mut(&id) {
                Some(device) if device.revoked == row.revoked => continue,
                Some(device) => device.revoked = row.revoked,
                None => {
                    let device = Device::new(&self.settings, &id, row, progress);
                    let device = device.map_err(|_| BadRow { device: id.clone() })?;
                    self.devices.insert(id.clone(), device);
                }
            }
            self.offered = None;
            self.due.insert(id);
        }
        Ok(())
    }

    /// The key file was changed: every device may have to be given other keys.
    pub fn keys_changed(&mut self) {
        self.offered = None;
        self.due.extend(self.devices.keys().cloned());
    }

    /// There is a new connection: whatever was retained may be lost.
    pub fn connected(&mut self) {
        self.connected = true;
        for device in self.devices.values_mut() {
            device.lost = true;
        }
        self.keys_changed();
    }

    /// There is no connection: nothing is prepared until there is one.
    pub const fn disconnected(&mut self) {
        self.connected = false;
        self.offered = None;
    }

    /// The devices, and how far their updates have come.
    pub fn devices(&self) -> impl Iterator<Item = (&str, &Progress)> {
        self.devices.iter().map(|(id, device)| (id.as_str(), &device.progress))
    }

    /// Whether there may be something to publish now.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.connected && !self.due.is_empty()
    }

    /// Whether every device that is not revoked has acknowledged the newest there is for it.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let mut asked = self.devices.values().filter(|device| !device.revoked);
        self.offered.is_some() && asked.all(|device| device.progress.is_current())
    }

    /// By how many seconds the newest update is dated ahead of `now`, in Unix milliseconds, if devices
    /// whose clock says the same refuse it for that. Dates of updates never go back.
    #[must_use]
    pub fn ahead(&self, now: u64) -> Option<u64> {
        let ahead = self.stamp.saturating_sub(now);
        (ahead > DEFAULT_MAX_SKEW_MS).then_some(ahead / 1_000)
    }

    /// Takes a message. `now` is in Unix milliseconds; `extra` is what tells this run of the
    /// program from others. Whatever is forged leaves no trace.
    ///
    /// # Errors
    /// [`HeardError`].
    pub fn receive(
        &mut self,
        topic: &str,
        bytes: &[u8],
        now: u64,
        rng: &mut dyn Entropy,
        extra: &[&[u8]],
    ) -> Result<Heard, HeardError> {
        if topic == self.request {
            return self.request(&Record { topic, bytes, now }, rng, extra);
        }
        let id = self.settings.acknowledged_by(topic).ok_or(HeardError::OtherTopic)?;
        let device = self.devices.get_mut(id).ok_or(HeardError::UnknownDevice)?;
        let outcome = device.acknowledge(topic, bytes, now);
        let outcome = outcome.map_err(HeardError::Acknowledgement)?;
        let device = String::from(id);
        if !matches!(outcome, Acknowledged::Old) {
            self.changed.insert(device.clone());
            // it is asked to take no sender number any more, or everything has to be said again
            self.due.insert(device.clone());
        }
        Ok(match outcome {
            Acknowledged::New { serial } => Heard::Acknowledged { device, serial },
            Acknowledged::Ahead { serial } => Heard::Ahead { device, serial },
            Acknowledged::Old => Heard::Old,
        })
    }

    // SPEC §9
    fn request(
        &mut self,
        record: &Record<'_>,
        rng: &mut dyn Entropy,
        extra: &[&[u8]],
    ) -> Result<Heard, HeardError> {
        let Self { peer, devices, .. } = self;
        let ledger = |id: &str| {
            let device = devices.get(id).filter(|device| !device.revoked)?;
            let response = TopicName::parse(&device.response).ok()?;
            Some(Enrolled { key: &device.key, response, serial: device.progress.serial })
        };
        let mut payload = Vec::new();
        let action = match peer.receive(record, ledger, rng, extra, &mut payload) {
            Err(RequestError::UnknownBroker) => return other_broker(record.bytes),
            action => action.map_err(HeardError::Request)?,
        };
        match action {
            Action::Answer { topic, broker } => {
                let device = self.settings.answered_on(topic.as_str()).unwrap_or_default().into();
                let (topic, broker) = (topic.as_str().into(), broker.into());
                let answer = Outgoing { topic, payload, retain: false };
                Ok(Heard::Challenge { device, broker, answer })
            }
            Action::Accepted(run) => {
                let (device, broker) = (String::from(run.device()), String::from(run.broker()));
                if let Some(device) = self.devices.get_mut(&device) {
                    device.progress.seen = record.now;
                }
                self.changed.insert(device.clone());
                Ok(Heard::Seen { device, broker })
            }
        }
    }

    /// The next change of the key file, if it is time for one. `now` is in Unix milliseconds.
    #[must_use]
    pub fn step(&self, keys: &KeyFile, now: u64) -> Option<Step> {
        let (rotation, offered) = (self.rotation, self.offered);
        // nobody waits for one that was revoked, whatever it says
        let revoked = |id| self.devices.get(id).is_none_or(|device| device.revoked);
        let nothing_due = self.due.iter().all(revoked);
        let situation = Situation { rotation, offered, nothing_due, now };
        step::next(keys, &situation, |generation| {
            self.devices.values().filter(|device| device.is_waited_for(generation)).count()
        })
    }

    /// Seals what is to be published for at most `most` devices, with `keys` as they stand in the
    /// file. `now` is in Unix milliseconds; `extra` is what tells this run of the program from
    /// others.
    ///
    /// # Errors
    /// [`PublishError`]; nothing is to be published then, and the authority has to start anew.
    pub fn prepare(
        &mut self,
        keys: &KeyFile,
        now: u64,
        rng: &mut dyn Entropy,
        extra: &[&[u8]],
        most: usize,
    ) -> Result<Prepared, PublishError> {
        let stamp = now.max(self.stamp.saturating_add(1));
        let (mut outgoing, mut updated, mut unfit) = (Vec::new(), Vec::new(), Vec::new());
        let most = if self.connected { most } else { 0 };
        for _ in 0..most {
            let Some(id) = self.due.pop_first() else { break };
            let Some(device) = self.devices.get_mut(&id) else { continue };
            let renewed = device.wanted(&id, keys, &self.pins);
            let (snapshot, new) = match renewed.and_then(|wanted| device.renew(wanted)) {
                Ok(renewed) => renewed,
                Err(reason) => {
                    unfit.push((id, reason));
                    continue;
                }
            };
            if !new && !device.lost {
                continue;
            }
            device.lost = false;
            let mut payload = Vec::new();
            device.publisher.publish(&snapshot, stamp, rng, extra, &mut payload)?;
            let topic = device.publisher.topics().keys().into();
            outgoing.push(Outgoing { topic, payload, retain: true });
            if new {
                updated.push((id.clone(), snapshot.serial()));
                self.changed.insert(id);
            }
        }
        if self.connected && self.due.is_empty() {
            self.offered.get_or_insert(now);
        }
        let sealed = (!outgoing.is_empty()).then_some(stamp);
        self.stamp = sealed.unwrap_or(self.stamp);
        let changes = self.changes(sealed, keys);
        Ok(Prepared { changes, outgoing, updated, unfit })
    }

    /// What is to be stored.
    fn changes(&mut self, stamp: Option<u64>, keys: &KeyFile) -> Changes {
        let changed = core::mem::take(&mut self.changed).into_iter();
        let progress = changed.filter_map(|id| {
            let progress = self.devices.get(&id)?.progress;
            Some((id, progress))
        });
        let progress = progress.collect();
        let sealing = step::sealing(keys);
        let done = self.rotation.zip(sealing).is_some_and(|(order, active)| active > order.past);
        if done {
            self.rotation = None;
        }
        Changes { progress, stamp, sealing: sealing.filter(|_| done) }
    }
}

/// Who asks for the keys of a broker that is not vouched for, in a record that is authentic.
fn other_broker(record: &[u8]) -> Result<Heard, HeardError> {
    let error = HeardError::Request(RequestError::UnknownBroker);
    let (challenge, ..) = Challenge::parse(record).ok_or(error)?;
    Ok(Heard::OtherBroker { device: challenge.device.into(), broker: challenge.broker.into() })
}
