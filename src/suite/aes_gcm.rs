//! AES-256-GCM (SP 800-38D) by RustCrypto.

use ::aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInOut};

super::rust_crypto!(Aes256Gcm);
