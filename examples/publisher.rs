//! Publishes a reading every second, protected as the policy says. Meant to be copied.
//!
//! `cargo run --example publisher -- keys.toml policy.toml localhost 1883`

#![allow(clippy::print_stdout, clippy::std_instead_of_core, reason = "an example with std")]

use std::error::Error;
use std::time::Duration;

use mqtt_seal::guard::Guard;
use mqtt_seal::policy::Links;
use mqtt_seal::rumqttc_v4::{AsyncClient, ClientOptions, QoS};
use mqtt_seal::store::{key_file, policy_file};
use rumqttc::MqttOptions;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [keys, policy, host, port] = args.as_slice() else {
        return Err("usage: publisher KEYS POLICY HOST PORT".into());
    };

    // the key file opens topics, the policy says which are sealed and how they travel
    let guard = Guard::new(policy_file::read(policy)?, key_file::read(keys)?, Links::Tcp)?;
    let mqtt = MqttOptions::new("sensor-7", host, port.parse()?);
    let (client, mut events) = AsyncClient::new(guard, ClientOptions::new().tcp(mqtt), 100)?;

    // what goes wrong on the way is told here; the client connects again by itself
    tokio::spawn(async move {
        while let Some(event) = events.poll().await {
            println!("{event:?}");
        }
    });

    for reading in 20.. {
        let payload = reading.to_string();
        client.publish("sensor/temp", QoS::AtLeastOnce, false, payload).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}
