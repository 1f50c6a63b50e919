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

#[cfg(test)]
mod tests;
