//! No bytes on any topic open, but for clear text where a rule allows it. So that more than the
//! header is reached, the input may ask for the right key ID and commitment to be put in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt_seal::guard::{GuardRx, Incoming, Protection};
use mqtt_seal::message::danger;
use mqtt_seal::policy::{Link, Payload, Policy};
use mqtt_seal::schedule;
use mqtt_seal::topic::TopicName;
use mqtt_seal::wire::header::{Header, MAGIC};
use mqtt_seal_fuzz::{POLICY, TOPICS, UNTIL, packet_properties, receiver, scope_key, take};

const RIGHT_KID: u8 = 1;
const RIGHT_COM: u8 = 2;
const CLOCK: u8 = 4;
const LATE: u8 = 8;

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let [choice, flags, properties] = take(&mut data);
    // some of the choices: a topic of the input's own, up to a line end
    let topic = if let Some(topic) = TOPICS.get(usize::from(choice)) {
        (*topic).to_owned()
    } else {
        let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
        let (topic, rest) = data.split_at(end);
        data = rest.get(1..).unwrap_or_default();
        String::from_utf8_lossy(topic).into_owned()
    };
    let policy = &*POLICY;
    let mut payload = data.to_vec();
    if let Ok(topic) = TopicName::parse(&topic) {
        put_in(&mut payload, flags, policy, topic);
    }
    let now = (flags & CLOCK != 0).then_some(UNTIL + u64::from(flags & LATE != 0));
    let properties = packet_properties(properties, &topic);
    let message = Incoming::new(&topic, &payload, Link::Tcp).properties(&properties).at(now);

    let mut receiver = receiver();
    open(&mut receiver, &message, policy);
    // a first try leaves nothing that a second could profit from
    open(&mut receiver, &message, policy);
});

/// The key ID and the commitment that the receiver expects, as far as the input asks for them.
fn put_in(payload: &mut [u8], flags: u8, policy: &Policy, topic: TopicName<'_>) {
    let Some(rule) = policy.rule(topic) else { return };
    let scope = scope_key(rule, topic);
    if flags & RIGHT_KID != 0
        && let Some(slot) = payload.get_mut(2..6)
    {
        slot.copy_from_slice(&schedule::key_id(&scope, rule.suite()).to_bytes());
    }
    if flags & RIGHT_COM != 0
        && let Ok((header, len)) = Header::parse(payload)
        && let Some(com) = danger::expose_session(&scope, rule.suite(), &header.id).commitment
        && let Some(slot) = payload.get_mut(len..len + com.len())
    {
        slot.copy_from_slice(&com);
    }
}

fn open(receiver: &mut GuardRx, message: &Incoming<'_>, policy: &Policy) {
    let mut out = b"left from before".to_vec();
    match receiver.open(message, &mut out).map(|opened| opened.delivered().expect("no log")) {
        Ok(delivery) => {
            let topic = TopicName::parse(message.topic).expect("opened under it");
            let clear = match policy.rule(topic).expect("opened under it").payload() {
                Payload::Clear => true,
                Payload::Mixed { until } | Payload::Observe { until } => {
                    message.now.is_some_and(|now| now <= until)
                        && message.payload.first().is_some_and(|byte| *byte != MAGIC)
                }
                _ => false,
            };
            assert!(clear, "{delivery:?}");
            assert_eq!(delivery.protection, Protection::Clear);
            assert_eq!((delivery.proof, delivery.verdict), (None, None));
            assert_eq!(out, message.payload);
        }
        Err(error) => {
            assert!(out.is_empty(), "{error}");
            assert!(!error.to_string().is_empty());
        }
    }
}
