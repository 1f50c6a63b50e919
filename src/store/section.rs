//! Tables of a TOML text, with the place of every key and value. Knows no setting by name, and
//! copies no value.

use alloc::{vec, vec::Vec};
use core::fmt;

use toml::Spanned;
use toml::de::{DeArray, DeInteger, DeString, DeTable, DeValue};

use super::moment::{NoMoment, Unit};
use super::position::Located;
use crate::suite::{Suite, SuiteNotBuilt};

/// Most slips of the pen between a key that is known and one that is taken for it.
const NEAR: usize = 2;
/// Longest key in bytes that is compared with the known ones.
const LONGEST_COMPARED: usize = 32;
/// The names of the suites, in the order of [`Suite::ALL`].
const SUITES: &[&str] = &{
    let [a, b, c, d, e] = Suite::ALL;
    [a.name(), b.name(), c.name(), d.name(), e.name()]
};

/// What the value of a setting looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Shape {
    /// A string.
    Text,
    /// An integer.
    Number,
    /// A boolean.
    Flag,
    /// An array of strings.
    Texts,
    /// A table.
    Table,
    /// A string or a table.
    TextOrTable,
    /// An array of tables.
    Sections,
    /// A date, a date and time with its offset, or an integer of Unix milliseconds.
    Milliseconds,
    /// A date, a date and time with its offset, or an integer of Unix seconds.
    Seconds,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "a text, as in \"…\"",
            Self::Number => "a whole number",
            Self::Flag => "true or false",
            Self::Texts => "a list of texts, as in [\"…\", \"…\"]",
            Self::Table => "a table, as in { … }",
            Self::TextOrTable => "a text, as in \"…\", or a table, as in { … }",
            Self::Sections => "sections, each under the name in double brackets",
            Self::Milliseconds => {
                "2027-03-31, 2027-03-31T23:59:59Z or a whole number of Unix milliseconds"
            }
            Self::Seconds => "2027-03-31, 2027-03-31T23:59:59Z or a whole number of Unix seconds",
        })
    }
}

/// What can be wrong with a setting whatever it means.
#[derive(Debug)]
pub(super) enum Slip<'t> {
    UnknownKey { found: &'t str, nearest: Option<&'static str>, known: &'static [&'static str] },
    Missing { key: &'static str },
    Shape { key: &'static str, shape: Shape },
    UnknownValue { key: &'static str, found: &'t str, allowed: &'static [&'static str] },
    Moment { key: &'static str },
    SuiteNotBuilt(SuiteNotBuilt),
}

type Found<'t, T> = Result<T, Located<Slip<'t>>>;

/// The tables of `text`, or where it first stops being TOML and what the parser says to that.
pub(super) fn document(text: &str) -> Result<Spanned<DeTable<'_>>, Located<toml::de::Error>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let errors = errors.into_iter().map(|error| {
        let at = error.span().map_or(text.len(), |span| span.start);
        Located::new(at, error)
    });
    // the parser does not report them in their order
    let first = errors.min_by_key(|error| error.at);
    first.map_or(Ok(document), Err)
}

/// A table, and where it begins.
#[derive(Clone, Copy)]
pub(super) struct Section<'t> {
    pub(super) at: usize,
    table: &'t DeTable<'t>,
}

impl<'t> Section<'t> {
    pub(super) const fn new(at: usize, table: &'t DeTable<'t>) -> Self {
        Self { at, table }
    }

    /// Checks that every key is one of `known`.
    pub(super) fn check_keys(self, known: &'static [&'static str]) -> Found<'t, ()> {
        let unknown = |key: &&Spanned<DeString<'t>>| !known.contains(&key.get_ref().as_ref());
        // the map is sorted by name
        let first = self.table.keys().filter(unknown).min_by_key(|key| start(*key));
        first.map_or(Ok(()), |key| {
            let found = key.get_ref().as_ref();
            let nearest = nearest(found, known);
            let slip = Slip::UnknownKey { found, nearest, known };
            Err(Located::new(start(key), slip))
        })
    }

    pub(super) fn get(self, name: &'static str) -> Option<Setting<'t>> {
        let (key, value) = self.table.get_key_value(name)?;
        Some(Setting { name, key_at: start(key), at: start(value), value: value.get_ref() })
    }

    /// The setting `name`, without which the section is no good.
    pub(super) fn need(self, name: &'static str) -> Found<'t, Setting<'t>> {
        self.get(name).ok_or_else(|| Located::new(self.at, Slip::Missing { key: name }))
    }
}

/// A key and its value, and where they stand.
#[derive(Clone, Copy)]
pub(super) struct Setting<'t> {
    pub(super) name: &'static str,
    pub(super) key_at: usize,
    pub(super) at: usize,
    value: &'t DeValue<'t>,
}

impl<'t> Setting<'t> {
    pub(super) fn text(self) -> Found<'t, &'t str> {
        self.value.as_str().ok_or_else(|| self.is_not(Shape::Text))
    }

    pub(super) fn flag(self) -> Found<'t, bool> {
        self.value.as_bool().ok_or_else(|| self.is_not(Shape::Flag))
    }

    /// A number; what is out of range becomes the end of the range.
    pub(super) fn number(self) -> Found<'t, i64> {
        let number = self.value.as_integer().map(saturated);
        number.ok_or_else(|| self.is_not(Shape::Number))
    }

    /// A moment: a date with or without a time, or a number.
    pub(super) fn moment(self, unit: Unit) -> Found<'t, u64> {
        let moment = match self.value {
            DeValue::Datetime(written) => unit.date_time(written),
            DeValue::Integer(number) => unit.number(saturated(number)),
            _ => Err(NoMoment::Shape),
        };
        let shape = match unit {
            Unit::Milliseconds => Shape::Milliseconds,
            Unit::Seconds => Shape::Seconds,
        };
        moment.map_err(|error| match error {
            NoMoment::Shape => self.is_not(shape),
            NoMoment::Range => Located::new(self.at, Slip::Moment { key: self.name }),
        })
    }

    pub(super) fn section(self) -> Found<'t, Section<'t>> {
        self.as_section().ok_or_else(|| self.is_not(Shape::Table))
    }

    pub(super) fn as_section(self) -> Option<Section<'t>> {
        let table = self.value.as_table()?;
        Some(Section::new(self.at, table))
    }

    /// The texts of a list, and where they stand.
    pub(super) fn texts(self) -> Found<'t, Vec<Located<&'t str>>> {
        self.list(Shape::Texts, DeValue::as_str)
    }

    /// The tables of a list.
    pub(super) fn sections(self) -> Found<'t, Vec<Section<'t>>> {
        let tables = self.list(Shape::Sections, DeValue::as_table)?;
        let section = |table: Located<_>| Section::new(table.at, table.what);
        Ok(tables.into_iter().map(section).collect())
    }

    /// The one of `values` whose name is in the text.
    pub(super) fn choice<T: Copy>(
        self,
        names: &'static [&'static str],
        values: &[T],
    ) -> Found<'t, T> {
        let found = self.text()?;
        let mut choices = names.iter().zip(values);
        let choice = choices.find(|(name, _)| **name == found);
        choice.map(|(_, value)| *value).ok_or_else(|| self.is_none_of(found, names))
    }

    /// A suite that is in this build.
    pub(super) fn suite(self) -> Found<'t, Suite> {
        let suite = self.choice(SUITES, &Suite::ALL)?;
        if suite.is_built() {
            Ok(suite)
        } else {
            let slip = Slip::SuiteNotBuilt(SuiteNotBuilt { suite });
            Err(Located::new(self.at, slip))
        }
    }

    pub(super) const fn is_not(self, shape: Shape) -> Located<Slip<'t>> {
        let key = self.name;
        Located::new(self.at, Slip::Shape { key, shape })
    }

    const fn is_none_of(
        self,
        found: &'t str,
        allowed: &'static [&'static str],
    ) -> Located<Slip<'t>> {
        let key = self.name;
        Located::new(self.at, Slip::UnknownValue { key, found, allowed })
    }

    /// What `get` makes of each value of a list.
    fn list<T>(
        self,
        shape: Shape,
        get: impl Fn(&'t DeValue<'t>) -> Option<T>,
    ) -> Found<'t, Vec<Located<T>>> {
        let list: &'t DeArray<'t> = self.value.as_array().ok_or_else(|| self.is_not(shape))?;
        let element = |value: &'t Spanned<DeValue<'t>>| {
            let at = start(value);
            let slip = Slip::Shape { key: self.name, shape };
            match get(value.get_ref()) {
                Some(what) => Ok(Located::new(at, what)),
                None => Err(Located::new(at, slip)),
            }
        };
        list.iter().map(element).collect()
    }
}

fn start<T>(spanned: &Spanned<T>) -> usize {
    spanned.span().start
}

fn saturated(number: &DeInteger<'_>) -> i64 {
    let end = if number.as_str().starts_with('-') { i64::MIN } else { i64::MAX };
    i64::from_str_radix(number.as_str(), number.radix()).unwrap_or(end)
}

/// The name that may have been meant by `found`.
fn nearest(found: &str, known: &'static [&'static str]) -> Option<&'static str> {
    if found.len() > LONGEST_COMPARED {
        return None;
    }
    let distances = known.iter().map(|name| (distance(found, name), *name));
    let (distance, name) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= NEAR && distance < name.len()).then_some(name)
}

/// How many characters are to be added, removed or replaced to make `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (done, x) in a.chars().enumerate() {
        let mut left = done.saturating_add(1);
        let mut next = vec![left];
        for ((y, diagonal), above) in b.chars().zip(&row).zip(row.iter().skip(1)) {
            let replaced = diagonal.saturating_add(usize::from(x != y));
            left = replaced.min(left.min(*above).saturating_add(1));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// Writes what is wrong with the moment `key`.
pub(super) fn write_moment(f: &mut fmt::Formatter<'_>, key: &str) -> fmt::Result {
    write!(f, "{key} is not in the years from 1970 to 9999: check the date and the unit")
}

/// Writes `items` as in `a, b or c`, each between `quote`.
pub(super) fn write_choices(
    f: &mut fmt::Formatter<'_>,
    items: &[&str],
    quote: &str,
) -> fmt::Result {
    let last = items.len().saturating_sub(1);
    for (index, item) in items.iter().enumerate() {
        let separator = match index {
            0 => "",
            _ if index == last => " or ",
            _ => ", ",
        };
        write!(f, "{separator}{quote}{item}{quote}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_single_changes() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("topic", "topics", 1),
            ("tpoics", "topics", 2),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn nearest_is_the_closest_within_two_changes() {
        const KNOWN: &[&str] = &["path", "pad", "name"];
        assert_eq!(nearest("paths", KNOWN), Some("path"));
        assert_eq!(nearest("nmae", KNOWN), Some("name"));
        assert_eq!(nearest("colour", KNOWN), None);
        assert_eq!(nearest(&"path".repeat(9), KNOWN), None);
    }
}
