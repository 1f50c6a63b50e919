use super::*;
use proptest::prelude::*;
use std::{format, string::ToString};

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// A sealed rule with `lines` behind its two required settings, the first of them in line 4.
fn sealed(lines: &str) -> String {
    format!("[[rule]]\ntopics = [\"a/#\"]\npayload = \"sealed\"\n{lines}\n")
}

fn rule_of(text: &str) -> Rule {
    let policy = parse(text).unwrap();
    policy.rules().first().unwrap().clone()
}

#[test]
fn every_setting_reaches_its_rule() {
    let rule = rule_of(
        r#"
        [[rule]]
        topics = ["sensor/temp/#", "+/hum"]
        payload = "sealed"
        transport = "tls"
        suite = "chacha20-poly1305-commit"
        scope = { name = "temps" }
        form = "compact"
        replay = "window"
        retain = "allow"
        topic_binding = "carried"
        carried_filter = "site/#"
        properties = "bind"
        pad = 64
        timestamp = true
        max_packet = 65_536
        "#,
    );
    let topics: Vec<_> = rule.topics().map(TopicFilter::as_str).collect();
    assert_eq!(topics, ["sensor/temp/#", "+/hum"]);
    assert_eq!(rule.payload(), Payload::Sealed);
    assert_eq!(rule.transport(), Transport::Tls);
    assert_eq!(rule.suite().name(), "chacha20-poly1305-commit");
    assert_eq!(rule.scope(), &Scope::Named("temps".into()));
    assert_eq!(rule.form(), Form::Compact);
    assert_eq!(rule.replay(), Replay::Window);
    assert_eq!(rule.retain(), Retain::Allow);
    assert_eq!(rule.topic_binding(), &TopicBinding::Carried);
    assert_eq!(rule.carried_filter().unwrap().as_str(), "site/#");
    assert_eq!(rule.properties(), PropertyHandling::Bind);
    assert_eq!(rule.pad(), 64);
    assert!(rule.timestamp());
    assert_eq!(rule.max_packet(), 65_536);
}

#[test]
fn settings_that_are_absent_take_the_defaults_of_the_builder() {
    let rule = rule_of(&sealed(""));
    let built = Rule::sealed(["a/#"]).build().unwrap();
    assert_eq!(format!("{rule:?}"), format!("{built:?}"));
    let rule = rule_of("[[rule]]\ntopics = [\"a\"]\npayload = \"clear\"\n");
    let built = Rule::clear(["a"]).build().unwrap();
    assert_eq!(format!("{rule:?}"), format!("{built:?}"));
    assert_eq!(rule.transport(), Transport::Tls);
}

#[test]
fn every_name_of_a_value_is_understood() {
    let read = |line: &str| rule_of(&sealed(line));
    for suite in crate::suite::Suite::ALL.into_iter().filter(|suite| suite.is_built()) {
        assert_eq!(read(&format!("suite = \"{suite}\"")).suite(), suite);
    }
    for (name, transport) in
        [("tls", Transport::Tls), ("tcp", Transport::Tcp), ("any", Transport::Any)]
    {
        assert_eq!(read(&format!("transport = \"{name}\"")).transport(), transport);
    }
    for (name, form) in [("session", Form::Session), ("compact", Form::Compact)] {
        assert_eq!(read(&format!("form = \"{name}\"")).form(), form);
    }
    for (name, replay) in [("window", Replay::Window), ("off", Replay::Off)] {
        assert_eq!(read(&format!("replay = \"{name}\"")).replay(), replay);
    }
    for (name, retain) in [("refuse", Retain::Refuse), ("allow", Retain::Allow)] {
        assert_eq!(read(&format!("retain = \"{name}\"")).retain(), retain);
    }
    for (name, properties) in [
        ("carry", PropertyHandling::Carry),
        ("bind", PropertyHandling::Bind),
        ("ignore", PropertyHandling::Ignore),
    ] {
        assert_eq!(read(&format!("properties = \"{name}\"")).properties(), properties);
    }
    assert_eq!(read("scope = { depth = 2 }").scope(), &Scope::Path { depth: 2 });
    assert_eq!(read("topic_binding = \"full\"").topic_binding(), &TopicBinding::Full);
    assert!(read("max_packet = 99999999999999999999999").max_packet() > 1 << 30);
    assert_eq!(
        read("topic_binding = { strip = \"b/\" }").topic_binding(),
        &TopicBinding::Strip("b/".into())
    );
}

#[test]
fn the_example_of_the_documentation_is_a_policy() {
    let lines = include_str!("../policy_file.rs").lines();
    let example = lines.skip_while(|line| *line != "//! ```toml").skip(1);
    let example = example.take_while(|line| *line != "//! ```");
    let text: String = example.flat_map(|line| [&line[3..], "\n"]).collect();
    assert_eq!(rule_of(&text).carried_filter().unwrap().as_str(), "plant/#");
}

#[test]
fn rules_keep_the_order_of_the_file() {
    let rules = ["c", "a", "b"]
        .map(|topic| format!("[[rule]]\ntopics = [\"{topic}\"]\npayload = \"clear\"\n"));
    let policy = parse(&rules.concat()).unwrap();
    let topics = policy.rules().iter().flat_map(Rule::topics);
    let topics: Vec<_> = topics.map(TopicFilter::as_str).collect();
    assert_eq!(topics, ["c", "a", "b"]);
}

#[test]
fn a_broken_file_names_place_fault_and_remedy() {
    const NO_RULE: &str = "there is no rule, so that every topic is refused: add a [[rule]]";
    const SECTIONS: &str =
        "rule has the wrong type: write sections, each under the name in double brackets";
    const TEXTS: &str = "topics has the wrong type: write a list of texts, as in [\"…\", \"…\"]";
    let cases = [
        ("", "1:1: ", NO_RULE),
        ("# nothing\n", "1:1: ", NO_RULE),
        ("rule = []", "1:8: ", NO_RULE),
        ("[rule]\ntopics = [\"a\"]", "1:1: ", SECTIONS),
        ("rule = [1]", "1:9: ", SECTIONS),
        ("[[rules]]", "1:3: ", "unknown key \"rules\": did you mean \"rule\"?"),
        ("version = 1", "1:1: ", "unknown key \"version\": use rule"),
        ("[[rule]]\npayload = \"clear\"", "1:1: ", "topics is missing: add topics = …"),
        ("\n  [[rule]]\ntopics = [\"a\"]", "2:3: ", "payload is missing: add payload = …"),
        (
            "[[rule]]\ntopics = []\npayload = \"clear\"",
            "2:10: ",
            "a rule needs topics: name at least one filter",
        ),
        ("[[rule]]\ntopics = \"a\"", "2:10: ", TEXTS),
        ("[[rule]]\ntopics = [\"a\", 1]", "2:16: ", TEXTS),
        (
            "[[rule]]\ntopics = [\"a\",\n  \"b/#/c\"]\npayload = \"sealed\"",
            "3:3: ",
            "'#' is the last level of a filter, as in \"a/#\"",
        ),
        (
            "[[rule]]\ntopics = [\"ä\", \"$share/g/a\"]\npayload = \"sealed\"",
            "2:16: ",
            "a rule names topics: write the filter without \"$share/group/\"",
        ),
        (
            "[[rule]]\ntopics = [\"a\"]\npayload = \"both\"",
            "3:11: ",
            "payload has no value \"both\": use \"sealed\", \"clear\", \"mixed\" or \"observe\"",
        ),
        (
            "[[rule]]\ntopics = [\"a\"]\npayload = true",
            "3:11: ",
            "payload has the wrong type: write a text, as in \"…\"",
        ),
        (
            "[[rule]]\ntopics = [\"a\"\npayload = \"clear\"",
            "3:1: ",
            "this is not TOML: missing comma between array elements, expected `,`",
        ),
        ("[[rule]]\npad = 1\npad = 2", "3:1: ", "this is not TOML: duplicate key"),
    ];
    for (text, place, message) in cases {
        assert_eq!(error(text), format!("{place}{message}"), "{text}");
    }
}

#[test]
fn a_broken_setting_names_place_fault_and_remedy() {
    let cases = [
        ("tpoics = []", "4:1: ", "unknown key \"tpoics\": did you mean \"topics\"?"),
        (
            "\"max\\npacket\" = 1",
            "4:1: ",
            "unknown key \"max\\npacket\": did you mean \"max_packet\"?",
        ),
        (
            "zzz = 1\ncolour = 1",
            "4:1: ",
            "unknown key \"zzz\": use topics, payload, until, transport, suite, scope, form, \
             replay, retain, first_contact, max_age_ms, max_skew_ms, own, bare_delete, topic_binding, carried_filter, properties, pad, timestamp, ttl or max_packet",
        ),
        (
            "transport = \"udp\"",
            "4:13: ",
            "transport has no value \"udp\": use \"tls\", \"tcp\" or \"any\"",
        ),
        (
            "suite = \"rot13\"",
            "4:9: ",
            "suite has no value \"rot13\": use \"chacha20-poly1305\", \"aes-256-gcm\", \
             \"aes-256-gcm-siv\", \"chacha20-poly1305-commit\" or \"aes-256-gcm-commit\"",
        ),
        ("form = \"long\"", "4:8: ", "form has no value \"long\": use \"session\" or \"compact\""),
        (
            "replay = \"newest\"",
            "4:10: ",
            "replay has no value \"newest\": use \"window\", \"latest\", \"fresh\" or \"off\"",
        ),
        ("retain = \"yes\"", "4:10: ", "retain has no value \"yes\": use \"refuse\" or \"allow\""),
        (
            "replay = \"off\"\nretain = \"allow\"",
            "5:1: ",
            "retain has a meaning only with replay = \"window\": remove one of them",
        ),
        (
            "properties = \"drop\"",
            "4:14: ",
            "properties has no value \"drop\": use \"carry\", \"bind\" or \"ignore\"",
        ),
        ("pad = 0", "4:7: ", "pad is a block of 1 to 65535 bytes"),
        ("pad = -1", "4:7: ", "pad is a block of 1 to 65535 bytes"),
        ("pad = 99999999999999999999999", "4:7: ", "pad is a block of 1 to 65535 bytes"),
        ("pad = 1.0", "4:7: ", "pad has the wrong type: write a whole number"),
        ("timestamp = 1", "4:13: ", "timestamp has the wrong type: write true or false"),
        (
            "max_packet = 73",
            "4:14: ",
            "max_packet has no room for a header and a tag: say 74 or more",
        ),
        (
            "max_packet = -99999999999999999999999",
            "4:14: ",
            "max_packet has no room for a header and a tag: say 74 or more",
        ),
    ];
    for (lines, place, message) in cases {
        assert_eq!(error(&sealed(lines)), format!("{place}{message}"), "{lines}");
    }
}

#[test]
fn a_broken_scope_or_binding_names_place_fault_and_remedy() {
    const SCOPE: &str =
        "a scope has either a depth or a name: write { depth = 1 } or { name = \"…\" }";
    const STRIP: &str = "the prefix to strip is not empty and ends in '/', as in \"site-b/\"";
    let cases = [
        ("scope = 2", "4:9: ", "scope has the wrong type: write a table, as in { … }"),
        ("scope = {}", "4:9: ", SCOPE),
        ("scope = { name = \"a\", depth = 1 }", "4:23: ", SCOPE),
        ("scope = { dept = 1 }", "4:11: ", "unknown key \"dept\": did you mean \"depth\"?"),
        ("scope = { depth = 17 }", "4:19: ", "a path scope has a depth of 0 to 16"),
        ("scope = { depth = -1 }", "4:19: ", "a path scope has a depth of 0 to 16"),
        ("scope = { depth = \"2\" }", "4:19: ", "depth has the wrong type: write a whole number"),
        (
            "scope = { name = \"\" }",
            "4:18: ",
            "the name of a scope has 1 to 65535 bytes and no U+0000",
        ),
        (
            "[rule.scope]\nname = \"$device\"",
            "5:8: ",
            "names of scopes that begin with '$' are reserved: choose another",
        ),
        (
            "topic_binding = \"none\"",
            "4:17: ",
            "topic_binding has no value \"none\": use \"full\" or \"carried\"",
        ),
        (
            "topic_binding = 1",
            "4:17: ",
            "topic_binding has the wrong type: write a text, as in \"…\", or a table, as in { … }",
        ),
        ("topic_binding = {}", "4:17: ", "strip is missing: add strip = …"),
        (
            "topic_binding = { strip = \"b/\", stripe = 1 }",
            "4:33: ",
            "unknown key \"stripe\": did you mean \"strip\"?",
        ),
        ("topic_binding = { strip = \"b\" }", "4:27: ", STRIP),
        ("topic_binding = { strip = \"\" }", "4:27: ", STRIP),
        (
            "pad = 1\ntopic_binding = \"carried\"",
            "5:1: ",
            "topic_binding = \"carried\" needs a named scope: write scope = { name = \"…\" }",
        ),
        (
            "pad = 1\ncarried_filter = \"a\"",
            "5:1: ",
            "carried_filter has a meaning only with topic_binding = \"carried\": \
             remove one of them",
        ),
        (
            "scope = { name = \"n\" }\ntopic_binding = \"carried\"\ncarried_filter = \"a+\"",
            "6:18: ",
            "'+' and '#' stand alone in their level, as in \"a/+/b\"",
        ),
    ];
    for (lines, place, message) in cases {
        assert_eq!(error(&sealed(lines)), format!("{place}{message}"), "{lines}");
    }
}

#[test]
fn a_clear_rule_refuses_every_setting_of_sealing_at_its_key() {
    let settings = [
        "suite = \"chacha20-poly1305\"",
        "scope = { depth = 1 }",
        "form = \"session\"",
        "replay = \"window\"",
        "retain = \"refuse\"",
        "topic_binding = \"full\"",
        "carried_filter = \"a\"",
        "properties = \"carry\"",
        "pad = 1",
        "timestamp = false",
        "max_packet = 1000",
    ];
    for setting in settings {
        let text = format!(
            "[[rule]]\ntopics = [\"a\"]\npayload = \"clear\"\ntransport = \"tcp\"\n{setting}\n"
        );
        let name = setting.split(' ').next().unwrap();
        assert_eq!(
            error(&text),
            format!("5:1: {name} has no meaning under payload = \"clear\": remove one of them")
        );
    }
}

/// A rule with `payload` and `lines`, the first of them in line 4.
fn of_payload(payload: &str, lines: &str) -> String {
    sealed(lines).replace("\"sealed\"", &format!("\"{payload}\""))
}

#[test]
fn a_migration_ends_with_its_date() {
    for (written, until) in [
        ("2027-03-31T23:59:59Z", 1_806_537_599_000),
        ("2027-04-01T01:59:59.5+02:00", 1_806_537_599_500),
        ("2027-03-31", 1_806_537_599_999),
        ("1_806_537_599_999", 1_806_537_599_999),
        ("0", 0),
    ] {
        let rule = |payload| rule_of(&of_payload(payload, &format!("until = {written}")));
        assert_eq!(rule("mixed").payload(), Payload::Mixed { until }, "{written}");
        assert_eq!(rule("observe").payload(), Payload::Observe { until }, "{written}");
    }
}

#[test]
fn a_migration_takes_the_defaults_of_the_builder() {
    let read = |payload| format!("{:?}", rule_of(&of_payload(payload, "until = 7")));
    assert_eq!(read("mixed"), format!("{:?}", Rule::mixed(["a/#"], 7).build().unwrap()));
    assert_eq!(read("observe"), format!("{:?}", Rule::observe(["a/#"], 7).build().unwrap()));
}

#[test]
fn a_broken_migration_names_place_fault_and_remedy() {
    const SHAPE: &str = "until has the wrong type: \
         write 2027-03-31, 2027-03-31T23:59:59Z or a whole number of Unix milliseconds";
    const RANGE: &str = "until is not in the years from 1970 to 9999: check the date and the unit";
    let cases = [
        ("", "1:1: ", "until is missing: add until = …"),
        ("until = \"2027-03-31\"", "4:9: ", SHAPE),
        ("until = 1.5", "4:9: ", SHAPE),
        ("until = 2027-03-31T23:59:59", "4:9: ", SHAPE),
        ("until = 23:59:59", "4:9: ", SHAPE),
        ("until = -1", "4:9: ", RANGE),
        ("until = 253_402_300_800_000", "4:9: ", RANGE),
        ("until = 99999999999999999999999", "4:9: ", RANGE),
        ("until = 1969-12-31", "4:9: ", RANGE),
        ("until = 9999-12-31T23:59:59-00:01", "4:9: ", RANGE),
        (
            "until = 2027-02-29",
            "4:9: ",
            "this is not TOML: invalid date, expected day between 01 and 28",
        ),
    ];
    for payload in ["mixed", "observe"] {
        for (lines, place, message) in cases {
            assert_eq!(error(&of_payload(payload, lines)), format!("{place}{message}"), "{lines}");
        }
    }
    for payload in ["sealed", "clear"] {
        assert_eq!(
            error(&of_payload(payload, "pad = 1\nuntil = 2027-03-31")),
            "5:1: until has a meaning only with payload = \"mixed\" or \"observe\": \
             remove one of them"
        );
    }
}

#[test]
fn the_second_rule_is_pointed_at_when_it_is_the_wrong_one() {
    let text = format!("{}[[rule]]\npayload = \"clear\"\n", sealed(""));
    assert_eq!(error(&text), "5:1: topics is missing: add topics = …");
}

#[test]
#[cfg(not(feature = "aes-gcm-siv"))]
fn a_suite_that_is_not_built_is_refused_at_once() {
    assert_eq!(
        error(&sealed("suite = \"aes-256-gcm-siv\"")),
        "4:9: suite aes-256-gcm-siv is not in this build: switch on its cargo feature"
    );
}

#[test]
fn read_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    let shown = path.display();
    assert_eq!(
        read(&path).unwrap_err().to_string(),
        format!("{shown}: cannot be read, entity not found: check the path and its permissions")
    );
    fs::write(&path, sealed("pad = 0")).unwrap();
    assert_eq!(
        read(&path).unwrap_err().to_string(),
        format!("{shown}:4:7: pad is a block of 1 to 65535 bytes")
    );
    fs::write(&path, b"# \xc3\xa4\xff").unwrap();
    assert_eq!(
        read(&path).unwrap_err().to_string(),
        format!("{shown}:1:4: this is not UTF-8: save the file as UTF-8 text")
    );
    fs::write(&path, sealed("pad = 1")).unwrap();
    assert_eq!(read(&path).unwrap().rules().len(), 1);
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = parse(&text);
    }

    #[test]
    fn text_made_of_pieces_of_policies_never_panics(pieces in pieces()) {
        let _ = parse(&pieces.concat());
    }
}

fn pieces() -> impl Strategy<Value = Vec<&'static str>> {
    const PIECES: &[&str] = &[
        "[[rule]]\n",
        "[rule]\n",
        "rule",
        ".",
        "=",
        " ",
        "\n",
        "[",
        "]",
        "{",
        "}",
        ",",
        "\"",
        "topics = [\"a\"]\n",
        "payload = \"sealed\"\n",
        "payload = \"mixed\"\n",
        "until = ",
        "2027-03-31",
        "T23:59:59Z",
        "scope",
        "depth",
        "pad = ",
        "true",
        "\"carried\"",
        "topic_binding = ",
        "-1",
        "0x",
        "9999999999999999999999",
        "1e9",
        "#",
        "'''",
        "\\u0000",
        "ä",
        "\r",
    ];
    prop::collection::vec(prop::sample::select(PIECES), 0..40)
}
