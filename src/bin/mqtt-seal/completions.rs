//! `completions`: what shells need to complete our commands.

use clap::Command;
use clap_complete::Shell;

use crate::fault::Fault;
use crate::show;

/// Print the completions of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mqtt-seal completions bash > mqtt-seal.bash")]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

impl Args {
    pub(crate) fn run(&self, command: &mut Command) -> Result<(), Fault> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "mqtt-seal", &mut script);
        show::bytes(&script)
    }
}
