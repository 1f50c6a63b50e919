//! Both sides of a proxy's connections: rules, a sender that is far away, and packets.

pub mod oracle;
pub mod pair;

use mqtt_seal::guard::{Guard, GuardRx, GuardTx, Incoming, Opened, Outgoing};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::policy::{Links, Policy, PropertyHandling, Replay, Rule, Transport};
use mqtt_seal::proxy::packet::{Frame, Version};
use mqtt_seal::secret::RootKey;
use mqtt_seal::wire::property::Property;

use crate::{Constant, ROOT};

/// Topics: those before [`CLEAR`] are sealed.
pub const TOPICS: [&str; 9] = [
    "sealed/a",
    "sealed/b",
    "latest/a",
    "tcp/a",
    "tcp/b",
    "bind/a",
    "clear/a",
    "clear/b",
    "cleartcp/a",
];
/// The place of the first topic that is not sealed.
pub const CLEAR: usize = 6;
/// What time it is, in Unix milliseconds.
pub const NOW: u64 = 1_700_000_000_000;

/// The rules of [`TOPICS`], behind another that covers some of them.
pub(crate) fn policy(first: Option<Rule>, replay: impl Fn(Replay) -> Replay) -> Policy {
    let window = replay(Replay::Window);
    let rules = [
        Rule::sealed(["sealed/#"]).transport(Transport::Any).replay(window).build(),
        Rule::sealed(["latest/#"]).transport(Transport::Any).replay(replay(Replay::Latest)).build(),
        Rule::sealed(["tcp/#"]).transport(Transport::Tcp).replay(window).build(),
        Rule::sealed(["bind/#"])
            .transport(Transport::Any)
            .properties(PropertyHandling::Bind)
            .replay(window)
            .build(),
        Rule::clear(["clear/#"]).transport(Transport::Any).build(),
        Rule::clear(["cleartcp/#"]).transport(Transport::Tcp).build(),
    ];
    let rules = rules.into_iter().map(|rule| rule.expect("a legal rule"));
    Policy::new(first.into_iter().chain(rules).collect())
}

/// The rules of the proxy.
#[must_use]
pub fn rules() -> Policy {
    policy(None, |replay| replay)
}

/// Every key.
#[must_use]
pub fn keyring() -> Keyring {
    Keyring::new(vec![Grant::root(RootKey::take(&mut { *ROOT.expose() }))])
}

/// A sender behind the broker.
///
/// # Panics
/// Never: nothing is drawn at random.
#[must_use]
pub fn sender() -> GuardTx {
    let guard = Guard::with_entropy(rules(), keyring(), Links::Tcp, Box::new(Constant));
    let mut tx = guard.expect("a constant does not fail").split().0;
    tx.connected("far-away");
    tx
}

/// Seals for a topic.
///
/// # Panics
/// If the topic is not one of [`TOPICS`].
pub fn seal(tx: &mut GuardTx, topic: &str, payload: &[u8], retain: bool) -> Vec<u8> {
    let mut out = vec![];
    // no other rule allows a message to be retained
    let retain = retain && topic.starts_with("latest/");
    let message = Outgoing::new(topic, payload).retain(retain).at(Some(NOW));
    let sealed = tx.seal(&message, &mut out).expect("a rule covers it");
    if sealed.sealed.is_some() { out } else { payload.to_vec() }
}

/// Opens whatever is sealed under the key, as often as it comes.
#[derive(Debug)]
pub struct Observer(GuardRx);

impl Default for Observer {
    fn default() -> Self {
        let policy = policy(None, |_| Replay::Off);
        let guard = Guard::with_entropy(policy, keyring(), Links::Tcp, Box::new(Constant));
        Self(guard.expect("a constant does not fail").split().1)
    }
}

impl Observer {
    /// The payload as its sender wrote it; `None` if it is not sealed under the key.
    pub fn open(
        &mut self,
        topic: &str,
        sealed: &[u8],
        properties: &[Property<'_>],
    ) -> Option<Vec<u8>> {
        let mut out = vec![];
        let link = mqtt_seal::policy::Link::Tcp;
        let message = Incoming::new(topic, sealed, link).properties(properties).at(Some(NOW));
        match self.0.open(&message, &mut out) {
            Ok(Opened::Delivered(_)) => Some(out),
            _ => None,
        }
    }
}

/// Whether payloads of this topic are sealed.
#[must_use]
pub fn is_sealed(topic: &str) -> bool {
    is_below(topic, &["sealed", "latest", "tcp", "bind"])
}

/// Whether the plain link may have this topic.
#[must_use]
pub fn is_plain(topic: &str) -> bool {
    is_below(topic, &["tcp", "cleartcp"])
}

// `bind/#` covers `bind` too
fn is_below(topic: &str, first: &[&str]) -> bool {
    first.contains(&topic.split('/').next().expect("there is always one"))
}

/// The packets that `bytes` are.
///
/// # Panics
/// If they are none.
#[must_use]
pub fn frames(mut bytes: &[u8]) -> Vec<Frame<'_>> {
    let mut all = vec![];
    while !bytes.is_empty() {
        let frame = Frame::first(bytes, usize::MAX).expect("packets").expect("whole packets");
        bytes = &bytes[frame.bytes.len()..];
        all.push(frame);
    }
    all
}

/// A packet of less than 2 MiB.
#[must_use]
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    length(&mut packet, body.len());
    packet.extend_from_slice(body);
    packet
}

/// Writes a variable byte integer.
pub fn length(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes a text with its length.
pub fn text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text);
}

/// Writes properties with their length, where the version has them.
pub fn properties(out: &mut Vec<u8>, version: Version, properties: &[u8]) {
    if version.is_5() {
        length(out, properties.len());
        out.extend_from_slice(properties);
    }
}

/// A PUBLISH with these flags.
#[must_use]
pub fn publish(
    version: Version,
    flags: u8,
    topic: &str,
    id: u16,
    about: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut body = vec![];
    text(&mut body, topic.as_bytes());
    if flags & 0b0110 != 0 {
        body.extend_from_slice(&id.to_be_bytes());
    }
    properties(&mut body, version, about);
    body.extend_from_slice(payload);
    packet(0x30 | flags, &body)
}
