//! An authority for one device, on the plain listener of a broker: a loop over `peer::Authority`.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use mqtt_seal::peer::{Action, Authority, BrokerName, Enrolled, PeerId, PeerKey, Record, SpkiHash};
use mqtt_seal::rumqttc_v4::PeerAuth;
use mqtt_seal::secret::SharedKey;
use mqtt_seal::topic::TopicName;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use tokio::task::JoinHandle;

const REQUEST: &str = "auth/req";
const RESPONSE: &str = "auth/device-7/res";

/// The device's end.
pub(crate) fn device() -> PeerAuth {
    let (request, response) = (topic(REQUEST), topic(RESPONSE));
    PeerAuth::new(key(), id("device-7"), id("authority"), request, response)
}

/// A running authority; dropping it stops it.
pub(crate) struct AuthorityLoop {
    task: JoinHandle<()>,
    accepted: Arc<Mutex<usize>>,
}

impl AuthorityLoop {
    /// Returns when it listens; it vouches for `localhost` at these ports with these keys.
    pub(crate) async fn start(tcp_port: u16, brokers: &[(u16, &[SpkiHash])]) -> Self {
        let mut authority = Authority::new(id("authority"), topic(REQUEST), now());
        for (port, pins) in brokers {
            let name = format!("localhost:{port}");
            authority.vouch(BrokerName::parse(&name).unwrap(), pins.to_vec());
        }
        let options = MqttOptions::new("authority", "localhost", tcp_port);
        let (client, mut events) = AsyncClient::new(options, 100);
        client.subscribe(REQUEST, QoS::AtLeastOnce).await.unwrap();
        while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
        let accepted = Arc::<Mutex<usize>>::default();
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            // with the broker the authority ends
            while let Ok(event) = events.poll().await {
                if let Event::Incoming(Packet::Publish(publish)) = event {
                    let answer = answer(&mut authority, &publish.payload);
                    *count.lock().unwrap() += usize::from(answer.is_none());
                    if let Some(answer) = answer {
                        client.publish(RESPONSE, QoS::AtMostOnce, false, answer).await.unwrap();
                    }
                }
            }
        });
        Self { task, accepted }
    }

    /// Runs that were completed.
    pub(crate) fn accepted(&self) -> usize {
        *self.accepted.lock().unwrap()
    }
}

impl Drop for AuthorityLoop {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The answer to a challenge; `None` for a confirmation. Everything else fails the test.
fn answer(authority: &mut Authority, bytes: &[u8]) -> Option<Vec<u8>> {
    let key = key();
    let enrolled = || Enrolled { key: &key, response: topic(RESPONSE), serial: 1 };
    let ledger = |id: &str| (id == "device-7").then(enrolled);
    let record = Record { topic: REQUEST, bytes, now: now() };
    let mut out = Vec::new();
    let action = authority.receive(&record, ledger, &mut getrandom::SysRng, &[], &mut out);
    matches!(action.unwrap(), Action::Answer { .. }).then_some(out)
}

fn key() -> PeerKey {
    PeerKey::pairwise(&SharedKey::take(&mut [9; 32]), "test").unwrap()
}

fn id(text: &str) -> PeerId<'_> {
    PeerId::parse(text).unwrap()
}

fn topic(text: &str) -> TopicName<'_> {
    TopicName::parse(text).unwrap()
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}
