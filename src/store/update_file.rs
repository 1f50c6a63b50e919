//! The newest key update in one small file. Knows bytes, and nothing of what they mean.

mod error;

use alloc::vec::Vec;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub use error::UpdateFileError;

use super::lock::Lock;
use super::private_file;
use crate::update::UpdateStore;

/// The first line; with another number at its end it is of another version.
const FIRST_LINE: &[u8] = b"mqtt-seal updates v1\n";
/// What the first line of every version begins with.
const NAME: &[u8] = b"mqtt-seal updates v";
/// Bytes of the check behind it: the SHA-256 of the rest (FIPS 180-4).
const CHECK_LEN: usize = 32;
/// Bytes of the longest file: more than a broker passes on in one message by default.
const MAX_FILE_LEN: u64 = 1 << 20;

/// Where a device's newest key update survives, in a file that is replaced as a whole and
/// synchronised before any of its keys is used.
///
/// It holds **keys**: on Unix its owner alone can read and write it from the first moment, and one
/// that others have access to is refused. While it is open, a file beside it with `.lock` at its end
/// keeps other processes away. A missing file is one in which nothing was stored yet: the device then
/// asks its authority how new its keys have to be. A damaged one is refused, and never made anew.
///
/// ```
/// use mqtt_seal::store::update_file::UpdateFile;
/// use mqtt_seal::update::UpdateStore;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("updates");
/// let mut store = UpdateFile::open(&path)?;
/// assert!(store.read()?.is_none());
/// store.write(b"written by the client")?;
/// assert_eq!(store.read()?.unwrap().as_slice(), b"written by the client");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UpdateFile {
    path: PathBuf,
    /// Holds the lock while the store lives.
    _lock: Lock,
}

impl UpdateFile {
    /// Opens the file at `path`, and checks it if there is one.
    ///
    /// # Errors
    /// [`UpdateFileError`]; the file is not used then.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, UpdateFileError> {
        let path = path.as_ref();
        let file = Self { path: path.into(), _lock: lock(path)? };
        read(path)?;
        Ok(file)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl UpdateStore for UpdateFile {
    type Error = UpdateFileError;

    fn read(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, UpdateFileError> {
        read(&self.path)
    }

    fn write(&mut self, state: &[u8]) -> Result<(), UpdateFileError> {
        let parts = FIRST_LINE.len().saturating_add(CHECK_LEN).saturating_add(state.len());
        if u64::try_from(parts).map_or(true, |len| len > MAX_FILE_LEN) {
            return Err(UpdateFileError::TooLong { path: self.path.clone() });
        }
        replace(&self.path, state).map_err(|error| io_error(&self.path, error))
    }
}

fn io_error(path: &Path, error: io::Error) -> UpdateFileError {
    UpdateFileError::Io { path: path.into(), error }
}

/// The path with `suffix` behind its file name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn lock(path: &Path) -> Result<Lock, UpdateFileError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(beside(path, ".lock")).map_err(|error| io_error(path, error))?;
    match Lock::try_new(file) {
        Ok(lock) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(UpdateFileError::InUse { path: path.into() }),
        Err(TryLockError::Error(error)) => Err(io_error(path, error)),
    }
}

fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, UpdateFileError> {
    let bytes = match private_file::read(path, MAX_FILE_LEN) {
        Ok(bytes) => bytes,
        Err(private_file::PrivateFileError::Io(error)) if error.kind() == ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(UpdateFileError::of(path, error)),
    };
    let Some(rest) = bytes.strip_prefix(FIRST_LINE) else {
        let path = path.into();
        return Err(match bytes.strip_prefix(NAME) {
            Some([b'2'..=b'9', ..]) => UpdateFileError::NewerVersion { path },
            _ => UpdateFileError::Damaged { path },
        });
    };
    let whole = rest.split_first_chunk::<CHECK_LEN>();
    let state = whole.filter(|(check, state)| check[..] == Sha256::digest(state)[..]);
    let (_, state) = state.ok_or_else(|| UpdateFileError::Damaged { path: path.into() })?;
    Ok(Some(Zeroizing::new(state.to_vec())))
}

/// Replaces the file as a whole; it is on storage when this returns. What was interrupted before
/// left a file beside it, which is removed.
fn replace(path: &Path, state: &[u8]) -> io::Result<()> {
    let new = beside(path, ".new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = create(&new).and_then(|mut file| fill(&mut file, state));
    written.and_then(|()| fs::rename(&new, path)).inspect_err(|_| {
        // the first error says more than a second one would
        let _ = fs::remove_file(&new);
    })?;
    sync_folder(path)
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // creating follows no link
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

// in parts: no copy of the keys is made
fn fill(file: &mut File, state: &[u8]) -> io::Result<()> {
    file.write_all(FIRST_LINE)?;
    file.write_all(&Sha256::digest(state))?;
    file.write_all(state)?;
    file.sync_all()
}

/// Puts the name of the file at `path` on storage, after its content.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
