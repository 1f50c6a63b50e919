//! What is kept for each MQTT client over its connections: keys, replay state, and what it may send
//! again. Knows no packet and no socket.

use core::fmt;
use std::boxed::Box;
use std::collections::{HashMap, HashSet};
use std::string::String;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::vec::Vec;

use super::keeper::{Keeper, Mark};
use super::meters::{lock, unix_ms};
use super::sent::Sent;
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
#[derive(Default)]
pub(super) struct Clients(Mutex<Known>);

#[derive(Default)]
struct Known {
    named: HashMap<String, (Shared, u64)>,
    /// Those too that have no name.
    all: Vec<Weak<Mutex<Client>>>,
    /// What a store held, of clients that did not come yet.
    stored: HashMap<String, Stored>,
    keeper: Option<Arc<Keeper>>,
    /// Counts connections, to tell which was last.
    clock: u64,
}

impl Clients {
    /// None yet; of some a store holds something already.
    pub(super) fn new(mut stored: HashMap<String, Stored>, keeper: Option<Arc<Keeper>>) -> Self {
        forget(keeper.as_ref(), trim(&mut stored));
        Self(Mutex::new(Known { stored, keeper, ..Known::default() }))
    }

    /// The client with this ID, new or known; one without is always new. Rules and keys are asked for
    /// under the lock, so that a new client misses no others.
    pub(super) fn get(
        &self,
        client_id: &str,
        in_force: impl FnOnce() -> Arc<InForce>,
    ) -> Result<Shared, ClientError> {
        let mut known = lock(&self.0);
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
            known.insert(client_id, &client);
        }
        Ok(client)
    }

    /// The broker has given a client this ID. Whether it has: one that is known by it keeps it, or
    /// whoever gives an ID twice would put the replay state of the first out of use.
    pub(super) fn name(&self, client_id: &str, client: &Shared) -> bool {
        let mut known = lock(&self.0);
        if known.named.contains_key(client_id) || known.stored.contains_key(client_id) {
            return false;
        }
        known.clock = known.clock.saturating_add(1);
        known.insert(client_id, client);
        true
    }

    /// Ends the use of the store, when no connection is left.
    pub(super) fn stop(&self) {
        let all: Vec<_> = lock(&self.0).all.iter().filter_map(Weak::upgrade).collect();
        for client in all {
            lock(&client).stop();
        }
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
            let Some((id, client)) = oldest.and_then(|id| {
                let (client, _) = self.named.remove(&id)?;
                Some((id, client))
            }) else {
                return;
            };
            if let Some(stored) = lock(&client).stop() {
                self.stored.insert(id, stored);
                forget(self.keeper.as_ref(), trim(&mut self.stored));
            }
        }
    }
}

/// Holds a client for as long as bytes of it are dealt with.
pub(super) fn hold(client: &Shared) -> MutexGuard<'_, Client> {
    lock(client)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec;

    #[test]
    fn clients_that_were_away_for_longest_are_forgotten_with_their_rows() {
        let mut stored = HashMap::new();
        for number in 0..u64::try_from(MAX_STORED).unwrap() + 3 {
            let mut client = Stored::default();
            client.rows.insert(RowKey::new([0; 17]), (number, vec![1]));
            client.rows.insert(RowKey::new([1; 17]), (number + 1_000_000, vec![1]));
            stored.insert(number.to_string(), client);
        }
        let mut rows = trim(&mut stored);
        rows.sort_unstable();
        assert_eq!(rows, [0, 1, 2, 1_000_000, 1_000_001, 1_000_002]);
        assert_eq!(stored.len(), MAX_STORED);
        assert!(!stored.contains_key("2") && stored.contains_key("3"));
        assert!(trim(&mut stored).is_empty());
    }
}
