//! What ends with a connection, and the subscriptions that outlive it. Knows no guard.

use core::time::Duration;
use std::collections::{HashMap, VecDeque};
use std::string::String;
use std::vec::Vec;

use tokio::time::Instant;

use super::event::Receipt;
use super::log::Mark;
use super::protocol::{Received, ServerLimits};
use crate::guard::QoS;
use crate::wire::header::KeyId;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Before everything else.
    Opening,
    /// The answers of the authority are subscribed.
    Listening,
    /// Traffic of the application may pass.
    Admitted,
}

/// Whether a connection comes to its end on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    Stays,
    /// DISCONNECT is to be handed over, although the client goes on.
    Wanted,
    /// DISCONNECT was handed over.
    Said {
        /// Whether the client goes on.
        goes_on: bool,
    },
}

/// What ends with a connection.
pub(super) struct Connection<R> {
    pub(super) requests: R,
    /// When the broker accepted it.
    pub(super) since: Option<Instant>,
    /// What the broker asks to stay within.
    pub(super) limits: ServerLimits,
    /// Acknowledgements that wait for the replay log, or for room in the client.
    pub(super) acks: VecDeque<(u16, QoS, Mark)>,
    /// Messages that are not acknowledged, by packet ID: their numbers.
    pub(super) open: HashMap<u16, u64>,
    /// How far it is.
    pub(super) stage: Stage,
    /// Whether it comes to its end on purpose.
    pub(super) leave: Leave,
    /// Whether it is there for a run of peer authentication and nothing else.
    pub(super) probe: bool,
    /// Whether the broker kept a session of an earlier one.
    pub(super) session_present: bool,
    /// When the run of peer authentication has lasted too long.
    pub(super) run_ends: Option<Instant>,
    /// Messages that came before traffic of the application may pass.
    pub(super) early: VecDeque<Received>,
    /// The key that its will is sealed under.
    pub(super) will_key: Option<KeyId>,
    /// Whether the broker was left no will, for want of a key.
    pub(super) without_will: bool,
    /// What is to be done about key updates, and when.
    pub(super) due: Due,
}

/// What is to be done about key updates on a connection, and when.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// The newest one should have come by then.
    pub(super) withheld: Option<Instant>,
    /// It is asked for once more.
    pub(super) again: Option<Instant>,
}

impl Due {
    /// The first of the moments.
    pub(super) fn next(&self) -> Option<Instant> {
        self.withheld.into_iter().chain(self.again).min()
    }
}

/// The filters that are to be subscribed, in the order of the requests.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    pub(super) filters: Vec<(String, QoS)>,
}

impl Subscriptions {
    pub(super) fn add(&mut self, filter: &str, qos: QoS) {
        match self.filters.iter_mut().find(|(own, _)| own == filter) {
            Some((_, own)) => *own = qos,
            None => self.filters.push((filter.into(), qos)),
        }
    }

    /// Whether consumers elsewhere see parts of what comes.
    pub(super) fn has_shared(&self) -> bool {
        self.filters.iter().any(|(filter, _)| filter.starts_with("$share/"))
    }

    pub(super) fn remove(&mut self, filter: &str) {
        self.filters.retain(|(own, _)| own != filter);
    }
}

impl<R> Connection<R> {
    pub(super) fn new(requests: R) -> Self {
        let (acks, open) = (VecDeque::new(), HashMap::new());
        let limits = ServerLimits::NONE;
        Self {
            requests,
            since: None,
            limits,
            acks,
            open,
            stage: Stage::Opening,
            leave: Leave::Stays,
            probe: false,
            session_present: false,
            run_ends: None,
            early: VecDeque::new(),
            will_key: None,
            without_will: false,
            due: Due::default(),
        }
    }

    /// One for a run of peer authentication and nothing else.
    #[cfg(feature = "tls")]
    pub(super) fn probe(requests: R) -> Self {
        Self { probe: true, ..Self::new(requests) }
    }

    pub(super) fn is_admitted(&self) -> bool {
        self.stage == Stage::Admitted
    }

    /// Whether DISCONNECT was handed over.
    pub(super) const fn is_parting(&self) -> bool {
        matches!(self.leave, Leave::Said { .. })
    }

    pub(super) fn lived(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Queues the acknowledgement of a message, for when the replay log is at `mark`: once, and only on the connection that it came by:
    /// another one's packet IDs belong to other messages.
    pub(super) fn acknowledge(&mut self, receipt: Receipt, mark: Mark) {
        if self.open.get(&receipt.id) == Some(&receipt.number) {
            self.open.remove(&receipt.id);
            self.acks.push_back((receipt.id, receipt.qos, mark));
        }
    }
}
