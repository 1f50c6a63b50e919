//! ChaCha20-Poly1305 and AES-256-GCM by ring, in assembly.
//!
//! ring does not wipe its keys when they are dropped, and needs an operating system.

use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::{AEAD_KEY_LEN, NONCE_LEN, NotAuthentic, TAG_LEN, TooLong};

/// The AEAD with its key set up.
pub(super) struct Key(LessSafeKey);

impl Key {
    pub(super) fn chacha20_poly1305(key: &[u8; AEAD_KEY_LEN]) -> Option<Self> {
        UnboundKey::new(&CHACHA20_POLY1305, key).ok().map(LessSafeKey::new).map(Self)
    }

    pub(super) fn aes_256_gcm(key: &[u8; AEAD_KEY_LEN]) -> Option<Self> {
        UnboundKey::new(&AES_256_GCM, key).ok().map(LessSafeKey::new).map(Self)
    }

    pub(super) fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], TooLong> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag =
            self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), text).map_err(|_| TooLong)?;
        <[u8; TAG_LEN]>::try_from(tag.as_ref()).map_err(|_| TooLong)
    }

    pub(super) fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        sealed: &mut [u8],
    ) -> Result<(), NotAuthentic> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.open_in_place(nonce, Aad::from(aad), sealed).map(drop).map_err(|_| NotAuthentic)
    }
}
