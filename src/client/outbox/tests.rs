use super::*;
use std::vec;
use std::vec::Vec;

use crate::client::entry::Body;
use crate::client::error::ClientError;
use crate::client::properties::Attached;
use crate::client::protocol::{Publish, ServerLimits};
use crate::guard::{Guard, SealError};
use crate::keyring::{Grant, Keyring};
use crate::policy::{Link, Links, Policy, PropertyHandling, Rule, Transport};
use crate::secret::SharedKey;
use crate::wire::property::Property;

const WINDOW: Window = Window { packets: 3, packets_with_qos2: 2, ids: 5 };

fn entry(topic: &str, qos: QoS) -> Entry {
    Entry::new(topic.into(), qos, false, vec![7; 16])
}

fn subscribe(filter: &str) -> Item {
    let filter = filter.into();
    Item::Subscribe { filter, qos: QoS::AtMostOnce }
}

fn name(item: &Item) -> &str {
    match item {
        Item::Publish(entry) => &entry.topic,
        Item::Subscribe { filter, .. } | Item::Unsubscribe { filter } | Item::Listen { filter } => {
            filter
        }
        Item::Record { topic, .. } => topic,
    }
}

/// An outbox with messages of `QoS` 1 of these names.
fn outbox(names: &[&str]) -> Outbox {
    let mut outbox = Outbox::new(WINDOW);
    for name in names {
        outbox.push(entry(name, QoS::AtLeastOnce));
    }
    outbox
}

/// Hands over what it may; the names of it.
fn hand_over(outbox: &mut Outbox) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(item) = outbox.next() {
        names.push(name(item).into());
        outbox.handed_over();
    }
    names
}

fn guard() -> GuardTx {
    guard_with(Rule::sealed(["#"]).transport(Transport::Tcp).build().unwrap())
}

fn guard_with(rule: Rule) -> GuardTx {
    let keyring =
        Keyring::new(vec![Grant::shared(&SharedKey::take(&mut [7; 32]), "test").unwrap()]);
    let policy = Policy::new(vec![rule]);
    Guard::new(policy, keyring, Links::Tcp).unwrap().split().0
}

const LIMITS: Limits =
    Limits { link: Link::Tcp, max_packet: 1_000, server: ServerLimits::NONE, now: None };

#[test]
fn no_more_than_the_window_is_handed_over() {
    let mut outbox = outbox(&["a", "b", "c", "d"]);
    assert_eq!(hand_over(&mut outbox), ["a", "b", "c"]);
    outbox.published(1).unwrap();
    assert_eq!(hand_over(&mut outbox), [""; 0]);
    assert_eq!(outbox.acknowledged(1).as_ref().map(name), Some("a"));
    assert_eq!(hand_over(&mut outbox), ["d"]);
}

#[test]
fn ids_are_paired_in_the_order_of_handing_over() {
    let mut outbox = outbox(&["a", "b", "c"]);
    hand_over(&mut outbox);
    for id in [41, 42, 43] {
        outbox.published(id).unwrap();
    }
    for (id, topic) in [(42, "b"), (41, "a"), (43, "c")] {
        assert_eq!(outbox.acknowledged(id).as_ref().map(name), Some(topic));
    }
    assert!(outbox.is_empty());
}

#[test]
fn what_was_not_published_is_not_acknowledged() {
    let mut outbox = outbox(&["a"]);
    hand_over(&mut outbox);
    assert!(outbox.acknowledged(1).is_none());
    assert!(outbox.acknowledged(0).is_none());
    assert!(!outbox.is_empty());
}

#[test]
fn report_of_another_kind_is_out_of_step() {
    let mut outbox = Outbox::new(WINDOW);
    assert_eq!(outbox.published(1).map(drop), Err(OutOfStep));
    outbox.push(entry("a", QoS::AtLeastOnce));
    hand_over(&mut outbox);
    assert_eq!(outbox.requested(1), Err(OutOfStep));
    assert_eq!(outbox.published(0).map(drop), Err(OutOfStep));
    assert_eq!(outbox.published(1).map(drop), Ok(()));
    outbox.push_request(subscribe("f"));
    hand_over(&mut outbox);
    assert_eq!(outbox.published(2).map(drop), Err(OutOfStep));
    assert_eq!(outbox.requested(2), Ok(()));
}

#[test]
fn answer_of_another_kind_ends_nothing() {
    let mut outbox = outbox(&["a"]);
    outbox.push_request(subscribe("f"));
    hand_over(&mut outbox);
    outbox.requested(1).unwrap();
    outbox.published(2).unwrap();
    assert!(outbox.acknowledged(1).is_none());
    assert!(outbox.answered(2).is_none());
    assert_eq!(outbox.answered(1).as_ref().map(name), Some("f"));
    assert_eq!(outbox.acknowledged(2).as_ref().map(name), Some("a"));
}

#[test]
fn message_without_acknowledgement_ends_when_it_went_out() {
    let mut outbox = Outbox::new(WINDOW);
    outbox.push(entry("a", QoS::AtMostOnce));
    hand_over(&mut outbox);
    assert!(!outbox.is_empty());
    outbox.published(0).unwrap();
    assert!(outbox.is_empty());
}

#[test]
fn ids_do_not_go_round_past_the_oldest_in_use() {
    let mut outbox = outbox(&["oldest", "b", "c", "d", "e", "f", "g"]);
    let mut id = 0;
    let mut handed = Vec::new();
    loop {
        let now = hand_over(&mut outbox);
        if now.is_empty() {
            break;
        }
        for name in now {
            id += 1;
            outbox.published(id).unwrap();
            if name != "oldest" {
                outbox.acknowledged(id);
            }
            handed.push(name);
        }
    }
    // five IDs: the sixth would be the first again
    assert_eq!(handed, ["oldest", "b", "c", "d", "e"]);
    outbox.acknowledged(1);
    assert_eq!(hand_over(&mut outbox), ["f", "g"]);
}

#[test]
fn window_is_narrower_around_messages_of_qos_2() {
    let mut outbox = outbox(&["a"]);
    outbox.push(entry("b", QoS::ExactlyOnce));
    outbox.push(entry("c", QoS::AtLeastOnce));
    assert_eq!(hand_over(&mut outbox), ["a", "b"]);
    outbox.published(1).unwrap();
    outbox.published(2).unwrap();
    outbox.acknowledged(2);
    outbox.push(entry("d", QoS::AtLeastOnce));
    outbox.push(entry("e", QoS::ExactlyOnce));
    // no longer around one: three fit, but the next one of QoS 2 waits for room among two
    assert_eq!(hand_over(&mut outbox), ["c", "d"]);
    outbox.acknowledged(1);
    assert_eq!(hand_over(&mut outbox), [""; 0]);
    outbox.published(3).unwrap();
    outbox.acknowledged(3);
    assert_eq!(hand_over(&mut outbox), ["e"]);
}

#[test]
fn lost_connection_puts_back_what_is_not_acknowledged_in_its_order() {
    let mut outbox = outbox(&["a", "b", "c", "d"]);
    hand_over(&mut outbox);
    outbox.published(1).unwrap();
    outbox.published(2).unwrap();
    outbox.acknowledged(1);
    outbox.connection_lost();
    outbox.push(entry("e", QoS::AtLeastOnce));
    assert_eq!(hand_over(&mut outbox), ["b", "c", "d"]);
    // IDs of the connection before mean nothing now
    assert!(outbox.acknowledged(2).is_none());
}

#[test]
fn lost_connection_ends_requests_and_what_is_sent_once() {
    let mut outbox = Outbox::new(WINDOW);
    outbox.push(entry("sent", QoS::AtMostOnce));
    outbox.push(entry("kept", QoS::AtLeastOnce));
    outbox.push_request(subscribe("f"));
    hand_over(&mut outbox);
    outbox.push(entry("waiting", QoS::AtMostOnce));
    outbox.push_request(subscribe("g"));
    let ended = outbox.connection_lost();
    assert_eq!(ended.iter().map(name).collect::<Vec<_>>(), ["f", "sent", "g", "waiting"]);
    assert_eq!(hand_over(&mut outbox), ["kept"]);
}

#[test]
fn requests_go_before_messages_in_their_order() {
    let mut outbox = outbox(&["a"]);
    outbox.push_request(subscribe("f"));
    outbox.push_request(subscribe("g"));
    assert_eq!(hand_over(&mut outbox), ["f", "g", "a"]);
}

#[test]
fn message_is_sealed_once_and_its_plain_text_is_gone() {
    let mut guard = guard();
    let mut entry = entry("a", QoS::AtLeastOnce);
    assert!(matches!(entry.body, Body::Plain(_)));
    entry.seal(&mut guard, LIMITS).unwrap();
    let first = entry.body.bytes().to_vec();
    assert_eq!(first[0], 0xFC);
    assert!(matches!(entry.body, Body::Ready(_)));
    guard.connected("again");
    entry.seal(&mut guard, LIMITS).unwrap();
    assert_eq!(entry.body.bytes(), first);
}

#[test]
fn message_that_grew_beyond_the_limit_is_not_sealed() {
    let mut entry = entry("a", QoS::AtLeastOnce);
    let len = entry.packet_len(16 + 35, |_| true);
    let mut limits = LIMITS;
    limits.max_packet = len - 1;
    let error = entry.seal(&mut guard(), limits).unwrap_err();
    let max = len - 1;
    assert_eq!(error, ClientError::TooLarge { len, max });
    limits.max_packet = len;
    assert_eq!(entry.seal(&mut guard(), limits), Ok(()));
}

#[test]
fn message_of_another_link_is_not_handed_over() {
    let mut limits = LIMITS;
    limits.link = Link::Tls;
    let sealed = entry("a", QoS::AtLeastOnce).seal(&mut guard(), limits);
    assert_eq!(sealed, Err(ClientError::Seal(SealError::NoLink)));
}

#[test]
fn window_is_no_wider_than_the_broker_allows_on_this_connection() {
    for (allowed, names) in
        [(Some(2), &["a", "b"][..]), (Some(0), &["a"]), (None, &["a", "b", "c"])]
    {
        let mut outbox = outbox(&["a", "b", "c", "d"]);
        outbox.connected(Some(1));
        outbox.connected(allowed);
        assert_eq!(hand_over(&mut outbox), names);
        assert!(outbox.next().is_none());
    }
}

#[test]
fn limits_of_the_broker_hold_for_what_was_sealed_before() {
    let mut guard = guard();
    let mut item = Item::Publish(entry("a", QoS::ExactlyOnce));
    item.seal(&mut guard, LIMITS).unwrap();
    let within = |change: fn(&mut ServerLimits)| {
        let mut limits = LIMITS;
        change(&mut limits.server);
        limits
    };
    let small = within(|server| server.max_packet = 57);
    assert_eq!(item.seal(&mut guard, small), Err(ClientError::TooLarge { len: 58, max: 57 }));
    let max = QoS::AtLeastOnce;
    let low = within(|server| server.max_qos = QoS::AtLeastOnce);
    assert_eq!(item.seal(&mut guard, low), Err(ClientError::QoS { max }));
    assert_eq!(item.seal(&mut guard, within(|server| server.retain = false)), Ok(()));
    let mut retained = Entry::new("a".into(), QoS::AtMostOnce, true, vec![]);
    let none = within(|server| server.retain = false);
    assert_eq!(retained.seal(&mut guard, none), Err(ClientError::NoRetain));
}

#[test]
fn properties_that_were_moved_inside_leave_the_packet() {
    for (handling, left) in
        [(PropertyHandling::Carry, 0), (PropertyHandling::Bind, 1), (PropertyHandling::Ignore, 1)]
    {
        let rule = Rule::sealed(["#"]).transport(Transport::Tcp).properties(handling);
        let mut guard = guard_with(rule.build().unwrap());
        let properties = [Property::PayloadFormat(true), Property::ContentType("text")];
        let attached =
            Attached { properties: properties.into_iter().collect(), message_expiry: Some(60) };
        let mut item = Item::Publish(entry("a", QoS::AtMostOnce).attach(Some(attached)));
        item.seal(&mut guard, LIMITS).unwrap();
        let Request::Publish(Publish { attached: Some(attached), .. }) = item.request() else {
            panic!("not a message with properties");
        };
        assert_eq!(attached.properties.iter().count(), left);
        assert_eq!(attached.message_expiry, Some(60));
    }
}

#[test]
fn peer_authentication_goes_before_everything_else_and_ends_with_its_connection() {
    let mut outbox = outbox(&["a"]);
    outbox.push_control(Item::Listen { filter: "res".into() });
    outbox.push_control(Item::Record { topic: "req".into(), payload: vec![7] });
    outbox.push_request(subscribe("g"));
    assert!(outbox.has_control());
    assert_eq!(hand_over(&mut outbox), ["res", "req", "g"]);
    assert_eq!(outbox.requested(1), Ok(()));
    assert!(matches!(outbox.published(0), Ok(Some(Item::Record { .. }))));
    assert!(matches!(outbox.answered(1), Some(Item::Listen { .. })));
    outbox.push_control(Item::Record { topic: "req".into(), payload: vec![7] });
    outbox.connection_lost();
    assert!(!outbox.has_control());
    assert_eq!(hand_over(&mut outbox), ["a"]);
}
