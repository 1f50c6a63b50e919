//! A policy file and a key file together, for a start and for a reload. Knows no client.

use core::error::Error;
use core::fmt;
use std::path::Path;

use super::key_file::{self, KeyFileError};
use super::policy_file::{self, PolicyFileError};
use crate::keyring::Keyring;
use crate::policy::Policy;

/// Which of the two files is no good, and why.
#[derive(Debug)]
#[non_exhaustive]
pub enum FilesError {
    /// The policy file.
    Policy(PolicyFileError),
    /// The key file.
    Keys(KeyFileError),
}

impl fmt::Display for FilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(error) => write!(f, "the policy file: {error}"),
            Self::Keys(error) => write!(f, "the key file: {error}"),
        }
    }
}

impl Error for FilesError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Policy(error) => Some(error),
            Self::Keys(error) => Some(error),
        }
    }
}

/// Reads rules and keys, both or none, for the `reload` of a client. Nothing is in force by this:
/// after an error the client goes on with what it has.
///
/// # Errors
/// [`FilesError`], the policy's first.
pub fn read_files(
    policy: impl AsRef<Path>,
    keys: impl AsRef<Path>,
) -> Result<(Policy, Keyring), FilesError> {
    let policy = policy_file::read(policy).map_err(FilesError::Policy)?;
    let keyring = key_file::read(keys).map_err(FilesError::Keys)?;
    Ok((policy, keyring))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::string::ToString;

    const POLICY: &str = "[[rule]]\ntopics = [\"a/#\"]\npayload = \"sealed\"\n";
    const KEYS: &str = "realm = \"r\"\n[[grant]]\ngeneration = 1\nkind = \"shared\"\n\
                        key = \"c2VudGVuY2Ugb2YgdGhpcnR5LXR3byBieXRlcyEhISE=\"\n";

    fn read(policy: &str, keys: &str) -> Result<(Policy, Keyring), FilesError> {
        let dir = tempfile::tempdir().unwrap();
        let (of_policy, of_keys) = (dir.path().join("policy.toml"), dir.path().join("keys.toml"));
        fs::write(&of_policy, policy).unwrap();
        fs::write(&of_keys, keys).unwrap();
        fs::set_permissions(&of_keys, Permissions::from_mode(0o600)).unwrap();
        read_files(of_policy, of_keys)
    }

    #[test]
    fn good_files_are_rules_and_keys() {
        let (policy, keyring) = read(POLICY, KEYS).unwrap();
        assert_eq!((policy.rules().len(), keyring.grants().len()), (1, 1));
    }

    #[test]
    fn bad_file_is_named() {
        let error = read("nonsense", "nonsense").unwrap_err();
        assert!(matches!(&error, FilesError::Policy(_)));
        assert!(error.to_string().starts_with("the policy file: "));
        let error = read(POLICY, "nonsense").unwrap_err();
        assert!(matches!(&error, FilesError::Keys(_)) && error.source().is_some());
        assert!(error.to_string().starts_with("the key file: "));
    }
}
