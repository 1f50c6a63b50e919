//! One link as a task: connects, hands over, passes on, and begins again when a connection is
//! lost. Holds no lock across an await.

use core::time::Duration;
use std::collections::{HashMap, VecDeque};
use std::string::String;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use std::vec::Vec;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::error::{ClientError, LinkError};
use super::event::{Event, Message, Receipt};
use super::inbox::Feed;
use super::outbox::{Entry, Item, Limits, Outbox};
use super::properties::Properties;
use super::protocol::{Dial, Input, Network, Received, Request, Requests, ServerLimits};
use crate::guard::{GuardRx, GuardTx, Incoming, OpenError, QoS};
use crate::policy::Link;
use crate::topic::TopicName;
use crate::wire::property::Property;

/// What a client handle asks of a link.
#[derive(Debug)]
pub(super) enum Command {
    Subscribe { filter: String, qos: QoS },
    Unsubscribe { filter: String },
    Acknowledge(Receipt),
    Disconnect,
}

/// Both halves of the guard, which all links and handles share. Each is held for one message at a
/// time.
#[derive(Debug, Clone)]
pub(super) struct Guards {
    tx: Arc<Mutex<GuardTx>>,
    rx: Arc<Mutex<GuardRx>>,
}

impl Guards {
    pub(super) fn new(tx: GuardTx, rx: GuardRx) -> Self {
        Self { tx: Arc::new(Mutex::new(tx)), rx: Arc::new(Mutex::new(rx)) }
    }

    // A guard that panicked has spent its counter first and delivered nothing: it may be used.
    pub(super) fn tx(&self) -> MutexGuard<'_, GuardTx> {
        self.tx.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rx(&self) -> MutexGuard<'_, GuardRx> {
        self.rx.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock in Unix milliseconds; `None` if it stands before 1970.
pub(super) fn now() -> Option<u64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.ok().and_then(|d| u64::try_from(d.as_millis()).ok())
}

/// What a link is made of.
pub(super) struct Parts<D> {
    pub(super) link: Link,
    pub(super) dial: D,
    pub(super) guards: Guards,
    pub(super) feed: Feed,
    pub(super) entries: mpsc::Receiver<Entry>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) outbox: Outbox,
    pub(super) backoff: Backoff,
    pub(super) max_packet: usize,
}

/// A link over all its connections.
pub(super) struct Worker<D> {
    parts: Parts<D>,
    subscriptions: Subscriptions,
    /// Messages that came in, over all connections.
    received: u64,
    /// The client was disconnected: nothing more is accepted.
    closing: bool,
    /// No entry is left in the channel, nor will one come.
    drained: bool,
}

/// What ends with a connection.
struct Connection<R> {
    requests: R,
    /// When the broker accepted it.
    since: Option<Instant>,
    /// What the broker asks to stay within.
    limits: ServerLimits,
    /// Acknowledgements that the client had no room for yet.
    acks: VecDeque<(u16, QoS)>,
    /// Messages that are not acknowledged, by packet ID: their numbers.
    open: HashMap<u16, u64>,
    /// Whether DISCONNECT was handed over.
    parting: bool,
}

/// How a connection ended.
enum End {
    Finished,
    Lost(LinkError),
}

/// The filters that are to be subscribed, in the order of the requests.
#[derive(Debug, Default)]
struct Subscriptions {
    filters: Vec<(String, QoS)>,
}

impl Subscriptions {
    fn add(&mut self, filter: &str, qos: QoS) {
        match self.filters.iter_mut().find(|(own, _)| own == filter) {
            Some((_, own)) => *own = qos,
            None => self.filters.push((filter.into(), qos)),
        }
    }

    fn remove(&mut self, filter: &str) {
        self.filters.retain(|(own, _)| own != filter);
    }
}

impl<R> Connection<R> {
    fn new(requests: R) -> Self {
        let (acks, open) = (VecDeque::new(), HashMap::new());
        let limits = ServerLimits::NONE;
        Self { requests, since: None, limits, acks, open, parting: false }
    }

    fn lived(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Queues the acknowledgement of a message, once, and only on the connection that it came by:
    /// another one's packet IDs belong to other messages.
    fn acknowledge(&mut self, receipt: Receipt) {
        if self.open.get(&receipt.id) == Some(&receipt.number) {
            self.open.remove(&receipt.id);
            self.acks.push_back((receipt.id, receipt.qos));
        }
    }
}

impl<D: Dial> Worker<D> {
    pub(super) fn new(parts: Parts<D>) -> Self {
        Self {
            parts,
            subscriptions: Subscriptions::default(),
            received: 0,
            closing: false,
            drained: false,
        }
    }

    /// Runs until the client is disconnected and everything accepted is acknowledged.
    pub(super) async fn run(mut self) {
        while !self.is_done() {
            let (requests, network) = self.parts.dial.dial();
            let mut connection = Connection::new(requests);
            let End::Lost(error) = self.serve(&mut connection, network).await else {
                return;
            };
            let link = self.parts.link;
            self.parts.outbox.connection_lost();
            self.parts.feed.connection_lost(link);
            let _ = self.parts.feed.push(Event::LinkDown { link, error });
            let pause = self.parts.backoff.pause(connection.lived());
            drop(connection);
            self.rest(pause).await;
        }
    }

    fn is_done(&self) -> bool {
        self.closing && self.drained && self.parts.outbox.is_empty()
    }

    /// Whether another entry is taken from the channel. Without a connection they stay there, so
    /// that those who publish wait; but the last ones are taken in, to know that there are no
    /// more.
    fn takes_entries(&self, connected: bool) -> bool {
        !self.drained && (self.closing || (connected && self.parts.outbox.has_room()))
    }

    fn take(&mut self, entry: Option<Entry>) {
        match entry {
            Some(entry) => self.parts.outbox.push(entry),
            None => self.drained = true,
        }
    }

    /// Takes commands while there is no connection.
    async fn rest(&mut self, pause: Duration) {
        let end = tokio::time::sleep(pause);
        tokio::pin!(end);
        while !self.is_done() {
            let room = self.takes_entries(false);
            tokio::select! {
                () = &mut end => return,
                Some(command) = self.parts.commands.recv() => self.note(&command),
                entry = self.parts.entries.recv(), if room => self.take(entry),
            }
        }
    }

    async fn serve<N: Network>(
        &mut self,
        connection: &mut Connection<D::Requests>,
        mut network: N,
    ) -> End {
        loop {
            let Some(polled) = self.step(connection, &mut network).await else {
                return End::Finished;
            };
            let handled = match polled {
                Ok(Input::Disconnected) if connection.parting => return End::Finished,
                // rumqttc tells of one that it does not send when a broker breaks the rules
                Ok(Input::Disconnected) => Err(LinkError::Protocol),
                Ok(input) => self.handle(connection, input),
                Err(error) => {
                    for input in network.remainder() {
                        // out of step or not: the connection is lost in any case
                        let _ = self.handle(connection, input);
                    }
                    Err(error)
                }
            };
            if let Err(error) = handled {
                return End::Lost(error);
            }
        }
    }

    /// Hands over what it can until the network reports something; `None` if there is nothing
    /// left to wait for. The poll of the network is never given up half way.
    async fn step<N: Network>(
        &mut self,
        connection: &mut Connection<D::Requests>,
        network: &mut N,
    ) -> Option<Result<Input, LinkError>> {
        let poll = network.poll();
        tokio::pin!(poll);
        loop {
            if connection.since.is_some() {
                self.hand_over(connection);
            } else if self.is_done() {
                return None;
            }
            let room = self.takes_entries(connection.since.is_some());
            tokio::select! {
                input = &mut poll => return Some(input),
                Some(command) = self.parts.commands.recv() => self.obey(connection, command),
                entry = self.parts.entries.recv(), if room => self.take(entry),
            }
        }
    }

    /// Does what a command asks for on a connection.
    fn obey(&mut self, connection: &mut Connection<D::Requests>, command: Command) {
        self.note(&command);
        match command {
            Command::Acknowledge(receipt) => connection.acknowledge(receipt),
            Command::Subscribe { filter, qos } if connection.since.is_some() => {
                self.parts.outbox.push_request(Item::Subscribe { filter, qos });
            }
            Command::Unsubscribe { filter } if connection.since.is_some() => {
                self.parts.outbox.push_request(Item::Unsubscribe { filter });
            }
            _ => {}
        }
    }

    /// Keeps what a command means beyond the connection.
    fn note(&mut self, command: &Command) {
        match command {
            Command::Subscribe { filter, qos } => self.subscriptions.add(filter, *qos),
            Command::Unsubscribe { filter } => self.subscriptions.remove(filter),
            Command::Acknowledge(_) => {}
            Command::Disconnect => {
                self.closing = true;
                self.parts.entries.close();
            }
        }
    }

    /// Gives the client everything that it and the window have room for.
    fn hand_over(&mut self, connection: &mut Connection<D::Requests>) {
        while let Some(&(id, qos)) = connection.acks.front() {
            let acknowledge = Request::Acknowledge { id, qos };
            if connection.requests.request(acknowledge).is_err() {
                return;
            }
            connection.acks.pop_front();
        }
        self.hand_over_items(&connection.requests, connection.limits);
        if self.is_done() && !connection.parting {
            connection.parting = connection.requests.request(Request::Disconnect).is_ok();
        }
    }

    fn hand_over_items(&mut self, requests: &D::Requests, server: ServerLimits) {
        let Parts { link, max_packet, .. } = self.parts;
        let limits = Limits { link, max_packet, server, now: now() };
        while let Some(item) = self.parts.outbox.next() {
            let sealed = item.seal(&mut self.parts.guards.tx(), limits);
            if let Err(reason) = sealed {
                let item = self.parts.outbox.discard_next();
                self.report_failure(item, reason);
                continue;
            }
            if requests.request(item.request()).is_err() {
                return;
            }
            self.parts.outbox.handed_over();
        }
    }

    fn report_failure(&self, item: Option<Item>, reason: ClientError) {
        match item {
            Some(Item::Publish(Entry { topic, .. })) => {
                let _ = self.parts.feed.push(Event::PublishFailed { topic, reason });
            }
            Some(Item::Subscribe { filter, .. }) => {
                let link = self.parts.link;
                let _ = self.parts.feed.push(Event::SubscribeFailed { filter, link });
            }
            Some(Item::Unsubscribe { .. }) | None => {}
        }
    }

    fn handle(
        &mut self,
        connection: &mut Connection<D::Requests>,
        input: Input,
    ) -> Result<(), LinkError> {
        match input {
            Input::Connected { session_present, limits } => {
                connection.limits = limits;
                self.connected(connection, session_present);
            }
            Input::Received(received) => return self.receive(connection, &received),
            Input::Published { id } => {
                let paired = self.parts.outbox.published(id);
                return paired.map_err(|_| LinkError::Protocol);
            }
            Input::Requested { id } => {
                let paired = self.parts.outbox.requested(id);
                return paired.map_err(|_| LinkError::Protocol);
            }
            other => self.settle(&other),
        }
        Ok(())
    }

    /// Takes in an answer of the broker.
    fn settle(&mut self, input: &Input) {
        let link = self.parts.link;
        match *input {
            Input::Acknowledged { id } => {
                self.parts.outbox.acknowledged(id);
            }
            Input::Refused { id, reason } => {
                let item = self.parts.outbox.acknowledged(id);
                self.report_failure(item, ClientError::Refused(reason));
            }
            Input::Subscribed { id, granted } => {
                if let Some(Item::Subscribe { filter, .. }) = self.parts.outbox.answered(id) {
                    let _ = self.parts.feed.push(match granted {
                        Some(qos) => Event::Subscribed { filter, link, qos },
                        None => Event::SubscribeFailed { filter, link },
                    });
                }
            }
            Input::Unsubscribed { id } => {
                if let Some(Item::Unsubscribe { filter }) = self.parts.outbox.answered(id) {
                    let _ = self.parts.feed.push(Event::Unsubscribed { filter, link });
                }
            }
            _ => {}
        }
    }

    fn connected(&mut self, connection: &mut Connection<D::Requests>, session_present: bool) {
        connection.since = Some(Instant::now());
        self.parts.outbox.connected(connection.limits.receive_max);
        let client_id = self.parts.dial.client_id();
        self.parts.guards.tx().connected(&client_id);
        for (filter, qos) in self.subscriptions.filters.iter().cloned() {
            self.parts.outbox.push_request(Item::Subscribe { filter, qos });
        }
        let link = self.parts.link;
        let _ = self.parts.feed.push(Event::LinkUp { link, session_present });
    }

    fn receive(
        &mut self,
        connection: &mut Connection<D::Requests>,
        received: &Received,
    ) -> Result<(), LinkError> {
        let acknowledged = received.qos != QoS::AtMostOnce;
        if !acknowledged && !self.parts.feed.has_room() {
            self.parts.feed.miss();
            return Ok(());
        }
        if acknowledged && connection.open.contains_key(&received.id) {
            // the same message again on one connection: it waits for its acknowledgement
            return Ok(());
        }
        let receipt = self.receipt(received);
        if let Some(receipt) = receipt {
            connection.open.insert(receipt.id, receipt.number);
        }
        match self.open(received, receipt) {
            Ok(message) if receipt.is_some() => {
                if !self.parts.feed.push(Event::Message(message)) {
                    return Err(LinkError::TooMuchWaiting);
                }
            }
            Ok(message) => self.parts.feed.push_or_miss(Event::Message(message)),
            Err(reason) => {
                if let Some(receipt) = receipt {
                    connection.acknowledge(receipt);
                }
                self.parts.feed.push_or_miss(Event::Rejected {
                    topic: String::from_utf8_lossy(&received.topic).into_owned(),
                    link: self.parts.link,
                    reason,
                });
            }
        }
        Ok(())
    }

    fn receipt(&mut self, received: &Received) -> Option<Receipt> {
        self.received = self.received.saturating_add(1);
        (received.qos != QoS::AtMostOnce).then_some(Receipt {
            link: self.parts.link,
            id: received.id,
            qos: received.qos,
            number: self.received,
        })
    }

    fn open(&self, received: &Received, receipt: Option<Receipt>) -> Result<Message, OpenError> {
        let link = self.parts.link;
        let topic = TopicName::from_bytes(&received.topic).map_err(OpenError::Topic)?.as_str();
        let outer: Vec<Property<'_>> = received.properties.iter().collect();
        let incoming = Incoming::new(topic, &received.payload, link)
            .properties(&outer)
            .retain(received.retain)
            .at(now());
        let mut payload = Vec::new();
        let mut rx = self.parts.guards.rx();
        let delivery = rx.open(&incoming, &mut payload);
        while let Some(event) = rx.next_event() {
            self.parts.feed.push_or_miss(Event::Guard(event));
        }
        drop(rx);
        // the adapters have no replay log yet, and without one there are no claims
        let delivery = delivery?.delivered().ok_or(OpenError::Stopped)?;
        let properties: Properties = delivery.properties(&outer).collect();
        let (topic, packet_topic) = match &delivery.carried_topic {
            Some(carried) => (carried.clone(), Some(topic.into())),
            None => (topic.into(), None),
        };
        Ok(Message {
            topic,
            packet_topic,
            properties,
            payload,
            qos: received.qos,
            retain: received.retain,
            dup: received.dup,
            link,
            delivery,
            receipt,
        })
    }
}

#[cfg(test)]
mod tests;
