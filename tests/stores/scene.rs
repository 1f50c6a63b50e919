//! A receiver, what is sealed for it, and its log in a folder of its own.

use std::path::{Path, PathBuf};

use mqtt_seal::guard::{
    Delivery, Guard, GuardRx, GuardTx, Incoming, OpenError, OpenWithLogError, Outgoing, Prefer,
    ReplayLog,
};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::policy::{Link, Links, Policy, Replay, Rule};
use mqtt_seal::replay::{Rejected, Verdict};
use mqtt_seal::secret::SharedKey;
use mqtt_seal::store::replay_file::ReplayFile;

/// A sealed message; its payload is its number.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) sealed: Vec<u8>,
}

impl Message {
    /// Opens it, as a receiver does that has its log at hand.
    pub(crate) fn deliver<L: ReplayLog>(
        &self,
        rx: &mut GuardRx,
        log: &mut L,
    ) -> Result<(Delivery, Vec<u8>), OpenWithLogError<L::Error>> {
        let mut out = vec![];
        let incoming = Incoming::new(&self.topic, &self.sealed, Link::Tcp);
        rx.open_with_log(&incoming, &mut out, log).map(|delivery| (delivery, out))
    }

    /// The verdict alone.
    pub(crate) fn open<L: ReplayLog<Error: core::fmt::Debug>>(
        &self,
        rx: &mut GuardRx,
        log: &mut L,
    ) -> Result<Verdict, Rejected> {
        match self.deliver(rx, log) {
            Ok((delivery, _)) => Ok(delivery.verdict.unwrap()),
            Err(OpenWithLogError::Open(OpenError::Rejected(rejected))) => Err(rejected),
            Err(error) => panic!("{error:?}"),
        }
    }
}

pub(crate) fn guard() -> Guard {
    let policy = Policy::new(vec![
        Rule::sealed(["value/#"]).replay(Replay::Latest).build().unwrap(),
        Rule::sealed(["event/#"]).build().unwrap(),
    ]);
    let grant = Grant::shared(&SharedKey::take(&mut [7; 32]), "acme-prod").unwrap();
    Guard::new(policy, Keyring::new(vec![grant]), Links::Tcp).unwrap()
}

/// A receiver that takes up what `log` holds.
pub(crate) fn receiver<L: ReplayLog<Error: core::fmt::Debug>>(
    log: &mut L,
    prefer: Prefer,
) -> GuardRx {
    guard().with_replay_log(log, prefer).unwrap().split().1
}

/// The next message of a sender.
pub(crate) fn seal(tx: &mut GuardTx, topic: &str, number: usize) -> Message {
    let mut sealed = vec![];
    tx.seal(&Outgoing::new(topic, number.to_string().as_bytes()), &mut sealed).unwrap();
    Message { topic: topic.into(), sealed }
}

/// A log in a folder that goes with it.
pub(crate) struct Scene(tempfile::TempDir);

impl Scene {
    pub(crate) fn new() -> (Self, ReplayFile) {
        let scene = Self(tempfile::tempdir().unwrap());
        let log = ReplayFile::create(scene.path()).unwrap();
        (scene, log)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder().join("replay")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    /// The log, opened anew.
    pub(crate) fn log(&self) -> ReplayFile {
        ReplayFile::open(self.path()).unwrap()
    }

    /// The file as a power cut would leave it now.
    pub(crate) fn copy(&self) -> PathBuf {
        let copy = self.folder().join("copy");
        std::fs::copy(self.path(), &copy).unwrap();
        copy
    }
}

/// So many messages of one session on one topic, with counters from 0 on.
pub(crate) fn messages(count: usize) -> Vec<Message> {
    let (mut tx, _) = guard().split();
    (0..count).map(|number| seal(&mut tx, "event/a", number)).collect()
}

/// The same on a topic of which the newest value counts.
pub(crate) fn values(count: usize) -> Vec<Message> {
    let (mut tx, _) = guard().split();
    (0..count).map(|number| seal(&mut tx, "value/a", number)).collect()
}
