//! Topic names and the path scopes cut from them.

use core::fmt;

use super::MAX_TOPIC_LEN;

/// A valid MQTT topic name: 1..=65,535 bytes of UTF-8 without U+0000, `+` and `#`.
///
/// ```
/// use mqtt_seal::topic::{TopicError, TopicName};
/// let topic = TopicName::parse("plant/a/temp")?;
/// assert_eq!(topic.levels().count(), 3);
/// assert_eq!(TopicName::parse("plant/+"), Err(TopicError::Wildcard));
/// # Ok::<(), TopicError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName<'a>(&'a str);

/// Why a text is no topic name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TopicError {
    /// It has no characters.
    Empty,
    /// It has more than 65,535 bytes.
    TooLong,
    /// It contains U+0000.
    Nul,
    /// It contains `+` or `#`, which only filters may.
    Wildcard,
    /// The bytes are not UTF-8.
    NotUtf8,
    /// It begins with `$share/`, so that its subscription would be one of another topic, shared with
    /// others.
    Shared,
}

/// A name that is kept. Empty until it is set, which no name is.
#[cfg(feature = "alloc")]
#[derive(Debug, Default)]
pub(crate) struct OwnedName(alloc::string::String);

#[cfg(feature = "alloc")]
impl OwnedName {
    /// Keeps `name` in place of the one before, in the same memory.
    pub(crate) fn set(&mut self, name: TopicName<'_>) {
        self.0.clear();
        self.0.push_str(name.0);
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn get(&self) -> Option<TopicName<'_>> {
        (!self.0.is_empty()).then_some(TopicName(&self.0))
    }
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a topic name has at least one character",
            Self::TooLong => "a topic name has at most 65535 bytes",
            Self::Nul => "a topic name must not contain U+0000",
            Self::Shared => "a topic that begins with $share/ cannot be subscribed: choose another",
            Self::Wildcard => "a topic name must not contain '+' or '#'",
            Self::NotUtf8 => "a topic name is UTF-8 text",
        })
    }
}

impl core::error::Error for TopicError {}

impl<'a> TopicName<'a> {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`TopicError`] with the first rule that `text` breaks.
    pub fn parse(text: &'a str) -> Result<Self, TopicError> {
        if text.is_empty() {
            return Err(TopicError::Empty);
        }
        if text.len() > MAX_TOPIC_LEN {
            return Err(TopicError::TooLong);
        }
        // without an early end, the compiler looks at many bytes at once
        let bad = |byte: &u8| matches!(byte, 0 | b'+' | b'#');
        if text.as_bytes().iter().fold(false, |any, byte| any | bad(byte)) {
            let nul = text.bytes().find(bad) == Some(0);
            return Err(if nul { TopicError::Nul } else { TopicError::Wildcard });
        }
        Ok(Self(text))
    }

    /// The same, if it can be subscribed as it is.
    ///
    /// # Errors
    /// [`TopicError::Shared`].
    // MQTT 5.0 §4.8.2
    pub fn subscribable(self) -> Result<Self, TopicError> {
        if self.0.starts_with("$share/") { Err(TopicError::Shared) } else { Ok(self) }
    }

    /// Checks bytes from the network.
    ///
    /// # Errors
    /// [`TopicError`] with the first rule that `bytes` break.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, TopicError> {
        core::str::from_utf8(bytes).map_err(|_| TopicError::NotUtf8).and_then(Self::parse)
    }

    /// The whole name.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The levels, in order. There is at least one; any of them may be empty.
    #[must_use]
    pub fn levels(self) -> Levels<'a> {
        Levels::of(self.0)
    }

    /// Whether the first character is `$`, which a leading wildcard does not match.
    #[must_use]
    pub fn is_reserved(self) -> bool {
        self.0.starts_with('$')
    }

    /// The path scope of the first `depth` levels, or of the whole name if it has fewer.
    // SPEC §1, "path scope"
    #[must_use]
    pub fn path(self, depth: u8) -> PathScope<'a> {
        if depth == 0 {
            return PathScope::REALM;
        }
        let mut levels: u8 = 1;
        for (at, _) in self.0.bytes().enumerate().filter(|(_, byte)| *byte == b'/') {
            if levels == depth {
                return PathScope { text: self.0.get(..at).unwrap_or(self.0), levels };
            }
            levels = levels.saturating_add(1);
        }
        PathScope { text: self.0, levels }
    }

    /// The name without `prefix`, once and at the start; unchanged if it does not start with
    /// `prefix` or if nothing would remain.
    // SPEC §5, topic_binding = strip
    #[must_use]
    pub fn strip(self, prefix: &str) -> Self {
        match self.0.strip_prefix(prefix) {
            Some(rest) if !rest.is_empty() => Self(rest),
            _ => self,
        }
    }
}

impl fmt::Display for TopicName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The first levels of a topic: what a path scope is named by. Zero levels is the whole realm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PathScope<'a> {
    text: &'a str,
    levels: u8,
}

impl<'a> PathScope<'a> {
    /// The scope of the whole realm, of no level.
    pub const REALM: PathScope<'static> = PathScope { text: "", levels: 0 };

    /// Puts a scope together again from its parts: the levels joined by `/`, and their number.
    /// `None` if `text` does not have that number of levels.
    #[must_use]
    pub fn from_parts(text: &'a str, levels: u8) -> Option<Self> {
        let scope = Self { text, levels };
        let matches = match levels {
            0 => text.is_empty(),
            n => text.split('/').count() == usize::from(n),
        };
        matches.then_some(scope)
    }

    /// The levels joined by `/`.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.text
    }

    /// The number of levels. Zero levels and one empty level have the same text.
    #[must_use]
    pub const fn depth(self) -> u8 {
        self.levels
    }

    /// The levels, in order.
    #[must_use]
    pub fn levels(self) -> Levels<'a> {
        Levels { rest: (self.levels > 0).then_some(self.text) }
    }

    /// The levels below `ancestor`, or `None` if this scope is not at or below it.
    #[must_use]
    pub fn below(self, ancestor: PathScope<'_>) -> Option<Levels<'a>> {
        let mut levels = self.levels();
        for expected in ancestor.levels() {
            if levels.next() != Some(expected) {
                return None;
            }
        }
        Some(levels)
    }
}

/// The levels of a topic, in order.
#[derive(Debug, Clone)]
pub struct Levels<'a> {
    rest: Option<&'a str>,
}

impl<'a> Levels<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { rest: Some(text) }
    }
}

impl<'a> Iterator for Levels<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        if let Some((level, behind)) = rest.split_once('/') {
            self.rest = Some(behind);
            Some(level)
        } else {
            self.rest = None;
            Some(rest)
        }
    }
}
