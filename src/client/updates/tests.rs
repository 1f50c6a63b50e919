pub(in crate::client) mod scene;

use std::string::ToString;
use std::vec;

use scene::{ACK, Authority, Memory, grant, guard_of, pairwise, policy};

use super::*;
use crate::client::counters::Stores;
use crate::guard::{Outgoing, SealError};
use crate::keyring::State;
use crate::peer::PeerId;
use crate::schedule::RealmError;
use crate::session::CounterStore;
use crate::topic::TopicError;
use crate::update::{Entry, KeyState, StateError};
use crate::wire::Form;

const ACTIVE: KeyState = KeyState::Active;

/// The updates of a client, and what they work on.
struct Running {
    updates: Arc<Updates>,
    guards: Guards,
    inbox: Arc<Inbox>,
    /// Without a link the inbox ends.
    _feed: crate::client::inbox::Feed,
}

impl Running {
    fn start(memory: &Memory, base: Vec<Grant>, stores: Stores) -> Self {
        let (mut tx, mut rx) = guard_of(base).split();
        let own = memory.updates();
        let base = own.take_up(&mut tx, &mut rx);
        let inbox = Inbox::new(16);
        let guards = Guards::new(tx, rx, None);
        let renewals = Renewals::new(stores, &guards, &inbox, &Handle::current());
        let updates = own.run(base, (Link::Tcp, false), &guards, &renewals, &inbox);
        Self { updates, guards, _feed: inbox.feed(), inbox }
    }

    /// The serial that is acknowledged, if one is.
    fn take(&self, authority: &Authority, update: &[u8]) -> Option<u64> {
        let ack = match self.updates.take(update, true) {
            Outcome::InForce { ack, .. } | Outcome::Known { ack } => ack,
            Outcome::Refused(reason) | Outcome::RolledBack { reason, .. } => panic!("{reason}"),
            Outcome::NotStored(error) => panic!("{error}"),
        };
        ack.map(|ack| authority.0.acknowledged(ACK, &ack).unwrap())
    }

    fn states(&self) -> Vec<(u32, State)> {
        let config = self.guards.config();
        config.keyring().grants().iter().map(|grant| (grant.generation(), grant.state())).collect()
    }

    /// The form that a message is sealed in where the rule wants compact form.
    fn seals_compact(&self) -> Result<Form, SealError> {
        let mut out = Vec::new();
        let sealed = self.guards.tx().seal(&Outgoing::new("compact/a", b"text"), &mut out);
        sealed.map(|_| crate::wire::Header::parse(&out).unwrap().0.id.form())
    }
}

#[derive(Debug, Default)]
struct Counter(u32);

impl CounterStore for Counter {
    type Error = core::convert::Infallible;

    fn cannot_roll_back(&self) -> bool {
        true
    }

    fn reserve(&mut self, count: u32) -> Result<core::ops::Range<u32>, Self::Error> {
        let start = self.0;
        self.0 = start.saturating_add(count);
        Ok(start..self.0)
    }
}

fn number() -> SenderNumber {
    SenderNumber::new(7).unwrap()
}

fn with_counter() -> Stores {
    vec![(number(), Box::new(Counter::default()))]
}

/// Generation 1, with the number to take or without.
fn numbered(serial: u64, asks: bool) -> Snapshot {
    let grant = if asks { grant(1).with_sender(number()) } else { grant(1) };
    Snapshot::new(serial, vec![Entry::new(grant).unwrap()], vec![]).unwrap()
}

#[tokio::test]
async fn sender_number_is_taken_and_seals_only_once_it_is_left_out() {
    let (memory, mut authority) = (Memory::with_first(), Authority::new());
    let running = Running::start(&memory, vec![], with_counter());
    let asks = authority.seal(&numbered(2, true));
    assert_eq!(running.take(&authority, &asks), Some(2));
    assert_eq!(running.seals_compact(), Err(SealError::NoSender));
    drop(running);
    // over a restart
    let running = Running::start(&memory, vec![], with_counter());
    assert_eq!(running.take(&authority, &asks), Some(2));
    assert_eq!(running.seals_compact(), Err(SealError::NoSender));
    let left_out = authority.seal(&numbered(3, false));
    assert_eq!(running.take(&authority, &left_out), Some(3));
    running.updates.lease(number());
    assert_eq!(running.seals_compact(), Ok(Form::Compact));
    drop(running);
    let running = Running::start(&memory, vec![], with_counter());
    running.updates.lease(number());
    assert_eq!(running.seals_compact(), Ok(Form::Compact));
}

#[tokio::test]
async fn sender_number_without_counters_is_told_and_not_acknowledged() {
    let (memory, mut authority) = (Memory::with_first(), Authority::new());
    let running = Running::start(&memory, vec![], vec![]);
    let asks = authority.seal(&numbered(2, true));
    for _ in 0..2 {
        assert_eq!(running.take(&authority, &asks), None);
        let Some(Event::CountersFailed { number: told, error }) = running.inbox.next().await else {
            panic!("not told")
        };
        let text = "the client has no counter store for this sender number: give it one";
        assert_eq!((told, error.to_string().as_str()), (number(), text));
    }
    // the keys are in force all the same
    assert_eq!(running.states(), [(1, State::Active)]);
    drop(running);
    let running = Running::start(&memory, vec![], with_counter());
    assert_eq!(running.take(&authority, &asks), Some(2));
}

#[tokio::test]
async fn sender_number_that_was_not_stored_is_not_acknowledged() {
    let (memory, mut authority) = (Memory::with_first(), Authority::new());
    let asks = authority.seal(&numbered(2, true));
    drop(Running::start(&memory, vec![], vec![]).updates.take(&asks, true));
    let running = Running::start(&memory, vec![], with_counter());
    memory.breaks(true);
    for _ in 0..2 {
        assert!(matches!(running.updates.take(&asks, true), Outcome::NotStored(_)));
    }
    memory.breaks(false);
    assert_eq!(running.take(&authority, &asks), Some(2));
}

#[tokio::test]
async fn authority_with_an_older_ledger_is_told_what_the_device_has() {
    let (memory, mut authority) = (Memory::with_first(), Authority::new());
    let running = Running::start(&memory, vec![], vec![]);
    let newer = authority.update(3, &[(1, ACTIVE)]);
    assert_eq!(running.take(&authority, &newer), Some(3));
    let older = authority.update(2, &[(2, ACTIVE)]);
    let Outcome::RolledBack { reason, ack: Some(ack) } = running.updates.take(&older, true) else {
        panic!("not told")
    };
    assert_eq!(reason, UpdateError::RolledBack { serial: 2, least: 3 });
    assert_eq!(authority.0.acknowledged(ACK, &ack), Ok(3));
    assert_eq!(running.states(), [(1, State::Active)]);
}

#[tokio::test]
async fn older_update_is_not_answered_with_a_serial_whose_number_is_not_taken() {
    let (memory, mut authority) = (Memory::with_first(), Authority::new());
    let running = Running::start(&memory, vec![], vec![]);
    let asks = authority.seal(&numbered(3, true));
    assert_eq!(running.take(&authority, &asks), None);
    let older = authority.update(2, &[(1, ACTIVE)]);
    let outcome = running.updates.take(&older, true);
    assert!(matches!(outcome, Outcome::RolledBack { ack: None, .. }));
}

#[tokio::test]
async fn stored_serial_with_other_keys_is_told_and_not_acknowledged() {
    let (memory, mut authority) = (Memory::with_first(), Authority::new());
    let entries = || vec![Entry::new(grant(1)).unwrap()];
    let running = Running::start(&memory, vec![], vec![]);
    let second = authority.seal(&Snapshot::new(2, entries(), vec![]).unwrap());
    assert_eq!(running.take(&authority, &second), Some(2));
    drop(running);
    // over a restart
    let running = Running::start(&memory, vec![], vec![]);
    let other = authority.update(2, &[(2, ACTIVE)]);
    let Outcome::Refused(reason) = running.updates.take(&other, true) else { panic!("taken") };
    assert_eq!(reason, UpdateError::OtherContents { serial: 2 });
    assert_eq!(running.states(), [(1, State::Active)]);
    assert_eq!(running.take(&authority, &second), Some(2));
}

#[tokio::test]
async fn reload_leaves_the_keys_of_updates_in_force() {
    let (memory, mut authority) = (Memory::with_first(), Authority::new());
    let running = Running::start(&memory, vec![], vec![]);
    let reload = |base| running.updates.rebase(policy(), Keyring::new(base), |_| Ok::<_, ()>(()));
    reload(vec![]).unwrap();
    assert_eq!(running.states(), [(1, State::Active)]);
    let second = authority.update(2, &[(1, KeyState::Retiring), (2, ACTIVE)]);
    running.take(&authority, &second);
    reload(vec![grant(1)]).unwrap();
    let retiring = State::Retiring { not_after: None };
    assert_eq!(running.states(), [(1, retiring), (2, State::Active)]);
}

#[tokio::test]
async fn reload_that_is_refused_leaves_all_as_it_is() {
    let running = Running::start(&Memory::default(), vec![grant(1)], vec![]);
    let refused = running.updates.rebase(policy(), Keyring::new(vec![grant(2)]), |_| Err("no"));
    assert_eq!(refused, Err("no"));
    running.updates.enforce(&mut running.updates.keys());
    assert_eq!(running.states(), [(1, State::Active)]);
}

#[tokio::test]
async fn keys_change_at_the_dates_of_a_snapshot() {
    let (memory, mut authority) = (Memory::with_first(), Authority::new());
    let running = Running::start(&memory, vec![], vec![]);
    let _task = UpdatesTask::start(&running.updates, &Handle::current());
    // at least two seconds from now: not before the update is in force
    let soon = now().unwrap() / 1_000 + 3;
    let entry = |number| Entry::new(grant(number)).unwrap();
    let entries = vec![
        entry(1).with_state(KeyState::Retiring).between(None, Some(soon)),
        entry(2).between(Some(soon), None),
    ];
    let update = authority.seal(&Snapshot::new(2, entries, vec![]).unwrap());
    running.take(&authority, &update);
    let retiring = State::Retiring { not_after: Some(soon) };
    assert!(running.states().contains(&(1, retiring)), "{:?}", running.states());
    for _ in 0..2 {
        let told = tokio::time::timeout(Duration::from_mins(1), running.inbox.next()).await;
        assert!(matches!(told, Ok(Some(Event::Reloaded))), "{told:?}");
    }
    assert_eq!(running.states(), [(2, State::Active)]);
}

#[tokio::test]
async fn store_that_panics_leaves_the_keys_as_they_are() {
    struct Panicking;
    impl Keeper for Panicking {
        fn write(&mut self, _: &[u8]) -> Result<(), StoreError> {
            panic!("the store gives up")
        }
    }
    let mut authority = Authority::new();
    let running = Running::start(&Memory::with_first(), vec![], vec![]);
    let store = core::mem::replace(&mut running.updates.desk().store, Box::new(Panicking));
    let second = authority.update(2, &[(2, ACTIVE)]);
    let (updates, update) = (Arc::clone(&running.updates), second.clone());
    let taken = tokio::task::spawn_blocking(move || updates.take(&update, true)).await;
    assert!(taken.is_err());
    assert_eq!(running.states(), [(1, State::Active)]);
    running.updates.desk().store = store;
    assert_eq!(running.take(&authority, &second), Some(2));
}

/// Stands still in a write until it is let go.
struct Slow(std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>);

impl Keeper for Slow {
    fn write(&mut self, _: &[u8]) -> Result<(), StoreError> {
        self.0.send(()).unwrap();
        Ok(self.1.recv_timeout(Duration::from_secs(10))?)
    }
}

#[tokio::test]
async fn task_that_asks_while_a_store_writes_keeps_no_thread() {
    let (memory, mut authority) = (Memory::with_first(), Authority::new());
    let asks = authority.seal(&numbered(2, true));
    drop(Running::start(&memory, vec![], vec![]).updates.take(&asks, true));
    // the first is stored with a number that is not taken; the second takes the place of all
    let running = Running::start(&memory, vec![], with_counter());
    for update in [asks, authority.seal(&numbered(3, false))] {
        let (begun, has_begun) = std::sync::mpsc::channel();
        let (let_go, end) = std::sync::mpsc::channel();
        running.updates.desk().store = Box::new(Slow(begun, end));
        let taken = Arc::clone(&running.updates).take_in_turn(update.into(), true);
        let taken = tokio::spawn(taken);
        while has_begun.try_recv().is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(running.updates.keys.try_lock().is_ok(), "dates are kept meanwhile");
        let withheld = running.updates.withheld();
        let early = tokio::time::timeout(Duration::from_millis(10), withheld).await;
        assert!(early.is_err(), "it waits for its turn");
        let_go.send(()).unwrap();
        let outcome = taken.await.unwrap();
        assert!(!matches!(outcome, Outcome::NotStored(_) | Outcome::Refused(_)));
        assert!(running.updates.withheld().await.is_none());
    }
}

#[test]
fn options_without_sense_say_what_is_wrong() {
    let new = |realm: &str, prefix: &str, byte: u8, memory: &Memory| {
        let key = crate::secret::SharedKey::take(&mut [byte; 32]);
        let device = PeerId::parse("device").unwrap();
        KeyUpdates::new(&key, realm, device, prefix, memory.clone()).unwrap_err().to_string()
    };
    let memory = Memory::with_first();
    let prefix = new("test", "a/#", 42, &memory);
    let expected = TopicError::Wildcard.to_string();
    assert_eq!(prefix, std::format!("the prefix of the key topics: {expected}"));
    let long = "r".repeat(65);
    let realm: Result<_, RealmError> = crate::schedule::root(&pairwise(), &long).map(drop);
    assert_eq!(new(&long, "acme", 42, &memory), realm.unwrap_err().to_string());
    assert_eq!(new("test", "acme", 43, &memory), StateError::OtherDevice.to_string());
    memory.cut();
    assert_eq!(new("test", "acme", 42, &memory), StateError::Damaged.to_string());
}

#[test]
fn debug_shows_topic_and_serial_alone() {
    let updates = Memory::with_first().updates();
    let expected = "KeyUpdates { topic: \"acme/keys/device\", serial: Some(1), .. }";
    assert_eq!(std::format!("{updates:?}"), expected);
}
