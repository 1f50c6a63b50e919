//! Reading keys wipes the text, whatever it is, and no error shows a part of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt_seal::guard::{Guard, Incoming};
use mqtt_seal::policy::{Link, Links};
use mqtt_seal::store::key_file::{self, KeyFileError};
use mqtt_seal_fuzz::{Constant, POLICY, TOPICS, assert_shows_no_secret};

/// A header with room for a tag behind it, under some key ID.
const MESSAGE: [u8; 40] = {
    let mut message = [0; 40];
    message[0] = 0xFC;
    message[1] = 0x40;
    message
};

fuzz_target!(|text: &str| {
    let mut wiped = text.to_owned();
    let keyring = key_file::parse(&mut wiped);
    assert!(wiped.is_empty());
    match keyring {
        Ok(keyring) => {
            // what a file grants can be asked for every scope
            let guard =
                Guard::with_entropy(POLICY.clone(), keyring, Links::Tcp, Box::new(Constant));
            let (_, mut receiver) = guard.expect("a constant does not fail").split();
            for topic in TOPICS {
                let mut out = vec![];
                let message = Incoming::new(topic, &MESSAGE, Link::Tcp);
                assert!(receiver.open(&message, &mut out).is_err() || topic.starts_with("clear/"));
            }
        }
        Err(error) => {
            let KeyFileError::Invalid { at, .. } = &error else {
                panic!("no file was read: {error:?}")
            };
            let line = text.split('\n').nth(at.line - 1).expect("the line exists");
            assert!(at.column <= line.chars().count() + 1, "{error}");
            assert_shows_no_secret(text, &format!("{error} {error:?}"));
        }
    }
});
