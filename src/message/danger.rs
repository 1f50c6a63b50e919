//! Sealing under an ID and a counter of the caller's choice: for test vectors and for ports.
//!
//! Two messages under one key, ID and counter give an eavesdropper the difference of their texts
//! and, but for suite 0x0003, the means to forge. Everything else in this crate chooses both
//! itself.

use crate::message;
use crate::schedule;
use crate::secret::ScopeKey;
use crate::session::SessionKeys;
use crate::suite::{Suite, SuiteNotBuilt};
use crate::topic::TopicName;
use crate::wire::header::{COM_LEN, SessionId, TAG_LEN};
use crate::wire::property::Property;

/// One message whose every part the caller chooses.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "the format is frozen, so are its parts")]
pub struct RawMessage<'a> {
    /// The suite of the scope key.
    pub suite: Suite,
    /// The session.
    pub id: SessionId,
    /// The counter. It must never have been used under this key and ID.
    pub counter: u32,
    /// Whether `plaintext` starts with an inner header.
    pub inner: bool,
    /// The topic as the rule binds it; `None` under `carried`.
    pub topic: Option<TopicName<'a>>,
    /// The bound properties; `None` if the rule does not bind.
    pub bind: Option<&'a [Property<'a>]>,
    /// Inner header, payload and padding.
    pub plaintext: &'a [u8],
}

/// The secrets of one session, for a COSE library or a comparison with another implementation.
#[derive(Clone)]
#[expect(clippy::exhaustive_structs, reason = "the format is frozen, so are its parts")]
pub struct ExposedSession {
    /// The AEAD key.
    pub key: [u8; 32],
    /// What the counter is added to, bit by bit, to make the nonce.
    pub iv: [u8; 12],
    /// The commitment of a committing suite.
    pub commitment: Option<[u8; 32]>,
}

impl core::fmt::Debug for ExposedSession {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ExposedSession(..)")
    }
}

/// Derives the secrets of one session and hands them out.
#[must_use]
pub fn expose_session(scope: &ScopeKey, suite: Suite, id: &SessionId) -> ExposedSession {
    let secrets = schedule::session(scope, suite, id);
    ExposedSession { key: *secrets.key, iv: *secrets.iv, commitment: secrets.commitment }
}

/// Largest piece of associated data that [`seal`] puts together on the stack.
const MAX_AAD: usize = 4_096;

/// Seals `message` into the front of `out` and returns the sealed bytes.
///
/// `None` if `out` or the associated data of at most 4,096 bytes is too small, or the text too
/// long for the AEAD.
///
/// # Errors
/// [`SuiteNotBuilt`] if a feature is off.
pub fn seal<'b>(
    scope: &ScopeKey,
    message: &RawMessage<'_>,
    out: &'b mut [u8],
) -> Result<Option<&'b [u8]>, SuiteNotBuilt> {
    let kid = schedule::key_id(scope, message.suite);
    let keys = SessionKeys::derive(scope, kid, message.suite, message.id)?;
    let header = keys.header(message.counter, message.inner).encode();
    let mut buf = [0; MAX_AAD];
    let aad = message::aad(&keys, header.as_bytes(), message.topic, message.bind);
    let Some(aad) = aad.write(&mut buf) else {
        return Ok(None);
    };

    let com = message.suite.commitment_len().min(COM_LEN);
    let lens = [header.as_bytes().len(), com, message.plaintext.len(), TAG_LEN];
    let total = lens.into_iter().fold(0, usize::saturating_add);
    let Some(out) = out.get_mut(..total) else {
        return Ok(None);
    };
    let (front, body) = out.split_at_mut(lens[0]);
    front.copy_from_slice(header.as_bytes());
    let text = body.iter_mut().skip(com);
    text.zip(message.plaintext).for_each(|(slot, byte)| *slot = *byte);
    let sealed = message::encrypt(&keys, message.counter, aad, body);
    Ok(sealed.ok().map(|()| &*out))
}
