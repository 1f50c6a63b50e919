//! The key schedule.

use mqtt_seal::message::danger;
use mqtt_seal::schedule;
use mqtt_seal::secret::ScopeKey;
use mqtt_seal::topic::{PathScope, TopicName};
use mqtt_seal::wire::{SenderNumber, SessionId};
use serde_json::Value;

use crate::json::{array, bytes, hex, list, number, read, shared_key, small, suite, text, to_hex};

/// A session ID from its bytes: 12 are a SID, fewer the varint of a sender number.
pub(crate) fn session_id(id: &[u8]) -> SessionId {
    if let Ok(sid) = <[u8; 12]>::try_from(id) {
        return SessionId::Random(sid);
    }
    let number = id.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    let mask = (1_u32 << (8 * id.len() - 2)) - 1;
    SessionId::Sender(SenderNumber::new(number & mask).unwrap())
}

fn check_sid(scope: &ScopeKey, sid: &Value) {
    let made =
        schedule::session_id(scope, &array(sid, "rng"), small(sid, "n"), &[&bytes(sid, "extra")]);
    assert_eq!(made, SessionId::Random(array(sid, "sid")), "{sid}");
}

#[test]
fn schedule_gives_every_key_of_the_vectors() {
    for case in list(&read("keys.json"), "cases") {
        let suite = suite(case);
        let root = schedule::root(&shared_key(case), text(case, "realm")).unwrap();
        assert_eq!(to_hex(root.expose()), text(case, "rk"), "{case}");
        let scope = if let Some(levels) = case["scope"]["path"].as_array() {
            let mut node = schedule::root_node(&root);
            for (level, expected) in levels.iter().zip(case["nodes"].as_array().unwrap()) {
                node = schedule::node(&node, level.as_str().unwrap());
                assert_eq!(to_hex(node.expose()), expected.as_str().unwrap(), "{case}");
            }
            assert_eq!(to_hex(node.expose()), text(case, "nk"), "{case}");
            schedule::scope(&node, suite)
        } else {
            schedule::named_scope(&root, text(&case["scope"], "named"), suite)
        };
        assert_eq!(to_hex(scope.expose()), text(case, "sk"), "{case}");
        assert_eq!(schedule::key_id(&scope, suite).to_string(), text(case, "kid"), "{case}");
        for session in case["sessions"].as_array().unwrap() {
            let id = session_id(&bytes(session, "id"));
            let secrets = danger::expose_session(&scope, suite, &id);
            assert_eq!(to_hex(&secrets.key), text(session, "key"), "{case}");
            assert_eq!(to_hex(&secrets.iv), text(session, "iv"), "{case}");
            let com = secrets.commitment.map_or(String::new(), |com| to_hex(&com));
            assert_eq!(com, text(session, "com"), "{case}");
        }
        check_sid(&scope, &case["sid"]);
    }
}

#[test]
fn session_ids_under_bad_randomness_are_those_of_the_vectors() {
    for case in list(&read("keys.json"), "sids") {
        check_sid(&ScopeKey::take(&mut array(case, "sk")), case);
        if let Some(client_id) = case["client_id"].as_str() {
            let len = u16::try_from(client_id.len()).unwrap().to_be_bytes();
            let parts: [&[u8]; 3] = [&len, client_id.as_bytes(), &hex(text(case, "rest"))];
            assert_eq!(parts.concat(), bytes(case, "extra"), "{case}");
        }
    }
}

#[test]
fn paths_are_cut_at_the_depth() {
    for case in list(&read("keys.json"), "depths") {
        let depth = number(case, "depth").try_into().unwrap();
        let path = TopicName::parse(text(case, "topic")).unwrap().path(depth);
        let expected: Vec<&str> =
            case["path"].as_array().unwrap().iter().map(|level| level.as_str().unwrap()).collect();
        assert_eq!(path.levels().collect::<Vec<_>>(), expected, "{case}");
        assert_eq!(PathScope::from_parts(path.as_str(), path.depth()), Some(path));
    }
}
