//! Packets by `mqtt-protocol-core`, which knows 3.1.1 and 5.0.

use std::sync::Arc;

use mqtt_protocol_core::mqtt::packet::{
    DecodeResult, PayloadFormat, PropertiesToBuffers, Property, SubEntry, VariableByteInteger,
    v3_1_1, v5_0,
};
use mqtt_seal::proxy::packet::{Kind, Version};

use super::{About, Answer, Connection, Meaning, Message, Settings};

/// The first packet and how many bytes it has; `None` if it is none, not complete, or has bytes
/// that belong to nothing. `kind` says which it is, since the crate parses what stands behind the
/// fixed header.
#[must_use]
pub fn protocol_core(bytes: &[u8], kind: Kind, version: Version) -> Option<(Meaning, usize)> {
    let (first, rest) = bytes.split_first()?;
    let DecodeResult::Ok(len, header) = VariableByteInteger::decode_stream(rest) else {
        return None;
    };
    let len = usize::try_from(len.to_u32()).ok()?;
    let body = rest.get(header..)?.get(..len)?;
    let (meaning, read) = match version {
        Version::V31 => return None,
        Version::V311 => v3(first & 0x0F, body, kind)?,
        _ => v5(first & 0x0F, body, kind)?,
    };
    (read == body.len()).then_some((meaning, 1 + header + len))
}

fn v3(flags: u8, body: &[u8], kind: Kind) -> Option<(Meaning, usize)> {
    let ack = |id| Meaning::Acknowledgement(kind, id, 0);
    Some(match kind {
        Kind::Connect => {
            let (p, read) = v3_1_1::Connect::parse(body).ok()?;
            let will = p.will_flag().then(|| Message {
                qos: p.will_qos() as u8,
                retain: p.will_retain(),
                topic: p.will_topic().unwrap_or_default().into(),
                payload: p.will_payload().unwrap_or_default().into(),
                ..empty(None)
            });
            let connection = Connection {
                level: p.protocol_version(),
                clean: p.clean_session(),
                keep_alive: p.keep_alive(),
                client_id: p.client_id().into(),
                max_packet: None,
                credentials: p.user_name_flag() || p.password_flag(),
                settings: None,
                will,
            };
            (Meaning::Connect(Box::new(connection)), read)
        }
        Kind::Connack => {
            let (p, read) = v3_1_1::Connack::parse(body).ok()?;
            let none: &[Property] = &[];
            (Meaning::Connack(answer(p.session_present(), p.return_code() as u8, none, None)), read)
        }
        Kind::Publish => {
            let (p, read) = v3_1_1::Publish::parse(flags, Arc::from(body)).ok()?;
            let message = Message {
                dup: p.dup(),
                qos: p.qos() as u8,
                retain: p.retain(),
                id: p.packet_id().unwrap_or(0),
                topic: p.topic_name().into(),
                payload: p.payload().as_slice().into(),
                ..empty(None)
            };
            (Meaning::Publish(Box::new(message)), read)
        }
        Kind::Puback => v3_1_1::Puback::parse(body).ok().map(|(p, n)| (ack(p.packet_id()), n))?,
        Kind::Pubrec => v3_1_1::Pubrec::parse(body).ok().map(|(p, n)| (ack(p.packet_id()), n))?,
        Kind::Pubrel => v3_1_1::Pubrel::parse(body).ok().map(|(p, n)| (ack(p.packet_id()), n))?,
        Kind::Pubcomp => v3_1_1::Pubcomp::parse(body).ok().map(|(p, n)| (ack(p.packet_id()), n))?,
        Kind::Subscribe => {
            let (p, read) = v3_1_1::Subscribe::parse(body).ok()?;
            (Meaning::Subscribe(p.packet_id(), filters(p.entries()), None), read)
        }
        Kind::Suback => {
            let (p, read) = v3_1_1::Suback::parse(body).ok()?;
            let codes = p.return_codes().into_iter().map(|code| code as u8).collect();
            (Meaning::Suback(p.packet_id(), codes, None), read)
        }
        kind => {
            let read = match kind {
                Kind::Unsubscribe => v3_1_1::Unsubscribe::parse(body).ok()?.1,
                Kind::Unsuback => v3_1_1::Unsuback::parse(body).ok()?.1,
                Kind::Pingreq | Kind::Pingresp | Kind::Disconnect => 0,
                _ => return None,
            };
            (Meaning::Other(kind), read)
        }
    })
}

fn v5(flags: u8, body: &[u8], kind: Kind) -> Option<(Meaning, usize)> {
    let ack = |id, reason: Option<u8>| Meaning::Acknowledgement(kind, id, reason.unwrap_or(0));
    Some(match kind {
        Kind::Connect => {
            let (p, read) = v5_0::Connect::parse(body).ok()?;
            (Meaning::Connect(Box::new(v5_connect(&p))), read)
        }
        Kind::Connack => {
            let (p, read) = v5_0::Connack::parse(body).ok()?;
            let (reason, kept) = (p.reason_code() as u8, settings(&p.props));
            (Meaning::Connack(answer(p.session_present(), reason, &p.props, kept)), read)
        }
        Kind::Publish => {
            let (p, read) = v5_0::Publish::parse(flags, Arc::from(body)).ok()?;
            let message = Message {
                dup: p.dup(),
                qos: p.qos() as u8,
                retain: p.retain(),
                id: p.packet_id().unwrap_or(0),
                topic: p.topic_name().into(),
                payload: p.payload().as_slice().into(),
                alias: p.props.iter().find_map(|property| match property {
                    Property::TopicAlias(alias) => Some(alias.val()),
                    _ => None,
                }),
                about: about(&p.props),
                ..empty(settings(&p.props))
            };
            (Meaning::Publish(Box::new(message)), read)
        }
        Kind::Puback => {
            let (p, read) = v5_0::Puback::parse(body).ok()?;
            (ack(p.packet_id(), p.reason_code().map(|code| code as u8)), read)
        }
        Kind::Pubrec => {
            let (p, read) = v5_0::Pubrec::parse(body).ok()?;
            (ack(p.packet_id(), p.reason_code().map(|code| code as u8)), read)
        }
        Kind::Pubrel => {
            let (p, read) = v5_0::Pubrel::parse(body).ok()?;
            (ack(p.packet_id(), p.reason_code().map(|code| code as u8)), read)
        }
        Kind::Pubcomp => {
            let (p, read) = v5_0::Pubcomp::parse(body).ok()?;
            (ack(p.packet_id(), p.reason_code().map(|code| code as u8)), read)
        }
        Kind::Subscribe => {
            let (p, read) = v5_0::Subscribe::parse(body).ok()?;
            (Meaning::Subscribe(p.packet_id(), filters(p.entries()), settings(&p.props)), read)
        }
        Kind::Suback => {
            let (p, read) = v5_0::Suback::parse(body).ok()?;
            let codes = p.reason_codes().into_iter().map(|code| code as u8).collect();
            (Meaning::Suback(p.packet_id(), codes, settings(&p.props)), read)
        }
        kind => {
            let read = match kind {
                Kind::Unsubscribe => v5_0::Unsubscribe::parse(body).ok()?.1,
                Kind::Unsuback => v5_0::Unsuback::parse(body).ok()?.1,
                Kind::Disconnect => v5_0::Disconnect::parse(body).ok()?.1,
                Kind::Auth => v5_0::Auth::parse(body).ok()?.1,
                _ => 0,
            };
            (Meaning::Other(kind), read)
        }
    })
}

fn v5_connect(p: &v5_0::Connect) -> Connection {
    let will = p.will_flag().then(|| Message {
        qos: p.will_qos() as u8,
        retain: p.will_retain(),
        topic: p.will_topic().unwrap_or_default().into(),
        payload: p.will_payload().unwrap_or_default().into(),
        about: about(&p.will_props),
        ..empty(settings(&p.will_props))
    });
    let auth = |property: &Property| {
        matches!(property, Property::AuthenticationMethod(_) | Property::AuthenticationData(_))
    };
    Connection {
        level: p.protocol_version(),
        clean: p.clean_start(),
        keep_alive: p.keep_alive(),
        client_id: p.client_id().into(),
        max_packet: p.props.iter().find_map(|property| match property {
            Property::MaximumPacketSize(max) => Some(max.val()),
            _ => None,
        }),
        credentials: p.user_name_flag() || p.password_flag() || p.props.iter().any(auth),
        settings: settings(&p.props),
        will,
    }
}

fn answer(session_present: bool, reason: u8, props: &[Property], settings: Settings) -> Answer {
    let mut answer = Answer {
        session_present,
        reason,
        max_packet: None,
        receive_max: u16::MAX,
        max_qos: 2,
        retain: true,
        assigned_id: None,
        alias_max: 0,
        settings,
    };
    for property in props {
        match property {
            Property::MaximumPacketSize(max) => answer.max_packet = Some(max.val()),
            Property::ReceiveMaximum(max) => answer.receive_max = max.val(),
            Property::MaximumQos(max) => answer.max_qos = max.val(),
            Property::RetainAvailable(retain) => answer.retain = retain.val() != 0,
            Property::AssignedClientIdentifier(id) => answer.assigned_id = Some(id.val().into()),
            Property::TopicAliasMaximum(max) => answer.alias_max = max.val(),
            _ => {}
        }
    }
    answer
}

fn about(props: &[Property]) -> About {
    let mut about = About::default();
    for property in props {
        match property {
            Property::PayloadFormatIndicator(format) => {
                about.text = format.val() == PayloadFormat::String as u8;
            }
            Property::ContentType(text) => about.content_type = Some(text.val().into()),
            Property::ResponseTopic(topic) => about.response_topic = Some(topic.val().into()),
            Property::CorrelationData(data) => about.correlation = Some(data.val().into()),
            Property::UserProperty(user) => about.user.push((user.key().into(), user.val().into())),
            _ => {}
        }
    }
    about
}

fn settings(props: &[Property]) -> Settings {
    let raw = |property: &Property| {
        let alone = vec![property.clone()];
        alone.to_buffers().iter().flat_map(|part| part.to_vec()).collect()
    };
    Some(props.iter().map(raw).collect())
}

fn filters(entries: &[SubEntry]) -> Vec<(Vec<u8>, u8)> {
    let filter = |entry: &SubEntry| {
        let [options] = entry.sub_opts().to_buffer();
        (entry.topic_filter().into(), *options)
    };
    entries.iter().map(filter).collect()
}

fn empty(settings: Settings) -> Message {
    Message {
        dup: false,
        qos: 0,
        retain: false,
        id: 0,
        topic: vec![],
        payload: vec![],
        alias: None,
        about: About::default(),
        settings,
    }
}
