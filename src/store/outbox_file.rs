//! Messages that wait to be sent, in a file that outlives the process. Knows rows of bytes and
//! their order, not what they mean.

mod error;

use core::panic::AssertUnwindSafe;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::vec::Vec;

use redb::TableDefinition;
use redb::backends::FileBackend;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

pub use error::OutboxFileError;
use error::fault;

use super::private_file::{self, PrivateFileError};

/// What the file is of: a single entry with [`VERSION`].
const FORMAT: TableDefinition<'_, &str, u64> = TableDefinition::new("mqtt-seal outbox");
const VERSION_NAME: &str = "version";
/// Of the file's tables and of the rows in them.
const VERSION: u64 = 1;
/// Rows by number, each with its check in front.
const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("messages");
/// Bytes of a row's check: the first of the SHA-256 of its number and its bytes.
const CHECK_LEN: usize = 8;
/// What every file of redb begins with.
const REDB: &[u8; 4] = b"redb";

/// A durable outbox: messages that were accepted and are not acknowledged.
///
/// Sealed messages are stored sealed, those of clear rules **in clear**; on Unix the file's owner
/// alone can read and write it, and one that others have access to is refused. It never holds
/// keys. While it is open, other processes are kept away. A file that is damaged, of something
/// else or of a newer version is refused, and never emptied or made anew: remove it by hand to
/// give up what it holds.
///
/// ```
/// use mqtt_seal::store::outbox_file::OutboxFile;
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("outbox");
/// let outbox = OutboxFile::open(&path)?; // made at the first start
/// assert!(OutboxFile::open(&path).is_err()); // in use
/// # drop(outbox);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct OutboxFile {
    database: Database,
    path: PathBuf,
}

/// A number and what is stored under it.
pub(crate) type NumberedRow = (u64, Zeroizing<Vec<u8>>);

/// What is written at once, and is stored as a whole or not at all.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) add: Vec<NumberedRow>,
    pub(crate) remove: Vec<u64>,
}

impl OutboxFile {
    /// Opens the file at `path`, or makes one where there is none, and checks all of it.
    ///
    /// # Errors
    /// [`OutboxFileError`]; the file is not used then.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OutboxFileError> {
        let path = path.as_ref();
        let failed = |error| OutboxFileError::Io { path: path.into(), error };
        if !path.try_exists().map_err(failed)? {
            create(path)?;
        }
        let file = checked(path)?;
        // redb panics at some damage in debug builds; in release builds it returns an error
        let opened = catch_unwind(AssertUnwindSafe(|| Self::load(path, file)));
        opened.unwrap_or_else(|_| Err(OutboxFileError::Damaged { path: path.into() }))
    }

    fn load(path: &Path, file: File) -> Result<Self, OutboxFileError> {
        let backend = FileBackend::new(file).map_err(|error| fault(path, error))?;
        let database = redb::Builder::new().create_with_backend(backend);
        let mut database = database.map_err(|error| fault(path, error))?;
        let whole = database.check_integrity().map_err(|error| fault(path, error))?;
        let outbox = Self { database, path: path.into() };
        if !whole {
            return Err(outbox.damaged());
        }
        outbox.check_version()?;
        outbox.rows()?;
        Ok(outbox)
    }

    fn check_version(&self) -> Result<(), OutboxFileError> {
        let path = || self.path.clone();
        let read = || -> Result<Option<u64>, redb::Error> {
            let table = self.database.begin_read()?.open_table(FORMAT)?;
            Ok(table.get(VERSION_NAME)?.map(|version| version.value()))
        };
        match read() {
            Ok(Some(VERSION)) => Ok(()),
            Ok(Some(version)) if version > VERSION => {
                Err(OutboxFileError::NewerVersion { path: path(), version })
            }
            Err(redb::Error::TableDoesNotExist(_)) => {
                Err(OutboxFileError::Foreign { path: path() })
            }
            Ok(_) => Err(self.damaged()),
            Err(error) => Err(fault(&self.path, error)),
        }
    }

    /// How many messages wait in it.
    ///
    /// # Errors
    /// [`OutboxFileError`] if it cannot be read.
    pub fn waiting(&self) -> Result<u64, OutboxFileError> {
        let len = || -> Result<u64, redb::Error> {
            Ok(self.database.begin_read()?.open_table(ROWS)?.len()?)
        };
        len().map_err(|error| fault(&self.path, error))
    }

    pub(crate) fn damaged(&self) -> OutboxFileError {
        OutboxFileError::Damaged { path: self.path.clone() }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything that is stored, in the order of its numbers.
    pub(crate) fn rows(&self) -> Result<Vec<NumberedRow>, OutboxFileError> {
        let failed = |error| fault(&self.path, error);
        let table =
            || -> Result<_, redb::Error> { Ok(self.database.begin_read()?.open_table(ROWS)?) };
        let table = table().map_err(failed)?;
        let mut rows = Vec::new();
        for row in table.iter().map_err(|error| failed(error.into()))? {
            let (number, stored) = row.map_err(|error| failed(error.into()))?;
            let row = unchecked(number.value(), stored.value());
            let row = row.ok_or_else(|| self.damaged())?;
            rows.push((number.value(), Zeroizing::new(row.to_vec())));
        }
        Ok(rows)
    }

    /// Writes a batch; it is on storage when this returns, or with a later one if it only removes:
    /// a row that comes back is a message that is sent again.
    #[cfg_attr(
        not(any(feature = "rumqttc", feature = "proxy", test)),
        expect(dead_code, reason = "only the client writes")
    )]
    pub(crate) fn write(&self, batch: &Batch) -> io::Result<()> {
        let write = || -> Result<(), redb::Error> {
            let mut transaction = self.database.begin_write()?;
            if batch.add.is_empty() && !batch.remove.is_empty() {
                transaction.set_durability(Durability::None)?;
            }
            {
                let mut table = transaction.open_table(ROWS)?;
                for (number, row) in &batch.add {
                    let mut stored = with_check(*number, row);
                    let inserted = table.insert(number, stored.as_slice()).map(drop);
                    stored.zeroize();
                    inserted?;
                }
                for number in &batch.remove {
                    table.remove(number)?;
                }
            }
            Ok(transaction.commit()?)
        };
        write().map_err(|error| match error {
            redb::Error::Io(error) => error,
            other => io::Error::other(other),
        })
    }
}

fn check(number: u64, row: &[u8]) -> [u8; CHECK_LEN] {
    let digest = Sha256::new().chain_update(number.to_be_bytes()).chain_update(row).finalize();
    digest.first_chunk().copied().unwrap_or_default()
}

fn with_check(number: u64, row: &[u8]) -> Vec<u8> {
    [&check(number, row), row].concat()
}

fn unchecked(number: u64, stored: &[u8]) -> Option<&[u8]> {
    let (found, row) = stored.split_first_chunk::<CHECK_LEN>()?;
    (*found == check(number, row)).then_some(row)
}

/// Opens a file that is there: its owner's alone, and of redb.
fn checked(path: &Path) -> Result<File, OutboxFileError> {
    let failed = |error| OutboxFileError::Io { path: path.into(), error };
    let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    private_file::check(&metadata, u64::MAX).map_err(|error| match error {
        PrivateFileError::Permissions { mode } => {
            OutboxFileError::Permissions { path: path.into(), mode }
        }
        PrivateFileError::Io(error) => failed(error),
        PrivateFileError::NotAFile | PrivateFileError::TooLong => {
            OutboxFileError::Foreign { path: path.into() }
        }
    })?;
    let mut magic = [0; REDB.len()];
    match file.read_exact(&mut magic) {
        Ok(()) if magic == *REDB => Ok(file),
        Ok(()) => Err(OutboxFileError::Foreign { path: path.into() }),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Err(OutboxFileError::Damaged { path: path.into() })
        }
        Err(error) => Err(failed(error)),
    }
}

/// Makes an empty outbox: first beside `path`, so that there is a whole one or none.
fn create(path: &Path) -> Result<(), OutboxFileError> {
    let mut new = std::ffi::OsString::from(path);
    new.push(".new");
    let new = PathBuf::from(new);
    let failed = |error| OutboxFileError::Io { path: path.into(), error };
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let file = create_private(&new).map_err(failed)?;
    fill(file).map_err(|error| fault(path, error))?;
    // unlike a rename, this never takes the place of a file that another process just made
    let linked = fs::hard_link(&new, path);
    fs::remove_file(&new).map_err(failed)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(failed(error)),
        _ => sync_folder(path).map_err(failed),
    }
}

fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

fn fill(file: File) -> Result<(), redb::Error> {
    let database = redb::Builder::new().create_with_backend(FileBackend::new(file)?)?;
    let transaction = database.begin_write()?;
    transaction.open_table(FORMAT)?.insert(VERSION_NAME, VERSION)?;
    transaction.open_table(ROWS)?;
    Ok(transaction.commit()?)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests;
