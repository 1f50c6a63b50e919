use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::seen::{MAX_DEVICES, MAX_RUNS, Nonces, Refused, Seen};
use super::*;
use crate::secret::SharedKey;
use crate::session::{Entropy, NoEntropy};

fn nonces(number: u64) -> Nonces {
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    [nonce, [1; 16]]
}

#[test]
fn too_many_runs_of_a_device_are_refused_until_30_seconds_are_over() {
    let mut seen = Seen::default();
    for number in 0..MAX_RUNS {
        let number = u64::try_from(number).unwrap();
        assert_eq!(seen.accept("a", nonces(number), 1_000, 1_000), Ok(()));
    }
    assert_eq!(seen.accept("a", nonces(99), 31_000, 31_000), Err(Refused::Full));
    assert_eq!(seen.accept("b", nonces(99), 31_000, 31_000), Ok(()));
    assert_eq!(seen.accept("a", nonces(99), 31_001, 31_001), Ok(()));
    assert_eq!(seen.size(), (2, 2));
}

#[test]
fn clock_that_was_set_back_makes_nobody_wait() {
    let mut seen = Seen::default();
    for number in 0..MAX_RUNS {
        let number = u64::try_from(number).unwrap();
        assert_eq!(seen.accept("a", nonces(number), 90_000, 90_000), Ok(()));
    }
    assert_eq!(seen.accept("a", nonces(99), 50_000, 50_000), Ok(()));
}

#[test]
fn too_many_devices_are_refused_until_30_seconds_are_over() {
    let mut seen = Seen::default();
    let names: Vec<String> = (0..MAX_DEVICES).map(|number| number.to_string()).collect();
    for name in &names {
        assert_eq!(seen.accept(name, nonces(0), 1_000, 1_000), Ok(()));
    }
    assert_eq!(seen.accept("a", nonces(0), 31_000, 31_000), Err(Refused::Full));
    assert_eq!(seen.accept(&names[0], nonces(1), 31_000, 31_000), Ok(()), "it is known");
    assert_eq!(seen.accept("a", nonces(0), 31_001, 31_001), Ok(()));
    assert_eq!(seen.size().0, 2);
}

#[test]
fn a_mark_ahead_of_the_clock_counts_as_absent() {
    let mut seen = Seen::default();
    assert_eq!(seen.accept("a", nonces(0), 50_000, 50_000), Ok(()));
    // the clock was set back
    assert_eq!(seen.accept("a", nonces(1), 40_000, 40_000), Ok(()));
    assert_eq!(seen.accept("a", nonces(0), 40_000, 40_000), Err(Refused::Repeated));
    assert_eq!(seen.accept("a", nonces(2), 39_999, 40_000), Err(Refused::Older));
}

struct Constant;

impl Entropy for Constant {
    fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), NoEntropy> {
        *out = [9; 32];
        Ok(())
    }
}

struct Broken;

impl Entropy for Broken {
    fn fill(&mut self, _: &mut [u8; 32]) -> Result<(), NoEntropy> {
        Err(NoEntropy)
    }
}

fn key() -> PeerKey {
    PeerKey::pairwise(&SharedKey::take(&mut [7; 32]), "acme-prod").unwrap()
}

fn names() -> Names<'static> {
    Names {
        device: PeerId::parse("d").unwrap(),
        authority: PeerId::parse("a").unwrap(),
        broker: BrokerName::parse("b:1").unwrap(),
        request: TopicName::parse("req").unwrap(),
        response: TopicName::parse("res").unwrap(),
    }
}

fn tell<'a>(
    authority: &mut Authority,
    enrolled: &'a PeerKey,
    bytes: &'a [u8],
    rng: &mut dyn Entropy,
    out: &mut Vec<u8>,
) -> Result<Action<'a>, RequestError> {
    let ledger = |_: &str| Some(Enrolled { key: enrolled, response: names().response, serial: 1 });
    authority.receive(&Record { topic: "req", bytes, now: 5 }, ledger, rng, &[], out)
}

#[test]
fn the_authority_remembers_a_run_when_it_is_complete_and_not_before() {
    let (enrolled, mut device) = (key(), Device::new(key(), &names()));
    let mut authority = Authority::new(names().authority, names().request, 0);
    authority.vouch(names().broker, Vec::new());
    let [mut m1, mut m2, mut m3] = [const { Vec::new() }; 3];
    device.start(0, &mut Constant, &[], &mut m1).unwrap();
    tell(&mut authority, &enrolled, &m1, &mut Constant, &mut m2).unwrap();
    assert_eq!(authority.remembered(), (0, 0));
    let record = Record { topic: "res", bytes: &m2, now: 0 };
    device.receive(&record, Hop::Plain, &mut m3).unwrap();
    tell(&mut authority, &enrolled, &m3, &mut Constant, &mut m2).unwrap();
    assert_eq!(authority.remembered(), (1, 1));
}

#[test]
fn a_confirmation_over_a_broker_that_was_disowned_since_is_refused() {
    let (enrolled, mut device) = (key(), Device::new(key(), &names()));
    let mut authority = Authority::new(names().authority, names().request, 0);
    authority.vouch(names().broker, Vec::new());
    let [mut m1, mut m2, mut m3] = [const { Vec::new() }; 3];
    device.start(0, &mut Constant, &[], &mut m1).unwrap();
    tell(&mut authority, &enrolled, &m1, &mut Constant, &mut m2).unwrap();
    device.receive(&Record { topic: "res", bytes: &m2, now: 0 }, Hop::Plain, &mut m3).unwrap();
    authority.disown(names().broker);
    let refused = tell(&mut authority, &enrolled, &m3, &mut Constant, &mut m2);
    assert_eq!(refused.unwrap_err(), RequestError::UnknownBroker);
}

#[test]
fn a_start_ahead_of_the_clock_counts_as_absent() {
    let (enrolled, mut device) = (key(), Device::new(key(), &names()));
    // the clock was set back since
    let mut authority = Authority::new(names().authority, names().request, 90_000);
    authority.vouch(names().broker, Vec::new());
    let [mut m1, mut m2, mut m3] = [const { Vec::new() }; 3];
    device.start(0, &mut Constant, &[], &mut m1).unwrap();
    tell(&mut authority, &enrolled, &m1, &mut Constant, &mut m2).unwrap();
    device.receive(&Record { topic: "res", bytes: &m2, now: 0 }, Hop::Plain, &mut m3).unwrap();
    let accepted = tell(&mut authority, &enrolled, &m3, &mut Constant, &mut m2);
    assert!(matches!(accepted, Ok(Action::Accepted(_))), "{accepted:?}");
}

#[test]
fn a_failing_generator_starts_and_answers_nothing() {
    let (enrolled, mut device) = (key(), Device::new(key(), &names()));
    let (mut m1, mut m2) = (Vec::new(), Vec::new());
    assert_eq!(device.start(0, &mut Broken, &[], &mut m1), Err(NoEntropy));
    assert!(m1.is_empty() && !device.is_running(0));
    device.start(0, &mut Constant, &[], &mut m1).unwrap();
    assert!(device.is_running(0));
    // at the next connection: the run of the one before does not go on
    device.start(0, &mut Broken, &[], &mut m2).unwrap_err();
    assert!(m2.is_empty() && !device.is_running(0));
    let mut authority = Authority::new(names().authority, names().request, 0);
    authority.vouch(names().broker, Vec::new());
    let refused = tell(&mut authority, &enrolled, &m1, &mut Broken, &mut m2);
    assert_eq!(refused.unwrap_err(), RequestError::NoEntropy(NoEntropy));
    assert!(m2.is_empty());
}

#[test]
fn a_constant_generator_draws_a_nonce_once() {
    let mut device = Device::new(key(), &names());
    let (mut first, mut second) = (Vec::new(), Vec::new());
    device.start(0, &mut Constant, &[], &mut first).unwrap();
    device.start(0, &mut Constant, &[], &mut second).unwrap();
    assert_ne!(first[7..23], second[7..23]);
}

#[test]
fn more_tls_keys_than_an_answer_holds_are_refused() {
    let (enrolled, mut device) = (key(), Device::new(key(), &names()));
    let (mut m1, mut m2) = (Vec::new(), Vec::new());
    device.start(0, &mut Constant, &[], &mut m1).unwrap();
    let mut authority = Authority::new(names().authority, names().request, 0);
    // 34 bytes each, and 10 around them
    for (count, fits) in [(1_927, true), (1_928, false)] {
        authority.vouch(names().broker, std::vec![[1; 32]; count]);
        let answer = tell(&mut authority, &enrolled, &m1, &mut Constant, &mut m2);
        assert_eq!(answer.err(), (!fits).then_some(RequestError::TooLong), "{count}");
    }
    authority.disown(names().broker);
    let answer = tell(&mut authority, &enrolled, &m1, &mut Constant, &mut m2);
    assert_eq!(answer.unwrap_err(), RequestError::UnknownBroker);
}

#[test]
fn an_attestation_is_read_as_it_was_written_and_no_other_way() {
    let pins = [[1; 32], [2; 32]];
    for (serial, time) in [(0, 0), (23, 24), (u64::MAX, 1_800_000_000_000)] {
        let bytes = attestation::write(&pins, serial, time);
        let expected = Attestation { pins: pins.to_vec(), serial, time };
        assert_eq!(Attestation::parse(&bytes), Some(expected));
        for len in 0..bytes.len() {
            assert_eq!(Attestation::parse(&bytes[..len]), None);
        }
        assert_eq!(Attestation::parse(&[&bytes[..], &[0]].concat()), None);
    }
    // an array of more hashes than there can be costs nothing
    let huge = b"\xA3\x01\x9B\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF";
    assert_eq!(Attestation::parse(huge), None);
}

#[test]
fn a_channel_keeps_no_more_keys_than_a_scope_has() {
    let mut channel = Channel::new();
    for byte in 0..20 {
        channel.install(&PeerSession::new("d", SharedKey::take(&mut [byte; 32])), 0);
    }
    assert_eq!(channel.keyring().grants().len(), crate::keyring::MAX_LIVE_KEYS);
}

#[test]
fn debug_prints_no_key() {
    let session = PeerSession::new("d", SharedKey::take(&mut [0xAB; 32]));
    assert_eq!(format!("{session:?}"), "PeerSession(d, ..)");
    let printed = format!("{:?}", Device::new(key(), &names()));
    assert!(printed.contains("AuthKey(..)") && printed.contains("ChallengeKey(..)"), "{printed}");
}

#[test]
fn errors_say_what_happened() {
    let texts: Vec<String> = [
        AnswerError::OtherTopic,
        AnswerError::NoRun,
        AnswerError::Expired,
        AnswerError::Malformed,
        AnswerError::NotAuthentic,
        AnswerError::Attestation,
        AnswerError::BrokerNotVouched,
    ]
    .map(|error| error.to_string())
    .into();
    assert_eq!(
        texts,
        [
            "the answer came on another topic: it was ignored",
            "no authentication is under way: the answer was ignored",
            "the authentication took more than 30 seconds: start another",
            "the answer is malformed: it was ignored",
            "the answer is not authentic: it was ignored",
            "the authority's attestation is malformed: look at the authority",
            "the authority does not vouch for the broker's tls key: disconnect",
        ]
    );
    let texts: Vec<String> = [
        RequestError::OtherTopic,
        RequestError::Malformed,
        RequestError::UnknownDevice,
        RequestError::NotAuthentic,
        RequestError::UnknownBroker,
        RequestError::Attestation,
        RequestError::Ahead,
        RequestError::TooOld,
        RequestError::Repeated,
        RequestError::Busy,
        RequestError::TooLong,
        RequestError::NoEntropy(NoEntropy),
    ]
    .map(|error| error.to_string())
    .into();
    assert_eq!(
        texts,
        [
            "the record came on another topic: it was ignored",
            "the record is malformed: it was ignored",
            "no device has this id: enrol it, or leave it out",
            "the record is not authentic: it was ignored",
            "the device names a broker that is not vouched for: add it",
            "the attestation in the confirmation is malformed",
            "the attestation is ahead of the clock: look at the clock",
            "the attestation is too old: the device starts another run",
            "the run was accepted before: the repetition was ignored",
            "too many runs were completed within 30 seconds: wait",
            "the broker's tls keys do not fit into an answer: name fewer",
            "the random generator failed: no session was started",
        ]
    );
    let proofs = [Proof::PeerAuthenticated, Proof::GroupMembership].map(|proof| proof.to_string());
    assert_eq!(proofs, ["peer authenticated", "group membership"]);
}

#[test]
fn names_that_are_none_are_refused_with_the_reason() {
    let long = "x".repeat(256);
    for (text, expected) in [
        ("", "an id has 1 to 58 bytes, this one has 0: choose another"),
        (&long, "an id has 1 to 58 bytes, this one has 256: choose another"),
        ("a/b", "an id is one level of a topic: leave out '/', '+', '#' and U+0000"),
        ("$a", "ids that begin with '$' are reserved: choose another"),
    ] {
        assert_eq!(PeerId::parse(text).unwrap_err().to_string(), expected);
    }
    for (text, expected) in [
        ("", "a broker is named \"host:port\" in 1 to 255 bytes, this has 0"),
        (&long, "a broker is named \"host:port\" in 1 to 255 bytes, this has 256"),
        ("a\0", "a broker's name must not contain U+0000: remove it"),
    ] {
        assert_eq!(BrokerName::parse(text).unwrap_err().to_string(), expected);
    }
    assert_eq!(BrokerName::parse(&long[1..]).unwrap().as_str(), &long[1..]);
}
