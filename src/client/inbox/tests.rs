use super::*;
use core::time::Duration;
use std::format;
use std::string::String;
use std::{vec, vec::Vec};

use crate::client::event::Receipt;
use crate::guard::QoS;

fn numbered(number: usize) -> Event {
    Event::Unsubscribed { filter: format!("{number}"), link: Link::Tcp }
}

/// What stands in the queue: numbers, and counts of what is missed.
async fn drain(inbox: &Inbox) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        texts.push(match inbox.next().await {
            Some(Event::Unsubscribed { filter, .. }) => filter,
            Some(Event::Missed { count }) => format!("missed {count}"),
            Some(Event::Message(message)) => message.topic,
            Some(other) => format!("{other:?}"),
            None => return texts,
        });
    }
}

fn message(topic: &str, link: Link) -> Event {
    Event::Message(Message {
        topic: topic.into(),
        payload: b"0123456789abcdef".to_vec(),
        qos: QoS::AtLeastOnce,
        retain: false,
        dup: false,
        link,
        delivery: delivery(),
        properties: crate::client::Properties::default(),
        packet_topic: None,
        receipt: Some(Receipt { link, id: 1, qos: QoS::AtLeastOnce, number: 1 }),
    })
}

/// A delivery cannot be made by hand: this is one of a clear rule.
fn delivery() -> crate::guard::Delivery {
    use crate::guard::{Guard, Incoming};
    use crate::policy::{Links, Policy, Rule, Transport};
    let rule = Rule::clear(["#"]).transport(Transport::Tcp).build();
    let policy = Policy::new(std::vec![rule.unwrap()]);
    let guard = Guard::new(policy, crate::keyring::Keyring::default(), Links::Tcp).unwrap();
    let (_, mut rx) = guard.split();
    let incoming = Incoming::new("a", b"", Link::Tcp);
    rx.open(&incoming, &mut Vec::new()).unwrap().delivered().unwrap()
}

#[tokio::test]
async fn events_come_in_order_and_end_with_the_last_link() {
    let inbox = Inbox::new(8);
    let feeds = [inbox.feed(), inbox.feed()];
    for number in 0..4 {
        feeds[number % 2].push(numbered(number));
    }
    drop(feeds);
    assert_eq!(drain(&inbox).await, ["0", "1", "2", "3"]);
}

#[tokio::test]
async fn waiting_reader_is_woken_by_an_event_and_by_the_end() {
    let inbox = Inbox::new(8);
    let feed = inbox.feed();
    let waiting = || {
        let inbox = Arc::clone(&inbox);
        let next = async move { inbox.next().await };
        tokio::spawn(tokio::time::timeout(Duration::from_secs(10), next))
    };
    let reader = waiting();
    tokio::task::yield_now().await;
    feed.push(numbered(0));
    assert!(matches!(reader.await.unwrap(), Ok(Some(Event::Unsubscribed { .. }))));
    let reader = waiting();
    tokio::task::yield_now().await;
    drop(feed);
    assert!(matches!(reader.await.unwrap(), Ok(None)));
}

#[tokio::test]
async fn full_queue_counts_what_it_may_let_go() {
    let inbox = Inbox::new(2);
    let feed = inbox.feed();
    for number in 0..5 {
        feed.push_or_miss(numbered(number));
    }
    assert!(!feed.has_room());
    feed.push(numbered(5));
    feed.miss();
    drop(feed);
    assert_eq!(drain(&inbox).await, ["0", "1", "missed 3", "5", "missed 1"]);
}

#[tokio::test]
async fn lost_connection_keeps_what_was_acknowledged_to_its_broker() {
    let inbox = Inbox::new(1);
    let feed = inbox.feed();
    for topic in ["a", "b"] {
        let Event::Message(mut message) = message(topic, Link::Tcp) else { unreachable!() };
        message.receipt = None;
        feed.push(Event::Message(message));
    }
    feed.connection_lost(Link::Tcp);
    drop(feed);
    assert_eq!(drain(&inbox).await, ["a", "b"]);
}

#[tokio::test]
async fn lost_connection_lets_go_of_its_messages_beyond_the_capacity() {
    let inbox = Inbox::new(1);
    let feed = inbox.feed();
    for topic in ["kept", "gone", "gone too"] {
        feed.push(message(topic, Link::Tcp));
    }
    feed.push(message("of the other link", Link::Tls));
    feed.push(numbered(7));
    feed.connection_lost(Link::Tcp);
    drop(feed);
    assert_eq!(drain(&inbox).await, ["kept", "of the other link", "7", "missed 2"]);
}

#[test]
fn debug_of_a_message_shows_no_payload() {
    let text = format!("{:?}", message("a/b", Link::Tcp));
    assert_eq!(
        text,
        "Message(Message { topic: \"a/b\", payload_len: 16, qos: AtLeastOnce, retain: false, \
         dup: false, link: Tcp, .. })"
    );
}

#[tokio::test]
async fn messages_beyond_64_mib_are_not_kept_and_room_comes_back() {
    let large = || match message("a", Link::Tcp) {
        Event::Message(message) => {
            Event::Message(Message { payload: vec![0; MAX_BYTES / 2], ..message })
        }
        other => other,
    };
    let inbox = Inbox::new(8);
    let feed = inbox.feed();
    assert!(feed.push(large()));
    assert!(!feed.push(large()), "two halves and two topics are too much");
    inbox.next().await.unwrap();
    assert!(feed.push(large()));
}
