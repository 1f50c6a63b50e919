use super::*;
use crate::topic::TopicName;
use std::{string::ToString, vec};

fn shared(byte: u8) -> Grant {
    Grant::shared(&SharedKey::take(&mut [byte; 32]), "realm").unwrap()
}

fn scope() -> ScopeRef<'static> {
    ScopeRef::Path(TopicName::parse("plant/a").unwrap().path(2))
}

fn sealing(grants: Vec<Grant>) -> Result<u32, NoSealingKey> {
    let keyring = Keyring::new(grants);
    keyring.sealing_key(scope(), Suite::default()).map(|key| key.generation)
}

#[test]
fn only_the_active_generation_seals() {
    let retiring = State::Retiring { not_after: None };
    let grants = |states: [State; 3]| {
        let grant = |(state, n)| shared(n).with_generation(u32::from(n)).with_state(state);
        states.into_iter().zip(1..).map(grant).collect()
    };
    assert_eq!(sealing(grants([retiring, State::Active, State::Pending])), Ok(2));
    assert_eq!(sealing(grants([retiring; 3])), Err(NoSealingKey::None));
    assert_eq!(
        sealing(grants([State::Active, State::Active, retiring])),
        Err(NoSealingKey::Several)
    );
}

#[test]
fn a_root_and_a_node_of_one_generation_are_one_key() {
    let root = schedule::root(&SharedKey::take(&mut [1; 32]), "realm").unwrap();
    let path = TopicName::parse("plant").unwrap().path(1);
    let node = schedule::node(&schedule::root_node(&root), "plant");
    assert_eq!(sealing(vec![Grant::root(root), Grant::node(path, node)]), Ok(1));
}

#[test]
fn a_key_that_is_granted_twice_may_do_what_either_grant_allows() {
    let pending = shared(1).with_state(State::Pending);
    assert_eq!(sealing(vec![pending, shared(1)]), Ok(1));
}

#[test]
fn a_retiring_key_opens_until_its_last_second() {
    let retiring = State::Retiring { not_after: Some(100) };
    assert!(retiring.opens(Some(100_999)));
    assert!(!retiring.opens(Some(101_000)));
    assert!(retiring.opens(None));
    assert!(State::Pending.opens(Some(u64::MAX)));
}

#[test]
fn at_most_eight_keys_live_and_the_newest_stay() {
    let grants = (1..=10).map(|n| shared(n).with_generation(u32::from(n))).collect();
    let live = Keyring::new(grants).live_keys(scope(), Suite::default());
    let generations: Vec<_> = live.keys.iter().map(|key| key.generation).collect();
    assert_eq!(generations, [3, 4, 5, 6, 7, 8, 9, 10]);
}

/// Two shared keys whose scope keys have one KID, found by trying: `open_accept.json` has them.
fn colliding() -> [Grant; 2] {
    let text = include_str!("../../tests/vectors/open_accept.json");
    let json: serde_json::Value = serde_json::from_str(text).unwrap();
    let case = &json["cases"][0];
    assert!(case["comment"].as_str().unwrap().contains("KeyCollision"));
    [0, 1].map(|i| {
        let key = &case["keys"][i];
        let hex = key["shared_key"].as_str().unwrap();
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0_usize..).step_by(2)) {
            *byte = u8::from_str_radix(&hex[at..at.saturating_add(2)], 16).unwrap();
        }
        let realm = key["realm"].as_str().unwrap();
        let generation = u32::try_from(i).unwrap();
        Grant::shared(&SharedKey::take(&mut bytes), realm).unwrap().with_generation(generation)
    })
}

#[test]
fn the_newer_of_two_keys_with_one_kid_is_not_used() {
    let topic = TopicName::parse("\u{e9}tat/b/a").unwrap();
    let scope = ScopeRef::Path(topic.path(2));
    let [older, newer] = colliding();
    let retiring = State::Retiring { not_after: None };
    let keyring = Keyring::new(vec![newer, older.with_state(retiring)]);
    let live = keyring.live_keys(scope, Suite::default());
    assert_eq!(live.keys.iter().map(|key| key.generation).collect::<Vec<_>>(), [0]);
    let error = keyring.sealing_key(scope, Suite::default()).unwrap_err();
    assert_eq!(error, NoSealingKey::Collision(live.collision.unwrap()));
    assert_eq!(
        live.collision.unwrap().to_string(),
        "two keys of one scope have the key ID fb42b112: draw another generation"
    );
}
