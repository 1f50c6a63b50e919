//! What comes in over a link: opened, told, and acknowledged if nobody else will. Knows no outbox.

use std::string::String;
use std::vec::Vec;

use super::Worker;
use crate::client::connection::Connection;
use crate::client::error::LinkError;
use crate::client::event::{Event, Message, Receipt};
use crate::client::guards::now;
use crate::client::log::{LogFailed, Mark};
use crate::client::properties::Properties;
use crate::client::protocol::{Dial, Received};
use crate::guard::{Incoming, OpenError, Opened, QoS};
use crate::policy::BareDelete;
use crate::topic::TopicName;
use crate::wire::property::Property;

/// Messages that wait for the authority to answer.
const MAX_EARLY: usize = 1_024;
/// The bytes of them: 4 MiB.
const MAX_EARLY_BYTES: usize = 4 << 20;

impl<D: Dial> Worker<D> {
    /// Takes a message, or keeps it until the authority has answered: a broker that remembers a
    /// client sends at once.
    pub(super) async fn receive_in_turn(
        &mut self,
        connection: &mut Connection<D::Requests>,
        received: Received,
    ) -> Result<(), LinkError> {
        if !connection.is_admitted() && !self.is_record(&received) {
            return self.keep(connection, received);
        }
        // what waits for keys goes before what comes with them
        if self.reloads.has_changed().unwrap_or(false) {
            self.reloads.mark_unchanged();
            self.reloaded(connection).await?;
        }
        self.receive(connection, &received).await?;
        while connection.is_admitted()
            && let Some(early) = connection.early.pop_front()
        {
            self.receive(connection, &early).await?;
        }
        Ok(())
    }

    fn keep(
        &self,
        connection: &mut Connection<D::Requests>,
        received: Received,
    ) -> Result<(), LinkError> {
        let size = |early: &Received| early.topic.len().saturating_add(early.payload.len());
        let bytes = connection.early.iter().map(size).fold(size(&received), usize::saturating_add);
        if connection.early.len() < MAX_EARLY && bytes <= MAX_EARLY_BYTES {
            connection.early.push_back(received);
            return Ok(());
        }
        self.parts.feed.miss();
        if received.qos == QoS::AtMostOnce { Ok(()) } else { Err(LinkError::TooMuchWaiting) }
    }

    async fn receive(
        &mut self,
        connection: &mut Connection<D::Requests>,
        received: &Received,
    ) -> Result<(), LinkError> {
        if self.log.has_ended() {
            return Err(LinkError::ReplayLog);
        }
        if self.is_record(received) {
            return self.take_record(connection, received).await;
        }
        if self.is_key_topic(&received.topic) {
            return self.take_update(connection, received).await;
        }
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
        match self.open(received, receipt).await {
            Ok(message) if receipt.is_some() => {
                if !self.parts.feed.push(Event::Message(message)) {
                    return Err(LinkError::TooMuchWaiting);
                }
            }
            Ok(message) => self.parts.feed.push_or_miss(Event::Message(message)),
            Err(Unopened::LogFailed) => return Err(LinkError::ReplayLog),
            Err(Unopened::Refused(reason)) => {
                if let Some(receipt) = receipt {
                    // a duplicate may be one of a message whose confirmation is on its way to the log
                    let mark = self.parts.guards.rx().asked_for();
                    connection.acknowledge(receipt, mark);
                }
                match reason {
                    OpenError::Cleared(BareDelete::Ignore) => {}
                    OpenError::UnknownKey if self.parts.updates.is_some() => {
                        self.keep_for_its_key(received);
                    }
                    reason => self.parts.feed.push_or_miss(self.rejected(received, reason)),
                }
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

    /// Opens a message, and gives it out when the replay log knows what it has to.
    pub(super) async fn open(
        &mut self,
        received: &Received,
        receipt: Option<Receipt>,
    ) -> Result<Message, Unopened> {
        let link = self.parts.link;
        let topic = TopicName::from_bytes(&received.topic).map_err(OpenError::Topic)?.as_str();
        let outer: Vec<Property<'_>> = received.properties.iter().collect();
        let incoming = Incoming::new(topic, &received.payload, link)
            .properties(&outer)
            .retain(received.retain)
            .shared(self.subscriptions.has_shared())
            .at(now());
        let mut payload = Vec::new();
        let turn = self.parts.guards.turn().await;
        let (opened, mark) = self.ask_guard(&incoming, &mut payload)?;
        self.log.until(mark).await?;
        let delivery = match opened {
            Opened::Delivered(delivery) => delivery,
            Opened::NeedsClaim(claim) => self.parts.guards.rx().finish(claim, &mut payload),
        };
        drop(turn);
        // what no broker waits for, nobody acknowledges
        if received.qos == QoS::AtMostOnce
            && let Some(delivered) = delivery.receipt
        {
            let mark = self.parts.guards.rx().confirm(delivered);
            self.log.until(mark).await?;
        }
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

    fn ask_guard(
        &self,
        incoming: &Incoming<'_>,
        payload: &mut Vec<u8>,
    ) -> Result<(Opened, Mark), OpenError> {
        let mut rx = self.parts.guards.rx();
        let opened = rx.open(incoming, payload);
        while let Some(event) = rx.next_event() {
            self.parts.feed.push_or_miss(Event::Guard(event));
        }
        opened
    }
}

impl<D> Worker<D> {
    pub(super) fn rejected(&self, received: &Received, reason: OpenError) -> Event {
        let topic = String::from_utf8_lossy(&received.topic).into_owned();
        let link = self.parts.link;
        match reason {
            OpenError::Cleared(_) => Event::Cleared { topic, link },
            reason => Event::Rejected { topic, link, reason },
        }
    }
}

/// Why a message is not given out.
pub(super) enum Unopened {
    Refused(OpenError),
    LogFailed,
}

impl From<OpenError> for Unopened {
    fn from(reason: OpenError) -> Self {
        Self::Refused(reason)
    }
}

impl From<LogFailed> for Unopened {
    fn from(_: LogFailed) -> Self {
        Self::LogFailed
    }
}
