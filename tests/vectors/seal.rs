//! Sealing: every intermediate value, and what is decided before any key is used.

use mqtt_seal::guard::{Guard, Outgoing, Plan, QoS, SealError};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::message::danger::{self, RawMessage};
use mqtt_seal::policy::{Links, Policy, PropertyHandling, Rule, Scope, TopicBinding};
use mqtt_seal::schedule;
use mqtt_seal::secret::ScopeKey;
use mqtt_seal::session::LeaseError;
use mqtt_seal::suite::Suite;
use mqtt_seal::topic::TopicName;
use mqtt_seal::wire::aad::Aad;
use mqtt_seal::wire::inner::{InnerFields, padding_len, write_padding};
use mqtt_seal::wire::property::Property;
use mqtt_seal::wire::{Form, Header, InnerHeader, Kind, SenderNumber, SessionId};
use serde_json::Value;

use crate::json::{
    Properties, array, bytes, keyring, list, number, read, rule, shared_key, small, suite, text,
    to_hex,
};
use crate::open;

fn session_id(case: &Value) -> SessionId {
    match case["sid"].as_str() {
        Some(_) => SessionId::Random(array(case, "sid")),
        None => SessionId::Sender(SenderNumber::new(small(case, "snd")).unwrap()),
    }
}

pub(crate) fn bound<'a>(rule: &Rule, topic: TopicName<'a>) -> Option<TopicName<'a>> {
    match rule.topic_binding() {
        TopicBinding::Strip(prefix) => Some(topic.strip(prefix)),
        TopicBinding::Carried => None,
        _ => Some(topic),
    }
}

pub(crate) fn scope_key(case: &Value, rule: &Rule, topic: TopicName<'_>) -> ScopeKey {
    let root = schedule::root(&shared_key(&case["key"]), text(&case["key"], "realm")).unwrap();
    let suite = suite(&case["key"]);
    match rule.scope() {
        Scope::Named(name) => schedule::named_scope(&root, name, suite),
        Scope::Path { depth } => {
            schedule::path_scope(&root, bound(rule, topic).unwrap().path(*depth), suite)
        }
        other => panic!("{other:?}"),
    }
}

fn fields<'a>(
    case: &'a Value,
    rule: &Rule,
    topic: TopicName<'a>,
    properties: &'a [Property<'a>],
) -> InnerFields<'a> {
    let inner = &case["inner"];
    let carried = bound(rule, topic).is_none().then_some(topic);
    let given = inner["topic"].as_str().map(|topic| TopicName::parse(topic).unwrap());
    InnerFields {
        timestamp: inner["ts"].as_u64(),
        ttl: inner["ttl"].as_u64().map(|ttl| ttl.try_into().unwrap()),
        topic: carried.or(given),
        properties,
        carry_all: rule.properties() == PropertyHandling::Carry,
        echo: inner["echo"].as_str().map(|_| array(inner, "echo")),
        kind: inner["kind"].as_u64().map(|kind| if kind == 1 { Kind::Delete } else { Kind::Will }),
        padding: inner["pad"].as_u64().unwrap_or(0).try_into().unwrap(),
    }
}

fn check_case(case: &Value) {
    let suite = suite(&case["key"]);
    let rule = rule(&case["rule"], suite).unwrap();
    let topic = TopicName::parse(text(case, "topic")).unwrap();
    let scope = scope_key(case, &rule, topic);
    let expect = &case["expect"];
    assert_eq!(to_hex(scope.expose()), text(expect, "sk"), "{case}");

    let id = session_id(case);
    let secrets = danger::expose_session(&scope, suite, &id);
    assert_eq!(to_hex(&secrets.key), text(expect, "key"), "{case}");
    assert_eq!(to_hex(&secrets.iv), text(expect, "iv"), "{case}");

    let props = Properties::read(&case["props"]);
    let props = props.get();
    let fields = fields(case, &rule, topic, &props);
    let mut plaintext = vec![];
    fields.encode(|part| plaintext.extend_from_slice(part));
    assert_eq!(plaintext.len(), fields.encoded_len(), "{case}");
    plaintext.extend(bytes(case, "payload"));
    let end = plaintext.len();
    plaintext.resize(end + fields.padding, 0xFF);
    write_padding(&mut plaintext[end..]);
    assert_eq!(to_hex(&plaintext), text(expect, "plaintext"), "{case}");

    let kid = schedule::key_id(&scope, suite);
    let header = Header::new(kid, id, small(case, "ctr"), !fields.is_empty()).encode();
    assert_eq!(to_hex(header.as_bytes()), text(expect, "header"), "{case}");
    let bind = (rule.properties() == PropertyHandling::Bind).then_some(&*props);
    let bound = bound(&rule, topic);
    let aad = Aad {
        suite: suite.id(),
        cose_algorithm: suite.cose_algorithm(),
        header: header.as_bytes(),
        topic: bound.map_or("", TopicName::as_str),
        bind,
    };
    let mut made = vec![];
    aad.encode(|part| made.extend_from_slice(part));
    assert_eq!(to_hex(&made), text(expect, "aad"), "{case}");
    assert_eq!(made.len(), aad.encoded_len(), "{case}");

    let message = RawMessage {
        suite,
        id,
        counter: small(case, "ctr"),
        inner: !fields.is_empty(),
        topic: bound,
        bind,
        plaintext: &plaintext,
    };
    let mut out = vec![0; plaintext.len() + 128];
    let sealed = danger::seal(&scope, &message, &mut out).unwrap().unwrap();
    assert_eq!(to_hex(sealed), text(case, "sealed"), "{case}");
}

#[test]
fn every_intermediate_value_is_that_of_the_vectors() {
    list(&read("seal.json"), "cases").iter().for_each(check_case);
}

#[test]
fn every_sealed_vector_opens() {
    for case in list(&read("seal.json"), "cases") {
        let topic = case["open_topic"].as_str().unwrap_or_else(|| text(case, "topic"));
        let place = (topic, &case["expect"]["outer_props"]);
        let (rules, keys) = ([case["rule"].clone()], [case["key"].clone()]);
        let opened = open::open(&rules, &keys, None, place, &bytes(case, "sealed"));
        match (opened, case["open_expect"]["error"].as_str()) {
            (Ok(opened), None) => open::check_ok(case, &case["open_expect"], place, &opened),
            (Err(error), Some(expected)) => assert_eq!(error.name(), expected, "{case}"),
            (opened, _) => panic!("{opened:?} {case}"),
        }
    }
}

/// The Guard composes a message as the vectors do: what it sealed is made again from its parts.
#[test]
fn guard_seals_what_its_parts_give() {
    let mut compared = 0;
    for case in list(&read("seal.json"), "cases") {
        // the Guard dates messages itself, and has no ECHO, TTL, padding or TOPIC of its own
        let own = ["echo", "ttl", "pad", "topic", "ts"];
        if own.iter().any(|field| case["inner"].get(field).is_some()) {
            continue;
        }
        let suite = suite(&case["key"]);
        let rule = rule(&case["rule"], suite).unwrap();
        let topic = TopicName::parse(text(case, "topic")).unwrap();
        let scope = scope_key(case, &rule, topic);
        let props = Properties::read(&case["props"]);
        let props = props.get();
        let fields = fields(case, &rule, topic, &props);
        let payload = bytes(case, "payload");

        let keyring = keyring(&[case["key"].clone()]);
        let guard = Guard::new(Policy::new(vec![rule.clone()]), keyring, Links::Tcp).unwrap();
        let (mut tx, _) = guard.split();
        let mut outgoing = Outgoing::new(topic.as_str(), &payload).properties(&props);
        outgoing.kind = fields.kind;
        let mut made = vec![];
        let sealed = tx.seal(&outgoing, &mut made).unwrap();
        let (id, counter) = sealed.sealed.unwrap();
        let will = fields.kind == Some(Kind::Will);
        assert_eq!(counter, if will { u32::MAX - 1 } else { 0 }, "{case}");
        let outer = Properties::read(&case["expect"]["outer_props"]);
        let kept: Vec<_> = props.iter().copied().filter(|prop| sealed.keeps(prop)).collect();
        assert_eq!(kept, outer.get(), "{case}");

        let message = RawMessage {
            suite,
            id,
            counter,
            inner: !fields.is_empty(),
            topic: bound(&rule, topic),
            bind: (rule.properties() == PropertyHandling::Bind).then_some(&*props),
            plaintext: &bytes(&case["expect"], "plaintext"),
        };
        let mut again = vec![0; made.len()];
        assert_eq!(danger::seal(&scope, &message, &mut again).unwrap().unwrap(), made, "{case}");
        compared += 1;
    }
    assert!(compared > 50, "{compared} cases were compared");
}

#[test]
fn inner_headers_read_as_they_were_written() {
    for case in list(&read("seal.json"), "cases") {
        let plaintext = bytes(&case["expect"], "plaintext");
        if case["open_expect"]["ok"] != "Sealed"
            || text(&case["expect"], "header").as_bytes()[2] & 1 == 0
        {
            continue;
        }
        let (inner, payload) = InnerHeader::parse(&plaintext).unwrap();
        assert_eq!(to_hex(payload), text(case, "payload"), "{case}");
        assert_eq!(inner.timestamp, case["inner"]["ts"].as_u64(), "{case}");
        assert_eq!(inner.echo.map(|echo| to_hex(&echo)).as_deref(), case["inner"]["echo"].as_str());
        assert_eq!(inner.padded, case["inner"].get("pad").is_some(), "{case}");
    }
}

#[test]
fn padding_is_as_long_as_the_vectors_say() {
    for case in list(&read("seal.json"), "padding") {
        let [block, unpadded, pad] =
            ["block", "unpadded", "pad"].map(|key| usize::try_from(number(case, key)).unwrap());
        assert_eq!(padding_len(block, unpadded), pad, "{case}");
    }
}

#[test]
fn growth_is_that_of_the_vectors() {
    for case in list(&read("seal.json"), "growth") {
        let suite = suite(case);
        let id = match text(case, "form") {
            "session" => SessionId::Random([0; 12]),
            _ => SessionId::Sender(SenderNumber::new(small(case, "snd")).unwrap()),
        };
        let scope = ScopeKey::take(&mut [1; 32]);
        let message = RawMessage {
            suite,
            id,
            counter: small(case, "ctr"),
            inner: false,
            topic: None,
            bind: None,
            plaintext: b"27",
        };
        let mut out = [0; 128];
        let sealed = danger::seal(&scope, &message, &mut out).unwrap().unwrap();
        assert_eq!(sealed.len() as u64 - 2, number(case, "growth"), "{case}");
    }
}

#[test]
fn decisions_before_any_encryption_are_those_of_the_vectors() {
    for case in list(&read("seal.json"), "decisions") {
        let active =
            case["active_suite"].as_u64().map(|id| Suite::from_id(id.try_into().unwrap()).unwrap());
        let suite = active.unwrap_or_default();
        let max = usize::try_from(number(case, "max_packet")).unwrap();
        let form = if case.get("snd").is_some() { Form::Compact } else { Form::Session };
        let rules = case["rules"].as_array().unwrap();

        let policy =
            Policy::new(rules.iter().map(|json| limited(json, suite, max, form)).collect());
        let key = serde_json::json!({
            "shared_key": "11".repeat(32), "realm": "r", "suite": suite.id(),
        });
        let sender =
            case["snd"].as_u64().map(|snd| SenderNumber::new(snd.try_into().unwrap()).unwrap());
        let keys = active.map_or_else(Keyring::default, |_| granted(&key, sender));
        let (mut tx, _) = Guard::new(policy, keys, Links::Tcp).unwrap().split();
        if let Some(sender) = sender {
            // what lies behind the last ordinary counter no lease can hold
            let next = u32::try_from(number(case, "ctr")).unwrap_or(u32::MAX).min(u32::MAX - 1);
            tx.add_lease(sender, &(next..u32::MAX - 1), true).unwrap();
        }

        let payload = vec![b'x'; number(case, "payload_len").try_into().unwrap()];
        let mut message = Outgoing::new(text(case, "topic"), &payload)
            .qos(QoS::AtLeastOnce)
            .retain(case["retain"].as_bool().unwrap())
            .at(case["now"].as_u64());
        message.kind = match case["kind"].as_str() {
            Some("will") => Some(Kind::Will),
            Some("delete") => Some(Kind::Delete),
            _ => None,
        };
        let planned = tx.plan(&message);
        let mut out = vec![];
        let sealed = tx.seal(&message, &mut out);
        assert_eq!(
            decision(&planned, |plan| matches!(plan, Plan::Pass { .. })),
            text(case, "expect"),
            "{case}"
        );
        assert_eq!(
            decision(&sealed, |sealed| sealed.sealed.is_none()),
            text(case, "expect"),
            "{case}"
        );
        match (planned, sealed) {
            (Ok(Plan::Seal { growth, .. }), Ok(_)) => assert_eq!(out.len(), payload.len() + growth),
            (Ok(_), Ok(_)) => assert_eq!(out, payload),
            _ => assert!(out.is_empty(), "nothing of it leaves"),
        }
    }
}

fn granted(key: &Value, number: Option<SenderNumber>) -> Keyring {
    let grant = Grant::shared(&shared_key(key), text(key, "realm")).unwrap().with_suite(suite(key));
    Keyring::new(vec![match number {
        Some(number) => grant.with_sender(number),
        None => grant,
    }])
}

fn limited(json: &Value, suite: Suite, max: usize, form: Form) -> Rule {
    // a rule has no setter for its limit once it is built: build it with the limit
    crate::json::rule_with(json, suite, |builder| builder.max_packet(max).form(form)).unwrap()
}

#[test]
fn compact_form_is_allowed_as_the_vectors_say() {
    for case in list(&read("seal.json"), "compact") {
        let suite = suite(case);
        let rule = Rule::sealed(["#"]).suite(suite).form(Form::Compact).build().unwrap();
        let key = serde_json::json!({
            "shared_key": "11".repeat(32), "realm": "r", "suite": suite.id(),
        });
        let number = SenderNumber::new(5).unwrap();
        let keys = granted(&key, Some(number));
        let (mut tx, _) = Guard::new(Policy::new(vec![rule]), keys, Links::Tcp).unwrap().split();
        tx.add_lease(number, &(0..9), case["store_declares"].as_bool().unwrap()).unwrap();
        let sealed = tx.seal(&Outgoing::new("a", b"27"), &mut vec![]);
        match sealed {
            Ok(_) => assert_eq!(case["allowed"], true, "{case}"),
            Err(error) => {
                assert_eq!(error, SealError::RollbackPossible, "{case}");
                assert_eq!(case["allowed"], false, "{case}");
            }
        }
    }
}

fn decision<T>(outcome: &Result<T, SealError>, passes: impl Fn(&T) -> bool) -> &'static str {
    match outcome {
        Ok(done) if passes(done) => "pass",
        Ok(_) => "seal",
        Err(SealError::Refused) => "Refused",
        Err(SealError::ClockNeeded) => "ClockNeeded",
        Err(SealError::RetainNeedsLatest) => "RetainNeedsLatest",
        Err(SealError::NoKey) => "NoKey",
        Err(SealError::Lease { error: LeaseError::Exhausted, .. }) => "Exhausted",
        Err(SealError::TooLarge { .. }) => "TooLarge",
        Err(other) => panic!("{other:?}"),
    }
}
