//! The Guard with an MQTT client that has no adapter: the client moves bytes, the Guard protects
//! them. Any client will do; this one hands messages to a callback.
//!
//! `cargo run --example any_client`

#![allow(clippy::print_stdout, clippy::std_instead_of_core, reason = "an example with std")]

#[allow(dead_code, reason = "this example has a plain link alone")]
#[path = "sensor/broker.rs"]
mod broker;

use std::error::Error;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use mqtt_seal::guard::{Guard, Incoming, Opened, Outgoing, QoS};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::policy::{Link, Links, Policy, Rule, SubscribeError};
use mqtt_seal::secret::SharedKey;
use mqtt_seal::topic::TopicFilter;
use mqtt5::MqttClient;
use tokio::sync::mpsc::unbounded_channel;

const CLIENT_ID: &str = "any-client";

fn guard() -> Result<Guard, Box<dyn Error>> {
    let policy = Policy::new(vec![Rule::sealed(["sensor/#"]).timestamp(true).build()?]);
    let shared = SharedKey::take(&mut b"32 bytes for an example, no more".to_owned());
    let keyring = Keyring::new(vec![Grant::shared(&shared, "example")?]);
    // this client has a plain link alone
    Ok(Guard::new(policy, keyring, Links::Tcp)?)
}

/// The Guard reads no clock: it is told the time.
fn now() -> Option<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    since.as_millis().try_into().ok()
}

/// A filter may be subscribed on one link only, which the policy knows.
fn check_filter(policy: &Policy, filter: &str) -> Result<(), Box<dyn Error>> {
    match policy.subscribe_link(TopicFilter::parse(filter)?, Links::Tcp) {
        Ok(Link::Tcp) => Ok(()),
        Ok(_) => Err(SubscribeError::NeedsTls.into()),
        Err(error) => Err(error.into()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let broker = broker::start().await?;
    let client = MqttClient::new(CLIENT_ID);
    let guard = guard()?;
    check_filter(guard.policy(), "sensor/#")?;
    let (mut tx, rx) = guard.split();

    // 1. at every network connection, before anything is published
    tx.connected(CLIENT_ID);
    client.connect(&format!("mqtt://{}", broker.tcp)).await?;

    // 2. what comes in: open, and deliver only what opened
    let (deliver, mut delivered) = unbounded_channel();
    let rx = Mutex::new(rx);
    client
        .subscribe("sensor/#", move |message| {
            let incoming = Incoming::new(&message.topic, &message.payload, Link::Tcp).at(now());
            let mut payload = Vec::new();
            let Ok(mut rx) = rx.lock() else { return };
            match rx.open(&incoming, &mut payload) {
                Ok(Opened::Delivered(_)) => drop(deliver.send((message.topic.clone(), payload))),
                // without a replay log there are no claims
                Ok(_) => {}
                // the reason, never the bytes
                Err(reason) => println!("{} rejected: {reason}", message.topic),
            }
        })
        .await?;

    // 3. what goes out: seal, and publish what came of it
    let mut sealed = Vec::new();
    let message = Outgoing::new("sensor/temp", b"27").qos(QoS::AtLeastOnce).at(now());
    tx.seal(&message, &mut sealed)?;
    client.publish_qos1("sensor/temp", sealed.clone()).await?;
    // a repetition of the same bytes, and a forgery
    client.publish_qos1("sensor/temp", sealed).await?;
    client.publish_qos1("sensor/temp", "99").await?;

    // 4. a last reading tells that the others are through
    let mut sealed = Vec::new();
    let end = Outgoing::new("sensor/end", b"end").qos(QoS::AtLeastOnce).at(now());
    tx.seal(&end, &mut sealed)?;
    client.publish_qos1("sensor/end", sealed).await?;
    while let Some((topic, payload)) = delivered.recv().await {
        println!("{topic}: {}", String::from_utf8_lossy(&payload));
        if topic == "sensor/end" {
            break;
        }
    }
    client.disconnect().await?;
    Ok(())
}
