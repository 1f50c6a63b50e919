//! From the rows of a log to replay state, and at a clean stop from the state to rows.

use alloc::vec::Vec;

use super::log::{Prefer, RestoreError, RowKey, Write};
use super::rows::{self, LOG_KEY, Lease, Row};
use super::state_key::StateHash;
use super::table::{Grave, Journal, ReplayTable, Stream};
use crate::replay::{LatestRecord, Sender, Tombstone};

/// A row behind its number and key.
type Numbered = (u64, RowKey, Row);

impl ReplayTable {
    /// Takes up what a log holds. Returns the own sessions that it names with their numbers, oldest first; what has to
    /// be written before anything is accepted is in the journal then.
    // SPEC §7.4, restart
    pub(super) fn restore(
        &mut self,
        stored: Vec<(RowKey, Vec<u8>)>,
        prefer: Prefer,
    ) -> Result<Vec<(u64, Sender)>, RestoreError> {
        let mut numbered = Vec::with_capacity(stored.len());
        let mut head = None;
        for (key, value) in stored {
            match rows::decode(key, &value)? {
                (_, Row::Log { hash_key, clean }) => head = Some((hash_key, clean)),
                (seq, row) => numbered.push((seq, key, row)),
            }
        }
        // rows without a head cannot be found again
        let clean = match head {
            Some((hash_key, clean)) => {
                self.begin(hash_key);
                clean
            }
            None if numbered.is_empty() => {
                self.begin(*self.keys.secret());
                true
            }
            None => return Err(RestoreError::Damaged),
        };
        numbered.sort_unstable_by_key(|(seq, ..)| *seq);
        let seq = numbered.last().map_or(0, |(seq, ..)| seq.saturating_add(1));
        let mut journal = Journal::starting_at(seq);
        let hash_key = *self.keys.secret();
        journal.put(LOG_KEY, &Row::Log { hash_key, clean: false });
        self.journal = Some(journal);
        let mut own = Vec::new();
        for row in numbered {
            self.take_up(row, clean, prefer, &mut own);
        }
        Ok(own)
    }

    fn take_up(
        &mut self,
        row: Numbered,
        clean: bool,
        prefer: Prefer,
        own: &mut Vec<(u64, Sender)>,
    ) {
        let (seq, key, row) = row;
        let (scope, hash) = rows::place(key);
        match row {
            Row::Log { .. } => {}
            Row::Own(sender) => own.push((hash.upper, sender)),
            Row::Mark(level) => drop(self.marks.insert(hash.upper, level)),
            Row::Record { lower: None, record } => {
                self.record_graves.insert(scope, hash.upper, record.tombstone());
                self.lose_records(scope);
            }
            Row::Record { lower: Some(lower), record } => {
                self.records.insert(scope, StateHash { lower, ..hash }, record);
                self.bury_records(scope);
            }
            Row::Stream { lease, window: Some((lower, window)) } if clean => {
                let stream = Stream { window, lease };
                self.streams.insert(scope, StateHash { lower, ..hash }, stream);
                self.bury_streams(scope);
            }
            Row::Stream { lease, window } => {
                let lease = if clean { lease } else { lease.fallen(prefer) };
                let raised = Row::Stream { lease, window: None };
                if let Some(journal) = &mut self.journal
                    && (window.is_some() || !clean)
                {
                    // under its old number: this is no acceptance
                    journal.push(Write::Put(key, rows::encode(seq, &raised)));
                }
                let tombstone = Tombstone { floor: lease.end, will: lease.will };
                let grave = Grave { tombstone, lease };
                self.stream_graves.insert(scope, hash.upper, grave);
                self.lose_streams(scope);
            }
        }
    }

    /// Everything as it is, for a log whose owner stops now.
    // SPEC §7.4, "A clean stop writes the exact windows and the tombstones"
    pub(super) fn stop(&mut self) -> Vec<Write> {
        let Some(mut journal) = self.journal.take() else {
            return Vec::new();
        };
        for (scope, upper, grave) in self.stream_graves.iter() {
            let lease = if self.manual { grave.lease } else { grave.tombstone.exact() };
            let row = Row::Stream { lease, window: None };
            journal.put(rows::stream_key(scope, upper), &row);
        }
        for (scope, hash, stream) in self.streams.iter() {
            let window = Some((hash.lower, stream.window.clone()));
            let lease = if self.manual { stream.lease } else { stream.exact() };
            let row = Row::Stream { lease, window };
            journal.put(rows::stream_key(scope, hash.upper), &row);
        }
        for (scope, upper, grave) in self.record_graves.iter() {
            let row = Row::Record { lower: None, record: LatestRecord::after(*grave) };
            journal.put(rows::record_key(scope, upper), &row);
        }
        for (scope, hash, record) in self.records.iter() {
            let row = Row::Record { lower: Some(hash.lower), record: record.clone() };
            journal.put(rows::record_key(scope, hash.upper), &row);
        }
        let hash_key = *self.keys.secret();
        journal.put(LOG_KEY, &Row::Log { hash_key, clean: true });
        journal.take()
    }
}

impl Stream {
    /// The promise to the log, with what is known of the stream now. Only where everything was
    /// confirmed: what is not may come again.
    fn exact(&self) -> Lease {
        let delivered = self.window.next.max(self.window.floor);
        let end = self.lease.end.max(delivered);
        let ahead = u8::try_from(end.saturating_sub(delivered)).unwrap_or(self.lease.ahead);
        Lease { end, ahead, ..self.lease }
    }
}

impl Tombstone {
    /// The promise to the log that says no more than this.
    fn exact(self) -> Lease {
        Lease { end: self.floor, will: self.will, ..Lease::default() }
    }
}

impl Lease {
    /// What an unclean stop leaves of it.
    fn fallen(self, prefer: Prefer) -> Self {
        let end = match prefer {
            Prefer::NoLoss if !self.fresh => self.end.saturating_sub(u32::from(self.ahead)),
            _ => self.end,
        };
        Self { end, ahead: 0, ..self }
    }
}
