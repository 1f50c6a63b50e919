//! What can be wrong with a device's file, and how to mend it. Holds no part of the file's text.

use core::fmt;
use std::path::{Path, PathBuf};

use crate::peer::{MAX_PINS, NameError};
use crate::store::key_file::{KeyFault, KeyFileError};
use crate::store::position::{Located, Position};
use crate::topic::TopicError;

/// Why there is no device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceFileError {
    /// The file cannot be read, or others than its owner have access to it.
    File(KeyFileError),
    /// The text describes no device.
    Invalid {
        /// The file, unless the text came from elsewhere.
        path: Option<PathBuf>,
        /// Where.
        at: Position,
        /// What is wrong there.
        fault: DeviceFault,
    },
}

impl DeviceFileError {
    pub(super) fn invalid(path: Option<&Path>, text: &str, fault: Located<DeviceFault>) -> Self {
        let path = path.map(Into::into);
        Self::Invalid { path, at: Position::of(text, fault.at), fault: fault.what }
    }
}

impl fmt::Display for DeviceFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Invalid { path, at, fault } => {
                if let Some(path) = path {
                    write!(f, "{}:", path.display())?;
                }
                write!(f, "{at}: {fault}")
            }
        }
    }
}

impl core::error::Error for DeviceFileError {}

/// What is wrong at a place in a device's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceFault {
    /// What can be wrong in a key file too.
    Setting(KeyFault),
    /// The id of the device or of the authority, or the name of a broker, is none.
    Id(NameError),
    /// A topic, or the prefix of topics, is none.
    Topic(TopicError),
    /// A pin is neither `sha256/` with 44 characters of base64 nor 64 hexadecimal digits.
    Pin,
    /// There are more than [`MAX_PINS`] pins.
    TooManyPins,
}

impl fmt::Display for DeviceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(fault) => fault.fmt(f),
            Self::Id(error) => error.fmt(f),
            Self::Topic(error) => error.fmt(f),
            Self::Pin => f.write_str(
                "this is no pin: write sha256/ and 44 characters of base64, or 64 hexadecimal \
                 digits",
            ),
            Self::TooManyPins => {
                write!(f, "a broker has at most {MAX_PINS} pins: leave out those of old keys")
            }
        }
    }
}

impl core::error::Error for DeviceFault {}
