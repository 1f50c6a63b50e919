//! What compresses is what expanding wrote, byte for byte, and what expands compresses to itself.
//! The input is taken both as a COSE message and as a sealed payload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt_seal::cose::{CoseError, compress, expand};
use mqtt_seal::suite::{NONCE_LEN, Suite};
use mqtt_seal::wire::header::{Header, HeaderError};

type Iv = [u8; NONCE_LEN];

fuzz_target!(|data: &[u8]| {
    match compress(data) {
        Ok(sealed) => {
            let (header, _) = Header::parse(&sealed).expect("compressed to a sealed payload");
            let ivs = ivs(data, header.counter);
            let same = |suite, iv| expand(&sealed, suite, iv).is_ok_and(|cose| cose == data);
            assert!(
                Suite::ALL.into_iter().any(|suite| {
                    same(suite, None) || ivs.iter().any(|iv| same(suite, Some(iv)))
                })
            );
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    for suite in Suite::ALL {
        for iv in [None, Some(&[0xA5; NONCE_LEN])] {
            match expand(data, suite, iv) {
                Ok(cose) => assert_eq!(compress(&cose).as_deref(), Ok(data)),
                Err(error) => {
                    let not_sealed = Header::parse(data).err() == Some(HeaderError::NotSealed);
                    assert_eq!(error == CoseError::NotSealed, not_sealed);
                }
            }
        }
    }
});

/// The session IVs that may stand in `cose` under label 5, where they are nonces: each has the
/// counter added.
fn ivs(cose: &[u8], counter: u32) -> Vec<Iv> {
    let nonce = |window: &[u8]| -> Option<Iv> { window.strip_prefix(&[5, 0x4C])?.try_into().ok() };
    let mut ivs: Vec<Iv> = cose.windows(2 + NONCE_LEN).filter_map(nonce).collect();
    for iv in &mut ivs {
        for (byte, counter) in iv[8..].iter_mut().zip(counter.to_be_bytes()) {
            *byte ^= counter;
        }
    }
    ivs
}
