//! The classic sensor in all four cells {clear, sealed} × {tcp, tls}.
//!
//! `cargo run --release --example sensor` brings its own broker. Against another one:
//! `cargo run --release --example sensor -- --tcp localhost:1883 --tls localhost:8883 --ca ca.pem`
//! With `--protocol v5` the clients speak MQTT 5.

#![allow(
    dead_code,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::std_instead_of_core,
    clippy::arithmetic_side_effects,
    reason = "an example with std, and the command demo of the tool, which has another main"
)]

mod args;
mod broker;
mod cell;
mod protocol;
mod witness;

use std::error::Error;
use std::process::ExitCode;

use mqtt_seal::client::EventLoop;
use mqtt_seal::guard::Guard;
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::policy::{Links, Policy, Rule, Transport};
use mqtt_seal::secret::SharedKey;
use mqtt_seal::tls::TlsConfig;
use mqtt_seal::{rumqttc_v4, rumqttc_v5};

use args::{Address, Args};
use cell::Cell;
use protocol::{Protocol, Version};
use witness::Witness;

/// Where the broker is and how its certificate is checked.
struct Broker {
    tcp: Address,
    tls: Address,
    config: TlsConfig,
    /// Keeps the broker of our own and its files alive.
    _own: Option<broker::EmbeddedBroker>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match start(std::env::args().skip(1)).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sensor: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what the arguments say; `true` if nothing is missing.
pub(crate) async fn start(args: impl Iterator<Item = String>) -> Result<bool, Box<dyn Error>> {
    let args = Args::parse(args)?;
    let broker = connect_to(&args).await?;
    match args.protocol {
        Version::V4 => run::<rumqttc_v4::V4>(&broker, args.count).await,
        Version::V5 => run::<rumqttc_v5::V5>(&broker, args.count).await,
    }
}

/// Runs the four cells; `true` if nothing is missing.
async fn run<P: Protocol>(broker: &Broker, count: usize) -> Result<bool, Box<dyn Error>> {
    let mut witness = Witness::start(&broker.tcp).await?;
    let (publisher, publisher_events) = P::client("publisher", guard()?, broker)?;
    let (subscriber, mut events) = P::client("subscriber", guard()?, broker)?;
    tokio::spawn(drain(publisher_events));

    println!(
        "{:<12} {:>20}  {:<46} {:>6} {:>9}",
        "cell", "delivered/verified", "first payload as the broker saw it", "growth", "time"
    );
    let mut complete = true;
    for cell in Cell::ALL {
        let outcome = cell.run(&publisher, &subscriber, &mut events, count).await?;
        let seen = witness.first(cell.topic()).await?;
        println!(
            "{:<12} {:>20}  {:<46} {:>+4} B {:>7.3} s",
            cell.name(),
            format!("{}/{}", outcome.delivered, outcome.verified),
            hex(&seen, 20),
            seen.len().abs_diff(cell::PAYLOAD.len()),
            outcome.time.as_secs_f64(),
        );
        complete &= outcome.verified == count && outcome.delivered == count;
        complete &= cell.looks_right(&seen);
    }
    publisher.disconnect().await?;
    subscriber.disconnect().await?;
    if !complete {
        eprintln!("sensor: something is missing or was not protected as its rule says");
    }
    Ok(complete)
}

async fn connect_to(args: &Args) -> Result<Broker, Box<dyn Error>> {
    let Some((tcp, tls, ca)) = args.broker.clone() else {
        let own = broker::start().await?;
        let config = TlsConfig::builder().ca_file(&own.ca_file).build()?;
        let address = |port| Address { host: "localhost".into(), port };
        let (tcp, tls) = (address(own.tcp.port()), address(own.tls.port()));
        return Ok(Broker { tcp, tls, config, _own: Some(own) });
    };
    let config = TlsConfig::builder().ca_file(ca).build()?;
    Ok(Broker { tcp, tls, config, _own: None })
}

/// The policy is the same at both ends; so is the key, which a real deployment reads from a file
/// (`mqtt_seal::store::key_file`).
fn guard() -> Result<Guard, Box<dyn Error>> {
    let rule = |cell: Cell| {
        let topics = [cell.topic()];
        let rule = if cell.sealed() { Rule::sealed(topics) } else { Rule::clear(topics) };
        rule.transport(if cell.tls() { Transport::Tls } else { Transport::Tcp }).build()
    };
    let policy = Policy::new(Cell::ALL.into_iter().map(rule).collect::<Result<_, _>>()?);
    let shared = SharedKey::take(&mut b"32 bytes for an example, no more".to_owned());
    let keyring = Keyring::new(vec![Grant::shared(&shared, "example")?]);
    Ok(Guard::new(policy, keyring, Links::Both)?)
}

/// The publisher has nothing to receive; what goes wrong is still told.
async fn drain(mut events: EventLoop) {
    while let Some(event) = events.poll().await {
        cell::report(&event);
    }
}

/// At most `most` bytes in hexadecimal.
fn hex(bytes: &[u8], most: usize) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('?');
    let shown = bytes.iter().take(most);
    let mut text: String = shown.flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
    if bytes.len() > most {
        text.push('…');
    }
    text
}
