//! What can be wrong with a key file, and how to mend it. Holds no part of the file's text.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::policy::{MAX_SCOPE_DEPTH, RuleError};
use crate::schedule::RealmError;
use crate::secret::KEY_LEN;
use crate::session::NoEntropy;
use crate::store::position::{Located, Position};
use crate::store::section::{Shape, Slip, write_choices, write_moment};
use crate::suite::SuiteNotBuilt;

use super::MAX_FILE_LEN;

/// Why there is no keyring.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyFileError {
    /// There is no file of this name.
    NotFound {
        /// The name.
        path: PathBuf,
    },
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        kind: io::ErrorKind,
    },
    /// It is a folder, a device or a pipe.
    NotAFile {
        /// Its name.
        path: PathBuf,
    },
    /// Others than its owner have access to the file.
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is longer than [`MAX_FILE_LEN`].
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The text is no keyring.
    Invalid {
        /// The file, unless the text came from elsewhere.
        path: Option<PathBuf>,
        /// Where.
        at: Position,
        /// What is wrong there.
        fault: KeyFault,
    },
}

impl KeyFileError {
    pub(super) fn invalid(path: Option<&Path>, text: &str, fault: Located<KeyFault>) -> Self {
        Self::Invalid {
            path: path.map(Into::into),
            at: Position::of(text, fault.at),
            fault: fault.what,
        }
    }

    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        let path = path.into();
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path },
            kind => Self::Unreadable { path, kind },
        }
    }
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { path } => {
                write!(f, "{}: there is no such file: check the path", path.display())
            }
            Self::Unreadable { path, kind } => {
                let path = path.display();
                write!(f, "{path}: cannot be read, {kind}: check who owns the file")
            }
            Self::NotAFile { path } => {
                write!(f, "{}: this is no file: name a file with keys", path.display())
            }
            Self::Permissions { path, mode } => {
                let path = path.display();
                write!(
                    f,
                    "{path}: others than its owner have access (mode {mode:04o}): \
                     run chmod 600 {path}"
                )
            }
            Self::TooLong { path } => {
                let path = path.display();
                write!(f, "{path}: a key file has at most {MAX_FILE_LEN} bytes: check the path")
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

impl core::error::Error for KeyFileError {}

/// What is wrong at a place in a key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyFault {
    /// The file is not UTF-8.
    NotUtf8,
    /// The text is not TOML.
    Syntax,
    /// There is no setting of this name here. The name is not kept: it may be a key.
    UnknownKey {
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
        /// The values that it has.
        allowed: &'static [&'static str],
    },
    /// A moment is not in the years from 1970 to 9999.
    Moment {
        /// The name of its setting.
        key: &'static str,
    },
    /// The realm is no realm.
    Realm(RealmError),
    /// There is not a single grant.
    NoGrants,
    /// The generation is not in 1..=4,294,967,295.
    Generation,
    /// `not_after` stands in a grant that is not retiring.
    NotAfterUnused,
    /// The sender number is not in 0..=1,073,741,823.
    Sender,
    /// An earlier device has the sender number.
    SenderTwice,
    /// The name of a device is empty, too long or contains a control character.
    Device,
    /// An earlier grant is for the same and has the same generation.
    SameGeneration,
    /// An earlier grant is for the same and is active in another generation.
    TwoActive,
    /// A key is not base64.
    Base64,
    /// A key does not have 32 bytes.
    KeyLength {
        /// The number of bytes that it has.
        len: usize,
    },
    /// A setting has no meaning for the grant's kind.
    NotForKind {
        /// Its name.
        key: &'static str,
        /// The kind.
        kind: &'static str,
    },
    /// A node has no path.
    NodePath,
    /// A scope has both a path and a name, or neither.
    ScopeWhat,
    /// A scope has no suite.
    ScopeSuite,
    /// The name of a scope is empty, too long or contains U+0000.
    ScopeName,
    /// The name of a scope begins with `$`, which the format reserves.
    ReservedScope,
    /// A level of a path contains `/`, `+`, `#` or U+0000.
    Level,
    /// A path has more than 16 levels or 65,535 bytes.
    PathTooLong,
    /// This build does not contain the suite.
    SuiteNotBuilt(SuiteNotBuilt),
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { nearest: Some(nearest), .. } => {
                write!(f, "unknown key: did you mean \"{nearest}\"?")
            }
            Self::UnknownKey { known, .. } => {
                f.write_str("unknown key: use ")?;
                write_choices(f, known, "")
            }
            Self::Missing { key } => write!(f, "{key} is missing: add {key} = …"),
            Self::Shape { key, shape } => write!(f, "{key} has the wrong type: write {shape}"),
            Self::UnknownValue { key, allowed } => {
                write!(f, "{key} has no such value: use ")?;
                write_choices(f, allowed, "\"")
            }
            Self::Moment { key } => write_moment(f, key),
            Self::Realm(error) => error.fmt(f),
            Self::KeyLength { len } => {
                write!(f, "a key has {KEY_LEN} bytes, this one has {len}: check that it is whole")
            }
            Self::NotForKind { key, kind } => {
                write!(f, "{key} has no meaning under kind = \"{kind}\": remove one of them")
            }
            Self::PathTooLong => {
                write!(f, "a path has at most {MAX_SCOPE_DEPTH} levels and 65535 bytes: shorten it")
            }
            Self::ScopeName => RuleError::ScopeName.fmt(f),
            Self::ReservedScope => RuleError::ReservedScope.fmt(f),
            Self::SuiteNotBuilt(error) => error.fmt(f),
            fixed => f.write_str(fixed.text()),
        }
    }
}

impl KeyFault {
    /// The message, where nothing in it varies.
    const fn text(self) -> &'static str {
        match self {
            Self::NotUtf8 => "this is not UTF-8: save the file as UTF-8 text",
            Self::Syntax => {
                "this is not TOML: write each setting once, in a line of its own, texts in quotes"
            }
            Self::NoGrants => "there is no key: add a [[grant]]",
            Self::Generation => "a generation has a number from 1 to 4294967295: count from 1",
            Self::NotAfterUnused => {
                "not_after has a meaning only with state = \"retiring\": remove one of them"
            }
            Self::Sender => {
                "a sender has a number from 0 to 1073741823: write the one that was allotted"
            }
            Self::SenderTwice => {
                "an earlier device has this sender number: give back a backup of the file"
            }
            Self::Device => {
                "the name of a device has 1 to 64 bytes and no control characters: choose another"
            }
            Self::SameGeneration => {
                "an earlier grant for the same has this generation: remove one of them"
            }
            Self::TwoActive => {
                "an earlier grant for the same is active: make one of them pending or retiring"
            }
            Self::Base64 => {
                "a key is base64 in the standard alphabet with padding: copy it again, in one line"
            }
            Self::NodePath => "a node needs a path: add path = [\"…\"] with its levels",
            Self::ScopeWhat => {
                "a scope has either a path or a name: write path = [\"…\"] or name = \"…\""
            }
            Self::ScopeSuite => "a scope key is for one suite: add suite = \"…\"",
            Self::Level => {
                "a level contains no '/', '+', '#' and U+0000: write a/b as [\"a\", \"b\"]"
            }
            _ => "",
        }
    }
}

impl core::error::Error for KeyFault {}

/// Why there is no fresh key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GenerateError {
    /// The realm is no realm.
    Realm(RealmError),
    /// The generator failed.
    NoEntropy(NoEntropy),
}

impl fmt::Display for GenerateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Realm(error) => error.fmt(f),
            Self::NoEntropy(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for GenerateError {}

/// Why a key file was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteKeyFileError {
    /// There is a file of this name already.
    Exists {
        /// The name.
        path: PathBuf,
    },
    /// The text would be longer than [`MAX_FILE_LEN`], and could not be read.
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    Failed {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        kind: io::ErrorKind,
    },
}

impl WriteKeyFileError {
    pub(super) fn new(path: &Path, error: &io::Error) -> Self {
        let path = path.into();
        match error.kind() {
            io::ErrorKind::AlreadyExists => Self::Exists { path },
            kind => Self::Failed { path, kind },
        }
    }
}

impl fmt::Display for WriteKeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists { path } => write!(
                f,
                "{}: there is such a file already, and it was not touched: choose another name",
                path.display()
            ),
            Self::TooLong { path } => write_too_long(f, path),
            Self::Failed { path, kind } => write_failed(f, path, *kind),
        }
    }
}

impl core::error::Error for WriteKeyFileError {}

/// Why a key file was not replaced. Unless it says so, the old one is as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplaceKeyFileError {
    /// The text would be longer than [`MAX_FILE_LEN`], and could not be read.
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The old file is missing, is no file, or others than its owner have access to it.
    Old(KeyFileError),
    /// The new file cannot be written.
    Failed {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        kind: io::ErrorKind,
    },
    /// The new file is in its place, but may be the old one again after a loss of power.
    NotDurable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        kind: io::ErrorKind,
    },
}

impl fmt::Display for ReplaceKeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { path } => write_too_long(f, path),
            Self::Old(error) => error.fmt(f),
            Self::Failed { path, kind } => write_failed(f, path, *kind),
            Self::NotDurable { path, kind } => {
                let path = path.display();
                write!(f, "{path}: is replaced, but not safe from a loss of power, {kind}: repeat")
            }
        }
    }
}

impl core::error::Error for ReplaceKeyFileError {}

fn write_too_long(f: &mut fmt::Formatter<'_>, path: &Path) -> fmt::Result {
    let path = path.display();
    write!(f, "{path}: a key file has at most {MAX_FILE_LEN} bytes: take more than one file")
}

fn write_failed(f: &mut fmt::Formatter<'_>, path: &Path, kind: io::ErrorKind) -> fmt::Result {
    let path = path.display();
    write!(f, "{path}: cannot be written, {kind}: check the folder and its permissions")
}

impl From<Located<Slip<'_>>> for Located<KeyFault> {
    fn from(slip: Located<Slip<'_>>) -> Self {
        let fault = match slip.what {
            Slip::UnknownKey { nearest, known, .. } => KeyFault::UnknownKey { nearest, known },
            Slip::Missing { key } => KeyFault::Missing { key },
            Slip::Shape { key, shape } => KeyFault::Shape { key, shape },
            Slip::UnknownValue { key, allowed, .. } => KeyFault::UnknownValue { key, allowed },
            Slip::Moment { key } => KeyFault::Moment { key },
            Slip::SuiteNotBuilt(error) => KeyFault::SuiteNotBuilt(error),
        };
        Self::new(slip.at, fault)
    }
}
