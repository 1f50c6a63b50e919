use super::*;

const WILL: u8 = 4;

fn name(version: Version) -> Vec<u8> {
    match version {
        Version::V31 => [lp(b"MQIsdp"), vec![3]].concat(),
        Version::V311 => [lp(b"MQTT"), vec![4]].concat(),
        Version::V5 => [lp(b"MQTT"), vec![5]].concat(),
    }
}

/// Properties that a CONNECT may have, with a limit of 4,096 bytes in their middle.
fn settings(version: Version) -> Vec<u8> {
    about(version, &[0x11, 0, 0, 0, 9, 0x27, 0, 0, 16, 0, 0x21, 0, 20])
}

fn connect(version: Version, flags: u8, rest: &[u8]) -> Vec<u8> {
    let settings = settings(version);
    packet(0x10, &[&name(version), &[flags, 0, 60], &settings, &lp(b"pump-7"), rest])
}

fn will(version: Version, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    [about(version, properties), lp(b"sealed/will"), lp(payload)].concat()
}

#[test]
fn a_connect_has_its_parts_in_every_version() {
    for version in VERSIONS {
        let bytes = connect(version, 2, &[]);
        let connect = Connect::parse(&whole(&bytes)).unwrap().unwrap();
        assert_eq!((connect.version, connect.client_id), (version, "pump-7"));
        assert_eq!((connect.keep_alive, connect.clean(), connect.will), (60, true, None));
        assert_eq!(connect.max_packet(), version.is_5().then_some(4_096));
        assert!(!connect.has_credentials());
    }
}

#[test]
fn a_bridge_is_known_by_the_rest_of_its_level() {
    for version in VERSIONS {
        let mut bytes = connect(version, 2, &[]);
        let level = name(version).len() + 1;
        bytes[level] |= 0x80;
        let connect = Connect::parse(&whole(&bytes)).unwrap().unwrap();
        assert_eq!(connect.version, version);
        let mut again = vec![];
        connect.write_with(connect.max_packet(), None, &mut again);
        assert_eq!(again[level], bytes[level]);
    }
}

#[test]
fn a_version_that_nobody_knows_is_told_from_what_is_no_connect() {
    for (name, level) in [("MQTT", 3), ("MQTT", 6), ("MQTT", 0), ("MQIsdp", 4), ("MQIsdp", 5)] {
        let bytes = packet(0x10, &[&lp(name.as_bytes()), &[level]]);
        assert_eq!(Connect::parse(&whole(&bytes)), Ok(None), "{name} {level}");
    }
    for name in ["", "mqtt", "MQTT5", "MQTTX"] {
        let bytes = packet(0x10, &[&lp(name.as_bytes()), &[4, 2, 0, 60], &lp(b"a")]);
        assert_eq!(Connect::parse(&whole(&bytes)), Err(Malformed), "{name}");
    }
}

#[test]
fn a_connect_cut_anywhere_or_with_more_behind_it_is_malformed() {
    for version in VERSIONS {
        let rest = [will(version, &[], b"gone"), lp(b"user"), lp(b"word")].concat();
        let bytes = connect(version, 0xC4, &rest);
        let body = whole(&bytes).body;
        for cut in 0..body.len() {
            let bytes = packet(0x10, &[&body[..cut]]);
            assert_eq!(Connect::parse(&whole(&bytes)), Err(Malformed), "{version} {cut}");
        }
        let bytes = packet(0x10, &[body, &[0]]);
        assert_eq!(Connect::parse(&whole(&bytes)), Err(Malformed));
    }
}

#[test]
fn a_connect_with_the_reserved_flag_is_malformed() {
    assert_eq!(Connect::parse(&whole(&connect(Version::V311, 3, &[]))), Err(Malformed));
}

#[test]
fn a_client_id_that_is_no_text_of_mqtt_is_malformed() {
    for id in [&[0xFF][..], &[b'a', 0], &[0xED, 0xA0, 0x80]] {
        let bytes = packet(0x10, &[&name(Version::V311), &[2, 0, 60], &lp(id)]);
        assert_eq!(Connect::parse(&whole(&bytes)), Err(Malformed), "{id:?}");
    }
}

#[test]
fn flags_of_a_will_are_its_quality_of_service_and_retain() {
    for version in VERSIONS {
        let rest = will(version, &[1, 1], b"gone");
        let levels = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
        for (number, level) in (0..).zip(levels) {
            for retain in [0, 0x20] {
                let bytes = connect(version, WILL | number << 3 | retain, &rest);
                let will = Connect::parse(&whole(&bytes)).unwrap().unwrap().will.unwrap();
                assert_eq!((will.qos, will.retain), (level, retain != 0));
                assert_eq!((will.topic, will.payload), (&b"sealed/will"[..], &b"gone"[..]));
                let mut properties = vec![];
                will.payload_properties(&mut properties).unwrap();
                assert_eq!(properties.len(), usize::from(version.is_5()));
            }
        }
        let bytes = connect(version, WILL | 3 << 3, &rest);
        assert_eq!(Connect::parse(&whole(&bytes)), Err(Malformed));
    }
}

#[test]
fn credentials_are_user_password_and_data_of_an_authentication() {
    let login = [lp(b"user"), lp(b"word")].concat();
    for (flags, rest) in [(0x80, lp(b"user")), (0x40, lp(b"word")), (0xC0, login)] {
        let bytes = connect(Version::V5, flags, &rest);
        assert!(Connect::parse(&whole(&bytes)).unwrap().unwrap().has_credentials());
    }
    let settings = about(Version::V5, &[&[0x15], &lp(b"m")[..], &[0x16], &lp(b"data")].concat());
    let bytes = packet(0x10, &[&name(Version::V5), &[2, 0, 60], &settings, &lp(b"a")]);
    assert!(Connect::parse(&whole(&bytes)).unwrap().unwrap().has_credentials());
}

#[test]
fn a_connect_written_with_what_it_had_keeps_every_other_byte() {
    for version in VERSIONS {
        let will = will(version, &[0x18, 0, 0, 0, 5], b"gone");
        for (flags, rest) in [
            (2, vec![]),
            (0, vec![]),
            (0xC0, [lp(b"user"), lp(b"word")].concat()),
            (0xE6 | 2 << 3, [will, lp(b"user"), lp(b"word")].concat()),
        ] {
            let bytes = connect(version, flags, &rest);
            let connect = Connect::parse(&whole(&bytes)).unwrap().unwrap();
            let same = connect.will.as_ref().map(|w| (w.properties.as_bytes(), w.payload));
            let mut again = vec![];
            connect.write_with(connect.max_packet(), same, &mut again);
            // the limit goes to the end of the properties
            let before = settings(version);
            let after = about(version, &[0x11, 0, 0, 0, 9, 0x21, 0, 20, 0x27, 0, 0, 16, 0]);
            let at = name(version).len() + 2 + 3;
            let expected = [&bytes[..at], &after, &bytes[at + before.len()..]].concat();
            assert_eq!(again, expected, "{version} {flags:x}");
        }
    }
}

#[test]
fn a_connect_written_with_another_will_and_limit_has_those() {
    for version in VERSIONS {
        let rest = [will(version, &[1, 1], b"gone"), lp(b"user")].concat();
        let bytes = connect(version, 0x84 | 1 << 3, &rest);
        let connect = Connect::parse(&whole(&bytes)).unwrap().unwrap();
        for max in [None, Some(70_000)] {
            let mut written = vec![];
            connect.write_with(max, Some((&[0x18, 0, 0, 0, 5], &[7; 300])), &mut written);
            let again = Connect::parse(&whole(&written)).unwrap().unwrap();
            let will = again.will.unwrap();
            let delay: &[u8] = if version.is_5() { &[0x18, 0, 0, 0, 5] } else { &[] };
            assert_eq!((will.payload, will.properties.as_bytes()), (&[7; 300][..], delay));
            assert_eq!((will.topic, will.qos), (&b"sealed/will"[..], QoS::AtLeastOnce));
            assert_eq!(again.max_packet(), max.filter(|_| version.is_5()));
            assert!(written.ends_with(&lp(b"user")));
        }
    }
}

#[test]
fn the_connect_of_the_plain_link_has_neither_will_nor_credentials() {
    for version in VERSIONS {
        let rest = [will(version, &[], b"gone"), lp(b"user"), lp(b"word")].concat();
        let bytes = connect(version, 0xE4, &rest);
        let mut plain = vec![];
        Connect::parse(&whole(&bytes)).unwrap().unwrap().write_plain("pump-7-tcp", &mut plain);
        let none = about(version, &[]);
        let expected = packet(0x10, &[&name(version), &[2, 0, 60], &none, &lp(b"pump-7-tcp")]);
        assert_eq!(plain, expected);
    }
}

#[test]
fn debug_of_a_connect_shows_neither_password_nor_will() {
    let rest = [will(Version::V5, &[], b"gone"), lp(b"user"), lp(b"word")].concat();
    let bytes = connect(Version::V5, 0xC4, &rest);
    let connect = Connect::parse(&whole(&bytes)).unwrap().unwrap();
    let shown = format!("{connect:?}");
    assert!(shown.contains("pump-7") && shown.contains("4 bytes"), "{shown}");
    let numbers = |text: &[u8]| format!("{text:?}").trim_matches(['[', ']']).to_string();
    let hidden = ["gone".to_string(), "word".into(), numbers(b"gone"), numbers(b"word")];
    for secret in hidden {
        assert!(!shown.contains(&secret), "{shown}");
    }
}

// --- CONNACK ---

#[test]
fn a_connack_of_an_older_broker_has_no_properties() {
    for version in VERSIONS {
        let bytes = packet(0x20, &[&[1, 5]]);
        let connack = Connack::parse(&whole(&bytes), version).unwrap();
        assert_eq!((connack.session_present, connack.reason), (true, 5));
        assert_eq!((connack.max_packet(), connack.receive_max()), (None, None));
        assert_eq!((connack.max_qos(), connack.retain_available()), (2, true));
        assert_eq!(connack.assigned_id(), None);
        for cut in 0..2 {
            let bytes = packet(0x20, &[&[1, 5][..cut]]);
            assert_eq!(Connack::parse(&whole(&bytes), version), Err(Malformed));
        }
    }
}

fn limits() -> Vec<u8> {
    let chosen = lp(b"chosen");
    [&[0x24, 1, 0x27, 0, 0, 16, 0, 0x25, 0, 0x21, 0, 20, 0x22, 0, 8, 0x12], &chosen[..]].concat()
}

#[test]
fn a_connack_has_its_limits_in_version_5() {
    let bytes = packet(0x20, &[&[0, 0], &about(Version::V5, &limits())]);
    let connack = Connack::parse(&whole(&bytes), Version::V5).unwrap();
    assert_eq!((connack.max_packet(), connack.receive_max()), (Some(4_096), Some(20)));
    assert_eq!((connack.max_qos(), connack.retain_available()), (1, false));
    assert_eq!(connack.assigned_id(), Some("chosen"));
    let body = whole(&bytes).body;
    for cut in 3..body.len() {
        let bytes = packet(0x20, &[&body[..cut]]);
        assert_eq!(Connack::parse(&whole(&bytes), Version::V5), Err(Malformed), "{cut}");
    }
}

#[test]
fn an_assigned_client_id_that_is_no_text_is_none() {
    let property = [vec![0x12], lp(&[0xFF])].concat();
    let bytes = packet(0x20, &[&[0, 0], &about(Version::V5, &property)]);
    assert_eq!(Connack::parse(&whole(&bytes), Version::V5).unwrap().assigned_id(), None);
}

#[test]
fn a_connack_written_with_other_limits_keeps_every_other_byte() {
    let bytes = packet(0x20, &[&[1, 0], &about(Version::V5, &limits())]);
    let connack = Connack::parse(&whole(&bytes), Version::V5).unwrap();
    let chosen = lp(b"chosen");
    let kept = [&[0x24, 1, 0x25, 0, 0x22, 0, 8, 0x12], &chosen[..]].concat();
    for (max, receive, told) in [
        (None, None, &[][..]),
        (Some(0x0102_0304), None, &[0x27, 1, 2, 3, 4]),
        (None, Some(7), &[0x21, 0, 7]),
        (Some(1), Some(7), &[0x21, 0, 7, 0x27, 0, 0, 0, 1]),
    ] {
        let mut written = vec![];
        connack.write_with(max, receive, &mut written);
        let properties = about(Version::V5, &[&kept, told].concat());
        assert_eq!(written, packet(0x20, &[&[1, 0], &properties]));
    }
}
