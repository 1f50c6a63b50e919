//! Events on their way to the application, in a queue that no link ever waits for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::event::{Event, Message};
use crate::policy::Link;

/// Most events beyond the capacity: what brokers may leave unacknowledged on two links, there
/// being no more packet IDs (MQTT 3.1.1 §2.3.1).
const MAX_EXCESS: usize = 2 * 65_535;

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
    /// Events that were let go since the last one that was kept.
    missed: u64,
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

    // Every change is complete when the lock is released, so a panic elsewhere harms nothing.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::large_enum_variant, reason = "taken apart at once")]
enum Next {
    Event(Event),
    Wait,
    End,
}

impl State {
    fn take(&mut self) -> Next {
        match self.queue.pop_front().or_else(|| self.take_missed()) {
            Some(event) => Next::Event(event),
            None if self.links == 0 => Next::End,
            None => Next::Wait,
        }
    }

    fn take_missed(&mut self) -> Option<Event> {
        let count = core::mem::take(&mut self.missed);
        (count > 0).then_some(Event::Missed { count })
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

    /// Adds an event that must not get lost for want of polling.
    pub(super) fn push(&self, event: Event) {
        self.push_within(event, self.inbox.capacity.saturating_add(MAX_EXCESS));
    }

    /// Adds an event, or counts it if the queue is full.
    pub(super) fn push_or_miss(&self, event: Event) {
        self.push_within(event, self.inbox.capacity);
    }

    /// Counts an event that was not even made.
    pub(super) fn miss(&self) {
        self.inbox.state().miss();
        self.inbox.changed.notify_one();
    }

    fn push_within(&self, event: Event, limit: usize) {
        let mut state = self.inbox.state();
        if state.queue.len() < limit {
            let missed = state.take_missed();
            state.queue.extend(missed);
            state.queue.push_back(event);
        } else {
            state.miss();
        }
        drop(state);
        self.inbox.changed.notify_one();
    }

    /// The connection of `link` ended: its messages can no longer be acknowledged, so no broker
    /// bounds them, and those beyond the capacity are let go.
    pub(super) fn connection_lost(&self, link: Link) {
        let mut state = self.inbox.state();
        let capacity = self.inbox.capacity.min(state.queue.len());
        for event in state.queue.split_off(capacity) {
            if matches!(&event, Event::Message(Message { link: of, .. }) if *of == link) {
                state.miss();
            } else {
                state.queue.push_back(event);
            }
        }
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
