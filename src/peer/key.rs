//! A key as peer authentication uses it, and what a run under it proves. Knows no message.

use alloc::string::String;
use core::fmt;

use subtle::ConstantTimeEq;

use crate::schedule::auth::{self, Context, HASH_LEN};
use crate::schedule::{self, RealmError};
use crate::secret::{AuthKey, ChallengeKey, RunKey, SharedKey};
use crate::session::{Entropy, NoEntropy};
use crate::wire::control::{Challenge, MAC_LEN, NONCE_LEN};
use crate::wire::header::KeyId;
use zeroize::Zeroizing;

/// What a completed run proves of the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Proof {
    /// It is the one other holder of a pairwise key.
    PeerAuthenticated,
    /// It is some member of the group that shares the key. Every member can read and take over
    /// what the run sets up, and can vouch for any broker.
    GroupMembership,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PeerAuthenticated => "peer authenticated",
            Self::GroupMembership => "group membership",
        })
    }
}

/// A shared key within a realm, ready to authenticate.
#[derive(Debug)]
pub struct PeerKey {
    key: AuthKey,
    challenge_key: ChallengeKey,
    pub(crate) id: KeyId,
    pub(crate) realm: String,
    pub(super) proof: Proof,
}

impl PeerKey {
    /// A key that one device and its authority hold, and nobody else.
    ///
    /// # Errors
    /// [`RealmError`] if `realm` is none.
    pub fn pairwise(key: &SharedKey, realm: &str) -> Result<Self, RealmError> {
        Self::new(key, realm, Proof::PeerAuthenticated)
    }

    /// A key that a whole group holds.
    ///
    /// # Errors
    /// [`RealmError`] if `realm` is none.
    pub fn group(key: &SharedKey, realm: &str) -> Result<Self, RealmError> {
        Self::new(key, realm, Proof::GroupMembership)
    }

    fn new(key: &SharedKey, realm: &str, proof: Proof) -> Result<Self, RealmError> {
        let key = auth::key(&schedule::root(key, realm)?);
        let (challenge_key, id) = (auth::challenge_key(&key), auth::key_id(&key));
        Ok(Self { key, challenge_key, id, realm: realm.into(), proof })
    }

    /// What a run under the key proves.
    #[must_use]
    pub const fn proof(&self) -> Proof {
        self.proof
    }

    pub(super) fn draw(
        &self,
        rng: &mut (impl Entropy + ?Sized),
        made: &mut u32,
        extra: &[&[u8]],
    ) -> Result<[u8; NONCE_LEN], NoEntropy> {
        let mut random = Zeroizing::new([0; 32]);
        rng.fill(&mut random)?;
        let nonce = auth::nonce(&self.key, &random, *made, extra);
        *made = made.wrapping_add(1);
        Ok(nonce)
    }

    /// Appends m1 to `out`.
    pub(super) fn challenge(&self, challenge: &Challenge<'_>, out: &mut impl Extend<u8>) {
        let mut covered = alloc::vec::Vec::new();
        challenge.encode(|part| covered.extend_from_slice(part));
        let mac = self.challenge_mac(&covered);
        out.extend(covered);
        out.extend(mac);
    }

    pub(super) fn challenge_mac(&self, covered: &[u8]) -> [u8; MAC_LEN] {
        auth::challenge_mac(&self.challenge_key, covered)
    }

    /// The secrets of the run in which all this was said.
    pub(super) fn run(
        &self,
        context: &Context<'_>,
        challenge: &[u8],
        nonce: &[u8; NONCE_LEN],
        attestation: &[u8],
    ) -> RunKey {
        let context: [u8; HASH_LEN] = context.hash();
        auth::run_key(&self.key, &auth::transcript(&context, challenge, nonce, attestation))
    }
}

/// Compares in constant time.
pub(super) fn same(expected: &[u8; MAC_LEN], given: &[u8; MAC_LEN]) -> bool {
    expected.ct_eq(given).into()
}
