//! Messages that other programs sealed, read to move away from them. Seals nothing.

use aes_siv::KeyInit as _;
use aes_siv::siv::{Aes128Siv, Aes256Siv};
use base64ct::{Base64, Encoding as _};
use crypto_secretbox::aead::Aead as _;
use crypto_secretbox::{KeyInit as _, XSalsa20Poly1305};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::encoding::Encoding;
use crate::fault::Fault;

/// Bytes of a key and of a nonce of libsodium's secretbox.
const BOX_KEY_LEN: usize = 32;
const BOX_NONCE_LEN: usize = 24;
/// Bytes of the timestamp in front of E4's ciphertext.
const E4_TIME_LEN: usize = 8;

/// OwnTracks: `{"_type":"encrypted","data":"…"}` with base64 of nonce ‖ secretbox, under the
/// passphrase filled up with zeros.
pub(super) fn owntracks(json: &[u8], passphrase: &[u8]) -> Result<Vec<u8>, Fault> {
    let passphrase = line(passphrase);
    if passphrase.is_empty() || passphrase.len() > BOX_KEY_LEN {
        let what = format!("the passphrase of owntracks has 1 to {BOX_KEY_LEN} bytes");
        return Err(Fault::new(what, "check the file of --secret"));
    }
    let mut key = Zeroizing::new([0; BOX_KEY_LEN]);
    for (to, from) in key.iter_mut().zip(passphrase) {
        *to = *from;
    }
    let sealed = serde_json::from_slice(json).ok().and_then(|json: Value| {
        let data = json.get("data").filter(|_| json.get("_type") == Some(&"encrypted".into()))?;
        Base64::decode_vec(data.as_str()?).ok()
    });
    let sealed = sealed.ok_or_else(|| not_of("owntracks"))?;
    let (nonce, sealed) =
        sealed.split_at_checked(BOX_NONCE_LEN).ok_or_else(|| not_of("owntracks"))?;
    let cipher = XSalsa20Poly1305::new((&*key).into());
    cipher.decrypt(nonce.into(), sealed).map_err(|_| not_authentic())
}

/// E4: timestamp in 8 bytes, little-endian ‖ AES-SIV with the timestamp as associated data.
pub(super) fn e4(bytes: &[u8], key: &[u8]) -> Result<Vec<u8>, Fault> {
    let key = Zeroizing::new(Encoding::Hex.decode(key)?);
    let (time, sealed) = bytes.split_at_checked(E4_TIME_LEN).ok_or_else(|| not_of("e4"))?;
    let opened = if let Ok(mut cipher) = Aes128Siv::new_from_slice(&key) {
        cipher.decrypt([time], sealed)
    } else if let Ok(mut cipher) = Aes256Siv::new_from_slice(&key) {
        cipher.decrypt([time], sealed)
    } else {
        let what = "a key of e4 has 32 or 64 bytes";
        return Err(Fault::new(what, "check the file of --secret"));
    };
    opened.map_err(|_| not_authentic())
}

/// A secret without the end of its line.
fn line(secret: &[u8]) -> &[u8] {
    let secret = secret.strip_suffix(b"\n").unwrap_or(secret);
    secret.strip_suffix(b"\r").unwrap_or(secret)
}

fn not_of(program: &str) -> Fault {
    let what = format!("this is no message of {program}");
    Fault::new(what, "check that the bytes are whole, and --encoding and --format")
}

fn not_authentic() -> Fault {
    let what = "the message is not authentic under this secret";
    Fault::new(what, "name the sender's secret with --secret; else it was changed on the way")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        Encoding::Hex.decode(text.as_bytes()).unwrap()
    }

    /// Sealed with `PyNaCl` 1.6 under "correct horse" and the nonce 0, 1, 2….
    const OWNTRACKS: &[u8] = br#"{"_type": "encrypted", "data": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX1JkGq2HJ6t1n8F7dAj4jvawP6tI472fOl80/VsQLiPPXCvF8Efgah/mSYkHadb4="}"#;

    #[test]
    fn a_message_of_owntracks_is_opened() {
        let opened = owntracks(OWNTRACKS, b"correct horse\n").unwrap();
        assert_eq!(opened, br#"{"_type":"location","lat":48.2}"#);
        assert!(owntracks(OWNTRACKS, b"correct horse ").is_err());
    }

    #[test]
    fn messages_of_e4_are_opened_under_keys_of_both_lengths() {
        // sealed with the Python package cryptography under the key 0, 1, 2…
        let key = Encoding::Hex.encode(&(0..64).collect::<Vec<u8>>());
        let short = hex("00f153650000000043c7769849933e406199ae27daf35f390728");
        let long = hex("00f153650000000076a54122a79c9fda1294afe64f9da81cf0c1");
        assert_eq!(e4(&short, &key[..64]).unwrap(), b"27");
        assert_eq!(e4(&long, &key).unwrap(), b"27");
    }

    #[test]
    fn a_changed_message_of_e4_is_refused_wherever_it_was_changed() {
        let key = Encoding::Hex.encode(&(0..32).collect::<Vec<u8>>());
        let good = hex("00f153650000000043c7769849933e406199ae27daf35f390728");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(e4(&bad, &key).is_err(), "{at}");
        }
    }
}
