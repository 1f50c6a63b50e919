//! A counter store in one small file.

use core::{fmt, ops::Range};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::string::String;

use sha2::{Digest, Sha256};

use super::MEND_DISK;
use super::lock::Lock;
use crate::session::CounterStore;
use crate::wire::header::{MAX_COUNTER, SenderNumber};

const FIRST_LINE: &str = "mqtt-seal counter v1";

/// Counters of one sender number, in a file that is replaced as a whole and synchronised before
/// any of its counters is used.
///
/// While it is open, a file beside it with `.lock` at its end keeps other processes away.
///
/// ```
/// use mqtt_seal::session::CounterStore;
/// use mqtt_seal::store::counter_file::{CounterFile, Rollback};
/// use mqtt_seal::wire::SenderNumber;
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("counter");
/// let number = SenderNumber::new(5).unwrap(); // from the grant
/// CounterFile::provision(&path, number)?; // once in the life of this number
/// let mut store = CounterFile::open(&path, number, Rollback::Possible)?;
/// assert_eq!(store.reserve(64)?, 0..64);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CounterFile {
    path: PathBuf,
    number: SenderNumber,
    reserved: u32,
    rollback: Rollback,
    /// Holds the lock while the store lives.
    _lock: Lock,
}

/// Whether the file may come back in an older state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rollback {
    /// It may: then compact form needs suite 0x0003.
    Possible,
    /// The operator declares that it never does: no snapshots of a virtual machine, no restored
    /// backups, no cloned image.
    DeclaredImpossible,
}

/// Why counters cannot be had from a file.
#[derive(Debug)]
#[non_exhaustive]
pub enum CounterFileError {
    /// The file is missing, unreadable, of another sender number, or lower than it was: its
    /// counters may have been used.
    CounterLost {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: Lost,
    },
    /// Provisioning found a file: this number was used before.
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Another process has the file open.
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Writing failed: nothing was reserved.
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// All counters of the number are used.
    Exhausted,
}

/// What is wrong with a counter file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// It is not there.
    Missing,
    /// It cannot be read.
    Unreadable,
    /// It does not hold what was once written, or belongs to a newer version.
    Damaged,
    /// It belongs to another sender number.
    OtherNumber,
    /// It is lower than what this process has written.
    RanBackwards,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "is missing",
            Self::Unreadable => "cannot be read",
            Self::Damaged => "is damaged or of another version",
            Self::OtherNumber => "belongs to another sender number",
            Self::RanBackwards => "ran backwards",
        })
    }
}

impl fmt::Display for CounterFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CounterLost { path, why } => write!(
                f,
                "counter file {} {why}: ask for a new sender number and provision it",
                path.display()
            ),
            Self::Exists { path } => write!(
                f,
                "counter file {} exists: its sender number was provisioned before",
                path.display()
            ),
            Self::InUse { path } => write!(
                f,
                "counter file {} is in use by another process: stop that one first",
                path.display()
            ),
            Self::Io { path, error } => {
                let path = path.display();
                write!(f, "counter file {path} cannot be read or written, {error}: {MEND_DISK}")
            }
            Self::Exhausted => {
                f.write_str("the sender number has no counter left: ask for another number")
            }
        }
    }
}

impl core::error::Error for CounterFileError {}

impl CounterFile {
    /// Writes the file of a sender number that was never used: the one moment at which counters
    /// start at 0.
    ///
    /// # Errors
    /// [`CounterFileError::Exists`], [`CounterFileError::InUse`], [`CounterFileError::Io`].
    pub fn provision(path: &Path, number: SenderNumber) -> Result<(), CounterFileError> {
        let _lock = lock(path)?;
        if path.try_exists().map_err(|error| io_error(path, error))? {
            return Err(CounterFileError::Exists { path: path.into() });
        }
        write(path, number, 0)
    }

    /// Opens a file that was provisioned.
    ///
    /// # Errors
    /// [`CounterFileError::InUse`], [`CounterFileError::Io`], [`CounterFileError::CounterLost`].
    pub fn open(
        path: &Path,
        number: SenderNumber,
        rollback: Rollback,
    ) -> Result<Self, CounterFileError> {
        let lock = lock(path)?;
        let reserved = read(path, number)?;
        Ok(Self { path: path.into(), number, reserved, rollback, _lock: lock })
    }

    /// The sender number.
    #[must_use]
    pub const fn number(&self) -> SenderNumber {
        self.number
    }
}

impl CounterStore for CounterFile {
    type Error = CounterFileError;

    fn cannot_roll_back(&self) -> bool {
        self.rollback == Rollback::DeclaredImpossible
    }

    fn reserve(&mut self, count: u32) -> Result<Range<u32>, CounterFileError> {
        let start = read(&self.path, self.number)?;
        // it is higher after a write of ours that failed late: those counters are given up
        if start < self.reserved {
            return Err(lost(&self.path, Lost::RanBackwards));
        }
        let end = start.saturating_add(count).min(MAX_COUNTER.saturating_add(1));
        if start >= end && count > 0 {
            return Err(CounterFileError::Exhausted);
        }
        write(&self.path, self.number, end)?;
        self.reserved = end;
        Ok(start..end)
    }
}

fn lost(path: &Path, why: Lost) -> CounterFileError {
    CounterFileError::CounterLost { path: path.into(), why }
}

fn io_error(path: &Path, error: io::Error) -> CounterFileError {
    CounterFileError::Io { path: path.into(), error }
}

/// The path with `suffix` behind its file name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(path);
    name.push(suffix);
    name.into()
}

fn lock(path: &Path) -> Result<Lock, CounterFileError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(beside(path, ".lock"))
        .map_err(|error| io_error(path, error))?;
    match Lock::try_new(file) {
        Ok(lock) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(CounterFileError::InUse { path: path.into() }),
        Err(TryLockError::Error(error)) => Err(io_error(path, error)),
    }
}

fn content(number: SenderNumber, reserved: u32) -> String {
    let body = std::format!("{FIRST_LINE}\nsender {}\nreserved {reserved}\n", number.get());
    let digest = Sha256::digest(&body);
    let check = digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    std::format!("{body}check {check:016x}\n")
}

/// The counters below this one may have been used.
fn read(path: &Path, number: SenderNumber) -> Result<u32, CounterFileError> {
    let text = fs::read_to_string(path).map_err(|error| {
        let missing = error.kind() == io::ErrorKind::NotFound;
        lost(path, if missing { Lost::Missing } else { Lost::Unreadable })
    })?;
    let value = |line: Option<&str>, key: &str| {
        line?.strip_prefix(key)?.strip_prefix(' ')?.parse::<u32>().ok()
    };
    let mut lines = text.lines().skip(1);
    let sender = value(lines.next(), "sender").and_then(SenderNumber::new);
    let reserved = value(lines.next(), "reserved");
    match (sender, reserved) {
        (Some(sender), Some(reserved)) if content(sender, reserved) == text => {
            if sender == number {
                Ok(reserved)
            } else {
                Err(lost(path, Lost::OtherNumber))
            }
        }
        _ => Err(lost(path, Lost::Damaged)),
    }
}

/// Replaces the file as a whole; it is on storage when this returns.
fn write(path: &Path, number: SenderNumber, reserved: u32) -> Result<(), CounterFileError> {
    let new = beside(path, ".new");
    let replace = || {
        let mut file = File::create(&new)?;
        file.write_all(content(number, reserved).as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        // the rename itself has to be durable too
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
    };
    replace().map_err(|error| io_error(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn number(number: u32) -> SenderNumber {
        SenderNumber::new(number).unwrap()
    }

    fn open(path: &Path) -> Result<CounterFile, CounterFileError> {
        CounterFile::open(path, number(5), Rollback::Possible)
    }

    fn provisioned() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("counter");
        CounterFile::provision(&path, number(5)).unwrap();
        (dir, path)
    }

    #[test]
    fn counters_go_on_after_a_restart_and_never_repeat() {
        let (_dir, path) = provisioned();
        for start in [0, 64, 128] {
            assert_eq!(open(&path).unwrap().reserve(64).unwrap(), start..start + 64);
        }
    }

    #[test]
    fn a_block_is_in_the_file_before_it_is_handed_out() {
        let (_dir, path) = provisioned();
        let mut store = open(&path).unwrap();
        store.reserve(64).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("reserved 64\n"));
    }

    #[test]
    fn provisioning_twice_is_refused() {
        let (_dir, path) = provisioned();
        let error = CounterFile::provision(&path, number(5)).unwrap_err().to_string();
        let expected = std::format!(
            "counter file {} exists: its sender number was provisioned before",
            path.display()
        );
        assert_eq!(error, expected);
    }

    #[test]
    fn a_missing_cut_changed_or_foreign_file_is_counter_lost() {
        let (_dir, path) = provisioned();
        let good = fs::read_to_string(&path).unwrap();
        let check = |why: &str| {
            let error = open(&path).unwrap_err().to_string();
            let expected = std::format!(
                "counter file {} {why}: ask for a new sender number and provision it",
                path.display()
            );
            assert_eq!(error, expected);
        };
        for cut in 0..good.len() {
            fs::write(&path, &good[..cut]).unwrap();
            check("is damaged or of another version");
        }
        fs::write(&path, good.replace("reserved 0", "reserved 1")).unwrap();
        check("is damaged or of another version");
        fs::write(&path, good.replace("v1", "v2")).unwrap();
        check("is damaged or of another version");
        fs::write(&path, content(number(6), 0)).unwrap();
        check("belongs to another sender number");
        fs::write(&path, [0xFF, 0xFE]).unwrap();
        check("cannot be read");
        fs::remove_file(&path).unwrap();
        check("is missing");
    }

    #[test]
    fn a_file_restored_under_a_running_store_is_counter_lost() {
        let (_dir, path) = provisioned();
        let mut store = open(&path).unwrap();
        let old = fs::read(&path).unwrap();
        store.reserve(64).unwrap();
        fs::write(&path, old).unwrap();
        let error = store.reserve(64).unwrap_err();
        assert!(matches!(error, CounterFileError::CounterLost { why: Lost::RanBackwards, .. }));
    }

    #[test]
    fn counters_of_a_write_that_failed_late_are_given_up() {
        let (_dir, path) = provisioned();
        let mut store = open(&path).unwrap();
        write(&path, number(5), 64).unwrap();
        assert_eq!(store.reserve(64).unwrap(), 64..128);
    }

    #[test]
    fn a_second_process_is_kept_out() {
        let (_dir, path) = provisioned();
        let store = open(&path).unwrap();
        let error = open(&path).unwrap_err().to_string();
        let expected = std::format!(
            "counter file {} is in use by another process: stop that one first",
            path.display()
        );
        assert_eq!(error, expected);
        drop(store);
        open(&path).unwrap();
    }

    #[test]
    fn the_last_counters_are_given_and_no_more() {
        let (_dir, path) = provisioned();
        fs::write(&path, content(number(5), MAX_COUNTER - 1)).unwrap();
        let mut store = open(&path).unwrap();
        assert_eq!(store.reserve(64).unwrap(), MAX_COUNTER - 1..MAX_COUNTER + 1);
        let error = store.reserve(64).unwrap_err().to_string();
        assert_eq!(error, "the sender number has no counter left: ask for another number");
    }

    #[test]
    fn a_directory_that_cannot_be_written_reserves_nothing() {
        let (dir, path) = provisioned();
        let mut store = open(&path).unwrap();
        fs::create_dir(dir.path().join("counter.new")).unwrap();
        let error = store.reserve(64).unwrap_err();
        assert!(matches!(error, CounterFileError::Io { .. }), "{error}");
        fs::remove_dir(dir.path().join("counter.new")).unwrap();
        assert_eq!(store.reserve(64).unwrap(), 0..64);
    }

    #[test]
    fn a_guard_seals_in_compact_form_and_uses_no_counter_again_over_restarts() {
        use crate::guard::{Guard, Outgoing};
        use crate::keyring::{Grant, Keyring};
        use crate::policy::{Links, Policy, Rule};
        use crate::{secret::SharedKey, suite::Suite, wire::Form};

        let (_dir, path) = provisioned();
        let mut next = 0;
        for _ in 0..3 {
            let rule = Rule::sealed(["#"]).suite(Suite::Aes256GcmSiv).form(Form::Compact);
            let grant = Grant::shared(&SharedKey::take(&mut [7; 32]), "r").unwrap();
            let keyring = Keyring::new(std::vec![grant.with_sender(number(5))]);
            let policy = Policy::new(std::vec![rule.build().unwrap()]);
            let (mut tx, _) = Guard::new(policy, keyring, Links::Tcp).unwrap().split();
            let mut store = open(&path).unwrap();
            for _ in 0..10 {
                if tx.wants_lease(number(5)) {
                    tx.renew(number(5), &mut store, 4).unwrap();
                }
                let sealed = tx.seal(&Outgoing::new("a", b"27"), &mut std::vec![]).unwrap();
                let (_, counter) = sealed.sealed.unwrap();
                assert!(counter >= next, "{counter} was used");
                next = counter + 1;
            }
        }
    }
}
