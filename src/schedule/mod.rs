//! The whole key schedule: from a shared key to the keys of one session. Knows no wire and no time.
//!
//! `info(label, ctx, L) = "mqtt-seal v1 " ‖ label ‖ 0x00 ‖ u16(L) ‖ ctx`; every label has one fixed
//! shape of `ctx`, so that no two uses of HKDF (RFC 5869, SHA-256) share an info.

pub mod auth;

use core::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::secret::{NodeKey, RootKey, ScopeKey, SharedKey};
use crate::suite::{AEAD_KEY_LEN, NONCE_LEN, Suite};
use crate::topic::PathScope;
use crate::wire::header::{COM_LEN, KeyId, SID_LEN, SessionId};

const PREFIX: &[u8] = b"mqtt-seal v1 ";
const ROOT_SALT: &[u8] = b"mqtt-seal v1 root\0";
const NODE: &[u8] = b"node";
const NAMED: &[u8] = b"named";
const SCOPE: &[u8] = b"scope";
const KID: &[u8] = b"kid";
const SESSION: &[u8] = b"session";
const SID: &[u8] = b"sid";

/// Longest realm in bytes (SPEC §1).
pub const MAX_REALM_LEN: usize = 64;

/// Why a text is no realm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RealmError {
    /// It has more than [`MAX_REALM_LEN`] bytes.
    TooLong {
        /// The number of bytes that it has.
        len: usize,
    },
    /// It contains U+0000.
    Nul,
}

impl fmt::Display for RealmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len } => write!(
                f,
                "a realm has at most {MAX_REALM_LEN} bytes, this one has {len}: shorten it"
            ),
            Self::Nul => f.write_str("a realm must not contain U+0000: remove it"),
        }
    }
}

impl core::error::Error for RealmError {}

/// Checks the name of a realm.
///
/// # Errors
/// [`RealmError`] with the rule that it breaks.
pub fn check_realm(realm: &str) -> Result<(), RealmError> {
    match realm.len() {
        len if len > MAX_REALM_LEN => Err(RealmError::TooLong { len }),
        _ if realm.contains('\0') => Err(RealmError::Nul),
        _ => Ok(()),
    }
}

/// RK: the shared key within `realm`.
///
/// # Errors
/// [`RealmError`] if `realm` is none.
pub fn root(shared_key: &SharedKey, realm: &str) -> Result<RootKey, RealmError> {
    check_realm(realm)?;
    let realm = realm.as_bytes();
    let len = u16::try_from(realm.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut salt = [0; ROOT_SALT.len() + 2 + MAX_REALM_LEN];
    let parts = ROOT_SALT.iter().chain(&len).chain(realm);
    let mut used = 0_usize;
    for (slot, byte) in salt.iter_mut().zip(parts) {
        *slot = *byte;
        used = used.saturating_add(1);
    }
    let salt = salt.get(..used).unwrap_or(&salt);
    let (mut prk, _) = Hkdf::<Sha256>::extract(Some(salt), shared_key.expose());
    let key = RootKey::take(prk.as_mut());
    prk.zeroize();
    Ok(key)
}

/// `NK_0`: the node of no levels.
#[must_use]
pub fn root_node(root: &RootKey) -> NodeKey {
    NodeKey::take(&mut Zeroizing::new(*root.expose()))
}

/// `NK_i+1`: the node of one more level, which may be empty.
#[must_use]
pub fn node(parent: &NodeKey, level: &str) -> NodeKey {
    NodeKey::take(&mut expand(parent.expose(), NODE, &[level.as_bytes()]))
}

/// The node of `levels` below `start`.
#[must_use]
pub fn descend<'a>(start: NodeKey, levels: impl Iterator<Item = &'a str>) -> NodeKey {
    levels.fold(start, |parent, level| node(&parent, level))
}

/// SK of a path scope.
#[must_use]
pub fn path_scope(root: &RootKey, path: PathScope<'_>, suite: Suite) -> ScopeKey {
    scope(&descend(root_node(root), path.levels()), suite)
}

/// SK of the scope of a node.
#[must_use]
pub fn scope(node: &NodeKey, suite: Suite) -> ScopeKey {
    ScopeKey::take(&mut expand(node.expose(), SCOPE, &[&suite.id().to_be_bytes()]))
}

/// SK of a named scope.
#[must_use]
pub fn named_scope(root: &RootKey, name: &str, suite: Suite) -> ScopeKey {
    let node = NodeKey::take(&mut expand(root.expose(), NAMED, &[name.as_bytes()]));
    scope(&node, suite)
}

/// KID of a scope key.
#[must_use]
pub fn key_id(scope: &ScopeKey, suite: Suite) -> KeyId {
    KeyId::new(*expand(scope.expose(), KID, &[&suite.id().to_be_bytes()]))
}

/// The secrets of one session: wiped when dropped.
pub(crate) struct SessionSecrets {
    pub(crate) key: Zeroizing<[u8; AEAD_KEY_LEN]>,
    pub(crate) iv: Zeroizing<[u8; NONCE_LEN]>,
    pub(crate) commitment: Option<[u8; COM_LEN]>,
}

/// key ‖ iv ‖ com of a session.
pub(crate) fn session(scope: &ScopeKey, suite: Suite, id: &SessionId) -> SessionSecrets {
    const KEY_IV: usize = AEAD_KEY_LEN + NONCE_LEN;
    let (id, len) = id.encode();
    let id = id.get(..len).unwrap_or(&id);
    let len = u8::try_from(id.len()).unwrap_or(u8::MAX);
    let suite_id = suite.id().to_be_bytes();
    let ctx: [&[u8]; 3] = [&suite_id, &[len], id];
    let mut key = Zeroizing::new([0; AEAD_KEY_LEN]);
    let mut iv = Zeroizing::new([0; NONCE_LEN]);
    let mut commitment = None;
    if suite.commitment_len() == 0 {
        let okm: Zeroizing<[u8; KEY_IV]> = expand(scope.expose(), SESSION, &ctx);
        split(&*okm, &mut [&mut *key, &mut *iv]);
    } else {
        let okm: Zeroizing<[u8; KEY_IV + COM_LEN]> = expand(scope.expose(), SESSION, &ctx);
        let mut com = [0; COM_LEN];
        split(&*okm, &mut [&mut *key, &mut *iv, &mut com]);
        commitment = Some(com);
    }
    SessionSecrets { key, iv, commitment }
}

/// iv xor (0^8 ‖ u32(CTR)).
pub(crate) fn nonce(iv: &[u8; NONCE_LEN], counter: u32) -> [u8; NONCE_LEN] {
    let mut nonce = *iv;
    let [.., a, b, c, d] = &mut nonce;
    for (slot, byte) in [a, b, c, d].into_iter().zip(counter.to_be_bytes()) {
        *slot ^= byte;
    }
    nonce
}

/// SID: `random` are 32 bytes of an RNG, `made` the sessions that this process made before, and
/// `extra` whatever tells this run from others.
#[must_use]
pub fn session_id(scope: &ScopeKey, random: &[u8; 32], made: u32, extra: &[&[u8]]) -> SessionId {
    let made = made.to_be_bytes();
    let len: usize = extra.iter().map(|part| part.len()).sum();
    let len = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
    let head: [&[u8]; 3] = [random, &made, &len];
    let sid: Zeroizing<[u8; SID_LEN]> = expand_parts(scope.expose(), SID, &head, extra);
    SessionId::Random(*sid)
}

fn split(okm: &[u8], parts: &mut [&mut [u8]]) {
    let mut bytes = okm.iter();
    for part in parts {
        for (slot, byte) in part.iter_mut().zip(&mut bytes) {
            *slot = *byte;
        }
    }
}

fn expand<const L: usize>(key: &[u8; 32], label: &[u8], ctx: &[&[u8]]) -> Zeroizing<[u8; L]> {
    expand_parts(key, label, ctx, &[])
}

#[expect(clippy::expect_used, reason = "RFC 5869 allows 8,160 bytes; L is at most 76")]
fn expand_parts<const L: usize>(
    key: &[u8; 32],
    label: &[u8],
    head: &[&[u8]],
    tail: &[&[u8]],
) -> Zeroizing<[u8; L]> {
    let hkdf = Hkdf::<Sha256>::from_prk(key).expect("a PRK of 32 bytes is a SHA-256 output");
    let len = u16::try_from(L).unwrap_or(u16::MAX).to_be_bytes();
    let mut okm = Zeroizing::new([0; L]);
    let fixed: [&[u8]; 4] = [PREFIX, label, &[0], &len];
    // info is at most the four fixed parts, three parts of head and eight of tail
    let mut info: [&[u8]; 15] = [&[]; 15];
    for (slot, part) in info.iter_mut().zip(fixed.iter().chain(head).chain(tail)) {
        *slot = part;
    }
    hkdf.expand_multi_info(&info, &mut *okm).expect("L is at most 255 blocks");
    okm
}

#[cfg(test)]
mod tests;
