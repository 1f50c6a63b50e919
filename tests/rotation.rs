//! Keys that change while clients talk over a real Mosquitto.
#![cfg(all(unix, feature = "rumqttc", feature = "tls"))]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeSet;

use mqtt_seal::client::ReloadError;
use mqtt_seal::guard::Guard;
use mqtt_seal::keyring::{Grant, Keyring, State};
use mqtt_seal::policy::{Links, Policy, Replay, Rule, Transport};
use mqtt_seal::rumqttc_v4::{AsyncClient, ClientOptions, Event, EventLoop, LinkError, QoS};
use mqtt_seal::secret::SharedKey;
use rumqttc::{LastWill, MqttOptions};
use support::DEADLINE;
use support::certs::Certs;
use support::mosquitto::{Mosquitto, Setup};

/// Messages that each client sends in each state.
const MESSAGES: usize = 50;

fn policy() -> Policy {
    let sealed = |filter| Rule::sealed([filter]).transport(Transport::Tcp);
    let state = sealed("state/#").replay(Replay::Latest).timestamp(true);
    Policy::new(vec![sealed("a/#").build().unwrap(), state.build().unwrap()])
}

/// The keys after so many steps of a rotation.
fn step(number: usize) -> Keyring {
    let grant = |number: u8, state| {
        let grant = Grant::shared(&SharedKey::take(&mut [number; 32]), "test").unwrap();
        grant.with_generation(number.into()).with_state(state)
    };
    let retiring = State::Retiring { not_after: None };
    Keyring::new(match number {
        0 => vec![grant(1, State::Active)],
        1 => vec![grant(1, State::Active), grant(2, State::Pending)],
        2 => vec![grant(1, retiring), grant(2, State::Active)],
        _ => vec![grant(2, State::Active)],
    })
}

struct End {
    client: AsyncClient,
    events: EventLoop,
    topic: String,
    sent: usize,
}

impl End {
    async fn start(id: &str, port: u16, change: impl FnOnce(&mut MqttOptions)) -> Self {
        let mut mqtt = MqttOptions::new(id, "localhost", port);
        change(&mut mqtt);
        Self::start_with(mqtt, id, 0).await
    }

    /// With the keys after so many steps.
    async fn start_with(mqtt: MqttOptions, id: &str, number: usize) -> Self {
        let options = ClientOptions::new().tcp(mqtt).auto_ack(true).republish_retained(1_000);
        let guard = Guard::new(policy(), step(number), Links::Tcp).unwrap();
        let (client, mut events) = AsyncClient::new(guard, options, 1_000).unwrap();
        client.subscribe("a/#", QoS::AtLeastOnce).await.unwrap();
        let subscribed = |event: &_| matches!(event, Event::Subscribed { .. });
        while !subscribed(&next(&mut events).await) {}
        Self { client, events, topic: format!("a/{id}"), sent: 0 }
    }

    async fn publish(&mut self) {
        let end = self.sent.saturating_add(MESSAGES);
        for number in self.sent..end {
            let (topic, text) = (self.topic.clone(), number.to_string());
            self.client.publish(topic, QoS::AtLeastOnce, false, text).await.unwrap();
        }
        self.sent = end;
    }

    /// Waits until all messages of `from` came, each once.
    async fn receive(&mut self, from: &Self, seen: &mut BTreeSet<String>) {
        while seen.len() < from.sent {
            match next(&mut self.events).await {
                Event::Message(message) if message.topic == from.topic => {
                    assert!(seen.insert(String::from_utf8(message.payload).unwrap()));
                }
                Event::Rejected { reason, .. } => panic!("{reason}"),
                _ => {}
            }
        }
    }
}

async fn next(events: &mut EventLoop) -> Event {
    let event = tokio::time::timeout(DEADLINE, events.poll()).await;
    event.expect("nothing happened before the deadline").expect("the event loop ended")
}

#[tokio::test]
async fn no_message_is_lost_while_a_key_goes_through_all_its_states() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let port = broker.tcp_port();
    let mut ends = [End::start("1", port, |_| ()).await, End::start("2", port, |_| ()).await];
    let mut seen = [BTreeSet::new(), BTreeSet::new()];
    for number in 1..=3 {
        for at in [0, 1] {
            // one end is ahead, and messages are on their way both ways meanwhile
            let [first, second] = &mut ends;
            first.publish().await;
            second.publish().await;
            let next = if at == 0 { &*first } else { &*second };
            // what is sealed under a key is done with before that is erased
            if number == 3 {
                first.receive(second, &mut seen[0]).await;
                second.receive(first, &mut seen[1]).await;
                let next = if at == 0 { first } else { second };
                next.client.reload(policy(), step(number)).unwrap();
            } else {
                next.client.reload(policy(), step(number)).unwrap();
                first.receive(second, &mut seen[0]).await;
                second.receive(first, &mut seen[1]).await;
            }
        }
    }
    let [first, second] = &mut ends;
    first.publish().await;
    second.receive(first, &mut seen[1]).await;
    assert_eq!(seen[1].len(), 7 * MESSAGES);
}

#[tokio::test]
async fn bad_rules_leave_the_old_in_force_and_traffic_flows() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let mut end = End::start("1", broker.tcp_port(), |_| ()).await;
    let mut other = End::start("2", broker.tcp_port(), |_| ()).await;
    let clear = Rule::clear(["#"]).transport(Transport::Tcp).build().unwrap();
    let refused = end.client.reload(Policy::new(vec![clear]), step(0)).unwrap_err();
    assert!(matches!(refused, ReloadError::StepBack(_)));
    end.publish().await;
    other.receive(&end, &mut BTreeSet::new()).await;
}

#[tokio::test]
async fn will_of_a_key_that_retires_is_replaced_without_being_sent() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let will = LastWill::new("a/will", "gone", rumqttc::QoS::AtLeastOnce, false);
    let mut end = End::start("1", broker.tcp_port(), |mqtt| {
        mqtt.set_last_will(will);
    })
    .await;
    let mut other = End::start("2", broker.tcp_port(), |_| ()).await;
    for number in 1..=3 {
        end.client.reload(policy(), step(number)).unwrap();
        other.client.reload(policy(), step(number)).unwrap();
        if number == 2 {
            let left =
                |event: &_| matches!(event, Event::LinkDown { error: LinkError::Reloaded, .. });
            while !left(&next(&mut end.events).await) {}
            while !matches!(next(&mut end.events).await, Event::LinkUp { .. }) {}
        }
    }
    // the key of the first will is erased: only the second can be opened
    drop(end);
    loop {
        match next(&mut other.events).await {
            Event::Message(message) => {
                assert!(message.is_will() && message.payload == b"gone");
                break;
            }
            Event::Rejected { reason, .. } => panic!("{reason}"),
            _ => {}
        }
    }
    assert_eq!(broker.log().matches("Received PUBLISH").count(), 0);
    assert_eq!(broker.log().matches("Sending PUBLISH to 2").count(), 1);
}

#[tokio::test]
async fn retained_value_outlives_the_key_that_it_was_sealed_under() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let end = End::start("1", broker.tcp_port(), |_| ()).await;
    value_outlives_its_key(&broker, end, QoS::AtLeastOnce).await;
}

/// The will costs the connection, and what is to go out over it at `QoS` 0.
#[tokio::test]
async fn retained_value_of_qos_0_outlives_its_key_beside_a_will() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let will = LastWill::new("state/will", "gone", rumqttc::QoS::AtLeastOnce, true);
    let change = |mqtt: &mut MqttOptions| {
        mqtt.set_last_will(will);
    };
    let end = End::start("1", broker.tcp_port(), change).await;
    value_outlives_its_key(&broker, end, QoS::AtMostOnce).await;
}

async fn value_outlives_its_key(broker: &Mosquitto, mut end: End, qos: QoS) {
    let published = end.client.publish("state/1", qos, true, "27".as_bytes()).await.unwrap();
    tokio::spawn(async move { while end.events.poll().await.is_some() {} });
    published.await.unwrap();
    for number in 1..=3 {
        end.client.reload(policy(), step(number)).unwrap();
        // when this has arrived, so has what went before
        let behind = end.client.publish("a/1", QoS::AtLeastOnce, false, "28".as_bytes()).await;
        behind.unwrap().await.unwrap();
    }
    let late = MqttOptions::new("2", "localhost", broker.tcp_port());
    let mut late = End::start_with(late, "2", 3).await;
    late.client.subscribe("state/#", QoS::AtLeastOnce).await.unwrap();
    loop {
        match next(&mut late.events).await {
            Event::Message(message) => {
                assert_eq!((message.payload.as_slice(), message.retain), (&b"27"[..], true));
                break;
            }
            Event::Rejected { reason, .. } => panic!("{reason}"),
            _ => {}
        }
    }
}
