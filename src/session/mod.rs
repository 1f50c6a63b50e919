//! One sender's session: its ID, its keys and the counter that never repeats. Knows no topics.

mod lease;

use core::fmt;
#[cfg(feature = "alloc")]
use core::sync::atomic::{AtomicU32, Ordering};

pub use lease::{CounterStore, Lease, LeaseError};
use rand_core::TryCryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::schedule;
use crate::secret::ScopeKey;
use crate::suite::{Aead, NONCE_LEN, NotAuthentic, Suite, SuiteNotBuilt};
#[cfg(feature = "alloc")]
use crate::wire::header::WILL_COUNTER;
use crate::wire::header::{COM_LEN, Header, KeyId, MAX_COUNTER, SessionId};

/// Most 16-byte blocks under one session key, 2^36 (SPEC §8).
pub const MAX_BLOCKS: u64 = 1 << 36;

/// The random generator failed. Nothing was sealed: there are no zeros in place of randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoEntropy;

impl fmt::Display for NoEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the random generator failed: no session was started")
    }
}

impl core::error::Error for NoEntropy {}

/// The session has no counter or block left; the sender starts another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exhausted;

/// Where session IDs get their randomness. Every random generator of `rand_core` is one.
pub trait Entropy {
    /// Fills `out` with random bytes.
    ///
    /// # Errors
    /// [`NoEntropy`] if the generator failed; what `out` holds then is not used.
    fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), NoEntropy>;
}

impl<R: TryCryptoRng> Entropy for R {
    fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), NoEntropy> {
        self.try_fill_bytes(out).map_err(|_| NoEntropy)
    }
}

/// Sessions that this process made so far, over all guards and their like.
// SPEC §4, SID: n
#[cfg(feature = "alloc")]
static MADE: AtomicU32 = AtomicU32::new(0);

/// Counts one more session of this process, and returns how many there were before.
#[cfg(feature = "alloc")]
pub(crate) fn count() -> u32 {
    MADE.fetch_add(1, Ordering::Relaxed)
}

/// Draws the ID of a new session in session form. `made` counts the sessions that this process
/// made before, over all scopes; `extra` is what tells this run from others: the MQTT client ID,
/// the process ID, a boot count, the clock. At most eight parts count.
///
/// # Errors
/// [`NoEntropy`] if `rng` failed.
// SPEC §4, SID
pub fn draw_id(
    scope: &ScopeKey,
    rng: &mut (impl Entropy + ?Sized),
    made: u32,
    extra: &[&[u8]],
) -> Result<SessionId, NoEntropy> {
    let mut random = Zeroizing::new([0; 32]);
    rng.fill(&mut random)?;
    Ok(schedule::session_id(scope, &random, made, extra))
}

/// The keys of one session, to seal or to open with.
pub(crate) struct SessionKeys {
    pub(crate) suite: Suite,
    pub(crate) kid: KeyId,
    pub(crate) id: SessionId,
    pub(crate) aead: Aead,
    iv: Zeroizing<[u8; NONCE_LEN]>,
    pub(crate) commitment: Option<[u8; COM_LEN]>,
}

impl SessionKeys {
    pub(crate) fn derive(
        scope: &ScopeKey,
        kid: KeyId,
        suite: Suite,
        id: SessionId,
    ) -> Result<Self, SuiteNotBuilt> {
        let secrets = schedule::session(scope, suite, &id);
        let aead = Aead::new(suite, &secrets.key)?;
        Ok(Self { suite, kid, id, aead, iv: secrets.iv, commitment: secrets.commitment })
    }

    pub(crate) fn nonce(&self, counter: u32) -> [u8; NONCE_LEN] {
        schedule::nonce(&self.iv, counter)
    }

    pub(crate) fn header(&self, counter: u32, inner: bool) -> Header {
        Header::new(self.kid, self.id, counter, inner)
    }
}

impl SessionKeys {
    /// Checks `commitment`, then decrypts in place the text in front of the tag that ends `sealed`.
    /// After an error `sealed` is wiped.
    // SPEC §4 "Committing suites", §6 open
    pub(crate) fn authenticate(
        &self,
        counter: u32,
        aad: &[u8],
        commitment: &[u8],
        sealed: &mut [u8],
    ) -> Result<Authentic, NotAuthentic> {
        let checked = if self.commits_to(commitment) {
            self.aead.open(&self.nonce(counter), aad, sealed)
        } else {
            Err(NotAuthentic)
        };
        if checked.is_err() {
            sealed.zeroize();
        }
        checked.map(|()| Authentic { kid: self.kid, id: self.id, counter })
    }

    /// Whether `commitment` is that of these keys: compared in words, and in constant time.
    fn commits_to(&self, commitment: &[u8]) -> bool {
        let (expected, []) = self.commitment.as_slice().as_flattened().as_chunks::<8>() else {
            return false;
        };
        let (given, []) = commitment.as_chunks::<8>() else {
            return false;
        };
        let differ = expected
            .iter()
            .zip(given)
            .map(|(a, b)| u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b))
            .fold(0, |differ, word| differ | word);
        expected.len() == given.len() && differ.ct_eq(&0).into()
    }
}

/// The proof that a message's tag was right. Only opening makes one, and replay state takes
/// nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Authentic {
    kid: KeyId,
    id: SessionId,
    counter: u32,
}

impl Authentic {
    /// The scope key that opened the message.
    #[must_use]
    pub const fn kid(&self) -> KeyId {
        self.kid
    }

    /// The sender's session.
    #[must_use]
    pub const fn session(&self) -> SessionId {
        self.id
    }

    /// The message's counter within the session.
    #[must_use]
    pub const fn counter(&self) -> u32 {
        self.counter
    }

    #[cfg(test)]
    pub(crate) const fn forged(kid: KeyId, id: SessionId, counter: u32) -> Self {
        Self { kid, id, counter }
    }
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKeys({} {})", self.kid, self.id)
    }
}

/// A session to seal in: keys, and the counter that goes up with every message.
#[derive(Debug)]
pub(crate) struct SenderSession {
    pub(crate) keys: SessionKeys,
    next: u32,
    blocks: u64,
    #[cfg(feature = "alloc")]
    will_spent: bool,
}

impl SenderSession {
    pub(crate) fn new(keys: SessionKeys) -> Self {
        Self {
            keys,
            next: 0,
            blocks: 0,
            #[cfg(feature = "alloc")]
            will_spent: false,
        }
    }

    /// The counter of the next message, which is not spent yet.
    pub(crate) fn peek(&self) -> Result<u32, Exhausted> {
        if self.next > MAX_COUNTER || self.blocks >= MAX_BLOCKS {
            Err(Exhausted)
        } else {
            Ok(self.next)
        }
    }

    /// Spends a counter on a plain text of `len` bytes, once and for all.
    // SPEC §2: 2^36 blocks of ⌈plaintext/16⌉+1; §6: ordinary messages end at 2^32−3
    pub(crate) fn spend(&mut self, len: usize) -> Result<u32, Exhausted> {
        let counter = self.peek()?;
        self.blocks = self.take_blocks(len)?;
        self.next = self.next.saturating_add(1);
        Ok(counter)
    }

    /// Spends the counter of wills, which a session has once.
    #[cfg(feature = "alloc")]
    pub(crate) fn spend_will(&mut self, len: usize) -> Result<u32, Exhausted> {
        if self.will_spent {
            return Err(Exhausted);
        }
        self.blocks = self.take_blocks(len)?;
        self.will_spent = true;
        Ok(WILL_COUNTER)
    }

    /// Whether its will was sealed, so that it ends only with its connection.
    #[cfg(feature = "alloc")]
    pub(crate) const fn has_will(&self) -> bool {
        self.will_spent
    }

    /// Whether a plain text of `len` bytes can still be sealed.
    #[cfg(feature = "alloc")]
    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.peek().is_ok() && self.take_blocks(len).is_ok()
    }

    fn take_blocks(&self, len: usize) -> Result<u64, Exhausted> {
        let blocks = u64::try_from(len.div_ceil(16)).unwrap_or(u64::MAX).saturating_add(1);
        let blocks = self.blocks.saturating_add(blocks);
        if blocks > MAX_BLOCKS { Err(Exhausted) } else { Ok(blocks) }
    }

    #[cfg(test)]
    pub(crate) fn set_next(&mut self, next: u32) {
        self.next = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> SenderSession {
        let scope = ScopeKey::take(&mut [1; 32]);
        let suite = Suite::ChaCha20Poly1305;
        let kid = schedule::key_id(&scope, suite);
        SenderSession::new(
            SessionKeys::derive(&scope, kid, suite, SessionId::Random([2; 12])).unwrap(),
        )
    }

    #[test]
    fn counters_go_up_by_one() {
        let mut session = session();
        assert_eq!([0, 1, 2].map(|_| session.spend(2).unwrap()), [0, 1, 2]);
    }

    #[test]
    fn the_last_ordinary_counter_is_two_to_the_32_less_3() {
        let mut session = session();
        session.set_next(MAX_COUNTER);
        assert_eq!(session.spend(2), Ok(MAX_COUNTER));
        assert_eq!(session.spend(2), Err(Exhausted));
        assert_eq!(session.spend_will(2), Ok(WILL_COUNTER));
        assert_eq!(session.spend_will(2), Err(Exhausted));
    }

    #[test]
    fn the_block_limit_ends_a_session() {
        let mut session = session();
        session.blocks = MAX_BLOCKS - 2;
        assert_eq!(session.spend(17), Err(Exhausted));
        assert_eq!(session.spend(16), Ok(0));
        assert_eq!(session.spend(0), Err(Exhausted));
    }

    #[test]
    fn nonces_differ_in_the_counter_alone() {
        let session = session();
        let zero = session.keys.nonce(0);
        let nonce = session.keys.nonce(0x0102_0304);
        assert_eq!(zero[..8], nonce[..8]);
        let xor = [0, 1, 2, 3].map(|i| zero[8 + i] ^ nonce[8 + i]);
        assert_eq!(xor, [1, 2, 3, 4]);
    }

    #[test]
    fn a_failing_generator_starts_no_session() {
        struct Broken;
        impl Entropy for Broken {
            fn fill(&mut self, _: &mut [u8; 32]) -> Result<(), NoEntropy> {
                Err(NoEntropy)
            }
        }
        let scope = ScopeKey::take(&mut [1; 32]);
        assert_eq!(draw_id(&scope, &mut Broken, 0, &[]), Err(NoEntropy));
    }
}
