//! A sealed payload as a tagged `COSE_Encrypt0` (RFC 9052 §5.2) and back. Knows no keys: who is told
//! the suite can do both, and nothing is authenticated here.
//!
//! A COSE library opens what [`expand`] makes if it is given the session's key and, as its
//! `external_aad`, what [`Aad::external`](crate::wire::aad::Aad::external) writes. With the
//! session's IV the message carries its nonce as IV (label 5); without, it carries the counter as
//! Partial IV (label 6), from which a library that holds the session's IV as Context IV makes the
//! same nonce (RFC 9052 §3.1).
//!
//! A committing suite's commitment stands under `"com"`. COSE knows nothing of it: who wants what
//! those suites promise compares it before opening.
//!
//! ```
//! use mqtt_seal::{cose, message::Sealer, schedule, secret::SharedKey, suite::Suite};
//! use mqtt_seal::topic::TopicName;
//! use mqtt_seal::wire::{Header, aad::Aad};
//!
//! let suite = Suite::default();
//! let topic = TopicName::parse("sensor/temp")?;
//! let root = schedule::root(&SharedKey::take(&mut [7; 32]), "acme-prod")?;
//! let scope = schedule::path_scope(&root, topic.path(2), suite);
//! let mut sealer = Sealer::new(&scope, suite, &mut getrandom::SysRng, 0, &[])?;
//! let mut buf = [0; 64];
//! let sealed = sealer.seal_in_place(topic, &mut buf, 2)?;
//!
//! let message = cose::expand(sealed, suite, None)?;
//! assert_eq!(message[0], 0xD0); // CBOR tag 16, COSE_Encrypt0
//! assert_eq!(cose::compress(&message)?, sealed);
//!
//! // what the COSE library is given beside the message and the key
//! let (_, len) = Header::parse(sealed).map_err(|_| "not sealed")?;
//! let mut external_aad = Vec::new();
//! Aad {
//!     suite: suite.id(),
//!     cose_algorithm: suite.cose_algorithm(),
//!     header: &sealed[..len],
//!     topic: topic.as_str(),
//!     bind: None,
//! }
//! .external(|part| external_aad.extend_from_slice(part));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod compress;
mod expand;

use core::fmt;

pub use compress::compress;
pub use expand::expand;

/// CBOR's major type of tags, and the tag of `COSE_Encrypt0` (RFC 9052 §2).
const TAG: u8 = 6;
const ENCRYPT0: u64 = 16;
/// Items of a `COSE_Encrypt0`: protected, unprotected, ciphertext.
const PARTS: u64 = 3;

/// Labels of the unprotected headers, in the order of deterministic encoding: by their bytes.
/// The numbers are COSE's kid, IV, Partial IV (RFC 9052 §3.1) and kid context (RFC 8613 §5.1).
// SPEC §5
const KID: u64 = 4;
const IV: u64 = 5;
const PARTIAL_IV: u64 = 6;
const ID: u64 = 10;
const VF: &[u8] = b"vf";
const COM: &[u8] = b"com";
const CTR: &[u8] = b"ctr";
/// Unprotected headers without and with a commitment.
const HEADERS: u64 = 5;
const HEADERS_WITH_COM: u64 = 6;

/// Why bytes were not converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CoseError {
    /// The payload does not start as sealed ones do.
    NotSealed,
    /// A version or a flag that this edition does not know, in a payload or under `"vf"`.
    Unsupported,
    /// The payload is cut, has a number out of range or not in its shortest form, or no room for
    /// what the suite puts behind the header.
    Malformed,
    /// The COSE message ends early.
    Cut,
    /// Something in the COSE message is not in CBOR's deterministic encoding.
    Encoding,
    /// This is no tag 16 around an array of three.
    NotEncrypt0,
    /// The protected header is not `{1: alg}` with a suite's algorithm.
    Algorithm,
    /// The unprotected headers are not those that [`expand`] writes, each once and in its order.
    Headers,
    /// The key identifier (label 4) does not have four bytes.
    KeyId,
    /// The IV (label 5) does not have twelve bytes.
    Iv,
    /// The Partial IV (label 6) is not the counter in its fewest bytes.
    PartialIv,
    /// The session's ID (label 10) is not one of the form that `"vf"` names.
    SessionId,
    /// The commitment does not have 32 bytes, or no suite with this algorithm commits.
    Commitment,
    /// The counter is above 2^32 − 2.
    Counter,
    /// The third part is no byte string with room for a tag.
    Ciphertext,
    /// Bytes follow the message.
    Trailing,
}

impl fmt::Display for CoseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSealed => "the payload is not sealed",
            Self::Unsupported => "the message has a version or flag that is not supported",
            Self::Malformed => "the sealed payload is malformed",
            Self::Cut => "the COSE message ends early",
            Self::Encoding => "the COSE message is not in CBOR's deterministic encoding",
            Self::NotEncrypt0 => "this is no tagged COSE_Encrypt0",
            Self::Algorithm => "the protected header is not the algorithm of a suite alone",
            Self::Headers => "the unprotected headers are not those of a sealed payload",
            Self::KeyId => "the key identifier does not have 4 bytes",
            Self::Iv => "the IV does not have 12 bytes",
            Self::PartialIv => "the partial IV is not the counter in its fewest bytes",
            Self::SessionId => "the session ID does not have the form that vf names",
            Self::Commitment => "the commitment does not fit the algorithm",
            Self::Counter => "the counter is above 4294967294",
            Self::Ciphertext => "the ciphertext has no room for a tag",
            Self::Trailing => "bytes follow the COSE message",
        })
    }
}

impl core::error::Error for CoseError {}

/// The counter without the zeros in front; a zero keeps one byte.
// SPEC §5, "minimal CTR bytes"
const fn partial_iv(counter: &[u8; 4]) -> &[u8] {
    match counter {
        [0, 0, 0, rest @ ..] => rest,
        [0, 0, rest @ ..] => rest,
        [0, rest @ ..] => rest,
        all => all,
    }
}

#[cfg(test)]
mod tests;
