//! Guards, brokers and clients of either version of MQTT.

use core::hash::{BuildHasher, Hasher};
use core::time::Duration;
use std::collections::hash_map::RandomState;
use std::env;
use std::path::PathBuf;

use mqtt_seal::client::{AsyncClient, ClientOptions, Event, EventLoop};
use mqtt_seal::guard::{Guard, Prefer, QoS};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::policy::{Links, Policy, Replay, Rule, RuleBuilder, Transport};
use mqtt_seal::secret::SharedKey;
use mqtt_seal::store::outbox_file::OutboxFile;
use mqtt_seal::store::replay_file::ReplayFile;
use mqtt_seal::{rumqttc_v4, rumqttc_v5};

use crate::support::DEADLINE;
use crate::support::certs::Certs;
use crate::support::mosquitto::{Mosquitto, Setup};

/// One in five is of `QoS` 2: 2,000 and 500.
const MESSAGES: usize = 2_500;
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) fn count() -> usize {
    if env::var_os("MQTT_SEAL_LONG").is_some() { 10 * MESSAGES } else { MESSAGES }
}

pub(crate) fn qos(number: usize) -> QoS {
    if number % 5 == 4 { QoS::ExactlyOnce } else { QoS::AtLeastOnce }
}

pub(crate) fn random(below: usize) -> usize {
    let random = RandomState::new().build_hasher().finish();
    usize::try_from(random >> 1).unwrap() % below
}

pub(crate) fn guard() -> Guard {
    let tcp = |rule: RuleBuilder| rule.transport(Transport::Tcp).build().unwrap();
    let fresh = Rule::sealed(["command/#"]).replay(Replay::Fresh).timestamp(true);
    let rules = [Rule::sealed(["sealed/#"]), fresh, Rule::clear(["clear/#"])];
    let shared = SharedKey::take(&mut [7; 32]);
    let keyring = Keyring::new(vec![Grant::shared(&shared, "test").unwrap()]);
    Guard::new(Policy::new(rules.map(tcp).into()), keyring, Links::Tcp).unwrap()
}

/// A broker, and the files that it reads at every start.
pub(crate) fn broker() -> (Certs, Mosquitto) {
    broker_with(&["max_inflight_messages 1000", "autosave_on_changes true"])
}

pub(crate) fn broker_with(lines: &[&str]) -> (Certs, Mosquitto) {
    let certs = Certs::new();
    let setup = Setup { persistence: true, lines, ..Setup::new(&certs.good) };
    let broker = Mosquitto::start(&setup);
    (certs, broker)
}

/// What a client has beside a link.
#[derive(Default)]
pub(crate) struct Extras {
    pub(crate) auto_ack: bool,
    pub(crate) outbox: Option<PathBuf>,
    pub(crate) log: Option<(PathBuf, Prefer)>,
}

impl Extras {
    fn put<M>(self, mut options: ClientOptions<M>) -> ClientOptions<M> {
        options = options.auto_ack(self.auto_ack).reconnect_pause(PAUSE, PAUSE);
        if let Some(path) = self.outbox {
            options = options.durable_outbox(OutboxFile::open(path).unwrap()).unwrap();
        }
        if let Some((path, prefer)) = self.log {
            options = options.replay_log(ReplayFile::open(path).unwrap(), prefer).unwrap();
        }
        options
    }
}

/// A version of MQTT.
pub(crate) trait Version: Sized + 'static {
    const NAME: &str;

    fn client(id: &str, port: u16, extras: Extras) -> (AsyncClient<Self>, EventLoop);
}

impl Version for rumqttc_v4::V4 {
    const NAME: &str = "3.1.1";

    fn client(id: &str, port: u16, extras: Extras) -> (AsyncClient<Self>, EventLoop) {
        let mqtt = rumqttc::MqttOptions::new(id, "localhost", port);
        AsyncClient::<Self>::new(guard(), extras.put(ClientOptions::new().tcp(mqtt)), 100).unwrap()
    }
}

impl Version for rumqttc_v5::V5 {
    const NAME: &str = "5";

    fn client(id: &str, port: u16, extras: Extras) -> (AsyncClient<Self>, EventLoop) {
        let mqtt = rumqttc::v5::MqttOptions::new(id, "localhost", port);
        AsyncClient::<Self>::new(guard(), extras.put(ClientOptions::new().tcp(mqtt)), 100).unwrap()
    }
}

/// A subscriber of the adapter that lives and stays connected.
pub(crate) async fn reader<V: Version>(port: u16) -> (AsyncClient<V>, EventLoop) {
    let (reader, mut events) =
        V::client("reader", port, Extras { auto_ack: true, ..Extras::default() });
    subscribe(&reader, &mut events).await;
    (reader, events)
}

pub(crate) async fn subscribe<V: Version>(client: &AsyncClient<V>, events: &mut EventLoop) {
    client.subscribe("#", QoS::ExactlyOnce).await.unwrap();
    while !matches!(soon(events.poll()).await, Some(Event::Subscribed { .. })) {}
}

/// Fails where something would never come.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("messages were lost")
}

/// Publishes everything on the topics in turn, waits for every acknowledgement and takes leave.
pub(crate) async fn publish<V: Version>(
    (writer, mut events): (AsyncClient<V>, EventLoop),
    topics: &'static [&'static str],
) {
    let told = tokio::spawn(async move { while events.poll().await.is_some() {} });
    let mut tickets = Vec::new();
    for (number, topic) in (0..count()).zip(topics.iter().cycle()) {
        let sent = writer.publish(*topic, qos(number), false, number.to_string());
        tickets.push(sent.await.unwrap());
    }
    for ticket in tickets {
        ticket.await.unwrap();
    }
    writer.disconnect().await.unwrap();
    told.await.unwrap();
}

pub(crate) fn parse(payload: &[u8]) -> usize {
    str::from_utf8(payload).unwrap().parse().unwrap()
}
