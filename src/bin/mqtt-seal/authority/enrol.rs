//! `authority enrol`: a device, its own key, and what it is granted.

use std::fs;
use std::path::{Path, PathBuf};

use mqtt_seal::SharedKey;
use mqtt_seal::peer::PeerId;
use mqtt_seal::session::Entropy as _;
use mqtt_seal::store::device_file::DeviceFile;
use mqtt_seal::store::key_file::{KeyFile, Share, WriteKeyFileError};
use mqtt_seal::store::ledger_file::{DeviceRow, Granted, LedgerFile};
use zeroize::Zeroizing;

use super::LedgerArg;
use crate::fault::Fault;
use crate::files::KeysArg;
use crate::grant::{FormArg, SharesArg};
use crate::{ledger, moment, show};

/// Enter devices into the ledger, and write the file that each of them needs
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mqtt-seal authority enrol pump-7 pump-8 --node plant/a")]
pub(super) struct Args {
    /// The devices' ids, each one level of a topic; an id is used once
    #[arg(required = true, value_name = "DEVICE")]
    devices: Vec<String>,
    #[command(flatten)]
    shares: SharesArg,
    /// With compact, a sender number is allotted to each device
    #[arg(long, default_value = "session")]
    form: FormArg,
    /// The folder for the devices' files
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
    #[command(flatten)]
    ledger: LedgerArg,
    #[command(flatten)]
    keys: KeysArg,
}

impl Args {
    pub(super) fn run(&self) -> Result<(), Fault> {
        let (ledger, keys) = self.ledger.open_with(&self.keys)?;
        let shares = self.shares.read()?;
        let cut = keys.grant_for(&shares, None);
        cut.map_err(|error| Fault::told(&error, "use --node, --scope or --named"))?;
        self.check(&ledger)?;
        for device in &self.devices {
            self.enrol(&ledger, device, &shares)?;
        }
        Ok(())
    }

    /// Before anything is written.
    fn check(&self, ledger: &LedgerFile) -> Result<(), Fault> {
        let known = ledger.devices().map_err(|error| Fault::told(&error, "check the file"))?;
        for device in &self.devices {
            PeerId::parse(device).map_err(|error| Fault::told(&error, "choose another"))?;
            if known.iter().any(|(id, ..)| id == device) {
                let what = format!("{device} is in the ledger, and ids are used once");
                return Err(Fault::new(what, "choose another"));
            }
        }
        Ok(())
    }

    fn enrol(&self, ledger: &LedgerFile, device: &str, shares: &[Share<'_>]) -> Result<(), Fault> {
        let compact = self.form == FormArg::Compact;
        if compact {
            self.allot(device)?;
        }
        let mut key = Zeroizing::new([0; 32]);
        let filled = getrandom::SysRng.fill(&mut key);
        filled.map_err(|error| Fault::told(&error, "see that the system has entropy"))?;
        let again = SharedKey::take(&mut Zeroizing::new(*key));
        let file = DeviceFile::new(ledger.settings(), device, SharedKey::take(&mut key));
        let file = file.map_err(|error| Fault::told(&error, "choose another"))?;
        let path = self.out.join(format!("{device}.toml"));
        // the file first: a device that has a row but no key could never be enrolled again
        write(&file, &path)?;
        let shares = shares.iter().map(|share| Granted::new(*share)).collect();
        let row = DeviceRow::new(again, shares, compact, moment::now_ms());
        ledger.enrol(device, &row).map_err(|error| {
            // nothing knows its key
            let _ = fs::remove_file(&path);
            Fault::told(&error, "check the ledger")
        })?;
        show::line(&format!("{}: for {device} alone, to be carried there", path.display()))
    }

    fn allot(&self, device: &str) -> Result<(), Fault> {
        let allot = |file: &mut KeyFile| {
            let sender = file.allot(device);
            sender.map_err(|error| Fault::told(&error, "choose another name"))
        };
        let (sender, backup) = ledger::change(&self.keys.keys, allot)?;
        let (sender, backup) = (sender.get(), backup.display());
        show::line(&format!("sender number {sender} for {device}; the old key file is {backup}"))
    }
}

fn write(file: &DeviceFile, path: &Path) -> Result<(), Fault> {
    file.write_new(path).map_err(|error| match error {
        WriteKeyFileError::Exists { path } => Fault::new(
            format!("{}: there is such a file already, and it was not touched", path.display()),
            "name another folder with --out",
        ),
        error => Fault::told(&error, "name another folder with --out"),
    })
}
