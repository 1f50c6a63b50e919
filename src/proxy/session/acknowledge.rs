//! Acknowledgements of messages, in both directions. Knows no payload and no socket.

use super::plain::PlainStage;
use super::{Ended, Flow, Session, Side};
use crate::policy::{Link, Links};
use crate::proxy::clients::Client;
use crate::proxy::packet::{self, Acknowledgement, Frame, Kind};
use crate::proxy::sent::Progress;

impl Session {
    /// The client has taken a message.
    pub(super) fn client_acknowledges(
        &mut self,
        client: &mut Client,
        frame: &Frame<'_>,
    ) -> Result<(), Ended> {
        let ack = self.client_ack(frame)?;
        match frame.kind {
            Kind::Pubcomp => {
                client.held.remove(&ack.id);
            }
            kind => {
                let receipt = self.deliveries.remove(&ack.id).flatten();
                if let Some(mark) = client.confirm(receipt) {
                    self.to_main.wait_for(mark);
                }
                if kind == Kind::Pubrec && ack.is_refusal() {
                    client.held.remove(&ack.id);
                }
            }
        }
        self.to_main.put(frame.bytes);
        Ok(())
    }

    fn client_ack(&mut self, frame: &Frame<'_>) -> Result<Acknowledgement, Ended> {
        Acknowledgement::parse(frame)
            .map_err(|malformed| self.bad_client(Ended::ClientPacket(malformed.into())))
    }

    /// The client releases a message of `QoS` 2: on the link that has it.
    pub(super) fn release(
        &mut self,
        client: &mut Client,
        frame: &Frame<'_>,
    ) -> Result<Flow, Ended> {
        let id = self.client_ack(frame)?.id;
        if self.refused.remove(&id) {
            packet::acknowledge(Kind::Pubcomp, id, 0, self.version, self.to_client.end());
            return Ok(Flow::Done);
        }
        let entry = client.sent.get_mut(id).filter(|entry| entry.waits_for_release());
        let Some(entry) = entry else {
            // the main broker knows it, or says that it does not
            self.to_main.put(frame.bytes);
            return Ok(Flow::Done);
        };
        let link = entry.link;
        let side = self.side(link);
        let kept = side == Side::Main && self.resumes;
        let lost = entry.connection != self.number && !kept && !entry.packet.is_empty();
        if side == Side::Plain && !self.has_plain() {
            return Ok(Flow::Wait);
        }
        if lost {
            // the broker has forgotten the message with the connection, and the client will not
            // send it again
            entry.progress = Progress::Resumed;
            entry.connection = self.number;
            packet::set_dup(&mut entry.packet, false);
            match side {
                Side::Plain => self.put_on_plain(id, &entry.packet)?,
                Side::Main | Side::Client => self.to_main.put(&entry.packet),
            }
        } else {
            match side {
                Side::Plain => self.to_plain.put(frame.bytes),
                Side::Main | Side::Client => self.to_main.put(frame.bytes),
            }
        }
        Ok(Flow::Done)
    }

    fn has_plain(&mut self) -> bool {
        if self.plain.stage == PlainStage::Unused {
            self.plain.stage = PlainStage::Wanted;
        }
        self.plain.stage == PlainStage::Running
    }

    /// A broker has taken a message: PUBACK, PUBREC or PUBCOMP.
    pub(super) fn broker_acknowledges(
        &mut self,
        client: &mut Client,
        side: Side,
        frame: &Frame<'_>,
    ) -> Result<(), Ended> {
        let ack = Acknowledgement::parse(frame);
        let ack = ack.map_err(|malformed| Ended::BrokerPacket(malformed.into()))?;
        // whoever is on the way in clear has no word in what went by TLS
        if side == Side::Plain && !self.plain.in_flight.contains(&ack.id) {
            return Ok(());
        }
        if side == Side::Main && frame.kind == Kind::Pubcomp && self.released.remove(&ack.id) {
            return Ok(());
        }
        let entry = client.sent.get_mut(ack.id).filter(|entry| match self.core.settings.links {
            Links::Both => (entry.link == Link::Tcp) == (side == Side::Plain),
            Links::Tcp | Links::Tls => true,
        });
        // the client's next connection may use the ID already
        let (closed, number) = (self.client_closed, self.number);
        let entry = entry.filter(|entry| !closed || entry.connection == number);
        let resumed = entry.as_ref().is_some_and(|entry| entry.progress == Progress::Resumed);
        if resumed && frame.kind == Kind::Pubrec && !ack.is_refusal() {
            packet::acknowledge(Kind::Pubrel, ack.id, 0, self.version, self.end_on(side));
            return Ok(());
        }
        let known = entry.is_some();
        if let Some(entry) = entry
            && frame.kind == Kind::Pubrec
        {
            entry.progress = Progress::Received;
        }
        let ends = frame.kind != Kind::Pubrec || ack.is_refusal();
        if known && ends {
            self.end_of(client, ack.id, frame.kind == Kind::Puback && !ack.is_refusal());
        }
        if side == Side::Plain && ends {
            self.plain_has_room(ack.id);
        }
        if resumed && frame.kind == Kind::Pubrec {
            // the client waits for PUBCOMP
            packet::acknowledge(Kind::Pubcomp, ack.id, 0x92, self.version, self.to_client.end());
        } else {
            self.to_client.put(frame.bytes);
        }
        Ok(())
    }

    fn end_on(&mut self, side: Side) -> &mut std::vec::Vec<u8> {
        if side == Side::Plain { self.to_plain.end() } else { self.to_main.end() }
    }

    /// A message is dealt with. One whose acknowledgement may get lost is kept for a moment: the
    /// client would send it again.
    fn end_of(&self, client: &mut Client, id: u16, may_come_again: bool) {
        if may_come_again {
            let row = client.sent.get(id).and_then(|entry| entry.row);
            if let (Some(keeper), Some(row)) = (&self.core.keeper, row) {
                keeper.delete_later(row);
            }
            let now = self.now.unwrap_or_default();
            client.sent.done(id, now, |gone| self.forget(Some(gone)));
        } else {
            let entry = client.sent.remove(id);
            self.forget(entry);
        }
    }

    /// A message by the plain link is acknowledged: the next may go.
    fn plain_has_room(&mut self, id: u16) {
        self.plain.in_flight.remove(&id);
        if let Some((id, packet)) = self.plain.queued.pop_front() {
            self.plain.in_flight.insert(id);
            self.plain.queued_bytes = self.plain.queued_bytes.saturating_sub(packet.len());
            self.to_plain.put(&packet);
        }
    }

    /// The broker releases a message of `QoS` 2 that it had brought.
    pub(super) fn broker_releases(
        &mut self,
        client: &mut Client,
        frame: &Frame<'_>,
    ) -> Result<(), Ended> {
        let ack = Acknowledgement::parse(frame);
        let id = ack.map_err(|malformed| Ended::BrokerPacket(malformed.into()))?.id;
        if client.swallowed.remove(&id) {
            packet::acknowledge(Kind::Pubcomp, id, 0, self.version, self.to_main.end());
        } else {
            self.to_client.put(frame.bytes);
        }
        Ok(())
    }
}
