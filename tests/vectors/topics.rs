//! Topic names, filters, policies.

use mqtt_seal::policy::{Policy, Rule};
use mqtt_seal::schedule::MAX_REALM_LEN;
use mqtt_seal::suite::Suite;
use mqtt_seal::topic::{TopicFilter, TopicName};
use serde_json::Value;

use crate::json::{list, number, read, rule, text};

fn filter(text: &str) -> TopicFilter<'_> {
    TopicFilter::parse(text).unwrap()
}

fn is(case: &Value, key: &str) -> bool {
    case[key].as_bool().unwrap()
}

#[test]
fn filters_match_as_the_vectors_say() {
    for case in list(&read("topics.json"), "match") {
        let name = TopicName::parse(text(case, "topic")).unwrap();
        assert_eq!(filter(text(case, "filter")).matches(name), is(case, "match"), "{case}");
    }
}

#[test]
fn filters_overlap_as_the_vectors_say() {
    for case in list(&read("topics.json"), "overlap") {
        let (a, b) = (filter(text(case, "a")), filter(text(case, "b")));
        assert_eq!(a.overlaps(b), is(case, "overlap"), "{case}");
        assert_eq!(b.overlaps(a), is(case, "overlap"), "{case}");
    }
}

#[test]
fn names_and_filters_are_valid_as_the_vectors_say() {
    let file = read("topics.json");
    for case in list(&file, "filters") {
        assert_eq!(TopicFilter::parse(text(case, "filter")).is_ok(), is(case, "valid"), "{case}");
    }
    for case in list(&file, "names") {
        assert_eq!(TopicName::parse(text(case, "name")).is_ok(), is(case, "valid"), "{case}");
    }
    for case in list(&file, "long") {
        let long = text(case, "unit").repeat(number(case, "count").try_into().unwrap());
        assert_eq!(TopicName::parse(&long).is_ok(), is(case, "valid_name"), "{case}");
        assert_eq!(TopicFilter::parse(&long).is_ok(), is(case, "valid_filter"), "{case}");
    }
}

#[test]
fn first_matching_rule_is_that_of_the_vectors() {
    for case in list(&read("topics.json"), "policy") {
        let rules = case["filters"].as_array().unwrap().iter();
        let rules = rules.map(|filter| Rule::sealed([filter.as_str().unwrap()]).build().unwrap());
        let policy = Policy::new(rules.collect());
        let found = policy.rule(TopicName::parse(text(case, "topic")).unwrap());
        let index = found
            .and_then(|found| policy.rules().iter().position(|rule| core::ptr::eq(rule, found)));
        assert_eq!(index.map(|i| i as u64), case["rule"].as_u64(), "{case}");
    }
}

#[test]
fn configurations_are_legal_as_the_vectors_say() {
    for case in list(&read("topics.json"), "config") {
        let realm = text(case, "realm");
        let legal_realm = realm.len() <= MAX_REALM_LEN && !realm.contains('\0');
        let legal = legal_realm && rule(&case["rule"], Suite::default()).is_ok();
        assert_eq!(legal, is(case, "valid"), "{case}");
    }
}
