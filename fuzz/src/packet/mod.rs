//! What a packet of MQTT means, by our parser and by two others that know nothing of it.

mod protocol_core;
mod rmqtt;

pub use protocol_core::protocol_core;
pub use rmqtt::{Native, native, rmqtt};

use mqtt_seal::guard::QoS;
use mqtt_seal::proxy::packet::{
    Acknowledgement, Connack, Connect, Frame, Kind, Malformed, Properties, Publish, Setting,
    Suback, Subscribe, Version,
};
use mqtt_seal::wire::property::Property;

use crate::proxy::length;

/// The parts of a packet that the proxy looks into.
#[derive(Debug, Clone, PartialEq)]
pub enum Meaning {
    Connect(Box<Connection>),
    Connack(Answer),
    Publish(Box<Message>),
    /// Kind, packet ID and reason code.
    Acknowledgement(Kind, u16, u8),
    /// Packet ID, filters with their options, properties.
    Subscribe(u16, Vec<(Vec<u8>, u8)>, Settings),
    /// Packet ID, answers, properties.
    Suback(u16, Vec<u8>, Settings),
    /// One that is passed as it is.
    Other(Kind),
}

/// CONNECT, but for user name and password.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    pub level: u8,
    pub clean: bool,
    pub keep_alive: u16,
    pub client_id: Vec<u8>,
    pub max_packet: Option<u32>,
    pub credentials: bool,
    pub settings: Settings,
    pub will: Option<Message>,
}

/// CONNACK.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub session_present: bool,
    pub reason: u8,
    pub max_packet: Option<u32>,
    /// 65,535 if the broker says nothing.
    pub receive_max: u16,
    pub max_qos: u8,
    pub retain: bool,
    pub assigned_id: Option<Vec<u8>>,
    pub alias_max: u16,
    pub settings: Settings,
}

/// PUBLISH, or a will, which has neither ID nor DUP.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub dup: bool,
    pub qos: u8,
    pub retain: bool,
    pub id: u16,
    pub topic: Vec<u8>,
    pub payload: Vec<u8>,
    pub alias: Option<u16>,
    pub about: About,
    pub settings: Settings,
}

/// Each property as it stands, in order; `None` by a parser that does not keep them.
pub type Settings = Option<Vec<Vec<u8>>>;

/// The properties that belong to a payload. No indicator of its format means the same as 0.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct About {
    pub text: bool,
    pub content_type: Option<Vec<u8>>,
    pub response_topic: Option<Vec<u8>>,
    pub correlation: Option<Vec<u8>>,
    pub user: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Meaning {
    /// The same with the properties of CONNECT and CONNACK in any order: one that is replaced goes
    /// to the end.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        match &mut self {
            Self::Connect(connection) => connection.settings.iter_mut().for_each(|all| all.sort()),
            Self::Connack(answer) => answer.settings.iter_mut().for_each(|all| all.sort()),
            _ => {}
        }
        self
    }

    /// The same by a parser that does not keep properties as they stand.
    #[must_use]
    pub fn without_settings(mut self) -> Self {
        match &mut self {
            Self::Connect(connection) => {
                connection.settings = None;
                connection.will.iter_mut().for_each(|will| will.settings = None);
            }
            Self::Connack(answer) => answer.settings = None,
            Self::Publish(message) => message.settings = None,
            Self::Subscribe(_, _, settings) | Self::Suback(_, _, settings) => *settings = None,
            Self::Acknowledgement(..) | Self::Other(_) => {}
        }
        self
    }
}

/// By our parser; `None` for a CONNECT of a version that it does not know.
///
/// # Errors
/// [`Malformed`].
pub fn ours(frame: &Frame<'_>, version: Version) -> Result<Option<Meaning>, Malformed> {
    let five = |properties| version.is_5().then(|| settings(properties)).unwrap_or_default();
    Ok(Some(match frame.kind {
        Kind::Connect => {
            let Some(connect) = Connect::parse(frame)? else { return Ok(None) };
            Meaning::Connect(Box::new(connection(&connect)?))
        }
        Kind::Connack => {
            let connack = Connack::parse(frame, version)?;
            Meaning::Connack(Answer {
                session_present: connack.session_present,
                reason: connack.reason,
                max_packet: connack.max_packet(),
                receive_max: connack.receive_max().unwrap_or(u16::MAX),
                max_qos: connack.max_qos(),
                retain: connack.retain_available(),
                assigned_id: connack.assigned_id().map(|id| id.as_bytes().to_vec()),
                alias_max: connack.properties.number(0x22).map_or(0, |max| max as u16),
                settings: five(connack.properties),
            })
        }
        Kind::Publish => {
            let publish = Publish::parse(frame, version)?;
            let mut about = vec![];
            publish.payload_properties(&mut about)?;
            Meaning::Publish(Box::new(Message {
                dup: publish.dup(),
                qos: number(publish.qos),
                retain: publish.retain(),
                id: publish.id,
                topic: publish.topic.to_vec(),
                payload: publish.payload.to_vec(),
                alias: publish.alias()?,
                about: About::of(&about),
                settings: five(publish.properties),
            }))
        }
        Kind::Puback | Kind::Pubrec | Kind::Pubrel | Kind::Pubcomp => {
            let ack = Acknowledgement::parse(frame)?;
            Meaning::Acknowledgement(frame.kind, ack.id, ack.reason)
        }
        Kind::Subscribe => {
            let subscribe = Subscribe::parse(frame, version)?;
            let filters = subscribe.filters.iter().map(|(filter, o)| (filter.to_vec(), *o));
            Meaning::Subscribe(subscribe.id, filters.collect(), five(subscribe.properties))
        }
        Kind::Suback => {
            let suback = Suback::parse(frame, version)?;
            Meaning::Suback(suback.id, suback.reasons.to_vec(), five(suback.properties))
        }
        kind => Meaning::Other(kind),
    }))
}

fn connection(connect: &Connect<'_>) -> Result<Connection, Malformed> {
    let five =
        |properties| connect.version.is_5().then(|| settings(properties)).unwrap_or_default();
    let will = connect.will.as_ref().map(|will| {
        let mut about = vec![];
        will.payload_properties(&mut about)?;
        Ok(Message {
            dup: false,
            qos: number(will.qos),
            retain: will.retain,
            id: 0,
            topic: will.topic.to_vec(),
            payload: will.payload.to_vec(),
            alias: None,
            about: About::of(&about),
            settings: five(will.properties),
        })
    });
    Ok(Connection {
        level: match connect.version {
            Version::V31 => 3,
            Version::V311 => 4,
            _ => 5,
        },
        clean: connect.clean(),
        keep_alive: connect.keep_alive,
        client_id: connect.client_id.into(),
        max_packet: connect.max_packet(),
        credentials: connect.has_credentials(),
        settings: five(connect.properties),
        will: will.transpose()?,
    })
}

fn settings(properties: Properties<'_>) -> Settings {
    let one = |setting: Setting<'_>| match (setting.id, setting.value.number()) {
        // a number may have more bytes than it needs, which the others do not keep
        (0x0B, Some(number)) => {
            let mut raw = vec![0x0B];
            length(&mut raw, usize::try_from(number).expect("of 28 bits"));
            raw
        }
        _ => setting.raw.to_vec(),
    };
    Some(properties.iter().map(one).collect())
}

const fn number(qos: QoS) -> u8 {
    match qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce => 1,
        _ => 2,
    }
}

impl About {
    fn of(properties: &[Property<'_>]) -> Self {
        let mut about = Self::default();
        for property in properties {
            match *property {
                Property::PayloadFormat(text) => about.text = text,
                Property::ContentType(text) => about.content_type = Some(text.into()),
                Property::ResponseTopic(topic) => about.response_topic = Some(topic.into()),
                Property::CorrelationData(data) => about.correlation = Some(data.into()),
                Property::User(name, value) => about.user.push((name.into(), value.into())),
                _ => unreachable!("{property:?}"),
            }
        }
        about
    }
}
