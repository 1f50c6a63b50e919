//! Peer authentication.

use std::collections::BTreeMap;

use mqtt_seal::guard::{Guard, Outgoing};
use mqtt_seal::message::Opener;
use mqtt_seal::peer::{
    AcceptedRun, Action, Attestation, Authenticated, Authority, BrokerName, Channel, Device,
    Enrolled, Hop, NameError, Names, PeerId, PeerKey, Record,
};
use mqtt_seal::policy::{Links, Policy, Rule, Scope};
use mqtt_seal::schedule::{self, auth};
use mqtt_seal::secret::{AuthKey, ScopeKey, SharedKey};
use mqtt_seal::session::{Entropy, NoEntropy};
use mqtt_seal::suite::Suite;
use mqtt_seal::topic::{PathScope, TopicName};
use mqtt_seal::wire::control::{Answer, MAC_LEN};
use serde_json::Value;

use crate::json::{array, bytes, hex, list, number, read, small, text, to_hex};

/// Gives the same bytes every time.
struct Fixed([u8; 32]);

impl Entropy for Fixed {
    fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), NoEntropy> {
        *out = self.0;
        Ok(())
    }
}

fn dk(case: &Value) -> SharedKey {
    SharedKey::take(&mut array(case, "dk"))
}

fn pairwise(case: &Value) -> PeerKey {
    PeerKey::pairwise(&dk(case), text(case, "realm")).unwrap()
}

fn names(case: &Value) -> Names<'_> {
    Names {
        device: PeerId::parse(text(case, "id_d")).unwrap(),
        authority: PeerId::parse(text(case, "id_a")).unwrap(),
        broker: BrokerName::parse(text(case, "broker")).unwrap(),
        request: TopicName::parse(text(case, "req")).unwrap(),
        response: TopicName::parse(text(case, "res")).unwrap(),
    }
}

/// A device in the run of a case, and its m1. Where the file does not say how nD was drawn, the
/// device is in a run with another one.
fn running(file: &Value, case: &Value) -> (Device, Vec<u8>) {
    let mut device = Device::new(pairwise(case), &names(case));
    let drawn = list(file, "nonces").iter().find(|drawn| drawn["nonce"] == case["n_d"]);
    let Some(drawn) = drawn else {
        assert!(text(case, "comment").ends_with("answer to an older nD"), "{case}");
        let mut m1 = Vec::new();
        device.start(0, &mut Fixed([9; 32]), &[], &mut m1).unwrap();
        return (device, m1);
    };
    let mut m1 = Vec::new();
    for _ in 0..=number(drawn, "n") {
        m1.clear();
        let extra = bytes(drawn, "extra");
        device.start(0, &mut Fixed(array(drawn, "rng")), &[&extra], &mut m1).unwrap();
    }
    let ak = auth::key(&schedule::root(&dk(case), text(case, "realm")).unwrap());
    // under another key the same randomness gives another nonce
    let same_key = to_hex(ak.expose()) == text(drawn, "ak");
    assert_eq!(to_hex(&m1[7..23]) == text(case, "n_d"), same_key, "{case}");
    (device, m1)
}

fn receive(device: &mut Device, case: &Value, hop: Hop) -> Option<(Authenticated, Vec<u8>)> {
    let record = Record { topic: text(case, "res"), bytes: &bytes(case, "m2"), now: 0 };
    let mut m3 = Vec::new();
    let outcome = device.receive(&record, hop, &mut m3).ok();
    assert_eq!(outcome.is_none(), m3.is_empty(), "{case}");
    outcome.map(|authenticated| (authenticated, m3))
}

/// An authority with the brokers of a case.
fn authority(case: &Value, id: &str, request: &str) -> Authority {
    let started = case.get("started").and_then(Value::as_u64).unwrap_or(0);
    let (id, request) = (PeerId::parse(id).unwrap(), TopicName::parse(request).unwrap());
    let mut authority = Authority::new(id, request, started);
    for name in case["brokers"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()) {
        match BrokerName::parse(name) {
            Ok(broker) => authority.vouch(broker, vec![[3; 32]]),
            // no authority can be told to vouch for it
            Err(error) => assert_eq!(error, NameError::BrokerLength { len: 256 }),
        }
    }
    authority
}

/// The devices of a case, as the authority knows them.
struct Devices<'a>(BTreeMap<&'a str, PeerKey>, TopicName<'a>);

impl<'a> Devices<'a> {
    fn of(case: &'a Value) -> Self {
        let realm = text(case, "realm");
        let devices = case["devices"].as_object().unwrap().iter().map(|(id, key)| {
            let mut key = hex(key.as_str().unwrap()).try_into().unwrap();
            (id.as_str(), PeerKey::pairwise(&SharedKey::take(&mut key), realm).unwrap())
        });
        Self(devices.collect(), TopicName::parse(text(case, "res")).unwrap())
    }

    fn find(&self, id: &str) -> Option<Enrolled<'_>> {
        self.0.get(id).map(|key| Enrolled { key, response: self.1, serial: 7 })
    }
}

fn accept<'a>(
    authority: &mut Authority,
    devices: &'a Devices<'_>,
    topic: &'a str,
    m3: &'a [u8],
    now: u64,
) -> Option<AcceptedRun<'a>> {
    let record = Record { topic, bytes: m3, now };
    let mut out = Vec::new();
    let find = |id: &str| devices.find(id);
    match authority.receive(&record, find, &mut Fixed([0; 32]), &[], &mut out) {
        Ok(Action::Accepted(run)) => Some(run),
        Ok(action) => panic!("an answer to m3: {action:?}"),
        Err(_) => None,
    }
}

#[test]
fn schedule_gives_every_value_of_the_vectors() {
    for case in list(&read("auth.json"), "cases") {
        let expect = &case["expect"];
        let is = |name: &str, bytes: &[u8]| assert_eq!(to_hex(bytes), text(expect, name), "{case}");
        let key = auth::key(&schedule::root(&dk(case), text(case, "realm")).unwrap());
        is("ak", key.expose());
        is("akid", &auth::key_id(&key).to_bytes());
        let challenge_key = auth::challenge_key(&key);
        is("ak1", challenge_key.expose());
        let context = auth::Context {
            realm: text(case, "realm"),
            device: text(case, "id_d"),
            authority: text(case, "id_a"),
            broker: text(case, "broker"),
            request: text(case, "req"),
            response: text(case, "res"),
        };
        is("ctx", &context.hash());
        let m1 = bytes(expect, "m1");
        let (covered, mac) = m1.split_at(m1.len() - MAC_LEN);
        assert_eq!(auth::challenge_mac(&challenge_key, covered), mac, "{case}");
        let (nonce, attest) = (array(case, "n_a"), bytes(case, "attest"));
        let transcript = auth::transcript(&context.hash(), &m1, &nonce, &attest);
        is("th", &transcript);
        let run = auth::run_key(&key, &transcript);
        is("prk", run.expose());
        let mac = *auth::authority_mac(&run);
        is("mac_a", &mac);
        is("mac_d", &*auth::device_mac(&run));
        let ssk = auth::session_key(&run);
        is("ssk", ssk.expose());
        let mut m2 = Vec::new();
        let answer = Answer { key_id: auth::key_id(&key), nonce, mac, attestation: &attest };
        answer.encode(|part| m2.extend_from_slice(part));
        is("m2", &m2);
        let root = schedule::root(&ssk, &format!("$peer/{}", text(case, "id_d"))).unwrap();
        is("ssk_rk", root.expose());
        let scope = schedule::path_scope(&root, PathScope::REALM, Suite::ChaCha20Poly1305);
        is("ssk_sk", scope.expose());
        is("ssk_kid", &schedule::key_id(&scope, Suite::ChaCha20Poly1305).to_bytes());
    }
}

#[test]
fn both_ends_say_and_conclude_what_the_vectors_say() {
    let file = read("auth.json");
    for case in list(&file, "cases") {
        let expect = &case["expect"];
        let (mut device, m1) = running(&file, case);
        assert_eq!(to_hex(&m1), text(expect, "m1"), "{case}");
        let mut answered = case.clone();
        answered["m2"] = expect["m2"].clone();
        let (authenticated, m3) = receive(&mut device, &answered, Hop::Plain).unwrap();
        assert_eq!(to_hex(&m3), text(expect, "m3"), "{case}");
        let attest = bytes(case, "attest");
        assert_eq!(Attestation::parse(&attest).as_ref(), Some(authenticated.attestation()));
        check_channel(&authenticated, case);
        assert_eq!(to_hex(authenticated.into_session().into_key().expose()), text(expect, "ssk"));
    }
}

/// A Guard with the keys of the channel seals under the scope key of the vectors.
fn check_channel(authenticated: &Authenticated, case: &Value) {
    let mut channel = Channel::new();
    channel.install(authenticated.session(), 0);
    let rule = Rule::sealed(["#"]).scope(Scope::Path { depth: 0 }).build().unwrap();
    let (policy, entropy) = (Policy::new(vec![rule]), Box::new(Fixed([1; 32])));
    let guard = Guard::with_entropy(policy, channel.keyring(), Links::Tcp, entropy).unwrap();
    let mut sealed = Vec::new();
    guard.split().0.seal(&Outgoing::new("any/topic", b"27"), &mut sealed).unwrap();
    assert_eq!(to_hex(&sealed[2..6]), text(&case["expect"], "ssk_kid"), "{case}");
    let scope = ScopeKey::take(&mut array(&case["expect"], "ssk_sk"));
    let mut opener = Opener::<1>::new(scope, Suite::ChaCha20Poly1305).unwrap();
    let topic = TopicName::parse("any/topic").unwrap();
    assert_eq!(opener.open_in_place(topic, &mut sealed).unwrap().payload, b"27");
}

#[test]
fn nonces_are_those_of_the_vectors() {
    for case in list(&read("auth.json"), "nonces") {
        let key = AuthKey::take(&mut array(case, "ak"));
        let (random, extra) = (array(case, "rng"), bytes(case, "extra"));
        let nonce = auth::nonce(&key, &random, small(case, "n"), &[&extra]);
        assert_eq!(to_hex(&nonce), text(case, "nonce"), "{case}");
    }
}

#[test]
fn challenges_are_answered_or_refused_as_the_vectors_say() {
    let file = read("auth.json");
    for case in list(&file, "accept_m1").iter().chain(list(&file, "reject_m1")) {
        let mut authority = authority(case, "A", "req");
        let (key, m1) = (pairwise(case), bytes(case, "m1"));
        let response = TopicName::parse("res").unwrap();
        let find = |id: &str| {
            (id == text(case, "id_d")).then_some(Enrolled { key: &key, response, serial: 7 })
        };
        let mut m2 = Vec::new();
        let record = Record { topic: "req", bytes: &m1, now: 1_800_000_000_000 };
        let action = authority.receive(&record, find, &mut Fixed([4; 32]), &[], &mut m2);
        let broker = match action {
            Ok(Action::Answer { broker, topic }) => {
                assert_eq!(topic, response);
                broker
            }
            Ok(action) => panic!("{action:?} to {case}"),
            Err(_) => "reject",
        };
        assert_eq!(broker, text(case, "expect"), "{case}");
        assert_eq!(Answer::parse(&m2).is_none(), broker == "reject", "{case}");
    }
}

#[test]
fn answers_that_a_device_must_refuse_are_refused() {
    let file = read("auth.json");
    for case in list(&file, "reject_m2") {
        let (mut device, _) = running(&file, case);
        assert_eq!(text(case, "expect"), "reject");
        assert!(receive(&mut device, case, Hop::Plain).is_none(), "{case}");
    }
}

#[test]
fn the_key_of_the_broker_decides_as_the_vectors_say() {
    let file = read("auth.json");
    for case in list(&file, "tls") {
        let (mut device, _) = running(&file, case);
        let hop = case["spki"].as_str().map_or(Hop::Plain, |_| Hop::Tls(array(case, "spki")));
        let expected = match text(case, "expect") {
            "accept" => true,
            "reject" => false,
            other => panic!("expect {other}"),
        };
        assert_eq!(receive(&mut device, case, hop).is_some(), expected, "{case}");
    }
}

#[test]
fn confirmations_are_accepted_or_refused_as_the_vectors_say() {
    let file = read("auth.json");
    for case in list(&file, "accept_m3").iter().chain(list(&file, "reject_m3")) {
        let topic = text(case, "req");
        let mut authority = authority(case, text(case, "id_a"), topic);
        let (devices, m3) = (Devices::of(case), bytes(case, "m3"));
        let run = accept(&mut authority, &devices, topic, &m3, number(case, "now"));
        let ssk = run.map(|run| to_hex(run.into_session().into_key().expose()));
        assert_eq!(ssk.as_deref().unwrap_or("reject"), text(case, "expect"), "{case}");
    }
}

#[test]
fn confirmations_in_turn_are_accepted_as_the_vectors_say() {
    for case in list(&read("auth.json"), "m3_sequences") {
        let topic = text(case, "req");
        let mut authority = authority(case, text(case, "id_a"), topic);
        let devices = Devices::of(case);
        for step in list(case, "steps") {
            let m3 = bytes(step, "m3");
            let run = accept(&mut authority, &devices, topic, &m3, number(step, "now"));
            let expected = step["accept"].as_bool().unwrap();
            assert_eq!(run.is_some(), expected, "{}: {step}", case["comment"]);
        }
    }
}

#[test]
fn ids_are_those_of_the_vectors() {
    for case in list(&read("auth.json"), "ids") {
        let valid = PeerId::parse(text(case, "id")).is_ok();
        assert_eq!(valid, case["valid"].as_bool().unwrap(), "{case}");
    }
}
