//! The publisher's connection is cut at random.

use std::collections::BTreeSet;

use mqtt_seal::client::{Event, EventLoop};
use mqtt_seal::guard::OpenError;
use mqtt_seal::replay::Rejected;
use mqtt_seal::{rumqttc_v4::V4, rumqttc_v5::V5};

use crate::scene::{Extras, Version, broker, count, parse, publish, random, reader, soon};
use crate::support::relay::Relay;

/// Before the first cut so many messages arrive.
const BETWEEN_CUTS: usize = 150;

/// Takes everything in, and cuts the writer off again and again.
async fn arrive_once(relay: &Relay, events: &mut EventLoop) -> usize {
    let mut numbers = BTreeSet::new();
    let (mut until, mut cuts) = (BETWEEN_CUTS, 0);
    while numbers.len() < count() {
        match soon(events.poll()).await.expect("the event loop ended") {
            Event::Message(message) => {
                let number = parse(&message.payload);
                assert!(numbers.insert(number), "{number} twice");
            }
            Event::Rejected { reason, .. } => {
                assert_eq!(reason, OpenError::Rejected(Rejected::Duplicate));
            }
            _ => {}
        }
        if numbers.len() >= until {
            relay.cut().await;
            cuts += 1;
            until = numbers.len() + random(2 * BETWEEN_CUTS);
        }
    }
    cuts
}

async fn cut<V: Version>() {
    let (_certs, broker) = broker();
    let relay = Relay::start(broker.tcp_port()).await;
    let (_reader, mut events) = reader::<V>(broker.tcp_port()).await;
    let writer = V::client("writer", relay.port(), Extras::default());
    let publishing = tokio::spawn(publish(writer, &["sealed/a"]));
    let cuts = arrive_once(&relay, &mut events).await;
    assert!(cuts > 3, "{cuts}");
    soon(publishing).await.unwrap();
    println!("mqtt {}: {} sent, {cuts} cuts, lost/twice 0/0", V::NAME, count());
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_of_mqtt_3_lose_and_repeat_nothing() {
    cut::<V4>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_of_mqtt_5_lose_and_repeat_nothing() {
    cut::<V5>().await;
}
