//! What the proxy counts, and what it shows. Knows no policy but the text of its rules, and no
//! HTTP.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::time::Duration;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::string::String;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use std::vec::Vec;

use super::packet::Version;
use crate::policy::{Payload, Rule};
use crate::replay::Verdict;
use crate::topic::TopicFilter;

/// Rejections and messages that are shown, the newest ones.
const SHOWN: usize = 50;
/// Bytes of a payload that are shown.
const SHOWN_BYTES: usize = 64;
/// Upper bounds of the latency histogram's buckets, in microseconds; one more has no bound.
pub(super) const LATENCY_BOUNDS: [u64; 10] =
    [10, 20, 50, 100, 200, 500, 1_000, 5_000, 20_000, 100_000];

/// A number that only grows, or one that is set.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, number: u64) {
        self.0.fetch_add(number, Relaxed);
    }

    pub(super) fn sub(&self, number: u64) {
        self.0.fetch_sub(number, Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What happened under one rule.
#[derive(Debug, Default)]
pub(super) struct RuleMeter {
    /// The rule's filters.
    pub(super) topics: String,
    /// What it does with payloads.
    pub(super) payload: &'static str,
    /// Messages sealed, and bytes of their payloads before that.
    pub(super) sealed: Count,
    pub(super) sealed_bytes: Count,
    /// Messages opened, and bytes of their payloads after that.
    pub(super) opened: Count,
    pub(super) opened_bytes: Count,
    /// Messages that passed as they were, towards the broker and from it, and their bytes.
    pub(super) clear_out: Count,
    pub(super) clear_in: Count,
    pub(super) clear_bytes: Count,
    /// Sealed bytes that were sent again as they were.
    pub(super) resent: Count,
    /// Messages opened, by verdict: new, fresh, redelivered, unchecked.
    pub(super) verdicts: [Count; 4],
    /// Messages that did not pass, by direction and reason.
    pub(super) rejected: Mutex<BTreeMap<(Direction, &'static str), u64>>,
}

/// Where a message was going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    ToBroker,
    ToClient,
}

impl Direction {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ToBroker => "to_broker",
            Self::ToClient => "to_client",
        }
    }
}

/// The names of verdicts, in the order of [`RuleMeter::verdicts`].
pub(super) const VERDICTS: [&str; 4] = ["new", "fresh", "redelivered", "unchecked"];

impl RuleMeter {
    fn new(rule: &Rule) -> Self {
        let filters: Vec<_> = rule.topics().map(TopicFilter::as_str).collect();
        let payload = match rule.payload() {
            Payload::Sealed => "sealed",
            Payload::Clear => "clear",
            Payload::Mixed { .. } => "mixed",
            Payload::Observe { .. } => "observe",
        };
        Self { topics: filters.join(" "), payload, ..Self::default() }
    }

    pub(super) fn reject(&self, direction: Direction, reason: &'static str) {
        let mut rejected = lock(&self.rejected);
        let count = rejected.entry((direction, reason)).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn verdict(&self, verdict: Verdict) {
        let [new, fresh, redelivered, unchecked] = &self.verdicts;
        let count = match verdict {
            Verdict::New => new,
            Verdict::Fresh => fresh,
            Verdict::Redelivered => redelivered,
            Verdict::Unchecked => unchecked,
        };
        count.add(1);
    }
}

/// Meters of all rules of a policy, and of topics without a rule.
#[derive(Debug)]
pub(super) struct RuleMeters {
    pub(super) rules: Vec<RuleMeter>,
    pub(super) no_rule: RuleMeter,
}

impl RuleMeters {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let no_rule =
            RuleMeter { topics: "(no rule)".into(), payload: "none", ..Default::default() };
        Self { rules: rules.iter().map(RuleMeter::new).collect(), no_rule }
    }

    pub(super) fn get(&self, index: Option<usize>) -> &RuleMeter {
        index.and_then(|index| self.rules.get(index)).unwrap_or(&self.no_rule)
    }
}

/// What is shown of a connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client_id: Mutex<String>,
    pub(super) version: Version,
    /// Unix milliseconds.
    pub(super) since: u64,
    pub(super) to_broker: Count,
    pub(super) to_client: Count,
    pub(super) rejected: Count,
}

/// A message that did not pass.
#[derive(Debug, Clone)]
pub(super) struct Rejection {
    pub(super) at: u64,
    pub(super) client_id: String,
    pub(super) topic: String,
    pub(super) direction: Direction,
    pub(super) reason: &'static str,
}

/// A message as the broker sees it and as the client does.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) at: u64,
    pub(super) topic: String,
    pub(super) direction: Direction,
    /// Whether it passed in clear.
    pub(super) clear: bool,
    /// The first bytes, in hexadecimal where they are sealed, and the number of all; `None` where
    /// they would show a payload, and none is to be shown.
    pub(super) broker: (Option<String>, usize),
    /// The same of the payload, as text where it is one.
    pub(super) client: (Option<String>, usize),
}

/// Everything that the proxy counts.
#[derive(Debug, Default)]
pub(super) struct Meters {
    /// Unix milliseconds.
    pub(super) started: u64,
    pub(super) accepted: Count,
    pub(super) open: Count,
    pub(super) refused_connections: Count,
    pub(super) broker_failures: Count,
    pub(super) reloads: Count,
    latency: Latency,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    rejections: Mutex<VecDeque<Rejection>>,
    seen: Mutex<VecDeque<Seen>>,
    /// Whether somebody may look, and whether at payloads.
    pub(super) shows: Shows,
}

/// What the status page shows of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Shows {
    /// There is no page.
    #[default]
    Nothing,
    /// Sizes and sealed bytes.
    Sealed,
    /// Payloads too.
    Payloads,
}

#[derive(Debug, Default)]
struct Latency {
    buckets: [Count; LATENCY_BOUNDS.len() + 1],
    /// Microseconds.
    sum: Count,
}

impl Meters {
    pub(super) fn new(shows: Shows) -> Self {
        Self { shows, started: unix_ms(), ..Self::default() }
    }

    /// So many packets were taken in, dealt with and written within this time.
    pub(super) fn took(&self, time: Duration, packets: u64) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.latency.buckets.get(bucket) {
            bucket.add(packets);
        }
        self.latency.sum.add(micros.saturating_mul(packets));
    }

    /// Counts of the histogram's buckets, and the sum in microseconds.
    pub(super) fn latency(&self) -> (Vec<u64>, u64) {
        (self.latency.buckets.iter().map(Count::get).collect(), self.latency.sum.get())
    }

    pub(super) fn connected(&self, number: u64, connection: Arc<Connection>) {
        lock(&self.connections).insert(number, connection);
    }

    pub(super) fn disconnected(&self, number: u64) {
        lock(&self.connections).remove(&number);
    }

    /// The connections, by number.
    pub(super) fn connections(&self) -> Vec<(u64, Arc<Connection>)> {
        let mut all: Vec<_> =
            lock(&self.connections).iter().map(|(n, c)| (*n, Arc::clone(c))).collect();
        all.sort_unstable_by_key(|(number, _)| *number);
        all
    }

    pub(super) fn reject(&self, rejection: Rejection) {
        push(&mut lock(&self.rejections), rejection);
    }

    pub(super) fn rejections(&self) -> Vec<Rejection> {
        lock(&self.rejections).iter().rev().cloned().collect()
    }

    /// Keeps a message for the status page, unless somebody else is at it just then: a page shows
    /// some messages, and none of them waits for it.
    pub(super) fn saw(&self, topic: &str, direction: Direction, broker: &[u8], client: &[u8]) {
        if self.shows == Shows::Nothing {
            return;
        }
        let Ok(mut ring) = self.seen.try_lock() else { return };
        let text = (self.shows == Shows::Payloads).then(|| readable(head(client)));
        let clear = broker == client;
        let sealed = if clear { text.clone() } else { Some(hex(head(broker))) };
        let seen = Seen {
            at: unix_ms(),
            topic: topic.into(),
            direction,
            clear,
            broker: (sealed, broker.len()),
            client: (text, client.len()),
        };
        push(&mut ring, seen);
    }

    /// What [`Meters::saw`] would wait for.
    #[cfg(test)]
    pub(super) const fn seen_ring(&self) -> &Mutex<VecDeque<Seen>> {
        &self.seen
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).iter().rev().cloned().collect()
    }
}

fn push<T>(ring: &mut VecDeque<T>, item: T) {
    if ring.len() >= SHOWN {
        ring.pop_front();
    }
    ring.push_back(item);
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn head(bytes: &[u8]) -> &[u8] {
    bytes.get(..SHOWN_BYTES).unwrap_or(bytes)
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('?');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn readable(bytes: &[u8]) -> String {
    match core::str::from_utf8(bytes) {
        Ok(text) if !text.contains(|c: char| c.is_control()) => text.into(),
        _ => hex(bytes),
    }
}

/// The clock in Unix milliseconds; 0 before 1970.
pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.ok().and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or_default()
}
