//! Packets by `rmqtt-codec`, which knows 3.1, 3.1.1 and 5.0.

use bytes::BytesMut;
use bytestring::ByteString;
use mqtt_seal::proxy::packet::{Kind, Version};
use rmqtt_codec::{types, v3, v5};
use tokio_util::codec::Decoder;

use super::{About, Answer, Connection, Meaning, Message};

/// A packet as the crate has it.
#[derive(Debug, PartialEq)]
pub enum Native {
    V3(v3::Packet),
    V5(Box<v5::Packet>),
}

/// The first packet, and how many bytes it has; `None` if it is none or not complete.
#[must_use]
pub fn native(bytes: &[u8], version: Version) -> Option<(Native, usize)> {
    let mut rest = BytesMut::from(bytes);
    let packet = if version.is_5() {
        v5::Codec::default().decode(&mut rest).ok()?.map(|(p, _)| Native::V5(Box::new(p)))?
    } else {
        v3::Codec::default().decode(&mut rest).ok()?.map(|(p, _)| Native::V3(p))?
    };
    Some((packet, bytes.len() - rest.len()))
}

/// What it means.
#[must_use]
pub fn rmqtt(packet: &Native) -> Meaning {
    match packet {
        Native::V3(packet) => v3_meaning(packet),
        Native::V5(packet) => v5_meaning(packet),
    }
}

fn v3_meaning(packet: &v3::Packet) -> Meaning {
    use v3::Packet as P;
    match packet {
        P::Connect(connect) => Meaning::Connect(Box::new(Connection {
            level: connect.protocol.level(),
            clean: connect.clean_session,
            keep_alive: connect.keep_alive,
            client_id: connect.client_id.as_bytes().to_vec(),
            max_packet: None,
            credentials: connect.username.is_some() || connect.password.is_some(),
            settings: None,
            will: connect.last_will.as_ref().map(|will| {
                message(will.qos, will.retain, &will.topic, &will.message, About::default())
            }),
        })),
        P::ConnectAck(ack) => Meaning::Connack(Answer {
            session_present: ack.session_present,
            reason: ack.return_code.into(),
            max_packet: None,
            receive_max: u16::MAX,
            max_qos: 2,
            retain: true,
            assigned_id: None,
            alias_max: 0,
            settings: None,
        }),
        P::Publish(publish) => Meaning::Publish(Box::new(publish_meaning(publish))),
        P::PublishAck { packet_id } => ack(Kind::Puback, packet_id.get(), 0),
        P::PublishReceived { packet_id } => ack(Kind::Pubrec, packet_id.get(), 0),
        P::PublishRelease { packet_id } => ack(Kind::Pubrel, packet_id.get(), 0),
        P::PublishComplete { packet_id } => ack(Kind::Pubcomp, packet_id.get(), 0),
        P::Subscribe { packet_id, topic_filters } => {
            let filters = topic_filters.iter().map(|(f, qos)| (f.as_bytes().to_vec(), qos.value()));
            Meaning::Subscribe(packet_id.get(), filters.collect(), None)
        }
        P::SubscribeAck { packet_id, status } => {
            let code = |code: &v3::SubscribeReturnCode| match code {
                v3::SubscribeReturnCode::Success(qos) => qos.value(),
                v3::SubscribeReturnCode::Failure => 0x80,
            };
            Meaning::Suback(packet_id.get(), status.iter().map(code).collect(), None)
        }
        P::Unsubscribe { .. } => Meaning::Other(Kind::Unsubscribe),
        P::UnsubscribeAck { .. } => Meaning::Other(Kind::Unsuback),
        P::PingRequest => Meaning::Other(Kind::Pingreq),
        P::PingResponse => Meaning::Other(Kind::Pingresp),
        P::Disconnect => Meaning::Other(Kind::Disconnect),
    }
}

fn v5_meaning(packet: &v5::Packet) -> Meaning {
    use v5::Packet as P;
    match packet {
        P::Connect(connect) => Meaning::Connect(Box::new(v5_connect(connect))),
        P::ConnectAck(ack) => Meaning::Connack(Answer {
            session_present: ack.session_present,
            reason: ack.reason_code.into(),
            max_packet: ack.max_packet_size,
            receive_max: ack.receive_max.get(),
            max_qos: ack.max_qos.value(),
            retain: ack.retain_available,
            assigned_id: ack.assigned_client_id.as_ref().map(bytes),
            alias_max: ack.topic_alias_max,
            settings: None,
        }),
        P::Publish(publish) => Meaning::Publish(Box::new(publish_meaning(publish))),
        P::PublishAck(p) => ack(Kind::Puback, p.packet_id.get(), p.reason_code.into()),
        P::PublishReceived(p) => ack(Kind::Pubrec, p.packet_id.get(), p.reason_code.into()),
        P::PublishRelease(p) => ack(Kind::Pubrel, p.packet_id.get(), p.reason_code.into()),
        P::PublishComplete(p) => ack(Kind::Pubcomp, p.packet_id.get(), p.reason_code.into()),
        P::Subscribe(subscribe) => {
            let options = |o: &v5::SubscriptionOptions| {
                let retain = u8::from(o.retain_handling) << 4;
                let own = u8::from(o.no_local) << 2 | u8::from(o.retain_as_published) << 3;
                o.qos.value() | own | retain
            };
            let filters = subscribe.topic_filters.iter().map(|(f, o)| (bytes(f), options(o)));
            Meaning::Subscribe(subscribe.packet_id.get(), filters.collect(), None)
        }
        P::SubscribeAck(suback) => {
            let codes = suback.status.iter().map(|code| (*code).into());
            Meaning::Suback(suback.packet_id.get(), codes.collect(), None)
        }
        P::Unsubscribe(_) => Meaning::Other(Kind::Unsubscribe),
        P::UnsubscribeAck(_) => Meaning::Other(Kind::Unsuback),
        P::PingRequest => Meaning::Other(Kind::Pingreq),
        P::PingResponse => Meaning::Other(Kind::Pingresp),
        P::Disconnect(_) => Meaning::Other(Kind::Disconnect),
        P::Auth(_) => Meaning::Other(Kind::Auth),
    }
}

fn v5_connect(connect: &v5::Connect) -> Connection {
    let will = connect.last_will.as_ref().map(|will| {
        let about = About {
            text: will.is_utf8_payload.unwrap_or(false),
            content_type: will.content_type.as_ref().map(bytes),
            response_topic: will.response_topic.as_ref().map(bytes),
            correlation: will.correlation_data.as_ref().map(|data| data.to_vec()),
            user: user(&will.user_properties),
        };
        message(will.qos, will.retain, &will.topic, &will.message, about)
    });
    let login = connect.username.is_some() || connect.password.is_some();
    let auth = connect.auth_method.is_some() || connect.auth_data.is_some();
    Connection {
        level: 5,
        clean: connect.clean_start,
        keep_alive: connect.keep_alive,
        client_id: bytes(&connect.client_id),
        max_packet: connect.max_packet_size.map(|max| max.get()),
        credentials: login || auth,
        settings: None,
        will,
    }
}

fn publish_meaning(publish: &types::Publish) -> Message {
    let properties = publish.properties.as_ref();
    let about = properties.map(|properties| About {
        text: properties.is_utf8_payload,
        content_type: properties.content_type.as_ref().map(bytes),
        response_topic: properties.response_topic.as_ref().map(bytes),
        correlation: properties.correlation_data.as_ref().map(|data| data.to_vec()),
        user: user(&properties.user_properties),
    });
    let about = about.unwrap_or_default();
    Message {
        dup: publish.dup,
        id: publish.packet_id.map_or(0, |id| id.get()),
        alias: properties.and_then(|properties| properties.topic_alias).map(|alias| alias.get()),
        ..message(publish.qos, publish.retain, &publish.topic, &publish.payload, about)
    }
}

fn message(
    qos: types::QoS,
    retain: bool,
    topic: &ByteString,
    payload: &[u8],
    about: About,
) -> Message {
    Message {
        dup: false,
        qos: qos.value(),
        retain,
        id: 0,
        topic: bytes(topic),
        payload: payload.to_vec(),
        alias: None,
        about,
        settings: None,
    }
}

fn ack(kind: Kind, id: u16, reason: u8) -> Meaning {
    Meaning::Acknowledgement(kind, id, reason)
}

fn bytes(text: &ByteString) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn user(properties: &v5::UserProperties) -> Vec<(Vec<u8>, Vec<u8>)> {
    properties.iter().map(|(name, value)| (bytes(name), bytes(value))).collect()
}
