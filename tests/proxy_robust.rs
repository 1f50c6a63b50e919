//! Clients and brokers that misbehave: the proxy's memory stays bounded, and other clients are
//! served. The proxy is a process of its own, before a real Mosquitto.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::io::Read;
use std::net::{TcpListener, TcpStream};

use rustix::process::{Resource, getrlimit, setrlimit};
use support::bytes::{
    CONNACK, Link, PUBACK, V5, V311, acknowledge, connect, id, packet, publish, text,
};
use support::certs::Certs;
use support::mosquitto::{Mosquitto, Setup};
use support::proxy::{POLICY, Proxy, Scene};
use support::wait_until;

const MIB: usize = 1 << 20;
/// The largest length that a packet can claim.
const CLAIM: [u8; 4] = [0xFF, 0xFF, 0xFF, 0x7F];

/// A proxy in front of a broker.
struct World {
    _certs: Certs,
    broker: Mosquitto,
    _scene: Scene,
    proxy: Proxy,
}

impl World {
    fn new() -> Self {
        let certs = Certs::new();
        let broker = Mosquitto::start(&Setup::new(&certs.good));
        let scene = Scene::new(POLICY);
        let proxy = scene.proxy(&["--broker", &format!("localhost:{}", broker.tcp_port())]);
        Self { _certs: certs, broker, _scene: scene, proxy }
    }

    /// A client that the broker has taken.
    fn client(&self, version: u8, client_id: &str) -> Link {
        let mut link = Link::open(self.proxy.address()).unwrap();
        link.send(&connect(version, client_id, true)).unwrap();
        let (first, body) = link.receive().unwrap();
        assert_eq!((first, body[1]), (CONNACK, 0), "{client_id}");
        link
    }

    /// Shows that a client is served: its message arrives at the broker.
    fn serves(&self) {
        for version in [V311, V5] {
            let mut link = self.client(version, "another");
            link.send(&publish(version, 2, "sealed/a", 1, b"payload")).unwrap();
            let (first, body) = link.receive().unwrap();
            assert_eq!((first, id(&body)), (PUBACK, 1));
        }
    }

    /// Sends bytes, in which the proxy is to see an end: it closes, after at most one packet.
    fn ends(&self, link: &mut Link, bytes: &[u8]) -> Option<u8> {
        // what it has closed takes no more
        let _ = link.send(bytes);
        let told = link.receive().ok().map(|(first, body)| {
            assert_eq!(first, 0xE0);
            body[0]
        });
        assert!(link.is_closed());
        self.serves();
        told
    }
}

/// Lets this process, and those that it starts, open as many files as they may; returns how many
/// that are.
fn raise_limit() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    limit.maximum.map_or(usize::MAX, |files| usize::try_from(files).unwrap())
}

#[test]
fn thousand_clients_at_once_leave_room_for_another() {
    // the proxy has one and a half for each; where it may not, there are fewer
    let clients = (raise_limit() / 2).min(1_000);
    let world = World::new();
    let before = world.proxy.memory();
    let whole = connect(V311, "half", true);
    let mut links = Vec::new();
    for number in 0..clients {
        let silent = || Link::open(world.proxy.address()).unwrap();
        links.push(match number % 4 {
            0 => silent(),
            1 => {
                let mut link = silent();
                link.send(&whole[..whole.len() / 2]).unwrap();
                link
            }
            2 => world.client(V5, &number.to_string()),
            _ => {
                let mut link = world.client(V311, &number.to_string());
                let message = publish(V311, 0, "sealed/a", 0, &[b'a'; 1_000]);
                link.send(&message[..500]).unwrap();
                link
            }
        });
    }
    world.serves();
    let more = world.proxy.memory().saturating_sub(before);
    assert!(more < 64 * MIB, "{more} bytes for {clients} clients");
    // those that have not said CONNECT are given up, the others are not
    assert!(links[0].is_closed() && links[1].is_closed());
    links[2].send(&[0xC0, 0]).unwrap();
    assert_eq!(links[2].receive().unwrap().0, 0xD0);
    drop(links);
    world.serves();
}

#[test]
fn claim_of_256_mb_ends_the_connection_at_once() {
    let world = World::new();
    let before = world.proxy.memory();
    for first in [0x10, 0x30] {
        let claim = [&[first], CLAIM.as_slice(), &[0; 1_000]].concat();
        let mut link = Link::open(world.proxy.address()).unwrap();
        assert_eq!(world.ends(&mut link, &claim), None);
        assert_eq!(world.ends(&mut world.client(V311, "old"), &claim), None);
        // 0x95: packet too large
        assert_eq!(world.ends(&mut world.client(V5, "new"), &claim), Some(0x95));
    }
    let more = world.proxy.memory().saturating_sub(before);
    assert!(more < 16 * MIB, "{more} bytes");
}

#[test]
fn connect_of_more_bytes_than_any_needs_is_not_waited_for() {
    let world = World::new();
    let before = world.proxy.memory();
    // below the limit for packets, and above that for the first one
    let len = 15 * MIB;
    let whole = packet(0x10, &[text("MQTT"), vec![4, 2, 0, 0], vec![b'a'; len]].concat());
    let clients: Vec<_> = (0..40)
        .map(|_| {
            let mut link = Link::open(world.proxy.address()).unwrap();
            let _ = link.send(&whole[..4 * MIB]);
            link
        })
        .collect();
    world.serves();
    let more = world.proxy.memory().saturating_sub(before);
    assert!(more < 48 * MIB, "{more} bytes");
    drop(clients);
}

#[test]
fn client_that_never_reads_holds_up_nobody_and_gets_bounded_memory() {
    let world = World::new();
    let mut deaf = world.client(V311, "deaf");
    let subscribe = [&[0, 1][..], &text("clear/#"), &[0]].concat();
    deaf.send(&packet(0x82, &subscribe)).unwrap();
    assert_eq!(deaf.receive().unwrap().0, 0x90);
    let before = world.proxy.memory();
    let payload = vec![b'a'; 4 * MIB];
    for _ in 0..40 {
        world.broker.publish("clear/a", &payload);
    }
    world.serves();
    let more = world.proxy.memory().saturating_sub(before);
    assert!(more < 32 * MIB, "{more} bytes wait for a client that reads nothing");
}

#[test]
fn broker_that_is_not_there_is_told_until_it_is() {
    let mut world = World::new();
    let address = world.proxy.address();
    let answer = |version: u8| {
        let mut link = Link::open(address).unwrap();
        link.send(&connect(version, "waiting", true)).unwrap();
        let (first, body) = link.receive().unwrap();
        assert_eq!(first, CONNACK);
        assert!(body[1] == 0 || link.is_closed());
        body[1]
    };
    assert_eq!([answer(V311), answer(V5)], [0, 0]);
    world.broker.stop();
    // server unavailable
    assert_eq!([answer(V311), answer(V5)], [3, 0x88]);
    world.broker.restart();
    assert_eq!([answer(V311), answer(V5)], [0, 0]);
}

#[test]
fn why_a_broker_is_not_reached_stands_in_the_log() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let closes = silent.local_addr().unwrap().to_string();
    std::thread::spawn(move || while silent.accept().is_ok() {});
    // it is let in by the system, and nobody reads
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_deaf, deaf) = (deaf.try_clone().unwrap(), deaf.local_addr().unwrap().to_string());
    let tls = format!("localhost:{}", broker.tls_port());
    let ca = certs.ca.pem.to_str().unwrap();
    let plain = ["--tls-broker", &tls, "--cafile", ca, "--broker", &closes];
    let wrong_ca = ["--tls-broker", &tls, "--cafile", certs.other_ca.pem.to_str().unwrap()];
    let cases = [
        (wrong_ca.as_slice(), "cannot be reached", "UnknownIssuer"),
        (&["--broker", "none.invalid:1883"], "cannot be reached", "failed to lookup address"),
        (&["--broker", &closes], "WARN", "the broker has not answered CONNECT"),
        (&["--broker", &deaf], "timed out", "the broker has not answered CONNECT"),
        (&plain, "WARN", "the broker has not answered CONNECT"),
    ];
    for (args, what, why) in cases {
        let scene = Scene::new(POLICY);
        let proxy = scene.proxy(args);
        let mut link = Link::open(proxy.address()).unwrap();
        link.send(&connect(V311, "pump", true)).unwrap();
        if link.receive().is_ok_and(|(_, body)| body[1] == 0) {
            link.send(&publish(V311, 0, "clear/a", 0, b"27")).unwrap();
        }
        let is_told = |line: &str| line.contains(what) && line.contains(why);
        wait_until(why, || proxy.log(), || proxy.log().lines().any(is_told));
    }
}

#[test]
fn broker_that_restarts_ends_connections_and_takes_new_ones() {
    let mut world = World::new();
    for _ in 0..3 {
        let mut links = [world.client(V311, "one"), world.client(V5, "two")];
        world.broker.restart();
        for link in &mut links {
            // a broker of version 5 says goodbye
            let stream = link.stream();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            assert!(rest.is_empty() || rest[0] == 0xE0, "{rest:?}");
        }
        world.serves();
    }
}

#[test]
fn refused_filters_do_not_fill_the_log() {
    let world = World::new();
    let mut link = world.client(V311, "asks");
    let filters: Vec<u8> = (0..2_000).flat_map(|_| [text("none"), vec![0]].concat()).collect();
    link.send(&packet(0x82, &[vec![0, 1], filters].concat())).unwrap();
    let (first, body) = link.receive().unwrap();
    assert_eq!((first, body.len()), (0x90, 2_002));
    assert!(body[2..].iter().all(|answer| *answer == 0x80));
    let told = world.proxy.log().matches("filter refused").count();
    assert!((1..=11).contains(&told), "{told} lines");
}

#[test]
fn packets_that_are_none_end_their_connection_alone() {
    let world = World::new();
    let mut bystander = world.client(V311, "bystander");
    let wrong: [&[u8]; 6] = [
        // no kind, and a length of five bytes
        &[0x00, 0],
        &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1],
        // QoS 3, no topic, no packet ID, an acknowledgement without one
        &[0x36, 3, 0, 1, b'a'],
        &[0x30, 1, 0],
        &[0x32, 3, 0, 1, b'a'],
        &[0x40, 0],
    ];
    for bytes in wrong {
        world.ends(&mut world.client(V311, "old"), bytes);
        let told = world.ends(&mut world.client(V5, "new"), bytes);
        assert_eq!(told, Some(0x81), "{bytes:x?}");
        let mut stranger = Link::new(TcpStream::connect(world.proxy.address()).unwrap()).unwrap();
        assert_eq!(world.ends(&mut stranger, bytes), None);
    }
    bystander.send(&acknowledge(0x40, 9)).unwrap();
    bystander.send(&[0xC0, 0]).unwrap();
    assert_eq!(bystander.receive().unwrap().0, 0xD0);
}
