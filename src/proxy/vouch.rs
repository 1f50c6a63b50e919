//! The key of a broker that the authority alone verifies: asked for once by a probe of the proxy's
//! own, and kept for the connections of all clients. Keys that the device's file names come first,
//! and count again where no probe is let in. Knows no client.

use core::fmt;
use core::time::Duration;
use std::string::String;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

use tokio::sync::watch;
use tokio::time::Instant;

use super::meters::{Count, lock, unix_ms};
use crate::client::probe::{Prober, Vouched};
use crate::client::{ConfigError, LinkError, PeerAuth, PeerFault};
use crate::tls::{SpkiPin, TlsConfig};

/// A probe is given up by then: before the connection that waits for it is.
const PATIENCE: Duration = Duration::from_secs(10);
/// So long what a probe failed with is told to all that come, without another probe.
const REST: Duration = Duration::from_secs(1);

/// What is known of the broker's key.
pub(super) struct Vouching {
    tls: TlsConfig,
    authority: String,
    /// For connections to a server with one of the keys that the device's file names, if it does.
    pinned: Option<Arc<rustls::ClientConfig>>,
    /// Until [`Vouching::serve`] takes it.
    prober: Mutex<Option<Prober>>,
    state: watch::Sender<State>,
    /// Probes by how they ended, in the order of [`OUTCOMES`].
    pub(super) probes: [Count; 4],
}

/// How probes end: the authority vouched for the key, or refused the server, or did not answer; or
/// the broker was not there.
pub(super) const OUTCOMES: [&str; 4] = ["vouched", "refused", "silent", "no_broker"];

/// A key that was vouched for, or those that are pinned.
#[derive(Clone)]
pub(super) struct Key {
    /// The latest probe before it was known.
    round: u64,
    pub(super) tls: Arc<rustls::ClientConfig>,
}

#[derive(Debug, Default)]
struct State {
    /// Probes that are over.
    round: u64,
    /// Whether somebody waits for one.
    wanted: bool,
    standing: Standing,
}

/// What the latest probe showed.
#[derive(Debug, Clone, Default)]
pub(super) enum Standing {
    /// There was none, or the server has shown another key since.
    #[default]
    Unknown,
    /// The device's file names the keys that count.
    Pinned {
        tls: Arc<rustls::ClientConfig>,
        /// How the probe ended that was not let in, if there was one: what holds where the server
        /// has none of these keys.
        failure: Option<Failure>,
    },
    /// The authority vouches for this key.
    Vouched {
        pin: SpkiPin,
        /// Unix milliseconds.
        since: u64,
        tls: Arc<rustls::ClientConfig>,
    },
    /// It failed.
    Failed(Failure),
}

/// How a probe failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) error: LinkError,
    at: Instant,
    /// Unix milliseconds.
    pub(super) since: u64,
}

impl State {
    /// What can be said without another probe.
    fn answer(&self) -> Option<Result<Key, LinkError>> {
        match &self.standing {
            Standing::Vouched { tls, .. } | Standing::Pinned { tls, .. } => {
                Some(Ok(Key { round: self.round, tls: Arc::clone(tls) }))
            }
            Standing::Failed(failure) if failure.at.elapsed() < REST => {
                Some(Err(failure.error.clone()))
            }
            Standing::Failed(_) | Standing::Unknown => None,
        }
    }
}

impl Vouching {
    /// For the broker at `host` and `port`, which `tls` verifies by its peer alone.
    pub(super) fn new(
        auth: &PeerAuth,
        broker: &(String, u16),
        tls: &TlsConfig,
    ) -> Result<Self, ConfigError> {
        let prober = Prober::new(auth, broker, tls, PATIENCE)?;
        let pins: Vec<SpkiPin> = prober.pins().collect();
        let pinned = (!pins.is_empty()).then(|| tls.watched(pins).0);
        let standing = match &pinned {
            Some(tls) => Standing::Pinned { tls: Arc::clone(tls), failure: None },
            None => Standing::Unknown,
        };
        Ok(Self {
            tls: tls.clone(),
            authority: prober.authority().into(),
            pinned,
            prober: Mutex::new(Some(prober)),
            state: watch::Sender::new(State { standing, ..State::default() }),
            probes: Default::default(),
        })
    }

    /// The key that the broker may have. Waits for a probe where none is known, one for all that
    /// wait: each hears the outcome of the first that ends after it came.
    pub(super) async fn key(&self) -> Result<Key, LinkError> {
        let mut changes = self.state.subscribe();
        loop {
            let (mut asked, mut answer) = (0, None);
            self.state.send_if_modified(|state| {
                (asked, answer) = (state.round, state.answer());
                let wants = answer.is_none() && !state.wanted;
                state.wanted |= wants;
                wants
            });
            if let Some(answer) = answer {
                return answer;
            }
            let Ok(state) = changes.wait_for(|state| state.round != asked).await else {
                return Err(LinkError::Peer(PeerFault::Silent));
            };
            match &state.standing {
                Standing::Failed(failure) => return Err(failure.error.clone()),
                // the server has shown yet another key meanwhile
                Standing::Vouched { .. } | Standing::Pinned { .. } | Standing::Unknown => {}
            }
        }
    }

    /// The server has shown another key than `key`, which is not trusted any more.
    // SPEC §9, "the SPKI is pinned"
    pub(super) fn forget(&self, key: &Key) {
        self.state.send_if_modified(|state| {
            if state.round == key.round {
                self.doubt(&mut state.standing);
            }
            false
        });
    }

    /// The server has none of the keys that counted.
    fn doubt(&self, standing: &mut Standing) {
        match standing {
            // the authority was asked just now, and would be for each client
            Standing::Pinned { failure: Some(failure), .. } if failure.at.elapsed() < REST => {
                self.tell_refusal(&failure.error);
                *standing = Standing::Failed(failure.clone());
            }
            Standing::Vouched { .. } | Standing::Pinned { .. } => {
                tracing::warn!("the broker has another key: the authority is asked again");
                *standing = Standing::Unknown;
            }
            Standing::Failed(_) | Standing::Unknown => {}
        }
    }

    /// Probes the broker whenever somebody waits for it, one at a time.
    pub(super) async fn serve(self: Arc<Self>) {
        let Some(mut prober) = lock(&self.prober).take() else { return };
        loop {
            self.wanted().await;
            let outcome = prober.probe().await;
            self.settle(outcome);
        }
    }

    /// Returns when somebody waits for a probe.
    async fn wanted(&self) {
        // fails without a sender, and there is one
        let _ = self.state.subscribe().wait_for(|state| state.wanted).await;
    }

    /// A probe is over.
    fn settle(&self, outcome: Result<Vouched, LinkError>) {
        self.tell(&outcome);
        let standing = self.standing_after(outcome);
        self.state.send_modify(|state| {
            state.round = state.round.wrapping_add(1);
            (state.wanted, state.standing) = (false, standing);
        });
    }

    fn standing_after(&self, outcome: Result<Vouched, LinkError>) -> Standing {
        let since = unix_ms();
        match outcome {
            Ok(Vouched { pin, .. }) => {
                // for all connections: each is to a server with this one key
                let (tls, _) = self.tls.watched([pin]);
                Standing::Vouched { pin, since, tls }
            }
            Err(error) => {
                let pinned = self.pinned_after(&error);
                let failure = Failure { error, at: Instant::now(), since };
                match pinned {
                    Some(tls) => Standing::Pinned { tls, failure: Some(failure) },
                    None => Standing::Failed(failure),
                }
            }
        }
    }

    /// The keys of the device's file, where a probe that ended so was not let in, or not answered.
    // SPEC §9, "needs the pin in the grant"
    fn pinned_after(&self, error: &LinkError) -> Option<Arc<rustls::ClientConfig>> {
        use LinkError::{Peer, Tls};
        // by TLS, since a probe shows no certificate and somebody may have insisted on one
        let keeps_out = matches!(error, Peer(PeerFault::PinNeeded | PeerFault::Silent) | Tls(_));
        self.pinned.clone().filter(|_| keeps_out)
    }

    fn tell(&self, outcome: &Result<Vouched, LinkError>) {
        let authority = self.authority.as_str();
        let [vouched, refused, silent, no_broker] = &self.probes;
        let count = match outcome {
            Ok(_) => vouched,
            Err(LinkError::Peer(PeerFault::Silent)) => silent,
            Err(error) if error.is_refusal() => refused,
            Err(_) => no_broker,
        };
        count.add(1);
        match outcome {
            Ok(Vouched { pin, proof, rtt }) => tracing::info!(
                authority, %proof, key = %pin, rtt_ms = rtt,
                "the authority vouches for the broker's key"
            ),
            Err(error) if self.pinned_after(error).is_some() => tracing::warn!(
                authority, %error,
                "the authority cannot be asked for the broker's key: those in the device's file count"
            ),
            Err(error) if error.is_refusal() => self.tell_refusal(error),
            Err(error) => {
                tracing::warn!(authority, %error, "the broker cannot be asked for its key");
            }
        }
    }

    fn tell_refusal(&self, error: &LinkError) {
        let authority = self.authority.as_str();
        tracing::error!(
            authority, %error,
            "nobody vouches for the broker: no client is let through to it"
        );
    }

    /// What is known now.
    pub(super) fn standing(&self) -> Standing {
        self.state.borrow().standing.clone()
    }

    /// Who vouches.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether clients are refused because nobody vouches for the broker.
    pub(super) fn is_refused(&self) -> bool {
        matches!(&self.state.borrow().standing, Standing::Failed(failure) if failure.error.is_refusal())
    }
}

impl fmt::Debug for Vouching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vouching").field("authority", &self.authority).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests;
