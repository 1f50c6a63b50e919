//! Which counters of one sender were seen. Knows no keys, no topics and no storage.

mod latest;
mod window;

use core::fmt;

pub use latest::{Arrival, LatestRecord, Newest};
#[cfg(feature = "alloc")]
pub(crate) use latest::{MAX_RETIRED, Retired, Sender};
pub use window::{Tombstone, Window};

/// What is known about a message that is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// Not seen before. This claims no freshness: an old message may come for the first time.
    New,
    /// Just now made: its timestamp or its echo proves it.
    Fresh,
    /// Delivered before, and not known to be dealt with; or the newest value, asked for again.
    Redelivered,
    /// The rule asks for no check.
    Unchecked,
}

/// Why an authentic message is not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejected {
    /// The counter was seen. MQTT repeats messages on its own: this is no attack.
    Duplicate,
    /// The counter is below what is remembered. It may be a genuine message.
    TooOld,
    /// A newer value of the topic was delivered.
    Stale,
    /// Its timestamp is missing, too old or ahead, and no echo stands in for it.
    NotFresh,
    /// Sealed by this client itself, and the rule says to drop that.
    Own,
}

impl Rejected {
    /// The rejection's name, for logs and counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Duplicate => "Duplicate",
            Self::TooOld => "TooOld",
            Self::Stale => "Stale",
            Self::NotFresh => "NotFresh",
            Self::Own => "Own",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "new",
            Self::Fresh => "fresh",
            Self::Redelivered => "redelivered",
            Self::Unchecked => "unchecked",
        })
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Duplicate => "the message was delivered before",
            Self::TooOld => "the counter is below the replay window",
            Self::Stale => "a newer value of the topic was delivered",
            Self::NotFresh => "nothing proves that the message is fresh",
            Self::Own => "the message is this client's own",
        })
    }
}

impl core::error::Error for Rejected {}
