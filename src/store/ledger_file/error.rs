//! What can be wrong with an authority's ledger, and what to do about it.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::string::String;

use crate::store::MEND_DISK;
use crate::store::replay_file::ReplayFileError;

/// Why a ledger cannot be made, read or changed. After an error it holds what it held.
#[derive(Debug)]
#[non_exhaustive]
pub enum LedgerFileError {
    /// The file is not there.
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The folder of the file is not there; perhaps it is not mounted.
    NoFolder {
        /// The file.
        path: PathBuf,
    },
    /// A ledger is to be made, and there is a file.
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
    /// Another process kept it open for longer than a change takes.
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// An authority runs on it already, in this process or another.
    Claimed {
        /// The file.
        path: PathBuf,
    },
    /// The file that is locked for the authority that runs is not there any more: it would not hear
    /// of changes by others, and another could start.
    Unlocked {
        /// The file.
        path: PathBuf,
    },
    /// It is no ledger.
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
    /// A device with this id is enrolled, or was once.
    Enrolled {
        /// Its id.
        device: String,
    },
    /// No device has this id.
    UnknownDevice {
        /// The id.
        device: String,
    },
    /// The id has a control character in it, or one that is none.
    Control {
        /// The id.
        device: String,
    },
}

impl LedgerFileError {
    pub(super) fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.into(), error }
    }
}

impl fmt::Display for LedgerFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Missing { path }
        | Self::NoFolder { path }
        | Self::Exists { path }
        | Self::NotAFile { path }
        | Self::Permissions { path, .. }
        | Self::Busy { path }
        | Self::Claimed { path }
        | Self::Unlocked { path }
        | Self::Foreign { path }
        | Self::Damaged { path }
        | Self::NewerVersion { path, .. }
        | Self::Io { path, .. }) = self
        else {
            return self.of_device(f);
        };
        write!(f, "ledger {} ", path.display())?;
        f.write_str(match self {
            Self::Permissions { mode, .. } => {
                return write!(f, "is open to others (mode {mode:o}): set its mode to 600");
            }
            Self::NewerVersion { version, .. } => {
                return write!(f, "is of version {version}: use the library that made it");
            }
            Self::Io { error, .. } => {
                return write!(f, "cannot be read or written, {error}: {MEND_DISK}");
            }
            fixed => fixed.text(),
        })
    }
}

impl LedgerFileError {
    /// The message, where nothing in it varies.
    const fn text(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "is missing: check the path, or make one",
            Self::NoFolder { .. } => "has no folder: make or mount that first",
            Self::Exists { .. } => "exists: go on with it, or name another file",
            Self::NotAFile { .. } => "is a link, a folder or a device: name the file itself",
            Self::Busy { .. } => "is being changed by another process: try again",
            Self::Claimed { .. } => "has an authority that runs: stop that one first",
            Self::Unlocked { .. } => {
                "has lost its lock file, by which others are heard of: start again"
            }
            Self::Foreign { .. } => "is a file of something else: name another one",
            _ => "is damaged: enrol the devices anew, in another one",
        }
    }

    fn of_device(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownDevice { device } => {
                write!(f, "no device is called {device}: name one of the ledger")
            }
            Self::Control { device } => write!(
                f,
                "brokers close connections for characters in the id {device:?}: choose another"
            ),
            Self::Enrolled { device } => {
                write!(f, "{device} is in the ledger, and ids are used once: choose another")
            }
            _ => Ok(()),
        }
    }
}

impl core::error::Error for LedgerFileError {}

/// Ledgers and replay logs are opened and checked alike.
impl From<ReplayFileError> for LedgerFileError {
    fn from(error: ReplayFileError) -> Self {
        match error {
            ReplayFileError::Missing { path } => Self::Missing { path },
            ReplayFileError::NoFolder { path } => Self::NoFolder { path },
            ReplayFileError::Exists { path } => Self::Exists { path },
            ReplayFileError::NotAFile { path } => Self::NotAFile { path },
            ReplayFileError::Permissions { path, mode } => Self::Permissions { path, mode },
            ReplayFileError::InUse { path } => Self::Busy { path },
            ReplayFileError::Foreign { path } => Self::Foreign { path },
            ReplayFileError::Damaged { path } => Self::Damaged { path },
            ReplayFileError::NewerVersion { path, version } => Self::NewerVersion { path, version },
            ReplayFileError::Io { path, error } => Self::Io { path, error },
        }
    }
}
