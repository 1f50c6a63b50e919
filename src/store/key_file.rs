//! Keyrings as TOML. Knows how keys are written down; shows none of them, whatever is wrong.
//!
//! A file has the realm and one `[[grant]]` for each key, the oldest first:
//!
//! ```toml
//! realm = "acme-prod"                  # at most 64 bytes
//!
//! [[grant]]
//! kind = "shared"                      # the shared key of the group: opens the whole realm
//! generation = 3                       # required: 1 and up, one more for each fresh key
//! state = "pending"                    # opens only; default "active": seals and opens
//! key = "3q2+78r+ur7erb7vyv66vt6tvu/K/rq+3q2+78r+ur4="
//!                                      # base64 with padding, 32 bytes
//! [[grant]]
//! kind = "root"                        # the root key of the realm: opens all of it
//! generation = 1
//! state = "retiring"                   # opens only
//! not_after = 2027-03-31               # optional for retiring: its last day, in UTC
//!                                      # or its last second, as in 2027-03-31T23:59:59Z
//!                                      # or 1806537599, in Unix seconds
//! created = 2026-01-31                 # optional: when the key was drawn, as a day or a moment
//! key = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
//! suite = "aes-256-gcm"                # optional for shared, root and node: for this suite alone
//!
//! [[grant]]
//! kind = "node"                        # opens every path scope at or below its path
//! generation = 1
//! key = "ISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0A="
//! path = ["plant", "a"]                # the levels of plant/a
//! sender = 7                           # optional: this client's sender number, 0..=1073741823,
//!                                      # which compact form needs
//!
//! [[grant]]
//! kind = "scope"                       # opens one scope under one suite
//! generation = 1
//! key = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVpbXF1eX2A="
//! name = "temps"                       # or a path, but not both
//! suite = "chacha20-poly1305"          # required here
//!
//! [[allotted]]                         # in the file of an authority: a number that it gave away,
//! sender = 8                           # which nobody is given again
//! device = "pump-8"
//! ```
//!
//! A path is a list of levels, since a level may be empty: `[]` is the whole realm, `[""]` the one
//! empty level with which `/plant` begins.
//!
//! Of what is for the same kind, path or name, and suite, each generation stands in a file once, and
//! one of them is active.
//!
//! No error of this module contains a part of the text but names of settings that it knows: a key
//! may stand anywhere by mistake.

mod edit;
mod entry;
mod error;
mod grant;
mod ledger;
mod lock;
mod share;
mod write;

use alloc::{string::String, vec::Vec};
use std::fs::Metadata;
use std::path::Path;

use zeroize::Zeroizing;

pub use crate::schedule::RealmError;
pub use edit::{EditError, KeyFile};
pub use error::{GenerateError, KeyFault, KeyFileError, ReplaceKeyFileError, WriteKeyFileError};
pub(super) use grant::key;
pub use ledger::{AllotError, MAX_DEVICE_LEN};
pub use lock::{KeyFileLock, lock};
pub use share::{Share, ShareError};
pub(super) use write::{ENCODED_LEN, quoted, write_text};
pub use write::{replace, write_new};

use super::position::Located;
use super::private_file::{self, PrivateFileError};
use super::section::{Section, Setting, document};
use crate::keyring::Keyring;
use crate::schedule::check_realm;

/// Longest key file in bytes: some thousand grants.
pub const MAX_FILE_LEN: u64 = 1024 * 1024;

const FILE_KEYS: &[&str] = &["realm", "grant", "allotted"];
/// From this length on, what stands behind `key =` without quotes may be a key.
const BARE_KEY_LEN: usize = 24;

type Parsed<T> = Result<T, Located<KeyFault>>;

/// The keyring that `text` describes. `text` is wiped and empty afterwards, whatever the outcome.
///
/// Of keys that stand behind `key =` within one line, without escapes, nothing is left but in the
/// keyring. The TOML parser may leave others in memory that it gave back.
///
/// ```
/// use mqtt_seal::store::key_file;
///
/// let mut text = String::from(
///     r#"
///     realm = "acme-prod"
///     [[grant]]
///     kind = "shared"
///     generation = 1
///     key = "3q2+78r+ur7erb7vyv66vt6tvu/K/rq+3q2+78r+ur4="
///     "#,
/// );
/// let keyring = key_file::parse(&mut text)?;
/// assert!(text.is_empty());
/// # drop(keyring);
/// # Ok::<(), key_file::KeyFileError>(())
/// ```
///
/// # Errors
/// [`KeyFileError::Invalid`] with the first thing that is wrong, and its place.
pub fn parse(text: &mut String) -> Result<Keyring, KeyFileError> {
    KeyFile::parse(text).map(|file| file.keyring())
}

/// The keyring that the file at `path` describes. Nobody but its owner may have access to it; what
/// is checked is what is read: the file is opened once. Where there are no Unix permissions, none
/// are checked.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("keys.toml");
/// use mqtt_seal::store::key_file::{self, KeyFile};
///
/// let file = KeyFile::generate("acme-prod", &mut getrandom::SysRng)?;
/// key_file::write_new(&path, &file)?;
/// let keyring = key_file::read(&path)?;
/// # drop(keyring);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`KeyFileError::NotFound`], [`KeyFileError::Unreadable`], [`KeyFileError::NotAFile`],
/// [`KeyFileError::Permissions`], [`KeyFileError::TooLong`]; [`KeyFileError::Invalid`] with the
/// first thing that is wrong, and its place.
pub fn read(path: impl AsRef<Path>) -> Result<Keyring, KeyFileError> {
    KeyFile::read(path).map(|file| file.keyring())
}

fn from_path(path: &Path) -> Result<KeyFile, KeyFileError> {
    let bytes = load(path)?;
    let invalid = |text, fault| KeyFileError::invalid(Some(path), text, fault);
    match core::str::from_utf8(&bytes) {
        Ok(text) => from_text(text).map_err(|fault| invalid(text, fault)),
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let good = core::str::from_utf8(good).unwrap_or_default();
            Err(invalid(good, Located::new(good.len(), KeyFault::NotUtf8)))
        }
    }
}

pub(super) fn load(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    private_file::read(path, MAX_FILE_LEN).map_err(|error| refused(path, error))
}

fn check_file(path: &Path, metadata: &Metadata) -> Result<(), KeyFileError> {
    private_file::check(metadata, MAX_FILE_LEN).map_err(|error| refused(path, error))
}

fn refused(path: &Path, error: PrivateFileError) -> KeyFileError {
    match error {
        PrivateFileError::Io(error) => KeyFileError::unreadable(path, &error),
        PrivateFileError::NotAFile => KeyFileError::NotAFile { path: path.into() },
        PrivateFileError::Permissions { mode } => {
            KeyFileError::Permissions { path: path.into(), mode }
        }
        PrivateFileError::TooLong => KeyFileError::TooLong { path: path.into() },
    }
}

fn from_text(text: &str) -> Parsed<KeyFile> {
    // an error of the parser keeps a copy of its whole text, which nobody wipes
    let syntax = |error: Located<toml::de::Error>| Located::new(error.at, KeyFault::Syntax);
    document(&without_keys(text)).map(drop).map_err(syntax)?;
    let document = document(text).map_err(syntax)?;
    let document = Section::new(0, document.get_ref());
    document.check_keys(FILE_KEYS)?;
    let setting = document.need("realm")?;
    let realm = setting.text()?;
    check_realm(realm).map_err(|error| Located::new(setting.at, KeyFault::Realm(error)))?;
    let no_grants = |at| Located::new(at, KeyFault::NoGrants);
    let setting = document.get("grant").ok_or_else(|| no_grants(0))?;
    let sections = setting.sections()?;
    if sections.is_empty() {
        return Err(no_grants(setting.at));
    }
    // room for all of them, so that no copy stays behind
    let mut entries = Vec::with_capacity(sections.len());
    for section in sections {
        entries.push(grant::grant(section, realm, &entries)?);
    }
    let sections = document.get("allotted").map(Setting::sections).transpose()?;
    let allotted = ledger::allotted(&sections.unwrap_or_default())?;
    Ok(KeyFile { realm: realm.into(), entries, allotted })
}

/// `text` with what stands behind `key =` in a line overwritten by as many characters that do not
/// change its syntax.
pub(super) fn without_keys(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let value = line.find("key").and_then(|at| line.split_at_checked(at));
        let value = value.and_then(|(_, rest)| rest.split_once('='));
        let value = value.map_or("", |(_, value)| value);
        masked.push_str(line.strip_suffix(value).unwrap_or(line));
        mask(value, &mut masked);
    }
    masked
}

fn mask(value: &str, masked: &mut String) {
    let unquoted = !value.trim_start().starts_with(['"', '\'', '{', '[']);
    let bare = unquoted && value.trim().len() >= BARE_KEY_LEN;
    let (mut quote, mut before) = (None, ' ');
    for c in value.chars() {
        let secret = bare || quote.is_some() && before != '\\';
        let of_base64 = c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
        masked.push(if secret && of_base64 { 'A' } else { c });
        match quote {
            None if matches!(c, '"' | '\'') => quote = Some(c),
            Some(open) if open == c => quote = None,
            _ => {}
        }
        before = c;
    }
}

#[cfg(test)]
mod tests;
