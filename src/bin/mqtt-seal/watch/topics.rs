//! What was seen of each topic: counts, rates, sizes and the last message. Knows no terminal.

use core::time::Duration;
use std::collections::HashMap;
use std::time::Instant;

/// Topics that are kept; the one that was silent for longest goes first.
const MAX_TOPICS: usize = 1_000;
/// Seconds over which a rate is taken.
const WINDOW: u64 = 10;

/// A message from both sides.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) topic: String,
    /// Bytes of the payload on the way.
    pub(super) len: usize,
    /// What the broker sees of it.
    pub(super) broker: String,
    /// What a key holder sees, or why it is rejected.
    pub(super) holder: Result<String, String>,
}

/// Messages of the last seconds, counted for each second.
#[derive(Debug, Default, Clone, Copy)]
struct Rate {
    seconds: [u64; 10],
    /// The newest second, since the start.
    now: u64,
}

impl Rate {
    fn at(mut self, second: u64) -> Self {
        let passed = second.saturating_sub(self.now);
        for gone in 1..=passed.min(WINDOW) {
            *self.slot(self.now.saturating_add(gone)) = 0;
        }
        self.now = self.now.max(second);
        self
    }

    fn slot(&mut self, second: u64) -> &mut u64 {
        let [first, rest @ ..] = &mut self.seconds;
        match usize::try_from(second % WINDOW) {
            Ok(place @ 1..) => rest.get_mut(place.saturating_sub(1)).unwrap_or(first),
            _ => first,
        }
    }

    fn count(&mut self, second: u64) {
        *self = self.at(second);
        let slot = self.slot(second);
        *slot = slot.saturating_add(1);
    }

    /// Messages per second, in tenths.
    fn tenths(self, second: u64) -> u64 {
        self.at(second).seconds.iter().sum()
    }
}

/// One topic.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) last: Seen,
    pub(super) messages: u64,
    pub(super) rejected: u64,
    /// Bytes of all payloads on the way.
    pub(super) bytes: u64,
    rate: Rate,
    touched: u64,
}

/// All topics.
#[derive(Debug)]
pub(super) struct Topics {
    start: Instant,
    rows: HashMap<String, Row>,
    touches: u64,
    pub(super) messages: u64,
    pub(super) rejected: u64,
}

impl Topics {
    pub(super) fn new(start: Instant) -> Self {
        Self { start, rows: HashMap::new(), touches: 0, messages: 0, rejected: 0 }
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs()
    }

    pub(super) fn take(&mut self, seen: Seen, now: Instant) {
        let (second, rejected) = (self.second(now), u64::from(seen.holder.is_err()));
        let len = u64::try_from(seen.len).unwrap_or(u64::MAX);
        self.touches = self.touches.saturating_add(1);
        self.messages = self.messages.saturating_add(1);
        self.rejected = self.rejected.saturating_add(rejected);
        let row = self.rows.entry(seen.topic.clone()).or_insert_with(|| Row {
            last: seen.clone(),
            messages: 0,
            rejected: 0,
            bytes: 0,
            rate: Rate::default(),
            touched: 0,
        });
        row.messages = row.messages.saturating_add(1);
        row.rejected = row.rejected.saturating_add(rejected);
        row.bytes = row.bytes.saturating_add(len);
        row.rate.count(second);
        row.touched = self.touches;
        row.last = seen;
        self.forget();
    }

    fn forget(&mut self) {
        if self.rows.len() > MAX_TOPICS {
            let oldest = self.rows.iter().min_by_key(|(_, row)| row.touched);
            if let Some(topic) = oldest.map(|(topic, _)| topic.clone()) {
                self.rows.remove(&topic);
            }
        }
    }

    /// The `count` topics that were heard last, by name, each with its rate.
    pub(super) fn rows(&self, count: usize, now: Instant) -> Vec<(&Row, String)> {
        let mut rows: Vec<_> = self.rows.values().collect();
        rows.sort_by_key(|row| core::cmp::Reverse(row.touched));
        rows.truncate(count);
        rows.sort_by(|a, b| a.last.topic.cmp(&b.last.topic));
        let second = self.second(now);
        rows.into_iter().map(|row| (row, per_second(row.rate.tenths(second)))).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The time since the start.
    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }
}

impl Row {
    /// Bytes of a payload on average.
    pub(super) fn mean(&self) -> u64 {
        self.bytes.checked_div(self.messages).unwrap_or_default()
    }
}

fn per_second(tenths: u64) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(topic: &str) -> Seen {
        Seen { topic: topic.into(), len: 3, broker: "fc".into(), holder: Ok("27".into()) }
    }

    fn after(topics: &Topics, seconds: u64) -> Instant {
        topics.start.checked_add(Duration::from_secs(seconds)).unwrap()
    }

    fn rate(topics: &Topics, seconds: u64) -> String {
        topics.rows(1, after(topics, seconds)).pop().unwrap().1
    }

    #[test]
    fn rate_is_that_of_the_last_ten_seconds() {
        let mut topics = Topics::new(Instant::now());
        for second in [0, 0, 0, 5, 9] {
            topics.take(seen("a"), after(&topics, second));
        }
        let rates = [9, 10, 15, 18, 19, 500].map(|second| rate(&topics, second));
        assert_eq!(rates, ["0.5", "0.2", "0.1", "0.1", "0.0", "0.0"]);
    }

    #[test]
    fn topics_that_were_silent_for_longest_are_forgotten() {
        let mut topics = Topics::new(Instant::now());
        let now = topics.start;
        for number in 0..MAX_TOPICS {
            topics.take(seen(&number.to_string()), now);
        }
        topics.take(seen("0"), now);
        topics.take(seen("new"), now);
        assert_eq!(topics.len(), MAX_TOPICS);
        let kept: Vec<_> =
            topics.rows(MAX_TOPICS, now).into_iter().map(|(row, _)| &row.last.topic).collect();
        assert!(kept.contains(&&"0".to_owned()) && !kept.contains(&&"1".to_owned()));
        assert_eq!(topics.messages, 1_002);
    }

    #[test]
    fn few_rows_are_the_newest_by_name() {
        let mut topics = Topics::new(Instant::now());
        for topic in ["c", "a", "b"] {
            topics.take(seen(topic), topics.start);
        }
        let rows = topics.rows(2, topics.start);
        assert_eq!(
            rows.iter().map(|(row, _)| row.last.topic.as_str()).collect::<Vec<_>>(),
            ["a", "b"]
        );
    }
}
