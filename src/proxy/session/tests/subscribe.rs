//! Filters and their answers.

use super::*;

const CODES: [(Version, u8); 2] = [(Version::V311, 0x80), (Version::V5, 0x87)];

fn subscribe(version: Version, id: u16, filters: &[&str]) -> Vec<u8> {
    let filters = filters.iter().map(|filter| [lp(filter.as_bytes()), vec![1]].concat());
    let parts = [vec![id.to_be_bytes().to_vec(), properties(version, &[])], filters.collect()];
    packet(0x82, &parts.concat().concat())
}

fn suback(version: Version, id: u16, codes: &[u8]) -> Vec<u8> {
    packet(0x90, &[id.to_be_bytes().to_vec(), properties(version, &[]), codes.to_vec()].concat())
}

#[test]
fn filters_of_the_policy_pass_as_they_are() {
    for (version, _) in CODES {
        let mut rig = Rig::connected(POLICY, version);
        for filters in [["#", "s/+"], ["$share/g/s/#", "c/a"]] {
            let sent = subscribe(version, 7, &filters);
            assert_eq!(rig.client(&sent), Out::to_main(&sent));
            let answer = suback(version, 7, &[1, 0]);
            assert_eq!(rig.broker(&answer), Out::to_client(&answer));
        }
    }
}

#[test]
fn filters_that_nothing_can_come_by_are_answered_here() {
    for (version, code) in CODES {
        let mut rig = Rig::connected(POLICY, version);
        let out = rig.client(&subscribe(version, 7, &["x/#", "y"]));
        assert_eq!(out, Out::to_client(&suback(version, 7, &[code, code])));
    }
}

#[test]
fn answers_of_both_stand_in_the_order_of_the_filters() {
    for (version, code) in CODES {
        let mut rig = Rig::connected(POLICY, version);
        let out = rig.client(&subscribe(version, 7, &["x", "s/a", "y", "c/#"]));
        assert_eq!(out, Out::to_main(&subscribe(version, 7, &["s/a", "c/#"])));
        let out = rig.broker(&suback(version, 7, &[1, 0]));
        assert_eq!(out, Out::to_client(&suback(version, 7, &[code, 1, code, 0])));
        // the ID is free again
        let answer = suback(version, 7, &[1]);
        assert_eq!(rig.broker(&answer), Out::to_client(&answer));
    }
}

#[test]
fn filter_that_covers_a_topic_for_tls_is_not_subscribed_in_clear() {
    let policy = "[[rule]]\ntopics = [\"a/#\"]\npayload = \"clear\"\ntransport = \"tls\"\n\
                  [[rule]]\ntopics = [\"b\"]\npayload = \"clear\"\ntransport = \"tcp\"\n";
    for filter in ["#", "a/b", "+/b", "$share/g/#"] {
        let mut rig = Rig::connected(policy, Version::V311);
        let out = rig.client(&subscribe(Version::V311, 7, &[filter]));
        assert_eq!(out, Out::to_client(&suback(Version::V311, 7, &[0x80])), "{filter}");
    }
}

#[test]
fn filter_that_is_none_is_not_left_to_the_broker() {
    for (version, code) in [(Version::V311, 0x80), (Version::V5, 0x8F)] {
        let mut rig = Rig::connected(POLICY, version);
        let out = rig.client(&subscribe(version, 7, &["s/#/a"]));
        assert_eq!(out, Out::to_client(&suback(version, 7, &[code])));
    }
}

#[test]
fn unsubscribe_passes() {
    let mut rig = Rig::connected(POLICY, Version::V311);
    let sent = packet(0xA2, &[vec![0, 7], lp(b"x/#")].concat());
    assert_eq!(rig.client(&sent), Out::to_main(&sent));
    assert_eq!(rig.broker(&ack(0xB0, 7)), Out::to_client(&ack(0xB0, 7)));
}
