//! Clients that know nothing of sealing, through the proxy: those of Mosquitto, paho-mqtt, MQTT.js,
//! and the adapters with an all-clear policy. Each publishes to and subscribes from an adapter that
//! has the keys and is at the broker itself, with payloads of up to 8 MiB and each quality of
//! service. `scripts/clients` installs what is missing.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

#[path = "../examples/sensor/broker.rs"]
#[expect(dead_code, reason = "it listens by TLS as well")]
mod broker;
mod support;

use core::time::Duration;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use mqtt_seal::client::{AsyncClient, ClientOptions, Event, EventLoop};
use mqtt_seal::guard::QoS;
use mqtt_seal::policy::{Links, Policy, Rule, Transport};
use mqtt_seal::{Guard, Keyring, rumqttc_v4, rumqttc_v5};
use sha2::{Digest, Sha256};
use support::certs::Certs;
use support::mosquitto::{Mosquitto, Setup};
use support::proxy::{POLICY, Scene};
use support::{DEADLINE, program};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

/// Lengths of payloads.
const LENGTHS: [usize; 5] = [0, 2, 1 << 10, 300 << 10, 8 << 20];
const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const MAX_PACKET: usize = 16 << 20;

// --- what is sent ---

/// A message as it came, or as it has to come.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Got {
    topic: String,
    qos: String,
    len: String,
    /// The SHA-256 of the payload.
    digest: String,
}

impl Got {
    fn new(topic: &str, qos: &str, payload: &[u8]) -> Self {
        let hex = |byte: &u8| format!("{byte:02x}");
        let digest = Sha256::digest(payload).iter().map(hex).collect::<Vec<_>>().concat();
        Self { topic: topic.into(), qos: qos.into(), len: payload.len().to_string(), digest }
    }
}

fn level(qos: QoS) -> &'static str {
    match qos {
        QoS::AtMostOnce => "0",
        QoS::AtLeastOnce => "1",
        _ => "2",
    }
}

/// The same bytes as the scripts make.
fn payload(len: usize) -> Vec<u8> {
    let period: Vec<u8> = (0..256).map(|at| u8::try_from((at * 31 + len) % 256).unwrap()).collect();
    let mut bytes = period.repeat(len / period.len() + 1);
    bytes.truncate(len);
    bytes
}

fn cases() -> impl Iterator<Item = (QoS, usize)> {
    ALL_QOS.into_iter().flat_map(|qos| LENGTHS.map(|len| (qos, len)))
}

fn topic(prefix: &str, way: &str, qos: QoS, len: usize) -> String {
    format!("{prefix}/{way}/{}/{len}", level(qos))
}

/// Everything that one end has to get, in order.
fn expected(prefix: &str, way: &str) -> Vec<Got> {
    let got = |(qos, len)| Got::new(&topic(prefix, way, qos, len), level(qos), &payload(len));
    let mut all: Vec<_> = cases().map(got).collect();
    all.sort();
    all
}

// --- the end that has the keys ---

/// A version of MQTT.
trait Version: Sized + 'static {
    const LEVEL: &str;

    fn client(id: &str, port: u16, guard: Guard) -> (AsyncClient<Self>, EventLoop);
}

fn options<M>(mqtt: M) -> ClientOptions<M> {
    ClientOptions::new().tcp(mqtt).auto_ack(true).max_packet_size(MAX_PACKET, MAX_PACKET)
}

impl Version for rumqttc_v4::V4 {
    const LEVEL: &str = "4";

    fn client(id: &str, port: u16, guard: Guard) -> (AsyncClient<Self>, EventLoop) {
        let mqtt = rumqttc::MqttOptions::new(id, "localhost", port);
        AsyncClient::<Self>::new(guard, options(mqtt), 100).unwrap()
    }
}

impl Version for rumqttc_v5::V5 {
    const LEVEL: &str = "5";

    fn client(id: &str, port: u16, guard: Guard) -> (AsyncClient<Self>, EventLoop) {
        let mqtt = rumqttc::v5::MqttOptions::new(id, "localhost", port);
        AsyncClient::<Self>::new(guard, options(mqtt), 100).unwrap()
    }
}

/// The way of messages from the proxy, and of those to it.
const UP: &str = "up";
const DOWN: &str = "down";

/// How a broker and its clients are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ways {
    /// Messages go up and down at once.
    Both,
    /// Messages go down when all are up: mqtt5's broker does not read while it writes, nor does
    /// rumqttc, so that they would wait for each other, with 8 MiB each.
    OneByOne,
}

/// One end by an adapter: subscribes, says so, waits until the other has, publishes everything the
/// one way and returns what came the other.
async fn adapter<V: Version>(
    (client, mut events): (AsyncClient<V>, EventLoop),
    prefix: &str,
    publishes: &'static str,
    ways: Ways,
    subscribed: oneshot::Sender<()>,
    other: oneshot::Receiver<()>,
) -> Vec<Got> {
    let gets = if publishes == UP { DOWN } else { UP };
    client.subscribe(format!("{prefix}/{gets}/#"), QoS::ExactlyOnce).await.unwrap();
    while !matches!(events.poll().await, Some(Event::Subscribed { .. })) {}
    subscribed.send(()).unwrap();
    let (writer, topics) = (client.clone(), prefix.to_owned());
    let (all_came, came) = oneshot::channel();
    let mut all_came = Some(all_came);
    let mut publishing = tokio::spawn(async move {
        other.await.unwrap();
        if publishes == DOWN && ways == Ways::OneByOne {
            came.await.unwrap();
        }
        for (qos, len) in cases() {
            let topic = topic(&topics, publishes, qos, len);
            writer.publish(topic, qos, false, payload(len)).await.unwrap().await.unwrap();
        }
    });
    let mut got = Vec::new();
    let mut published = false;
    while !published || got.len() < cases().count() {
        tokio::select! {
            done = &mut publishing, if !published => published = done.map(|()| true).unwrap(),
            event = events.poll() => match event.expect("the event loop ended") {
                Event::Message(message) => {
                    got.push(Got::new(&message.topic, level(message.qos), &message.payload));
                }
                Event::LinkUp { .. } | Event::Subscribed { .. } => {}
                other => panic!("{prefix}, {publishes}: {other:?}"),
            },
        }
        if got.len() == cases().count() {
            all_came.take().map(|all_came| all_came.send(()));
        }
    }
    client.disconnect().await.unwrap();
    while events.poll().await.is_some() {}
    got
}

// --- the ends that know nothing ---

/// A client program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Mosquitto,
    Paho,
    MqttJs,
    Adapter,
}

/// The target directory, in which the clients are that Debian does not have.
fn target() -> &'static Path {
    static TARGET: OnceLock<PathBuf> = OnceLock::new();
    TARGET.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/clients");
        let done = std::process::Command::new(script).arg(target).status().unwrap();
        assert!(done.success(), "scripts/clients failed: see what it says above");
        target.into()
    })
}

impl Program {
    /// Does what [`adapter`] does, at the proxy.
    async fn run<V: Version>(
        self,
        port: u16,
        prefix: &str,
        subscribed: oneshot::Sender<()>,
        other: oneshot::Receiver<()>,
    ) -> Vec<Got> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let mut command = match self {
            Self::Mosquitto => {
                return mosquitto(V::LEVEL, port, prefix, subscribed, other).await;
            }
            Self::Adapter => {
                let client = V::client("near", port, all_clear());
                return adapter(client, prefix, UP, Ways::Both, subscribed, other).await;
            }
            Self::Paho => {
                let mut command = Command::new(target().join("venv-proxy/bin/python"));
                command.arg(folder.join("paho_client.py"));
                command
            }
            Self::MqttJs => {
                let modules = target().join("node/node_modules");
                let mut command = Command::new(program("node"));
                command.env("NODE_PATH", modules);
                command.arg(folder.join("mqttjs_client.cjs"));
                command
            }
        };
        let lengths = LENGTHS.map(|len| len.to_string()).join(",");
        command.args([&port.to_string(), V::LEVEL, "near", prefix, &lengths]);
        script(command, subscribed, other).await
    }
}

fn all_clear() -> Guard {
    let rule = Rule::clear(["#"]).transport(Transport::Tcp).build().unwrap();
    Guard::new(Policy::new(vec![rule]), Keyring::new(Vec::new()), Links::Tcp).unwrap()
}

/// Runs a script, which tells line by line what it gets.
async fn script(
    mut command: Command,
    subscribed: oneshot::Sender<()>,
    other: oneshot::Receiver<()>,
) -> Vec<Got> {
    other.await.unwrap();
    let mut child = command.kill_on_drop(true).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("ready"));
    subscribed.send(()).unwrap();
    let mut got = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        let words: Vec<_> = line.split(' ').map(String::from).collect();
        let ["got", ..] = words.iter().map(String::as_str).collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let [_, topic, qos, len, digest] = words.try_into().unwrap();
        got.push(Got { topic, qos, len, digest });
    }
    assert!(child.wait().await.unwrap().success());
    got
}

/// The same with `mosquitto_sub` and `mosquitto_pub`.
async fn mosquitto(
    level: &str,
    port: u16,
    prefix: &str,
    subscribed: oneshot::Sender<()>,
    other: oneshot::Receiver<()>,
) -> Vec<Got> {
    let version = if level == "5" { "mqttv5" } else { "mqttv311" };
    let port = port.to_string();
    let filter = format!("{prefix}/down/#");
    let mut sub = client("mosquitto_sub", &port, version)
        .args(["-q", "2", "-t", &filter, "-F", "%t %q %l %p"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut messages = BufReader::new(sub.stdout.take().unwrap());
    // it does not say when it is subscribed: until it gets something, it is not
    let mut probed = Vec::new();
    while probed.is_empty() {
        publish(&port, version, &format!("{prefix}/down/probe"), "0", b"").await;
        let byte = tokio::time::timeout(Duration::from_millis(100), messages.fill_buf()).await;
        probed = byte.map(|bytes| bytes.unwrap().to_vec()).unwrap_or_default();
    }
    subscribed.send(()).unwrap();
    other.await.unwrap();
    let publishing = async {
        for (qos, len) in cases() {
            let topic = topic(prefix, UP, qos, len);
            publish(&port, version, &topic, self::level(qos), &payload(len)).await;
        }
    };
    let reading = async {
        let mut got = Vec::new();
        while got.len() < cases().count() {
            let message = read_message(&mut messages).await;
            if !message.topic.ends_with("/probe") {
                got.push(message);
            }
        }
        got
    };
    let ((), got) = tokio::join!(publishing, reading);
    got
}

fn client(name: &str, port: &str, version: &str) -> Command {
    let mut command = Command::new(program(name));
    command.args(["-h", "127.0.0.1", "-p", port, "-V", version]).kill_on_drop(true);
    command
}

async fn publish(port: &str, version: &str, topic: &str, qos: &str, payload: &[u8]) {
    // of no input at all it makes no message
    let source = if payload.is_empty() { "-n" } else { "-s" };
    let mut child: Child = client("mosquitto_pub", port, version)
        .args(["-q", qos, "-t", topic, source])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(payload).await.unwrap();
    assert!(child.wait().await.unwrap().success(), "mosquitto_pub failed for {topic}");
}

/// Topic, quality of service, length, and so many bytes.
async fn read_message(from: &mut (impl AsyncBufReadExt + Unpin)) -> Got {
    let mut words = [const { String::new() }; 3];
    for word in &mut words {
        let mut bytes = Vec::new();
        from.read_until(b' ', &mut bytes).await.unwrap();
        assert_eq!(bytes.pop(), Some(b' '), "mosquitto_sub ended");
        *word = String::from_utf8(bytes).unwrap();
    }
    let [topic, qos, len] = words;
    let mut payload = vec![0; len.parse::<usize>().unwrap() + 1];
    from.read_exact(&mut payload).await.unwrap();
    assert_eq!(payload.pop(), Some(b'\n'));
    Got::new(&topic, &qos, &payload)
}

// --- the tests ---

/// Both ways between a program at the proxy and an adapter at the broker.
async fn exchange<V: Version>(program: Program, ways: Ways, broker: u16) {
    let scene = Scene::new(POLICY);
    let mut proxy = scene.proxy(&["--broker", &format!("localhost:{broker}")]);
    let prefix = format!("sealed/{program:?}/{ways:?}/{}", V::LEVEL);
    let far = V::client("far", broker, scene.guard(Links::Tcp));
    let ((near_is, near), (far_is, far_ready)) = (oneshot::channel(), oneshot::channel());
    let both = async {
        tokio::join!(
            adapter(far, &prefix, DOWN, ways, far_is, near),
            program.run::<V>(proxy.port(), &prefix, near_is, far_ready),
        )
    };
    let both = tokio::time::timeout(DEADLINE, both).await;
    let (mut up, mut down) = both.unwrap_or_else(|_| panic!("{prefix}: something did not come"));
    up.sort();
    down.sort();
    assert_eq!(up, expected(&prefix, UP));
    assert_eq!(down, expected(&prefix, DOWN));
    proxy.kill();
}

async fn at_both_brokers(program: Program) {
    // one program at a time: with 8 MiB each, a busy machine is too slow for rumqttc's time limit
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _turn = TURN.lock().await;
    if let Program::Paho | Program::MqttJs = program {
        // before any time runs: it may have to install them
        target();
    }
    let certs = Certs::new();
    let mosquitto = Mosquitto::start(&Setup::new(&certs.good));
    let embedded = broker::start().await.unwrap();
    for (ways, port) in [(Ways::Both, mosquitto.tcp_port()), (Ways::OneByOne, embedded.tcp.port())]
    {
        exchange::<rumqttc_v4::V4>(program, ways, port).await;
        exchange::<rumqttc_v5::V5>(program, ways, port).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquittos_clients_publish_and_subscribe_through_the_proxy() {
    at_both_brokers(Program::Mosquitto).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_publishes_and_subscribes_through_the_proxy() {
    at_both_brokers(Program::Paho).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mqttjs_publishes_and_subscribes_through_the_proxy() {
    at_both_brokers(Program::MqttJs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn adapters_with_an_all_clear_policy_publish_and_subscribe_through_the_proxy() {
    at_both_brokers(Program::Adapter).await;
}
