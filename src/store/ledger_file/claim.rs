//! The claim of the one authority that runs on a ledger. Knows how it hears of changes by others.

#[cfg(unix)]
use std::fs::{self, Metadata};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::string::String;
use std::vec::Vec;

use redb::{Database, ReadableDatabase, ReadableTable};

use super::{
    CURRENT, DEVICES, DeviceRow, FORMAT, LedgerFile, LedgerFileError, PROGRESS, Progress, ROTATION,
    Rotation, STAMP_NAME, lock_path, no_version, open,
};
use crate::store::lock::Lock;

/// A ledger that one authority runs on; dropping it lets the next one in, and so does the end of
/// the process, however it ends.
#[derive(Debug)]
pub struct Claim {
    ledger: LedgerFile,
    /// Locked. Whoever changes the ledger makes it a byte longer.
    lock: Lock,
    #[cfg(unix)]
    lock_path: PathBuf,
}

/// All that a ledger holds.
#[derive(Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// All devices and their progress, in the order of their ids.
    pub devices: Vec<(String, DeviceRow, Progress)>,
    /// The rotation that was ordered and is not carried out.
    pub rotation: Option<Rotation>,
    /// The newest timestamp of an update, in Unix milliseconds: devices take none but later ones.
    pub stamp: u64,
}

/// What an authority writes at once: all of it is stored, or none.
#[derive(Debug, Default, Clone)]
#[expect(clippy::exhaustive_structs, reason = "a write has no more to it")]
pub struct Changes {
    /// How far the updates of these devices have come.
    pub progress: Vec<(String, Progress)>,
    /// The newest timestamp of an update.
    pub stamp: Option<u64>,
    /// A generation that seals: the order that it carries out is taken away.
    pub sealing: Option<u32>,
}

impl Changes {
    /// Whether there is nothing to write.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.progress.is_empty() && self.stamp.is_none() && self.sealing.is_none()
    }
}

impl Claim {
    pub(super) fn new(ledger: LedgerFile) -> Result<Self, LedgerFileError> {
        let path = PathBuf::from(ledger.path());
        let lock = lock_file(&path).map_err(|error| LedgerFileError::io(&path, error))?;
        match Lock::try_new(lock) {
            Ok(lock) => Ok(Self {
                ledger,
                lock,
                #[cfg(unix)]
                lock_path: lock_path(&path),
            }),
            Err(TryLockError::WouldBlock) => Err(LedgerFileError::Claimed { path }),
            Err(TryLockError::Error(error)) => Err(LedgerFileError::io(&path, error)),
        }
    }

    /// The ledger.
    #[must_use]
    pub const fn ledger(&self) -> &LedgerFile {
        &self.ledger
    }

    /// A number that grows with every change by others. Ask before [`Claim::load`].
    ///
    /// # Errors
    /// [`LedgerFileError::Unlocked`], [`LedgerFileError::Io`].
    pub fn changes(&self) -> Result<u64, LedgerFileError> {
        let metadata = self.lock.file().metadata();
        let metadata = metadata.map_err(|error| LedgerFileError::io(self.ledger.path(), error))?;
        #[cfg(unix)]
        self.check(&metadata)?;
        Ok(metadata.len())
    }

    /// Whether the file that is locked is the one that others find.
    #[cfg(unix)]
    fn check(&self, own: &Metadata) -> Result<(), LedgerFileError> {
        use std::os::unix::fs::MetadataExt as _;
        let found = fs::metadata(&self.lock_path).ok();
        let same = found.is_some_and(|found| (found.dev(), found.ino()) == (own.dev(), own.ino()));
        let path = || self.ledger.path().into();
        same.then_some(()).ok_or_else(|| LedgerFileError::Unlocked { path: path() })
    }

    /// All that the ledger holds.
    ///
    /// # Errors
    /// Those of the file.
    pub fn load(&self) -> Result<Loaded, LedgerFileError> {
        self.ledger.load()
    }

    /// Writes; it is on storage when this returns. What was written about a device that is not
    /// there is kept for when it is.
    ///
    /// # Errors
    /// Those of the file: nothing was written then, or it is not known to be durable.
    pub fn write(&self, changes: &Changes) -> Result<(), LedgerFileError> {
        let database = open(self.ledger.path())?;
        self.ledger.write(&database, |transaction| {
            let mut table = transaction.open_table(PROGRESS)?;
            for (id, progress) in &changes.progress {
                table.insert(id.as_str(), progress.encode().as_slice())?;
            }
            if let Some(stamp) = changes.stamp {
                transaction.open_table(FORMAT)?.insert(STAMP_NAME, stamp)?;
            }
            if let Some(sealing) = changes.sealing {
                let mut table = transaction.open_table(ROTATION)?;
                let order = table.get(CURRENT)?.and_then(|row| Rotation::decode(row.value()));
                // another order may have come since
                if order.is_some_and(|order| order.past < sealing) {
                    table.remove(CURRENT)?;
                }
            }
            Ok(())
        })
    }
}

pub(super) fn load(database: &Database) -> Result<Loaded, redb::Error> {
    let transaction = database.begin_read()?;
    let progress = transaction.open_table(PROGRESS)?;
    let mut devices = Vec::new();
    for row in transaction.open_table(DEVICES)?.iter()? {
        let (id, row) = row?;
        let id = id.value();
        let row = DeviceRow::decode(row.value()).ok_or_else(no_version)?;
        let progress = progress.get(id)?.map(|row| Progress::decode(row.value()));
        let progress = progress.unwrap_or_else(|| Some(Progress::default()));
        devices.push((id.into(), row, progress.ok_or_else(no_version)?));
    }
    let order = transaction.open_table(ROTATION)?.get(CURRENT)?;
    let order = order.map(|row| Rotation::decode(row.value()).ok_or_else(no_version));
    let stamp = transaction.open_table(FORMAT)?.get(STAMP_NAME)?.ok_or_else(no_version)?.value();
    Ok(Loaded { devices, rotation: order.transpose()?, stamp })
}

/// Lets an authority that runs know of a change. Crashes between this and the change cost it a
/// look.
pub(super) fn tell(path: &Path) -> Result<(), LedgerFileError> {
    let told = lock_file(path).and_then(|mut lock| lock.write_all(b"\n"));
    told.map_err(|error| LedgerFileError::io(path, error))
}

fn lock_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(lock_path(path))
}
