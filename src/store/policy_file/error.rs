//! What can be wrong with a policy file, and how to mend it.

use alloc::string::String;
use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::policy::RuleError;
use crate::store::position::{Located, Position};
use crate::store::section::{Shape, Slip, write_choices, write_moment};
use crate::suite::SuiteNotBuilt;

/// Why there is no policy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyFileError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        kind: io::ErrorKind,
    },
    /// The text is no policy.
    Invalid {
        /// The file, unless the text came from elsewhere.
        path: Option<PathBuf>,
        /// Where.
        at: Position,
        /// What is wrong there.
        fault: PolicyFault,
    },
}

impl PolicyFileError {
    pub(super) fn invalid(path: Option<&Path>, text: &str, fault: Located<PolicyFault>) -> Self {
        Self::Invalid {
            path: path.map(Into::into),
            at: Position::of(text, fault.at),
            fault: fault.what,
        }
    }
}

impl fmt::Display for PolicyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, kind } => {
                let path = path.display();
                write!(f, "{path}: cannot be read, {kind}: check the path and its permissions")
            }
            Self::Invalid { path, at, fault } => {
                if let Some(path) = path {
                    write!(f, "{}:", path.display())?;
                }
                write!(f, "{at}: {fault}")
            }
        }
    }
}

impl core::error::Error for PolicyFileError {}

/// What is wrong at a place in a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyFault {
    /// The file is not UTF-8.
    NotUtf8,
    /// The text is not TOML.
    Syntax {
        /// What the TOML parser says.
        message: String,
    },
    /// There is not a single rule.
    NoRules,
    /// There is no setting of this name here.
    UnknownKey {
        /// The name.
        key: String,
        /// The name that may have been meant.
        nearest: Option<&'static str>,
        /// The names that there are here.
        known: &'static [&'static str],
    },
    /// A required setting is missing.
    Missing {
        /// Its name.
        key: &'static str,
    },
    /// The value of a setting has the wrong type.
    Shape {
        /// Its name.
        key: &'static str,
        /// The right one.
        shape: Shape,
    },
    /// A setting has no such value.
    UnknownValue {
        /// Its name.
        key: &'static str,
        /// The value.
        value: String,
        /// The values that it has.
        allowed: &'static [&'static str],
    },
    /// A scope has both a depth and a name, or neither.
    ScopeKind,
    /// A moment is not in the years from 1970 to 9999.
    Moment {
        /// The name of its setting.
        key: &'static str,
    },
    /// A number is negative or larger than the setting takes.
    OutOfRange {
        /// The name of its setting.
        key: &'static str,
    },
    /// `until` stands in a rule that is for no migration.
    UntilUnused,
    /// `retain` stands where received messages are not checked for replays.
    RetainUnused,
    /// This build does not contain the suite.
    SuiteNotBuilt(SuiteNotBuilt),
    /// The settings make no legal rule.
    Rule(RuleError),
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str("this is not UTF-8: save the file as UTF-8 text"),
            Self::Syntax { message } => write!(f, "this is not TOML: {message}"),
            Self::NoRules => {
                f.write_str("there is no rule, so that every topic is refused: add a [[rule]]")
            }
            Self::UnknownKey { key, nearest, known } => {
                write!(f, "unknown key {key:?}: ")?;
                match nearest {
                    Some(nearest) => write!(f, "did you mean \"{nearest}\"?"),
                    None => f.write_str("use ").and_then(|()| write_choices(f, known, "")),
                }
            }
            Self::Missing { key } => write!(f, "{key} is missing: add {key} = …"),
            Self::Shape { key, shape } => write!(f, "{key} has the wrong type: write {shape}"),
            Self::UnknownValue { key, value, allowed } => {
                write!(f, "{key} has no value {value:?}: use ")?;
                write_choices(f, allowed, "\"")
            }
            Self::ScopeKind => f.write_str(
                "a scope has either a depth or a name: write { depth = 1 } or { name = \"…\" }",
            ),
            Self::Moment { key } => write_moment(f, key),
            Self::OutOfRange { key } => {
                write!(f, "{key} is out of range: write a whole number that is not negative")
            }
            Self::UntilUnused => f.write_str(
                "until has a meaning only with payload = \"mixed\" or \"observe\": \
                 remove one of them",
            ),
            Self::RetainUnused => f.write_str(
                "retain has a meaning only with replay = \"window\": remove one of them",
            ),
            Self::SuiteNotBuilt(error) => error.fmt(f),
            Self::Rule(error) => write_rule_error(f, *error),
        }
    }
}

impl core::error::Error for PolicyFault {}

fn write_rule_error(f: &mut fmt::Formatter<'_>, error: RuleError) -> fmt::Result {
    write!(f, "{error}")?;
    f.write_str(match error {
        RuleError::CarriedNeedsName => ": write scope = { name = \"…\" }",
        RuleError::CarriedFilterUnused => ": remove one of them",
        _ => "",
    })
}

impl From<Located<Slip<'_>>> for Located<PolicyFault> {
    fn from(slip: Located<Slip<'_>>) -> Self {
        let fault = match slip.what {
            Slip::UnknownKey { found, nearest, known } => {
                PolicyFault::UnknownKey { key: found.into(), nearest, known }
            }
            Slip::Missing { key } => PolicyFault::Missing { key },
            Slip::Shape { key, shape } => PolicyFault::Shape { key, shape },
            Slip::UnknownValue { key, found, allowed } => {
                PolicyFault::UnknownValue { key, value: found.into(), allowed }
            }
            Slip::Moment { key } => PolicyFault::Moment { key },
            Slip::SuiteNotBuilt(error) => PolicyFault::SuiteNotBuilt(error),
        };
        Self::new(slip.at, fault)
    }
}
