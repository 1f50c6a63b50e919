//! `proxy`: seals and opens for clients that are not compiled again.

mod check;
mod device;
mod log;
mod notify;
mod open_files;
mod serve;
mod settings;

use std::path::PathBuf;

use clap::Args as ClapArgs;
use mqtt_seal::store::proxy_file::{LOG_LEVELS, LOGS};

use crate::fault::Fault;
use crate::session;
use crate::tls::TlsArgs;
use settings::Settings;

/// Stand between MQTT clients on this machine and a broker: clear MQTT on the near side, sealed
/// payloads on the far side
///
/// SIGHUP reads policy and keys again; SIGTERM and SIGINT end it.
#[derive(Debug, ClapArgs)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[command(
    mut_arg("cafile", |arg| arg.help("A CA of the broker's certificate, for --tls-broker")),
    mut_arg("tls_use_os_certs", |arg| {
        arg.help("Trust whom this system trusts; the default without a CA, a pin and a device file")
    }),
    mut_arg("pin", |arg| {
        arg.help("The public key of the broker's certificate; beside a CA or alone")
    }),
    mut_arg("cert", |arg| arg.help("This proxy's certificate, for brokers that ask for one")),
    after_help = "Example:\n  mqtt-seal proxy --tls-broker localhost:8883 --cafile ca.pem --max-connections 100 --check\n  mqtt-seal proxy --config proxy.toml --check"
)]
pub(crate) struct Args {
    /// Where clients connect, as 127.0.0.1:1883 or unix:PATH; may be repeated. Without one:
    /// 127.0.0.1:1883
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// The broker by plain TCP; beside --tls-broker, for rules with transport = "tcp" alone
    #[arg(long, value_name = "HOST:PORT")]
    broker: Option<String>,
    /// The broker by TLS
    #[arg(long, value_name = "HOST:PORT")]
    tls_broker: Option<String>,
    #[command(flatten)]
    tls: TlsArgs,
    /// The device file of this proxy, as mqtt-seal authority enrol writes it: its authority says
    /// which key the broker by TLS may have, and no CA and no pin is needed
    #[arg(long, value_name = "FILE")]
    device: Option<PathBuf>,
    /// The key file; without one: keys.toml
    #[arg(long, value_name = "FILE", env = "MQTT_SEAL_KEYS", hide_env_values = true)]
    keys: Option<PathBuf>,
    /// The policy; without one, every topic is sealed
    #[arg(long, value_name = "FILE", env = "MQTT_SEAL_POLICY", hide_env_values = true)]
    policy: Option<PathBuf>,
    /// Store sealed messages here until they are acknowledged, and what was received: after a restart
    /// of the proxy a repetition is the bytes that it was, and a recorded message is refused
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// Serve a status page and metrics by HTTP at this loopback address
    #[arg(long, value_name = "ADDRESS")]
    status: Option<String>,
    /// Show payloads on it, to every user of this machine
    #[arg(long)]
    status_payloads: bool,
    /// Bytes of the largest packet; without: 16777216
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    max_packet: Option<u32>,
    /// Clients at a time; without: 10000
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,
    /// What is appended to client IDs on the plain link, where there are two; without: -tcp
    #[arg(long, value_name = "TEXT")]
    plain_suffix: Option<String>,
    /// Listen on addresses too that other machines reach: payloads and passwords cross the network
    /// in clear there
    #[arg(long)]
    danger_listen_anywhere: bool,
    /// Let clients' user names and passwords travel to the broker over plain TCP
    #[arg(long)]
    danger_credentials_in_clear: bool,
    /// Pass empty messages on sealed topics, which anyone on the way can make, as deletions
    #[arg(long)]
    danger_forward_bare_deletes: bool,
    /// Read settings from a TOML file, with the names of these flags; what is a flag holds instead
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check files, rules, keys and addresses, say what would be done, and end
    #[arg(long)]
    check: bool,
    /// The format of the log, on standard error; without: text
    #[arg(long, value_name = "FORMAT", value_parser = LOGS.to_vec())]
    log: Option<String>,
    /// What the log has; without: info
    #[arg(long, value_name = "LEVEL", value_parser = LOG_LEVELS.to_vec())]
    log_level: Option<String>,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Fault> {
        let check = self.check;
        let settings = Settings::new(self)?;
        if check {
            return check::check(&settings);
        }
        log::start(settings.log.as_deref(), settings.log_level.as_deref());
        session::run(serve::serve(settings))
    }
}
