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
    seen: [u64; WORDS],
    highest: Option<u32>,
    /// Counters up to here are too old, whatever the width says.
    floor: Option<u32>,
    will: bool,
}

/// What remains of a window that had to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tombstone {
    highest: Option<u32>,
    will: bool,
}

impl Tombstone {
    /// Whether a message under `counter` may be accepted in a window made from this tombstone.
    ///
    /// # Errors
    /// [`Rejected::TooOld`] for counters that the window may have had.
    pub fn check(&self, counter: u32) -> Result<(), Rejected> {
        let covered = match self.highest {
            _ if counter == WILL_COUNTER => self.will,
            Some(highest) => counter <= highest,
            None => false,
        };
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
        Self { seen: [0; WORDS], highest: None, floor: None, will: false }
    }

    /// A window in place of one that was evicted: counters that the tombstone covers are too
    /// old. The message that it is made for has passed [`Tombstone::check`].
    #[must_use]
    pub const fn after(tombstone: Tombstone) -> Self {
        Self { seen: [0; WORDS], highest: None, floor: tombstone.highest, will: tombstone.will }
    }

    /// What has to be remembered of this window when it is evicted.
    // SPEC §7.3: highest CTR, and the will's bit
    #[must_use]
    pub const fn tombstone(&self) -> Tombstone {
        let highest = match self.highest {
            Some(highest) => Some(highest),
            None => self.floor,
        };
        Tombstone { highest, will: self.will }
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
        if self.floor.is_some_and(|floor| counter <= floor) {
            return Err(Rejected::TooOld);
        }
        match self.highest {
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
        match self.highest {
            Some(highest) if counter <= highest => {}
            Some(highest) => self.move_up(highest, counter),
            None => self.highest = Some(counter),
        }
        self.set(counter);
        Ok(())
    }

    fn move_up(&mut self, highest: u32, counter: u32) {
        if counter.saturating_sub(highest) >= Self::WIDTH {
            self.seen = [0; WORDS];
        } else {
            for passed in highest.saturating_add(1)..=counter {
                let (word, bit) = Self::place(passed);
                if let Some(word) = self.seen.get_mut(word) {
                    *word &= !bit;
                }
            }
        }
        self.highest = Some(counter);
    }

    fn place(counter: u32) -> (usize, u64) {
        let index = counter.checked_rem(Self::WIDTH).unwrap_or(0);
        (usize::try_from(index / 64).unwrap_or(usize::MAX), 1 << (index % 64))
    }

    fn is_set(&self, counter: u32) -> bool {
        let (word, bit) = Self::place(counter);
        self.seen.get(word).is_some_and(|word| word & bit != 0)
    }

    fn set(&mut self, counter: u32) {
        let (word, bit) = Self::place(counter);
        if let Some(word) = self.seen.get_mut(word) {
            *word |= bit;
        }
    }
}

#[cfg(test)]
mod tests;
