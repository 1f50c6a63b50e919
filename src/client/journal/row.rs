//! A message as it is stored, and back. Knows no storage.
//!
//! ```text
//! u8 flags: bits 0-1 QoS · 2 RETAIN · 3 sealed · 4 deletion · 5 expiry
//! [u32 expiry] ‖ u16 length ‖ topic ‖ u32 length ‖ properties (PROPS) ‖ payload
//! ```

use std::string::String;
use std::vec::Vec;

use zeroize::Zeroizing;

use crate::client::entry::{Body, Entry};
use crate::client::properties::Attached;
use crate::guard::QoS;
use crate::wire::inner::Kind;
use crate::wire::property::{self, Carried, Properties};

const RETAIN: u8 = 1 << 2;
const SEALED: u8 = 1 << 3;
const DELETE: u8 = 1 << 4;
const EXPIRY: u8 = 1 << 5;
const QOS: u8 = 3;
const ALL: u8 = QOS | RETAIN | SEALED | DELETE | EXPIRY;

pub(super) fn encode(entry: &Entry) -> Zeroizing<Vec<u8>> {
    let expiry = entry.attached.as_ref().and_then(|attached| attached.message_expiry);
    let properties = entry.properties();
    let len = property::encoded_len(&properties, Carried::All);
    let payload = entry.body.bytes();
    // one allocation: a vector that grows leaves clear text behind
    let parts = [entry.topic.len(), len, payload.len(), 11];
    let mut out =
        Zeroizing::new(Vec::with_capacity(parts.into_iter().fold(0, usize::saturating_add)));
    out.push(flags(entry) | if expiry.is_some() { EXPIRY } else { 0 });
    out.extend(expiry.map(u32::to_be_bytes).into_iter().flatten());
    // a topic that was accepted has at most 65,535 bytes
    out.extend(u16::try_from(entry.topic.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(entry.topic.as_bytes());
    out.extend(u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    property::encode(&properties, Carried::All, |part| out.extend_from_slice(part));
    out.extend_from_slice(payload);
    out
}

const fn flags(entry: &Entry) -> u8 {
    let qos = match entry.qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce => 1,
        QoS::ExactlyOnce => 2,
    };
    let retain = if entry.retain { RETAIN } else { 0 };
    let sealed = if matches!(entry.body, Body::Ready(_)) { SEALED } else { 0 };
    let delete = if matches!(entry.kind, Some(Kind::Delete)) { DELETE } else { 0 };
    qos | retain | sealed | delete
}

/// `None` if the bytes are no message.
pub(super) fn decode(bytes: &[u8]) -> Option<Entry> {
    let (&flags, rest) = bytes.split_first()?;
    let qos = match flags & QOS {
        1 => QoS::AtLeastOnce,
        2 => QoS::ExactlyOnce,
        _ => return None,
    };
    let (message_expiry, rest) = if flags & EXPIRY == 0 {
        (None, rest)
    } else {
        let (expiry, rest) = rest.split_first_chunk()?;
        (Some(u32::from_be_bytes(*expiry)), rest)
    };
    let (len, rest) = rest.split_first_chunk()?;
    let (topic, rest) = rest.split_at_checked(u16::from_be_bytes(*len).into())?;
    let topic = String::from_utf8(topic.to_vec()).ok()?;
    let (len, rest) = rest.split_first_chunk()?;
    let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
    let (properties, payload) = rest.split_at_checked(len)?;
    if flags & !ALL != 0 {
        return None;
    }
    let properties = match properties {
        [] => crate::client::Properties::default(),
        some => Properties::parse(some)?.iter().collect(),
    };
    let kind = (flags & DELETE != 0).then_some(Kind::Delete);
    let mut entry = Entry::new(topic, qos, flags & RETAIN != 0, payload.to_vec()).of_kind(kind);
    if flags & SEALED != 0 {
        entry.body = Body::Ready(payload.to_vec());
    }
    Some(entry.attach(Some(Attached { properties, message_expiry })))
}
