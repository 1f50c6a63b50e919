use super::*;
use crate::message::{Sealer, danger};
use std::{vec, vec::Vec};

fn scope(suite: Suite) -> ScopeKey {
    let root = schedule::root(&crate::secret::SharedKey::take(&mut [5; 32]), "r").unwrap();
    schedule::named_scope(&root, "s", suite)
}

fn topic(text: &str) -> TopicName<'_> {
    TopicName::parse(text).unwrap()
}

fn seal(sealer: &mut Sealer, topic: TopicName<'_>, payload: &[u8]) -> Vec<u8> {
    let start = sealer.headroom();
    let mut buf = vec![0; start.saturating_add(payload.len()).saturating_add(16)];
    buf[start..][..payload.len()].copy_from_slice(payload);
    sealer.seal_in_place(topic, &mut buf, payload.len()).unwrap().to_vec()
}

fn pair(suite: Suite) -> (Sealer, Opener) {
    let sealer = Sealer::new(&scope(suite), suite, &mut getrandom::SysRng, 0, &[]).unwrap();
    (sealer, Opener::new(scope(suite), suite).unwrap())
}

#[test]
fn every_suite_seals_and_opens_every_small_length() {
    for suite in Suite::ALL {
        let (mut sealer, mut opener) = pair(suite);
        for len in 0..70 {
            let payload = vec![b'x'; len];
            let mut sealed = seal(&mut sealer, topic("a/b"), &payload);
            let opened = opener.open_in_place(topic("a/b"), &mut sealed).unwrap();
            assert_eq!(opened.payload, payload);
        }
    }
}

#[test]
fn growth_in_session_form_is_35_36_38_42() {
    let (mut sealer, _) = pair(Suite::ChaCha20Poly1305);
    for (counter, growth) in
        [(0, 35), (63, 35), (64, 36), (16_383, 36), (16_384, 38), (1 << 30, 42)]
    {
        sealer.session_mut().set_next(counter);
        assert_eq!(seal(&mut sealer, topic("t"), b"27").len(), 2 + growth);
    }
}

#[test]
fn sessions_and_topics_in_turns_keep_their_windows_apart() {
    let suite = Suite::ChaCha20Poly1305;
    let (mut first, mut opener) = pair(suite);
    let (mut second, _) = pair(suite);
    let topics = [topic("a"), topic("b")];
    let mut seen: Vec<(TopicName<'_>, Vec<u8>)> = vec![];
    for _ in 0..5 {
        for topic in topics {
            for sealer in [&mut first, &mut second] {
                let sealed = seal(sealer, topic, b"27");
                assert_eq!(
                    opener.open_in_place(topic, &mut sealed.clone()).unwrap().payload,
                    b"27"
                );
                seen.push((topic, sealed));
                for (topic, again) in &seen {
                    let error = opener.open_in_place(*topic, &mut again.clone()).unwrap_err();
                    assert_eq!(error, OpenError::Rejected(Rejected::Duplicate));
                }
            }
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_and_nothing_readable_remains() {
    for suite in Suite::ALL {
        let (mut sealer, mut opener) = pair(suite);
        let sealed = seal(&mut sealer, topic("a"), b"MARKER-MARKER-16");
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let error = opener.open_in_place(topic("a"), &mut forged).unwrap_err();
            if error == OpenError::NotAuthentic {
                // a longer counter takes up to seven bytes of the body
                assert!(forged.ends_with(&[0; 25]), "the body is wiped");
            }
            assert!(!forged.windows(6).any(|part| part == b"MARKER"));
        }
        let mut genuine = sealed;
        opener.open_in_place(topic("a"), &mut genuine).unwrap();
    }
}

#[test]
fn a_forgery_leaves_the_keys_of_the_last_session() {
    let (mut sealer, mut opener) = pair(Suite::ChaCha20Poly1305);
    let sealed = seal(&mut sealer, topic("a"), b"27");
    opener.open_in_place(topic("a"), &mut sealed.clone()).unwrap();
    // within its session, and under an ID of its own
    for byte in [6, sealed.len() - 1] {
        let mut forged = sealed.clone();
        forged[byte] ^= 1;
        let error = opener.open_in_place(topic("a"), &mut forged).unwrap_err();
        assert_eq!(error, OpenError::NotAuthentic);
        assert_eq!(opener.last.as_ref().map(|keys| keys.id), Some(sealer.session()));
    }
}

#[test]
fn debug_of_an_opened_message_shows_no_payload() {
    let (mut sealer, mut opener) = pair(Suite::ChaCha20Poly1305);
    let mut sealed = seal(&mut sealer, topic("a"), b"MARKER");
    let shown = std::format!("{:?}", opener.open_in_place(topic("a"), &mut sealed).unwrap());
    assert!(shown.starts_with("Opened { payload_len: 6, proof: "), "{shown}");
    assert!(!shown.contains("77, 65, 82"), "{shown}");
}

#[test]
fn duplicate_is_rejected_and_wiped() {
    let (mut sealer, mut opener) = pair(Suite::ChaCha20Poly1305);
    let sealed = seal(&mut sealer, topic("a"), b"MARKER-MARKER-16");
    opener.open_in_place(topic("a"), &mut sealed.clone()).unwrap();
    let mut again = sealed;
    let error = opener.open_in_place(topic("a"), &mut again).unwrap_err();
    assert_eq!(error, OpenError::Rejected(Rejected::Duplicate));
    assert!(again[19..].iter().all(|byte| *byte == 0));
}

#[test]
fn another_topic_and_another_key_are_refused() {
    let (mut sealer, mut opener) = pair(Suite::ChaCha20Poly1305);
    let sealed = seal(&mut sealer, topic("a"), b"27");
    let error = opener.open_in_place(topic("b"), &mut sealed.clone()).unwrap_err();
    assert_eq!(error, OpenError::NotAuthentic);
    let other = ScopeKey::take(&mut [9; 32]);
    let mut opener = Opener::<1>::new(other, Suite::ChaCha20Poly1305).unwrap();
    let error = opener.open_in_place(topic("a"), &mut { sealed }).unwrap_err();
    assert_eq!(error, OpenError::UnknownKey);
}

#[test]
fn authentic_plain_text_with_a_bad_inner_header_is_malformed_and_wiped() {
    let suite = Suite::ChaCha20Poly1305;
    let message = danger::RawMessage {
        suite,
        id: SessionId::Random([1; 12]),
        counter: 0,
        inner: true,
        topic: Some(topic("a")),
        bind: None,
        plaintext: b"\x80MARKER-MARKER-16",
    };
    let mut out = [0; 128];
    let mut sealed = danger::seal(&scope(suite), &message, &mut out).unwrap().unwrap().to_vec();
    let mut opener = Opener::<1>::new(scope(suite), suite).unwrap();
    let error = opener.open_in_place(topic("a"), &mut sealed).unwrap_err();
    assert_eq!(error, OpenError::Malformed);
    assert!(sealed[19..].iter().all(|byte| *byte == 0));
}

#[test]
fn one_stream_too_many_forgets_the_quietest() {
    let suite = Suite::ChaCha20Poly1305;
    let (mut sealer, _) = pair(suite);
    let mut opener = Opener::<2>::new(scope(suite), suite).unwrap();
    let a = seal(&mut sealer, topic("a"), b"1");
    for name in ["a", "b", "a", "c"] {
        let mut sealed = seal(&mut sealer, topic(name), b"1");
        opener.open_in_place(topic(name), &mut sealed).unwrap();
    }
    assert_eq!(opener.forgotten(), 1);
    opener.open_in_place(topic("a"), &mut a.clone()).unwrap();
    let error = opener.open_in_place(topic("a"), &mut { a }).unwrap_err();
    assert_eq!(error, OpenError::Rejected(Rejected::Duplicate));
}

#[test]
fn a_long_topic_is_refused_and_the_longest_is_not() {
    let (mut sealer, mut opener) = pair(Suite::Aes256GcmCommit);
    let longest = "x".repeat(MAX_SMALL_TOPIC_LEN);
    let mut sealed = seal(&mut sealer, topic(&longest), b"27");
    assert_eq!(opener.open_in_place(topic(&longest), &mut sealed).unwrap().payload, b"27");
    let long = "x".repeat(MAX_SMALL_TOPIC_LEN + 1);
    let error = sealer.seal_in_place(topic(&long), &mut [0; 99], 0).unwrap_err();
    assert_eq!(error, crate::message::SealError::TopicTooLong);
    let error = opener.open_in_place(topic(&long), &mut [0; 99]).unwrap_err();
    assert_eq!(error, OpenError::TopicTooLong);
}

#[test]
fn a_buffer_without_room_for_the_tag_is_refused_before_a_counter_is_spent() {
    let (mut sealer, _) = pair(Suite::ChaCha20Poly1305);
    let mut buf = vec![0; sealer.headroom() + 17];
    let error = sealer.seal_in_place(topic("a"), &mut buf, 2).unwrap_err();
    assert_eq!(error, crate::message::SealError::BufferTooSmall);
    assert_eq!(seal(&mut sealer, topic("a"), b"")[18], 0);
}
