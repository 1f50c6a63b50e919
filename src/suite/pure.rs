//! The AEADs in Rust alone, by RustCrypto. Always there, and all that microcontrollers need.

/// One key of a RustCrypto AEAD: the three differ in their type alone.
macro_rules! rust_crypto {
    ($(#[$meta:meta])* $module:ident, $cipher:ty) => {
        $(#[$meta])*
        pub(super) mod $module {
            use chacha20poly1305::aead::{AeadInOut, KeyInit};

            use crate::suite::{AEAD_KEY_LEN, NONCE_LEN, NotAuthentic, TAG_LEN, TooLong};

            /// The AEAD with its key set up.
            pub(in crate::suite) struct Key($cipher);

            impl Key {
                pub(in crate::suite) fn new(key: &[u8; AEAD_KEY_LEN]) -> Self {
                    Self(<$cipher>::new(key.into()))
                }

                pub(in crate::suite) fn seal(
                    &self,
                    nonce: &[u8; NONCE_LEN],
                    aad: &[u8],
                    text: &mut [u8],
                ) -> Result<[u8; TAG_LEN], TooLong> {
                    self.0
                        .encrypt_inout_detached(nonce.into(), aad, text.into())
                        .map(Into::into)
                        .map_err(|_| TooLong)
                }

                pub(in crate::suite) fn open(
                    &self,
                    nonce: &[u8; NONCE_LEN],
                    aad: &[u8],
                    sealed: &mut [u8],
                ) -> Result<(), NotAuthentic> {
                    let (text, tag) =
                        sealed.split_last_chunk_mut::<TAG_LEN>().ok_or(NotAuthentic)?;
                    self.0
                        .decrypt_inout_detached(nonce.into(), aad, text.into(), (&*tag).into())
                        .map_err(|_| NotAuthentic)
                }
            }
        }
    };
}

rust_crypto!(chacha20_poly1305, chacha20poly1305::ChaCha20Poly1305);
rust_crypto!(
    #[cfg(feature = "aes-gcm")]
    aes_256_gcm,
    aes_gcm::Aes256Gcm
);
rust_crypto!(
    #[cfg(feature = "aes-gcm-siv")]
    aes_256_gcm_siv,
    aes_gcm_siv::Aes256GcmSiv
);
