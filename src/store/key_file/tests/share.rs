//! What devices are given: all that they should have, and nothing else.

use super::*;
use crate::guard::{Guard, Incoming, OpenError, Outgoing};
use crate::keyring::State;
use crate::policy::{Link, Links, Policy, Rule, Scope};
use crate::schedule;
use crate::wire::SenderNumber;

fn authority() -> KeyFile {
    let mut file = KeyFile::generate("r", &mut getrandom::SysRng).unwrap();
    file.add_generation(&mut getrandom::SysRng).unwrap();
    file.set_state(1, State::Retiring { not_after: Some(100) }).unwrap();
    file.set_state(2, State::Active).unwrap();
    file.add_generation(&mut getrandom::SysRng).unwrap();
    file
}

fn base64(bytes: &[u8; 32]) -> String {
    <base64ct::Base64 as base64ct::Encoding>::encode_string(bytes)
}

fn node(path: PathScope<'_>) -> Share<'_> {
    Share::Node(path)
}

fn named(name: &str) -> Share<'_> {
    Share::Scope(ScopeRef::Named(name), Suite::default())
}

#[test]
fn a_device_has_every_generation_in_its_state_and_its_sender_number() {
    let (authority, sender) = (authority(), SenderNumber::new(7));
    let shares = [node(path("plant/a", 2)), named("temps")];
    let device = authority.grant_for(&shares, sender).unwrap();
    assert_eq!(device.realm(), "r");
    let of = |file: &KeyFile| -> Vec<_> {
        file.grants().map(|grant| (grant.generation(), grant.state())).collect()
    };
    assert_eq!(of(&device), [of(&authority), of(&authority)].concat());
    assert!(device.grants().all(|grant| grant.sender() == sender));
    let alone = authority.grant_for(&shares, None).unwrap();
    assert!(alone.grants().all(|grant| grant.sender().is_none()));
    for scope in [ScopeRef::Path(path("plant/a/b", 3)), ScopeRef::Named("temps")] {
        assert_eq!(kids(&device.keyring(), scope), kids(&authority.keyring(), scope));
        assert_eq!(kids(&device.keyring(), scope).len(), 3);
    }
    for scope in [ScopeRef::Path(path("plant/b", 2)), ScopeRef::Named("other")] {
        assert!(kids(&device.keyring(), scope).is_empty());
    }
}

#[test]
fn a_file_of_a_device_holds_the_keys_of_its_shares_and_no_others() {
    let authority = authority();
    let (plant, suite) = (path("plant", 1), Suite::default());
    let shares = [
        node(path("plant/a", 2)),
        named("temps"),
        Share::Scope(ScopeRef::Path(path("plant/b", 2)), suite),
        Share::Scope(ScopeRef::Path(PathScope::REALM), suite),
    ];
    let text = write::text(&authority.grant_for(&shares, SenderNumber::new(1)).unwrap());
    let mut expected = vec![];
    for entry in &authority.entries {
        let shared = entry.shared.as_ref().unwrap();
        let root = schedule::root(shared, "r").unwrap();
        let start = schedule::descend(schedule::root_node(&root), plant.levels());
        let [a, b] = ["a", "b"].map(|level| schedule::node(&start, level));
        for (name, secret) in [
            ("shared", *shared.expose()),
            ("root", *root.expose()),
            ("node above", *start.expose()),
            ("node beside", *b.expose()),
        ] {
            assert!(!text.contains(&base64(&secret)), "the {name} key is in the file");
        }
        expected.push([
            base64(a.expose()),
            base64(schedule::named_scope(&root, "temps", suite).expose()),
            base64(schedule::scope(&b, suite).expose()),
            base64(schedule::path_scope(&root, PathScope::REALM, suite).expose()),
        ]);
    }
    let keys: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("key = ")).collect();
    assert_eq!(keys.len(), expected.len() * shares.len());
    let all_of_one_share = |share: usize| expected.iter().map(move |keys| &keys[share]);
    let expected: Vec<_> =
        (0..shares.len()).flat_map(all_of_one_share).map(|key| format!("\"{key}\"")).collect();
    assert_eq!(keys, expected);
    assert!(!text.contains("\"shared\"") && !text.contains("\"root\""));
}

#[test]
fn a_device_shares_what_it_has_and_no_more() {
    let device = authority().grant_for(&[node(path("plant/a", 2))], None).unwrap();
    let below = device.grant_for(&[node(path("plant/a/b", 3))], None).unwrap();
    let scope = ScopeRef::Path(path("plant/a/b/c", 4));
    assert_eq!(kids(&below.keyring(), scope), kids(&device.keyring(), scope));
    for share in [node(path("plant", 1)), node(path("plant/b", 2)), named("temps")] {
        assert_eq!(
            device.grant_for(&[share], None).unwrap_err().to_string(),
            "share 1: no grant of the file covers it: cut it from a file that holds more"
        );
    }
}

#[test]
fn a_key_that_comes_twice_is_entered_once() {
    let shares = [named("n"), named("n")];
    assert_eq!(authority().grant_for(&shares, None).unwrap().grants().count(), 3);
}

#[test]
fn a_share_that_makes_no_sense_names_what_to_do() {
    let authority = read_as_is(&granted("kind = \"shared\"\nsender = 5"));
    let good = named("n");
    let deep = ["a"; 17].join("/");
    let plus = PathScope::from_parts("a/+", 2).unwrap();
    let cases: [(Share<'_>, &str); 7] = [
        (node(PathScope::REALM), "a node of no levels is the root key: name at least one level"),
        (named(""), "the name of a scope has 1 to 65535 bytes and no U+0000"),
        (named("\0"), "the name of a scope has 1 to 65535 bytes and no U+0000"),
        (named("$a"), "names of scopes that begin with '$' are reserved: choose another"),
        (node(plus), "a level contains no '/', '+', '#' and U+0000: write a/b as [\"a\", \"b\"]"),
        (
            Share::Scope(ScopeRef::Path(plus), Suite::default()),
            "a level contains no '/', '+', '#' and U+0000: write a/b as [\"a\", \"b\"]",
        ),
        (
            node(PathScope::from_parts(&deep, 17).unwrap()),
            "a path has at most 16 levels and 65535 bytes: shorten it",
        ),
    ];
    for (share, message) in cases {
        let error = authority.grant_for(&[good, share], None).unwrap_err();
        assert_eq!(error.to_string(), format!("share 2: {message}"));
    }
    let error = |shares: &[Share<'_>], sender| {
        authority.grant_for(shares, SenderNumber::new(sender)).unwrap_err().to_string()
    };
    assert_eq!(error(&[], 1), "a device needs a key: name a node or a scope");
    assert_eq!(
        error(&[good], 5),
        "sender number 5 belongs to the holder of the file: allot another"
    );
}

fn read_as_is(text: &str) -> KeyFile {
    KeyFile::parse(&mut text.into()).unwrap()
}

#[test]
fn grants_that_contradict_below_are_refused() {
    let second = |lines: &str| {
        let other = base64(&[1; 32]);
        let text = granted("kind = \"shared\"");
        read_as_is(&format!("{text}[[grant]]\nkey = \"{other}\"\n{lines}\n"))
    };
    let error = |file: &KeyFile| file.grant_for(&[named("n")], None).unwrap_err().to_string();
    assert_eq!(
        error(&second("kind = \"root\"\ngeneration = 1")),
        "share 1: two keys of generation 1 cover it: remove one of them"
    );
    assert_eq!(
        error(&second("kind = \"root\"\ngeneration = 2")),
        "share 1: two active generations cover it: make one of them retiring first"
    );
    // a root key that is that of the shared key
    let root = schedule::root(&SharedKey::take(&mut key()), "r").unwrap();
    let file = granted("kind = \"shared\"");
    let root = base64(root.expose());
    let file = format!("{file}[[grant]]\nkind = \"root\"\ngeneration = 1\nkey = \"{root}\"\n");
    let device = read_as_is(&file).grant_for(&[named("n")], None).unwrap();
    assert_eq!(device.grants().count(), 1);
}

/// Where a key may be for, in a realm of named scopes and paths of a few levels.
#[derive(Debug, Clone)]
enum Place {
    Node(String, u8),
    Path(String, u8),
    Named(String),
}

impl Place {
    fn share(&self) -> Share<'_> {
        match self {
            Self::Node(text, levels) => node(PathScope::from_parts(text, *levels).unwrap()),
            Self::Path(text, levels) => {
                let path = PathScope::from_parts(text, *levels).unwrap();
                Share::Scope(ScopeRef::Path(path), Suite::default())
            }
            Self::Named(name) => named(name),
        }
    }

    /// Whether a key for here opens `scope`, told by the levels as texts.
    fn covers(&self, scope: &Scope, topic: &str) -> bool {
        let levels: Vec<_> = topic.split('/').collect();
        let own = |text: &str, depth: u8| -> Vec<String> {
            if depth == 0 { vec![] } else { text.split('/').map(Into::into).collect() }
        };
        match (self, scope) {
            (Self::Named(own), Scope::Named(name)) => own == name,
            (Self::Node(text, levels_of), Scope::Path { depth }) => {
                let scope = &levels[..levels.len().min(usize::from(*depth))];
                let own = own(text, *levels_of);
                scope.len() >= own.len() && scope[..own.len()] == own
            }
            (Self::Path(text, levels_of), Scope::Path { depth }) => {
                let scope = &levels[..levels.len().min(usize::from(*depth))];
                scope == own(text, *levels_of)
            }
            _ => false,
        }
    }
}

/// Names with few letters and many empty levels, so that they often meet.
fn topics() -> impl Strategy<Value = String> {
    "[ab]{0,1}(/[ab]{0,1}){0,3}".prop_filter("a topic has a character", |text| !text.is_empty())
}

fn places() -> impl Strategy<Value = Place> {
    let cut = |(topic, depth): (String, u8)| {
        let path = TopicName::parse(&topic).unwrap().path(depth);
        (String::from(path.as_str()), path.depth())
    };
    prop_oneof![
        3 => (topics(), 1_u8..4).prop_map(cut).prop_map(|(text, levels)| Place::Node(text, levels)),
        3 => (topics(), 0_u8..4).prop_map(cut).prop_map(|(text, levels)| Place::Path(text, levels)),
        1 => "[mn]".prop_map(Place::Named),
    ]
}

fn scopes() -> impl Strategy<Value = Scope> {
    prop_oneof![
        3 => (0_u8..5).prop_map(|depth| Scope::Path { depth }),
        1 => "[mn]".prop_map(Scope::Named),
    ]
}

fn guard(file: &KeyFile, scope: &Scope) -> Guard {
    let rule = Rule::sealed(["#"]).scope(scope.clone()).build().unwrap();
    Guard::new(Policy::new(vec![rule]), file.keyring(), Links::Tcp).unwrap()
}

fn open(file: &KeyFile, scope: &Scope, topic: &str, bytes: &[u8]) -> Result<Vec<u8>, OpenError> {
    let (_, mut rx) = guard(file, scope).split();
    let mut out = vec![];
    rx.open(&Incoming::new(topic, bytes, Link::Tcp), &mut out).map(|_| out)
}

fn seal(file: &KeyFile, scope: &Scope, topic: &str) -> Option<Vec<u8>> {
    let (mut tx, _) = guard(file, scope).split();
    tx.connected("c");
    let mut out = vec![];
    tx.seal(&Outgoing::new(topic, b"27"), &mut out).ok().map(|_| out)
}

proptest! {
    #[test]
    fn a_device_opens_and_seals_what_its_place_covers_and_nothing_else(
        place in places(),
        scope in scopes(),
        topic in topics(),
    ) {
        let authority = authority();
        let device = authority.grant_for(&[place.share()], None).unwrap();
        // as the device reads it
        let device = read_as_is(&write::text(&device));
        let sealed = seal(&authority, &scope, &topic).unwrap();
        let opened = open(&device, &scope, &topic, &sealed);
        let answer = seal(&device, &scope, &topic);
        if place.covers(&scope, &topic) {
            prop_assert_eq!(opened, Ok(b"27".to_vec()));
            prop_assert_eq!(open(&authority, &scope, &topic, &answer.unwrap()), Ok(b"27".to_vec()));
        } else {
            prop_assert_eq!(opened, Err(OpenError::UnknownKey));
            prop_assert_eq!(answer, None);
        }
    }

    #[test]
    fn what_one_device_seals_another_opens_only_where_both_are_at_home(
        places in [places(), places()],
        scope in scopes(),
        topic in topics(),
    ) {
        let authority = authority();
        let [a, b] = places.each_ref().map(|place| {
            authority.grant_for(&[place.share()], None).unwrap()
        });
        if let Some(sealed) = seal(&a, &scope, &topic) {
            prop_assert!(places[0].covers(&scope, &topic));
            let opened = open(&b, &scope, &topic, &sealed).is_ok();
            prop_assert_eq!(opened, places[1].covers(&scope, &topic));
        }
    }

    #[test]
    fn no_two_places_have_the_same_key(places in [places(), places()]) {
        let authority = authority();
        let [a, b] = places.each_ref().map(|place| {
            let device = authority.grant_for(&[place.share()], None).unwrap();
            device.entries.iter().map(|entry| *entry.expose()).collect::<Vec<_>>()
        });
        let same = places[0].share() == places[1].share();
        for key in a {
            prop_assert_eq!(b.contains(&key), same);
        }
    }
}
