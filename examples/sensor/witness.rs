//! What the broker sees: a plain subscriber without any key.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::timeout;

use super::args::Address;

/// The first payload of every topic, as the broker passed it on.
pub(crate) struct Witness {
    payloads: Receiver<(String, Vec<u8>)>,
    first: HashMap<String, Vec<u8>>,
}

impl Witness {
    /// Subscribes at the broker and waits until it has agreed.
    pub(crate) async fn start(broker: &Address) -> Result<Self, Box<dyn Error>> {
        let id = format!("mqtt-seal-witness-{}", std::process::id());
        let options = MqttOptions::new(id, &broker.host, broker.port);
        let (client, mut events) = AsyncClient::new(options, 10);
        client.subscribe("sensor/temp/#", QoS::AtMostOnce).await?;
        while !matches!(events.poll().await?, Event::Incoming(Packet::SubAck(_))) {}
        let (sender, payloads) = channel(16);
        tokio::spawn(async move {
            let mut seen = HashSet::new();
            // the client has to live as long as its event loop
            let _client = client;
            while let Ok(event) = events.poll().await {
                if let Event::Incoming(Packet::Publish(publish)) = event
                    && seen.insert(publish.topic.clone())
                    && sender.send((publish.topic, publish.payload.into())).await.is_err()
                {
                    break;
                }
            }
        });
        Ok(Self { payloads, first: HashMap::new() })
    }

    /// The first payload of `topic`.
    pub(crate) async fn first(&mut self, topic: &str) -> Result<Vec<u8>, Box<dyn Error>> {
        while !self.first.contains_key(topic) {
            let seen = timeout(Duration::from_secs(20), self.payloads.recv()).await;
            let (topic, payload) = seen
                .ok()
                .flatten()
                .ok_or_else(|| format!("the broker passed nothing on under {topic}"))?;
            self.first.insert(topic, payload);
        }
        Ok(self.first.remove(topic).unwrap_or_default())
    }
}
