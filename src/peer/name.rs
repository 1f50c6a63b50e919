//! Names of the ends and of the broker between them. Knows no topic and no key.

use core::fmt;

/// Longest id of a device or an authority in bytes: with `$peer/` it is a realm (SPEC §9).
pub const MAX_ID_LEN: usize = 58;
/// Longest name of a broker in bytes (SPEC §9).
pub const MAX_BROKER_LEN: usize = 255;

/// The id of a device or an authority: 1..=58 bytes, one topic level, not starting with `$`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId<'a>(&'a str);

/// The `host:port` of a broker as the device is configured with it: 1..=255 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BrokerName<'a>(&'a str);

/// Why a text is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NameError {
    /// The id is empty or has more than [`MAX_ID_LEN`] bytes.
    IdLength {
        /// The number of bytes that it has.
        len: usize,
    },
    /// The id is no single level of a topic: it contains `/`, `+`, `#` or U+0000.
    IdLevel,
    /// The id begins with `$`, which the format reserves.
    IdReserved,
    /// The broker's name is empty or has more than [`MAX_BROKER_LEN`] bytes.
    BrokerLength {
        /// The number of bytes that it has.
        len: usize,
    },
    /// The broker's name contains U+0000.
    BrokerNul,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IdLength { len } => {
                write!(f, "an id has 1 to {MAX_ID_LEN} bytes, this one has {len}: choose another")
            }
            Self::IdLevel => {
                f.write_str("an id is one level of a topic: leave out '/', '+', '#' and U+0000")
            }
            Self::IdReserved => f.write_str("ids that begin with '$' are reserved: choose another"),
            Self::BrokerLength { len } => write!(
                f,
                "a broker is named \"host:port\" in 1 to {MAX_BROKER_LEN} bytes, this has {len}"
            ),
            Self::BrokerNul => f.write_str("a broker's name must not contain U+0000: remove it"),
        }
    }
}

impl core::error::Error for NameError {}

impl<'a> PeerId<'a> {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`NameError::IdLength`], [`NameError::IdLevel`], [`NameError::IdReserved`].
    pub fn parse(text: &'a str) -> Result<Self, NameError> {
        match text.len() {
            len if len == 0 || len > MAX_ID_LEN => Err(NameError::IdLength { len }),
            _ if text.contains(['/', '+', '#', '\0']) => Err(NameError::IdLevel),
            _ if text.starts_with('$') => Err(NameError::IdReserved),
            _ => Ok(Self(text)),
        }
    }

    /// The text.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

impl<'a> BrokerName<'a> {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`NameError::BrokerLength`], [`NameError::BrokerNul`].
    pub fn parse(text: &'a str) -> Result<Self, NameError> {
        match text.len() {
            len if len == 0 || len > MAX_BROKER_LEN => Err(NameError::BrokerLength { len }),
            _ if text.contains('\0') => Err(NameError::BrokerNul),
            _ => Ok(Self(text)),
        }
    }

    /// The text.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}
