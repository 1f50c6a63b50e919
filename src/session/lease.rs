//! Counters of compact form: a key lasts as long as its generation, so they never run backwards.

use core::{fmt, ops::Range};

use crate::wire::header::MAX_COUNTER;

/// Blocks of 16 bytes that one counter stands for: 2^36 blocks (SPEC §8) over 2^32 counters. A
/// longer message passes over counters, so that the limit holds without being stored.
const BLOCKS_PER_COUNTER: u64 = 16;

/// Where a sender in compact form keeps its counters.
///
/// The cost of a lie: an implementation that returns a counter twice gives an eavesdropper the
/// difference of two texts and, but for suite 0x0003, the means to forge.
pub trait CounterStore {
    /// Why counters could not be reserved.
    type Error: core::error::Error;

    /// Whether what was written can neither be lost nor come back older: no snapshots of a virtual
    /// machine, no restored backups. Only then is compact form allowed with suites other than
    /// 0x0003.
    fn cannot_roll_back(&self) -> bool;

    /// Makes the next `count` counters durable and returns them. They are on storage when this
    /// returns, and no other call ever returns one of them.
    ///
    /// # Errors
    /// The store's own; nothing was reserved then.
    fn reserve(&mut self, count: u32) -> Result<Range<u32>, Self::Error>;
}

/// Counters that are durable and not used yet.
///
/// Not `Clone`: two leases of one range would give each counter twice.
///
/// ```compile_fail,E0599
/// let lease = mqtt_seal::session::Lease::new();
/// let twin = lease.clone();
/// ```
#[derive(Debug, Default)]
pub struct Lease {
    next: u32,
    end: u32,
    /// When fewer are left, it is time to renew.
    half: u32,
}

/// Why a lease gives no counter, or does not take a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeaseError {
    /// The counters at hand do not suffice: reserve more.
    NeedsLease {
        /// How many more the message takes at least.
        count: u32,
    },
    /// All 2^32 − 2 counters of the sender number are used: ask for another number.
    Exhausted,
    /// The range overlaps one that was given before: the store ran backwards. Ask for another
    /// sender number; this one must never be used again.
    CounterLost,
}

impl fmt::Display for LeaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NeedsLease { .. } => "the reserved counters are used: reserve more",
            Self::Exhausted => "the sender number has no counter left: ask for another number",
            Self::CounterLost => {
                "the counter store ran backwards: never use this sender number again, \
                 ask for another"
            }
        })
    }
}

impl core::error::Error for LeaseError {}

impl Lease {
    /// A lease without counters.
    #[must_use]
    pub const fn new() -> Self {
        Self { next: 0, end: 0, half: 0 }
    }

    /// Takes a range that a [`CounterStore`] made durable.
    ///
    /// # Errors
    /// [`LeaseError::CounterLost`] if it starts below the end of an earlier one,
    /// [`LeaseError::Exhausted`] if it reaches beyond the last counter. Nothing changes then.
    pub fn extend(&mut self, range: &Range<u32>) -> Result<(), LeaseError> {
        if range.start < self.end {
            return Err(LeaseError::CounterLost);
        }
        if range.end > MAX_COUNTER.saturating_add(1) {
            return Err(LeaseError::Exhausted);
        }
        if range.start > self.end || self.next == self.end {
            self.next = range.start;
        }
        self.end = range.end.max(range.start);
        self.half = self.end.saturating_sub(range.start) / 2;
        Ok(())
    }

    /// Whether fewer than half of the last range are left.
    #[must_use]
    pub const fn wants_more(&self) -> bool {
        self.end.saturating_sub(self.next) <= self.half && self.end <= MAX_COUNTER
    }

    /// The counter of a message with `len` bytes of plain text, which is not spent yet.
    ///
    /// # Errors
    /// [`LeaseError::NeedsLease`], [`LeaseError::Exhausted`].
    pub fn peek(&self, len: usize) -> Result<u32, LeaseError> {
        let left = self.end.saturating_sub(self.next);
        match counters(len).saturating_sub(left) {
            0 => Ok(self.next),
            _ if self.next.saturating_add(counters(len)) > MAX_COUNTER.saturating_add(1) => {
                Err(LeaseError::Exhausted)
            }
            count => Err(LeaseError::NeedsLease { count }),
        }
    }

    /// Spends a counter on a plain text of `len` bytes, once and for all.
    ///
    /// # Errors
    /// As [`Lease::peek`]; nothing is spent then.
    pub fn spend(&mut self, len: usize) -> Result<u32, LeaseError> {
        let counter = self.peek(len)?;
        self.next = counter.saturating_add(counters(len));
        Ok(counter)
    }
}

/// Counters that a plain text of `len` bytes takes: one for every 16 blocks.
fn counters(len: usize) -> u32 {
    let blocks = u64::try_from(len.div_ceil(16)).unwrap_or(u64::MAX).saturating_add(1);
    u32::try_from(blocks.div_ceil(BLOCKS_PER_COUNTER)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(range: Range<u32>) -> Lease {
        let mut lease = Lease::new();
        lease.extend(&range).unwrap();
        lease
    }

    #[test]
    fn counters_come_from_what_was_reserved_and_nowhere_else() {
        let mut lease = lease(10..12);
        assert_eq!([lease.spend(2), lease.spend(2)], [Ok(10), Ok(11)]);
        assert_eq!(lease.spend(2), Err(LeaseError::NeedsLease { count: 1 }));
        lease.extend(&(12..13)).unwrap();
        assert_eq!(lease.spend(2), Ok(12));
    }

    #[test]
    fn a_range_that_was_given_before_is_refused() {
        let mut lease = lease(10..20);
        for range in [0..30, 10..20, 19..25] {
            assert_eq!(lease.extend(&range), Err(LeaseError::CounterLost));
        }
        assert_eq!(lease.spend(0), Ok(10));
    }

    #[test]
    fn what_is_left_of_a_range_is_used_before_the_next() {
        let mut lease = lease(10..12);
        lease.extend(&(12..14)).unwrap();
        assert_eq!([0; 4].map(|len| lease.spend(len)), [Ok(10), Ok(11), Ok(12), Ok(13)]);
    }

    #[test]
    fn a_gap_after_a_restart_is_passed_over() {
        let mut lease = lease(10..12);
        lease.extend(&(100..102)).unwrap();
        assert_eq!(lease.spend(0), Ok(100));
    }

    #[test]
    fn it_wants_more_when_half_is_used() {
        let mut lease = lease(0..4);
        assert!(!lease.wants_more());
        lease.spend(0).unwrap();
        lease.spend(0).unwrap();
        assert!(lease.wants_more());
        assert!(Lease::new().wants_more());
    }

    #[test]
    fn the_last_ordinary_counter_ends_a_sender_number() {
        let end = MAX_COUNTER + 1;
        let mut lease = lease(MAX_COUNTER..end);
        assert_eq!(lease.extend(&(end..end + 1)), Err(LeaseError::Exhausted));
        assert_eq!(lease.spend(0), Ok(MAX_COUNTER));
        assert_eq!(lease.spend(0), Err(LeaseError::Exhausted));
        assert!(!lease.wants_more());
    }

    #[test]
    fn a_long_message_passes_over_counters() {
        let mut lease = lease(0..100);
        // 15 blocks of text and one more: 16 blocks, one counter
        assert_eq!(lease.spend(15 * 16), Ok(0));
        assert_eq!(lease.spend(15 * 16 + 1), Ok(1));
        assert_eq!(lease.spend(0), Ok(3));
        // 256 KiB take 1,025 counters: not less than that, however short the lease
        assert_eq!(lease.spend(256 * 1024), Err(LeaseError::NeedsLease { count: 1_025 - 96 }));
        lease.extend(&(100..100 + 1_025 - 96)).unwrap();
        assert_eq!(lease.spend(256 * 1024), Ok(4));
        assert_eq!(lease.spend(0), Err(LeaseError::NeedsLease { count: 1 }));
    }
}
