//! One message that was accepted: from the application's bytes to those that go out. Knows no
//! queue.

use std::string::String;
use std::vec::Vec;

use zeroize::Zeroizing;

use super::error::ClientError;
use super::event::Event;
use super::journal::Row;
use super::properties::Attached;
use super::protocol::{Publish, ServerLimits, publish_len};
use super::room::Place;
use super::ticket::{Teller, Ticket};
use crate::guard::{GuardTx, Outgoing, QoS, SealError};
use crate::policy::Link;
use crate::wire::header::{Header, KeyId, SessionId};
use crate::wire::inner::Kind;
use crate::wire::property::Property;

/// A message that was accepted, or a will.
pub(super) struct Entry {
    pub(super) topic: String,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) kind: Option<Kind>,
    /// `None` before MQTT 5.
    pub(super) attached: Option<Attached>,
    pub(super) body: Body,
    /// Who wants to know how it ends.
    teller: Option<Teller>,
    /// What it takes of the link's room.
    place: Option<Place>,
    /// Where it is stored.
    row: Option<Row>,
}

pub(super) enum Body {
    /// As the application gave it; wiped when dropped.
    Plain(Zeroizing<Vec<u8>>),
    /// As it goes out, however often.
    Ready(Vec<u8>),
}

impl Entry {
    pub(super) fn new(topic: String, qos: QoS, retain: bool, payload: Vec<u8>) -> Self {
        let body = Body::Plain(Zeroizing::new(payload));
        let (kind, attached, teller, place, row) = (None, None, None, None, None);
        Self { topic, qos, retain, kind, attached, body, teller, place, row }
    }

    /// One that goes out as it is.
    pub(super) fn ready(topic: String, qos: QoS, payload: Vec<u8>) -> Self {
        let body = Body::Ready(payload);
        Self { body, ..Self::new(topic, qos, false, Vec::new()) }
    }

    /// With what MQTT 5 lets a message take along.
    pub(super) fn attach(mut self, attached: Option<Attached>) -> Self {
        self.attached = attached;
        self
    }

    /// As a deletion or a will.
    pub(super) const fn of_kind(mut self, kind: Option<Kind>) -> Self {
        self.kind = kind;
        self
    }

    /// In this place, with the ticket that tells its end.
    pub(super) fn accept(&mut self, place: Place) -> Ticket {
        let (teller, ticket) = Ticket::new();
        (self.teller, self.place) = (Some(teller), Some(place));
        ticket
    }

    /// Stored in this row, until it ends.
    pub(super) fn stored(&mut self, row: Row) {
        self.row = Some(row);
    }

    /// It was handed over: others may wait in its place.
    pub(super) fn leave_queue(&mut self) {
        if let Some(place) = &mut self.place {
            place.leave_queue();
        }
    }

    /// It is done with: whoever wants to know is told, and it is no longer stored.
    pub(super) fn end(self, outcome: Result<(), ClientError>) {
        if let Some(row) = self.row {
            row.delete();
        }
        if let Some(teller) = self.teller {
            teller.tell(outcome);
        }
    }

    /// It could not be sent. Returns what is told of it: if it is stored and only the guard is in
    /// the way, it stays stored.
    pub(super) fn fail(self, reason: ClientError) -> Event {
        let topic = self.topic.clone();
        match reason {
            ClientError::Seal(reason) if self.row.is_some() => Event::StaysStored { topic, reason },
            reason => {
                self.end(Err(reason));
                Event::PublishFailed { topic, reason }
            }
        }
    }

    /// Key and session that it is sealed under, if it is.
    pub(super) fn session(&self) -> Option<(KeyId, SessionId)> {
        let Body::Ready(bytes) = &self.body else {
            return None;
        };
        let (header, _) = Header::parse(bytes).ok()?;
        Some((header.kid, header.id))
    }

    /// The same once more, if it is sealed; in no place, and nobody waits for its end.
    pub(super) fn sealed_copy(&self) -> Option<Self> {
        self.session()?;
        let Self { topic, qos, retain, kind, attached, body, .. } = self;
        let copy = Self::new(topic.clone(), *qos, *retain, Vec::new());
        let body = Body::Ready(body.bytes().to_vec());
        Some(Self { body, ..copy.attach(attached.clone()).of_kind(*kind) })
    }

    /// Bytes that it takes in memory, or a few more.
    pub(super) fn kept_len(&self) -> usize {
        let payload = self.body.bytes().len();
        payload.saturating_add(self.packet_len(payload, |_| true))
    }

    /// Its properties one by one, as [`Entry::outgoing`] takes them.
    pub(super) fn properties(&self) -> Vec<Property<'_>> {
        self.attached.iter().flat_map(|attached| attached.properties.iter()).collect()
    }

    /// The message as the guard is asked about it.
    pub(super) fn outgoing<'a>(
        &'a self,
        properties: &'a [Property<'a>],
        now: Option<u64>,
    ) -> Outgoing<'a> {
        Outgoing::new(&self.topic, self.body.bytes())
            .qos(self.qos)
            .retain(self.retain)
            .properties(properties)
            .kind(self.kind)
            .at(now)
    }

    /// The message as it goes out.
    pub(super) fn publish(&self) -> Publish<'_> {
        Publish {
            topic: &self.topic,
            qos: self.qos,
            retain: self.retain,
            payload: self.body.bytes(),
            attached: self.attached.as_ref(),
        }
    }

    /// Bytes of its packet if its payload has this length and of its properties those stay outside
    /// that `keeps` says.
    pub(super) fn packet_len(
        &self,
        payload: usize,
        keeps: impl Fn(&Property<'_>) -> bool,
    ) -> usize {
        let properties = self.attached.as_ref().map(|attached| attached.len(keeps));
        publish_len(self.topic.len(), self.qos, properties, payload)
    }

    /// Seals it, the first time; from then on its bytes stay what they are. The limits are those
    /// of the connection.
    pub(super) fn seal(&mut self, guard: &mut GuardTx, limits: Limits) -> Result<(), ClientError> {
        if level(self.qos) > level(limits.server.max_qos) {
            return Err(ClientError::QoS { max: limits.server.max_qos });
        }
        if self.retain && !limits.server.retain {
            return Err(ClientError::NoRetain);
        }
        self.seal_plain(guard, limits.link, limits.now).map_err(ClientError::Seal)?;
        limits.check(self.packet_len(self.body.bytes().len(), |_| true))
    }

    /// Seals it for `link`, if that was not done before.
    pub(super) fn seal_plain(
        &mut self,
        guard: &mut GuardTx,
        link: Link,
        now: Option<u64>,
    ) -> Result<(), SealError> {
        if matches!(self.body, Body::Ready(_)) {
            return Ok(());
        }
        let mut out = Vec::new();
        let properties = self.properties();
        let message = self.outgoing(&properties, now);
        let sealed = guard.seal(&message, &mut out)?;
        if sealed.link != link {
            return Err(SealError::NoLink);
        }
        if let Some(attached) = &mut self.attached {
            attached.properties.retain(|property| sealed.keeps(property));
        }
        self.body = Body::Ready(out);
        Ok(())
    }
}

const fn level(qos: QoS) -> u8 {
    match qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce => 1,
        QoS::ExactlyOnce => 2,
    }
}

impl Body {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Ready(bytes) => bytes,
        }
    }
}

/// What a packet must comply with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) link: Link,
    pub(super) max_packet: usize,
    pub(super) server: ServerLimits,
    pub(super) now: Option<u64>,
}

impl Limits {
    /// Whether a packet of this length may go out.
    pub(super) fn check(&self, len: usize) -> Result<(), ClientError> {
        let max = self.max_packet.min(self.server.max_packet);
        if len > max { Err(ClientError::TooLarge { len, max }) } else { Ok(()) }
    }
}
