use super::*;
use crate::topic::FilterError;
use std::{string::ToString, vec};

fn name(text: &str) -> TopicName<'_> {
    TopicName::parse(text).unwrap()
}

fn filter(text: &str) -> TopicFilter<'_> {
    TopicFilter::parse(text).unwrap()
}

fn rule(topic: &str, transport: Transport) -> Rule {
    Rule::sealed([topic]).transport(transport).build().unwrap()
}

#[test]
fn first_match_wins_and_no_match_refuses() {
    let policy = Policy::new(vec![
        Rule::clear(["a/b"]).build().unwrap(),
        Rule::sealed(["a/#"]).build().unwrap(),
    ]);
    assert_eq!(policy.rule(name("a/b")).unwrap().payload(), Payload::Clear);
    assert_eq!(policy.rule(name("a/c")).unwrap().payload(), Payload::Sealed);
    assert!(policy.rule(name("b")).is_none());
}

#[test]
fn publications_never_leave_by_a_weaker_link() {
    use Transport::{Any, Tcp, Tls};
    let cases = [
        (Links::Tcp, Tcp, Some(Link::Tcp)),
        (Links::Tcp, Any, Some(Link::Tcp)),
        (Links::Tcp, Tls, None),
        (Links::Tls, Tcp, Some(Link::Tls)),
        (Links::Tls, Any, Some(Link::Tls)),
        (Links::Tls, Tls, Some(Link::Tls)),
        (Links::Both, Tcp, Some(Link::Tcp)),
        (Links::Both, Any, Some(Link::Tls)),
        (Links::Both, Tls, Some(Link::Tls)),
    ];
    for (links, transport, link) in cases {
        assert_eq!(links.publish_link(transport), link, "{links:?} {transport:?}");
    }
}

#[test]
fn a_filter_goes_to_tls_as_soon_as_one_rule_within_asks_for_it() {
    let policy = Policy::new(vec![rule("a/tcp", Transport::Tcp), rule("a/tls", Transport::Tls)]);
    let link = |text| policy.subscribe_link(filter(text), Links::Both);
    assert_eq!(link("a/tcp"), Ok(Link::Tcp));
    assert_eq!(link("a/tls"), Ok(Link::Tls));
    for both in ["#", "a/#", "+/+", "$share/g/a/+"] {
        assert_eq!(link(both), Ok(Link::Tls));
    }
    assert_eq!(link("b"), Err(SubscribeError::Refused));
    let tcp_only = |text| policy.subscribe_link(filter(text), Links::Tcp);
    assert_eq!(tcp_only("#"), Err(SubscribeError::NeedsTls));
    assert_eq!(tcp_only("a/tcp"), Ok(Link::Tcp));
}

#[test]
fn an_any_rule_takes_its_filter_to_tls_only_where_there_is_tls() {
    let policy = Policy::new(vec![rule("a", Transport::Any)]);
    assert_eq!(policy.subscribe_link(filter("a"), Links::Both), Ok(Link::Tls));
    assert_eq!(policy.subscribe_link(filter("a"), Links::Tcp), Ok(Link::Tcp));
}

#[test]
fn every_rule_error_says_what_to_do() {
    let named = |name: &str| Scope::Named(name.into());
    let cases = [
        (Rule::sealed([""; 0]), "a rule needs topics: name at least one filter"),
        (Rule::sealed(["a/#/b"]), "'#' is the last level of a filter, as in \"a/#\""),
        (
            Rule::sealed(["$share/g/a"]),
            "a rule names topics: write the filter without \"$share/group/\"",
        ),
        (
            Rule::sealed(["a"]).scope(Scope::Path { depth: 17 }),
            "a path scope has a depth of 0 to 16",
        ),
        (
            Rule::sealed(["a"]).scope(named("")),
            "the name of a scope has 1 to 65535 bytes and no U+0000",
        ),
        (
            Rule::sealed(["a"]).scope(named("$x")),
            "names of scopes that begin with '$' are reserved: choose another",
        ),
        (
            Rule::sealed(["a"]).topic_binding(TopicBinding::Strip("x".into())),
            "the prefix to strip is not empty and ends in '/', as in \"site-b/\"",
        ),
        (
            Rule::sealed(["a"]).topic_binding(TopicBinding::Carried),
            "topic_binding = \"carried\" needs a named scope",
        ),
        (
            Rule::sealed(["a"]).carried_filter("b"),
            "carried_filter has a meaning only with topic_binding = \"carried\"",
        ),
        (Rule::sealed(["a"]).pad(0), "pad is a block of 1 to 65535 bytes"),
        (
            Rule::sealed(["a"]).max_packet(73),
            "max_packet has no room for a header and a tag: say 74 or more",
        ),
        (
            Rule::clear(["a"]).timestamp(true),
            "timestamp has no meaning under payload = \"clear\": remove one of them",
        ),
    ];
    for (builder, message) in cases {
        assert_eq!(builder.build().unwrap_err().to_string(), message);
    }
    let carried = Rule::sealed(["a"])
        .scope(named("n"))
        .topic_binding(TopicBinding::Carried)
        .carried_filter("#a");
    assert_eq!(carried.build().unwrap_err(), RuleError::CarriedFilter(FilterError::PartialLevel));
}

#[test]
fn explain_tells_rule_scope_and_link() {
    let policy = Policy::new(vec![
        Rule::clear(["public/#"]).transport(Transport::Tcp).build().unwrap(),
        Rule::sealed(["+/temp", "plant/#"]).scope(Scope::Path { depth: 2 }).build().unwrap(),
        Rule::sealed(["#"]).scope(Scope::Named("rest".into())).build().unwrap(),
    ]);
    let explain = |topic, links| policy.explain(name(topic), links).to_string();
    assert_eq!(
        explain("plant/a/b", Links::Both),
        "plant/a/b: sealed, by rule 2 (\"plant/#\")\n  scope: plant/a, suite: chacha20-poly1305\n  \
         published over: tls\n  rule 3 matches too, but comes later"
    );
    assert_eq!(
        explain("x", Links::Tcp),
        "x: sealed, by rule 3 (\"#\")\n  scope: \"rest\", suite: chacha20-poly1305\n  published over: tcp"
    );
    assert_eq!(
        explain("public/x", Links::Both),
        "public/x: clear, by rule 1 (\"public/#\")\n  published over: tcp\n  rule 3 matches too, but comes later"
    );
    assert_eq!(explain("$SYS/x", Links::Both), "$SYS/x: refused, because no rule matches");
    let tls = Policy::new(vec![Rule::clear(["#"]).build().unwrap()]);
    assert_eq!(
        tls.explain(name("a"), Links::Tcp).to_string(),
        "a: clear, by rule 1 (\"#\")\n  published over: nothing, there is no tls link"
    );
}

#[test]
fn lint_finds_what_is_probably_not_meant() {
    let sealed = |topic: &str| Rule::sealed([topic]).build().unwrap();
    let clear = |topic: &str| Rule::clear([topic]).build().unwrap();
    let texts = |rules: Vec<Rule>| -> Vec<_> {
        Policy::new(rules).lint(Some(100)).iter().map(ToString::to_string).collect()
    };
    assert_eq!(texts(vec![clear("a/b"), sealed("a/#"), sealed("#")]), [""; 0]);
    assert_eq!(
        texts(vec![sealed("a/#"), clear("a/b")]),
        ["rule 2 never decides: rule 1 matches all its topics before it"]
    );
    assert_eq!(
        texts(vec![clear("+/temp"), sealed("plant/#")]),
        ["rules 1 and 2 cross, one clear and one sealed: \
          some topics match both, and the order decides"]
    );
    assert_eq!(
        texts(vec![Rule::clear(["a"]).transport(Transport::Any).build().unwrap()]),
        ["rule 1 sends payloads in clear over plain tcp: anybody reads them"]
    );
    assert_eq!(
        texts(vec![Rule::sealed(["a"]).retain(Retain::Allow).build().unwrap()]),
        ["rule 1 allows retained values under replay = \"window\": \
          a repeated subscriber may not be given them"]
    );
    assert_eq!(
        texts(vec![Rule::mixed(["a"], 99).build().unwrap()]),
        ["rule 1 is for a migration whose end date has passed: seal now"]
    );
}
