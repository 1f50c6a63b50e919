//! What the application holds: the client that asks and the event loop that tells.

use core::fmt;
use core::marker::PhantomData;
use std::collections::HashMap;
use std::string::String;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use super::accept::Lane;
use super::entry::Entry;
use super::error::ClientError;
use super::event::{Event, Message, Receipt};
use super::guards::Guards;
use super::inbox::Inbox;
use super::journal::Journal;
use super::link::Command;
use super::log::Mark;
use super::options::Settings;
use super::properties::Attached;
use super::protocol::subscribe_len;
use super::ticket::Ticket;
use super::updates::UpdatesTask;
use super::will::Will;
use super::{counters::Renewals, reply};
use crate::guard::QoS;
use crate::policy::{Link, Links, Policy};
use crate::topic::TopicFilter;
use crate::wire::inner::Kind;

/// Asks the links: publishes, subscribes, acknowledges. A clone asks the same links. `V` is the
/// version of the MQTT client.
///
/// The links run as tasks of their own until [`AsyncClient::disconnect`], or until the event loop
/// and all clients are dropped. So nothing here waits for the application to poll, and a task may
/// publish and poll in turn. Dropping the last of them gives up what was accepted and not sent, and
/// brokers publish the wills: [`AsyncClient::disconnect`] and poll to the end to lose nothing.
pub struct AsyncClient<V> {
    shared: Arc<Shared>,
    version: PhantomData<fn() -> V>,
}

/// Tells what happened on all links.
///
/// Poll it: links go on without, but up to [`event_capacity`](super::ClientOptions::event_capacity)
/// events are kept. Of more, messages of `QoS` 0 and rejections are let go and counted
/// ([`Event::Missed`]); messages of `QoS` 1 and 2 are kept while their connection lives, and the
/// broker sends only so many before it has an acknowledgement.
pub struct EventLoop {
    inbox: Arc<Inbox>,
    shared: Arc<Shared>,
    auto_ack: bool,
    /// The message that counts as dealt with at the next poll.
    delivered: Option<Receipt>,
}

/// What all handles have in common.
pub(super) struct Shared {
    pub(super) guards: Guards,
    pub(super) renewals: Renewals,
    pub(super) inbox: Arc<Inbox>,
    /// Of a durable outbox.
    pub(super) journal: Option<Journal>,
    /// The filters that are subscribed, and where.
    pub(super) filters: Mutex<HashMap<String, Link>>,
    pub(super) wills: Vec<(Link, Arc<Will>)>,
    pub(super) settings: Settings,
    /// The topics of peer authentication.
    pub(super) auth_topics: Option<[String; 2]>,
    pub(super) updates: Option<UpdatesTask>,
    pub(super) links: Links,
    pub(super) tcp: Option<Lane>,
    pub(super) tls: Option<Lane>,
    pub(super) max_packet: usize,
    /// Whether it only subscribes, in a session that the broker keeps.
    pub(super) persistent: bool,
    /// Whether messages have properties: since MQTT 5.
    pub(super) has_properties: bool,
}

impl Shared {
    pub(super) fn lane(&self, link: Link) -> Option<&Lane> {
        match link {
            Link::Tcp => self.tcp.as_ref(),
            Link::Tls => self.tls.as_ref(),
        }
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.tcp.iter().chain(&self.tls)
    }

    /// The one link of a filter.
    fn subscribe_lane(&self, filter: &str, qos: QoS) -> Result<&Lane, ClientError> {
        if self.persistent && qos == QoS::ExactlyOnce {
            return Err(ClientError::SubscriberQoS);
        }
        if self.is_key_topic(filter) {
            return Err(ClientError::KeyTopic);
        }
        let filter = TopicFilter::parse(filter).map_err(ClientError::Filter)?;
        let link = self.policy(|policy| policy.subscribe_link(filter, self.links));
        let link = link.map_err(ClientError::Subscribe)?;
        self.fits(subscribe_len(filter.as_str().len()))?;
        self.lane(link).ok_or(ClientError::Closed)
    }

    /// Whether a topic or filter is one of key updates.
    pub(super) fn is_key_topic(&self, text: &str) -> bool {
        self.updates.as_ref().is_some_and(|task| task.updates.has_topic(text.as_bytes()))
    }

    /// Asks the policy in force.
    pub(super) fn policy<T>(&self, ask: impl FnOnce(&Policy) -> T) -> T {
        ask(self.guards.config().policy())
    }

    // every change is complete when the lock is released
    pub(super) fn filters(&self) -> MutexGuard<'_, HashMap<String, Link>> {
        self.filters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fits(&self, len: usize) -> Result<(), ClientError> {
        let max = self.max_packet;
        if len > max { Err(ClientError::TooLarge { len, max }) } else { Ok(()) }
    }
}

impl<V> AsyncClient<V> {
    pub(super) const fn with(shared: Arc<Shared>) -> Self {
        Self { shared, version: PhantomData }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The same without keeping the links.
    #[cfg(feature = "serde")]
    pub(super) fn downgrade(&self) -> std::sync::Weak<Shared> {
        Arc::downgrade(&self.shared)
    }

    /// Accepts a message for publishing, and returns when it is accepted with a [`Ticket`] that
    /// tells how it ends; drop the ticket if nobody wants to know.
    ///
    /// At `QoS` 1 and 2 it waits while the outbox is full. The message is sealed when it is first
    /// sent, and sent again as the same bytes until the broker has acknowledged it. With a
    /// [durable outbox](super::ClientOptions::durable_outbox) it is sealed and stored before this
    /// returns, and sent after a restart too.
    ///
    /// At `QoS` 0 it never waits: while the link is down or the outbox full the message is let go,
    /// which its ticket and [`Event::Dropped`] tell. Otherwise it keeps its turn among the others
    /// and is sent once, or let go with its connection.
    ///
    /// Cancel safe: a message is accepted as a whole or not at all.
    ///
    /// # Errors
    /// [`ClientError::AuthTopic`], [`ClientError::KeyTopic`], [`ClientError::Seal`], [`ClientError::TooLarge`], [`ClientError::Closed`],
    /// [`ClientError::NotStored`], in this order; nothing was accepted then, and the payload is
    /// wiped.
    pub async fn publish(
        &self,
        topic: impl Into<String>,
        qos: QoS,
        retain: bool,
        payload: impl Into<Vec<u8>>,
    ) -> Result<Ticket, ClientError> {
        self.send(self.entry(topic.into(), qos, retain, payload.into())).await
    }

    /// As [`AsyncClient::publish`], without waiting. A durable outbox stores the message after this
    /// returns; the ticket tells if that fails.
    ///
    /// # Errors
    /// As [`AsyncClient::publish`] but for `NotStored`, and [`ClientError::Full`] at `QoS` 1 and 2.
    pub fn try_publish(
        &self,
        topic: impl Into<String>,
        qos: QoS,
        retain: bool,
        payload: impl Into<Vec<u8>>,
    ) -> Result<Ticket, ClientError> {
        self.try_send(self.entry(topic.into(), qos, retain, payload.into()))
    }

    /// Publishes that the topic's value has ended: under a sealed rule an authentic deletion,
    /// which receivers see as [`Message::is_deletion`]. With `retain` the broker keeps that in the
    /// place of the value. To make it keep nothing, publish an empty payload with RETAIN: that goes
    /// out as it is, and receivers are told [`Event::Cleared`], which proves nothing.
    ///
    /// Under a clear rule it is an empty message.
    ///
    /// # Errors
    /// As [`AsyncClient::publish`].
    pub async fn delete(
        &self,
        topic: impl Into<String>,
        qos: QoS,
        retain: bool,
    ) -> Result<Ticket, ClientError> {
        self.send(self.deletion(topic.into(), qos, retain)).await
    }

    /// As [`AsyncClient::delete`], without waiting.
    ///
    /// # Errors
    /// As [`AsyncClient::try_publish`].
    pub fn try_delete(
        &self,
        topic: impl Into<String>,
        qos: QoS,
        retain: bool,
    ) -> Result<Ticket, ClientError> {
        self.try_send(self.deletion(topic.into(), qos, retain))
    }

    fn deletion(&self, topic: String, qos: QoS, retain: bool) -> Entry {
        self.entry(topic, qos, retain, Vec::new()).of_kind(Some(Kind::Delete))
    }

    fn entry(&self, topic: String, qos: QoS, retain: bool, payload: Vec<u8>) -> Entry {
        let attached = self.shared.has_properties.then(Attached::default);
        Entry::new(topic, qos, retain, payload).attach(attached)
    }

    pub(super) async fn send(&self, entry: Entry) -> Result<Ticket, ClientError> {
        self.shared.accept(entry).await
    }

    pub(super) fn try_send(&self, entry: Entry) -> Result<Ticket, ClientError> {
        self.shared.try_accept(entry)
    }

    /// The answer to `request`, on its response topic and with its correlation data.
    pub(super) fn answer(
        &self,
        request: &Message,
        qos: QoS,
        payload: Vec<u8>,
    ) -> Result<Entry, ClientError> {
        let links = self.shared.links;
        let topic = self.shared.policy(|policy| reply::topic(policy, links, request));
        let topic = topic.map_err(ClientError::Reply)?;
        let mut attached = Attached::default();
        attached.properties.correlation_data.clone_from(&request.properties.correlation_data);
        Ok(Entry::new(topic.into(), qos, false, payload).attach(Some(attached)))
    }

    /// Subscribes a filter, on the one link that the policy gives it, now and at every new
    /// connection. The broker's answer is an event.
    ///
    /// # Errors
    /// [`ClientError::SubscriberQoS`], [`ClientError::KeyTopic`], [`ClientError::Filter`],
    /// [`ClientError::Subscribe`], [`ClientError::TooLarge`], [`ClientError::Closed`].
    pub async fn subscribe(&self, filter: impl Into<String>, qos: QoS) -> Result<(), ClientError> {
        let filter = filter.into();
        let lane = self.shared.subscribe_lane(&filter, qos)?;
        let asked = (filter.clone(), lane.link);
        lane.send(Command::Subscribe { filter, qos }).await?;
        self.shared.filters().extend([asked]);
        Ok(())
    }

    /// Subscribes several filters, each as [`AsyncClient::subscribe`] does and with an answer of its
    /// own.
    ///
    /// # Errors
    /// As [`AsyncClient::subscribe`]; unless it is `Closed`, none was subscribed.
    pub async fn subscribe_many<F: Into<String>>(
        &self,
        filters: impl IntoIterator<Item = (F, QoS)>,
    ) -> Result<(), ClientError> {
        let filters = filters.into_iter().map(|(filter, qos)| (filter.into(), qos));
        let filters: Vec<(String, QoS)> = filters.collect();
        for (filter, qos) in &filters {
            self.shared.subscribe_lane(filter, *qos)?;
        }
        for (filter, qos) in filters {
            self.subscribe(filter, qos).await?;
        }
        Ok(())
    }

    /// As [`AsyncClient::subscribe`], without waiting.
    ///
    /// # Errors
    /// As [`AsyncClient::subscribe`], and [`ClientError::Full`].
    pub fn try_subscribe(&self, filter: impl Into<String>, qos: QoS) -> Result<(), ClientError> {
        let filter = filter.into();
        let lane = self.shared.subscribe_lane(&filter, qos)?;
        let asked = (filter.clone(), lane.link);
        lane.try_send(Command::Subscribe { filter, qos })?;
        self.shared.filters().extend([asked]);
        Ok(())
    }

    /// Ends the subscription of a filter. The broker's answer is an event.
    ///
    /// # Errors
    /// As [`AsyncClient::subscribe`].
    pub async fn unsubscribe(&self, filter: impl Into<String>) -> Result<(), ClientError> {
        let filter = filter.into();
        let lane = self.shared.subscribe_lane(&filter, QoS::AtMostOnce)?;
        self.shared.filters().remove(&filter);
        lane.send(Command::Unsubscribe { filter }).await
    }

    /// As [`AsyncClient::unsubscribe`], without waiting.
    ///
    /// # Errors
    /// As [`AsyncClient::unsubscribe`], and [`ClientError::Full`].
    pub fn try_unsubscribe(&self, filter: impl Into<String>) -> Result<(), ClientError> {
        let filter = filter.into();
        let lane = self.shared.subscribe_lane(&filter, QoS::AtMostOnce)?;
        lane.try_send(Command::Unsubscribe { filter: filter.clone() })?;
        self.shared.filters().remove(&filter);
        Ok(())
    }

    /// The application has dealt with a message: a repetition of a sealed one counts as a
    /// duplicate from now on, where it would have been delivered again before, and the broker need
    /// not send it again. It is told when the replay log, if there is one, knows. The broker is told nothing at `QoS` 0, a second time, or if the
    /// connection that the message came by is gone.
    ///
    /// # Errors
    /// [`ClientError::Closed`].
    pub async fn ack(&self, message: &Message) -> Result<(), ClientError> {
        let mark = self.confirm(message);
        match self.receipt_lane(message) {
            Some((lane, receipt)) => lane.send(Command::Acknowledge(receipt, mark)).await,
            None => Ok(()),
        }
    }

    /// As [`AsyncClient::ack`], without waiting.
    ///
    /// # Errors
    /// [`ClientError::Full`], [`ClientError::Closed`].
    pub fn try_ack(&self, message: &Message) -> Result<(), ClientError> {
        let mark = self.confirm(message);
        match self.receipt_lane(message) {
            Some((lane, receipt)) => lane.try_send(Command::Acknowledge(receipt, mark)),
            None => Ok(()),
        }
    }

    // before the broker is told: what it repeats after that is no news
    fn confirm(&self, message: &Message) -> Mark {
        let confirm = |receipt| self.shared.guards.rx().confirm(receipt);
        message.delivery.receipt.map(confirm).unwrap_or_default()
    }

    /// Accepts nothing more; sends what was accepted, waits for its acknowledgement, and takes
    /// leave of the brokers. The event loop ends when that is done: poll it to its end to know.
    ///
    /// # Errors
    /// [`ClientError::Closed`] if every link has ended.
    pub async fn disconnect(&self) -> Result<(), ClientError> {
        let mut outcome = Err(ClientError::Closed);
        for lane in self.shared.lanes() {
            let left = match &self.shared.journal {
                Some(journal) => journal.disconnect(lane.commands.clone()),
                None => lane.send(Command::Disconnect).await,
            };
            outcome = left.or(outcome);
        }
        outcome
    }

    /// As [`AsyncClient::disconnect`], without waiting.
    ///
    /// # Errors
    /// [`ClientError::Closed`] if every link has ended; [`ClientError::Full`] if some link was not
    /// told: call it again.
    pub fn try_disconnect(&self) -> Result<(), ClientError> {
        let mut outcome = Err(ClientError::Closed);
        for lane in self.shared.lanes() {
            let left = match &self.shared.journal {
                Some(journal) => journal.disconnect(lane.commands.clone()),
                None => lane.try_send(Command::Disconnect),
            };
            if left == Err(ClientError::Full) {
                return left;
            }
            outcome = left.or(outcome);
        }
        outcome
    }

    fn receipt_lane(&self, message: &Message) -> Option<(&Lane, Receipt)> {
        let receipt = message.receipt?;
        Some((self.shared.lane(receipt.link)?, receipt))
    }
}

impl EventLoop {
    pub(super) const fn with(inbox: Arc<Inbox>, shared: Arc<Shared>, auto_ack: bool) -> Self {
        Self { inbox, shared, auto_ack, delivered: None }
    }

    /// The next event; `None` when the client was disconnected, every link has ended and the replay
    /// log is closed. Acknowledge messages before the poll that finds the end: the log is not told of
    /// later ones.
    ///
    /// Cancel safe: an event is given out once, and not lost if the future is dropped.
    pub async fn poll(&mut self) -> Option<Event> {
        if let Some(receipt) = self.delivered
            && let Some(lane) = self.shared.lane(receipt.link)
        {
            // a link that has ended needs no acknowledgement
            let _ = lane.send(Command::Acknowledge(receipt, Mark::default())).await;
        }
        self.delivered = None;
        let mut event = self.inbox.next().await;
        if event.is_none() {
            // every link has ended, and the application has seen everything
            self.shared.guards.close_log().await;
            event = self.inbox.next().await;
        }
        if self.auto_ack
            && let Some(Event::Message(message)) = &event
        {
            self.delivered = message.receipt;
        }
        event
    }
}

impl<V> Clone for AsyncClient<V> {
    fn clone(&self) -> Self {
        Self::with(Arc::clone(&self.shared))
    }
}

impl<V> fmt::Debug for AsyncClient<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncClient").field("links", &self.shared.links).finish_non_exhaustive()
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop")
            .field("links", &self.shared.links)
            .field("auto_ack", &self.auto_ack)
            .finish_non_exhaustive()
    }
}
