//! What can be wrong with the file of a replay log, and what to do about it.

use core::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::string::String;

use crate::store::MEND_DISK;

/// Why a replay log cannot be had from a file, or not be written to it.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplayFileError {
    /// The file is not there: it was never made, or is lost.
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The folder of the file is not there; perhaps it is not mounted.
    NoFolder {
        /// The file.
        path: PathBuf,
    },
    /// A log is to be made, and there is a file.
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is a symbolic link, a folder or a device in place of a file.
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner have access to it.
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is open already, in this process or another.
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is no replay log.
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It does not hold what was once written: it is cut or changed.
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A newer version of this library made it.
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// The version that it is of.
        version: u64,
    },
    /// Reading or writing failed: what was to be written is not known to be durable.
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
}

impl fmt::Display for ReplayFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Missing { path }
        | Self::NoFolder { path }
        | Self::Exists { path }
        | Self::NotAFile { path }
        | Self::Permissions { path, .. }
        | Self::InUse { path }
        | Self::Foreign { path }
        | Self::Damaged { path }
        | Self::NewerVersion { path, .. }
        | Self::Io { path, .. }) = self;
        write!(f, "replay log {} ", path.display())?;
        f.write_str(match self {
            Self::Missing { .. } => {
                "is missing: restore it, or create another and accept that recorded messages \
                 count as new"
            }
            Self::NoFolder { .. } => "has no folder: make or mount that first",
            Self::Exists { .. } => "exists: open it, it keeps recorded messages from being new",
            Self::NotAFile { .. } => "is a link, a folder or a device: name the file itself",
            Self::InUse { .. } => "is in use by another process: stop that one first",
            Self::Foreign { .. } => "is a file of something else: name another one",
            Self::Damaged { .. } => {
                "is damaged: restore it, or create another and accept that recorded messages \
                 count as new"
            }
            Self::Permissions { mode, .. } => {
                return write!(f, "is open to others (mode {mode:o}): set its mode to 600");
            }
            Self::NewerVersion { version, .. } => {
                return write!(f, "is of version {version}: use the library that made it");
            }
            Self::Io { error, .. } => {
                return write!(f, "cannot be read or written, {error}: {MEND_DISK}");
            }
        })
    }
}

impl core::error::Error for ReplayFileError {}

/// What an error of redb means for the file at `path`.
pub(in crate::store) fn of(path: &Path, error: impl Into<redb::Error>) -> ReplayFileError {
    let path = path.into();
    match error.into() {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
            ReplayFileError::InUse { path }
        }
        // the header, or the kind of its table, is not ours
        redb::Error::TableDoesNotExist(_)
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableTypeMismatch { .. } => ReplayFileError::Foreign { path },
        redb::Error::Io(error) if !is_damage(error.kind()) => ReplayFileError::Io { path, error },
        redb::Error::PreviousIo => {
            let error = io::Error::other("an earlier write failed, open it anew");
            ReplayFileError::Io { path, error }
        }
        _ => ReplayFileError::Damaged { path },
    }
}

const fn is_damage(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::InvalidData)
}

/// A header without a version.
pub(in crate::store) fn no_version() -> redb::Error {
    redb::Error::Corrupted(String::from("no version"))
}
