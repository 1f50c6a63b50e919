//! An authority's ledger of its devices, in a file of redb. Knows rows and who may change them;
//! what follows from them is the authority's affair.

mod claim;
mod error;
mod row;
mod settings;

use core::time::Duration;
use std::path::{Path, PathBuf};
use std::string::String;
use std::time::Instant;
use std::vec::Vec;
use std::{fs, thread};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

pub use claim::{Changes, Claim, Loaded};
pub use error::LedgerFileError;
pub use row::{DIGEST_LEN, DeviceRow, Granted, Progress, Rotation};
pub use settings::{Settings, SettingsError};

use super::replay_file::{error::no_version, error::of, file};
use crate::peer::PeerId;

/// What the file is of: its version, and the last timestamp.
const FORMAT: TableDefinition<'_, &str, u64> = TableDefinition::new("mqtt-seal ledger");
const VERSION_NAME: &str = "version";
/// Of the tables and the rows in them.
const VERSION: u64 = 1;
const STAMP_NAME: &str = "stamp";
const SETTINGS: TableDefinition<'_, &str, &str> = TableDefinition::new("settings");
/// Devices by id: written by who enrols and revokes.
const DEVICES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("devices");
/// Their progress: written by the authority that runs.
const PROGRESS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("progress");
/// The order under way, if there is one.
const ROTATION: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("rotation");
const CURRENT: &str = "current";

/// How long a change by another process is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks whether it is over.
const PAUSE: Duration = Duration::from_millis(10);

/// The devices of one authority: their pairwise keys, what they are granted, and how far their
/// updates have come.
///
/// The file holds the pairwise keys: on Unix its owner alone can read and write it, and one that
/// others have access to is refused, as is a symbolic link. It is open only while it is read or
/// changed, and every change is on storage, as a whole, when the call returns. So devices are
/// enrolled and revoked while an authority runs on it; of those there is one at a time, which holds
/// a [`Claim`]. Memory that the database gave back may still hold keys.
///
/// Never put an older copy back: devices refuse what has an older serial.
///
/// ```
/// use mqtt_seal::secret::SharedKey;
/// use mqtt_seal::store::key_file::Share;
/// use mqtt_seal::store::ledger_file::{DeviceRow, Granted, LedgerFile, Settings};
/// use mqtt_seal::topic::TopicName;
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("ledger");
/// let ledger = LedgerFile::create(&path, Settings::new("acme-prod", "authority", "acme")?)?;
/// let key = SharedKey::take(&mut [7; 32]); // 32 random bytes
/// let node = Granted::new(Share::Node(TopicName::parse("plant/a")?.path(2)));
/// ledger.enrol("pump-7", &DeviceRow::new(key, vec![node], false, 1_800_000_000_000))?;
/// assert_eq!(ledger.devices()?.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LedgerFile {
    path: PathBuf,
    settings: Settings,
}

impl LedgerFile {
    /// Makes an empty ledger where there is no file.
    ///
    /// # Errors
    /// [`LedgerFileError::Exists`], [`LedgerFileError::NoFolder`], [`LedgerFileError::Io`]. What a
    /// failure leaves behind is removed, as far as possible; after a crash it is `Damaged`.
    pub fn create(path: impl AsRef<Path>, settings: Settings) -> Result<Self, LedgerFileError> {
        let path = path.as_ref();
        let database = file::create(path)?;
        let filled = fill(&database, &settings).map_err(|error| of(path, error));
        match filled.and_then(|()| file::sync_folder(path)) {
            Ok(()) => Ok(Self { path: path.into(), settings }),
            Err(error) => {
                file::remove(path);
                Err(error.into())
            }
        }
    }

    /// A ledger that was made; all of it is checked.
    ///
    /// # Errors
    /// [`LedgerFileError`]; the file holds what it held.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LedgerFileError> {
        let path = path.as_ref();
        let database = open(path)?;
        let damaged = || LedgerFileError::Damaged { path: path.into() };
        let read = || -> Result<[String; 3], redb::Error> {
            let table = database.begin_read()?.open_table(SETTINGS)?;
            let text = |name| -> Result<String, redb::Error> {
                let text = table.get(name)?.ok_or_else(no_version)?;
                Ok(text.value().into())
            };
            Ok([text("realm")?, text("authority")?, text("prefix")?])
        };
        let [realm, authority, prefix] = read().map_err(|error| of(path, error))?;
        let settings = Settings::new(&realm, &authority, &prefix).map_err(|_| damaged())?;
        Ok(Self { path: path.into(), settings })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Realm, authority and topics.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Enters a device. Its id is never used again, since devices keep serials.
    ///
    /// # Errors
    /// As [`LedgerFile::enrol_all`].
    pub fn enrol(&self, id: &str, row: &DeviceRow) -> Result<(), LedgerFileError> {
        self.enrol_all([(id, row)])
    }

    /// Enters devices with one write, all of them or none.
    ///
    /// # Errors
    /// With the first of them [`LedgerFileError::UnknownDevice`] if its id is no [`PeerId`],
    /// [`LedgerFileError::Control`], or [`LedgerFileError::Enrolled`]; others of the file.
    pub fn enrol_all<'r>(
        &self,
        devices: impl IntoIterator<Item = (&'r str, &'r DeviceRow)>,
    ) -> Result<(), LedgerFileError> {
        let database = self.open_to_change()?;
        let transaction = || Ok::<_, redb::Error>(database.begin_write()?);
        let transaction = transaction().map_err(|error| of(&self.path, error))?;
        for (id, row) in devices {
            let device = || id.into();
            if PeerId::parse(id).is_err() {
                return Err(LedgerFileError::UnknownDevice { device: device() });
            }
            if !settings::is_carried(id) {
                return Err(LedgerFileError::Control { device: device() });
            }
            let new = enter(&transaction, id, row).map_err(|error| of(&self.path, error))?;
            if !new {
                return Err(LedgerFileError::Enrolled { device: device() });
            }
        }
        let commit = || Ok::<_, redb::Error>(transaction.commit()?);
        commit().map_err(|error| of(&self.path, error).into())
    }

    /// Revokes a device, and orders the rotation for everybody else with it. To revoke it again
    /// orders another rotation.
    ///
    /// An authority that runs may draw a generation meanwhile and give it to the device. So hold the
    /// key file's [`lock`](super::key_file::lock) from before you read it for [`Rotation::past`]
    /// until this returns.
    ///
    /// # Errors
    /// [`LedgerFileError::UnknownDevice`]; others of the file.
    pub fn revoke(&self, id: &str, rotation: Rotation) -> Result<(), LedgerFileError> {
        let known = self.change(|transaction| {
            let mut devices = transaction.open_table(DEVICES)?;
            let row = devices.get(id)?.map(|row| DeviceRow::decode(row.value()));
            let Some(row) = row else { return Ok(false) };
            let row = DeviceRow { revoked: true, ..row.ok_or_else(no_version)? };
            devices.insert(id, row.encode().as_slice())?;
            order(transaction, rotation)?;
            Ok(true)
        })?;
        known.then_some(()).ok_or_else(|| LedgerFileError::UnknownDevice { device: id.into() })
    }

    /// Orders a rotation, in place of one that is under way; it is past whatever that one was to be
    /// past. Hold the key file's lock, as for [`LedgerFile::revoke`].
    ///
    /// # Errors
    /// Those of the file.
    pub fn rotate(&self, rotation: Rotation) -> Result<(), LedgerFileError> {
        self.change(|transaction| order(transaction, rotation))
    }

    /// The rotation that was ordered and is not carried out.
    ///
    /// # Errors
    /// Those of the file.
    pub fn rotation(&self) -> Result<Option<Rotation>, LedgerFileError> {
        self.load().map(|loaded| loaded.rotation)
    }

    /// All devices and their progress, in the order of their ids.
    ///
    /// # Errors
    /// Those of the file.
    pub fn devices(&self) -> Result<Vec<(String, DeviceRow, Progress)>, LedgerFileError> {
        self.load().map(|loaded| loaded.devices)
    }

    /// Claims the ledger for an authority, which runs until the claim is dropped. Of authorities
    /// there is one, or they would give a serial away twice.
    ///
    /// # Errors
    /// [`LedgerFileError::Claimed`]; others of the file.
    pub fn claim(&self) -> Result<Claim, LedgerFileError> {
        Claim::new(self.clone())
    }

    fn load(&self) -> Result<Loaded, LedgerFileError> {
        let database = open(&self.path)?;
        claim::load(&database).map_err(|error| of(&self.path, error).into())
    }

    /// A change by a command: told to an authority that runs, and on storage when this returns.
    fn change<T>(
        &self,
        edit: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, LedgerFileError> {
        self.write(&self.open_to_change()?, edit)
    }

    fn open_to_change(&self) -> Result<Database, LedgerFileError> {
        let database = open(&self.path)?;
        // the authority waits for the database, and so sees the change
        claim::tell(&self.path)?;
        Ok(database)
    }

    fn write<T>(
        &self,
        database: &Database,
        edit: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, LedgerFileError> {
        let write = || -> Result<T, redb::Error> {
            let transaction = database.begin_write()?;
            let outcome = edit(&transaction)?;
            transaction.commit()?;
            Ok(outcome)
        };
        write().map_err(|error| of(&self.path, error).into())
    }
}

/// Whether the device was not there.
fn enter(transaction: &WriteTransaction, id: &str, row: &DeviceRow) -> Result<bool, redb::Error> {
    let mut devices = transaction.open_table(DEVICES)?;
    if devices.get(id)?.is_some() {
        return Ok(false);
    }
    devices.insert(id, row.encode().as_slice())?;
    Ok(true)
}

/// What an order before it was to leave behind, this one leaves behind too: somebody who was revoked
/// may have it.
fn order(transaction: &WriteTransaction, rotation: Rotation) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(ROTATION)?;
    let before =
        table.get(CURRENT)?.map(|row| Rotation::decode(row.value()).ok_or_else(no_version));
    let least = before.transpose()?.map_or(0, |before| before.past);
    let rotation = Rotation { past: rotation.past.max(least), ..rotation };
    table.insert(CURRENT, rotation.encode().as_slice())?;
    Ok(())
}

/// The database, of this version, as soon as no other process has it open.
fn open(path: &Path) -> Result<Database, LedgerFileError> {
    let start = Instant::now();
    let database = loop {
        match file::open(path).map_err(LedgerFileError::from) {
            Err(LedgerFileError::Busy { .. }) if start.elapsed() < PATIENCE => thread::sleep(PAUSE),
            outcome => break outcome?,
        }
    };
    let version = || -> Result<u64, redb::Error> {
        let table = database.begin_read()?.open_table(FORMAT)?;
        let version = table.get(VERSION_NAME)?;
        version.map(|version| version.value()).ok_or_else(no_version)
    };
    match version().map_err(|error| of(path, error))? {
        VERSION => Ok(database),
        version if version > VERSION => {
            Err(LedgerFileError::NewerVersion { path: path.into(), version })
        }
        _ => Err(LedgerFileError::Damaged { path: path.into() }),
    }
}

fn fill(database: &Database, settings: &Settings) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut format = transaction.open_table(FORMAT)?;
        format.insert(VERSION_NAME, VERSION)?;
        format.insert(STAMP_NAME, 0)?;
        let mut texts = transaction.open_table(SETTINGS)?;
        texts.insert("realm", settings.realm())?;
        texts.insert("authority", settings.authority())?;
        texts.insert("prefix", settings.prefix())?;
        transaction.open_table(DEVICES)?;
        transaction.open_table(PROGRESS)?;
        transaction.open_table(ROTATION)?;
    }
    Ok(transaction.commit()?)
}

/// The file beside the ledger that is locked by the authority that runs: one, whatever the names
/// of the folders on the way.
fn lock_path(path: &Path) -> PathBuf {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let mut name = target.into_os_string();
    name.push(".lock");
    name.into()
}

#[cfg(test)]
mod tests;
