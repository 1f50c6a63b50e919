//! CONNECT and CONNACK: the will sealed, the limits for packets moved by what sealing adds. Knows
//! no socket.

use std::format;
use std::string::String;
use std::sync::Arc;
use std::vec::Vec;

use super::plain::PlainStage;
use super::{Ended, Flow, Limits, Session, Stage, alias::Aliases};
use crate::guard::{Outgoing, SealError};
use crate::policy::{Link, Links, Payload, Rule, TopicBinding};
use crate::proxy::clients::{self, Client};
use crate::proxy::meters::{self, Connection, Count};
use crate::proxy::packet::{Connack, Connect, Frame, Kind, Will, write_property};
use crate::wire::inner;

/// What sealing adds beside padding: 42 bytes of header and tag (SPEC §2), an inner header of flags,
/// timestamp, validity, echo, kind and the length of the properties (§3), and two bytes by which the
/// lengths of the packet may grow.
const GROWTH: u32 = 42 + 1 + 6 + 4 + 8 + 1 + 2 + 2;
/// The property by which a broker sets the time between signs of life.
const SERVER_KEEP_ALIVE: u8 = 0x13;
/// The least limit for packets that a client is told for the plain link's sake. Whoever is on the way
/// there could else silence all clients that come later, those too that use TLS alone.
const LEAST_PLAIN_MAX: u32 = 64 << 10;
/// A topic inside, of any but extraordinary length.
const CARRIED: u32 = 2 + 256;

/// Properties and payload of a will as the broker may have it.
type SealedWill = (Vec<u8>, Vec<u8>);

/// Bytes by which a rule makes packets longer, for topics of up to 256 bytes.
pub(in crate::proxy) fn growth(rule: &Rule) -> u32 {
    if !matches!(rule.payload(), Payload::Sealed | Payload::Mixed { .. }) {
        return 0;
    }
    let carried = if *rule.topic_binding() == TopicBinding::Carried { CARRIED } else { 0 };
    let commitment = u32::try_from(rule.suite().commitment_len()).unwrap_or_default();
    let pad = u32::try_from(rule.pad()).unwrap_or(u32::MAX);
    [GROWTH, carried, commitment, pad].into_iter().fold(0, u32::saturating_add)
}

impl Session {
    /// The first packet of a client.
    pub(super) fn first(&mut self, frame: &Frame<'_>) -> Result<Flow, Ended> {
        if frame.kind != Kind::Connect {
            return Err(self.bad_client(Ended::NotConnect));
        }
        let connect = Connect::parse(frame)
            .map_err(|malformed| self.bad_client(Ended::ClientPacket(malformed.into())))?;
        self.stage = Stage::Connecting;
        let Some(connect) = connect else {
            return Err(self.bad_client(Ended::Version));
        };
        self.version = connect.version;
        self.clean = connect.clean();
        self.client_id = connect.client_id.into();
        self.client_max = connect.max_packet();
        self.plain.keep_alive = connect.keep_alive;
        let settings = &self.core.settings;
        let clear = settings.links == Links::Tcp && !settings.credentials_in_clear;
        if clear && connect.has_credentials() {
            return Err(self.bad_client(Ended::Credentials));
        }
        let will = connect.will.and_then(|will| core::str::from_utf8(will.topic).ok());
        if will.is_some_and(|topic| settings.is_auth_topic(topic)) {
            return Err(self.bad_client(Ended::WillOnAuthTopic));
        }
        self.connect(&connect, frame)?;
        Ok(Flow::Done)
    }

    fn connect(&mut self, connect: &Connect<'_>, frame: &Frame<'_>) -> Result<(), Ended> {
        let core = Arc::clone(&self.core);
        let client = core.clients.get(&self.client_id, || core.in_force());
        let client = client.map_err(|error| self.bad_client(Ended::Client(error)))?;
        {
            let mut client = clients::hold(&client);
            // every session, those too of the plain link, which is made anew as well
            client.tx.connected(&self.client_id);
            let writes = client.rx.take_writes();
            client.log(writes);
            let will = connect.will.map(|will| self.seal_will(&mut client, &will));
            let will = will.transpose().map_err(|e| self.bad_client(Ended::Will(e)))?.flatten();
            self.write_connect(connect, frame, will.as_ref(), client.in_force.growth);
        }
        if self.core.settings.links == Links::Both {
            self.plain.client_id = self.plain_client_id();
            connect.write_plain(&self.plain.client_id, &mut self.plain.connect);
        }
        self.client = Some(client);
        Ok(())
    }

    /// The client's ID with the suffix; none where the broker chooses one, or that would be too long
    /// for a packet.
    fn plain_client_id(&self) -> String {
        if self.client_id.is_empty() {
            return String::new();
        }
        let id = format!("{}{}", self.client_id, self.core.settings.plain_suffix);
        if u16::try_from(id.len()).is_ok() { id } else { String::new() }
    }

    /// Seals the will; `None` if it stays as it is.
    // SPEC §6, "A will"
    fn seal_will(
        &mut self,
        client: &mut Client,
        will: &Will<'_>,
    ) -> Result<Option<SealedWill>, SealError> {
        let malformed = |_| SealError::Topic(crate::topic::TopicError::NotUtf8);
        let topic = core::str::from_utf8(will.topic)
            .map_err(|_| SealError::Topic(crate::topic::TopicError::NotUtf8))?;
        let mut properties = Vec::new();
        will.payload_properties(&mut properties).map_err(malformed)?;
        let message = Outgoing::new(topic, will.payload)
            .qos(will.qos)
            .retain(will.retain)
            .properties(&properties)
            .kind(Some(inner::Kind::Will))
            .at(self.now);
        let mut payload = Vec::new();
        let sealed = client.tx.seal(&message, &mut payload)?;
        if sealed.sealed.is_none() {
            return Ok(None);
        }
        // the length of a will's payload has 16 bits
        if payload.len() > usize::from(u16::MAX) {
            return Err(SealError::TooLarge { len: payload.len(), max: usize::from(u16::MAX) });
        }
        let mut kept = Vec::new();
        let others = |id: &u8| ![0x01, 0x03, 0x08, 0x09, 0x26].contains(id);
        for setting in will.properties.iter().filter(|setting| others(&setting.id)) {
            kept.extend_from_slice(setting.raw);
        }
        for property in properties.iter().filter(|property| sealed.keeps(property)) {
            write_property(property, &mut kept);
        }
        Ok(Some((kept, payload)))
    }

    fn write_connect(
        &mut self,
        connect: &Connect<'_>,
        frame: &Frame<'_>,
        will: Option<&SealedWill>,
        growth: u32,
    ) {
        let raised = self.client_max.filter(|_| growth > 0).map(|max| max.saturating_add(growth));
        if will.is_none() && raised.is_none() {
            self.to_main.put(frame.bytes);
            return;
        }
        let same = connect.will.as_ref().map(|will| (will.properties.as_bytes(), will.payload));
        let will = will.map(|(properties, payload)| (properties.as_slice(), payload.as_slice()));
        let max = raised.or(self.client_max);
        connect.write_with(max, will.or(same), self.to_main.end());
    }

    /// The broker answers.
    pub(super) fn connack(&mut self, client: &mut Client, frame: &Frame<'_>) -> Result<(), Ended> {
        if self.stage != Stage::Connecting {
            return Err(Ended::UnexpectedPacket(Kind::Connack));
        }
        let connack = Connack::parse(frame, self.version);
        let connack = connack.map_err(|error| Ended::BrokerPacket(error.into()))?;
        if connack.reason != 0 {
            let (max, receive) = (connack.max_packet(), connack.receive_max());
            if connack.refers() {
                connack.write_with(max, receive, self.to_client.end());
            } else {
                self.to_client.put(frame.bytes);
            }
            self.stage = Stage::Over;
            return Ok(());
        }
        self.stage = Stage::Running;
        self.resumes = connack.session_present;
        if !connack.session_present {
            client.held.clear();
            client.swallowed.clear();
        }
        self.limits = limits(&connack);
        let alias_max = connack.properties.number(0x22).map(u16::try_from);
        self.alias_max = alias_max.and_then(Result::ok).unwrap_or_default();
        (self.up, self.down) = (Aliases::default(), Aliases::default());
        // MQTT 5.0 §3.2.2.3.7: only who has no ID is given one
        if self.client_id.is_empty()
            && let (Some(id), Some(shared)) = (connack.assigned_id(), &self.client)
            && self.core.clients.name(id, shared)
        {
            self.client_id = id.into();
        }
        self.write_connack(&connack, frame, client.in_force.growth);
        self.show();
        Ok(())
    }

    /// Tells the client the limits that hold on its side.
    fn write_connack(&mut self, connack: &Connack<'_>, frame: &Frame<'_>, growth: u32) {
        let plain = match self.core.settings.links {
            Links::Both => *meters::lock(&self.core.plain_limits),
            Links::Tcp | Links::Tls => Limits::default(),
        };
        let least = |a: Option<u32>, b: Option<u32>| a.into_iter().chain(b).min();
        let plain_max = plain.max_packet.map(|max| max.max(LEAST_PLAIN_MAX));
        let max = least(connack.max_packet(), plain_max);
        let lowered = max.map(|max| max.saturating_sub(growth).max(1));
        let told = connack.receive_max();
        let receive = told.into_iter().chain(plain.receive_max).min();
        self.told_max = lowered;
        let same = lowered == connack.max_packet() && receive == told && !connack.refers();
        if self.version.is_5() && !same {
            connack.write_with(lowered, receive, self.to_client.end());
        } else {
            self.to_client.put(frame.bytes);
        }
    }

    fn show(&mut self) {
        let connection = Arc::new(Connection {
            client_id: self.client_id.clone().into(),
            version: self.version,
            since: meters::unix_ms(),
            to_broker: Count::default(),
            to_client: Count::default(),
            rejected: Count::default(),
        });
        self.core.meters.connected(self.number, Arc::clone(&connection));
        self.shown = Some(connection);
    }

    /// The plain link's connection is made.
    pub(in crate::proxy) fn plain_open(&mut self) {
        self.to_plain.put(&self.plain.connect);
        self.plain.stage = PlainStage::Connecting;
    }

    pub(super) fn plain_connack(
        &mut self,
        client: &mut Client,
        frame: &Frame<'_>,
    ) -> Result<(), Ended> {
        if self.plain.stage != PlainStage::Connecting {
            return Err(Ended::UnexpectedPacket(Kind::Connack));
        }
        let connack = Connack::parse(frame, self.version);
        let connack = connack.map_err(|error| Ended::BrokerPacket(error.into()))?;
        if connack.reason != 0 {
            return Err(Ended::PlainRefused { reason: connack.reason });
        }
        client.tx.connected_on(Link::Tcp, &self.plain.client_id);
        self.plain.limits = limits(&connack);
        let other = connack.properties.number(SERVER_KEEP_ALIVE).map(u16::try_from);
        if let Some(Ok(keep_alive)) = other {
            self.plain.keep_alive = keep_alive;
        }
        self.plain.heard = self.now;
        *meters::lock(&self.core.plain_limits) = self.plain.limits;
        self.plain.stage = PlainStage::Running;
        Ok(())
    }
}

fn limits(connack: &Connack<'_>) -> Limits {
    Limits {
        max_packet: connack.max_packet(),
        receive_max: connack.receive_max(),
        max_qos: connack.max_qos(),
        retain: connack.retain_available(),
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.shown.take().is_some() {
            self.core.meters.disconnected(self.number);
        }
        zeroize::Zeroize::zeroize(&mut self.scratch);
    }
}

/// What a client is called in the log.
pub(super) fn called(client_id: &str) -> String {
    if client_id.is_empty() { "(none)".into() } else { client_id.into() }
}
