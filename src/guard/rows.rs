//! Rows of a replay log: what they hold, as bytes and back.
//!
//! Integers are big-endian. A row's key is a kind, then two hashes of 8 bytes each: scope and upper
//! half of the state key. Its value starts with the sequence number of its last write, u64, but
//! for that of the log's first row.
//!
//! | kind | row | value |
//! |---|---|---|
//! | 0 | the log, key otherwise zero | version 1, hash key 16, 1 after a clean stop else 0 |
//! | 1 | stream | flags (1 will, 2 fresh rule, 4 window follows), lease u32, ahead u8; lower half u64, next u32, floor u32, will u8, 16 words u64 |
//! | 2 | record | flags (1 confirmed, 2 timestamp, 4 tombstone), lower half u64 but for tombstones, sender, CTR u32, timestamp u64 if any, number of retired senders u8, for each sender and CTR |
//! | 3 | own session, key otherwise its number modulo 64 | sender |
//! | 4 | filter of a rule, key otherwise zero and a hash of it | how strict the rule was: 0 clear, 1 observe, 2 mixed, 3 sealed |
//!
//! A *sender* is KID 4, length of the ID u8, ID 12 with zeros behind it. Counters of streams are
//! stored as one more than they are, 0 for none.

use alloc::vec::Vec;

use super::log::{ROW_KEY_LEN, RestoreError, RowKey};
use super::state_key::StateHash;
use crate::replay::{LatestRecord, MAX_RETIRED, Newest, Retired, Sender, Window};
use crate::wire::Reader;
use crate::wire::header::{KeyId, SessionId};

const LOG: u8 = 0;
const STREAM: u8 = 1;
const RECORD: u8 = 2;
const OWN: u8 = 3;
const MARK: u8 = 4;

/// `sealed`, the strictest that a rule can be.
const MAX_MARK: u8 = 3;

const VERSION: u8 = 1;

const WILL: u8 = 1;
const FRESH: u8 = 2;
const EXACT: u8 = 4;
const CONFIRMED: u8 = 1;
const TIMED: u8 = 2;
const TOMBSTONE: u8 = 4;

/// What a stream promised to a log: what restarts go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Lease {
    /// Counters below this one may have been delivered when the promise ends.
    pub(super) end: u32,
    /// So many of them had not been when the promise was given.
    pub(super) ahead: u8,
    /// Whether the will's bit was written.
    pub(super) will: bool,
    /// Whether the rule was `fresh`.
    pub(super) fresh: bool,
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Row {
    Log {
        hash_key: [u8; 16],
        clean: bool,
    },
    Stream {
        lease: Lease,
        window: Option<(u64, Window)>,
    },
    /// `lower` is `None` for a tombstone.
    Record {
        lower: Option<u64>,
        record: LatestRecord,
    },
    Own(Sender),
    Mark(u8),
}

pub(super) const LOG_KEY: RowKey = RowKey([LOG; ROW_KEY_LEN]);

pub(super) fn stream_key(scope: u64, upper: u64) -> RowKey {
    key(STREAM, scope, upper)
}

pub(super) fn record_key(scope: u64, upper: u64) -> RowKey {
    key(RECORD, scope, upper)
}

/// The key of an own session; the last 64 have one.
pub(super) fn own_key(number: u64) -> RowKey {
    key(OWN, 0, number % 64)
}

/// The key of a filter by its hash.
pub(super) fn mark_key(hash: u64) -> RowKey {
    key(MARK, 0, hash)
}

fn key(kind: u8, scope: u64, upper: u64) -> RowKey {
    let mut key = [kind; ROW_KEY_LEN];
    let bytes = scope.to_be_bytes().into_iter().chain(upper.to_be_bytes());
    for (slot, byte) in key.iter_mut().skip(1).zip(bytes) {
        *slot = byte;
    }
    RowKey(key)
}

/// Scope and upper half of the hash in a row's key.
pub(super) fn place(key: RowKey) -> (u64, StateHash) {
    let mut reader = Reader(key.0.get(1..).unwrap_or_default());
    let mut half = || reader.array().map_or(0, u64::from_be_bytes);
    let (scope, upper) = (half(), half());
    (scope, StateHash { upper, lower: 0 })
}

/// The value of a row that is written as number `seq`.
pub(super) fn encode(seq: u64, row: &Row) -> Vec<u8> {
    let mut out = Vec::new();
    match row {
        Row::Log { hash_key, clean } => {
            out.push(VERSION);
            out.extend_from_slice(hash_key);
            out.push(u8::from(*clean));
            return out;
        }
        _ => out.extend_from_slice(&seq.to_be_bytes()),
    }
    match row {
        Row::Log { .. } => {}
        Row::Stream { lease, window } => put_stream(&mut out, *lease, window.as_ref()),
        Row::Record { lower, record } => put_record(&mut out, *lower, record),
        Row::Own(sender) => put_sender(&mut out, sender),
        Row::Mark(level) => out.push(*level),
    }
    out
}

fn flag(bit: u8, set: bool) -> u8 {
    if set { bit } else { 0 }
}

fn put_stream(out: &mut Vec<u8>, lease: Lease, window: Option<&(u64, Window)>) {
    let flags = flag(WILL, lease.will) | flag(FRESH, lease.fresh) | flag(EXACT, window.is_some());
    out.push(flags);
    out.extend_from_slice(&lease.end.to_be_bytes());
    out.push(lease.ahead);
    if let Some((lower, window)) = window {
        out.extend_from_slice(&lower.to_be_bytes());
        out.extend_from_slice(&window.next.to_be_bytes());
        out.extend_from_slice(&window.floor.to_be_bytes());
        out.push(u8::from(window.will));
        for word in window.seen {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
}

fn put_record(out: &mut Vec<u8>, lower: Option<u64>, record: &LatestRecord) {
    let Newest { sender, counter, confirmed, timestamp } = &record.newest;
    let flags = flag(CONFIRMED, *confirmed) | flag(TIMED, timestamp.is_some());
    out.push(flags | flag(TOMBSTONE, lower.is_none()));
    if let Some(lower) = lower {
        out.extend_from_slice(&lower.to_be_bytes());
    }
    put_sender(out, sender);
    out.extend_from_slice(&counter.to_be_bytes());
    if let Some(timestamp) = timestamp {
        out.extend_from_slice(&timestamp.to_be_bytes());
    }
    let retired = record.retired.iter().flatten();
    out.push(u8::try_from(retired.clone().count()).unwrap_or(u8::MAX));
    for Retired { sender, counter } in retired {
        put_sender(out, sender);
        out.extend_from_slice(&counter.to_be_bytes());
    }
}

fn put_sender(out: &mut Vec<u8>, sender: &Sender) {
    let (id, len) = sender.id.encode();
    out.extend_from_slice(&sender.kid.to_bytes());
    out.push(u8::try_from(len).unwrap_or(u8::MAX));
    let id = id.iter().enumerate().map(|(at, byte)| if at < len { *byte } else { 0 });
    out.extend(id);
}

/// Reads a row: the number of its last write, and what it holds.
pub(super) fn decode(key: RowKey, value: &[u8]) -> Result<(u64, Row), RestoreError> {
    let mut reader = Reader(value);
    let row = if key.0 == LOG_KEY.0 {
        if value.first().is_some_and(|version| *version > VERSION) {
            return Err(RestoreError::NewerVersion);
        }
        read_log(&mut reader).map(|row| (0, row))
    } else {
        read(key, &mut reader)
    };
    row.filter(|_| reader.0.is_empty()).ok_or(RestoreError::Damaged)
}

fn read_log(reader: &mut Reader<'_>) -> Option<Row> {
    if reader.u8()? != VERSION {
        return None;
    }
    Some(Row::Log { hash_key: reader.array()?, clean: read_flag(reader)? })
}

fn read(key: RowKey, reader: &mut Reader<'_>) -> Option<(u64, Row)> {
    let seq = read_u64(reader)?;
    let row = match *key.0.first()? {
        STREAM => read_stream(reader)?,
        RECORD => read_record(reader)?,
        OWN => Row::Own(read_sender(reader)?),
        MARK => Row::Mark(reader.u8().filter(|level| *level <= MAX_MARK)?),
        _ => return None,
    };
    Some((seq, row))
}

fn read_u64(reader: &mut Reader<'_>) -> Option<u64> {
    reader.array().map(u64::from_be_bytes)
}

fn read_flag(reader: &mut Reader<'_>) -> Option<bool> {
    match reader.u8()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn read_stream(reader: &mut Reader<'_>) -> Option<Row> {
    let flags = reader.u8()?;
    if flags & !(WILL | FRESH | EXACT) != 0 {
        return None;
    }
    let lease = Lease {
        end: reader.u32()?,
        ahead: reader.u8()?,
        will: flags & WILL != 0,
        fresh: flags & FRESH != 0,
    };
    if u32::from(lease.ahead) > lease.end {
        return None;
    }
    let window = if flags & EXACT == 0 {
        None
    } else {
        let lower = read_u64(reader)?;
        let (next, floor, will) = (reader.u32()?, reader.u32()?, read_flag(reader)?);
        let mut window = Window { next, floor, will, ..Window::new() };
        for word in &mut window.seen {
            *word = read_u64(reader)?;
        }
        Some((lower, window))
    };
    Some(Row::Stream { lease, window })
}

fn read_record(reader: &mut Reader<'_>) -> Option<Row> {
    let flags = reader.u8()?;
    if flags & !(CONFIRMED | TIMED | TOMBSTONE) != 0 {
        return None;
    }
    let lower = if flags & TOMBSTONE == 0 { Some(read_u64(reader)?) } else { None };
    let (sender, counter) = (read_sender(reader)?, reader.u32()?);
    let timestamp = if flags & TIMED == 0 { None } else { Some(read_u64(reader)?) };
    let confirmed = flags & CONFIRMED != 0;
    let mut retired = [None; MAX_RETIRED];
    let count = usize::from(reader.u8()?);
    if count > MAX_RETIRED {
        return None;
    }
    for slot in retired.iter_mut().take(count) {
        *slot = Some(Retired { sender: read_sender(reader)?, counter: reader.u32()? });
    }
    let newest = Newest { sender, counter, confirmed, timestamp };
    Some(Row::Record { lower, record: LatestRecord { newest, retired } })
}

fn read_sender(reader: &mut Reader<'_>) -> Option<Sender> {
    let kid = KeyId::new(reader.array()?);
    let len = usize::from(reader.u8()?);
    let id: [u8; 12] = reader.array()?;
    let (id, rest) = id.split_at_checked(len)?;
    if rest.iter().any(|byte| *byte != 0) {
        return None;
    }
    Some(Sender { kid, id: SessionId::decode(id)? })
}

#[cfg(test)]
mod tests;
