use super::expand::MAX_GROWTH;
use super::*;
use crate::schedule;
use crate::suite::Suite;
use crate::wire::cbor::{ARRAY, BYTES, MAP, TEXT, UNSIGNED, head, string};
use crate::wire::header::{Header, KeyId, SenderNumber, SessionId, TAG_LEN, WILL_COUNTER};
use proptest::prelude::*;
use std::{format, vec, vec::Vec};

const COUNTERS: [u32; 11] = [0, 23, 24, 63, 64, 255, 256, 16_384, 65_536, 1 << 30, WILL_COUNTER];

fn ids() -> [SessionId; 4] {
    let sender = |number| SessionId::Sender(SenderNumber::new(number).unwrap());
    [SessionId::Random([7; 12]), sender(0), sender(64), sender(SenderNumber::MAX)]
}

fn sealed(id: SessionId, counter: u32, inner: bool, body: &[u8]) -> Vec<u8> {
    [Header::new(KeyId::new([1, 2, 3, 4]), id, counter, inner).encode().as_bytes(), body].concat()
}

/// One payload for each suite, with room for a commitment, as Partial IV and as IV.
fn samples() -> Vec<Vec<u8>> {
    let payload = sealed(ids()[0], 300, true, &[0xEE; 50]);
    let ivs = [None, Some(&[9; 12])];
    Suite::ALL
        .iter()
        .flat_map(|suite| ivs.map(|iv| expand(&payload, *suite, iv).unwrap()))
        .collect()
}

/// Whether there is a suite and an IV with which `payload` expands to `cose`.
fn expands_to(payload: &[u8], cose: &[u8]) -> bool {
    let (header, _) = Header::parse(payload).unwrap();
    // tag, array and head of protected; then a map's head, label 4, a head and four bytes
    let headers = &cose[3..][usize::from(cose[2] & 0x1F)..];
    let nonce = headers[9..].first_chunk().filter(|_| headers[7] == 5);
    let iv = nonce.map(|nonce| schedule::nonce(nonce, header.counter));
    Suite::ALL.iter().any(|suite| expand(payload, *suite, iv.as_ref()).as_deref() == Ok(cose))
}

/// A COSE message piece by piece, each ready to be replaced.
struct Pieces(Vec<Vec<u8>>);

const PROTECTED: usize = 2;
const COUNT: usize = 3;
const KID_LABEL: usize = 4;
const KID_VALUE: usize = 5;
const IV_LABEL: usize = 6;
const IV_VALUE: usize = 7;
const ID_VALUE: usize = 9;
const VF_NAME: usize = 10;
const VF_VALUE: usize = 11;
const COM_VALUE: usize = 13;
const CTR_NAME: usize = 14;
const CTR_VALUE: usize = 15;
const CIPHERTEXT: usize = 16;

fn item(major: u8, value: u64) -> Vec<u8> {
    let mut out = vec![];
    head(major, value, |part| out.extend_from_slice(part));
    out
}

fn text(major: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    string(major, bytes, |part| out.extend_from_slice(part));
    out
}

impl Pieces {
    /// Of suite 0x0101 in session form under counter 300, with a Partial IV.
    fn new() -> Self {
        Self(vec![
            item(TAG, 16),
            item(ARRAY, 3),
            text(BYTES, &[0xA1, 1, 0x18, 24]),
            item(MAP, 6),
            item(UNSIGNED, 4),
            text(BYTES, &[1, 2, 3, 4]),
            item(UNSIGNED, 6),
            text(BYTES, &[1, 44]),
            item(UNSIGNED, 10),
            text(BYTES, &[7; 12]),
            text(TEXT, b"vf"),
            item(UNSIGNED, 0x40),
            text(TEXT, b"com"),
            text(BYTES, &[5; 32]),
            text(TEXT, b"ctr"),
            item(UNSIGNED, 300),
            text(BYTES, &[6; 18]),
        ])
    }
}

/// Compresses the message with another piece at `at`.
fn with(at: usize, piece: Vec<u8>) -> Result<Vec<u8>, CoseError> {
    let mut pieces = Pieces::new();
    pieces.0[at] = piece;
    compress(&pieces.0.concat())
}

#[test]
fn the_pieces_together_are_what_expand_makes() {
    let payload = sealed(ids()[0], 300, false, &[[5; 32].as_slice(), &[6; 18]].concat());
    let cose = Pieces::new().0.concat();
    assert_eq!(expand(&payload, Suite::ChaCha20Poly1305Commit, None), Ok(cose.clone()));
    assert_eq!(compress(&cose), Ok(payload));
}

#[test]
fn every_form_suite_and_counter_comes_back() {
    for (id, counter, suite) in every_header() {
        for (inner, iv) in [(false, None), (true, None), (true, Some(&[9; 12]))] {
            let payload = sealed(id, counter, inner, &[3; 48]);
            let cose = expand(&payload, suite, iv).unwrap();
            assert!(cose.len() <= payload.len() + MAX_GROWTH, "{id} {counter} {suite}");
            assert!(cose.len() > payload.len(), "{id} {counter} {suite}");
            assert_eq!(compress(&cose), Ok(payload), "{id} {counter} {suite}");
        }
    }
}

fn every_header() -> impl Iterator<Item = (SessionId, u32, Suite)> {
    ids().into_iter().flat_map(|id| {
        COUNTERS
            .into_iter()
            .flat_map(move |counter| Suite::ALL.into_iter().map(move |suite| (id, counter, suite)))
    })
}

#[test]
fn partial_iv_has_no_zero_in_front_but_keeps_one_byte() {
    let ivs: [(u32, &[u8]); 5] = [
        (0, &[0]),
        (255, &[255]),
        (256, &[1, 0]),
        (0x1_0000, &[1, 0, 0]),
        (WILL_COUNTER, &[255, 255, 255, 254]),
    ];
    for (counter, iv) in ivs {
        assert_eq!(partial_iv(&counter.to_be_bytes()), iv);
    }
}

#[test]
fn iv_is_the_nonce_of_the_message() {
    let payload = sealed(ids()[0], 0x0102_0304, false, &[0; 16]);
    let cose = expand(&payload, Suite::Aes256Gcm, Some(&[0xF0; 12])).unwrap();
    let mut nonce = [0xF0; 12];
    nonce[8..].copy_from_slice(&[0xF1, 0xF2, 0xF3, 0xF4]);
    assert!(cose.windows(14).any(|part| part == [&[5, 0x4C], nonce.as_slice()].concat()));
}

#[test]
fn every_cut_payload_is_malformed() {
    for suite in Suite::ALL {
        let payload = sealed(ids()[0], 0, false, &vec![1; suite.commitment_len() + TAG_LEN]);
        assert_eq!(expand(&[], suite, None), Err(CoseError::NotSealed));
        for cut in 1..payload.len() {
            assert_eq!(expand(&payload[..cut], suite, None), Err(CoseError::Malformed), "{cut}");
        }
        assert!(expand(&payload, suite, None).is_ok());
    }
}

#[test]
fn what_is_no_sealed_payload_does_not_expand() {
    let mut payload = sealed(ids()[0], 0, false, &[1; 16]);
    payload[1] = 0x41;
    assert_eq!(expand(&payload, Suite::default(), None), Err(CoseError::Unsupported));
    assert_eq!(expand(b"{\"t\":27}", Suite::default(), None), Err(CoseError::NotSealed));
}

#[test]
fn every_cut_message_is_cut() {
    for cose in samples() {
        for cut in 0..cose.len() {
            assert_eq!(compress(&cose[..cut]), Err(CoseError::Cut), "{cut}");
        }
    }
}

#[test]
fn a_following_byte_is_refused() {
    for mut cose in samples() {
        cose.push(0);
        assert_eq!(compress(&cose), Err(CoseError::Trailing));
    }
}

#[test]
fn every_changed_byte_is_refused_or_expands_to_the_same_bytes() {
    for cose in samples() {
        // every bit, what is between 5 and 6, and all bits
        let changes = [1, 2, 4, 8, 16, 32, 64, 128, 3, 255];
        for (at, change) in (0..cose.len()).flat_map(|at| changes.map(|change| (at, change))) {
            let mut changed = cose.clone();
            changed[at] ^= change;
            if let Ok(payload) = compress(&changed) {
                assert!(expands_to(&payload, &changed), "byte {at} xor {change:02x}");
            }
        }
    }
}

#[test]
fn every_longer_head_is_refused() {
    for (at, piece) in Pieces::new().0.iter().enumerate() {
        let (first, rest) = piece.split_first().unwrap();
        let (major, low) = (first & 0xE0, first & 0x1F);
        let longer: &[u8] = match low {
            0..=23 => &[major | 0x18, low],
            0x18 => &[major | 0x19, 0],
            _ => &[major | 0x1A, 0, 0],
        };
        assert_eq!(with(at, [longer, rest].concat()), Err(CoseError::Encoding), "piece {at}");
        let reserved = [&[major | 0x1F], rest].concat();
        assert_eq!(with(at, reserved), Err(CoseError::Encoding), "piece {at}");
    }
}

#[test]
fn every_missing_or_repeated_piece_is_refused() {
    for at in 0..Pieces::new().0.len() {
        let mut missing = Pieces::new();
        missing.0.remove(at);
        compress(&missing.0.concat()).unwrap_err();
        let mut twice = Pieces::new();
        twice.0.insert(at, twice.0[at].clone());
        compress(&twice.0.concat()).unwrap_err();
    }
}

#[test]
fn every_two_headers_swapped_are_refused() {
    for (one, other) in (0..6).flat_map(|one| (one + 1..6).map(move |other| (one, other))) {
        let mut pieces = Pieces::new();
        pieces.0.swap(KID_LABEL + 2 * one, KID_LABEL + 2 * other);
        pieces.0.swap(KID_VALUE + 2 * one, KID_VALUE + 2 * other);
        assert_eq!(compress(&pieces.0.concat()), Err(CoseError::Headers), "{one} {other}");
    }
}

#[test]
fn a_header_beside_ours_is_refused() {
    let both = [text(BYTES, &[1, 2, 3, 4]), item(UNSIGNED, 5), text(BYTES, &[9; 12])].concat();
    let mut pieces = Pieces::new();
    pieces.0[COUNT] = item(MAP, 7);
    pieces.0[KID_VALUE] = both;
    assert_eq!(compress(&pieces.0.concat()), Err(CoseError::Headers));
    // an IV and a Partial IV in the place of the commitment
    pieces.0[COUNT] = item(MAP, 6);
    pieces.0.drain(12..=COM_VALUE);
    assert_eq!(compress(&pieces.0.concat()), Err(CoseError::Headers));
}

#[test]
fn every_other_start_is_no_encrypt0() {
    for first in (0..=255).filter(|first| *first != 0xD0) {
        let error = with(0, vec![first]).unwrap_err();
        assert!(matches!(error, CoseError::NotEncrypt0 | CoseError::Encoding), "{first:02x}");
    }
    assert_eq!(with(0, vec![]), Err(CoseError::NotEncrypt0));
    assert_eq!(with(0, item(TAG, 96)), Err(CoseError::NotEncrypt0));
    assert_eq!(with(1, item(ARRAY, 4)), Err(CoseError::NotEncrypt0));
}

#[test]
fn other_protected_headers_are_refused() {
    let headers: [&[u8]; 6] = [
        &[],
        &[0xA0],
        &[0xA1, 1, 1],                      // A128GCM
        &[0xA1, 1, 0x19, 0, 24],            // a longer 24
        &[0xBF, 1, 0x18, 24, 0xFF],         // an indefinite map
        &[0xA2, 1, 0x18, 24, 4, 0x41, 0x0], // a key identifier beside it
    ];
    for protected in headers {
        assert_eq!(with(PROTECTED, text(BYTES, protected)), Err(CoseError::Algorithm));
    }
    assert_eq!(with(PROTECTED, item(MAP, 0)), Err(CoseError::Algorithm));
}

#[test]
fn wrong_values_are_named() {
    let cases = [
        (KID_LABEL, item(UNSIGNED, 3), CoseError::Headers),
        (KID_VALUE, text(BYTES, &[1, 2, 3]), CoseError::KeyId),
        (KID_VALUE, text(TEXT, b"abcd"), CoseError::KeyId),
        (IV_LABEL, item(UNSIGNED, 7), CoseError::Headers),
        (IV_LABEL, item(UNSIGNED, 5), CoseError::Iv),
        (IV_VALUE, text(BYTES, &[1, 45]), CoseError::PartialIv),
        (IV_VALUE, text(BYTES, &[0, 1, 44]), CoseError::PartialIv),
        (IV_VALUE, text(BYTES, &[]), CoseError::PartialIv),
        (ID_VALUE, text(BYTES, &[7; 11]), CoseError::SessionId),
        (ID_VALUE, text(BYTES, &[7; 13]), CoseError::SessionId),
        (ID_VALUE, text(BYTES, &[]), CoseError::SessionId),
        (VF_NAME, text(TEXT, b"vg"), CoseError::Headers),
        (VF_NAME, text(BYTES, b"vf"), CoseError::Headers),
        (VF_VALUE, item(UNSIGNED, 0x41), CoseError::Unsupported),
        (VF_VALUE, item(UNSIGNED, 0x80), CoseError::Unsupported),
        (VF_VALUE, item(UNSIGNED, 0x140), CoseError::Unsupported),
        (VF_VALUE, item(UNSIGNED, 0x60), CoseError::SessionId),
        (COM_VALUE, text(BYTES, &[5; 31]), CoseError::Commitment),
        (COM_VALUE, text(BYTES, &[]), CoseError::Commitment),
        (CTR_NAME, text(TEXT, b"cts"), CoseError::Headers),
        (CTR_VALUE, item(UNSIGNED, u64::from(u32::MAX)), CoseError::Counter),
        (CTR_VALUE, item(UNSIGNED, u64::MAX), CoseError::Counter),
        (CTR_VALUE, item(UNSIGNED, 301), CoseError::PartialIv),
        (CIPHERTEXT, text(BYTES, &[6; 15]), CoseError::Ciphertext),
        (CIPHERTEXT, vec![0xF6], CoseError::Ciphertext),
        (CIPHERTEXT, item(BYTES, u64::MAX), CoseError::Cut),
    ];
    for (at, piece, error) in cases {
        assert_eq!(with(at, piece.clone()), Err(error), "piece {at} {piece:02x?}");
    }
}

#[test]
fn a_sender_number_in_a_longer_form_is_refused() {
    let compact = |id: &[u8]| {
        let mut pieces = Pieces::new();
        pieces.0[VF_VALUE] = item(UNSIGNED, 0x60);
        pieces.0[ID_VALUE] = text(BYTES, id);
        compress(&pieces.0.concat())
    };
    assert!(compact(&[63]).is_ok());
    assert!(compact(&[0x40, 64]).is_ok());
    for id in [&[0x40, 63][..], &[0x40], &[63, 63], &[0xC0, 0, 0, 0, 0, 0, 0, 1]] {
        assert_eq!(compact(id), Err(CoseError::SessionId), "{id:02x?}");
    }
}

#[test]
fn a_commitment_under_an_algorithm_that_never_commits_is_refused() {
    let siv = [0xA1, 1, 0x3A, 0, 1, 0, 0x0F];
    assert_eq!(with(PROTECTED, text(BYTES, &siv)), Err(CoseError::Commitment));
}

#[test]
fn errors_say_what_is_wrong() {
    let texts = [
        (CoseError::NotSealed, "the payload is not sealed"),
        (CoseError::Unsupported, "the message has a version or flag that is not supported"),
        (CoseError::Malformed, "the sealed payload is malformed"),
        (CoseError::Cut, "the COSE message ends early"),
        (CoseError::Encoding, "the COSE message is not in CBOR's deterministic encoding"),
        (CoseError::NotEncrypt0, "this is no tagged COSE_Encrypt0"),
        (CoseError::Algorithm, "the protected header is not the algorithm of a suite alone"),
        (CoseError::Headers, "the unprotected headers are not those of a sealed payload"),
        (CoseError::KeyId, "the key identifier does not have 4 bytes"),
        (CoseError::Iv, "the IV does not have 12 bytes"),
        (CoseError::PartialIv, "the partial IV is not the counter in its fewest bytes"),
        (CoseError::SessionId, "the session ID does not have the form that vf names"),
        (CoseError::Commitment, "the commitment does not fit the algorithm"),
        (CoseError::Counter, "the counter is above 4294967294"),
        (CoseError::Ciphertext, "the ciphertext has no room for a tag"),
        (CoseError::Trailing, "bytes follow the COSE message"),
    ];
    for (error, text) in texts {
        assert_eq!(format!("{error}"), text);
    }
}

fn any_id() -> impl Strategy<Value = SessionId> {
    let sender = |number| SessionId::Sender(SenderNumber::new(number).unwrap());
    prop_oneof![
        any::<[u8; 12]>().prop_map(SessionId::Random),
        (0..64_u32).prop_map(sender),
        (0..=SenderNumber::MAX).prop_map(sender),
    ]
}

proptest! {
    #[test]
    fn what_expands_comes_back(
        id in any_id(),
        counter in prop_oneof![0..70_u32, 0..=WILL_COUNTER],
        inner in any::<bool>(),
        body in prop::collection::vec(any::<u8>(), 48..600),
        suite in prop::sample::select(&Suite::ALL),
        iv in any::<Option<[u8; 12]>>(),
    ) {
        let payload = sealed(id, counter, inner, &body);
        let cose = expand(&payload, suite, iv.as_ref()).unwrap();
        prop_assert!(cose.len().saturating_sub(payload.len()) <= MAX_GROWTH);
        prop_assert_eq!(compress(&cose), Ok(payload));
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        cut in 0..120_usize,
        suite in prop::sample::select(&Suite::ALL),
    ) {
        let _ = compress(&bytes);
        let _ = expand(&bytes, suite, None);
        // behind a valid beginning
        let mut cose = expand(&sealed(ids()[0], 300, false, &[6; 48]), suite, None).unwrap();
        cose.truncate(cut);
        cose.append(&mut bytes);
        if let Ok(payload) = compress(&cose) {
            prop_assert!(expands_to(&payload, &cose));
        }
    }
}
