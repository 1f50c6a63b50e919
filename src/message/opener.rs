//! Opening in place, with replay windows for a fixed number of streams.

use core::fmt;

use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use super::{AAD_BUFFER, MAX_SMALL_TOPIC_LEN};
use crate::replay::{Rejected, Window};
use crate::schedule;
use crate::secret::ScopeKey;
use crate::session::{Authentic, SessionKeys};
use crate::suite::{Suite, SuiteNotBuilt};
use crate::topic::TopicName;
use crate::wire::header::{Header, HeaderError, KeyId, SessionId, TAG_LEN};
use crate::wire::inner::InnerHeader;
use crate::wire::last_aad::LastAad;

/// Opens messages of one scope and refuses repetitions.
///
/// A *stream* is one sender session on one topic. The opener remembers the last 64 counters of
/// each of `STREAMS` streams. When one more appears, the stream that was quiet for longest is
/// forgotten and [`Opener::forgotten`] goes up: from then on its messages would count as new.
#[derive(Debug)]
pub struct Opener<const STREAMS: usize = 8> {
    scope: ScopeKey,
    kid: KeyId,
    suite: Suite,
    last: Option<SessionKeys>,
    /// The place of the stream of the last message, if that was opened by `last` and `last_aad`.
    recent: Option<usize>,
    streams: [Option<Stream>; STREAMS],
    tick: u64,
    forgotten: u64,
    aad: [u8; AAD_BUFFER],
    last_aad: LastAad,
}

#[derive(Debug)]
struct Stream {
    /// First half of SHA-256 over session ID and topic.
    key: [u8; 16],
    window: Window<1>,
    accepted: u64,
}

/// A message that was authentic and not seen before.
///
/// `Debug` prints the payload's length in place of its bytes.
#[non_exhaustive]
pub struct Opened<'b> {
    /// What the sender sealed, within the buffer.
    pub payload: &'b [u8],
    /// What the sender said about it; empty if there was no inner header.
    pub inner: InnerHeader<'b>,
    /// Under which key, session and counter.
    pub proof: Authentic,
}

impl fmt::Debug for Opened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("payload_len", &self.payload.len())
            .field("proof", &self.proof)
            .finish_non_exhaustive()
    }
}

/// Why a message was not opened. From `NotAuthentic` on, one error hides all causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpenError {
    /// The topic has more than [`MAX_SMALL_TOPIC_LEN`] bytes.
    TopicTooLong,
    /// The first byte is not that of a sealed message.
    NotSealed,
    /// A version or a flag that this edition does not know.
    Unsupported,
    /// The header is cut or a number is out of range, or authentic plain text breaks the format.
    Malformed,
    /// Sealed under another key than the one at hand.
    UnknownKey,
    /// Not made by a holder of the key, or not for this topic.
    NotAuthentic,
    /// Authentic, and not delivered.
    Rejected(Rejected),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TopicTooLong => {
                write!(f, "the topic has more than {MAX_SMALL_TOPIC_LEN} bytes: open with a Guard")
            }
            Self::NotSealed => f.write_str("the message is not sealed"),
            Self::Unsupported => f.write_str("the message has an unknown version or flag"),
            Self::Malformed => f.write_str("the message is malformed"),
            Self::UnknownKey => f.write_str("the message is sealed under a key not held here"),
            Self::NotAuthentic => f.write_str("the message is not authentic"),
            Self::Rejected(rejected) => rejected.fmt(f),
        }
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

impl<const STREAMS: usize> Opener<STREAMS> {
    /// An opener for messages under `scope`.
    ///
    /// # Errors
    /// [`SuiteNotBuilt`] if a feature is off.
    pub fn new(scope: ScopeKey, suite: Suite) -> Result<Self, SuiteNotBuilt> {
        const { assert!(STREAMS > 0, "an opener remembers at least one stream") }
        if !suite.is_built() {
            return Err(SuiteNotBuilt { suite });
        }
        Ok(Self {
            kid: schedule::key_id(&scope, suite),
            scope,
            suite,
            last: None,
            recent: None,
            streams: [const { None }; STREAMS],
            tick: 0,
            forgotten: 0,
            aad: [0; AAD_BUFFER],
            last_aad: LastAad::default(),
        })
    }

    /// Streams that had to be forgotten.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Opens the message that fills `buf`, which arrived under `topic`. Authenticated are the
    /// whole message and the topic. Replay state changes only when `Ok` is returned.
    ///
    /// # Errors
    /// In this order: [`OpenError::TopicTooLong`], [`OpenError::NotSealed`],
    /// [`OpenError::Unsupported`], [`OpenError::Malformed`], [`OpenError::UnknownKey`],
    /// [`OpenError::NotAuthentic`], [`OpenError::Malformed`], [`OpenError::Rejected`]. From
    /// `NotAuthentic` on everything behind the header in `buf` is wiped; before it `buf` is as it
    /// was.
    pub fn open_in_place<'b>(
        &mut self,
        topic: TopicName<'_>,
        buf: &'b mut [u8],
    ) -> Result<Opened<'b>, OpenError> {
        if topic.as_str().len() > MAX_SMALL_TOPIC_LEN {
            return Err(OpenError::TopicTooLong);
        }
        let (header, header_len) = Header::parse(buf)?;
        if header.kid != self.kid {
            return Err(OpenError::UnknownKey);
        }
        let proof = self.authenticate(&header, header_len, topic, buf)?;
        let body = buf.get_mut(header_len..).unwrap_or_default();
        // from here on the plain text must not outlive a refusal
        let opened = self.admit(&header, topic, proof, body);
        if opened.is_err() {
            body.zeroize();
        }
        opened?;
        let (inner, payload) =
            Self::split(self.suite, &header, buf.get(header_len..).unwrap_or_default())?;
        Ok(Opened { payload, inner, proof })
    }

    fn authenticate(
        &mut self,
        header: &Header,
        header_len: usize,
        topic: TopicName<'_>,
        buf: &mut [u8],
    ) -> Result<Authentic, OpenError> {
        let (encoded, body) = buf.split_at_mut_checked(header_len).ok_or(OpenError::Malformed)?;
        if body.len() < self.suite.commitment_len().saturating_add(TAG_LEN) {
            return Err(OpenError::Malformed);
        }
        let (commitment, sealed) =
            body.split_at_mut_checked(self.suite.commitment_len()).ok_or(OpenError::Malformed)?;
        let recent = self.recent.take();
        let mut derived = None;
        let keys = match &self.last {
            Some(keys) if keys.id == header.id => keys,
            _ => derived.insert(
                SessionKeys::derive(&self.scope, self.kid, self.suite, header.id)
                    .map_err(|_| OpenError::UnknownKey)?,
            ),
        };
        let aad = super::aad(keys, encoded, Some(topic), None);
        let aad = self.last_aad.write(&aad, &mut self.aad).ok_or(OpenError::TopicTooLong)?;
        let proof = keys
            .authenticate(header.counter, aad.bytes, commitment, sealed)
            .inspect_err(|_| commitment.zeroize())
            .map_err(|_| OpenError::NotAuthentic)?;
        match derived {
            Some(derived) => self.last = Some(derived),
            None => self.recent = recent.filter(|_| aad.same_topic),
        }
        Ok(proof)
    }

    /// Checks the authentic plain text in `body` and enters the counter into its window.
    fn admit(
        &mut self,
        header: &Header,
        topic: TopicName<'_>,
        proof: Authentic,
        body: &[u8],
    ) -> Result<(), OpenError> {
        if header.inner {
            Self::split(self.suite, header, body)?;
        }
        self.tick = self.tick.saturating_add(1);
        let tick = self.tick;
        let place = self.recent.or_else(|| {
            let key = stream_key(proof.session(), topic);
            self.streams.iter().position(|slot| slot.as_ref().is_some_and(|s| s.key == key))
        });
        if let Some(place) = place
            && let Some(stream) = self.streams.get_mut(place).and_then(Option::as_mut)
        {
            self.recent = Some(place);
            stream.window.accept(&proof).map_err(OpenError::Rejected)?;
            stream.accepted = tick;
            return Ok(());
        }
        let mut window = Window::new();
        window.accept(&proof).map_err(OpenError::Rejected)?;
        let stream = Stream { key: stream_key(proof.session(), topic), window, accepted: tick };
        let slots = self.streams.iter_mut().enumerate();
        let oldest = slots.min_by_key(|(_, slot)| slot.as_ref().map(|s| s.accepted));
        if let Some((place, slot)) = oldest {
            self.recent = Some(place);
            if slot.replace(stream).is_some() {
                self.forgotten = self.forgotten.saturating_add(1);
            }
        }
        Ok(())
    }

    /// Inner header and payload of a decrypted body: `[commitment] ‖ plain text ‖ tag`.
    fn split<'b>(
        suite: Suite,
        header: &Header,
        body: &'b [u8],
    ) -> Result<(InnerHeader<'b>, &'b [u8]), OpenError> {
        let text = body
            .split_last_chunk::<TAG_LEN>()
            .and_then(|(front, _)| front.get(suite.commitment_len()..))
            .ok_or(OpenError::Malformed)?;
        if header.inner {
            InnerHeader::parse(text).map_err(|_| OpenError::Malformed)
        } else {
            Ok((InnerHeader::default(), text))
        }
    }
}

fn stream_key(session: SessionId, topic: TopicName<'_>) -> [u8; 16] {
    let (id, len) = session.encode();
    let id = id.get(..len).unwrap_or(&id);
    let digest = Sha256::new()
        .chain_update([u8::try_from(id.len()).unwrap_or(u8::MAX)])
        .chain_update(id)
        .chain_update(topic.as_str())
        .finalize();
    let mut key = [0; 16];
    for (slot, byte) in key.iter_mut().zip(digest) {
        *slot = byte;
    }
    key
}

#[cfg(test)]
mod tests;
