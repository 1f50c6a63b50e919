//! An authority for two devices, on the plain listener of a broker: a loop over `peer::Authority`
//! and `update::Publisher`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use mqtt_seal::peer::{Action, Authority, BrokerName, Enrolled, PeerId, PeerKey, Record, SpkiHash};
use mqtt_seal::rumqttc_v4::PeerAuth;
use mqtt_seal::secret::SharedKey;
use mqtt_seal::topic::TopicName;
use mqtt_seal::update::{Publisher, Snapshot, Topics};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use tokio::task::JoinHandle;

use super::wait_until;

const REQUEST: &str = "auth/req";
/// Each with the byte that its pairwise key repeats.
const DEVICES: [(&str, u8); 2] = [("device-7", 9), ("device-8", 8)];

pub(crate) const REALM: &str = "test";
/// Of the topics of key updates.
pub(crate) const PREFIX: &str = "acme";

/// The end of `device-7`.
pub(crate) fn device() -> PeerAuth {
    device_named("device-7")
}

pub(crate) fn device_named(name: &str) -> PeerAuth {
    let response = response(name);
    let key = PeerKey::pairwise(&pairwise(name), REALM).unwrap();
    PeerAuth::new(key, id(name), id("authority"), topic(REQUEST), topic(&response))
}

/// What a device shares with the authority and nobody else.
pub(crate) fn pairwise(name: &str) -> SharedKey {
    let byte = DEVICES.iter().find_map(|(own, byte)| (*own == name).then_some(*byte));
    SharedKey::take(&mut [byte.unwrap(); 32])
}

/// A running authority; dropping it stops it.
pub(crate) struct AuthorityLoop {
    task: JoinHandle<()>,
    client: AsyncClient,
    state: Arc<Mutex<State>>,
}

struct State {
    accepted: usize,
    devices: BTreeMap<&'static str, Enrolment>,
}

struct Enrolment {
    key: PeerKey,
    response: String,
    /// What is attested.
    serial: u64,
    publisher: Publisher,
    /// The serials that were acknowledged.
    acknowledged: Vec<u64>,
}

impl Enrolment {
    fn new(name: &str) -> Self {
        let key = pairwise(name);
        let topics = Topics::new(PREFIX, id(name)).unwrap();
        Self {
            key: PeerKey::pairwise(&key, REALM).unwrap(),
            response: response(name),
            serial: 0,
            publisher: Publisher::new(&key, REALM, id(name), topics).unwrap(),
            acknowledged: Vec::new(),
        }
    }
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
        for filter in [REQUEST, &format!("{PREFIX}/keys/+/ack")] {
            client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
            while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
        }
        let devices = DEVICES.map(|(name, _)| (name, Enrolment::new(name)));
        let state = Arc::new(Mutex::new(State { accepted: 0, devices: devices.into() }));
        let (shared, answers) = (Arc::clone(&state), client.clone());
        let task = tokio::spawn(async move {
            // with the broker the authority ends
            while let Ok(event) = events.poll().await {
                let Event::Incoming(Packet::Publish(publish)) = event else { continue };
                let answer = shared.lock().unwrap().take(&mut authority, &publish);
                if let Some((topic, answer)) = answer {
                    answers.publish(topic, QoS::AtMostOnce, false, answer).await.unwrap();
                }
            }
        });
        Self { task, client, state }
    }

    /// Runs that were completed.
    pub(crate) fn accepted(&self) -> usize {
        self.state.lock().unwrap().accepted
    }

    /// Says from now on that this is the newest serial of a device.
    pub(crate) fn attest(&self, name: &str, serial: u64) {
        self.state.lock().unwrap().devices.get_mut(name).unwrap().serial = serial;
    }

    /// Seals an update, which is not published.
    pub(crate) fn seal(&self, name: &str, snapshot: &Snapshot) -> Vec<u8> {
        let mut state = self.state.lock().unwrap();
        let publisher = &mut state.devices.get_mut(name).unwrap().publisher;
        let mut out = Vec::new();
        publisher.publish(snapshot, now(), &mut getrandom::SysRng, &[], &mut out).unwrap();
        out
    }

    /// Retains an update at the broker, and attests it.
    pub(crate) async fn publish(&self, name: &str, snapshot: &Snapshot) {
        self.attest(name, snapshot.serial());
        let (topic, sealed) = (keys_topic(name), self.seal(name, snapshot));
        self.client.publish(topic, QoS::AtLeastOnce, true, sealed).await.unwrap();
    }

    /// The serials that a device has acknowledged.
    pub(crate) fn acknowledged(&self, name: &str) -> Vec<u64> {
        self.state.lock().unwrap().devices.get(name).unwrap().acknowledged.clone()
    }

    /// Blocks until a device has acknowledged `serial`.
    pub(crate) fn wait_for_ack(&self, name: &str, serial: u64) {
        let acknowledged = || self.acknowledged(name);
        wait_until(
            "an acknowledgement",
            || format!("{:?}", acknowledged()),
            || acknowledged().contains(&serial),
        );
    }
}

impl Drop for AuthorityLoop {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    /// What to answer to a challenge, and where; nothing to the rest. What is wrong fails the test.
    fn take(
        &mut self,
        authority: &mut Authority,
        publish: &rumqttc::Publish,
    ) -> Option<(String, Vec<u8>)> {
        if publish.topic == REQUEST {
            return self.answer(authority, &publish.payload);
        }
        let name = publish.topic.split('/').nth(2).unwrap();
        let device = self.devices.get_mut(name).unwrap();
        let serial = device.publisher.acknowledged(&publish.topic, &publish.payload).unwrap();
        device.acknowledged.push(serial);
        None
    }

    fn answer(&mut self, authority: &mut Authority, bytes: &[u8]) -> Option<(String, Vec<u8>)> {
        let devices = &self.devices;
        let ledger = |id: &str| {
            let Enrolment { key, response, serial, .. } = devices.get(id)?;
            Some(Enrolled { key, response: topic(response), serial: *serial })
        };
        let record = Record { topic: REQUEST, bytes, now: now() };
        let mut out = Vec::new();
        let action = authority.receive(&record, ledger, &mut getrandom::SysRng, &[], &mut out);
        if let Action::Answer { topic, .. } = action.unwrap() {
            return Some((topic.as_str().into(), out));
        }
        self.accepted += 1;
        None
    }
}

pub(crate) fn keys_topic(name: &str) -> String {
    format!("{PREFIX}/keys/{name}")
}

fn response(name: &str) -> String {
    format!("auth/{name}/res")
}

pub(crate) fn id(text: &str) -> PeerId<'_> {
    PeerId::parse(text).unwrap()
}

fn topic(text: &str) -> TopicName<'_> {
    TopicName::parse(text).unwrap()
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}
