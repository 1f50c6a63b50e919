//! `rotate`: the life of a generation, step by step.

use clap::Subcommand;
use mqtt_seal::keyring::State;
use mqtt_seal::store::key_file::{EditError, KeyFile};

use crate::fault::Fault;
use crate::files::KeysArg;
use crate::{ledger, moment, show};

/// Move the realm to its next generation of keys, one step at a time
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  mqtt-seal rotate add\n  mqtt-seal rotate activate --until 2027-03-31\n  mqtt-seal rotate erase 1\n\nBetween the steps, cut every device's file anew with mqtt-seal grant --replace."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    step: Step,
    #[command(flatten)]
    keys: KeysArg,
}

#[derive(Debug, Subcommand)]
enum Step {
    /// Draw the next generation: pending, it opens only, until everybody has it
    Add,
    /// Let the pending generation seal, and the one before open only
    Activate {
        /// The last day on which the one before opens; without, until it is erased
        #[arg(long, value_name = "DAY", value_parser = moment::end_of_day)]
        until: Option<u64>,
    },
    /// Take a generation out; what is still sealed under it cannot be opened any more
    Erase {
        /// The number of the generation
        generation: u32,
    },
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Fault> {
        let (done, backup) = ledger::change(&self.keys.keys, |file| self.step.take(file))?;
        show::line(&done)?;
        show::line(&format!("the old file is {}", backup.display()))?;
        if let Step::Erase { .. } = self.step {
            show::line("Backups still hold the erased key: remove them when nothing needs it.")?;
        }
        Ok(())
    }
}

impl Step {
    fn take(&self, file: &mut KeyFile) -> Result<String, Fault> {
        let done = match *self {
            Self::Add => add(file),
            Self::Activate { until } => return activate(file, until),
            Self::Erase { generation } => {
                file.erase(generation).map(|()| format!("generation {generation} is erased"))
            }
        };
        done.map_err(|error| Fault::told(&error, "see mqtt-seal keys"))
    }
}

fn add(file: &mut KeyFile) -> Result<String, EditError> {
    let next = file.add_generation(&mut getrandom::SysRng)?;
    file.set_created(next, moment::now())?;
    Ok(format!("generation {next} is pending: cut every device's file anew, then activate it"))
}

fn activate(file: &mut KeyFile, until: Option<u64>) -> Result<String, Fault> {
    let newest = |file: &KeyFile, state| {
        let of_it = file.grants().filter(|grant| grant.state() == state);
        of_it.map(mqtt_seal::Grant::generation).max()
    };
    let none = || Fault::new("no generation is pending", "draw one with mqtt-seal rotate add");
    let pending = newest(file, State::Pending).ok_or_else(none)?;
    let told = |error: EditError| Fault::told(&error, "see mqtt-seal keys");
    let mut done = String::new();
    if let Some(active) = newest(file, State::Active) {
        file.set_state(active, State::Retiring { not_after: until }).map_err(told)?;
        let end = until.map_or_else(|| "it is erased".into(), moment::day);
        done = format!("generation {active} opens until {end}\n");
    }
    file.set_state(pending, State::Active).map_err(told)?;
    Ok(format!("{done}generation {pending} seals now: cut every device's file anew"))
}
