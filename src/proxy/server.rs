//! The running proxy: listeners, a task for each client, and an orderly end. Knows no packets.

use core::fmt;
use core::net::SocketAddr;
use std::collections::HashMap;
use std::string::String;
use std::sync::{Arc, Mutex, RwLock};
use std::vec::Vec;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::clients::{Clients, Stored};
use super::error::{ProxyError, ProxyReloadError, UnfitRule};
use super::keeper::Keeper;
use super::listener::{Listener, is_loopback};
use super::meters::{Meters, Shows};
use super::options::{Listen, ProxyOptions};
use super::relay::{Relay, Targets};
use super::row::{self, Row};
use super::sent::DigestKey;
use super::session::Limits;
use super::status::StatusPage;
use super::stream::Stream;
use super::target::Target;
use super::vouch::Vouching;
use super::{Core, InForce, Settings};
use crate::client::PeerAuth;
use crate::guard::Config;
use crate::keyring::Keyring;
use crate::policy::{Links, Policy};
use crate::session::{Entropy, NoEntropy};
use crate::store::outbox_file::{NumberedRow, OutboxFile};
use crate::wire::Form;

/// A proxy that listens, and serves nobody before [`Proxy::run`].
pub struct Proxy {
    core: Arc<Core>,
    targets: Targets,
    listeners: Vec<Listener>,
    status: Option<StatusPage>,
    max_connections: usize,
}

/// The far side.
struct Far {
    links: Links,
    targets: Targets,
    vouching: Option<Arc<Vouching>>,
}

/// Reaches a proxy that runs.
#[derive(Clone)]
pub struct ProxyHandle(Arc<Core>);

impl Proxy {
    /// Opens listeners and store. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`ProxyError`]; nothing is left open then.
    pub async fn bind(
        options: ProxyOptions,
        policy: Policy,
        keyring: Keyring,
    ) -> Result<Self, ProxyError> {
        let Far { links, targets, vouching } = checked(&options, &policy)?;
        let mut listeners = Vec::new();
        for listen in &options.listen {
            listeners.push(Listener::open(listen).await?);
        }
        let status = open_status(&options).await?;
        let max_connections = options.max_connections;
        let config = Config::new(policy, keyring, links);
        let core = Arc::new(core(options, links, vouching, config)?);
        Ok(Self { core, targets, listeners, status, max_connections })
    }

    /// Whether a proxy with these options and rules would start, as far as can be told without
    /// opening anything.
    ///
    /// # Errors
    /// [`ProxyError`].
    pub fn check(options: &ProxyOptions, policy: &Policy) -> Result<(), ProxyError> {
        checked(options, policy).map(drop)
    }

    /// The listeners in their order, with the ports that they have.
    #[must_use]
    pub fn listeners(&self) -> Vec<Listen> {
        self.listeners.iter().filter_map(Listener::listen).collect()
    }

    /// Where the status page is, if there is one.
    #[must_use]
    pub fn status_address(&self) -> Option<SocketAddr> {
        self.status.as_ref().and_then(StatusPage::address)
    }

    /// The addresses of the TCP listeners, in their order.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(Listener::address).collect()
    }

    /// Reaches the proxy while it runs.
    #[must_use]
    pub fn handle(&self) -> ProxyHandle {
        ProxyHandle(Arc::clone(&self.core))
    }

    /// Serves clients until `stop` is ready. Then nobody is let in any more; what was taken in is
    /// written, and all connections are closed. Wills stay with the broker: clients are to come
    /// back.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (stopping, stopped) = watch::channel(false);
        let places = Arc::new(Semaphore::new(self.max_connections));
        let (clients, mut arrivals) = tokio::sync::mpsc::channel::<Stream>(1);
        let mut doors = JoinSet::new();
        for listener in self.listeners {
            let clients = clients.clone();
            doors
                .spawn(async move { while clients.send(listener.accept().await).await.is_ok() {} });
        }
        drop(clients);
        if let Some(status) = self.status {
            doors.spawn(status.serve(Arc::clone(&self.core)));
        }
        if let Some(vouching) = &self.core.vouching {
            doors.spawn(Arc::clone(vouching).serve());
        }
        let verified_by = self.core.settings.verified_by;
        tracing::info!(broker = %self.targets.main, verified_by, "clients are let in");
        let mut rooms = JoinSet::new();
        let mut number = 0_u64;
        tokio::pin!(stop);
        loop {
            let place = Arc::clone(&places).acquire_owned();
            let arrival = async { (place.await, arrivals.recv().await) };
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(_) = rooms.join_next(), if !rooms.is_empty() => {}
                (Ok(place), Some(stream)) = arrival => {
                    number = number.saturating_add(1);
                    let core = Arc::clone(&self.core);
                    let (targets, stopped) = (self.targets.clone(), stopped.clone());
                    rooms.spawn(async move {
                        core.meters.accepted.add(1);
                        core.meters.open.add(1);
                        Relay::new(Arc::clone(&core), stream, number).run(&targets, stopped).await;
                        core.meters.open.sub(1);
                        drop(place);
                    });
                }
            }
        }
        // returns when they are closed
        doors.shutdown().await;
        stopping.send_replace(true);
        while rooms.join_next().await.is_some() {}
        self.core.clients.stop();
        if let Some(keeper) = self.core.keeper.clone() {
            let _ = tokio::task::spawn_blocking(move || keeper.close()).await;
        }
    }
}

impl ProxyHandle {
    /// Puts other rules and keys in force for all clients, or leaves everything as it is. Replay
    /// state and counters go on; a will that lies at the broker stays sealed as it was.
    ///
    /// # Errors
    /// [`ProxyReloadError`].
    pub fn reload(&self, policy: Policy, keyring: Keyring) -> Result<(), ProxyReloadError> {
        let links = self.0.settings.links;
        check(&policy, links).map_err(ProxyReloadError::Rule)?;
        let config = Config::new(policy, keyring, links);
        self.0.replace(config).map_err(ProxyReloadError::StepBack)
    }

    /// How many clients are connected.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.0.meters.open.get()
    }
}

/// What is wrong with options and rules, before anything is opened.
fn checked(options: &ProxyOptions, policy: &Policy) -> Result<Far, ProxyError> {
    let links = options.links().ok_or(ProxyError::NoBroker)?;
    if options.listen.is_empty() {
        return Err(ProxyError::NoListener);
    }
    let reachable = options.listen.iter().find(|listen| !listen.is_local());
    if let Some(listen) = reachable.filter(|_| !options.danger_listen_anywhere) {
        return Err(ProxyError::NotLoopback { listen: listen.clone() });
    }
    let status = options.status.map(|(address, _)| address);
    if let Some(address) = status.filter(|address| !is_loopback(*address)) {
        return Err(ProxyError::StatusNotLoopback { address });
    }
    check(policy, links).map_err(ProxyError::Rule)?;
    if links == Links::Both && options.plain_suffix.is_empty() {
        return Err(ProxyError::EmptySuffix);
    }
    let vouching = vouching(options)?;
    Ok(Far { links, targets: targets(options, vouching.as_ref())?, vouching })
}

/// What asks the authority for the broker's key, if that is what verifies it.
fn vouching(options: &ProxyOptions) -> Result<Option<Arc<Vouching>>, ProxyError> {
    let alone = options.tls.as_ref().is_some_and(|(.., tls)| tls.is_by_peer_alone());
    match (&options.peer, &options.tls) {
        (None, _) if alone => Err(ProxyError::PeerAuthNeeded),
        (None, _) => Ok(None),
        (Some(auth), Some((host, port, tls))) if alone => {
            let vouching = Vouching::new(auth, &(host.clone(), *port), tls);
            vouching.map(|vouching| Some(Arc::new(vouching))).map_err(ProxyError::Peer)
        }
        (Some(_), _) => Err(ProxyError::PeerNotAlone),
    }
}

async fn open_status(options: &ProxyOptions) -> Result<Option<StatusPage>, ProxyError> {
    let Some((address, _)) = options.status else { return Ok(None) };
    let failed = |error| ProxyError::Listen { listen: Listen::Tcp(address), error };
    StatusPage::open(address).await.map(Some).map_err(failed)
}

/// Whether the proxy can do what each rule says.
fn check(policy: &Policy, links: Links) -> Result<(), UnfitRule> {
    for (number, rule) in (1..).zip(policy.rules()) {
        if links.publish_link(rule.transport()).is_none() {
            return Err(UnfitRule::NeedsTls { rule: number });
        }
        if rule.form() == Form::Compact {
            return Err(UnfitRule::CompactForm { rule: number });
        }
    }
    Ok(())
}

fn targets(
    options: &ProxyOptions,
    vouching: Option<&Arc<Vouching>>,
) -> Result<Targets, ProxyError> {
    let tcp = options.tcp.clone().map(|(host, port)| Target::tcp(host, port));
    match &options.tls {
        None => Ok(Targets { main: tcp.ok_or(ProxyError::NoBroker)?, plain: None }),
        Some((host, port, config)) => {
            let main = Target::tls(host.clone(), *port, config, vouching.cloned());
            let main = main.ok_or_else(|| ProxyError::ServerName { host: host.clone() })?;
            Ok(Targets { main, plain: tcp })
        }
    }
}

pub(super) fn core(
    options: ProxyOptions,
    links: Links,
    vouching: Option<Arc<Vouching>>,
    config: Config,
) -> Result<Core, ProxyError> {
    let (keeper, found) = match options.store {
        Some(file) => open(file).map(|(keeper, found)| (Some(Arc::new(keeper)), found))?,
        None => (None, Found::default()),
    };
    let digest_key = found.digest_key.map_or_else(draw, Ok)?;
    let shows = options.status.map_or(Shows::Nothing, |(_, shows)| shows);
    Ok(Core {
        settings: Settings {
            links,
            max_packet: options.max_packet,
            plain_suffix: options.plain_suffix,
            credentials_in_clear: options.danger_credentials_in_clear,
            forward_bare_deletes: options.danger_forward_bare_deletes,
            verified_by: options.tls.as_ref().map_or("nothing", |(.., tls)| tls.verified_by()),
            auth_topics: options.peer.as_ref().map(PeerAuth::topics),
        },
        in_force: RwLock::new(Arc::new(InForce::new(config))),
        clients: Clients::new(found.clients, keeper.clone()),
        keeper,
        digest_key,
        meters: Meters::new(shows),
        vouching,
        plain_limits: Mutex::new(Limits::default()),
    })
}

fn draw() -> Result<DigestKey, NoEntropy> {
    let mut random = [0; 32];
    getrandom::SysRng.fill(&mut random)?;
    random.first_chunk().copied().map(DigestKey).ok_or(NoEntropy)
}

/// What a store holds.
#[derive(Default)]
pub(super) struct Found {
    pub(super) clients: HashMap<String, Stored>,
    pub(super) digest_key: Option<DigestKey>,
    /// A number above those of all rows.
    pub(super) next: u64,
    /// Rows in whose place there are others.
    replaced: Vec<u64>,
}

impl Found {
    /// What these rows say; `None` if another program made one.
    pub(super) fn read(rows: &[NumberedRow]) -> Option<Self> {
        let mut found = Self::default();
        let Self { clients, digest_key, next, replaced } = &mut found;
        for (number, bytes) in rows {
            *next = (*next).max(number.saturating_add(1));
            match row::read(*number, bytes)? {
                Row::DigestKey(key) => *digest_key = Some(key),
                Row::Replay(client_id, key, value) => {
                    let rows = &mut clients.entry(client_id).or_default().rows;
                    replaced.extend(rows.insert(key, (*number, value)).map(|(before, _)| before));
                }
                Row::Message(client_id, id, entry) => {
                    let sent = &mut clients.entry(client_id).or_default().sent;
                    sent.put(id, entry, |gone| replaced.extend(gone.row));
                }
            }
        }
        Some(found)
    }

    /// Puts the store in order: what was replaced goes, and there is a key of digests.
    pub(super) fn begin(&mut self, keeper: &Keeper) -> Result<(), NoEntropy> {
        for row in self.replaced.drain(..) {
            keeper.delete(row);
        }
        if self.digest_key.is_none() {
            let key = draw()?;
            keeper.put(row::digest_key(key));
            self.digest_key = Some(key);
        }
        Ok(())
    }
}

/// Reads a store, and starts its thread.
fn open(file: OutboxFile) -> Result<(Keeper, Found), ProxyError> {
    let mut found = Found::read(&file.rows()?).ok_or_else(|| file.damaged())?;
    let keeper = Keeper::start(file, found.next).map_err(ProxyError::Thread)?;
    found.begin(&keeper)?;
    Ok((keeper, found))
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ProxyHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyHandle")
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::policy::{Rule, Transport};

    #[tokio::test]
    async fn socket_of_a_stopped_proxy_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mqtt.sock");
        let options =
            ProxyOptions::new().listen(Listen::Unix(path.clone())).broker("localhost", 1883);
        let rule = Rule::clear(["#"]).transport(Transport::Tcp).build().unwrap();
        let proxy = Proxy::bind(options, Policy::new(Vec::from([rule])), Keyring::default());
        let proxy = proxy.await.unwrap();
        assert!(path.exists());
        proxy.run(core::future::ready(())).await;
        assert!(!path.exists());
    }
}
