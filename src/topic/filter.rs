//! Topic filters: which names one matches, and whether two have a name in common.

use core::fmt;

use super::{MAX_TOPIC_LEN, TopicName, name::Levels};

/// What filters of shared subscriptions begin with.
const SHARE: &str = "$share/";

/// A valid MQTT topic filter, `$share/<group>/` in front included.
///
/// ```
/// use mqtt_seal::topic::{TopicFilter, TopicName};
/// let filter = TopicFilter::parse("plant/+/temp").unwrap();
/// assert!(filter.matches(TopicName::parse("plant/a/temp").unwrap()));
/// assert!(filter.overlaps(TopicFilter::parse("#").unwrap()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicFilter<'a> {
    text: &'a str,
    group: Option<&'a str>,
    pattern: &'a str,
}

/// Why a text is no topic filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FilterError {
    /// It has no characters.
    Empty,
    /// It has more than 65,535 bytes.
    TooLong,
    /// It contains U+0000.
    Nul,
    /// `#` or `+` does not stand alone in its level.
    PartialLevel,
    /// `#` is not the last level.
    HashNotLast,
    /// `$share/` without a group, with a wildcard in the group, or without a filter behind it.
    Share,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a topic filter has at least one character",
            Self::TooLong => "a topic filter has at most 65535 bytes",
            Self::Nul => "a topic filter must not contain U+0000",
            Self::PartialLevel => "'+' and '#' stand alone in their level, as in \"a/+/b\"",
            Self::HashNotLast => "'#' is the last level of a filter, as in \"a/#\"",
            Self::Share => {
                "a shared filter is \"$share/group/filter\", the group without '+' and '#'"
            }
        })
    }
}

impl core::error::Error for FilterError {}

impl<'a> TopicFilter<'a> {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`FilterError`] with the first rule that `text` breaks.
    pub fn parse(text: &'a str) -> Result<Self, FilterError> {
        if text.is_empty() {
            return Err(FilterError::Empty);
        }
        if text.len() > MAX_TOPIC_LEN {
            return Err(FilterError::TooLong);
        }
        if text.contains('\0') {
            return Err(FilterError::Nul);
        }
        let (group, pattern) = split_share(text)?;
        let mut levels = pattern.split('/').peekable();
        while let Some(level) = levels.next() {
            match level {
                "#" if levels.peek().is_some() => return Err(FilterError::HashNotLast),
                "#" | "+" => {}
                _ if level.contains(['+', '#']) => return Err(FilterError::PartialLevel),
                _ => {}
            }
        }
        Ok(Self { text, group, pattern })
    }

    /// The whole filter, `$share/<group>/` included.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.text
    }

    /// The group of a shared subscription.
    #[must_use]
    pub const fn share_group(self) -> Option<&'a str> {
        self.group
    }

    /// Whether `name` is matched. A leading wildcard does not match a name that begins with `$`
    /// (MQTT 5.0 §4.7.2).
    #[must_use]
    pub fn matches(self, name: TopicName<'_>) -> bool {
        if name.is_reserved() && self.pattern.starts_with(['#', '+']) {
            return false;
        }
        matches(self.pattern.as_bytes(), name.as_str().as_bytes())
    }

    /// Whether some topic name is matched by both filters. Groups play no part.
    #[must_use]
    pub fn overlaps(self, other: TopicFilter<'_>) -> bool {
        let (mut a, mut b) = (self.levels(), other.levels());
        let mut first = true;
        // the only name so far is the empty one, which is no topic name
        let mut empty = true;
        loop {
            match (a.next(), b.next()) {
                // '#' matches the parent level too, and whatever follows
                (None, None | Some("#")) | (Some("#"), None) => return !empty,
                (Some("#"), rest) | (rest, Some("#")) => return !(first && is_reserved(rest)),
                (Some(x), Some(y)) => {
                    let wild = x == "+" || y == "+";
                    if first && wild && (is_reserved(Some(x)) || is_reserved(Some(y))) {
                        return false;
                    }
                    if !wild && x != y {
                        return false;
                    }
                    empty = first && (x.is_empty() || y.is_empty());
                }
                _ => return false,
            }
            first = false;
        }
    }

    /// Whether every topic name that `inner` matches is matched by this filter. Groups play no
    /// part.
    #[must_use]
    pub fn covers(self, inner: TopicFilter<'_>) -> bool {
        let (mut outer, mut inner) = (self.levels(), inner.levels());
        let mut first = true;
        loop {
            match (outer.next(), inner.next()) {
                (Some("#"), level) => return !(first && is_reserved(level)),
                // a '#' of `inner` matches what no single level does
                (Some("+"), Some(level))
                    if level != "#" && !(first && is_reserved(Some(level))) => {}
                (Some(a), Some(b)) if a == b && b != "#" => {}
                (None, None) => return true,
                _ => return false,
            }
            first = false;
        }
    }

    fn levels(self) -> Levels<'a> {
        Levels::of(self.pattern)
    }
}

/// A filter that was checked and is kept.
#[cfg(feature = "alloc")]
#[derive(Debug, Clone)]
pub(crate) struct OwnedFilter {
    text: alloc::string::String,
    /// Bytes of the group, if there is one.
    group: Option<usize>,
    /// Where the pattern starts.
    pattern: usize,
    /// Where its first wildcard stands, with the slash in front of it; its end if there is none.
    wild: usize,
}

#[cfg(feature = "alloc")]
impl OwnedFilter {
    pub(crate) fn new(filter: TopicFilter<'_>) -> Self {
        let pattern = filter.text.len().saturating_sub(filter.pattern.len());
        let fixed = match filter.pattern.find(['+', '#']) {
            Some(wild) => wild.saturating_sub(1),
            None => filter.pattern.len(),
        };
        Self {
            text: filter.text.into(),
            group: filter.group.map(str::len),
            pattern,
            wild: pattern.saturating_add(fixed),
        }
    }

    /// As [`TopicFilter::matches`]; what stands in front of the wildcards is compared at once.
    pub(crate) fn matches(&self, name: TopicName<'_>) -> bool {
        let fixed = self.text.get(self.pattern..self.wild).unwrap_or_default();
        let pattern = self.text.get(self.wild..).unwrap_or_default();
        match name.as_str().strip_prefix(fixed) {
            None => false,
            Some(_) if fixed.is_empty() => self.get().matches(name),
            Some(rest) => matches(pattern.as_bytes(), rest.as_bytes()),
        }
    }

    pub(crate) fn get(&self) -> TopicFilter<'_> {
        let group = self.group.and_then(|len| self.text.get(SHARE.len()..)?.get(..len));
        let pattern = self.text.get(self.pattern..).unwrap_or_default();
        TopicFilter { text: &self.text, group, pattern }
    }
}

impl fmt::Display for TopicFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// Whether `pattern` matches `name`, byte by byte.
fn matches(mut pattern: &[u8], mut name: &[u8]) -> bool {
    while let [first, rest @ ..] = pattern {
        match (first, name) {
            (b'#', _) => return true,
            (b'+', _) => {
                let end = name.iter().position(|byte| *byte == b'/').unwrap_or(name.len());
                name = name.get(end..).unwrap_or_default();
            }
            (_, [same, behind @ ..]) if same == first => name = behind,
            // '#' matches the parent level too
            _ => return name.is_empty() && pattern == b"/#",
        }
        pattern = rest;
    }
    name.is_empty()
}

fn is_reserved(level: Option<&str>) -> bool {
    level.is_some_and(|level| level.starts_with('$'))
}

/// Splits `$share/group/filter` (MQTT 5.0 §4.8.2); a filter that is not shared has no group.
fn split_share(text: &str) -> Result<(Option<&str>, &str), FilterError> {
    let Some(shared) = text.strip_prefix(SHARE) else {
        return Ok((None, text));
    };
    match shared.split_once('/') {
        Some((group, pattern))
            if !group.is_empty() && !group.contains(['+', '#']) && !pattern.is_empty() =>
        {
            Ok((Some(group), pattern))
        }
        _ => Err(FilterError::Share),
    }
}

#[cfg(test)]
mod tests;
