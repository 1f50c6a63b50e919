//! `authority enrol`: a device, its own key, and what it is granted.

use std::fs;
use std::path::{Path, PathBuf};

use mqtt_seal::SharedKey;
use mqtt_seal::peer::PeerId;
use mqtt_seal::session::Entropy as _;
use mqtt_seal::store::device_file::DeviceFile;
use mqtt_seal::store::key_file::{KeyFile, Share, WriteKeyFileError};
use mqtt_seal::store::ledger_file::{DeviceRow, Granted, LedgerFile, LedgerFileError};
use mqtt_seal::tls::SpkiPin;
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
    /// The pin of a TLS key that the devices' broker may have, as mqtt-seal certs prints it: devices
    /// need no probe, and the broker may refuse clients without a password. May be repeated
    #[arg(long, value_name = "PIN")]
    broker_key: Vec<SpkiPin>,
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
        if self.form == FormArg::Compact {
            self.allot()?;
        }
        let mut made = Made::default();
        for device in &self.devices {
            self.make(&ledger, device, &shares, &mut made)?;
        }
        // the files first: a device that has a row but no key could never be enrolled again
        let rows = self.devices.iter().map(String::as_str).zip(&made.rows);
        ledger.enrol_all(rows).map_err(|error| Fault::told(&error, "check the ledger"))?;
        for (device, path) in self.devices.iter().zip(core::mem::take(&mut made.files)) {
            show::line(&format!("{}: for {device} alone, to be carried there", path.display()))?;
        }
        Ok(())
    }

    /// Before anything is written.
    fn check(&self, ledger: &LedgerFile) -> Result<(), Fault> {
        let known = ledger.devices().map_err(|error| Fault::told(&error, "check the file"))?;
        for (number, device) in self.devices.iter().enumerate() {
            PeerId::parse(device).map_err(|error| Fault::told(&error, "choose another"))?;
            let twice = self.devices.iter().take(number).any(|other| other == device);
            if twice || known.iter().any(|(id, ..)| id == device) {
                let error = LedgerFileError::Enrolled { device: device.clone() };
                return Err(Fault::told(&error, "choose another"));
            }
        }
        Ok(())
    }

    fn make(
        &self,
        ledger: &LedgerFile,
        device: &str,
        shares: &[Share<'_>],
        made: &mut Made,
    ) -> Result<(), Fault> {
        let mut key = Zeroizing::new([0; 32]);
        let filled = getrandom::SysRng.fill(&mut key);
        filled.map_err(|error| Fault::told(&error, "see that the system has entropy"))?;
        let again = SharedKey::take(&mut Zeroizing::new(*key));
        let file = DeviceFile::new(ledger.settings(), device, SharedKey::take(&mut key));
        let file = file.map_err(|error| Fault::told(&error, "choose another"))?;
        let pins = self.broker_key.iter().map(|pin| pin.to_bytes()).collect();
        let file = file.with_pins(pins);
        let file = file.map_err(|error| Fault::told(&error, "name fewer with --broker-key"))?;
        let path = self.out.join(format!("{device}.toml"));
        write(&file, &path)?;
        made.files.push(path);
        let shares = shares.iter().map(|share| Granted::new(*share)).collect();
        let compact = self.form == FormArg::Compact;
        made.rows.push(DeviceRow::new(again, shares, compact, moment::now_ms()));
        Ok(())
    }

    fn allot(&self) -> Result<(), Fault> {
        let allot = |file: &mut KeyFile| {
            let senders = self.devices.iter().map(|device| file.allot(device));
            let senders = senders.collect::<Result<Vec<_>, _>>();
            senders.map_err(|error| Fault::told(&error, "choose another name"))
        };
        let (senders, backup) = ledger::change(&self.keys.keys, allot)?;
        for (sender, device) in senders.iter().zip(&self.devices) {
            show::line(&format!("sender number {} for {device}", sender.get()))?;
        }
        show::line(&format!("the old key file is {}", backup.display()))
    }
}

/// What was made for devices that are not enrolled yet.
#[derive(Default)]
struct Made {
    rows: Vec<DeviceRow>,
    files: Vec<PathBuf>,
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in &self.files {
            // no ledger knows the key in it
            let _ = fs::remove_file(path);
        }
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
