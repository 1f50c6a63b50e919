//! An authority answers a challenge that has the right mac, and no other.
//!
//! The first byte says whether the input is given a right mac; the rest is the record before it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt_seal::peer::{Action, PeerId, RequestError};
use mqtt_seal::schedule::auth;
use mqtt_seal::wire::control::{Answer, Challenge, MAC_LEN};
use mqtt_seal_fuzz::peer;

fuzz_target!(|data: &[u8]| {
    let Some((choice, record)) = data.split_first() else { return };
    let mut record = record.to_vec();
    if *choice & 1 == 1 {
        record.extend(auth::challenge_mac(&auth::challenge_key(&peer::auth_key()), &record));
    }
    let parsed = Challenge::parse(&record);
    if let Some((challenge, covered, mac)) = parsed {
        let mut written = Vec::new();
        challenge.encode(|part| written.extend_from_slice(part));
        assert_eq!(written, covered);
        assert_eq!([covered, &mac].concat(), record);
    }
    let mut out = Vec::new();
    match peer::tell(&mut peer::authority(), &record, &mut out) {
        Ok(Action::Answer { broker, .. }) => {
            let (challenge, covered, mac) = parsed.expect("it was answered");
            assert_eq!((challenge.device, challenge.broker), (peer::DEVICE, broker));
            let key = auth::challenge_key(&peer::auth_key());
            assert_eq!(auth::challenge_mac(&key, covered), mac);
            assert!(Answer::parse(&out).is_some());
        }
        Ok(action) => unreachable!("{action:?}: nobody knows macD"),
        Err(error) => {
            assert!(out.is_empty());
            if let (RequestError::NotAuthentic, 1, Some((challenge, ..))) =
                (error, *choice & 1, parsed)
            {
                assert_ne!(challenge.key_id, auth::key_id(&peer::auth_key()));
            }
            if let (RequestError::UnknownDevice, Some((challenge, ..))) = (error, parsed) {
                assert!(PeerId::parse(challenge.device).is_ok());
            }
            assert!(record.len() >= MAC_LEN || error == RequestError::Malformed);
        }
    }
});
