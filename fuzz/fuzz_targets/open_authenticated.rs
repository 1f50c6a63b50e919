//! Whatever a holder of the key seals, the receiver delivers exactly what the inner header says,
//! or gives the error that the format names. Compared with a model in a few lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt_seal::guard::{Incoming, OpenError, Protection};
use mqtt_seal::message::{self, Opened, Opener, danger};
use mqtt_seal::policy::{Link, Policy, PropertyHandling, Replay, Rule, TopicBinding};
use mqtt_seal::replay::Rejected;
use mqtt_seal::topic::TopicName;
use mqtt_seal::wire::header::{SenderNumber, SessionId, WILL_COUNTER};
use mqtt_seal::wire::inner::InnerHeader;
use mqtt_seal::wire::property::Property;
use mqtt_seal_fuzz::{POLICY, TOPICS, UNTIL, bound, packet_properties, receiver, scope_key, take};

/// Of the topics, those whose rule seals.
const SEALED: usize = 18;
/// Header, commitment and tag.
const GROWTH: usize = 26 + 32 + 16;

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let [choice, properties, clock, form] = take(&mut data);
    let counter = u32::from_be_bytes(take(&mut data)).min(WILL_COUNTER);
    let plaintext = data;

    let policy = &*POLICY;
    let topic = TopicName::parse(TOPICS[usize::from(choice) % SEALED]).expect("a topic");
    let rule = policy.rule(topic).expect("every topic has a rule");
    let properties = packet_properties(properties, "text");
    // a clock anywhere in the range of timestamps, or none
    let now = (clock > 0).then(|| u64::from(clock) << 40 | (UNTIL & 0xFF_FFFF_FFFF));
    let id = match form {
        0 => SessionId::Random([5; 12]),
        number => SessionId::Sender(
            SenderNumber::new(u32::from(number).pow(3)).expect("255 cubed is below 2^30"),
        ),
    };

    let raw = danger::RawMessage {
        suite: rule.suite(),
        id,
        counter,
        inner: true,
        topic: bound(rule, topic),
        bind: (rule.properties() == PropertyHandling::Bind).then_some(&properties),
        plaintext,
    };
    let mut buf = vec![0; plaintext.len() + GROWTH];
    let sealed = danger::seal(&scope_key(rule, topic), &raw, &mut buf);
    let sealed = sealed.expect("every suite is built").expect("there is room");

    let message = Incoming::new(topic.as_str(), sealed, Link::Tcp).properties(&properties).at(now);
    by_guard(policy, rule, &message, plaintext);
    by_opener(rule, topic, sealed, plaintext);
});

/// What the format says of an authentic plain text.
// SPEC §5, §6, "inner header, padding -> Malformed; carried topic -> Refused"; §7.1, max_skew
fn expected<'a>(
    policy: &Policy,
    rule: &Rule,
    now: Option<u64>,
    plaintext: &'a [u8],
) -> Result<(InnerHeader<'a>, &'a [u8]), OpenError> {
    let (inner, payload) = InnerHeader::parse(plaintext).map_err(|_| OpenError::Malformed)?;
    let mut props = inner.properties.into_iter().flat_map(|properties| properties.iter());
    if rule.properties() != PropertyHandling::Carry
        && props.any(|property| !matches!(property, Property::PayloadFormat(_)))
    {
        return Err(OpenError::Malformed);
    }
    if *rule.topic_binding() == TopicBinding::Carried {
        let topic = inner.topic.ok_or(OpenError::Malformed)?;
        let allowed = match rule.carried_filter() {
            Some(filter) => filter.matches(topic),
            None => policy.rule(topic).is_some_and(|first| first.topics().eq(rule.topics())),
        };
        if !allowed {
            return Err(OpenError::Refused);
        }
    }
    match (now, inner.timestamp) {
        (Some(now), Some(timestamp)) if timestamp > now + rule.max_skew() => {
            Err(OpenError::Rejected(Rejected::NotFresh))
        }
        _ => Ok((inner, payload)),
    }
}

fn by_guard(policy: &Policy, rule: &Rule, message: &Incoming<'_>, plaintext: &[u8]) {
    let mut receiver = receiver();
    let mut out = b"left from before".to_vec();
    let opened = receiver.open(message, &mut out).map(|opened| opened.delivered().expect("no log"));
    let (inner, payload) = match expected(policy, rule, message.now, plaintext) {
        Ok(expected) => expected,
        Err(error) => {
            assert_eq!(opened, Err(error));
            assert!(out.is_empty());
            return;
        }
    };
    let delivery = opened.expect("the model delivers it");
    assert_eq!(out, payload);
    assert_eq!(delivery.protection, Protection::Sealed);
    assert_eq!(delivery.timestamp, inner.timestamp);
    assert_eq!(delivery.ttl, inner.ttl);
    assert_eq!(delivery.kind, inner.kind);
    let carried = *rule.topic_binding() == TopicBinding::Carried;
    let topic = inner.topic.filter(|_| carried).map(TopicName::as_str);
    assert_eq!(delivery.carried_topic.as_deref(), topic);
    let inside = inner.properties.into_iter().flat_map(|properties| properties.iter());
    let outside = message.properties.iter().copied().filter(|property| {
        rule.properties() != PropertyHandling::Carry
            && !matches!(property, Property::PayloadFormat(_))
    });
    assert!(delivery.properties(message.properties).eq(inside.chain(outside)));

    // the same bytes once more
    match receiver.open(message, &mut out).map(|opened| opened.delivered().expect("no log")) {
        Ok(again) => {
            assert_eq!(rule.replay(), Replay::Off);
            assert_eq!(again, delivery);
        }
        Err(error) => {
            assert_ne!(rule.replay(), Replay::Off);
            assert_eq!(error, OpenError::Rejected(Rejected::Duplicate));
            assert!(out.is_empty());
        }
    }
}

/// The opener without a heap binds the whole topic and no properties.
fn by_opener(rule: &Rule, topic: TopicName<'_>, sealed: &[u8], plaintext: &[u8]) {
    let mut opener: Opener<2> =
        Opener::new(scope_key(rule, topic), rule.suite()).expect("every suite is built");
    let same_aad = bound(rule, topic) == Some(topic) && rule.properties() != PropertyHandling::Bind;
    let mut buf = sealed.to_vec();
    match (opener.open_in_place(topic, &mut buf), InnerHeader::parse(plaintext)) {
        (Ok(Opened { payload, inner, .. }), Ok((expected, text))) if same_aad => {
            assert_eq!(payload, text);
            assert_eq!(inner.timestamp, expected.timestamp);
            assert_eq!(inner.topic, expected.topic);
            assert_eq!((inner.kind, inner.echo), (expected.kind, expected.echo));
        }
        (Err(message::OpenError::Malformed), Err(_)) if same_aad => assert_wiped(&buf),
        (Err(message::OpenError::NotAuthentic), _) if !same_aad => assert_wiped(&buf),
        (opened, _) => panic!("{opened:?}"),
    }
}

/// After a failure no byte behind the longest header is left; shorter headers leave less.
fn assert_wiped(buf: &[u8]) {
    assert!(buf.iter().skip(26).all(|byte| *byte == 0));
}
