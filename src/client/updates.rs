//! Key updates as a client uses them: opened, stored, in force. Knows no packets and no connection.

mod options;

use core::error::Error;
use core::fmt;
use core::time::Duration;
use std::boxed::Box;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::counters::Renewals;
use super::event::Event;
use super::guards::{Guards, now};
use super::inbox::Inbox;
use crate::guard::Config;
use crate::keyring::{Grant, Keyring};
use crate::peer::{Authenticated, SpkiHash};
use crate::policy::{Link, Policy};
use crate::update::{AckDue, Held, Received, Receiver, Snapshot, Taken, Topics, UpdateError};
use crate::update::{UpdateStore, Withheld, WrongRun};
use crate::wire::header::{KeyId, SenderNumber};
pub use options::{KeyUpdates, KeyUpdatesError};

/// How often the clock is looked at while a date lies ahead: it may be set meanwhile.
const LOOK: Duration = Duration::from_mins(1);

type StoreError = Box<dyn Error + Send + Sync>;

/// A store of any kind.
trait Keeper: Send {
    fn write(&mut self, state: &[u8]) -> Result<(), StoreError>;
}

impl<S> Keeper for S
where
    S: UpdateStore + Send,
    S::Error: Error + Send + Sync + 'static,
{
    fn write(&mut self, state: &[u8]) -> Result<(), StoreError> {
        UpdateStore::write(self, state).map_err(Into::into)
    }
}

/// The updates of a running client, which all its links share.
pub(super) struct Updates {
    /// Held by the task that waits for the desk, so that no thread of the runtime does.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Held while an update is opened and stored.
    desk: Mutex<Desk>,
    /// Held for a moment, behind the desk's lock where both are.
    keys: Mutex<Keys>,
    /// The ID of the key that updates are sealed under.
    owner: KeyId,
    topics: Topics,
    grace: Duration,
    /// Whether the broker keeps the session, and remembers packet IDs.
    persistent: bool,
    /// The one link that they come by.
    home: Link,
    guards: Guards,
    renewals: Renewals,
    inbox: Arc<Inbox>,
}

struct Desk {
    receiver: Receiver,
    store: Box<dyn Keeper>,
}

/// Where the keyring in force comes from.
struct Keys {
    /// The client's own configuration.
    base: Keyring,
    held: Option<Held>,
    /// When the snapshot's grants change, in Unix milliseconds.
    due: Option<u64>,
}

/// The updates of a client, and the task that minds their dates until this is dropped.
pub(super) struct UpdatesTask {
    pub(super) updates: Arc<Updates>,
    dates: AbortHandle,
}

impl UpdatesTask {
    pub(super) fn start(updates: &Arc<Updates>, runtime: &Handle) -> Self {
        let dates = runtime.spawn(Arc::clone(updates).keep_dates()).abort_handle();
        Self { updates: Arc::clone(updates), dates }
    }
}

impl Drop for UpdatesTask {
    fn drop(&mut self) {
        self.dates.abort();
    }
}

/// What became of an update.
pub(super) enum Outcome {
    /// It is stored and in force.
    InForce {
        serial: u64,
        pins: Vec<SpkiHash>,
        /// What to publish, unless a sender number could not be taken.
        ack: Option<Vec<u8>>,
    },
    /// It was before; it is acknowledged again.
    Known { ack: Option<Vec<u8>> },
    /// It changes nothing.
    Refused(UpdateError),
    /// It is older than what is stored, which is acknowledged again.
    RolledBack { reason: UpdateError, ack: Option<Vec<u8>> },
    /// It changes nothing, since it could not be stored.
    NotStored(StoreError),
}

/// An update asks for a sender number for which the client has no counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NoCounters;

impl fmt::Display for NoCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client has no counter store for this sender number: give it one")
    }
}

impl Error for NoCounters {}

impl Updates {
    /// Whether nothing but updates and their acknowledgements is on this topic.
    pub(super) fn has_topic(&self, topic: &[u8]) -> bool {
        [self.topics.keys(), self.topics.acknowledgements()]
            .iter()
            .any(|own| own.as_bytes() == topic)
    }

    pub(super) const fn topics(&self) -> &Topics {
        &self.topics
    }

    pub(super) fn is_at_home(&self, link: Link) -> bool {
        self.home == link
    }

    /// How long a broker has after a run before an update counts as withheld.
    pub(super) const fn grace(&self) -> Duration {
        self.grace
    }

    pub(super) const fn is_persistent(&self) -> bool {
        self.persistent
    }

    /// The TLS keys that the broker may have.
    #[cfg(feature = "tls")]
    pub(super) fn pins(&self) -> Vec<SpkiHash> {
        let keys = self.keys();
        keys.held.as_ref().map(|held| held.snapshot().pins().to_vec()).unwrap_or_default()
    }

    /// Takes note of a run.
    pub(super) async fn attested(&self, run: &Authenticated) -> Result<(), WrongRun> {
        let _turn = self.turn.lock().await;
        self.desk().receiver.attested(run)
    }

    /// The update that the authority speaks of and the broker has not delivered.
    pub(super) async fn withheld(&self) -> Option<Withheld> {
        let _turn = self.turn.lock().await;
        self.desk().receiver.withheld()
    }

    /// Takes an update on a thread for blocking work, to the end even if nobody waits for it.
    pub(super) async fn take_in_turn(self: Arc<Self>, bytes: Bytes, retained: bool) -> Outcome {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let taken = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            self.take(&bytes, retained)
        });
        // a store that panicked stored nothing that anyone uses
        taken.await.unwrap_or_else(|error| Outcome::NotStored(error.into()))
    }

    /// Takes an update: stores it and puts it in force before this returns. Blocks while the store
    /// writes.
    // SPEC §10: durable first, then in force, then acknowledged
    fn take(&self, bytes: &[u8], retained: bool) -> Outcome {
        let mut desk = self.desk();
        let Desk { receiver, store } = &mut *desk;
        let update = match receiver.open(self.topics.keys(), bytes, retained, now()) {
            Ok(Received::New(update)) => update,
            Ok(Received::Known(ack)) => return self.again(&mut desk, ack),
            Err(reason @ UpdateError::RolledBack { .. }) => {
                let has_all = self.keys().held.as_ref().is_some_and(|held| !held.lacks_number());
                let due = receiver.due().filter(|_| has_all);
                let ack = due.and_then(|due| seal_ack(receiver, due));
                return Outcome::RolledBack { reason, ack };
            }
            Err(error) => return Outcome::Refused(error),
        };
        let (taken, complete) = self.take_numbers(update.snapshot());
        if let Err(error) = store.write(&taken.encode(update.snapshot(), self.owner)) {
            return Outcome::NotStored(error);
        }
        let (snapshot, due) = update.stored();
        let (serial, pins) = (snapshot.serial(), snapshot.pins().to_vec());
        let mut keys = self.keys();
        keys.held = Some(Held::new(snapshot, taken));
        self.enforce(&mut keys);
        drop(keys);
        let ack = if complete { seal_ack(receiver, due) } else { None };
        Outcome::InForce { serial, pins, ack }
    }

    fn take_numbers(&self, snapshot: &Snapshot) -> (Taken, bool) {
        let keys = self.keys();
        let mut taken = Taken::carried(snapshot, keys.held.as_ref(), &keys.base);
        drop(keys);
        let complete = taken.take(snapshot, |number| self.lease(number));
        (taken, complete)
    }

    /// The stored update came again.
    fn again(&self, desk: &mut Desk, due: AckDue) -> Outcome {
        let lacking = self.keys().held.as_ref().map(Held::lacking).unwrap_or_default();
        if !lacking.is_empty() {
            // what is held stays the same while the desk is: no lock is kept while a store writes
            let leased: Vec<_> = lacking.into_iter().filter(|number| self.lease(*number)).collect();
            let took = self.keys().held.as_ref().map(|held| {
                let (taken, complete) = held.take_numbers(|number| leased.contains(&number));
                let state = taken.encode(held.snapshot(), self.owner);
                (taken, complete, state)
            });
            let Some((taken, true, state)) = took else { return Outcome::Known { ack: None } };
            if let Err(error) = desk.store.write(&state) {
                return Outcome::NotStored(error);
            }
            if let Some(held) = &mut self.keys().held {
                held.took(taken);
            }
        }
        Outcome::Known { ack: seal_ack(&mut desk.receiver, due) }
    }

    /// Writes the first lease of a sender number.
    fn lease(&self, number: SenderNumber) -> bool {
        if self.renewals.has(number) {
            return self.renewals.lease(number);
        }
        let error = NoCounters.into();
        self.inbox.push_or_miss(Event::CountersFailed { number, error });
        false
    }

    /// Puts the keys of now in force, with the policy as it is.
    fn enforce(&self, keys: &mut Keys) {
        let before = self.guards.config();
        let at = now();
        let keyring = keys.keyring(at);
        keys.due = keys.next_date(at);
        let config = Config::new(before.policy().clone(), keyring, before.links());
        self.guards.replace(&Arc::new(config));
    }

    /// Puts other rules and keys of the client's own configuration in force, if `check` lets them.
    pub(super) fn rebase<E>(
        &self,
        policy: Policy,
        base: Keyring,
        check: impl FnOnce(&Arc<Config>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut keys = self.keys();
        let held = keys.held.as_ref();
        let keyring = held.map_or_else(|| again(&base), |held| held.keyring(&base, now()));
        let config = Arc::new(Config::new(policy, keyring, self.guards.config().links()));
        check(&config)?;
        keys.base = base;
        self.guards.replace(&config);
        Ok(())
    }

    /// Puts the keys of a snapshot in force at each of its dates. Never ends.
    async fn keep_dates(self: Arc<Self>) {
        let mut changes = self.guards.reloads();
        loop {
            let pause = self.keys().due.map(pause);
            tokio::select! {
                () = slept(pause) => self.reconsider(),
                _ = changes.changed() => {}
            }
        }
    }

    fn reconsider(&self) {
        let mut keys = self.keys();
        if keys.due.zip(now()).is_some_and(|(due, now)| due <= now) {
            self.enforce(&mut keys);
            drop(keys);
            let _ = self.inbox.push(Event::Reloaded);
        }
    }

    // What a panic leaves behind: an update that is not stored, or one that is and not in force yet,
    // which comes again. No key is in force before it is stored.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    fn keyring(&self, now: Option<u64>) -> Keyring {
        self.held.as_ref().map_or_else(|| again(&self.base), |held| held.keyring(&self.base, now))
    }

    fn next_date(&self, now: Option<u64>) -> Option<u64> {
        self.held.as_ref()?.snapshot().next_date(now?)
    }
}

/// The same keys once more.
fn again(keyring: &Keyring) -> Keyring {
    Keyring::new(keyring.grants().iter().map(Grant::again).collect())
}

/// `None` if the random generator failed: the update comes again.
fn seal_ack(receiver: &mut Receiver, due: AckDue) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let process = std::process::id().to_be_bytes();
    let clock = now().unwrap_or_default().to_be_bytes();
    let sealed = receiver.acknowledge(due, &mut getrandom::SysRng, &[&process, &clock], &mut out);
    sealed.ok().map(|()| out)
}

/// Until `due`, as far as the clock is to be trusted.
fn pause(due: u64) -> Duration {
    Duration::from_millis(due.saturating_sub(now().unwrap_or_default())).min(LOOK)
}

async fn slept(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => core::future::pending().await,
    }
}

#[cfg(test)]
pub(super) mod tests;
