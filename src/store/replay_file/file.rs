//! A file of redb that is its owner's alone. Knows nothing of what is in it.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use redb::Database;
use redb::backends::FileBackend;

use super::error::{self, ReplayFileError};
use crate::store::private_file::{self, PrivateFileError};

/// What every file of redb begins with (its docs/design.md, "Database header").
const MAGIC: &[u8; 9] = b"redb\x1A\x0A\xA9\x0D\x0A";
/// Bytes that are cached: the file is read once, and few of its pages are written again and again.
const CACHE: usize = 4 << 20;

/// An empty database in a file that was not there.
pub(in crate::store) fn create(path: &Path) -> Result<Database, ReplayFileError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let file = options.open(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => ReplayFileError::Exists { path: path.into() },
        _ => not_opened(path, error),
    })?;
    database(path, file).inspect_err(|_| remove(path))
}

/// The database that was created there, all of it checked.
pub(in crate::store) fn open(path: &Path) -> Result<Database, ReplayFileError> {
    let failed = |error| not_opened(path, error);
    let named = fs::symlink_metadata(path).map_err(failed)?;
    if !named.is_file() {
        return Err(ReplayFileError::NotAFile { path: path.into() });
    }
    let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
    let opened = file.metadata().map_err(failed)?;
    check(path, &named, &opened)?;
    let mut magic = [0; MAGIC.len()];
    match file.read_exact(&mut magic) {
        Ok(()) if magic == *MAGIC => database(path, file),
        Ok(()) => Err(ReplayFileError::Foreign { path: path.into() }),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Err(ReplayFileError::Damaged { path: path.into() })
        }
        Err(error) => Err(failed(error)),
    }
}

fn database(path: &Path, file: File) -> Result<Database, ReplayFileError> {
    let open = || -> Result<Database, redb::Error> {
        let mut builder = redb::Builder::new();
        builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
        Ok(builder.create_with_backend(FileBackend::new(file)?)?)
    };
    open().map_err(|error| error::of(path, error))
}

/// Checks that what was opened is its owner's alone, and what had the name before: no link was put
/// in its place meanwhile.
pub(super) fn check(
    path: &Path,
    named: &Metadata,
    opened: &Metadata,
) -> Result<(), ReplayFileError> {
    private_file::check(opened, u64::MAX).map_err(|error| match error {
        PrivateFileError::Permissions { mode } => {
            ReplayFileError::Permissions { path: path.into(), mode }
        }
        PrivateFileError::Io(error) => not_opened(path, error),
        PrivateFileError::NotAFile | PrivateFileError::TooLong => {
            ReplayFileError::NotAFile { path: path.into() }
        }
    })?;
    if is_same(named, opened) {
        Ok(())
    } else {
        Err(ReplayFileError::NotAFile { path: path.into() })
    }
}

#[cfg(unix)]
fn is_same(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

/// The name of a new file is on storage when this returns.
pub(in crate::store) fn sync_folder(path: &Path) -> Result<(), ReplayFileError> {
    let synced = File::open(folder(path)).and_then(|folder| folder.sync_all());
    synced.map_err(|error| ReplayFileError::Io { path: path.into(), error })
}

/// Takes away what could not be finished. If that fails too, opening it says so.
pub(in crate::store) fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

fn folder(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or_else(|| Path::new("."))
}

fn not_opened(path: &Path, error: io::Error) -> ReplayFileError {
    match error.kind() {
        ErrorKind::NotFound if folder(path).is_dir() => {
            ReplayFileError::Missing { path: path.into() }
        }
        ErrorKind::NotFound => ReplayFileError::NoFolder { path: path.into() },
        _ => ReplayFileError::Io { path: path.into(), error },
    }
}
