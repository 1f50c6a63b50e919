use super::*;
use crate::wire::header::SenderNumber;
use proptest::prelude::*;
use std::{vec, vec::Vec};

fn sender(n: u8) -> Sender {
    let id = match n % 2 {
        0 => SessionId::Random([n; 12]),
        _ => SessionId::Sender(SenderNumber::new(u32::from(n) * 1_000).unwrap()),
    };
    Sender { kid: KeyId::new([n; 4]), id }
}

fn rows() -> Vec<(RowKey, Row)> {
    let lease = Lease { end: 165, ahead: 64, will: true, fresh: true };
    let window = Window { next: 101, floor: 7, will: true, seen: [5; 16] };
    let newest = Newest {
        sender: sender(2),
        counter: 9,
        confirmed: true,
        timestamp: Some(1_795_000_000_000),
    };
    let mut retired = [None; MAX_RETIRED];
    for (slot, n) in retired.iter_mut().zip(3..10) {
        *slot = Some(Retired { sender: sender(n), counter: u32::from(n) });
    }
    let record = LatestRecord { newest, retired };
    let undated = Newest { timestamp: None, confirmed: false, ..newest };
    vec![
        (LOG_KEY, Row::Log { hash_key: [3; 16], clean: true }),
        (stream_key(1, 2), Row::Stream { lease, window: None }),
        (stream_key(1, 2), Row::Stream { lease: Lease::default(), window: Some((4, window)) }),
        (record_key(1, 2), Row::Record { lower: Some(4), record }),
        (record_key(1, 2), Row::Record { lower: None, record: LatestRecord::after(undated) }),
        (own_key(65), Row::Own(sender(1))),
        (own_key(65), Row::Own(sender(2))),
        (mark_key(7), Row::Mark(3)),
    ]
}

#[test]
fn rows_read_as_they_were_written() {
    for (key, row) in rows() {
        let seq = if key == LOG_KEY { 0 } else { 77 };
        assert_eq!(decode(key, &encode(77, &row)), Ok((seq, row)));
    }
}

#[test]
fn a_cut_or_longer_row_is_damaged() {
    for (key, row) in rows() {
        let value = encode(77, &row);
        for len in 0..value.len() {
            assert_eq!(decode(key, &value[..len]), Err(RestoreError::Damaged), "{row:?}, {len}");
        }
        let longer: Vec<u8> = value.iter().copied().chain([0]).collect();
        assert_eq!(decode(key, &longer), Err(RestoreError::Damaged), "{row:?}");
    }
}

#[test]
fn a_log_of_a_newer_version_is_named_so() {
    let mut value = encode(0, &Row::Log { hash_key: [3; 16], clean: true });
    value[0] = 2;
    assert_eq!(decode(LOG_KEY, &value), Err(RestoreError::NewerVersion));
    value[0] = 0;
    assert_eq!(decode(LOG_KEY, &value), Err(RestoreError::Damaged));
}

#[test]
fn rows_of_unknown_kind_and_unknown_flags_are_damaged() {
    assert_eq!(decode(key(5, 0, 0), &[0; 9]), Err(RestoreError::Damaged));
    let at_flags = [(stream_key(0, 0), 8), (record_key(0, 0), 8)];
    for (key, at) in at_flags {
        let (_, row) = rows().into_iter().find(|(other, _)| other.0[0] == key.0[0]).unwrap();
        let mut value = encode(1, &row);
        value[at] |= 0x80;
        assert_eq!(decode(key, &value), Err(RestoreError::Damaged));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_row_or_an_error(kind in 0_u8..6, value in prop::collection::vec(any::<u8>(), 0..220)) {
        let key = if kind == 0 { LOG_KEY } else { key(kind, 1, 2) };
        if let Ok((seq, row)) = decode(key, &value) {
            // what is read is what is written again
            prop_assert_eq!(encode(seq, &row), value);
        }
    }
}
