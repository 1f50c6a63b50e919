//! Reading a device's file wipes the text, whatever it is, and no error shows a part of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt_seal::peer::MAX_PINS;
use mqtt_seal::store::device_file::{DeviceFile, DeviceFileError};
use mqtt_seal_fuzz::assert_shows_no_secret;

fuzz_target!(|text: &str| {
    let mut wiped = text.to_owned();
    let file = DeviceFile::parse(&mut wiped);
    assert!(wiped.is_empty());
    match file {
        Ok(file) => {
            assert!(file.pins().len() <= MAX_PINS);
            file.names("localhost:8883").expect("names are checked");
            file.peer_key().expect("the realm is checked");
            file.updates(None).expect("topics are checked");
        }
        Err(error) => {
            let DeviceFileError::Invalid { at, .. } = &error else {
                panic!("no file was read: {error:?}")
            };
            let line = text.split('\n').nth(at.line - 1).expect("the line exists");
            assert!(at.column <= line.chars().count() + 1, "{error}");
            assert_shows_no_secret(text, &format!("{error} {error:?}"));
        }
    }
});
