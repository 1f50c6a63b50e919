//! Messages of a client that were sealed and may come again: a repetition is sent as the bytes that
//! it was. Knows no socket and no file.

use core::hash::Hasher;
use std::collections::{HashMap, VecDeque};
use std::vec::Vec;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::packet::{Frame, Publish, Version};
use crate::policy::Link;
use crate::wire::Reader;

/// Acknowledged messages that are kept for a client whose acknowledgement may not have arrived.
const MAX_DONE: usize = 1_024;
/// For how many milliseconds after its acknowledgement a message that comes again is the same one.
/// Long enough for a program on this machine to read what was written to it; an ID that is used anew
/// for the same contents later is another message.
pub(super) const DONE_MS: u64 = 1_000;
/// Bytes of them.
const MAX_DONE_BYTES: usize = 1 << 20;
/// Bytes that are kept for a client in all. What was sent first is forgotten beyond: its repetition
/// is sealed anew, and may so arrive twice.
const MAX_BYTES: usize = 64 << 20;

/// The key of the digests of one process, or of one store.
#[derive(Debug, Clone, Copy)]
pub(super) struct DigestKey(pub(super) [u8; 16]);

/// What a client wrote, so that the same can be known again.
pub(super) type Digest = u128;

impl DigestKey {
    /// Of topic, payload, properties, and what of the flags belongs to the message.
    pub(super) fn digest(self, version: Version, topic: &str, publish: &Publish<'_>) -> Digest {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        // a packet of one version is none of another
        hasher.write_u8(version.is_5().into());
        hasher.write_u8(publish.flags & 0b0111);
        hasher.write_usize(topic.len());
        hasher.write(topic.as_bytes());
        for setting in publish.properties.iter().filter(|setting| setting.id != 0x23) {
            hasher.write(setting.raw);
        }
        hasher.write_usize(publish.payload.len());
        hasher.write(publish.payload);
        hasher.finish128().as_u128()
    }
}

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It was sent, and nothing came back.
    Sent,
    /// The broker has it (PUBREC) and waits for PUBREL.
    Received,
    /// It was sent again so that the broker takes a PUBREL that has come: its PUBREC is not the
    /// client's.
    Resumed,
    /// It was acknowledged.
    Done,
}

/// One message under its packet ID.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) link: Link,
    /// Whether the packet is sealed; it passed as it was if not.
    pub(super) sealed: bool,
    /// The connection that it was sent on last; 0 for one before this start, of which the store does
    /// not say whether it was acknowledged.
    pub(super) connection: u64,
    pub(super) progress: Progress,
    /// When it was acknowledged, in Unix milliseconds.
    pub(super) done_at: u64,
    pub(super) digest: Digest,
    /// The whole packet; empty where it passed as it was, since the client sends the same again.
    pub(super) packet: Vec<u8>,
    /// Where it is stored.
    pub(super) row: Option<u64>,
}

impl Entry {
    /// Whether a message that says DUP can be this one, at `now` on this connection.
    pub(super) const fn may_come_again(&self, connection: u64, now: u64) -> bool {
        match self.progress {
            Progress::Done if self.connection == connection => {
                now.saturating_sub(self.done_at) <= DONE_MS
            }
            // what was done for long was forgotten with its connection
            _ => true,
        }
    }

    /// Whether PUBREL can be for it: it is of `QoS` 2 and not done.
    pub(super) fn waits_for_release(&self) -> bool {
        let qos = self.packet.first().map_or(2, |first| first >> 1 & 3);
        qos == 2 && self.progress != Progress::Done
    }

    /// Whether its client waits for an acknowledgement, on a connection other than this.
    pub(super) fn is_open_since_before(&self, connection: u64) -> bool {
        self.progress != Progress::Done && self.connection != 0 && self.connection != connection
    }
}

/// What is known of a client's packet IDs.
#[derive(Debug, Default)]
pub(super) struct Sent {
    entries: HashMap<u16, (u64, Entry)>,
    /// IDs in the order of their use, each with the number of that: those that were used anew since
    /// do not count.
    used: VecDeque<(u16, u64)>,
    /// The same of what is done.
    done: VecDeque<(u16, u64)>,
    /// The number of the next use.
    next: u64,
    bytes: usize,
    done_bytes: usize,
}

impl Sent {
    pub(super) fn get_mut(&mut self, id: u16) -> Option<&mut Entry> {
        self.entries.get_mut(&id).map(|(_, entry)| entry)
    }

    pub(super) fn get(&self, id: u16) -> Option<&Entry> {
        self.entries.get(&id).map(|(_, entry)| entry)
    }

    /// Keeps a message in place of the one before with this ID. What has to go is given to `gone`; how
    /// many messages had to that are not acknowledged, to make room.
    pub(super) fn put(&mut self, id: u16, entry: Entry, mut gone: impl FnMut(Entry)) -> u64 {
        self.remove(id).map(&mut gone);
        self.bytes = self.bytes.saturating_add(entry.packet.len());
        self.used.push_back((id, self.next));
        self.entries.insert(id, (self.next, entry));
        self.next = self.next.saturating_add(1);
        let mut open = 0_u64;
        while self.bytes > MAX_BYTES {
            let Some(oldest) = self.used.pop_front() else { return open };
            let Some(oldest) = self.remove_use(oldest) else { continue };
            open = open.saturating_add((oldest.progress != Progress::Done).into());
            gone(oldest);
        }
        // uses that do not count any more are as many as those that do
        if self.used.len() > self.entries.len().saturating_mul(2).saturating_add(16) {
            let Self { used, entries, .. } = self;
            used.retain(|(id, number)| entries.get(id).is_some_and(|(at, _)| at == number));
        }
        open
    }

    pub(super) fn remove(&mut self, id: u16) -> Option<Entry> {
        let (_, entry) = self.entries.remove(&id)?;
        self.bytes = self.bytes.saturating_sub(entry.packet.len());
        if entry.progress == Progress::Done {
            self.done_bytes = self.done_bytes.saturating_sub(entry.packet.len());
        }
        Some(entry)
    }

    fn remove_use(&mut self, (id, number): (u16, u64)) -> Option<Entry> {
        self.entries.get(&id).filter(|(at, _)| *at == number)?;
        self.remove(id)
    }

    /// The message is sent again, although it may be done.
    pub(super) fn revive(&mut self, id: u16) {
        let Some(entry) = self.entries.get_mut(&id).map(|(_, entry)| entry) else { return };
        if entry.progress == Progress::Done {
            entry.progress = Progress::Sent;
            self.done_bytes = self.done_bytes.saturating_sub(entry.packet.len());
        }
    }

    /// The message is acknowledged, at `now`. What has to go is given to `gone`.
    pub(super) fn done(&mut self, id: u16, now: u64, mut gone: impl FnMut(Entry)) {
        let Some((number, entry)) = self.entries.get_mut(&id) else { return };
        if entry.progress == Progress::Done {
            return;
        }
        if entry.packet.is_empty() {
            self.remove(id).map(gone);
            return;
        }
        entry.progress = Progress::Done;
        entry.done_at = now;
        self.done_bytes = self.done_bytes.saturating_add(entry.packet.len());
        self.done.push_back((id, *number));
        while self.done.len() > MAX_DONE || self.done_bytes > MAX_DONE_BYTES {
            let Some(oldest) = self.done.pop_front() else { return };
            let done = self.get(oldest.0).is_some_and(|entry| entry.progress == Progress::Done);
            if done {
                self.remove_use(oldest).map(&mut gone);
            }
        }
    }

    /// The connection ended at `now`: what was acknowledged long before has been heard of.
    pub(super) fn ended(&mut self, now: u64, mut gone: impl FnMut(Entry)) {
        let since = now.saturating_sub(DONE_MS);
        while let Some((id, number)) = self.done.front().copied() {
            let entry = self.entries.get(&id).filter(|(at, _)| *at == number);
            let done = entry.filter(|(_, entry)| entry.progress == Progress::Done);
            if done.is_some_and(|(_, entry)| entry.done_at >= since) {
                return;
            }
            self.done.pop_front();
            if done.is_some() {
                self.remove(id).map(&mut gone);
            }
        }
    }

    /// Forgets what is acknowledged: it does not come again. What has to go is given to `gone`.
    pub(super) fn forget_done(&mut self, mut gone: impl FnMut(Entry)) {
        for (id, number) in core::mem::take(&mut self.done) {
            let done = self.get(id).is_some_and(|entry| entry.progress == Progress::Done);
            if done {
                self.remove_use((id, number)).map(&mut gone);
            }
        }
    }

    /// Forgets what the client sends again as a whole, and only with `all` that of which it may say
    /// no more than PUBREL. What has to go.
    pub(super) fn forget(&mut self, all: bool) -> Vec<Entry> {
        let goes = |entry: &Entry| all || !entry.waits_for_release();
        let gone = self.entries.iter().filter(|(_, (_, entry))| goes(entry));
        let gone: Vec<_> = gone.map(|(id, _)| *id).collect();
        gone.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Bytes of all messages.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets messages that passed as they were and may not any more, by their topics.
    pub(super) fn keep_passed(&mut self, may_pass: impl Fn(&str) -> bool) {
        let mut gone = Vec::new();
        for (id, (_, entry)) in &self.entries {
            let topic = || {
                let frame = Frame::first(&entry.packet, usize::MAX).ok().flatten()?;
                core::str::from_utf8(Reader(frame.body).lp()?).ok()
            };
            if !entry.sealed && !topic().is_some_and(&may_pass) {
                gone.push(*id);
            }
        }
        for id in gone {
            self.remove(id);
        }
    }

    /// The numbers of the rows in the store.
    pub(super) fn rows(&self) -> impl Iterator<Item = u64> {
        self.entries.values().filter_map(|(_, entry)| entry.row)
    }

    /// Messages that are not acknowledged.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.entries.values().filter(|(_, entry)| entry.progress != Progress::Done).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn entry(bytes: usize) -> Entry {
        Entry {
            link: Link::Tcp,
            sealed: true,
            connection: 0,
            progress: Progress::Sent,
            done_at: 0,
            digest: 0,
            packet: vec![1; bytes],
            row: None,
        }
    }

    #[test]
    fn acknowledged_messages_are_bounded_in_number_and_bytes() {
        for (bytes, kept) in [(1, MAX_DONE), (MAX_DONE_BYTES / 4, 4), (MAX_DONE_BYTES + 1, 0)] {
            let mut sent = Sent::default();
            let mut gone = 0;
            for id in 1..=2_000 {
                sent.put(id, entry(bytes), |_| ());
                sent.done(id, 0, |_| gone += 1);
            }
            assert_eq!((sent.entries.len(), gone), (kept, 2_000 - kept), "{bytes}");
        }
    }

    #[test]
    fn an_id_that_is_used_anew_is_not_forgotten_with_its_first_use() {
        let mut sent = Sent::default();
        for _ in 0..3 {
            sent.put(1, entry(1), |_| ());
            sent.done(1, 0, |_| ());
        }
        sent.put(1, entry(1), |_| ());
        for id in 2..=2_000 {
            sent.put(id, entry(1), |_| ());
            sent.done(id, 0, |_| ());
        }
        assert!(sent.get(1).is_some());
        assert_eq!(sent.open(), 1);
        assert_eq!(sent.done_bytes, MAX_DONE);
    }

    #[test]
    fn what_passed_as_it_was_is_forgotten_with_its_acknowledgement() {
        let mut sent = Sent::default();
        sent.put(1, entry(0), |_| ());
        sent.done(1, 0, |_| ());
        assert!(sent.get(1).is_none());
    }

    #[test]
    fn what_is_kept_for_a_client_is_bounded_in_bytes() {
        let mut sent = Sent::default();
        let mut gone = Vec::new();
        for id in 1..=100 {
            let open = sent.put(id, entry(1 << 20), |entry| gone.push(entry));
            assert_eq!(open, u64::from(id > 64));
        }
        assert_eq!((sent.open(), gone.len()), (64, 36));
        assert!(sent.get(36).is_none() && sent.get(37).is_some());
        // an ID in constant use does not pile up
        for _ in 0..1_000 {
            sent.put(100, entry(1), |_| ());
        }
        assert!(sent.used.len() < 200);
        assert_eq!(sent.bytes, (63 << 20) + 1);
    }

    #[test]
    fn what_was_acknowledged_long_before_a_connection_ended_is_forgotten() {
        let mut sent = Sent::default();
        for (id, at) in [(1, 1_000), (2, 1_500), (3, 2_000)] {
            sent.put(id, entry(1), |_| ());
            sent.done(id, at, |_| ());
        }
        // one in use again, and one that is not acknowledged
        sent.put(1, entry(1), |_| ());
        sent.put(4, entry(1), |_| ());
        sent.ended(2_501, |_| ());
        let left: Vec<_> = (1..=4).filter(|id| sent.get(*id).is_some()).collect();
        assert_eq!(left, [1, 3, 4]);
        assert_eq!((sent.bytes, sent.done_bytes), (3, 1));
    }
}
