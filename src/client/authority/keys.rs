//! The key file of an authority that runs: read when it changed, and changed step by step. Knows no
//! device.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::event::AuthorityError;
use super::run::blocking;
use super::step::Step;
use crate::client::files::Stamp;
use crate::store::key_file::{self, KeyFile, KeyFileLock};

/// The file as it was last read.
#[derive(Debug)]
pub(super) struct Keys {
    path: PathBuf,
    file: KeyFile,
    version: Stamp,
}

impl Keys {
    /// The file at `path`, which is of `realm`.
    pub(super) fn read(path: &Path, realm: &str) -> Result<Self, AuthorityError> {
        // before it is read: what changes in between is found at the next look
        let version = Stamp::of(path);
        let file = KeyFile::read(path).map_err(AuthorityError::Keys)?;
        let file = of_realm(file, realm)?;
        Ok(Self { path: path.into(), file, version })
    }

    pub(super) const fn file(&self) -> &KeyFile {
        &self.file
    }

    /// Reads the file if it is another. Whether it was read; after [`AuthorityError::Keys`] the old
    /// one is in force, until the file changes again.
    pub(super) fn refresh(&mut self) -> Result<bool, AuthorityError> {
        let version = Stamp::of(&self.path);
        if version == self.version {
            return Ok(false);
        }
        self.version = version;
        let file = KeyFile::read(&self.path).map_err(AuthorityError::Keys)?;
        self.file = of_realm(file, self.file.realm())?;
        Ok(true)
    }

    /// Takes the step that `next` finds in the file as it is now, if there is one, and writes it. In
    /// a file that is no good there is none: that is for [`Keys::refresh`] to tell.
    ///
    /// Others may keep the file for as long as a change takes: no thread of the runtime waits.
    pub(super) async fn change(
        &mut self,
        next: impl FnOnce(&KeyFile) -> Option<Step>,
        now: u64,
    ) -> Result<Option<Step>, AuthorityError> {
        let path = self.path.clone();
        let Some((lock, file)) = blocking(move || locked(&path)).await?? else { return Ok(None) };
        let mut file = of_realm(file, self.file.realm())?;
        let Some(step) = next(&file) else { return Ok(None) };
        step.apply(&mut file, &mut getrandom::SysRng, now)?;
        let path = self.path.clone();
        let written = blocking(move || {
            let _lock = lock;
            key_file::replace(&path, &file).map(|()| (file, Stamp::of(&path)))
        });
        (self.file, self.version) = written.await??;
        Ok(Some(step))
    }
}

/// The file as it is now, which nobody else changes while the lock lives; `None` if it is no good.
fn locked(path: &Path) -> Result<Option<(KeyFileLock, KeyFile)>, AuthorityError> {
    let lock = match key_file::lock(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        lock => lock.map_err(AuthorityError::Lock)?,
    };
    Ok(KeyFile::read(path).ok().map(|file| (lock, file)))
}

fn of_realm(file: KeyFile, realm: &str) -> Result<KeyFile, AuthorityError> {
    if file.realm() == realm {
        return Ok(file);
    }
    Err(AuthorityError::Realm { ledger: realm.into(), keys: file.realm().into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file(realm: &str) -> KeyFile {
        KeyFile::generate(realm, &mut getrandom::SysRng).unwrap()
    }

    fn keys() -> (tempfile::TempDir, Keys) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        key_file::write_new(&path, &file("r")).unwrap();
        let keys = Keys::read(&path, "r").unwrap();
        (dir, keys)
    }

    #[tokio::test]
    async fn change_that_waits_for_another_leaves_the_thread_to_others() {
        let (_dir, mut keys) = keys();
        let lock = key_file::lock(&keys.path).unwrap();
        let other = async {
            tokio::task::yield_now().await;
            drop(lock);
        };
        let (changed, ()) = tokio::join!(keys.change(|_| Some(Step::Draw), 0), other);
        assert_eq!(changed.unwrap(), Some(Step::Draw));
        assert_eq!(keys.file().grants().count(), 2);
        assert!(matches!(keys.refresh(), Ok(false)), "it knows its own change");
    }

    #[tokio::test]
    async fn file_that_is_no_good_is_told_once_and_takes_no_step() {
        let (_dir, mut keys) = keys();
        for spoil in [
            |path: &Path| fs::write(path, "realm =").unwrap(),
            |path: &Path| {
                fs::remove_file(path).unwrap();
            },
        ] {
            spoil(&keys.path);
            assert!(matches!(keys.change(|_| Some(Step::Draw), 0).await, Ok(None)));
            assert!(matches!(keys.refresh(), Err(AuthorityError::Keys(_))));
            assert!(matches!(keys.refresh(), Ok(false)));
            assert_eq!(keys.file().grants().count(), 1);
        }
    }

    /// As the message asks for.
    #[cfg(unix)]
    #[tokio::test]
    async fn file_whose_mode_is_corrected_is_read() {
        use std::os::unix::fs::PermissionsExt;

        let (_dir, mut keys) = keys();
        let change = |keys: &Keys, mode| {
            fs::set_permissions(&keys.path, fs::Permissions::from_mode(mode)).unwrap();
        };
        key_file::replace(&keys.path, &file("r")).unwrap();
        change(&keys, 0o644);
        assert!(matches!(keys.refresh(), Err(AuthorityError::Keys(_))));
        change(&keys, 0o600);
        assert!(matches!(keys.refresh(), Ok(true)));
    }

    #[tokio::test]
    async fn file_of_another_realm_is_never_in_force() {
        let (_dir, mut keys) = keys();
        key_file::replace(&keys.path, &file("other")).unwrap();
        let of_other = |error| matches!(error, AuthorityError::Realm { .. });
        assert!(keys.change(|_| Some(Step::Draw), 0).await.is_err_and(of_other));
        assert!(keys.refresh().is_err_and(of_other));
        assert_eq!(keys.file().realm(), "r");
    }
}
