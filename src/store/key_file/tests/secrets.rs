//! No key is shown, whatever is wrong.

use super::*;

#[test]
fn the_source_is_wiped_whatever_the_outcome() {
    for text in [granted("kind = \"root\""), granted("kind = \"tree\""), KEY.into()] {
        let mut text = text;
        let _ = parse(&mut text);
        assert!(text.is_empty());
    }
}

/// Key files with a slip at every place, and with the key in every wrong place.
fn broken() -> Vec<String> {
    let text = granted("kind = \"node\"\npath = [\"plant\", \"a\"]\nsuite = \"aes-256-gcm\"");
    let mut broken = vec![];
    for (at, c) in text.char_indices() {
        let (before, behind) = text.split_at(at);
        let rest = &behind[c.len_utf8()..];
        broken.push(before.into());
        broken.push(format!("{before}{rest}"));
        for new in ["\"", "'", "\n", "=", "[", "{", "-", "\\", "#", "\0", "ä", "A", " "] {
            broken.push(format!("{before}{new}{rest}"));
            broken.push(format!("{before}{new}{behind}"));
        }
    }
    let quoted = format!("\"{KEY}\"");
    for (good, bad) in [
        ("\"r\"", quoted.clone()),
        ("\"node\"", quoted.clone()),
        ("\"aes-256-gcm\"", quoted.clone()),
        ("\"plant\"", quoted.replace('=', "#")),
        ("[\"plant\", \"a\"]", quoted.clone()),
        ("generation = 1", format!("generation = {quoted}")),
        ("generation = 1", format!("generation = {KEY}")),
        ("generation = 1", format!("{quoted} = 1")),
        ("generation = 1", format!("{} = 1", KEY.replace(['+', '/', '='], "-"))),
        ("realm = \"r\"", format!("{quoted} = \"key\"")),
        ("[[grant]]", format!("[[{quoted}]]")),
        ("[[grant]]", format!("[[{KEY}]]")),
        ("# here", KEY.into()),
        ("# here", format!("name = {quoted}")),
        (&quoted, KEY.into()),
        (&quoted, format!("\"{KEY}")),
        (&quoted, format!("\"{}\"", &KEY[..40])),
        (&quoted, format!("\"{KEY}{KEY}\"")),
        (&quoted, format!("\"\"\"\n{KEY}\"\"\"")),
        (&quoted, format!("[{quoted}]")),
        (&quoted, format!("{{ key = {quoted}")),
    ] {
        broken.push(text.replace(good, &bad));
    }
    broken
}

fn assert_no_secret(shown: &str, text: &str) {
    for window in KEY.as_bytes().windows(6) {
        let piece = core::str::from_utf8(window).unwrap();
        assert!(!shown.contains(piece), "{shown:?} shows {piece} of {text:?}");
    }
}

#[test]
fn no_error_shows_six_characters_of_a_key() {
    let mut errors = 0;
    for text in broken() {
        match parse(&mut text.clone()) {
            Ok(keyring) => assert_no_secret(&format!("{keyring:?}"), &text),
            Err(error) => {
                errors += 1;
                assert_no_secret(&format!("{error} {error:?} {error:#?}"), &text);
                assert!(core::error::Error::source(&error).is_none());
            }
        }
    }
    assert!(errors > 3500, "{errors}");
}

#[test]
fn masking_hides_the_key_and_keeps_every_place() {
    for text in [
        granted("kind = \"root\""),
        format!("key = {KEY}\n"),
        format!("key='{KEY}' # note\n"),
        format!("grant = [{{ kind = \"root\", key = \"{KEY}\", generation = 1 }}]\n"),
        format!("\"key\" = \"{KEY}\n"),
    ] {
        let masked = without_keys(&text);
        assert_eq!(masked.chars().count(), text.chars().count());
        assert_eq!(masked.lines().count(), text.lines().count());
        assert_no_secret(&masked, &text);
    }
    assert_eq!(without_keys("key = 7\nkey = \"ab\\n\"\n"), "key = 7\nkey = \"AA\\n\"\n");
    let rest = "realm = \"r\"\nkind = \"node\" # x = \"y\"";
    assert_eq!(without_keys(rest), rest);
}
