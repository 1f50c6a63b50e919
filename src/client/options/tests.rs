use super::*;
use std::format;
use std::vec;

use crate::guard::{Guard, QoS, SealError};
use crate::keyring::{Grant, Keyring};
use crate::policy::{Rule, Transport};
use crate::secret::SharedKey;
use crate::topic::TopicError;

fn policy() -> Policy {
    let clear = |topics, transport| Rule::clear([topics]).transport(transport).build().unwrap();
    Policy::new(vec![
        clear("clear/tcp", Transport::Tcp),
        clear("clear/tls", Transport::Tls),
        Rule::sealed(["sealed"]).max_packet(1_000).build().unwrap(),
    ])
}

fn guard() -> GuardTx {
    let shared = SharedKey::take(&mut [7; 32]);
    let keyring = Keyring::new(vec![Grant::shared(&shared, "test").unwrap()]);
    Guard::new(policy(), keyring, Links::Both).unwrap().split().0
}

fn facts() -> Facts {
    Facts {
        client_id: "id".into(),
        broker: ("localhost".into(), 1883),
        own_transport: false,
        clean_session: true,
        has_credentials: false,
        keep_alive: Duration::from_mins(1),
        inflight: 100,
        will: None,
    }
}

fn check_one(link: Link, facts: &Facts, settings: &Settings) -> Result<(), ConfigError> {
    check(settings, &guard(), None, [(link, facts)].into_iter())
}

fn on(link: Link, change: impl FnOnce(&mut Facts)) -> Result<(), ConfigError> {
    let mut facts = facts();
    change(&mut facts);
    check_one(link, &facts, &ClientOptions::<()>::new().settings)
}

fn will(link: Link, topic: &str, len: usize) -> Result<(), ConfigError> {
    let (topic, payload) = (topic.into(), vec![7; len].into());
    let will = Will { topic, payload, qos: QoS::AtLeastOnce, retain: false, attached: None };
    on(link, |facts| facts.will = Some(will.into()))
}

#[test]
fn ordinary_options_pass_on_both_links() {
    assert_eq!(on(Link::Tcp, |_| ()), Ok(()));
    assert_eq!(on(Link::Tls, |_| ()), Ok(()));
}

#[test]
fn transport_of_the_options_is_refused() {
    for link in [Link::Tcp, Link::Tls] {
        let checked = on(link, |facts| facts.own_transport = true);
        assert_eq!(checked, Err(ConfigError::Transport { link }));
    }
}

#[test]
fn credentials_are_for_tls_alone() {
    let with = |link| on(link, |facts| facts.has_credentials = true);
    assert_eq!(with(Link::Tls), Ok(()));
    assert_eq!(with(Link::Tcp), Err(ConfigError::CredentialsOnPlainLink));
}

#[test]
fn danger_setting_lets_credentials_go_in_clear() {
    let mut facts = facts();
    facts.has_credentials = true;
    let options = ClientOptions::<()>::new().danger_credentials_on_plain_link();
    assert_eq!(check_one(Link::Tcp, &facts, &options.settings), Ok(()));
}

#[test]
fn persistent_session_is_refused() {
    for link in [Link::Tcp, Link::Tls] {
        let checked = on(link, |facts| facts.clean_session = false);
        assert_eq!(checked, Err(ConfigError::PersistentSession { link }));
    }
}

#[test]
fn persistent_subscriber_needs_a_client_id() {
    let settings = ClientOptions::<()>::new().persistent_subscriber().settings;
    let with_id = |id: &str| Facts { client_id: id.into(), clean_session: false, ..facts() };
    assert_eq!(check_one(Link::Tcp, &with_id("id"), &settings), Ok(()));
    let checked = check_one(Link::Tcp, &with_id(""), &settings);
    assert_eq!(checked, Err(ConfigError::PersistentSubscriber));
}

#[test]
fn keep_alive_beyond_its_field_is_refused() {
    let with = |secs| on(Link::Tls, |f| f.keep_alive = Duration::from_secs(secs));
    assert_eq!(with(65_535), Ok(()));
    for secs in [65_536, u64::MAX] {
        assert_eq!(with(secs), Err(ConfigError::KeepAlive { link: Link::Tls }));
    }
}

#[test]
fn will_goes_by_the_link_of_its_rule_sealed_or_clear() {
    let other = |link| Err(ConfigError::WillOnOtherLink { link });
    for topic in ["clear/tls", "sealed"] {
        assert_eq!(will(Link::Tls, topic, 1), Ok(()));
        assert_eq!(will(Link::Tcp, topic, 1), other(Link::Tcp));
    }
    assert_eq!(will(Link::Tcp, "clear/tcp", 1), Ok(()));
    assert_eq!(will(Link::Tls, "clear/tcp", 1), other(Link::Tls));
}

#[test]
fn will_that_the_guard_does_not_take_is_refused() {
    let refused = |link, error| Err(ConfigError::Will { link, error });
    for link in [Link::Tcp, Link::Tls] {
        assert_eq!(will(link, "no/rule", 1), refused(link, SealError::Refused));
        // KIND, and no shorter header for the counter of wills
        let error = SealError::TooLarge { len: 1_001 + 44, max: 1_000 };
        assert_eq!(will(link, "sealed", 1_001), refused(link, error));
    }
}

#[test]
fn will_that_mqtt_cannot_carry_is_refused() {
    assert_eq!(will(Link::Tls, "clear/tls", 65_535), Ok(()));
    let len = 65_536;
    assert_eq!(will(Link::Tls, "clear/tls", len), Err(ConfigError::WillTooLarge { len }));
    let wildcard = Err(ConfigError::WillTopic(TopicError::Wildcard));
    assert_eq!(will(Link::Tls, "clear/#", 1), wildcard);
}

#[test]
fn client_ids_differ_unless_the_broker_chooses_them() {
    let pair = |a: &str, b: &str| {
        let ids = [(Link::Tcp, a), (Link::Tls, b)];
        let facts = ids.map(|(link, id)| {
            let client_id = id.into();
            (link, Facts { client_id, ..facts() })
        });
        let facts = facts.iter().map(|(link, facts)| (*link, facts));
        check(&ClientOptions::<()>::new().settings, &guard(), None, facts)
    };
    assert_eq!(pair("a", "b"), Ok(()));
    assert_eq!(pair("", ""), Ok(()));
    assert_eq!(pair("a", "a"), Err(ConfigError::SameClientId));
}

#[test]
fn links_are_those_named() {
    let none = ClientOptions::new();
    assert_eq!(none.links(), Err(ConfigError::NoLink));
    assert_eq!(none.tcp(()).links(), Ok(Links::Tcp));
}

#[test]
fn packet_limit_follows_the_policy_unless_it_is_set() {
    let policy = Policy::new(vec![
        Rule::sealed(["a"]).max_packet(1_000).build().unwrap(),
        Rule::sealed(["b"]).max_packet(2_000).build().unwrap(),
    ]);
    let limits = |options: ClientOptions<()>| options.settings.packet_limits(&policy);
    let packet = 2_000 + 65_535 + 65_535 + 13;
    assert_eq!(limits(ClientOptions::new()), (packet, packet));
    let set = ClientOptions::new().max_packet_size(300, 200);
    assert_eq!(limits(set), (300, 200));
}

#[test]
fn debug_shows_no_mqtt_options() {
    let text = format!("{:?}", ClientOptions::new().tcp("password"));
    assert!(text.starts_with("ClientOptions { tcp: true, tls: false"), "{text}");
    assert!(!text.contains("password"), "{text}");
}
