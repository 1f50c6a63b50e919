//! The files that commands name, and what is in them. Knows no command.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use mqtt_seal::guard::Config;
use mqtt_seal::policy::Links;
use mqtt_seal::store::key_file::KeyFile;
use mqtt_seal::store::policy_file;
use mqtt_seal::{Guard, Policy};

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

/// A guard with state of its own.
pub(crate) fn guard(config: &Arc<Config>) -> Result<Guard, Fault> {
    Guard::from_config(Arc::clone(config), Box::new(getrandom::SysRng))
        .map_err(|error| Fault::told(&error, "see that the system has entropy"))
}
