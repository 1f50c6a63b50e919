//! One link as a task: connects, hands over, passes on, and begins again when a connection is
//! lost. Of locks it holds across an await only its turn at the replay log.

mod authenticate;
mod receive;
mod reloaded;
mod retained;
mod updates;

use core::time::Duration;
use std::string::String;
use std::sync::Arc;
use std::vec::Vec;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::connection::{Connection, Leave, Stage, Subscriptions};
use super::counters::Renewals;
use super::entry::{Entry, Limits};
use super::error::{ClientError, LinkError};
use super::event::{Event, Receipt};
use super::guards::{Guards, now};
use super::inbox::Feed;
use super::journal::Share;
use super::log::{LogFailed, Mark, Progress};
use super::outbox::{Item, Outbox};
use super::peer::Peer;
use super::protocol::{Dial, Input, Network, Request, Requests};
use super::room::Room;
use super::updates::Updates;
use super::will::Will;
use crate::guard::{QoS, SealError};
use crate::policy::Link;
use crate::session::LeaseError;
use retained::Retained;
use updates::Kept;

/// What a client handle asks of a link.
#[derive(Debug)]
pub(super) enum Command {
    Subscribe {
        filter: String,
        qos: QoS,
    },
    Unsubscribe {
        filter: String,
    },
    /// Once the replay log has what the mark says.
    Acknowledge(Receipt, Mark),
    Disconnect,
}

/// What a link is made of.
pub(super) struct Parts<D> {
    pub(super) link: Link,
    pub(super) dial: D,
    pub(super) will: Option<Arc<Will>>,
    pub(super) peer: Option<Peer>,
    pub(super) updates: Option<Arc<Updates>>,
    pub(super) guards: Guards,
    pub(super) renewals: Renewals,
    pub(super) room: Arc<Room>,
    pub(super) entries: mpsc::UnboundedReceiver<Entry>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) outbox: Outbox,
    /// Of a durable outbox.
    pub(super) _share: Option<Share>,
    // dropped last: with it the application learns that the link has ended
    pub(super) feed: Feed,
    pub(super) backoff: Backoff,
    pub(super) max_packet: usize,
    /// Bytes of retained values that may be published again.
    pub(super) republish_bytes: usize,
}

/// A link over all its connections.
pub(super) struct Worker<D> {
    parts: Parts<D>,
    subscriptions: Subscriptions,
    /// How far the replay log is.
    log: Progress,
    /// Messages that came in, over all connections.
    received: u64,
    /// Counters that the next message waits for.
    renewal: Option<JoinHandle<bool>>,
    /// None could be had for it.
    renewal_failed: bool,
    /// The client was disconnected: nothing more is accepted.
    closing: bool,
    /// No entry is left in the channel, nor will one come.
    drained: bool,
    /// Tells when other rules and keys are in force.
    reloads: watch::Receiver<u64>,
    retained: Retained,
    /// Messages whose key may be on its way.
    kept: Kept,
}

/// A connection before it is made.
type Dialed<D> = (Connection<<D as Dial>::Requests>, <D as Dial>::Network);

/// How a connection ended.
enum End {
    Finished,
    Lost(LinkError),
}

impl<D: Dial> Worker<D> {
    pub(super) fn new(parts: Parts<D>) -> Self {
        Self {
            log: parts.guards.progress(),
            reloads: parts.guards.reloads(),
            retained: Retained::new(parts.republish_bytes),
            kept: Kept::default(),
            parts,
            subscriptions: Subscriptions::default(),
            received: 0,
            renewal: None,
            renewal_failed: false,
            closing: false,
            drained: false,
        }
    }

    /// Runs until the client is disconnected and everything accepted is acknowledged, or until the
    /// replay log fails.
    pub(super) async fn run(mut self) {
        let begun = self.parts.guards.rx().asked_for();
        let _ = self.log.until(begun).await;
        while !self.is_done() {
            if self.log.has_ended() {
                return self.lost(LinkError::ReplayLog);
            }
            let (error, lived, probe) = match self.dial() {
                Ok((mut connection, network)) => match self.serve(&mut connection, network).await {
                    End::Finished if connection.leave == (Leave::Said { goes_on: true }) => {
                        self.left(connection.probe);
                        continue;
                    }
                    End::Finished => return,
                    End::Lost(error) => {
                        if !connection.probe {
                            self.note_lost_will();
                        }
                        (error, connection.lived(), connection.probe)
                    }
                },
                Err(error) => (error, Duration::ZERO, false),
            };
            if error == LinkError::ReplayLog {
                continue;
            }
            let error = self.judge_loss(error, probe);
            self.lost(error);
            let pause = self.parts.backoff.pause(lived);
            self.rest(pause).await;
        }
    }

    /// The client took leave of the broker, and connects again at once.
    fn left(&mut self, probe: bool) {
        if probe {
            self.ended();
        } else {
            self.lost(LinkError::Reloaded);
        }
    }

    fn lost(&mut self, error: LinkError) {
        let Parts { link, feed, .. } = &self.parts;
        let _ = feed.push(Event::LinkDown { link: *link, error });
        self.ended();
    }

    /// A connection is gone.
    fn ended(&mut self) {
        let Parts { link, feed, outbox, room, .. } = &mut self.parts;
        room.set_up(false);
        let ended = outbox.connection_lost();
        feed.connection_lost(*link);
        let mut values = Vec::new();
        for item in ended {
            match item {
                Item::Publish(entry) => {
                    values.extend(entry.retain.then(|| entry.topic.clone()));
                    self.let_go(entry);
                }
                Item::Unsubscribe { filter } => self.unsubscribed(filter),
                // asked for again at the next connection
                Item::Subscribe { .. } | Item::Listen { .. } | Item::Record { .. } => {}
            }
        }
        for topic in values {
            self.renew_retained(&topic);
        }
        self.forget_acknowledgement();
    }

    /// Gives up a message of `QoS` 0.
    fn let_go(&self, entry: Entry) {
        self.parts.feed.dropped();
        entry.end(Err(ClientError::Dropped));
    }

    fn unsubscribed(&self, filter: String) {
        let _ = self.parts.feed.push(Event::Unsubscribed { filter, link: self.parts.link });
    }

    fn is_done(&self) -> bool {
        self.closing && self.drained && self.parts.outbox.is_empty()
    }

    fn take(&mut self, entry: Option<Entry>) {
        match entry {
            // the link may have gone down since it was accepted
            Some(entry) if entry.qos == QoS::AtMostOnce && !self.parts.room.is_up() => {
                self.let_go(entry);
            }
            Some(entry) => self.parts.outbox.push(entry),
            None => self.drained = true,
        }
    }

    /// Takes commands while there is no connection.
    async fn rest(&mut self, pause: Duration) {
        let end = tokio::time::sleep(pause);
        tokio::pin!(end);
        while !self.is_done() {
            let more = !self.drained;
            tokio::select! {
                () = &mut end => return,
                Some(command) = self.parts.commands.recv() => self.note(command),
                entry = self.parts.entries.recv(), if more => self.take(entry),
                _ = self.reloads.changed() => if self.reloaded_offline().await.is_err() {
                    return;
                },
                () = reached(self.kept.ends()) => self.reject_overdue(),
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
                Ok(Input::Disconnected) if connection.is_parting() => return End::Finished,
                // rumqttc tells of one that it does not send when a broker breaks the rules
                Ok(Input::Disconnected) => Err(LinkError::Protocol),
                Ok(input) => self.handle(connection, input).await,
                Err(error) => {
                    for input in network.remainder() {
                        // out of step or not: the connection is lost in any case
                        let _ = self.handle(connection, input).await;
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
                if let Err(error) = self.hand_over(connection) {
                    return Some(Err(error));
                }
            } else if self.is_done() {
                return None;
            }
            let more = !self.drained;
            let Parts { commands, entries, .. } = &mut self.parts;
            tokio::select! {
                input = &mut poll => return Some(input),
                Some(command) = commands.recv() => self.obey(connection, command),
                entry = entries.recv(), if more => self.take(entry),
                renewed = finished(&mut self.renewal) => self.renewed(renewed),
                _ = self.reloads.changed() => if let Err(error) = self.reloaded(connection).await {
                    return Some(Err(error));
                },
                () = reached(self.kept.ends()) => self.reject_overdue(),
                () = reached(connection.due.next()) => self.updates_due(connection).await,
                () = reached(connection.run_ends) => if let Err(error) = self.run_over(connection) {
                    return Some(Err(error));
                },
                more = self.log.more() => if more.is_err() {
                    return Some(Err(LinkError::ReplayLog));
                },
            }
        }
    }

    /// Does what a command asks for on a connection.
    fn obey(&mut self, connection: &mut Connection<D::Requests>, command: Command) {
        if !connection.is_admitted() {
            return self.note(command);
        }
        match command {
            Command::Acknowledge(receipt, mark) => connection.acknowledge(receipt, mark),
            Command::Subscribe { filter, qos } => {
                self.subscriptions.add(&filter, qos);
                self.parts.outbox.push_request(Item::Subscribe { filter, qos });
            }
            Command::Unsubscribe { filter } => {
                self.subscriptions.remove(&filter);
                self.parts.outbox.push_request(Item::Unsubscribe { filter });
            }
            Command::Disconnect => self.close(),
        }
    }

    /// Takes a command while there is no connection.
    fn note(&mut self, command: Command) {
        match command {
            Command::Subscribe { filter, qos } => self.subscriptions.add(&filter, qos),
            Command::Unsubscribe { filter } => {
                self.subscriptions.remove(&filter);
                self.unsubscribed(filter);
            }
            Command::Acknowledge(..) => {}
            Command::Disconnect => self.close(),
        }
    }

    /// Accepts nothing more.
    fn close(&mut self) {
        self.closing = true;
        self.parts.room.close();
        self.parts.entries.close();
    }

    /// Gives the client everything that it and the window have room for.
    fn hand_over(&mut self, connection: &mut Connection<D::Requests>) -> Result<(), LinkError> {
        while let Some(&(id, qos, mark)) = connection.acks.front()
            && self.log.has(mark)
        {
            let acknowledge = Request::Acknowledge { id, qos };
            if connection.requests.request(acknowledge).is_err() {
                return Ok(());
            }
            connection.acks.pop_front();
        }
        self.hand_over_items(connection)?;
        self.parts.renewals.renew_soon();
        let goes_on = connection.leave == Leave::Wanted;
        let leaves = goes_on || self.is_done() && connection.acks.is_empty();
        if leaves
            && !connection.is_parting()
            && !self.parts.outbox.has_control()
            && connection.requests.request(Request::Disconnect).is_ok()
        {
            connection.leave = Leave::Said { goes_on };
        }
        Ok(())
    }

    fn hand_over_items(&mut self, connection: &Connection<D::Requests>) -> Result<(), LinkError> {
        let Parts { link, max_packet, .. } = self.parts;
        let limits = Limits { link, max_packet, server: connection.limits, now: now() };
        let open = connection.is_admitted() && connection.leave == Leave::Stays;
        while self.renewal.is_none()
            && let Some(item) = self.parts.outbox.next()
            && (open || item.is_control())
        {
            let again = item.is_sealed_value();
            let made = self.parts.renewals.made();
            let sealed = item.seal(&mut self.parts.guards.tx(), limits);
            if let Err(reason) = sealed {
                if reason == ClientError::Seal(SealError::ReconnectFirst) {
                    return Err(LinkError::SessionUsedUp);
                }
                if !self.waits_for_counters(reason, made) {
                    self.discard_next(reason);
                }
                continue;
            }
            if connection.requests.request(item.request()).is_err() {
                break;
            }
            self.handed_over(again);
        }
        Ok(())
    }

    /// The client has the next one, which was sealed before or just now.
    fn handed_over(&mut self, again: bool) {
        let mut value = None;
        if let Some(Item::Publish(entry)) = self.parts.outbox.next() {
            self.retained.note(entry);
            value = again.then(|| entry.topic.clone());
        }
        self.parts.outbox.handed_over();
        if let Some(topic) = value {
            self.renew_retained(&topic);
        }
    }

    /// The next one cannot go out.
    fn discard_next(&mut self, reason: ClientError) {
        let item = self.parts.outbox.discard_next();
        let value = match &item {
            Some(Item::Publish(entry)) if entry.retain => Some(entry.topic.clone()),
            _ => None,
        };
        self.report_failure(item, reason);
        if let Some(topic) = value {
            self.value_failed(&topic);
        }
    }

    /// Whether there may soon be what the next message lacks, after so many renewals.
    fn waits_for_counters(&mut self, reason: ClientError, made: u64) -> bool {
        let ClientError::Seal(SealError::Lease { number, error: LeaseError::NeedsLease { count } }) =
            reason
        else {
            return false;
        };
        if core::mem::take(&mut self.renewal_failed) {
            return false;
        }
        let renewals = self.parts.renewals.clone();
        let renewal = async move { renewals.renew(number, count, made).await };
        self.renewal = Some(tokio::spawn(renewal));
        true
    }

    fn renewed(&mut self, renewed: bool) {
        self.renewal = None;
        self.renewal_failed = !renewed;
    }

    fn report_failure(&self, item: Option<Item>, reason: ClientError) {
        match item {
            Some(Item::Publish(entry)) => {
                let _ = self.parts.feed.push(entry.fail(reason));
            }
            Some(Item::Subscribe { filter, .. }) => {
                let link = self.parts.link;
                let _ = self.parts.feed.push(Event::SubscribeFailed { filter, link });
            }
            Some(Item::Unsubscribe { .. } | Item::Listen { .. } | Item::Record { .. }) | None => {}
        }
    }

    async fn handle(
        &mut self,
        connection: &mut Connection<D::Requests>,
        input: Input,
    ) -> Result<(), LinkError> {
        match input {
            Input::Connected { session_present, limits } => {
                connection.limits = limits;
                connection.session_present = session_present;
                self.connected(connection);
            }
            Input::Received(received) => return self.receive_in_turn(connection, received).await,
            Input::Published { id } => {
                let ended = self.parts.outbox.published(id);
                sent(ended.map_err(|_| LinkError::OutOfStep)?);
            }
            Input::Requested { id } => {
                let paired = self.parts.outbox.requested(id);
                return paired.map_err(|_| LinkError::OutOfStep);
            }
            Input::Subscribed { id, granted } => return self.subscribed(connection, id, granted),
            other => self.settle(&other),
        }
        Ok(())
    }

    /// Takes in an answer of the broker.
    fn settle(&mut self, input: &Input) {
        let link = self.parts.link;
        match *input {
            Input::Acknowledged { id } => sent(self.parts.outbox.acknowledged(id)),
            Input::Refused { id, reason } => {
                let item = self.parts.outbox.acknowledged(id);
                if let Some(Item::Publish(entry)) = &item {
                    self.retained.forget_copy(&entry.topic);
                }
                self.report_failure(item, ClientError::Refused(reason));
            }
            Input::Unsubscribed { id } => {
                if let Some(Item::Unsubscribe { filter }) = self.parts.outbox.answered(id) {
                    let _ = self.parts.feed.push(Event::Unsubscribed { filter, link });
                }
            }
            _ => {}
        }
    }

    fn subscribed(
        &mut self,
        connection: &mut Connection<D::Requests>,
        id: u16,
        granted: Option<QoS>,
    ) -> Result<(), LinkError> {
        let link = self.parts.link;
        match self.parts.outbox.answered(id) {
            Some(Item::Listen { .. }) => return self.listening(connection, granted.is_some()),
            // nobody asked for it
            Some(Item::Subscribe { filter, .. })
                if granted.is_some() && self.is_key_topic(filter.as_bytes()) => {}
            Some(Item::Subscribe { filter, .. }) => {
                let _ = self.parts.feed.push(match granted {
                    Some(qos) => Event::Subscribed { filter, link, qos },
                    None => Event::SubscribeFailed { filter, link },
                });
            }
            _ => {}
        }
        Ok(())
    }

    fn connected(&mut self, connection: &mut Connection<D::Requests>) {
        connection.since = Some(Instant::now());
        self.parts.outbox.connected(connection.limits.receive_max);
        if self.parts.peer.is_some() {
            self.listen(connection);
        } else {
            self.admit(connection);
        }
    }

    /// Lets the traffic of the application through.
    fn admit(&mut self, connection: &mut Connection<D::Requests>) {
        let Parts { link, dial, will, guards, room, .. } = &mut self.parts;
        connection.stage = Stage::Admitted;
        if will.is_none() || connection.without_will {
            guards.tx().connected_on(*link, &dial.client_id());
        }
        guards.rx().write_the_rest();
        room.set_up(true);
        self.ask_for_updates(connection);
        for (filter, qos) in self.subscriptions.filters.iter().cloned() {
            self.parts.outbox.push_request(Item::Subscribe { filter, qos });
        }
        let session_present = connection.session_present;
        let link = self.parts.link;
        let _ = self.parts.feed.push(Event::LinkUp { link, session_present });
    }
}

impl From<LogFailed> for LinkError {
    fn from(_: LogFailed) -> Self {
        Self::ReplayLog
    }
}

impl<D> Drop for Worker<D> {
    // the runtime may end it at any time: nobody is to wait for room in vain
    fn drop(&mut self) {
        self.parts.room.close();
        self.reject_kept();
    }
}

/// The outcome of a renewal that is on its way.
async fn finished(renewal: &mut Option<JoinHandle<bool>>) -> bool {
    match renewal {
        Some(renewal) => renewal.await.unwrap_or(false),
        None => core::future::pending().await,
    }
}

/// Waits for a moment, if there is one to wait for.
async fn reached(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => core::future::pending().await,
    }
}

/// A message is done with, and it arrived.
fn sent(item: Option<Item>) {
    if let Some(Item::Publish(entry)) = item {
        entry.end(Ok(()));
    }
}

#[cfg(test)]
mod tests;
