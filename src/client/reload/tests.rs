use super::*;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

use rumqttc::MqttOptions;

use crate::client::rumqttc_v4::{ClientOptions, V4};
use crate::guard::QoS;
use crate::keyring::Grant;
use crate::policy::{Links, Rule, RuleBuilder, Transport};
use crate::secret::SharedKey;

type Client = (AsyncClient<V4>, crate::client::EventLoop);

fn policy(rules: Vec<RuleBuilder>) -> Policy {
    let rule = |rule: RuleBuilder| rule.transport(Transport::Tcp).build().unwrap();
    Policy::new(rules.into_iter().map(rule).collect())
}

fn sealed() -> Policy {
    policy(vec![Rule::sealed(["a/#"])])
}

fn keyring() -> Keyring {
    let shared = SharedKey::take(&mut [7; 32]);
    Keyring::new(vec![Grant::shared(&shared, "test").unwrap()])
}

/// A client whose broker cannot be reached.
fn client(policy: Policy, change: impl FnOnce(&mut MqttOptions)) -> Client {
    let mut mqtt = MqttOptions::new("client", "127.0.0.1", 1);
    change(&mut mqtt);
    let guard = Guard::new(policy, keyring(), Links::Tcp).unwrap();
    AsyncClient::<V4>::new(guard, ClientOptions::new().tcp(mqtt), 10).unwrap()
}

/// What is refused leaves the rules before in force.
fn refused(client: &Client, policy: Policy, keyring: Keyring) -> ReloadError {
    let before = client.0.shared().guards.config();
    let error = client.0.reload(policy, keyring).unwrap_err();
    assert!(Arc::ptr_eq(&before, &client.0.shared().guards.config()));
    error
}

#[tokio::test]
async fn good_rules_and_keys_are_in_force_for_both_halves_and_told() {
    let mut client = client(sealed(), |_| ());
    client.0.reload(policy(vec![Rule::sealed(["b/#"])]), keyring()).unwrap();
    loop {
        match client.1.poll().await {
            Some(Event::Reloaded) => break,
            other => assert!(matches!(other, Some(Event::LinkDown { .. })), "{other:?}"),
        }
    }
    let refused = client.0.try_publish("a/b", QoS::AtLeastOnce, false, "text");
    let error = crate::guard::SealError::Refused;
    assert_eq!(refused.unwrap_err(), crate::client::ClientError::Seal(error));
    let topic = crate::guard::Incoming::new("a/b", b"text", Link::Tcp);
    let opened = client.0.shared().guards.rx().guard.open(&topic, &mut vec![]);
    assert_eq!(opened.map(drop), Err(crate::guard::OpenError::Refused));
}

#[tokio::test]
async fn step_back_takes_a_name_with_danger_in_it() {
    let client = client(sealed(), |_| ());
    let mixed = || policy(vec![Rule::sealed(["b"]), Rule::mixed(["a/#"], 9)]);
    assert!(matches!(
        refused(&client, mixed(), keyring()),
        ReloadError::StepBack(StepBack { rule: 1, .. })
    ));
    assert_eq!(client.0.danger_reload_with_step_back(mixed(), keyring()), Ok(()));
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn rule_for_a_link_that_was_not_started_is_refused() {
    let pin = crate::tls::SpkiPin::parse(&"00".repeat(32)).unwrap();
    let tls = crate::tls::TlsConfig::builder().pin(pin).verify_by_pin_alone().build().unwrap();
    let mqtt = |id| MqttOptions::new(id, "127.0.0.1", 1);
    let options = ClientOptions::new().tcp(mqtt("tcp")).tls(mqtt("tls"), &tls);
    let guard = Guard::new(sealed(), keyring(), Links::Both).unwrap();
    let client = AsyncClient::<V4>::new(guard, options, 10).unwrap();
    let rules = Policy::new(vec![Rule::sealed(["a"]).transport(Transport::Tls).build().unwrap()]);
    assert_eq!(refused(&client, rules, keyring()), ReloadError::NeedsLink { link: Link::Tls });
}

#[tokio::test]
async fn rule_for_larger_packets_than_at_the_start_is_refused() {
    let client = client(sealed(), |_| ());
    let larger = policy(vec![Rule::sealed(["a/#"]).max_packet(1 << 20)]);
    assert!(matches!(refused(&client, larger, keyring()), ReloadError::PacketLimit { .. }));
}

#[tokio::test]
async fn filter_that_is_subscribed_has_to_stay_allowed() {
    let client = client(sealed(), |_| ());
    client.0.subscribe("a/b", QoS::AtLeastOnce).await.unwrap();
    let other = || policy(vec![Rule::sealed(["b/#"])]);
    assert!(matches!(refused(&client, other(), keyring()), ReloadError::Subscription(_)));
    client.0.unsubscribe("a/b").await.unwrap();
    assert_eq!(client.0.reload(other(), keyring()), Ok(()));
}

#[tokio::test]
async fn will_has_to_stay_possible() {
    let client = client(sealed(), |mqtt| {
        let will = rumqttc::LastWill::new("a/b", "gone", rumqttc::QoS::AtLeastOnce, false);
        mqtt.set_last_will(will);
    });
    assert!(matches!(refused(&client, sealed(), Keyring::new(vec![])), ReloadError::Will(_)));
}

#[test]
fn reload_errors_say_what_and_what_to_do() {
    let link = Link::Tls;
    for (error, text) in [
        (
            ReloadError::StepBack(
                Policy::new(vec![Rule::clear(["#"]).build().unwrap()])
                    .step_back(&sealed())
                    .unwrap(),
            ),
            "rule 1 lets clear text through where it was refused: make it as strict",
        ),
        (
            ReloadError::NeedsLink { link },
            "a rule needs the tls link, which is not running: start the client anew",
        ),
        (
            ReloadError::PacketLimit { len: 9, max: 8 },
            "a rule allows packets of 9 bytes, and the client was started for 8: start it anew",
        ),
        (
            ReloadError::SubscriptionMoves { link },
            "a filter on the tls link would have to move to the other: unsubscribe it first",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
}
