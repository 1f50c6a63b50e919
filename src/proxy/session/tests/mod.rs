//! A session between a client and a broker of bytes.

mod acknowledge;
mod aliases;
mod auth_topics;
mod connect;
mod deliver;
mod links;
mod publish;
mod restart;
mod subscribe;

use std::string::ToString;
use std::sync::Arc;
use std::vec;
use std::vec::Vec;

use super::{Ended, Session, Side};
use crate::guard::{Config, Delivery, Guard, GuardRx, GuardTx, Incoming, Outgoing};
use crate::keyring::{Grant, Keyring};
use crate::policy::{Link, Links};
use crate::proxy::options::ProxyOptions;
use crate::proxy::packet::{Frame, Kind, Publish, Version};
use crate::proxy::session::outbox::Outbox;
use crate::proxy::{Core, server};
use crate::secret::SharedKey;
use crate::store::policy_file;
use crate::wire::property::Property;

const NOW: u64 = 1_800_000_000_000;

/// What most tests are about: sealed topics, clear ones, and a state.
const POLICY: &str = "
[[rule]]
topics = [\"s/#\"]
payload = \"sealed\"

[[rule]]
topics = [\"state/#\"]
payload = \"sealed\"
replay = \"latest\"

[[rule]]
topics = [\"c/#\"]
payload = \"clear\"
transport = \"tcp\"
";

pub(super) fn config(policy: &str, key: u8, links: Links) -> Config {
    let shared = SharedKey::take(&mut [key; 32]);
    let keyring = Keyring::new(vec![Grant::shared(&shared, "test").unwrap()]);
    Config::new(policy_file::parse(policy).unwrap(), keyring, links)
}

/// Somebody else with the same keys, at the broker.
pub(super) struct Peer {
    pub(super) tx: GuardTx,
    pub(super) rx: GuardRx,
}

impl Peer {
    pub(super) fn new(policy: &str) -> Self {
        let config = Arc::new(config(policy, 7, Links::Both));
        let guard = Guard::from_config(config, std::boxed::Box::new(getrandom::SysRng)).unwrap();
        let (tx, rx) = guard.split();
        Self { tx, rx }
    }

    pub(super) fn seal(&mut self, topic: &str, payload: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        self.tx.seal(&Outgoing::new(topic, payload).at(Some(NOW)), &mut sealed).unwrap();
        sealed
    }

    /// Opens what a packet carries.
    pub(super) fn open(&mut self, packet: &[u8], version: Version) -> (Vec<u8>, Delivery) {
        let publish = publish_of(packet, version);
        let mut properties = Vec::new();
        publish.payload_properties(&mut properties).unwrap();
        let topic = core::str::from_utf8(publish.topic).unwrap();
        let incoming = Incoming::new(topic, publish.payload, Link::Tls)
            .properties(&properties)
            .retain(publish.retain())
            .at(Some(NOW));
        let mut payload = Vec::new();
        let opened = self.rx.open(&incoming, &mut payload).unwrap();
        (payload, opened.delivered().unwrap())
    }
}

/// A proxy with one connection at a time.
pub(super) struct Rig {
    pub(super) core: Arc<Core>,
    pub(super) session: Session,
    pub(super) version: Version,
    connections: u64,
}

impl Rig {
    pub(super) fn new(policy: &str, version: Version) -> Self {
        Self::with(policy, version, Links::Tcp, |options| options)
    }

    pub(super) fn with(
        policy: &str,
        version: Version,
        links: Links,
        change: impl FnOnce(ProxyOptions) -> ProxyOptions,
    ) -> Self {
        let options = change(ProxyOptions::new());
        let core = Arc::new(server::core(options, links, None, config(policy, 7, links)).unwrap());
        let session = Session::new(Arc::clone(&core), 1);
        Self { core, session, version, connections: 1 }
    }

    /// The same, connected as `id`.
    pub(super) fn connected(policy: &str, version: Version) -> Self {
        let mut rig = Self::new(policy, version);
        rig.connect("pump", true);
        rig
    }

    /// Connects anew; what the last connection left is gone.
    pub(super) fn connect(&mut self, id: &str, clean: bool) {
        self.renew();
        self.client(&connect(self.version, id, clean, &[]));
        self.broker(&connack(self.version, !clean, &[]));
    }

    /// A connection that has said nothing yet.
    pub(super) fn renew(&mut self) {
        self.connections = self.connections.saturating_add(1);
        self.session = Session::new(Arc::clone(&self.core), self.connections);
    }

    pub(super) fn give(&mut self, side: Side, bytes: &[u8]) -> Result<Out, Ended> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.session.take(side, rest, Some(NOW))?.bytes;
            if taken == 0 {
                break;
            }
            rest = &rest[taken..];
        }
        let Session { to_client, to_main, to_plain, .. } = &mut self.session;
        let [client, main, plain] = [to_client, to_main, to_plain].map(drain);
        Ok(Out { client, main, plain, left: rest.len() })
    }

    pub(super) fn client(&mut self, bytes: &[u8]) -> Out {
        self.give(Side::Client, bytes).unwrap()
    }

    pub(super) fn broker(&mut self, bytes: &[u8]) -> Out {
        self.give(Side::Main, bytes).unwrap()
    }

    pub(super) fn plain(&mut self, bytes: &[u8]) -> Out {
        self.give(Side::Plain, bytes).unwrap()
    }
}

fn drain(outbox: &mut Outbox) -> Vec<u8> {
    let bytes = outbox.ready().to_vec();
    outbox.wrote(bytes.len());
    bytes
}

/// What came out, and how many bytes were not dealt with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Out {
    pub(super) client: Vec<u8>,
    pub(super) main: Vec<u8>,
    pub(super) plain: Vec<u8>,
    pub(super) left: usize,
}

impl Out {
    pub(super) fn to_client(bytes: &[u8]) -> Self {
        Self { client: bytes.to_vec(), ..Self::default() }
    }

    pub(super) fn to_main(bytes: &[u8]) -> Self {
        Self { main: bytes.to_vec(), ..Self::default() }
    }
}

// --- packets ---

pub(super) fn lp(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut len = body.len();
    loop {
        let more = len >= 128;
        packet.push(u8::try_from(len % 128).unwrap() | if more { 128 } else { 0 });
        len /= 128;
        if !more {
            break;
        }
    }
    [packet, body.to_vec()].concat()
}

fn properties(version: Version, properties: &[u8]) -> Vec<u8> {
    match version {
        Version::V5 => [&[u8::try_from(properties.len()).unwrap()], properties].concat(),
        _ => Vec::new(),
    }
}

fn protocol(version: Version) -> Vec<u8> {
    match version {
        Version::V31 => [lp(b"MQIsdp"), vec![3]].concat(),
        Version::V311 => [lp(b"MQTT"), vec![4]].concat(),
        Version::V5 => [lp(b"MQTT"), vec![5]].concat(),
    }
}

pub(super) fn connect(version: Version, id: &str, clean: bool, props: &[u8]) -> Vec<u8> {
    connect_with(version, id, if clean { 2 } else { 0 }, props, &[])
}

pub(super) fn connect_with(
    version: Version,
    id: &str,
    flags: u8,
    props: &[u8],
    rest: &[u8],
) -> Vec<u8> {
    let parts = [
        protocol(version),
        vec![flags, 0, 60],
        properties(version, props),
        lp(id.as_bytes()),
        rest.to_vec(),
    ];
    packet(0x10, &parts.concat())
}

pub(super) fn connack(version: Version, present: bool, props: &[u8]) -> Vec<u8> {
    packet(0x20, &[vec![present.into(), 0], properties(version, props)].concat())
}

/// `flags`: DUP is 8, the levels are 2 and 4, RETAIN is 1.
pub(super) fn publish(
    version: Version,
    flags: u8,
    topic: &str,
    id: u16,
    props: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let number = if flags & 6 == 0 { Vec::new() } else { id.to_be_bytes().to_vec() };
    let parts =
        [lp(topic.as_bytes()), number, properties(version, props), payload.to_vec()].concat();
    packet(0x30 | flags, &parts)
}

pub(super) fn ack(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

pub(super) fn ack_with(first: u8, id: u16, reason: u8) -> Vec<u8> {
    packet(first, &[id.to_be_bytes().as_slice(), &[reason]].concat())
}

pub(super) const PUBACK: u8 = 0x40;
pub(super) const PUBREC: u8 = 0x50;
pub(super) const PUBREL: u8 = 0x62;
pub(super) const PUBCOMP: u8 = 0x70;

pub(super) fn publish_of(packet: &[u8], version: Version) -> Publish<'_> {
    let frame = Frame::first(packet, usize::MAX).unwrap().expect("a whole packet");
    assert_eq!(frame.kind, Kind::Publish);
    assert_eq!(frame.bytes.len(), packet.len(), "one packet and no more");
    Publish::parse(&frame, version).unwrap()
}

pub(super) fn texts<'a>(
    properties: impl IntoIterator<Item = Property<'a>>,
) -> Vec<std::string::String> {
    properties.into_iter().map(|property| std::format!("{property:?}")).collect()
}

pub(super) const OLD_AND_NEW: [Version; 2] = [Version::V311, Version::V5];
