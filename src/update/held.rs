//! What a device keeps of its updates: the newest snapshot, and the sender numbers that it has
//! taken. Knows no storage, and no counters but by their numbers.

use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroizing;

use super::{Entry, SenderStep, Snapshot};
use crate::keyring::{Grant, Keyring};
use crate::wire::header::{KeyId, SenderNumber};

/// Of the stored form.
const VERSION: u8 = 1;
/// Stands where no number was taken; numbers end at 2^30 − 1.
const NONE: u32 = u32::MAX;
/// Bytes before the numbers: version, key ID, how many numbers.
const HEAD_LEN: usize = 9;
/// Bytes of a number.
const NUMBER_LEN: usize = 4;

/// Why a stored state is not taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StateError {
    /// It does not hold what was once written.
    Damaged,
    /// It belongs to another device, realm or pairwise key.
    OtherDevice,
    /// A newer version of this library wrote it.
    NewerVersion,
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => {
                "the stored keys are damaged: remove them, and they come anew by the next update"
            }
            Self::OtherDevice => {
                "the stored keys are of another device or pairwise key: name another store"
            }
            Self::NewerVersion => {
                "the stored keys are of a newer version: use the library that wrote them"
            }
        })
    }
}

impl core::error::Error for StateError {}

/// For each entry of a snapshot, the sender number for which there is a lease under its key.
#[derive(Debug, Clone)]
pub(crate) struct Taken(Vec<Option<SenderNumber>>);

impl Taken {
    /// The numbers that the device has under the keys of `snapshot`: by the update before, or by
    /// its own configuration.
    pub(crate) fn carried(snapshot: &Snapshot, before: Option<&Held>, base: &Keyring) -> Self {
        let held = before.into_iter().flat_map(Held::numbers);
        let held: Vec<(&Grant, SenderNumber)> = held.collect();
        let own = base.grants().iter().filter_map(|grant| Some((grant, grant.sender()?)));
        let all: Vec<_> = held.into_iter().chain(own).collect();
        let of = |entry: &Entry| {
            all.iter().find_map(|(grant, number)| entry.is_key_of(grant).then_some(*number))
        };
        Self(snapshot.entries().iter().map(of).collect())
    }

    /// Takes the numbers that `snapshot` asks to be taken; `lease` writes the first lease of one,
    /// and says whether it did. Whether all are taken.
    // SPEC §10, "takes a sender number together with writing its first lease"
    pub(crate) fn take(
        &mut self,
        snapshot: &Snapshot,
        mut lease: impl FnMut(SenderNumber) -> bool,
    ) -> bool {
        let mut all = true;
        for (entry, taken) in snapshot.entries().iter().zip(&mut self.0) {
            if let SenderStep::Take(number) = entry.sender_step(*taken) {
                let written = lease(number);
                all &= written;
                *taken = written.then_some(number);
            }
        }
        all
    }

    /// What is stored with `snapshot`; `owner` is the ID of the key that the device's updates are
    /// sealed under.
    pub(crate) fn encode(&self, snapshot: &Snapshot, owner: KeyId) -> Zeroizing<Vec<u8>> {
        let snapshot = snapshot.encode();
        let numbers = self.0.len().saturating_mul(NUMBER_LEN);
        let len = HEAD_LEN.saturating_add(numbers).saturating_add(snapshot.len());
        // all of it at once: what a vector leaves behind when it grows would not be wiped
        let mut out = Zeroizing::new(Vec::with_capacity(len));
        out.push(VERSION);
        out.extend_from_slice(&owner.to_bytes());
        out.extend_from_slice(&u32::try_from(self.0.len()).unwrap_or(NONE).to_be_bytes());
        for number in &self.0 {
            out.extend_from_slice(&number.map_or(NONE, SenderNumber::get).to_be_bytes());
        }
        out.extend_from_slice(&snapshot);
        out
    }
}

/// The newest update that is stored.
#[derive(Debug)]
pub(crate) struct Held {
    snapshot: Snapshot,
    taken: Taken,
}

impl Held {
    /// `taken` was made for `snapshot`.
    pub(crate) const fn new(snapshot: Snapshot, taken: Taken) -> Self {
        Self { snapshot, taken }
    }

    /// Reads what [`Taken::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8], owner: KeyId) -> Result<Self, StateError> {
        let (head, rest) = bytes.split_first_chunk::<HEAD_LEN>().ok_or(StateError::Damaged)?;
        let [version, kid @ .., c0, c1, c2, c3] = *head;
        match version {
            VERSION => {}
            version if version > VERSION => return Err(StateError::NewerVersion),
            _ => return Err(StateError::Damaged),
        }
        if kid != owner.to_bytes() {
            return Err(StateError::OtherDevice);
        }
        let count = u32::from_be_bytes([c0, c1, c2, c3]);
        Self::decode_body(count, rest).ok_or(StateError::Damaged)
    }

    fn decode_body(count: u32, bytes: &[u8]) -> Option<Self> {
        let len = usize::try_from(count).ok()?.checked_mul(NUMBER_LEN)?;
        let (numbers, snapshot) = bytes.split_at_checked(len)?;
        let number = |bytes: &[u8; NUMBER_LEN]| match u32::from_be_bytes(*bytes) {
            NONE => Some(None),
            number => SenderNumber::new(number).map(Some),
        };
        let (numbers, _) = numbers.as_chunks::<NUMBER_LEN>();
        let taken: Vec<_> = numbers.iter().map(number).collect::<Option<_>>()?;
        let snapshot = Snapshot::decode(snapshot)?;
        (taken.len() == snapshot.entries().len()).then_some(Self { snapshot, taken: Taken(taken) })
    }

    /// The numbers that the snapshot asks to be taken, and are not.
    pub(crate) fn lacking(&self) -> Vec<SenderNumber> {
        let asked = |(entry, taken): (&Entry, _)| match entry.sender_step(taken) {
            SenderStep::Take(number) => Some(number),
            _ => None,
        };
        self.entries().filter_map(asked).collect()
    }

    /// As [`Taken::take`], with nothing taken yet: that is for [`Held::took`], once it is stored.
    pub(crate) fn take_numbers(&self, lease: impl FnMut(SenderNumber) -> bool) -> (Taken, bool) {
        let mut taken = self.taken.clone();
        let complete = taken.take(&self.snapshot, lease);
        (taken, complete)
    }

    /// `taken` is stored with the snapshot.
    pub(crate) fn took(&mut self, taken: Taken) {
        self.taken = taken;
    }

    pub(crate) const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Whether there is a number that the snapshot asks to be taken, and is not.
    pub(crate) fn lacks_number(&self) -> bool {
        !self.lacking().is_empty()
    }

    /// The keys that open or seal at `now`, in Unix milliseconds: those of the snapshot and those
    /// of the device's own configuration. Of a key of which the snapshot lists any generation, it
    /// alone says what is in force.
    pub(crate) fn keyring(&self, base: &Keyring, now: Option<u64>) -> Keyring {
        let listed = |grant: &Grant| {
            self.snapshot.entries().iter().any(|entry| entry.is_generation_of_same(grant))
        };
        let own = base.grants().iter().filter(|grant| !listed(grant)).map(Grant::again);
        let sent = self.entries().filter_map(|(entry, taken)| entry.grant(now, taken));
        Keyring::new(own.chain(sent).collect())
    }

    fn entries(&self) -> impl Iterator<Item = (&Entry, Option<SenderNumber>)> {
        self.snapshot.entries().iter().zip(self.taken.0.iter().copied())
    }

    fn numbers(&self) -> impl Iterator<Item = (&Grant, SenderNumber)> {
        self.entries().filter_map(|(entry, taken)| Some((entry.as_grant(), taken?)))
    }
}

#[cfg(test)]
mod tests;
