//! `authority run`: an authority at a broker, until it is told to end.

use core::time::Duration;

use mqtt_seal::client::authority::{self, AuthorityError, Event, Setup, Step};
use mqtt_seal::client::{AsyncClient, EventLoop};
use mqtt_seal::peer::{BrokerName, SpkiHash};
use mqtt_seal::tls::SpkiPin;
use serde_json::{Value, json};
use tokio::signal;

use super::LedgerArg;
use crate::fault::Fault;
use crate::session::{self, Client, SessionArgs};
use crate::show;

/// How long leave is taken from a broker that may be gone.
const FAREWELL: Duration = Duration::from_secs(5);

/// Answer devices, publish their keys, and carry out rotations, until it is interrupted
///
/// It prints a line for each event. Kill it at any moment: another one goes on where it was.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true, mut_args(hide_unused))]
#[command(after_help = "Example:\n  mqtt-seal authority run -p 1883 --broker broker.example:1883")]
pub(super) struct Args {
    /// A broker, by the name that devices are configured with; without, that of this connection. May
    /// be repeated
    #[arg(long, value_name = "HOST:PORT")]
    broker: Vec<String>,
    /// The pin of a TLS key that these brokers may have, as mqtt-seal certs prints it; without,
    /// devices accept no TLS link. May be repeated
    #[arg(long, value_name = "PIN")]
    broker_key: Vec<SpkiPin>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    ledger: LedgerArg,
    #[command(flatten)]
    session: SessionArgs,
}

/// Flags of a connection that mean nothing here.
fn hide_unused(arg: clap::Arg) -> clap::Arg {
    let unused = ["will_topic", "will_payload", "will_qos", "will_retain", "policy", "qos"];
    let hidden = unused.contains(&arg.get_id().as_str());
    arg.hide(hidden)
}

impl Args {
    pub(super) fn run(&self) -> Result<(), Fault> {
        session::run(self.serve())
    }

    async fn serve(&self) -> Result<(), Fault> {
        let (ledger, _) = self.ledger.open_with(self.session.keys())?;
        let policy = authority::policy(ledger.settings());
        let policy = policy.map_err(|error| Fault::told(&error, "choose another prefix"))?;
        let pins: Vec<SpkiHash> = self.broker_key.iter().map(|pin| pin.to_bytes()).collect();
        let setup = Setup::new(&ledger, &self.session.keys().keys, pins.clone());
        let mut setup = setup.map_err(|error| failed(&error))?;
        let own = [self.session.broker()];
        let brokers = if self.broker.is_empty() { &own[..] } else { &self.broker };
        for broker in brokers {
            setup = setup.vouch(named(broker)?, pins.clone());
        }
        let (client, events) = self.session.start_sealed(policy)?;
        match client {
            Client::V4(client) => self.drive(setup, client, events).await,
            Client::V5(client) => self.drive(setup, client, events).await,
        }
    }

    async fn drive<V>(
        &self,
        setup: Setup,
        client: AsyncClient<V>,
        events: EventLoop,
    ) -> Result<(), Fault> {
        let mut authority = setup.start(client, events).await.map_err(|error| failed(&error))?;
        let end = end();
        tokio::pin!(end);
        loop {
            let event = tokio::select! {
                event = authority.next() => event.map_err(|error| failed(&error))?,
                ended = &mut end => {
                    ended?;
                    break;
                }
            };
            if self.json {
                show::json(&json_of(&event))?;
            } else {
                show::line(&show::printable(&event.to_string()))?;
            }
        }
        // what is not stored is said again by the devices
        let _ = tokio::time::timeout(FAREWELL, authority.stop()).await;
        Ok(())
    }
}

/// A name that devices ask for: theirs always have a port.
fn named(broker: &str) -> Result<BrokerName<'_>, Fault> {
    let name = BrokerName::parse(broker);
    let name = name.map_err(|error| Fault::usage(error.to_string(), "correct --broker"))?;
    match broker.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => Ok(name),
        _ => {
            let what = format!("{broker} names no port, as the brokers of devices do");
            Err(Fault::usage(what, format!("write --broker {broker}:1883, or the port it has")))
        }
    }
}

/// Returns when the user or the system asks for the end.
async fn end() -> Result<(), Fault> {
    let failed = |error: std::io::Error| {
        let what = format!("signals cannot be received, {}", error.kind());
        Fault::new(what, "start it another way")
    };
    #[cfg(unix)]
    {
        let mut term =
            signal::unix::signal(signal::unix::SignalKind::terminate()).map_err(failed)?;
        tokio::select! {
            asked = signal::ctrl_c() => asked.map_err(failed),
            _ = term.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    signal::ctrl_c().await.map_err(failed)
}

fn failed(error: &AuthorityError) -> Fault {
    Fault::told(error, "start it again")
}

fn json_of(event: &Event) -> Value {
    let update = |name, device: &str, serial: u64| json!({ "event": name, "device": device, "serial": serial });
    match event {
        Event::Connected => json!({ "event": "connected" }),
        Event::Answered { device, broker, .. } => {
            json!({ "event": "answered", "device": device, "broker": broker })
        }
        Event::OtherBroker { device, broker, .. } => {
            json!({ "event": "other-broker", "device": device, "broker": broker })
        }
        Event::Seen { device, broker, .. } => {
            json!({ "event": "seen", "device": device, "broker": broker })
        }
        Event::Updated { device, serial, .. } => update("updated", device, *serial),
        Event::Acknowledged { device, serial, .. } => update("acknowledged", device, *serial),
        Event::Ahead { device, serial, .. } => update("ahead", device, *serial),
        Event::UpdatesAhead { seconds, .. } => {
            json!({ "event": "updates-ahead", "seconds": seconds })
        }
        Event::Unfit { device, reason, .. } => {
            json!({ "event": "unfit", "device": device, "reason": reason.to_string() })
        }
        Event::Stepped { step, .. } => step_json(step),
        Event::Ignored { count, .. } => json!({ "event": "ignored", "count": count }),
        Event::Settled => json!({ "event": "settled" }),
        other => json!({ "event": "trouble", "text": other.to_string() }),
    }
}

fn step_json(step: &Step) -> Value {
    match step {
        Step::Activate { generation, missing, .. } => {
            json!({ "event": "activated", "generation": generation, "missing": missing })
        }
        Step::Erase { generation, .. } => json!({ "event": "erased", "generation": generation }),
        _ => json!({ "event": "drawn" }),
    }
}
