use super::*;
use crate::guard::QoS;
use crate::wire::property::Property;
use proptest::prelude::*;
use std::string::ToString;
use std::vec::Vec;
use std::{format, vec};

mod connect;
mod subscribe;

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
const NO_LIMIT: usize = MAX_REMAINING + MAX_FIXED_HEADER;

/// A packet of these parts.
fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut packet = vec![first];
    write::length(&mut packet, body.len());
    [packet, body].concat()
}

fn lp(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    write::lp(&mut out, bytes);
    out
}

/// Properties with their length, where the version has them.
fn about(version: Version, properties: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    if version.is_5() {
        write::length(&mut out, properties.len());
        out.extend_from_slice(properties);
    }
    out
}

fn whole(packet: &[u8]) -> Frame<'_> {
    let frame = Frame::first(packet, NO_LIMIT).unwrap().unwrap();
    assert_eq!(frame.bytes, packet);
    frame
}

/// Every property that there is, once.
fn every_property() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = vec![];
    all.extend([0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A].map(|id| vec![id, 1]));
    all.extend([0x13, 0x21, 0x22, 0x23].map(|id| vec![id, 1, 2]));
    all.extend([0x02, 0x11, 0x18, 0x27].map(|id| vec![id, 1, 2, 3, 4]));
    all.push(vec![0x0B, 0x80, 1]);
    let texts = [0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F];
    all.extend(texts.map(|id| [vec![id], lp(b"ab")].concat()));
    all.push([vec![0x26], lp(b"name"), lp(b"value")].concat());
    all
}

// --- frames ---

#[test]
fn packets_of_every_kind_are_framed_with_what_follows_left() {
    for (number, kind) in (1..).zip(Kind::ALL) {
        for flags in 0..16 {
            let bytes = packet(number << 4 | flags, &[b"body"]);
            let more = [bytes.as_slice(), b"more"].concat();
            let frame = Frame::first(&more, NO_LIMIT).unwrap().unwrap();
            assert_eq!((frame.kind, frame.flags, frame.body), (kind, flags, &b"body"[..]));
            assert_eq!(frame.bytes, bytes);
        }
    }
}

#[test]
fn packets_cut_anywhere_are_incomplete() {
    for len in [0, 1, 127, 128, 16_383, 16_384] {
        let bytes = packet(0x30, &[&vec![7; len]]);
        for cut in (0..bytes.len()).filter(|cut| *cut < 200 || cut + 1 == bytes.len()) {
            assert_eq!(Frame::first(&bytes[..cut], NO_LIMIT), Ok(None), "{cut} of {len}");
        }
        assert_eq!(whole(&bytes).body.len(), len);
    }
}

#[test]
fn a_first_byte_of_no_kind_is_malformed_before_anything_follows() {
    for first in 0..16 {
        assert_eq!(Frame::first(&[first], NO_LIMIT), Err(PacketError::Malformed));
    }
}

#[test]
fn lengths_are_written_as_they_are_read() {
    let edges = [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, MAX_REMAINING];
    for value in edges {
        let mut bytes = vec![];
        write::length(&mut bytes, value);
        assert_eq!(properties::length(&bytes), Ok(Some((value, bytes.len()))));
        assert_eq!(bytes.len(), write::length_len(value));
        for cut in 0..bytes.len() {
            assert_eq!(properties::length(&bytes[..cut]), Ok(None));
        }
    }
}

#[test]
fn a_length_of_five_bytes_is_malformed_at_its_fourth() {
    let bytes = [0x30, 0x80, 0x80, 0x80, 0x80];
    assert_eq!(Frame::first(&bytes[..4], NO_LIMIT), Ok(None));
    assert_eq!(Frame::first(&bytes, NO_LIMIT), Err(PacketError::Malformed));
}

#[test]
fn a_claim_above_the_limit_is_refused_before_its_bytes_come() {
    for (len, max) in [(100, 101), (MAX_REMAINING, NO_LIMIT - 1)] {
        let mut bytes = vec![0x30];
        write::length(&mut bytes, len);
        let whole = len + bytes.len();
        let limit = max.min(whole - 1);
        let refused = Err(PacketError::TooLarge { len: whole });
        assert_eq!(Frame::first(&bytes, limit), refused);
        assert_eq!(Frame::first(&bytes, whole), Ok(None));
    }
}

#[test]
fn errors_say_what_happened() {
    let texts = [
        (PacketError::Malformed.to_string(), "a packet is malformed"),
        (Malformed.to_string(), "a packet is malformed"),
        (PacketError::TooLarge { len: 9 }.to_string(), "a packet of 9 bytes is above the limit"),
    ];
    for (text, expected) in texts {
        assert_eq!(text, expected);
    }
    let names = VERSIONS.map(|version| version.to_string());
    assert_eq!(names, ["3.1", "3.1.1", "5.0"]);
}

// --- properties ---

#[test]
fn properties_of_every_kind_end_where_they_end() {
    let all = every_property();
    assert_eq!(all.len(), 27);
    let bytes = about(Version::V5, &all.concat());
    let mut reader = crate::wire::Reader(&bytes);
    let properties = Properties::read(&mut reader).unwrap();
    assert!(reader.0.is_empty());
    assert!(properties.iter().map(|setting| setting.raw).eq(all.iter().map(Vec::as_slice)));
}

#[test]
fn properties_cut_anywhere_are_malformed() {
    for property in every_property() {
        for cut in 1..property.len() {
            let bytes = about(Version::V5, &property[..cut]);
            let read = Properties::read(&mut crate::wire::Reader(&bytes));
            assert_eq!(read, Err(Malformed), "{property:?} at {cut}");
        }
        let bytes = about(Version::V5, &property);
        for cut in 0..bytes.len() {
            let read = Properties::read(&mut crate::wire::Reader(&bytes[..cut]));
            assert_eq!(read, Err(Malformed), "{bytes:?} at {cut}");
        }
    }
}

#[test]
fn properties_that_nobody_knows_are_malformed() {
    let known: Vec<u8> = every_property().iter().map(|property| property[0]).collect();
    for id in (0..=u8::MAX).filter(|id| !known.contains(id)) {
        let bytes = about(Version::V5, &[id, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Properties::read(&mut crate::wire::Reader(&bytes)), Err(Malformed), "{id}");
    }
}

#[test]
fn properties_stand_once_but_for_those_that_may_repeat() {
    for property in every_property() {
        let bytes = about(Version::V5, &[property.clone(), property.clone()].concat());
        let read = Properties::read(&mut crate::wire::Reader(&bytes));
        assert_eq!(read.is_ok(), [0x0B, 0x26].contains(&property[0]), "{property:?}");
    }
}

#[test]
fn a_subscription_id_of_five_bytes_is_malformed() {
    let bytes = about(Version::V5, &[0x0B, 0x80, 0x80, 0x80, 0x80, 0]);
    assert_eq!(Properties::read(&mut crate::wire::Reader(&bytes)), Err(Malformed));
}

// --- PUBLISH ---

fn publish(version: Version, flags: u8, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let id: &[u8] = if flags & 6 == 0 { &[] } else { &[0, 9] };
    let properties = about(version, properties);
    packet(0x30 | flags, &[&lp(b"sealed/a"), id, &properties, payload])
}

#[test]
fn a_publish_has_its_parts_at_every_quality_of_service() {
    let levels = [(0, QoS::AtMostOnce, 0), (2, QoS::AtLeastOnce, 9), (4, QoS::ExactlyOnce, 9)];
    for version in VERSIONS {
        for (flags, qos, id) in levels {
            for others in [0, 1, 8, 9] {
                let bytes = publish(version, flags | others, &[1, 1], b"27");
                let publish = Publish::parse(&whole(&bytes), version).unwrap();
                assert_eq!((publish.qos, publish.id), (qos, id));
                assert_eq!((publish.topic, publish.payload), (&b"sealed/a"[..], &b"27"[..]));
                assert_eq!((publish.retain(), publish.dup()), (others & 1 != 0, others & 8 != 0));
                assert_eq!(publish.properties.number(1), version.is_5().then_some(1));
            }
        }
    }
}

#[test]
fn a_publish_of_quality_of_service_3_or_packet_id_0_is_malformed() {
    for version in VERSIONS {
        let bytes = publish(version, 6, &[], b"27");
        assert_eq!(Publish::parse(&whole(&bytes), version), Err(Malformed));
        for flags in [2, 4] {
            let mut bytes = publish(version, flags, &[], b"27");
            let at = bytes.iter().position(|byte| *byte == 9).unwrap();
            bytes[at] = 0;
            assert_eq!(Publish::parse(&whole(&bytes), version), Err(Malformed));
        }
    }
}

#[test]
fn a_publish_cut_before_its_payload_is_malformed() {
    for version in VERSIONS {
        let bytes = publish(version, 2, &[0x23, 0, 3], b"");
        let body = whole(&bytes).body;
        for cut in 0..body.len() {
            let bytes = packet(0x32, &[&body[..cut]]);
            assert_eq!(Publish::parse(&whole(&bytes), version), Err(Malformed), "{cut}");
        }
    }
}

#[test]
fn an_alias_of_0_is_malformed_and_every_other_is_one() {
    for (alias, expected) in [(0, Err(Malformed)), (1, Ok(Some(1))), (65_535, Ok(Some(65_535)))] {
        let [high, low] = u16::to_be_bytes(alias);
        let bytes = publish(Version::V5, 0, &[0x23, high, low], b"");
        assert_eq!(Publish::parse(&whole(&bytes), Version::V5).unwrap().alias(), expected);
    }
    let bytes = publish(Version::V5, 0, &[], b"");
    assert_eq!(Publish::parse(&whole(&bytes), Version::V5).unwrap().alias(), Ok(None));
}

/// The five properties that belong to a payload, and others between them.
fn of_a_payload() -> Vec<u8> {
    let user = [vec![0x26], lp(b"name"), lp("wert\u{e4}".as_bytes())].concat();
    let data = [vec![0x09], lp(&[0, 0xFF])].concat();
    let texts = [vec![0x03], lp(b"text"), vec![0x08], lp(b"re/ply")].concat();
    [&[0x02, 0, 0, 0, 9][..], &[1, 0], &texts, &[0x23, 0, 1], &data, &user, &user].concat()
}

#[test]
fn properties_of_a_payload_are_told_apart_and_written_as_they_stood() {
    let bytes = publish(Version::V5, 0, &of_a_payload(), b"");
    let publish = Publish::parse(&whole(&bytes), Version::V5).unwrap();
    let mut properties = vec![];
    publish.payload_properties(&mut properties).unwrap();
    let user = Property::User("name", "wert\u{e4}");
    let expected = [
        Property::PayloadFormat(false),
        Property::ContentType("text"),
        Property::ResponseTopic("re/ply"),
        Property::CorrelationData(&[0, 0xFF]),
        user,
        user,
    ];
    assert_eq!(properties, expected);
    let mut written = vec![];
    for property in &properties {
        write_property(property, &mut written);
    }
    let others = |id| [0x02, 0x23].contains(&id);
    let stood = publish.properties.iter().filter(|setting| !others(setting.id));
    assert_eq!(written, stood.flat_map(|setting| setting.raw.to_vec()).collect::<Vec<_>>());
}

#[test]
fn properties_of_a_payload_that_are_no_texts_are_malformed() {
    let bad = lp(&[0xC3, 0x28]);
    let user = |name: &[u8], value: &[u8]| [&[0x26], name, value].concat();
    let cases = [
        [vec![0x03], bad.clone()].concat(),
        [vec![0x08], bad.clone()].concat(),
        user(&bad, &lp(b"")),
        user(&lp(b""), &bad),
        vec![1, 2],
    ];
    for case in cases {
        let bytes = publish(Version::V5, 0, &case, b"");
        let publish = Publish::parse(&whole(&bytes), Version::V5).unwrap();
        assert_eq!(publish.payload_properties(&mut vec![]), Err(Malformed), "{case:?}");
    }
}

#[test]
fn a_topic_that_is_no_text_is_left_to_others() {
    let bytes = packet(0x30, &[&lp(&[0xFF, 0])]);
    assert_eq!(Publish::parse(&whole(&bytes), Version::V311).unwrap().topic, [0xFF, 0]);
}

#[test]
fn dup_is_set_and_taken_away_without_another_change() {
    for flags in 0..16 {
        let mut bytes = vec![0x30 | flags, 0];
        set_dup(&mut bytes, true);
        assert_eq!(bytes, [0x38 | flags, 0]);
        set_dup(&mut bytes, false);
        assert_eq!(bytes, [0x30 | flags & 7, 0]);
    }
    set_dup(&mut [], true);
}

// --- packets with little more than an ID ---

#[test]
fn acknowledgements_are_written_as_they_are_read() {
    let kinds = [Kind::Puback, Kind::Pubrec, Kind::Pubrel, Kind::Pubcomp];
    for (kind, first) in kinds.into_iter().zip([0x40, 0x50, 0x62, 0x70]) {
        for (version, reason) in [(Version::V5, 0x87), (Version::V5, 0), (Version::V311, 0x87)] {
            let mut bytes = vec![];
            acknowledge(kind, 0x1234, reason, version, &mut bytes);
            let told = if version.is_5() { reason } else { 0 };
            let reasons: &[u8] = if told == 0 { &[] } else { &[0x87] };
            assert_eq!(bytes, packet(first, &[&[0x12, 0x34], reasons]));
            let ack = Acknowledgement::parse(&whole(&bytes)).unwrap();
            assert_eq!(ack, Acknowledgement { id: 0x1234, reason: told });
            assert_eq!(ack.is_refusal(), told != 0);
        }
    }
}

#[test]
fn acknowledgements_without_an_id_are_malformed() {
    for body in [&[][..], &[1], &[0, 0], &[0, 0, 0]] {
        let bytes = packet(0x40, &[body]);
        assert_eq!(Acknowledgement::parse(&whole(&bytes)), Err(Malformed), "{body:?}");
    }
}

#[test]
fn refusals_begin_at_reason_128() {
    for (reason, refusal) in [(0, false), (0x10, false), (0x7F, false), (0x80, true)] {
        assert_eq!(Acknowledgement { id: 1, reason }.is_refusal(), refusal);
    }
}

#[test]
fn packets_of_the_proxy_alone_are_what_each_version_knows() {
    let mut bytes = vec![];
    refuse_connection(0x87, Version::V5, &mut bytes);
    refuse_connection(5, Version::V311, &mut bytes);
    disconnect(0x8B, &mut bytes);
    assert_eq!(bytes, [0x20, 3, 0, 0x87, 0, 0x20, 2, 0, 5, 0xE0, 2, 0x8B, 0]);
}

// --- everything ---

fn a_version() -> impl Strategy<Value = Version> {
    prop::sample::select(VERSIONS.as_slice())
}

/// Properties, each once but for those that may repeat.
fn some_properties() -> impl Strategy<Value = Vec<u8>> {
    let repeated = prop::collection::vec(
        prop::sample::select(vec![vec![0x0B, 7], [vec![0x26], lp(b"a"), lp(b"b")].concat()]),
        0..4,
    );
    let once = prop::sample::subsequence(every_property(), 0..=27).prop_shuffle();
    (once, repeated).prop_map(|(once, repeated)| {
        let once = once.into_iter().filter(|property| property[0] != 0x0B);
        once.chain(repeated).flatten().collect()
    })
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..64), version in a_version(), max in 0_usize..80,
    ) {
        let Ok(Some(frame)) = Frame::first(&bytes, max) else { return Ok(()) };
        prop_assert!(frame.bytes.len() <= max && bytes.starts_with(frame.bytes));
        prop_assert!(frame.bytes.ends_with(frame.body));
        let _ = Connect::parse(&frame);
        let _ = Connack::parse(&frame, version);
        let _ = Acknowledgement::parse(&frame);
        let _ = Subscribe::parse(&frame, version);
        let _ = Suback::parse(&frame, version);
        if let Ok(publish) = Publish::parse(&frame, version) {
            let _ = publish.alias();
            let _ = publish.payload_properties(&mut vec![]);
        }
    }

    #[test]
    fn a_publish_is_parsed_to_what_it_was_written_from(
        version in a_version(),
        flags in prop::sample::select(vec![0, 1, 2, 3, 4, 5, 10, 13]),
        topic in prop::collection::vec(any::<u8>(), 0..200),
        id in 1_u16..,
        properties in some_properties(),
        payload in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let properties = if version.is_5() { properties } else { vec![] };
        let draft = Draft { version, flags, topic: &topic, id, properties: &properties };
        let mut bytes = vec![];
        draft.write(&payload, &mut bytes);
        prop_assert_eq!(draft.len(payload.len()), bytes.len());
        let publish = Publish::parse(&whole(&bytes), version).unwrap();
        let id = if flags & 6 == 0 { 0 } else { id };
        prop_assert_eq!((publish.flags, publish.id), (flags, id));
        prop_assert_eq!(publish.topic, topic);
        prop_assert_eq!(publish.properties.as_bytes(), properties);
        prop_assert_eq!(publish.payload, payload);
    }
}
