//! A lock on a file. Knows nothing of what it is for.

use std::fs::{File, TryLockError};

/// A file that is locked while this lives.
///
/// Dropping it unlocks the file. Closing it would do so later, if another thread of the process just
/// starts a program: that has a copy of every open file for a moment.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Locks a file that nobody else has locked.
    pub(super) fn try_new(file: File) -> Result<Self, TryLockError> {
        file.try_lock().map(|()| Self(file))
    }

    /// Waits until nobody else has it locked.
    #[cfg(feature = "serde")]
    pub(super) fn new(file: File) -> std::io::Result<Self> {
        file.lock().map(|()| Self(file))
    }

    #[cfg(all(feature = "serde", feature = "store"))]
    pub(super) const fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // it is closed in any case
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_lock_is_gone_although_a_program_has_a_copy_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let open = || File::create(folder.path().join("lock")).unwrap();
        let lock = Lock::try_new(open()).unwrap();
        let _copy = lock.0.try_clone().unwrap();
        assert!(matches!(Lock::try_new(open()), Err(TryLockError::WouldBlock)));
        drop(lock);
        Lock::try_new(open()).unwrap();
    }
}
