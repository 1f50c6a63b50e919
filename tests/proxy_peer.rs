//! A proxy whose broker is verified by the authority alone: against brokers with certificates that no
//! CA stands behind, those who pass for them, and an authority that is not there.
#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use core::net::Ipv4Addr;
use core::time::Duration;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use mqtt_seal::peer::SpkiHash;
use mqtt_seal::tls::SpkiPin;
use support::authority::AuthorityLoop;
use support::bytes::{CONNACK, Link, PUBACK, V5, V311, id, packet, publish, text};
use support::certs::{Certs, ServerFiles};
use support::mosquitto::{Mosquitto, Setup, write_password};
use support::plain_sub::PlainSub;
use support::proxy::{Proxy, Scene};
use support::{contains, wait_until};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

const POLICY: &str = "[[rule]]\ntopics = [\"sealed/#\"]\npayload = \"sealed\"\n";
/// What the test authority knows as `device-7`.
const DEVICE: &str = "realm = \"test\"\ndevice = \"device-7\"\nauthority = \"authority\"\n\
                      prefix = \"acme\"\nrequest = \"auth/req\"\nresponse = \"auth/device-7/res\"\n\
                      key = \"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\"\n";
const CLIENT_ID: &str = "real-client-id";
/// All that a stranger must not see, and that clients send.
const SECRETS: [&str; 6] =
    [CLIENT_ID, "real-user", "real-password", "sealed/will", "real-will", "sealed/topic"];
/// "Server unavailable": MQTT 5.0 §3.2.2.2, and MQTT 3.1.1 §3.2.2.3.
const UNAVAILABLE: [(u8, u8); 2] = [(V5, 0x88), (V311, 3)];

/// A proxy in front of the broker at this port.
struct World {
    _scene: Scene,
    proxy: Proxy,
}

impl World {
    fn new(port: u16) -> Self {
        Self::with_device(port, DEVICE)
    }

    /// With the pin of this server in the device's file.
    fn pinned(port: u16, server: &ServerFiles) -> Self {
        let pin = SpkiPin::of_certificate(&fs::read(&server.cert.pem).unwrap()).unwrap();
        Self::with_device(port, &format!("{DEVICE}pins = [\"{pin}\"]\n"))
    }

    fn with_device(port: u16, text: &str) -> Self {
        let scene = Scene::new(POLICY);
        let device = scene.file("device.toml");
        fs::write(&device, text).unwrap();
        fs::set_permissions(&device, Permissions::from_mode(0o600)).unwrap();
        let (broker, device) = (format!("localhost:{port}"), device.display().to_string());
        let proxy = scene.proxy(&[
            "--tls-broker",
            &broker,
            "--device",
            &device,
            "--status",
            "127.0.0.1:0",
            "--max-connections",
            "500",
        ]);
        wait_until("status page", || proxy.log(), || proxy.log().contains("status page on "));
        Self { _scene: scene, proxy }
    }

    /// A client that has said all that is secret.
    fn client(&self, version: u8, client_id: &str) -> Link {
        let mut link = Link::open(self.proxy.address()).unwrap();
        link.send(&connect(version, client_id)).unwrap();
        // what is behind it leaves as little
        link.send(&publish(version, 2, "sealed/topic", 1, b"real-payload")).unwrap();
        link
    }

    /// The reason in the answer to a client.
    fn answer(&self, version: u8, client_id: &str) -> u8 {
        let mut link = self.client(version, client_id);
        reason(&mut link)
    }

    /// A client whose message the broker has taken.
    fn serves(&self, version: u8, client_id: &str) {
        let mut link = self.client(version, client_id);
        assert_eq!(reason(&mut link), 0, "{}", self.proxy.log());
        let (first, body) = link.receive().unwrap();
        assert_eq!((first, id(&body)), (PUBACK, 1));
    }

    /// Status code and body of an answer by HTTP.
    fn get(&self, path: &str) -> (u16, String) {
        let log = self.proxy.log();
        let (_, page) = log.split_once("status page on http://").unwrap();
        let (address, _) = page.split_once('/').unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn broker(&self) -> serde_json::Value {
        let status: serde_json::Value = serde_json::from_str(&self.get("/status.json").1).unwrap();
        status["broker"].clone()
    }

    /// Probes with this outcome.
    fn probes(&self, outcome: &str) -> u32 {
        let metrics = self.get("/metrics").1;
        let name = format!("mqtt_seal_proxy_probes_total{{outcome=\"{outcome}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    }
}

/// CONNECT with will, user name and password.
fn connect(version: u8, client_id: &str) -> Vec<u8> {
    let properties: &[u8] = if version == V5 { &[0] } else { &[] };
    let mut body = [text("MQTT"), vec![version, 0b1100_0110, 0, 0], properties.to_vec()].concat();
    body.extend(text(client_id));
    body.extend(properties);
    for part in ["sealed/will", "real-will", "real-user", "real-password"] {
        body.extend(text(part));
    }
    packet(0x10, &body)
}

fn reason(link: &mut Link) -> u8 {
    let (first, body) = link.receive().unwrap();
    assert_eq!(first, CONNACK);
    body[1]
}

/// The key of a server as an authority names it.
fn spki(server: &ServerFiles) -> SpkiHash {
    SpkiPin::of_certificate(&fs::read(&server.cert.pem).unwrap()).unwrap().to_bytes()
}

/// Lines of a broker's log that tell of clients which came through the proxy, or as nobody.
fn connects(log: &str) -> Vec<&str> {
    let new = log.lines().filter(|line| line.contains("New client connected"));
    new.filter(|line| !line.contains(" as authority") && !line.contains(" as plain-sub")).collect()
}

/// Connections under no client's ID.
fn strangers(log: &str) -> usize {
    let of_client = |line: &str| line.contains(CLIENT_ID) || line.contains(" as client-");
    connects(log).into_iter().filter(|line| !of_client(line)).count()
}

fn assert_told_nothing(log: &str) {
    for secret in SECRETS.iter().chain(&["Will message"]) {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

async fn authority(broker: &Mosquitto, vouched: &[SpkiHash]) -> AuthorityLoop {
    AuthorityLoop::start(broker.tcp_port(), &[(broker.tls_port(), vouched)]).await
}

// -- a broker that no CA stands behind --

#[tokio::test(flavor = "multi_thread")]
async fn broker_of_an_unknown_ca_is_accepted_with_the_attestation_alone() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.of_other_ca));
    let authority = authority(&broker, &[spki(&certs.of_other_ca)]).await;
    let world = World::new(broker.tls_port());
    assert_eq!(world.broker()["standing"], "unknown");
    let watcher = PlainSub::start(&broker, "sealed/topic");
    world.serves(V311, CLIENT_ID);
    world.serves(V5, CLIENT_ID);
    assert!(watcher.wait_for(2).iter().all(|seen| seen.payload.starts_with(&[0xFC])));
    let log = broker.log();
    let connects = connects(&log);
    assert_eq!(connects.len(), 3, "one probe for both clients: {connects:?}");
    assert!(SECRETS.iter().all(|secret| !connects[0].contains(secret)), "{connects:?}");
    for line in &connects[1..] {
        assert!(line.contains(CLIENT_ID) && line.contains("real-user"), "{connects:?}");
    }
    wait_until("m3", || world.proxy.log(), || authority.accepted() == 1);
    let told = world.broker();
    assert_eq!((&told["verified_by"], &told["standing"]), (&"authority".into(), &"vouched".into()));
    let pin = SpkiPin::of_certificate(&fs::read(&certs.of_other_ca.cert.pem).unwrap()).unwrap();
    assert_eq!(told["key"], pin.to_string());
    assert_eq!(world.get("/healthz"), (200, "ok\n".into()));
    assert!(world.get("/metrics").1.contains("broker_vouched 1\n"));
    world.proxy.log().find("the authority vouches for the broker's key").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pin_is_kept_when_the_authority_is_gone() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.of_other_ca));
    let authority = authority(&broker, &[spki(&certs.of_other_ca)]).await;
    let world = World::new(broker.tls_port());
    world.serves(V311, CLIENT_ID);
    drop(authority);
    world.serves(V311, CLIENT_ID);
    assert_eq!(strangers(&broker.log()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_come_at_once_share_one_probe() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.of_other_ca));
    let _authority = authority(&broker, &[spki(&certs.of_other_ca)]).await;
    let world = World::new(broker.tls_port());
    let clients = 200;
    let mut links: Vec<_> =
        (0..clients).map(|number| world.client(V5, &format!("client-{number}"))).collect();
    for link in &mut links {
        assert_eq!(reason(link), 0, "{}", world.proxy.log());
    }
    let log = broker.log();
    assert_eq!((connects(&log).len(), strangers(&log)), (clients + 1, 1));
    assert_eq!(world.probes("vouched"), 1);
}

// -- those who pass for the broker --

#[tokio::test(flavor = "multi_thread")]
async fn second_broker_under_the_same_name_is_told_nothing() {
    let certs = Certs::new();
    // it passes the run on to the authority: the most that a man in the middle can do
    let other = Mosquitto::start(&Setup::new(&certs.of_other_ca));
    let _authority = authority(&other, &[spki(&certs.good)]).await;
    let world = World::new(other.tls_port());
    // both at once: who comes much later is worth another probe
    let clients = UNAVAILABLE.map(|(version, refused)| (world.client(version, CLIENT_ID), refused));
    for (mut client, refused) in clients {
        assert_eq!(reason(&mut client), refused);
    }
    let log = other.log();
    assert!(log.contains("auth/req"), "{log}");
    assert_told_nothing(&log);
    assert_eq!(world.get("/healthz"), (503, "nobody vouches for the broker\n".into()));
    let told = world.broker();
    assert_eq!((&told["standing"], &told["key"]), (&"refused".into(), &serde_json::Value::Null));
    assert!(world.get("/metrics").1.contains("broker_vouched 0\n"));
    assert_eq!((world.probes("vouched"), world.probes("refused")), (0, 1));
    let log = world.proxy.log();
    let lines = log.lines().filter(|line| line.contains("ERROR"));
    let errors = lines.filter(|line| line.contains("does not know the broker's tls key")).count();
    assert_eq!(errors, 1, "{log}");
}

/// A man in the middle: TLS with a certificate of his own before a broker. He keeps what clients
/// send, out of TLS.
struct Middle {
    port: u16,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Middle {
    async fn start(server: &ServerFiles, target: u16) -> Self {
        let cert = CertificateDer::from_pem_file(&server.cert.pem).unwrap();
        let key = PrivateKeyDer::from_pem_file(&server.key).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Vec<u8>>>::default();
        let shared = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    let Ok(client) = acceptor.accept(client).await else { return };
                    let far = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await;
                    let (mut from_far, mut to_far) = far.unwrap().into_split();
                    let (mut from_client, mut to_client) = tokio::io::split(client);
                    tokio::spawn(async move {
                        let _ = tokio::io::copy(&mut from_far, &mut to_client).await;
                    });
                    let mut buffer = vec![0; 4_096];
                    while let Ok(len @ 1..) = from_client.read(&mut buffer).await {
                        seen.lock().unwrap().extend_from_slice(&buffer[..len]);
                        if to_far.write_all(&buffer[..len]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { port, seen }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn man_in_the_middle_reads_a_run_and_no_byte_of_a_client() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.good));
    let middle = Middle::start(&certs.of_other_ca, broker.tcp_port()).await;
    let vouched = spki(&certs.good);
    let _authority = AuthorityLoop::start(broker.tcp_port(), &[(middle.port, &[vouched])]).await;
    let world = World::new(middle.port);
    for _ in 0..3 {
        for (version, refused) in UNAVAILABLE {
            assert_eq!(world.answer(version, CLIENT_ID), refused);
        }
        std::thread::sleep(Duration::from_millis(1_100));
    }
    let seen = middle.seen.lock().unwrap().clone();
    assert!(contains(&seen, b"auth/req"));
    for secret in SECRETS.iter().chain(&["real-payload"]) {
        assert!(!contains(&seen, secret.as_bytes()), "{secret}");
    }
    // CONNECT of a probe: version 3.1.1, clean, and neither will nor user name nor password
    assert_eq!(seen[..10], [&[0x10, 34], text("MQTT").as_slice(), &[4, 0b10]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_that_refuses_strangers_is_told_no_password() {
    let certs = Certs::new();
    let lines = &["allow_anonymous false"];
    let broker = Mosquitto::start(&Setup { lines, ..Setup::new(&certs.good) });
    let world = World::new(broker.tls_port());
    for (version, refused) in UNAVAILABLE {
        assert_eq!(world.answer(version, CLIENT_ID), refused);
    }
    assert_told_nothing(&broker.log());
    let told = world.broker();
    assert!(told["error"].as_str().unwrap().contains("pin it"), "{told}");
}

// -- pins in the device's file --

/// A broker by TLS that lets in who knows the password, and nobody else.
fn broker_with_password(server: &ServerFiles, folder: &TempDir) -> Mosquitto {
    let passwords = folder.path().join("passwords");
    write_password(&passwords, "real-user", "real-password");
    Mosquitto::start(&Setup { tls_passwords: Some(&passwords), ..Setup::new(server) })
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_that_refuses_strangers_is_reached_by_the_pin_in_the_file() {
    let (certs, folder) = (Certs::new(), TempDir::new().unwrap());
    let broker = broker_with_password(&certs.of_other_ca, &folder);
    let world = World::pinned(broker.tls_port(), &certs.of_other_ca);
    assert_eq!(world.broker()["standing"], "pinned");
    for version in [V311, V5] {
        world.serves(version, CLIENT_ID);
    }
    let log = broker.log();
    assert_eq!((connects(&log).len(), strangers(&log)), (2, 0), "{log}");
    assert!(!log.contains("not authorised"), "{log}");
    assert_eq!(world.broker()["standing"], "pinned");
    assert_eq!(world.get("/healthz").0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_pin_at_a_broker_that_refuses_strangers_lets_nothing_out() {
    let (certs, folder) = (Certs::new(), TempDir::new().unwrap());
    let broker = broker_with_password(&certs.of_other_ca, &folder);
    let world = World::pinned(broker.tls_port(), &certs.good);
    for (version, refused) in UNAVAILABLE.into_iter().chain(UNAVAILABLE) {
        assert_eq!(world.answer(version, CLIENT_ID), refused);
    }
    let log = broker.log();
    assert!(log.contains("not authorised"), "{log}");
    assert_told_nothing(&log);
    let told = world.broker();
    assert_eq!(told["standing"], "refused");
    assert!(told["error"].as_str().unwrap().contains("pin it"), "{told}");
    assert_eq!(world.get("/healthz").0, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_pin_costs_a_probe_where_strangers_are_let_in() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.of_other_ca));
    let _authority = authority(&broker, &[spki(&certs.of_other_ca)]).await;
    let world = World::pinned(broker.tls_port(), &certs.good);
    for version in [V311, V5] {
        world.serves(version, CLIENT_ID);
    }
    assert_eq!(strangers(&broker.log()), 1);
    assert_eq!((&world.broker()["standing"], world.probes("vouched")), (&"vouched".into(), 1));
}

/// No probe gets into such a broker: another server in its place, for a moment, must not shut all
/// clients out for good.
#[tokio::test(flavor = "multi_thread")]
async fn pinned_broker_is_found_again_after_another_stood_in_its_place() {
    let (certs, folder) = (Certs::new(), TempDir::new().unwrap());
    let mut broker = broker_with_password(&certs.of_other_ca, &folder);
    let ServerFiles { cert, key } = &certs.of_other_ca;
    let own = [&cert.pem, key].map(|file| fs::read(file).unwrap());
    let world = World::pinned(broker.tls_port(), &certs.of_other_ca);
    world.serves(V5, CLIENT_ID);
    let before = change(&mut broker, &certs.of_other_ca, &certs.good);
    for (version, refused) in UNAVAILABLE {
        assert_eq!(world.answer(version, CLIENT_ID), refused);
    }
    assert_told_nothing(&broker.log()[before..]);
    for (file, bytes) in [&cert.pem, key].into_iter().zip(own) {
        fs::write(file, bytes).unwrap();
    }
    broker.restart();
    std::thread::sleep(Duration::from_millis(1_100));
    world.serves(V5, CLIENT_ID);
    assert_eq!(world.get("/healthz").0, 200);
}

// -- a broker that gets another certificate --

/// Starts a broker again, with the certificate of another server.
fn change(broker: &mut Mosquitto, from: &ServerFiles, to: &ServerFiles) -> usize {
    broker.stop();
    let before = broker.log().len();
    fs::copy(&to.cert.pem, &from.cert.pem).unwrap();
    fs::copy(&to.key, &from.key).unwrap();
    broker.restart();
    before
}

#[tokio::test(flavor = "multi_thread")]
async fn new_key_of_the_broker_is_taken_once_it_is_vouched_for() {
    let certs = Certs::new();
    let mut broker = Mosquitto::start(&Setup::new(&certs.of_other_ca));
    let vouched = [spki(&certs.of_other_ca), spki(&certs.good)];
    let first = authority(&broker, &vouched).await;
    let world = World::new(broker.tls_port());
    world.serves(V311, CLIENT_ID);
    drop(first);
    let before = change(&mut broker, &certs.of_other_ca, &certs.good);
    let _second = authority(&broker, &vouched).await;
    // the same connection: no client has to come twice
    world.serves(V311, CLIENT_ID);
    let log = broker.log();
    let connects = connects(&log[before..]);
    assert_eq!((connects.len(), strangers(&log[before..])), (2, 1), "{connects:?}");
    assert!(!connects[0].contains(CLIENT_ID), "{connects:?}");
    assert_eq!(world.probes("vouched"), 2);
    world.proxy.log().find("the broker has another key").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn new_key_that_nobody_vouches_for_is_refused_until_the_old_one_is_back() {
    let certs = Certs::new();
    let mut broker = Mosquitto::start(&Setup::new(&certs.of_other_ca));
    let own = (fs::read(&certs.of_other_ca.cert.pem).unwrap(), spki(&certs.of_other_ca));
    let key = fs::read(&certs.of_other_ca.key).unwrap();
    let first = authority(&broker, &[own.1]).await;
    let world = World::new(broker.tls_port());
    world.serves(V5, CLIENT_ID);
    drop(first);
    let before = change(&mut broker, &certs.of_other_ca, &certs.good);
    let second = authority(&broker, &[own.1]).await;
    for (version, refused) in UNAVAILABLE {
        assert_eq!(world.answer(version, CLIENT_ID), refused);
    }
    assert_told_nothing(&broker.log()[before..]);
    assert_eq!(world.get("/healthz").0, 503);
    drop(second);
    fs::write(&certs.of_other_ca.cert.pem, own.0).unwrap();
    fs::write(&certs.of_other_ca.key, key).unwrap();
    broker.restart();
    let _third = authority(&broker, &[own.1]).await;
    std::thread::sleep(Duration::from_millis(1_100));
    world.serves(V5, CLIENT_ID);
    assert_eq!(world.get("/healthz").0, 200);
}

// -- an authority that is not there --

#[tokio::test(flavor = "multi_thread")]
async fn silent_authority_makes_clients_wait_for_a_while_and_nothing_grow() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.of_other_ca));
    let world = World::new(broker.tls_port());
    // what one round takes is there
    assert_eq!(world.answer(V5, CLIENT_ID), 0x88);
    let (threads, memory) = (world.proxy.threads(), world.proxy.memory());
    for round in 0..2 {
        std::thread::sleep(Duration::from_millis(1_100));
        let begun = Instant::now();
        let mut links: Vec<_> =
            (0..200).map(|number| world.client(V311, &format!("client-{number}"))).collect();
        for link in &mut links {
            assert_eq!(reason(link), 3);
        }
        // how long at most is up to the machine: that they share one probe says the rest
        let waited = begun.elapsed();
        assert!(waited >= Duration::from_secs(8), "{waited:?} in round {round}");
    }
    // each round is one probe, whatever comes
    assert_eq!((world.probes("silent"), strangers(&broker.log())), (3, 3));
    assert_told_nothing(&broker.log());
    // one that looks up names comes and goes
    assert!(world.proxy.threads() <= threads + 1, "{} after {threads}", world.proxy.threads());
    let more = world.proxy.memory().saturating_sub(memory);
    assert!(more < 16 << 20, "{more} bytes for 400 clients");
    assert_eq!(world.get("/healthz").0, 503);
    let _late = authority(&broker, &[spki(&certs.of_other_ca)]).await;
    std::thread::sleep(Duration::from_millis(1_100));
    world.serves(V5, CLIENT_ID);
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_that_waits_for_the_authority_stops_at_once() {
    let certs = Certs::new();
    let broker = Mosquitto::start(&Setup::new(&certs.of_other_ca));
    let mut world = World::new(broker.tls_port());
    let mut link = world.client(V5, CLIENT_ID);
    broker.wait_for_log("auth/req");
    world.proxy.terminate();
    // whoever waits to the end of a probe is told of it, and so is the log
    assert!(link.is_closed());
    assert!(!world.proxy.log().contains("nobody vouches"), "{}", world.proxy.log());
}
