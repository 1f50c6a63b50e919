//! ChaCha20-Poly1305 (RFC 8439) by RustCrypto.

use ::chacha20poly1305::{ChaCha20Poly1305, KeyInit, aead::AeadInOut};

super::rust_crypto!(ChaCha20Poly1305);
