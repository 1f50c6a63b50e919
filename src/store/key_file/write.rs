//! Key files on storage. Knows how a file is written so that none is ever lost or seen in part.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

use super::edit::KeyFile;
use super::entry::Entry;
use super::ledger::Allotted;
use super::{KeyFileError, MAX_FILE_LEN, ReplaceKeyFileError, WriteKeyFileError, check_file};
use crate::keyring::{Parts, ScopeRef, State};
use crate::secret::KEY_LEN;
use crate::topic::PathScope;

/// Characters of a key in base64 with padding.
pub(in crate::store) const ENCODED_LEN: usize = KEY_LEN.div_ceil(3) * 4;
const HEAD: &str =
    "# Whoever can read this file can open and seal: keep it to its owner (mode 0600).\n";
const BEFORE_KEY: &str = "key = \"";
const BEHIND_KEY: &str = "\"\n";

/// Writes `file` to a new file at `path`, which on Unix its owner alone can read and write from the
/// first moment. Returns when it is on storage. A file that is there already is left as it is; one
/// that cannot be written whole is removed again.
///
/// # Errors
/// [`WriteKeyFileError::TooLong`], [`WriteKeyFileError::Exists`], [`WriteKeyFileError::Failed`].
pub fn write_new(path: impl AsRef<Path>, file: &KeyFile) -> Result<(), WriteKeyFileError> {
    write_text(path.as_ref(), &text(file))
}

/// The same with the text of another file that holds a key.
pub(in crate::store) fn write_text(path: &Path, text: &str) -> Result<(), WriteKeyFileError> {
    if is_too_long(text) {
        return Err(WriteKeyFileError::TooLong { path: path.into() });
    }
    let mut handle = create(path).map_err(|error| WriteKeyFileError::new(path, &error))?;
    let written = fill(&mut handle, text).and_then(|()| sync_folder(path));
    written.map_err(|error| {
        drop(handle);
        // the first error says more than a second one would
        let _ = fs::remove_file(path);
        WriteKeyFileError::new(path, &error)
    })
}

/// Writes `file` in place of the key file at `path`, to which nobody but its owner may have access.
///
/// At every moment, whatever fails or loses power, there is a whole file at `path`: the old one, or
/// after the rename the new one. It is first written to a file beside it, with `.new` at its end,
/// which on Unix its owner alone can read and write; what an interrupted call left there is
/// removed. Returns when the new file is on storage.
///
/// On Unix the new file has the owner of the old one, a symbolic link stays one, and calls for the
/// same file wait for one another, across processes too. The last one wins: whoever reads, changes
/// and replaces keeps others from doing so in between.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("keys.toml");
/// use mqtt_seal::store::key_file::{self, KeyFile};
///
/// # key_file::write_new(&path, &KeyFile::generate("acme-prod", &mut getrandom::SysRng)?)?;
/// let mut file = KeyFile::read(&path)?;
/// file.add_generation(&mut getrandom::SysRng)?;
/// key_file::replace(&path, &file)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ReplaceKeyFileError::TooLong`]; [`ReplaceKeyFileError::Old`] if there is no such file, or if
/// others have access to it; [`ReplaceKeyFileError::Failed`]. After these the old file is as it
/// was. [`ReplaceKeyFileError::NotDurable`] after the rename.
pub fn replace(path: impl AsRef<Path>, file: &KeyFile) -> Result<(), ReplaceKeyFileError> {
    let path = path.as_ref();
    let text = text(file);
    if is_too_long(&text) {
        return Err(ReplaceKeyFileError::TooLong { path: path.into() });
    }
    let (target, old) = lock(path).map_err(ReplaceKeyFileError::Old)?;
    let written = swap(&target, &text, &old);
    written
        .map_err(|error| ReplaceKeyFileError::Failed { path: path.into(), kind: error.kind() })?;
    sync_folder(&target)
        .map_err(|error| ReplaceKeyFileError::NotDurable { path: path.into(), kind: error.kind() })
}

/// The file that `path` leads to, locked while the handle lives.
fn lock(path: &Path) -> Result<(PathBuf, File), KeyFileError> {
    let failed = |error| KeyFileError::unreadable(path, &error);
    loop {
        let target = fs::canonicalize(path).map_err(failed)?;
        let file = File::open(&target).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        check_file(path, &metadata)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            file.lock().map_err(failed)?;
            let now = fs::metadata(&target).map_err(failed)?;
            if (now.dev(), now.ino()) != (metadata.dev(), metadata.ino()) {
                // it was replaced while this call waited
                continue;
            }
        }
        return Ok((target, file));
    }
}

/// Puts a file with `text` in the place of `target`; on an error that one is as it was.
fn swap(target: &Path, text: &str, old: &File) -> io::Result<()> {
    let new = beside(target);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut handle = create(&new)?;
    let metadata = old.metadata();
    let written = metadata.and_then(|metadata| keep_owner(&handle, &metadata));
    let written = written.and_then(|()| fill(&mut handle, text));
    let renamed = written.and_then(|()| fs::rename(&new, target));
    renamed.inspect_err(|_| {
        // the first error says more than a second one would
        let _ = fs::remove_file(&new);
    })
}

fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    name.into()
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // creating follows no link
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// An administrator who replaces a service's keys does not take them away from it.
#[cfg(unix)]
fn keep_owner(new: &File, old: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    if new.metadata()?.uid() == old.uid() {
        return Ok(());
    }
    fchown(new, Some(old.uid()), Some(old.gid()))
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "it may fail where there are owners")]
fn keep_owner(_: &File, _: &Metadata) -> io::Result<()> {
    Ok(())
}

fn fill(handle: &mut File, text: &str) -> io::Result<()> {
    handle.write_all(text.as_bytes())?;
    handle.sync_all()
}

/// Puts the name of the file at `path` on storage, after its content.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

fn is_too_long(text: &str) -> bool {
    u64::try_from(text.len()).map_or(true, |len| len > MAX_FILE_LEN)
}

pub(super) fn text(file: &KeyFile) -> Zeroizing<String> {
    let head = format!("{HEAD}realm = {}\n", quoted(&file.realm));
    let heads: Vec<String> = file.entries.iter().map(settings).collect();
    let tail: String = file.allotted.iter().map(allotted).collect();
    // room for all of it, so that no copy stays behind
    let key_len = ENCODED_LEN.saturating_add(BEFORE_KEY.len()).saturating_add(BEHIND_KEY.len());
    let len = heads.iter().fold(head.len().saturating_add(tail.len()), |len, settings| {
        len.saturating_add(settings.len()).saturating_add(key_len)
    });
    let mut text = Zeroizing::new(String::with_capacity(len));
    text.push_str(&head);
    let mut buffer = Zeroizing::new([0; ENCODED_LEN]);
    for (settings, entry) in heads.iter().zip(&file.entries) {
        // the buffer has exactly the length that a key needs
        let key = Base64::encode(entry.expose(), &mut *buffer).unwrap_or_default();
        for part in [settings, BEFORE_KEY, key, BEHIND_KEY] {
            text.push_str(part);
        }
    }
    text.push_str(&tail);
    text
}

fn allotted(Allotted { sender, device }: &Allotted) -> String {
    format!("\n[[allotted]]\nsender = {}\ndevice = {}\n", sender.get(), quoted(device))
}

/// The settings of a grant before its key; those that have their defaults are left out.
fn settings(entry: &Entry) -> String {
    let grant = &entry.grant;
    let (kind, generation) = (entry.kind(), grant.generation());
    let mut text = format!("\n[[grant]]\nkind = \"{kind}\"\ngeneration = {generation}\n");
    let mut line = |key: &str, value: &str| {
        for part in [key, " = ", value, "\n"] {
            text.push_str(part);
        }
    };
    match grant.state() {
        State::Active => {}
        State::Pending => line("state", "\"pending\""),
        State::Retiring { not_after } => {
            line("state", "\"retiring\"");
            if let Some(second) = not_after {
                line("not_after", &second.to_string());
            }
        }
    }
    if let Some(sender) = grant.sender() {
        line("sender", &sender.get().to_string());
    }
    if let Some(second) = entry.created {
        line("created", &second.to_string());
    }
    match grant.parts() {
        Parts::Root(_) => {}
        Parts::Node { path, .. } | Parts::Scope { scope: ScopeRef::Path(path), .. } => {
            line("path", &levels(path));
        }
        Parts::Scope { scope: ScopeRef::Named(name), .. } => line("name", &quoted(name)),
    }
    if let Some(suite) = grant.suite() {
        line("suite", &quoted(suite.name()));
    }
    text
}

pub(in crate::store) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn levels(path: PathScope<'_>) -> String {
    toml::Value::Array(path.levels().map(toml::Value::from).collect()).to_string()
}
