//! The client's own sessions: the sending half tells them, the receiving half knows them again.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU32, Ordering};

use super::lru::Lru;
use crate::replay::Sender;
use crate::wire::header::{KeyId, SessionId};

/// Sessions that the sending half may start before the receiving half looks. Of more, the oldest
/// are missed.
const SLOTS: usize = 256;
/// Own sessions that are known at a time.
const MAX_KNOWN: usize = 4_096;
/// KID, kind of the ID, and three words of it.
const WORDS: usize = 5;

/// A ring that one half writes and the other reads, without a lock.
#[derive(Debug)]
struct Ring {
    slots: [[AtomicU32; WORDS]; SLOTS],
    /// Sessions written so far.
    written: AtomicU32,
}

/// The writing end.
#[derive(Debug)]
pub(super) struct Announce(Arc<Ring>);

/// The reading end, and what it has read.
#[derive(Debug)]
pub(super) struct OwnSessions {
    ring: Arc<Ring>,
    read: u32,
    known: Lru<Sender, ()>,
    /// Sessions that were learned so far, over restarts.
    number: u64,
}

/// Both ends.
pub(super) fn ring() -> (Announce, OwnSessions) {
    let slots = core::array::from_fn(|_| [const { AtomicU32::new(0) }; WORDS]);
    let ring = Arc::new(Ring { slots, written: AtomicU32::new(0) });
    let own = OwnSessions { ring: Arc::clone(&ring), read: 0, known: Lru::new(), number: 0 };
    (Announce(ring), own)
}

fn slot(ring: &Ring, number: u32) -> Option<&[AtomicU32; WORDS]> {
    let slots = u32::try_from(SLOTS).unwrap_or(1);
    ring.slots.get(usize::try_from(number.checked_rem(slots)?).ok()?)
}

impl Announce {
    /// A session was started. There is one writer: the sending half is not shared.
    pub(super) fn started(&mut self, kid: KeyId, id: SessionId) {
        let number = self.0.written.load(Ordering::SeqCst);
        let Some(slot) = slot(&self.0, number) else { return };
        for (slot, word) in slot.iter().zip(words(Sender { kid, id })) {
            slot.store(word, Ordering::SeqCst);
        }
        self.0.written.store(number.wrapping_add(1), Ordering::SeqCst);
    }
}

impl OwnSessions {
    /// Whether sessions were started since they were learned.
    pub(super) fn has_news(&self) -> bool {
        self.ring.written.load(Ordering::Relaxed) != self.read
    }

    /// The sessions that were started since the last call.
    pub(super) fn learn(&mut self) -> Vec<Sender> {
        let written = self.ring.written.load(Ordering::SeqCst);
        let slots = u32::try_from(SLOTS).unwrap_or(1);
        // the slot that may be written next is not safe to read
        let missed = written.wrapping_sub(self.read).saturating_sub(slots.saturating_sub(1));
        let mut new = Vec::new();
        let mut number = self.read.wrapping_add(missed);
        while number != written {
            let sender = slot(&self.ring, number).and_then(|slot| {
                sender(&core::array::from_fn(|at| {
                    slot.get(at).map_or(0, |word| word.load(Ordering::SeqCst))
                }))
            });
            let now = self.ring.written.load(Ordering::SeqCst);
            if now.wrapping_sub(number) < slots {
                new.extend(sender);
            }
            number = number.wrapping_add(1);
        }
        self.read = written;
        new
    }

    /// The next session has this number.
    pub(super) const fn go_on_from(&mut self, number: u64) {
        self.number = number;
    }

    /// A session of this client, perhaps of an earlier run. Returns its number.
    pub(super) fn know(&mut self, sender: Sender) -> u64 {
        let number = self.number;
        self.number = number.saturating_add(1);
        self.known.remove(&sender);
        self.known.insert(sender, ());
        if self.known.len() > MAX_KNOWN {
            self.known.pop_oldest();
        }
        number
    }

    pub(super) fn is_own(&self, kid: KeyId, id: SessionId) -> bool {
        self.known.get(&Sender { kid, id }).is_some()
    }
}

fn words(sender: Sender) -> [u32; WORDS] {
    let kid = u32::from_be_bytes(sender.kid.to_bytes());
    match sender.id {
        SessionId::Random(sid) => {
            let [a, b, c, ..] = sid.as_chunks::<4>().0 else { return [0; WORDS] };
            let [a, b, c] = [a, b, c].map(|word| u32::from_be_bytes(*word));
            [kid, 1, a, b, c]
        }
        SessionId::Sender(number) => [kid, 2, number.get(), 0, 0],
    }
}

fn sender(words: &[u32; WORDS]) -> Option<Sender> {
    let [kid, kind, a, b, c] = *words;
    let id = match kind {
        1 => {
            let mut sid = [0; 12];
            let bytes = [a, b, c].map(u32::to_be_bytes);
            for (slot, byte) in sid.iter_mut().zip(bytes.as_flattened()) {
                *slot = *byte;
            }
            SessionId::Random(sid)
        }
        2 => SessionId::Sender(crate::wire::header::SenderNumber::new(a)?),
        _ => return None,
    };
    Some(Sender { kid: KeyId::new(kid.to_be_bytes()), id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::header::SenderNumber;

    fn random(n: u32) -> Sender {
        let mut sid = [7; 12];
        sid[8..].copy_from_slice(&n.to_be_bytes());
        Sender { kid: KeyId::new([1, 2, 3, 4]), id: SessionId::Random(sid) }
    }

    #[test]
    fn every_session_is_learned_once_and_in_order() {
        let (mut announce, mut own) = ring();
        let compact = SessionId::Sender(SenderNumber::new(70_000).unwrap());
        let all = [random(1), Sender { kid: KeyId::new([9; 4]), id: compact }, random(2)];
        for sender in all {
            announce.started(sender.kid, sender.id);
        }
        assert_eq!(own.learn(), all);
        assert_eq!(own.learn(), []);
        own.know(all[1]);
        assert!(own.is_own(all[1].kid, compact));
        assert!(!own.is_own(KeyId::new([8; 4]), compact));
    }

    #[test]
    fn of_too_many_sessions_the_last_are_learned() {
        let (mut announce, mut own) = ring();
        for n in 0..600 {
            announce.started(random(n).kid, random(n).id);
        }
        let expected: Vec<_> = (345..600).map(random).collect();
        assert_eq!(own.learn(), expected);
    }

    #[test]
    fn the_session_known_for_longest_is_forgotten_first() {
        let (_, mut own) = ring();
        for n in 0..=4_096 {
            own.know(random(n));
        }
        assert!(!own.is_own(random(0).kid, random(0).id));
        assert!(own.is_own(random(1).kid, random(1).id));
    }
}
