//! The newest value of one topic: for retained values, wills and state.

use super::{Rejected, Verdict};
use crate::session::Authentic;
use crate::wire::header::{KeyId, SessionId};

/// Sessions that are remembered after another has taken their place (SPEC §7.1).
pub(crate) const MAX_RETIRED: usize = 8;

/// Which sender wrote the newest value of a topic, and which are out.
///
/// A value is accepted once, however old it is, and a newer one is never replaced by an older.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatestRecord {
    pub(crate) newest: Newest,
    /// Oldest first.
    pub(crate) retired: [Option<Retired>; MAX_RETIRED],
}

/// The newest value of a topic: what remains of a [`LatestRecord`] that had to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    pub(crate) sender: Sender,
    pub(crate) counter: u32,
    pub(crate) confirmed: bool,
    /// The newest timestamp ever accepted, in Unix milliseconds.
    pub(crate) timestamp: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Sender {
    pub(crate) kid: KeyId,
    pub(crate) id: SessionId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retired {
    pub(crate) sender: Sender,
    pub(crate) counter: u32,
}

/// What a record has to know of a message beside its proof.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Arrival {
    /// When the message was sealed, in Unix milliseconds, if it says so.
    pub timestamp: Option<u64>,
    /// Whether the packet had RETAIN set.
    pub retain: bool,
    /// The receiver's clock in Unix milliseconds.
    pub now: Option<u64>,
    /// A stored timestamp further ahead of the clock than this, in milliseconds, counts as absent.
    pub max_skew: u64,
    /// Whether a delivered message counts as confirmed at once: without manual acknowledgement.
    pub confirm: bool,
}

impl Sender {
    const fn of(message: &Authentic) -> Self {
        Self { kid: message.kid(), id: message.session() }
    }
}

impl Newest {
    /// The application acknowledged the message under these numbers. True if it is the newest and
    /// was not acknowledged before.
    pub(crate) fn confirm(&mut self, kid: KeyId, id: SessionId, counter: u32) -> bool {
        let is = (self.sender, self.counter) == (Sender { kid, id }, counter);
        let first = is && !self.confirmed;
        self.confirmed |= is;
        first
    }

    /// The message under these numbers was not dealt with after all.
    #[cfg(feature = "alloc")]
    pub(crate) fn unconfirm(&mut self, kid: KeyId, id: SessionId, counter: u32) {
        self.confirmed &= (self.sender, self.counter) != (Sender { kid, id }, counter);
    }

    /// The newest timestamp, unless it is too far ahead of the receiver's clock.
    fn live_timestamp(&self, arrival: &Arrival) -> Option<u64> {
        self.timestamp.filter(|timestamp| {
            arrival.now.is_none_or(|now| *timestamp <= now.saturating_add(arrival.max_skew))
        })
    }
}

impl LatestRecord {
    /// The record of the first value that a topic has.
    #[must_use]
    pub const fn first(message: &Authentic, arrival: &Arrival) -> Self {
        Self::after(Newest {
            sender: Sender::of(message),
            counter: message.counter(),
            confirmed: arrival.confirm,
            timestamp: arrival.timestamp,
        })
    }

    /// A record in place of one that was evicted.
    #[must_use]
    pub const fn after(newest: Newest) -> Self {
        Self { newest, retired: [None; MAX_RETIRED] }
    }

    /// What has to be remembered of a record that is evicted: all but the retired senders.
    #[must_use]
    pub const fn tombstone(&self) -> Newest {
        self.newest
    }

    /// Judges an authentic message and, if it is newer, makes it the newest.
    ///
    /// # Errors
    /// [`Rejected::Duplicate`] for the value that is the newest already, [`Rejected::Stale`] for
    /// one that is older; nothing is changed then.
    // SPEC §7.1, latest
    pub fn accept(&mut self, message: &Authentic, arrival: &Arrival) -> Result<Verdict, Rejected> {
        let sender = Sender::of(message);
        let last = self.newest;
        if sender == last.sender {
            if message.counter() < last.counter {
                return Err(Rejected::Stale);
            }
            if message.counter() == last.counter {
                // repeating the newest value harms nothing
                let again = arrival.retain || !last.confirmed;
                return if again { Ok(Verdict::Redelivered) } else { Err(Rejected::Duplicate) };
            }
        } else {
            self.check_other(sender, message.counter(), arrival)?;
            self.retire(sender);
        }
        let timestamp = match (last.live_timestamp(arrival), arrival.timestamp) {
            (Some(newest), Some(timestamp)) => Some(newest.max(timestamp)),
            (None, Some(timestamp)) => Some(timestamp),
            (_, None) => last.timestamp,
        };
        let confirmed = arrival.confirm;
        self.newest = Newest { sender, counter: message.counter(), confirmed, timestamp };
        Ok(Verdict::New)
    }

    /// The application acknowledged `message`.
    pub fn confirm(&mut self, message: &Authentic) {
        self.newest.confirm(message.kid(), message.session(), message.counter());
    }

    /// Whether another sender may take the topic over.
    fn check_other(&self, sender: Sender, counter: u32, arrival: &Arrival) -> Result<(), Rejected> {
        let newer = match (self.newest.live_timestamp(arrival), arrival.timestamp) {
            (Some(newest), Some(timestamp)) => timestamp > newest,
            (Some(_), None) => false,
            (None, _) => !self
                .retired
                .iter()
                .flatten()
                .any(|retired| retired.sender == sender && counter <= retired.counter),
        };
        if newer { Ok(()) } else { Err(Rejected::Stale) }
    }

    /// Puts the sender of the record on the list, and takes `next` off it.
    fn retire(&mut self, next: Sender) {
        let out = Retired { sender: self.newest.sender, counter: self.newest.counter };
        let mut retired = [None; MAX_RETIRED];
        let stay = |entry: &&Retired| entry.sender != next && entry.sender != out.sender;
        let kept = self.retired.iter().flatten().filter(stay);
        let surplus = kept.clone().count().saturating_add(1).saturating_sub(MAX_RETIRED);
        for (slot, entry) in retired.iter_mut().zip(kept.skip(surplus).chain([&out])) {
            *slot = Some(*entry);
        }
        self.retired = retired;
    }
}

#[cfg(test)]
mod tests;
