//! Opening with a replay log at hand: the claim is made at once. For logs that may block.

use alloc::vec::Vec;
use core::fmt;

use super::incoming::{Delivery, Incoming, OpenError, Opened, Receipt};
use super::log::ReplayLog;
use super::rx::GuardRx;

/// Why [`GuardRx::open_with_log`] delivers nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenWithLogError<E> {
    /// The message is refused: acknowledge it as a good one.
    Open(OpenError),
    /// The log failed: do not acknowledge the message, so that the broker brings it again.
    Log(E),
}

impl<E: fmt::Display> fmt::Display for OpenWithLogError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Log(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for OpenWithLogError<E> {}

impl GuardRx {
    /// As [`GuardRx::open`], for a receiver of [`with_replay_log`](super::Guard::with_replay_log):
    /// what the message claims is written to `log`, and then it is delivered. `out` is empty after
    /// an error.
    ///
    /// ```
    /// use mqtt_seal::guard::{Guard, Incoming, MemoryLog, Outgoing, Prefer};
    /// # use mqtt_seal::keyring::{Grant, Keyring};
    /// # use mqtt_seal::policy::{Link, Links, Policy, Rule};
    /// # use mqtt_seal::secret::SharedKey;
    /// # let guard = || {
    /// #     let policy = Policy::new(vec![Rule::sealed(["sensor/#"]).build()?]);
    /// #     let shared = SharedKey::take(&mut [7; 32]);
    /// #     let keyring = Keyring::new(vec![Grant::shared(&shared, "acme-prod")?]);
    /// #     Ok::<_, Box<dyn std::error::Error>>(Guard::new(policy, keyring, Links::Tcp)?)
    /// # };
    /// # let (mut tx, _) = guard()?.split();
    /// # let (mut sealed, mut payload) = (Vec::new(), Vec::new());
    /// # tx.seal(&Outgoing::new("sensor/temp", b"27"), &mut sealed)?;
    /// let mut log = MemoryLog::default(); // or a store::replay_file::ReplayFile
    /// let message = Incoming::new("sensor/temp", &sealed, Link::Tcp);
    /// for first in [true, false] {
    ///     let (_, mut rx) = guard()?.with_replay_log(&mut log, Prefer::NoReplay)?.split();
    ///     // what the run before delivered is not delivered again
    ///     assert_eq!(rx.open_with_log(&message, &mut payload, &mut log).is_ok(), first);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`OpenWithLogError::Open`] as `open` does, then [`OpenWithLogError::Log`].
    pub fn open_with_log<L: ReplayLog + ?Sized>(
        &mut self,
        message: &Incoming<'_>,
        out: &mut Vec<u8>,
        log: &mut L,
    ) -> Result<Delivery, OpenWithLogError<L::Error>> {
        match self.open(message, out).map_err(OpenWithLogError::Open)? {
            Opened::Delivered(delivery) => Ok(delivery),
            Opened::NeedsClaim(claim) => {
                log.write(claim.writes()).map_err(OpenWithLogError::Log)?;
                Ok(self.finish(claim, out))
            }
        }
    }

    /// As [`GuardRx::confirm`], with what it returns written to `log`: then the message may be
    /// acknowledged. If the log fails, the receiver is stopped: it counts the message as dealt with,
    /// and the log does not.
    ///
    /// # Errors
    /// Those of the log; do not acknowledge the message then.
    pub fn confirm_with_log<L: ReplayLog + ?Sized>(
        &mut self,
        receipt: Receipt,
        log: &mut L,
    ) -> Result<(), L::Error> {
        let written = log.write(&self.confirm(receipt));
        if written.is_err() {
            self.halt();
        }
        written
    }
}

#[cfg(test)]
mod tests;
