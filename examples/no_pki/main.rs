//! TLS without any certificate on the client: the authority, which shares a key with the device,
//! vouches for the broker's TLS key (docs/authentication.md). Then the same device meets a broker
//! that passes everything on to the authority and has another key.
//!
//! `cargo run --example no_pki`, or with a broker of yours, of which the authority has to know the
//! certificate: `cargo run --example no_pki -- --tcp 1883 --tls 8883 --cert server.pem`

#![allow(
    clippy::print_stdout,
    clippy::std_instead_of_core,
    clippy::alloc_instead_of_core,
    reason = "an example with std"
)]

mod authority;
#[path = "../sensor/broker.rs"]
mod broker;

use std::error::Error;
use std::path::PathBuf;

use mqtt_seal::client::{Event, EventLoop, PeerAuth};
use mqtt_seal::guard::{Guard, QoS};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::peer::{PeerId, PeerKey};
use mqtt_seal::policy::{Links, Policy, Rule};
use mqtt_seal::rumqttc_v4::{AsyncClient, ClientOptions};
use mqtt_seal::secret::SharedKey;
use mqtt_seal::tls::TlsConfig;
use mqtt_seal::topic::TopicName;
use rumqttc::MqttOptions;

type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: no_pki [--tcp PORT --tls PORT --cert FILE]";
const REQUEST: &str = "auth/req";
const RESPONSE: &str = "auth/sensor-7/res";

/// A broker on this machine.
struct Broker {
    tcp: u16,
    tls: u16,
    _own: Option<broker::EmbeddedBroker>,
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let (genuine, cert) = broker_of(std::env::args().skip(1)).await?;
    let pin = authority::pin(&std::fs::read(cert)?)?;
    let _authority = authority::start(&genuine, pin).await?;
    println!("-- the broker that the authority vouches for, with a certificate of nobody known");
    meet(&genuine).await?;

    let (other, _) = broker_of(core::iter::empty()).await?;
    // the most that a man in the middle can do: every message of the run gets through
    let _reached = authority::start(&other, pin).await?;
    println!("-- another broker, which passes the run on to the authority");
    meet(&other).await
}

/// Connects as the device, and says what becomes of it.
async fn meet(broker: &Broker) -> Outcome<()> {
    let (device, mut events) = connect(broker)?;
    device.subscribe("sensor/#", QoS::AtLeastOnce).await?;
    while let Some(event) = events.poll().await {
        match event {
            Event::Authenticated { peer, rtt, run, .. } => {
                println!("{peer} answered after {rtt:?}: {}", run.proof());
            }
            Event::LinkUp { .. } => println!("the link is up, and the password is out"),
            Event::Subscribed { .. } => {
                device.publish("sensor/temp", QoS::AtLeastOnce, false, "27").await?;
            }
            Event::Message(message) => {
                println!("{} {}", message.topic, String::from_utf8_lossy(&message.payload));
                return leave(&device, events).await;
            }
            Event::PeerRefused { fault, .. } => {
                println!("refused: {fault}");
                println!("nothing of the application went out: no password, topic, payload");
                return Ok(());
            }
            Event::LinkDown { error, .. } => println!("link down: {error}"),
            _ => {}
        }
    }
    Ok(())
}

async fn leave(device: &AsyncClient, mut events: EventLoop) -> Outcome<()> {
    device.disconnect().await?;
    while events.poll().await.is_some() {}
    Ok(())
}

fn connect(broker: &Broker) -> Outcome<(AsyncClient, EventLoop)> {
    let policy = Policy::new(vec![Rule::sealed(["sensor/#"]).build()?]);
    let group = SharedKey::take(&mut b"32 bytes for an example, no more".to_owned());
    let keyring = Keyring::new(vec![Grant::shared(&group, "example")?]);
    let guard = Guard::new(policy, keyring, Links::Tls)?;
    let mut mqtt = MqttOptions::new("sensor-7", "localhost", broker.tls);
    mqtt.set_credentials("sensor-7", "password");
    // no CA, no pin
    let tls = TlsConfig::builder().verify_by_peer_alone().build()?;
    let peer = PeerAuth::new(
        pairwise()?,
        PeerId::parse("sensor-7")?,
        PeerId::parse("authority")?,
        TopicName::parse(REQUEST)?,
        TopicName::parse(RESPONSE)?,
    );
    let options = ClientOptions::new().require_peer_auth(peer).auto_ack(true).tls(mqtt, &tls);
    Ok(AsyncClient::new(guard, options, 10)?)
}

/// What the device and its authority share, and nobody else: in a deployment 32 random bytes.
fn pairwise() -> Outcome<PeerKey> {
    let key = SharedKey::take(&mut b"32 bytes that two ends hold only".to_owned());
    Ok(PeerKey::pairwise(&key, "example")?)
}

/// The broker that the flags name, or one of our own, with its certificate.
async fn broker_of(mut args: impl Iterator<Item = String>) -> Outcome<(Broker, PathBuf)> {
    let (mut tcp, mut tls, mut cert) = (None, None, None);
    while let Some(flag) = args.next() {
        let value = args.next().ok_or(USAGE)?;
        match flag.as_str() {
            "--tcp" => tcp = Some(value.parse()?),
            "--tls" => tls = Some(value.parse()?),
            "--cert" => cert = Some(PathBuf::from(value)),
            _ => return Err(USAGE.into()),
        }
    }
    match (tcp, tls, cert) {
        (Some(tcp), Some(tls), Some(cert)) => Ok((Broker { tcp, tls, _own: None }, cert)),
        (None, None, None) => {
            let own = broker::start().await?;
            let cert = own.ca_file.with_file_name("server.pem");
            Ok((Broker { tcp: own.tcp.port(), tls: own.tls.port(), _own: Some(own) }, cert))
        }
        _ => Err(USAGE.into()),
    }
}
