use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use super::*;
use crate::keyring::{ScopeRef, State};
use crate::replay::Rejected;
use crate::schedule;
use crate::secret::{NodeKey, ScopeKey, SharedKey};
use crate::session::{Entropy, NoEntropy};
use crate::suite::Suite;
use crate::topic::PathScope;

fn path(text: &str) -> PathScope<'_> {
    TopicName::parse(text).unwrap().path(16)
}

fn scope_key() -> ScopeKey {
    ScopeKey::take(&mut [3; 32])
}

fn named(name: &str) -> Grant {
    Grant::scope(ScopeRef::Named(name), Suite::Aes256Gcm, scope_key())
}

fn root() -> Grant {
    Grant::shared(&SharedKey::take(&mut [9; 32]), "r").unwrap()
}

/// A snapshot with an entry of every kind and state.
fn every_kind() -> Snapshot {
    let number = SenderNumber::new(SenderNumber::MAX).unwrap();
    let retiring = State::Retiring { not_after: Some(1_900_000_000) };
    let node = |levels: &'static str| Grant::node(path(levels), NodeKey::take(&mut [4; 32]));
    let in_path = |scope| Grant::scope(ScopeRef::Path(scope), Suite::default(), scope_key());
    let entries = [
        Entry::new(root().with_generation(u32::MAX)),
        Entry::new(node("plant/a").with_state(State::Pending).with_sender(number)),
        Entry::new(node("/").with_state(retiring)),
        Entry::new(in_path(PathScope::REALM)),
        Entry::new(in_path(path("é//c")).with_generation(2)),
        Entry::new(named("telemetry")).map(|entry| entry.between(Some(5), Some(6))),
        Entry::new(named("old")).map(|entry| entry.with_state(KeyState::Erased)),
    ];
    let entries = entries.into_iter().collect::<Result<_, _>>().unwrap();
    Snapshot::new(u64::MAX, entries, vec![[1; 32], [2; 32]]).unwrap()
}

#[test]
fn a_snapshot_is_read_as_it_was_written() {
    let written = every_kind();
    let bytes = written.encode();
    let read = Snapshot::decode(&bytes).unwrap();
    assert_eq!(*read.encode(), *bytes);
    assert_eq!((read.serial(), read.pins()), (u64::MAX, written.pins()));
    for (a, b) in written.entries().iter().zip(read.entries()) {
        assert_eq!((a.target(), a.generation()), (b.target(), b.generation()));
        assert_eq!((a.state(), a.sender()), (b.state(), b.sender()));
        assert_eq!((a.not_before(), a.not_after()), (b.not_before(), b.not_after()));
        let erased = a.state() == KeyState::Erased;
        assert_eq!(a.parts().expose() == b.parts().expose(), !erased);
    }
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let entry =
        Entry::new(Grant::root(schedule::root(&SharedKey::take(&mut [9; 32]), "r").unwrap()));
    let snapshot = Snapshot::new(5, vec![entry.unwrap()], vec![]).unwrap();
    let key = *schedule::root(&SharedKey::take(&mut [9; 32]), "r").unwrap().expose();
    let expected = [
        b"\x83\x05\x81\xA6\x01\x02\x04\x01\x05\x58\x20".as_slice(),
        &key,
        b"\x06\x00\x07\x00\x08\x01\x80",
    ];
    assert_eq!(**snapshot.encode(), expected.concat());
}

#[test]
fn the_key_of_an_erased_generation_is_not_sent() {
    let entry = Entry::new(named("a")).unwrap().with_state(KeyState::Erased);
    let bytes = Snapshot::new(1, vec![entry], vec![]).unwrap().encode();
    assert!(!bytes.windows(32).any(|window| window == [3; 32]));
    assert!(Snapshot::decode(&bytes).unwrap().grants(None, |_| None).is_empty());
}

#[test]
fn a_snapshot_that_is_cut_or_longer_is_none() {
    let bytes = every_kind().encode();
    for len in 0..bytes.len() {
        assert!(Snapshot::decode(&bytes[..len]).is_none(), "{len}");
    }
    assert!(Snapshot::decode(&[&bytes[..], &[0]].concat()).is_none());
}

/// A snapshot whose one entry has these bytes.
fn decodes(entry: &[u8]) -> bool {
    Snapshot::decode(&[b"\x83\x05\x81", entry, b"\x80"].concat()).is_some()
}

/// An entry of these bytes in front of generation 1, a key, no dates, and these bytes behind.
fn with_key(front: &[u8], back: &[u8]) -> Vec<u8> {
    [front, b"\x04\x01\x05\x58\x20", &[7; 32], b"\x06\x00\x07\x00", back].concat()
}

#[test]
fn an_entry_that_is_not_exactly_one_of_the_kinds_is_refused() {
    let active: &[u8] = b"\x08\x01";
    let cases: [(&str, &[u8], &[u8], bool); 20] = [
        ("root", b"\xA6\x01\x02", active, true),
        ("root with a sender number", b"\xA7\x01\x02", b"\x08\x01\x09\x00", true),
        ("node", b"\xA7\x01\x01\x02\x81\x61a", active, true),
        ("node of an empty level", b"\xA7\x01\x01\x02\x81\x60", active, true),
        ("scope", b"\xA8\x01\x00\x02\x80\x03\x01", active, true),
        ("named scope", b"\xA8\x01\x00\x02\x61a\x03\x01", active, true),
        ("another kind", b"\xA6\x01\x03", active, false),
        ("another state", b"\xA6\x01\x02", b"\x08\x04", false),
        ("one entry less", b"\xA5\x01\x02", active, false),
        ("a sender number that is not counted", b"\xA6\x01\x02", b"\x08\x01\x09\x00", false),
        ("a sender number of 2^30", b"\xA7\x01\x02", b"\x08\x01\x09\x1A\x40\0\0\0", false),
        ("root with a path", b"\xA7\x01\x02\x02\x80", active, false),
        ("node by name", b"\xA7\x01\x01\x02\x61a", active, false),
        ("level with a slash", b"\xA7\x01\x01\x02\x81\x63a/b", active, false),
        ("level with a wildcard", b"\xA7\x01\x01\x02\x81\x61+", active, false),
        ("17 levels", b"\xA7\x01\x01\x02\x91````````````\x60````", active, false),
        ("empty name", b"\xA8\x01\x00\x02\x60\x03\x01", active, false),
        ("reserved name", b"\xA8\x01\x00\x02\x62$a\x03\x01", active, false),
        ("unknown suite", b"\xA8\x01\x00\x02\x61a\x03\x04", active, false),
        ("a longer head", b"\xA6\x01\x18\x02", active, false),
    ];
    for (what, front, back, good) in cases {
        assert_eq!(decodes(&with_key(front, back)), good, "{what}");
    }
    let twice = with_key(b"\xA6\x01\x02", active);
    let twice = [b"\x83\x05\x82", &twice[..], &twice[..], b"\x80"].concat();
    assert!(Snapshot::decode(&twice).is_none(), "the same generation twice");
    let count = b"\x83\x05\x9B\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF";
    assert!(Snapshot::decode(count).is_none(), "more entries than there can be");
}

#[test]
fn a_generation_that_stands_twice_is_refused_with_its_place() {
    let entry = |generation| pending(root().with_generation(generation));
    let repeated = Snapshot::new(1, vec![entry(1), entry(2), entry(3), entry(2)], vec![]);
    let error = repeated.unwrap_err();
    assert_eq!(error, SnapshotError::SameKeyTwice { entry: 3 });
    let text = "entry 3 repeats a generation of a key: leave one of them out";
    assert_eq!(error.to_string(), text);
    let suites = [Suite::Aes256Gcm, Suite::default()]
        .map(|suite| Entry::new(Grant::scope(ScopeRef::Named("a"), suite, scope_key())).unwrap());
    assert!(Snapshot::new(1, suites.into(), vec![]).is_ok());
}

fn pending(grant: Grant) -> Entry {
    Entry::new(grant).unwrap().with_state(KeyState::Pending)
}

#[test]
fn two_generations_of_one_key_are_not_active_together() {
    let active = |generation, from, until| {
        Entry::new(root().with_generation(generation)).unwrap().between(from, until)
    };
    let snapshot = |a, b| Snapshot::new(1, vec![a, b], vec![]).map(drop);
    let refused = Err(SnapshotError::TwoActive { entry: 1 });
    assert_eq!(snapshot(active(1, None, None), active(2, None, None)), refused);
    assert_eq!(snapshot(active(1, None, Some(9)), active(2, Some(9), None)), refused);
    assert_eq!(snapshot(active(1, None, Some(8)), active(2, Some(9), None)), Ok(()));
    assert_eq!(snapshot(active(2, Some(9), None), active(1, None, Some(8))), Ok(()));
    assert_eq!(snapshot(active(1, None, None), pending(root().with_generation(2))), Ok(()));
    assert_eq!(snapshot(active(1, None, None), Entry::new(named("a")).unwrap()), Ok(()));
}

#[test]
fn serial_0_is_no_update() {
    assert_eq!(Snapshot::new(0, vec![], vec![]).unwrap_err(), SnapshotError::SerialZero);
}

#[test]
fn keys_that_are_read_are_never_moved_by_a_vector_that_grows() {
    let entries = (0..100).map(|number| pending(root().with_generation(number))).collect();
    let bytes = Snapshot::new(1, entries, vec![]).unwrap().encode();
    assert_eq!(Snapshot::decode(&bytes).unwrap().entries.capacity(), 100);
}

#[test]
fn grants_that_an_update_cannot_hold_are_refused() {
    let deep = "a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a";
    let deep = PathScope::from_parts(deep, 17).unwrap();
    let wild = PathScope::from_parts("a/+", 2).unwrap();
    let long = "x".repeat(65_536);
    let cases = [
        (named("$device/a"), EntryError::ReservedScope),
        (named(""), EntryError::ScopeName),
        (named(&long), EntryError::ScopeName),
        (named("a\0"), EntryError::ScopeName),
        (Grant::node(deep, NodeKey::take(&mut [4; 32])), EntryError::Path),
        (Grant::node(wild, NodeKey::take(&mut [4; 32])), EntryError::Path),
        (root().with_suite(Suite::Aes256Gcm), EntryError::SuiteOfNode),
        (root().with_state(State::Retiring { not_after: Some(0) }), EntryError::DateZero),
    ];
    for (grant, error) in cases {
        assert_eq!(Entry::new(grant).unwrap_err(), error);
    }
}

#[test]
fn a_sender_number_is_taken_awaited_used_or_lost() {
    let [one, two] = [1, 2].map(|number| SenderNumber::new(number).unwrap());
    let asked = Entry::new(root().with_sender(one)).unwrap();
    assert_eq!(asked.sender_step(None), SenderStep::Take(one));
    assert_eq!(asked.sender_step(Some(two)), SenderStep::Take(one));
    assert_eq!(asked.sender_step(Some(one)), SenderStep::Wait(one));
    let after = Entry::new(root()).unwrap();
    assert_eq!(after.sender_step(Some(one)), SenderStep::Seal(one));
    assert_eq!(after.sender_step(None), SenderStep::CounterLost);
}

#[test]
fn an_entry_tells_which_scopes_it_covers() {
    let suite = Suite::Aes256Gcm;
    let entry = Entry::new(named("a")).unwrap();
    assert!(entry.covers(ScopeRef::Named("a"), suite));
    assert!(!entry.covers(ScopeRef::Named("b"), suite));
    assert!(!entry.covers(ScopeRef::Named("a"), Suite::default()));
}

#[test]
fn an_acknowledgement_is_one_serial_and_nothing_else() {
    for serial in [0, 24, u64::MAX] {
        let bytes = codec::write_ack(serial);
        assert_eq!(codec::read_ack(&bytes), Some(serial));
        assert_eq!(codec::read_ack(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(codec::read_ack(&bytes[..bytes.len() - 1]), None);
    }
    assert_eq!(codec::read_ack(b"\x80"), None);
    assert_eq!(codec::read_ack(b"\x81\x18\x01"), None);
}

struct Constant;

impl Entropy for Constant {
    fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), NoEntropy> {
        *out = [9; 32];
        Ok(())
    }
}

struct Broken;

impl Entropy for Broken {
    fn fill(&mut self, _: &mut [u8; 32]) -> Result<(), NoEntropy> {
        Err(NoEntropy)
    }
}

fn id() -> PeerId<'static> {
    PeerId::parse("d").unwrap()
}

fn pairwise() -> SharedKey {
    SharedKey::take(&mut [1; 32])
}

fn receiver(serial: Option<u64>) -> Receiver {
    Receiver::new(&pairwise(), "r", id(), Topics::new("p", id()).unwrap(), serial).unwrap()
}

/// Seals a text as an update, as nobody but an authority out of its mind would.
fn seal(timestamp: Option<u64>, text: &[u8]) -> Vec<u8> {
    let (mut link, mut out) = (link::Link::new(&pairwise(), "r", id()).unwrap(), Vec::new());
    link.seal("p/keys/d", timestamp, text, (&mut Constant, &[]), &mut out).unwrap();
    out
}

#[test]
fn what_opens_and_is_no_dated_snapshot_of_other_keys_is_refused() {
    let good = Snapshot::new(2, vec![], vec![]).unwrap().encode();
    let own = Entry::new(Grant::shared(&pairwise(), "r").unwrap()).unwrap();
    let own = Snapshot::new(2, vec![own], vec![]).unwrap().encode();
    let cases: [(_, &[u8], _); 4] = [
        (Some(7), &good, None),
        (None, &good, Some(UpdateError::Rejected(Rejected::NotFresh))),
        (Some(7), b"\x83\x02", Some(UpdateError::Contents)),
        (Some(7), &own, Some(UpdateError::Contents)),
    ];
    for (timestamp, text, expected) in cases {
        let sealed = seal(timestamp, text);
        let mut receiver = receiver(Some(1));
        let refused = receiver.open("p/keys/d", &sealed, true, None).err();
        assert_eq!(refused, expected);
        assert_eq!(receiver.serial(), Some(1));
    }
    assert_eq!(seal(None, &[])[..2], [0xFC, 0x40]);
}

#[test]
fn a_failing_generator_publishes_and_acknowledges_nothing() {
    let mut out = vec![1];
    let topics = Topics::new("p", id()).unwrap();
    let mut publisher = Publisher::new(&pairwise(), "r", id(), topics).unwrap();
    let snapshot = Snapshot::new(2, vec![], vec![]).unwrap();
    let refused = publisher.publish(&snapshot, 7, &mut Broken, &[], &mut out);
    assert_eq!(refused, Err(PublishError::NoEntropy(NoEntropy)));
    assert!(out.is_empty());
    let sealed = seal(Some(7), &snapshot.encode());
    let mut receiver = receiver(Some(2));
    let Ok(Received::Known(ack)) = receiver.open("p/keys/d", &sealed, true, None) else {
        panic!("2 is stored")
    };
    let refused = receiver.acknowledge(ack, &mut Broken, &[], &mut out);
    assert_eq!(refused, Err(PublishError::NoEntropy(NoEntropy)));
    assert!(out.is_empty());
}

#[test]
fn topics_are_those_of_the_format() {
    let topics = Topics::new("acme/eu", id()).unwrap();
    assert_eq!(topics.keys(), "acme/eu/keys/d");
    assert_eq!(topics.acknowledgements(), "acme/eu/keys/d/ack");
    assert_eq!(Topics::new("acme/#", id()), Err(TopicError::Wildcard));
    assert_eq!(Topics::new("$share/group", id()), Err(TopicError::Shared));
}

#[test]
fn errors_say_what_happened() {
    let opening = OpenError::NotAuthentic;
    let errors: [(&dyn ToString, &str); 25] = [
        (&OpenError::OtherTopic, "the message came on another topic: it was ignored"),
        (&OpenError::Cleared, "the message is empty: somebody deleted the retained update"),
        (&OpenError::NotSealed, "the message is not sealed: it was ignored"),
        (&OpenError::Unsupported, "the message has an unknown version or flag"),
        (&OpenError::Malformed, "the message is malformed"),
        (&OpenError::UnknownKey, "the message is sealed under another key than the device's own"),
        (&UpdateError::Open(opening), "the message is not authentic"),
        (&AckError::Open(opening), "the message is not authentic"),
        (&AckError::Contents, "the acknowledgement holds no serial"),
        (
            &UpdateError::NeedsRun,
            "no serial is stored: complete a peer authentication before taking updates",
        ),
        (&UpdateError::Contents, "the update is no snapshot of keys for this device"),
        (
            &UpdateError::RolledBack { serial: 2, least: 3 },
            "the update has serial 2, and 3 is the least: it is old",
        ),
        (
            &UpdateError::OtherContents { serial: 2 },
            "the update has serial 2 as the stored one, and other keys: the authority runs twice or \
             has an old ledger, order a rotation there",
        ),
        (&UpdateError::Rejected(Rejected::Stale), "a newer value of the topic was delivered"),
        (
            &WrongRun::GroupMembership,
            "a run under a group key proves nothing about updates: use the pairwise key",
        ),
        (&WrongRun::OtherDevice, "the run was made for another device or realm"),
        (
            &PublishError::PairwiseKey,
            "an entry is the pairwise key of the device itself: send a group's key",
        ),
        (&PublishError::Clock, "the clock is beyond the year 10889: set it"),
        (&EntryError::DateZero, "a key that retired in second 0 opens nothing: leave it out"),
        (&SnapshotError::SerialZero, "serials begin with 1: 0 says that there is no update"),
        (
            &SnapshotError::TwoActive { entry: 1 },
            "entry 1 is active beside another generation: retire one of them",
        ),
        (&PublishError::TooLarge, "the snapshot is too large to be sealed: send fewer keys"),
        (
            &EntryError::ReservedScope,
            "names of scopes that begin with '$' are reserved: choose another",
        ),
        (&EntryError::Path, "a path has 0 to 16 levels without '+', '#' and U+0000"),
        (
            &EntryError::SuiteOfNode,
            "an update cannot keep a root or node key to one suite: send scope keys",
        ),
    ];
    for (error, expected) in errors {
        assert_eq!(error.to_string(), String::from(expected));
    }
    let name = EntryError::ScopeName.to_string();
    assert_eq!(name, "the name of a scope has 1 to 65535 bytes and no U+0000");
    let entropy = PublishError::NoEntropy(NoEntropy).to_string();
    assert_eq!(entropy, "the random generator failed: no session was started");
}
