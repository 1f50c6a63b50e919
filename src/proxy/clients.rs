//! What is kept for each MQTT client over its connections: keys, replay state, and what it may send
//! again. Knows no packet and no socket.

use core::fmt;
use std::boxed::Box;
use std::collections::{HashMap, HashSet};
use std::string::String;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::vec::Vec;

use super::InForce;
use super::meters::{lock, unix_ms};
use super::sent::Sent;
use crate::guard::{Guard, GuardRx, GuardTx};
use crate::session::NoEntropy;

/// Clients that are kept without a connection; of more, those that left first are forgotten.
const MAX_KEPT: usize = 4_096;

/// One MQTT client.
pub(super) struct Client {
    pub(super) tx: GuardTx,
    pub(super) rx: GuardRx,
    pub(super) in_force: Arc<InForce>,
    pub(super) sent: Sent,
    /// IDs of messages that the client has taken with PUBREC and that wait for PUBREL.
    pub(super) held: HashSet<u16>,
    /// IDs of messages that did not reach the client, were taken for it with PUBREC, and wait for
    /// PUBREL.
    pub(super) swallowed: HashSet<u16>,
    /// Whether it ever asked for a shared subscription.
    pub(super) shares: bool,
}

impl Client {
    fn new(in_force: &Arc<InForce>, sent: Sent) -> Result<Self, NoEntropy> {
        let entropy = Box::new(getrandom::SysRng);
        let (tx, mut rx) = Guard::from_config(Arc::clone(&in_force.config), entropy)?.split();
        rx.confirm_manually();
        // else the first message would tell it, and be older than that
        rx.started(unix_ms());
        let in_force = Arc::clone(in_force);
        Ok(Self { tx, rx, in_force, sent, held: HashSet::new(), swallowed: HashSet::new(), shares: false })
    }

    fn replace(&mut self, in_force: &Arc<InForce>) {
        self.tx.replace(Arc::clone(&in_force.config));
        self.rx.replace(Arc::clone(&in_force.config));
        self.in_force = Arc::clone(in_force);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

/// A client as connections share it.
pub(super) type Shared = Arc<Mutex<Client>>;

/// All clients.
#[derive(Default)]
pub(super) struct Clients(Mutex<Known>);

#[derive(Default)]
struct Known {
    named: HashMap<String, (Shared, u64)>,
    /// Those too that have no name.
    all: Vec<Weak<Mutex<Client>>>,
    /// What a store held, of clients that did not come yet.
    stored: HashMap<String, Sent>,
    /// Counts connections, to tell which was last.
    clock: u64,
}

impl Clients {
    pub(super) fn with_stored(stored: HashMap<String, Sent>) -> Self {
        Self(Mutex::new(Known { stored, ..Known::default() }))
    }

    /// The client with this ID, new or known; one without is always new. Rules and keys are asked for
    /// under the lock, so that a new client misses no others.
    pub(super) fn get(
        &self,
        client_id: &str,
        in_force: impl FnOnce() -> Arc<InForce>,
    ) -> Result<Shared, NoEntropy> {
        let mut known = lock(&self.0);
        known.clock = known.clock.saturating_add(1);
        let clock = known.clock;
        if let Some((client, last)) = known.named.get_mut(client_id) {
            *last = clock;
            return Ok(Arc::clone(client));
        }
        let sent = known.stored.remove(client_id).unwrap_or_default();
        let client = Arc::new(Mutex::new(Client::new(&in_force(), sent)?));
        if known.all.len() >= known.all.capacity() {
            known.all.retain(|client| client.strong_count() > 0);
        }
        known.all.push(Arc::downgrade(&client));
        if !client_id.is_empty() {
            known.insert(client_id, &client);
        }
        Ok(client)
    }

    /// The broker has given a client this ID.
    pub(super) fn name(&self, client_id: &str, client: &Shared) {
        let mut known = lock(&self.0);
        known.clock = known.clock.saturating_add(1);
        known.insert(client_id, client);
    }

    /// Puts other rules and keys in force for all clients.
    pub(super) fn replace(&self, in_force: &Arc<InForce>) {
        let all: Vec<_> = lock(&self.0).all.iter().filter_map(Weak::upgrade).collect();
        for client in all {
            lock(&client).replace(in_force);
        }
    }
}

impl Known {
    fn insert(&mut self, client_id: &str, client: &Shared) {
        self.named.insert(client_id.into(), (Arc::clone(client), self.clock));
        // connections hold the others
        let kept = |(client, _): &&(Shared, u64)| Arc::strong_count(client) == 1;
        if self.named.len() > MAX_KEPT && self.named.values().filter(kept).count() > MAX_KEPT {
            let idle = self.named.iter().filter(|(_, entry)| kept(entry));
            let oldest = idle.min_by_key(|(_, (_, last))| *last).map(|(id, _)| id.clone());
            oldest.and_then(|id| self.named.remove(&id));
        }
    }
}

/// Holds a client for as long as bytes of it are dealt with.
pub(super) fn hold(client: &Shared) -> MutexGuard<'_, Client> {
    lock(client)
}
