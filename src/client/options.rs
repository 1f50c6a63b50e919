//! What a client is made with, and the checks before it starts.

use core::error::Error;
use core::fmt;
use core::time::Duration;
use std::boxed::Box;
use std::string::String;
use std::sync::Arc;
use std::vec::Vec;

use super::counters::Stores;
use super::error::ConfigError;
use super::journal::Stored;
use super::log::Taken;
use super::peer::PeerAuth;
use super::updates::KeyUpdates;
use super::will::{Will, lacks_key};
use crate::guard::{GuardTx, Prefer, ReplayLog};
use crate::policy::{Link, Links, Policy};
use crate::session::CounterStore;
use crate::topic::MAX_TOPIC_LEN;
use crate::update::Topics;
use crate::wire::header::SenderNumber;

/// The shortest pause before connecting again, in milliseconds.
const MIN_RECONNECT_MS: u64 = 100;
/// The longest.
const MAX_RECONNECT_MS: u64 = 30_000;
/// Events that wait for the application before any is let go.
const EVENT_CAPACITY: usize = 1_024;
/// Bytes of messages that a link keeps until they are acknowledged: 16 MiB.
const OUTBOX_BYTES: usize = 16 << 20;
/// What a PUBLISH has beside topic, payload and properties, at most: five bytes of fixed header,
/// the topic's length, the packet ID, the length of the properties (MQTT 5.0 §3.3).
const PUBLISH_OVERHEAD: usize = 13;
/// Bytes of properties on the packet for which there is room by default.
const PROPERTIES: usize = 65_535;
/// The most that a 16-bit field of MQTT can say.
const MAX_FIELD: usize = 65_535;

/// The links of a client and how it uses them. `M` is the `MqttOptions` of the MQTT client.
///
/// Of each link's MQTT options are kept: client ID, address, keep-alive, credentials, will, and
/// `inflight` as the number of messages that may be unacknowledged at a time. The adapter sets
/// the rest itself: transport, manual acknowledgements, clean session and the packet limits.
///
/// A will is treated as a message on its topic: it is sealed if the rule says so, anew before every
/// connection and with the properties that the rule hides inside, and it goes by the link that the
/// rule names. Publish the status that it replaces on the same topic with the same `QoS`.
pub struct ClientOptions<M> {
    pub(super) tcp: Option<M>,
    pub(super) tls: Option<TlsLink<M>>,
    pub(super) settings: Settings,
    pub(super) counters: Stores,
    pub(super) outbox: Option<Stored>,
    pub(super) replay_log: Option<Taken>,
    pub(super) peer: Option<PeerAuth>,
    pub(super) updates: Option<KeyUpdates>,
    pub(super) danger_allow_step_back: bool,
}

pub(super) struct TlsLink<M> {
    pub(super) mqtt: M,
    #[cfg(feature = "tls")]
    pub(super) config: crate::tls::LinkTls,
}

/// What both links have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) auto_ack: bool,
    pub(super) event_capacity: usize,
    pub(super) outbox_bytes: usize,
    pub(super) republish_bytes: usize,
    pub(super) max_packet: Option<(usize, usize)>,
    pub(super) reconnect: (Duration, Duration),
    danger_credentials_on_plain_link: bool,
    /// Whether the broker keeps the session of a client that only subscribes.
    pub(super) persistent: bool,
}

impl<M> ClientOptions<M> {
    /// No link yet, and defaults for everything else.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            tcp: None,
            tls: None,
            settings: Settings {
                auto_ack: false,
                event_capacity: EVENT_CAPACITY,
                outbox_bytes: OUTBOX_BYTES,
                republish_bytes: 0,
                max_packet: None,
                reconnect: (
                    Duration::from_millis(MIN_RECONNECT_MS),
                    Duration::from_millis(MAX_RECONNECT_MS),
                ),
                danger_credentials_on_plain_link: false,
                persistent: false,
            },
            counters: Vec::new(),
            outbox: None,
            replay_log: None,
            peer: None,
            updates: None,
            danger_allow_step_back: false,
        }
    }

    /// With a plain link to this broker.
    #[must_use]
    pub fn tcp(mut self, mqtt: M) -> Self {
        self.tcp = Some(mqtt);
        self
    }

    /// With a TLS link to this broker, by a [`TlsConfig`](crate::tls::TlsConfig) or a configuration
    /// of rustls. Give clients that are made again the same one: their connections then resume
    /// sessions in place of full handshakes.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, mqtt: M, config: impl Into<crate::tls::LinkTls>) -> Self {
        let config = config.into();
        self.tls = Some(TlsLink { mqtt, config });
        self
    }

    /// Whether a message counts as dealt with when the application polls for the next event, and
    /// is acknowledged then. Default: no, the application acknowledges.
    #[must_use]
    pub const fn auto_ack(mut self, yes: bool) -> Self {
        self.settings.auto_ack = yes;
        self
    }

    /// Events that may wait for the application, 1,024 by default; see [`EventLoop`](super::EventLoop)
    /// for what becomes of more.
    #[must_use]
    pub const fn event_capacity(mut self, events: usize) -> Self {
        self.settings.event_capacity = events;
        self
    }

    /// Bytes of messages that each link keeps until they are acknowledged, 16 MiB by default: with
    /// more, [`publish`](super::AsyncClient::publish) waits. One message that is longer goes alone.
    #[must_use]
    pub const fn outbox_bytes(mut self, bytes: usize) -> Self {
        self.settings.outbox_bytes = bytes;
        self
    }

    /// With retained values that are published again when their key does not seal any more: each
    /// link keeps the last value of each topic that it published since its start, sealed, as far as
    /// they fit into so many bytes; 0 by default. It goes out as it was, under the new key and with a
    /// new timestamp, and at its `QoS`: at 0 it may get lost on its way, like any other. Of a durable
    /// outbox it is no part.
    ///
    /// For topics that no other client publishes to: a newer value of another's would be overwritten.
    /// [`Event::RetainedUnderOldKey`](super::Event::RetainedUnderOldKey) tells the others: those for
    /// which there was no room, that have a message expiry interval, that the broker refused, that
    /// this client's will or its other link may have replaced, that nobody would take any more, that
    /// are commands (of `fresh` rules), or whose rule or keys seal nothing now.
    #[must_use]
    pub const fn republish_retained(mut self, bytes: usize) -> Self {
        self.settings.republish_bytes = bytes;
        self
    }

    /// With a durable outbox: messages of `QoS` 1 and 2 are sealed and stored before
    /// [`publish`](super::AsyncClient::publish) returns, and what is not acknowledged is sent at
    /// the next start, as the same bytes. Those of clear rules are stored in clear.
    ///
    /// A stored message whose topic has no rule, link or key any more stays stored, which
    /// [`Event::StaysStored`](super::Event::StaysStored) tells at each start.
    ///
    /// # Errors
    /// [`OutboxFileError`](crate::store::outbox_file::OutboxFileError) if the file cannot be read, or holds what is no message.
    #[cfg(feature = "store")]
    pub fn durable_outbox(
        mut self,
        file: crate::store::outbox_file::OutboxFile,
    ) -> Result<Self, crate::store::outbox_file::OutboxFileError> {
        let kept = super::journal::read(file.rows()?).ok_or_else(|| file.damaged())?;
        self.outbox = Some(Stored { storage: Box::new(file), kept });
        Ok(self)
    }

    /// With a replay log: what was delivered is known after a restart too. The log is read here and
    /// written on a thread of its own. A message is delivered when the log knows what it has to, and
    /// acknowledged to the broker when it knows that the application has dealt with it; the event
    /// loop ends when the log is closed cleanly, after [`disconnect`](super::AsyncClient::disconnect).
    /// Every other end counts as a crash, after which `prefer` says what is given up.
    ///
    /// If the log fails, nothing more is delivered or acknowledged and all links end:
    /// [`Event::ReplayLogFailed`](super::Event::ReplayLogFailed).
    #[cfg_attr(
        feature = "store",
        doc = r#"
```
use mqtt_seal::guard::Prefer;
use mqtt_seal::rumqttc_v4::ClientOptions;
use mqtt_seal::store::replay_file::ReplayFile;

# let folder = tempfile::tempdir()?;
# let path = folder.path().join("replay");
# drop(ReplayFile::create(&path)?);
let log = ReplayFile::open(&path)?; // made once, by ReplayFile::create
let options = ClientOptions::new().replay_log(log, Prefer::NoReplay)?;
# let _ = options;
# Ok::<(), Box<dyn std::error::Error>>(())
```
"#
    )]
    ///
    /// # Errors
    /// Those of the log, if it cannot be read.
    pub fn replay_log<L>(mut self, mut log: L, prefer: Prefer) -> Result<Self, L::Error>
    where
        L: ReplayLog + Send + 'static,
        L::Error: Error + Send + Sync + 'static,
    {
        let rows = log.rows()?;
        self.replay_log = Some(Taken { log: Box::new(log), rows, prefer });
        Ok(self)
    }

    /// As a client that only subscribes, in a session that the broker keeps while it is away: what
    /// came meanwhile is delivered at the next connection. The client ID names the session, and there
    /// is one link. Publishing is refused ([`ClientError::OnlySubscribes`](super::ClientError)),
    /// since a broker that remembers packet IDs takes new messages for old ones, and so is `QoS` 2
    /// for subscriptions, whose unfinished messages rumqttc cannot take up again; with a
    /// [`replay_log`](Self::replay_log) `QoS` 1 delivers no sealed message twice either.
    ///
    /// In MQTT 5 the broker keeps the session as long as the options' session expiry interval says;
    /// for ever, if that is 0 or absent.
    #[must_use]
    pub const fn persistent_subscriber(mut self) -> Self {
        self.settings.persistent = true;
        self
    }

    /// With the counters of this sender number, for rules in compact form. More are reserved on
    /// another thread when half of the last 1,024 are used; `publish` waits where none are left.
    /// What the store refuses is an event.
    #[must_use]
    pub fn counter_store<S>(mut self, number: SenderNumber, store: S) -> Self
    where
        S: CounterStore + Send + 'static,
        S::Error: Send + Sync + 'static,
    {
        self.counters.push((number, Box::new(store)));
        self
    }

    /// On every connection, nothing of the application goes out before the authority has proved
    /// that it is there and, over TLS, that it knows the broker's key: see [`PeerAuth`].
    #[must_use]
    pub fn require_peer_auth(mut self, peer: PeerAuth) -> Self {
        self.peer = Some(peer);
        self
    }

    /// With keys that the authority changes while the client runs or is away: see [`KeyUpdates`].
    ///
    /// A will for which there is no key yet, or no more, is left out of the connection, which
    /// [`Event::PublishFailed`](super::Event::PublishFailed) tells; with the key it is left with the
    /// broker.
    #[must_use]
    pub fn key_updates(mut self, updates: KeyUpdates) -> Self {
        self.updates = Some(updates);
        self
    }

    /// Limits in bytes for packets from and to the broker, in the place of those of the MQTT
    /// options. By default the largest payload that a rule allows, the longest topic and 65,535 bytes of
    /// properties fit.
    #[must_use]
    pub const fn max_packet_size(mut self, incoming: usize, outgoing: usize) -> Self {
        self.settings.max_packet = Some((incoming, outgoing));
        self
    }

    /// The shortest and the longest pause before a lost connection is made again; in between it
    /// doubles. By default 100 ms and 30 s.
    #[must_use]
    pub const fn reconnect_pause(mut self, min: Duration, max: Duration) -> Self {
        self.settings.reconnect = (min, max);
        self
    }

    /// Lets user name and password travel over the plain link, where anyone on the way reads them.
    #[must_use]
    pub const fn danger_credentials_on_plain_link(mut self) -> Self {
        self.settings.danger_credentials_on_plain_link = true;
        self
    }

    /// Starts also where a rule is less strict than the replay log has seen one with the same
    /// filter: whoever can publish to the broker can then pass clear text off as genuine.
    #[must_use]
    pub const fn danger_allow_step_back(mut self) -> Self {
        self.danger_allow_step_back = true;
        self
    }

    /// The key updates, which go with the peer authentication.
    pub(super) fn take_updates(&mut self) -> Result<Option<KeyUpdates>, ConfigError> {
        let updates = self.updates.take();
        if let Some(updates) = &updates {
            updates.check(self.peer.as_ref())?;
        }
        Ok(updates)
    }

    /// Which links there are.
    pub(super) const fn links(&self) -> Result<Links, ConfigError> {
        match (&self.tcp, &self.tls) {
            (None, None) => Err(ConfigError::NoLink),
            (Some(_), None) => Ok(Links::Tcp),
            (None, Some(_)) => Ok(Links::Tls),
            (Some(_), Some(_)) => Ok(Links::Both),
        }
    }
}

impl<M> Default for ClientOptions<M> {
    fn default() -> Self {
        Self::new()
    }
}

// The MQTT options of some clients print passwords.
impl<M> fmt::Debug for ClientOptions<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("tcp", &self.tcp.is_some())
            .field("tls", &self.tls.is_some())
            .field("settings", &self.settings)
            .field("counters", &self.counters.iter().map(|(number, _)| number).collect::<Vec<_>>())
            .field("outbox", &self.outbox)
            .field("replay_log", &self.replay_log)
            .field("peer", &self.peer)
            .field("updates", &self.updates)
            .field("danger_allow_step_back", &self.danger_allow_step_back)
            .finish()
    }
}

impl Settings {
    /// Limits for packets, incoming and outgoing.
    pub(super) fn packet_limits(&self, policy: &Policy) -> (usize, usize) {
        self.max_packet.unwrap_or_else(|| {
            let payload = policy.rules().iter().map(crate::policy::Rule::max_packet);
            let largest = payload.max().unwrap_or_default();
            let packet = [MAX_TOPIC_LEN, PROPERTIES, PUBLISH_OVERHEAD]
                .into_iter()
                .fold(largest, usize::saturating_add);
            (packet, packet)
        })
    }
}

/// What the checks have to know of a link's MQTT options.
pub(super) struct Facts {
    pub(super) client_id: String,
    /// Host and port.
    pub(super) broker: (String, u16),
    /// Whether the options name a transport other than the default.
    pub(super) own_transport: bool,
    pub(super) clean_session: bool,
    pub(super) has_credentials: bool,
    pub(super) keep_alive: Duration,
    /// Messages that may be unacknowledged at a time.
    pub(super) inflight: u16,
    pub(super) will: Option<Arc<Will>>,
}

/// Checks the links against each other and against the policy.
pub(super) fn check<'a>(
    settings: &Settings,
    guard: &GuardTx,
    updates: Option<&Topics>,
    facts: impl Iterator<Item = (Link, &'a Facts)>,
) -> Result<(), ConfigError> {
    let mut taken = None;
    for (link, facts) in facts {
        check_link(settings, link, facts)?;
        if let Some(will) = &facts.will {
            check_will(will, guard, link, updates)?;
        }
        // a broker gives each of those without one an id of its own
        let id = Some(&facts.client_id).filter(|id| !id.is_empty());
        if id.is_some() && id == taken {
            return Err(ConfigError::SameClientId);
        }
        taken = id;
    }
    Ok(())
}

/// Whether a will can lie at the broker of `link`. One whose key is still to come by an update is
/// none to refuse.
pub(super) fn check_will(
    will: &Will,
    guard: &GuardTx,
    link: Link,
    updates: Option<&Topics>,
) -> Result<(), ConfigError> {
    let Some(topics) = updates else {
        return will.check(guard, link);
    };
    if [topics.keys(), topics.acknowledgements()].iter().any(|own| own.as_bytes() == will.topic) {
        return Err(ConfigError::WillOnKeyTopic);
    }
    match will.check(guard, link) {
        Err(ConfigError::Will { error, .. }) if lacks_key(error) => Ok(()),
        checked => checked,
    }
}

fn check_link(settings: &Settings, link: Link, facts: &Facts) -> Result<(), ConfigError> {
    if facts.own_transport {
        return Err(ConfigError::Transport { link });
    }
    let exposed = link == Link::Tcp && facts.has_credentials;
    if exposed && !settings.danger_credentials_on_plain_link {
        return Err(ConfigError::CredentialsOnPlainLink);
    }
    if settings.persistent && facts.client_id.is_empty() {
        return Err(ConfigError::PersistentSubscriber);
    }
    if !facts.clean_session && !settings.persistent {
        return Err(ConfigError::PersistentSession { link });
    }
    if usize::try_from(facts.keep_alive.as_secs()).map_or(true, |secs| secs > MAX_FIELD) {
        return Err(ConfigError::KeepAlive { link });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
