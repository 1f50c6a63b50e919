//! Towards the broker.

use super::*;
use crate::proxy::clients;

#[test]
fn message_is_sealed_with_topic_id_and_flags_as_they_were() {
    for version in [Version::V31, Version::V311, Version::V5] {
        for flags in [0, 2, 4] {
            let mut rig = Rig::connected(POLICY, version);
            let out = rig.client(&publish(version, flags, "s/a", 9, &[], b"27"));
            assert!(out.client.is_empty(), "{version}");
            let sent = publish_of(&out.main, version);
            assert_eq!((sent.flags, sent.topic), (flags, b"s/a".as_slice()));
            assert_eq!(sent.id, if flags == 0 { 0 } else { 9 });
            assert_eq!(sent.payload.len(), 2 + 35);
            assert_eq!(Peer::new(POLICY).open(&out.main, version).0, b"27");
        }
    }
}

#[test]
fn message_of_a_clear_rule_passes_as_the_bytes_that_it_is() {
    for version in OLD_AND_NEW {
        let mut rig = Rig::connected(POLICY, version);
        let sent = publish(version, 0b1011, "c/a", 9, &[], b"27");
        assert_eq!(rig.client(&sent), Out::to_main(&sent));
    }
}

#[test]
fn empty_retained_message_passes_since_it_deletes() {
    for version in OLD_AND_NEW {
        let mut rig = Rig::connected(POLICY, version);
        let sent = publish(version, 0b0011, "s/a", 9, &[], b"");
        assert_eq!(rig.client(&sent), Out::to_main(&sent));
    }
}

#[test]
fn properties_are_carried_inside_and_others_stay() {
    let mut rig = Rig::connected(POLICY, Version::V5);
    // payload format, expiry, content type, response topic, correlation data, a user property
    let props = [
        vec![1, 1, 2, 0, 0, 0, 60],
        [vec![3], lp(b"text"), vec![8], lp(b"s/reply"), vec![9], lp(&[1, 2])].concat(),
        [vec![0x26], lp(b"k"), lp(b"v")].concat(),
    ]
    .concat();
    let out = rig.client(&publish(Version::V5, 2, "s/a", 9, &props, b"27"));
    let sent = publish_of(&out.main, Version::V5);
    assert_eq!(sent.properties.as_bytes(), [2, 0, 0, 0, 60]);
    let (_, delivery) = Peer::new(POLICY).open(&out.main, Version::V5);
    let expected = [
        Property::PayloadFormat(true),
        Property::ContentType("text"),
        Property::ResponseTopic("s/reply"),
        Property::CorrelationData(&[1, 2]),
        Property::User("k", "v"),
    ];
    assert_eq!(texts(delivery.properties(&[])), texts(expected));
}

#[test]
fn properties_stay_outside_where_they_are_bound_or_ignored() {
    for handling in ["bind", "ignore"] {
        let policy = std::format!(
            "[[rule]]\ntopics = [\"#\"]\npayload = \"sealed\"\nproperties = \"{handling}\"\n"
        );
        let mut rig = Rig::connected(&policy, Version::V5);
        let props = [vec![1, 1, 3], lp(b"text")].concat();
        let out = rig.client(&publish(Version::V5, 0, "s/a", 0, &props, b"27"));
        let sent = publish_of(&out.main, Version::V5);
        assert_eq!(sent.properties.as_bytes(), [vec![3], lp(b"text")].concat(), "{handling}");
        assert_eq!(Peer::new(&policy).open(&out.main, Version::V5).0, b"27");
        let mut changed = out.main.clone();
        let at = changed.windows(4).position(|part| part == b"text").unwrap();
        changed[at] = b'T';
        let refused = {
            let publish = publish_of(&changed, Version::V5);
            let mut properties = Vec::new();
            publish.payload_properties(&mut properties).unwrap();
            let incoming = Incoming::new("s/a", publish.payload, Link::Tls).properties(&properties);
            Peer::new(&policy).rx.open(&incoming, &mut Vec::new()).is_err()
        };
        assert_eq!(refused, handling == "bind");
    }
}

#[test]
fn repetition_is_sent_as_the_sealed_bytes_that_it_was() {
    for version in OLD_AND_NEW {
        for acknowledged in [false, true] {
            for clean in [false, true] {
                let mut rig = Rig::connected(POLICY, version);
                let first = rig.client(&publish(version, 2, "s/a", 9, &[], b"27")).main;
                if acknowledged {
                    rig.broker(&ack(PUBACK, 9));
                }
                rig.connect("pump", clean);
                let again = rig.client(&publish(version, 10, "s/a", 9, &[], b"27")).main;
                assert_eq!(again[0], first[0] | 8);
                assert_eq!(again[1..], first[1..], "{version} {acknowledged} {clean}");
            }
        }
    }
}

#[test]
fn client_that_has_not_read_an_acknowledgement_before_it_left_repeats_the_same_bytes() {
    let mut rig = Rig::new(POLICY, Version::V311);
    rig.connect("pump", false);
    let first = rig.client(&publish(Version::V311, 2, "s/a", 9, &[], b"27")).main;
    rig.broker(&ack(PUBACK, 9));
    rig.client(&[0xE0, 0]);
    rig.session.ended(NOW);
    rig.connect("pump", false);
    let again = rig.client(&publish(Version::V311, 10, "s/a", 9, &[], b"27")).main;
    assert_eq!(again[1..], first[1..]);
}

#[test]
fn message_that_only_has_the_id_of_another_is_sealed_anew() {
    for (topic, payload, id) in [("s/a", "28", "pump"), ("s/b", "27", "pump"), ("s/a", "27", "fan")]
    {
        let mut rig = Rig::connected(POLICY, Version::V311);
        let first = rig.client(&publish(Version::V311, 2, "s/a", 9, &[], b"27")).main;
        rig.connect(id, false);
        let sent = publish(Version::V311, 10, topic, 9, &[], payload.as_bytes());
        let out = rig.client(&sent).main;
        assert_ne!(out[1..], first[1..]);
        let mut peer = Peer::new(POLICY);
        peer.open(&first, Version::V311);
        assert_eq!(peer.open(&out, Version::V311).0, payload.as_bytes());
        // what was never sent is no repetition
        assert_eq!(out[0] & 8, 0);
    }
}

#[test]
fn same_message_long_after_the_first_was_acknowledged_is_a_new_one() {
    let message = |dup: u8| publish(Version::V311, 2 | dup, "s/a", 1, &[], b"alive");
    for (ended, same) in [(NOW + 1_000, true), (NOW + 1_001, false)] {
        let mut rig = Rig::connected(POLICY, Version::V311);
        let first = rig.client(&message(0)).main;
        rig.broker(&ack(PUBACK, 1));
        // the next was lost on its way to the proxy
        rig.session.ended(ended);
        rig.connect("pump", true);
        let again = rig.client(&message(8)).main;
        assert_eq!(again[1..] == first[1..], same, "{ended}");
    }
    // and on the same connection
    let mut rig = Rig::connected(POLICY, Version::V311);
    let first = rig.client(&message(0)).main;
    rig.broker(&ack(PUBACK, 1));
    assert_eq!(rig.client(&message(8)).main[1..], first[1..]);
    rig.broker(&ack(PUBACK, 1));
    rig.session.take(Side::Client, &message(8), Some(NOW + 1_001)).unwrap();
    assert_ne!(drain(&mut rig.session.to_main)[1..], first[1..]);
}

#[test]
fn same_message_without_dup_is_a_new_one_unless_the_session_goes_on() {
    for (clean, same) in [(true, false), (false, true)] {
        let mut rig = Rig::connected(POLICY, Version::V311);
        let first = rig.client(&publish(Version::V311, 2, "s/a", 1, &[], b"27")).main;
        rig.connect("pump", clean);
        let again = rig.client(&publish(Version::V311, 2, "s/a", 1, &[], b"27")).main;
        assert_eq!(again == first, same, "{clean}");
    }
}

#[test]
fn message_without_a_rule_does_not_leave_and_version_5_hears_why() {
    for (flags, reply) in [(0, vec![]), (2, ack(PUBACK, 9)), (4, ack(PUBREC, 9))] {
        let mut rig = Rig::connected(POLICY, Version::V311);
        let out = rig.client(&publish(Version::V311, flags, "x", 9, &[], b"27"));
        assert_eq!(out, Out::to_client(&reply));
    }
    for (flags, reply) in
        [(0, vec![]), (2, ack_with(PUBACK, 9, 0x87)), (4, ack_with(PUBREC, 9, 0x87))]
    {
        let mut rig = Rig::connected(POLICY, Version::V5);
        let out = rig.client(&publish(Version::V5, flags, "x", 9, &[], b"27"));
        assert_eq!(out, Out::to_client(&reply));
    }
}

#[test]
fn refused_message_of_qos_2_is_completed_for_version_3() {
    let mut rig = Rig::connected(POLICY, Version::V311);
    rig.client(&publish(Version::V311, 4, "x", 9, &[], b"27"));
    assert_eq!(rig.client(&ack(PUBREL, 9)), Out::to_client(&ack(PUBCOMP, 9)));
    // the next one is the broker's
    assert_eq!(rig.client(&ack(PUBREL, 9)), Out::to_main(&ack(PUBREL, 9)));
}

#[test]
fn without_a_key_version_3_keeps_its_message_and_version_5_is_told() {
    let policy = "[[rule]]\ntopics = [\"#\"]\npayload = \"sealed\"\n";
    let without_keys = |version| {
        let mut rig = Rig::connected(policy, version);
        let policy = policy_file::parse(policy).unwrap();
        rig.core.replace(Config::new(policy, Keyring::default(), Links::Tcp)).unwrap();
        rig.give(Side::Client, &publish(version, 2, "s/a", 9, &[], b"27"))
    };
    assert_eq!(without_keys(Version::V311), Err(Ended::Seal(crate::guard::SealError::NoKey)));
    assert_eq!(without_keys(Version::V5), Ok(Out::to_client(&ack_with(PUBACK, 9, 0x83))));
}

#[test]
fn retained_value_needs_a_rule_for_latest_values() {
    let mut rig = Rig::connected(POLICY, Version::V5);
    let out = rig.client(&publish(Version::V5, 3, "s/a", 9, &[], b"27"));
    assert_eq!(out, Out::to_client(&ack_with(PUBACK, 9, 0x83)));
    let out = rig.client(&publish(Version::V5, 3, "state/a", 9, &[], b"27"));
    assert_eq!(publish_of(&out.main, Version::V5).flags, 3);
    assert_eq!(Peer::new(POLICY).open(&out.main, Version::V5).0, b"27");
}

#[test]
fn rules_that_are_replaced_hold_for_the_next_message() {
    let clear = "[[rule]]\ntopics = [\"a\"]\npayload = \"clear\"\ntransport = \"tcp\"\n";
    let sealed = "[[rule]]\ntopics = [\"a\"]\npayload = \"sealed\"\n";
    let mut rig = Rig::connected(clear, Version::V311);
    let message = publish(Version::V311, 0, "a", 0, &[], b"27");
    assert_eq!(rig.client(&message).main, message);
    rig.core.replace(config(sealed, 7, Links::Tcp)).unwrap();
    assert_eq!(Peer::new(sealed).open(&rig.client(&message).main, Version::V311).0, b"27");
    // and not back
    assert!(rig.core.replace(config(clear, 7, Links::Tcp)).is_err());
    assert_ne!(rig.client(&message).main, message);
}

#[test]
fn malformed_packet_of_version_5_is_answered_by_disconnect() {
    let mut rig = Rig::connected(POLICY, Version::V5);
    let ended = rig.give(Side::Client, &[0x36, 0]).unwrap_err();
    assert!(matches!(ended, Ended::ClientPacket(_)));
    assert_eq!(rig.session.to_client.ready(), [0xE0, 2, 0x81, 0]);
    assert!(rig.session.is_over());
}

#[test]
fn deletion_on_a_sealed_topic_takes_no_hidden_property_along() {
    let props = [vec![2, 0, 0, 0, 9, 3], lp(b"text"), vec![0x26], lp(b"k"), lp(b"v")].concat();
    let mut rig = Rig::connected(POLICY, Version::V5);
    let out = rig.client(&publish(Version::V5, 3, "s/a", 9, &props, b""));
    assert_eq!(out, Out::to_main(&publish(Version::V5, 3, "s/a", 9, &[2, 0, 0, 0, 9], b"")));
}

#[test]
fn packet_of_another_version_is_no_repetition() {
    let mut rig = Rig::connected(POLICY, Version::V311);
    let first = rig.client(&publish(Version::V311, 2, "s/a", 9, &[], b"27")).main;
    rig.version = Version::V5;
    rig.connect("pump", true);
    let again = rig.client(&publish(Version::V5, 10, "s/a", 9, &[], b"27")).main;
    assert_ne!(publish_of(&again, Version::V5).payload, publish_of(&first, Version::V311).payload);
    assert_eq!(Peer::new(POLICY).open(&again, Version::V5).0, b"27");
}

#[test]
fn message_of_qos_2_that_the_broker_may_hold_from_before_a_restart_is_released_first() {
    for version in OLD_AND_NEW {
        let mut rig = Rig::new(POLICY, version);
        rig.connect("pump", false);
        let mut out = rig.client(&publish(version, 12, "s/a", 5, &[], b"27")).main;
        let message = out.split_off(4);
        assert_eq!(out, ack(PUBREL, 5));
        assert_eq!(Peer::new(POLICY).open(&message, version).0, b"27");
        // the first answer is to the proxy, the others are the client's
        assert_eq!(rig.broker(&ack(PUBCOMP, 5)), Out::default());
        assert_eq!(rig.broker(&ack(PUBREC, 5)), Out::to_client(&ack(PUBREC, 5)));
        assert_eq!(rig.client(&ack(PUBREL, 5)), Out::to_main(&ack(PUBREL, 5)));
        assert_eq!(rig.broker(&ack(PUBCOMP, 5)), Out::to_client(&ack(PUBCOMP, 5)));
    }
}

#[test]
fn message_that_no_broker_holds_otherwise_is_not_released() {
    let cases = [
        ("of QoS 1", 10, "s/a", false),
        ("without DUP", 4, "s/a", false),
        ("in clear", 12, "c/a", false),
        ("of a clean session", 12, "s/a", true),
    ];
    for (name, flags, topic, clean) in cases {
        let mut rig = Rig::new(POLICY, Version::V311);
        rig.connect("pump", clean);
        let out = rig.client(&publish(Version::V311, flags, topic, 5, &[], b"27"));
        assert_eq!(out.main[0] >> 4, 3, "{name}");
    }
    // one that is known is sent again as it was
    let mut rig = Rig::new(POLICY, Version::V311);
    rig.connect("pump", false);
    rig.client(&publish(Version::V311, 4, "s/a", 5, &[], b"27"));
    rig.connect("pump", false);
    let out = rig.client(&publish(Version::V311, 12, "s/a", 5, &[], b"27"));
    assert_eq!(out.main[0], 0x3C);
}

#[test]
fn message_that_is_forgotten_for_another_is_counted() {
    let mut rig = Rig::connected(POLICY, Version::V311);
    let message = |id| publish(Version::V311, 2, "s/a", id, &[], b"27");
    rig.client(&message(1));
    rig.client(&message(2));
    let client = rig.session.client.clone().unwrap();
    // as much as is kept for a client
    let mut long = clients::hold(&client).sent.remove(2).unwrap();
    long.packet.resize(64 << 20, 0);
    let forgotten = clients::hold(&client).sent.put(3, long, |_| ());
    assert_eq!((forgotten, rig.core.clients.forgotten.get()), (1, 0), "the first is gone");
    rig.client(&message(4));
    assert_eq!(rig.core.clients.forgotten.get(), 1);
}
