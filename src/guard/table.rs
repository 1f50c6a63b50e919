//! Replay state of all sender sessions and topics, within limits, and what of it a log has to
//! know. Knows no keys, no rules and no I/O.

use alloc::vec::Vec;
use hashbrown::HashMap;

use super::incoming::Receipt;
use super::log::Write;
use super::rows::{self, Lease, Row};
use super::shelf::Shelf;
use super::state_key::{StateHash, StateKey, StateKeys};
use crate::keyring::ScopeRef;
use crate::replay::{Arrival, LatestRecord, Newest, Rejected, Tombstone, Verdict, Window};
use crate::session::Authentic;
use crate::topic::TopicName;
use crate::wire::header::{KeyId, SessionId, WILL_COUNTER};

/// A log promises so many counters ahead (SPEC §7.4).
pub(super) const LEASE: u8 = 64;
/// Changes that wait for the next write. Of more, those are dropped that a log can do without: that
/// rows of lost tombstones go, which the next start sees to, and own sessions.
const MAX_PENDING: usize = 4_096;

/// How much replay state a receiver keeps. The defaults are those of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayLimits {
    /// Windows of one scope, about 190 bytes each: 16,384.
    pub windows: usize,
    /// Windows in all: 65,536.
    pub windows_total: usize,
    /// Records of `latest` topics of one scope, about 330 bytes each: 16,384.
    pub records: usize,
    /// Records in all: 65,536.
    pub records_total: usize,
    /// Tombstones of windows of one scope, about 40 bytes each, and as many of records, about 80
    /// bytes each: 65,536.
    pub ring: usize,
    /// Tombstones of windows in all, and as many of records: 262,144.
    pub ring_total: usize,
}

impl Default for ReplayLimits {
    // SPEC §7.3
    fn default() -> Self {
        Self {
            windows: 16_384,
            windows_total: 65_536,
            records: 16_384,
            records_total: 65_536,
            ring: 65_536,
            ring_total: 262_144,
        }
    }
}

/// One sender session on one topic.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) window: Window,
    /// What the log has.
    pub(super) lease: Lease,
}

/// What remains of a stream that was evicted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grave {
    pub(super) tombstone: Tombstone,
    /// What the log has.
    pub(super) lease: Lease,
}

impl Lease {
    /// What to promise before `counter` is delivered or confirmed; `None` if that was promised.
    // SPEC §7.4; a will changes neither the highest CTR nor the lease
    fn for_counter(self, counter: u32) -> Option<Self> {
        if counter == WILL_COUNTER {
            return (!self.will).then_some(Self { will: true, ..self });
        }
        if counter < self.end {
            return None;
        }
        let next = counter.saturating_add(1);
        let end = next.saturating_add(u32::from(LEASE));
        let ahead = u8::try_from(end.saturating_sub(next)).unwrap_or(LEASE);
        Some(Self { end, ahead, ..self })
    }

    /// What holds once both were written.
    fn merge(self, other: Self) -> Self {
        let (high, low) = if other.end >= self.end { (other, self) } else { (self, other) };
        Self { will: high.will || low.will, ..high }
    }
}

/// All replay state of one receiver.
#[derive(Debug)]
pub(super) struct ReplayTable {
    pub(super) keys: StateKeys,
    pub(super) streams: Shelf<StateHash, Stream>,
    /// By the upper half of the hash, as all tombstones.
    pub(super) stream_graves: Shelf<u64, Grave>,
    pub(super) records: Shelf<StateHash, LatestRecord>,
    pub(super) record_graves: Shelf<u64, Newest>,
    /// Tombstones that a ring had no room for.
    pub(super) lost: u64,
    limits: ReplayLimits,
    /// Whether what is accepted still has to be confirmed.
    pub(super) manual: bool,
    pub(super) journal: Option<Journal>,
    /// How strict the rules were so far, by the hash of their filters.
    pub(super) marks: HashMap<u64, u8>,
}

/// What is still to be told to a log.
#[derive(Debug)]
pub(super) struct Journal {
    /// The number of the next write.
    seq: u64,
    pending: Vec<Write>,
}

impl Journal {
    pub(super) fn starting_at(seq: u64) -> Self {
        Self { seq, pending: Vec::new() }
    }

    pub(super) fn put(&mut self, key: super::log::RowKey, row: &Row) {
        self.push(Write::Put(key, rows::encode(self.seq, row)));
        self.seq = self.seq.saturating_add(1);
    }

    pub(super) fn push(&mut self, write: Write) {
        self.pending.push(write);
    }

    /// Whether something that can do without may still be put.
    pub(super) fn has_room(&self) -> bool {
        self.pending.len() < MAX_PENDING
    }

    pub(super) fn take(&mut self) -> Vec<Write> {
        core::mem::take(&mut self.pending)
    }
}

impl ReplayTable {
    pub(super) fn new(key: [u8; 16], limits: ReplayLimits) -> Self {
        Self {
            keys: StateKeys::new(key),
            streams: Shelf::new(limits.windows, limits.windows_total),
            stream_graves: Shelf::new(limits.ring, limits.ring_total),
            records: Shelf::new(limits.records, limits.records_total),
            record_graves: Shelf::new(limits.ring, limits.ring_total),
            lost: 0,
            limits,
            manual: false,
            journal: None,
            marks: HashMap::new(),
        }
    }

    /// Forgets everything, and goes by this hash key from now on.
    pub(super) fn begin(&mut self, hash_key: [u8; 16]) {
        let Self { lost, manual, limits, .. } = *self;
        *self = Self { lost, manual, ..Self::new(hash_key, limits) };
    }

    pub(super) fn set_limits(&mut self, limits: ReplayLimits) {
        self.limits = limits;
        self.streams.set_limits(limits.windows, limits.windows_total);
        self.stream_graves.set_limits(limits.ring, limits.ring_total);
        self.records.set_limits(limits.records, limits.records_total);
        self.record_graves.set_limits(limits.ring, limits.ring_total);
        let scopes: Vec<u64> = self.streams.scopes().chain(self.records.scopes()).collect();
        for scope in scopes {
            self.bury_streams(scope);
            self.bury_records(scope);
        }
        let scopes: Vec<u64> =
            self.stream_graves.scopes().chain(self.record_graves.scopes()).collect();
        for scope in scopes {
            self.lose_streams(scope);
            self.lose_records(scope);
        }
    }

    pub(super) fn stream_key(
        &self,
        scope: ScopeRef<'_>,
        kid: KeyId,
        id: SessionId,
        topic: TopicName<'_>,
    ) -> StateKey {
        self.keys.get(scope, Some((kid, id)), topic)
    }

    pub(super) fn record_key(&self, scope: ScopeRef<'_>, topic: TopicName<'_>) -> StateKey {
        self.keys.get(scope, None, topic)
    }

    fn stream(&self, key: StateKey) -> Option<&Stream> {
        self.streams.get(key.scope, &key.hash)
    }

    /// Whether `counter` was seen; touches nothing.
    pub(super) fn has_seen(&self, key: StateKey, counter: u32) -> bool {
        self.stream(key)
            .is_some_and(|stream| stream.window.check(counter) == Err(Rejected::Duplicate))
    }

    /// Whether the stream was met before.
    pub(super) fn knows(&self, key: StateKey) -> bool {
        self.stream(key).is_some() || self.stream_graves.get(key.scope, &key.hash.upper).is_some()
    }

    /// Enters an authentic message of a `window` or `fresh` rule. Returns one more than the highest
    /// counter of its stream before it, if there was any.
    pub(super) fn accept(
        &mut self,
        key: StateKey,
        message: &Authentic,
        fresh: bool,
    ) -> Result<Option<u32>, Rejected> {
        // a refused message must not keep its window alive
        let live = self.streams.update(key.scope, &key.hash, |stream| {
            let before = stream.window.next;
            let accepted = stream.window.accept(message);
            stream.lease.fresh = fresh;
            (accepted.map(|()| Some(before).filter(|next| *next > 0)), accepted.is_ok())
        });
        if let Some(accepted) = live {
            return accepted;
        }
        let upper = key.hash.upper;
        let mut stream = match self.stream_graves.get(key.scope, &upper) {
            Some(grave) => {
                grave.tombstone.check(message.counter())?;
                let lease = Lease { fresh, ..grave.lease };
                Stream { window: Window::after(grave.tombstone), lease }
            }
            None => Stream { window: Window::new(), lease: Lease { fresh, ..Lease::default() } },
        };
        stream.window.accept(message)?;
        self.stream_graves.remove(key.scope, &upper);
        self.streams.insert(key.scope, key.hash, stream);
        self.bury_streams(key.scope);
        Ok(None)
    }

    /// Enters an authentic message of a `latest` rule.
    pub(super) fn accept_latest(
        &mut self,
        key: StateKey,
        message: &Authentic,
        arrival: &Arrival,
    ) -> Result<Verdict, Rejected> {
        let live = self.records.update(key.scope, &key.hash, |record| {
            let accepted = record.accept(message, arrival);
            (accepted, accepted == Ok(Verdict::New))
        });
        if let Some(accepted) = live {
            return accepted;
        }
        let upper = key.hash.upper;
        let record = match self.record_graves.get(key.scope, &upper) {
            Some(grave) => {
                let mut record = LatestRecord::after(*grave);
                match record.accept(message, arrival)? {
                    Verdict::New => record,
                    again => return Ok(again),
                }
            }
            None => LatestRecord::first(message, arrival),
        };
        self.record_graves.remove(key.scope, &upper);
        self.records.insert(key.scope, key.hash, record);
        self.bury_records(key.scope);
        Ok(Verdict::New)
    }

    /// Puts what the log has to know before `counter` of a stream is delivered or confirmed, if it
    /// does not know it.
    pub(super) fn promise(&mut self, key: StateKey, counter: u32) -> Option<Lease> {
        let journal = self.journal.as_mut()?;
        let known = match self.streams.get(key.scope, &key.hash) {
            Some(stream) => stream.lease,
            None => self.stream_graves.get(key.scope, &key.hash.upper)?.lease,
        };
        let lease = known.for_counter(counter)?;
        let row = Row::Stream { lease, window: None };
        journal.put(rows::stream_key(key.scope, key.hash.upper), &row);
        Some(lease)
    }

    /// The log has this promise.
    pub(super) fn promised(&mut self, key: StateKey, lease: Lease) {
        if let Some(stream) = self.streams.get_mut(key.scope, &key.hash) {
            stream.lease = stream.lease.merge(lease);
        } else if let Some(grave) = self.stream_graves.get_mut(key.scope, &key.hash.upper) {
            grave.lease = grave.lease.merge(lease);
        }
    }

    /// Puts a record as it is now.
    pub(super) fn put_record(&mut self, key: StateKey) {
        let Some(journal) = &mut self.journal else { return };
        let (lower, record) = match self.records.get(key.scope, &key.hash) {
            Some(record) => (Some(key.hash.lower), record.clone()),
            None => match self.record_graves.get(key.scope, &key.hash.upper) {
                Some(grave) => (None, LatestRecord::after(*grave)),
                None => return,
            },
        };
        let row = Row::Record { lower, record };
        journal.put(rows::record_key(key.scope, key.hash.upper), &row);
    }

    /// The application acknowledged a value; an acknowledgement after eviction counts too.
    pub(super) fn confirm_record(
        &mut self,
        key: StateKey,
        (kid, id, counter): (KeyId, SessionId, u32),
    ) {
        let newest = match self.records.get_mut(key.scope, &key.hash) {
            Some(record) => Some(&mut record.newest),
            None => self.record_graves.get_mut(key.scope, &key.hash.upper),
        };
        if newest.is_some_and(|newest| newest.confirm(kid, id, counter)) {
            self.put_record(key);
        }
    }

    /// A message was accepted and not dealt with: it may come again.
    pub(super) fn forget(&mut self, receipt: &Receipt) {
        let Receipt { record, state, kid, id, counter } = *receipt;
        if !record {
            if let Some(stream) = self.streams.get_mut(state.scope, &state.hash) {
                stream.window.forget(counter);
            }
        } else if let Some(record) = self.records.get_mut(state.scope, &state.hash) {
            record.newest.unconfirm(kid, id, counter);
        }
    }

    /// Turns the streams that are too many into tombstones, the least recently accepted first.
    // SPEC §7.3
    pub(super) fn bury_streams(&mut self, scope: u64) {
        while let Some((scope, hash, stream)) = self.streams.excess(scope) {
            self.stream_graves.remove(scope, &hash.upper);
            let grave = Grave { tombstone: stream.window.tombstone(), lease: stream.lease };
            self.stream_graves.insert(scope, hash.upper, grave);
            self.lose_streams(scope);
        }
    }

    pub(super) fn lose_streams(&mut self, scope: u64) {
        while let Some((scope, upper, _)) = self.stream_graves.excess(scope) {
            self.lose(rows::stream_key(scope, upper));
        }
    }

    pub(super) fn bury_records(&mut self, scope: u64) {
        while let Some((scope, hash, record)) = self.records.excess(scope) {
            self.record_graves.remove(scope, &hash.upper);
            self.record_graves.insert(scope, hash.upper, record.tombstone());
            self.lose_records(scope);
        }
    }

    pub(super) fn lose_records(&mut self, scope: u64) {
        while let Some((scope, upper, _)) = self.record_graves.excess(scope) {
            self.lose(rows::record_key(scope, upper));
        }
    }

    fn lose(&mut self, key: super::log::RowKey) {
        self.lost = self.lost.saturating_add(1);
        if let Some(journal) = self.journal.as_mut().filter(|journal| journal.has_room()) {
            journal.push(Write::Delete(key));
        }
    }
}

#[cfg(test)]
mod tests;
