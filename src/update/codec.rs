//! A snapshot to CBOR and back, in deterministic encoding. Knows no keys.

use alloc::{string::String, vec::Vec};

use zeroize::{Zeroize, Zeroizing};

use super::{Entry, KeyState, Snapshot};
use crate::keyring::{Grant, Parts, ScopeRef};
use crate::peer::{read_pins, write_pins};
use crate::secret::{KEY_LEN, NodeKey, RootKey, ScopeKey};
use crate::suite::Suite;
use crate::topic::PathScope;
use crate::wire::cbor::{self, ARRAY, BYTES, Items, MAP, TEXT, UNSIGNED};
use crate::wire::header::SenderNumber;

// kinds of keys (SPEC §10, entry 1)
const SCOPE: u64 = 0;
const NODE: u64 = 1;
const ROOT: u64 = 2;

/// Entries that every kind has: 1, 4, 5, 6, 7, 8.
const FIXED: u64 = 6;

/// What stands where a sender number may: one entry more than the kind has.
const SENDER: u64 = 9;

pub(super) fn write(snapshot: &Snapshot, mut put: impl FnMut(&[u8])) {
    cbor::head(ARRAY, 3, &mut put);
    cbor::head(UNSIGNED, snapshot.serial, &mut put);
    cbor::head(ARRAY, cbor::len(&snapshot.entries), &mut put);
    for entry in &snapshot.entries {
        write_entry(entry, &mut put);
    }
    write_pins(&snapshot.pins, put);
}

fn write_entry(entry: &Entry, mut put: impl FnMut(&[u8])) {
    let parts = entry.parts();
    let kind = match parts {
        Parts::Scope { .. } => SCOPE,
        Parts::Node { .. } => NODE,
        Parts::Root(_) => ROOT,
    };
    let sender = entry.sender().map(|sender| u64::from(sender.get()));
    let len = entries_of(kind).saturating_add(u64::from(sender.is_some()));
    cbor::head(MAP, len, &mut put);
    number(1, kind, &mut put);
    match parts {
        Parts::Scope { scope: ScopeRef::Named(name), .. } => {
            cbor::head(UNSIGNED, 2, &mut put);
            cbor::string(TEXT, name.as_bytes(), &mut put);
        }
        Parts::Scope { scope: ScopeRef::Path(path), .. } | Parts::Node { path, .. } => {
            write_path(path, &mut put);
        }
        Parts::Root(_) => {}
    }
    if let Some(suite) = entry.suite() {
        number(3, suite.id().into(), &mut put);
    }
    number(4, entry.generation().into(), &mut put);
    cbor::head(UNSIGNED, 5, &mut put);
    let erased = entry.state() == KeyState::Erased;
    cbor::string(BYTES, if erased { &[0; KEY_LEN] } else { parts.expose() }, &mut put);
    number(6, entry.not_before().unwrap_or(0), &mut put);
    number(7, entry.not_after().unwrap_or(0), &mut put);
    number(8, state_number(entry.state()), &mut put);
    if let Some(sender) = sender {
        number(SENDER, sender, put);
    }
}

fn write_path(path: PathScope<'_>, mut put: impl FnMut(&[u8])) {
    cbor::head(UNSIGNED, 2, &mut put);
    cbor::head(ARRAY, path.depth().into(), &mut put);
    for level in path.levels() {
        cbor::string(TEXT, level.as_bytes(), &mut put);
    }
}

fn number(label: u64, value: u64, mut put: impl FnMut(&[u8])) {
    cbor::head(UNSIGNED, label, &mut put);
    cbor::head(UNSIGNED, value, put);
}

/// Entries of the map of a key without a sender number.
const fn entries_of(kind: u64) -> u64 {
    match kind {
        SCOPE => FIXED + 2,
        NODE => FIXED + 1,
        _ => FIXED,
    }
}

const fn state_number(state: KeyState) -> u64 {
    match state {
        KeyState::Pending => 0,
        KeyState::Active => 1,
        KeyState::Retiring => 2,
        KeyState::Erased => 3,
    }
}

fn state(number: u64) -> Option<KeyState> {
    [KeyState::Pending, KeyState::Active, KeyState::Retiring, KeyState::Erased]
        .into_iter()
        .find(|state| state_number(*state) == number)
}

pub(super) fn read(bytes: &[u8]) -> Option<Snapshot> {
    let mut items = Items::new(bytes);
    items.expect_head(ARRAY, 3).ok()?;
    let serial = items.head(UNSIGNED).ok()?;
    let count = items.head(ARRAY).ok()?;
    // a wrong count ends with the bytes, before it costs memory
    let room = usize::try_from(count).unwrap_or(usize::MAX).min(bytes.len() / KEY_LEN);
    // all of it at once: what a vector leaves behind when it grows would not be wiped
    let mut entries = Vec::with_capacity(room);
    for _ in 0..count {
        entries.push(read_entry(&mut items)?);
    }
    let pins = read_pins(&mut items)?;
    items.is_empty().then(|| Snapshot::new(serial, entries, pins).ok())?
}

fn read_entry(items: &mut Items<'_>) -> Option<Entry> {
    let len = items.head(MAP).ok()?;
    let kind = read_number(items, 1)?;
    let has_sender = match len.checked_sub(entries_of(kind))? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let target = read_target(items, kind)?;
    let generation = u32::try_from(read_number(items, 4)?).ok()?;
    items.expect_head(UNSIGNED, 5).ok()?;
    let mut key = Zeroizing::new(*items.array::<KEY_LEN>(BYTES).ok()?);
    let (not_before, not_after) = (read_number(items, 6)?, read_number(items, 7)?);
    let state = state(read_number(items, 8)?)?;
    if state == KeyState::Erased {
        key.zeroize();
    }
    let mut grant = target.grant(&mut key)?.with_generation(generation);
    if has_sender {
        let sender = u32::try_from(read_number(items, SENDER)?).ok()?;
        grant = grant.with_sender(SenderNumber::new(sender)?);
    }
    let entry = Entry::new(grant).ok()?.with_state(state);
    Some(entry.between(Some(not_before), Some(not_after)))
}

fn read_number(items: &mut Items<'_>, label: u64) -> Option<u64> {
    items.expect_head(UNSIGNED, label).ok()?;
    items.head(UNSIGNED).ok()
}

/// What a key is for.
enum Target<'a> {
    Root,
    Node(Path),
    PathScope(Path, Suite),
    NamedScope(&'a str, Suite),
}

/// Levels that are joined by `/`, and their number.
struct Path(String, u8);

fn read_target<'a>(items: &mut Items<'a>, kind: u64) -> Option<Target<'a>> {
    match kind {
        ROOT => return Some(Target::Root),
        NODE | SCOPE => items.expect_head(UNSIGNED, 2).ok()?,
        _ => return None,
    }
    let mut ahead = items.clone();
    if kind == SCOPE && ahead.head(TEXT).is_ok() {
        let name = items.text().ok()?;
        return Some(Target::NamedScope(name, read_suite(items)?));
    }
    let path = read_path(items)?;
    Some(if kind == NODE {
        Target::Node(path)
    } else {
        Target::PathScope(path, read_suite(items)?)
    })
}

fn read_suite(items: &mut Items<'_>) -> Option<Suite> {
    Suite::from_id(u16::try_from(read_number(items, 3)?).ok()?)
}

fn read_path(items: &mut Items<'_>) -> Option<Path> {
    let count = u8::try_from(items.head(ARRAY).ok()?).ok()?;
    let levels: Vec<&str> = (0..count).map(|_| items.text().ok()).collect::<Option<_>>()?;
    let good = levels.iter().all(|level| !level.contains('/'));
    good.then(|| Path(levels.join("/"), count))
}

impl Path {
    fn scope(&self) -> Option<PathScope<'_>> {
        PathScope::from_parts(&self.0, self.1)
    }
}

impl Target<'_> {
    /// Takes the key and wipes its source.
    fn grant(&self, key: &mut [u8; KEY_LEN]) -> Option<Grant> {
        Some(match self {
            Self::Root => Grant::root(RootKey::take(key)),
            Self::Node(path) => Grant::node(path.scope()?, NodeKey::take(key)),
            Self::PathScope(path, suite) => {
                let key = ScopeKey::take(key);
                Grant::scope(ScopeRef::Path(path.scope()?), *suite, key)
            }
            Self::NamedScope(name, suite) => {
                Grant::scope(ScopeRef::Named(name), *suite, ScopeKey::take(key))
            }
        })
    }
}

/// The plain text of an acknowledgement.
pub(super) fn write_ack(serial: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    cbor::head(ARRAY, 1, |part| bytes.extend_from_slice(part));
    cbor::head(UNSIGNED, serial, |part| bytes.extend_from_slice(part));
    bytes
}

pub(super) fn read_ack(bytes: &[u8]) -> Option<u64> {
    let mut items = Items::new(bytes);
    items.expect_head(ARRAY, 1).ok()?;
    let serial = items.head(UNSIGNED).ok()?;
    items.is_empty().then_some(serial)
}
