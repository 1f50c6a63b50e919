use super::*;
use std::{format, vec::Vec};

const ID: SessionId = SessionId::Random([1; 12]);

fn accept(windows: &mut Windows, scope: &str, topic: &str, counter: u32) -> Result<(), Rejected> {
    let kid = KeyId::new([0; 4]);
    let topic = TopicName::parse(topic).unwrap();
    let key = windows.state_key(ScopeRef::Named(scope), kid, ID, topic);
    windows.accept(key, &Authentic::forged(kid, ID, counter))
}

#[test]
fn a_named_scope_and_a_path_of_one_text_do_not_share_state() {
    let mut windows = Windows::new([1; 16], ReplayLimits::default());
    let (kid, topic) = (KeyId::new([0; 4]), TopicName::parse("a").unwrap());
    let path = windows.state_key(ScopeRef::Path(topic.path(1)), kid, ID, topic);
    assert_ne!(path, windows.state_key(ScopeRef::Named("a"), kid, ID, topic));
}

#[test]
fn a_scope_that_lost_everything_takes_no_room() {
    let limits = ReplayLimits { windows: 1, windows_total: 1, ring: 1, ring_total: 1 };
    let mut windows = Windows::new([1; 16], limits);
    for scope in 0..100 {
        accept(&mut windows, &format!("s{scope}"), "t", 0).unwrap();
    }
    assert_eq!((windows.live, windows.tombstones), (1, 1));
    assert!(windows.scopes.len() <= 2);
    assert_eq!(windows.lost(), 98);
}

#[test]
fn lower_limits_hold_at_once() {
    let mut windows = Windows::new([1; 16], ReplayLimits::default());
    for topic in 0..100 {
        accept(&mut windows, "s", &format!("t{topic}"), 0).unwrap();
    }
    windows.set_limits(ReplayLimits { windows: 1, ..ReplayLimits::default() });
    assert_eq!((windows.live, windows.tombstones), (1, 99));
}

#[test]
fn a_window_takes_at_most_192_bytes() {
    // key, window and links of one entry, and its slot in the table: an index and a control byte
    // at a load of at least 7/16
    let entry = Lru::<u128, Window>::ENTRY_SIZE + (4 + 1) * 16 / 7;
    assert!(entry <= 192, "{entry}");
}

#[test]
fn the_key_asked_for_last_is_not_given_for_another() {
    let name = |text| TopicName::parse(text).unwrap();
    let paths = ["a", "b"].map(|text| ScopeRef::Path(name(text).path(1)));
    let mut parts = Vec::new();
    for scope in [paths[0], paths[1], ScopeRef::Named("a")] {
        for kid in [KeyId::new([0; 4]), KeyId::new([1; 4])] {
            for id in [ID, SessionId::Random([8; 12])] {
                parts.extend(["a/b", "a/c"].map(|topic| (scope, kid, id, name(topic))));
            }
        }
    }
    let mut windows = Windows::new([1; 16], ReplayLimits::default());
    for last in &parts {
        for (scope, kid, id, topic) in parts.iter().copied() {
            let before = windows.state_key(last.0, last.1, last.2, last.3);
            let asked = windows.state_key(scope, kid, id, topic);
            assert_eq!(asked, windows.hash(scope, kid, id, topic));
            assert_eq!(asked == before, (scope, kid, id, topic) == *last);
        }
    }
}
