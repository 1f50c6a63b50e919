//! `keygen`: a realm and its first key.

use std::path::PathBuf;

use mqtt_seal::store::key_file::{self, KeyFile};

use crate::fault::Fault;
use crate::{moment, show};

/// Make the key file of a new realm, with its first generation
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mqtt-seal keygen acme-prod")]
pub(crate) struct Args {
    /// The name of the deployment, at most 64 bytes: the same key in another realm opens nothing
    realm: String,
    /// The file to make; one that is there is never overwritten
    #[arg(long, value_name = "FILE", default_value = "keys.toml")]
    out: PathBuf,
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Fault> {
        let mut file = KeyFile::generate(&self.realm, &mut getrandom::SysRng)
            .map_err(|error| Fault::told(&error, "choose another realm"))?;
        file.set_created(1, moment::now()).map_err(|error| Fault::told(&error, "set the clock"))?;
        key_file::write_new(&self.out, &file)
            .map_err(|error| Fault::told(&error, "name another file"))?;
        let (out, realm) = (self.out.display(), &self.realm);
        show::line(&format!(
            "{out}: realm {realm}, generation 1, active\n\
             It opens and seals everything: keep it to the authority, and cut a file for each \
             device with mqtt-seal grant."
        ))
    }
}
