//! `man`: the manual pages.

use clap::Command;
use clap_mangen::Man;

use crate::fault::Fault;
use crate::show;

/// Print the manual page of the tool, or of one command, for man -l
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mqtt-seal man keygen > keygen.1")]
pub(crate) struct Args {
    /// The command
    command: Option<String>,
}

impl Args {
    pub(crate) fn run(&self, mut tool: Command) -> Result<(), Fault> {
        tool.build();
        let page = match &self.command {
            None => tool,
            Some(name) => tool.find_subcommand(name).cloned().ok_or_else(|| {
                Fault::usage(format!("there is no command {name}"), "see mqtt-seal --help")
            })?,
        };
        let mut text = Vec::new();
        Man::new(page).render(&mut text)?;
        show::bytes(&text)
    }
}
