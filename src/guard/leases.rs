//! The counters of compact form that this client may use.

use alloc::vec::Vec;
use core::ops::Range;

use crate::session::{Lease, LeaseError};
use crate::wire::header::SenderNumber;

/// A lease for each sender number, of which a client has one for each of its grants.
#[derive(Debug, Default)]
pub(super) struct Leases(Vec<Numbered>);

#[derive(Debug)]
struct Numbered {
    number: SenderNumber,
    lease: Lease,
    cannot_roll_back: bool,
}

impl Leases {
    pub(super) fn extend(
        &mut self,
        number: SenderNumber,
        range: &Range<u32>,
        cannot_roll_back: bool,
    ) -> Result<(), LeaseError> {
        if let Some(known) = self.get_mut(number) {
            known.lease.extend(range)?;
            known.cannot_roll_back = cannot_roll_back;
            return Ok(());
        }
        let mut lease = Lease::new();
        lease.extend(range)?;
        self.0.push(Numbered { number, lease, cannot_roll_back });
        Ok(())
    }

    /// What the store of the number declares; `None` before its first lease.
    pub(super) fn cannot_roll_back(&self, number: SenderNumber) -> Option<bool> {
        self.get(number).map(|known| known.cannot_roll_back)
    }

    pub(super) fn wants_more(&self, number: SenderNumber) -> bool {
        self.get(number).is_none_or(|known| known.lease.wants_more())
    }

    pub(super) fn peek(&self, number: SenderNumber, len: usize) -> Result<u32, LeaseError> {
        self.get(number).map_or_else(|| Lease::new().peek(len), |known| known.lease.peek(len))
    }

    pub(super) fn spend(&mut self, number: SenderNumber, len: usize) -> Result<u32, LeaseError> {
        match self.get_mut(number) {
            Some(known) => known.lease.spend(len),
            None => Lease::new().peek(len),
        }
    }

    fn get(&self, number: SenderNumber) -> Option<&Numbered> {
        self.0.iter().find(|known| known.number == number)
    }

    fn get_mut(&mut self, number: SenderNumber) -> Option<&mut Numbered> {
        self.0.iter_mut().find(|known| known.number == number)
    }
}
