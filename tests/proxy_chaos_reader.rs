//! Messages of `QoS` 1 from a program of the library to a client behind a proxy that is killed, by a
//! real Mosquitto. The client keeps its session, and acknowledges in the order of delivery.
//! `MQTT_SEAL_LONG=1` sends ten times as many.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and tells what it counted"
)]

mod support;

use core::hash::{BuildHasher, Hasher};
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::hash_map::RandomState;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::{env, io};

use mqtt_seal::client::{AsyncClient, ClientOptions};
use mqtt_seal::guard::QoS;
use mqtt_seal::policy::Links;
use mqtt_seal::rumqttc_v4::V4;
use support::DEADLINE;
use support::bytes::{
    CONNACK, DUP, Link, PUBACK, V5, V311, acknowledge, connect, packet, read_publish, text,
};
use support::certs::Certs;
use support::mosquitto::{Mosquitto, Setup};
use support::proxy::{POLICY, Proxy, Scene};

/// The client leaves at most so many messages without an acknowledgement while more come.
const LATE: usize = 8;
/// Between two kills so many messages arrive, more or less.
const BETWEEN: usize = 150;
const PAUSE: Duration = Duration::from_millis(5);

fn count() -> usize {
    if env::var_os("MQTT_SEAL_LONG").is_some() { 20_000 } else { 2_000 }
}

fn random(below: usize) -> usize {
    let random = RandomState::new().build_hasher().finish();
    usize::try_from(random >> 1).unwrap() % below
}

/// A client that knows nothing of seals, and comes back to the session that it left.
struct Reader {
    version: u8,
    address: SocketAddr,
    arrived: Vec<usize>,
    different: usize,
    connections: usize,
    /// Takes each number that is new: the client waits for that.
    tell: SyncSender<()>,
}

impl Reader {
    fn new(version: u8, address: SocketAddr, tell: SyncSender<()>) -> Self {
        Self { version, address, arrived: vec![0; count()], different: 0, connections: 0, tell }
    }

    /// A connection that the broker has accepted.
    fn open(&mut self) -> io::Result<Link> {
        let mut link = Link::open(self.address)?;
        link.send(&connect(self.version, "reader", false))?;
        let (first, body) = link.receive()?;
        assert_eq!(first, CONNACK);
        if body[1] != 0 {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        // later ones resume what this one began
        assert_eq!(self.connections > 0, body[0] == 1, "the session is lost");
        self.connections += 1;
        Ok(link)
    }

    fn subscribe(&mut self) {
        let mut link = self.open().unwrap();
        let properties: &[u8] = if self.version == V5 { &[0] } else { &[] };
        let body = [&[0, 1], properties, &text("sealed/#"), &[1]].concat();
        link.send(&packet(0x82, &body)).unwrap();
        assert_eq!(link.receive().unwrap().0, 0x90);
    }

    /// Reads until every number has come.
    fn run(mut self) -> Self {
        while self.different < count() {
            let _ = self.session();
            thread::sleep(PAUSE);
        }
        self
    }

    fn session(&mut self) -> io::Result<()> {
        let mut link = self.open()?;
        let mut waiting = Vec::new();
        while self.different < count() {
            let (first, body) = link.receive()?;
            assert_eq!(first & 0xf6, 0x32, "no message of QoS 1: {first:02x}");
            let (_, id, payload) = read_publish(self.version, &body);
            let number: usize = str::from_utf8(&payload).unwrap().parse().unwrap();
            self.arrived[number] += 1;
            if self.arrived[number] == 1 {
                self.different += 1;
                let _ = self.tell.send(());
            } else {
                assert_eq!(first & DUP, DUP, "{number} again, as if it were new");
            }
            waiting.push(id);
            if waiting.len() > random(LATE) {
                for id in waiting.drain(..) {
                    link.send(&acknowledge(PUBACK, id))?;
                }
            }
        }
        Ok(())
    }
}

/// Publishes every number, straight to the broker.
async fn publish(port: u16, scene: &Scene) {
    let mqtt = rumqttc::MqttOptions::new("writer", "localhost", port);
    let options = ClientOptions::new().tcp(mqtt);
    let (writer, mut events) =
        AsyncClient::<V4>::new(scene.guard(Links::Tcp), options, 100).unwrap();
    let told = tokio::spawn(async move { while events.poll().await.is_some() {} });
    let mut tickets = Vec::new();
    for number in 0..count() {
        let sent = writer.publish("sealed/a", QoS::AtLeastOnce, false, number.to_string());
        tickets.push(sent.await.unwrap());
    }
    for ticket in tickets {
        ticket.await.unwrap();
    }
    writer.disconnect().await.unwrap();
    told.await.unwrap();
}

/// Kills the proxy again and again while messages arrive; how often.
fn kill(proxy: &mut Proxy, arrivals: &Receiver<()>) -> usize {
    let (mut left, mut kills) = (1 + random(2 * BETWEEN), 0);
    for _ in 0..count() {
        arrivals.recv_timeout(DEADLINE).expect("messages were lost");
        left -= 1;
        if left == 0 {
            proxy.kill();
            proxy.start();
            kills += 1;
            left = 1 + random(2 * BETWEEN);
        }
    }
    kills
}

async fn run(version: u8, store: bool) {
    let certs = Certs::new();
    let lines = &["max_queued_messages 0"];
    let broker = Mosquitto::start(&Setup { lines, ..Setup::new(&certs.good) });
    let scene = Scene::new(POLICY);
    let target = format!("localhost:{}", broker.tcp_port());
    let path = scene.file("store").display().to_string();
    let args = ["--broker", &target, "--store", &path];
    let mut proxy = scene.proxy(if store { &args } else { &args[..2] });
    let (tell, arrivals) = sync_channel(0);
    let mut reader = Reader::new(version, proxy.address(), tell);
    tokio::task::block_in_place(|| reader.subscribe());
    let reader = thread::spawn(move || reader.run());
    let killed = tokio::task::spawn_blocking(move || kill(&mut proxy, &arrivals));
    publish(broker.tcp_port(), &scene).await;
    let kills = killed.await.unwrap();
    let reader = tokio::task::block_in_place(|| reader.join().unwrap());
    let twice: usize = reader.arrived.iter().map(|times| times - 1).sum();
    let (count, what) = (count(), if store { "with" } else { "without" });
    println!("level {version}, {what} a store: {count} sent, {kills} kills; 0 lost, {twice} twice");
    // one may be killed again before the client was back
    assert!(kills > 1 && reader.connections > kills / 2, "{kills}, {}", reader.connections);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_proxy_with_a_store_keeps_nothing_from_a_client_of_mqtt_3() {
    run(V311, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_proxy_with_a_store_keeps_nothing_from_a_client_of_mqtt_5() {
    run(V5, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_proxy_without_a_store_keeps_nothing_from_its_client() {
    run(V311, false).await;
}
