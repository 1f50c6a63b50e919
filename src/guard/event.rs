//! What a receiver has to tell beside its messages.

use alloc::collections::VecDeque;
use core::fmt;

use crate::keyring::KeyCollision;

/// Events that wait to be fetched; later ones are dropped when nobody fetches them.
const MAX_WAITING: usize = 64;

/// Something that the operator of a receiver should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GuardEvent {
    /// Replay state of a stream had to be forgotten altogether: a repetition of its messages would
    /// count as new.
    TombstoneOverflow,
    /// A message was below its replay window or its tombstone, or was perhaps delivered before an
    /// unclean stop. It may have been genuine.
    TooOld {
        /// Such messages so far.
        so_far: u64,
    },
    /// A newer key of a scope is not used.
    KeyCollision(KeyCollision),
    /// So many messages of one scope were not authentic: somebody tries, or a sender is broken.
    ManyFailures {
        /// Failures in the scope so far.
        failures: u64,
    },
}

impl fmt::Display for GuardEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TombstoneOverflow => {
                f.write_str("replay state was forgotten: raise the limits or use fewer senders")
            }
            Self::TooOld { so_far } => write!(
                f,
                "{so_far} messages came too late to be told from repetitions: some may be lost"
            ),
            Self::KeyCollision(collision) => collision.fmt(f),
            Self::ManyFailures { failures } => {
                write!(f, "{failures} messages of one scope were not authentic")
            }
        }
    }
}

/// The events that were not fetched yet.
#[derive(Debug, Default)]
pub(super) struct Events(VecDeque<GuardEvent>);

impl Events {
    pub(super) fn push(&mut self, event: GuardEvent) {
        if self.0.len() < MAX_WAITING && self.0.back() != Some(&event) {
            self.0.push_back(event);
        }
    }

    pub(super) fn pop(&mut self) -> Option<GuardEvent> {
        self.0.pop_front()
    }
}
