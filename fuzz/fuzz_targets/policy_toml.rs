//! A policy that was read has the settings of its text, and is the same when it is written down
//! and read again. An error names a place that exists.
#![no_main]

use std::fmt::Write;

use libfuzzer_sys::fuzz_target;
use mqtt_seal::policy::{
    MAX_SCOPE_DEPTH, Payload, PropertyHandling, Replay, Retain, Rule, Scope, TopicBinding,
};
use mqtt_seal::store::policy_file::{self, PolicyFileError};
use mqtt_seal::topic::TopicFilter;
use mqtt_seal::wire::Form;
use toml::{Table, Value};

fuzz_target!(|text: &str| {
    let policy = match policy_file::parse(text) {
        Ok(policy) => policy,
        Err(error) => {
            let PolicyFileError::Invalid { path, at, .. } = &error else {
                panic!("no file was read: {error:?}")
            };
            assert_eq!(*path, None);
            let line = text.split('\n').nth(at.line - 1).expect("the line exists");
            assert!(at.column <= line.chars().count() + 1, "{error}");
            assert!(error.to_string().starts_with(&format!("{at}: ")));
            return;
        }
    };
    assert!(!policy.rules().is_empty());
    // numbers that no i64 holds are an error there and the largest number here
    if let Ok(table) = text.parse::<Table>() {
        let rules = table["rule"].as_array().expect("a list");
        assert_eq!(policy.rules().len(), rules.len());
        policy.rules().iter().zip(rules).for_each(|(rule, text)| compare(rule, text));
    }
    let mut written = String::new();
    for rule in policy.rules() {
        assert!(rule.topics().count() > 0);
        write_rule(rule, &mut written);
    }
    let again = policy_file::parse(&written).unwrap_or_else(|error| panic!("{error} in {written}"));
    assert_eq!(format!("{policy:?}"), format!("{again:?}"));
});

fn compare(rule: &Rule, text: &Value) {
    let topics: Vec<&str> =
        text["topics"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(rule.topics().map(TopicFilter::as_str).eq(topics));
    let payload = format!("{:?}", rule.payload()).to_lowercase();
    assert!(payload.starts_with(text["payload"].as_str().unwrap_or("none")));
    let or = |key, default| text.get(key).and_then(Value::as_str).unwrap_or(default);
    assert_eq!(rule.suite().name(), or("suite", "chacha20-poly1305"));
    assert_eq!(format!("{:?}", rule.replay()).to_lowercase(), or("replay", "window"));
    assert_eq!(format!("{:?}", rule.retain()).to_lowercase(), or("retain", "refuse"));
    assert_eq!(format!("{:?}", rule.properties()).to_lowercase(), or("properties", "carry"));
    assert_eq!(
        rule.carried_filter().map(TopicFilter::as_str),
        text.get("carried_filter").and_then(Value::as_str)
    );
    let number = |key, default| text.get(key).and_then(Value::as_integer).unwrap_or(default);
    assert_eq!(i64::try_from(rule.pad()), Ok(number("pad", 0)));
    assert_eq!(i64::try_from(rule.max_packet()), Ok(number("max_packet", 256 * 1024)));
    assert_eq!(rule.timestamp(), text.get("timestamp").and_then(Value::as_bool).unwrap_or(false));
}

fn write_rule(rule: &Rule, out: &mut String) {
    let topics: Vec<String> = rule.topics().map(TopicFilter::as_str).map(quoted).collect();
    let (payload, until) = match rule.payload() {
        Payload::Sealed => ("sealed", None),
        Payload::Clear => ("clear", None),
        Payload::Mixed { until } => ("mixed", Some(until)),
        Payload::Observe { until } => ("observe", Some(until)),
        payload => unreachable!("{payload:?}"),
    };
    let mut line = |key: &str, value: String| writeln!(out, "{key} = {value}").expect("a String");
    line("[[rule]]\ntopics", format!("[{}]", topics.join(",")));
    line("payload", quoted(payload));
    if let Some(until) = until {
        line("until", until.to_string());
    }
    line("transport", quoted(&format!("{:?}", rule.transport()).to_lowercase()));
    if rule.payload() == Payload::Clear {
        return;
    }
    line("suite", quoted(rule.suite().name()));
    match rule.scope() {
        Scope::Named(name) => line("scope", format!("{{ name = {} }}", quoted(name))),
        Scope::Path { depth } => {
            assert!(*depth <= MAX_SCOPE_DEPTH);
            line("scope", format!("{{ depth = {depth} }}"));
        }
        scope => unreachable!("{scope:?}"),
    }
    line("form", quoted(if rule.form() == Form::Compact { "compact" } else { "session" }));
    if rule.replay() == Replay::Off {
        line("replay", quoted("off"));
    } else if rule.retain() == Retain::Allow {
        line("retain", quoted("allow"));
    }
    match rule.topic_binding() {
        TopicBinding::Full => {}
        TopicBinding::Strip(prefix) => {
            line("topic_binding", format!("{{ strip = {} }}", quoted(prefix)));
        }
        _ => line("topic_binding", quoted("carried")),
    }
    if let Some(filter) = rule.carried_filter() {
        line("carried_filter", quoted(filter.as_str()));
    }
    line(
        "properties",
        quoted(match rule.properties() {
            PropertyHandling::Bind => "bind",
            PropertyHandling::Ignore => "ignore",
            _ => "carry",
        }),
    );
    if rule.pad() > 0 {
        line("pad", rule.pad().to_string());
    }
    line("timestamp", rule.timestamp().to_string());
    line("max_packet", rule.max_packet().to_string());
}

fn quoted(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}
