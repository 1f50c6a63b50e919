//! Key files that are made here. Knows one kind: a fresh shared key.

use alloc::{format, string::String};
use core::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

use super::{GenerateError, WriteKeyFileError, check_realm};
use crate::keyring::{Grant, Keyring};
use crate::secret::{KEY_LEN, SharedKey};
use crate::session::Entropy;

/// Characters of a key in base64 with padding.
const ENCODED_LEN: usize = KEY_LEN.div_ceil(3) * 4;
const HEAD: &str =
    "# Whoever can read this file can open and seal: keep it to its owner (mode 0600).\n";

/// A realm and its shared key, ready to be written.
///
/// Not `Clone`, and `Debug` prints the realm alone.
pub struct KeyFile {
    realm: String,
    key: SharedKey,
}

impl KeyFile {
    /// A fresh shared key for `realm`.
    ///
    /// # Errors
    /// [`GenerateError::Realm`]; [`GenerateError::NoEntropy`] if `entropy` fails.
    pub fn generate(realm: &str, entropy: &mut impl Entropy) -> Result<Self, GenerateError> {
        check_realm(realm).map_err(GenerateError::Realm)?;
        let mut key = Zeroizing::new([0; KEY_LEN]);
        entropy.fill(&mut key).map_err(GenerateError::NoEntropy)?;
        Ok(Self { realm: realm.into(), key: SharedKey::take(&mut key) })
    }

    /// The keyring that will be read from the file.
    #[must_use]
    pub fn keyring(&self) -> Keyring {
        Keyring::new(alloc::vec![Grant::shared(&self.key, &self.realm)])
    }

    fn text(&self) -> Zeroizing<String> {
        let realm = toml::Value::from(self.realm.as_str());
        let head =
            format!("{HEAD}realm = {realm}\n\n[[grant]]\nkind = \"shared\"\ngeneration = 1\n");
        let mut buffer = Zeroizing::new([0; ENCODED_LEN]);
        // the buffer has exactly the length that a key needs
        let key = Base64::encode(self.key.expose(), &mut *buffer).unwrap_or_default();
        let parts = [&head, "key = \"", key, "\"\n"];
        // room for all of it, so that no copy stays behind
        let len = parts.iter().fold(0_usize, |len, part| len.saturating_add(part.len()));
        let mut text = Zeroizing::new(String::with_capacity(len));
        for part in parts {
            text.push_str(part);
        }
        text
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").field("realm", &self.realm).finish_non_exhaustive()
    }
}

/// Writes `file` to a new file at `path`, which on Unix its owner alone can read and write from the
/// first moment. Returns when it is on storage. A file that is there already is left as it is; one
/// that cannot be written whole is removed again.
///
/// # Errors
/// [`WriteKeyFileError::Exists`], [`WriteKeyFileError::Failed`].
pub fn write_new(path: impl AsRef<Path>, file: &KeyFile) -> Result<(), WriteKeyFileError> {
    let path = path.as_ref();
    let mut handle = create(path).map_err(|error| WriteKeyFileError::new(path, &error))?;
    let written = fill(&mut handle, file);
    written.map_err(|error| {
        drop(handle);
        // the first error says more than a second one would
        let _ = fs::remove_file(path);
        WriteKeyFileError::new(path, &error)
    })
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn fill(handle: &mut File, file: &KeyFile) -> io::Result<()> {
    handle.write_all(file.text().as_bytes())?;
    handle.sync_all()
}
