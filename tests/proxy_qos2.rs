//! A message of `QoS` 2 whose link, or whose proxy, goes at each step of its flow. The broker and
//! the client are scripted: they keep to the specification, and cut where they are told. Whatever
//! happens, the client gets its PUBCOMP and a receiver delivers the message once.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod support;

use core::net::Ipv4Addr;
use core::time::Duration;
use std::collections::HashMap;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use mqtt_seal::guard::{Incoming, OpenError};
use mqtt_seal::policy::{Link as Transport, Links};
use mqtt_seal::replay::Rejected;
use support::DEADLINE;
use support::bytes::{
    CONNACK, DUP, Link, PUBCOMP, PUBREC, PUBREL, Packet, V5, V311, acknowledge, connack, connect,
    id, publish, read_publish, text,
};
use support::certs::Certs;
use support::mosquitto::{Mosquitto, Setup};
use support::proxy::{POLICY, Proxy, Scene};

const TOPIC: &str = "sealed/a";
const ID: u16 = 7;

/// Where the flow is cut, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// PUBLISH has come, and is lost.
    BeforePublish,
    /// PUBLISH was taken, and its PUBREC is lost.
    BeforePubrec,
    /// PUBREC was sent, and may arrive or not.
    AfterPubrec,
    /// PUBREL has come, and is lost.
    BeforePubrel,
    /// PUBREL was taken, and its PUBCOMP is lost.
    BeforePubcomp,
}

const STEPS: [Step; 5] = [
    Step::BeforePublish,
    Step::BeforePubrec,
    Step::AfterPubrec,
    Step::BeforePubrel,
    Step::BeforePubcomp,
];

/// What a broker knows.
#[derive(Default)]
struct State {
    /// Where it cuts next.
    cut: Option<Step>,
    /// Whether it was.
    was_cut: bool,
    kind: Kind,
    /// Messages that wait for PUBREL, by client and packet ID.
    held: HashMap<String, HashMap<u16, Message>>,
    /// What subscribers got.
    passed_on: Vec<Message>,
}

/// Topic and sealed payload.
type Message = (String, Vec<u8>);

/// What is left to brokers.
#[derive(Debug, Clone, Copy, Default)]
struct Kind {
    /// Whether sessions outlive their connections.
    keeps: bool,
    /// Whether messages are passed on with PUBLISH already, and not with PUBREL (MQTT 5.0 §4.3.3).
    early: bool,
}

impl State {
    /// Whether this is the moment to cut.
    fn cuts(&mut self, step: Step) -> bool {
        let now = self.cut == Some(step);
        if now {
            (self.cut, self.was_cut) = (None, true);
        }
        now
    }
}

/// A broker of `QoS` 2.
struct Broker {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Broker {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(stream.unwrap(), &shared));
            }
        });
        Self { port, state }
    }

    fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Makes it cut at a step; what was passed on before is forgotten.
    fn expect_cut(&self, step: Step, kind: Kind) {
        let mut state = self.state.lock().unwrap();
        *state = State { cut: Some(step), kind, ..State::default() };
    }

    fn was_cut(&self) -> bool {
        self.state.lock().unwrap().was_cut
    }
}

/// Serves one connection until it is cut, or its other end closes.
fn serve(stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut link = Link::new(stream)?;
    let (_, connect) = link.receive()?;
    let (version, clean) = (connect[6], connect[7] & 2 != 0);
    let at = if version == V5 { 11 + usize::from(connect[10]) } else { 10 };
    let client = String::from_utf8(connect[at + 2..][..usize::from(id(&connect[at..]))].into());
    let client = client.unwrap();
    let present = {
        let mut state = state.lock().unwrap();
        let kept = state.kind.keeps && !clean;
        if !kept {
            state.held.remove(&client);
        }
        kept && state.held.contains_key(&client)
    };
    link.send(&connack(version, present))?;
    loop {
        let packet = link.receive()?;
        let Some(answer) = answer(version, &client, &packet, &mut state.lock().unwrap()) else {
            return Ok(());
        };
        link.send(&answer)?;
        if packet.0 >> 4 == 3 && state.lock().unwrap().cuts(Step::AfterPubrec) {
            return Ok(());
        }
    }
}

/// What a broker says to a packet; `None` if it cuts.
fn answer(version: u8, client: &str, packet: &Packet, state: &mut State) -> Option<Vec<u8>> {
    let (first, body) = packet;
    let (before, after, reply) = match first >> 4 {
        3 => (Step::BeforePublish, Step::BeforePubrec, PUBREC),
        6 => (Step::BeforePubrel, Step::BeforePubcomp, PUBCOMP),
        _ => return None,
    };
    if state.cuts(before) {
        return None;
    }
    let early = state.kind.early;
    let held = state.held.entry(client.to_owned()).or_default();
    let (id, message) = if first >> 4 == 3 {
        let (topic, id, payload) = read_publish(version, body);
        let message = (topic, payload);
        let new = held.insert(id, message.clone()).is_none();
        (id, Some(message).filter(|_| new && early))
    } else {
        (id(body), held.remove(&id(body)).filter(|_| !early))
    };
    state.passed_on.extend(message);
    (!state.cuts(after)).then(|| acknowledge(reply, id))
}

/// How far the client is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    /// PUBLISH was sent.
    Sent,
    /// PUBREC has come.
    Received,
    Done,
}

/// A client that publishes one message, and goes on with it on each new connection.
struct Client<'a> {
    version: u8,
    name: &'a str,
    payload: &'a [u8],
    stage: Stage,
}

impl Client<'_> {
    /// Publishes, by as many connections as it takes; `between` is called when one has ended.
    fn run(&mut self, proxy: &mut Proxy, mut between: impl FnMut(&mut Proxy)) {
        let start = Instant::now();
        while self.stage != Stage::Done {
            assert!(start.elapsed() < DEADLINE, "{} did not get its PUBCOMP", self.name);
            let _ = self.session(proxy);
            if self.stage != Stage::Done {
                between(proxy);
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn session(&mut self, proxy: &Proxy) -> io::Result<()> {
        let mut link = Link::open(proxy.address())?;
        link.send(&connect(self.version, self.name, false))?;
        let (first, body) = link.receive()?;
        assert_eq!((first, body[1]), (CONNACK, 0), "the proxy refuses the client");
        match self.stage {
            Stage::Received => link.send(&acknowledge(PUBREL, ID))?,
            stage => {
                let dup = if stage == Stage::Sent { DUP } else { 0 };
                self.stage = Stage::Sent;
                link.send(&publish(self.version, 4 | dup, TOPIC, ID, self.payload))?;
            }
        }
        loop {
            let (first, body) = link.receive()?;
            assert_eq!(id(&body), ID);
            match first {
                PUBREC => {
                    self.stage = Stage::Received;
                    link.send(&acknowledge(PUBREL, ID))?;
                }
                PUBCOMP if self.stage == Stage::Received => {
                    self.stage = Stage::Done;
                    link.send(&[0xE0, 0])?;
                    return Ok(());
                }
                other => panic!("{other:#x} instead of PUBREC or PUBCOMP"),
            }
        }
    }
}

/// What a receiver of the library makes of everything that was passed on.
fn delivered(scene: &Scene, passed_on: &[Message]) -> Vec<Vec<u8>> {
    let (_, mut rx) = scene.guard(Links::Tcp).split();
    let mut delivered = Vec::new();
    for (topic, sealed) in passed_on {
        assert_eq!(topic, TOPIC);
        let mut payload = Vec::new();
        match rx.open(&Incoming::new(topic, sealed, Transport::Tcp), &mut payload) {
            Ok(_) => delivered.push(payload),
            Err(error) => assert_eq!(error, OpenError::Rejected(Rejected::Duplicate)),
        }
    }
    delivered
}

/// Publishes a message for each step at which `broker` cuts.
fn cut_at_each_step(
    scene: &Scene,
    proxy: &mut Proxy,
    broker: &Broker,
    keeps: bool,
    mut between: impl FnMut(&mut Proxy),
) {
    let kinds = [false, true].map(|early| Kind { keeps, early });
    let versions = [V311, V5].into_iter().flat_map(|version| kinds.map(|kind| (version, kind)));
    for ((version, kind), step) in versions.flat_map(|case| STEPS.map(|step| (case, step))) {
        broker.expect_cut(step, kind);
        let case = format!("{version} {step:?} {kind:?}");
        let payload = case.as_bytes();
        let mut client = Client { version, name: &case, payload, stage: Stage::New };
        client.run(proxy, &mut between);
        assert!(broker.was_cut(), "{case}");
        let passed_on = broker.state.lock().unwrap().passed_on.clone();
        assert_eq!(delivered(scene, &passed_on), [payload], "{case}");
    }
}

#[test]
fn qos_2_over_a_cut_main_link_arrives_once() {
    let (scene, broker) = (Scene::new(POLICY), Broker::start());
    let mut proxy = scene.proxy(&["--broker", &broker.address()]);
    for keeps in [true, false] {
        cut_at_each_step(&scene, &mut proxy, &broker, keeps, |_| ());
    }
}

#[test]
fn qos_2_over_a_cut_plain_link_beside_tls_arrives_once() {
    let certs = Certs::new();
    let main = Mosquitto::start(&Setup::new(&certs.good));
    let (scene, broker) = (Scene::new(POLICY), Broker::start());
    let tls = format!("localhost:{}", main.tls_port());
    let args = ["--tls-broker", &tls, "--broker", &broker.address(), "--cafile"];
    let mut proxy = scene.proxy(&[&args[..], &[certs.ca.pem.to_str().unwrap()]].concat());
    cut_at_each_step(&scene, &mut proxy, &broker, false, |_| ());
}

#[test]
fn qos_2_through_a_killed_proxy_with_a_store_arrives_once() {
    let (scene, broker) = (Scene::new(POLICY), Broker::start());
    let store = scene.file("store").display().to_string();
    let mut proxy = scene.proxy(&["--broker", &broker.address(), "--store", &store]);
    for keeps in [true, false] {
        cut_at_each_step(&scene, &mut proxy, &broker, keeps, |proxy| {
            proxy.kill();
            proxy.start();
        });
    }
}

#[test]
fn client_id_stands_where_the_scripted_broker_reads_it() {
    let bytes = connect(V5, "abc", false);
    assert_eq!(bytes[2 + 11 + 5..], text("abc"));
}
