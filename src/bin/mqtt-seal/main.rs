//! The command-line tool: keys, certificates, policies, messages. Knows the commands' names; what
//! each does is in a file of its own.

mod authority;
mod capture;
mod certs;
mod completions;
#[cfg(feature = "demo")]
mod demo;
mod encoding;
mod fault;
mod files;
mod grant;
mod inspect;
mod interrupt;
mod keygen;
mod keys;
mod ledger;
mod man;
mod moment;
mod open;
mod policy;
mod proxy;
mod publish;
mod rejected;
mod rotate;
mod seal;
mod session;
mod show;
mod subscribe;
mod tls;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use fault::Fault;

/// Seals MQTT payloads end to end: keys, certificates, policies and messages.
#[derive(Debug, Parser)]
#[command(name = "mqtt-seal", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done · 1 failure · 2 wrong usage · 3 nothing matched, or time ran out · 4 messages
were rejected, with --strict";

#[derive(Debug, Subcommand)]
enum Command {
    Keygen(keygen::Args),
    Grant(grant::Args),
    Keys(keys::Args),
    Rotate(rotate::Args),
    Authority(authority::Args),
    Policy(policy::Args),
    Certs(certs::Args),
    Seal(seal::Args),
    Open(open::Args),
    Inspect(inspect::Args),
    Proxy(proxy::Args),
    Pub(publish::Args),
    Sub(subscribe::Args),
    Watch(watch::Args),
    #[cfg(feature = "demo")]
    Demo(demo::Args),
    Completions(completions::Args),
    Man(man::Args),
}

impl Command {
    fn run(self) -> Result<(), Fault> {
        match self {
            Self::Keygen(args) => args.run(),
            Self::Grant(args) => args.run(),
            Self::Keys(args) => args.run(),
            Self::Rotate(args) => args.run(),
            Self::Authority(args) => args.run(),
            Self::Policy(args) => args.run(),
            Self::Certs(args) => args.run(),
            Self::Seal(args) => args.run(),
            Self::Open(args) => args.run(),
            Self::Inspect(args) => args.run(),
            Self::Proxy(args) => args.run(),
            Self::Pub(args) => args.run(),
            Self::Sub(args) => args.run(),
            Self::Watch(args) => args.run(),
            #[cfg(feature = "demo")]
            Self::Demo(args) => args.run(),
            Self::Completions(args) => args.run(&mut Cli::command()),
            Self::Man(args) => args.run(Cli::command()),
        }
    }
}

fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fault.report(),
    }
}
