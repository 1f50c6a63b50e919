//! What a client spends on a run of peer authentication, and on a full handshake of TLS 1.3 with the
//! same key exchange and certificates as a broker of `mqtt-seal certs`. Counted by
//! `valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*::peer_*'`, and `'*::tls_*'`.

use std::sync::Arc;

use mqtt_seal::peer::{
    Action, Authority, BrokerName, Device, Enrolled, Hop, Names, PeerId, PeerKey, Record,
};
use mqtt_seal::secret::SharedKey;
use mqtt_seal::session::{Entropy, NoEntropy};
use mqtt_seal::topic::TopicName;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

const ROUNDS: u32 = 32;
const NOW: u64 = 1_790_000_000_000;
const SPKI: [u8; 32] = [5; 32];

fn main() {
    let (device, authority) = (names(), names());
    let mut device = Device::new(key(), &device);
    let mut server = Authority::new(authority.authority, authority.request, NOW);
    server.vouch(authority.broker, vec![SPKI]);
    let (client_config, server_config) = configs();
    for round in 0..ROUNDS {
        run(&mut device, &mut server, u64::from(round) * 60_000);
        handshake(&client_config, &server_config);
    }
    println!("{ROUNDS} runs and handshakes");
}

// --- a run ---

struct Counting(u64);

impl Entropy for Counting {
    fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), NoEntropy> {
        self.0 += 1;
        *out = [0; 32];
        out[..8].copy_from_slice(&self.0.to_be_bytes());
        Ok(())
    }
}

fn key() -> PeerKey {
    PeerKey::pairwise(&SharedKey::take(&mut [7; 32]), "acme-prod").unwrap()
}

fn names() -> Names<'static> {
    Names {
        device: PeerId::parse("sensor-007").unwrap(),
        authority: PeerId::parse("authority").unwrap(),
        broker: BrokerName::parse("broker.example:8883").unwrap(),
        request: TopicName::parse("auth/req").unwrap(),
        response: TopicName::parse("auth/sensor-007/res").unwrap(),
    }
}

fn run(device: &mut Device, authority: &mut Authority, now: u64) {
    let m1 = peer_start(device, now);
    let m2 = answer(authority, &m1, now).expect("an answer");
    let m3 = peer_finish(device, &m2, now);
    assert!(answer(authority, &m3, now).is_none());
}

#[inline(never)]
fn peer_start(device: &mut Device, now: u64) -> Vec<u8> {
    let mut m1 = Vec::new();
    device.start(now, &mut Counting(now), &[], &mut m1).unwrap();
    m1
}

#[inline(never)]
fn peer_finish(device: &mut Device, m2: &[u8], now: u64) -> Vec<u8> {
    let mut m3 = Vec::new();
    let record = Record { topic: "auth/sensor-007/res", bytes: m2, now };
    device.receive(&record, Hop::Tls(SPKI), &mut m3).unwrap();
    m3
}

/// The authority's m2 to an m1; `None` when it accepts an m3.
fn answer(authority: &mut Authority, bytes: &[u8], now: u64) -> Option<Vec<u8>> {
    let record = Record { topic: "auth/req", bytes, now: NOW + now };
    let (mut out, key) = (Vec::new(), key());
    let ledger = |_: &str| {
        let response = TopicName::parse("auth/sensor-007/res").unwrap();
        Some(Enrolled { key: &key, response, serial: 4 })
    };
    match authority.receive(&record, ledger, &mut Counting(now + 1), &[], &mut out).unwrap() {
        Action::Answer { .. } => Some(out),
        _ => None,
    }
}

// --- a handshake ---

fn configs() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let (ca_key, server_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let server = CertificateParams::new(vec!["broker.example".into()]).unwrap();
    let server = server.signed_by(&server_key, &issuer).unwrap();

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(ca_cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut client = client.with_no_client_auth();
    // each handshake is a full one
    client.resumption = rustls::client::Resumption::disabled();
    let server_key = PrivateKeyDer::Pkcs8(server_key.serialize_der().into());
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![server.der().clone()], server_key)
        .unwrap();
    (Arc::new(client), Arc::new(server))
}

fn handshake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) {
    let (mut client, mut flight) = tls_start(client);
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut input = flight.as_slice();
        while !input.is_empty() {
            server.read_tls(&mut input).unwrap();
            server.process_new_packets().unwrap();
        }
        let mut answer = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut answer).unwrap();
        }
        flight = tls_step(&mut client, &answer);
    }
}

#[inline(never)]
fn tls_start(config: &Arc<ClientConfig>) -> (ClientConnection, Vec<u8>) {
    let name = ServerName::try_from("broker.example").unwrap();
    let mut client = ClientConnection::new(Arc::clone(config), name).unwrap();
    let flight = what_it_writes(&mut client);
    (client, flight)
}

#[inline(never)]
fn tls_step(client: &mut ClientConnection, mut answer: &[u8]) -> Vec<u8> {
    while !answer.is_empty() {
        client.read_tls(&mut answer).unwrap();
        client.process_new_packets().unwrap();
    }
    what_it_writes(client)
}

/// Under a name that switches no counting.
fn what_it_writes(client: &mut ClientConnection) -> Vec<u8> {
    let mut flight = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut flight).unwrap();
    }
    flight
}
