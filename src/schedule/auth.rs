//! The keys of peer authentication: from a root key to the secrets of one run. Knows no wire and
//! no time.

use hkdf::Hkdf;
use sha2::digest::Output;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::{expand, expand_parts};
use crate::secret::{AuthKey, ChallengeKey, RootKey, RunKey, SharedKey};
use crate::wire::control::{MAC_LEN, NONCE_LEN};
use crate::wire::header::KeyId;

const KEY: &[u8] = b"auth";
const KID: &[u8] = b"auth kid";
const CHALLENGE: &[u8] = b"auth m1";
const NONCE: &[u8] = b"auth nonce";
const AUTHORITY: &[u8] = b"auth A";
const DEVICE: &[u8] = b"auth D";
const SESSION: &[u8] = b"auth session";
const CONTEXT_HASH: &[u8] = b"mqtt-seal v1 auth ctx\0";
const TRANSCRIPT_HASH: &[u8] = b"mqtt-seal v1 auth th\0";

/// Length in bytes of the hashes (FIPS 180-4, SHA-256).
pub const HASH_LEN: usize = 32;

/// Where a run takes place, as both ends have to see it. Every name is shorter than 65,536 bytes:
/// whoever makes one of these has checked them.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "the format is frozen, so are its fields")]
pub struct Context<'a> {
    /// The name of the deployment.
    pub realm: &'a str,
    /// The device's id.
    pub device: &'a str,
    /// The authority's id.
    pub authority: &'a str,
    /// `host:port` as the device was told it.
    pub broker: &'a str,
    /// The topic that the device publishes to.
    pub request: &'a str,
    /// The topic that the authority publishes to.
    pub response: &'a str,
}

impl Context<'_> {
    /// ctx.
    // SPEC §9
    #[must_use]
    pub fn hash(&self) -> [u8; HASH_LEN] {
        let Self { realm, device, authority, broker, request, response } = self;
        let names = [realm, device, authority, broker, request, response];
        let hash = Sha256::new().chain_update(CONTEXT_HASH);
        names.into_iter().fold(hash, |hash, name| lp(hash, name.as_bytes())).finalize().into()
    }
}

/// th: all that was said in a run.
// SPEC §9
#[must_use]
pub fn transcript(
    context: &[u8; HASH_LEN],
    challenge: &[u8],
    nonce: &[u8; NONCE_LEN],
    attestation: &[u8],
) -> [u8; HASH_LEN] {
    let hash = Sha256::new().chain_update(TRANSCRIPT_HASH).chain_update(context);
    lp(lp(hash, challenge).chain_update(nonce), attestation).finalize().into()
}

fn lp(hash: Sha256, part: &[u8]) -> Sha256 {
    let len = u16::try_from(part.len()).unwrap_or(u16::MAX);
    hash.chain_update(len.to_be_bytes()).chain_update(part)
}

/// AK: what a root key is in peer authentication.
#[must_use]
pub fn key(root: &RootKey) -> AuthKey {
    AuthKey::take(&mut expand(root.expose(), KEY, &[]))
}

/// akid.
#[must_use]
pub fn key_id(key: &AuthKey) -> KeyId {
    KeyId::new(*expand(key.expose(), KID, &[]))
}

/// AK1.
#[must_use]
pub fn challenge_key(key: &AuthKey) -> ChallengeKey {
    ChallengeKey::take(&mut expand(key.expose(), CHALLENGE, &[]))
}

/// nD or nA: `random` are 32 bytes of an RNG, `made` the nonces that this end made before, and
/// `extra` whatever tells this run of the program from others; at most eight parts count.
#[must_use]
pub fn nonce(key: &AuthKey, random: &[u8; 32], made: u32, extra: &[&[u8]]) -> [u8; NONCE_LEN] {
    let made = made.to_be_bytes();
    let len: usize = extra.iter().take(8).map(|part| part.len()).sum();
    let len = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
    *expand_parts(key.expose(), NONCE, &[random, &made, &len], extra)
}

/// mac1 over all bytes of a challenge before it.
// HKDF-Extract is HMAC with the salt as its key (RFC 5869 §2.2)
#[must_use]
pub fn challenge_mac(key: &ChallengeKey, bytes: &[u8]) -> [u8; MAC_LEN] {
    let mut mac = [0; MAC_LEN];
    for (slot, byte) in mac.iter_mut().zip(extract(key.expose(), bytes)) {
        *slot = byte;
    }
    mac
}

/// PRK.
#[must_use]
pub fn run_key(key: &AuthKey, transcript: &[u8; HASH_LEN]) -> RunKey {
    let mut prk = extract(transcript, key.expose());
    let key = RunKey::take(prk.as_mut());
    prk.zeroize();
    key
}

fn extract(salt: &[u8], material: &[u8]) -> Output<Sha256> {
    Hkdf::<Sha256>::extract(Some(salt), material).0
}

/// macA.
#[must_use]
pub fn authority_mac(run: &RunKey) -> Zeroizing<[u8; MAC_LEN]> {
    expand(run.expose(), AUTHORITY, &[])
}

/// macD.
#[must_use]
pub fn device_mac(run: &RunKey) -> Zeroizing<[u8; MAC_LEN]> {
    expand(run.expose(), DEVICE, &[])
}

/// SSK.
#[must_use]
pub fn session_key(run: &RunKey) -> SharedKey {
    SharedKey::take(&mut expand(run.expose(), SESSION, &[]))
}
