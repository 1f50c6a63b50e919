//! What can be wrong with an outbox file, and how to mend it.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why an outbox file is not opened. It was not changed in what it holds.
#[derive(Debug)]
#[non_exhaustive]
pub enum OutboxFileError {
    /// The file cannot be made, read or written.
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// Others than its owner have access to it.
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no outbox.
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It is open already, in this process or another.
    InUse {
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
}

impl fmt::Display for OutboxFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Io { path, .. }
        | Self::Permissions { path, .. }
        | Self::Foreign { path }
        | Self::InUse { path }
        | Self::Damaged { path }
        | Self::NewerVersion { path, .. }) = self;
        write!(f, "outbox file {}", path.display())?;
        match self {
            Self::Io { error, .. } => {
                write!(f, " cannot be used, {}: {}", error.kind(), remedy(error.kind()))
            }
            Self::Permissions { mode, .. } => {
                write!(f, " is open to others (mode {mode:o}): set its mode to 600")
            }
            Self::Foreign { .. } => f.write_str(" is none: name another file"),
            Self::InUse { .. } => f.write_str(" is in use: stop the other process first"),
            Self::Damaged { .. } => {
                f.write_str(" is damaged: remove it to give up the messages in it")
            }
            Self::NewerVersion { version, .. } => {
                write!(f, " is of version {version}: use the library that made it")
            }
        }
    }
}

/// What to do where the operating system refuses.
const fn remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "name another, in a folder that is there",
        io::ErrorKind::StorageFull => "make room",
        _ => "name another, or correct who may use it",
    }
}

impl core::error::Error for OutboxFileError {}

/// What an error of redb means for the file at `path`.
pub(super) fn fault(path: &Path, error: impl Into<redb::Error>) -> OutboxFileError {
    let path = path.into();
    match error.into() {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
            OutboxFileError::InUse { path }
        }
        redb::Error::Io(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
            ) =>
        {
            OutboxFileError::Io { path, error }
        }
        _ => OutboxFileError::Damaged { path },
    }
}
