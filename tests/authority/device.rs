//! A device as an application would build it: its own key, its own guard, its own storage.

use std::collections::BTreeMap;
use std::sync::Arc;

use mqtt_seal::guard::{Config, Guard, GuardRx, GuardTx, Incoming, OpenError, Outgoing, QoS};
use mqtt_seal::keyring::Keyring;
use mqtt_seal::peer::{Device as Peer, Hop, Record};
use mqtt_seal::policy::{Link, Links, Policy, Rule, Scope, Transport};
use mqtt_seal::replay::Rejected;
use mqtt_seal::store::device_file::DeviceFile;
use mqtt_seal::update::{
    Entry, KeyState, OpenError as UpdateFault, Received, Receiver, Snapshot, UpdateError,
};

use crate::now;

/// What a device does about a message.
#[derive(Default)]
pub(crate) struct Reaction {
    /// Published in answer: topic and payload.
    pub(crate) publish: Vec<(String, Vec<u8>)>,
    /// Application messages that were opened.
    pub(crate) opened: Vec<Vec<u8>>,
}

pub(crate) struct Device {
    pub(crate) id: String,
    pub(crate) online: bool,
    /// It was revoked, and goes on with the keys that it had.
    pub(crate) defiant: bool,
    peer: Peer,
    /// It has asked, and had no answer that it took.
    asked: bool,
    pub(crate) receiver: Receiver,
    pub(crate) snapshot: Option<Snapshot>,
    tx: GuardTx,
    rx: GuardRx,
    /// What has to wait for a run, or for keys.
    update: Option<Vec<u8>>,
    waiting: Vec<(String, Vec<u8>)>,
    /// The contents of each serial.
    contents: BTreeMap<u64, Vec<u8>>,
    request: String,
}

fn config(snapshot: Option<&Snapshot>) -> Arc<Config> {
    let rule = Rule::sealed(["plant/#"])
        .scope(Scope::Path { depth: 2 })
        .transport(Transport::Tcp)
        .build()
        .unwrap();
    let grants = snapshot.map(|snapshot| snapshot.grants(Some(now()), |_| None));
    let keyring = Keyring::new(grants.unwrap_or_default());
    Arc::new(Config::new(Policy::new(vec![rule]), keyring, Links::Tcp))
}

impl Device {
    pub(crate) fn new(file: &DeviceFile, broker: &str) -> Self {
        let names = file.names(broker).unwrap();
        let guard = Guard::from_config(config(None), Box::new(getrandom::SysRng)).unwrap();
        let (tx, rx) = guard.split();
        Self {
            id: file.device().into(),
            online: true,
            defiant: false,
            peer: Peer::new(file.peer_key().unwrap(), &names),
            asked: false,
            receiver: file.updates(None).unwrap(),
            snapshot: None,
            tx,
            rx,
            update: None,
            waiting: vec![],
            contents: BTreeMap::new(),
            request: file.request().into(),
        }
    }

    /// The challenge of a new run.
    pub(crate) fn ask(&mut self) -> (String, Vec<u8>) {
        let mut m1 = vec![];
        self.peer.start(now(), &mut getrandom::SysRng, &[self.id.as_bytes()], &mut m1).unwrap();
        self.asked = true;
        (self.request.clone(), m1)
    }

    /// The challenge of another run, if the answer to the last one did not come in its time.
    pub(crate) fn ask_again(&mut self) -> Option<(String, Vec<u8>)> {
        (self.asked && !self.peer.is_running(now())).then(|| self.ask())
    }

    /// An answer to a run: the confirmation, and what waited for it.
    pub(crate) fn answer(&mut self, topic: &str, bytes: &[u8]) -> Option<Reaction> {
        let mut m3 = vec![];
        let record = Record { topic, bytes, now: now() };
        let run = self.peer.receive(&record, Hop::Plain, &mut m3).ok()?;
        self.asked = false;
        self.receiver.attested(&run).unwrap();
        let waiting = self.update.take();
        let mut reaction = waiting.map(|bytes| self.update(&bytes, true)).unwrap_or_default();
        reaction.publish.push((self.request.clone(), m3));
        Some(reaction)
    }

    /// An update from the broker.
    pub(crate) fn update(&mut self, bytes: &[u8], retain: bool) -> Reaction {
        let topic = self.receiver.topics().keys().to_owned();
        let ack = match self.receiver.open(&topic, bytes, retain, Some(now())) {
            Ok(Received::New(update)) => {
                let text = update.snapshot().encode().to_vec();
                let known = self.contents.entry(update.serial()).or_insert_with(|| text.clone());
                assert_eq!(*known, text, "{}: a serial was used twice", self.id);
                let (snapshot, ack) = update.stored();
                if !self.defiant {
                    let config = config(Some(&snapshot));
                    self.tx.replace(Arc::clone(&config));
                    self.rx.replace(config);
                }
                self.snapshot = Some(snapshot);
                ack
            }
            Ok(Received::Known(ack)) => ack,
            Ok(other) => panic!("{}: {other:?}", self.id),
            Err(UpdateError::NeedsRun) => {
                self.update = Some(bytes.to_vec());
                return Reaction::default();
            }
            // an older one that was still on its way
            Err(UpdateError::Rejected(_)) => return Reaction::default(),
            Err(error) => panic!("{}: {error}", self.id),
        };
        let mut sealed = vec![];
        self.receiver.acknowledge(ack, &mut getrandom::SysRng, &[], &mut sealed).unwrap();
        let acknowledged = self.receiver.topics().acknowledgements().to_owned();
        let waiting = core::mem::take(&mut self.waiting);
        let opened = waiting.iter().filter_map(|(topic, bytes)| self.open(topic, bytes));
        let opened = opened.collect();
        Reaction { publish: vec![(acknowledged, sealed)], opened }
    }

    /// An application message; `None` if it has to wait for keys.
    pub(crate) fn open(&mut self, topic: &str, bytes: &[u8]) -> Option<Vec<u8>> {
        match self.try_open(topic, bytes) {
            Ok(text) => Some(text),
            Err(OpenError::UnknownKey) => {
                self.waiting.push((topic.into(), bytes.to_vec()));
                None
            }
            Err(OpenError::Rejected(Rejected::Duplicate)) => None,
            Err(error) => panic!("{}: {error}", self.id),
        }
    }

    pub(crate) fn try_open(&mut self, topic: &str, bytes: &[u8]) -> Result<Vec<u8>, OpenError> {
        let mut text = vec![];
        let message = Incoming::new(topic, bytes, Link::Tcp).at(Some(now()));
        self.rx.open(&message, &mut text).map(|_| text)
    }

    /// Seals an application message.
    pub(crate) fn seal(&mut self, text: &[u8]) -> (String, Vec<u8>) {
        let (topic, mut sealed) = (format!("plant/a/{}", self.id), vec![]);
        let message = Outgoing::new(&topic, text).qos(QoS::AtLeastOnce).at(Some(now()));
        self.tx.seal(&message, &mut sealed).unwrap();
        (topic, sealed)
    }

    /// Whether the update opens for this device, which it is not for.
    pub(crate) fn opens_update(&mut self, bytes: &[u8]) -> bool {
        let topic = self.receiver.topics().keys().to_owned();
        let outcome = self.receiver.open(&topic, bytes, true, Some(now()));
        !matches!(outcome, Err(UpdateError::Open(UpdateFault::UnknownKey)))
    }

    pub(crate) fn generations(&self, state: KeyState) -> Vec<u32> {
        let entries = self.snapshot.iter().flat_map(Snapshot::entries);
        entries.filter(|entry| entry.state() == state).map(Entry::generation).collect()
    }

    /// Whether it ever saw a key of a later generation.
    pub(crate) fn saw_after(&self, generation: u32) -> bool {
        let seen = self.contents.values().map(|text| Snapshot::decode(text).unwrap());
        let newest = |snapshot: Snapshot| {
            snapshot.entries().iter().any(|entry| entry.generation() > generation)
        };
        seen.into_iter().any(newest)
    }
}
