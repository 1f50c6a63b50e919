//! What a link has to do when other rules and keys are in force.

use std::collections::HashMap;
use std::string::String;
use std::vec::Vec;

use super::Worker;
use crate::client::connection::{Connection, Leave};
use crate::client::entry::Entry;
use crate::client::error::LinkError;
use crate::client::event::Event;
use crate::client::protocol::Dial;
use crate::guard::{GuardTx, Outgoing};
use crate::wire::header::KeyId;

/// Topics of retained values that are remembered.
const MAX_RETAINED: usize = 4_096;

/// Under which keys the values are sealed that the broker retains of this link.
#[derive(Debug, Default)]
pub(super) struct Retained(HashMap<String, KeyId>);

impl Retained {
    /// A message goes out.
    pub(super) fn note(&mut self, entry: &Entry) {
        if !entry.retain {
            return;
        }
        match entry.session() {
            Some((kid, _)) if self.0.len() < MAX_RETAINED || self.0.contains_key(&entry.topic) => {
                self.0.insert(entry.topic.clone(), kid);
            }
            _ => drop(self.0.remove(&entry.topic)),
        }
    }

    /// Takes out the topics whose values are sealed under another key than they would be now.
    fn take_outdated(&mut self, guard: &GuardTx) -> impl Iterator<Item = String> {
        let outdated = |topic: &String, kid: &KeyId| {
            guard.sealing_key_id(&Outgoing::new(topic, b"")) != Ok(Some(*kid))
        };
        let topics: Vec<_> = self.0.extract_if(|topic, kid| outdated(topic, kid)).collect();
        topics.into_iter().map(|(topic, _)| topic)
    }
}

impl<D: Dial> Worker<D> {
    // SPEC §4, "before erasing, re-publish the ones and reconnect for the others"
    pub(super) async fn reloaded(
        &mut self,
        connection: &mut Connection<D::Requests>,
    ) -> Result<(), LinkError> {
        self.note_keys(connection);
        self.reopen().await
    }

    fn note_keys(&mut self, connection: &mut Connection<D::Requests>) {
        let guard = self.parts.guards.tx();
        let outdated = self.retained.take_outdated(&guard);
        for topic in outdated {
            let _ = self.parts.feed.push(Event::RetainedUnderOldKey { topic });
        }
        let will = self.parts.will.as_ref().filter(|_| !connection.probe);
        if will.is_some_and(|will| will.key(&guard) != connection.will_key)
            && connection.leave == Leave::Stays
        {
            connection.leave = Leave::Wanted;
        }
    }
}
