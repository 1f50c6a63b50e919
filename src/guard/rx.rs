//! The receiving half: open, then ask the replay state.

use alloc::{string::String, sync::Arc, vec::Vec};
use core::{fmt, ops::Range};

use hashbrown::HashMap;
use zeroize::Zeroize;

use super::aad::AadBuffer;
use super::event::{Events, GuardEvent};
use super::incoming::{Delivery, Incoming, OpenError, Props, Protection, Receipt};
use super::lru::Lru;
use super::scopes::{Name, Scopes};
use super::windows::{ReplayLimits, StateKey, Windows};
use super::{Config, MAX_SKEW_MS, Outer, bound_topic, scope_of};
use crate::keyring::{KeyCollision, LiveKey};
use crate::message;
use crate::policy::{Payload, Policy, PropertyHandling, Replay, Rule, TopicBinding};
use crate::replay::{Rejected, Verdict};
use crate::session::{Authentic, SessionKeys};
use crate::suite::Suite;
use crate::topic::TopicName;
use crate::wire::header::{Header, HeaderError, SessionId, TAG_LEN};
use crate::wire::inner::InnerHeader;
use crate::wire::property::Property;

/// Session keys that are kept for each scope key; more senders are derived again.
const MAX_SESSIONS: usize = 256;
/// Messages that wait for confirmation: what two links have packet IDs for. Of more, the oldest
/// count as confirmed.
const MAX_UNCONFIRMED: usize = 2 * 65_535;
/// Failed messages of a scope that are worth a warning (SPEC §8).
const WARN_FAILURES: u64 = 1 << 20;

/// What is kept for a scope to open in.
#[derive(Debug)]
struct ScopeKeys {
    keys: Vec<Receiving>,
    collision: Option<KeyCollision>,
    failures: u64,
}

#[derive(Debug)]
struct Receiving {
    key: LiveKey,
    sessions: HashMap<SessionId, SessionKeys>,
}

/// The receiving half of a [`Guard`](super::Guard).
pub struct GuardRx {
    config: Arc<Config>,
    scopes: Scopes<ScopeKeys>,
    windows: Windows,
    /// Delivered and not confirmed, where confirmation is manual.
    unconfirmed: Option<Lru<Receipt, ()>>,
    events: Events,
    aad: AadBuffer,
}

/// What authentic plain text turned out to hold, its borrowed parts copied.
struct Contents {
    delivery: Delivery,
    payload: Range<usize>,
}

impl GuardRx {
    pub(super) fn new(config: Arc<Config>, random: &[u8; 32]) -> Self {
        let (key, _) = random.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        Self {
            config,
            scopes: Scopes::new(),
            windows: Windows::new(*key, ReplayLimits::default()),
            unconfirmed: None,
            events: Events::default(),
            aad: AadBuffer::default(),
        }
    }

    /// Keeps replay state within `limits` from now on.
    pub fn set_replay_limits(&mut self, limits: ReplayLimits) {
        self.windows.set_limits(limits);
    }

    /// From now on a delivered message counts as dealt with only after [`GuardRx::confirm`]: until
    /// then a repetition is delivered again, as [`Verdict::Redelivered`]. For clients that
    /// acknowledge by hand.
    // SPEC §7.2
    pub fn confirm_manually(&mut self) {
        self.unconfirmed.get_or_insert_with(Lru::new);
    }

    /// The application has dealt with the message of `receipt`: its repetitions are duplicates.
    pub fn confirm(&mut self, receipt: Receipt) {
        if let Some(unconfirmed) = &mut self.unconfirmed {
            unconfirmed.remove(&receipt);
        }
    }

    fn is_unconfirmed(&self, state: StateKey, counter: u32) -> bool {
        let receipt = Receipt { state, counter };
        self.unconfirmed.as_ref().is_some_and(|unconfirmed| unconfirmed.get(&receipt).is_some())
    }

    /// Enters an authentic message into its window.
    fn admit(&mut self, state: StateKey, proof: &Authentic) -> Result<Verdict, Rejected> {
        let lost = self.windows.lost();
        let accepted = self.windows.accept(state, proof);
        for _ in lost..self.windows.lost() {
            self.events.push(GuardEvent::TombstoneOverflow);
        }
        let counter = proof.counter();
        match accepted {
            Err(Rejected::Duplicate) if self.is_unconfirmed(state, counter) => {
                Ok(Verdict::Redelivered)
            }
            Err(rejected) => Err(rejected),
            Ok(()) => {
                if let Some(unconfirmed) = &mut self.unconfirmed {
                    // it may wait already, if its window was forgotten meanwhile
                    unconfirmed.remove(&Receipt { state, counter });
                    unconfirmed.insert(Receipt { state, counter }, ());
                    if unconfirmed.len() > MAX_UNCONFIRMED {
                        unconfirmed.pop_oldest();
                    }
                }
                Ok(Verdict::New)
            }
        }
    }

    /// The next thing that the operator should know, oldest first.
    pub fn next_event(&mut self) -> Option<GuardEvent> {
        self.events.pop()
    }

    /// Streams whose replay state had to be forgotten altogether: messages of theirs would count
    /// as new. It stays 0 unless authentic senders exceed the quotas.
    #[must_use]
    pub const fn forgotten(&self) -> u64 {
        self.windows.lost()
    }

    /// Opens `message` as the rule of its topic says: `out` is replaced by the application's
    /// bytes. Authenticated are the payload, the topic as the rule binds it and the properties as
    /// the rule says. Replay state changes only when a sealed message is delivered.
    ///
    /// # Errors
    /// [`OpenError`] with the first that holds, in the order of its variants; a counter that was
    /// seen already is a `Duplicate` before any decryption. `out` is wiped and empty then.
    // SPEC §6, open
    pub fn open(
        &mut self,
        message: &Incoming<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Delivery, OpenError> {
        out.clear();
        let opened = self.try_open(message, out);
        if opened.is_err() {
            // wipes the whole capacity
            out.zeroize();
        }
        opened
    }

    fn try_open(
        &mut self,
        message: &Incoming<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Delivery, OpenError> {
        let config = Arc::clone(&self.config);
        let topic = TopicName::parse(message.topic).map_err(OpenError::Topic)?;
        let rule = config.policy.rule(topic).ok_or(OpenError::Refused)?;
        if !config.links.accepts(rule.transport(), message.link) {
            return Err(OpenError::WrongTransport);
        }
        if rule.payload() == Payload::Clear {
            out.extend_from_slice(message.payload);
            return Ok(Delivery::clear());
        }
        if message.payload.is_empty() {
            return Err(OpenError::Cleared);
        }
        let header = match Header::parse(message.payload) {
            Ok((header, _)) => header,
            Err(HeaderError::NotSealed) if accepts_clear(rule, message.now) => {
                out.extend_from_slice(message.payload);
                return Ok(Delivery::clear());
            }
            Err(HeaderError::NotSealed) => return Err(OpenError::ClearOnSealedTopic),
            Err(HeaderError::Unsupported) => return Err(OpenError::Unsupported),
            Err(HeaderError::Malformed) => return Err(OpenError::Malformed),
        };
        self.open_sealed(rule, topic, &header, message, out)
    }

    fn open_sealed(
        &mut self,
        rule: &Rule,
        topic: TopicName<'_>,
        header: &Header,
        message: &Incoming<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Delivery, OpenError> {
        let name = Name::new(scope_of(rule, topic), rule.suite());
        let bound = bound_topic(rule, topic);
        let state = |windows: &mut Windows, topic| {
            windows.state_key(name.scope(), header.kid, header.id, topic)
        };
        // under `carried` the topic is not known yet
        let mut key = bound
            .filter(|_| rule.replay() == Replay::Window)
            .map(|topic| state(&mut self.windows, topic));
        let (proof, generation) =
            self.authenticate(rule, bound, name, key, header, message, out)?;

        let mut contents = read_contents(&self.config.policy, rule, header, proof, out)?;
        contents.delivery.generation = Some(generation);
        let payload = contents.payload.clone();
        if let Some(now) = message.now
            && contents.delivery.timestamp.is_some_and(|ts| ts > now.saturating_add(MAX_SKEW_MS))
        {
            return Err(OpenError::Rejected(Rejected::NotFresh));
        }
        if rule.replay() == Replay::Window {
            let carried = contents.delivery.carried_topic.as_deref().map(TopicName::parse);
            if let Some(Ok(topic)) = carried {
                key = Some(state(&mut self.windows, topic));
            }
            let key = key.ok_or(OpenError::Malformed)?;
            let verdict = self.admit(key, &proof).map_err(OpenError::Rejected)?;
            contents.delivery.verdict = Some(verdict);
            let receipt = Receipt { state: key, counter: proof.counter() };
            contents.delivery.receipt = self.unconfirmed.is_some().then_some(receipt);
        }
        keep(out, payload);
        Ok(contents.delivery)
    }

    /// Puts the plain text of an authentic message into `out`.
    #[expect(clippy::too_many_arguments, reason = "the parts of one message, used once")]
    fn authenticate(
        &mut self,
        rule: &Rule,
        bound: Option<TopicName<'_>>,
        name: Name<'_>,
        state: Option<StateKey>,
        header: &Header,
        message: &Incoming<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(Authentic, u32), OpenError> {
        // keys of a scope that was not used yet are cached only after they opened something
        let mut fresh = None;
        let scope = match self.scopes.get_mut(name) {
            Some(scope) => scope,
            None => fresh.insert(ScopeKeys::new(&self.config, name)),
        };
        if let Some(collision) = scope.collision.take() {
            self.events.push(GuardEvent::KeyCollision(collision));
        }
        let key = scope
            .keys
            .iter_mut()
            .find(|key| key.key.kid == header.kid && key.key.opens(message.now))
            .ok_or(OpenError::UnknownKey)?;
        let (encoded, commitment, sealed) =
            split(message.payload, header, key.key.suite).ok_or(OpenError::Malformed)?;
        // seen and confirmed already: a Duplicate, without any decryption
        if state.is_some_and(|state| {
            let confirmed = self.unconfirmed.as_ref().is_none_or(|unconfirmed| {
                unconfirmed.get(&Receipt { state, counter: header.counter }).is_none()
            });
            confirmed && self.windows.check(state, header.counter) == Err(Rejected::Duplicate)
        }) {
            return Err(OpenError::Rejected(Rejected::Duplicate));
        }
        let generation = key.key.generation;
        let mut derived = None;
        let session = if let Some(session) = key.sessions.get(&header.id) {
            session
        } else {
            let LiveKey { kid, suite, key, .. } = &key.key;
            let session = SessionKeys::derive(key, *kid, *suite, header.id)
                .map_err(|_| OpenError::UnknownKey)?;
            &*derived.insert(session)
        };
        let bind = (rule.properties() == PropertyHandling::Bind).then_some(message.properties);
        let aad = self.aad.write(&message::aad(session, encoded, bound, bind));
        out.extend_from_slice(sealed);
        let Ok(proof) = session.authenticate(header.counter, aad, commitment, out) else {
            scope.failures = scope.failures.saturating_add(1);
            if scope.failures == WARN_FAILURES {
                self.events.push(GuardEvent::ManyFailures { failures: WARN_FAILURES });
            }
            return Err(OpenError::NotAuthentic);
        };
        if let Some(session) = derived {
            remember(&mut key.sessions, session);
        }
        if let Some(scope) = fresh {
            self.scopes.insert(name, scope);
        }
        out.truncate(out.len().saturating_sub(TAG_LEN));
        Ok((proof, generation))
    }
}

impl fmt::Debug for GuardRx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardRx").field("config", &self.config).finish_non_exhaustive()
    }
}

// SPEC §1, "policy"
fn accepts_clear(rule: &Rule, now: Option<u64>) -> bool {
    match rule.payload() {
        Payload::Mixed { until } | Payload::Observe { until } => {
            now.is_some_and(|now| now <= until)
        }
        Payload::Sealed | Payload::Clear => false,
    }
}

impl ScopeKeys {
    fn new(config: &Config, name: Name<'_>) -> Self {
        let live = config.keyring.live_keys(name.scope(), name.suite());
        let receiving = |key| Receiving { key, sessions: HashMap::new() };
        let keys = live.keys.into_iter().map(receiving).collect();
        Self { keys, collision: live.collision, failures: 0 }
    }
}

/// Keeps `session`, in place of any other when there are too many.
fn remember(sessions: &mut HashMap<SessionId, SessionKeys>, session: SessionKeys) {
    if sessions.len() >= MAX_SESSIONS {
        let other = sessions.keys().next().copied();
        if let Some(other) = other {
            sessions.remove(&other);
        }
    }
    sessions.insert(session.id, session);
}

/// Header, commitment, and ciphertext with its tag.
fn split<'a>(
    payload: &'a [u8],
    header: &Header,
    suite: Suite,
) -> Option<(&'a [u8], &'a [u8], &'a [u8])> {
    let (encoded, body) = payload.split_at_checked(header.encoded_len())?;
    let (commitment, sealed) = body.split_at_checked(suite.commitment_len())?;
    (sealed.len() >= TAG_LEN).then_some((encoded, commitment, sealed))
}

/// Keeps `range` of `out` and wipes the rest.
fn keep(out: &mut Vec<u8>, range: Range<usize>) {
    if range == (0..out.len()) {
        return;
    }
    let len = range.len();
    out.copy_within(range, 0);
    out.get_mut(len..).unwrap_or_default().zeroize();
    out.truncate(len);
}

/// Reads the plain text in `text` and judges a carried topic and the properties.
// SPEC §6, "inner header, padding -> Malformed; carried topic -> Refused"
fn read_contents(
    policy: &Policy,
    rule: &Rule,
    header: &Header,
    proof: Authentic,
    text: &[u8],
) -> Result<Contents, OpenError> {
    let (inner, payload) = if header.inner {
        InnerHeader::parse(text).map_err(|_| OpenError::Malformed)?
    } else {
        (InnerHeader::default(), text)
    };
    let props = inner.properties.unwrap_or_default();
    let outer = Outer::of(rule.properties());
    let format_only =
        || props.iter().all(|property| matches!(property, Property::PayloadFormat(_)));
    if outer == Outer::AllButFormat && !format_only() {
        return Err(OpenError::Malformed);
    }
    let carried_topic = match rule.topic_binding() {
        TopicBinding::Carried => {
            let topic = inner.topic.ok_or(OpenError::Malformed)?;
            let allowed = match rule.carried_filter() {
                Some(filter) => filter.matches(topic),
                None => policy.rule(topic).is_some_and(|first| core::ptr::eq(first, rule)),
            };
            Some(topic).filter(|_| allowed).ok_or(OpenError::Refused).map(Some)?
        }
        _ => None,
    };
    let carried_topic = carried_topic.map(|topic| String::from(topic.as_str()));
    Ok(Contents {
        payload: inner.len..inner.len.saturating_add(payload.len()),
        delivery: Delivery {
            protection: Protection::Sealed,
            verdict: (rule.replay() == Replay::Off).then_some(Verdict::Unchecked),
            proof: Some(proof),
            generation: None,
            kind: inner.kind,
            timestamp: inner.timestamp,
            ttl: inner.ttl,
            carried_topic,
            receipt: None,
            props: Props(props.as_bytes().into()),
            outer,
        },
    })
}
