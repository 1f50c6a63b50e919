//! Which confirmations an authority has accepted: bounded, and only of devices that proved
//! themselves. Knows no keys.

use alloc::{string::String, vec::Vec};

use hashbrown::HashMap;

use super::RUN_MS;
use crate::wire::control::NONCE_LEN;

/// Most runs of one device within 30 seconds. A device runs once at each connection.
pub(super) const MAX_RUNS: usize = 16;
/// Most devices that are remembered at a time.
pub(super) const MAX_DEVICES: usize = 65_536;

/// nD and nA.
pub(super) type Nonces = [[u8; NONCE_LEN]; 2];

#[derive(Debug, Default)]
pub(super) struct Seen {
    devices: HashMap<String, Marks>,
}

#[derive(Debug, Default)]
struct Marks {
    /// The time in the attestation of the newest run that was accepted.
    newest: u64,
    /// Accepted runs and the times in their attestations.
    runs: Vec<(Nonces, u64)>,
}

/// Why a confirmation that is right is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Older,
    Repeated,
    Full,
}

impl Seen {
    /// Accepts a run whose attestation says `time`, which is within 30 seconds before `now`.
    // SPEC §9, "remembers accepted (nD, nA) for 30 s", "before that of the newest run"
    pub(super) fn accept(
        &mut self,
        device: &str,
        nonces: Nonces,
        time: u64,
        now: u64,
    ) -> Result<(), Refused> {
        self.make_room(device, now)?;
        let marks = self.devices.entry_ref(device).or_default();
        // a mark ahead of the clock counts as absent
        if marks.newest <= now && time < marks.newest {
            return Err(Refused::Older);
        }
        if marks.runs.iter().any(|(known, _)| *known == nonces) {
            return Err(Refused::Repeated);
        }
        if marks.runs.len() >= MAX_RUNS {
            marks.runs.retain(|(_, time)| is_live(*time, now));
        }
        if marks.runs.len() >= MAX_RUNS {
            return Err(Refused::Full);
        }
        marks.newest = time;
        marks.runs.push((nonces, time));
        Ok(())
    }

    /// Makes sure that `device` may be entered.
    fn make_room(&mut self, device: &str, now: u64) -> Result<(), Refused> {
        if self.devices.len() < MAX_DEVICES || self.devices.contains_key(device) {
            return Ok(());
        }
        self.devices.retain(|_, marks| marks.runs.iter().any(|(_, time)| is_live(*time, now)));
        if self.devices.len() < MAX_DEVICES { Ok(()) } else { Err(Refused::Full) }
    }

    /// Devices and runs that are remembered.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.devices.len(), self.devices.values().map(|marks| marks.runs.len()).sum())
    }
}

/// Whether an attestation of `time` may be used now: what is older or ahead of the clock is refused
/// without a memory. Ahead it is after the clock was set back; such runs are forgotten only where
/// room is needed, for they could be repeated once the clock is there again.
const fn is_live(time: u64, now: u64) -> bool {
    match now.checked_sub(time) {
        Some(age) => age <= RUN_MS,
        None => false,
    }
}
