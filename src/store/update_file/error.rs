//! What can be wrong with a file of updates, and how to mend it.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::store::MEND_DISK;
use crate::store::private_file::PrivateFileError;

/// Why a file of updates is not opened, read or written. After a failed write it holds what it held
/// before, or all of the new state.
#[derive(Debug)]
#[non_exhaustive]
pub enum UpdateFileError {
    /// The file cannot be read or written.
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// It is a folder, a device or a pipe.
    NotAFile {
        /// Its name.
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
    /// It, or what is to be written to it, is longer than 1 MiB.
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// It does not hold what was once written, or is of something else.
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A newer version of this library made it.
    NewerVersion {
        /// The file.
        path: PathBuf,
    },
}

impl UpdateFileError {
    pub(super) fn of(path: &Path, error: PrivateFileError) -> Self {
        let path = path.into();
        match error {
            PrivateFileError::Io(error) => Self::Io { path, error },
            PrivateFileError::NotAFile => Self::NotAFile { path },
            PrivateFileError::Permissions { mode } => Self::Permissions { path, mode },
            PrivateFileError::TooLong => Self::TooLong { path },
        }
    }
}

impl fmt::Display for UpdateFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Io { path, .. }
        | Self::NotAFile { path }
        | Self::Permissions { path, .. }
        | Self::InUse { path }
        | Self::TooLong { path }
        | Self::Damaged { path }
        | Self::NewerVersion { path }) = self;
        write!(f, "update file {}", path.display())?;
        match self {
            Self::Io { error, .. } => {
                write!(f, " cannot be read or written, {error}: {MEND_DISK}")
            }
            Self::NotAFile { .. } => f.write_str(" is none: name a file"),
            Self::Permissions { mode, .. } => {
                write!(f, " is open to others (mode {mode:o}): set its mode to 600")
            }
            Self::InUse { .. } => f.write_str(" is in use: stop the other process first"),
            Self::TooLong { .. } => f.write_str(" would exceed 1 MiB: send the device fewer keys"),
            Self::Damaged { .. } => {
                f.write_str(" is damaged: remove it, and the keys come anew by the next update")
            }
            Self::NewerVersion { .. } => {
                f.write_str(" is of a newer version: use the library that made it")
            }
        }
    }
}

impl core::error::Error for UpdateFileError {}
