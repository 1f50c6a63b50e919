//! The sliding window of one sender session on one topic.

use super::Rejected;
use crate::session::Authentic;
use crate::wire::header::WILL_COUNTER;

/// Remembers the last `64 · WORDS` counters below and including the highest one: 1,024 with the
/// default of 16 words; microcontrollers take one word.
///
/// The counter of wills, 2^32 − 2, has a bit of its own and moves nothing.
///
/// ```
/// use mqtt_seal::replay::Window;
/// let window = Window::<1>::new();
/// assert!(window.check(5).is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window<const WORDS: usize = 16> {
    /// Bit `counter % (64 · WORDS)` tells whether `counter` of the window was seen.
    pub(crate) seen: [u64; WORDS],
    /// One more than the highest counter; 0 before the first.
    pub(crate) next: u32,
    /// Counters below this one are too old, whatever the width says.
    pub(crate) floor: u32,
    pub(crate) will: bool,
}

/// What remains of a window that had to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tombstone {
    /// Counters below this one may have been seen.
    pub(crate) floor: u32,
    pub(crate) will: bool,
}

impl Tombstone {
    /// Whether a message under `counter` may be accepted in a window made from this tombstone.
    ///
    /// # Errors
    /// [`Rejected::TooOld`] for counters that the window may have had.
    pub const fn check(&self, counter: u32) -> Result<(), Rejected> {
        let covered = if counter == WILL_COUNTER { self.will } else { counter < self.floor };
        if covered { Err(Rejected::TooOld) } else { Ok(()) }
    }
}

impl<const WORDS: usize> Default for Window<WORDS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const WORDS: usize> Window<WORDS> {
    /// Counters that the window holds.
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        reason = "evaluated by the compiler, which refuses an overflow"
    )]
    pub const WIDTH: u32 = 64 * WORDS as u32;

    /// A window that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { seen: [0; WORDS], next: 0, floor: 0, will: false }
    }

    /// A window in place of one that was evicted: counters that the tombstone covers are too
    /// old. The message that it is made for has passed [`Tombstone::check`].
    #[must_use]
    pub const fn after(tombstone: Tombstone) -> Self {
        Self { seen: [0; WORDS], next: 0, floor: tombstone.floor, will: tombstone.will }
    }

    /// What has to be remembered of this window when it is evicted.
    // SPEC §7.3: highest CTR, and the will's bit
    #[must_use]
    pub const fn tombstone(&self) -> Tombstone {
        let floor = if self.next > self.floor { self.next } else { self.floor };
        Tombstone { floor, will: self.will }
    }

    /// One more than the highest counter that was accepted; 0 before the first.
    #[must_use]
    pub const fn next(&self) -> u32 {
        self.next
    }

    /// Whether `counter` may still be accepted. Changes nothing.
    ///
    /// # Errors
    /// [`Rejected::Duplicate`] if it was seen, [`Rejected::TooOld`] if it is below the window.
    // SPEC §7.1, window
    pub fn check(&self, counter: u32) -> Result<(), Rejected> {
        if counter == WILL_COUNTER {
            return if self.will { Err(Rejected::Duplicate) } else { Ok(()) };
        }
        if counter < self.floor {
            return Err(Rejected::TooOld);
        }
        match self.next.checked_sub(1) {
            Some(highest) if counter <= highest => {
                if highest.saturating_sub(counter) >= Self::WIDTH {
                    Err(Rejected::TooOld)
                } else if self.is_set(counter) {
                    Err(Rejected::Duplicate)
                } else {
                    Ok(())
                }
            }
            _ => Ok(()),
        }
    }

    /// Enters the counter of an authentic message.
    ///
    /// # Errors
    /// As [`Window::check`]; nothing is changed then.
    pub fn accept(&mut self, message: &Authentic) -> Result<(), Rejected> {
        let counter = message.counter();
        self.check(counter)?;
        if counter == WILL_COUNTER {
            self.will = true;
            return Ok(());
        }
        if counter >= self.next {
            self.move_up(counter);
        }
        self.mark(counter, true);
        Ok(())
    }

    /// Takes a counter back out: it may be accepted again, if the window still reaches it.
    #[cfg(feature = "alloc")]
    pub(crate) fn forget(&mut self, counter: u32) {
        if counter == WILL_COUNTER {
            self.will = false;
        } else if self.check(counter) == Err(Rejected::Duplicate) {
            self.mark(counter, false);
        }
    }

    fn move_up(&mut self, counter: u32) {
        if counter.saturating_sub(self.next) >= Self::WIDTH {
            self.seen = [0; WORDS];
        } else {
            for passed in self.next..=counter {
                self.mark(passed, false);
            }
        }
        self.next = counter.saturating_add(1);
    }

    fn place(counter: u32) -> (usize, u64) {
        let index = counter.checked_rem(Self::WIDTH).unwrap_or(0);
        (usize::try_from(index / 64).unwrap_or(usize::MAX), 1 << (index % 64))
    }

    fn is_set(&self, counter: u32) -> bool {
        let (word, bit) = Self::place(counter);
        self.seen.get(word).is_some_and(|word| word & bit != 0)
    }

    fn mark(&mut self, counter: u32, seen: bool) {
        let (word, bit) = Self::place(counter);
        if let Some(word) = self.seen.get_mut(word) {
            *word = if seen { *word | bit } else { *word & !bit };
        }
    }
}

#[cfg(test)]
mod tests;
