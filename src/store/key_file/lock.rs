//! One change of a key file at a time. Knows no key.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

use crate::store::lock::Lock;

/// Keeps others that lock the file from changing it while it lives.
#[derive(Debug)]
pub struct KeyFileLock {
    _lock: Lock,
}

/// Waits until nobody else changes the key file at `path`: for who reads it, changes it and puts
/// it in its place. What is locked is a file beside it, with `.lock` at its end, since the key file
/// is replaced by another.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("keys.toml");
/// use mqtt_seal::store::key_file::{self, KeyFile};
///
/// # key_file::write_new(&path, &KeyFile::generate("acme-prod", &mut getrandom::SysRng)?)?;
/// let lock = key_file::lock(&path)?;
/// let mut file = KeyFile::read(&path)?;
/// file.allot("pump-7")?;
/// key_file::replace(&path, &file)?;
/// drop(lock);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// What the operating system says of the file beside it, or of the key file if that is missing.
pub fn lock(path: impl AsRef<Path>) -> io::Result<KeyFileLock> {
    let mut name = fs::canonicalize(path)?.into_os_string();
    name.push(".lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    Ok(KeyFileLock { _lock: Lock::new(options.open(name)?)? })
}
