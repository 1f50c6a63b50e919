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

fn path(topic: &str, depth: u8) -> PathScope<'_> {
    TopicName::parse(topic).unwrap().path(depth)
}

fn kid(grant: &Grant, scope: ScopeRef<'_>, suite: Suite) -> Option<KeyId> {
    grant.derive(scope, suite).map(|key| key.kid)
}

#[test]
fn a_narrowed_grant_gives_the_keys_of_the_wide_one() {
    let (root, suite) = (shared(1), Suite::default());
    let below = ScopeRef::Path(path("plant/a/b", 3));
    let node = root.narrow_to_node(path("plant/a", 2)).unwrap();
    let deeper = node.narrow_to_node(path("plant/a/b", 3)).unwrap();
    let scope = deeper.narrow_to_scope(below, suite).unwrap();
    let again = scope.narrow_to_scope(below, suite).unwrap();
    for grant in [&node, &deeper, &scope, &again] {
        assert_eq!(kid(grant, below, suite), kid(&root, below, suite));
        assert!(kid(grant, ScopeRef::Path(path("plant/b", 2)), suite).is_none());
        assert!(kid(grant, ScopeRef::Named("n"), suite).is_none());
    }
    let named = root.narrow_to_scope(ScopeRef::Named("n"), suite).unwrap();
    assert_eq!(kid(&named, ScopeRef::Named("n"), suite), kid(&root, ScopeRef::Named("n"), suite));
    assert!(kid(&named, ScopeRef::Named("m"), suite).is_none());
}

#[test]
fn a_grant_is_narrowed_to_nothing_that_it_does_not_cover() {
    let suite = Suite::default();
    let node = shared(1).narrow_to_node(path("plant/a", 2)).unwrap();
    for (topic, depth) in [("plant", 1), ("plant/b", 2), ("plant/ab", 2), ("/plant/a", 3)] {
        let path = path(topic, depth);
        assert!(node.narrow_to_node(path).is_none(), "{topic}");
        assert!(node.narrow_to_scope(ScopeRef::Path(path), suite).is_none(), "{topic}");
    }
    assert!(node.narrow_to_scope(ScopeRef::Named("n"), suite).is_none());
    let here = ScopeRef::Path(path("plant/a", 2));
    let scope = node.narrow_to_scope(here, suite).unwrap();
    assert!(scope.narrow_to_node(path("plant/a", 2)).is_none());
    assert!(scope.narrow_to_scope(ScopeRef::Path(path("plant/a/b", 3)), suite).is_none());
    assert!(scope.narrow_to_scope(here, Suite::ChaCha20Poly1305Commit).is_none());
}

#[test]
fn no_node_of_the_whole_realm_is_given_away() {
    let root = schedule::root(&SharedKey::take(&mut [1; 32]), "realm").unwrap();
    // it has the bytes of the root key
    let node = schedule::root_node(&root);
    assert_eq!(node.expose(), root.expose());
    for grant in [Grant::root(root), Grant::node(PathScope::REALM, node)] {
        assert!(grant.narrow_to_node(PathScope::REALM).is_none());
        let scope = ScopeRef::Path(PathScope::REALM);
        assert!(grant.narrow_to_scope(scope, Suite::default()).is_some());
    }
}

#[test]
fn a_narrowed_grant_keeps_suite_generation_and_state_but_no_sender() {
    let commit = Suite::ChaCha20Poly1305Commit;
    let retiring = State::Retiring { not_after: Some(1) };
    let wide = shared(1)
        .with_suite(commit)
        .with_generation(7)
        .with_state(retiring)
        .with_sender(SenderNumber::new(5).unwrap());
    let node = wide.narrow_to_node(path("a", 1)).unwrap();
    let scope = wide.narrow_to_scope(ScopeRef::Named("n"), commit).unwrap();
    for grant in [node, scope] {
        assert_eq!(grant.suite(), Some(commit));
        assert_eq!((grant.generation(), grant.state(), grant.sender()), (7, retiring, None));
    }
    assert!(wide.narrow_to_scope(ScopeRef::Named("n"), Suite::default()).is_none());
}

#[test]
fn a_grant_tells_what_it_covers_and_names_its_keys() {
    let shared = SharedKey::take(&mut [7; 32]);
    let root = Grant::shared(&shared, "r").unwrap();
    let plant = TopicName::parse("plant/a").unwrap();
    let node = root.narrow_to_node(plant.path(1)).unwrap();
    let scope = ScopeRef::Path(plant.path(2));
    let one = root.narrow_to_scope(scope, Suite::default()).unwrap();
    assert_eq!(root.covers(), Covers::Realm);
    assert_eq!(node.covers(), Covers::Node(plant.path(1)));
    assert_eq!(one.covers(), Covers::Scope(scope));
    let kid = root.key_id(scope, Suite::default());
    assert!(kid.is_some());
    assert_eq!(node.key_id(scope, Suite::default()), kid);
    assert_eq!(one.key_id(scope, Suite::default()), kid);
    assert_eq!(node.key_id(ScopeRef::Named("temps"), Suite::default()), None);
}
