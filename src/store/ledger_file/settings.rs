//! What holds for all devices of a ledger: names and topics. Knows no file.

use alloc::{format, string::String};
use core::fmt;

use crate::peer::{NameError, PeerId};
use crate::schedule::{RealmError, check_realm};
use crate::topic::{TopicError, TopicName};
use crate::update::Topics;

/// Realm, authority and topics, settled when a ledger is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    realm: String,
    authority: String,
    prefix: String,
}

/// Why there are no such settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingsError {
    /// The realm is none.
    Realm(RealmError),
    /// The authority's id is none.
    Authority(NameError),
    /// The prefix begins no topics that can be subscribed.
    Prefix(TopicError),
    /// The id or the prefix has a control character in it, or one that is none.
    Control,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Realm(error) => error.fmt(f),
            Self::Authority(error) => write!(f, "the authority's id: {error}"),
            Self::Prefix(error) => write!(f, "the prefix of topics: {error}"),
            Self::Control => f.write_str(
                "brokers close connections for control characters in a topic: leave them out",
            ),
        }
    }
}

impl core::error::Error for SettingsError {}

/// Whether brokers carry `text` in a topic: they may close the connection for control characters
/// and for code points that are no characters, and one such topic ends all others on it.
// MQTT 5.0 §1.5.4
pub(super) fn is_carried(text: &str) -> bool {
    let is_none = |c: char| {
        let code = u32::from(c);
        c.is_control() || (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
    };
    !text.contains(is_none)
}

impl Settings {
    /// An authority of `realm` with this id, whose topics all begin with `prefix` and a `/`.
    ///
    /// # Errors
    /// [`SettingsError`] with the first that is none, in the order of its variants.
    pub fn new(realm: &str, authority: &str, prefix: &str) -> Result<Self, SettingsError> {
        check_realm(realm).map_err(SettingsError::Realm)?;
        PeerId::parse(authority).map_err(SettingsError::Authority)?;
        let settings =
            Self { realm: realm.into(), authority: authority.into(), prefix: prefix.into() };
        let longest = settings.response("d");
        let topic = TopicName::parse(&longest).and_then(TopicName::subscribable);
        topic.map_err(SettingsError::Prefix)?;
        if ![authority, prefix].into_iter().all(is_carried) {
            return Err(SettingsError::Control);
        }
        Ok(settings)
    }

    /// The realm.
    #[must_use]
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// The authority's id.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What all topics begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The topic on which the authority is asked.
    #[must_use]
    pub fn request(&self) -> String {
        format!("{}/auth/req", self.prefix)
    }

    /// The topic on which it answers `device`.
    #[must_use]
    pub fn response(&self, device: &str) -> String {
        format!("{}/auth/{device}/res", self.prefix)
    }

    /// The topics of a device's updates.
    ///
    /// # Errors
    /// [`TopicError`] if they are too long.
    pub fn topics(&self, device: PeerId<'_>) -> Result<Topics, TopicError> {
        Topics::new(&self.prefix, device)
    }

    /// The filter of all acknowledgements.
    #[must_use]
    pub fn acknowledgements(&self) -> String {
        format!("{}/keys/+/ack", self.prefix)
    }

    /// The device whose acknowledgements come on `topic`.
    #[cfg_attr(not(feature = "rumqttc"), expect(dead_code, reason = "only an authority asks"))]
    pub(crate) fn acknowledged_by<'t>(&self, topic: &'t str) -> Option<&'t str> {
        self.between("/keys/", "/ack", topic)
    }

    /// The device that is answered on `topic`.
    #[cfg_attr(not(feature = "rumqttc"), expect(dead_code, reason = "only an authority asks"))]
    pub(crate) fn answered_on<'t>(&self, topic: &'t str) -> Option<&'t str> {
        self.between("/auth/", "/res", topic)
    }

    fn between<'t>(&self, before: &str, behind: &str, topic: &'t str) -> Option<&'t str> {
        let rest = topic.strip_prefix(&self.prefix)?.strip_prefix(before)?;
        rest.strip_suffix(behind).filter(|device| !device.contains('/'))
    }
}
