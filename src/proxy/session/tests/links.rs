//! TLS and plain TCP behind one connection.

use super::*;
use crate::proxy::packet::{Connack, Connect};

const BOTH: &str = "
[[rule]]
topics = [\"tls/#\"]
payload = \"clear\"

[[rule]]
topics = [\"tcp/#\"]
payload = \"sealed\"
transport = \"tcp\"

[[rule]]
topics = [\"open/#\"]
payload = \"clear\"
transport = \"tcp\"

[[rule]]
topics = [\"any/#\"]
payload = \"sealed\"
";

const V4: Version = Version::V311;

fn rig(version: Version) -> Rig {
    let mut rig = Rig::with(BOTH, version, Links::Both, |options| options);
    let login = [lp(b"user"), lp(b"secret")].concat();
    rig.client(&connect_with(version, "pump", 0b1100_0000, &[], &login));
    rig.broker(&connack(version, true, &[]));
    rig
}

/// The same, with the plain link running.
fn running(version: Version, props: &[u8]) -> Rig {
    let mut rig = rig(version);
    assert!(rig.client(&publish(version, 0, "open/a", 0, &[], b"1")).plain.is_empty());
    open(&mut rig, props);
    rig
}

fn open(rig: &mut Rig, props: &[u8]) {
    assert!(rig.session.wants_plain());
    rig.session.plain_open();
    drain(&mut rig.session.to_plain);
    rig.plain(&connack(rig.version, false, props));
}

fn reconnect(rig: &mut Rig) {
    rig.renew();
    rig.client(&connect(rig.version, "pump", false, &[]));
    rig.broker(&connack(rig.version, true, &[]));
}

#[test]
fn messages_take_the_link_of_their_rule() {
    for version in OLD_AND_NEW {
        let mut rig = running(version, &[]);
        let clear = publish(version, 2, "tls/a", 1, &[], b"27");
        assert_eq!(rig.client(&clear), Out::to_main(&clear));
        let any = rig.client(&publish(version, 2, "any/a", 2, &[], b"27"));
        assert_eq!(Peer::new(BOTH).open(&any.main, version).0, b"27");
        assert!(any.plain.is_empty());
        let tcp = rig.client(&publish(version, 2, "tcp/a", 3, &[], b"27"));
        assert_eq!(Peer::new(BOTH).open(&tcp.plain, version).0, b"27");
        assert!(tcp.main.is_empty());
        let open = publish(version, 2, "open/a", 4, &[], b"27");
        assert_eq!(rig.client(&open).plain, open);
        for id in [3, 4] {
            assert_eq!(rig.plain(&ack(PUBACK, id)), Out::to_client(&ack(PUBACK, id)));
        }
        assert_eq!(rig.broker(&ack(PUBACK, 1)), Out::to_client(&ack(PUBACK, 1)));
    }
}

#[test]
fn plain_link_is_opened_when_a_message_needs_it_and_that_waits() {
    let mut rig = rig(V4);
    assert!(!rig.session.wants_plain());
    let message = publish(V4, 0, "open/a", 0, &[], b"27");
    let out = rig.client(&message);
    assert_eq!((out.left, rig.session.wants_plain()), (message.len(), true));
    rig.session.plain_open();
    assert!(!rig.session.takes(Side::Client));
    rig.plain(&connack(V4, false, &[]));
    drain(&mut rig.session.to_plain);
    assert_eq!(rig.client(&message).plain, message);
}

#[test]
fn plain_link_has_its_own_id_and_neither_credentials_nor_will() {
    for version in OLD_AND_NEW {
        let mut rig = Rig::with(BOTH, version, Links::Both, |options| options);
        let will = [properties(version, &[]), lp(b"tls/will"), lp(b"gone")].concat();
        let rest = [will, lp(b"user"), lp(b"secret")].concat();
        rig.client(&connect_with(version, "pump", 0b1100_0100, &[], &rest));
        rig.broker(&connack(version, true, &[]));
        rig.client(&publish(version, 0, "open/a", 0, &[], b"27"));
        rig.session.plain_open();
        let sent = drain(&mut rig.session.to_plain);
        let frame = Frame::first(&sent, usize::MAX).unwrap().unwrap();
        let connect = Connect::parse(&frame).unwrap().unwrap();
        assert_eq!((connect.version, connect.client_id), (version, "pump-tcp"));
        assert_eq!((connect.will, connect.has_credentials()), (None, false));
        assert!(connect.clean());
        assert_eq!(connect.keep_alive, 60);
        assert_eq!(frame.bytes.len(), sent.len());
    }
}

#[test]
fn release_goes_to_the_link_that_has_the_message() {
    let mut rig = running(V4, &[]);
    rig.client(&publish(V4, 4, "tcp/a", 5, &[], b"27"));
    rig.client(&publish(V4, 4, "any/a", 6, &[], b"27"));
    rig.client(&publish(V4, 4, "open/a", 7, &[], b"27"));
    for id in [5, 7] {
        assert_eq!(rig.plain(&ack(PUBREC, id)), Out::to_client(&ack(PUBREC, id)));
        let out = rig.client(&ack(PUBREL, id));
        assert_eq!((out.plain, out.main), (ack(PUBREL, id), vec![]));
        assert_eq!(rig.plain(&ack(PUBCOMP, id)), Out::to_client(&ack(PUBCOMP, id)));
    }
    rig.broker(&ack(PUBREC, 6));
    assert_eq!(rig.client(&ack(PUBREL, 6)), Out::to_main(&ack(PUBREL, 6)));
    // unknown after a restart: the main broker says so
    assert_eq!(rig.client(&ack(PUBREL, 99)), Out::to_main(&ack(PUBREL, 99)));
}

#[test]
fn release_after_the_plain_link_was_lost_sends_the_message_again() {
    for topic in ["tcp/a", "open/a"] {
        let mut rig = running(V4, &[]);
        let first = rig.client(&publish(V4, 4, topic, 5, &[], b"27")).plain;
        rig.plain(&ack(PUBREC, 5));
        reconnect(&mut rig);
        let release = ack(PUBREL, 5);
        assert_eq!(rig.client(&release).left, release.len());
        open(&mut rig, &[]);
        assert_eq!(rig.client(&release).plain, first, "{topic}");
        assert_eq!(rig.plain(&ack(PUBREC, 5)).plain, ack(PUBREL, 5));
        assert_eq!(rig.plain(&ack(PUBCOMP, 5)), Out::to_client(&ack(PUBCOMP, 5)));
    }
}

#[test]
fn repetition_goes_to_the_link_that_had_it() {
    let mut rig = running(V4, &[]);
    let first = rig.client(&publish(V4, 2, "tcp/a", 5, &[], b"27")).plain;
    reconnect(&mut rig);
    let again = publish(V4, 10, "tcp/a", 5, &[], b"27");
    assert_eq!(rig.client(&again).left, again.len());
    open(&mut rig, &[]);
    assert_eq!(rig.client(&again).plain[1..], first[1..]);
}

#[test]
fn signs_of_life_go_to_both_and_one_comes_back() {
    let mut rig = running(V4, &[]);
    let out = rig.client(&[0xC0, 0]);
    assert_eq!(
        (out.main.as_slice(), out.plain.as_slice()),
        ([0xC0, 0].as_slice(), [0xC0, 0].as_slice())
    );
    assert_eq!(rig.plain(&[0xD0, 0]), Out::default());
    assert_eq!(rig.broker(&[0xD0, 0]), Out::to_client(&[0xD0, 0]));
    let out = rig.client(&[0xE0, 0]);
    assert_eq!(out.main, out.plain);
}

#[test]
fn window_of_the_plain_broker_is_kept_and_told_to_the_next_client() {
    let mut rig = running(Version::V5, &[0x21, 0, 2]);
    let mut sent = Vec::new();
    for id in 1..=4 {
        sent.push(rig.client(&publish(Version::V5, 2, "open/a", id, &[], b"27")).plain.len());
    }
    assert_eq!(sent.iter().filter(|len| **len > 0).count(), 2);
    for id in 3..=4 {
        let next = rig.plain(&ack(PUBACK, id - 2)).plain;
        assert_eq!(publish_of(&next, Version::V5).id, id);
    }
    rig.renew();
    rig.client(&connect(Version::V5, "fan", true, &[]));
    let out = rig.broker(&connack(Version::V5, false, &[0x21, 0, 9]));
    let frame = Frame::first(&out.client, usize::MAX).unwrap().unwrap();
    assert_eq!(Connack::parse(&frame, Version::V5).unwrap().receive_max(), Some(2));
}

#[test]
fn limit_for_packets_of_the_plain_broker_does_not_silence_the_next_client() {
    for (said, told) in [(1_u32, 65_536), (100_000, 100_000)] {
        let limit = [&[0x27], said.to_be_bytes().as_slice()].concat();
        let mut rig = running(Version::V5, &limit);
        let growth = rig.core.in_force().growth;
        rig.renew();
        rig.client(&connect(Version::V5, "fan", true, &[]));
        let out = rig.broker(&connack(Version::V5, false, &[]));
        let frame = Frame::first(&out.client, usize::MAX).unwrap().unwrap();
        let connack = Connack::parse(&frame, Version::V5).unwrap();
        assert_eq!(connack.max_packet(), Some(told - growth));
        // what is above it is refused one by one
        rig.client(&publish(Version::V5, 0, "open/a", 0, &[], b""));
        open(&mut rig, &limit);
        let message = publish(Version::V5, 2, "open/a", 7, &[], b"27");
        let out = rig.client(&message);
        let refused = ack_with(PUBACK, 7, 0x97);
        assert_eq!(out.client, if said == 1 { refused } else { vec![] });
    }
}

#[test]
fn window_is_kept_too_when_a_message_is_sent_again_on_the_same_connection() {
    let mut rig = running(Version::V5, &[0x21, 0, 1]);
    let first = publish(Version::V5, 2, "tcp/a", 1, &[], b"27");
    let again = publish(Version::V5, 10, "tcp/a", 1, &[], b"27");
    assert!(!rig.client(&first).plain.is_empty());
    rig.client(&again);
    assert!(rig.client(&publish(Version::V5, 2, "tcp/a", 2, &[], b"28")).plain.is_empty());
    let next = rig.plain(&ack(PUBACK, 1)).plain;
    assert_eq!(publish_of(&next, Version::V5).id, 2);
}

#[test]
fn plain_link_that_is_refused_or_brings_messages_ends_the_connection() {
    let mut rig = rig(V4);
    rig.client(&publish(V4, 0, "open/a", 0, &[], b"27"));
    rig.session.plain_open();
    let refused = rig.give(Side::Plain, &[0x20, 2, 0, 5]);
    assert_eq!(refused, Err(Ended::PlainRefused { reason: 5 }));
    let mut rig = running(V4, &[]);
    let ended = rig.give(Side::Plain, &publish(V4, 0, "open/a", 0, &[], b"27"));
    assert_eq!(ended, Err(Ended::UnexpectedPacket(Kind::Publish)));
}

#[test]
fn plain_link_acknowledges_nothing_that_went_by_tls() {
    for version in OLD_AND_NEW {
        let mut rig = running(version, &[]);
        rig.client(&publish(version, 2, "tls/a", 1, &[], b"27"));
        rig.client(&publish(version, 2, "any/a", 2, &[], b"27"));
        rig.client(&publish(version, 4, "any/a", 3, &[], b"27"));
        for forged in [ack(PUBACK, 1), ack(PUBACK, 2), ack(PUBREC, 3), ack(PUBCOMP, 3)] {
            assert_eq!(rig.plain(&forged), Out::default());
        }
        for id in [1, 2] {
            assert_eq!(rig.broker(&ack(PUBACK, id)), Out::to_client(&ack(PUBACK, id)));
        }
        assert_eq!(rig.broker(&ack(PUBREC, 3)), Out::to_client(&ack(PUBREC, 3)));
    }
}

#[test]
fn plain_broker_that_says_goodbye_ends_the_connection_by_closing() {
    let mut rig = running(Version::V5, &[]);
    assert_eq!(rig.plain(&[0xE0, 1, 0x8B]), Out::default());
    let goodbye = [0xE0, 1, 0x8B];
    assert_eq!(rig.broker(&goodbye), Out::to_client(&goodbye));
}

#[test]
fn alias_is_resolved_for_the_plain_link() {
    let mut rig = Rig::with(BOTH, Version::V5, Links::Both, |options| options);
    rig.client(&connect(Version::V5, "pump", true, &[]));
    rig.broker(&connack(Version::V5, false, &[0x22, 0, 9]));
    rig.client(&publish(Version::V5, 0, "open/a", 0, &[0x23, 0, 1], b"1"));
    open(&mut rig, &[]);
    for topic in ["open/a", ""] {
        let out = rig.client(&publish(Version::V5, 0, topic, 0, &[0x23, 0, 1], b"1"));
        assert_eq!(out.plain, publish(Version::V5, 0, "open/a", 0, &[], b"1"));
    }
}

#[test]
fn sealed_topic_for_tcp_is_accepted_by_tls() {
    let mut rig = rig(V4);
    let sealed = Peer::new(BOTH).seal("tcp/a", b"27");
    let out = rig.broker(&publish(V4, 0, "tcp/a", 0, &[], &sealed));
    assert_eq!(out, Out::to_client(&publish(V4, 0, "tcp/a", 0, &[], b"27")));
}

#[test]
fn window_is_kept_when_messages_are_sent_again_on_the_next_connection() {
    let mut rig = running(Version::V5, &[]);
    for id in 1..=3 {
        rig.client(&publish(Version::V5, 2, "tcp/a", id, &[], b"27"));
    }
    reconnect(&mut rig);
    rig.client(&publish(Version::V5, 0, "open/a", 0, &[], b"1"));
    open(&mut rig, &[0x21, 0, 1]);
    let again = |id| publish(Version::V5, 10, "tcp/a", id, &[], b"27");
    assert!(!rig.client(&again(1)).plain.is_empty());
    assert!(rig.client(&again(2)).plain.is_empty());
    assert!(!rig.plain(&ack(PUBACK, 1)).plain.is_empty());
}

#[test]
fn plain_broker_hears_of_a_client_that_talks_to_the_other_alone() {
    let mut rig = running(V4, &[]);
    let clear = publish(V4, 0, "tls/a", 0, &[], b"27");
    assert_eq!(rig.client(&clear), Out::to_main(&clear));
    // the client's 60 seconds, and a quarter of them
    let later = Some(NOW + 15_000);
    let taken = rig.session.take(Side::Client, &clear, later).unwrap();
    assert_eq!((taken.bytes, drain(&mut rig.session.to_plain)), (clear.len(), vec![0xC0, 0]));
    rig.session.take(Side::Client, &clear, later).unwrap();
    assert!(rig.session.to_plain.ready().is_empty());
}

#[test]
fn will_of_a_tcp_rule_is_sealed_for_each_connection() {
    let mut rig = Rig::with(BOTH, V4, Links::Both, |options| options);
    let will = [lp(b"tcp/will"), lp(b"gone")].concat();
    for _ in 0..3 {
        rig.session = Session::new(Arc::clone(&rig.core), 5);
        let out = rig.client(&connect_with(V4, "pump", 0b100, &[], &will));
        let frame = Frame::first(&out.main, usize::MAX).unwrap().unwrap();
        assert_ne!(Connect::parse(&frame).unwrap().unwrap().will.unwrap().payload, b"gone");
    }
}

#[test]
fn rules_that_a_proxy_cannot_follow_are_refused_by_name() {
    use crate::proxy::{Listen, Proxy, ProxyError, UnfitRule};
    let start = |policy: &str| {
        let options = ProxyOptions::new().broker("localhost", 1);
        let options = options.listen(Listen::parse("127.0.0.1:0").unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let policy = policy_file::parse(policy).unwrap();
        runtime.block_on(Proxy::bind(options, policy, Keyring::default())).unwrap_err()
    };
    let tls = start("[[rule]]\ntopics = [\"a\"]\npayload = \"clear\"\n");
    assert!(matches!(tls, ProxyError::Rule(UnfitRule::NeedsTls { rule: 1 })));
    let compact = start("[[rule]]\ntopics = [\"a\"]\npayload = \"sealed\"\nform = \"compact\"\n");
    assert!(matches!(compact, ProxyError::Rule(UnfitRule::CompactForm { rule: 1 })));
    let texts = [tls, compact].map(|error| error.to_string());
    assert_eq!(
        texts,
        [
            "rule 1 asks for tls, and there is no broker by tls: name one",
            "rule 1 asks for compact form, which a proxy does not seal in: leave it out"
        ]
    );
}

#[test]
fn message_that_passed_is_not_sent_again_in_clear_once_its_rule_seals() {
    let open_rule = "topics = [\"open/#\"]\npayload = \"clear\"";
    let after = BOTH.replace(open_rule, "topics = [\"open/#\"]\npayload = \"sealed\"");
    let mut rig = running(V4, &[]);
    rig.client(&publish(V4, 2, "open/a", 5, &[], b"27"));
    rig.client(&publish(V4, 4, "open/a", 6, &[], b"28"));
    rig.plain(&ack(PUBREC, 6));
    rig.core.replace(config(&after, 7, Links::Both)).unwrap();
    reconnect(&mut rig);
    let again = publish(V4, 10, "open/a", 5, &[], b"27");
    assert_eq!(rig.client(&again).left, again.len());
    open(&mut rig, &[]);
    let out = rig.client(&again);
    assert_eq!(Peer::new(&after).open(&out.plain, V4).0, b"27");
    assert!(rig.client(&ack(PUBREL, 6)).plain.is_empty());
}

#[test]
fn plain_broker_has_to_answer_in_time() {
    let mut rig = rig(V4);
    assert!(!rig.session.waits_for_answer());
    rig.client(&publish(V4, 0, "open/a", 0, &[], b"27"));
    rig.session.plain_open();
    assert!(rig.session.waits_for_answer());
    rig.plain(&connack(V4, false, &[]));
    assert!(!rig.session.waits_for_answer());
}

#[test]
fn plain_link_that_says_nothing_while_something_waits_is_given_up() {
    let mut rig = running(V4, &[]);
    let looks = |rig: &mut Rig, times: usize| {
        (0..times).map(|_| rig.session.look_at_plain()).collect::<Vec<_>>()
    };
    assert_eq!(looks(&mut rig, 9), [true; 9], "nothing waits");
    assert!(rig.session.to_plain.ready().is_empty());
    rig.client(&publish(V4, 2, "open/a", 1, &[], b"27"));
    for _ in 0..9 {
        assert_eq!(looks(&mut rig, 3), [true; 3], "it answers");
        assert_eq!(drain(&mut rig.session.to_plain), [0xC0, 0]);
        rig.plain(&[0xD0, 0]);
    }
    assert_eq!(looks(&mut rig, 4), [true, true, true, false]);
}

#[test]
fn plain_link_that_is_slow_is_not_given_up_while_it_takes_something() {
    let mut rig = running(V4, &[]);
    rig.session.to_plain.put(&[0; 9]);
    for _ in 0..9 {
        for _ in 0..3 {
            assert!(rig.session.look_at_plain());
        }
        rig.session.to_plain.wrote(1);
        rig.session.wrote_plain();
    }
}

#[test]
fn rule_that_is_replaced_moves_its_messages_to_the_other_link() {
    let before = "[[rule]]\ntopics = [\"a\"]\npayload = \"sealed\"\n";
    let after = "[[rule]]\ntopics = [\"a\"]\npayload = \"sealed\"\ntransport = \"tcp\"\n";
    let mut rig = Rig::with(before, V4, Links::Both, |options| options);
    rig.connect("pump", true);
    let message = publish(V4, 0, "a", 0, &[], b"27");
    assert!(!rig.client(&message).main.is_empty());
    rig.core.replace(config(after, 7, Links::Both)).unwrap();
    let out = rig.client(&message);
    assert_eq!((out.left, rig.session.wants_plain()), (message.len(), true));
}

#[test]
fn what_waits_for_an_end_is_bounded_whatever_a_few_bytes_stand_for() {
    let mut rig = Rig::with(BOTH, Version::V5, Links::Both, |options| options.max_packet(1 << 17));
    rig.client(&connect(Version::V5, "pump", true, &[]));
    rig.broker(&connack(Version::V5, false, &[0x22, 0, 9]));
    let topic = std::format!("open/{}", "a".repeat(60_000));
    rig.client(&publish(Version::V5, 0, &topic, 0, &[0x23, 0, 1], b""));
    open(&mut rig, &[]);
    rig.client(&publish(Version::V5, 0, &topic, 0, &[0x23, 0, 1], b""));
    let many = publish(Version::V5, 0, "", 0, &[0x23, 0, 1], b"").repeat(1_000);
    assert_eq!(rig.give(Side::Client, &many), Err(Ended::Backlog(Side::Plain)));
    assert!(rig.session.to_plain.waiting() < 5 << 20);
}

#[test]
fn client_id_that_is_too_long_with_its_suffix_is_left_to_the_broker() {
    let suffix = "-tcp".len();
    for (len, told) in [(0xFFFF - suffix, 0xFFFF), (0xFFFF - suffix + 1, 0)] {
        let mut rig = Rig::with(BOTH, V4, Links::Both, |options| options);
        rig.client(&connect(V4, &"x".repeat(len), true, &[]));
        rig.broker(&connack(V4, false, &[]));
        assert!(rig.client(&publish(V4, 0, "open/a", 0, &[], b"1")).plain.is_empty());
        assert!(rig.session.wants_plain());
        rig.session.plain_open();
        let sent = drain(&mut rig.session.to_plain);
        let frame = Frame::first(&sent, usize::MAX).unwrap().unwrap();
        assert_eq!(Connect::parse(&frame).unwrap().unwrap().client_id.len(), told);
        assert_eq!(frame.bytes.len(), sent.len());
    }
}
