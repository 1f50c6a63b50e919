//! The five MQTT 5 properties that travel with a payload, and their encoding in PROPS.

use core::fmt;

use super::Reader;
use crate::topic::TopicName;

/// An MQTT 5 property that a rule carries, binds or ignores (MQTT 5.0 §3.3.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Property<'a> {
    /// 0x01: whether the payload is UTF-8 text.
    PayloadFormat(bool),
    /// 0x03.
    ContentType(&'a str),
    /// 0x08.
    ResponseTopic(&'a str),
    /// 0x09.
    CorrelationData(&'a [u8]),
    /// 0x26: a name and a value; the only one that may repeat, in order.
    User(&'a str, &'a str),
}

/// Why properties cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PropertyError {
    /// One that may stand once stands twice.
    Repeated,
    /// A text or the correlation data has more than 65,535 bytes.
    TooLong,
    /// A text contains U+0000.
    Nul,
    /// The response topic is no topic name.
    ResponseTopic,
}

impl fmt::Display for PropertyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Repeated => "a property other than a user property stands twice",
            Self::TooLong => "a property has more than 65535 bytes",
            Self::Nul => "a property contains U+0000",
            Self::ResponseTopic => "the response topic is no valid topic name",
        })
    }
}

impl core::error::Error for PropertyError {}

/// The identifiers in the order of PROPS.
pub(crate) const IDS: [u8; 5] = [0x01, 0x03, 0x08, 0x09, 0x26];

impl<'a> Property<'a> {
    /// The property's identifier in MQTT 5.
    #[must_use]
    pub const fn id(&self) -> u8 {
        match self {
            Self::PayloadFormat(_) => 0x01,
            Self::ContentType(_) => 0x03,
            Self::ResponseTopic(_) => 0x08,
            Self::CorrelationData(_) => 0x09,
            Self::User(..) => 0x26,
        }
    }

    /// The value's bytes, in one or two parts; the format indicator has none here.
    pub(crate) fn parts(&self) -> (&'a [u8], Option<&'a [u8]>) {
        match *self {
            Self::PayloadFormat(_) => (&[], None),
            Self::ContentType(text) | Self::ResponseTopic(text) => (text.as_bytes(), None),
            Self::CorrelationData(data) => (data, None),
            Self::User(name, value) => (name.as_bytes(), Some(value.as_bytes())),
        }
    }

    /// Checks what MQTT asks of the value.
    #[cfg(feature = "alloc")]
    fn check(&self) -> Result<(), PropertyError> {
        let (first, second) = self.parts();
        let second = second.unwrap_or_default();
        if first.len().max(second.len()) > usize::from(u16::MAX) {
            return Err(PropertyError::TooLong);
        }
        if let Self::ResponseTopic(topic) = self {
            return TopicName::parse(topic).map(drop).map_err(|_| PropertyError::ResponseTopic);
        }
        let text = !matches!(self, Self::CorrelationData(_));
        if text && (first.contains(&0) || second.contains(&0)) {
            return Err(PropertyError::Nul);
        }
        Ok(())
    }

    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        Some(match reader.u8()? {
            0x01 => match reader.u8()? {
                0 => Self::PayloadFormat(false),
                1 => Self::PayloadFormat(true),
                _ => return None,
            },
            0x03 => Self::ContentType(reader.lp_text()?),
            0x08 => Self::ResponseTopic(TopicName::from_bytes(reader.lp()?).ok()?.as_str()),
            0x09 => Self::CorrelationData(reader.lp()?),
            0x26 => Self::User(reader.lp_text()?, reader.lp_text()?),
            _ => return None,
        })
    }

    /// Its bytes, in PROPS as on a packet.
    pub(crate) fn encoded_len(&self) -> usize {
        let (first, second) = self.parts();
        match self {
            Self::PayloadFormat(_) => 2,
            // the identifier, and a u16 length before each part
            _ => first
                .len()
                .saturating_add(second.map_or(0, |second| second.len().saturating_add(2)))
                .saturating_add(3),
        }
    }
}

/// Checks a whole set of properties.
///
/// # Errors
/// [`PropertyError`] with the first rule of MQTT that is broken.
#[cfg(feature = "alloc")]
pub(crate) fn check(properties: &[Property<'_>]) -> Result<(), PropertyError> {
    let mut seen: u64 = 0;
    for property in properties {
        property.check()?;
        let bit = 1_u64 << (property.id() & 63);
        if seen & bit != 0 && !matches!(property, Property::User(..)) {
            return Err(PropertyError::Repeated);
        }
        seen |= bit;
    }
    Ok(())
}

/// Bytes of PROPS for those of `properties` that `carried` lets in.
pub(crate) fn encoded_len(properties: &[Property<'_>], carried: Carried) -> usize {
    properties
        .iter()
        .filter(|property| carried.takes(property))
        .fold(0, |len, property| len.saturating_add(property.encoded_len()))
}

/// Writes PROPS: ascending identifiers, user properties in their order.
// SPEC §3, PROPS
pub(crate) fn encode(properties: &[Property<'_>], carried: Carried, mut put: impl FnMut(&[u8])) {
    for id in IDS {
        for property in properties.iter().filter(|p| p.id() == id && carried.takes(p)) {
            put(&[id]);
            if let Property::PayloadFormat(text) = property {
                put(&[u8::from(*text)]);
                continue;
            }
            let (first, second) = property.parts();
            for part in [Some(first), second].into_iter().flatten() {
                put(&u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
                put(part);
            }
        }
    }
}

/// Which properties go into PROPS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carried {
    /// All five.
    All,
    /// The payload format indicator alone.
    FormatOnly,
}

impl Carried {
    pub(crate) fn takes(self, property: &Property<'_>) -> bool {
        self == Self::All || matches!(property, Property::PayloadFormat(_))
    }
}

/// The properties of a PROPS field whose bytes were checked when it was read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    /// Checks the bytes of PROPS: known ids, ascending, single but for 0x26, valid values, not
    /// empty.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let mut last = 0;
        while !reader.0.is_empty() {
            let id = Property::read(&mut reader)?.id();
            if id < last || (id == last && id != 0x26) {
                return None;
            }
            last = id;
        }
        (last != 0).then_some(Self(bytes))
    }

    /// The bytes of PROPS.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The properties in order.
    pub fn iter(self) -> impl Iterator<Item = Property<'a>> {
        let mut reader = Reader(self.0);
        core::iter::from_fn(move || Property::read(&mut reader))
    }
}
