use super::*;
use proptest::prelude::*;
use std::{format, string::String, vec, vec::Vec};

fn filter(text: &str) -> TopicFilter<'_> {
    TopicFilter::parse(text).unwrap()
}

#[test]
fn error_texts_say_the_rule() {
    let cases = [
        ("", "a topic filter has at least one character"),
        ("a\0", "a topic filter must not contain U+0000"),
        ("a+/b", "'+' and '#' stand alone in their level, as in \"a/+/b\""),
        ("#/a", "'#' is the last level of a filter, as in \"a/#\""),
        ("$share/+/a", "a shared filter is \"$share/group/filter\", the group without '+' and '#'"),
    ];
    for (text, message) in cases {
        assert_eq!(format!("{}", TopicFilter::parse(text).unwrap_err()), message);
    }
}

#[test]
fn share_group_is_split_off() {
    assert_eq!(filter("$share/g/a/#").share_group(), Some("g"));
    assert_eq!(filter("a/#").share_group(), None);
    assert_eq!(filter("$shared/g/a").share_group(), None);
}

#[test]
fn a_filter_covers_what_lies_within_it() {
    let covered = [
        ("#", "a/b/#"),
        ("a/#", "a"),
        ("a/#", "a/+/c"),
        ("a/+", "a/b"),
        ("+/+", "a/+"),
        ("a/b", "a/b"),
        ("$s/#", "$s/a"),
        ("#", "$share/g/a"),
    ];
    for (outer, inner) in covered {
        assert!(filter(outer).covers(filter(inner)), "{outer} {inner}");
    }
    let not =
        [("a/+", "a/#"), ("a/b", "a/+"), ("#", "$s/a"), ("+/a", "$s/a"), ("a", "a/b"), ("+", "#")];
    for (outer, inner) in not {
        assert!(!filter(outer).covers(filter(inner)), "{outer} {inner}");
    }
}

/// All names of up to three levels over a small alphabet, `$` and the empty level included.
fn names() -> Vec<String> {
    let levels = ["", "a", "b", "$s"];
    let mut names: Vec<String> = levels.iter().map(|level| String::from(*level)).collect();
    for _ in 0..2 {
        let longer: Vec<String> =
            names.iter().flat_map(|name| levels.map(|level| format!("{name}/{level}"))).collect();
        names.extend(longer);
    }
    names.retain(|name| !name.is_empty());
    names
}

proptest! {
    #[test]
    fn overlap_agrees_with_a_search_over_names(
        a in prop::collection::vec(prop::sample::select(vec!["", "a", "b", "$s", "+"]), 1..3),
        b in prop::collection::vec(prop::sample::select(vec!["", "a", "b", "$s", "+"]), 1..3),
        hash in any::<(bool, bool)>(),
    ) {
        let text = |levels: &[&str], hash: bool| {
            let mut text = levels.join("/");
            if hash { text.push_str("/#"); }
            text
        };
        let (a, b) = (text(&a, hash.0), text(&b, hash.1));
        prop_assume!(!a.is_empty() && !b.is_empty());
        let (a, b) = (filter(&a), filter(&b));
        let common = names().iter().any(|name| {
            let name = TopicName::parse(name).unwrap();
            a.matches(name) && b.matches(name)
        });
        prop_assert_eq!(a.overlaps(b), common);
        prop_assert_eq!(b.overlaps(a), common);
        let within = names().iter().all(|name| {
            let name = TopicName::parse(name).unwrap();
            !b.matches(name) || a.matches(name)
        });
        // names of four levels, of other letters, tell more than these: covers is the stricter
        prop_assert!(!a.covers(b) || within);
    }

    #[test]
    fn a_kept_filter_matches_what_levels_say(
        levels in prop::collection::vec(prop::sample::select(vec!["", "a", "b", "$s", "+"]), 0..4),
        hash in any::<bool>(),
        shared in any::<bool>(),
    ) {
        let mut pattern = levels.clone();
        if hash { pattern.push("#"); }
        let mut text = pattern.join("/");
        prop_assume!(!text.is_empty());
        if shared { text.insert_str(0, "$share/g/"); }
        let filter = filter(&text);
        let kept = OwnedFilter::new(filter);
        prop_assert_eq!(kept.get(), filter);
        for name in names() {
            let name = TopicName::parse(&name).unwrap();
            let expected = levels_match(&pattern, name);
            prop_assert_eq!(filter.matches(name), expected, "{} {}", text, name);
            prop_assert_eq!(kept.matches(name), expected, "{} {}", text, name);
        }
    }
}

/// MQTT 5.0 §4.7, level by level.
fn levels_match(pattern: &[&str], name: TopicName<'_>) -> bool {
    let names: Vec<&str> = name.levels().collect();
    if name.is_reserved() && matches!(pattern[0], "+" | "#") {
        return false;
    }
    match pattern.split_last() {
        Some((&"#", parents)) => {
            names.len() >= parents.len() && levels_are(parents, &names[..parents.len()])
        }
        _ => names.len() == pattern.len() && levels_are(pattern, &names),
    }
}

fn levels_are(pattern: &[&str], names: &[&str]) -> bool {
    pattern.iter().zip(names).all(|(level, name)| *level == "+" || level == name)
}
