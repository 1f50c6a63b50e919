//! A replay log in one file of redb. Knows rows of bytes and keeps them; what they mean is the
//! Guard's affair.

pub(super) mod error;
pub(super) mod file;

use std::path::{Path, PathBuf};
use std::vec::Vec;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

pub use error::ReplayFileError;

use crate::guard::{ROW_KEY_LEN, ReplayLog, RowKey, Write};

/// What the file is of: a single entry, [`VERSION`].
const FORMAT: TableDefinition<'_, &str, u64> = TableDefinition::new("mqtt-seal replay log");
const VERSION_NAME: &str = "version";
/// Of the tables. The rows have a version of their own.
const VERSION: u64 = 1;
/// Rows by key.
const ROWS: TableDefinition<'_, &[u8; ROW_KEY_LEN], &[u8]> = TableDefinition::new("rows");

type Row = (RowKey, Vec<u8>);

/// The replay state of one receiver, in a file: every write is on storage, by one `fsync`, when it
/// returns.
///
/// The rows hold keyed hashes, key IDs and counters; neither keys nor topics nor payloads. On Unix
/// the file's owner alone can read and write it, and one that others have access to is refused, as
/// is a symbolic link. While it is open, other processes are kept away.
///
/// # Missing files
/// A receiver whose log is lost takes every recorded message of a living generation for new, so a
/// missing file is an error and never made by opening. [`ReplayFile::create`] makes one: once, when
/// the receiver is set up, or after a loss, by somebody who accepts that.
///
/// # Damage and rollback
/// All of the file is checked when it is opened, and one that is damaged, of something else or of a
/// newer version is refused; it is never emptied. Two things cannot be recognised:
///
/// - damage to just the last write before an unclean stop looks like a write that was cut short,
///   and that one is undone;
/// - an older copy that is put back, or a copy of a file in use. It is taken up as after an unclean
///   stop: what was delivered before it was made is still known, what came since would be new.
///
/// ```
/// use mqtt_seal::guard::ReplayLog;
/// use mqtt_seal::store::replay_file::ReplayFile;
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("replay");
/// ReplayFile::create(&path)?; // once
/// let mut log = ReplayFile::open(&path)?; // at every start
/// assert!(log.rows()?.is_empty());
/// assert!(ReplayFile::open(&path).is_err()); // in use
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReplayFile {
    database: Database,
    path: PathBuf,
}

impl ReplayFile {
    /// Makes an empty log where there is no file.
    ///
    /// # Errors
    /// [`ReplayFileError::Exists`], [`ReplayFileError::NoFolder`], [`ReplayFileError::Io`]. What a
    /// failure leaves behind is removed, as far as possible; after a crash it is `Damaged`.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, ReplayFileError> {
        let path = path.as_ref();
        let log = Self { database: file::create(path)?, path: path.into() };
        let filled = log.fill().map_err(|error| error::of(path, error));
        match filled.and_then(|()| file::sync_folder(path)) {
            Ok(()) => Ok(log),
            Err(error) => {
                file::remove(path);
                Err(error)
            }
        }
    }

    /// Opens a log that was made, and checks all of it.
    ///
    /// # Errors
    /// [`ReplayFileError`], but for `Exists`; the file holds what it held.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ReplayFileError> {
        let path = path.as_ref();
        let log = Self { database: file::open(path)?, path: path.into() };
        match log.version().map_err(|error| error::of(path, error))? {
            VERSION => Ok(log),
            version if version > VERSION => {
                Err(ReplayFileError::NewerVersion { path: path.into(), version })
            }
            _ => Err(ReplayFileError::Damaged { path: path.into() }),
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn fill(&self) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        transaction.open_table(FORMAT)?.insert(VERSION_NAME, VERSION)?;
        transaction.open_table(ROWS)?;
        Ok(transaction.commit()?)
    }

    fn version(&self) -> Result<u64, redb::Error> {
        let table = self.database.begin_read()?.open_table(FORMAT)?;
        let version = table.get(VERSION_NAME)?;
        version.map(|version| version.value()).ok_or_else(error::no_version)
    }

    fn read(&self) -> Result<Vec<Row>, redb::Error> {
        let table = self.database.begin_read()?.open_table(ROWS)?;
        let mut rows = Vec::new();
        for row in table.iter()? {
            let (key, value) = row?;
            rows.push((RowKey::new(*key.value()), value.value().to_vec()));
        }
        Ok(rows)
    }

    fn apply(&self, writes: &[Write]) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut table = transaction.open_table(ROWS)?;
            for write in writes {
                match write {
                    Write::Put(key, value) => table.insert(key.as_bytes(), value.as_slice())?,
                    Write::Delete(key) => table.remove(key.as_bytes())?,
                };
            }
        }
        Ok(transaction.commit()?)
    }
}

impl ReplayLog for ReplayFile {
    type Error = ReplayFileError;

    fn rows(&mut self) -> Result<Vec<Row>, ReplayFileError> {
        self.read().map_err(|error| error::of(&self.path, error))
    }

    /// After an error the log refuses everything until it is opened anew.
    fn write(&mut self, writes: &[Write]) -> Result<(), ReplayFileError> {
        if writes.is_empty() {
            return Ok(());
        }
        self.apply(writes).map_err(|error| error::of(&self.path, error))
    }
}

#[cfg(test)]
mod tests;
