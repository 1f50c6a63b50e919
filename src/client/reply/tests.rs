use super::*;
use std::vec;

use crate::client::Properties;
use crate::guard::{Guard, Incoming, Outgoing, QoS};
use crate::keyring::{Grant, Keyring};
use crate::secret::SharedKey;
use crate::wire::property::Property;

/// The last moment of rules that have one, and a time before it.
const UNTIL: u64 = 2_000;
const NOW: Option<u64> = Some(1_000);

/// A rule for each payload and transport: `sealed/tls`, `clear/tcp` and so on; beside them some
/// for requests alone.
fn policy() -> Policy {
    let mut rules = vec![];
    for (name, transport) in
        [("tls", Transport::Tls), ("any", Transport::Any), ("tcp", Transport::Tcp)]
    {
        let topic = |payload: &str| [std::format!("{payload}/{name}")];
        rules.push(Rule::sealed(topic("sealed")).transport(transport));
        rules.push(Rule::clear(topic("clear")).transport(transport));
        rules.push(Rule::mixed(topic("mixed"), UNTIL).transport(transport));
        rules.push(Rule::observe(topic("observe"), UNTIL).transport(transport));
    }
    let bind = Rule::sealed(["bind"]).properties(PropertyHandling::Bind);
    let ignore = Rule::sealed(["ignore"]).properties(PropertyHandling::Ignore);
    rules.extend([bind, ignore]);
    Policy::new(rules.into_iter().map(|rule| rule.build().unwrap()).collect())
}

fn guard(policy: Policy, links: Links) -> Guard {
    let keyring =
        Keyring::new(vec![Grant::shared(&SharedKey::take(&mut [7; 32]), "test").unwrap()]);
    Guard::new(policy, keyring, links).unwrap()
}

/// A request as it is delivered; `seal` says whether its sender seals.
fn request(topic: &str, seal: bool, response_topic: Option<&str>) -> Message {
    let mut payload = b"?".to_vec();
    let properties: vec::Vec<_> = response_topic.map(Property::ResponseTopic).into_iter().collect();
    if seal {
        let properties_of = policy().rule(TopicName::parse(topic).unwrap()).unwrap().properties();
        let rule = Rule::sealed([topic]).properties(properties_of).build().unwrap();
        let (mut tx, _) = guard(Policy::new(vec![rule]), Links::Tls).split();
        tx.seal(&Outgoing::new(topic, b"?").properties(&properties), &mut payload).unwrap();
    }
    let (_, mut rx) = guard(policy(), Links::Both).split();
    let incoming = Incoming::new(topic, &payload, Link::Tls).properties(&properties).at(NOW);
    let delivery = rx.open(&incoming, &mut vec![]).unwrap().delivered().unwrap();
    Message {
        topic: topic.into(),
        payload: vec![],
        properties: delivery.properties(&properties).collect::<Properties>(),
        qos: QoS::AtLeastOnce,
        retain: false,
        dup: false,
        link: Link::Tls,
        delivery,
        packet_topic: None,
        receipt: None,
    }
}

fn reply(links: Links, asked: &str, seal: bool, response: &str) -> Result<(), ReplyError> {
    let request = request(asked, seal, Some(response));
    topic(&policy(), links, &request).map(|topic| assert_eq!(topic, response))
}

#[test]
fn sealed_request_is_answered_sealed() {
    for asked in ["sealed/tcp", "mixed/tcp", "observe/tcp", "bind"] {
        for (response, answer) in [
            ("sealed/any", Ok(())),
            ("mixed/any", Ok(())),
            ("clear/any", Err(ReplyError::NotSealed)),
            ("observe/any", Err(ReplyError::NotSealed)),
        ] {
            assert_eq!(reply(Links::Both, asked, true, response), answer, "{asked} {response}");
        }
    }
}

#[test]
fn clear_request_is_answered_as_its_own_rule_publishes() {
    for response in ["sealed/any", "clear/any", "observe/any"] {
        assert_eq!(reply(Links::Both, "clear/tcp", false, response), Ok(()));
        assert_eq!(reply(Links::Both, "observe/tcp", false, response), Ok(()));
    }
    // a forged clear request must not draw the answer out in clear
    let mixed = |response| reply(Links::Both, "mixed/tcp", false, response);
    assert_eq!(mixed("sealed/any"), Ok(()));
    assert_eq!(mixed("clear/any"), Err(ReplyError::NotSealed));
}

#[test]
fn request_that_takes_tls_is_not_answered_where_tcp_is_allowed() {
    for (links, asked, answer) in [
        (Links::Both, "sealed/tls", Err(ReplyError::NotTls)),
        (Links::Tls, "sealed/tls", Err(ReplyError::NotTls)),
        (Links::Both, "sealed/any", Err(ReplyError::NotTls)),
        (Links::Tcp, "sealed/any", Ok(())),
        (Links::Both, "sealed/tcp", Ok(())),
    ] {
        assert_eq!(reply(links, asked, true, "sealed/tcp"), answer, "{links:?} {asked}");
        assert_eq!(reply(links, asked, true, "sealed/any"), Ok(()));
        assert_eq!(reply(links, asked, true, "sealed/tls"), Ok(()));
    }
}

#[test]
fn response_topic_that_was_not_protected_with_a_sealed_request_does_not_count() {
    let answer = reply(Links::Both, "ignore", true, "sealed/tls");
    assert_eq!(answer, Err(ReplyError::NotAuthentic));
}

#[test]
fn response_topic_that_is_none_or_without_a_rule_is_refused() {
    let none = request("clear/tcp", false, None);
    assert_eq!(topic(&policy(), Links::Both, &none), Err(ReplyError::NoResponseTopic));
    for (response, error) in [
        ("clear/#", ReplyError::NoResponseTopic),
        ("", ReplyError::NoResponseTopic),
        ("no/rule", ReplyError::Refused),
    ] {
        assert_eq!(reply(Links::Both, "clear/tcp", false, response), Err(error), "{response}");
    }
}

#[test]
fn request_on_a_carried_topic_is_judged_by_the_rule_of_its_packet() {
    let mut request = request("clear/tcp", false, Some("clear/tcp"));
    assert_eq!(topic(&policy(), Links::Both, &request), Ok("clear/tcp"));
    request.packet_topic = Some("mixed/tcp".into());
    assert_eq!(topic(&policy(), Links::Both, &request), Err(ReplyError::NotSealed));
}

#[test]
fn reply_errors_say_what_and_what_to_do() {
    use std::string::ToString;
    for (error, text) in [
        (ReplyError::NoResponseTopic, "the message names no valid response topic"),
        (
            ReplyError::NotAuthentic,
            "the message is sealed and its response topic is not protected: use properties = \
             \"carry\" or \"bind\"",
        ),
        (ReplyError::Refused, "no rule of the policy covers the response topic: add one"),
        (
            ReplyError::NotSealed,
            "the request's rule seals and that of the response topic does not: seal both",
        ),
        (
            ReplyError::NotTls,
            "the request's rule takes tls and that of the response topic does not: use the same \
             transport",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
}
