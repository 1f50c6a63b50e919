//! How often each thing happened to received messages.

use super::incoming::{Delivery, OpenError};
use crate::replay::{Rejected, Verdict};

/// What became of the messages that a receiver was given, since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Delivered, not seen before.
    pub new: u64,
    /// Delivered, and just made.
    pub fresh: u64,
    /// Delivered again.
    pub redelivered: u64,
    /// Delivered under a rule without replay check.
    pub unchecked: u64,
    /// Delivered in clear under a rule that says `clear`.
    pub clear: u64,
    /// Delivered in clear under a rule for a migration, which should become none.
    pub migrating: u64,
    /// Empty payloads, which delete retained values.
    pub cleared: u64,
    /// Refused: delivered before.
    pub duplicate: u64,
    /// Refused: below the window. These may be genuine.
    pub too_old: u64,
    /// Refused: a newer value was delivered.
    pub stale: u64,
    /// Refused: nothing proves that it is fresh.
    pub not_fresh: u64,
    /// Refused: this client's own.
    pub own: u64,
    /// Refused: no rule, or not the rule's carried topic.
    pub refused: u64,
    /// Refused: a topic for TLS over plain TCP.
    pub wrong_transport: u64,
    /// Refused: clear text on a sealed topic.
    pub clear_on_sealed_topic: u64,
    /// Refused: an unknown version or flag.
    pub unsupported: u64,
    /// Refused: cut, out of range, or no topic name.
    pub malformed: u64,
    /// Refused: an unknown key.
    pub unknown_key: u64,
    /// Refused: not authentic.
    pub not_authentic: u64,
}

impl Counts {
    pub(super) fn delivered(&mut self, delivery: &Delivery) {
        let slot = match delivery.verdict {
            Some(Verdict::New) => &mut self.new,
            Some(Verdict::Fresh) => &mut self.fresh,
            Some(Verdict::Redelivered) => &mut self.redelivered,
            Some(Verdict::Unchecked) => &mut self.unchecked,
            None if delivery.migrating => &mut self.migrating,
            None => &mut self.clear,
        };
        *slot = slot.saturating_add(1);
    }

    pub(super) fn failed(&mut self, error: OpenError) {
        let slot = match error {
            OpenError::Topic(_) | OpenError::Malformed => &mut self.malformed,
            OpenError::Refused => &mut self.refused,
            OpenError::WrongTransport => &mut self.wrong_transport,
            OpenError::Cleared(_) => &mut self.cleared,
            OpenError::ClearOnSealedTopic => &mut self.clear_on_sealed_topic,
            OpenError::Unsupported => &mut self.unsupported,
            OpenError::UnknownKey => &mut self.unknown_key,
            OpenError::NotAuthentic => &mut self.not_authentic,
            OpenError::Rejected(Rejected::Duplicate) => &mut self.duplicate,
            OpenError::Rejected(Rejected::TooOld) => &mut self.too_old,
            OpenError::Rejected(Rejected::Stale) => &mut self.stale,
            OpenError::Rejected(Rejected::NotFresh) => &mut self.not_fresh,
            OpenError::Rejected(Rejected::Own) => &mut self.own,
            // it was not looked at
            OpenError::Stopped => return,
        };
        *slot = slot.saturating_add(1);
    }
}
