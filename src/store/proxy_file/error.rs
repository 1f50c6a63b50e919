//! What can be wrong with a proxy's settings, and how to mend it.

use alloc::string::String;
use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::store::position::{Located, Position};
use crate::store::section::{Shape, Slip, write_choices};

/// Why there are no settings.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyFileError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        kind: io::ErrorKind,
    },
    /// The text has no settings of a proxy.
    Invalid {
        /// The file, unless the text came from elsewhere.
        path: Option<PathBuf>,
        /// Where.
        at: Position,
        /// What is wrong there.
        fault: ProxyFault,
    },
}

impl ProxyFileError {
    pub(super) fn invalid(path: Option<&Path>, text: &str, fault: Located<ProxyFault>) -> Self {
        let at = Position::of(text, fault.at);
        Self::Invalid { path: path.map(Into::into), at, fault: fault.what }
    }
}

impl fmt::Display for ProxyFileError {
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

impl core::error::Error for ProxyFileError {}

/// What is wrong at a place in a proxy's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyFault {
    /// The file is not UTF-8.
    NotUtf8,
    /// The text is not TOML.
    Syntax {
        /// What the TOML parser says.
        message: String,
    },
    /// There is no setting of this name.
    UnknownKey {
        /// The name.
        key: String,
        /// The name that may have been meant.
        nearest: Option<&'static str>,
        /// The names that there are.
        known: &'static [&'static str],
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
    /// A number is not positive, or larger than a number of bytes can be.
    OutOfRange {
        /// The name of its setting.
        key: &'static str,
    },
    /// A setting of another kind of file.
    Foreign,
}

impl fmt::Display for ProxyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str("this is not UTF-8: save the file as UTF-8 text"),
            Self::Syntax { message } => write!(f, "this is not TOML: {message}"),
            Self::UnknownKey { key, nearest, known } => {
                write!(f, "unknown key {key:?}: ")?;
                match nearest {
                    Some(nearest) => write!(f, "did you mean \"{nearest}\"?"),
                    None => f.write_str("use ").and_then(|()| write_choices(f, known, "")),
                }
            }
            Self::Shape { key, shape } => write!(f, "{key} has the wrong type: write {shape}"),
            Self::UnknownValue { key, value, allowed } => {
                write!(f, "{key} has no value {value:?}: use ")?;
                write_choices(f, allowed, "\"")
            }
            Self::OutOfRange { key } => {
                write!(f, "{key} is out of range: write a whole number above 0")
            }
            Self::Foreign => f.write_str("this belongs in another file: remove it"),
        }
    }
}

impl core::error::Error for ProxyFault {}

impl From<Located<Slip<'_>>> for Located<ProxyFault> {
    fn from(slip: Located<Slip<'_>>) -> Self {
        let fault = match slip.what {
            Slip::UnknownKey { found, nearest, known } => {
                ProxyFault::UnknownKey { key: found.into(), nearest, known }
            }
            Slip::Shape { key, shape } => ProxyFault::Shape { key, shape },
            Slip::UnknownValue { key, found, allowed } => {
                ProxyFault::UnknownValue { key, value: found.into(), allowed }
            }
            // no setting here is required, a moment or a suite
            Slip::Missing { .. } | Slip::Moment { .. } | Slip::SuiteNotBuilt(_) => {
                ProxyFault::Foreign
            }
        };
        Self::new(slip.at, fault)
    }
}
