//! What the broker retains of this link, and what becomes of it under other keys. Knows no network.

use std::boxed::Box;
use std::collections::HashMap;
use std::string::String;
use std::vec::Vec;

use getrandom::SysRng;
use zeroize::Zeroizing;

use super::Worker;
use crate::client::entry::Entry;
use crate::client::event::Event;
use crate::client::guards::now;
use crate::client::properties::{Attached, Properties};
use crate::guard::{Guard, Incoming, Opened, Outgoing};
use crate::policy::Replay;
use crate::topic::TopicName;
use crate::wire::header::KeyId;
use crate::wire::property::Property;

/// Topics of retained values that are remembered.
const MAX_RETAINED: usize = 4_096;

/// Under which keys the values are sealed that the broker retains of this link.
#[derive(Default)]
pub(super) struct Retained {
    values: HashMap<String, Value>,
    /// Bytes that copies may still take.
    room: usize,
}

/// The last value on a topic.
struct Value {
    kid: KeyId,
    /// As it went out; `None` if it is not to be published again, or there was no room for it.
    copy: Option<Entry>,
}

impl Value {
    fn bytes(&self) -> usize {
        self.copy.as_ref().map_or(0, Entry::kept_len)
    }
}

impl Retained {
    /// With room for so many bytes of copies.
    pub(super) fn new(room: usize) -> Self {
        Self { values: HashMap::new(), room }
    }

    /// A message goes out.
    pub(super) fn note(&mut self, entry: &Entry) {
        if !entry.retain {
            return;
        }
        self.take(&entry.topic);
        if let Some((kid, _)) = entry.session()
            && self.values.len() < MAX_RETAINED
        {
            // one that expires at the broker is not to come back
            let lasts = entry.attached.as_ref().is_none_or(|a| a.message_expiry.is_none());
            let copies = lasts && entry.kept_len() <= self.room;
            let copy = if copies { entry.sealed_copy() } else { None };
            let value = Value { kid, copy };
            self.room = self.room.saturating_sub(value.bytes());
            self.values.insert(entry.topic.clone(), value);
        }
    }

    fn take(&mut self, topic: &str) {
        self.forget_copy(topic);
        self.values.remove(topic);
    }

    /// The value may not be the last one any more.
    pub(super) fn forget_copy(&mut self, topic: &str) {
        if let Some(value) = self.values.get_mut(topic) {
            self.room = self.room.saturating_add(value.bytes());
            value.copy = None;
        }
    }

    fn topics(&self) -> Vec<String> {
        self.values.keys().cloned().collect()
    }
}

impl<D> Worker<D> {
    /// Other rules and keys are in force.
    // SPEC §4, "before erasing, re-publish the ones"
    pub(super) fn note_retained(&mut self) {
        for topic in self.retained.topics() {
            self.renew_retained(&topic);
        }
    }

    /// Publishes a value again that is under a key which does not seal any more, or tells that the
    /// application has to. While a value waits, nothing: it is the newer one, or this one again.
    pub(super) fn renew_retained(&mut self, topic: &str) {
        let (may_repeat, seals) = self.sealing(topic);
        if !may_repeat {
            self.retained.forget_copy(topic);
        }
        if !self.is_outdated(topic, seals) {
            return;
        }
        let value = self.retained.values.get(topic).filter(|_| seals.is_some());
        let again = value.and_then(|value| self.unsealed(value.copy.as_ref()?));
        match again {
            Some(entry) => self.parts.outbox.push(entry),
            None => self.tell_outdated(topic),
        }
    }

    /// A value did not go out: the one before is told if its key does not seal any more.
    pub(super) fn value_failed(&mut self, topic: &str) {
        let (_, seals) = self.sealing(topic);
        if self.is_outdated(topic, seals) {
            self.tell_outdated(topic);
        }
    }

    /// A connection was lost: the broker may retain its will in place of a value.
    pub(super) fn note_lost_will(&mut self) {
        let topic = self.parts.will.as_ref().filter(|will| will.retain).map(|will| &will.topic);
        if let Some(topic) = topic.and_then(|topic| core::str::from_utf8(topic).ok()) {
            self.retained.forget_copy(topic);
        }
    }

    fn tell_outdated(&mut self, topic: &str) {
        self.retained.take(topic);
        let topic = topic.into();
        let _ = self.parts.feed.push(Event::RetainedUnderOldKey { topic });
    }

    /// Whether a value is under another key than the one that `seals`, and none waits.
    fn is_outdated(&self, topic: &str, seals: Option<KeyId>) -> bool {
        let value = self.retained.values.get(topic);
        value.is_some_and(|value| seals != Some(value.kid))
            && !self.parts.outbox.has_retained_waiting_on(topic)
    }

    /// Whether this link may say again what it said on this topic, and the key that seals it. Another
    /// link may have said something newer, and a command with a new timestamp is a second one.
    fn sealing(&self, topic: &str) -> (bool, Option<KeyId>) {
        let guard = self.parts.guards.tx();
        let config = guard.config();
        let rule = TopicName::parse(topic).ok().and_then(|topic| config.policy().rule(topic));
        let may_repeat = rule.is_some_and(|rule| {
            config.links().publish_link(rule.transport()) == Some(self.parts.link)
                && rule.replay() != Replay::Fresh
        });
        let key = guard.sealing_key_id(&Outgoing::new(topic, b""));
        (may_repeat, key.ok().flatten())
    }

    /// The message that was sealed. It is opened as any receiver would, by a guard that remembers
    /// nothing. It takes no place of the application's: what is copied is bounded.
    fn unsealed(&self, copy: &Entry) -> Option<Entry> {
        if self.parts.room.is_closed() {
            return None;
        }
        let config = self.parts.guards.config();
        let (_, mut rx) = Guard::from_config(config, Box::new(SysRng)).ok()?.split();
        let outer: Vec<Property<'_>> = copy.properties();
        let incoming = Incoming::new(&copy.topic, copy.body.bytes(), self.parts.link)
            .properties(&outer)
            .retain(true)
            .at(now());
        let mut payload = Zeroizing::new(Vec::new());
        let Ok(Opened::Delivered(delivery)) = rx.open(&incoming, &mut payload) else {
            return None;
        };
        let mut properties: Properties = delivery.properties(&outer).collect();
        let mut entry =
            Entry::new(copy.topic.clone(), copy.qos, true, core::mem::take(&mut payload))
                .of_kind(copy.kind);
        if copy.attached.is_some() {
            entry = entry.attach(Some(Attached { properties, message_expiry: None }));
        } else {
            properties.wipe();
        }
        Some(entry)
    }
}
