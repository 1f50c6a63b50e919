//! Topic aliases, in both directions.

use super::*;

const ONE: [u8; 3] = [0x23, 0, 1];

fn rig() -> Rig {
    let mut rig = Rig::new(POLICY, Version::V5);
    rig.client(&connect(Version::V5, "pump", true, &[0x22, 0, 9]));
    rig.broker(&connack(Version::V5, false, &[0x22, 0, 9]));
    rig
}

fn named(topic: &str, payload: &[u8]) -> Vec<u8> {
    publish(Version::V5, 0, topic, 0, &ONE, payload)
}

/// A packet with the topic that its alias stands for.
fn resolved(packet: &[u8], topic: &str) -> Vec<u8> {
    let payload = publish_of(packet, Version::V5).payload.to_vec();
    publish(Version::V5, 0, topic, 0, &[], &payload)
}

#[test]
fn alias_of_the_client_stands_for_its_topic() {
    let mut rig = rig();
    let mut peer = Peer::new(POLICY);
    let first = rig.client(&named("s/a", b"1")).main;
    let second = rig.client(&named("", b"2")).main;
    let told = publish_of(&second, Version::V5);
    assert_eq!(publish_of(&first, Version::V5).topic, b"s/a");
    assert_eq!((told.topic, told.alias()), (b"".as_slice(), Ok(Some(1))));
    assert_eq!(peer.open(&first, Version::V5).0, b"1");
    assert_eq!(peer.open(&resolved(&second, "s/a"), Version::V5).0, b"2");
}

#[test]
fn broker_is_told_a_topic_that_it_did_not_hear_with_the_alias() {
    let mut rig = rig();
    // refused, so that the broker knows nothing of it
    assert!(rig.client(&named("x/y", b"1")).main.is_empty());
    assert!(rig.client(&named("", b"1")).main.is_empty());
    let first = rig.client(&named("c/a", b"1")).main;
    assert_eq!(first, named("c/a", b"1"));
    assert_eq!(rig.client(&named("", b"2")).main, named("", b"2"));
    // a retained value without a rule for it is refused, and changes the alias
    let refused = publish(Version::V5, 1, "s/a", 0, &ONE, b"3");
    assert!(rig.client(&refused).main.is_empty());
    let next = rig.client(&named("", b"4")).main;
    assert_eq!(publish_of(&next, Version::V5).topic, b"s/a");
    assert_eq!(rig.client(&named("c/b", b"5")).main, named("c/b", b"5"));
}

#[test]
fn repetition_on_the_next_connection_has_its_topic() {
    let mut rig = rig();
    rig.client(&named("s/a", b"1"));
    let sent = publish(Version::V5, 2, "", 9, &ONE, b"2");
    let payload = publish_of(&rig.client(&sent).main, Version::V5).payload.to_vec();
    rig.connect("pump", true);
    let again = rig.client(&publish(Version::V5, 10, "s/a", 9, &[], b"2")).main;
    let again = publish_of(&again, Version::V5);
    assert_eq!((again.topic, again.payload), (b"s/a".as_slice(), payload.as_slice()));
    assert_eq!(again.alias(), Ok(None));
}

#[test]
fn alias_of_the_broker_stands_for_its_topic() {
    let mut rig = rig();
    let mut peer = Peer::new(POLICY);
    let first = peer.seal("s/a", b"1");
    let second = peer.seal("s/a", b"2");
    assert_eq!(rig.broker(&named("s/a", &first)).client, named("s/a", b"1"));
    assert_eq!(rig.broker(&named("", &second)).client, named("", b"2"));
}

#[test]
fn client_is_told_a_topic_that_it_did_not_hear_with_the_alias() {
    for clear in [false, true] {
        let mut rig = rig();
        let mut peer = Peer::new(POLICY);
        // not opened, so that the client knows nothing of it
        let topic = if clear { "c/a" } else { "s/a" };
        assert!(rig.broker(&named("s/x", b"forged")).client.is_empty());
        if clear {
            // as it is
            assert_eq!(rig.broker(&named("c/a", b"1")).client, named("c/a", b"1"));
            assert_eq!(rig.broker(&named("", b"2")).client, named("", b"2"));
        } else {
            assert!(rig.broker(&named(topic, b"forged")).client.is_empty());
            let sealed = peer.seal("s/a", b"1");
            assert_eq!(rig.broker(&named("", &sealed)).client, named("s/a", b"1"));
        }
    }
}

#[test]
fn alias_that_stands_for_nothing_ends_the_connection() {
    for sent in [named("", b"1"), publish(Version::V5, 0, "c/a", 0, &[0x23, 0, 10], b"1")] {
        let mut rig = rig();
        assert_eq!(rig.give(Side::Client, &sent), Err(Ended::Alias));
        assert_eq!(rig.session.to_client.ready(), [0xE0, 2, 0x94, 0]);
    }
    let mut rig = rig();
    assert_eq!(rig.give(Side::Main, &named("", b"1")), Err(Ended::Alias));
}

#[test]
fn broker_is_told_the_topic_of_a_clear_message_too() {
    let mut rig = Rig::new(POLICY, Version::V5);
    rig.client(&connect(Version::V5, "pump", true, &[]));
    // no QoS above 0
    rig.broker(&connack(Version::V5, false, &[0x22, 0, 9, 0x24, 0]));
    let refused = publish(Version::V5, 2, "c/a", 5, &ONE, b"1");
    assert!(rig.client(&refused).main.is_empty());
    assert_eq!(rig.client(&named("", b"2")).main, named("c/a", b"2"));
    assert_eq!(rig.client(&named("", b"3")).main, named("", b"3"));
}
