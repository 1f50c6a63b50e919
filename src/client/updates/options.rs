//! What a client's key updates are made with, and from there to the running client.

use core::error::Error;
use core::fmt;
use core::time::Duration;
use std::boxed::Box;
use std::sync::{Arc, Mutex};

use super::{Desk, Keeper, Keys, Updates, again};
use crate::client::counters::Renewals;
use crate::client::error::ConfigError;
use crate::client::guards::{Guards, now};
use crate::client::inbox::Inbox;
use crate::client::peer::PeerAuth;
use crate::guard::{Config, GuardRx, GuardTx};
use crate::keyring::Keyring;
use crate::peer::PeerId;
use crate::policy::Link;
use crate::schedule::RealmError;
use crate::secret::SharedKey;
use crate::topic::TopicError;
use crate::update::{Held, Receiver, StateError, Topics, UpdateStore};

/// How long a broker has to deliver the update that the authority speaks of.
const GRACE: Duration = Duration::from_secs(5);

/// Why a client's key updates are not taken up. `E` is the error of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyUpdatesError<E> {
    /// The prefix makes no topics.
    Prefix(TopicError),
    /// The realm is none.
    Realm(RealmError),
    /// The store failed.
    Store(E),
    /// What it holds is no state of this device.
    State(StateError),
}

impl<E: fmt::Display> fmt::Display for KeyUpdatesError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(error) => write!(f, "the prefix of the key topics: {error}"),
            Self::Realm(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::State(error) => error.fmt(f),
        }
    }
}

impl<E: Error> Error for KeyUpdatesError<E> {}

/// The keys that a client's authority sends it over MQTT, and where it keeps them.
///
/// The client listens on `<prefix>/keys/<device>`. What is there is matched before the policy and
/// never delivered; the application can neither publish nor subscribe there. A newer update is stored
/// as a whole, then it is in force ([`Event::KeysUpdated`](super::super::Event::KeysUpdated)), and
/// then it is acknowledged on `<prefix>/keys/<device>/ack`.
///
/// An update lists all keys that the device has by updates: what it does not list is erased. They
/// stand beside the keys of the guard that the client was made with. Of a key of which an update
/// lists any generation, the update alone says what is in force. What the store holds is in force
/// before the first connection.
///
/// While a client has key updates, a message of a sealed rule under an unknown key is acknowledged
/// and kept: up to 32 of them, 1 MiB and 30 seconds. They are delivered when the update with their
/// key is in force, and rejected otherwise.
///
/// A device that has stored nothing asks its authority first how new its keys have to be: with
/// [`require_peer_auth`](super::super::ClientOptions::require_peer_auth), under the same pairwise
/// key. At every later run the authority says so again, and a broker that withholds an update is
/// found out ([`Event::UpdateWithheld`](super::super::Event::UpdateWithheld)).
///
/// An update may name the TLS keys of the broker. A link of `verify_by_peer_alone` then begins with
/// these keys pinned and without a probe, so that the broker may ask for a password, in the place of
/// those that the device was given at first ([`PeerAuth::pins`]); a server with another key is probed
/// as ever.
///
/// ```
/// use mqtt_seal::client::KeyUpdates;
/// use mqtt_seal::peer::{PeerId, PeerKey};
/// use mqtt_seal::rumqttc_v4::{ClientOptions, PeerAuth};
/// use mqtt_seal::secret::SharedKey;
/// use mqtt_seal::store::update_file::UpdateFile;
/// use mqtt_seal::topic::TopicName;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("updates");
/// // 32 random bytes, from your provisioning, that only the device and its authority hold
/// let pairwise = SharedKey::take(&mut [7; 32]);
/// let device = PeerId::parse("sensor-7")?;
/// let store = UpdateFile::open(&path)?;
/// let updates = KeyUpdates::new(&pairwise, "acme-prod", device, "acme", store)?;
/// let peer = PeerAuth::new(
///     PeerKey::pairwise(&pairwise, "acme-prod")?,
///     device,
///     PeerId::parse("authority")?,
///     TopicName::parse("auth/req")?,
///     TopicName::parse("auth/sensor-7/res")?,
/// );
/// let options = ClientOptions::new().require_peer_auth(peer).key_updates(updates);
/// # let _ = options;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KeyUpdates {
    receiver: Receiver,
    store: Box<dyn Keeper>,
    held: Option<Held>,
    grace: Duration,
}

impl KeyUpdates {
    /// Of `device`, under the pairwise `key`, on the topics below `prefix`. The store is read here,
    /// and written on threads for blocking work.
    ///
    /// # Errors
    /// [`KeyUpdatesError`], in the order of its variants.
    pub fn new<S>(
        key: &SharedKey,
        realm: &str,
        device: PeerId<'_>,
        prefix: &str,
        mut store: S,
    ) -> Result<Self, KeyUpdatesError<S::Error>>
    where
        S: UpdateStore + Send + 'static,
        S::Error: Error + Send + Sync + 'static,
    {
        use KeyUpdatesError as E;
        let topics = Topics::new(prefix, device).map_err(E::Prefix)?;
        let mut receiver = Receiver::new(key, realm, device, topics, None).map_err(E::Realm)?;
        let state = store.read().map_err(E::Store)?;
        let held = state.map(|state| Held::decode(&state, receiver.kid()));
        let held = held.transpose().map_err(E::State)?;
        if let Some(held) = &held {
            receiver.resume(held.snapshot());
        }
        Ok(Self { receiver, store: Box::new(store), held, grace: GRACE })
    }

    /// How long a broker has after a run of peer authentication to deliver the newest update before
    /// it counts as withheld: 5 seconds by default.
    #[must_use]
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// The serial of the update that is stored.
    #[must_use]
    pub const fn serial(&self) -> Option<u64> {
        self.receiver.serial()
    }

    pub(in crate::client) const fn topics(&self) -> &Topics {
        self.receiver.topics()
    }

    /// Whether a client that is authenticated by `peer` can begin with what is stored.
    pub(in crate::client) fn check(&self, peer: Option<&PeerAuth>) -> Result<(), ConfigError> {
        match peer {
            Some(peer) => peer.check_updates(&self.receiver).map_err(ConfigError::UpdatesOfOther),
            None if self.held.is_none() => Err(ConfigError::UpdatesNeedRun),
            None => Ok(()),
        }
    }

    /// Puts what is stored in force. Returns the keys of the guard's own configuration.
    pub(in crate::client) fn take_up(&self, tx: &mut GuardTx, rx: &mut GuardRx) -> Keyring {
        let before = Arc::clone(tx.config());
        let base = again(before.keyring());
        if let Some(held) = &self.held {
            let keyring = held.keyring(&base, now());
            let config = Config::new(before.policy().clone(), keyring, before.links());
            let config = Arc::new(config);
            tx.replace(Arc::clone(&config));
            rx.replace(config);
        }
        base
    }

    /// The updates of a running client, which come by the link `home`; `persistent`: the broker
    /// keeps its session.
    pub(in crate::client) fn run(
        self,
        base: Keyring,
        (home, persistent): (Link, bool),
        guards: &Guards,
        renewals: &Renewals,
        inbox: &Arc<Inbox>,
    ) -> Arc<Updates> {
        let Self { receiver, store, held, grace } = self;
        let (owner, topics) = (receiver.kid(), receiver.topics().clone());
        let mut keys = Keys { base, held, due: None };
        keys.due = keys.next_date(now());
        Arc::new(Updates {
            turn: Arc::default(),
            desk: Mutex::new(Desk { receiver, store }),
            keys: Mutex::new(keys),
            owner,
            topics,
            grace,
            persistent,
            home,
            guards: guards.clone(),
            renewals: renewals.clone(),
            inbox: Arc::clone(inbox),
        })
    }
}

impl fmt::Debug for KeyUpdates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (topic, serial) = (self.topics().keys(), self.serial());
        f.debug_struct("KeyUpdates")
            .field("topic", &topic)
            .field("serial", &serial)
            .finish_non_exhaustive()
    }
}
