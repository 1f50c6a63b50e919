//! The broker is stopped, or killed, and started again. The adapters begin clean sessions, in which
//! a subscriber misses what comes while the broker is away; so the one here keeps its session by
//! itself, with a Guard beside it.

use core::time::Duration;
use std::collections::BTreeSet;
use std::time::SystemTime;

use mqtt_seal::guard::{Delivery, GuardRx, Incoming, OpenError};
use mqtt_seal::policy::Link;
use mqtt_seal::replay::{Rejected, Verdict};
use mqtt_seal::{rumqttc_v4::V4, rumqttc_v5::V5};
use rumqttc::{AsyncClient, EventLoop, MqttOptions, Packet};

use crate::scene::{Extras, Version, broker, count, guard, parse, publish, random, soon};
use crate::support::mosquitto::Mosquitto;

/// Between two stops so many messages arrive, more or less.
const BETWEEN_STOPS: usize = 400;
/// `max_age` and `max_skew` of a rule, in milliseconds.
const MAX_AGE: u64 = 60_000;

/// A subscriber whose session outlives its connections.
struct Subscriber {
    client: AsyncClient,
    events: EventLoop,
    rx: GuardRx,
}

impl Subscriber {
    async fn start(port: u16) -> Self {
        let mut options = MqttOptions::new("reader", "localhost", port);
        options.set_clean_session(false).set_manual_acks(true);
        let (client, events) = AsyncClient::new(options, 10_000);
        let (_, mut rx) = guard().split();
        rx.started(now());
        let mut subscriber = Self { client, events, rx };
        while !matches!(soon(subscriber.packet()).await, Some(Packet::SubAck(_))) {}
        subscriber
    }

    /// What came in, if anything did before the connection was lost.
    async fn packet(&mut self) -> Option<Packet> {
        match self.events.poll().await {
            Ok(rumqttc::Event::Incoming(packet)) => {
                if matches!(&packet, Packet::ConnAck(ack) if !ack.session_present) {
                    // at QoS 1, for a QoS 2 receiver of rumqttc does not survive a lost PUBREL
                    self.client.try_subscribe("#", rumqttc::QoS::AtLeastOnce).unwrap();
                }
                Some(packet)
            }
            Ok(rumqttc::Event::Outgoing(_)) => None,
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                None
            }
        }
    }

    /// The next message that is delivered.
    async fn message(&mut self) -> (Delivery, Vec<u8>) {
        loop {
            let Some(Packet::Publish(publish)) = self.packet().await else { continue };
            let message =
                Incoming::new(&publish.topic, &publish.payload, Link::Tcp).at(Some(now()));
            let mut payload = Vec::new();
            let opened = self.rx.open(&message, &mut payload);
            let _ = self.client.try_ack(&publish);
            match opened {
                Ok(opened) => return (opened.delivered().unwrap(), payload),
                Err(error) => {
                    assert_eq!(error, OpenError::Rejected(Rejected::Duplicate));
                }
            }
        }
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

async fn stop<V: Version>() {
    let (_certs, mut broker) = broker();
    let mut reader = Subscriber::start(broker.tcp_port()).await;
    let writer = V::client("writer", broker.tcp_port(), Extras::default());
    let publishing = tokio::spawn(publish(writer, &["sealed/a"]));
    let mut numbers = BTreeSet::new();
    let (mut until, mut stops) = (BETWEEN_STOPS, 0);
    while numbers.len() < count() {
        let (_, payload) = soon(reader.message()).await;
        let number = parse(&payload);
        assert!(numbers.insert(number), "{number} twice");
        if numbers.len() >= until {
            tokio::task::block_in_place(|| broker.restart());
            stops += 1;
            until = numbers.len() + 1 + random(2 * BETWEEN_STOPS);
        }
    }
    assert!(stops > 1, "{stops}");
    soon(publishing).await.unwrap();
    println!("mqtt {}: {} sent, {stops} stops, lost/twice 0/0", V::NAME, count());
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_that_is_stopped_loses_and_repeats_nothing_of_mqtt_3() {
    stop::<V4>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_that_is_stopped_loses_and_repeats_nothing_of_mqtt_5() {
    stop::<V5>().await;
}

/// Kills the broker while both kinds of topics are published. What it lost, nobody can say.
async fn kill(broker: &mut Mosquitto, reader: &mut Subscriber) -> (usize, usize, usize) {
    let mut numbers = BTreeSet::new();
    let (mut until, mut kills, mut fresh) = (BETWEEN_STOPS, 0, 0);
    loop {
        let (delivery, payload) = soon(reader.message()).await;
        if payload == END {
            return (numbers.len(), kills, fresh);
        }
        let number = parse(&payload);
        assert!(numbers.insert(number), "{number} twice");
        if delivery.verdict == Some(Verdict::Fresh) {
            let age = now().saturating_sub(delivery.timestamp.unwrap());
            assert!(age <= MAX_AGE, "{number} is {age} ms old");
            fresh += 1;
        }
        if numbers.len() >= until {
            tokio::task::block_in_place(|| {
                broker.kill();
                broker.restart();
            });
            kills += 1;
            until = numbers.len() + 1 + random(2 * BETWEEN_STOPS);
        }
    }
}

const END: &[u8] = b"end";

#[tokio::test(flavor = "multi_thread")]
async fn broker_that_is_killed_brings_nothing_twice_and_nothing_old_as_fresh() {
    let (_certs, mut broker) = broker();
    let port = broker.tcp_port();
    let mut reader = Subscriber::start(port).await;
    let ending = tokio::spawn(async move {
        let writer = V4::client("writer", port, Extras::default());
        publish(writer, &["sealed/a", "command/a"]).await;
        let (last, _events) = V4::client("last", port, Extras::default());
        // the subscriber may just be away
        loop {
            let end = last.publish("clear/end", mqtt_seal::guard::QoS::AtLeastOnce, false, END);
            end.await.unwrap().await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let (arrived, kills, fresh) = kill(&mut broker, &mut reader).await;
    ending.abort();
    assert!(kills > 1 && fresh > 0, "{kills} kills, {fresh} fresh");
    println!("{} sent, {kills} kills: {arrived} arrived, none twice, {fresh} fresh", count());
}
