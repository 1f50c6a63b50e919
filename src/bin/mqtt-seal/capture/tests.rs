use super::*;
use etherparse::PacketBuilder;
use proptest::prelude::*;

const CLIENT: (u8, u16) = (1, 40_000);
const BROKER: (u8, u16) = (2, 1883);
/// Sequence numbers pass through zero.
const START: u32 = u32::MAX - 20;

/// A capture of raw IPv4 packets, as pcap in little endian (libpcap's pcap-savefile(5)).
fn pcap(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = vec![0xD4, 0xC3, 0xB2, 0xA1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0];
    file.extend(101_u32.to_le_bytes());
    for packet in packets {
        let len = u32::try_from(packet.len()).unwrap().to_le_bytes();
        file.extend([[0; 4], [0; 4], len, len].concat());
        file.extend(packet);
    }
    file
}

fn tcp(from: (u8, u16), to: (u8, u16), number: u32, syn: bool, data: &[u8]) -> Vec<u8> {
    let ip = PacketBuilder::ipv4([10, 0, 0, from.0], [10, 0, 0, to.0], 64);
    let mut tcp = ip.tcp(from.1, to.1, number, 1000);
    if syn {
        tcp = tcp.syn();
    }
    let mut packet = Vec::new();
    tcp.write(&mut packet, data).unwrap();
    packet
}

/// The client's segments: `at` counts from its first byte.
fn up(at: u32, data: &[u8]) -> Vec<u8> {
    tcp(CLIENT, BROKER, START.wrapping_add(1).wrapping_add(at), false, data)
}

fn up_syn() -> Vec<u8> {
    tcp(CLIENT, BROKER, START, true, &[])
}

fn down(at: u32, data: &[u8]) -> Vec<u8> {
    tcp(BROKER, CLIENT, at, false, data)
}

/// What is told, without the connections.
fn told(file: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    read(file, |_, seen| {
        all.push(format!("{seen:?}"));
        Ok(())
    })
    .unwrap();
    all
}

fn told_of(packets: &[Vec<u8>]) -> Vec<String> {
    told(&pcap(packets))
}

fn packet(first: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let len = u8::try_from(body.len()).unwrap();
    assert!(len < 128, "one byte of length");
    [&[first, len], body.as_slice()].concat()
}

fn connect(level: u8) -> Vec<u8> {
    let properties: &[u8] = if level == 5 { &[0] } else { &[] };
    packet(0x10, &[b"\x00\x04MQTT", &[level, 0xC2, 0, 60], properties, b"\0\x02id\0\x01u\0\x01p"])
}

fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    packet(0x30, &[&[0, u8::try_from(topic.len()).unwrap()], topic.as_bytes(), payload])
}

const CONNECTED: &str =
    r#"Connect { level: 4, client_id: "id", user_name: Some("u"), password: true }"#;

fn message(topic: &str, payload: &[u8]) -> String {
    format!("{:?}", Seen::Message { topic, payload, will: false })
}

#[test]
fn both_directions_of_a_connection_are_read() {
    let there = [connect(4), publish("a", b"1")].concat();
    let back = [vec![0x20, 2, 0, 0], publish("b", b"2")].concat();
    let packets = [up_syn(), up(0, &there), down(7, &back)];
    assert_eq!(told_of(&packets), [CONNECTED.into(), message("a", b"1"), message("b", b"2")]);
}

#[test]
fn a_capture_that_begins_after_the_handshake_is_read_from_its_first_byte() {
    let packets = [up(0, &connect(4)), up(22, &publish("a", b"1"))];
    assert_eq!(connect(4).len(), 22);
    assert_eq!(told_of(&packets), [CONNECTED.into(), message("a", b"1")]);
}

#[test]
fn a_lost_segment_is_told_and_what_follows_is_not_shown() {
    let packets = [up_syn(), up(0, &connect(4)), up(30, &publish("a", b"1"))];
    assert_eq!(told_of(&packets), [CONNECTED, "Hole"]);
}

#[test]
fn a_connection_on_a_used_port_is_another() {
    let once = [up_syn(), up(0, &connect(4))];
    let twice = [once.clone(), once].concat();
    assert_eq!(told_of(&twice), [CONNECTED, CONNECTED]);
}

#[test]
fn a_topic_alias_stands_for_its_topic() {
    let named = packet(0x30, &[b"\x00\x01a", &[3, 0x23, 0, 9], b"1"]);
    let short = packet(0x30, &[b"\x00\x00", &[3, 0x23, 0, 9], b"2"]);
    let strange = packet(0x30, &[b"\x00\x00", &[3, 0x23, 0, 8], b"3"]);
    let packets = [up_syn(), up(0, &[connect(5), named, short, strange].concat())];
    let alias = "UnknownAlias { alias: 8, len: 1 }".to_owned();
    assert_eq!(told_of(&packets).split_off(1), [message("a", b"1"), message("a", b"2"), alias]);
}

#[test]
fn a_will_is_told_with_its_connect() {
    let body = b"\x00\x04MQTT\x04\x04\x00\x00\x00\x02id\x00\x01w\x00\x03off";
    let packets = [up_syn(), up(0, &packet(0x10, &[body]))];
    let will = r#"Message { topic: "w", payload: [111, 102, 102], will: true }"#;
    assert_eq!(told_of(&packets).get(1).map(String::as_str), Some(will));
}

#[test]
fn tls_is_told_with_its_bytes() {
    let packets = [up_syn(), up(0, b"\x16\x03\x01hello"), down(7, b"\x16\x03\x03there")];
    assert_eq!(told_of(&packets), ["Tls { there: 8, back: 8 }"]);
}

#[test]
fn what_is_no_mqtt_is_told_or_passed_over() {
    let broken = [connect(4), vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1]].concat();
    assert_eq!(told_of(&[up_syn(), up(0, &broken)]), [CONNECTED, "Malformed"]);
    let cut_topic = [connect(4), packet(0x30, &[b"\0\x09a"]), publish("a", b"1")].concat();
    assert_eq!(told_of(&[up_syn(), up(0, &cut_topic)]), [CONNECTED, "Malformed"]);
    assert!(told_of(&[up_syn(), up(0, b"GET / HTTP/1.1\r\n")]).is_empty());
    assert!(told_of(&[vec![0x45, 0, 0], vec![]]).is_empty());
}

#[test]
fn a_cut_file_is_an_error_after_what_it_tells() {
    let file = pcap(&[up_syn(), up(0, &connect(4)), up(22, &publish("a", b"1"))]);
    let cut = file.get(..file.len() - 1).unwrap();
    let mut count = 0;
    let end = read(cut, |_, _| {
        count += 1;
        Ok(())
    });
    assert_eq!((end.is_err(), count), (true, 1));
}

proptest! {
    // each reads its file through a buffer of its own, which is what takes time
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn segments_in_any_order_cut_and_repeated_give_the_same(
        cuts in prop::collection::vec((0_usize..60, 0_usize..60), 0..20),
        order in any::<prop::sample::Index>(),
    ) {
        let stream = [connect(4), publish("a/b", b"one"), publish("c", b"two")].concat();
        let whole = told_of(&[up_syn(), up(0, &stream)]);
        let mut segments: Vec<_> = cuts
            .into_iter()
            .map(|(a, b)| (a.min(b).min(stream.len()), a.max(b).min(stream.len())))
            .chain([(0, 10), (10, stream.len())])
            .collect();
        let turn = order.index(segments.len());
        segments.rotate_left(turn);
        let cut = |(from, to): (usize, usize)| up(u32::try_from(from).unwrap(), &stream[from..to]);
        let packets: Vec<_> = core::iter::once(up_syn()).chain(segments.into_iter().map(cut)).collect();
        prop_assert_eq!(told_of(&packets), whole);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let packets = [up_syn(), up(0, &connect(5)), up(23, &bytes)];
        let _ = told_of(&packets);
        let _ = read(&bytes, |_, _| Ok(()));
        let _ = read(&[&pcap(&[])[..], &bytes].concat(), |_, _| Ok(()));
    }
}
