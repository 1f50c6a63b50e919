use super::*;
use crate::keyring::State;
use crate::secret::SharedKey;
use crate::update::KeyState;
use std::format;
use std::string::ToString;
use std::vec;

const OWNER: KeyId = KeyId::new([1, 2, 3, 4]);

fn grant(number: u8) -> Grant {
    let grant = Grant::shared(&SharedKey::take(&mut [number; 32]), "test").unwrap();
    grant.with_generation(number.into())
}

fn number(number: u32) -> SenderNumber {
    SenderNumber::new(number).unwrap()
}

fn snapshot(serial: u64, entries: Vec<Entry>) -> Snapshot {
    Snapshot::new(serial, entries, vec![[5; 32]]).unwrap()
}

fn entry(grant: Grant, state: KeyState) -> Entry {
    Entry::new(grant).unwrap().with_state(state)
}

/// Stored for the first time, with a lease for every number.
fn held(entries: Vec<Entry>) -> Held {
    after(entries, None)
}

fn after(entries: Vec<Entry>, before: Option<&Held>) -> Held {
    let snapshot = snapshot(1, entries);
    let mut taken = Taken::carried(&snapshot, before, &Keyring::default());
    assert!(taken.take(&snapshot, |_| true));
    Held::new(snapshot, taken)
}

/// Generations and states of a keyring.
fn states(held: &Held, base: Vec<Grant>) -> Vec<(u32, State)> {
    let keyring = held.keyring(&Keyring::new(base), None);
    keyring.grants().iter().map(|grant| (grant.generation(), grant.state())).collect()
}

fn sender(held: &Held, base: Vec<Grant>) -> Option<SenderNumber> {
    held.keyring(&Keyring::new(base), None).grants()[0].sender()
}

#[test]
fn stored_state_is_read_as_it_was_written() {
    let entries = vec![
        entry(grant(1).with_sender(number(7)), KeyState::Retiring),
        entry(grant(2), KeyState::Active),
    ];
    let held = held(entries);
    let bytes = held.taken.encode(&held.snapshot, OWNER);
    let read = Held::decode(&bytes, OWNER).unwrap();
    assert_eq!(read.taken.encode(&read.snapshot, OWNER), bytes);
    assert_eq!(read.taken.0, [Some(number(7)), None]);
}

#[test]
fn stored_state_that_is_cut_or_of_another_is_refused() {
    let held = held(vec![entry(grant(1), KeyState::Active)]);
    let bytes = held.taken.encode(&held.snapshot, OWNER);
    let refused = |bytes: &[u8], owner| Held::decode(bytes, owner).unwrap_err();
    for len in 0..bytes.len() {
        assert_eq!(refused(&bytes[..len], OWNER), StateError::Damaged, "{len}");
    }
    assert_eq!(refused(&[&bytes[..], &[0]].concat(), OWNER), StateError::Damaged);
    assert_eq!(refused(&bytes, KeyId::new([1, 2, 3, 5])), StateError::OtherDevice);
    let mut newer = bytes.to_vec();
    newer[0] = 2;
    assert_eq!(refused(&newer, OWNER), StateError::NewerVersion);
    let mut more = bytes.to_vec();
    more[8] = 2;
    assert_eq!(refused(&more, OWNER), StateError::Damaged);
}

#[test]
fn configured_keys_of_other_kinds_stay_beside_those_of_the_snapshot() {
    let held = held(vec![entry(grant(2), KeyState::Active)]);
    let other = Grant::scope(
        crate::keyring::ScopeRef::Named("alarms"),
        crate::suite::Suite::ChaCha20Poly1305,
        crate::secret::ScopeKey::take(&mut [3; 32]),
    );
    assert_eq!(states(&held, vec![other]), [(1, State::Active), (2, State::Active)]);
}

#[test]
fn configured_generations_rest_while_the_snapshot_lists_their_key() {
    let retiring = State::Retiring { not_after: None };
    let both = vec![entry(grant(1), KeyState::Retiring), entry(grant(2), KeyState::Active)];
    assert_eq!(states(&held(both), vec![grant(1)]), [(1, retiring), (2, State::Active)]);
    let second = held(vec![entry(grant(2), KeyState::Active)]);
    assert_eq!(states(&second, vec![grant(1)]), [(2, State::Active)]);
    let erased = held(vec![entry(grant(2), KeyState::Erased)]);
    assert_eq!(states(&erased, vec![grant(1)]), []);
}

#[test]
fn sender_number_seals_only_once_the_snapshot_leaves_it_out() {
    let asked = held(vec![entry(grant(1).with_sender(number(7)), KeyState::Active)]);
    assert_eq!(sender(&asked, vec![]), None);
    let left_out = after(vec![entry(grant(1), KeyState::Active)], Some(&asked));
    assert_eq!(sender(&left_out, vec![]), Some(number(7)));
    // of another key of the same generation it is none
    let other = Grant::shared(&SharedKey::take(&mut [9; 32]), "test").unwrap();
    let other = after(vec![entry(other, KeyState::Active)], Some(&asked));
    assert_eq!(sender(&other, vec![]), None);
}

#[test]
fn sender_number_without_a_lease_is_not_taken() {
    let snapshot = snapshot(1, vec![entry(grant(1).with_sender(number(7)), KeyState::Active)]);
    let mut taken = Taken::carried(&snapshot, None, &Keyring::default());
    assert!(!taken.take(&snapshot, |_| false));
    let held = Held::new(snapshot, taken);
    assert!(held.lacks_number());
    let left_out = after(vec![entry(grant(1), KeyState::Active)], Some(&held));
    assert_eq!(sender(&left_out, vec![]), None);
}

#[test]
fn sender_number_of_the_configuration_goes_on() {
    let snapshot = snapshot(1, vec![entry(grant(1), KeyState::Active)]);
    let base = || vec![grant(1).with_sender(number(7))];
    let taken = Taken::carried(&snapshot, None, &Keyring::new(base()));
    assert_eq!(sender(&Held::new(snapshot, taken), base()), Some(number(7)));
}

#[test]
fn state_errors_say_what_to_do() {
    for (error, text) in [
        (
            StateError::Damaged,
            "the stored keys are damaged: remove them, and they come anew by the next update",
        ),
        (
            StateError::OtherDevice,
            "the stored keys are of another device or pairwise key: name another store",
        ),
        (
            StateError::NewerVersion,
            "the stored keys are of a newer version: use the library that wrote them",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn debug_shows_no_key() {
    let held = held(vec![entry(grant(9), KeyState::Active)]);
    let key = held.snapshot.entries()[0].parts().expose();
    assert!(!format!("{held:?}").contains(&format!("{}, {}", key[0], key[1])));
}
