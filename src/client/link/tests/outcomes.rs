//! How messages, wills and requests end.

use super::*;
use crate::client::error::ClientError;
use crate::guard::{Incoming, OpenError, Protection};
use crate::replay::Rejected;
use crate::wire::inner::Kind;

#[tokio::test]
async fn ticket_tells_how_a_message_ended() {
    let mut fixture = Fixture::start();
    let mut broker = fixture.connected().await;
    fixture.up().await;
    let [acknowledged, refused] =
        ["clear/a", "clear/b"].map(|topic| fixture.publish(topic, QoS::AtLeastOnce, b"text"));
    let handed_over = fixture.publish("clear/0", QoS::AtMostOnce, b"text");
    let impossible = fixture.publish("no/rule", QoS::AtLeastOnce, b"text");
    for topic in ["clear/a", "clear/b", "clear/0"] {
        broker.published(topic).await;
    }
    for id in [1, 2, 0] {
        broker.tell(Input::Published { id });
    }
    let reason = PublishRefusal::NotAuthorized;
    broker.tell(Input::Refused { id: 2, reason });
    broker.tell(Input::Acknowledged { id: 1 });
    assert_eq!(soon(acknowledged).await, Ok(()));
    assert_eq!(soon(refused).await, Err(ClientError::Refused(reason)));
    assert_eq!(soon(handed_over).await, Ok(()));
    assert_eq!(soon(impossible).await, Err(ClientError::Seal(SealError::Refused)));
}

#[tokio::test]
async fn ticket_waits_for_the_acknowledgement() {
    let mut fixture = Fixture::start();
    let mut broker = fixture.connected().await;
    let mut ticket = fixture.publish("clear/a", QoS::ExactlyOnce, b"text");
    broker.published("clear/a").await;
    broker.tell(Input::Published { id: 1 });
    broker.fail();
    let mut broker = fixture.connected().await;
    broker.published("clear/a").await;
    let told = tokio::select! {
        biased;
        told = &mut ticket => Some(told),
        () = settle() => None,
    };
    assert_eq!(told, None);
    broker.tell(Input::Published { id: 1 });
    broker.tell(Input::Acknowledged { id: 1 });
    assert_eq!(soon(ticket).await, Ok(()));
}

#[tokio::test]
async fn message_of_qos_0_is_let_go_with_its_connection_and_counted() {
    let mut fixture = Fixture::with_window(1);
    let broker = fixture.dialed().await;
    let offline = fixture.publish("clear/0", QoS::AtMostOnce, b"text");
    assert_eq!(soon(offline).await, Err(ClientError::Dropped));
    broker.accept();
    fixture.up().await;
    fixture.publish("clear/a", QoS::AtLeastOnce, b"text");
    let behind = fixture.publish("clear/0", QoS::AtMostOnce, b"text");
    settle().await;
    broker.fail();
    assert_eq!(soon(behind).await, Err(ClientError::Dropped));
    let mut dropped = 0;
    while dropped < 2 {
        if let Some(Event::Dropped { count }) = fixture.event().await {
            dropped += count;
        }
    }
    assert_eq!(dropped, 2);
}

#[tokio::test]
async fn message_of_qos_0_keeps_its_turn_behind_others() {
    let mut fixture = Fixture::start();
    let mut broker = fixture.connected().await;
    fixture.up().await;
    fixture.publish("clear/1", QoS::AtLeastOnce, b"text");
    fixture.publish("clear/0", QoS::AtMostOnce, b"text");
    broker.published("clear/1").await;
    broker.published("clear/0").await;
}

#[tokio::test]
async fn unsubscribing_without_a_connection_is_told() {
    let mut fixture = Fixture::start();
    let ended = |event| matches!(event, Some(Event::Unsubscribed { .. }));
    let broker = fixture.dialed().await;
    let filter = String::from("clear/a");
    fixture.command(Command::Unsubscribe { filter: filter.clone() }).await;
    while !ended(fixture.event().await) {}
    // one whose answer the connection took along
    broker.accept();
    fixture.up().await;
    fixture.command(Command::Unsubscribe { filter }).await;
    settle().await;
    broker.fail();
    while !ended(fixture.event().await) {}
}

#[tokio::test]
async fn what_is_delivered_at_qos_0_counts_as_confirmed() {
    let mut fixture = Fixture::start();
    fixture.guards.rx().guard.confirm_manually();
    let broker = fixture.connected().await;
    let bytes = seal("sealed/a");
    for _ in 0..2 {
        broker.send(0, QoS::AtMostOnce, "sealed/a", &bytes);
    }
    assert_eq!(fixture.message().await.delivery.protection, Protection::Sealed);
    let again = fixture.event().await;
    let duplicate = OpenError::Rejected(Rejected::Duplicate);
    assert!(matches!(again, Some(Event::Rejected { reason, .. }) if reason == duplicate));
}

#[tokio::test]
async fn bare_deletion_is_an_event_of_its_own_and_acknowledged() {
    let mut fixture = Fixture::start();
    let mut broker = fixture.connected().await;
    broker.send(1, QoS::AtLeastOnce, "sealed/a", b"");
    assert_eq!(broker.asked().await, Asked::Acknowledge(1));
    let cleared =
        |event| matches!(event, Some(Event::Cleared { topic, .. }) if topic == "sealed/a");
    while !cleared(fixture.event().await) {}
}

pub(super) fn will(topic: &str) -> Will {
    Will {
        topic: topic.into(),
        payload: b"gone".to_vec().into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        attached: None,
    }
}

/// Bytes of the session ID.
fn session(sealed: &[u8]) -> &[u8] {
    &sealed[6..18]
}

#[tokio::test]
async fn will_is_sealed_anew_for_each_connection_in_its_session() {
    let mut fixture = Fixture::with(8, guard(), Some(will("sealed/a")));
    let mut sessions = std::collections::BTreeSet::new();
    let (_, mut rx) = guard().split();
    for _ in 0..3 {
        let mut broker = fixture.connected().await;
        let (topic, will) = broker.will.take().unwrap();
        let mut out = Vec::new();
        let delivery = rx
            .open(&Incoming::new(&topic, &will, Link::Tcp), &mut out)
            .unwrap()
            .delivered()
            .unwrap();
        assert_eq!((out.as_slice(), delivery.kind), (&b"gone"[..], Some(Kind::Will)));
        assert_eq!(delivery.proof.unwrap().counter(), u32::MAX - 1);
        assert!(sessions.insert(session(&will).to_vec()));
        fixture.publish("sealed/a", QoS::AtLeastOnce, b"text");
        let status = broker.published("sealed/a").await;
        assert_eq!(session(&status), session(&will));
        broker.tell(Input::Published { id: 1 });
        broker.tell(Input::Acknowledged { id: 1 });
        broker.fail();
    }
}

#[tokio::test]
async fn connection_without_its_will_is_not_made() {
    let mut fixture = Fixture::with(8, guard(), Some(will("no/rule")));
    let down = fixture.event().await;
    let error = LinkError::Will(SealError::Refused);
    assert!(matches!(down, Some(Event::LinkDown { error: told, .. }) if told == error));
    assert!(fixture.brokers.try_recv().is_err());
}

#[tokio::test]
async fn will_that_deletes_stays_empty() {
    let deletes = Will { payload: Vec::new().into(), retain: true, ..will("sealed/a") };
    let mut fixture = Fixture::with(8, guard(), Some(deletes));
    assert_eq!(fixture.dialed().await.will, Some(("sealed/a".into(), Vec::new())));
}
