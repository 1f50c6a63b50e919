//! What fuzz targets reach of the proxy: the writers of packets, a session without sockets, and a
//! store without a file.
//! Exists under `--cfg fuzzing` alone, and is no part of the library.

use core::fmt;
use std::collections::HashMap;
use std::string::{String, ToString};
use std::sync::{Arc, Mutex, RwLock};
use std::vec::Vec;

use super::clients::{Clients, Stored};
use super::keeper::Keeper;
use super::keeper::by_hand::ByHand;
use super::meters::{Meters, Shows};
use super::packet::{
    Connack, Connect, Draft, Frame, Kind, Malformed, Publish, Suback, Subscribe, Version,
};
use super::sent::DigestKey;
use super::server::Found;
use super::session::{self, Limits, Session};
use super::{Core, InForce, Settings};
use crate::guard::Config;
use crate::keyring::Keyring;
use crate::policy::{Links, Policy};
use crate::store::outbox_file::NumberedRow;

/// One of the ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Client,
    /// The broker by the main link.
    Main,
    /// The broker by the plain link.
    Plain,
}

impl From<Side> for session::Side {
    fn from(side: Side) -> Self {
        match side {
            Side::Client => Self::Client,
            Side::Main => Self::Main,
            Side::Plain => Self::Plain,
        }
    }
}

/// What the proxy may put in place of something else.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The limit for packets that CONNECT and CONNACK tell.
    pub max_packet: Option<u32>,
    /// The limit for unacknowledged messages that CONNACK tells.
    pub receive_max: Option<u16>,
    /// The topic of PUBLISH.
    pub topic: &'a [u8],
    /// The payload of PUBLISH and of a will, whose properties are left out.
    pub payload: &'a [u8],
}

/// Writes a packet anew from its parts, all of them or with changes: every second filter of
/// SUBSCRIBE is left out then, and the answers of SUBACK are turned round. `None` for a packet that
/// is never written anew.
///
/// # Errors
/// [`Malformed`], as the parser says.
pub fn rewrite(
    frame: &Frame<'_>,
    version: Version,
    change: Option<&Change<'_>>,
) -> Result<Option<Vec<u8>>, Malformed> {
    let mut out = Vec::new();
    match frame.kind {
        Kind::Connect => {
            let Some(connect) = Connect::parse(frame)? else { return Ok(None) };
            let same = connect.will.as_ref().map(|w| (w.properties.as_bytes(), w.payload));
            let will = change.map_or(same, |change| Some((&[][..], change.payload)));
            let max = change.map_or(connect.max_packet(), |change| change.max_packet);
            connect.write_with(max, will, &mut out);
        }
        Kind::Connack if version.is_5() => {
            let connack = Connack::parse(frame, version)?;
            let max = change.map_or(connack.max_packet(), |change| change.max_packet);
            let receive = change.map_or(connack.receive_max(), |change| change.receive_max);
            connack.write_with(max, receive, &mut out);
        }
        Kind::Publish => {
            let Publish { flags, topic, id, properties, payload, .. } =
                Publish::parse(frame, version)?;
            let topic = change.map_or(topic, |change| change.topic);
            let payload = change.map_or(payload, |change| change.payload);
            let properties = properties.as_bytes();
            let draft = Draft { version, flags, topic, id, properties };
            draft.write(payload, &mut out);
            assert_eq!(draft.len(payload.len()), out.len());
        }
        Kind::Subscribe => {
            let keep = |at: usize| change.is_none() || at.is_multiple_of(2);
            Subscribe::parse(frame, version)?.write_some(version, keep, &mut out);
        }
        Kind::Suback => {
            let suback = Suback::parse(frame, version)?;
            let mut reasons = suback.reasons.to_vec();
            if change.is_some() {
                reasons.reverse();
            }
            suback.write_with(version, &reasons, &mut out);
        }
        _ => return Ok(None),
    }
    Ok(Some(out))
}

/// The CONNECT of the plain link beside this one.
#[must_use]
pub fn plain_connect(connect: &Connect<'_>, client_id: &str) -> Vec<u8> {
    let mut out = Vec::new();
    connect.write_plain(client_id, &mut out);
    out
}

/// What all connections of one proxy share.
#[derive(Debug, Clone)]
pub struct Shared(Arc<Core>);

impl Shared {
    /// A proxy that takes in packets of up to `max_packet` bytes.
    #[must_use]
    pub fn new(policy: Policy, keyring: Keyring, links: Links, max_packet: usize) -> Self {
        let config = Config::new(policy, keyring, links);
        Self::with(config, max_packet, HashMap::new(), DigestKey([3; 16]), None)
    }

    /// A proxy with what a store holds.
    ///
    /// # Panics
    /// If no store holds that.
    #[must_use]
    pub fn stored(
        policy: Policy,
        keyring: Keyring,
        links: Links,
        max_packet: usize,
        rows: &[NumberedRow],
    ) -> (Self, Store) {
        let mut found = Found::read(rows).expect("rows of a proxy");
        let (keeper, hand) = Keeper::by_hand(rows, found.next);
        found.begin(&keeper).expect("random numbers");
        let (clients, digest_key) = (found.clients, found.digest_key.expect("a key of digests"));
        let config = Config::new(policy, keyring, links);
        let shared = Self::with(config, max_packet, clients, digest_key, Some(Arc::new(keeper)));
        (shared, Store(hand))
    }

    fn with(
        config: Config,
        max_packet: usize,
        stored: HashMap<String, Stored>,
        digest_key: DigestKey,
        keeper: Option<Arc<Keeper>>,
    ) -> Self {
        let links = config.links();
        Self(Arc::new(Core {
            settings: Settings {
                links,
                max_packet,
                plain_suffix: "-tcp".into(),
                credentials_in_clear: false,
                forward_bare_deletes: false,
                verified_by: "nothing",
                auth_topics: None,
            },
            in_force: RwLock::new(Arc::new(InForce::new(config))),
            clients: Clients::new(stored, keeper.clone()),
            keeper,
            digest_key,
            meters: Meters::new(Shows::Nothing),
            vouching: None,
            plain_limits: Mutex::new(Limits::default()),
        }))
    }

    /// Puts other rules and keys in force.
    ///
    /// # Panics
    /// If a rule is less strict than the one before.
    pub fn reload(&self, policy: Policy, keyring: Keyring) {
        let links = self.0.settings.links;
        self.0.replace(Config::new(policy, keyring, links)).expect("rules as strict");
    }

    /// Ends the use of the store in good order, when no connection is left.
    pub fn stop(&self) {
        self.0.clients.stop();
    }

    /// The bytes by which sealing lengthens a packet at most.
    #[must_use]
    pub fn growth(&self) -> u32 {
        self.0.in_force().growth
    }
}

/// A store that works when it is told to.
pub struct Store(ByHand);

/// A number, and what is stored under it.
pub type StoredRow = NumberedRow;

impl Store {
    /// Writes up to so many jobs at once; whether there were any.
    pub fn work(&mut self, jobs: usize) -> bool {
        self.0.work(jobs)
    }

    /// What was acknowledged is no longer kept for its repetition.
    pub fn expire(&mut self) {
        self.0.expire();
    }

    /// Does what there is to do, and closes.
    pub fn close(&mut self) {
        self.0.close();
    }

    /// What a crash leaves.
    #[must_use]
    pub fn durable(&self) -> Vec<StoredRow> {
        self.0.durable()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

/// One client's connection.
pub struct Connection(Session);

impl Connection {
    /// The connection with this number, of which there is one.
    #[must_use]
    pub fn new(shared: &Shared, number: u64) -> Self {
        Self(Session::new(Arc::clone(&shared.0), number))
    }

    /// Deals with the whole packets at the front of `bytes`, and says how many bytes and packets
    /// those had.
    ///
    /// # Errors
    /// Why the connection ends.
    pub fn take(&mut self, side: Side, bytes: &[u8], now: u64) -> Result<(usize, u64), String> {
        let taken = self.0.take(side.into(), bytes, Some(now));
        let taken = taken.map_err(|ended: session::Ended| ended.to_string())?;
        Ok((taken.bytes, taken.packets))
    }

    /// What is to be written to `side`, which is written then.
    pub fn written(&mut self, side: Side) -> Vec<u8> {
        let outbox = match side {
            Side::Client => &mut self.0.to_client,
            Side::Main => &mut self.0.to_main,
            Side::Plain => &mut self.0.to_plain,
        };
        let bytes = outbox.ready().to_vec();
        outbox.wrote(bytes.len());
        bytes
    }

    /// What is durable by now may leave.
    pub fn reached(&mut self, shared: &Shared) {
        if let Some(keeper) = &shared.0.keeper {
            self.0.reached(*keeper.progress().borrow());
        }
    }

    /// How many bytes wait for `side`, with those that may not leave yet.
    #[must_use]
    pub fn waiting(&self, side: Side) -> usize {
        match side {
            Side::Client => self.0.to_client.waiting(),
            Side::Main => self.0.to_main.waiting(),
            Side::Plain => self.0.to_plain.waiting(),
        }
    }

    /// The proxy stops.
    pub fn stop(&mut self) {
        self.0.stop();
    }

    /// The connection has ended, for whatever reason.
    pub fn ended(&self, now: u64) {
        self.0.ended(now);
    }

    /// Opens the plain link if it is asked for; whether it was.
    pub fn open_plain(&mut self) -> bool {
        let wanted = self.0.wants_plain();
        if wanted {
            self.0.plain_open();
        }
        wanted
    }

    /// Whether nothing more comes.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}
