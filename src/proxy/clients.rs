//! What is kept for each MQTT client over its connections: keys, replay state, and what it may send
//! again. Knows no packet and no socket.

use core::fmt;
use std::boxed::Box;
use std::collections::{HashMap, HashSet};
use std::string::String;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::vec::Vec;

use super::keeper::{Keeper, Mark};
use super::meters::{Count, lock, unix_ms};
use super::sent::{Entry, Progress, Sent};
use super::{InForce, row};
use crate::guard::{Guard, GuardRx, GuardTx, Prefer, Receipt, RestoreError, RowKey, Write};
use crate::policy::{Payload, Transport};
use crate::session::NoEntropy;
use crate::topic::TopicName;

/// Clients that are kept without a connection; of more, those that left first are forgotten.
const MAX_KEPT: usize = 4_096;
/// Clients of which only the store knows; of more, those whose last row is the oldest are forgotten
/// there, too. Programs without a client ID of their own take another one each time.
const MAX_STORED: usize = 16_384;
/// Bytes of messages that are kept for all clients without a connection together: each of them may
/// have a good part of it.
const MAX_AWAY_BYTES: usize = 256 << 20;

/// One MQTT client.
pub(super) struct Client {
    pub(super) tx: GuardTx,
    pub(super) rx: GuardRx,
    pub(super) in_force: Arc<InForce>,
    pub(super) sent: Sent,
    /// IDs of messages of `QoS` 2 that the client was given and that are not completed: it may have
    /// taken them, although its PUBREC did not arrive.
    pub(super) held: HashSet<u16>,
    /// IDs of messages that did not reach the client, were taken for it with PUBREC, and wait for
    /// PUBREL.
    pub(super) swallowed: HashSet<u16>,
    log: Option<Log>,
}

/// What a store holds of a client.
#[derive(Default)]
pub(super) struct Stored {
    pub(super) sent: Sent,
    pub(super) rows: HashMap<RowKey, (u64, Vec<u8>)>,
}

impl Stored {
    /// The numbers of all rows.
    fn numbers(&self) -> impl Iterator<Item = u64> {
        self.rows.values().map(|(number, _)| *number).chain(self.sent.rows())
    }
}

/// Forgets those clients of which there are too many, the oldest first; the rows to delete.
fn trim(stored: &mut HashMap<String, Stored>) -> Vec<u64> {
    let more = stored.len().saturating_sub(MAX_STORED);
    if more == 0 {
        return Vec::new();
    }
    let mut ages: Vec<_> =
        stored.iter().map(|(id, stored)| (stored.numbers().max(), id.clone())).collect();
    ages.sort_unstable();
    let gone = ages.iter().take(more).filter_map(|(_, id)| stored.remove(id));
    gone.flat_map(|stored| stored.numbers().collect::<Vec<_>>()).collect()
}

/// Replay state in the store.
struct Log {
    client_id: String,
    keeper: Arc<Keeper>,
    rows: HashMap<RowKey, (u64, Vec<u8>)>,
}

impl Log {
    /// Asks for `writes` to be stored, in one step; the mark is reached when they are durable.
    fn write(&mut self, writes: Vec<Write>) -> Option<Mark> {
        if writes.is_empty() {
            return None;
        }
        let mut changed = HashMap::new();
        for write in writes {
            match write {
                Write::Put(key, value) => changed.insert(key, Some(value)),
                Write::Delete(key) => changed.insert(key, None),
            };
        }
        let gone = changed.keys().filter_map(|key| self.rows.remove(key));
        let gone = gone.map(|(number, _)| number).collect();
        let put: Vec<_> =
            changed.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        let rows = put.iter().map(|(key, value)| row::replay(&self.client_id, key, value));
        let (first, mark) = self.keeper.write(rows.collect(), gone);
        for (number, (key, value)) in (first..).zip(put) {
            self.rows.insert(key, (number, value));
        }
        Some(mark)
    }
}

/// Why a client is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientError {
    NoEntropy(NoEntropy),
    /// What the store holds of it is no good.
    Restore(RestoreError),
}

impl Client {
    /// A client; `store` says where its replay state outlives the process, and under which ID. What
    /// is `stored` is taken only if the client is served.
    fn new(
        in_force: &Arc<InForce>,
        stored: &mut Stored,
        store: Option<(&str, &Arc<Keeper>)>,
    ) -> Result<Self, ClientError> {
        let entropy = Box::new(getrandom::SysRng);
        let guard = Guard::from_config(Arc::clone(&in_force.config), entropy);
        let (tx, mut rx) = guard.map_err(ClientError::NoEntropy)?.split();
        rx.confirm_manually();
        // else the first message would tell it, and be older than that
        rx.started(unix_ms());
        let mut log = None;
        if let Some((client_id, keeper)) = store {
            let rows = stored.rows.iter().map(|(key, (_, value))| (*key, value.clone()));
            // what was not acknowledged comes again, rather than never
            let writes = rx.restore(rows.collect(), Prefer::NoLoss);
            let writes = writes.map_err(ClientError::Restore)?;
            let (client_id, keeper) = (client_id.into(), Arc::clone(keeper));
            let rows = core::mem::take(&mut stored.rows);
            log.insert(Log { client_id, keeper, rows }).write(writes);
        }
        Ok(Self {
            tx,
            rx,
            in_force: Arc::clone(in_force),
            sent: core::mem::take(&mut stored.sent),
            held: HashSet::new(),
            swallowed: HashSet::new(),
            log,
        })
    }

    /// Whether what is known of it outlives the process.
    pub(super) const fn is_stored(&self) -> bool {
        self.log.is_some()
    }

    /// Stores replay state; the mark is reached when it is durable. `None` if there is nothing to
    /// wait for.
    pub(super) fn log(&mut self, writes: Vec<Write>) -> Option<Mark> {
        self.log.as_mut()?.write(writes)
    }

    /// The client has dealt with a message: the broker may hear of it when the mark is reached.
    pub(super) fn confirm(&mut self, receipt: Option<Receipt>) -> Option<Mark> {
        let writes = self.rx.confirm(receipt?);
        self.log(writes)
    }

    fn replace(&mut self, in_force: &Arc<InForce>) {
        self.tx.replace(Arc::clone(&in_force.config));
        self.rx.replace(Arc::clone(&in_force.config));
        self.in_force = Arc::clone(in_force);
        let policy = in_force.config.policy();
        // what was sent in clear and waits is not sent so again where it has to be sealed, or to
        // take another link
        self.sent.keep_passed(|topic| {
            let topic = TopicName::parse(topic).ok();
            let rule = topic.and_then(|topic| policy.rules().iter().find(|r| r.matches(topic)));
            rule.is_some_and(|rule| {
                matches!(rule.payload(), Payload::Clear | Payload::Observe { .. })
                    && rule.transport() == Transport::Tcp
            })
        });
        let writes = self.rx.take_writes();
        self.log(writes);
    }

    /// Ends the use of the store cleanly; nothing is opened any more. What the store holds then.
    fn stop(&mut self) -> Option<Stored> {
        let writes = self.rx.stop();
        self.log(writes);
        let rows = self.log.take()?.rows;
        Some(Stored { sent: core::mem::take(&mut self.sent), rows })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

/// A client as connections share it.
pub(super) type Shared = Arc<Mutex<Client>>;

/// Deletes rows of clients that are forgotten.
fn forget(keeper: Option<&Arc<Keeper>>, rows: Vec<u64>) {
    if let Some(keeper) = keeper.filter(|_| !rows.is_empty()) {
        tracing::warn!(rows = rows.len(), "the store forgets clients that were away for longest");
        keeper.write(Vec::new(), rows);
    }
}

/// All clients.
pub(super) struct Clients {
    known: Mutex<Known>,
    /// See [`MAX_AWAY_BYTES`].
    pub(super) max_away: usize,
    /// Messages that were not acknowledged and are forgotten, to make room for others.
    pub(super) forgotten: Count,
}

impl Default for Clients {
    fn default() -> Self {
        Self::new(HashMap::new(), None)
    }
}

#[derive(Default)]
struct Known {
    named: HashMap<String, (Shared, u64)>,
    /// Those too that have no name.
    all: Vec<Weak<Mutex<Client>>>,
    /// What a store held, of clients that did not come yet.
    stored: HashMap<String, Stored>,
    keeper: Option<Arc<Keeper>>,
    /// Counts connections and their ends, to tell which was last.
    clock: u64,
}

impl Clients {
    /// None yet; of some a store holds something already.
    pub(super) fn new(mut stored: HashMap<String, Stored>, keeper: Option<Arc<Keeper>>) -> Self {
        forget(keeper.as_ref(), trim(&mut stored));
        let known = Mutex::new(Known { stored, keeper, ..Known::default() });
        let clients = Self { known, max_away: MAX_AWAY_BYTES, forgotten: Count::default() };
        clients.bound();
        clients
    }

    /// A client has left that may have messages open: what is kept for all that are away is within
    /// its bound then, and it is the last of them.
    pub(super) fn left(&self, client_id: &str) {
        {
            let mut known = lock(&self.known);
            known.clock = known.clock.saturating_add(1);
            let clock = known.clock;
            if let Some((_, last)) = known.named.get_mut(client_id) {
                *last = clock;
            }
        }
        self.bound();
    }

    fn bound(&self) {
        self.forgotten.add(lock(&self.known).bound(self.max_away));
    }

    /// The client with this ID, new or known; one without is always new. Rules and keys are asked for
    /// under the lock, so that a new client misses no others.
    pub(super) fn get(
        &self,
        client_id: &str,
        in_force: impl FnOnce() -> Arc<InForce>,
    ) -> Result<Shared, ClientError> {
        let mut known = lock(&self.known);
        known.clock = known.clock.saturating_add(1);
        let clock = known.clock;
        if let Some((client, last)) = known.named.get_mut(client_id) {
            *last = clock;
            return Ok(Arc::clone(client));
        }
        let found = known.stored.remove(client_id);
        let (was_stored, mut stored) = (found.is_some(), found.unwrap_or_default());
        let store = known.keeper.as_ref().filter(|_| !client_id.is_empty());
        let store = store.map(|keeper| (client_id, keeper));
        let client = match Client::new(&in_force(), &mut stored, store) {
            Ok(client) => Arc::new(Mutex::new(client)),
            Err(error) => {
                // else its next attempt would be served as if nothing had ever been received
                if was_stored {
                    known.stored.insert(client_id.into(), stored);
                }
                return Err(error);
            }
        };
        if known.all.len() >= known.all.capacity() {
            known.all.retain(|client| client.strong_count() > 0);
        }
        known.all.push(Arc::downgrade(&client));
        if !client_id.is_empty() {
            self.forgotten.add(known.insert(client_id, &client));
        }
        Ok(client)
    }

    /// The broker has given a client this ID. Whether it has: one that is known by it keeps it, or
    /// whoever gives an ID twice would put the replay state of the first out of use.
    pub(super) fn name(&self, client_id: &str, client: &Shared) -> bool {
        let mut known = lock(&self.known);
        if known.named.contains_key(client_id) || known.stored.contains_key(client_id) {
            return false;
        }
        known.clock = known.clock.saturating_add(1);
        self.forgotten.add(known.insert(client_id, client));
        true
    }

    /// Ends the use of the store, when no connection is left.
    pub(super) fn stop(&self) {
        let all: Vec<_> = lock(&self.known).all.iter().filter_map(Weak::upgrade).collect();
        for client in all {
            lock(&client).stop();
        }
    }

    /// Puts other rules and keys in force for all clients.
    pub(super) fn replace(&self, in_force: &Arc<InForce>) {
        let all: Vec<_> = lock(&self.known).all.iter().filter_map(Weak::upgrade).collect();
        for client in all {
            lock(&client).replace(in_force);
        }
    }
}

impl Known {
    /// Adds a client. How many open messages of another are forgotten for it.
    fn insert(&mut self, client_id: &str, client: &Shared) -> u64 {
        self.named.insert(client_id.into(), (Arc::clone(client), self.clock));
        if self.named.len() <= MAX_KEPT
            || self.named.values().filter(|one| is_away(one)).count() <= MAX_KEPT
        {
            return 0;
        }
        let away = self.named.iter().filter(|(_, entry)| is_away(entry));
        let oldest = away.min_by_key(|(_, (_, last))| *last).map(|(id, _)| id.clone());
        let Some((id, client)) = oldest.and_then(|id| {
            let (client, _) = self.named.remove(&id)?;
            Some((id, client))
        }) else {
            return 0;
        };
        let mut client = lock(&client);
        if let Some(stored) = client.stop() {
            self.stored.insert(id, stored);
            forget(self.keeper.as_ref(), trim(&mut self.stored));
            return 0;
        }
        told(&id, &client.sent.forget(true))
    }

    /// Forgets messages until those of clients without a connection have `max` bytes at most, those of
    /// clients first that left first. How many of them were open.
    fn bound(&mut self, max: usize) -> u64 {
        let away = self.named.iter().filter(|(_, entry)| is_away(entry));
        let mut away: Vec<_> = away.map(|(id, (client, last))| (*last, id, lock(client))).collect();
        let stored = self.stored.values().map(|stored| stored.sent.bytes());
        let bytes = away.iter().map(|(.., client)| client.sent.bytes()).chain(stored);
        let mut over = bytes.fold(0, usize::saturating_add).saturating_sub(max);
        if over == 0 {
            return 0;
        }
        away.sort_unstable_by_key(|(last, ..)| *last);
        let stored = self.stored.iter_mut();
        let mut stored: Vec<_> =
            stored.map(|(id, one)| (one.numbers().max(), id, &mut one.sent)).collect();
        stored.sort_unstable_by_key(|(newest, ..)| *newest);
        // of these nobody has come since the start
        let before = stored.into_iter().map(|(_, id, sent)| (id, sent));
        let since = away.iter_mut().map(|(_, id, client)| (*id, &mut client.sent));
        let mut all: Vec<_> = before.chain(since).collect();
        let (mut open, mut rows) = (0_u64, Vec::new());
        for whole in [false, true] {
            for (id, sent) in &mut all {
                if over == 0 {
                    break;
                }
                let gone = sent.forget(whole);
                let freed = gone.iter().map(|entry| entry.packet.len());
                over = over.saturating_sub(freed.fold(0, usize::saturating_add));
                open = open.saturating_add(told(id, &gone));
                rows.extend(gone.iter().filter_map(|entry| entry.row));
            }
        }
        if let Some(keeper) = self.keeper.as_ref().filter(|_| !rows.is_empty()) {
            keeper.write(Vec::new(), rows);
        }
        open
    }
}

/// Whether no connection holds a client.
fn is_away((client, _): &(Shared, u64)) -> bool {
    Arc::strong_count(client) == 1
}

/// Says which messages of a client are forgotten; how many of them were open.
fn told(client_id: &str, gone: &[Entry]) -> u64 {
    let open = gone.iter().filter(|entry| entry.progress != Progress::Done);
    let (mut messages, mut bytes) = (0_u64, 0_usize);
    for entry in open {
        messages = messages.saturating_add(1);
        bytes = bytes.saturating_add(entry.packet.len());
    }
    if messages > 0 {
        tracing::warn!(
            client_id,
            messages,
            bytes,
            "too much is kept for clients that are away: what this one sends again is sealed anew, \
             and may arrive twice"
        );
    }
    messages
}

/// Holds a client for as long as bytes of it are dealt with.
pub(super) fn hold(client: &Shared) -> MutexGuard<'_, Client> {
    lock(client)
}

#[cfg(test)]
mod tests;
