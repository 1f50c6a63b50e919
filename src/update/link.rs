//! Messages between one device and its authority: one scope, one suite, a session for each
//! message. Knows neither snapshots nor serials.

use alloc::{format, string::String, vec::Vec};
use core::fmt;

use zeroize::{Zeroize, Zeroizing};

use crate::message::{aad, encrypt};
use crate::peer::PeerId;
use crate::schedule::{self, RealmError};
use crate::secret::{ScopeKey, SharedKey};
use crate::session::{self, Authentic, Entropy, NoEntropy, SessionKeys, draw_id};
use crate::suite::Suite;
use crate::topic::TopicName;
use crate::wire::header::{COM_LEN, Header, HeaderError, KeyId, TAG_LEN};
use crate::wire::inner::{InnerFields, InnerHeader};

/// The suite of updates and acknowledgements: committing (SPEC §10).
pub(super) const SUITE: Suite = Suite::ChaCha20Poly1305Commit;

/// Why a message between a device and its authority does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpenError {
    /// It came on another topic.
    OtherTopic,
    /// It is empty: somebody deleted the retained message. This proves nothing.
    Cleared,
    /// It is not sealed.
    NotSealed,
    /// Unknown version or flags.
    Unsupported,
    /// The header or the contents are malformed.
    Malformed,
    /// It is sealed under another key.
    UnknownKey,
    /// The tag, the commitment or the topic is wrong.
    NotAuthentic,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherTopic => "the message came on another topic: it was ignored",
            Self::Cleared => "the message is empty: somebody deleted the retained update",
            Self::NotSealed => "the message is not sealed: it was ignored",
            Self::Unsupported => "the message has an unknown version or flag",
            Self::Malformed => "the message is malformed",
            Self::UnknownKey => "the message is sealed under another key than the device's own",
            Self::NotAuthentic => "the message is not authentic",
        })
    }
}

impl core::error::Error for OpenError {}

impl From<HeaderError> for OpenError {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::NotSealed => Self::NotSealed,
            HeaderError::Unsupported => Self::Unsupported,
            HeaderError::Malformed => Self::Malformed,
        }
    }
}

/// Why a message was not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkError {
    NoEntropy(NoEntropy),
    TooLarge,
}

#[derive(Debug)]
pub(super) struct Link {
    name: String,
    key: ScopeKey,
    kid: KeyId,
}

/// An authentic message.
pub(super) struct Opened {
    pub(super) proof: Authentic,
    pub(super) timestamp: Option<u64>,
    pub(super) text: Zeroizing<Vec<u8>>,
}

impl Link {
    // SPEC §10, "named scope `$device/<id>` of root(DK)"
    pub(super) fn new(
        key: &SharedKey,
        realm: &str,
        device: PeerId<'_>,
    ) -> Result<Self, RealmError> {
        let name = format!("$device/{}", device.as_str());
        let key = schedule::named_scope(&schedule::root(key, realm)?, &name, SUITE);
        let kid = schedule::key_id(&key, SUITE);
        Ok(Self { name, key, kid })
    }

    #[cfg(feature = "rumqttc")]
    pub(super) const fn kid(&self) -> KeyId {
        self.kid
    }

    /// Whether an entry of a snapshot would hand the key of the link itself around.
    pub(super) fn is_below(&self, entry: &super::Entry) -> bool {
        entry.is_root_of(&self.name, SUITE, &self.key)
    }

    pub(super) fn open(&self, topic: &str, bytes: &[u8]) -> Result<Opened, OpenError> {
        if bytes.is_empty() {
            return Err(OpenError::Cleared);
        }
        let topic = TopicName::parse(topic).map_err(|_| OpenError::OtherTopic)?;
        let (header, header_len) = Header::parse(bytes)?;
        if header.kid != self.kid {
            return Err(OpenError::UnknownKey);
        }
        let (encoded, body) = bytes.split_at_checked(header_len).ok_or(OpenError::Malformed)?;
        let (commitment, sealed) = body.split_at_checked(COM_LEN).ok_or(OpenError::Malformed)?;
        let len = sealed.len().checked_sub(TAG_LEN).ok_or(OpenError::Malformed)?;
        let keys = SessionKeys::derive(&self.key, self.kid, SUITE, header.id)
            .map_err(|_| OpenError::UnknownKey)?;
        let mut text = Zeroizing::new(sealed.to_vec());
        let bound = bound(&keys, encoded, topic);
        let proof = keys
            .authenticate(header.counter, &bound, commitment, &mut text)
            .map_err(|_| OpenError::NotAuthentic)?;
        text.truncate(len);
        let timestamp = if header.inner { take_inner(&mut text)? } else { None };
        Ok(Opened { proof, timestamp, text })
    }

    /// Seals `text` in a session of its own: `out` is replaced.
    pub(super) fn seal(
        &mut self,
        topic: &str,
        timestamp: Option<u64>,
        text: &[u8],
        (rng, extra): (&mut dyn Entropy, &[&[u8]]),
        out: &mut Vec<u8>,
    ) -> Result<(), LinkError> {
        out.clear();
        let topic = TopicName::parse(topic).map_err(|_| LinkError::TooLarge)?;
        let made = session::count();
        let id = draw_id(&self.key, rng, made, extra).map_err(LinkError::NoEntropy)?;
        let keys =
            SessionKeys::derive(&self.key, self.kid, SUITE, id).map_err(|_| LinkError::TooLarge)?;
        let header = keys.header(0, timestamp.is_some()).encode();
        let inner = InnerFields { timestamp, ..InnerFields::default() };
        let total = [header.as_bytes().len(), COM_LEN, inner.encoded_len(), text.len(), TAG_LEN];
        out.reserve_exact(total.iter().sum());
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(&[0; COM_LEN]);
        inner.encode(|part| out.extend_from_slice(part));
        out.extend_from_slice(text);
        out.extend_from_slice(&[0; TAG_LEN]);
        let bound = bound(&keys, header.as_bytes(), topic);
        let body = out.get_mut(header.as_bytes().len()..).unwrap_or_default();
        let sealed = encrypt(&keys, 0, &bound, body);
        sealed.map_err(|_| {
            out.zeroize();
            LinkError::TooLarge
        })
    }
}

fn bound(keys: &SessionKeys, header: &[u8], topic: TopicName<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    aad(keys, header, Some(topic), None).encode(|part| bytes.extend_from_slice(part));
    bytes
}

/// Takes the inner header off `text`, and returns when it was sealed.
fn take_inner(text: &mut Zeroizing<Vec<u8>>) -> Result<Option<u64>, OpenError> {
    let (inner, payload) = InnerHeader::parse(text).map_err(|_| OpenError::Malformed)?;
    // neither a deletion nor a will
    if inner.kind.is_some() {
        return Err(OpenError::Malformed);
    }
    let (timestamp, payload) = (inner.timestamp, Zeroizing::new(payload.to_vec()));
    *text = payload;
    Ok(timestamp)
}
