//! What was accepted and is not acknowledged: waiting, handed over, on its way. Knows no network.

use core::mem;
use std::collections::VecDeque;
use std::string::String;
use std::vec::Vec;

use super::entry::{Entry, Limits};
use super::error::ClientError;
use super::protocol::{Publish, Request, SUBSCRIBE_PROPERTIES, subscribe_len};
use crate::guard::{GuardTx, QoS};

/// A packet that is to go out, in its order.
pub(super) enum Item {
    Publish(Entry),
    Subscribe {
        filter: String,
        qos: QoS,
    },
    Unsubscribe {
        filter: String,
    },
    /// The subscription of the authority's answers.
    Listen {
        filter: String,
    },
    /// A message of a run of peer authentication, at `QoS` 0.
    Record {
        topic: String,
        payload: Vec<u8>,
    },
}

impl Item {
    pub(super) fn request(&self) -> Request<'_> {
        match self {
            Self::Publish(entry) => Request::Publish(entry.publish()),
            Self::Subscribe { filter, qos } => Request::Subscribe { filter, qos: *qos },
            Self::Unsubscribe { filter } => Request::Unsubscribe { filter },
            Self::Listen { filter } => Request::Subscribe { filter, qos: QoS::AtMostOnce },
            Self::Record { topic, payload } => Request::Publish(Publish {
                topic,
                qos: QoS::AtMostOnce,
                retain: false,
                payload,
                attached: None,
            }),
        }
    }

    /// Makes it ready to go out: seals a message that was not sealed yet.
    pub(super) fn seal(&mut self, guard: &mut GuardTx, limits: Limits) -> Result<(), ClientError> {
        match self {
            Self::Publish(entry) => entry.seal(guard, limits),
            // the broker's limit is one of MQTT 5
            Self::Subscribe { filter, .. } | Self::Unsubscribe { filter } => {
                limits.check(subscribe_len(filter.len()).saturating_add(SUBSCRIBE_PROPERTIES))
            }
            Self::Listen { .. } | Self::Record { .. } => Ok(()),
        }
    }

    fn takes_id(&self) -> bool {
        match self {
            Self::Publish(entry) => entry.qos != QoS::AtMostOnce,
            Self::Record { .. } => false,
            Self::Subscribe { .. } | Self::Unsubscribe { .. } | Self::Listen { .. } => true,
        }
    }

    /// Whether it belongs to peer authentication, before which nothing else goes out.
    pub(super) const fn is_control(&self) -> bool {
        matches!(self, Self::Listen { .. } | Self::Record { .. })
    }

    fn is_message_on(&self, topic: &str) -> bool {
        matches!(self, Self::Publish(entry) if entry.topic == topic)
    }

    /// Whether it is a value to be retained that was sealed before, perhaps under other keys.
    pub(super) fn is_sealed_value(&self) -> bool {
        matches!(self, Self::Publish(entry) if entry.retain && entry.session().is_some())
    }

    fn is_qos2(&self) -> bool {
        matches!(self, Self::Publish(entry) if entry.qos == QoS::ExactlyOnce)
    }

    fn outlives_connection(&self) -> bool {
        self.is_publish() && self.takes_id()
    }

    fn is_publish(&self) -> bool {
        matches!(self, Self::Publish(_) | Self::Record { .. })
    }
}

/// How much may be on its way at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// Packets handed over and not done with.
    pub(super) packets: usize,
    /// The same, while one of them is a message of `QoS` 2.
    pub(super) packets_with_qos2: usize,
    /// Packet IDs that the client goes through before it begins again with the first.
    pub(super) ids: u16,
}

/// The order of what was handed over is not what the client reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutOfStep;

/// What goes out over one link, from acceptance to acknowledgement.
///
/// MQTT clients give out packet IDs in a circle. rumqttc gives out the next one even if it is
/// still in use by a PUBREL, which a broker takes for a repetition: no more IDs are taken than
/// the circle has, counted from the oldest that is in use.
///
/// Brokers bound what a client has on its way: Mosquitto keeps count of `QoS` 2 messages that are
/// not complete, and over its limit ends the connection, or answers a `QoS` 1 message with PUBACK
/// and forgets it. MQTT 3.1.1 does not tell the limit, so the window is narrower while there are
/// messages of `QoS` 2 in it. MQTT 5 tells it, and no window is wider than that.
pub(super) struct Outbox {
    waiting: VecDeque<Item>,
    flying: VecDeque<Flying>,
    /// IDs taken on this connection.
    taken: u64,
    window: Window,
    /// What the broker of this connection allows at a time.
    allowed: usize,
}

struct Flying {
    /// How many IDs were taken before.
    turn: u64,
    /// The packet ID, once the packet went out.
    id: Option<u16>,
    item: Item,
}

impl Outbox {
    pub(super) const fn new(window: Window) -> Self {
        Self {
            waiting: VecDeque::new(),
            flying: VecDeque::new(),
            taken: 0,
            window,
            allowed: usize::MAX,
        }
    }

    /// There is a connection, whose broker allows so many messages at a time.
    pub(super) fn connected(&mut self, receive_max: Option<u16>) {
        self.allowed = receive_max.map_or(usize::MAX, |max| usize::from(max.max(1)));
    }

    /// Whether everything is acknowledged.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.flying.is_empty()
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.waiting.push_back(Item::Publish(entry));
    }

    /// Adds a SUBSCRIBE or UNSUBSCRIBE, behind others of its kind and before messages.
    pub(super) fn push_request(&mut self, item: Item) {
        let at = self.waiting.iter().take_while(|item| item.is_control() || !item.is_publish());
        self.waiting.insert(at.count(), item);
    }

    /// Adds a part of peer authentication, behind others and before everything else.
    pub(super) fn push_control(&mut self, item: Item) {
        let at = self.waiting.iter().take_while(|item| item.is_control());
        self.waiting.insert(at.count(), item);
    }

    /// Whether a message on this topic waits or is on its way.
    pub(super) fn has_message_on(&self, topic: &str) -> bool {
        let flying = self.flying.iter().map(|flying| &flying.item);
        flying.chain(&self.waiting).any(|item| item.is_message_on(topic))
    }

    /// Whether a value to be retained on this topic waits.
    pub(super) fn has_retained_waiting_on(&self, topic: &str) -> bool {
        let retained = |item: &Item| matches!(item, Item::Publish(entry) if entry.retain);
        self.waiting.iter().any(|item| item.is_message_on(topic) && retained(item))
    }

    /// Takes out the messages on this topic that wait, for good.
    pub(super) fn forget_messages_on(&mut self, topic: &str) {
        self.waiting.retain(|item| !item.is_message_on(topic));
    }

    /// Whether parts of peer authentication wait to be handed over.
    pub(super) fn has_control(&self) -> bool {
        self.waiting.front().is_some_and(Item::is_control)
    }

    /// What is to be handed over next, if there is room on the way.
    pub(super) fn next(&mut self) -> Option<&mut Item> {
        let room = self.waiting.front().is_some_and(|item| self.has_room_for(item));
        self.waiting.front_mut().filter(|_| room)
    }

    /// Takes the next one out, for good.
    pub(super) fn discard_next(&mut self) -> Option<Item> {
        self.waiting.pop_front()
    }

    /// The next one was handed over.
    pub(super) fn handed_over(&mut self) {
        let Some(mut item) = self.waiting.pop_front() else {
            return;
        };
        if let Item::Publish(entry) = &mut item {
            entry.leave_queue();
        }
        let turn = self.taken;
        self.taken = turn.saturating_add(u64::from(item.takes_id()));
        self.flying.push_back(Flying { turn, id: None, item });
    }

    /// A PUBLISH went out: the oldest of which this was not reported yet. At `QoS` 0 that is its
    /// end, and it is returned.
    pub(super) fn published(&mut self, id: u16) -> Result<Option<Item>, OutOfStep> {
        self.went_out(id, Item::is_publish)
    }

    /// A SUBSCRIBE or UNSUBSCRIBE went out.
    pub(super) fn requested(&mut self, id: u16) -> Result<(), OutOfStep> {
        self.went_out(id, |item| !item.is_publish()).map(drop)
    }

    fn went_out(
        &mut self,
        id: u16,
        expected: impl Fn(&Item) -> bool,
    ) -> Result<Option<Item>, OutOfStep> {
        let at = self.flying.iter().position(|flying| flying.id.is_none());
        let at = at.ok_or(OutOfStep)?;
        let flying = self.flying.get_mut(at).ok_or(OutOfStep)?;
        if !expected(&flying.item) || flying.item.takes_id() != (id != 0) {
            return Err(OutOfStep);
        }
        if id == 0 {
            return Ok(self.flying.remove(at).map(|flying| flying.item));
        }
        flying.id = Some(id);
        Ok(None)
    }

    /// The broker answered for a PUBLISH: it is done with.
    pub(super) fn acknowledged(&mut self, id: u16) -> Option<Item> {
        self.done(id, Item::is_publish)
    }

    /// The broker answered a SUBSCRIBE or UNSUBSCRIBE.
    pub(super) fn answered(&mut self, id: u16) -> Option<Item> {
        self.done(id, |item| !item.is_publish())
    }

    fn done(&mut self, id: u16, expected: impl Fn(&Item) -> bool) -> Option<Item> {
        let matching = |flying: &Flying| flying.id == Some(id) && expected(&flying.item);
        let at = self.flying.iter().position(matching)?;
        self.flying.remove(at).map(|flying| flying.item)
    }

    /// The connection is gone: messages of `QoS` 1 and 2 that are not acknowledged wait again,
    /// before all others and in their order. What ends with the connection is returned: messages
    /// of `QoS` 0, and requests, which are made anew by whoever keeps them.
    pub(super) fn connection_lost(&mut self) -> VecDeque<Item> {
        let flying = mem::take(&mut self.flying).into_iter().map(|flying| flying.item);
        let all = flying.chain(mem::take(&mut self.waiting));
        let (kept, ended) = all.partition(Item::outlives_connection);
        self.waiting = kept;
        self.taken = 0;
        ended
    }

    fn has_room_for(&self, item: &Item) -> bool {
        let mut flying = self.flying.iter().map(|flying| &flying.item);
        let packets = if item.is_qos2() || flying.any(Item::is_qos2) {
            self.window.packets_with_qos2
        } else {
            self.window.packets
        };
        let oldest = self.flying.front().map_or(self.taken, |first| first.turn);
        let ids = self.taken.saturating_sub(oldest);
        self.flying.len() < packets.min(self.allowed) && ids < u64::from(self.window.ids)
    }
}

#[cfg(test)]
mod tests;
