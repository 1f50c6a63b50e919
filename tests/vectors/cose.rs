//! Sealed payloads as `COSE_Encrypt0` and back. Each is also a case of `seal.json`, which says
//! under which key and rule it was sealed.

use mqtt_seal::cose::{compress, expand};
use mqtt_seal::message::danger::{self, ExposedSession, RawMessage};
use mqtt_seal::policy::{PropertyHandling, Rule};
use mqtt_seal::secret::ScopeKey;
use mqtt_seal::topic::TopicName;
use mqtt_seal::wire::Header;
use mqtt_seal::wire::aad::Aad;
use serde_json::Value;

use crate::json::{Properties, bytes, list, read, rule, suite, text, to_hex};
use crate::seal::{bound, scope_key};

/// Runs `check` on every case and the case of `seal.json` with the same sealed payload.
fn for_each(check: impl Fn(&Value, &Value)) {
    let (cose, seal) = (read("cose.json"), read("seal.json"));
    for case in list(&cose, "cases") {
        let mut sealed = list(&seal, "cases").iter();
        let sealed = sealed.find(|other| other["sealed"] == case["sealed"]);
        check(case, sealed.unwrap_or_else(|| panic!("not in seal.json: {case}")));
    }
}

/// The rule, topic and scope key of a case of `seal.json`.
fn place(sealed: &Value) -> (Rule, TopicName<'_>, ScopeKey) {
    let rule = rule(&sealed["rule"], suite(&sealed["key"])).unwrap();
    let topic = TopicName::parse(text(sealed, "topic")).unwrap();
    let scope = scope_key(sealed, &rule, topic);
    (rule, topic, scope)
}

fn session(case: &Value, sealed: &Value) -> ExposedSession {
    let (header, _) = Header::parse(&bytes(case, "sealed")).unwrap();
    danger::expose_session(&place(sealed).2, suite(case), &header.id)
}

#[test]
fn sealed_payloads_expand_to_the_vectors() {
    for_each(|case, sealed| {
        let (payload, suite) = (bytes(case, "sealed"), suite(case));
        let partial = expand(&payload, suite, None).unwrap();
        assert_eq!(to_hex(&partial), text(case, "cose_partial_iv"), "{case}");
        let whole = expand(&payload, suite, Some(&session(case, sealed).iv)).unwrap();
        assert_eq!(to_hex(&whole), text(case, "cose_iv"), "{case}");
    });
}

#[test]
fn vectors_compress_to_the_sealed_payloads() {
    for case in list(&read("cose.json"), "cases") {
        for form in ["cose_partial_iv", "cose_iv"] {
            let payload = compress(&bytes(case, form)).unwrap();
            assert_eq!(to_hex(&payload), text(case, "sealed"), "{form} {case}");
        }
    }
}

#[test]
fn a_cose_library_is_given_the_key_and_external_aad_of_the_vectors() {
    for_each(|case, sealed| {
        assert_eq!(to_hex(&session(case, sealed).key), text(case, "key"), "{case}");
        let (rule, topic, _) = place(sealed);
        let props = Properties::read(&sealed["props"]);
        let props = props.get();
        let payload = bytes(case, "sealed");
        let (_, len) = Header::parse(&payload).unwrap();
        let aad = Aad {
            suite: suite(case).id(),
            cose_algorithm: suite(case).cose_algorithm(),
            header: &payload[..len],
            topic: bound(&rule, topic).map_or("", TopicName::as_str),
            bind: (rule.properties() == PropertyHandling::Bind).then_some(&*props),
        };
        let mut external_aad = vec![];
        aad.external(|part| external_aad.extend_from_slice(part));
        assert_eq!(to_hex(&external_aad), text(case, "external_aad"), "{case}");
    });
}

#[test]
fn the_plaintext_seals_to_the_payload_of_the_vectors() {
    for_each(|case, sealed| {
        let (rule, topic, scope) = place(sealed);
        let props = Properties::read(&sealed["props"]);
        let props = props.get();
        let payload = bytes(case, "sealed");
        let (header, _) = Header::parse(&payload).unwrap();
        let message = RawMessage {
            suite: suite(case),
            id: header.id,
            counter: header.counter,
            inner: header.inner,
            topic: bound(&rule, topic),
            bind: (rule.properties() == PropertyHandling::Bind).then_some(&*props),
            plaintext: &bytes(case, "plaintext"),
        };
        let mut out = vec![0; payload.len()];
        assert_eq!(danger::seal(&scope, &message, &mut out).unwrap().unwrap(), payload, "{case}");
    });
}
