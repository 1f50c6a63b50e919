//! The AEADs under one interface. Knows keys and nonces of one message; knows no sessions.

mod pure;
#[cfg(feature = "ring")]
mod ring;

use core::fmt;

use crate::wire::header::{COM_LEN, TAG_LEN};

/// Bytes of an AEAD key; the same in every suite.
pub const AEAD_KEY_LEN: usize = 32;
/// Bytes of a nonce; the same in every suite (RFC 8439, SP 800-38D, RFC 8452).
pub const NONCE_LEN: usize = 12;

/// An algorithm suite. It belongs to the key and never stands on the wire, so that a message
/// cannot choose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum Suite {
    /// 0x0001, `chacha20-poly1305` (RFC 8439): the default.
    #[default]
    ChaCha20Poly1305,
    /// 0x0002, `aes-256-gcm` (SP 800-38D).
    Aes256Gcm,
    /// 0x0003, `aes-256-gcm-siv` (RFC 8452): survives a repeated nonce.
    Aes256GcmSiv,
    /// 0x0101, `chacha20-poly1305-commit`.
    ChaCha20Poly1305Commit,
    /// 0x0102, `aes-256-gcm-commit`.
    Aes256GcmCommit,
}

impl Suite {
    /// Every suite, in the order of the identifiers.
    pub const ALL: [Self; 5] = [
        Self::ChaCha20Poly1305,
        Self::Aes256Gcm,
        Self::Aes256GcmSiv,
        Self::ChaCha20Poly1305Commit,
        Self::Aes256GcmCommit,
    ];

    /// The suite's number.
    // SPEC §2, table of suites
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::ChaCha20Poly1305 => 0x0001,
            Self::Aes256Gcm => 0x0002,
            Self::Aes256GcmSiv => 0x0003,
            Self::ChaCha20Poly1305Commit => 0x0101,
            Self::Aes256GcmCommit => 0x0102,
        }
    }

    /// The suite with this number.
    #[must_use]
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.id() == id)
    }

    /// The suite's name in policy and key files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            Self::Aes256Gcm => "aes-256-gcm",
            Self::Aes256GcmSiv => "aes-256-gcm-siv",
            Self::ChaCha20Poly1305Commit => "chacha20-poly1305-commit",
            Self::Aes256GcmCommit => "aes-256-gcm-commit",
        }
    }

    /// The suite with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name() == name)
    }

    /// The AEAD's number in the COSE algorithm registry (RFC 9053; AES-GCM-SIV: private use).
    #[must_use]
    pub const fn cose_algorithm(self) -> i32 {
        match self {
            Self::ChaCha20Poly1305 | Self::ChaCha20Poly1305Commit => 24,
            Self::Aes256Gcm | Self::Aes256GcmCommit => 3,
            Self::Aes256GcmSiv => -65_552,
        }
    }

    /// Bytes of the commitment behind the header: 32 in committing suites, else 0.
    #[must_use]
    pub const fn commitment_len(self) -> usize {
        match self {
            Self::ChaCha20Poly1305Commit | Self::Aes256GcmCommit => COM_LEN,
            _ => 0,
        }
    }

    /// Whether this build contains the suite's AEAD.
    #[must_use]
    pub const fn is_built(self) -> bool {
        match self {
            Self::ChaCha20Poly1305 | Self::ChaCha20Poly1305Commit => true,
            Self::Aes256Gcm | Self::Aes256GcmCommit => {
                cfg!(any(feature = "aes-gcm", feature = "ring"))
            }
            Self::Aes256GcmSiv => cfg!(feature = "aes-gcm-siv"),
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The message was not made by a holder of the key, or not for this place. The one error behind
/// which nothing finer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotAuthentic;

impl fmt::Display for NotAuthentic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message is not authentic")
    }
}

impl core::error::Error for NotAuthentic {}

/// This build does not contain the suite's AEAD: a feature is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SuiteNotBuilt {
    /// The suite that was asked for.
    pub suite: Suite,
}

impl fmt::Display for SuiteNotBuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "suite {} is not in this build: switch on its cargo feature", self.suite)
    }
}

impl core::error::Error for SuiteNotBuilt {}

/// The payload is longer than the AEAD can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

/// A keyed AEAD.
pub(crate) struct Aead(Keyed);

#[allow(clippy::large_enum_variant, reason = "without a heap there is nowhere else for a key")]
enum Keyed {
    ChaCha20Poly1305(pure::chacha20_poly1305::Key),
    #[cfg(feature = "aes-gcm")]
    Aes256Gcm(pure::aes_256_gcm::Key),
    #[cfg(feature = "aes-gcm-siv")]
    Aes256GcmSiv(pure::aes_256_gcm_siv::Key),
    #[cfg(feature = "ring")]
    Ring(ring::Key),
}

/// Whose code an AEAD is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    /// RustCrypto's.
    Pure,
    /// ring's.
    #[cfg(feature = "ring")]
    Ring,
}

impl Backend {
    /// The faster of those in this build. Measured on `x86_64` at eight sizes from 2 bytes to
    /// 256 KiB (docs/performance.md), no other is faster than ring by more than noise where it has
    /// the suite, and from 256 bytes on ring is the faster in any case.
    const fn fastest(suite: Suite) -> Self {
        match suite {
            #[cfg(feature = "ring")]
            Suite::ChaCha20Poly1305
            | Suite::ChaCha20Poly1305Commit
            | Suite::Aes256Gcm
            | Suite::Aes256GcmCommit => Self::Ring,
            _ => Self::Pure,
        }
    }
}

impl Aead {
    pub(crate) fn new(suite: Suite, key: &[u8; AEAD_KEY_LEN]) -> Result<Self, SuiteNotBuilt> {
        Self::with_backend(suite, Backend::fastest(suite), key)
    }

    /// The AEAD of `suite` by `backend`.
    pub(crate) fn with_backend(
        suite: Suite,
        backend: Backend,
        key: &[u8; AEAD_KEY_LEN],
    ) -> Result<Self, SuiteNotBuilt> {
        let keyed = match backend {
            Backend::Pure => Self::pure(suite, key),
            #[cfg(feature = "ring")]
            Backend::Ring => match suite {
                Suite::ChaCha20Poly1305 | Suite::ChaCha20Poly1305Commit => {
                    ring::Key::chacha20_poly1305(key).map(Keyed::Ring)
                }
                Suite::Aes256Gcm | Suite::Aes256GcmCommit => {
                    ring::Key::aes_256_gcm(key).map(Keyed::Ring)
                }
                Suite::Aes256GcmSiv => None,
            },
        };
        keyed.map(Self).ok_or(SuiteNotBuilt { suite })
    }

    #[cfg_attr(
        all(feature = "aes-gcm", feature = "aes-gcm-siv"),
        expect(clippy::unnecessary_wraps, reason = "there is none where a feature is off")
    )]
    fn pure(suite: Suite, key: &[u8; AEAD_KEY_LEN]) -> Option<Keyed> {
        match suite {
            Suite::ChaCha20Poly1305 | Suite::ChaCha20Poly1305Commit => {
                Some(Keyed::ChaCha20Poly1305(pure::chacha20_poly1305::Key::new(key)))
            }
            #[cfg(feature = "aes-gcm")]
            Suite::Aes256Gcm | Suite::Aes256GcmCommit => {
                Some(Keyed::Aes256Gcm(pure::aes_256_gcm::Key::new(key)))
            }
            #[cfg(feature = "aes-gcm-siv")]
            Suite::Aes256GcmSiv => Some(Keyed::Aes256GcmSiv(pure::aes_256_gcm_siv::Key::new(key))),
            #[cfg(not(all(feature = "aes-gcm", feature = "aes-gcm-siv")))]
            _ => None,
        }
    }

    /// Encrypts `text` in place and returns the tag.
    pub(crate) fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], TooLong> {
        match &self.0 {
            Keyed::ChaCha20Poly1305(key) => key.seal(nonce, aad, text),
            #[cfg(feature = "aes-gcm")]
            Keyed::Aes256Gcm(key) => key.seal(nonce, aad, text),
            #[cfg(feature = "aes-gcm-siv")]
            Keyed::Aes256GcmSiv(key) => key.seal(nonce, aad, text),
            #[cfg(feature = "ring")]
            Keyed::Ring(key) => key.seal(nonce, aad, text),
        }
    }

    /// Decrypts the text in front of the tag that ends `sealed`, in place, if the tag is right.
    /// After an error `sealed` holds nothing useful and the caller wipes it.
    pub(crate) fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        sealed: &mut [u8],
    ) -> Result<(), NotAuthentic> {
        match &self.0 {
            Keyed::ChaCha20Poly1305(key) => key.open(nonce, aad, sealed),
            #[cfg(feature = "aes-gcm")]
            Keyed::Aes256Gcm(key) => key.open(nonce, aad, sealed),
            #[cfg(feature = "aes-gcm-siv")]
            Keyed::Aes256GcmSiv(key) => key.open(nonce, aad, sealed),
            #[cfg(feature = "ring")]
            Keyed::Ring(key) => key.open(nonce, aad, sealed),
        }
    }
}

impl fmt::Debug for Aead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Aead(..)")
    }
}

#[cfg(test)]
mod tests;
