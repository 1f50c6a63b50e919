//! PUBLISH towards the client: opened, passed, or taken in its place. Knows no socket.

use std::sync::Arc;
use std::vec::Vec;

use super::{ALIAS, Ended, PAYLOAD_IDS, Session, Stage};
use crate::guard::{Delivery, Incoming, OpenError, Opened, Protection, QoS};
use crate::proxy::InForce;
use crate::proxy::clients::Client;
use crate::proxy::meters::Direction;
use crate::proxy::packet::{self, Draft, Frame, Kind, PacketError, Publish, write_property};
use crate::wire::property::Property;

/// A message from the broker.
struct Message<'a> {
    publish: &'a Publish<'a>,
    frame: &'a Frame<'a>,
    topic: &'a str,
    alias: Option<u16>,
    properties: &'a [Property<'a>],
    rule: Option<usize>,
}

impl Session {
    pub(super) fn deliver(&mut self, client: &mut Client, frame: &Frame<'_>) -> Result<(), Ended> {
        self.read(client, frame, Self::open)
    }

    /// Takes a message of `len` bytes, which are more than are waited for, in place of the client: a
    /// broker would bring it for ever. Whether so much of it is there that it could be.
    pub(super) fn pass_over(
        &mut self,
        client: &mut Client,
        bytes: &[u8],
        len: usize,
    ) -> Result<bool, Ended> {
        let front = bytes.get(..len).unwrap_or(bytes);
        let front = Frame::front(front).filter(|front| front.kind == Kind::Publish);
        let is_whole = |front: &Frame<'_>| Publish::parse(front, self.version).is_ok();
        match front {
            Some(front) if is_whole(&front) => {
                self.skip = len;
                self.read(client, &front, |session, client, in_force, message| {
                    session.swallow(client, in_force, message, "TooLargeForProxy");
                    Ok(())
                })?;
                Ok(true)
            }
            Some(_) if bytes.len() <= self.max_packet() => Ok(false),
            _ => Err(Ended::BrokerPacket(PacketError::TooLarge { len })),
        }
    }

    /// Reads a message, and gives it to `then`.
    fn read(
        &mut self,
        client: &mut Client,
        frame: &Frame<'_>,
        then: impl FnOnce(&mut Self, &mut Client, &InForce, &Message<'_>) -> Result<(), Ended>,
    ) -> Result<(), Ended> {
        const MALFORMED: Ended = Ended::BrokerPacket(PacketError::Malformed);
        if self.stage == Stage::Connecting {
            return Err(Ended::UnexpectedPacket(Kind::Publish));
        }
        let publish = Publish::parse(frame, self.version).map_err(|_| MALFORMED)?;
        let alias = publish.alias().map_err(|_| MALFORMED)?;
        let topic = core::str::from_utf8(publish.topic).map_err(|_| MALFORMED)?;
        let mut properties = Vec::new();
        publish.payload_properties(&mut properties).map_err(|_| MALFORMED)?;
        let mut name = core::mem::take(&mut self.topic);
        name.clear();
        let resolved = match alias {
            Some(alias) => self.down.resolve(alias, topic).map_err(|_| Ended::Alias),
            None => Ok(topic),
        };
        let delivered = resolved.map(|topic| name.push_str(topic)).and_then(|()| {
            let in_force = Arc::clone(&client.in_force);
            let message = Message {
                publish: &publish,
                frame,
                topic: &name,
                alias,
                properties: &properties,
                rule: self.rule_of(&in_force, &name, 1),
            };
            then(self, client, &in_force, &message)
        });
        self.topic = name;
        delivered
    }

    fn open(
        &mut self,
        client: &mut Client,
        in_force: &InForce,
        message: &Message<'_>,
    ) -> Result<(), Ended> {
        let publish = message.publish;
        if self.core.settings.is_auth_topic(message.topic) {
            self.swallow(client, in_force, message, "AuthTopic");
            return Ok(());
        }
        let incoming = Incoming::new(message.topic, publish.payload, self.main_link())
            .properties(message.properties)
            .retain(publish.retain())
            // gaps are told to nobody
            .shared(true)
            .at(self.now);
        let mut payload = self.scratch();
        let opened = client.rx.open(&incoming, &mut payload);
        while let Some(event) = client.rx.next_event() {
            tracing::warn!(client_id = %self.client_id, topic = message.topic, "{event}");
        }
        let outcome = match opened {
            Ok(Opened::Delivered(delivery)) => {
                self.forward(client, in_force, message, &delivery, &payload)
            }
            Err(OpenError::Cleared(_)) if self.core.settings.forward_bare_deletes => {
                let clear = self.pass_down(message);
                clear.map(|()| self.took(client, publish, None))
            }
            Err(error) => {
                self.swallow(client, in_force, message, error.name());
                Ok(())
            }
            Ok(Opened::NeedsClaim(claim)) => {
                // it is finished at once, and leaves when its claim is durable: if that fails,
                // nothing leaves any more
                if let Some(mark) = client.log(claim.writes().to_vec()) {
                    self.to_client.wait_for(mark);
                }
                let delivery = client.rx.finish(claim, &mut payload);
                self.forward(client, in_force, message, &delivery, &payload)
            }
        };
        self.done_with(payload);
        outcome
    }

    fn forward(
        &mut self,
        client: &mut Client,
        in_force: &InForce,
        message: &Message<'_>,
        delivery: &Delivery,
        payload: &[u8],
    ) -> Result<(), Ended> {
        let publish = message.publish;
        let meter = in_force.meters.get(message.rule);
        let core = Arc::clone(&self.core);
        core.meters.saw(message.topic, Direction::ToClient, publish.payload, payload);
        if delivery.protection == Protection::Clear {
            meter.clear_in.add(1);
            meter.clear_bytes.add(u64::try_from(payload.len()).unwrap_or(u64::MAX));
            self.pass_down(message)?;
            self.took(client, publish, delivery.receipt);
            return Ok(());
        }
        if !self.write_opened(message, delivery, payload)? {
            self.swallow(client, in_force, message, "TooLargeForClient");
            return Ok(());
        }
        meter.opened.add(1);
        meter.opened_bytes.add(u64::try_from(payload.len()).unwrap_or(u64::MAX));
        if let Some(verdict) = delivery.verdict {
            meter.verdict(verdict);
        }
        self.took(client, publish, delivery.receipt);
        Ok(())
    }

    /// Writes an opened message; `false` if it is above what the client takes.
    fn write_opened(
        &mut self,
        message: &Message<'_>,
        delivery: &Delivery,
        payload: &[u8],
    ) -> Result<bool, Ended> {
        let publish = message.publish;
        let mut properties = Vec::new();
        if self.version.is_5() {
            let others = |id: u8| !PAYLOAD_IDS.contains(&id) && id != ALIAS;
            for setting in publish.properties.iter().filter(|setting| others(setting.id)) {
                properties.extend_from_slice(setting.raw);
            }
            for property in delivery.properties(message.properties) {
                write_property(&property, &mut properties);
            }
        }
        let carried = delivery.carried_topic.as_deref();
        let mut draft = Draft {
            version: self.version,
            flags: publish.flags,
            topic: carried.unwrap_or(message.topic).as_bytes(),
            id: publish.id,
            properties: &properties,
        };
        let with_alias;
        let alias = message.alias.filter(|_| carried.is_none());
        if let Some(alias) = alias {
            let [high, low] = alias.to_be_bytes();
            with_alias = [&[ALIAS, high, low], properties.as_slice()].concat();
            draft.properties = &with_alias;
        }
        if self.is_too_large(draft.len(payload.len())) {
            return Ok(false);
        }
        if let Some(alias) = alias
            && !self.down.tell(alias, message.topic).map_err(|_| Ended::Alias)?
        {
            draft.topic = &[];
        }
        draft.write(payload, self.to_client.end());
        Ok(true)
    }

    fn is_too_large(&self, len: usize) -> bool {
        let max = self.client_max.and_then(|max| usize::try_from(max).ok());
        max.is_some_and(|max| len > max)
    }

    /// Passes a message as it is.
    fn pass_down(&mut self, message: &Message<'_>) -> Result<(), Ended> {
        let publish = message.publish;
        let Some(alias) = message.alias else {
            self.to_client.put(message.frame.bytes);
            return Ok(());
        };
        let needed = self.down.tell(alias, message.topic).map_err(|_| Ended::Alias)?;
        if !needed || !publish.topic.is_empty() {
            self.to_client.put(message.frame.bytes);
            return Ok(());
        }
        let draft = Draft {
            version: self.version,
            flags: publish.flags,
            topic: message.topic.as_bytes(),
            id: publish.id,
            properties: publish.properties.as_bytes(),
        };
        draft.write(publish.payload, self.to_client.end());
        Ok(())
    }

    /// The client has the message, or will: it counts as dealt with when the client says so.
    fn took(
        &mut self,
        client: &mut Client,
        publish: &Publish<'_>,
        receipt: Option<crate::guard::Receipt>,
    ) {
        if let Some(shown) = &self.shown {
            shown.to_client.add(1);
        }
        match publish.qos {
            QoS::AtMostOnce => {
                client.confirm(receipt);
            }
            QoS::AtLeastOnce | QoS::ExactlyOnce => {
                // one that did not open before may now
                client.swallowed.remove(&publish.id);
                if publish.qos == QoS::ExactlyOnce {
                    client.held.insert(publish.id);
                }
                self.deliveries.insert(publish.id, receipt);
            }
        }
    }

    /// Takes a message in place of the client, so that the broker does not bring it for ever.
    // SPEC §6, "Every failure looks the same from the network"
    fn swallow(
        &mut self,
        client: &mut Client,
        in_force: &InForce,
        message: &Message<'_>,
        reason: &'static str,
    ) {
        let publish = message.publish;
        self.rejected(in_force, message.rule, message.topic, Direction::ToClient, reason);
        let kind = match publish.qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => Kind::Puback,
            QoS::ExactlyOnce => Kind::Pubrec,
        };
        // one that the client may have taken already goes on to its end, or its ID would stay in use
        // there; one that it took before a restart of the proxy is known by the replay state alone
        let replay = matches!(reason, "Duplicate" | "TooOld" | "Stale" | "NotFresh");
        let taken = client.held.contains(&publish.id)
            || (self.resumes && publish.dup() && replay && !client.swallowed.contains(&publish.id));
        if kind == Kind::Pubrec && !taken {
            client.swallowed.insert(publish.id);
        }
        packet::acknowledge(kind, publish.id, 0, self.version, self.to_main.end());
    }
}
