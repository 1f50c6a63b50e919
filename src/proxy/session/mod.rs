//! One client's connection, without I/O: bytes in from three sides, bytes out to three sides. Knows
//! packets and the guard; time is an argument.

mod acknowledge;
mod alias;
mod connect;
mod deliver;
mod ended;
mod outbox;
mod plain;
mod publish;
mod refuse;
mod subscribe;

use core::mem;
use std::collections::{HashMap, HashSet};
use std::string::String;
use std::sync::Arc;
use std::vec::Vec;

use super::clients::{self, Client};
use super::meters::Connection;
use super::packet::{Disconnect, Frame, Kind, PacketError, Version};
use super::{Core, InForce};
use crate::guard::{QoS, Receipt};
use crate::policy::{Link, Links};
use alias::Aliases;
pub(super) use connect::growth;
pub(super) use ended::Ended;
use outbox::Outbox;
use plain::{Plain, PlainStage};

/// The identifiers of the properties that belong to a payload.
const PAYLOAD_IDS: [u8; 5] = [0x01, 0x03, 0x08, 0x09, 0x26];
/// The identifier of the topic alias.
const ALIAS: u8 = 0x23;
/// Bytes of messages that wait for room in the plain link's window, beyond the largest packet: more
/// end the connection.
const MAX_QUEUED: usize = 32 << 20;
/// Bytes that wait for one end, beyond two packets: more end the connection.
const MAX_WAITING: usize = 4 << 20;

/// Bytes of the largest first packet: all texts of a CONNECT at their longest, and as much again for
/// user properties. Who has not said CONNECT gets no more memory.
const MAX_CONNECT: usize = 1 << 20;

/// One of the ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The client.
    Client,
    /// The broker, by the link that everything takes but for messages of `tcp` rules.
    Main,
    /// The broker by plain TCP, beside a main link by TLS.
    Plain,
}

/// What a broker asks of those that connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) max_packet: Option<u32>,
    pub(super) receive_max: Option<u16>,
    pub(super) max_qos: u8,
    pub(super) retain: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_packet: None, receive_max: None, max_qos: 2, retain: true }
    }
}

impl Limits {
    /// Whether all is taken that MQTT can say.
    fn is_none(&self) -> bool {
        *self == Self { receive_max: self.receive_max, ..Self::default() }
    }

    const fn take(&self, qos: QoS, retain: bool) -> bool {
        let level = match qos {
            QoS::AtMostOnce => 0,
            QoS::AtLeastOnce => 1,
            QoS::ExactlyOnce => 2,
        };
        level <= self.max_qos && (self.retain || !retain)
    }
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// CONNECT has to come.
    New,
    /// The broker has to answer.
    Connecting,
    Running,
    /// The client has left, or was refused: what waits is written, and no more.
    Over,
}

/// Whether a packet was dealt with, or waits for the other link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Done,
    Wait,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Session {
    core: Arc<Core>,
    stage: Stage,
    version: Version,
    clean: bool,
    client_id: String,
    client: Option<clients::Shared>,
    /// Tells this connection from earlier ones of the client.
    number: u64,
    pub(super) to_client: Outbox,
    pub(super) to_main: Outbox,
    pub(super) to_plain: Outbox,
    plain: Plain,
    limits: Limits,
    /// The limit for packets that the client was told.
    told_max: Option<u32>,
    /// What the client takes.
    client_max: Option<u32>,
    alias_max: u16,
    up: Aliases,
    down: Aliases,
    /// Messages that the client has not acknowledged, by packet ID.
    deliveries: HashMap<u16, Option<Receipt>>,
    /// Messages that were refused and count as received, since version 3 cannot say so.
    refused: HashSet<u16>,
    /// IDs that the broker was asked to release before it is given a message under them: the answer is
    /// not the client's.
    released: HashSet<u16>,
    /// Answers to filters that were not passed on, by packet ID of the SUBSCRIBE.
    subscriptions: HashMap<u16, Vec<Option<u8>>>,
    refused_filters: u64,
    /// How often a message had to go before it was acknowledged.
    forgotten: u64,
    /// Whether the broker kept what the client's last connection left there.
    resumes: bool,
    /// Whether the client has closed its direction: it says no more, and may listen.
    client_closed: bool,
    now: Option<u64>,
    /// What is shown of the connection.
    pub(super) shown: Option<Arc<Connection>>,
    scratch: Vec<u8>,
    topic: String,
    /// Bytes of the broker's packet that is passed over which have not come.
    skip: usize,
    /// The rules that `last_rule` is of.
    in_force: Option<Arc<InForce>>,
    /// The rule of the last topic, in each direction.
    last_rule: [(String, Option<usize>); 2],
}

impl Session {
    /// The connection with this number, of which there is one in the life of the process.
    pub(super) fn new(core: Arc<Core>, number: u64) -> Self {
        Self {
            core,
            stage: Stage::New,
            version: Version::V311,
            clean: true,
            client_id: String::new(),
            client: None,
            number,
            to_client: Outbox::default(),
            to_main: Outbox::default(),
            to_plain: Outbox::default(),
            plain: Plain::default(),
            limits: Limits::default(),
            told_max: None,
            client_max: None,
            alias_max: 0,
            up: Aliases::default(),
            down: Aliases::default(),
            deliveries: HashMap::new(),
            refused: HashSet::new(),
            released: HashSet::new(),
            subscriptions: HashMap::new(),
            refused_filters: 0,
            forgotten: 0,
            resumes: false,
            client_closed: false,
            now: None,
            shown: None,
            scratch: Vec::new(),
            topic: String::new(),
            skip: 0,
            in_force: None,
            last_rule: Default::default(),
        }
    }

    /// Takes bytes that came from `side` at `now`, in Unix milliseconds: all complete packets that
    /// can be dealt with. Returns how many bytes those had; give the others again, with more behind
    /// them or when [`Session::takes`] says so.
    pub(super) fn take(
        &mut self,
        side: Side,
        bytes: &[u8],
        now: Option<u64>,
    ) -> Result<Taken, Ended> {
        self.now = now;
        let shared = self.client.clone();
        let mut client = shared.as_ref().map(clients::hold);
        if let Some(client) = &client {
            self.notice(&client.in_force);
        }
        let mut taken = Taken::default();
        loop {
            let rest = bytes.get(taken.bytes..).unwrap_or_default();
            if !self.takes(side) {
                return Ok(taken);
            }
            if side == Side::Main && self.skip > 0 && !rest.is_empty() {
                let skipped = self.skip.min(rest.len());
                self.skip = self.skip.saturating_sub(skipped);
                taken.bytes = taken.bytes.saturating_add(skipped);
                continue;
            }
            let frame = match (Frame::first(rest, self.max_packet()), client.as_deref_mut()) {
                (Err(PacketError::TooLarge { len }), Some(client)) if side == Side::Main => {
                    if !self.pass_over(client, rest, len)? {
                        return Ok(taken);
                    }
                    taken.packets = taken.packets.saturating_add(1);
                    continue;
                }
                (frame, _) => frame.map_err(|error| self.bad_packet(side, error))?,
            };
            let Some(frame) = frame else { return Ok(taken) };
            if side == Side::Client && self.holds_back(frame.kind) {
                return Ok(taken);
            }
            let flow = match (side, client.as_deref_mut()) {
                (Side::Client, None) => self.first(&frame)?,
                (Side::Client, Some(client)) => self.take_from_client(client, &frame)?,
                (Side::Main, Some(client)) => self.take_from_main(client, &frame)?,
                (Side::Plain, Some(client)) => self.take_from_plain(client, &frame)?,
                (Side::Main | Side::Plain, None) => Flow::Done,
            };
            if flow == Flow::Wait {
                return Ok(taken);
            }
            if side == Side::Client {
                self.live(frame.kind);
            }
            // a few bytes may stand for many, as an alias does
            self.check_waiting()?;
            taken.bytes = taken.bytes.saturating_add(frame.bytes.len());
            taken.packets = taken.packets.saturating_add(1);
            if client.is_none() && self.client.is_some() {
                return Ok(taken); // the rest is dealt with under the client's lock
            }
        }
    }

    /// Rules may have been replaced since the last packets.
    fn notice(&mut self, in_force: &Arc<InForce>) {
        if !self.in_force.as_ref().is_some_and(|before| Arc::ptr_eq(before, in_force)) {
            self.in_force = Some(Arc::clone(in_force));
            self.last_rule = Default::default();
        }
    }

    /// Whether an end takes too little of what there is for it.
    fn check_waiting(&self) -> Result<(), Ended> {
        let packets = self.core.settings.max_packet.saturating_mul(2);
        let max = MAX_WAITING.saturating_add(packets);
        let sides = [
            (Side::Client, &self.to_client),
            (Side::Main, &self.to_main),
            (Side::Plain, &self.to_plain),
        ];
        let over = sides.into_iter().find(|(_, outbox)| outbox.waiting() > max);
        over.map_or(Ok(()), |(side, _)| Err(Ended::Backlog(side)))
    }

    /// Bytes of the largest packet that is waited for.
    fn max_packet(&self) -> usize {
        let max = self.core.settings.max_packet;
        if self.stage == Stage::New { max.min(MAX_CONNECT) } else { max }
    }

    /// Whether packets from `side` can be dealt with now.
    pub(super) fn takes(&self, side: Side) -> bool {
        match side {
            Side::Client => {
                self.stage != Stage::Over
                    && !matches!(self.plain.stage, PlainStage::Wanted | PlainStage::Connecting)
            }
            Side::Main | Side::Plain => !matches!(self.stage, Stage::New | Stage::Over),
        }
    }

    /// Whether a client's packet waits for the broker's answer to CONNECT. Only an exchange of
    /// extended authentication goes on, and leave.
    fn holds_back(&self, kind: Kind) -> bool {
        self.stage == Stage::Connecting && !matches!(kind, Kind::Auth | Kind::Disconnect)
    }

    /// Whether the client has to say CONNECT, or a broker to answer one.
    pub(super) const fn waits_for_answer(&self) -> bool {
        matches!(self.stage, Stage::New | Stage::Connecting)
            || matches!(self.plain.stage, PlainStage::Connecting)
    }

    /// Whether the broker on this side has to answer.
    pub(super) const fn waits_for(&self, side: Side) -> bool {
        match side {
            Side::Client => false,
            Side::Main => self.is_connecting(),
            Side::Plain => matches!(self.plain.stage, PlainStage::Connecting),
        }
    }

    /// Whether the broker has to answer.
    pub(super) const fn is_connecting(&self) -> bool {
        matches!(self.stage, Stage::Connecting)
    }

    /// What the mark stands for is durable.
    pub(super) fn reached(&mut self, mark: super::keeper::Mark) {
        for outbox in [&mut self.to_client, &mut self.to_main, &mut self.to_plain] {
            outbox.reached(mark);
        }
    }

    /// Whether the connection to the broker is needed.
    pub(super) const fn wants_main(&self) -> bool {
        !matches!(self.stage, Stage::New | Stage::Over)
    }

    /// Whether the plain link is needed.
    pub(super) const fn wants_plain(&self) -> bool {
        matches!(self.plain.stage, PlainStage::Wanted)
    }

    /// Whether nothing more comes: what waits is to be written, and the connection ended.
    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// The connection has ended, at this time in Unix milliseconds.
    pub(super) fn ended(&self, now: u64) {
        if let Some(client) = &self.client {
            clients::hold(client).sent.ended(now, |gone| self.forget(Some(gone)));
        }
    }

    /// The client has said all: what comes from the broker is answers to that.
    pub(super) const fn client_closed(&mut self) {
        self.client_closed = true;
    }

    /// Whether messages of the client are kept.
    pub(super) fn keeps(&self) -> bool {
        self.client.as_ref().is_some_and(|client| clients::hold(client).sent.bytes() > 0)
    }

    /// The MQTT client ID.
    pub(super) fn client_id(&self) -> &str {
        &self.client_id
    }

    fn main_link(&self) -> Link {
        if self.core.settings.links.has_tls() { Link::Tls } else { Link::Tcp }
    }

    /// The side by which `link` is reached.
    fn side(&self, link: Link) -> Side {
        match (self.core.settings.links, link) {
            (Links::Both, Link::Tcp) => Side::Plain,
            _ => Side::Main,
        }
    }

    fn take_from_client(&mut self, client: &mut Client, frame: &Frame<'_>) -> Result<Flow, Ended> {
        match frame.kind {
            Kind::Publish => return self.publish(client, frame),
            Kind::Puback | Kind::Pubrec | Kind::Pubcomp => {
                self.client_acknowledges(client, frame)?;
            }
            Kind::Pubrel => return self.release(client, frame),
            Kind::Subscribe => self.subscribe(client, frame)?,
            Kind::Disconnect => self.leave(client, frame),
            Kind::Pingreq | Kind::Unsubscribe | Kind::Auth => self.to_main.put(frame.bytes),
            Kind::Connect | Kind::Connack | Kind::Suback | Kind::Unsuback | Kind::Pingresp => {
                return Err(self.bad_client(Ended::UnexpectedPacket(frame.kind)));
            }
        }
        Ok(Flow::Done)
    }

    fn leave(&mut self, client: &mut Client, frame: &Frame<'_>) {
        // whose session ends here sends nothing again; another may not have read all that was
        // acknowledged a moment ago
        if self.clean {
            client.sent.forget_done(|gone| self.forget(Some(gone)));
        }
        self.to_main.put(frame.bytes);
        if self.plain.stage == PlainStage::Running {
            self.to_plain.put(&[0xE0, 0]);
        }
        self.stage = Stage::Over;
    }

    fn take_from_main(&mut self, client: &mut Client, frame: &Frame<'_>) -> Result<Flow, Ended> {
        // who acknowledges nothing any more is brought it again, on another connection
        if self.client_closed && matches!(frame.kind, Kind::Publish | Kind::Pubrel) {
            return Ok(Flow::Done);
        }
        match frame.kind {
            Kind::Connack => self.connack(client, frame)?,
            Kind::Publish => self.deliver(client, frame)?,
            Kind::Puback | Kind::Pubrec | Kind::Pubcomp => {
                self.broker_acknowledges(client, Side::Main, frame)?;
            }
            Kind::Pubrel => self.broker_releases(client, frame)?,
            Kind::Suback => self.suback(frame)?,
            Kind::Disconnect => self.disconnected(frame)?,
            Kind::Unsuback | Kind::Pingresp | Kind::Auth => self.to_client.put(frame.bytes),
            Kind::Connect | Kind::Subscribe | Kind::Unsubscribe | Kind::Pingreq => {
                return Err(Ended::UnexpectedPacket(frame.kind));
            }
        }
        Ok(Flow::Done)
    }

    /// The broker ends the connection. Where else it sends the client is not told: that would pass
    /// by the proxy.
    fn disconnected(&mut self, frame: &Frame<'_>) -> Result<(), Ended> {
        if self.version.is_5() {
            let disconnect = Disconnect::parse(frame);
            let disconnect = disconnect.map_err(|error| Ended::BrokerPacket(error.into()))?;
            if disconnect.refers() {
                disconnect.write(self.to_client.end());
                return Ok(());
            }
        }
        self.to_client.put(frame.bytes);
        Ok(())
    }

    /// The number of the rule for a topic, asked for in one direction.
    fn rule_of(&mut self, in_force: &InForce, topic: &str, direction: usize) -> Option<usize> {
        let last = self.last_rule.get_mut(direction)?;
        if last.0 != topic || topic.is_empty() {
            let name = crate::topic::TopicName::parse(topic).ok();
            let rules = in_force.config.policy().rules();
            last.1 = name.and_then(|name| rules.iter().position(|rule| rule.matches(name)));
            last.0.clear();
            last.0.push_str(topic);
        }
        last.1
    }

    /// A scratch buffer; give it back with [`Session::done_with`].
    fn scratch(&mut self) -> Vec<u8> {
        mem::take(&mut self.scratch)
    }

    fn done_with(&mut self, mut scratch: Vec<u8>) {
        scratch.clear();
        scratch.shrink_to(KEPT_SCRATCH);
        self.scratch = scratch;
    }
}

/// Bytes of the scratch buffer that are kept between messages.
const KEPT_SCRATCH: usize = 4 << 10;

/// What was dealt with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Bytes of whole packets.
    pub(super) bytes: usize,
    pub(super) packets: u64,
}

#[cfg(test)]
mod tests;
