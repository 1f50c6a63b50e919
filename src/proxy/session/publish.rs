//! PUBLISH towards the broker: sealed, passed, repeated as the bytes that it was, or refused. Knows
//! no socket.

use std::sync::Arc;
use std::vec::Vec;

use super::connect::called;
use super::plain::PlainStage;
use super::refuse::Refusal;
use super::{ALIAS, Ended, Flow, MAX_QUEUED, PAYLOAD_IDS, Session, Side};
use crate::guard::{Outgoing, Plan, QoS, Sealed};
use crate::policy::Link;
use crate::proxy::clients::Client;
use crate::proxy::meters::Direction;
use crate::proxy::packet::{self, Draft, Frame, Kind, Publish, write_property};
use crate::proxy::sent::{Digest, Entry, Progress};
use crate::proxy::{InForce, row};

/// A message with what is known of it.
pub(super) struct Message<'a> {
    pub(super) publish: &'a Publish<'a>,
    frame: &'a Frame<'a>,
    pub(super) topic: &'a str,
    alias: Option<u16>,
    digest: Digest,
    pub(super) rule: Option<usize>,
}

impl Session {
    pub(super) fn publish(
        &mut self,
        client: &mut Client,
        frame: &Frame<'_>,
    ) -> Result<Flow, Ended> {
        let malformed = Ended::ClientPacket(packet::PacketError::Malformed);
        let publish =
            Publish::parse(frame, self.version).map_err(|_| self.bad_client(malformed))?;
        let alias = publish.alias().map_err(|_| self.bad_client(Ended::Alias))?;
        let topic = core::str::from_utf8(publish.topic).map_err(|_| self.bad_client(malformed))?;
        let mut name = core::mem::take(&mut self.topic);
        name.clear();
        let resolved = self.resolve(alias, topic, &mut name);
        let flow = resolved.and_then(|()| {
            let in_force = Arc::clone(&client.in_force);
            let digest = self.core.digest_key;
            let message = Message {
                publish: &publish,
                frame,
                topic: &name,
                alias,
                digest: if publish.id == 0 {
                    0
                } else {
                    digest.digest(self.version, &name, &publish)
                },
                rule: self.rule_of(&in_force, &name, 0),
            };
            self.send(client, &in_force, &message)
        });
        self.topic = name;
        flow
    }

    fn resolve(
        &mut self,
        alias: Option<u16>,
        topic: &str,
        name: &mut std::string::String,
    ) -> Result<(), Ended> {
        let resolved = match alias {
            Some(alias) if alias > self.alias_max => None,
            Some(alias) => self.up.resolve(alias, topic).ok(),
            None => Some(topic),
        };
        let Some(resolved) = resolved else {
            return Err(self.bad_client(Ended::Alias));
        };
        name.push_str(resolved);
        Ok(())
    }

    fn send(
        &mut self,
        client: &mut Client,
        in_force: &InForce,
        message: &Message<'_>,
    ) -> Result<Flow, Ended> {
        if self.core.settings.is_auth_topic(message.topic) {
            let refused = self.refuse_publish(client, in_force, message, Refusal::AuthTopic);
            return refused.map(|()| Flow::Done);
        }
        if let Some(link) = self.repeated(client, message) {
            if !self.has(link) {
                return Ok(Flow::Wait);
            }
            return self.send_again(client, in_force, message).map(|()| Flow::Done);
        }
        let rules = in_force.config.policy().rules();
        let rule = message.rule.and_then(|index| rules.get(index));
        let links = self.core.settings.links;
        let link = rule.and_then(|rule| links.publish_link(rule.transport()));
        if link.is_some_and(|link| !self.has(link)) {
            return Ok(Flow::Wait);
        }
        self.seal(client, in_force, message)?;
        Ok(Flow::Done)
    }

    /// Whether a link is there; if not, it is asked for.
    fn has(&mut self, link: Link) -> bool {
        if self.side(link) == Side::Main || self.plain.stage == PlainStage::Running {
            return true;
        }
        if self.plain.stage == PlainStage::Unused {
            self.plain.stage = PlainStage::Wanted;
        }
        false
    }

    /// The link of the message, if it was sealed before: it says that it is a repetition, or its ID
    /// is still in use in a session that goes on. After a restart nobody knows that of an ID, and a
    /// client that counts from the beginning says the same again: then DUP has to say it.
    // SPEC §2, "is resent as its stored sealed bytes"
    fn repeated(&self, client: &Client, message: &Message<'_>) -> Option<Link> {
        let entry = client.sent.get(message.publish.id)?;
        let resumed = !self.clean && self.resumes;
        let open = resumed && entry.is_open_since_before(self.number);
        let now = self.now.unwrap_or_default();
        let again = message.publish.dup() && entry.may_come_again(self.number, now);
        let says = again || open;
        let same = says && entry.digest == message.digest && !entry.packet.is_empty();
        same.then_some(entry.link)
    }

    fn send_again(
        &mut self,
        client: &mut Client,
        in_force: &InForce,
        message: &Message<'_>,
    ) -> Result<(), Ended> {
        let id = message.publish.id;
        client.sent.revive(id);
        let Some(entry) = client.sent.get_mut(id) else { return Ok(()) };
        let counted = entry.connection == self.number;
        entry.connection = self.number;
        packet::set_dup(&mut entry.packet, message.publish.dup());
        in_force.meters.get(message.rule).resent.add(1);
        match self.side(entry.link) {
            // a plain link is new with each connection, and so is its window
            Side::Plain if !counted => return self.put_on_plain(id, &entry.packet),
            Side::Plain => self.to_plain.put(&entry.packet),
            Side::Main | Side::Client => self.to_main.put(&entry.packet),
        }
        Ok(())
    }

    fn seal(
        &mut self,
        client: &mut Client,
        in_force: &InForce,
        message: &Message<'_>,
    ) -> Result<(), Ended> {
        let publish = message.publish;
        let mut properties = Vec::new();
        publish
            .payload_properties(&mut properties)
            .map_err(|_| self.bad_client(Ended::ClientPacket(packet::PacketError::Malformed)))?;
        let outgoing = Outgoing::new(message.topic, publish.payload)
            .qos(publish.qos)
            .retain(publish.retain())
            .properties(&properties)
            .at(self.now);
        if let Some(refusal) = self.above_limits(client, message, &outgoing) {
            return self.refuse_publish(client, in_force, message, refusal);
        }
        let mut payload = self.scratch();
        let sealed = client.tx.seal(&outgoing, &mut payload);
        let outcome = match sealed {
            Ok(sealed) if sealed.sealed.is_some() => {
                self.send_sealed(client, in_force, message, &outgoing, &sealed, &payload)
            }
            Ok(sealed) => self.pass(client, in_force, message, &outgoing, &sealed),
            Err(error) => self.refuse_publish(client, in_force, message, Refusal::Seal(error)),
        };
        self.done_with(payload);
        outcome
    }

    /// What the broker does not take, found out before a counter is spent.
    // MQTT 5.0 §3.2.2.3
    fn above_limits(
        &self,
        client: &Client,
        message: &Message<'_>,
        outgoing: &Outgoing<'_>,
    ) -> Option<Refusal> {
        if self.limits.is_none() && self.plain.limits.is_none() {
            return None;
        }
        let (link, growth) = match client.tx.plan(outgoing).ok()? {
            Plan::Pass { link } => (link, 0),
            Plan::Seal { link, growth, .. } => (link, growth),
        };
        let limits = match self.side(link) {
            Side::Plain => &self.plain.limits,
            Side::Main | Side::Client => &self.limits,
        };
        let publish = message.publish;
        if !limits.take(publish.qos, publish.retain()) {
            return Some(Refusal::NotByBroker);
        }
        let max = limits.max_packet.and_then(|max| usize::try_from(max).ok())?;
        let own = message.frame.bytes.len();
        // the topic in place of an alias, and two bytes by which lengths may grow
        let topic = message.topic.len().saturating_sub(publish.topic.len());
        let len = [own, growth, topic, 2].into_iter().fold(0, usize::saturating_add);
        let told = self.told_max.and_then(|max| usize::try_from(max).ok());
        (len > max)
            .then(|| Refusal::TooLargeForBroker { told: told.is_some_and(|told| own > told) })
    }

    fn send_sealed(
        &mut self,
        client: &mut Client,
        in_force: &InForce,
        message: &Message<'_>,
        outgoing: &Outgoing<'_>,
        sealed: &Sealed,
        payload: &[u8],
    ) -> Result<(), Ended> {
        let publish = message.publish;
        let side = self.side(sealed.link);
        let mut kept = Vec::new();
        let others = publish
            .properties
            .iter()
            .filter(|setting| !PAYLOAD_IDS.contains(&setting.id) && setting.id != ALIAS);
        for setting in others {
            kept.extend_from_slice(setting.raw);
        }
        for property in outgoing.properties.iter().filter(|property| sealed.keeps(property)) {
            write_property(property, &mut kept);
        }
        if side == Side::Main && self.may_be_held(client, publish) {
            self.released.insert(publish.id);
            packet::acknowledge(Kind::Pubrel, publish.id, 0, self.version, self.to_main.end());
        }
        // DUP is for the sealed bytes, which were never sent
        let mut draft = Draft {
            version: self.version,
            flags: publish.flags & 0b0111,
            topic: message.topic.as_bytes(),
            id: publish.id,
            properties: &kept,
        };
        if publish.qos != QoS::AtMostOnce {
            let mut packet = Vec::with_capacity(draft.len(payload.len()));
            draft.write(payload, &mut packet);
            self.keep(client, message, sealed.link, packet);
        }
        let meter = in_force.meters.get(message.rule);
        meter.sealed.add(1);
        meter.sealed_bytes.add(length(publish.payload));
        self.count_out();
        let core = Arc::clone(&self.core);
        core.meters.saw(message.topic, Direction::ToBroker, payload, publish.payload);
        let with_alias;
        if let Some(alias) = message.alias.filter(|_| side == Side::Main) {
            if !self.tell(alias, message.topic)? {
                draft.topic = &[];
            }
            let [high, low] = alias.to_be_bytes();
            with_alias = [&[ALIAS, high, low], kept.as_slice()].concat();
            draft.properties = &with_alias;
        }
        self.write(side, &draft, payload, publish.qos)
    }

    /// Whether the broker may hold the same message as it was sealed before, which is forgotten here, and
    /// wait for its release. Two messages under one ID are against MQTT: one broker loses the second,
    /// another both. Released, the first arrives, too: twice rather than never.
    fn may_be_held(&self, client: &Client, publish: &Publish<'_>) -> bool {
        publish.qos == QoS::ExactlyOnce
            && publish.dup()
            && !self.clean
            && self.resumes
            && client.sent.get(publish.id).is_none()
    }

    fn write(
        &mut self,
        side: Side,
        draft: &Draft<'_>,
        payload: &[u8],
        qos: QoS,
    ) -> Result<(), Ended> {
        match side {
            Side::Plain if qos != QoS::AtMostOnce => {
                let mut packet = Vec::with_capacity(draft.len(payload.len()));
                draft.write(payload, &mut packet);
                return self.put_on_plain(draft.id, &packet);
            }
            Side::Plain => draft.write(payload, self.to_plain.end()),
            Side::Main | Side::Client => draft.write(payload, self.to_main.end()),
        }
        Ok(())
    }

    /// Writes a message of `QoS` 1 or 2, or lets it wait for the plain link's window.
    pub(super) fn put_on_plain(&mut self, id: u16, packet: &[u8]) -> Result<(), Ended> {
        let window =
            self.plain.limits.receive_max.map_or_else(|| usize::from(u16::MAX), usize::from);
        if self.plain.in_flight.len() < window {
            self.plain.in_flight.insert(id);
            self.to_plain.put(packet);
            return Ok(());
        }
        if self.plain.queued_bytes.saturating_add(packet.len()) > MAX_QUEUED {
            return Err(self.bad_client(Ended::PlainQueue));
        }
        self.plain.queued_bytes = self.plain.queued_bytes.saturating_add(packet.len());
        self.plain.queued.push_back((id, packet.to_vec()));
        Ok(())
    }

    fn tell(&mut self, alias: u16, topic: &str) -> Result<bool, Ended> {
        let told = self.up.tell(alias, topic);
        told.map_err(|_| self.bad_client(Ended::Alias))
    }

    /// Remembers sealed bytes until they are acknowledged; nothing that follows leaves before they
    /// are durable, where there is a store.
    fn keep(&mut self, client: &mut Client, message: &Message<'_>, link: Link, packet: Vec<u8>) {
        let id = message.publish.id;
        let mut entry = Entry {
            link,
            sealed: true,
            connection: self.number,
            progress: Progress::Sent,
            done_at: 0,
            digest: message.digest,
            packet,
            row: None,
        };
        // one that came without an ID has no state there that this would belong to
        let keeper = self.core.keeper.as_ref().filter(|_| client.is_stored());
        if let Some(keeper) = keeper {
            let (row, mark) = keeper.put(row::message(&self.client_id, id, &entry));
            entry.row = Some(row);
            match self.side(link) {
                Side::Plain => self.to_plain.wait_for(mark),
                Side::Main | Side::Client => self.to_main.wait_for(mark),
            }
        }
        let forgotten = client.sent.put(id, entry, |gone| self.forget(Some(gone)));
        self.forgot(forgotten);
    }

    /// So many messages of the client are forgotten before they were acknowledged.
    fn forgot(&mut self, messages: u64) {
        if messages == 0 {
            return;
        }
        self.core.clients.forgotten.add(messages);
        self.forgotten = self.forgotten.saturating_add(1);
        // each message that follows makes another go
        if self.forgotten.is_power_of_two() {
            let client_id = called(&self.client_id);
            tracing::warn!(
                %client_id, so_far = self.forgotten,
                "too much of this client is not acknowledged: what it sends again of that is sealed \
                 anew, and may arrive twice"
            );
        }
    }

    /// What was kept is not needed any more.
    pub(super) fn forget(&self, entry: Option<Entry>) {
        if let (Some(keeper), Some(row)) = (&self.core.keeper, entry.and_then(|entry| entry.row)) {
            keeper.delete(row);
        }
    }

    /// Passes a message as it is; a deletion on a sealed topic without the properties that its rule
    /// hides.
    fn pass(
        &mut self,
        client: &mut Client,
        in_force: &InForce,
        message: &Message<'_>,
        outgoing: &Outgoing<'_>,
        sealed: &Sealed,
    ) -> Result<(), Ended> {
        let publish = message.publish;
        let side = self.side(sealed.link);
        let meter = in_force.meters.get(message.rule);
        meter.clear_out.add(1);
        meter.clear_bytes.add(length(publish.payload));
        self.count_out();
        let core = Arc::clone(&self.core);
        core.meters.saw(message.topic, Direction::ToBroker, publish.payload, publish.payload);
        // an ID that is used anew
        if publish.qos != QoS::AtMostOnce {
            let before = client.sent.remove(publish.id);
            self.forget(before);
        }
        let whole = match message.alias {
            None => true,
            Some(_) if side == Side::Plain => false,
            Some(alias) => !(self.tell(alias, message.topic)? && publish.topic.is_empty()),
        };
        let hidden = outgoing.properties.iter().any(|property| !sealed.keeps(property));
        if whole && !hidden && side == Side::Main {
            self.to_main.put(message.frame.bytes);
            return Ok(());
        }
        let kept = message.alias.is_some() && side == Side::Main;
        let mut properties = Vec::new();
        let stays = |id: u8| (kept || id != ALIAS) && !(hidden && PAYLOAD_IDS.contains(&id));
        for setting in publish.properties.iter().filter(|setting| stays(setting.id)) {
            properties.extend_from_slice(setting.raw);
        }
        for property in outgoing.properties.iter().filter(|p| hidden && sealed.keeps(p)) {
            write_property(property, &mut properties);
        }
        let draft = Draft {
            version: self.version,
            flags: publish.flags,
            topic: message.topic.as_bytes(),
            id: publish.id,
            properties: &properties,
        };
        if side == Side::Plain && publish.qos != QoS::AtMostOnce {
            let mut packet = Vec::with_capacity(draft.len(publish.payload.len()));
            draft.write(publish.payload, &mut packet);
            self.keep_unsealed(client, message, sealed.link, packet);
        }
        self.write(side, &draft, publish.payload, publish.qos)
    }

    /// A message by the plain link that passes as it is: its broker forgets it with the connection,
    /// and the client does not send it again after PUBREC. It is never stored.
    fn keep_unsealed(
        &mut self,
        client: &mut Client,
        message: &Message<'_>,
        link: Link,
        packet: Vec<u8>,
    ) {
        let entry = Entry {
            link,
            sealed: false,
            connection: self.number,
            progress: Progress::Sent,
            done_at: 0,
            digest: message.digest,
            packet,
            row: None,
        };
        let gone = |gone| self.forget(Some(gone));
        let forgotten = client.sent.put(message.publish.id, entry, gone);
        self.forgot(forgotten);
    }

    fn count_out(&self) {
        if let Some(shown) = &self.shown {
            shown.to_broker.add(1);
        }
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
