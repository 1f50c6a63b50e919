//! Subscribers whose session the broker keeps, against a real Mosquitto.
#![cfg(all(feature = "rumqttc", feature = "tls", feature = "store"))]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::Path;

use mqtt_seal::guard::{Guard, Outgoing, Prefer, QoS};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::policy::{Links, Policy, Rule, Transport};
use mqtt_seal::replay::Verdict;
use mqtt_seal::rumqttc_v4::{self, ClientError, ConfigError, Event, EventLoop, Message};
use mqtt_seal::rumqttc_v5;
use mqtt_seal::secret::SharedKey;
use mqtt_seal::store::replay_file::ReplayFile;
use rumqttc::MqttOptions;
use rumqttc::v5::MqttOptions as MqttOptionsV5;
use support::DEADLINE;
use support::certs::Certs;
use support::mosquitto::{Mosquitto, Setup};

const ID: &str = "keeper";

fn guard(links: Links) -> Guard {
    let policy = Policy::new(vec![Rule::sealed(["#"]).transport(Transport::Any).build().unwrap()]);
    let shared = SharedKey::take(&mut [7; 32]);
    let keyring = Keyring::new(vec![Grant::shared(&shared, "test").unwrap()]);
    Guard::new(policy, keyring, links).unwrap()
}

/// Publishes what `sealer` makes of these payloads, as one sender.
struct Sender(mqtt_seal::GuardTx);

impl Sender {
    fn new() -> Self {
        let (mut tx, _) = guard(Links::Tcp).split();
        tx.connected("sender");
        Self(tx)
    }

    async fn send(&mut self, broker: &Mosquitto, payloads: &[&str]) {
        let options = MqttOptions::new("sender", "localhost", broker.tcp_port());
        let (client, mut events) = rumqttc::AsyncClient::new(options, 10);
        for payload in payloads {
            let message = Outgoing::new("a", payload.as_bytes()).qos(QoS::AtLeastOnce);
            let mut sealed = Vec::new();
            self.0.seal(&message, &mut sealed).unwrap();
            client.try_publish("a", rumqttc::QoS::AtLeastOnce, false, sealed).unwrap();
        }
        let mut left = payloads.len();
        while left > 0 {
            if let rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_)) =
                events.poll().await.unwrap()
            {
                left -= 1;
            }
        }
    }
}

async fn next(events: &mut EventLoop) -> Event {
    tokio::time::timeout(DEADLINE, events.poll()).await.unwrap().unwrap()
}

async fn message(events: &mut EventLoop) -> Message {
    loop {
        match next(events).await {
            Event::Message(message) => return message,
            Event::Rejected { reason, .. } => panic!("rejected: {reason}"),
            _ => {}
        }
    }
}

async fn subscribed(events: &mut EventLoop) -> bool {
    let mut present = false;
    loop {
        match next(events).await {
            Event::LinkUp { session_present, .. } => present = session_present,
            Event::Subscribed { .. } => return present,
            _ => {}
        }
    }
}

macro_rules! versions {
    ($($name:ident: $adapter:ident, $mqtt:ident;)*) => { $(
        mod $name {
            use super::*;

            fn client(broker: &Mosquitto, log: &Path) -> ($adapter::AsyncClient, EventLoop) {
                let mqtt = $mqtt::new(ID, "localhost", broker.tcp_port());
                let log = if log.exists() { ReplayFile::open(log) } else { ReplayFile::create(log) };
                let options = $adapter::ClientOptions::new()
                    .tcp(mqtt)
                    .persistent_subscriber()
                    .replay_log(log.unwrap(), Prefer::NoLoss)
                    .unwrap();
                $adapter::AsyncClient::new(guard(Links::Tcp), options, 10).unwrap()
            }

            async fn end(client: $adapter::AsyncClient, mut events: EventLoop) {
                client.disconnect().await.unwrap();
                while tokio::time::timeout(DEADLINE, events.poll()).await.unwrap().is_some() {}
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn what_came_while_it_was_away_is_delivered_once() {
                let broker = Mosquitto::start(&Setup::new(&Certs::new().good));
                let folder = tempfile::tempdir().unwrap();
                let log = folder.path().join("log");
                let mut sender = Sender::new();

                let (first, mut events) = client(&broker, &log);
                first.subscribe("#", QoS::AtLeastOnce).await.unwrap();
                assert!(!subscribed(&mut events).await);
                sender.send(&broker, &["1", "2"]).await;
                let one = message(&mut events).await;
                assert_eq!(one.payload, b"1");
                first.ack(&one).await.unwrap();
                // the second is delivered and not acknowledged
                assert_eq!(message(&mut events).await.payload, b"2");
                end(first, events).await;

                sender.send(&broker, &["3", "4"]).await;
                let (second, mut events) = client(&broker, &log);
                second.subscribe("#", QoS::AtLeastOnce).await.unwrap();
                for payload in ["2", "3", "4"] {
                    let message = message(&mut events).await;
                    assert_eq!(message.payload, payload.as_bytes());
                    second.ack(&message).await.unwrap();
                }
                end(second, events).await;

                let (third, mut events) = client(&broker, &log);
                third.subscribe("#", QoS::AtLeastOnce).await.unwrap();
                assert!(subscribed(&mut events).await);
                sender.send(&broker, &["5"]).await;
                let last = message(&mut events).await;
                assert_eq!((last.payload.as_slice(), last.delivery.verdict), (&b"5"[..], Some(Verdict::New)));
                end(third, events).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn it_takes_up_its_session_after_a_cut() {
                let certs = Certs::new();
                let setup = Setup { persistence: true, ..Setup::new(&certs.good) };
                let mut broker = Mosquitto::start(&setup);
                let folder = tempfile::tempdir().unwrap();
                let (client, mut events) = client(&broker, &folder.path().join("log"));
                client.subscribe("#", QoS::AtLeastOnce).await.unwrap();
                subscribed(&mut events).await;
                broker.stop();
                broker.restart();
                let mut sender = Sender::new();
                sender.send(&broker, &["1"]).await;
                assert_eq!(message(&mut events).await.payload, b"1");
                end(client, events).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn it_publishes_nothing_and_takes_no_qos_2() {
                let broker = Mosquitto::start(&Setup::new(&Certs::new().good));
                let folder = tempfile::tempdir().unwrap();
                let (client, _events) = client(&broker, &folder.path().join("log"));
                let published = client.publish("a", QoS::AtMostOnce, false, "1").await;
                assert_eq!(published.err(), Some(ClientError::OnlySubscribes));
                assert_eq!(client.try_publish("a", QoS::AtLeastOnce, false, "1").err(), Some(ClientError::OnlySubscribes));
                let subscribed = client.subscribe("a", QoS::ExactlyOnce).await;
                assert_eq!(subscribed, Err(ClientError::SubscriberQoS));
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn two_links_are_refused() {
                let mqtt = |id: &str| $mqtt::new(id, "localhost", 1);
                let tls = mqtt_seal::tls::TlsConfig::builder().ca_file(&Certs::new().ca.pem).build().unwrap();
                let options = $adapter::ClientOptions::new().tcp(mqtt("a")).tls(mqtt("b"), &tls);
                let started = $adapter::AsyncClient::new(guard(Links::Both), options.persistent_subscriber(), 10);
                assert_eq!(started.err(), Some(ConfigError::PersistentSubscriber));
            }
        }
    )* };
}

versions! {
    v4: rumqttc_v4, MqttOptions;
    v5: rumqttc_v5, MqttOptionsV5;
}
