//! Packets of MQTT by our parser and by two others that know nothing of it, and packets that ours
//! writes anew.
//!
//! What both others take as a packet, ours frames and splits alike. Where ours is laxer, the packet
//! passes as it is and its receiver judges it: reserved bits, reason codes, properties of another
//! packet's, filters and topics that are none. Where it is stricter, the target says so below.
//! What ours writes anew means the same to all three, but for what was to be changed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt_protocol_core::mqtt::packet::{DecodeResult, VariableByteInteger};
use mqtt_seal::proxy::fuzzing::{Change, plain_connect, rewrite};
use mqtt_seal::proxy::packet::{Connect, Frame, Kind, MAX_REMAINING, PacketError, Version};
use mqtt_seal_fuzz::packet::{
    About, Answer, Meaning, Settings, native, ours, protocol_core, rmqtt,
};
use mqtt_seal_fuzz::take;

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
/// Above every packet.
const NO_LIMIT: usize = MAX_REMAINING + 5;
/// Bytes up to which every cut is looked at.
const EVERY_CUT: usize = 64;

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let [version, a, b] = take(&mut data);
    let version = VERSIONS[usize::from(version) % VERSIONS.len()];
    let Some(frame) = framed(data) else { return };
    let parsed = ours(&frame, version);
    compare(&frame, version, parsed.clone().ok().flatten());
    let Ok(Some(before)) = parsed else { return };
    same(&frame, version, &before);
    let number = u32::from(a) << 12 | u32::from(b) | 1;
    let max_packet = (a & 1 == 0).then_some(number);
    let receive_max = (a & 2 == 0).then_some(number as u16);
    let change = Change { max_packet, receive_max, topic: b"other", payload: &[a; 40] };
    changed(&frame, version, before, &change);
    if let Ok(Some(connect)) = Connect::parse(&frame) {
        plain(&connect);
    }
});

/// The first packet of `data`, as the length says that stands in front.
fn framed(data: &[u8]) -> Option<Frame<'_>> {
    let first = Frame::first(data, NO_LIMIT);
    let (kind, rest) = data.split_first()?;
    if kind >> 4 == 0 {
        assert_eq!(first, Err(PacketError::Malformed));
        return None;
    }
    let (len, header) = match VariableByteInteger::decode_stream(rest) {
        DecodeResult::Ok(len, header) => (usize::try_from(len.to_u32()).unwrap(), 1 + header),
        DecodeResult::Incomplete => {
            assert_eq!(first, Ok(None));
            return None;
        }
        DecodeResult::Err(_) => {
            assert_eq!(first, Err(PacketError::Malformed));
            return None;
        }
    };
    let whole = header + len;
    // a claim above the limit is refused as soon as it is read
    let claim = Frame::first(&data[..header], whole - 1);
    assert_eq!(claim, Err(PacketError::TooLarge { len: whole }));
    let Some(frame) = first.expect("a packet of any kind") else {
        assert!(data.len() < whole);
        return None;
    };
    assert_eq!((frame.bytes, frame.body), (&data[..whole], &data[header..whole]));
    assert_eq!(Kind::ALL[usize::from(kind >> 4) - 1], frame.kind);
    for cut in (0..whole).filter(|cut| whole <= EVERY_CUT || *cut + 1 == whole) {
        assert_eq!(Frame::first(&data[..cut], NO_LIMIT), Ok(None), "{cut}");
    }
    Some(frame)
}

/// What the others take means the same to ours.
fn compare(frame: &Frame<'_>, version: Version, ours: Option<Meaning>) {
    let Some((theirs, len)) = native(frame.bytes, version) else { return };
    assert_eq!(len, frame.bytes.len());
    let theirs = rmqtt(&theirs);
    if version == Version::V31 {
        // one of the others knows 3.1. It does not look at the name of the protocol beside its level
        let Some(ours) = ours.filter(|_| !is_stricter(&theirs)) else { return };
        assert_eq!(without_reserved(ours), theirs);
        return;
    }
    let Some((core, len)) = protocol_core(frame.bytes, frame.kind, version) else { return };
    assert_eq!(len, frame.bytes.len());
    if is_stricter(&theirs) {
        return;
    }
    let Some(ours) = ours else { panic!("both others take this: {core:?}") };
    assert_eq!(ours, core);
    // one of the others hides reserved bits
    assert_eq!(without_reserved_if(version, ours).without_settings(), theirs);
}

/// Whether ours refuses what both others take: U+0000 in a client ID (MQTT 5.0 §1.5.4).
fn is_stricter(meaning: &Meaning) -> bool {
    matches!(meaning, Meaning::Connect(connection) if connection.client_id.contains(&0))
}

fn without_reserved(meaning: Meaning) -> Meaning {
    match meaning {
        Meaning::Subscribe(id, filters, settings) => {
            let filters = filters.into_iter().map(|(filter, options)| (filter, options & 3));
            Meaning::Subscribe(id, filters.collect(), settings)
        }
        other => other,
    }
}

/// Written anew from all its parts, a packet means what it meant.
fn same(frame: &Frame<'_>, version: Version, before: &Meaning) {
    let Some(bytes) = rewrite(frame, version, None).expect("it was parsed") else { return };
    let again = Frame::first(&bytes, NO_LIMIT).expect("a packet").expect("all of it");
    assert_eq!(again.bytes.len(), bytes.len());
    let after = ours(&again, version).expect("a packet").expect("of the same version");
    assert_eq!(after.sorted(), without_server(before.clone()).sorted());
    if refers(before) {
        return;
    }
    if let Some((packet, _)) = native(frame.bytes, version) {
        assert_eq!(native(&bytes, version), Some((packet, bytes.len())));
    }
    if let Some((meaning, _)) = protocol_core(frame.bytes, frame.kind, version) {
        let (again, _) = protocol_core(&bytes, frame.kind, version).expect("as before");
        assert_eq!(again.sorted(), meaning.sorted());
    }
}

/// Whether CONNACK refers to another server, which is never told.
fn refers(meaning: &Meaning) -> bool {
    let Meaning::Connack(Answer { settings: Some(settings), .. }) = meaning else { return false };
    settings.iter().any(|setting| setting[0] == 0x1C)
}

fn without_server(mut meaning: Meaning) -> Meaning {
    if let Meaning::Connack(answer) = &mut meaning {
        replace::<0>(&mut answer.settings, 0x1C, None);
    }
    meaning
}

/// Written anew with changes, a packet means what it meant, but for those.
fn changed(frame: &Frame<'_>, version: Version, before: Meaning, change: &Change<'_>) {
    let Some(bytes) = rewrite(frame, version, Some(change)).expect("it was parsed") else { return };
    let again = Frame::first(&bytes, NO_LIMIT).expect("a packet").expect("all of it");
    let after = ours(&again, version).expect("a packet").expect("of the same version");
    let expected = expected(without_server(before), change);
    assert_eq!(after.clone().sorted(), expected.sorted());
    let taken = native(frame.bytes, version).is_some();
    if let Some((theirs, _)) = native(&bytes, version) {
        let (theirs, after) = (rmqtt(&theirs), without_reserved_if(version, after.clone()));
        assert_eq!(theirs, after.without_settings());
    } else {
        assert!(!taken, "no packet to rmqtt: {bytes:x?}");
    }
    let taken = protocol_core(frame.bytes, frame.kind, version).is_some();
    if let Some((core, _)) = protocol_core(&bytes, frame.kind, version) {
        assert_eq!(core, after);
    } else {
        assert!(!taken, "no packet to mqtt-protocol-core: {bytes:x?}");
    }
}

fn without_reserved_if(version: Version, meaning: Meaning) -> Meaning {
    if version.is_5() { meaning } else { without_reserved(meaning) }
}

/// What the packet means after the change.
fn expected(mut meaning: Meaning, change: &Change<'_>) -> Meaning {
    let payload = change.payload.to_vec();
    match &mut meaning {
        Meaning::Connect(connection) => {
            if connection.level == 5 {
                connection.max_packet = change.max_packet;
                replace(&mut connection.settings, 0x27, change.max_packet.map(u32::to_be_bytes));
            }
            if let Some(will) = &mut connection.will {
                will.payload = payload;
                will.about = About::default();
                will.settings.iter_mut().for_each(Vec::clear);
            }
        }
        Meaning::Connack(answer) => {
            answer.max_packet = change.max_packet;
            answer.receive_max = change.receive_max.unwrap_or(u16::MAX);
            replace(&mut answer.settings, 0x27, change.max_packet.map(u32::to_be_bytes));
            replace(&mut answer.settings, 0x21, change.receive_max.map(u16::to_be_bytes));
        }
        Meaning::Publish(message) => {
            message.topic = change.topic.to_vec();
            message.payload = payload;
        }
        Meaning::Subscribe(_, filters, _) => {
            *filters = filters.iter().step_by(2).cloned().collect();
        }
        Meaning::Suback(_, reasons, _) => reasons.reverse(),
        Meaning::Acknowledgement(..) | Meaning::Other(_) => {}
    }
    meaning
}

fn replace<const N: usize>(settings: &mut Settings, id: u8, value: Option<[u8; N]>) {
    if let Some(settings) = settings {
        settings.retain(|setting| setting[0] != id);
        settings.extend(value.map(|value| [&[id], value.as_slice()].concat()));
    }
}

/// The CONNECT of the plain link is one to all three.
fn plain(connect: &Connect<'_>) {
    let bytes = plain_connect(connect, "other-tcp");
    let frame = Frame::first(&bytes, NO_LIMIT).expect("a packet").expect("all of it");
    let Some(Meaning::Connect(meaning)) = ours(&frame, connect.version).expect("a packet") else {
        panic!("{frame:?}")
    };
    assert_eq!(meaning.client_id, b"other-tcp");
    assert_eq!(meaning.keep_alive, connect.keep_alive);
    assert!(meaning.clean && meaning.will.is_none() && !meaning.credentials);
    // the mark of a bridge is unknown to the other
    let bridge = frame.body[2 + usize::from(frame.body[1])] & 0x80 != 0;
    assert!(bridge || native(&bytes, connect.version).is_some());
}
