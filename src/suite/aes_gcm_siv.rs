//! AES-256-GCM-SIV (RFC 8452) by RustCrypto.

use ::aes_gcm_siv::{Aes256GcmSiv, KeyInit, aead::AeadInOut};

super::rust_crypto!(Aes256GcmSiv);
