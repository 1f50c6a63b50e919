//! Key files that are read, changed and written again.

use super::*;
use crate::keyring::State;
use crate::session::{Entropy, NoEntropy};
use crate::store::key_file::write::text;
use crate::wire::SenderNumber;
use std::fs;

/// Gives 32 times 1, then 32 times 2, and so on.
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, bytes: &mut [u8; 32]) -> Result<(), NoEntropy> {
        self.0 = self.0.wrapping_add(1);
        *bytes = [self.0; 32];
        Ok(())
    }
}

fn states(file: &KeyFile) -> Vec<(u32, State)> {
    file.grants().map(|grant| (grant.generation(), grant.state())).collect()
}

fn read_text(text: &str) -> KeyFile {
    KeyFile::parse(&mut text.into()).unwrap()
}

/// Every setting of every grant, and its KID somewhere.
fn described(file: &KeyFile) -> String {
    let grants = file.grants().map(|grant| format!("{grant:?}"));
    let keys = [
        ScopeRef::Path(path("plant/a", 1)),
        ScopeRef::Path(path("plant/a", 2)),
        ScopeRef::Path(path("/", 1)),
        ScopeRef::Named("temps"),
        ScopeRef::Named("a\"\n'\\\u{1}é"),
    ]
    .map(|scope| format!("{:?}", kids(&file.keyring(), scope)));
    format!("{} {:?} {keys:?}", file.realm(), grants.collect::<Vec<_>>())
}

#[test]
fn what_is_written_is_read_again() {
    let key = |byte: u8| <base64ct::Base64 as base64ct::Encoding>::encode_string(&[byte; 32]);
    let grants = [
        "kind = \"shared\"\ngeneration = 1\nstate = \"retiring\"\nnot_after = 2027-03-31",
        "kind = \"shared\"\ngeneration = 2\nsender = 0",
        "kind = \"shared\"\ngeneration = 4294967295\nstate = \"pending\"",
        "kind = \"root\"\ngeneration = 7\nsuite = \"chacha20-poly1305-commit\"",
        "kind = \"node\"\ngeneration = 1\npath = [\"plant\", \"a\"]\nsender = 1073741823",
        "kind = \"node\"\ngeneration = 1\npath = [\"\"]\nstate = \"retiring\"",
        "kind = \"node\"\ngeneration = 1\npath = []",
        "kind = \"scope\"\ngeneration = 1\npath = []\nsuite = \"chacha20-poly1305\"",
        "kind = \"scope\"\ngeneration = 1\npath = [\"a\\\"\\n\"]\nsuite = \"chacha20-poly1305\"",
        "kind = \"scope\"\ngeneration = 1\nname = \"temps\"\nsuite = \"chacha20-poly1305\"",
        "kind = \"scope\"\ngeneration = 1\nname = \"a\\\"\\n'\\\\\\u0001é\"\n\
         suite = \"chacha20-poly1305-commit\"",
    ];
    let head = String::from("realm = \"a\\\"\\n\"\n");
    let written = grants.iter().zip(1..).fold(head, |text, (grant, byte)| {
        text + &format!("[[grant]]\n{grant}\nkey = \"{}\"\n", key(byte))
    });
    let file = read_text(&written);
    assert_eq!(file.grants().count(), grants.len());
    let again = read_text(&text(&file));
    assert_eq!(described(&again), described(&file));
    assert_eq!(*text(&again), *text(&file));
}

#[test]
fn the_text_of_a_fresh_file_is_this() {
    let mut file = KeyFile::generate("r", &mut Counting(0)).unwrap();
    file.add_generation(&mut Counting(1)).unwrap();
    file.set_state(1, State::Retiring { not_after: Some(100) }).unwrap();
    assert_eq!(
        *text(&file),
        "# Whoever can read this file can open and seal: keep it to its owner (mode 0600).\n\
         realm = \"r\"\n\n\
         [[grant]]\nkind = \"shared\"\ngeneration = 1\nstate = \"retiring\"\nnot_after = 100\n\
         key = \"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\"\n\n\
         [[grant]]\nkind = \"shared\"\ngeneration = 2\nstate = \"pending\"\n\
         key = \"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\"\n"
    );
}

#[test]
fn the_text_is_made_without_moving_it() {
    let mut file = KeyFile::generate("r", &mut Counting(0)).unwrap();
    for byte in 1..20 {
        file.add_generation(&mut Counting(byte)).unwrap();
        let text = text(&file);
        assert_eq!(text.len(), text.capacity());
    }
}

#[test]
fn a_generation_lives_from_pending_to_erased() {
    let mut file = KeyFile::generate("r", &mut Counting(0)).unwrap();
    assert_eq!(states(&file), [(1, State::Active)]);
    assert_eq!(file.add_generation(&mut Counting(1)), Ok(2));
    assert_eq!(states(&file), [(1, State::Active), (2, State::Pending)]);
    let retiring = State::Retiring { not_after: Some(253_402_300_799) };
    file.set_state(1, retiring).unwrap();
    file.set_state(2, State::Active).unwrap();
    assert_eq!(states(&file), [(1, retiring), (2, State::Active)]);
    let keys = kids(&file.keyring(), ScopeRef::Named("n"));
    file.erase(1).unwrap();
    assert_eq!(states(&file), [(2, State::Active)]);
    assert_eq!(kids(&file.keyring(), ScopeRef::Named("n")), keys[1..]);
    assert_eq!(states(&read_text(&text(&file))), [(2, State::Active)]);
}

#[test]
fn a_new_generation_is_for_the_suite_and_sender_of_the_newest() {
    let lines = "kind = \"root\"\nsuite = \"chacha20-poly1305-commit\"\nsender = 5";
    let mut file = read_text(&granted(lines).replace("generation = 1", "generation = 8"));
    assert_eq!(file.add_generation(&mut Counting(0)), Ok(9));
    let new = file.grants().last().unwrap();
    assert_eq!(new.suite(), Some(Suite::ChaCha20Poly1305Commit));
    assert_eq!(new.sender(), SenderNumber::new(5));
}

#[test]
fn a_change_that_makes_no_sense_is_refused_and_changes_nothing() {
    struct Broken;
    impl Entropy for Broken {
        fn fill(&mut self, _: &mut [u8; 32]) -> Result<(), NoEntropy> {
            Err(NoEntropy)
        }
    }
    type Change = fn(&mut KeyFile) -> Result<(), EditError>;
    let unchanged = |file: &mut KeyFile, change: Change, message: &str| {
        let before = text(file);
        assert_eq!(change(file).unwrap_err().to_string(), message);
        assert_eq!(*text(file), *before);
    };
    let mut file = KeyFile::generate("r", &mut Counting(0)).unwrap();
    let one: [(Change, &str); 6] = [
        (|file| file.set_state(2, State::Active), "there is no generation 2: name one of the file"),
        (|file| file.erase(0), "there is no generation 0: name one of the file"),
        (
            |file| file.set_state(1, State::Retiring { not_after: Some(253_402_300_800) }),
            "the end is not in the years from 1970 to 9999: give it in Unix seconds",
        ),
        (
            |file| file.set_state(1, State::Retiring { not_after: Some(u64::MAX) }),
            "the end is not in the years from 1970 to 9999: give it in Unix seconds",
        ),
        (|file| file.erase(1), "generation 1 seals: make it retiring and another active first"),
        (
            |file| file.add_generation(&mut Broken).map(drop),
            "the random generator failed: no session was started",
        ),
    ];
    for (change, message) in one {
        unchanged(&mut file, change, message);
    }
    file.set_state(1, State::Pending).unwrap();
    unchanged(&mut file, |file| file.erase(1), "there is no other generation: add one first");
    file.set_state(1, State::Active).unwrap();
    file.set_state(1, State::Active).unwrap();
    file.add_generation(&mut Counting(1)).unwrap();
    unchanged(
        &mut file,
        |file| file.set_state(2, State::Active),
        "generation 1 is active: make it retiring first",
    );
    let mut last = read_text(
        &granted("kind = \"shared\"").replace("generation = 1", "generation = 4294967295"),
    );
    unchanged(
        &mut last,
        |file| file.add_generation(&mut Counting(0)).map(drop),
        "there is no generation after 4294967295: begin a new realm",
    );
    let mut device = read_text(&granted("kind = \"node\"\npath = [\"a\"]"));
    unchanged(
        &mut device,
        |file| file.add_generation(&mut Counting(0)).map(drop),
        "there is no shared or root key: add generations to the file of the authority",
    );
}

#[test]
fn the_source_of_an_editable_file_is_wiped_whatever_the_outcome() {
    for text in [granted("kind = \"root\""), granted("kind = \"tree\""), KEY.into()] {
        let mut text = text;
        let _ = KeyFile::parse(&mut text);
        assert!(text.is_empty());
    }
}

#[test]
fn debug_shows_the_realm_alone() {
    let file = read_text(&granted("kind = \"node\"\npath = [\"a\"]"));
    assert_eq!(format!("{file:?}"), "KeyFile { realm: \"r\", .. }");
}

#[test]
fn a_text_that_could_not_be_read_again_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("keys.toml");
    let long = "a".repeat(65_000);
    let node = |generation: u32| {
        format!(
            "[[grant]]\nkind = \"node\"\nstate = \"pending\"\ngeneration = {generation}\n\
             key = \"{KEY}\"\npath = [\"{long}\"]\n"
        )
    };
    let file = |count: u32| {
        read_text(&(1..=count).map(node).fold("realm = \"r\"\n".into(), |a: String, b| a + &b))
    };
    let message =
        format!("{}: a key file has at most 1048576 bytes: take more than one file", at.display());
    assert_eq!(write_new(&at, &file(17)).unwrap_err().to_string(), message);
    assert!(!at.exists());
    write_new(&at, &file(16)).unwrap();
    let before = fs::read(&at).unwrap();
    assert_eq!(replace(&at, &file(17)).unwrap_err().to_string(), message);
    assert_eq!(fs::read(&at).unwrap(), before);
}
