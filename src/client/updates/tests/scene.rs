//! A device, what it stores, and its authority; for tests.

use std::sync::{Arc, Mutex};
use std::vec;
use std::vec::Vec;

use zeroize::Zeroizing;

use crate::client::updates::KeyUpdates;
use crate::guard::Guard;
use crate::keyring::{Grant, Keyring};
use crate::peer::PeerId;
use crate::policy::{Links, Policy, Rule, RuleBuilder, Transport};
use crate::secret::SharedKey;
use crate::suite::Suite;
use crate::update::{Entry, KeyState, Publisher, Receiver, Snapshot, Taken, Topics, UpdateStore};
use crate::wire::Form;

pub(in crate::client) const KEYS: &str = "acme/keys/device";
pub(in crate::client) const ACK: &str = "acme/keys/device/ack";
pub(in crate::client) const NOW: u64 = 1_700_000_000_000;

pub(in crate::client) fn pairwise() -> SharedKey {
    SharedKey::take(&mut [42; 32])
}

pub(in crate::client) fn device() -> PeerId<'static> {
    PeerId::parse("device").unwrap()
}

fn topics() -> Topics {
    Topics::new("acme", device()).unwrap()
}

fn receiver() -> Receiver {
    Receiver::new(&pairwise(), "test", device(), topics(), None).unwrap()
}

/// What a device has stored, and whether it can store more.
#[derive(Clone, Default)]
pub(in crate::client) struct Memory(Arc<Mutex<(Option<Vec<u8>>, bool)>>);

#[derive(Debug)]
pub(in crate::client) struct Broken;

impl core::fmt::Display for Broken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the disk is full")
    }
}

impl core::error::Error for Broken {}

impl Memory {
    /// Loses its last byte.
    pub(in crate::client) fn cut(&self) {
        let mut stored = self.0.lock().unwrap();
        stored.0.as_mut().unwrap().pop();
    }

    pub(in crate::client) fn breaks(&self, yes: bool) {
        self.0.lock().unwrap().1 = yes;
    }

    /// With update 1 stored, which has generation 1.
    pub(in crate::client) fn with_first() -> Self {
        let first = snapshot(1, &[(1, KeyState::Active)]);
        let taken = Taken::carried(&first, None, &Keyring::default());
        let mut memory = Self::default();
        memory.write(&taken.encode(&first, receiver().kid())).unwrap();
        memory
    }

    pub(in crate::client) fn updates(&self) -> KeyUpdates {
        KeyUpdates::new(&pairwise(), "test", device(), "acme", self.clone()).unwrap()
    }
}

impl UpdateStore for Memory {
    type Error = Broken;

    fn read(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, Broken> {
        Ok(self.0.lock().unwrap().0.clone().map(Zeroizing::new))
    }

    fn write(&mut self, state: &[u8]) -> Result<(), Broken> {
        let mut stored = self.0.lock().unwrap();
        if stored.1 {
            return Err(Broken);
        }
        stored.0 = Some(state.into());
        Ok(())
    }
}

pub(in crate::client) fn grant(number: u8) -> Grant {
    let grant = Grant::shared(&SharedKey::take(&mut [number; 32]), "test").unwrap();
    grant.with_generation(number.into())
}

/// The generations in these states.
pub(in crate::client) fn snapshot(serial: u64, generations: &[(u8, KeyState)]) -> Snapshot {
    let entry =
        |&(number, state): &(u8, KeyState)| Entry::new(grant(number)).unwrap().with_state(state);
    Snapshot::new(serial, generations.iter().map(entry).collect(), vec![[5; 32]]).unwrap()
}

/// The authority's end.
pub(in crate::client) struct Authority(pub(in crate::client) Publisher, u64);

impl Authority {
    pub(in crate::client) fn new() -> Self {
        Self(Publisher::new(&pairwise(), "test", device(), topics()).unwrap(), NOW)
    }

    pub(in crate::client) fn seal(&mut self, snapshot: &Snapshot) -> Vec<u8> {
        self.1 = self.1.saturating_add(1_000);
        let mut out = Vec::new();
        self.0.publish(snapshot, self.1, &mut getrandom::SysRng, &[], &mut out).unwrap();
        out
    }

    pub(in crate::client) fn update(
        &mut self,
        serial: u64,
        generations: &[(u8, KeyState)],
    ) -> Vec<u8> {
        self.seal(&snapshot(serial, generations))
    }
}

pub(in crate::client) fn policy() -> Policy {
    let tcp = |rule: RuleBuilder| rule.transport(Transport::Tcp).build().unwrap();
    Policy::new(vec![
        tcp(Rule::clear(["clear/#"])),
        tcp(Rule::sealed(["compact/#"]).suite(Suite::Aes256GcmSiv).form(Form::Compact)),
        tcp(Rule::sealed(["#"])),
    ])
}

pub(in crate::client) fn guard_of(keyring: Vec<Grant>) -> Guard {
    Guard::new(policy(), Keyring::new(keyring), Links::Tcp).unwrap()
}
