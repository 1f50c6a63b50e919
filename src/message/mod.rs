//! One scope without a heap: seal and open in a buffer of the caller. Knows no policy.
//!
//! This is the layer for microcontrollers and for whoever brings their own policy. It speaks
//! session form without an inner header when it seals, and all of the format when it opens.
//!
//! ```
//! use mqtt_seal::message::{Opener, Sealer};
//! use mqtt_seal::{schedule, secret::SharedKey, suite::Suite, topic::TopicName};
//!
//! let shared = SharedKey::take(&mut [7; 32]); // 32 random bytes, from your provisioning
//! let root = schedule::root(&shared, "acme-prod")?;
//! let topic = TopicName::parse("sensor/temp")?;
//! let suite = Suite::default();
//!
//! let mut rng = getrandom::SysRng;
//! let mut sealer =
//!     Sealer::new(&schedule::path_scope(&root, topic.path(2), suite), suite, &mut rng, 0, &[b"sensor-7"])?;
//! let mut buf = [0; 64];
//! buf[sealer.headroom()..][..2].copy_from_slice(b"27");
//! let sealed = sealer.seal_in_place(topic, &mut buf, 2)?;
//!
//! let mut received = sealed.to_vec();
//! let mut opener = Opener::<8>::new(schedule::path_scope(&root, topic.path(2), suite), suite)?;
//! assert_eq!(opener.open_in_place(topic, &mut received)?.payload, b"27");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod danger;
mod opener;
mod sealer;

pub use opener::{OpenError, Opened, Opener};
pub use sealer::{SealError, Sealer};

use crate::session::SessionKeys;
use crate::suite::TooLong;
use crate::topic::TopicName;
use crate::wire::aad::Aad;
use crate::wire::property::Property;

/// Longest topic in bytes that [`Sealer`] and [`Opener`] take: their associated data is put
/// together in a buffer of fixed size. The Guard takes every topic.
pub const MAX_SMALL_TOPIC_LEN: usize = 256;
/// 256 bytes of topic, 26 of header, and at most 64 of CBOR around them.
const AAD_BUFFER: usize = MAX_SMALL_TOPIC_LEN + 96;

/// The associated data of a message under `keys`.
pub(crate) fn aad<'a>(
    keys: &SessionKeys,
    header: &'a [u8],
    topic: Option<TopicName<'a>>,
    bind: Option<&'a [Property<'a>]>,
) -> Aad<'a> {
    Aad {
        suite: keys.suite.id(),
        cose_algorithm: keys.suite.cose_algorithm(),
        header,
        topic: topic.map_or("", TopicName::as_str),
        bind,
    }
}

/// Encrypts the text in `body` in place, and writes the commitment in front of it and the tag
/// behind it into their places.
pub(crate) fn encrypt(
    keys: &SessionKeys,
    counter: u32,
    aad: &[u8],
    body: &mut [u8],
) -> Result<(), TooLong> {
    let mut sealed = body;
    if let Some(com) = &keys.commitment {
        let (commitment, rest) = sealed.split_first_chunk_mut().ok_or(TooLong)?;
        *commitment = *com;
        sealed = rest;
    }
    let (text, tag) = sealed.split_last_chunk_mut().ok_or(TooLong)?;
    *tag = keys.aead.seal(&keys.nonce(counter), aad, text)?;
    Ok(())
}
