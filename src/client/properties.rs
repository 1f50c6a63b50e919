//! The MQTT 5 properties that belong to a payload, owned. Knows no MQTT client.

use core::fmt;
use std::string::String;
use std::vec::Vec;

use zeroize::Zeroize;

use crate::wire::property::Property;

/// The five properties that belong to a payload (MQTT 5.0 §3.3.2.3).
///
/// `Debug` prints which there are, not what they say: a rule may keep them hidden.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Properties {
    /// The payload format indicator: whether the payload is UTF-8 text.
    pub payload_format: Option<bool>,
    /// The content type.
    pub content_type: Option<String>,
    /// The topic for replies.
    pub response_topic: Option<String>,
    /// What a reply has to bring back.
    pub correlation_data: Option<Vec<u8>>,
    /// The user properties, in order.
    pub user: Vec<(String, String)>,
}

impl Properties {
    /// The properties one by one.
    pub fn iter(&self) -> impl Iterator<Item = Property<'_>> {
        let once = [
            self.payload_format.map(Property::PayloadFormat),
            self.content_type.as_deref().map(Property::ContentType),
            self.response_topic.as_deref().map(Property::ResponseTopic),
            self.correlation_data.as_deref().map(Property::CorrelationData),
        ];
        let user = self.user.iter().map(|(name, value)| Property::User(name, value));
        once.into_iter().flatten().chain(user)
    }

    /// Keeps those that `keeps` says, and wipes the others.
    pub(super) fn retain(&mut self, keeps: impl Fn(&Property<'_>) -> bool) {
        let kept = self.iter().filter(keeps).collect();
        core::mem::replace(self, kept).wipe();
    }

    pub(super) fn wipe(&mut self) {
        self.payload_format = None;
        self.content_type.zeroize();
        self.response_topic.zeroize();
        self.correlation_data.zeroize();
        self.user.zeroize();
    }
}

impl<'a> FromIterator<Property<'a>> for Properties {
    /// Of several that may stand once, the first counts.
    fn from_iter<I: IntoIterator<Item = Property<'a>>>(properties: I) -> Self {
        let mut all = Self::default();
        for property in properties {
            match property {
                Property::PayloadFormat(text) => {
                    all.payload_format.get_or_insert(text);
                }
                Property::ContentType(text) => {
                    all.content_type.get_or_insert_with(|| text.into());
                }
                Property::ResponseTopic(topic) => {
                    all.response_topic.get_or_insert_with(|| topic.into());
                }
                Property::CorrelationData(data) => {
                    all.correlation_data.get_or_insert_with(|| data.into());
                }
                Property::User(name, value) => all.user.push((name.into(), value.into())),
            }
        }
        all
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Properties")
            .field("payload_format", &self.payload_format.is_some())
            .field("content_type", &self.content_type.is_some())
            .field("response_topic", &self.response_topic.is_some())
            .field("correlation_data", &self.correlation_data.is_some())
            .field("user", &self.user.len())
            .finish()
    }
}

/// What a PUBLISH of MQTT 5 takes along beside its payload.
#[derive(Debug, Clone, Default)]
pub(super) struct Attached {
    pub(super) properties: Properties,
    /// Seconds after which brokers drop it. Never protected: brokers change it.
    pub(super) message_expiry: Option<u32>,
}

impl Attached {
    /// Bytes of the properties on the packet, of those five that `keeps` lets stay.
    pub(super) fn len(&self, keeps: impl Fn(&Property<'_>) -> bool) -> usize {
        let expiry = if self.message_expiry.is_some() { 5 } else { 0 };
        let kept = self.properties.iter().filter(keeps);
        kept.fold(expiry, |len, property| len.saturating_add(property.encoded_len()))
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.properties.wipe();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::vec;

    const ALL: [Property<'_>; 6] = [
        Property::PayloadFormat(true),
        Property::ContentType("text"),
        Property::ResponseTopic("a/b"),
        Property::CorrelationData(&[1, 2]),
        Property::User("k", "v"),
        Property::User("k", "w"),
    ];

    #[test]
    fn properties_are_the_same_there_and_back() {
        let properties: Properties = ALL.into_iter().collect();
        assert_eq!(properties.iter().collect::<Vec<_>>(), ALL);
    }

    #[test]
    fn of_two_that_may_stand_once_the_first_counts() {
        let twice = [Property::ResponseTopic("first"), Property::ResponseTopic("second")];
        let properties: Properties = twice.into_iter().collect();
        assert_eq!(properties.response_topic.as_deref(), Some("first"));
    }

    #[test]
    fn retain_keeps_only_what_it_is_told() {
        for kept in ALL {
            let mut properties: Properties = ALL.into_iter().collect();
            properties.retain(|property| *property == kept);
            assert_eq!(properties.iter().collect::<Vec<_>>(), [kept]);
        }
    }

    #[test]
    fn debug_does_not_tell_what_they_say() {
        let mut properties: Properties = ALL.into_iter().collect();
        properties.user = vec![("name-marker".into(), "value-marker".into())];
        properties.content_type = Some("type-marker".into());
        assert!(!format!("{properties:?}").contains("marker"));
    }
}
