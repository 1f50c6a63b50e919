//! One `[[grant]]` of a key file. Knows which settings each kind needs.

use alloc::{string::String, vec};

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

use super::{KeyFault, Parsed};
use crate::keyring::{Grant, ScopeRef};
use crate::policy::MAX_SCOPE_DEPTH;
use crate::secret::{KEY_LEN, NodeKey, RootKey, ScopeKey, SharedKey};
use crate::store::position::Located;
use crate::store::section::{Section, Setting};
use crate::topic::{MAX_TOPIC_LEN, PathScope};

const KEYS: &[&str] = &["kind", "generation", "key", "path", "name", "suite"];
const KINDS: &[&str] = &["shared", "root", "node", "scope"];

#[derive(Clone, Copy)]
enum Kind {
    Shared,
    Root,
    Node,
    Scope,
}

pub(super) fn grant(section: Section<'_>, realm: &str) -> Parsed<Grant> {
    section.check_keys(KEYS)?;
    let kinds = [Kind::Shared, Kind::Root, Kind::Node, Kind::Scope];
    let kind = section.need("kind")?.choice(KINDS, &kinds)?;
    let generation = section.need("generation")?;
    if generation.number()? != 1 {
        return Err(Located::new(generation.at, KeyFault::Generation));
    }
    let grant = match kind {
        Kind::Shared => shared(section, realm)?,
        Kind::Root => root(section)?,
        Kind::Node => node(section)?,
        Kind::Scope => return scope(section),
    };
    match section.get("suite") {
        None => Ok(grant),
        Some(suite) => Ok(grant.with_suite(suite.suite()?)),
    }
}

fn shared(section: Section<'_>, realm: &str) -> Parsed<Grant> {
    refuse(section, &["path", "name"], "shared")?;
    let key = SharedKey::take(&mut *key(section)?);
    Grant::shared(&key, realm).map_err(|error| Located::new(section.at, KeyFault::Realm(error)))
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

fn key(section: Section<'_>) -> Parsed<Zeroizing<[u8; KEY_LEN]>> {
    let setting = section.need("key")?;
    let text = setting.text()?;
    let mut buffer = Zeroizing::new(vec![0; text.len()]);
    let bytes = Base64::decode(text, &mut buffer)
        .map_err(|_| Located::new(setting.at, KeyFault::Base64))?;
    let len = bytes.len();
    let bytes = <[u8; KEY_LEN]>::try_from(bytes);
    bytes.map(Zeroizing::new).map_err(|_| Located::new(setting.at, KeyFault::KeyLength { len }))
}

// SPEC §1, "scope"; §10, reserved names
fn name(setting: Setting<'_>) -> Parsed<&str> {
    match setting.text()? {
        name if name.starts_with('$') => Err(Located::new(setting.at, KeyFault::ReservedScope)),
        name if name.is_empty() || name.len() > MAX_TOPIC_LEN || name.contains('\0') => {
            Err(Located::new(setting.at, KeyFault::ScopeName))
        }
        name => Ok(name),
    }
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
        if let Some(bad) = levels.iter().find(|level| level.what.contains(['/', '+', '#', '\0'])) {
            return Err(Located::new(bad.at, KeyFault::Level));
        }
        let mut text = String::new();
        for (index, level) in levels.iter().enumerate() {
            text.push_str(if index > 0 { "/" } else { "" });
            text.push_str(level.what);
        }
        let at = setting.at;
        match u8::try_from(levels.len()) {
            Ok(levels) if levels <= MAX_SCOPE_DEPTH && text.len() <= MAX_TOPIC_LEN => {
                Ok(Self { at, text, levels })
            }
            _ => Err(Located::new(at, KeyFault::PathTooLong)),
        }
    }

    fn scope(&self) -> Parsed<PathScope<'_>> {
        let scope = PathScope::from_parts(&self.text, self.levels);
        scope.ok_or_else(|| Located::new(self.at, KeyFault::Level))
    }
}
