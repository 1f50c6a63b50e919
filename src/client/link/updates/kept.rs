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
        let until = now.checked_add(PATIENCE);
        let copy = Copy { bytes: size(received), until, received: copied(received) };
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
