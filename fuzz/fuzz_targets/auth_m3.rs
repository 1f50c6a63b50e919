//! An authority accepts a confirmation that has the right mac and is fresh, once.
//!
//! The first byte says whether the input is given a right mac; it is the attestation then.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt_seal::peer::{Action, Attestation, RUN_MS, RequestError};
use mqtt_seal::wire::control::{Confirmation, Step};
use mqtt_seal_fuzz::peer;

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let right = *choice & 1 == 1 && rest.len() <= usize::from(u16::MAX);
    let record = if right { peer::confirmation(rest) } else { rest.to_vec() };
    if let Some(confirmation) = Confirmation::parse(&record) {
        let mut written = Vec::new();
        confirmation.encode(|part| written.extend_from_slice(part));
        assert_eq!(written, record);
    }
    // challenges are for another target
    if Step::of(&record) == Some(Step::Challenge) {
        return;
    }
    let (mut authority, mut out) = (peer::authority(), Vec::new());
    let good = |attestation: &Attestation| {
        let age = peer::NOW.checked_sub(attestation.time);
        age.is_some_and(|age| age <= RUN_MS) && attestation.time >= peer::STARTED
    };
    match peer::tell(&mut authority, &record, &mut out) {
        Ok(Action::Accepted(run)) => {
            assert!(right, "nobody else knows macD");
            let attestation = Attestation::parse(rest).expect("it was accepted");
            assert!(good(&attestation));
            assert_eq!((run.device(), run.time()), (peer::DEVICE, attestation.time));
            let again = peer::tell(&mut authority, &record, &mut out);
            assert_eq!(again.unwrap_err(), RequestError::Repeated);
        }
        Ok(action) => unreachable!("{action:?} to no challenge"),
        Err(error) => {
            let time = matches!(error, RequestError::Ahead | RequestError::TooOld);
            assert_eq!(time || error == RequestError::Attestation, right, "{error}");
            assert!(!right || Attestation::parse(rest).is_none_or(|read| !good(&read)));
        }
    }
    assert!(out.is_empty());
});
