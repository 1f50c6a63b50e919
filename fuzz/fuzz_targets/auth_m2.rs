//! A device takes an answer that has the right mac and exactly an attestation, and no other.
//!
//! The first byte says whether the input is given a right mac, and how the device is connected. A
//! right mac is put in front of the rest, which is the attestation then.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt_seal::peer::{AnswerError, Attestation, Hop, Record};
use mqtt_seal::wire::control::{Answer, Confirmation, Step};
use mqtt_seal_fuzz::peer;

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let (mut device, m1) = peer::started();
    let right = *choice & 1 == 1 && rest.len() <= usize::from(u16::MAX);
    let record = if right { peer::answer(&m1, rest) } else { rest.to_vec() };
    if let Some(answer) = Answer::parse(&record) {
        let mut written = Vec::new();
        answer.encode(|part| written.extend_from_slice(part));
        assert_eq!(written, record);
    }
    let hop = if *choice & 2 == 2 { Hop::Tls([5; 32]) } else { Hop::Plain };
    let mut m3 = Vec::new();
    let arrival = Record { topic: peer::RESPONSE, bytes: &record, now: 1 };
    match device.receive(&arrival, hop, &mut m3) {
        Ok(authenticated) => {
            assert!(right, "nobody else knows macA");
            let attestation = Attestation::parse(rest).expect("it was taken");
            assert_eq!(authenticated.attestation(), &attestation);
            assert!(hop == Hop::Plain || attestation.pins.contains(&[5; 32]));
            assert!(!device.is_running(1));
            let confirmation = Confirmation::parse(&m3).expect("a confirmation");
            assert_eq!(confirmation.attestation, rest);
            assert_eq!(Step::of(&m3), Some(Step::Confirmation));
        }
        Err(error) => {
            assert!(m3.is_empty());
            let authentic =
                matches!(error, AnswerError::Attestation | AnswerError::BrokerNotVouched);
            assert_eq!(authentic, right, "{error}");
            assert_eq!(device.is_running(1), !right);
        }
    }
});
