//! What survives a restart of a receiver: rows of bytes, and where they are kept. Does no I/O.

use alloc::{collections::BTreeMap, vec::Vec};
use core::{convert::Infallible, fmt};

use crate::policy::StepBack;

/// Bytes of a row's key.
pub const ROW_KEY_LEN: usize = 17;

/// Names a row: a kind, then keyed hashes. It tells a reader nothing about topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey(pub(super) [u8; ROW_KEY_LEN]);

impl RowKey {
    /// The key that a log has kept.
    #[must_use]
    pub const fn new(bytes: [u8; ROW_KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; ROW_KEY_LEN] {
        &self.0
    }
}

/// One change of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Write {
    /// The row has this value from now on.
    Put(RowKey, Vec<u8>),
    /// The row is gone.
    Delete(RowKey),
}

/// Where a receiver's replay state survives: a map from row keys to short byte strings. The Guard
/// knows what the rows mean; a log keeps them.
///
/// # What a wrong answer costs
/// A log that forgets a row it had acknowledged (a *false no* to "was this seen?") lets a recorded
/// message through again as [`New`](crate::replay::Verdict::New), perhaps a command. A log that
/// brings back a row it should not have, or a higher one (a *false yes*), makes the receiver refuse
/// genuine messages as [`TooOld`](crate::replay::Rejected::TooOld) until the sender's counter has
/// passed. When in doubt a log fails: then nothing is delivered, nothing is acknowledged, and the
/// broker brings the message again.
///
/// A log belongs to one receiver at a time. One that was rolled back (a restored backup, a cloned
/// machine) gives false noes for what came since.
pub trait ReplayLog {
    /// Why the log failed.
    type Error;

    /// All rows, in any order.
    ///
    /// # Errors
    /// The log cannot be read as a whole: never a part of it.
    fn rows(&mut self) -> Result<Vec<(RowKey, Vec<u8>)>, Self::Error>;

    /// Applies `writes` in order, all of them or none; they are durable when this returns.
    ///
    /// # Errors
    /// The writes are not known to be durable.
    fn write(&mut self, writes: &[Write]) -> Result<(), Self::Error>;
}

/// A log in memory, for tests and for receivers that are made anew within one process.
#[derive(Debug, Clone, Default)]
pub struct MemoryLog(BTreeMap<RowKey, Vec<u8>>);

impl ReplayLog for MemoryLog {
    type Error = Infallible;

    fn rows(&mut self) -> Result<Vec<(RowKey, Vec<u8>)>, Infallible> {
        Ok(self.0.iter().map(|(key, value)| (*key, value.clone())).collect())
    }

    fn write(&mut self, writes: &[Write]) -> Result<(), Infallible> {
        for write in writes {
            match write {
                Write::Put(key, value) => self.0.insert(*key, value.clone()),
                Write::Delete(key) => self.0.remove(key),
            };
        }
        Ok(())
    }
}

/// What a receiver gives up after an unclean stop, when it cannot know which of the last counters
/// of a stream it had delivered. Rules with `replay = "fresh"` always take `NoReplay`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Prefer {
    /// Up to 64 genuine messages of each stream may be refused; none comes twice.
    #[default]
    NoReplay,
    /// No message above the highest counter that was written is refused; up to 64 of each stream may
    /// come twice.
    NoLoss,
}

/// The rows of a log are not what this version wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RestoreError {
    /// They were written by a newer version.
    NewerVersion,
    /// A row is cut, changed, or of no known kind.
    Damaged,
    /// A rule is less strict than the log has seen one with the same filter.
    StepBack(StepBack),
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StepBack(step_back) => return step_back.fmt(f),
            Self::NewerVersion => {
                "the replay log was written by a newer version: use that, or another log"
            }
            Self::Damaged => {
                "the replay log is damaged: restore it, or begin another and accept that recorded \
                 messages count as new"
            }
        })
    }
}

impl core::error::Error for RestoreError {}

/// Why a Guard did not take up a replay log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogError<E> {
    /// The log failed.
    Log(E),
    /// Its rows are no good.
    Restore(RestoreError),
}

impl<E: fmt::Display> fmt::Display for LogError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(error) => error.fmt(f),
            Self::Restore(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for LogError<E> {}
