//! The topics of the proxy's own runs of peer authentication carry nothing else.

use super::*;
use crate::proxy::vouch::tests::auth;

/// Flags of a will at `QoS` 1 beside a clean start.
const WILL_FLAGS: u8 = 0b0000_1110;
/// One under a clear rule, one under a sealed one.
const TOPICS: [&str; 2] = ["c/req", "s/res"];

fn rig(version: Version) -> Rig {
    let [request, response] = TOPICS;
    Rig::with(POLICY, version, Links::Tcp, |options| {
        options.require_peer_auth(auth(request, response))
    })
}

fn connected(version: Version) -> Rig {
    let mut rig = rig(version);
    rig.connect("pump", true);
    rig
}

#[test]
fn clients_cannot_publish_there_whatever_the_rules_say() {
    for topic in TOPICS {
        let sent = |version, flags| publish(version, flags, topic, 9, &[], b"27");
        for (flags, old, new) in [
            (0, vec![], vec![]),
            (2, ack(PUBACK, 9), ack_with(PUBACK, 9, 0x87)),
            (4, ack(PUBREC, 9), ack_with(PUBREC, 9, 0x87)),
        ] {
            for (version, reply) in [(Version::V311, old), (Version::V5, new)] {
                let mut rig = connected(version);
                assert_eq!(rig.client(&sent(version, flags)), Out::to_client(&reply), "{topic}");
                let rejections = rig.core.meters.rejections();
                assert_eq!((rejections.len(), rejections[0].reason), (1, "AuthTopic"));
            }
        }
    }
}

#[test]
fn clients_are_given_nothing_of_them() {
    for version in OLD_AND_NEW {
        for topic in TOPICS {
            for payload in [Peer::new(POLICY).seal("s/res", b"27"), b"27".to_vec(), vec![]] {
                let mut rig = connected(version);
                let out = rig.broker(&publish(version, 2, topic, 8, &[], &payload));
                assert_eq!(out, Out::to_main(&ack(PUBACK, 8)), "{topic}");
                let out = rig.broker(&publish(version, 0, topic, 0, &[], &payload));
                assert_eq!(out, Out::default(), "{topic}");
            }
        }
    }
}

#[test]
fn will_for_one_of_them_is_refused_and_nothing_leaves() {
    for (version, answer) in
        [(Version::V311, vec![0x20, 2, 0, 5]), (Version::V5, vec![0x20, 3, 0, 0x87, 0])]
    {
        for topic in TOPICS {
            let mut rig = rig(version);
            let will = [properties(version, &[]), lp(topic.as_bytes()), lp(b"gone")].concat();
            let sent = connect_with(version, "pump", WILL_FLAGS, &[], &will);
            assert_eq!(rig.give(Side::Client, &sent), Err(Ended::WillOnAuthTopic));
            assert_eq!(rig.session.to_client.ready(), answer);
            assert!(rig.session.to_main.ready().is_empty());
        }
    }
}

#[test]
fn other_topics_pass_as_ever() {
    for version in OLD_AND_NEW {
        let mut rig = connected(version);
        let sent = publish(version, 2, "c/reqs", 9, &[], b"27");
        assert_eq!(rig.client(&sent), Out::to_main(&sent));
        assert_eq!(rig.broker(&sent), Out::to_client(&sent));
    }
}
