//! The steps of a rotation, out of the key file and what the devices have. Knows no device.

use core::fmt;

use crate::keyring::{Grant, State};
use crate::session::Entropy;
use crate::store::key_file::{EditError, KeyFile};
use crate::store::ledger_file::Rotation;

/// For how many seconds a generation is offered at least, by an authority that is connected, before
/// it seals without those that did not acknowledge it.
pub const LEAST_OFFER: u64 = 30;

/// The last second that a key file has a date for: the end of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

/// One change of the key file. Each leaves a file from which the next follows, so that a crash
/// between two of them costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Draw the next generation: pending.
    Draw,
    /// Let a pending generation seal, and the one before open only.
    #[non_exhaustive]
    Activate {
        /// Its number.
        generation: u32,
        /// For how many seconds the one before opens.
        retire: u64,
        /// Devices that have not acknowledged it.
        missing: usize,
    },
    /// Take a generation out: its time is over, or somebody has it who was revoked before it
    /// sealed.
    #[non_exhaustive]
    Erase {
        /// Its number.
        generation: u32,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Draw => f.write_str("another generation is drawn: devices are given it"),
            Self::Activate { generation, missing: 0, .. } => {
                write!(f, "generation {generation} seals: every device has it")
            }
            Self::Activate { generation, missing, .. } => write!(
                f,
                "generation {generation} seals: the deadline is over, without word of {missing} {}",
                if *missing == 1 { "device" } else { "devices" }
            ),
            Self::Erase { generation } => write!(f, "generation {generation} is erased"),
        }
    }
}

/// What is known beside the key file.
pub(super) struct Situation {
    pub(super) rotation: Option<Rotation>,
    /// Since when every device was offered the newest, over this connection.
    pub(super) offered: Option<u64>,
    /// Whether there is nobody who may have to be given something else: until then it is not known
    /// what devices have of the file as it is.
    pub(super) nothing_due: bool,
    /// Unix milliseconds.
    pub(super) now: u64,
}

/// The next step, if it is time for one; `missing` counts the devices that do not have a
/// generation.
// SPEC §10, "Order"
pub(super) fn next(
    keys: &KeyFile,
    situation: &Situation,
    missing: impl Fn(u32) -> usize,
) -> Option<Step> {
    let Situation { rotation, now, .. } = *situation;
    let order = rotation.filter(|order| sealing(keys).is_none_or(|active| active <= order.past));
    let newest = keys.grants().map(Grant::generation).max()?;
    if let Some(order) = order {
        if newest <= order.past {
            return Some(Step::Draw);
        }
        // who was revoked may have it, and nobody has sealed with it
        let given =
            |grant: &&Grant| grant.state() == State::Pending && grant.generation() <= order.past;
        if let Some(grant) = keys.grants().find(given) {
            return Some(Step::Erase { generation: grant.generation() });
        }
    }
    let over = |grant: &&Grant| match grant.state() {
        State::Retiring { not_after: Some(end) } => end < now / 1_000,
        _ => false,
    };
    if let Some(grant) = keys.grants().find(over).filter(|_| sealing(keys).is_some()) {
        return Some(Step::Erase { generation: grant.generation() });
    }
    let order = order?;
    let mut pending = keys.grants().filter(|grant| grant.state() == State::Pending);
    let generation = pending.find(|grant| grant.generation() == newest)?.generation();
    let missing = missing(newest);
    let step = Step::Activate { generation, retire: order.retire, missing };
    let all_have_it = missing == 0 && situation.nothing_due;
    (all_have_it || is_over(keys, situation, &order, generation)).then_some(step)
}

/// Whether devices that did not acknowledge `generation` are waited for no longer: it was drawn and
/// ordered long enough ago, and this authority has offered it for a while.
fn is_over(keys: &KeyFile, situation: &Situation, order: &Rotation, generation: u32) -> bool {
    let drawn = keys.created(generation).unwrap_or_default().saturating_mul(1_000);
    let start = drawn.max(order.ordered);
    let wait = order.patience.saturating_mul(1_000);
    let least = order.patience.min(LEAST_OFFER).saturating_mul(1_000);
    let offered = situation.offered.map(|since| situation.now.saturating_sub(since));
    situation.now.saturating_sub(start) >= wait && offered.is_some_and(|time| time >= least)
}

/// The generation that seals.
pub(super) fn sealing(keys: &KeyFile) -> Option<u32> {
    let active = keys.grants().filter(|grant| grant.state() == State::Active);
    active.map(Grant::generation).max()
}

impl Step {
    /// Changes `keys`, which is to be written then. `now` is in Unix milliseconds.
    ///
    /// # Errors
    /// [`EditError`]; do not write the file then.
    pub fn apply(
        &self,
        keys: &mut KeyFile,
        entropy: &mut impl Entropy,
        now: u64,
    ) -> Result<(), EditError> {
        match *self {
            Self::Draw => {
                let generation = keys.add_generation(entropy)?;
                keys.set_created(generation, now / 1_000)
            }
            Self::Activate { generation, retire, .. } => {
                let end = (now / 1_000).saturating_add(retire).min(LAST_SECOND);
                while let Some(before) = sealing(keys) {
                    keys.set_state(before, State::Retiring { not_after: Some(end) })?;
                }
                keys.set_state(generation, State::Active)
            }
            Self::Erase { generation } => keys.erase(generation),
        }
    }
}
