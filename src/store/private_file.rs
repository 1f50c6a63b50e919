//! Files with secrets, read whole into memory that is wiped. Knows nothing of what they mean.

use alloc::vec::Vec;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

/// Room behind the file's bytes in the buffer, with which reading to the end moves nothing.
const READ_ROOM: usize = 64;

/// Why a file was not read.
#[derive(Debug)]
pub(crate) enum PrivateFileError {
    /// It does not exist, or cannot be read.
    Io(io::Error),
    /// It is a folder, a device or a pipe.
    NotAFile,
    /// Others than its owner have access to it.
    Permissions {
        /// Its permission bits.
        mode: u32,
    },
    /// It is longer than the limit.
    TooLong,
}

impl From<io::Error> for PrivateFileError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The bytes of the file at `path`, at most `max_len` of them. Nobody but its owner may have access
/// to it; what is checked is what is read: the file is opened once. Where there are no Unix
/// permissions, none are checked.
pub(crate) fn read(path: &Path, max_len: u64) -> Result<Zeroizing<Vec<u8>>, PrivateFileError> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    check(&metadata, max_len)?;
    let len = usize::try_from(metadata.len()).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(len.saturating_add(READ_ROOM)));
    file.take(metadata.len()).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Checks what is to be read, or replaced.
pub(super) fn check(metadata: &Metadata, max_len: u64) -> Result<(), PrivateFileError> {
    if !metadata.is_file() {
        return Err(PrivateFileError::NotAFile);
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(PrivateFileError::Permissions { mode });
        }
    }
    if metadata.len() > max_len {
        return Err(PrivateFileError::TooLong);
    }
    Ok(())
}
