//! `grant`: the key file of one device, cut from that of the authority.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use mqtt_seal::Suite;
use mqtt_seal::keyring::ScopeRef;
use mqtt_seal::policy::MAX_SCOPE_DEPTH;
use mqtt_seal::store::key_file::{self, KeyFile, Share};
use mqtt_seal::topic::{PathScope, TopicName};
use mqtt_seal::wire::SenderNumber;

use crate::fault::Fault;
use crate::files::KeysArg;
use crate::{ledger, show};

/// Cut the key file of a device, which holds nothing more than it must
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mqtt-seal grant pump-7 --node plant/a")]
pub(crate) struct Args {
    /// The device, as the ledger is to remember it
    device: String,
    #[command(flatten)]
    shares: SharesArg,
    /// With compact, a sender number is allotted: the device's own, and the same one each time
    #[arg(long, default_value = "session")]
    form: FormArg,
    /// Allot another sender number, for a device that lost its counters
    #[arg(long, requires = "form")]
    new_sender: bool,
    /// The file to write; by default it has the device's name
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write it in the place of the device's old one, as after a rotation
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    keys: KeysArg,
}

/// What a device is to have.
#[derive(Debug, clap::Args)]
pub(crate) struct SharesArg {
    /// A node: all that lies at or below these levels of topics
    #[arg(long, value_name = "LEVELS")]
    node: Vec<String>,
    /// The one scope of these levels, under one suite
    #[arg(long, value_name = "LEVELS")]
    scope: Vec<String>,
    /// The one scope that policies call by this name, under one suite
    #[arg(long, value_name = "NAME")]
    named: Vec<String>,
    /// The suite of scopes
    #[arg(long, default_value = Suite::default().name(), value_parser = suite)]
    suite: Suite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormArg {
    Session,
    Compact,
}

pub(crate) fn suite(name: &str) -> Result<Suite, String> {
    let known = || Suite::ALL.map(Suite::name).join(", ");
    Suite::from_name(name).ok_or_else(|| format!("use one of {}", known()))
}

impl SharesArg {
    pub(crate) fn read<'a>(&'a self) -> Result<Vec<Share<'a>>, Fault> {
        let node = |levels| path(levels).map(Share::Node);
        let scope = |levels| Ok(Share::Scope(ScopeRef::Path(path(levels)?), self.suite));
        let named = |name| Ok(Share::Scope(ScopeRef::Named(name), self.suite));
        let texts = |texts: &'a [String]| texts.iter().map(String::as_str);
        let paths = texts(&self.node).map(node).chain(texts(&self.scope).map(scope));
        paths.chain(texts(&self.named).map(named)).collect()
    }
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Fault> {
        let out = self.out()?;
        let shares = self.shares.read()?;
        let cut = |file: &KeyFile, sender| {
            let device = file.grant_for(&shares, sender);
            device.map_err(|error| Fault::told(&error, "use --node, --scope or --named"))
        };
        // before a number is spent
        let file = self.keys.read()?;
        let mut device = cut(&file, None)?;
        let mut kept = None;
        let mut sender = None;
        if self.form == FormArg::Compact {
            let (allotted, backup) = self.sender(&file)?;
            // the file that has the number now
            device = cut(&self.keys.read()?, Some(allotted))?;
            (sender, kept) = (Some(allotted), backup);
        }
        self.write(&out, &device)?;
        let count = device.grants().count();
        show::line(&format!("{}: {count} {} for {}", out.display(), keys(count), self.device))?;
        if let Some(sender) = sender {
            show::line(&format!("sender number {}", sender.get()))?;
        }
        kept.map_or(Ok(()), |kept| show::line(&format!("the old ledger is {}", kept.display())))
    }

    fn out(&self) -> Result<PathBuf, Fault> {
        let plain = !self.device.contains(['/', '\\']) && !self.device.starts_with('.');
        match &self.out {
            Some(out) => Ok(out.clone()),
            None if plain => Ok(format!("{}.keys.toml", self.device).into()),
            None => Err(Fault::usage(
                format!("the device's name {} is no file name", self.device),
                "name the file with --out",
            )),
        }
    }

    /// The device's sender number, allotted and on storage; and where the old ledger is.
    fn sender(&self, file: &KeyFile) -> Result<(SenderNumber, Option<PathBuf>), Fault> {
        if let Some(sender) = file.sender_of(&self.device).filter(|_| !self.new_sender) {
            return Ok((sender, None));
        }
        let allot = |file: &mut KeyFile| {
            let sender = file.allot(&self.device);
            sender.map_err(|error| Fault::told(&error, "choose another name"))
        };
        let (sender, backup) = ledger::change(&self.keys.keys, allot)?;
        Ok((sender, Some(backup)))
    }

    fn write(&self, out: &Path, device: &KeyFile) -> Result<(), Fault> {
        if self.replace {
            let replaced = key_file::replace(out, device);
            return replaced.map_err(|error| Fault::told(&error, "leave out --replace"));
        }
        key_file::write_new(out, device).map_err(|error| match error {
            key_file::WriteKeyFileError::Exists { path } => Fault::new(
                format!("{}: there is such a file already, and it was not touched", path.display()),
                "choose another name with --out, or replace the device's file with --replace",
            ),
            error => Fault::told(&error, "name another file"),
        })
    }
}

/// All levels of a topic.
fn path(levels: &str) -> Result<PathScope<'_>, Fault> {
    let topic = TopicName::parse(levels).map_err(|error| {
        Fault::usage(format!("{levels:?}: {error}"), "name levels as in plant/a, without + and #")
    })?;
    let depth = u8::try_from(topic.levels().count()).unwrap_or(u8::MAX);
    if depth > MAX_SCOPE_DEPTH {
        let what = format!("{levels} has more than {MAX_SCOPE_DEPTH} levels");
        return Err(Fault::usage(what, "name a node further up"));
    }
    Ok(topic.path(depth))
}

const fn keys(count: usize) -> &'static str {
    if count == 1 { "key" } else { "keys" }
}
