use super::*;
use crate::keyring::{Grant, ScopeRef, State};
use crate::secret::{NodeKey, RootKey, ScopeKey, SharedKey};
use crate::suite::Suite;
use crate::topic::{PathScope, TopicName};
use crate::wire::SenderNumber;
use crate::wire::header::KeyId;
use proptest::prelude::*;
use std::{format, string::ToString, vec};

mod disk;
mod edit;
mod ledger;
mod replace;
mod secrets;
mod share;

const KEY: &str = "3q2+78r+ur7erb7vyv66vt6tvu/K/rq+3q2+78r+ur4=";

fn error(text: &str) -> String {
    parse(&mut text.into()).unwrap_err().to_string()
}

fn key() -> [u8; 32] {
    let mut key = [0; 32];
    for (byte, value) in
        key.iter_mut().zip([0xde, 0xad, 0xbe, 0xef, 0xca, 0xfe, 0xba, 0xbe].repeat(4))
    {
        *byte = value;
    }
    key
}

fn path(topic: &str, depth: u8) -> PathScope<'_> {
    TopicName::parse(topic).unwrap().path(depth)
}

/// A grant with `lines` behind its key, the first of them in line 6.
fn granted(lines: &str) -> String {
    format!("realm = \"r\"\n[[grant]]\ngeneration = 1\nkey = \"{KEY}\"\n# here\n{lines}\n")
}

/// The KIDs that a keyring has for a scope.
fn kids(keyring: &Keyring, scope: ScopeRef<'_>) -> Vec<(Suite, KeyId)> {
    let keys = keyring.live_keys(scope, Suite::default());
    keys.keys.iter().map(|key| (key.suite, key.kid)).collect()
}

#[track_caller]
fn assert_opens_the_same(text: &str, grant: Grant) {
    let read = parse(&mut text.into()).unwrap();
    let built = Keyring::new(vec![grant]);
    let scopes = [
        ScopeRef::Path(PathScope::REALM),
        ScopeRef::Path(path("/", 1)),
        ScopeRef::Path(path("plant/a", 1)),
        ScopeRef::Path(path("plant/a", 2)),
        ScopeRef::Path(path("plant/a/b", 3)),
        ScopeRef::Path(path("plant/b", 2)),
        ScopeRef::Named("temps"),
        ScopeRef::Named("other"),
    ];
    for scope in scopes {
        assert_eq!(kids(&read, scope), kids(&built, scope), "{scope:?}");
    }
    assert!(scopes.iter().any(|scope| !kids(&built, *scope).is_empty()));
}

#[test]
fn every_kind_of_grant_opens_what_it_should() {
    let (suite, aes) = (Suite::default(), Suite::Aes256GcmCommit);
    let shared = || Grant::shared(&SharedKey::take(&mut key()), "r").unwrap();
    let scope = |scope, suite| Grant::scope(scope, suite, ScopeKey::take(&mut key()));
    assert_opens_the_same(&granted("kind = \"shared\""), shared());
    let root = Grant::root(RootKey::take(&mut key()));
    assert_opens_the_same(&granted("kind = \"root\""), root);
    for (levels, path) in [
        ("[\"plant\", \"a\"]", path("plant/a", 2)),
        ("[\"\"]", path("/", 1)),
        ("[]", PathScope::REALM),
    ] {
        let node = Grant::node(path, NodeKey::take(&mut key()));
        assert_opens_the_same(&granted(&format!("kind = \"node\"\npath = {levels}")), node);
        assert_opens_the_same(
            &granted(&format!("kind = \"scope\"\npath = {levels}\nsuite = \"{suite}\"")),
            scope(ScopeRef::Path(path), suite),
        );
    }
    assert_opens_the_same(
        &granted("kind = \"scope\"\nname = \"temps\"\nsuite = \"chacha20-poly1305\""),
        scope(ScopeRef::Named("temps"), suite),
    );
    if aes.is_built() {
        assert_opens_the_same(
            &granted(&format!("kind = \"shared\"\nsuite = \"{aes}\"")),
            shared().with_suite(aes),
        );
    }
}

#[test]
#[cfg(feature = "aes-gcm")]
fn the_example_of_the_documentation_is_a_key_file() {
    let lines = include_str!("../key_file.rs").lines();
    let example = lines.skip_while(|line| *line != "//! ```toml").skip(1);
    let example = example.take_while(|line| *line != "//! ```");
    let mut text: String = example.flat_map(|line| [&line[3..], "\n"]).collect();
    // the realm, a suite of its own, a path and a name
    for scope in [ScopeRef::Path(path("plant/a", 2)), ScopeRef::Named("temps")] {
        assert_eq!(kids(&parse(&mut text.clone()).unwrap(), scope).len(), 3, "{scope:?}");
    }
    assert!(parse(&mut text).is_ok());
}

#[test]
fn grants_keep_the_order_of_the_file() {
    let suites = [Suite::ChaCha20Poly1305, Suite::ChaCha20Poly1305Commit];
    let grant = |byte: u8| {
        let key = <base64ct::Base64 as base64ct::Encoding>::encode_string(&[byte; 32]);
        let suite = suites[usize::from(byte) - 1];
        format!(
            "[[grant]]\nkind = \"root\"\ngeneration = 1\nkey = \"{key}\"\nsuite = \"{suite}\"\n"
        )
    };
    let mut text = format!("realm = \"r\"\n{}{}", grant(2), grant(1));
    let read = parse(&mut text).unwrap();
    let built = [2, 1].map(|byte| {
        Grant::root(RootKey::take(&mut [byte; 32])).with_suite(suites[usize::from(byte) - 1])
    });
    let scope = ScopeRef::Named("n");
    assert_eq!(kids(&read, scope), kids(&Keyring::new(built.into()), scope));
    assert_eq!(kids(&read, scope).len(), 2);
}

#[test]
fn a_broken_file_names_place_fault_and_remedy() {
    const SYNTAX: &str =
        "this is not TOML: write each setting once, in a line of its own, texts in quotes";
    const NONE: &str = "there is no key: add a [[grant]]";
    let long = format!("realm = \"{}\"", "é".repeat(33));
    let cases = [
        ("", "1:1: ", "realm is missing: add realm = …"),
        ("realm = 1", "1:9: ", "realm has the wrong type: write a text, as in \"…\""),
        (&long, "1:9: ", "a realm has at most 64 bytes, this one has 66: shorten it"),
        ("realm = \"a\\u0000\"", "1:9: ", "a realm must not contain U+0000: remove it"),
        ("realm = \"\"", "1:1: ", NONE),
        ("realm = \"\"\ngrant = []", "2:9: ", NONE),
        ("relm = \"\"", "1:1: ", "unknown key: did you mean \"realm\"?"),
        ("realm = \"\"\nversion = 2", "2:1: ", "unknown key: use realm, grant or allotted"),
        (
            "realm = \"\"\n[grant]",
            "2:1: ",
            "grant has the wrong type: write sections, each under the name in double brackets",
        ),
        ("realm = \"a\nb\"", "1:11: ", SYNTAX),
        ("realm = \"a\"\nrealm = \"b\"", "2:1: ", SYNTAX),
        ("realm = \"a\"\n[[grant]]\nkey = 3q2+78r+ur7erb7vyv66vt6t", "3:7: ", SYNTAX),
    ];
    for (text, place, message) in cases {
        assert_eq!(error(text), format!("{place}{message}"), "{text}");
    }
}

#[test]
fn a_broken_grant_names_place_fault_and_remedy() {
    const WHAT: &str = "a scope has either a path or a name: write path = [\"…\"] or name = \"…\"";
    const LEVEL: &str = "a level contains no '/', '+', '#' and U+0000: write a/b as [\"a\", \"b\"]";
    const NAME: &str = "the name of a scope has 1 to 65535 bytes and no U+0000";
    const LONG: &str = "a path has at most 16 levels and 65535 bytes: shorten it";
    let deep = format!("kind = \"node\"\npath = [{}]", "\"\",".repeat(17));
    let wide = format!("kind = \"node\"\npath = [\"{}\"]", "a".repeat(65_536));
    let cases = [
        ("", "2:1: ", "kind is missing: add kind = …"),
        (
            "kind = \"tree\"",
            "6:8: ",
            "kind has no such value: use \"shared\", \"root\", \"node\" or \"scope\"",
        ),
        ("kind = 1", "6:8: ", "kind has the wrong type: write a text, as in \"…\""),
        ("kid = \"root\"", "6:1: ", "unknown key: did you mean \"kind\"?"),
        (
            "kind = \"root\"\nowner = 1",
            "7:1: ",
            "unknown key: use kind, generation, state, not_after, sender, created, key, path, name \
             or suite",
        ),
        (
            "kind = \"shared\"\npath = []",
            "7:1: ",
            "path has no meaning under kind = \"shared\": remove one of them",
        ),
        (
            "kind = \"root\"\nname = \"a\"",
            "7:1: ",
            "name has no meaning under kind = \"root\": remove one of them",
        ),
        (
            "kind = \"node\"\nname = \"a\"",
            "7:1: ",
            "name has no meaning under kind = \"node\": remove one of them",
        ),
        ("kind = \"node\"", "2:1: ", "a node needs a path: add path = [\"…\"] with its levels"),
        (
            "kind = \"node\"\npath = \"plant/a\"",
            "7:8: ",
            "path has the wrong type: write a list of texts, as in [\"…\", \"…\"]",
        ),
        ("kind = \"node\"\npath = [\"plant\", \"a/b\"]", "7:18: ", LEVEL),
        ("kind = \"node\"\npath = [\"+\"]", "7:9: ", LEVEL),
        ("kind = \"node\"\npath = [\"#\"]", "7:9: ", LEVEL),
        ("kind = \"node\"\npath = [\"\\u0000\"]", "7:9: ", LEVEL),
        (&deep, "7:8: ", LONG),
        (&wide, "7:8: ", LONG),
        ("kind = \"scope\"\nsuite = \"aes-256-gcm\"", "2:1: ", WHAT),
        ("kind = \"scope\"\npath = []\nname = \"a\"", "8:1: ", WHAT),
        (
            "kind = \"scope\"\nname = \"a\"",
            "2:1: ",
            "a scope key is for one suite: add suite = \"…\"",
        ),
        ("kind = \"scope\"\nname = \"\"", "7:8: ", NAME),
        ("kind = \"scope\"\nname = \"\\u0000\"", "7:8: ", NAME),
        (
            "kind = \"scope\"\nname = \"$a\"",
            "7:8: ",
            "names of scopes that begin with '$' are reserved: choose another",
        ),
        (
            "kind = \"root\"\nsuite = \"rot13\"",
            "7:9: ",
            "suite has no such value: use \"chacha20-poly1305\", \"aes-256-gcm\", \
             \"aes-256-gcm-siv\", \"chacha20-poly1305-commit\" or \"aes-256-gcm-commit\"",
        ),
    ];
    for (lines, place, message) in cases {
        assert_eq!(error(&granted(lines)), format!("{place}{message}"), "{lines}");
    }
}

#[test]
fn a_broken_generation_names_place_fault_and_remedy() {
    const RANGE: &str = "a generation has a number from 1 to 4294967295: count from 1";
    let text = granted("kind = \"root\"");
    let cases = [
        ("", "2:1: ", "generation is missing: add generation = …"),
        ("generation = 0", "3:14: ", RANGE),
        ("generation = -1", "3:14: ", RANGE),
        ("generation = 4294967296", "3:14: ", RANGE),
        ("generation = 99999999999999999999999", "3:14: ", RANGE),
        ("generation = \"1\"", "3:14: ", "generation has the wrong type: write a whole number"),
    ];
    for (line, place, message) in cases {
        let text = text.replace("generation = 1", line);
        assert_eq!(error(&text), format!("{place}{message}"), "{line}");
    }
}

fn states(text: &str) -> Vec<(u32, State, Option<u32>)> {
    let file = KeyFile::parse(&mut text.into()).unwrap();
    let of =
        |grant: &Grant| (grant.generation(), grant.state(), grant.sender().map(SenderNumber::get));
    file.grants().map(of).collect()
}

#[test]
fn generation_state_and_sender_reach_the_grant_of_every_kind() {
    let retiring = |not_after| State::Retiring { not_after };
    let day = Some(1_806_537_599);
    for kind in [
        "kind = \"shared\"",
        "kind = \"root\"",
        "kind = \"node\"\npath = []",
        "kind = \"scope\"\nname = \"n\"\nsuite = \"chacha20-poly1305\"",
    ] {
        for (lines, state, sender) in [
            ("", State::Active, None),
            ("state = \"active\"", State::Active, None),
            ("state = \"pending\"\nsender = 0", State::Pending, Some(0)),
            ("state = \"retiring\"\nsender = 1073741823", retiring(None), Some(1_073_741_823)),
            ("state = \"retiring\"\nnot_after = 2027-03-31", retiring(day), None),
            ("state = \"retiring\"\nnot_after = 2027-03-31T23:59:59Z", retiring(day), None),
            ("state = \"retiring\"\nnot_after = 2027-04-01T01:59:59.9+02:00", retiring(day), None),
            ("state = \"retiring\"\nnot_after = 1806537599", retiring(day), None),
        ] {
            for generation in [1, 2, u32::MAX] {
                let text = granted(&format!("{kind}\n{lines}"));
                let text = text.replace("generation = 1", &format!("generation = {generation}"));
                assert_eq!(states(&text), [(generation, state, sender)], "{text}");
            }
        }
    }
}

#[test]
fn a_broken_state_or_sender_names_place_fault_and_remedy() {
    const UNUSED: &str =
        "not_after has a meaning only with state = \"retiring\": remove one of them";
    const SHAPE: &str = "not_after has the wrong type: \
         write 2027-03-31, 2027-03-31T23:59:59Z or a whole number of Unix seconds";
    const RANGE: &str =
        "not_after is not in the years from 1970 to 9999: check the date and the unit";
    const SENDER: &str =
        "a sender has a number from 0 to 1073741823: write the one that was allotted";
    let cases = [
        (
            "state = \"erased\"",
            "7:9: ",
            "state has no such value: use \"pending\", \"active\" or \"retiring\"",
        ),
        ("state = 1", "7:9: ", "state has the wrong type: write a text, as in \"…\""),
        ("not_after = 2027-03-31", "7:1: ", UNUSED),
        ("not_after = 2027-03-31\nstate = \"active\"", "7:1: ", UNUSED),
        ("state = \"pending\"\nnot_after = 2027-03-31", "8:1: ", UNUSED),
        ("state = \"retiring\"\nnot_after = \"soon\"", "8:13: ", SHAPE),
        ("state = \"retiring\"\nnot_after = 2027-03-31T23:59:59", "8:13: ", SHAPE),
        ("state = \"retiring\"\nnot_after = -1", "8:13: ", RANGE),
        ("state = \"retiring\"\nnot_after = 253402300800", "8:13: ", RANGE),
        ("sender = 1073741824", "7:10: ", SENDER),
        ("sender = -1", "7:10: ", SENDER),
        ("sender = 99999999999999999999999", "7:10: ", SENDER),
        ("sender = \"7\"", "7:10: ", "sender has the wrong type: write a whole number"),
    ];
    for (lines, place, message) in cases {
        let text = granted(&format!("kind = \"root\"\n{lines}"));
        assert_eq!(error(&text), format!("{place}{message}"), "{lines}");
    }
}

#[test]
fn two_grants_for_the_same_contradict_at_the_second() {
    const SAME: &str = "an earlier grant for the same has this generation: remove one of them";
    const ACTIVE: &str =
        "an earlier grant for the same is active: make one of them pending or retiring";
    let suite = "suite = \"chacha20-poly1305\"";
    let kinds = [
        String::from("kind = \"shared\""),
        String::from("kind = \"root\""),
        format!("kind = \"root\"\n{suite}"),
        String::from("kind = \"node\"\npath = [\"a\"]"),
        String::from("kind = \"node\"\npath = [\"a\", \"\"]"),
        String::from("kind = \"node\"\npath = []"),
        String::from("kind = \"node\"\npath = [\"\"]"),
        format!("kind = \"scope\"\npath = [\"a\"]\n{suite}"),
        format!("kind = \"scope\"\nname = \"a\"\n{suite}"),
        format!("kind = \"scope\"\nname = \"b\"\n{suite}"),
        String::from("kind = \"scope\"\nname = \"a\"\nsuite = \"chacha20-poly1305-commit\""),
    ];
    // the second grant begins behind the first
    let lines = |text: &str| text.lines().count();
    for (index, first) in kinds.iter().enumerate() {
        for (other, second) in kinds.iter().enumerate() {
            let text = |generation: &str| {
                let first = granted(first);
                let at = lines(&first);
                let second = format!("[[grant]]\n{generation}\nkey = \"{KEY}\"\n{second}\n");
                (format!("{first}{second}"), at)
            };
            if index != other {
                for generation in ["generation = 1", "generation = 2"] {
                    assert_eq!(states(&text(generation).0).len(), 2, "{first} {second}");
                }
                continue;
            }
            for state in ["", "\nstate = \"pending\""] {
                let (text, at) = text(&format!("generation = 1{state}"));
                assert_eq!(error(&text), format!("{}:14: {SAME}", at + 2), "{second}");
            }
            let (broken, at) = text("generation = 2");
            assert_eq!(error(&broken), format!("{}:14: {ACTIVE}", at + 2), "{second}");
            let (broken, at) = text("generation = 2\nstate = \"active\"");
            assert_eq!(error(&broken), format!("{}:9: {ACTIVE}", at + 3), "{second}");
            for state in ["pending", "retiring"] {
                let (text, _) = text(&format!("generation = 2\nstate = \"{state}\""));
                assert_eq!(states(&text).len(), 2);
            }
        }
    }
}

#[test]
fn a_broken_key_names_place_fault_and_remedy() {
    const BASE64: &str =
        "a key is base64 in the standard alphabet with padding: copy it again, in one line";
    let of = |len| <base64ct::Base64 as base64ct::Encoding>::encode_string(&vec![7; len]);
    let text = granted("kind = \"root\"");
    let with = |key: &str| text.replace(KEY, key);
    for len in (0..70).filter(|len| *len != 32) {
        assert_eq!(
            error(&with(&of(len))),
            format!("4:7: a key has 32 bytes, this one has {len}: check that it is whole")
        );
    }
    let slips = [
        KEY.trim_end_matches('=').to_string(),
        KEY.replace('+', "-"),
        KEY.replace('/', "_"),
        KEY.replace("ur4=", "ur5="),
        format!("{KEY} "),
        format!(" {KEY}"),
        KEY.replace("78r+", "78r\\n"),
        KEY.replace("78r+", "78rä"),
    ];
    for slip in slips {
        assert_eq!(error(&with(&slip)), format!("4:7: {BASE64}"), "{slip}");
    }
    assert_eq!(
        error(&text.replace(&format!("\"{KEY}\""), "7")),
        "4:7: key has the wrong type: write a text, as in \"…\""
    );
    assert_eq!(
        error(&text.replace(&format!("key = \"{KEY}\""), "")),
        "2:1: key is missing: add key = …"
    );
}

#[test]
#[cfg(not(feature = "aes-gcm-siv"))]
fn a_suite_that_is_not_built_is_refused_at_once() {
    assert_eq!(
        error(&granted("kind = \"root\"\nsuite = \"aes-256-gcm-siv\"")),
        "7:9: suite aes-256-gcm-siv is not in this build: switch on its cargo feature"
    );
}

#[test]
fn a_key_in_an_inline_table_is_read() {
    let text =
        format!("realm = \"r\"\ngrant = [{{ key = \"{KEY}\", kind = 'root', generation = 1 }}]\n");
    assert_opens_the_same(&text, Grant::root(RootKey::take(&mut key())));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(mut text in any::<String>()) {
        let _ = parse(&mut text);
    }

    #[test]
    fn text_made_of_pieces_of_key_files_never_panics(pieces in pieces()) {
        let _ = parse(&mut pieces.concat());
    }

    #[test]
    fn masking_keeps_the_place_of_every_character(text in any::<String>()) {
        prop_assert_eq!(without_keys(&text).chars().count(), text.chars().count());
    }
}

fn pieces() -> impl Strategy<Value = Vec<&'static str>> {
    const PIECES: &[&str] = &[
        "realm = \"r\"\n",
        "[[grant]]\n",
        "grant",
        "kind = ",
        "\"node\"\n",
        "\"scope\"\n",
        "key",
        " = ",
        "\"",
        KEY,
        "path = [",
        "]",
        "\n",
        "{",
        "}",
        "name = \"\"\n",
        "generation = 1\n",
        "generation = 2\n",
        "state = \"retiring\"\n",
        "not_after = 2027-03-31\n",
        "sender = 7\n",
        "\\",
        "'",
        "\"\"\"",
        "#",
        "ä",
        "\r",
        "suite = \"aes-256-gcm\"\n",
        "\0",
    ];
    prop::collection::vec(prop::sample::select(PIECES), 0..40)
}
