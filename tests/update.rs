//! Key updates over a broker that withholds, repeats and rolls back: authority, devices and broker
//! in one thread, on a virtual clock.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use mqtt_seal::guard::{self, Guard, Incoming, Outgoing};
use mqtt_seal::keyring::{Grant, Keyring, State};
use mqtt_seal::message::Opener;
use mqtt_seal::peer::{
    Authenticated, Authority, BrokerName, Device, Enrolled, Hop, Names, PeerId, PeerKey, Record,
};
use mqtt_seal::policy::{Link, Links, Policy, Rule};
use mqtt_seal::replay::Rejected;
use mqtt_seal::schedule;
use mqtt_seal::secret::SharedKey;
use mqtt_seal::session::{Entropy, NoEntropy};
use mqtt_seal::suite::Suite;
use mqtt_seal::topic::TopicName;
use mqtt_seal::update::{
    AckDue, AckError, Entry, KeyState, OpenError, PublishError, Publisher, Received, Receiver,
    Snapshot, Topics, UpdateError, WrongRun,
};
use mqtt_seal::wire::SenderNumber;

/// Unix milliseconds when a simulation starts.
const EPOCH: u64 = 1_800_000_000_000;
const REALM: &str = "acme-prod";

/// The same numbers at every run.
struct Counting(u64);

impl Entropy for Counting {
    fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), NoEntropy> {
        self.0 += 1;
        *out = [0; 32];
        out[..8].copy_from_slice(&self.0.to_be_bytes());
        Ok(())
    }
}

fn key(byte: u8) -> SharedKey {
    SharedKey::take(&mut [byte; 32])
}

/// Generation `number` of the group's key, in this state.
fn entry(number: u8, state: KeyState) -> Entry {
    let grant = Grant::shared(&key(100 + number), REALM).unwrap();
    Entry::new(grant.with_generation(number.into())).unwrap().with_state(state)
}

fn snapshot(serial: u64, keys: &[(u8, KeyState)]) -> Snapshot {
    let entries = keys.iter().map(|(number, state)| entry(*number, *state)).collect();
    Snapshot::new(serial, entries, vec![[5; 32]]).unwrap()
}

fn topics(id: &str) -> Topics {
    Topics::new("acme", PeerId::parse(id).unwrap()).unwrap()
}

fn publisher(id: &str, byte: u8) -> Publisher {
    Publisher::new(&key(byte), REALM, PeerId::parse(id).unwrap(), topics(id)).unwrap()
}

/// A device: what it stores, and what it holds while it runs.
struct Node {
    id: &'static str,
    byte: u8,
    /// Durable: serial and keys, written in one step.
    stored: Option<Snapshot>,
    receiver: Receiver,
}

impl Node {
    fn new(id: &'static str, byte: u8, stored: Option<Snapshot>) -> Self {
        let serial = stored.as_ref().map(Snapshot::serial);
        let id_ = PeerId::parse(id).unwrap();
        let receiver = Receiver::new(&key(byte), REALM, id_, topics(id), serial).unwrap();
        Self { id, byte, stored, receiver }
    }

    /// A device that has generation 1 by update 1.
    fn provisioned(id: &'static str, byte: u8) -> Self {
        Self::new(id, byte, Some(snapshot(1, &[(1, KeyState::Active)])))
    }

    fn restart(self) -> Self {
        Self::new(self.id, self.byte, self.stored)
    }

    /// Takes a retained update, stores it, and returns what it has to acknowledge.
    fn take(&mut self, sealed: &[u8], now: u64) -> Result<AckDue, UpdateError> {
        let topic = topics(self.id);
        match self.receiver.open(topic.keys(), sealed, true, Some(now))? {
            Received::New(update) => {
                assert!(Some(update.serial()) > self.stored.as_ref().map(Snapshot::serial));
                let (snapshot, ack) = update.stored();
                self.stored = Some(snapshot);
                Ok(ack)
            }
            Received::Known(ack) => Ok(ack),
            received => panic!("{received:?}"),
        }
    }

    fn acknowledge(&mut self, ack: AckDue) -> Vec<u8> {
        let mut out = Vec::new();
        self.receiver.acknowledge(ack, &mut Counting(9), &[], &mut out).unwrap();
        out
    }

    fn guard(&self, now: u64) -> Guard {
        let grants = self.stored.as_ref().map(|stored| stored.grants(Some(now), |_| None));
        let policy = Policy::new(vec![Rule::sealed(["plant/#"]).build().unwrap()]);
        let keyring = Keyring::new(grants.unwrap_or_default());
        Guard::with_entropy(policy, keyring, Links::Tcp, Box::new(Counting(0))).unwrap()
    }

    fn seal(&self, now: u64) -> Result<Vec<u8>, guard::SealError> {
        let mut out = Vec::new();
        self.guard(now).split().0.seal(&Outgoing::new("plant/a", b"27"), &mut out).map(|_| out)
    }

    fn opens(&self, sealed: &[u8], now: u64) -> Result<(), guard::OpenError> {
        let incoming = Incoming::new("plant/a", sealed, Link::Tcp).at(Some(now));
        self.guard(now).split().1.open(&incoming, &mut Vec::new()).map(|_| ())
    }
}

fn sealed(publisher: &mut Publisher, snapshot: &Snapshot, now: u64) -> Vec<u8> {
    let mut out = Vec::new();
    publisher.publish(snapshot, now, &mut Counting(now), &[], &mut out).unwrap();
    out
}

/// A completed run of peer authentication in which the authority attests this serial.
fn run(id: &str, key: impl Fn() -> PeerKey, serial: u64) -> Authenticated {
    let names = Names {
        device: PeerId::parse(id).unwrap(),
        authority: PeerId::parse("authority").unwrap(),
        broker: BrokerName::parse("broker.example:8883").unwrap(),
        request: TopicName::parse("auth/req").unwrap(),
        response: TopicName::parse("auth/res").unwrap(),
    };
    let mut device = Device::new(key(), &names);
    let mut authority = Authority::new(names.authority, names.request, EPOCH);
    authority.vouch(names.broker, vec![]);
    let (mut m1, mut m2, mut rng) = (Vec::new(), Vec::new(), Counting(0));
    device.start(0, &mut rng, &[], &mut m1).unwrap();
    let enrolled = key();
    let find = |_: &str| Some(Enrolled { key: &enrolled, response: names.response, serial });
    let record = Record { topic: "auth/req", bytes: &m1, now: EPOCH };
    authority.receive(&record, find, &mut rng, &[], &mut m2).unwrap();
    let record = Record { topic: "auth/res", bytes: &m2, now: 0 };
    device.receive(&record, Hop::Plain, &mut Vec::new()).unwrap()
}

fn pairwise_run(id: &str, byte: u8, serial: u64) -> Authenticated {
    run(id, || PeerKey::pairwise(&key(byte), REALM).unwrap(), serial)
}

#[test]
fn a_newer_snapshot_takes_the_place_of_everything_before_it() {
    let (mut node, mut publisher) = (Node::provisioned("a", 1), publisher("a", 1));
    let old = node.seal(EPOCH).unwrap();
    let update = sealed(&mut publisher, &snapshot(2, &[(2, KeyState::Active)]), EPOCH);
    let ack = node.take(&update, EPOCH).unwrap();
    assert_eq!(ack.serial(), 2);
    assert_eq!(node.receiver.serial(), Some(2));
    assert_eq!(node.stored.as_ref().unwrap().pins(), [[5; 32]]);
    // what is not listed is erased
    assert_eq!(node.opens(&old, EPOCH), Err(guard::OpenError::UnknownKey));
    assert!(node.opens(&node.seal(EPOCH).unwrap(), EPOCH).is_ok());
    let ack = node.acknowledge(ack);
    assert_eq!(publisher.acknowledged("acme/keys/a/ack", &ack), Ok(2));
}

#[test]
fn a_rolled_back_update_is_refused() {
    let (mut node, mut publisher) = (Node::provisioned("a", 1), publisher("a", 1));
    let second = sealed(&mut publisher, &snapshot(2, &[(2, KeyState::Active)]), EPOCH);
    let third = sealed(&mut publisher, &snapshot(3, &[(3, KeyState::Active)]), EPOCH + 1);
    node.take(&third, EPOCH + 1).unwrap();
    // while it runs the older timestamp gives it away, and after a restart the serial
    let refused = node.take(&second, EPOCH + 2).unwrap_err();
    assert_eq!(refused, UpdateError::Rejected(Rejected::Stale));
    let mut node = node.restart();
    let refused = node.take(&second, EPOCH + 2).unwrap_err();
    assert_eq!(refused, UpdateError::RolledBack { serial: 2, least: 3 });
    assert_eq!(node.receiver.serial(), Some(3));
    assert_eq!(node.take(&third, EPOCH + 3).map(|ack| ack.serial()), Ok(3));
}

#[test]
fn an_update_with_the_stored_serial_and_other_keys_is_refused_and_the_next_one_taken() {
    let (mut node, mut publisher) = (Node::provisioned("a", 1), publisher("a", 1));
    let second = snapshot(2, &[(2, KeyState::Active)]);
    let update = sealed(&mut publisher, &second, EPOCH);
    node.take(&update, EPOCH).unwrap();
    // of an authority that does not know that it gave this serial away
    let other = sealed(&mut publisher, &snapshot(2, &[(3, KeyState::Active)]), EPOCH + 1);
    let refused = node.take(&other, EPOCH + 1).unwrap_err();
    assert_eq!(refused, UpdateError::OtherContents { serial: 2 });
    let again = sealed(&mut publisher, &second, EPOCH + 2);
    assert_eq!(node.take(&again, EPOCH + 2).map(|ack| ack.serial()), Ok(2));
    let third = sealed(&mut publisher, &snapshot(3, &[(3, KeyState::Active)]), EPOCH + 3);
    assert_eq!(node.take(&third, EPOCH + 3).map(|ack| ack.serial()), Ok(3));
}

#[test]
fn a_withheld_update_shows_after_a_run() {
    let (mut node, mut publisher) = (Node::provisioned("a", 1), publisher("a", 1));
    assert_eq!(node.receiver.withheld(), None);
    node.receiver.attested(&pairwise_run("a", 1, 1)).unwrap();
    assert_eq!(node.receiver.withheld(), None);
    node.receiver.attested(&pairwise_run("a", 1, 3)).unwrap();
    let withheld = node.receiver.withheld().unwrap();
    assert_eq!((withheld.stored, withheld.newest), (Some(1), 3));
    // nor does an authority that forgot
    node.receiver.attested(&pairwise_run("a", 1, 1)).unwrap();
    assert_eq!(node.receiver.withheld(), Some(withheld));
    assert_eq!(withheld.to_string(), "the newest key update is 3, only 1 came");
    // one that is newer and not the newest does not hide it
    let second = sealed(&mut publisher, &snapshot(2, &[(1, KeyState::Active)]), EPOCH);
    node.take(&second, EPOCH).unwrap();
    assert_eq!(node.receiver.withheld().unwrap().stored, Some(2));
    let third = sealed(&mut publisher, &snapshot(3, &[(2, KeyState::Active)]), EPOCH + 1);
    node.take(&third, EPOCH + 1).unwrap();
    assert_eq!(node.receiver.withheld(), None);
}

#[test]
fn a_device_without_a_stored_serial_waits_for_a_run_and_refuses_less_than_attested() {
    let (mut node, mut publisher) = (Node::new("a", 1, None), publisher("a", 1));
    let second = sealed(&mut publisher, &snapshot(2, &[(2, KeyState::Active)]), EPOCH);
    let third = sealed(&mut publisher, &snapshot(3, &[(3, KeyState::Active)]), EPOCH + 1);
    assert_eq!(node.take(&third, EPOCH + 1), Err(UpdateError::NeedsRun));
    node.receiver.attested(&pairwise_run("a", 1, 3)).unwrap();
    let refused = node.take(&second, EPOCH + 1).unwrap_err();
    assert_eq!(refused, UpdateError::RolledBack { serial: 2, least: 3 });
    assert_eq!(
        node.receiver.withheld().unwrap().to_string(),
        "the newest key update is 3, and none came"
    );
    // the message that had to wait is taken now
    assert_eq!(node.take(&third, EPOCH + 1).map(|ack| ack.serial()), Ok(3));
}

#[test]
fn a_run_that_proves_nothing_about_the_device_is_not_heard() {
    let mut node = Node::new("a", 1, None);
    let group = run("a", || PeerKey::group(&key(1), REALM).unwrap(), 3);
    assert_eq!(node.receiver.attested(&group), Err(WrongRun::GroupMembership));
    let other = pairwise_run("b", 1, 3);
    assert_eq!(node.receiver.attested(&other), Err(WrongRun::OtherDevice));
    let realm = run("a", || PeerKey::pairwise(&key(1), "acme-test").unwrap(), 3);
    assert_eq!(node.receiver.attested(&realm), Err(WrongRun::OtherDevice));
    let update = sealed(&mut publisher("a", 1), &snapshot(3, &[]), EPOCH);
    assert_eq!(node.take(&update, EPOCH), Err(UpdateError::NeedsRun));
}

#[test]
fn a_device_that_was_away_for_weeks_catches_up_from_one_message() {
    let (mut node, mut publisher) = (Node::provisioned("a", 1), publisher("a", 1));
    let other = Node::new("b", 2, Some(snapshot(9, &[(9, KeyState::Active)])));
    let weeks = EPOCH + 6 * 7 * 86_400_000;
    let mut retained = Vec::new();
    for serial in 2..=9 {
        let number = u8::try_from(serial).unwrap();
        let keys = [(number - 1, KeyState::Retiring), (number, KeyState::Active)];
        retained = sealed(&mut publisher, &snapshot(serial, &keys), EPOCH + serial);
    }
    let new = other.seal(weeks).unwrap();
    assert_eq!(node.opens(&new, weeks), Err(guard::OpenError::UnknownKey));
    assert_eq!(node.take(&retained, weeks).map(|ack| ack.serial()), Ok(9));
    assert!(node.opens(&new, weeks).is_ok());
}

#[test]
fn a_revoked_device_opens_nothing_new() {
    let mut broker = BTreeMap::new();
    let mut nodes = [Node::provisioned("a", 1), Node::provisioned("b", 2)];
    let mut revoked = Node::provisioned("c", 3);
    let before = nodes[0].seal(EPOCH).unwrap();
    assert!(revoked.opens(&before, EPOCH).is_ok());
    for (id, byte) in [("a", 1), ("b", 2)] {
        let update = snapshot(2, &[(1, KeyState::Retiring), (2, KeyState::Active)]);
        broker
            .insert(topics(id).keys().to_owned(), sealed(&mut publisher(id, byte), &update, EPOCH));
    }
    for node in &mut nodes {
        let update = &broker[topics(node.id).keys()];
        node.take(update, EPOCH).unwrap();
    }
    let after = nodes[0].seal(EPOCH).unwrap();
    assert!(nodes[1].opens(&after, EPOCH).is_ok());
    assert_eq!(revoked.opens(&after, EPOCH), Err(guard::OpenError::UnknownKey));
    // what the broker has for others is of no use to it
    for update in broker.values() {
        assert_eq!(revoked.take(update, EPOCH), Err(UpdateError::Open(OpenError::UnknownKey)));
    }
    assert_eq!(revoked.opens(&after, EPOCH), Err(guard::OpenError::UnknownKey));
}

#[test]
fn a_rotation_in_order_loses_no_message_whatever_step_a_device_is_at() {
    use KeyState::{Active, Pending, Retiring};
    let steps: [&[(u8, KeyState)]; 5] = [
        &[(1, Active)],
        &[(1, Active), (2, Pending)],
        &[(1, Retiring), (2, Active)],
        &[(1, Retiring), (2, Active)],
        &[(2, Active)],
    ];
    let at = |step: usize| Node::new("a", 1, Some(snapshot(1, steps[step])));
    for step in 0..steps.len() {
        for behind in step.saturating_sub(1)..=step {
            let sealed = at(step).seal(EPOCH).unwrap();
            assert!(at(behind).opens(&sealed, EPOCH).is_ok(), "{step} to {behind}");
            let sealed = at(behind).seal(EPOCH).unwrap();
            assert!(at(step).opens(&sealed, EPOCH).is_ok(), "{behind} to {step}");
        }
    }
}

#[test]
fn an_update_that_was_not_stored_comes_again() {
    let (mut node, mut publisher) = (Node::provisioned("a", 1), publisher("a", 1));
    let update = sealed(&mut publisher, &snapshot(2, &[(2, KeyState::Active)]), EPOCH);
    for retained in [true, false, false] {
        let received = node.receiver.open("acme/keys/a", &update, retained, None).unwrap();
        assert!(matches!(received, Received::New(update) if update.serial() == 2));
    }
    assert_eq!(node.receiver.serial(), Some(1));
    node.take(&update, EPOCH).unwrap();
    // delivered again by MQTT itself, it is a duplicate, and by a subscription known
    let again = node.receiver.open("acme/keys/a", &update, false, None).unwrap_err();
    assert_eq!(again, UpdateError::Rejected(Rejected::Duplicate));
    assert_eq!(node.take(&update, EPOCH).map(|ack| ack.serial()), Ok(2));
}

#[test]
fn a_lost_acknowledgement_is_made_again_from_the_known_update() {
    let (mut node, mut publisher) = (Node::provisioned("a", 1), publisher("a", 1));
    let update = sealed(&mut publisher, &snapshot(2, &[(2, KeyState::Active)]), EPOCH);
    node.take(&update, EPOCH).unwrap();
    let mut node = node.restart();
    let ack = node.take(&update, EPOCH).unwrap();
    let ack = node.acknowledge(ack);
    assert_eq!(publisher.acknowledged("acme/keys/a/ack", &ack), Ok(2));
}

#[test]
fn a_sender_number_is_used_only_after_it_was_taken_back_from_the_update() {
    let number = SenderNumber::new(17).unwrap();
    let with = |sender: Option<SenderNumber>| {
        let grant = Grant::shared(&key(101), REALM).unwrap();
        let grant = sender.into_iter().fold(grant, Grant::with_sender);
        Snapshot::new(2, vec![Entry::new(grant).unwrap()], vec![]).unwrap()
    };
    let sender = |snapshot: &Snapshot, lease: Option<SenderNumber>| {
        let decoded = Snapshot::decode(&snapshot.encode()).unwrap();
        decoded.grants(None, |_| lease)[0].sender()
    };
    let (asked, after) = (with(Some(number)), with(None));
    assert_eq!(sender(&asked, None), None);
    assert_eq!(sender(&asked, Some(number)), None);
    assert_eq!(sender(&after, Some(number)), Some(number));
    assert_eq!(sender(&after, None), None, "the counter is lost");
}

#[test]
fn messages_of_one_topic_or_device_are_refused_on_another() {
    let (mut node, mut publisher) = (Node::provisioned("a", 1), publisher("a", 1));
    let update = sealed(&mut publisher, &snapshot(2, &[(2, KeyState::Active)]), EPOCH);
    let open = |error| Err(UpdateError::Open(error));
    let mut other = Node::provisioned("b", 1);
    assert_eq!(other.take(&update, EPOCH), open(OpenError::UnknownKey));
    let other_topic = node.receiver.open("acme/keys/b", &update, true, None).map(|_| ());
    assert_eq!(other_topic, Err(UpdateError::Open(OpenError::OtherTopic)));
    let ack = node.take(&update, EPOCH).unwrap();
    let ack = node.acknowledge(ack);
    // an update is no acknowledgement, nor the other way round
    assert_eq!(node.take(&ack, EPOCH), open(OpenError::NotAuthentic));
    let refused = publisher.acknowledged("acme/keys/a/ack", &update);
    assert_eq!(refused, Err(AckError::Open(OpenError::NotAuthentic)));
    let refused = publisher.acknowledged("acme/keys/a", &ack);
    assert_eq!(refused, Err(AckError::Open(OpenError::OtherTopic)));
}

#[test]
fn an_update_with_any_bit_changed_or_cut_is_refused() {
    let (mut node, mut publisher) = (Node::provisioned("a", 1), publisher("a", 1));
    let update = sealed(&mut publisher, &snapshot(2, &[(2, KeyState::Active)]), EPOCH);
    for bit in 0..update.len() * 8 {
        let mut changed = update.clone();
        changed[bit / 8] ^= 0x80 >> (bit % 8);
        assert!(node.take(&changed, EPOCH).is_err(), "bit {bit}");
    }
    for len in 0..update.len() {
        assert!(node.take(&update[..len], EPOCH).is_err(), "{len} bytes");
    }
    assert_eq!(node.take(&[], EPOCH), Err(UpdateError::Open(OpenError::Cleared)));
    assert!(node.take(&update, EPOCH).is_ok());
}

#[test]
fn an_update_from_the_future_is_refused() {
    let (mut node, mut publisher) = (Node::provisioned("a", 1), publisher("a", 1));
    let update = sealed(&mut publisher, &snapshot(2, &[]), EPOCH + 5_001);
    assert_eq!(node.take(&update, EPOCH), Err(UpdateError::Rejected(Rejected::NotFresh)));
    assert!(node.take(&update, EPOCH + 1).is_ok());
}

#[test]
fn two_updates_of_one_millisecond_are_both_taken() {
    let (mut node, mut publisher) = (Node::provisioned("a", 1), publisher("a", 1));
    for serial in 2..5 {
        let update = sealed(&mut publisher, &snapshot(serial, &[]), EPOCH);
        assert_eq!(node.take(&update, EPOCH).map(|ack| ack.serial()), Ok(serial));
    }
}

#[test]
fn update_of_a_restarted_publisher_is_taken_although_its_clock_went_back() {
    let (mut node, mut before) = (Node::provisioned("a", 1), publisher("a", 1));
    let update = sealed(&mut before, &snapshot(2, &[]), EPOCH);
    assert!(node.take(&update, EPOCH).is_ok());
    let mut after = publisher("a", 1).resume(before.last());
    let update = sealed(&mut after, &snapshot(3, &[]), EPOCH - 60_000);
    assert_eq!(node.take(&update, EPOCH).map(|ack| ack.serial()), Ok(3));
}

#[test]
fn clock_beyond_48_bits_publishes_nothing() {
    let beyond = 1 << 48;
    for (last, now, outcome) in [
        (0, beyond - 1, Ok(())),
        (0, beyond, Err(PublishError::Clock)),
        (beyond - 1, EPOCH, Err(PublishError::Clock)),
    ] {
        let mut out = Vec::new();
        let mut publisher = publisher("a", 1).resume(last);
        let published = publisher.publish(&snapshot(2, &[]), now, &mut Counting(0), &[], &mut out);
        assert_eq!(published, outcome);
        assert_eq!(out.is_empty(), outcome.is_err());
    }
}

#[test]
fn the_pairwise_key_of_the_device_is_no_entry() {
    use mqtt_seal::schedule;
    use mqtt_seal::topic::PathScope;
    let root = || schedule::root(&key(1), REALM).unwrap();
    let node = Grant::node(PathScope::REALM, schedule::root_node(&root()));
    for grant in [Grant::root(root()), node] {
        let snapshot = Snapshot::new(2, vec![Entry::new(grant).unwrap()], vec![]).unwrap();
        let mut out = Vec::new();
        let refused = publisher("a", 1).publish(&snapshot, EPOCH, &mut Counting(0), &[], &mut out);
        assert_eq!(refused, Err(PublishError::PairwiseKey));
        assert!(out.is_empty());
    }
}

#[test]
fn dates_decide_when_a_key_seals_and_opens() {
    let second = EPOCH / 1_000;
    let dated = entry(1, KeyState::Active).between(Some(second + 10), Some(second + 20));
    let snapshot = Snapshot::new(2, vec![dated], vec![]).unwrap();
    let state = |now: Option<u64>| {
        let grants = snapshot.grants(now, |_| None);
        grants.first().map(Grant::state)
    };
    assert_eq!(state(Some(EPOCH + 9_999)), Some(State::Pending));
    assert_eq!(state(Some(EPOCH + 10_000)), Some(State::Active));
    assert_eq!(state(Some(EPOCH + 20_999)), Some(State::Active));
    assert_eq!(state(Some(EPOCH + 21_000)), None);
    assert_eq!(state(None), Some(State::Pending), "no clock: not known to be reached");
    assert_eq!(snapshot.next_date(EPOCH), Some(EPOCH + 10_000));
    assert_eq!(snapshot.next_date(EPOCH + 10_000), Some(EPOCH + 21_000));
    assert_eq!(snapshot.next_date(EPOCH + 21_000), None);
}

#[test]
fn a_run_under_another_pairwise_key_is_not_heard() {
    let mut node = Node::new("device-1", 1, None);
    let run = pairwise_run("device-1", 2, 50);
    assert_eq!(node.receiver.attested(&run), Err(WrongRun::OtherDevice));
}

#[test]
fn an_update_that_is_refused_does_not_stand_in_the_way_of_the_next() {
    // sealed while the authority's clock was a day ahead, and repeated by the broker
    let (mut five, mut seven) = (vec![], vec![]);
    let ahead = EPOCH + 86_400_000;
    let publish = |serial, now, out: &mut Vec<u8>| {
        let update = snapshot(serial, &[]);
        publisher("d", 1).publish(&update, now, &mut Counting(serial), &[], out).unwrap();
    };
    publish(5, ahead, &mut five);
    publish(7, EPOCH, &mut seven);
    let mut node = Node::new("d", 1, Some(snapshot(6, &[])));
    let topic = topics("d");
    let refused = node.receiver.open(topic.keys(), &five, true, None).unwrap_err();
    assert_eq!(refused, UpdateError::RolledBack { serial: 5, least: 6 });
    // what is taken and not stored leaves no trace either
    drop(node.receiver.open(topic.keys(), &seven, true, None).unwrap());
    let next = node.receiver.open(topic.keys(), &seven, true, None).unwrap();
    assert!(matches!(next, Received::New(_)), "{next:?}");
}

#[test]
fn two_publishers_of_one_process_share_no_session_under_constant_randomness() {
    let sealed = [3, 4].map(|serial| {
        let mut out = vec![];
        let update = snapshot(serial, &[]);
        publisher("d", 1).publish(&update, EPOCH, &mut Counting(0), &[], &mut out).unwrap();
        out
    });
    assert_ne!(sealed[0][6..18], sealed[1][6..18]);
}

#[test]
fn an_update_is_sealed_as_the_format_says() {
    let mut out = vec![];
    let update = snapshot(2, &[]);
    publisher("d", 1).publish(&update, EPOCH, &mut Counting(0), &[], &mut out).unwrap();
    let root = schedule::root(&key(1), REALM).unwrap();
    let suite = Suite::ChaCha20Poly1305Commit;
    let scope = schedule::named_scope(&root, "$device/d", suite);
    let mut opener = Opener::<1>::new(scope, suite).unwrap();
    let topic = topics("d");
    let name = TopicName::parse(topic.keys()).unwrap();
    let opened = opener.open_in_place(name, &mut out).unwrap();
    assert_eq!(opened.payload, &update.encode()[..]);
    assert_eq!(opened.inner.timestamp, Some(EPOCH));
}
