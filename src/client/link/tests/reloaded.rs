//! A link whose rules and keys are replaced while it runs.

use std::format;

use zeroize::Zeroizing;

use super::outcomes::will;
use super::*;
use crate::client::entry::Body;
use crate::client::properties::Attached;
use crate::guard::Config;
use crate::keyring::State;
use crate::policy::{Replay, Retain, RuleBuilder};
use crate::wire::header::Header;
use crate::wire::inner::Kind;

/// With these generations, each of a key of its own.
fn config(generations: &[(u8, State)]) -> Arc<Config> {
    let grant = |&(number, state): &(u8, State)| {
        let grant = Grant::shared(&SharedKey::take(&mut [number; 32]), "test").unwrap();
        grant.with_generation(number.into()).with_state(state)
    };
    let keyring = Keyring::new(generations.iter().map(grant).collect());
    let tcp = |rule: RuleBuilder| rule.transport(Transport::Tcp).build().unwrap();
    let sealed = Rule::sealed(["sealed/#"]).retain(Retain::Allow);
    let policy = Policy::new(vec![tcp(Rule::clear(["clear/#"])), tcp(sealed)]);
    Arc::new(Config::new(policy, keyring, Links::Tcp))
}

fn fixture(will: Option<Will>) -> Fixture {
    let guard =
        Guard::from_config(config(&[(7, State::Active)]), std::boxed::Box::new(getrandom::SysRng));
    Fixture::with(8, guard.unwrap(), will)
}

fn activate_another(fixture: &Fixture) {
    let retiring = State::Retiring { not_after: None };
    fixture.guards.replace(&config(&[(7, retiring), (8, State::Active)]));
}

fn announce_another(fixture: &Fixture) {
    fixture.guards.replace(&config(&[(7, State::Active), (8, State::Pending)]));
}

fn key_id(sealed: &[u8]) -> crate::wire::header::KeyId {
    Header::parse(sealed).unwrap().0.kid
}

#[tokio::test]
async fn will_is_sealed_under_the_new_key_and_the_old_one_does_not_fire() {
    let mut fixture = fixture(Some(will("sealed/a")));
    let mut broker = fixture.connected().await;
    let old = broker.will.take().unwrap().1;
    fixture.up().await;
    announce_another(&fixture);
    settle().await;
    assert!(broker.asked.try_recv().is_err());
    activate_another(&fixture);
    assert_eq!(broker.asked().await, Asked::Disconnect);
    broker.tell(Input::Disconnected);
    let broker = fixture.connected().await;
    assert_ne!(key_id(&broker.will.as_ref().unwrap().1), key_id(&old));
    let reloaded = |event: &_| matches!(event, Event::LinkDown { error: LinkError::Reloaded, .. });
    while !reloaded(&fixture.event().await.unwrap()) {}
}

#[tokio::test]
async fn message_that_waits_is_sealed_under_the_new_key_and_one_on_its_way_stays() {
    let mut fixture = fixture(None);
    let mut broker = fixture.connected().await;
    fixture.publish("sealed/a", QoS::AtLeastOnce, b"text");
    let on_its_way = broker.published("sealed/a").await;
    broker.tell(Input::Published { id: 1 });
    activate_another(&fixture);
    broker.fail();
    let mut broker = fixture.connected().await;
    fixture.publish("sealed/b", QoS::AtLeastOnce, b"text");
    assert_eq!(broker.published("sealed/a").await, on_its_way);
    assert_ne!(key_id(&broker.published("sealed/b").await), key_id(&on_its_way));
}

#[tokio::test]
async fn retained_values_under_the_key_before_are_told_once() {
    let mut fixture = fixture(None);
    let mut broker = fixture.connected().await;
    for (topic, retain) in [("sealed/a", true), ("sealed/b", false), ("clear/c", true)] {
        let mut entry = Entry::new(topic.into(), QoS::AtLeastOnce, retain, b"text".to_vec());
        drop(entry.accept(fixture.room.try_take(4).unwrap()));
        assert!(fixture.entries.send(entry).is_ok());
        broker.asked().await;
    }
    announce_another(&fixture);
    settle().await;
    for _ in 0..2 {
        activate_another(&fixture);
        settle().await;
    }
    broker.fail();
    let mut told = Vec::new();
    loop {
        match fixture.event().await.unwrap() {
            Event::RetainedUnderOldKey { topic } => told.push(topic),
            Event::LinkDown { .. } => break,
            _ => {}
        }
    }
    assert_eq!(told, ["sealed/a"]);
}

/// A client that publishes values again, if they fit into so many bytes.
fn republishing(bytes: usize) -> Fixture {
    let guard =
        Guard::from_config(config(&[(7, State::Active)]), std::boxed::Box::new(getrandom::SysRng));
    Fixture::with_republishing(guard.unwrap(), bytes)
}

/// A value to be retained, accepted by the link.
fn retain(fixture: &Fixture, topic: &str, change: impl FnOnce(Entry) -> Entry) {
    let mut entry = change(Entry::new(topic.into(), QoS::AtLeastOnce, true, b"text".to_vec()));
    drop(entry.accept(fixture.room.try_take(4).unwrap()));
    assert!(fixture.entries.send(entry).is_ok());
}

/// What a receiver makes of it that has both keys.
fn opened(topic: &str, sealed: &[u8]) -> (Vec<u8>, crate::guard::Delivery) {
    let retiring = State::Retiring { not_after: None };
    let config = config(&[(7, retiring), (8, State::Active)]);
    let guard = Guard::from_config(config, std::boxed::Box::new(getrandom::SysRng)).unwrap();
    let (_, mut rx) = guard.split();
    let mut out = Vec::new();
    let incoming = crate::guard::Incoming::new(topic, sealed, Link::Tcp).at(now());
    let crate::guard::Opened::Delivered(delivery) = rx.open(&incoming, &mut out).unwrap() else {
        panic!("there is no log")
    };
    (out, delivery)
}

/// The topics that the application is told of until the connection is lost.
async fn told(fixture: &mut Fixture) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        match fixture.event().await.unwrap() {
            Event::RetainedUnderOldKey { topic } => told.push(topic),
            Event::LinkDown { .. } => return told,
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn retained_value_is_told_of_a_reload_while_the_link_is_down() {
    let mut fixture = fixture(None);
    let mut broker = fixture.connected().await;
    retain(&fixture, "sealed/a", |entry| entry);
    broker.asked().await;
    broker.tell(Input::Published { id: 1 });
    broker.tell(Input::Acknowledged { id: 1 });
    settle().await;
    broker.fail();
    settle().await;
    assert!(told(&mut fixture).await.is_empty() && fixture.brokers.try_recv().is_err());
    activate_another(&fixture);
    let broker = fixture.connected().await;
    broker.fail();
    assert_eq!(told(&mut fixture).await, ["sealed/a"]);
}

#[tokio::test]
async fn retained_value_is_published_again_under_the_new_key() {
    for (kind, text) in [(None, "text"), (Some(Kind::Delete), "")] {
        let mut fixture = republishing(1_000);
        let mut broker = fixture.connected().await;
        retain(&fixture, "sealed/a", |mut entry| {
            entry.body = Body::Plain(Zeroizing::new(text.into()));
            entry.of_kind(kind)
        });
        let first = broker.published("sealed/a").await;
        activate_another(&fixture);
        let again = broker.published("sealed/a").await;
        assert_ne!(key_id(&again), key_id(&first));
        let (payload, delivery) = opened("sealed/a", &again);
        assert_eq!((payload.as_slice(), delivery.kind), (text.as_bytes(), kind));
        broker.fail();
        assert!(told(&mut fixture).await.is_empty());
        let _broker = fixture.dialed().await;
    }
}

#[tokio::test]
async fn value_that_went_out_again_is_not_published_twice() {
    let mut fixture = republishing(1_000);
    let mut broker = fixture.connected().await;
    retain(&fixture, "sealed/a", |entry| entry);
    let first = broker.published("sealed/a").await;
    activate_another(&fixture);
    let again = broker.published("sealed/a").await;
    // neither was acknowledged
    broker.fail();
    let mut broker = fixture.connected().await;
    assert_eq!(broker.published("sealed/a").await, first);
    assert_eq!(broker.published("sealed/a").await, again);
    settle().await;
    assert!(broker.asked.try_recv().is_err());
}

#[tokio::test]
async fn newer_value_that_waits_takes_the_place_of_the_one_before() {
    let mut fixture = republishing(1_000);
    let mut broker = fixture.connected().await;
    retain(&fixture, "sealed/a", |entry| entry);
    broker.published("sealed/a").await;
    broker.tell(Input::Published { id: 1 });
    broker.tell(Input::Acknowledged { id: 1 });
    settle().await;
    broker.fail();
    let mut broker = fixture.dialed().await;
    retain(&fixture, "sealed/a", |mut entry| {
        entry.body = Body::Plain(Zeroizing::new(b"newer".to_vec()));
        entry
    });
    settle().await;
    activate_another(&fixture);
    settle().await;
    broker.accept();
    assert_eq!(opened("sealed/a", &broker.published("sealed/a").await).0, b"newer");
    settle().await;
    assert!(broker.asked.try_recv().is_err());
}

#[tokio::test]
async fn value_sealed_before_a_reload_and_sent_after_it_is_followed_by_another() {
    let mut fixture = republishing(1_000);
    let mut broker = fixture.dialed().await;
    // as by a durable outbox, which seals at acceptance
    retain(&fixture, "sealed/a", |mut entry| {
        entry.seal_plain(&mut fixture.guards.tx(), Link::Tcp, now()).unwrap();
        entry
    });
    activate_another(&fixture);
    settle().await;
    broker.accept();
    let first = broker.published("sealed/a").await;
    assert_ne!(key_id(&broker.published("sealed/a").await), key_id(&first));
}

#[tokio::test]
async fn values_that_are_not_kept_are_told() {
    let expires = |entry: Entry| {
        let mut attached = Attached::default();
        attached.message_expiry = Some(60);
        entry.attach(Some(attached))
    };
    let mut fixture = republishing(150);
    let mut broker = fixture.connected().await;
    retain(&fixture, "sealed/expires", expires);
    retain(&fixture, "sealed/kept", |entry| entry);
    retain(&fixture, "sealed/no/room", |entry| entry);
    for topic in ["sealed/expires", "sealed/kept", "sealed/no/room"] {
        broker.published(topic).await;
    }
    activate_another(&fixture);
    broker.published("sealed/kept").await;
    // there is room for it once more
    let retiring = State::Retiring { not_after: None };
    fixture.guards.replace(&config(&[(8, retiring), (9, State::Active)]));
    broker.published("sealed/kept").await;
    broker.fail();
    let mut told = told(&mut fixture).await;
    told.sort();
    assert_eq!(told, ["sealed/expires", "sealed/no/room"]);
}

/// As [`republishing`], with a will to be retained on this topic.
fn republishing_with_will(topic: &str) -> Fixture {
    let guard =
        Guard::from_config(config(&[(7, State::Active)]), std::boxed::Box::new(getrandom::SysRng));
    let (tx, rx) = guard.unwrap().split();
    let will = Will { retain: true, ..will(topic) };
    let guards = |_: &_| Guards::new(tx, rx, None);
    Fixture::with_bytes(8, Some(will), (None, |_: &_, _: &_| None), 1_000, guards)
}

#[tokio::test]
async fn value_of_qos_0_is_published_again_behind_the_reconnection_for_a_will() {
    let mut fixture = republishing_with_will("sealed/w");
    let mut broker = fixture.connected().await;
    fixture.up().await;
    retain(&fixture, "sealed/a", |mut entry| {
        entry.qos = QoS::AtMostOnce;
        entry
    });
    let first = broker.published("sealed/a").await;
    broker.tell(Input::Published { id: 0 });
    settle().await;
    activate_another(&fixture);
    assert_eq!(broker.asked().await, Asked::Disconnect);
    broker.tell(Input::Disconnected);
    let mut broker = fixture.connected().await;
    assert_ne!(key_id(&broker.published("sealed/a").await), key_id(&first));
}

#[tokio::test]
async fn value_is_published_again_if_a_newer_one_that_waits_is_dropped() {
    let mut fixture = republishing(1_000);
    let mut broker = fixture.connected().await;
    fixture.up().await;
    retain(&fixture, "sealed/a", |entry| entry);
    broker.published("sealed/a").await;
    broker.tell(Input::Published { id: 1 });
    broker.tell(Input::Acknowledged { id: 1 });
    // all the window takes
    for _ in 0..8 {
        fixture.publish("sealed/b", QoS::AtLeastOnce, b"text");
    }
    retain(&fixture, "sealed/a", |mut entry| {
        entry.qos = QoS::AtMostOnce;
        entry.body = Body::Plain(Zeroizing::new(b"newer".to_vec()));
        entry
    });
    settle().await;
    activate_another(&fixture);
    settle().await;
    broker.fail();
    let mut broker = fixture.connected().await;
    for id in 1..=8 {
        broker.published("sealed/b").await;
        broker.tell(Input::Published { id });
        broker.tell(Input::Acknowledged { id });
    }
    assert_eq!(opened("sealed/a", &broker.published("sealed/a").await).0, b"text");
}

#[tokio::test]
async fn value_is_told_if_a_newer_one_that_waits_cannot_go_out() {
    let mut fixture = republishing(1_000);
    let mut broker = fixture.connected().await;
    retain(&fixture, "sealed/a", |entry| entry);
    broker.published("sealed/a").await;
    broker.tell(Input::Published { id: 1 });
    broker.tell(Input::Acknowledged { id: 1 });
    settle().await;
    broker.fail();
    let broker = fixture.dialed().await;
    retain(&fixture, "sealed/a", |mut entry| {
        entry.body = Body::Plain(Zeroizing::new(vec![b'a'; 200]));
        entry
    });
    settle().await;
    activate_another(&fixture);
    settle().await;
    assert!(told(&mut fixture).await.is_empty());
    broker.accept();
    settle().await;
    broker.fail();
    assert_eq!(told(&mut fixture).await, ["sealed/a"]);
}

/// What becomes of a value when this is in force.
async fn told_under(other: Arc<Config>) -> Vec<String> {
    let mut fixture = republishing(1_000);
    let mut broker = fixture.connected().await;
    retain(&fixture, "sealed/a", |entry| entry);
    broker.published("sealed/a").await;
    fixture.guards.replace(&other);
    settle().await;
    assert!(broker.asked.try_recv().is_err());
    broker.fail();
    told(&mut fixture).await
}

#[tokio::test]
async fn value_is_not_published_again_under_a_rule_that_seals_nothing() {
    let year = 31_536_000_000;
    let until = now().unwrap() + year;
    for rule in [Rule::clear(["sealed/#"]), Rule::observe(["sealed/#"], until)] {
        let policy = Policy::new(vec![rule.transport(Transport::Tcp).build().unwrap()]);
        let grant = Grant::shared(&SharedKey::take(&mut [7; 32]), "test").unwrap();
        let config = Config::new(policy, Keyring::new(vec![grant]), Links::Tcp);
        assert_eq!(told_under(Arc::new(config)).await, ["sealed/a"]);
    }
}

#[tokio::test]
async fn value_is_told_where_no_key_seals() {
    let retiring = State::Retiring { not_after: None };
    assert_eq!(told_under(config(&[(7, retiring)])).await, ["sealed/a"]);
}

#[tokio::test]
async fn value_that_a_will_may_have_replaced_is_told() {
    let mut fixture = republishing_with_will("sealed/a");
    let mut broker = fixture.connected().await;
    for topic in ["sealed/a", "sealed/b"] {
        retain(&fixture, topic, |entry| entry);
        broker.published(topic).await;
    }
    for id in 1..=2 {
        broker.tell(Input::Published { id });
        broker.tell(Input::Acknowledged { id });
    }
    settle().await;
    // the broker publishes the will
    broker.fail();
    let mut broker = fixture.connected().await;
    fixture.up().await;
    assert!(told(&mut fixture).await.is_empty());
    activate_another(&fixture);
    assert_eq!(broker.asked().await, Asked::Disconnect);
    broker.tell(Input::Disconnected);
    let mut broker = fixture.connected().await;
    broker.published("sealed/b").await;
    settle().await;
    assert!(broker.asked.try_recv().is_err());
    assert_eq!(told(&mut fixture).await, ["sealed/a"]);
}

#[tokio::test]
async fn value_on_a_topic_that_left_this_link_and_came_back_is_told() {
    let other_link = |key: u8| {
        let rule = Rule::sealed(["sealed/#"]).retain(Retain::Allow).transport(Transport::Tls);
        let grant = Grant::shared(&SharedKey::take(&mut [key; 32]), "test").unwrap();
        let policy = Policy::new(vec![rule.build().unwrap()]);
        Arc::new(Config::new(policy, Keyring::new(vec![grant]), Links::Both))
    };
    let mut fixture = republishing(1_000);
    let mut broker = fixture.connected().await;
    retain(&fixture, "sealed/a", |entry| entry);
    broker.published("sealed/a").await;
    fixture.guards.replace(&other_link(7));
    settle().await;
    // meanwhile the other link may have published a newer one
    activate_another(&fixture);
    settle().await;
    assert!(broker.asked.try_recv().is_err());
    broker.fail();
    assert_eq!(told(&mut fixture).await, ["sealed/a"]);
}

#[tokio::test]
async fn command_is_told_and_not_given_a_second_time() {
    let generation = |key: u8, state| {
        let grant = Grant::shared(&SharedKey::take(&mut [key; 32]), "test").unwrap();
        grant.with_generation(key.into()).with_state(state)
    };
    let config = |grants| {
        let rule = Rule::sealed(["sealed/#"]).replay(Replay::Fresh).timestamp(true);
        let policy = Policy::new(vec![rule.transport(Transport::Tcp).build().unwrap()]);
        Arc::new(Config::new(policy, Keyring::new(grants), Links::Tcp))
    };
    let retiring = State::Retiring { not_after: None };
    // most of these are over within the millisecond that they are sealed in
    for _ in 0..50 {
        let before = config(vec![generation(7, State::Active)]);
        let guard = Guard::from_config(before, std::boxed::Box::new(getrandom::SysRng));
        let mut fixture = Fixture::with_republishing(guard.unwrap(), 1_000);
        let mut broker = fixture.connected().await;
        retain(&fixture, "sealed/a", |entry| entry);
        broker.published("sealed/a").await;
        let after = vec![generation(7, retiring), generation(8, State::Active)];
        fixture.guards.replace(&config(after));
        settle().await;
        assert!(broker.asked.try_recv().is_err());
        broker.fail();
        assert_eq!(told(&mut fixture).await, ["sealed/a"]);
    }
}

#[tokio::test]
async fn more_values_than_messages_may_wait_are_published_again() {
    let mut fixture = republishing(100_000);
    let mut broker = fixture.connected().await;
    // the link has room for 16
    for number in 0..40_u16 {
        let topic = format!("sealed/{number}");
        retain(&fixture, &topic, |entry| entry);
        broker.published(&topic).await;
        broker.tell(Input::Published { id: number + 1 });
        broker.tell(Input::Acknowledged { id: number + 1 });
        settle().await;
    }
    activate_another(&fixture);
    let mut again = std::collections::BTreeSet::new();
    for id in 41..=80 {
        let Asked::Publish(topic, _) = broker.asked().await else { panic!("no message") };
        again.insert(topic);
        broker.tell(Input::Published { id });
        broker.tell(Input::Acknowledged { id });
    }
    assert_eq!(again.len(), 40);
    broker.fail();
    assert!(told(&mut fixture).await.is_empty());
}

#[tokio::test]
async fn value_that_the_broker_refused_is_told_and_not_published_after_all() {
    let mut fixture = republishing(1_000);
    let mut broker = fixture.connected().await;
    retain(&fixture, "sealed/a", |entry| entry);
    broker.published("sealed/a").await;
    broker.tell(Input::Published { id: 1 });
    broker.tell(Input::Refused { id: 1, reason: PublishRefusal::QuotaExceeded });
    settle().await;
    activate_another(&fixture);
    settle().await;
    assert!(broker.asked.try_recv().is_err());
    broker.fail();
    assert_eq!(told(&mut fixture).await, ["sealed/a"]);
}
