//! What authentic plain text turned out to hold. Knows no replay state.

use alloc::{string::String, vec::Vec};
use core::ops::Range;

use zeroize::Zeroize;

use super::Outer;
use super::incoming::{Delivery, OpenError, Props, Protection};
use crate::policy::{Policy, Rule, TopicBinding};
use crate::session::Authentic;
use crate::topic::TopicName;
use crate::wire::header::Header;
use crate::wire::inner::InnerHeader;
use crate::wire::property::Property;

/// The borrowed parts of a plain text, copied, and where the payload stands.
pub(super) struct Contents {
    pub(super) delivery: Delivery,
    pub(super) payload: Range<usize>,
}

/// Keeps `range` of `out` and wipes the rest.
pub(super) fn keep(out: &mut Vec<u8>, range: Range<usize>) {
    if range == (0..out.len()) {
        return;
    }
    let len = range.len();
    out.copy_within(range, 0);
    out.get_mut(len..).unwrap_or_default().zeroize();
    out.truncate(len);
}

/// Reads the plain text in `text` and judges a carried topic and the properties.
// SPEC §6, "inner header, padding -> Malformed; carried topic -> Refused"
pub(super) fn read(
    policy: &Policy,
    rule: &Rule,
    header: &Header,
    proof: Authentic,
    text: &[u8],
) -> Result<Contents, OpenError> {
    let (inner, payload) = if header.inner {
        InnerHeader::parse(text).map_err(|_| OpenError::Malformed)?
    } else {
        (InnerHeader::default(), text)
    };
    let props = inner.properties.unwrap_or_default();
    let outer = Outer::of(rule.properties());
    let format_only =
        || props.iter().all(|property| matches!(property, Property::PayloadFormat(_)));
    if outer == Outer::AllButFormat && !format_only() {
        return Err(OpenError::Malformed);
    }
    let carried = match rule.topic_binding() {
        TopicBinding::Carried => Some(carried_topic(policy, rule, inner.topic)?),
        _ => None,
    };
    Ok(Contents {
        payload: inner.len..inner.len.saturating_add(payload.len()),
        delivery: Delivery {
            protection: Protection::Sealed,
            proof: Some(proof),
            kind: inner.kind,
            timestamp: inner.timestamp,
            ttl: inner.ttl,
            carried_topic: carried.map(|topic| String::from(topic.as_str())),
            echo: inner.echo,
            props: Props(props.as_bytes().into()),
            outer,
            ..Delivery::clear(false)
        },
    })
}

// SPEC §5, topic_binding
fn carried_topic<'a>(
    policy: &Policy,
    rule: &Rule,
    topic: Option<TopicName<'a>>,
) -> Result<TopicName<'a>, OpenError> {
    let topic = topic.ok_or(OpenError::Malformed)?;
    let allowed = match rule.carried_filter() {
        Some(filter) => filter.matches(topic),
        None => policy.rule(topic).is_some_and(|first| core::ptr::eq(first, rule)),
    };
    if allowed { Ok(topic) } else { Err(OpenError::Refused) }
}
