//! Messages under keys that may be on their way: few, for a short time. Knows no keys.

use core::mem;
use core::time::Duration;
use std::collections::VecDeque;
use std::vec::Vec;

use bytes::Bytes;
use tokio::time::Instant;

use crate::client::protocol::Received;

// SPEC §10, "copies (at most 32, 1 MiB, 30 s)"
const MAX_COPIES: usize = 32;
const MAX_BYTES: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// The copies, oldest first.
#[derive(Debug, Default)]
pub(in crate::client::link) struct Kept {
    copies: VecDeque<Copy>,
    bytes: usize,
}

/// A message that was acknowledged to its broker.
#[derive(Debug)]
pub(super) struct Copy {
    received: Received,
    bytes: usize,
    /// `None` if the clock has no such moment: it goes when room is needed.
    until: Option<Instant>,
}

impl Copy {
    pub(super) const fn received(&self) -> &Received {
        &self.received
    }

    pub(super) fn into_received(self) -> Received {
        self.received
    }
}

impl Kept {
    /// Keeps a message; returns those that it takes the place of. A repetition is no other message.
    pub(super) fn keep(&mut self, received: &Received, now: Instant) -> Vec<Received> {
        let is_same = |copy: &Copy| {
            copy.received.topic == received.topic && copy.received.payload == received.payload
        };
        if self.copies.iter().any(is_same) {
            return Vec::new();
        }
        let bytes = size(received);
        if bytes > MAX_BYTES {
            // the others stay: anybody can send one of these
            return Vec::from([copied(received)]);
        }
        let until = now.checked_add(PATIENCE);
        let copy = Copy { bytes, until, received: copied(received) };
        self.put_back(copy);
        let mut gone = Vec::new();
        while self.copies.len() > MAX_COPIES || self.bytes > MAX_BYTES {
            gone.extend(self.take_first());
        }
        gone
    }

    /// When the oldest has waited long enough.
    pub(in crate::client::link) fn ends(&self) -> Option<Instant> {
        self.copies.front()?.until
    }

    /// Takes out what has waited long enough.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Vec<Received> {
        let mut gone = Vec::new();
        while self.ends().is_some_and(|end| end <= now) {
            gone.extend(self.take_first());
        }
        gone
    }

    /// Takes out all, in their order.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Copy> + use<> {
        self.bytes = 0;
        mem::take(&mut self.copies).into_iter()
    }

    /// Adds one behind the others.
    pub(super) fn put_back(&mut self, copy: Copy) {
        self.bytes = self.bytes.saturating_add(copy.bytes);
        self.copies.push_back(copy);
    }

    fn take_first(&mut self) -> Option<Received> {
        let copy = self.copies.pop_front()?;
        self.bytes = self.bytes.saturating_sub(copy.bytes);
        Some(copy.received)
    }
}

/// Bytes in memory, about.
fn size(received: &Received) -> usize {
    let properties = received.properties.iter().map(|property| property.encoded_len());
    let len = received.topic.len().saturating_add(received.payload.len());
    properties.fold(len, usize::saturating_add)
}

/// A copy that does not hold on to what else came with the message.
fn copied(received: &Received) -> Received {
    Received {
        topic: Bytes::copy_from_slice(&received.topic),
        properties: received.properties.clone(),
        payload: Bytes::copy_from_slice(&received.payload),
        ..*received
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::properties::Properties;
    use crate::guard::QoS;
    use std::vec;

    const NONE: [usize; 0] = [];

    /// A message whose topic is a number.
    fn numbered(number: usize, len: usize) -> Received {
        Received {
            topic: std::format!("{number}").into(),
            properties: Properties::default(),
            payload: vec![7; len].into(),
            qos: QoS::AtLeastOnce,
            retain: false,
            dup: false,
            id: 1,
        }
    }

    fn keep(kept: &mut Kept, number: usize, len: usize) -> Vec<usize> {
        numbers(kept.keep(&numbered(number, len), Instant::now()))
    }

    fn numbers(messages: impl IntoIterator<Item = Received>) -> Vec<usize> {
        let number = |message: Received| str::from_utf8(&message.topic).unwrap().parse().unwrap();
        messages.into_iter().map(number).collect()
    }

    #[test]
    fn oldest_goes_when_there_are_more_than_32() {
        let mut kept = Kept::default();
        for number in 0..32 {
            assert_eq!(keep(&mut kept, number, 10), NONE);
        }
        assert_eq!(keep(&mut kept, 32, 10), [0]);
        assert_eq!(keep(&mut kept, 33, 10), [1]);
        let left = numbers(kept.take_all().map(Copy::into_received));
        assert_eq!(left, (2..34).collect::<Vec<_>>());
    }

    #[test]
    fn oldest_go_when_there_is_more_than_1_mib() {
        let mut kept = Kept::default();
        assert_eq!(keep(&mut kept, 0, 500_000), NONE);
        assert_eq!(keep(&mut kept, 1, 500_000), NONE);
        assert_eq!(keep(&mut kept, 2, 600_000), [0, 1]);
        // one that is too large on its own takes no other with it
        assert_eq!(keep(&mut kept, 3, 2_000_000), [3]);
        assert_eq!(keep(&mut kept, 4, 1_000_000), [2]);
    }

    #[test]
    fn repetition_takes_no_room() {
        let mut kept = Kept::default();
        for _ in 0..100 {
            assert_eq!(keep(&mut kept, 0, 10), NONE);
        }
        assert_eq!(numbers(kept.take_all().map(Copy::into_received)), [0]);
    }

    #[test]
    fn message_goes_when_its_time_is_over() {
        let mut kept = Kept::default();
        let start = Instant::now();
        let after = |seconds| start.checked_add(Duration::from_secs(seconds)).unwrap();
        for number in 0..3 {
            kept.keep(&numbered(number, 10), after(u64::try_from(number).unwrap()));
        }
        assert_eq!(numbers(kept.take_overdue(after(29))), NONE);
        assert_eq!(kept.ends(), Some(after(30)));
        assert_eq!(numbers(kept.take_overdue(after(31))), [0, 1]);
        // one that was tried in between keeps its time
        for copy in kept.take_all() {
            kept.put_back(copy);
        }
        assert_eq!(numbers(kept.take_overdue(after(32))), [2]);
        assert_eq!(kept.ends(), None);
    }
}
