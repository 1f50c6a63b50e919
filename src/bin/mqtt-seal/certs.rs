//! `certs`: a CA and what it certifies, and why a certificate will be refused.

mod check;
mod fetch;
mod finding;
mod make;

use std::path::PathBuf;

use clap::Subcommand;

use crate::fault::Fault;

/// Make a CA, a broker's certificate and a mosquitto.conf, or check certificates
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(
    after_help = "Example:\n  mqtt-seal certs --host localhost\n  mqtt-seal certs check certs/broker.pem --ca certs/ca.pem --host localhost"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    make: make::Args,
}

#[derive(Debug, Subcommand)]
enum Action {
    Check(CheckArgs),
}

/// Tell in plain words why a certificate will be refused, and how to mend it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  mqtt-seal certs check certs/broker.pem --ca certs/ca.pem --host localhost"
)]
struct CheckArgs {
    /// A file with certificates in PEM or DER, or the HOST:PORT of a broker's TLS listener
    #[arg(value_name = "FILE|HOST:PORT")]
    what: String,
    /// The CA that clients trust
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The name or address that clients connect to; by default that of HOST:PORT
    #[arg(long)]
    host: Option<String>,
    /// The private key that should belong to it
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Fault> {
        match &self.action {
            Some(Action::Check(args)) => args.run(),
            None => self.make.run(),
        }
    }
}
