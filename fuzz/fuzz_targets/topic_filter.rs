//! Parsing, matching and overlap against a second implementation that is slow and plain, and
//! overlap against a search for a common name. The input has three lines: two filters, one name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt_seal::topic::{TopicFilter, TopicName};

/// Most names that are looked through.
const SEARCH: usize = 512;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (a, b, name) = (line(), line(), line());

    let parsed = [TopicFilter::parse(a).ok(), TopicFilter::parse(b).ok()];
    let plain = [filter(a), filter(b)];
    for (parsed, plain) in parsed.iter().zip(&plain) {
        assert_eq!(parsed.is_some(), plain.is_some());
        if let (Some(parsed), Some((group, _))) = (parsed, plain) {
            assert_eq!(parsed.share_group(), group.as_deref());
        }
    }
    let topic = TopicName::parse(name).ok();
    assert_eq!(topic.is_some(), is_name(name));
    if let Some(topic) = topic {
        assert!(topic.levels().eq(name.split('/')));
        for (parsed, plain) in parsed.iter().zip(&plain) {
            if let (Some(parsed), Some((_, levels))) = (parsed, plain) {
                assert_eq!(parsed.matches(topic), matches(levels, name));
            }
        }
    }
    if let ([Some(x), Some(y)], [Some((_, a)), Some((_, b))]) = (parsed, plain) {
        assert!(x.overlaps(x) && y.overlaps(y));
        assert_eq!(x.overlaps(y), y.overlaps(x));
        assert_eq!(x.overlaps(y), common(&a, &b, &mut vec![]));
        if let Some(found) = search(&a, &b) {
            assert_eq!(x.overlaps(y), found);
        }
    }
});

/// The group and the levels of a filter. MQTT 5.0 §4.7, §4.8.2.
fn filter(text: &str) -> Option<(Option<String>, Vec<String>)> {
    if text.is_empty() || text.len() > 65_535 || text.chars().any(|c| c == '\0') {
        return None;
    }
    let mut levels: Vec<String> = text.split('/').map(String::from).collect();
    let mut group = None;
    if levels[0] == "$share" && levels.len() > 1 {
        if levels.len() < 3 || levels[2..] == [String::new()] {
            return None;
        }
        let name = levels[1].clone();
        if name.is_empty() || name.contains('+') || name.contains('#') {
            return None;
        }
        group = Some(name);
        levels = levels.split_off(2);
    }
    let last = levels.len() - 1;
    let legal = |(i, level): (usize, &String)| match level.as_str() {
        "+" => true,
        "#" => i == last,
        level => level.chars().all(|c| c != '+' && c != '#'),
    };
    levels.iter().enumerate().all(legal).then_some((group, levels))
}

fn is_name(text: &str) -> bool {
    (1..=65_535).contains(&text.len()) && text.chars().all(|c| c != '\0' && c != '+' && c != '#')
}

fn matches(filter: &[String], name: &str) -> bool {
    let wild = filter[0] == "+" || filter[0] == "#";
    let name: Vec<&str> = name.split('/').collect();
    !(wild && name[0].starts_with('$')) && rest_matches(filter, &name)
}

fn rest_matches(filter: &[String], name: &[&str]) -> bool {
    match (filter.split_first(), name.split_first()) {
        (Some((level, _)), _) if level == "#" => true,
        (None, None) => true,
        (Some((level, filter)), Some((word, name))) => {
            (level == "+" || level == word) && rest_matches(filter, name)
        }
        _ => false,
    }
}

/// Whether the levels in `name` can go on to a name that both match.
fn common<'a>(a: &'a [String], b: &'a [String], name: &mut Vec<&'a str>) -> bool {
    // `#` stands for any number of levels, none included
    let may_end = |filter: &[String]| filter.is_empty() || filter[0] == "#";
    if may_end(a) && may_end(b) && !name.is_empty() && name[..] != [""] {
        return true;
    }
    let (Some(x), Some(y)) = (a.first(), b.first()) else { return false };
    let wild = |level: &str| level == "+" || level == "#";
    let level = match (wild(x), wild(y)) {
        (true, true) => "x",
        (true, false) => y,
        (false, true) => x,
        (false, false) if x == y => x,
        (false, false) => return false,
    };
    if name.is_empty() && (wild(x) || wild(y)) && level.starts_with('$') {
        return false;
    }
    name.push(level);
    common(below(a), below(b), name)
}

fn below(filter: &[String]) -> &[String] {
    if filter[0] == "#" { filter } else { &filter[1..] }
}

/// Looks for a name that both match, among all names of their levels, an empty one and one that
/// stands in neither, up to one level more than they have. `None` if those are too many.
fn search(a: &[String], b: &[String]) -> Option<bool> {
    let mut words = vec!["", "other"];
    words.extend(a.iter().chain(b).map(String::as_str).filter(|level| !["+", "#"].contains(level)));
    words.sort_unstable();
    words.dedup();
    let depth = a.len().max(b.len()) + 1;
    let count = words.len().checked_pow(u32::try_from(depth).ok()?)?;
    if count > SEARCH || words.iter().any(|word| *word != "other" && word.len() > 64) {
        return None;
    }
    let mut names: Vec<String> = words.iter().map(|word| String::from(*word)).collect();
    let mut found = false;
    for _ in 0..depth {
        found |= names.iter().any(|name| is_name(name) && matches(a, name) && matches(b, name));
        names = names
            .iter()
            .flat_map(|name| words.iter().map(move |word| format!("{name}/{word}")))
            .collect();
    }
    Some(found)
}
