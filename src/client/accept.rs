//! From a call to a message that a link has accepted: checks, counters, room, storage. Knows no
//! network.

use std::sync::Arc;
use std::vec::Vec;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::AbortHandle;

use super::entry::Entry;
use super::error::ClientError;
use super::guards::now;
use super::handle::Shared;
use super::journal::Kept;
use super::link::Command;
use super::room::Room;
use super::ticket::Ticket;
use crate::guard::{Plan, QoS, SealError};
use crate::policy::Link;
use crate::session::LeaseError;
use crate::topic::TopicName;

/// The way to one link.
pub(super) struct Lane {
    pub(super) link: Link,
    pub(super) room: Arc<Room>,
    pub(super) entries: mpsc::UnboundedSender<Entry>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) task: AbortHandle,
}

/// What is known of a message that may be accepted.
struct Planned<'a> {
    lane: &'a Lane,
    /// Bytes of its packet.
    len: usize,
    seals: bool,
}

impl Shared {
    /// Accepts a message; waits for counters, for room and until it is stored, but at `QoS` 0.
    pub(super) async fn accept(&self, mut entry: Entry) -> Result<Ticket, ClientError> {
        let Planned { lane, len, seals } = self.plan_with_counters(&entry).await?;
        if entry.qos == QoS::AtMostOnce {
            return self.offer(lane, entry, len);
        }
        let ticket = entry.accept(lane.room.take(len).await?);
        let Some(journal) = &self.journal else {
            return lane.pass(entry).map(|()| ticket);
        };
        let mut made = self.renewals.made();
        while seals && let Err(error) = self.seal(&mut entry, lane.link) {
            self.renew(error, made).await?;
            made = self.renewals.made();
        }
        journal.store(entry, lane.entries.clone()).await?;
        Ok(ticket)
    }

    /// Accepts a message, if nothing has to be waited for.
    pub(super) fn try_accept(&self, mut entry: Entry) -> Result<Ticket, ClientError> {
        let planned = self.plan(&entry);
        if planned.is_err() {
            self.renewals.renew_soon();
        }
        let Planned { lane, len, seals } = planned?;
        if entry.qos == QoS::AtMostOnce {
            return self.offer(lane, entry, len);
        }
        let ticket = entry.accept(lane.room.try_take(len)?);
        let Some(journal) = &self.journal else {
            return lane.pass(entry).map(|()| ticket);
        };
        if seals {
            self.seal(&mut entry, lane.link)?;
        }
        journal.store_soon(entry, lane.entries.clone())?;
        Ok(ticket)
    }

    /// Gives what was stored before this start to its links, in order; what none takes stays
    /// stored.
    pub(super) fn take_up(&self, kept: Vec<Kept>) {
        let Some(journal) = &self.journal else {
            return;
        };
        for (number, mut entry) in kept {
            entry.stored(journal.row(number));
            entry.attached = entry.attached.filter(|_| self.has_properties);
            match self.lane_of_topic(&entry.topic) {
                // a link that has ended leaves it where it is stored
                Ok(lane) => drop(lane.pass(entry)),
                Err(reason) => self.inbox.push_or_miss(entry.fail(ClientError::Seal(reason))),
            }
        }
    }

    fn lane_of_topic(&self, topic: &str) -> Result<&Lane, SealError> {
        let topic = TopicName::parse(topic).map_err(SealError::Topic)?;
        let config = self.guards.config();
        let rule = config.policy().rule(topic).ok_or(SealError::Refused)?;
        let link = self.links.publish_link(rule.transport());
        link.and_then(|link| self.lane(link)).ok_or(SealError::NoLink)
    }

    /// Passes a message of `QoS` 0 on, or lets it go.
    fn offer(&self, lane: &Lane, mut entry: Entry, len: usize) -> Result<Ticket, ClientError> {
        let place = match lane.room.try_take(len) {
            Ok(place) if lane.room.is_up() => Some(place),
            Ok(_) | Err(ClientError::Full) if !lane.room.is_closed() => None,
            _ => return Err(ClientError::Closed),
        };
        let Some(place) = place else {
            let (teller, ticket) = Ticket::new();
            self.inbox.dropped();
            teller.tell(Err(ClientError::Dropped));
            return Ok(ticket);
        };
        let ticket = entry.accept(place);
        lane.pass(entry).map(|()| ticket)
    }

    fn seal(&self, entry: &mut Entry, link: Link) -> Result<(), ClientError> {
        let sealed = entry.seal_plain(&mut self.guards.tx(), link, now());
        self.renewals.renew_soon();
        sealed.map_err(ClientError::Seal)
    }

    /// As [`Shared::plan`], once the guard has the counters that the message takes.
    async fn plan_with_counters(&self, entry: &Entry) -> Result<Planned<'_>, ClientError> {
        loop {
            let made = self.renewals.made();
            match self.plan(entry) {
                Err(error) => self.renew(error, made).await?,
                planned => return planned,
            }
        }
    }

    /// Reserves the counters that `error` says are missing, unless others did since `made`.
    async fn renew(&self, error: ClientError, made: u64) -> Result<(), ClientError> {
        let ClientError::Seal(SealError::Lease { number, error: LeaseError::NeedsLease { count } }) =
            error
        else {
            return Err(error);
        };
        if self.renewals.renew(number, count, made).await { Ok(()) } else { Err(error) }
    }

    /// Checks everything that can be known of a message before it is queued.
    fn plan(&self, entry: &Entry) -> Result<Planned<'_>, ClientError> {
        if self.persistent {
            return Err(ClientError::OnlySubscribes);
        }
        if self.auth_topics.iter().flatten().any(|topic| *topic == entry.topic) {
            return Err(ClientError::AuthTopic);
        }
        if self.is_key_topic(&entry.topic) {
            return Err(ClientError::KeyTopic);
        }
        let properties = entry.properties();
        let message = entry.outgoing(&properties, now());
        let plan = self.guards.tx().plan(&message).map_err(ClientError::Seal)?;
        let (link, growth, seals) = match plan {
            Plan::Pass { link } => (link, 0, false),
            Plan::Seal { link, growth, .. } => (link, growth, true),
        };
        let payload = message.payload.len().saturating_add(growth);
        let len = entry.packet_len(payload, |property| plan.keeps(property));
        self.fits(len)?;
        let lane = self.lane(link).ok_or(ClientError::Seal(SealError::NoLink))?;
        Ok(Planned { lane, len, seals })
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Lane {
    /// Gives an accepted message to the link.
    pub(super) fn pass(&self, entry: Entry) -> Result<(), ClientError> {
        self.entries.send(entry).map_err(|_| ClientError::Closed)
    }

    pub(super) async fn send(&self, command: Command) -> Result<(), ClientError> {
        let sent = self.commands.send(command).await;
        sent.map_err(|_| ClientError::Closed)
    }

    pub(super) fn try_send(&self, command: Command) -> Result<(), ClientError> {
        self.commands.try_send(command).map_err(refused)
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the value refused ends here; its payload is wiped"
)]
fn refused<T>(error: TrySendError<T>) -> ClientError {
    match error {
        TrySendError::Full(_) => ClientError::Full,
        TrySendError::Closed(_) => ClientError::Closed,
    }
}
