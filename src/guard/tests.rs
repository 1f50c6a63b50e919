mod replace;

use super::*;
use crate::keyring::Grant;
use crate::policy::BareDelete;
use crate::policy::{Link, PropertyHandling, Replay, Transport};
use crate::replay::{Rejected, Verdict};
use crate::secret::SharedKey;
use crate::session::LeaseError;
use crate::suite::Suite;
use crate::wire::property::Property;
use crate::wire::{Form, Kind, SenderNumber, SessionId};
use proptest::prelude::*;
use std::{format, string::ToString, vec, vec::Vec};

fn keyring(byte: u8) -> Keyring {
    Keyring::new(vec![Grant::shared(&SharedKey::take(&mut [byte; 32]), "realm").unwrap()])
}

fn guard(rules: Vec<Rule>, links: Links) -> (GuardTx, GuardRx) {
    Guard::new(Policy::new(rules), keyring(7), links).unwrap().split()
}

fn sealed_rule() -> Rule {
    Rule::sealed(["#"]).build().unwrap()
}

fn seal(tx: &mut GuardTx, message: &Outgoing<'_>) -> (Vec<u8>, Sealed) {
    let mut out = vec![];
    let sealed = tx.seal(message, &mut out).unwrap();
    (out, sealed)
}

fn open(rx: &mut GuardRx, topic: &str, payload: &[u8]) -> Result<(Vec<u8>, Delivery), OpenError> {
    let mut out = vec![];
    let opened = rx.open(&Incoming::new(topic, payload, Link::Tcp), &mut out)?;
    Ok((out, opened.delivered().unwrap()))
}

#[test]
fn sealed_message_opens_once_and_only_under_its_topic() {
    let (mut tx, mut rx) = guard(vec![sealed_rule()], Links::Tcp);
    let (bytes, sealed) = seal(&mut tx, &Outgoing::new("a/b", b"27"));
    assert_eq!(sealed.link, Link::Tcp);
    assert_eq!(open(&mut rx, "a/c", &bytes).unwrap_err(), OpenError::NotAuthentic);
    let (payload, delivery) = open(&mut rx, "a/b", &bytes).unwrap();
    assert_eq!(payload, b"27");
    assert_eq!(delivery.verdict, Some(Verdict::New));
    let again = open(&mut rx, "a/b", &bytes).unwrap_err();
    assert_eq!(again, OpenError::Rejected(Rejected::Duplicate));
}

#[test]
fn guards_that_share_a_config_have_replay_state_and_sessions_of_their_own() {
    let config = Arc::new(Config::new(Policy::new(vec![sealed_rule()]), keyring(7), Links::Tcp));
    let client =
        || Guard::from_config(Arc::clone(&config), Box::new(getrandom::SysRng)).unwrap().split();
    let ((mut tx, mut own), (mut other_tx, mut other)) = (client(), client());
    let (bytes, sealed) = seal(&mut tx, &Outgoing::new("a", b"27"));
    assert_ne!(seal(&mut other_tx, &Outgoing::new("a", b"27")).1.sealed, sealed.sealed);
    assert!(open(&mut other, "a", &bytes).is_ok_and(|(_, delivery)| !delivery.own));
    assert!(open(&mut own, "a", &bytes).is_ok_and(|(_, delivery)| delivery.own));
}

#[test]
fn clear_text_on_a_sealed_topic_is_refused() {
    let (_, mut rx) = guard(vec![sealed_rule()], Links::Tcp);
    assert_eq!(open(&mut rx, "a", b"27").unwrap_err(), OpenError::ClearOnSealedTopic);
    assert_eq!(open(&mut rx, "a", b"").unwrap_err(), OpenError::Cleared(BareDelete::Report));
}

#[test]
fn a_tls_topic_is_never_sent_or_taken_over_tcp() {
    let rule = || Rule::clear(["a"]).build().unwrap();
    let (mut tx, mut rx) = guard(vec![rule()], Links::Tcp);
    let mut out = vec![1, 2, 3];
    assert_eq!(tx.seal(&Outgoing::new("a", b"27"), &mut out), Err(SealError::NoLink));
    assert!(out.is_empty());
    assert_eq!(open(&mut rx, "a", b"27").unwrap_err(), OpenError::WrongTransport);
    let (mut tx, _) = guard(vec![rule()], Links::Both);
    assert_eq!(seal(&mut tx, &Outgoing::new("a", b"27")).1.link, Link::Tls);
}

#[test]
fn an_any_topic_is_not_taken_over_tcp_where_there_is_tls() {
    let (mut tx, mut rx) = guard(vec![sealed_rule()], Links::Both);
    let (bytes, sealed) = seal(&mut tx, &Outgoing::new("a", b"27"));
    assert_eq!(sealed.link, Link::Tls);
    assert_eq!(open(&mut rx, "a", &bytes).unwrap_err(), OpenError::WrongTransport);
}

#[test]
fn every_connection_and_every_qos_has_a_session_of_its_own() {
    let (mut tx, _) = guard(vec![sealed_rule()], Links::Tcp);
    let mut ids = vec![];
    for _ in 0..2 {
        tx.connected("client");
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for expected in 0..3 {
                let message = Outgoing::new("a/b", b"27").qos(qos);
                let (id, counter) = seal(&mut tx, &message).1.sealed.unwrap();
                assert_eq!(counter, expected);
                ids.push(id.encode());
            }
        }
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6);
}

#[test]
fn a_session_ends_after_24_hours() {
    let (mut tx, _) = guard(vec![sealed_rule()], Links::Tcp);
    let mut at = |now| {
        let message = Outgoing::new("a", b"27").at(Some(now));
        let mut out = vec![];
        tx.seal(&message, &mut out).unwrap().sealed.unwrap()
    };
    let (first, _) = at(1_000);
    assert_eq!(at(1_000 + 24 * 3_600_000 - 1), (first, 1));
    let (second, counter) = at(1_000 + 24 * 3_600_000);
    assert_ne!(first, second);
    assert_eq!(counter, 0);
}

#[test]
fn plan_foretells_the_growth_and_spends_nothing() {
    for pad in [0, 1, 64] {
        let mut rule = Rule::sealed(["#"]).timestamp(true);
        if pad > 0 {
            rule = rule.pad(pad);
        }
        let (mut tx, _) = guard(vec![rule.build().unwrap()], Links::Tcp);
        let payload = vec![b'x'; 100];
        for _ in 0..70 {
            let message = Outgoing::new("a", &payload).at(Some(5));
            let plan = tx.plan(&message);
            let Ok(Plan::Seal { link: Link::Tcp, growth, .. }) = plan else { panic!() };
            assert_eq!(tx.plan(&message), plan);
            assert_eq!(seal(&mut tx, &message).0.len(), payload.len() + growth);
        }
    }
}

#[test]
fn padded_payloads_of_a_block_have_one_length() {
    let rule = Rule::sealed(["#"]).pad(32).build().unwrap();
    let (mut tx, mut rx) = guard(vec![rule], Links::Tcp);
    let mut lens = vec![];
    for len in 0..=30 {
        let payload = vec![0x80; len];
        let (bytes, _) = seal(&mut tx, &Outgoing::new("a", &payload));
        lens.push(bytes.len());
        assert_eq!(open(&mut rx, "a", &bytes).unwrap().0, payload);
    }
    lens.dedup();
    assert_eq!(lens, [35 + 32]);
}

#[test]
fn a_message_dated_ahead_is_not_fresh_and_touches_no_state() {
    let rule = Rule::sealed(["#"]).timestamp(true).build().unwrap();
    let (mut tx, mut rx) = guard(vec![rule], Links::Tcp);
    let (bytes, _) = seal(&mut tx, &Outgoing::new("a", b"27").at(Some(100_000)));
    let mut open_at = |now| {
        let mut out = vec![];
        let opened = rx.open(&Incoming::new("a", &bytes, Link::Tcp).at(Some(now)), &mut out)?;
        Ok::<_, OpenError>(opened.delivered().unwrap())
    };
    assert_eq!(open_at(94_999).unwrap_err(), OpenError::Rejected(Rejected::NotFresh));
    assert_eq!(open_at(95_000).unwrap().timestamp, Some(100_000));
}

#[test]
fn properties_travel_inside_and_those_of_the_packet_are_discarded() {
    let (mut tx, mut rx) = guard(vec![sealed_rule()], Links::Tcp);
    let sent = [Property::User("k", "v"), Property::ContentType("text/plain")];
    let (bytes, sealed) = seal(&mut tx, &Outgoing::new("a", b"27").properties(&sent));
    assert!(sent.iter().all(|property| !sealed.keeps(property)));
    let forged = [Property::ResponseTopic("evil")];
    let (_, delivery) = open(&mut rx, "a", &bytes).unwrap();
    let got: Vec<_> = delivery.properties(&forged).collect();
    assert_eq!(got, [Property::ContentType("text/plain"), Property::User("k", "v")]);
}

#[test]
fn a_deletion_on_the_broker_takes_no_hidden_property_along() {
    let sent = [Property::PayloadFormat(true), Property::User("name", "hidden")];
    let message = Outgoing::new("a", b"").retain(true).properties(&sent);
    for (handling, kept) in [
        (PropertyHandling::Carry, [false, false]),
        (PropertyHandling::Bind, [false, true]),
        (PropertyHandling::Ignore, [false, true]),
    ] {
        let rule = Rule::sealed(["#"]).properties(handling).build().unwrap();
        let (mut tx, _) = guard(vec![rule], Links::Tcp);
        let (bytes, sealed) = seal(&mut tx, &message);
        assert_eq!((bytes.len(), sealed.sealed), (0, None));
        assert_eq!([0, 1].map(|index| sealed.keeps(&sent[index])), kept, "{handling:?}");
    }
}

#[test]
fn debug_of_a_message_shows_neither_payload_nor_properties() {
    let sent = [Property::User("MARKER", "MARKER")];
    let outgoing = Outgoing::new("a", b"MARKER").properties(&sent);
    let (mut tx, mut rx) = guard(vec![sealed_rule()], Links::Tcp);
    let (bytes, _) = seal(&mut tx, &outgoing);
    let (_, delivery) = open(&mut rx, "a", &bytes).unwrap();
    let incoming = Incoming::new("a", b"MARKER", Link::Tcp).properties(&sent);
    for shown in [format!("{outgoing:?}"), format!("{incoming:?}"), format!("{delivery:?}")] {
        assert!(!shown.contains("MARKER") && !shown.contains("77, 65, 82"), "{shown}");
    }
}

#[test]
fn bound_properties_must_arrive_as_they_left() {
    let rule = Rule::sealed(["#"]).properties(PropertyHandling::Bind).build().unwrap();
    let (mut tx, mut rx) = guard(vec![rule], Links::Tcp);
    let sent = [Property::ResponseTopic("reply")];
    let (bytes, sealed) = seal(&mut tx, &Outgoing::new("a", b"27").properties(&sent));
    assert!(sealed.keeps(&sent[0]));
    let mut open_with = |properties: &[Property<'_>]| {
        let mut out = vec![];
        let message = Incoming::new("a", &bytes, Link::Tcp).properties(properties);
        rx.open(&message, &mut out).map(|opened| opened.delivered().unwrap().verdict)
    };
    assert_eq!(open_with(&[]), Err(OpenError::NotAuthentic));
    assert_eq!(open_with(&[Property::ResponseTopic("other")]), Err(OpenError::NotAuthentic));
    assert_eq!(open_with(&sent), Ok(Some(Verdict::New)));
}

#[test]
fn a_reply_topic_that_is_none_is_not_sealed() {
    let (mut tx, _) = guard(vec![sealed_rule()], Links::Tcp);
    let bad = [Property::ResponseTopic("a/#")];
    let error = tx.seal(&Outgoing::new("a", b"27").properties(&bad), &mut vec![]).unwrap_err();
    assert_eq!(error.to_string(), "the response topic is no valid topic name");
    let twice = [Property::ContentType("a"), Property::ContentType("b")];
    let error = tx.seal(&Outgoing::new("a", b"27").properties(&twice), &mut vec![]).unwrap_err();
    assert_eq!(error.to_string(), "a property other than a user property stands twice");
}

#[test]
fn replay_off_delivers_repetitions_as_unchecked() {
    let rule = Rule::sealed(["#"]).replay(Replay::Off).build().unwrap();
    let (mut tx, mut rx) = guard(vec![rule], Links::Tcp);
    let (bytes, _) = seal(&mut tx, &Outgoing::new("a", b"27"));
    for _ in 0..2 {
        assert_eq!(open(&mut rx, "a", &bytes).unwrap().1.verdict, Some(Verdict::Unchecked));
    }
}

#[test]
fn a_refused_message_leaves_nothing_in_the_buffer() {
    let (mut tx, mut rx) = guard(vec![sealed_rule()], Links::Tcp);
    let (bytes, _) = seal(&mut tx, &Outgoing::new("a", b"MARKER-MARKER-16"));
    let mut out = Vec::with_capacity(256);
    rx.open(&Incoming::new("a", &bytes, Link::Tcp), &mut out).unwrap();
    assert_eq!(out, b"MARKER-MARKER-16");
    let mut forged = bytes.clone();
    *forged.last_mut().unwrap() ^= 1;
    rx.open(&Incoming::new("a", &forged, Link::Tcp), &mut out).unwrap_err();
    assert!(out.is_empty());
    // zeroize wiped the whole capacity: what a resize shows is what was left there
    assert!(out.capacity() >= 16);
}

#[test]
fn a_grant_opens_exactly_its_part_of_the_tree() {
    let root = || crate::schedule::root(&SharedKey::take(&mut [7; 32]), "realm").unwrap();
    let suite = Suite::default();
    let path = |text: &'static str, depth| TopicName::parse(text).unwrap().path(depth);
    let rules = || vec![Rule::sealed(["#"]).scope(Scope::Path { depth: 2 }).build().unwrap()];
    let node = crate::schedule::node(&crate::schedule::root_node(&root()), "plant");
    let scope = crate::schedule::path_scope(&root(), path("plant/a", 2), suite);
    let grants = [
        Grant::node(path("plant", 1), node),
        Grant::scope(ScopeRef::Path(path("plant/a", 2)), suite, scope),
    ];
    let opens = [["plant/a/x", "plant/b", "plant"], ["plant/a/x", "plant/a", "plant/a/y/z"]];
    let opens_not = [["other/a", "plant2/a", "a"], ["plant/b", "plant", "other/a"]];
    for ((grant, opens), opens_not) in grants.into_iter().zip(opens).zip(opens_not) {
        let (mut tx, _) = guard(rules(), Links::Tcp);
        let keyring = Keyring::new(vec![grant]);
        let (mut own_tx, mut rx) =
            Guard::new(Policy::new(rules()), keyring, Links::Tcp).unwrap().split();
        for topic in opens {
            let (bytes, _) = seal(&mut tx, &Outgoing::new(topic, b"27"));
            assert_eq!(open(&mut rx, topic, &bytes).unwrap().0, b"27", "{topic}");
        }
        for topic in opens_not {
            let (bytes, _) = seal(&mut tx, &Outgoing::new(topic, b"27"));
            assert_eq!(open(&mut rx, topic, &bytes).unwrap_err(), OpenError::UnknownKey);
            let error = own_tx.seal(&Outgoing::new(topic, b"27"), &mut vec![]).unwrap_err();
            assert_eq!(error, SealError::NoKey);
        }
    }
}

#[test]
fn debug_of_everything_shows_no_key_and_no_payload() {
    let (mut tx, mut rx) = guard(vec![sealed_rule()], Links::Tcp);
    let (bytes, _) = seal(&mut tx, &Outgoing::new("a", b"MARKER-MARKER-16"));
    open(&mut rx, "a", &bytes).unwrap();
    let text = format!("{tx:?} {rx:?} {:?}", keyring(7));
    // seven, as a byte of the key would be printed in a list
    assert!(!text.contains("7, 7") && !text.contains("MARKER"), "{text}");
}

#[test]
fn every_seal_error_says_what_to_do() {
    let (mut tx, _) = guard(
        vec![
            Rule::sealed(["small"]).max_packet(74).build().unwrap(),
            Rule::sealed(["dated"]).timestamp(true).build().unwrap(),
            Rule::sealed(["tls"]).transport(Transport::Tls).build().unwrap(),
            Rule::sealed(["named"]).build().unwrap(),
        ],
        Links::Tcp,
    );
    let cases = [
        (Outgoing::new("a/+", b""), "a topic name must not contain '+' or '#'"),
        (Outgoing::new("other", b""), "no rule of the policy covers the topic: add one"),
        (
            Outgoing::new("tls", b""),
            "the topic's rule asks for tls, and there is no tls link: configure one",
        ),
        (Outgoing::new("dated", b""), "the topic's rule needs a clock: set it"),
        (
            Outgoing::new("named", b"27").retain(true),
            "a retained value under replay = \"window\" may never be delivered: \
             publish without RETAIN, or set retain = \"allow\"",
        ),
        (Outgoing::new("small", &[0; 40]), "the sealed payload has 75 bytes and max_packet is 74"),
    ];
    for (message, text) in cases {
        assert_eq!(tx.plan(&message).unwrap_err().to_string(), text);
        assert_eq!(tx.seal(&message, &mut vec![]).unwrap_err().to_string(), text);
    }
}

#[test]
fn errors_of_compact_form_and_wills_say_what_to_do() {
    let number = SenderNumber::new(5).unwrap();
    let lease = |error| SealError::Lease { number, error };
    let cases = [
        (
            lease(LeaseError::NeedsLease { count: 1 }),
            "sender number 5: the reserved counters are used: reserve more",
        ),
        (
            lease(LeaseError::Exhausted),
            "sender number 5: the sender number has no counter left: ask for another number",
        ),
        (
            lease(LeaseError::CounterLost),
            "sender number 5: the counter store ran backwards: never use this sender number \
             again, ask for another",
        ),
        (
            SealError::RollbackPossible,
            "compact form needs suite aes-256-gcm-siv, or a counter store that is declared never \
             to be rolled back",
        ),
        (SealError::WillSealed, "the will of this connection was sealed already: connect again"),
        (
            SealError::ReconnectFirst,
            "the session is used up and cannot end while its will lies at the broker: connect \
             again",
        ),
        (
            SealError::SeveralKeys,
            "active keys of more than one generation cover the topic's scope: let one retire",
        ),
    ];
    for (error, text) in cases {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn events_of_the_guard_say_what_to_do() {
    let failures = GuardEvent::ManyFailures { failures: 7 };
    assert_eq!(failures.to_string(), "7 messages of one scope were not authentic");
    assert_eq!(
        GuardEvent::TombstoneOverflow.to_string(),
        "replay state was forgotten: raise the limits or use fewer senders"
    );
}

#[test]
fn every_open_error_has_its_name_and_text() {
    let cases = [
        (OpenError::Refused, "Refused", "no rule of the policy covers the topic"),
        (
            OpenError::WrongTransport,
            "WrongTransport",
            "the topic's rule asks for tls, and the message came over tcp",
        ),
        (
            OpenError::Cleared(BareDelete::Report),
            "Cleared",
            "the payload is empty: somebody deleted the retained value",
        ),
        (
            OpenError::ClearOnSealedTopic,
            "ClearOnSealedTopic",
            "the payload is not sealed, and the topic's rule asks for it",
        ),
        (OpenError::Unsupported, "Unsupported", "the message has an unknown version or flag"),
        (OpenError::Malformed, "Malformed", "the message is malformed"),
        (
            OpenError::UnknownKey,
            "UnknownKey",
            "the message is sealed under a key that the keyring does not hold",
        ),
        (OpenError::NotAuthentic, "NotAuthentic", "the message is not authentic"),
        (OpenError::Rejected(Rejected::Stale), "Stale", "a newer value of the topic was delivered"),
        (
            OpenError::Rejected(Rejected::NotFresh),
            "NotFresh",
            "nothing proves that the message is fresh",
        ),
        (OpenError::Rejected(Rejected::Duplicate), "Duplicate", "the message was delivered before"),
        (OpenError::Rejected(Rejected::TooOld), "TooOld", "the counter is below the replay window"),
    ];
    for (error, name, text) in cases {
        assert_eq!((error.name(), error.to_string().as_str()), (name, text));
    }
}

fn compact(suite: Suite, sender: Option<u32>) -> (GuardTx, GuardRx) {
    let rule = Rule::sealed(["#"]).suite(suite).form(Form::Compact).build().unwrap();
    let mut grant = Grant::shared(&SharedKey::take(&mut [7; 32]), "realm").unwrap();
    if let Some(number) = sender {
        grant = grant.with_sender(SenderNumber::new(number).unwrap());
    }
    let policy = Policy::new(vec![rule]);
    Guard::new(policy, Keyring::new(vec![grant]), Links::Tcp).unwrap().split()
}

#[test]
fn compact_form_uses_leased_counters_and_grows_by_24() {
    let number = SenderNumber::new(5).unwrap();
    let (mut tx, mut rx) = compact(Suite::Aes256GcmSiv, Some(5));
    let message = Outgoing::new("a", b"27");
    let needs = SealError::Lease { number, error: LeaseError::NeedsLease { count: 1 } };
    assert_eq!(tx.plan(&message), Err(needs));
    assert_eq!(tx.seal(&message, &mut vec![]), Err(needs));
    tx.add_lease(number, &(0..2), false).unwrap();
    for counter in 0..2 {
        tx.connected("a new connection ends no sender number");
        assert!(matches!(tx.plan(&message), Ok(Plan::Seal { growth: 24, .. })));
        let (bytes, sealed) = seal(&mut tx, &message);
        assert_eq!(sealed.sealed, Some((SessionId::Sender(number), counter)));
        assert_eq!(bytes.len(), 2 + 24);
        assert_eq!(open(&mut rx, "a", &bytes).unwrap().0, b"27");
    }
    assert_eq!(tx.seal(&message, &mut vec![]), Err(needs));
    let lost = tx.add_lease(number, &(1..9), false).unwrap_err();
    assert_eq!(lost, LeaseError::CounterLost);
}

#[test]
fn one_lease_serves_all_scopes_and_never_twice_the_same_counter() {
    let number = SenderNumber::new(5).unwrap();
    let (mut tx, _) = compact(Suite::Aes256GcmSiv, Some(5));
    tx.add_lease(number, &(0..100), false).unwrap();
    for (expected, topic) in (0..).zip(["a", "b", "a", "c"]) {
        let (_, sealed) = seal(&mut tx, &Outgoing::new(topic, b"27"));
        assert_eq!(sealed.sealed, Some((SessionId::Sender(number), expected)));
    }
}

#[test]
fn compact_form_is_refused_where_a_rollback_would_repeat_nonces() {
    let number = SenderNumber::new(5).unwrap();
    for suite in Suite::ALL {
        for cannot_roll_back in [false, true] {
            let (mut tx, _) = compact(suite, Some(5));
            tx.add_lease(number, &(0..9), cannot_roll_back).unwrap();
            let sealed = tx.seal(&Outgoing::new("a", b"27"), &mut vec![]);
            if suite == Suite::Aes256GcmSiv || cannot_roll_back {
                sealed.unwrap();
            } else {
                assert_eq!(sealed.unwrap_err(), SealError::RollbackPossible, "{suite}");
            }
        }
    }
}

#[test]
fn compact_form_without_a_sender_number_is_refused() {
    let (mut tx, _) = compact(Suite::Aes256GcmSiv, None);
    let error = tx.seal(&Outgoing::new("a", b"27"), &mut vec![]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the topic's rule asks for compact form, and the grant has no sender number: ask for one"
    );
}

#[test]
fn a_will_has_the_last_counter_of_its_session_and_comes_once() {
    for form in [Form::Session, Form::Compact] {
        let rule = Rule::sealed(["#"]).form(form).replay(Replay::Off).build().unwrap();
        let (mut tx, mut rx) = guard(vec![rule], Links::Tcp);
        let mut will = Outgoing::new("a", b"gone").qos(QoS::AtLeastOnce);
        will.kind = Some(Kind::Will);
        tx.connected("client");
        assert!(matches!(tx.plan(&will), Ok(Plan::Seal { growth: 44, .. })));
        let (bytes, sealed) = seal(&mut tx, &will);
        let (session, counter) = sealed.sealed.unwrap();
        assert_eq!((session.form(), counter), (Form::Session, u32::MAX - 1));
        let (payload, delivery) = open(&mut rx, "a", &bytes).unwrap();
        assert_eq!((payload.as_slice(), delivery.kind), (&b"gone"[..], Some(Kind::Will)));
        assert_eq!(tx.seal(&will, &mut vec![]), Err(SealError::WillSealed));
        tx.connected("client");
        assert_ne!(seal(&mut tx, &will).1.sealed.unwrap().0, session);
    }
}

#[test]
fn a_session_with_a_will_goes_on_until_the_connection_ends() {
    let (mut tx, _) = guard(vec![sealed_rule()], Links::Tcp);
    let mut will = Outgoing::new("a", b"gone").at(Some(0));
    will.kind = Some(Kind::Will);
    let (id, _) = seal(&mut tx, &will).1.sealed.unwrap();
    let later = Outgoing::new("a", b"27").at(Some(48 * 3_600_000));
    assert_eq!(seal(&mut tx, &later).1.sealed.unwrap(), (id, 0));
}

#[test]
fn a_deletion_with_a_payload_is_not_sealed() {
    let (mut tx, _) = guard(vec![sealed_rule()], Links::Tcp);
    let mut message = Outgoing::new("a", b"27");
    message.kind = Some(Kind::Delete);
    let error = tx.seal(&message, &mut vec![]).unwrap_err();
    assert_eq!(error.to_string(), "a deletion has no payload: leave it empty");
}

#[test]
fn an_unconfirmed_message_is_delivered_again_and_a_confirmed_one_is_not() {
    let (mut tx, mut rx) = guard(vec![sealed_rule()], Links::Tcp);
    rx.confirm_manually();
    let (bytes, _) = seal(&mut tx, &Outgoing::new("a", b"27"));
    let (_, first) = open(&mut rx, "a", &bytes).unwrap();
    assert_eq!(first.verdict, Some(Verdict::New));
    let (payload, again) = open(&mut rx, "a", &bytes).unwrap();
    assert_eq!((payload.as_slice(), again.verdict), (&b"27"[..], Some(Verdict::Redelivered)));
    assert_eq!(rx.confirm(first.receipt.unwrap()), []);
    let error = open(&mut rx, "a", &bytes).unwrap_err();
    assert_eq!(error, OpenError::Rejected(Rejected::Duplicate));
}

#[test]
fn the_kind_of_a_message_is_told() {
    let (mut tx, mut rx) = guard(vec![sealed_rule()], Links::Tcp);
    let mut message = Outgoing::new("a", b"");
    message.kind = Some(Kind::Delete);
    let (bytes, _) = seal(&mut tx, &message);
    assert_eq!(open(&mut rx, "a", &bytes).unwrap().1.kind, Some(Kind::Delete));
}

proptest! {
    #[test]
    fn any_bytes_from_the_network_are_refused_without_a_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..120),
        dressed in any::<bool>(),
        topic in "[a-z/$+#]{0,8}",
    ) {
        if dressed && bytes.len() > 1 {
            bytes[0] = 0xFC;
            bytes[1] = 0x40 | (bytes[1] & 0x30);
        }
        let (_, mut rx) = guard(vec![sealed_rule()], Links::Tcp);
        prop_assert!(open(&mut rx, &topic, &bytes).is_err());
    }

    #[test]
    fn every_rule_round_trips(
        payload in prop::collection::vec(any::<u8>(), 0..300),
        suite in prop::sample::select(Suite::ALL.to_vec()),
        depth in 0_u8..5,
        pad in prop::option::of(1_usize..100),
        timestamp in any::<bool>(),
        binding in 0..3,
        topic in "[a-c]{1,3}(/[a-c]{0,2}){0,4}",
    ) {
        let mut rule = Rule::sealed(["#"]).suite(suite).timestamp(timestamp);
        rule = match binding {
            0 => rule.scope(Scope::Path { depth }),
            1 => rule.scope(Scope::Path { depth }).topic_binding(TopicBinding::Strip("a/".into())),
            _ => rule.scope(Scope::Named("n".into())).topic_binding(TopicBinding::Carried),
        };
        if let Some(pad) = pad {
            rule = rule.pad(pad);
        }
        let (mut tx, mut rx) = guard(vec![rule.build().unwrap()], Links::Tcp);
        let (bytes, _) = seal(&mut tx, &Outgoing::new(&topic, &payload).at(Some(1)));
        let (opened, delivery) = open(&mut rx, &topic, &bytes).unwrap();
        prop_assert_eq!(opened, payload);
        prop_assert_eq!(delivery.timestamp, timestamp.then_some(1));
        prop_assert_eq!(open(&mut rx, &topic, &bytes).unwrap_err(), OpenError::Rejected(Rejected::Duplicate));
    }
}
