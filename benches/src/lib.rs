//! The AEADs as their crates offer them, called the way this crate calls them. What is measured
//! against these is what this crate adds.

/// Bytes of a nonce.
pub const NONCE_LEN: usize = 12;
/// Bytes of a tag.
pub const TAG_LEN: usize = 16;

/// A keyed AEAD.
pub trait Raw {
    /// Encrypts `text` in place.
    fn seal(&self, nonce: [u8; NONCE_LEN], aad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN];
    /// Decrypts what stands in front of the tag in `sealed`, in place.
    fn open(&self, nonce: [u8; NONCE_LEN], aad: &[u8], sealed: &mut [u8]);
}

/// RustCrypto's.
#[derive(Debug)]
pub struct Pure<C>(pub C);

impl<C> Raw for Pure<C>
where
    C: chacha20poly1305::aead::AeadInOut<
            NonceSize = chacha20poly1305::consts::U12,
            TagSize = chacha20poly1305::consts::U16,
        >,
{
    fn seal(&self, nonce: [u8; NONCE_LEN], aad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        self.0.encrypt_inout_detached(&nonce.into(), aad, text.into()).unwrap().into()
    }

    fn open(&self, nonce: [u8; NONCE_LEN], aad: &[u8], sealed: &mut [u8]) {
        let (text, tag) = sealed.split_last_chunk_mut::<TAG_LEN>().unwrap();
        self.0.decrypt_inout_detached(&nonce.into(), aad, text.into(), (&*tag).into()).unwrap();
    }
}

/// The same by ring.
#[cfg(feature = "ring")]
pub type Ring = ring::aead::LessSafeKey;

/// A key of ring's.
#[cfg(feature = "ring")]
#[must_use]
pub fn ring(algorithm: &'static ring::aead::Algorithm, key: &[u8; 32]) -> Ring {
    Ring::new(ring::aead::UnboundKey::new(algorithm, key).unwrap())
}

#[cfg(feature = "ring")]
impl Raw for Ring {
    fn seal(&self, nonce: [u8; NONCE_LEN], aad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = ring::aead::Nonce::assume_unique_for_key(nonce);
        let tag = self.seal_in_place_separate_tag(nonce, ring::aead::Aad::from(aad), text);
        tag.unwrap().as_ref().try_into().unwrap()
    }

    fn open(&self, nonce: [u8; NONCE_LEN], aad: &[u8], sealed: &mut [u8]) {
        let nonce = ring::aead::Nonce::assume_unique_for_key(nonce);
        self.open_in_place(nonce, ring::aead::Aad::from(aad), sealed).unwrap();
    }
}
