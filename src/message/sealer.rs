//! Sealing in place.

use core::fmt;

use super::{AAD_BUFFER, MAX_SMALL_TOPIC_LEN};
use crate::schedule;
use crate::secret::ScopeKey;
use crate::session::{Entropy, NoEntropy, SenderSession, SessionKeys, draw_id};
use crate::suite::{Suite, SuiteNotBuilt};
use crate::topic::TopicName;
use crate::wire::header::{MAX_HEADER_LEN, SessionId, TAG_LEN};
use crate::wire::last_aad::LastAad;

/// Seals messages of one scope in one session.
///
/// MQTT asks for a new session at every network connection and keeps order only within a topic
/// and a `QoS` level: make a new sealer at each connection, and one for each `QoS` level in use.
#[derive(Debug)]
pub struct Sealer {
    session: SenderSession,
    aad: [u8; AAD_BUFFER],
    last_aad: LastAad,
}

/// Why a [`Sealer`] was not made or did not seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealError {
    /// The suite is not in this build.
    Suite(SuiteNotBuilt),
    /// No randomness for the session's ID.
    NoEntropy(NoEntropy),
    /// The topic has more than [`MAX_SMALL_TOPIC_LEN`] bytes.
    TopicTooLong,
    /// The buffer does not hold headroom, payload and tag.
    BufferTooSmall,
    /// The payload is longer than the AEAD takes.
    TooLarge,
    /// The session's counters are used up: make another sealer.
    Exhausted,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suite(error) => error.fmt(f),
            Self::NoEntropy(error) => error.fmt(f),
            Self::TopicTooLong => {
                write!(f, "the topic has more than {MAX_SMALL_TOPIC_LEN} bytes: seal with a Guard")
            }
            Self::BufferTooSmall => {
                f.write_str("the buffer is too small for headroom, payload and 16 bytes of tag")
            }
            Self::TooLarge => f.write_str("the payload is too large to be sealed"),
            Self::Exhausted => f.write_str("the session has no counter left: make another sealer"),
        }
    }
}

impl core::error::Error for SealError {}

impl Sealer {
    /// Starts a session under `scope`. `made` is the number of sessions that this process made
    /// before, and `extra` what tells this run of the device from others (client ID, boot count,
    /// clock; at most eight parts).
    ///
    /// # Errors
    /// [`SealError::Suite`], [`SealError::NoEntropy`].
    pub fn new(
        scope: &ScopeKey,
        suite: Suite,
        rng: &mut impl Entropy,
        made: u32,
        extra: &[&[u8]],
    ) -> Result<Self, SealError> {
        let id = draw_id(scope, rng, made, extra).map_err(SealError::NoEntropy)?;
        Self::with_id(scope, suite, id)
    }

    pub(super) fn with_id(
        scope: &ScopeKey,
        suite: Suite,
        id: SessionId,
    ) -> Result<Self, SealError> {
        let kid = schedule::key_id(scope, suite);
        let keys = SessionKeys::derive(scope, kid, suite, id).map_err(SealError::Suite)?;
        Ok(Self {
            session: SenderSession::new(keys),
            aad: [0; AAD_BUFFER],
            last_aad: LastAad::default(),
        })
    }

    /// The session's ID.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session.keys.id
    }

    #[cfg(test)]
    pub(super) fn session_mut(&mut self) -> &mut SenderSession {
        &mut self.session
    }

    /// Bytes that the buffer must have in front of the payload.
    #[must_use]
    pub fn headroom(&self) -> usize {
        MAX_HEADER_LEN.saturating_add(self.session.keys.suite.commitment_len())
    }

    /// Seals the payload that stands at `buf[headroom..headroom + len]`; behind it the buffer has
    /// room for a tag of 16 bytes. Returns the part of `buf` to publish. The topic is
    /// authenticated with it. Each call that returns `Ok` spends one counter.
    ///
    /// # Errors
    /// In this order: [`SealError::TopicTooLong`], [`SealError::BufferTooSmall`],
    /// [`SealError::Exhausted`], [`SealError::TooLarge`]. But for the last, `buf` is untouched;
    /// after the last its contents are to be discarded.
    pub fn seal_in_place<'b>(
        &mut self,
        topic: TopicName<'_>,
        buf: &'b mut [u8],
        len: usize,
    ) -> Result<&'b [u8], SealError> {
        if topic.as_str().len() > MAX_SMALL_TOPIC_LEN {
            return Err(SealError::TopicTooLong);
        }
        let total = self.headroom().saturating_add(len).saturating_add(TAG_LEN);
        let buf = buf.get_mut(..total).ok_or(SealError::BufferTooSmall)?;
        let counter = self.session.spend(len).map_err(|_| SealError::Exhausted)?;

        let keys = &self.session.keys;
        let header = keys.header(counter, false).encode();
        let aad = super::aad(keys, header.as_bytes(), Some(topic), None);
        let aad = self.last_aad.write(&aad, &mut self.aad).ok_or(SealError::TopicTooLong)?;
        let (front, body) =
            buf.split_at_mut_checked(MAX_HEADER_LEN).ok_or(SealError::BufferTooSmall)?;
        super::encrypt(keys, counter, aad.bytes, body).map_err(|_| SealError::TooLarge)?;

        let header = header.as_bytes();
        let start = front.len().saturating_sub(header.len());
        front.get_mut(start..).unwrap_or_default().copy_from_slice(header);
        Ok(buf.get(start..).unwrap_or_default())
    }
}
