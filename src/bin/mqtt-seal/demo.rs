//! `demo`: the example `sensor`, from the installed tool.

#[path = "../../../examples/sensor/main.rs"]
mod sensor;

use crate::fault::Fault;
use crate::session;

/// Send readings in clear and sealed, by TCP and TLS, and show what the broker sees of them
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mqtt-seal demo --count 10")]
pub(crate) struct Args {
    /// How many readings in each of the four ways
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// The version of MQTT
    #[arg(long, default_value = "v4", value_parser = ["v4", "v5"])]
    protocol: String,
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Fault> {
        let count = self.count.to_string();
        let args = ["--count", &count, "--protocol", &self.protocol].map(String::from);
        let failed = |error: String| Fault::new(error, "see that loopback connections are allowed");
        session::run(async {
            match sensor::start(args.into_iter()).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(failed("something is missing of the readings".into())),
                Err(error) => Err(failed(error.to_string())),
            }
        })
    }
}
