//! How long to wait before the next attempt to connect. Knows no clock.

use core::hash::{BuildHasher, Hasher};
use core::time::Duration;
use std::collections::hash_map::RandomState;

/// No pause is made of a shorter one: doubled, zero stays zero.
const SHORTEST: Duration = Duration::from_millis(1);

/// Pauses that double from `min` to `max`, each shortened at random by up to half, so that
/// clients that lost one broker do not all come back at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        let min = min.max(SHORTEST);
        let max = max.max(min);
        Self { min, max, next: min }
    }

    /// The pause after a connection that lived this long; zero if none was made. One that lived
    /// as long as the longest pause starts the series again. A shorter life is no success: a
    /// broker that ends every connection for what we send must not be asked all the time.
    pub(super) fn pause(&mut self, lived: Duration) -> Duration {
        if lived >= self.max {
            self.next = self.min;
        }
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.max);
        let half = pause.checked_div(2).unwrap_or_default();
        pause.saturating_sub(half.mul_f64(random_fraction()))
    }
}

/// A number in 0..1, from the randomness that keys the standard library's hash maps.
fn random_fraction() -> f64 {
    let [low, high, ..] = RandomState::new().build_hasher().finish().to_be_bytes();
    f64::from(u16::from_be_bytes([low, high])) / 65_536.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn pauses_double_up_to_the_limit_and_lose_at_most_half() {
        let mut backoff = Backoff::new(ms(100), ms(500));
        for full in [100, 200, 400, 500, 500] {
            let pause = backoff.pause(Duration::ZERO);
            assert!(pause > ms(full / 2) && pause <= ms(full), "{pause:?} of {full}");
        }
    }

    #[test]
    fn pauses_grow_from_zero_too() {
        let mut backoff = Backoff::new(ms(0), ms(0));
        assert!(backoff.pause(ms(0)) > ms(0));
        let mut backoff = Backoff::new(ms(0), ms(500));
        for _ in 0..10 {
            backoff.pause(ms(0));
        }
        assert!(backoff.pause(ms(0)) >= ms(250));
    }

    #[test]
    fn connection_that_lived_starts_again() {
        let mut backoff = Backoff::new(ms(100), ms(10_000));
        for _ in 0..8 {
            backoff.pause(ms(500));
        }
        assert!(backoff.pause(ms(9_999)) > ms(4_000));
        assert!(backoff.pause(ms(10_000)) <= ms(100));
    }

    #[test]
    fn pauses_differ() {
        let pauses = [(); 8].map(|()| Backoff::new(ms(1_000), ms(1_000)).pause(ms(0)));
        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
    }
}
