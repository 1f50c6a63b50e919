//! Key updates on a connection: asked for, taken, acknowledged; and the messages that wait for
//! their keys. Knows no keys.

mod kept;

use core::time::Duration;
use std::sync::Arc;
use std::vec::Vec;

use tokio::time::Instant;

use super::receive::Unopened;
use super::{Parts, Worker};
use crate::client::connection::Connection;
use crate::client::entry::Entry;
use crate::client::error::LinkError;
use crate::client::event::Event;
use crate::client::log::Mark;
use crate::client::outbox::Item;
use crate::client::protocol::{Dial, Received};
use crate::client::updates::{Outcome, Updates};
use crate::guard::{OpenError, QoS};
use crate::replay::Rejected;
use crate::update::UpdateError;
pub(super) use kept::Kept;

/// How long until an update is asked for again that could not be taken.
const AGAIN: Duration = Duration::from_secs(30);

impl<D: Dial> Worker<D> {
    /// Whether nothing but key updates is on a topic; what is there is never delivered.
    pub(super) fn is_key_topic(&self, topic: &[u8]) -> bool {
        self.parts.updates.as_ref().is_some_and(|updates| updates.has_topic(topic))
    }

    /// The updates, if this is the link that they come by.
    fn own_updates(&self) -> Option<&Arc<Updates>> {
        self.parts.updates.as_ref().filter(|updates| updates.is_at_home(self.parts.link))
    }

    /// Traffic may pass: the newest update is asked for. A broker sends what it retains at every
    /// request.
    pub(super) fn ask_for_updates(&mut self, connection: &mut Connection<D::Requests>) {
        let Some(updates) = self.own_updates().map(Arc::clone) else { return };
        connection.due.withheld = Instant::now().checked_add(updates.grace());
        self.push_request_for(&updates);
    }

    fn push_request_for(&mut self, updates: &Updates) {
        let filter = updates.topics().keys().into();
        self.parts.outbox.push_request(Item::Subscribe { filter, qos: QoS::AtLeastOnce });
    }

    /// A moment came that has to do with updates.
    pub(super) async fn updates_due(&mut self, connection: &mut Connection<D::Requests>) {
        let Some(updates) = self.own_updates().map(Arc::clone) else { return };
        let now = Instant::now();
        if connection.due.again.take_if(|due| *due <= now).is_some() {
            self.push_request_for(&updates);
        }
        if connection.due.withheld.take_if(|due| *due <= now).is_some()
            && let Some(withheld) = updates.withheld().await
        {
            let link = self.parts.link;
            let _ = self.parts.feed.push(Event::UpdateWithheld { link, withheld });
        }
    }

    /// Takes what came on a topic of updates. The broker is told at once: it keeps the update.
    pub(super) async fn take_update(
        &mut self,
        connection: &mut Connection<D::Requests>,
        received: &Received,
    ) -> Result<(), LinkError> {
        if received.qos != QoS::AtMostOnce {
            connection.acks.push_back((received.id, received.qos, Mark::default()));
        }
        let Some(updates) = self.own_updates().map(Arc::clone) else { return Ok(()) };
        if received.topic != updates.topics().keys().as_bytes() {
            return Ok(());
        }
        let (payload, retain) = (received.payload.clone(), received.retain);
        let outcome = updates.take_in_turn(payload, retain).await;
        self.updated(connection, outcome);
        Ok(())
    }

    fn updated(&mut self, connection: &mut Connection<D::Requests>, outcome: Outcome) {
        let link = self.parts.link;
        match outcome {
            Outcome::InForce { serial, pins, ack } => {
                #[cfg(feature = "tls")]
                if let Some(peer) = &mut self.parts.peer {
                    peer.keys_named(&pins);
                }
                let _ = self.parts.feed.push(Event::KeysUpdated { link, serial, pins });
                self.acknowledge_update(connection, ack);
            }
            // one that is on its way says the same
            Outcome::Known { ack } if !self.acknowledges() => {
                self.acknowledge_update(connection, ack);
            }
            // neither is an attack (SPEC §7.2)
            Outcome::Known { .. }
            | Outcome::Refused(UpdateError::Rejected(Rejected::Duplicate)) => {}
            Outcome::Refused(reason) => {
                if reason == UpdateError::Rejected(Rejected::NotFresh) {
                    // the clock may be set by then
                    connection.due.again = Instant::now().checked_add(AGAIN);
                }
                self.parts.feed.push_or_miss(Event::UpdateRefused { link, reason });
            }
            Outcome::RolledBack { reason, ack } => {
                if ack.is_some() && !self.acknowledges() {
                    self.acknowledge_update(connection, ack);
                }
                self.parts.feed.push_or_miss(Event::UpdateRefused { link, reason });
            }
            Outcome::NotStored(error) => {
                connection.due.again = Instant::now().checked_add(AGAIN);
                let _ = self.parts.feed.push(Event::UpdateNotStored { error });
            }
        }
    }

    /// Whether an acknowledgement waits or is on its way.
    fn acknowledges(&self) -> bool {
        let topic = self.own_updates().map(|updates| updates.topics().acknowledgements());
        topic.is_some_and(|topic| self.parts.outbox.has_message_on(topic))
    }

    fn acknowledge_update(
        &mut self,
        connection: &mut Connection<D::Requests>,
        ack: Option<Vec<u8>>,
    ) {
        let Some(updates) = self.own_updates() else { return };
        let topic = updates.topics().acknowledgements().into();
        match ack {
            // a broker that keeps the session may remember packet IDs
            Some(payload)
                if updates.is_persistent() || connection.limits.max_qos == QoS::AtMostOnce =>
            {
                self.parts.outbox.push_control(Item::Record { topic, payload });
            }
            Some(payload) => {
                self.parts.outbox.push(Entry::ready(topic, QoS::AtLeastOnce, payload));
            }
            None => connection.due.again = Instant::now().checked_add(AGAIN),
        }
    }

    /// Keeps a message that was acknowledged, until its key comes.
    pub(super) fn keep_for_its_key(&mut self, received: &Received) {
        let gone = self.kept.keep(received, Instant::now());
        self.reject_all(gone);
    }

    /// Opens what waits for keys, in its order; what is still unknown waits on.
    pub(super) async fn reopen(&mut self) -> Result<(), LinkError> {
        for copy in self.kept.take_all() {
            match self.open(copy.received(), None).await {
                Ok(message) if message.qos == QoS::AtMostOnce => {
                    self.parts.feed.push_or_miss(Event::Message(message));
                }
                // counted where not even this has room
                Ok(message) => drop(self.parts.feed.push(Event::Message(message))),
                Err(Unopened::LogFailed) => return Err(LinkError::ReplayLog),
                Err(Unopened::Refused(OpenError::UnknownKey)) => self.kept.put_back(copy),
                Err(Unopened::Refused(reason)) => {
                    self.parts.feed.push_or_miss(self.rejected(copy.received(), reason));
                }
            }
        }
        Ok(())
    }

    /// Gives up what has waited too long.
    pub(super) fn reject_overdue(&mut self) {
        let gone = self.kept.take_overdue(Instant::now());
        self.reject_all(gone);
    }
}

impl<D> Worker<D> {
    /// The connection is gone: with the next one the update comes again, and is acknowledged again.
    pub(super) fn forget_acknowledgement(&mut self) {
        let Parts { outbox, updates, .. } = &mut self.parts;
        if let Some(updates) = updates {
            outbox.forget_messages_on(updates.topics().acknowledgements());
        }
    }

    /// Gives up all that waits.
    pub(super) fn reject_kept(&mut self) {
        let gone = self.kept.take_all().map(kept::Copy::into_received).collect();
        self.reject_all(gone);
    }

    fn reject_all(&self, gone: Vec<Received>) {
        for received in gone {
            let rejected = self.rejected(&received, OpenError::UnknownKey);
            self.parts.feed.push_or_miss(rejected);
        }
    }
}
