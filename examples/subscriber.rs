//! Prints what arrives on a filter, and what was refused. Meant to be copied.
//!
//! `cargo run --example subscriber -- keys.toml policy.toml localhost 1883 'sensor/#'`

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::std_instead_of_core,
    clippy::arithmetic_side_effects,
    reason = "an example with std"
)]

use std::error::Error;

use mqtt_seal::guard::Guard;
use mqtt_seal::policy::Links;
use mqtt_seal::rumqttc_v4::{AsyncClient, ClientOptions, Event, QoS};
use mqtt_seal::store::{key_file, policy_file};
use rumqttc::MqttOptions;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [keys, policy, host, port, filter] = args.as_slice() else {
        return Err("usage: subscriber KEYS POLICY HOST PORT FILTER".into());
    };

    let guard = Guard::new(policy_file::read(policy)?, key_file::read(keys)?, Links::Tcp)?;
    let mqtt = MqttOptions::new("reader-1", host, port.parse()?);
    let (client, mut events) = AsyncClient::new(guard, ClientOptions::new().tcp(mqtt), 100)?;
    client.subscribe(filter, QoS::AtLeastOnce).await?;

    while let Some(event) = events.poll().await {
        match event {
            Event::Message(message) => {
                let text = String::from_utf8_lossy(&message.payload);
                println!("{}: {text} ({:?})", message.topic, message.delivery.protection);
                // only now may the broker forget it
                client.ack(&message).await?;
            }
            // forged, repeated, in clear, under an unknown key: the bytes are never shown
            Event::Rejected { topic, link, reason, .. } => {
                eprintln!("{topic} over {link} rejected: {reason}");
            }
            Event::LinkDown { link, error, .. } => eprintln!("{link} link down: {error}"),
            _ => {}
        }
    }
    Ok(())
}
