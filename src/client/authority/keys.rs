//! The key file of an authority that runs: read when it changed, and changed step by step. Knows no
//! device.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::event::AuthorityError;
use super::step::Step;
use crate::store::key_file::{self, KeyFile, KeyFileError};

/// The file as it was last read.
#[derive(Debug)]
pub(super) struct Keys {
    path: PathBuf,
    file: KeyFile,
    version: Option<Version>,
}

/// What tells one version of the file from the next.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    modified: Option<SystemTime>,
    len: u64,
    inode: u64,
}

impl Version {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Some(Self { modified: metadata.modified().ok(), len: metadata.len(), inode })
    }
}

impl Keys {
    pub(super) fn read(path: &Path) -> Result<Self, KeyFileError> {
        // before it is read: what changes in between is found at the next look
        let version = Version::of(path);
        Ok(Self { path: path.into(), file: KeyFile::read(path)?, version })
    }

    pub(super) const fn file(&self) -> &KeyFile {
        &self.file
    }

    /// Reads the file if it is another. Whether it was read; after an error the old one is in
    /// force, until the file changes again.
    pub(super) fn refresh(&mut self) -> Result<bool, KeyFileError> {
        let version = Version::of(&self.path);
        if version == self.version {
            return Ok(false);
        }
        self.version = version;
        self.file = KeyFile::read(&self.path)?;
        Ok(true)
    }

    /// Takes the step that `next` finds in the file as it is now, if there is one, and writes it.
    pub(super) fn change(
        &mut self,
        next: impl FnOnce(&KeyFile) -> Option<Step>,
        now: u64,
    ) -> Result<Option<Step>, AuthorityError> {
        let _lock = key_file::lock(&self.path).map_err(AuthorityError::Lock)?;
        let mut file = KeyFile::read(&self.path).map_err(AuthorityError::Keys)?;
        let Some(step) = next(&file) else { return Ok(None) };
        step.apply(&mut file, &mut getrandom::SysRng, now)?;
        key_file::replace(&self.path, &file)?;
        self.version = Version::of(&self.path);
        self.file = file;
        Ok(Some(step))
    }
}
