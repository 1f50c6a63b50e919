//! `authority`: a fleet of devices, their keys over MQTT, rotation and revocation.

mod devices;
mod enrol;
mod orders;
mod run;

use std::path::PathBuf;

use clap::Subcommand;
use mqtt_seal::store::key_file::KeyFile;
use mqtt_seal::store::ledger_file::{LedgerFile, Settings};

use crate::fault::Fault;
use crate::files::KeysArg;
use crate::show;

/// Give devices their keys over MQTT, move them to the next generation, revoke them
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  mqtt-seal authority new --prefix acme\n  mqtt-seal authority enrol pump-7 --node plant/a\n  mqtt-seal authority devices\n\nEnrol, rotate and revoke while it runs; it sees the change at once."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    New(NewArgs),
    Enrol(enrol::Args),
    Run(Box<run::Args>),
    Devices(devices::Args),
    Rotate(orders::RotateArgs),
    Revoke(orders::RevokeArgs),
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Fault> {
        match &self.action {
            Action::New(args) => args.run(),
            Action::Enrol(args) => args.run(),
            Action::Run(args) => args.run(),
            Action::Devices(args) => args.run(),
            Action::Rotate(args) => args.run(),
            Action::Revoke(args) => args.run(),
        }
    }
}

/// The ledger.
#[derive(Debug, clap::Args)]
struct LedgerArg {
    /// The ledger of devices: it holds their keys
    #[arg(long, value_name = "FILE", default_value = "ledger")]
    ledger: PathBuf,
}

impl LedgerArg {
    fn open(&self) -> Result<LedgerFile, Fault> {
        let ledger = LedgerFile::open(&self.ledger);
        ledger.map_err(|error| Fault::told(&error, "check the file"))
    }

    /// The ledger, and the keys of its realm.
    fn open_with(&self, keys: &KeysArg) -> Result<(LedgerFile, KeyFile), Fault> {
        let (ledger, file) = (self.open()?, keys.read()?);
        let (realm, other) = (ledger.settings().realm(), file.realm());
        if realm == other {
            return Ok((ledger, file));
        }
        let what = format!("the ledger is of realm {realm}, the key file of realm {other}");
        Err(Fault::new(what, "name files of one realm"))
    }
}

/// Make the ledger of a new authority, for the realm of its key file
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mqtt-seal authority new --prefix acme")]
struct NewArgs {
    /// What the topics of authentication and key updates begin with
    #[arg(long, value_name = "LEVELS")]
    prefix: String,
    /// The authority's id, one level of a topic
    #[arg(long, default_value = "authority")]
    id: String,
    #[command(flatten)]
    ledger: LedgerArg,
    #[command(flatten)]
    keys: KeysArg,
}

impl NewArgs {
    fn run(&self) -> Result<(), Fault> {
        let keys = self.keys.read()?;
        let settings = Settings::new(keys.realm(), &self.id, &self.prefix);
        let settings = settings.map_err(|error| {
            Fault::usage(error.to_string(), "choose others with --id and --prefix")
        })?;
        let ledger = LedgerFile::create(&self.ledger.ledger, settings);
        let ledger = ledger.map_err(|error| Fault::told(&error, "name another file"))?;
        let settings = ledger.settings();
        show::line(&format!(
            "{}: realm {}, authority {}\n\
             Its devices ask on {}, and find their keys below {}/keys/.\n\
             It holds what devices trust: back up the key file, and never put back an older ledger.",
            ledger.path().display(),
            settings.realm(),
            settings.authority(),
            settings.request(),
            settings.prefix(),
        ))
    }
}
