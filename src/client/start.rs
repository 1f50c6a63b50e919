//! From options to running links, the same for every version of MQTT.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::accept::Lane;
use super::backoff::Backoff;
use super::counters::{Renewals, Stores};
use super::error::ConfigError;
use super::guards::{Guards, now};
use super::handle::{AsyncClient, EventLoop, Shared};
use super::inbox::Inbox;
use super::journal::{Journal, Kept, Stored};
use super::link::{Parts, Worker};
use super::log::{self, Progress, Taken, Writer};
use super::options::{ClientOptions, Facts, Settings, TlsLink, check};
use super::outbox::{Outbox, Window};
use super::peer::{Peer, PeerAuth, Sight};
use super::protocol::Dial;
use super::room::Room;
use super::updates::{Updates, UpdatesTask};
use crate::guard::{Guard, GuardRx, GuardTx};
use crate::policy::{Link, Links, Policy};
#[cfg(feature = "tls")]
use crate::tls::LinkTls;
use crate::wire::header::{KeyId, SessionId};

/// Commands that wait for a link; it never makes them wait long.
const COMMANDS: usize = 64;
/// Most messages of one link that are unacknowledged at a time.
const MAX_WINDOW: u16 = 8_192;
/// The same, while one of them is of `QoS` 2: what Mosquitto allows by default
/// (`max_inflight_messages`). A client of a broker that allows less sets `inflight` to that.
const MAX_WINDOW_WITH_QOS2: usize = 20;
/// Packet IDs in the circle for each message of the window: so much may be acknowledged out of
/// turn before the oldest holds up the rest.
const IDS_PER_MESSAGE: u16 = 4;
/// Packet IDs beyond that, for small windows.
const MORE_IDS: u16 = 16;
/// Room in the MQTT client's channel for requests beside the window: acknowledgements.
const MORE_REQUESTS: usize = 64;

/// A version of MQTT, as one client speaks it.
pub(super) trait Mqtt: Sized {
    type Options;
    type Dial: Dial;
    /// Whether a PUBLISH has properties.
    const HAS_PROPERTIES: bool;

    /// What the checks have to know of `options`.
    fn facts(options: &Self::Options) -> Facts;

    /// What makes connections with `options`, changed as `setup` says.
    fn dial(options: Self::Options, setup: Setup) -> Self::Dial;
}

/// What the adapter decides in the place of the MQTT options.
pub(super) struct Setup {
    /// Largest packet from the broker, in bytes.
    pub(super) max_incoming: usize,
    /// Largest packet to the broker, in bytes.
    pub(super) max_outgoing: usize,
    /// Packet IDs before the first comes again.
    pub(super) ids: u16,
    /// Most packets that are handed over and not done with.
    pub(super) packets: u16,
    /// Requests that the client's channel holds.
    pub(super) requests: usize,
    /// Whether the broker keeps the session.
    pub(super) persistent: bool,
    /// TLS, if the link is one.
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
}

struct Candidate<O> {
    link: Link,
    options: O,
    facts: Facts,
    #[cfg(feature = "tls")]
    tls: Option<LinkTls>,
    peer: Option<Peer>,
}

/// Checks everything, then starts the links that the policy has a use for.
pub(super) fn start<V: Mqtt>(
    guard: Guard,
    mut options: ClientOptions<V::Options>,
    cap: usize,
) -> Result<(AsyncClient<V>, EventLoop), ConfigError> {
    let links = options.links()?;
    if guard.links() != links {
        return Err(ConfigError::OtherLinks);
    }
    let (settings, policy) = (options.settings, guard.policy().clone());
    let (mut tx, mut rx) = halves(guard, &options);
    let auth_topics = options.peer.as_ref().map(PeerAuth::topics);
    let updates = options.take_updates()?;
    let updates = updates.map(|updates| (updates.take_up(&mut tx, &mut rx), updates));
    let Candidates { links: candidates, stores, stored, taken } = candidates::<V>(options)?;
    if settings.persistent && (links == Links::Both || stored.is_some()) {
        return Err(ConfigError::PersistentSubscriber);
    }
    let listens = updates.as_ref().map(|(_, updates)| updates.topics());
    check(&settings, &tx, listens, candidates.iter().map(|c| (c.link, &c.facts)))?;
    let runtime = Handle::try_current().map_err(|_| ConfigError::NoRuntime)?;
    let inbox = Inbox::new(settings.event_capacity);
    let log = taken.map(|taken| open_log(taken, &mut rx, &inbox)).transpose()?;
    for (kid, id) in sessions(stored.as_ref()) {
        rx.add_own_session(kid, id);
    }
    let guards = Guards::new(tx, rx, log);
    let renewals = Renewals::new(stores, &guards, &inbox, &runtime);
    renewals.renew_soon();
    let mut needed = candidates;
    needed.retain(|candidate| is_needed(&policy, links, candidate.link, &candidate.facts));
    let home = (home(&needed), settings.persistent);
    let updates = updates.map(|(base, own)| own.run(base, home, &guards, &renewals, &inbox));
    let (journal, kept) = open_journal(stored, needed.len(), &inbox)?;
    let packet_limits = settings.packet_limits(&policy);
    let starter = Starter {
        runtime,
        inbox,
        guards,
        renewals,
        updates,
        journal,
        packet_limits,
        cap,
        settings,
    };
    let will = |candidate: &Candidate<_>| Some((candidate.link, candidate.facts.will.clone()?));
    let wills = needed.iter().filter_map(will).collect();
    let (mut tcp, mut tls) = (None, None);
    for candidate in needed {
        match candidate.link {
            Link::Tcp => tcp = Some(starter.start::<V>(candidate)),
            Link::Tls => tls = Some(starter.start::<V>(candidate)),
        }
    }
    let Starter { runtime, inbox, guards, renewals, updates, journal, .. } = starter;
    let shared = Arc::new(Shared {
        persistent: settings.persistent,
        guards,
        renewals,
        inbox: Arc::clone(&inbox),
        journal,
        filters: Mutex::default(),
        wills,
        settings,
        auth_topics,
        updates: updates.map(|updates| UpdatesTask::start(&updates, &runtime)),
        links,
        tcp,
        tls,
        max_packet: packet_limits.1,
        has_properties: V::HAS_PROPERTIES,
    });
    shared.take_up(kept);
    let events = EventLoop::with(inbox, Arc::clone(&shared), settings.auto_ack);
    Ok((AsyncClient::with(shared), events))
}

/// The guard, set up as the options say.
fn halves<M>(guard: Guard, options: &ClientOptions<M>) -> (GuardTx, GuardRx) {
    let (tx, mut rx) = guard.split();
    if !options.settings.auto_ack {
        rx.confirm_manually();
    }
    // otherwise the first command counts as sealed before the start
    if let Some(now) = now() {
        rx.started(now);
    }
    if options.danger_allow_step_back {
        rx.danger_allow_step_back();
    }
    (tx, rx)
}

/// The thread of a replay log that `rx` keeps up to date from now on.
fn open_log(
    Taken { log, rows, prefer }: Taken,
    rx: &mut GuardRx,
    inbox: &Arc<Inbox>,
) -> Result<(Writer, Progress), ConfigError> {
    let writes = rx.restore(rows, prefer).map_err(ConfigError::ReplayLog)?;
    let log = log::start(log, inbox).map_err(|error| ConfigError::NoThread(error.kind()));
    let (mut writer, progress) = log?;
    writer.write(writes);
    Ok((writer, progress))
}

/// The sessions in which an earlier run sealed what is stored.
fn sessions(stored: Option<&Stored>) -> HashSet<(KeyId, SessionId)> {
    let kept = stored.into_iter().flat_map(|stored| &stored.kept);
    kept.filter_map(|(_, entry)| entry.session()).collect()
}

/// The thread of a durable outbox, and what it had stored.
fn open_journal(
    stored: Option<Stored>,
    links: usize,
    inbox: &Arc<Inbox>,
) -> Result<(Option<Journal>, Vec<Kept>), ConfigError> {
    let Some(Stored { storage, kept }) = stored else {
        return Ok((None, Vec::new()));
    };
    let next = kept.last().map_or(0, |(number, _)| number.saturating_add(1));
    let journal = Journal::start(storage, next, links, inbox.feed());
    let journal = journal.map_err(|error| ConfigError::NoThread(error.kind()))?;
    Ok((Some(journal), kept))
}

struct Candidates<O> {
    links: Vec<Candidate<O>>,
    stores: Stores,
    stored: Option<Stored>,
    taken: Option<Taken>,
}

fn candidates<V: Mqtt>(
    options: ClientOptions<V::Options>,
) -> Result<Candidates<V::Options>, ConfigError> {
    let auth = options.peer.as_ref();
    let tcp = options.tcp.map(|options| tcp_candidate::<V>(options, auth)).transpose()?;
    let tls = options.tls.map(|link| tls_candidate::<V>(link, auth)).transpose()?;
    let links = tcp.into_iter().chain(tls).collect();
    let ClientOptions { counters: stores, outbox: stored, replay_log: taken, .. } = options;
    Ok(Candidates { links, stores, stored, taken })
}

fn tcp_candidate<V: Mqtt>(
    options: V::Options,
    auth: Option<&PeerAuth>,
) -> Result<Candidate<V::Options>, ConfigError> {
    let facts = V::facts(&options);
    let peer = auth.map(|auth| Peer::new(auth, &facts.broker, Sight::Plain)).transpose()?;
    Ok(Candidate {
        link: Link::Tcp,
        facts,
        options,
        #[cfg(feature = "tls")]
        tls: None,
        peer,
    })
}

#[cfg(feature = "tls")]
fn tls_candidate<V: Mqtt>(
    link: TlsLink<V::Options>,
    auth: Option<&PeerAuth>,
) -> Result<Candidate<V::Options>, ConfigError> {
    let TlsLink { mqtt, config } = link;
    if auth.is_none() && config.is_by_peer_alone() {
        return Err(ConfigError::PeerAuthNeeded);
    }
    let facts = V::facts(&mqtt);
    let peer = |auth| Peer::new(auth, &facts.broker, Sight::tls(&config)?);
    let peer = auth.map(peer).transpose()?;
    Ok(Candidate { link: Link::Tls, facts, options: mqtt, tls: Some(config), peer })
}

#[cfg(not(feature = "tls"))]
fn tls_candidate<V: Mqtt>(
    TlsLink { mqtt }: TlsLink<V::Options>,
    auth: Option<&PeerAuth>,
) -> Result<Candidate<V::Options>, ConfigError> {
    tcp_candidate::<V>(mqtt, auth)
}

/// Whether some rule sends its topics over `link`, or a will waits there.
fn is_needed(policy: &Policy, links: Links, link: Link, facts: &Facts) -> bool {
    let uses = |transport| links.publish_link(transport) == Some(link);
    facts.will.is_some() || policy.rules().iter().any(|rule| uses(rule.transport()))
}

/// The one link that key updates come by.
fn home<O>(links: &[Candidate<O>]) -> Link {
    let by_tls = links.iter().any(|candidate| candidate.link == Link::Tls);
    if by_tls { Link::Tls } else { Link::Tcp }
}

struct Starter {
    runtime: Handle,
    inbox: Arc<Inbox>,
    guards: Guards,
    renewals: Renewals,
    updates: Option<Arc<Updates>>,
    journal: Option<Journal>,
    /// Bytes, incoming and outgoing.
    packet_limits: (usize, usize),
    /// Messages that wait for a link.
    cap: usize,
    settings: Settings,
}

impl Starter {
    fn start<V: Mqtt>(&self, candidate: Candidate<V::Options>) -> Lane {
        let packets = candidate.facts.inflight.clamp(1, MAX_WINDOW);
        let ids = packets.saturating_mul(IDS_PER_MESSAGE);
        let window = Window {
            packets: packets.into(),
            packets_with_qos2: MAX_WINDOW_WITH_QOS2.min(packets.into()),
            ids: ids.saturating_add(MORE_IDS),
        };
        let (max_incoming, max_outgoing) = self.packet_limits;
        let setup = Setup {
            max_incoming,
            max_outgoing,
            ids: window.ids,
            packets,
            requests: window.packets.saturating_add(MORE_REQUESTS),
            persistent: self.settings.persistent,
            #[cfg(feature = "tls")]
            tls: candidate.tls.map(LinkTls::into_config),
        };
        let (entries, accepted) = mpsc::unbounded_channel();
        let room = Arc::new(Room::new(self.cap, self.settings.outbox_bytes));
        let (commands, requested) = mpsc::channel(COMMANDS);
        let (min, max) = self.settings.reconnect;
        let worker = Worker::new(Parts {
            link: candidate.link,
            dial: V::dial(candidate.options, setup),
            will: candidate.facts.will,
            peer: candidate.peer,
            updates: self.updates.clone(),
            guards: self.guards.clone(),
            renewals: self.renewals.clone(),
            room: Arc::clone(&room),
            _share: self.journal.as_ref().map(Journal::share),
            feed: self.inbox.feed(),
            entries: accepted,
            commands: requested,
            outbox: Outbox::new(window),
            backoff: Backoff::new(min, max),
            max_packet: max_outgoing,
            republish_bytes: self.settings.republish_bytes,
        });
        let task = self.runtime.spawn(worker.run()).abort_handle();
        Lane { link: candidate.link, room, entries, commands, task }
    }
}
