//! The files that commands name, and what is in them. Knows no command.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use mqtt_seal::guard::Config;
use mqtt_seal::policy::{Links, Payload};
use mqtt_seal::store::counter_file::{CounterFile, CounterFileError, Lost, Rollback};
use mqtt_seal::store::key_file::KeyFile;
use mqtt_seal::store::policy_file;
use mqtt_seal::wire::SenderNumber;
use mqtt_seal::{Grant, Guard, Keyring, Policy};

use crate::fault::Fault;

/// The key file.
#[derive(Debug, Args)]
pub(crate) struct KeysArg {
    /// The key file
    #[arg(long, value_name = "FILE", env = "MQTT_SEAL_KEYS", hide_env_values = true)]
    #[arg(default_value = "keys.toml", global = true)]
    pub(crate) keys: PathBuf,
}

impl KeysArg {
    pub(crate) fn read(&self) -> Result<KeyFile, Fault> {
        KeyFile::read(&self.keys).map_err(|error| Fault::told(&error, "check the file"))
    }
}

/// The policy, where there may be none.
#[derive(Debug, Args)]
pub(crate) struct PolicyArg {
    /// The policy; without one, every topic is sealed
    #[arg(long, value_name = "FILE", env = "MQTT_SEAL_POLICY", hide_env_values = true)]
    pub(crate) policy: Option<PathBuf>,
}

/// What holds where no policy is named: each topic is sealed, one key for each first level.
pub(crate) const SEAL_ALL: &str = "[[rule]]\ntopics = [\"#\"]\npayload = \"sealed\"\n";

impl PolicyArg {
    /// What the policy and the keys make of messages by any link.
    pub(crate) fn guard(&self, keys: &KeysArg) -> Result<Guard, Fault> {
        guard(&self.config(keys)?)
    }

    /// Policy and keys, for guards that share them.
    pub(crate) fn config(&self, keys: &KeysArg) -> Result<Arc<Config>, Fault> {
        let keyring = keys.read()?.keyring();
        Ok(Arc::new(Config::new(self.read()?, keyring, Links::Both)))
    }

    pub(crate) fn read(&self) -> Result<Policy, Fault> {
        let policy = match &self.policy {
            Some(path) => policy_file::read(path),
            None => policy_file::parse(SEAL_ALL),
        };
        policy.map_err(|error| Fault::told(&error, "check the file"))
    }
}

/// Rules and keys. Without a key file, a policy that seals nothing is enough.
pub(crate) fn protection(policy: &PolicyArg, keys: &KeysArg) -> Result<(Policy, Keyring), Fault> {
    let policy = policy.read()?;
    let clear = policy.rules().iter().all(|rule| rule.payload() == Payload::Clear);
    if clear && !keys.keys.exists() {
        return Ok((policy, Keyring::default()));
    }
    if !keys.keys.exists() {
        let what = format!("{}: there is no such key file", keys.keys.display());
        let fix = "name it with --keys or MQTT_SEAL_KEYS, or make one with mqtt-seal keygen; \
                   for payloads in clear, name a policy that says so with --policy";
        return Err(Fault::new(what, fix));
    }
    Ok((policy, keys.read()?.keyring()))
}

/// The counters of rules in compact form.
#[derive(Debug, Args)]
pub(crate) struct CountersArg {
    /// The counter file of the grant's sender number, for rules in compact form; each run takes
    /// 1,024 counters of 2^32
    #[arg(long, value_name = "FILE")]
    counters: Option<PathBuf>,
    /// Write that file first: once in the life of a sender number
    #[arg(long, requires = "counters")]
    new_counters: bool,
    /// Declare that the file never comes back in an older state, by a restored backup, a snapshot or
    /// a cloned image; needed for suites other than aes-256-gcm-siv
    #[arg(long, requires = "counters")]
    counters_never_roll_back: bool,
}

impl CountersArg {
    /// The counters of the one sender number in `keys`; `None` if no file is named.
    pub(crate) fn open(
        &self,
        keys: &KeysArg,
    ) -> Result<Option<(SenderNumber, CounterFile)>, Fault> {
        let Some(path) = &self.counters else {
            return Ok(None);
        };
        let number = sender(&keys.read()?)?;
        let failed = |error| match error {
            CounterFileError::Exists { path } => Fault::new(
                format!("{}: there is such a counter file already", path.display()),
                "leave out --new-counters to go on with it",
            ),
            error => Fault::told(&error, "name another file"),
        };
        if self.new_counters {
            CounterFile::provision(path, number).map_err(failed)?;
        }
        let rollback = if self.counters_never_roll_back {
            Rollback::DeclaredImpossible
        } else {
            Rollback::Possible
        };
        let file = CounterFile::open(path, number, rollback).map_err(|error| match error {
            CounterFileError::CounterLost { why: Lost::Missing, .. } => Fault::new(
                format!("{}: there is no such counter file", path.display()),
                "for a sender number that was never used, write it with --new-counters; else ask \
                 for a new number, by mqtt-seal grant --new-sender",
            ),
            error => failed(error),
        })?;
        Ok(Some((number, file)))
    }
}

/// The one sender number of a key file.
fn sender(file: &KeyFile) -> Result<SenderNumber, Fault> {
    let mut numbers: Vec<_> = file.grants().filter_map(Grant::sender).collect();
    numbers.sort_unstable();
    numbers.dedup();
    match *numbers {
        [number] => Ok(number),
        [] => Err(Fault::new(
            "no key of the key file has a sender number",
            "let the authority cut another with mqtt-seal grant --form compact",
        )),
        _ => Err(Fault::new(
            "the keys of the key file have several sender numbers",
            "name a file with the keys of one",
        )),
    }
}

/// A guard with state of its own.
pub(crate) fn guard(config: &Arc<Config>) -> Result<Guard, Fault> {
    Guard::from_config(Arc::clone(config), Box::new(getrandom::SysRng))
        .map_err(|error| Fault::told(&error, "see that the system has entropy"))
}
