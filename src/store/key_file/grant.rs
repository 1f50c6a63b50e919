//! One `[[grant]]` of a key file. Knows which settings each kind needs.

use alloc::{string::String, vec};

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

use super::entry::{Contradiction, Entry};
use super::{KeyFault, Parsed};
use crate::keyring::{Grant, ScopeRef, State};
use crate::policy::MAX_SCOPE_DEPTH;
use crate::secret::{KEY_LEN, NodeKey, RootKey, ScopeKey, SharedKey};
use crate::store::moment::Unit;
use crate::store::position::Located;
use crate::store::section::{Section, Setting};
use crate::topic::{MAX_TOPIC_LEN, PathScope};
use crate::wire::SenderNumber;

const KEYS: &[&str] = &[
    "kind",
    "generation",
    "state",
    "not_after",
    "sender",
    "created",
    "key",
    "path",
    "name",
    "suite",
];
const KINDS: &[&str] = &["shared", "root", "node", "scope"];
const STATES: &[&str] = &["pending", "active", "retiring"];

#[derive(Clone, Copy)]
enum Kind {
    Shared,
    Root,
    Node,
    Scope,
}

/// The grant of `section`, which contradicts none of `earlier`.
pub(super) fn grant(section: Section<'_>, realm: &str, earlier: &[Entry]) -> Parsed<Entry> {
    section.check_keys(KEYS)?;
    let kinds = [Kind::Shared, Kind::Root, Kind::Node, Kind::Scope];
    let kind = section.need("kind")?.choice(KINDS, &kinds)?;
    let (generation, state) = (generation(section)?, state(section)?);
    let sender = section.get("sender").map(sender).transpose()?;
    let mut shared_key = None;
    let mut grant = match kind {
        Kind::Shared => Grant::shared(shared_key.insert(shared(section)?), realm)
            .map_err(|error| Located::new(section.at, KeyFault::Realm(error)))?,
        Kind::Root => root(section)?,
        Kind::Node => node(section)?,
        Kind::Scope => scope(section)?,
    };
    if let Some(suite) = section.get("suite") {
        grant = grant.with_suite(suite.suite()?);
    }
    if let Some(sender) = sender {
        grant = grant.with_sender(sender);
    }
    let grant = grant.with_generation(generation).with_state(state);
    let created =
        section.get("created").map(|setting| setting.moment(Unit::Seconds)).transpose()?;
    let entry = Entry { shared: shared_key, grant, created };
    match entry.contradicts(earlier) {
        None => Ok(entry),
        Some(contradiction) => {
            Err(Located::new(place(section, contradiction), contradiction.into()))
        }
    }
}

/// Where the setting stands that contradicts an earlier grant.
fn place(section: Section<'_>, contradiction: Contradiction) -> usize {
    let state = section.get("state").filter(|_| contradiction == Contradiction::TwoActive);
    state.or_else(|| section.get("generation")).map_or(section.at, |setting| setting.at)
}

fn generation(section: Section<'_>) -> Parsed<u32> {
    let setting = section.need("generation")?;
    match u32::try_from(setting.number()?) {
        Ok(generation) if generation > 0 => Ok(generation),
        _ => Err(Located::new(setting.at, KeyFault::Generation)),
    }
}

// SPEC §4, "Generations"
fn state(section: Section<'_>) -> Parsed<State> {
    let states = [State::Pending, State::Active, State::Retiring { not_after: None }];
    let state = section.get("state").map(|setting| setting.choice(STATES, &states)).transpose()?;
    let state = state.unwrap_or_default();
    match (state, section.get("not_after")) {
        (state, None) => Ok(state),
        (State::Retiring { .. }, Some(setting)) => {
            Ok(State::Retiring { not_after: Some(setting.moment(Unit::Seconds)?) })
        }
        (_, Some(setting)) => Err(Located::new(setting.key_at, KeyFault::NotAfterUnused)),
    }
}

// SPEC §2, "SND"
pub(super) fn sender(setting: Setting<'_>) -> Parsed<SenderNumber> {
    let number = u32::try_from(setting.number()?).ok();
    let number = number.and_then(SenderNumber::new);
    number.ok_or_else(|| Located::new(setting.at, KeyFault::Sender))
}

fn shared(section: Section<'_>) -> Parsed<SharedKey> {
    refuse(section, &["path", "name"], "shared")?;
    Ok(SharedKey::take(&mut *key(section)?))
}

fn root(section: Section<'_>) -> Parsed<Grant> {
    refuse(section, &["path", "name"], "root")?;
    Ok(Grant::root(RootKey::take(&mut *key(section)?)))
}

fn node(section: Section<'_>) -> Parsed<Grant> {
    refuse(section, &["name"], "node")?;
    let missing = || Located::new(section.at, KeyFault::NodePath);
    let path = Path::parse(section.get("path").ok_or_else(missing)?)?;
    let key = NodeKey::take(&mut *key(section)?);
    Ok(Grant::node(path.scope()?, key))
}

fn scope(section: Section<'_>) -> Parsed<Grant> {
    let at = section.at;
    let path;
    let scope = match (section.get("path"), section.get("name")) {
        (Some(setting), None) => {
            path = Path::parse(setting)?;
            ScopeRef::Path(path.scope()?)
        }
        (None, Some(setting)) => ScopeRef::Named(name(setting)?),
        (None, None) => return Err(Located::new(at, KeyFault::ScopeWhat)),
        (Some(path), Some(name)) => {
            let second = path.key_at.max(name.key_at);
            return Err(Located::new(second, KeyFault::ScopeWhat));
        }
    };
    let missing = || Located::new(at, KeyFault::ScopeSuite);
    let suite = section.get("suite").ok_or_else(missing)?.suite()?;
    Ok(Grant::scope(scope, suite, ScopeKey::take(&mut *key(section)?)))
}

fn refuse(section: Section<'_>, keys: &[&'static str], kind: &'static str) -> Parsed<()> {
    let unused = keys.iter().find_map(|key| section.get(key));
    unused.map_or(Ok(()), |setting| {
        let key = setting.name;
        Err(Located::new(setting.key_at, KeyFault::NotForKind { key, kind }))
    })
}

/// The 32 bytes of the setting `key`.
pub(in crate::store) fn key(section: Section<'_>) -> Parsed<Zeroizing<[u8; KEY_LEN]>> {
    let setting = section.need("key")?;
    let text = setting.text()?;
    let mut buffer = Zeroizing::new(vec![0; text.len()]);
    let bytes = Base64::decode(text, &mut buffer)
        .map_err(|_| Located::new(setting.at, KeyFault::Base64))?;
    let len = bytes.len();
    let bytes = <[u8; KEY_LEN]>::try_from(bytes);
    bytes.map(Zeroizing::new).map_err(|_| Located::new(setting.at, KeyFault::KeyLength { len }))
}

fn name(setting: Setting<'_>) -> Parsed<&str> {
    let name = setting.text()?;
    check_name(name).map_err(|fault| Located::new(setting.at, fault))?;
    Ok(name)
}

// SPEC §1, "scope"; §10, reserved names
pub(super) fn check_name(name: &str) -> Result<(), KeyFault> {
    match name {
        name if name.starts_with('$') => Err(KeyFault::ReservedScope),
        name if name.is_empty() || name.len() > MAX_TOPIC_LEN || name.contains('\0') => {
            Err(KeyFault::ScopeName)
        }
        _ => Ok(()),
    }
}

pub(super) fn check_level(level: &str) -> Result<(), KeyFault> {
    let good = !level.contains(['/', '+', '#', '\0']);
    good.then_some(()).ok_or(KeyFault::Level)
}

/// The number of levels of the path `text`, which are `levels`.
pub(super) fn check_size(text: &str, levels: usize) -> Result<u8, KeyFault> {
    let levels = u8::try_from(levels).ok().filter(|levels| *levels <= MAX_SCOPE_DEPTH);
    levels.filter(|_| text.len() <= MAX_TOPIC_LEN).ok_or(KeyFault::PathTooLong)
}

/// A path scope that is kept.
struct Path {
    at: usize,
    text: String,
    levels: u8,
}

impl Path {
    fn parse(setting: Setting<'_>) -> Parsed<Self> {
        let levels = setting.texts()?;
        for level in &levels {
            check_level(level.what).map_err(|fault| Located::new(level.at, fault))?;
        }
        let mut text = String::new();
        for (index, level) in levels.iter().enumerate() {
            text.push_str(if index > 0 { "/" } else { "" });
            text.push_str(level.what);
        }
        let at = setting.at;
        let levels = check_size(&text, levels.len()).map_err(|fault| Located::new(at, fault))?;
        Ok(Self { at, text, levels })
    }

    fn scope(&self) -> Parsed<PathScope<'_>> {
        let scope = PathScope::from_parts(&self.text, self.levels);
        scope.ok_or_else(|| Located::new(self.at, KeyFault::Level))
    }
}
