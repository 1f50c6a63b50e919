//! Key files in memory: made, read and changed. Knows the life of a generation.

use alloc::{string::String, vec, vec::Vec};
use core::fmt;
use std::path::Path;

use zeroize::{Zeroize, Zeroizing};

use super::entry::{self, Entry};
use super::ledger::Allotted;
use super::{GenerateError, KeyFileError, from_path, from_text};
use crate::keyring::{Grant, Keyring, Parts, State};
use crate::schedule::check_realm;
use crate::secret::{KEY_LEN, SharedKey};
use crate::session::{Entropy, NoEntropy};
use crate::store::moment::Unit;

/// A realm and its grants, ready to be changed and to be written.
///
/// Not `Clone`, and `Debug` prints the realm alone.
///
/// A generation lives in four steps, between which every device is given its file anew:
///
/// ```
/// use mqtt_seal::keyring::State;
/// use mqtt_seal::store::key_file::KeyFile;
///
/// let mut file = KeyFile::generate("acme-prod", &mut getrandom::SysRng)?;
/// let next = file.add_generation(&mut getrandom::SysRng)?; // pending: opens only
/// // when everybody has it
/// let last_second = 1_806_537_599;
/// file.set_state(1, State::Retiring { not_after: Some(last_second) })?;
/// file.set_state(next, State::Active)?; // seals and opens
/// // when what it sealed was published anew
/// file.erase(1)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KeyFile {
    pub(super) realm: String,
    /// Not empty, and without contradictions.
    pub(super) entries: Vec<Entry>,
    pub(super) allotted: Vec<Allotted>,
}

/// Why a key file stays as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EditError {
    /// There is no such generation.
    UnknownGeneration {
        /// Its number.
        generation: u32,
    },
    /// Another generation is active.
    OtherActive {
        /// The number of that one.
        generation: u32,
    },
    /// What is to be erased still seals.
    StillActive {
        /// Its number.
        generation: u32,
    },
    /// There is no other generation.
    LastGeneration,
    /// The end of a generation is not in the years from 1970 to 9999.
    NotAfter,
    /// There is no key of the whole realm: the file is that of a device.
    NoSharedKey,
    /// There is no greater number.
    NoNextGeneration,
    /// The generator failed.
    NoEntropy(NoEntropy),
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownGeneration { generation } => {
                write!(f, "there is no generation {generation}: name one of the file")
            }
            Self::OtherActive { generation } => {
                write!(f, "generation {generation} is active: make it retiring first")
            }
            Self::StillActive { generation } => {
                write!(
                    f,
                    "generation {generation} seals: make it retiring and another active first"
                )
            }
            Self::LastGeneration => f.write_str("there is no other generation: add one first"),
            Self::NotAfter => f.write_str(
                "the end is not in the years from 1970 to 9999: give it in Unix seconds",
            ),
            Self::NoSharedKey => f.write_str(
                "there is no shared or root key: add generations to the file of the authority",
            ),
            Self::NoNextGeneration => {
                write!(f, "there is no generation after {}: begin a new realm", u32::MAX)
            }
            Self::NoEntropy(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for EditError {}

impl KeyFile {
    /// A fresh shared key for `realm`: generation 1, active.
    ///
    /// # Errors
    /// [`GenerateError::Realm`]; [`GenerateError::NoEntropy`] if `entropy` fails.
    pub fn generate(realm: &str, entropy: &mut impl Entropy) -> Result<Self, GenerateError> {
        let entry = fresh(realm, entropy)?;
        Ok(Self { realm: realm.into(), entries: vec![entry], allotted: Vec::new() })
    }

    /// The file that `text` is. `text` is wiped and empty afterwards, as by [`super::parse`].
    /// Comments, and the order of settings, are not kept.
    ///
    /// # Errors
    /// [`KeyFileError::Invalid`] with the first thing that is wrong, and its place.
    pub fn parse(text: &mut String) -> Result<Self, KeyFileError> {
        let file = from_text(text).map_err(|fault| KeyFileError::invalid(None, text, fault));
        text.zeroize();
        file
    }

    /// The file at `path`, to which nobody but its owner may have access. Comments, and the order
    /// of settings, are not kept.
    ///
    /// # Errors
    /// Those of [`super::read`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        from_path(path.as_ref())
    }

    /// The realm.
    #[must_use]
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// The grants, in the order of the file.
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.entries.iter().map(|entry| &entry.grant)
    }

    /// The keyring that will be read from the file.
    #[must_use]
    pub fn keyring(&self) -> Keyring {
        // room for all of them, so that no copy stays behind
        let mut grants = Vec::with_capacity(self.entries.len());
        grants.extend(self.grants().map(Grant::again));
        Keyring::new(grants)
    }

    /// Adds a fresh shared key, whose generation follows the greatest one of the file. It is
    /// pending, and is for the suite and has the sender number of the newest shared or root key
    /// here. Returns its number.
    ///
    /// Where a key was drawn in vain, draw the next one before it is erased: the number of an
    /// erased generation is given again if it was the greatest.
    ///
    /// # Errors
    /// [`EditError::NoSharedKey`], [`EditError::NoNextGeneration`], [`EditError::NoEntropy`].
    // SPEC §4, "Generations"
    pub fn add_generation(&mut self, entropy: &mut impl Entropy) -> Result<u32, EditError> {
        let of_the_realm = |grant: &&Grant| matches!(grant.parts(), Parts::Root(_));
        let newest = self.grants().filter(of_the_realm).max_by_key(|grant| grant.generation());
        let newest = newest.ok_or(EditError::NoSharedKey)?;
        let greatest = self.grants().map(Grant::generation).max().unwrap_or_default();
        let generation = greatest.checked_add(1).ok_or(EditError::NoNextGeneration)?;
        let Entry { shared, mut grant, created } =
            fresh(&self.realm, entropy).map_err(|error| match error {
                GenerateError::NoEntropy(error) => EditError::NoEntropy(error),
                // not reached: the realm was checked when the file was made
                GenerateError::Realm(_) => EditError::NoSharedKey,
            })?;
        if let Some(suite) = newest.suite() {
            grant = grant.with_suite(suite);
        }
        if let Some(sender) = newest.sender() {
            grant = grant.with_sender(sender);
        }
        let grant = grant.with_generation(generation).with_state(State::Pending);
        self.entries = entry::again(self.entries.iter(), 1);
        self.entries.push(Entry { shared, grant, created });
        Ok(generation)
    }

    /// Puts every grant of `generation` into `state`. One generation is active at a time: the one
    /// before is made retiring first. On an error nothing changes.
    ///
    /// # Errors
    /// [`EditError::NotAfter`], [`EditError::UnknownGeneration`], [`EditError::OtherActive`].
    // SPEC §4, "Generations"
    pub fn set_state(&mut self, generation: u32, state: State) -> Result<(), EditError> {
        if let State::Retiring { not_after: Some(second) } = state {
            let second = i64::try_from(second).ok();
            second
                .and_then(|second| Unit::Seconds.number(second).ok())
                .ok_or(EditError::NotAfter)?;
        }
        self.check_generation(generation)?;
        let (these, others): (Vec<_>, Vec<_>) =
            self.entries.iter().partition(|entry| entry.grant.generation() == generation);
        let in_the_way =
            |other: &&Entry| other.is_active() && these.iter().any(|entry| entry.is_beside(other));
        if let (State::Active, Some(other)) = (state, others.into_iter().find(in_the_way)) {
            return Err(EditError::OtherActive { generation: other.grant.generation() });
        }
        for entry in &mut self.entries {
            if entry.grant.generation() == generation {
                entry.grant.set_state(state);
            }
        }
        Ok(())
    }

    /// Takes every grant of `generation` out; its keys are wiped. What is still sealed under them,
    /// retained values and wills among it, cannot be opened any more. On an error nothing changes.
    ///
    /// # Errors
    /// [`EditError::UnknownGeneration`], [`EditError::StillActive`], [`EditError::LastGeneration`].
    // SPEC §4, "Generations"
    pub fn erase(&mut self, generation: u32) -> Result<(), EditError> {
        self.check_generation(generation)?;
        let is_it = |entry: &&Entry| entry.grant.generation() == generation;
        if self.entries.iter().filter(is_it).any(Entry::is_active) {
            return Err(EditError::StillActive { generation });
        }
        if self.entries.iter().all(|entry| is_it(&entry)) {
            return Err(EditError::LastGeneration);
        }
        self.entries = entry::again(self.entries.iter().filter(|entry| !is_it(entry)), 0);
        Ok(())
    }

    pub(super) fn check_generation(&self, generation: u32) -> Result<(), EditError> {
        let known = self.grants().any(|grant| grant.generation() == generation);
        known.then_some(()).ok_or(EditError::UnknownGeneration { generation })
    }
}

fn fresh(realm: &str, entropy: &mut impl Entropy) -> Result<Entry, GenerateError> {
    check_realm(realm).map_err(GenerateError::Realm)?;
    let mut key = Zeroizing::new([0; KEY_LEN]);
    entropy.fill(&mut key).map_err(GenerateError::NoEntropy)?;
    let key = SharedKey::take(&mut key);
    let grant = Grant::shared(&key, realm).map_err(GenerateError::Realm)?;
    Ok(Entry { grant, shared: Some(key), created: None })
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").field("realm", &self.realm).finish_non_exhaustive()
    }
}
