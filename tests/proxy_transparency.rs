//! What passes the proxy under an all-clear policy is what would have come without it, byte for byte
//! and in both directions: conversations with every kind of packet, in odd pieces.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod support;

use core::future::pending;
use core::net::{Ipv4Addr, SocketAddr};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use mqtt_seal::policy::{Policy, Rule, Transport};
use mqtt_seal::proxy::{Listen, Proxy, ProxyOptions};
use mqtt_seal::{Grant, Keyring, SharedKey};
use support::DEADLINE;
use support::bytes::{Link, packet, text};
use tokio::runtime::Runtime;

use Side::{Broker, Client};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Broker,
}

/// A packet, and who says it.
type Line = (Side, Vec<u8>);

/// Lengths of the pieces in which packets are written.
const PIECES: [usize; 9] = [1, 2, 1, 3, 7, 1, 13, 4_099, 65_537];

// --- both ends ---

/// A proxy without a rule that changes anything, and its broker's listener.
struct Scene {
    address: SocketAddr,
    broker: TcpListener,
    _runtime: Runtime,
}

impl Scene {
    fn new() -> Self {
        let broker = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let options = ProxyOptions::new()
            .listen(Listen::Tcp((Ipv4Addr::LOCALHOST, 0).into()))
            .broker("localhost", broker.local_addr().unwrap().port())
            .danger_credentials_in_clear();
        let clear = Rule::clear(["#"]).transport(Transport::Tcp).build().unwrap();
        let shared = SharedKey::take(&mut [7; 32]);
        let keyring = Keyring::new(vec![Grant::shared(&shared, "test").unwrap()]);
        let runtime = Runtime::new().unwrap();
        let proxy = Proxy::bind(options, Policy::new(vec![clear]), keyring);
        let proxy = runtime.block_on(proxy).unwrap();
        let address = proxy.addresses()[0];
        runtime.spawn(proxy.run(pending()));
        Self { address, broker, _runtime: runtime }
    }

    /// Lets both ends say what stands in `script`, each when it has heard what stands before, and
    /// compares what each hears with what the other said.
    fn play(&self, name: &str, script: &[Line]) {
        let client = open(TcpStream::connect(self.address).unwrap());
        let mut broker: Option<TcpStream> = None;
        for (number, lines) in script.chunk_by(|a, b| a.0 == b.0).enumerate() {
            let said: Vec<u8> = lines.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
            let from = if lines[0].0 == Client { Some(&client) } else { broker.as_ref() };
            let writing = write(from.unwrap(), said.clone());
            // the proxy connects when it has heard the client
            let broker = broker.get_or_insert_with(|| open(self.broker.accept().unwrap().0));
            let heard = read(if lines[0].0 == Client { broker } else { &client }, said.len());
            writing.join().unwrap();
            let differs = differ(&heard, &said);
            assert!(heard == said, "{name}: turn {number} was changed: {differs:?}");
        }
        for end in [broker.unwrap(), client] {
            assert!(Link::new(end).unwrap().is_closed(), "{name}: more came than was said");
        }
    }
}

fn open(stream: TcpStream) -> TcpStream {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// So many bytes, or those that came before the deadline.
fn read(from: &TcpStream, len: usize) -> Vec<u8> {
    let mut heard = Vec::new();
    let _ = from.take(u64::try_from(len).unwrap()).read_to_end(&mut heard);
    heard
}

/// Writes in odd pieces, while the other end reads.
fn write(to: &TcpStream, bytes: Vec<u8>) -> JoinHandle<()> {
    let mut to = to.try_clone().unwrap();
    thread::spawn(move || {
        let mut rest = bytes.as_slice();
        for piece in PIECES.iter().cycle() {
            if rest.is_empty() {
                return;
            }
            let (now, later) = rest.split_at(rest.len().min(*piece));
            to.write_all(now).unwrap();
            rest = later;
        }
    })
}

/// Where two differ first, and what stands there.
fn differ<'a>(heard: &'a [u8], said: &'a [u8]) -> (usize, &'a [u8], &'a [u8]) {
    let same = heard.iter().zip(said).take_while(|(a, b)| a == b);
    let at = same.count();
    let around = |bytes: &'a [u8]| &bytes[at.saturating_sub(4)..bytes.len().min(at + 12)];
    (at, around(heard), around(said))
}

// --- what is said ---

/// A part of a packet, in front of which its length stands.
fn lp(bytes: &[&[u8]]) -> Vec<u8> {
    let bytes = bytes.concat();
    assert!(bytes.len() < 128, "the length has one byte");
    [&[u8::try_from(bytes.len()).unwrap()], bytes.as_slice()].concat()
}

/// Packets of the versions without properties: those of either end, which an other answers.
fn version_3(name: &str, level: u8) -> Vec<Line> {
    let header = [text(name), vec![level, 0b1110_1110, 0, 60]].concat();
    let will = [text("clear/will"), text("gone")].concat();
    let connect = [header, text("pump-7"), will, text("user"), text("password")].concat();
    let subscribe = [&[0, 10][..], &text("clear/#"), &[1], &text("+/b"), &[2]].concat();
    let mut script = vec![(Client, packet(0x10, &connect)), (Broker, packet(0x20, &[1, 0]))];
    script.extend([
        (Client, packet(0x82, &subscribe)),
        (Broker, packet(0x90, &[0, 10, 1, 0x80])),
        (Client, packet(0xC0, &[])),
        (Broker, packet(0xD0, &[])),
    ]);
    for (from, to) in [(Client, Broker), (Broker, Client)] {
        script.extend(messages(&[]).map(|bytes| (from, bytes)));
        script.extend([
            (to, packet(0x40, &[0, 1])),
            (to, packet(0x50, &[0, 2])),
            (from, packet(0x62, &[0, 2])),
            (to, packet(0x70, &[0, 2])),
        ]);
    }
    script.extend([
        (Client, packet(0xA2, &[&[0, 11][..], &text("clear/#")].concat())),
        (Broker, packet(0xB0, &[0, 11])),
        (Client, packet(0xE0, &[])),
    ]);
    script
}

/// Messages of each quality of service: with all flags, without a payload, repeated, and of many
/// bytes.
fn messages(properties: &[u8]) -> [Vec<u8>; 8] {
    let message = |flags: u8, id: &[u8], payload: &[u8]| {
        packet(0x30 | flags, &[&text("clear/a"), id, properties, payload].concat())
    };
    [
        message(0, &[], b"one"),
        message(1, &[], b""),
        message(2, &[0, 1], b"two"),
        message(2 | 8, &[0, 1], b"two"),
        message(4 | 1, &[0, 2], b"three"),
        message(4 | 8 | 1, &[0, 2], b"three"),
        message(0, &[], &vec![0xFC; 300 << 10]),
        message(0, &[], &[0x30, 0x02, 0, 0]),
    ]
}

/// Every property that a message may have; those of an identifier that stand three times among them.
fn message_properties() -> Vec<u8> {
    let user = [&[0x26][..], &text("name"), &text("value")].concat();
    lp(&[
        &user,
        &[0x01, 1],
        &[0x02, 0, 0, 0, 60],
        &[&[0x03][..], &text("text/plain")].concat(),
        &[&[0x08][..], &text("clear/answer")].concat(),
        &[0x09, 0, 3, 0, 0xFF, 1],
        &user,
    ])
}

fn version_5() -> Vec<Line> {
    let mut script = vec![(Client, connect_5()), (Broker, connack_5())];
    script.extend([
        (Client, packet(0xF0, &authentication(0x18))),
        (Broker, packet(0xF0, &authentication(0))),
        (Client, packet(0x82, &subscribe_5())),
        (Broker, packet(0x90, &[&[0, 10][..], &reason_string(), &[2, 0x87, 0]].concat())),
        (Client, packet(0xC0, &[])),
        (Broker, packet(0xD0, &[])),
    ]);
    for (from, to) in [(Client, Broker), (Broker, Client)] {
        for properties in [vec![0], message_properties()] {
            script.extend(messages(&properties).map(|bytes| (from, bytes)));
            script.extend(acknowledgements(from, to));
        }
        script.extend(aliases().map(|bytes| (from, bytes)));
    }
    // three subscription identifiers, which codecs are known to get wrong
    let ids = lp(&[&[0x0B, 1, 0x0B, 0x80, 1, 0x0B, 0xFF, 0x7F]]);
    script.push((Broker, packet(0x30, &[&text("clear/b"), &ids[..], b"payload"].concat())));
    script.extend([
        (Client, packet(0xA2, &[&[0, 11, 0][..], &text("clear/#"), &text("+/b")].concat())),
        (Broker, packet(0xB0, &[0, 11, 0, 0, 0x11])),
        (Client, packet(0xE0, &[&[4][..], &reason_string()].concat())),
    ]);
    script
}

fn connect_5() -> Vec<u8> {
    let properties = lp(&[
        &[0x11, 0, 0, 1, 0],
        &[0x21, 0, 9],
        &[0x27, 0, 1, 0, 0],
        &[0x22, 0, 10],
        &[0x19, 1],
        &[0x17, 0],
        &[&[0x15][..], &text("method")].concat(),
        &[0x16, 0, 1, 7],
    ]);
    let will = [lp(&[&[0x18, 0, 0, 0, 5], &[0x01, 0]]), text("clear/will"), text("")].concat();
    let login = [text("user"), text("password")].concat();
    let flags = vec![5, 0b1111_0110, 0, 0];
    packet(0x10, &[text("MQTT"), flags, properties, text("pump-7"), will, login].concat())
}

fn connack_5() -> Vec<u8> {
    let properties = lp(&[
        &[0x21, 0, 20],
        &[0x22, 0, 10],
        &[0x27, 0, 0x10, 0, 0],
        &[0x13, 0, 30],
        &[&[0x12][..], &text("another")].concat(),
        &[0x25, 1, 0x28, 1, 0x29, 1, 0x2A, 1],
    ]);
    packet(0x20, &[&[0, 0], properties.as_slice()].concat())
}

fn subscribe_5() -> Vec<u8> {
    let properties = lp(&[&[0x0B, 0xFF, 0x7F]]);
    let shared = [text("$share/group/clear/+"), vec![0b0000_0001]].concat();
    let filters = [text("clear/#"), vec![0b0010_1110], shared, text("+/b"), vec![0]].concat();
    [&[0, 10], properties.as_slice(), &filters].concat()
}

fn authentication(reason: u8) -> Vec<u8> {
    let method = [&[0x15][..], &text("method")].concat();
    [&[reason], lp(&[&method, &[0x16, 0, 2, 1, 2]]).as_slice()].concat()
}

fn reason_string() -> Vec<u8> {
    lp(&[&[&[0x1F][..], &text("why")].concat()])
}

/// Acknowledgements in each of their lengths: without a reason, with one, and with properties.
fn acknowledgements(from: Side, to: Side) -> [Line; 6] {
    let told = |id: u8, reason: u8| [&[0, id, reason][..], &reason_string()].concat();
    [
        (to, packet(0x40, &told(1, 0x10))),
        (to, packet(0x50, &[0, 2, 0x10])),
        (from, packet(0x62, &told(2, 0))),
        (to, packet(0x70, &told(2, 0))),
        (to, packet(0x40, &[0, 1])),
        (to, packet(0x50, &[0, 9, 0x87, 0])),
    ]
}

/// An alias that is set, used, set to another topic, and used again.
fn aliases() -> [Vec<u8>; 4] {
    ["clear/a", "", "clear/b", ""]
        .map(|topic| packet(0x30, &[&text(topic)[..], &[3, 0x23, 0, 7], b"payload"].concat()))
}

/// A broker refuses the client.
fn broker_refuses() -> Vec<Line> {
    let refusal = [&[0, 0x87][..], &reason_string()].concat();
    vec![(Client, connect_5()), (Broker, packet(0x20, &refusal))]
}

// --- the tests ---

#[test]
fn all_clear_conversation_of_mqtt_3_passes_unchanged() {
    let scene = Scene::new();
    scene.play("3.1.1", &version_3("MQTT", 4));
    scene.play("3.1", &version_3("MQIsdp", 3));
}

#[test]
fn all_clear_conversation_of_mqtt_5_passes_unchanged() {
    let scene = Scene::new();
    scene.play("5", &version_5());
    scene.play("refused", &broker_refuses());
}

#[test]
fn scripts_have_every_kind_of_packet() {
    let kinds = |script: &[Line]| -> Vec<u8> {
        (1..=15).filter(|kind| script.iter().any(|(_, bytes)| bytes[0] >> 4 == *kind)).collect()
    };
    assert_eq!(kinds(&version_3("MQTT", 4)), (1..=14).collect::<Vec<_>>());
    assert_eq!(kinds(&version_5()), (1..=15).collect::<Vec<_>>());
}
