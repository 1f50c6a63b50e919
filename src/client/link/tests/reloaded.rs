//! A link whose rules and keys are replaced while it runs.

use super::outcomes::will;
use super::*;
use crate::guard::Config;
use crate::keyring::State;
use crate::policy::{Retain, RuleBuilder};
use crate::wire::header::Header;

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
