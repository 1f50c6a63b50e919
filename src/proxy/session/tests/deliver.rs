//! Towards the client.

use super::*;
use crate::proxy::packet::PacketError;

fn peer() -> Peer {
    Peer::new(POLICY)
}

#[test]
fn message_is_opened_with_topic_id_and_flags_as_they_were() {
    for version in [Version::V31, Version::V311, Version::V5] {
        for flags in [0, 2, 4, 10] {
            let mut rig = Rig::connected(POLICY, version);
            let sealed = peer().seal("s/a", b"27");
            let out = rig.broker(&publish(version, flags, "s/a", 9, &[], &sealed));
            assert_eq!(out, Out::to_client(&publish(version, flags, "s/a", 9, &[], b"27")));
        }
    }
}

#[test]
fn message_of_a_clear_rule_passes_as_the_bytes_that_it_is() {
    for version in OLD_AND_NEW {
        let mut rig = Rig::connected(POLICY, version);
        let sent = publish(version, 0b1011, "c/a", 9, &[], b"27");
        assert_eq!(rig.broker(&sent), Out::to_client(&sent));
        assert_eq!(rig.client(&ack(PUBACK, 9)), Out::to_main(&ack(PUBACK, 9)));
    }
}

#[test]
fn message_that_does_not_open_is_completed_and_never_reaches_the_client() {
    let mut forged = peer().seal("s/a", b"27");
    *forged.last_mut().unwrap() ^= 1;
    let strange = {
        let other = Arc::new(config(POLICY, 8, Links::Both));
        let guard = Guard::from_config(other, std::boxed::Box::new(getrandom::SysRng)).unwrap();
        let mut sealed = Vec::new();
        guard.split().0.seal(&Outgoing::new("s/a", b"27"), &mut sealed).unwrap();
        sealed
    };
    let moved = peer().seal("s/b", b"27");
    let cases = [b"27".as_slice(), b"", &forged, &strange, &moved, &forged[..5]];
    for version in OLD_AND_NEW {
        for payload in cases {
            let mut rig = Rig::connected(POLICY, version);
            let out = rig.broker(&publish(version, 0, "s/a", 0, &[], payload));
            assert_eq!(out, Out::default());
            let out = rig.broker(&publish(version, 2, "s/a", 8, &[], payload));
            assert_eq!(out, Out::to_main(&ack(PUBACK, 8)));
            let out = rig.broker(&publish(version, 4, "s/a", 9, &[], payload));
            assert_eq!(out, Out::to_main(&ack(PUBREC, 9)));
            assert_eq!(rig.broker(&ack(PUBREL, 9)), Out::to_main(&ack(PUBCOMP, 9)));
        }
        let mut rig = Rig::connected(POLICY, version);
        let out = rig.broker(&publish(version, 2, "no/rule", 8, &[], b"27"));
        assert_eq!(out, Out::to_main(&ack(PUBACK, 8)));
    }
}

#[test]
fn release_of_a_swallowed_message_is_answered_on_the_next_connection_too() {
    let mut rig = Rig::connected(POLICY, Version::V311);
    rig.broker(&publish(Version::V311, 4, "s/a", 9, &[], b"forged"));
    rig.connect("pump", false);
    assert_eq!(rig.broker(&ack(PUBREL, 9)), Out::to_main(&ack(PUBCOMP, 9)));
}

#[test]
fn release_of_a_message_that_opens_at_its_repetition_reaches_the_client() {
    let other = "[[rule]]\ntopics = [\"s/b\"]\npayload = \"sealed\"\n";
    for version in OLD_AND_NEW {
        let mut rig = Rig::connected(other, version);
        let sealed = peer().seal("s/a", b"27");
        let out = rig.broker(&publish(version, 4, "s/a", 9, &[], &sealed));
        assert_eq!(out, Out::to_main(&ack(PUBREC, 9)));
        // the broker did not get PUBREC, and meanwhile there is a rule
        rig.core.replace(config(POLICY, 7, Links::Tcp)).unwrap();
        rig.connect("pump", false);
        let out = rig.broker(&publish(version, 12, "s/a", 9, &[], &sealed));
        assert_eq!(out, Out::to_client(&publish(version, 12, "s/a", 9, &[], b"27")));
        rig.client(&ack(PUBREC, 9));
        assert_eq!(rig.broker(&ack(PUBREL, 9)), Out::to_client(&ack(PUBREL, 9)));
    }
}

#[test]
fn redelivery_reaches_the_client_until_it_has_acknowledged() {
    let sealed = peer().seal("s/a", b"27");
    let first = publish(Version::V311, 2, "s/a", 9, &[], &sealed);
    let again = publish(Version::V311, 10, "s/a", 9, &[], &sealed);
    let mut rig = Rig::connected(POLICY, Version::V311);
    assert!(!rig.broker(&first).client.is_empty());
    rig.connect("pump", false);
    let out = rig.broker(&again);
    assert_eq!(out, Out::to_client(&publish(Version::V311, 10, "s/a", 9, &[], b"27")));
    assert_eq!(rig.client(&ack(PUBACK, 9)), Out::to_main(&ack(PUBACK, 9)));
    rig.connect("pump", false);
    assert_eq!(rig.broker(&again), Out::to_main(&ack(PUBACK, 9)));
}

#[test]
fn repetition_of_a_message_of_qos_2_that_the_client_has_taken_ends_with_the_client() {
    let sealed = peer().seal("s/a", b"27");
    let mut rig = Rig::connected(POLICY, Version::V311);
    rig.broker(&publish(Version::V311, 4, "s/a", 9, &[], &sealed));
    assert_eq!(rig.client(&ack(PUBREC, 9)), Out::to_main(&ack(PUBREC, 9)));
    rig.connect("pump", false);
    // the broker did not get PUBREC; the client waits for PUBREL
    let out = rig.broker(&publish(Version::V311, 12, "s/a", 9, &[], &sealed));
    assert_eq!(out, Out::to_main(&ack(PUBREC, 9)));
    assert_eq!(rig.broker(&ack(PUBREL, 9)), Out::to_client(&ack(PUBREL, 9)));
    assert_eq!(rig.client(&ack(PUBCOMP, 9)), Out::to_main(&ack(PUBCOMP, 9)));
}

#[test]
fn value_that_the_client_may_have_taken_ends_with_it_although_a_newer_one_came() {
    for version in OLD_AND_NEW {
        let mut peer = peer();
        let mut rig = Rig::connected(POLICY, version);
        let [old, new] = [b"27", b"28"].map(|payload| peer.seal("state/a", payload));
        assert!(!rig.broker(&publish(version, 4, "state/a", 9, &[], &old)).client.is_empty());
        assert!(!rig.broker(&publish(version, 4, "state/a", 10, &[], &new)).client.is_empty());
        // the client has said PUBREC, which was lost
        rig.connect("pump", false);
        let out = rig.broker(&publish(version, 12, "state/a", 9, &[], &old));
        assert_eq!(out, Out::to_main(&ack(PUBREC, 9)));
        // without PUBREL it would take the next message with this ID for the same
        assert_eq!(rig.broker(&ack(PUBREL, 9)), Out::to_client(&ack(PUBREL, 9)));
    }
}

#[test]
fn message_that_the_client_has_refused_is_not_waited_for() {
    const V5: Version = Version::V5;
    let sealed = peer().seal("s/a", b"27");
    let mut rig = Rig::connected(POLICY, V5);
    rig.broker(&publish(V5, 4, "s/a", 9, &[], &sealed));
    rig.client(&[0x50, 4, 0, 9, 0x97, 0]);
    // the next with this ID is another
    rig.broker(&publish(V5, 4, "s/a", 9, &[], b"forged"));
    assert_eq!(rig.broker(&ack(PUBREL, 9)), Out::to_main(&ack(PUBCOMP, 9)));
}

#[test]
fn properties_inside_take_the_place_of_the_outer_ones() {
    let mut peer = peer();
    let inside = [Property::ContentType("text"), Property::User("k", "v")];
    let mut sealed = Vec::new();
    peer.tx.seal(&Outgoing::new("s/a", b"27").properties(&inside), &mut sealed).unwrap();
    // a subscription ID, an expiry, and a content type that somebody added
    let outer = [vec![0x0B, 5, 2, 0, 0, 0, 60, 3], lp(b"forged")].concat();
    let mut rig = Rig::connected(POLICY, Version::V5);
    let out = rig.broker(&publish(Version::V5, 0, "s/a", 0, &outer, &sealed));
    let expected =
        [vec![0x0B, 5, 2, 0, 0, 0, 60, 3], lp(b"text"), vec![0x26], lp(b"k"), lp(b"v")].concat();
    assert_eq!(out, Out::to_client(&publish(Version::V5, 0, "s/a", 0, &expected, b"27")));
    // a client of version 3 gets the payload
    peer.tx.seal(&Outgoing::new("s/a", b"28").properties(&inside), &mut sealed).unwrap();
    let mut rig = Rig::connected(POLICY, Version::V311);
    let out = rig.broker(&publish(Version::V311, 0, "s/a", 0, &[], &sealed));
    assert_eq!(out, Out::to_client(&publish(Version::V311, 0, "s/a", 0, &[], b"28")));
}

#[test]
fn carried_topic_takes_the_place_of_the_packets() {
    let policy = "[[rule]]\ntopics = [\"#\"]\npayload = \"sealed\"\nscope = { name = \"n\" }\n\
                  topic_binding = \"carried\"\n";
    let sealed = Peer::new(policy).seal("true/name", b"27");
    for (version, alias) in [(Version::V311, vec![]), (Version::V5, vec![0x23, 0, 1])] {
        let mut rig = Rig::connected(policy, version);
        let out = rig.broker(&publish(version, 0, "mapped", 0, &alias, &sealed));
        assert_eq!(out, Out::to_client(&publish(version, 0, "true/name", 0, &[], b"27")));
    }
}

#[test]
fn opened_message_above_what_the_client_takes_is_completed() {
    let mut rig = Rig::new(POLICY, Version::V5);
    rig.client(&connect(Version::V5, "pump", true, &[0x27, 0, 0, 0, 40]));
    rig.broker(&connack(Version::V5, false, &[]));
    for (len, fits) in [(30, true), (31, false)] {
        let sealed = peer().seal("s/a", &vec![1; len]);
        let out = rig.broker(&publish(Version::V5, 2, "s/a", 9, &[], &sealed));
        assert_eq!(out.client.is_empty(), !fits, "{len}");
        assert!(out.client.len() <= 40);
        if !fits {
            assert_eq!(out.main, ack(PUBACK, 9));
        }
    }
}

#[test]
fn message_above_the_proxys_own_limit_is_completed_and_passed_over() {
    for version in OLD_AND_NEW {
        for (flags, answer) in [(0, vec![]), (2, ack(PUBACK, 8)), (4, ack(PUBREC, 8))] {
            let large = publish(version, flags, "c/a", 8, &[], &[b'a'; 5_000]);
            let next = publish(version, 2, "c/a", 9, &[], b"27");
            let all = [large.as_slice(), &next].concat();
            for step in [1, 100, all.len()] {
                let mut rig =
                    Rig::with(POLICY, version, Links::Tcp, |options| options.max_packet(1 << 10));
                rig.connect("pump", true);
                let (mut inbox, mut to_client, mut to_main) = (vec![], vec![], vec![]);
                for bytes in all.chunks(step) {
                    inbox.extend_from_slice(bytes);
                    let out = rig.broker(&inbox);
                    inbox.drain(..inbox.len() - out.left);
                    assert!(inbox.len() < 100, "a large message is not waited for");
                    to_client.extend(out.client);
                    to_main.extend(out.main);
                }
                assert_eq!((to_client, to_main), (next.clone(), answer.clone()), "{step}");
            }
        }
    }
}

#[test]
fn front_of_a_message_above_the_proxys_own_limit_is_bounded_too() {
    let mut rig =
        Rig::with(POLICY, Version::V311, Links::Tcp, |options| options.max_packet(1 << 10));
    rig.connect("pump", true);
    let large = publish(Version::V311, 2, &"c".repeat(60_000), 8, &[], b"27");
    assert_eq!(rig.broker(&large[..1_000]).left, 1_000);
    let ended = rig.give(Side::Main, &large[..2_000]);
    assert!(matches!(ended, Err(Ended::BrokerPacket(PacketError::TooLarge { .. }))));
    // a topic longer than its packet is no topic, whatever stands behind
    let long = [vec![0x30, 0x88, 0x08, 0x10, 0], vec![b'c'; 6_000]].concat();
    let ended = rig.give(Side::Main, &long);
    assert!(matches!(ended, Err(Ended::BrokerPacket(PacketError::TooLarge { .. }))));
    // nothing else is that large, and no message before CONNACK
    let ended = rig.give(Side::Main, &packet(0x90, &[0; 5_000]));
    assert!(matches!(ended, Err(Ended::BrokerPacket(PacketError::TooLarge { .. }))));
    rig.renew();
    rig.client(&connect(Version::V311, "pump", true, &[]));
    let ended = rig.give(Side::Main, &publish(Version::V311, 2, "c/a", 8, &[], &[0; 5_000]));
    assert_eq!(ended, Err(Ended::UnexpectedPacket(Kind::Publish)));
}

#[test]
fn alias_of_a_message_that_is_passed_over_is_known() {
    let mut rig = Rig::with(POLICY, Version::V5, Links::Tcp, |options| options.max_packet(1 << 10));
    rig.client(&connect(Version::V5, "pump", true, &[0x22, 0, 9]));
    rig.broker(&connack(Version::V5, false, &[]));
    rig.broker(&publish(Version::V5, 0, "c/a", 0, &[0x23, 0, 1], &[0; 5_000]));
    let out = rig.broker(&publish(Version::V5, 0, "", 0, &[0x23, 0, 1], b"27"));
    assert_eq!(out, Out::to_client(&publish(Version::V5, 0, "c/a", 0, &[0x23, 0, 1], b"27")));
}

#[test]
fn sealed_deletion_is_an_empty_message_and_a_bare_one_is_none() {
    let mut sealed = Vec::new();
    let deletion = Outgoing::new("state/a", b"").kind(Some(crate::wire::Kind::Delete));
    peer().tx.seal(&deletion, &mut sealed).unwrap();
    let mut rig = Rig::connected(POLICY, Version::V311);
    let empty = publish(Version::V311, 0, "state/a", 0, &[], b"");
    let out = rig.broker(&publish(Version::V311, 0, "state/a", 0, &[], &sealed));
    assert_eq!(out, Out::to_client(&empty));
    assert_eq!(rig.broker(&empty), Out::default());
    let mut rig = Rig::with(POLICY, Version::V311, Links::Tcp, |options| {
        options.danger_forward_bare_deletes()
    });
    rig.connect("pump", true);
    assert_eq!(rig.broker(&empty), Out::to_client(&empty));
}

#[test]
fn message_before_connack_ends_the_connection() {
    let mut rig = Rig::new(POLICY, Version::V311);
    rig.client(&connect(Version::V311, "pump", true, &[]));
    let ended = rig.give(Side::Main, &publish(Version::V311, 0, "c/a", 0, &[], b"27"));
    assert_eq!(ended, Err(Ended::UnexpectedPacket(Kind::Publish)));
}

#[test]
fn topic_for_tls_is_swallowed_when_it_comes_in_clear() {
    let policy = "[[rule]]\ntopics = [\"a\"]\npayload = \"clear\"\ntransport = \"tls\"\n";
    let mut rig = Rig::connected(policy, Version::V311);
    let out = rig.broker(&publish(Version::V311, 2, "a", 9, &[], b"27"));
    assert_eq!(out, Out::to_main(&ack(PUBACK, 9)));
}
