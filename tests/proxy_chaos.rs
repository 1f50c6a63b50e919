//! Messages of `QoS` 1 through the proxy, while it is killed and the broker is stopped, against a
//! real Mosquitto. The client is one that keeps packet IDs, and sends again what is not
//! acknowledged. `MQTT_SEAL_LONG=1` sends ten times as many.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and tells what it counted"
)]

mod support;

use core::hash::{BuildHasher, Hasher};
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::thread::{self, JoinHandle};
use std::time::Instant;
use std::{env, io};

use mqtt_seal::GuardRx;
use mqtt_seal::guard::{Incoming, OpenError};
use mqtt_seal::policy::{Link as Transport, Links};
use mqtt_seal::replay::Rejected;
use rumqttc::{AsyncClient, EventLoop, MqttOptions, Packet};
use support::DEADLINE;
use support::bytes::{DUP, Link, PUBACK, V5, V311, connect, id, publish};
use support::certs::Certs;
use support::mosquitto::{Mosquitto, Setup};
use support::proxy::{POLICY, Proxy, Scene};

/// Messages of the publisher without an acknowledgement.
const WINDOW: usize = 20;
/// Its packet IDs go round: each stands for many messages.
const IDS: usize = 150;
/// Between two faults so many messages arrive, more or less.
const BETWEEN: usize = 80;
const PAUSE: Duration = Duration::from_millis(5);

fn count() -> usize {
    if env::var_os("MQTT_SEAL_LONG").is_some() { 20_000 } else { 2_000 }
}

fn random(below: usize) -> usize {
    let random = RandomState::new().build_hasher().finish();
    usize::try_from(random >> 1).unwrap() % below
}

/// A client that forgets nothing before its acknowledgement.
struct Publisher {
    version: u8,
    address: SocketAddr,
    /// Numbers that are not acknowledged, the oldest first.
    waiting: VecDeque<usize>,
    next: usize,
    acknowledged: usize,
    connections: usize,
}

impl Publisher {
    /// Publishes all numbers; the thread ends with the last acknowledgement, and tells how many
    /// connections that took.
    fn start(version: u8, address: SocketAddr) -> JoinHandle<usize> {
        let waiting = VecDeque::new();
        let mut publisher =
            Self { version, address, waiting, next: 0, acknowledged: 0, connections: 0 };
        thread::spawn(move || {
            let mut since = (Instant::now(), 0);
            while publisher.acknowledged < count() {
                let _ = publisher.session();
                if publisher.acknowledged > since.1 {
                    since = (Instant::now(), publisher.acknowledged);
                }
                assert!(since.0.elapsed() < DEADLINE, "no acknowledgement any more");
                thread::sleep(PAUSE);
            }
            publisher.connections
        })
    }

    /// Serves one connection.
    fn session(&mut self) -> io::Result<()> {
        let mut link = Link::open(self.address)?;
        link.send(&connect(self.version, "publisher", false))?;
        let (first, body) = link.receive()?;
        if first != 0x20 || body[1] != 0 {
            return Ok(());
        }
        self.connections += 1;
        for number in &self.waiting {
            link.send(&self.packet(*number, DUP))?;
        }
        while self.acknowledged < count() {
            while self.waiting.len() < WINDOW && self.next < count() {
                // first on the list: what is half written was sent
                self.waiting.push_back(self.next);
                self.next += 1;
                link.send(&self.packet(self.next - 1, 0))?;
            }
            let (first, body) = link.receive()?;
            if first == PUBACK {
                let at = self.waiting.iter().position(|number| packet_id(*number) == id(&body));
                // one that comes twice belongs to a repetition
                self.acknowledged += at.and_then(|at| self.waiting.remove(at)).map_or(0, |_| 1);
            }
        }
        Ok(())
    }

    fn packet(&self, number: usize, dup: u8) -> Vec<u8> {
        let payload = number.to_string();
        publish(self.version, 2 | dup, "sealed/a", packet_id(number), payload.as_bytes())
    }
}

fn packet_id(number: usize) -> u16 {
    u16::try_from(1 + number % IDS).unwrap()
}

/// A subscriber of the library whose session outlives its connections.
struct Subscriber {
    client: AsyncClient,
    events: EventLoop,
    rx: GuardRx,
    /// Messages that came again as the same bytes, and were not delivered.
    repeated: usize,
}

impl Subscriber {
    async fn start(port: u16, scene: &Scene) -> Self {
        let mut options = MqttOptions::new("reader", "localhost", port);
        options.set_clean_session(false).set_manual_acks(true);
        let (client, events) = AsyncClient::new(options, 10_000);
        let (_, rx) = scene.guard(Links::Tcp).split();
        let mut subscriber = Self { client, events, rx, repeated: 0 };
        while !matches!(soon(subscriber.packet()).await, Some(Packet::SubAck(_))) {}
        subscriber
    }

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
                tokio::time::sleep(PAUSE).await;
                None
            }
        }
    }

    /// The next number that is delivered.
    async fn number(&mut self) -> usize {
        loop {
            let Some(Packet::Publish(message)) = self.packet().await else { continue };
            let incoming = Incoming::new(&message.topic, &message.payload, Transport::Tcp);
            let mut payload = Vec::new();
            let opened = self.rx.open(&incoming, &mut payload);
            let _ = self.client.try_ack(&message);
            match opened {
                Ok(_) => return str::from_utf8(&payload).unwrap().parse().unwrap(),
                // Mosquitto brings up to a thousand again; if one of them was new, it is missed below
                Err(OpenError::Rejected(Rejected::Duplicate | Rejected::TooOld)) => {}
                Err(error) => panic!("{error}"),
            }
            self.repeated += 1;
        }
    }
}

/// Fails where something would never come.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("messages were lost")
}

/// What was done to a run.
#[derive(Default)]
struct Faults {
    made: usize,
    kills: usize,
    stops: usize,
    /// What a receiver saw of it.
    repeated: usize,
}

impl Faults {
    /// Kills the proxy, stops the broker, or both at once.
    fn make(&mut self, proxy: &mut Proxy, broker: &mut Mosquitto) {
        let kind = self.made % 3;
        self.made += 1;
        if kind != 1 {
            proxy.kill();
            self.kills += 1;
        }
        if kind != 0 {
            broker.restart();
            self.stops += 1;
        }
        if kind != 1 {
            proxy.start();
        }
    }
}

/// Sends everything; returns how often each number arrived, and what was done meanwhile.
async fn run(version: u8, store: bool) -> (Vec<usize>, Faults) {
    let certs = Certs::new();
    let lines = &["max_inflight_messages 1000", "autosave_on_changes true"];
    let setup = Setup { persistence: true, lines, ..Setup::new(&certs.good) };
    let mut broker = Mosquitto::start(&setup);
    let scene = Scene::new(POLICY);
    let target = format!("localhost:{}", broker.tcp_port());
    let path = scene.file("store").display().to_string();
    let args = ["--broker", &target, "--store", &path];
    let mut proxy = scene.proxy(if store { &args } else { &args[..2] });
    let mut reader = Subscriber::start(broker.tcp_port(), &scene).await;
    let publisher = Publisher::start(version, proxy.address());
    let (mut arrived, mut different, mut faults) = (vec![0; count()], 0, Faults::default());
    let mut until = BETWEEN;
    while different < count() {
        let number = soon(reader.number()).await;
        arrived[number] += 1;
        different += usize::from(arrived[number] == 1);
        if different >= until {
            tokio::task::block_in_place(|| faults.make(&mut proxy, &mut broker));
            until = different + 1 + random(2 * BETWEEN);
        }
    }
    let connections = tokio::task::block_in_place(|| publisher.join().unwrap());
    faults.repeated = reader.repeated;
    assert!(faults.kills > 1 && faults.stops > 1 && connections > 3, "{connections}");
    (arrived, faults)
}

/// What arrived more than once.
fn twice(arrived: &[usize]) -> usize {
    arrived.iter().map(|times| times - 1).sum()
}

fn tell(version: u8, what: &str, arrived: &[usize], faults: &Faults) {
    let Faults { kills, stops, repeated, .. } = faults;
    let (count, twice) = (count(), twice(arrived));
    println!(
        "level {version}, {what}: {count} sent, {kills} kills, {stops} stops; 0 lost, {twice} \
         twice, {repeated} repeated as they were"
    );
}

async fn stored(version: u8) {
    let (arrived, faults) = run(version, true).await;
    tell(version, "with a store", &arrived, &faults);
    let more: Vec<_> = (0..).zip(&arrived).filter(|(_, times)| **times > 1).collect();
    assert_eq!(more, [], "(number, times)");
}

async fn not_stored(version: u8) {
    let (arrived, faults) = run(version, false).await;
    tell(version, "without a store", &arrived, &faults);
    assert!(twice(&arrived) <= faults.kills * WINDOW);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_proxy_with_a_store_loses_and_repeats_nothing_of_mqtt_3() {
    stored(V311).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_proxy_with_a_store_loses_and_repeats_nothing_of_mqtt_5() {
    stored(V5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_proxy_without_a_store_repeats_at_most_what_was_on_its_way() {
    not_stored(V311).await;
}
