//! `open`: the payload of a sealed message, or of one of other programs.

mod foreign;

use std::path::PathBuf;

use clap::ValueEnum;
use mqtt_seal::guard::{Incoming, OpenError, Protection};
use mqtt_seal::policy::Link;

use crate::encoding::{self, Bytes, Encoding};
use crate::fault::Fault;
use crate::files::{KeysArg, PolicyArg};
use crate::{moment, rejected};

/// Open a sealed payload from a file or standard input
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mqtt-seal open --topic sensor/temp --encoding hex sealed.hex")]
pub(crate) struct Args {
    #[command(flatten)]
    bytes: Bytes,
    /// The topic that it came under
    #[arg(long, required_unless_present = "secret")]
    topic: Option<String>,
    /// How the sealed payload is written down
    #[arg(long, default_value = "raw")]
    encoding: Encoding,
    /// The file to write, in the place of what is there
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// What sealed it; those of other programs are read only, to move away from them
    #[arg(long, default_value = "mqtt-seal")]
    format: Format,
    /// The file with the passphrase of owntracks, or with the key of e4 in hexadecimal
    #[arg(long, value_name = "FILE")]
    secret: Option<PathBuf>,
    #[command(flatten)]
    keys: KeysArg,
    #[command(flatten)]
    policy: PolicyArg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    MqttSeal,
    /// JSON with a secretbox of libsodium
    Owntracks,
    /// A timestamp of 8 bytes and AES-SIV
    E4,
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Fault> {
        let bytes = self.encoding.decode(&self.bytes.read()?)?;
        let payload = match (self.format, &self.secret) {
            (Format::MqttSeal, None) => self.open(&bytes)?,
            (Format::MqttSeal, Some(_)) => {
                let what = "--secret is for the formats of other programs";
                return Err(Fault::usage(what, "leave it out, or name one with --format"));
            }
            (_, None) => {
                return Err(Fault::usage(
                    "--format needs the secret of that program",
                    "name its file with --secret",
                ));
            }
            (Format::Owntracks, Some(path)) => {
                foreign::owntracks(&bytes, &encoding::read(Some(path))?)?
            }
            (Format::E4, Some(path)) => foreign::e4(&bytes, &encoding::read(Some(path))?)?,
        };
        encoding::write(self.out.as_deref(), &payload)
    }

    fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, Fault> {
        let topic = self.topic.as_deref().unwrap_or_default();
        let (_, mut rx) = self.policy.guard(&self.keys)?.split();
        let message = Incoming::new(topic, sealed, Link::Tls).at(Some(moment::now_ms()));
        let mut payload = Vec::new();
        // without a replay log nothing waits for one
        let opened = rx.open(&message, &mut payload);
        let delivery = opened.and_then(|opened| opened.delivered().ok_or(OpenError::Stopped));
        let delivery = delivery.map_err(rejected::fault)?;
        if delivery.protection == Protection::Clear {
            let what = format!("{topic}: this was never sealed, and the topic's rule allows that");
            return Err(Fault::new(what, "read it as it is"));
        }
        Ok(payload)
    }
}
