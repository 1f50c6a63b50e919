//! `seal`: a file, or standard input, as a sealed payload.

use std::path::PathBuf;

use mqtt_seal::guard::{Outgoing, SealError};

use crate::encoding::{self, Bytes, Encoding};
use crate::fault::Fault;
use crate::files::{KeysArg, PolicyArg};
use crate::moment;

/// Seal a file or standard input, as a payload for a topic
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  echo 27 | mqtt-seal seal --topic sensor/temp --encoding hex > sealed.hex"
)]
pub(crate) struct Args {
    #[command(flatten)]
    bytes: Bytes,
    /// The topic that it is to be published under
    #[arg(long)]
    topic: String,
    /// How the sealed payload is written down
    #[arg(long, default_value = "raw")]
    encoding: Encoding,
    /// The file to write, in the place of what is there
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    keys: KeysArg,
    #[command(flatten)]
    policy: PolicyArg,
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Fault> {
        let (mut tx, _) = self.policy.guard(&self.keys)?.split();
        tx.connected("");
        let payload = self.bytes.read()?;
        let message = Outgoing::new(&self.topic, &payload).at(Some(moment::now_ms()));
        let mut sealed = Vec::new();
        let done = tx.seal(&message, &mut sealed);
        let done = done.map_err(|error| Fault::told(&error, fix(&error)))?;
        if done.sealed.is_none() {
            let what = format!("{}: the topic's rule publishes in clear", self.topic);
            return Err(Fault::new(what, "say payload = \"sealed\" in the policy"));
        }
        encoding::write(self.out.as_deref(), &self.encoding.encode(&sealed))
    }
}

/// What to do where the library's text does not say so.
const fn fix(error: &SealError) -> &'static str {
    match error {
        SealError::TooLarge { .. } => "shorten it, or raise max_packet in the rule",
        SealError::RollbackPossible | SealError::Lease { .. } => {
            "say form = \"session\" in the rule: the tool keeps no counters"
        }
        _ => "name another topic",
    }
}
