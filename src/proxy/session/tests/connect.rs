//! CONNECT, wills and limits.

use super::*;
use crate::proxy::packet::{Connack, Connect};
use crate::proxy::session::MAX_CONNECT;

/// Flags of a retained will at `QoS` 1 beside a clean start, and its parts.
const WILL_FLAGS: u8 = 0b0010_1110;

fn will(version: Version, topic: &str, payload: &[u8]) -> Vec<u8> {
    [properties(version, &[]), lp(topic.as_bytes()), lp(payload)].concat()
}

fn parsed(bytes: &[u8]) -> Connect<'_> {
    Connect::parse(&Frame::first(bytes, usize::MAX).unwrap().unwrap()).unwrap().unwrap()
}

#[test]
fn connect_and_connack_pass_as_they_are_where_nothing_has_to_change() {
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut rig = Rig::new(POLICY, version);
        let sent = connect(version, "pump", true, &[]);
        assert_eq!(rig.client(&sent), Out::to_main(&sent));
        let answer = connack(version, false, &[]);
        assert_eq!(rig.broker(&answer), Out::to_client(&answer));
    }
}

#[test]
fn will_is_sealed_as_one() {
    for version in OLD_AND_NEW {
        let mut rig = Rig::new(POLICY, version);
        let sent = will(version, "state/pump", b"gone");
        let out = rig.client(&connect_with(version, "pump", WILL_FLAGS, &[], &sent));
        let connect = parsed(&out.main);
        let will = connect.will.expect("a will");
        assert_eq!((connect.client_id, connect.keep_alive), ("pump", 60));
        assert!(will.retain && connect.clean());
        assert_ne!(will.payload, b"gone");
        let packet = publish(Version::V311, 3, "state/pump", 1, &[], will.payload);
        let (payload, delivery) = Peer::new(POLICY).open(&packet, Version::V311);
        assert_eq!(
            (payload.as_slice(), delivery.kind),
            (b"gone".as_slice(), Some(crate::wire::Kind::Will))
        );
    }
}

#[test]
fn wills_properties_are_carried_and_its_delay_stays() {
    let mut rig = Rig::new(POLICY, Version::V5);
    let inside = [vec![0x18, 0, 0, 0, 9, 3], lp(b"text")].concat();
    let sent = [properties(Version::V5, &inside), lp(b"state/pump"), lp(b"gone")].concat();
    let out = rig.client(&connect_with(Version::V5, "pump", WILL_FLAGS, &[], &sent));
    let will = parsed(&out.main).will.unwrap();
    assert_eq!(will.properties.as_bytes(), [0x18, 0, 0, 0, 9]);
    let packet = publish(Version::V5, 3, "state/pump", 1, &[], will.payload);
    let (_, delivery) = Peer::new(POLICY).open(&packet, Version::V5);
    assert_eq!(texts(delivery.properties(&[])), texts([Property::ContentType("text")]));
}

#[test]
fn will_is_sealed_anew_for_each_connection() {
    let mut rig = Rig::new(POLICY, Version::V311);
    let sent = connect_with(
        Version::V311,
        "pump",
        WILL_FLAGS,
        &[],
        &will(Version::V311, "state/pump", b"gone"),
    );
    let first = rig.client(&sent).main;
    rig.session = Session::new(Arc::clone(&rig.core), 9);
    assert_ne!(rig.client(&sent).main, first);
}

#[test]
fn clear_will_passes_and_one_without_a_rule_is_refused() {
    let mut rig = Rig::new(POLICY, Version::V311);
    let rest = will(Version::V311, "c/pump", b"gone");
    let sent = connect_with(Version::V311, "pump", WILL_FLAGS, &[], &rest);
    assert_eq!(rig.client(&sent), Out::to_main(&sent));
    for (version, answer) in
        [(Version::V311, vec![0x20, 2, 0, 5]), (Version::V5, vec![0x20, 3, 0, 0x87, 0])]
    {
        let mut rig = Rig::new(POLICY, version);
        let rest = will(version, "x", b"gone");
        let ended = rig.give(Side::Client, &connect_with(version, "pump", WILL_FLAGS, &[], &rest));
        assert_eq!(ended, Err(Ended::Will(crate::guard::SealError::Refused)));
        assert_eq!(rig.session.to_client.ready(), answer);
        assert!(rig.session.to_main.ready().is_empty());
    }
}

#[test]
fn credentials_never_go_over_plain_tcp_unless_that_is_said() {
    let login = [lp(b"user"), lp(b"secret")].concat();
    for (version, answer) in
        [(Version::V311, vec![0x20, 2, 0, 5]), (Version::V5, vec![0x20, 3, 0, 0x87, 0])]
    {
        let sent = connect_with(version, "pump", 0b1100_0010, &[], &login);
        let mut rig = Rig::new(POLICY, version);
        assert_eq!(rig.give(Side::Client, &sent), Err(Ended::Credentials));
        assert_eq!(rig.session.to_client.ready(), answer);
        assert!(rig.session.to_main.ready().is_empty());
        let danger = |options: ProxyOptions| options.danger_credentials_in_clear();
        let mut rig = Rig::with(POLICY, version, Links::Tcp, danger);
        assert_eq!(rig.client(&sent).main, sent);
        let mut rig = Rig::with(POLICY, version, Links::Tls, |options| options);
        assert_eq!(rig.client(&sent).main, sent);
    }
}

#[test]
fn extended_authentication_is_refused_in_clear_before_it_begins() {
    // a method alone: the data would follow in AUTH
    for props in [[vec![0x15], lp(b"x")].concat(), [vec![0x16], lp(b"x")].concat()] {
        let mut rig = Rig::new(POLICY, Version::V5);
        let sent = connect(Version::V5, "pump", true, &props);
        assert_eq!(rig.give(Side::Client, &sent), Err(Ended::Credentials));
    }
}

#[test]
fn limit_for_packets_is_raised_to_the_broker_and_lowered_to_the_client() {
    let mut rig = Rig::new(POLICY, Version::V5);
    let out =
        rig.client(&connect(Version::V5, "pump", true, &[0x11, 0, 0, 0, 9, 0x27, 0, 0, 4, 0]));
    let raised = parsed(&out.main).max_packet().unwrap();
    assert!((1024 + 42..1024 + 100).contains(&raised), "{raised}");
    assert_eq!(parsed(&out.main).properties.number(0x11), Some(9));
    let out = rig.broker(&connack(Version::V5, false, &[0x27, 0, 0, 4, 0, 0x22, 0, 9]));
    let frame = Frame::first(&out.client, usize::MAX).unwrap().unwrap();
    let told = Connack::parse(&frame, Version::V5).unwrap();
    let lowered = told.max_packet().unwrap();
    assert_eq!(raised - 1024, 1024 - lowered);
    assert_eq!(told.properties.number(0x22), Some(9));
}

#[test]
fn message_that_is_too_large_when_it_is_sealed_does_not_leave() {
    let mut rig = Rig::new(POLICY, Version::V5);
    rig.client(&connect(Version::V5, "pump", true, &[]));
    rig.broker(&connack(Version::V5, false, &[0x27, 0, 0, 0, 200]));
    let mut refused = 0;
    for len in 0..=140 {
        let out = rig.client(&publish(Version::V5, 2, "s/a", 9, &[], &vec![1; len]));
        assert!(out.main.len() <= 200, "{len}");
        if out.main.is_empty() {
            refused += 1;
            break;
        }
    }
    assert_eq!(refused, 0, "within the limit that was told, everything fits");
    // above what was told: the client breaks the protocol
    let ended = rig.give(Side::Client, &publish(Version::V5, 2, "s/a", 9, &[], &[1; 180]));
    assert_eq!(ended, Err(Ended::AboveLimit));
    assert_eq!(rig.session.to_client.ready(), [0xE0, 2, 0x95, 0]);
}

#[test]
fn message_above_the_rules_limit_is_answered_by_quota_exceeded() {
    let policy = "[[rule]]\ntopics = [\"#\"]\npayload = \"sealed\"\nmax_packet = 100\n";
    let mut rig = Rig::connected(policy, Version::V5);
    let out = rig.client(&publish(Version::V5, 2, "a", 9, &[], &[1; 66]));
    assert_eq!(out, Out::to_client(&ack_with(PUBACK, 9, 0x97)));
    let mut rig = Rig::connected(policy, Version::V311);
    let out = rig.client(&publish(Version::V311, 2, "a", 9, &[], &[1; 66]));
    assert_eq!(out, Out::to_client(&ack(PUBACK, 9)));
}

#[test]
fn packets_wait_for_connack_and_leave_does_not() {
    let mut rig = Rig::new(POLICY, Version::V311);
    rig.client(&connect(Version::V311, "pump", true, &[]));
    let message = publish(Version::V311, 0, "c/a", 0, &[], b"27");
    assert_eq!(rig.client(&message).left, message.len());
    rig.broker(&connack(Version::V311, false, &[]));
    assert_eq!(rig.client(&message), Out::to_main(&message));
    assert_eq!(rig.client(&[0xE0, 0]), Out::to_main(&[0xE0, 0]));
    assert!(rig.session.is_over());
}

#[test]
fn extended_authentication_passes_before_connack() {
    let mut rig = Rig::with(POLICY, Version::V5, Links::Tls, |options| options);
    let method = [vec![0x15], lp(b"M"), vec![0x16], lp(b"data")].concat();
    rig.client(&connect(Version::V5, "pump", true, &method));
    let auth = [vec![0xF0, 2, 0x18, 0]].concat();
    assert_eq!(rig.broker(&auth), Out::to_client(&auth));
    assert_eq!(rig.client(&auth), Out::to_main(&auth));
}

#[test]
fn refusal_of_the_broker_passes_and_ends_the_connection() {
    let mut rig = Rig::new(POLICY, Version::V311);
    rig.client(&connect(Version::V311, "pump", true, &[]));
    assert_eq!(rig.broker(&[0x20, 2, 0, 5]), Out::to_client(&[0x20, 2, 0, 5]));
    assert!(rig.session.is_over());
}

#[test]
fn unknown_version_is_answered_and_anything_but_connect_is_not() {
    let mut rig = Rig::new(POLICY, Version::V311);
    let sent = packet(0x10, &[lp(b"MQTT"), vec![6, 2, 0, 60, 0], lp(b"pump")].concat());
    assert_eq!(rig.give(Side::Client, &sent), Err(Ended::Version));
    assert_eq!(rig.session.to_client.ready(), [0x20, 2, 0, 1]);
    let mut rig = Rig::new(POLICY, Version::V311);
    assert_eq!(rig.give(Side::Client, &[0xC0, 0]), Err(Ended::NotConnect));
    assert!(rig.session.to_client.ready().is_empty());
}

#[test]
fn broker_that_is_not_there_is_told_by_connack() {
    for (version, answer) in
        [(Version::V311, vec![0x20, 2, 0, 3]), (Version::V5, vec![0x20, 3, 0, 0x88, 0])]
    {
        let mut rig = Rig::new(POLICY, version);
        rig.client(&connect(version, "pump", true, &[]));
        rig.session.no_broker();
        assert_eq!(rig.session.to_client.ready(), answer);
    }
}

#[test]
fn client_whose_id_the_broker_chose_is_known_by_it() {
    let mut rig = Rig::new(POLICY, Version::V5);
    rig.client(&connect(Version::V5, "", true, &[]));
    rig.broker(&connack(Version::V5, false, &[vec![0x12], lp(b"auto-1")].concat()));
    let first = rig.client(&publish(Version::V5, 2, "s/a", 9, &[], b"27")).main;
    rig.connect("auto-1", false);
    let again = rig.client(&publish(Version::V5, 10, "s/a", 9, &[], b"27")).main;
    assert_eq!(again[1..], first[1..]);
}

#[test]
fn signs_of_life_pass_and_are_never_made() {
    let mut rig = Rig::connected(POLICY, Version::V311);
    assert_eq!(rig.client(&[0xC0, 0]), Out::to_main(&[0xC0, 0]));
    assert_eq!(rig.broker(&[0xD0, 0]), Out::to_client(&[0xD0, 0]));
}

#[test]
fn first_packet_above_what_a_connect_needs_is_refused_by_its_claim() {
    for (len, refused) in [(MAX_CONNECT - 4, false), (MAX_CONNECT - 3, true)] {
        let [low, middle, high] = [len & 0x7F | 0x80, len >> 7 & 0x7F | 0x80, len >> 14]
            .map(|part| u8::try_from(part).unwrap());
        let mut rig = Rig::new(POLICY, Version::V311);
        let given = rig.give(Side::Client, &[0x10, low, middle, high]);
        assert_eq!(given.is_err(), refused, "{len}");
    }
    let mut rig = Rig::connected(POLICY, Version::V311);
    assert!(rig.give(Side::Client, &[0x30, 0x80, 0x80, 0xC0, 1]).is_ok());
}

#[test]
fn an_id_that_the_broker_gives_takes_no_state_of_the_client_that_has_it() {
    for own in ["", "valve"] {
        let mut rig = Rig::connected(POLICY, Version::V5);
        let sealed = Peer::new(POLICY).seal("s/a", b"27");
        let brought = publish(Version::V5, 2, "s/a", 1, &[], &sealed);
        assert!(!rig.broker(&brought).client.is_empty());
        rig.client(&ack(PUBACK, 1));
        rig.session = Session::new(Arc::clone(&rig.core), 9);
        rig.client(&connect(Version::V5, own, true, &[]));
        rig.broker(&connack(Version::V5, false, &[&[0x12], lp(b"pump").as_slice()].concat()));
        rig.connect("pump", true);
        assert_eq!(rig.broker(&brought), Out::to_main(&ack(PUBACK, 1)), "a replay, to {own:?}");
    }
}

#[test]
fn another_server_is_never_told_to_the_client() {
    let other = [&[0x1C], lp(b"evil.example").as_slice()].concat();
    let why = [&[0x1F], lp(b"why").as_slice()].concat();
    let props = properties(Version::V5, &[why.as_slice(), &other].concat());
    let left = properties(Version::V5, &why);
    for reason in [0, 0x9C, 0x9D] {
        let mut rig = Rig::new(POLICY, Version::V5);
        rig.client(&connect(Version::V5, "pump", true, &[]));
        let told = rig.broker(&packet(0x20, &[&[0, reason], props.as_slice()].concat()));
        assert_eq!(told, Out::to_client(&packet(0x20, &[&[0, reason], left.as_slice()].concat())));
        let mut rig = Rig::connected(POLICY, Version::V5);
        let told = rig.broker(&packet(0xE0, &[&[reason], props.as_slice()].concat()));
        assert_eq!(told, Out::to_client(&packet(0xE0, &[&[reason], left.as_slice()].concat())));
    }
}

#[test]
fn a_disconnect_of_the_broker_passes_as_it_is_where_nothing_has_to_change() {
    for body in [&[][..], &[0x8E], &[0x8E, 0], &[0x8E, 4, 0x1F, 0, 1, b'x']] {
        let mut rig = Rig::connected(POLICY, Version::V5);
        assert_eq!(rig.broker(&packet(0xE0, body)), Out::to_client(&packet(0xE0, body)));
    }
    let mut rig = Rig::connected(POLICY, Version::V5);
    assert!(rig.give(Side::Main, &packet(0xE0, &[0x8E, 9])).is_err());
}
