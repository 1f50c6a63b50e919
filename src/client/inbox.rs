//! Events on their way to the application, in a queue that no link ever waits for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::event::{Event, Message};
use crate::policy::Link;

/// Most events beyond the capacity: what brokers may leave unacknowledged on two links, there
/// being no more packet IDs (MQTT 3.1.1 §2.3.1).
const MAX_EXCESS: usize = 2 * 65_535;

/// Bytes of messages that may wait for the application, over all links: 64 MiB. A broker that sends
/// on without acknowledgements is stopped here.
pub(super) const MAX_BYTES: usize = 64 << 20;

/// The queue of all links.
///
/// Links go on whether or not the application polls: if they waited, a task that both publishes
/// and polls could wait for itself. So the queue is bounded by letting go: of `QoS` 0 messages and
/// of rejections once it is full, counted. Messages of `QoS` 1 and 2 are bounded by the broker,
/// which sends only so many before it has an acknowledgement.
#[derive(Debug)]
pub(super) struct Inbox {
    state: Mutex<State>,
    changed: Notify,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Event>,
    /// Of the messages in the queue.
    bytes: usize,
    /// Events that were let go since the last one that was kept.
    missed: u64,
    /// Messages of `QoS` 0 that were not sent, since that was told last.
    dropped: u64,
    /// Links that are not ended.
    links: usize,
}

/// A link's place at the inbox; the inbox ends when all are gone.
#[derive(Debug)]
pub(super) struct Feed {
    inbox: Arc<Inbox>,
}

impl Inbox {
    pub(super) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changed: Notify::new(), capacity })
    }

    pub(super) fn feed(self: &Arc<Self>) -> Feed {
        let links = &mut self.state().links;
        *links = links.saturating_add(1);
        Feed { inbox: Arc::clone(self) }
    }

    /// The next event; `None` when all links ended and nothing is left. Cancel safe.
    pub(super) async fn next(&self) -> Option<Event> {
        loop {
            match self.state().take() {
                Next::Event(event) => return Some(event),
                Next::End => return None,
                Next::Wait => {}
            }
            self.changed.notified().await;
        }
    }

    /// Adds an event, or counts it if the queue is full.
    pub(super) fn push_or_miss(&self, event: Event) {
        let _ = self.push_within(event, self.capacity);
    }

    /// Adds an event that must not get lost for want of polling; `false` if there is no room for a
    /// message even so, which is counted.
    pub(super) fn push(&self, event: Event) -> bool {
        self.push_within(event, self.capacity.saturating_add(MAX_EXCESS))
    }

    /// Counts a message of `QoS` 0 that is not sent.
    pub(super) fn dropped(&self) {
        let mut state = self.state();
        state.dropped = state.dropped.saturating_add(1);
        drop(state);
        self.changed.notify_one();
    }

    /// Whether the event was kept.
    fn push_within(&self, event: Event, limit: usize) -> bool {
        let mut state = self.state();
        let bytes = state.bytes.saturating_add(size(&event));
        let kept = state.queue.len() < limit && bytes <= MAX_BYTES;
        if kept {
            state.bytes = bytes;
            let missed = state.take_missed();
            let dropped = state.take_dropped();
            state.queue.extend(missed.into_iter().chain(dropped));
            state.queue.push_back(event);
        } else {
            state.miss();
        }
        drop(state);
        self.changed.notify_one();
        kept
    }

    // Every change is complete when the lock is released, so a panic elsewhere harms nothing.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::large_enum_variant, reason = "moved once, from the queue to whoever polls")]
enum Next {
    Event(Event),
    Wait,
    End,
}

impl State {
    fn take(&mut self) -> Next {
        match self.queue.pop_front().or_else(|| self.take_missed()).or_else(|| self.take_dropped())
        {
            Some(event) => {
                self.bytes = self.bytes.saturating_sub(size(&event));
                Next::Event(event)
            }
            None if self.links == 0 => Next::End,
            None => Next::Wait,
        }
    }

    fn take_missed(&mut self) -> Option<Event> {
        let count = core::mem::take(&mut self.missed);
        (count > 0).then_some(Event::Missed { count })
    }

    fn take_dropped(&mut self) -> Option<Event> {
        let count = core::mem::take(&mut self.dropped);
        (count > 0).then_some(Event::Dropped { count })
    }

    fn miss(&mut self) {
        self.missed = self.missed.saturating_add(1);
    }
}

impl Feed {
    /// Whether an event that may be let go is kept.
    pub(super) fn has_room(&self) -> bool {
        self.inbox.state().queue.len() < self.inbox.capacity
    }

    /// As [`Inbox::push`].
    pub(super) fn push(&self, event: Event) -> bool {
        self.inbox.push(event)
    }

    /// Adds an event, or counts it if the queue is full.
    pub(super) fn push_or_miss(&self, event: Event) {
        self.inbox.push_or_miss(event);
    }

    /// Counts a message of `QoS` 0 that is not sent.
    pub(super) fn dropped(&self) {
        self.inbox.dropped();
    }

    /// Counts an event that was not even made.
    pub(super) fn miss(&self) {
        self.inbox.state().miss();
        self.inbox.changed.notify_one();
    }

    /// The connection of `link` ended: its messages can no longer be acknowledged, so no broker
    /// bounds them, and those beyond the capacity are let go. What was acknowledged before it was
    /// opened stays: it does not come again.
    pub(super) fn connection_lost(&self, link: Link) {
        let mut state = self.inbox.state();
        let capacity = self.inbox.capacity.min(state.queue.len());
        for event in state.queue.split_off(capacity) {
            if matches!(&event, Event::Message(Message { receipt: Some(receipt), .. }) if receipt.link == link)
            {
                state.bytes = state.bytes.saturating_sub(size(&event));
                state.miss();
            } else {
                state.queue.push_back(event);
            }
        }
    }
}

/// What a message keeps in memory, about; other events are small.
fn size(event: &Event) -> usize {
    match event {
        Event::Message(message) => message.topic.len().saturating_add(message.payload.len()),
        _ => 0,
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut state = self.inbox.state();
        state.links = state.links.saturating_sub(1);
        drop(state);
        self.inbox.changed.notify_one();
    }
}

#[cfg(test)]
mod tests;
