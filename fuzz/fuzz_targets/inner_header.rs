//! What parses as an inner header is written with the same bytes, and padding is stripped whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt_seal::wire::inner::{InnerFields, InnerHeader, Kind};
use mqtt_seal::wire::property::Property;

fuzz_target!(|data: &[u8]| {
    let Ok((header, payload)) = InnerHeader::parse(data) else { return };
    assert_eq!(payload, &data[header.len..][..payload.len()]);
    let padding = &data[header.len + payload.len()..];
    assert_eq!(padding.first(), header.padded.then_some(&0x80));
    assert!(padding.iter().skip(1).all(|byte| *byte == 0));
    assert!(header.kind != Some(Kind::Delete) || payload.is_empty());

    let properties: Vec<Property<'_>> =
        header.properties.into_iter().flat_map(|properties| properties.iter()).collect();
    let fields = InnerFields {
        timestamp: header.timestamp,
        ttl: header.ttl,
        topic: header.topic,
        properties: &properties,
        carry_all: true,
        echo: header.echo,
        kind: header.kind,
        padding: padding.len(),
    };
    let mut bytes = Vec::new();
    fields.encode(|part| bytes.extend_from_slice(part));
    assert_eq!(bytes.len(), fields.encoded_len());
    // iflags = 0 is legal, but never written
    let expected = if data[0] == 0 { &[] } else { &data[..header.len] };
    assert_eq!(bytes, expected);
});
