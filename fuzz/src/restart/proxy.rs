//! The proxy as its process is: what it has taken in, and what its file holds.

use mqtt_seal::policy::Links;
use mqtt_seal::proxy::fuzzing::{Connection, Shared, Side, Store, StoredRow};

use super::{keyring, rules};
use crate::proxy::pair::SIDES;

/// Bytes of the largest packet that is taken in.
const MAX_PACKET: usize = 4_096;

/// A process.
#[derive(Debug)]
pub struct Proxy {
    links: Links,
    shared: Shared,
    store: Store,
    connection: Option<Connection>,
    connections: u64,
    inbox: [Vec<u8>; 3],
    /// Editions of rules and keys.
    pub(super) editions: [usize; 2],
}

impl Proxy {
    /// Starts with what a file holds.
    pub(super) fn start(links: Links, editions: [usize; 2], rows: &[StoredRow]) -> Self {
        let (rules, keys) = (rules(editions[0]), keyring(editions[1]));
        let (shared, store) = Shared::stored(rules, keys, links, MAX_PACKET, rows);
        Self {
            links,
            shared,
            store,
            connection: None,
            connections: 0,
            inbox: Default::default(),
            editions,
        }
    }

    /// Starts anew where this one was killed.
    pub(super) fn killed(&mut self) {
        *self = Self::start(self.links, self.editions, &self.store.durable());
    }

    /// Ends in good order, and starts anew.
    pub(super) fn restart(&mut self) {
        self.shared.stop();
        self.store.close();
        self.killed();
    }

    /// Takes up the editions that are meant.
    pub(super) fn reload(&self) {
        self.shared.reload(rules(self.editions[0]), keyring(self.editions[1]));
    }

    /// A client comes.
    pub(super) fn accept(&mut self) {
        self.connections += 1;
        self.inbox = Default::default();
        self.connection = Some(Connection::new(&self.shared, self.connections));
    }

    /// Whether a client is there.
    pub(super) fn serves(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| !connection.is_over())
    }

    /// Takes bytes in. Whether the plain link was opened.
    ///
    /// # Panics
    /// If an honest end is refused.
    pub(super) fn take(&mut self, side: usize, bytes: &[u8], now: u64) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        self.inbox[side].extend_from_slice(bytes);
        let (mut opened, mut moved) = (false, true);
        while moved {
            moved = false;
            for (side, inbox) in SIDES.into_iter().zip(&mut self.inbox) {
                let taken = connection.take(side, inbox, now);
                let (bytes, packets) = taken.unwrap_or_else(|ended| panic!("{ended}"));
                inbox.drain(..bytes);
                moved |= packets > 0;
            }
            let opens = connection.open_plain();
            opened |= opens;
            moved |= opens;
        }
        opened
    }

    /// What leaves for this side.
    pub(super) fn written(&mut self, side: usize) -> Vec<u8> {
        let Some(connection) = &mut self.connection else { return vec![] };
        connection.reached(&self.shared);
        connection.written(SIDES[side])
    }

    /// Bytes that wait for the broker by the main link.
    pub(super) fn waiting(&self) -> usize {
        self.connection.as_ref().map_or(0, |connection| connection.waiting(Side::Main))
    }

    /// Writes to the store; whether there was something to write.
    pub(super) fn work(&mut self, jobs: usize) -> bool {
        self.store.work(jobs)
    }

    /// What was acknowledged for long goes.
    pub(super) fn expire(&mut self) {
        self.store.expire();
    }

    /// The client's connection has ended; the proxy stops, too, if that is so.
    pub(super) fn ended(&mut self, stops: bool, now: u64) {
        if let Some(connection) = &mut self.connection {
            if stops {
                connection.stop();
            }
            connection.ended(now);
        }
    }

    /// The connection is gone.
    pub(super) fn forget(&mut self) {
        self.connection = None;
    }
}
