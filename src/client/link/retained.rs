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
use crate::guard::{Guard, GuardTx, Incoming, Opened, Outgoing};
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

/// A value under a key that does not seal any more.
pub(super) struct Outdated {
    topic: String,
    value: Value,
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

    fn take(&mut self, topic: &str) -> Option<Outdated> {
        let (topic, value) = self.values.remove_entry(topic)?;
        self.room = self.room.saturating_add(value.bytes());
        Some(Outdated { topic, value })
    }

    /// Takes out the value on this topic if it is sealed under another key than it would be now.
    pub(super) fn take_outdated(&mut self, topic: &str, guard: &GuardTx) -> Option<Outdated> {
        let value = self.values.get(topic)?;
        if guard.sealing_key_id(&Outgoing::new(topic, b"")) == Ok(Some(value.kid)) {
            return None;
        }
        self.take(topic)
    }

    /// The same for all topics.
    fn take_all_outdated(&mut self, guard: &GuardTx) -> Vec<Outdated> {
        let topics: Vec<_> = self.values.keys().cloned().collect();
        topics.iter().filter_map(|topic| self.take_outdated(topic, guard)).collect()
    }
}

impl<D> Worker<D> {
    /// Other rules and keys are in force.
    // SPEC §4, "before erasing, re-publish the ones"
    pub(super) fn note_retained(&mut self) {
        let outdated = self.retained.take_all_outdated(&self.parts.guards.tx());
        for outdated in outdated {
            self.renew_retained(outdated);
        }
    }

    /// Publishes a value again, or tells that the application has to, unless a newer one waits.
    pub(super) fn renew_retained(&mut self, Outdated { topic, value }: Outdated) {
        if self.parts.outbox.has_retained_waiting_on(&topic) {
            return;
        }
        let again = value.copy.and_then(|copy| self.unsealed(&copy));
        match again {
            Some(entry) => self.parts.outbox.push(entry),
            None => drop(self.parts.feed.push(Event::RetainedUnderOldKey { topic })),
        }
    }

    /// The message that was sealed, in a place of its own. It is opened as any receiver would, by a
    /// guard that remembers nothing.
    fn unsealed(&self, copy: &Entry) -> Option<Entry> {
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
        let len = payload.len();
        let mut entry =
            Entry::new(copy.topic.clone(), copy.qos, true, core::mem::take(&mut payload))
                .of_kind(copy.kind);
        if copy.attached.is_some() {
            entry = entry.attach(Some(Attached { properties, message_expiry: None }));
        } else {
            properties.wipe();
        }
        // nobody waits for its end
        drop(entry.accept(self.parts.room.try_take(len).ok()?));
        Some(entry)
    }
}
