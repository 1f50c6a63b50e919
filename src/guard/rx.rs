//! The receiving half: open, then ask the replay state.

use alloc::{string::String, sync::Arc, vec::Vec};
use core::{fmt, ops::Range};

use hashbrown::HashMap;
use zeroize::Zeroize;

use super::event::{Events, GuardEvent};
use super::scopes::{Name, Scopes};
use super::windows::{ReplayLimits, StateKey, Windows};
use super::{Config, MAX_SKEW_MS, bound_topic, scope_of};
use crate::keyring::{KeyCollision, LiveKey};
use crate::message;
use crate::policy::{Link, Payload, Policy, PropertyHandling, Replay, Rule, TopicBinding};
use crate::replay::{Rejected, Verdict};
use crate::session::{Authentic, BodyError, SessionKeys};
use crate::topic::{TopicError, TopicName};
use crate::wire::header::{Header, HeaderError, SessionId, TAG_LEN};
use crate::wire::inner::{InnerHeader, Kind};
use crate::wire::property::{Properties, Property};

/// Session keys that are kept for each scope key; more senders are derived again.
const MAX_SESSIONS: usize = 256;
/// Failed messages of a scope that are worth a warning (SPEC §8).
const WARN_FAILURES: u64 = 1 << 20;

/// A message that arrived.
///
/// `Debug` prints the number of bytes and properties in place of them.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Incoming<'a> {
    /// The topic name of the PUBLISH, its alias resolved.
    pub topic: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
    /// The link it came by.
    pub link: Link,
    /// Its MQTT 5 properties, of the five that belong to a payload.
    pub properties: &'a [Property<'a>],
    /// The clock in Unix milliseconds; `None` on a device without one.
    pub now: Option<u64>,
}

impl<'a> Incoming<'a> {
    /// A message without properties, at a receiver without a clock.
    #[must_use]
    pub const fn new(topic: &'a str, payload: &'a [u8], link: Link) -> Self {
        Self { topic, payload, link, properties: &[], now: None }
    }

    /// With these MQTT 5 properties.
    #[must_use]
    pub const fn properties(mut self, properties: &'a [Property<'a>]) -> Self {
        self.properties = properties;
        self
    }

    /// At this time, in Unix milliseconds.
    #[must_use]
    pub const fn at(mut self, now: Option<u64>) -> Self {
        self.now = now;
        self
    }
}

impl fmt::Debug for Incoming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("topic", &self.topic)
            .field("payload_len", &self.payload.len())
            .field("link", &self.link)
            .field("properties", &self.properties.len())
            .field("now", &self.now)
            .finish()
    }
}

/// How a delivered payload was protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protection {
    /// Not at all: the topic's rule allows that.
    Clear,
    /// Sealed by a holder of the scope's key.
    Sealed,
}

/// What is told about a payload that is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// How the payload was protected.
    pub protection: Protection,
    /// What the replay state says; `None` for clear payloads.
    pub verdict: Option<Verdict>,
    /// Key, session and counter of a sealed payload.
    pub proof: Option<Authentic>,
    /// The generation of the key of a sealed payload.
    pub generation: Option<u32>,
    /// What the message is beside an ordinary one.
    pub kind: Option<Kind>,
    /// When it was sealed, in Unix milliseconds, if the sender said so.
    pub timestamp: Option<u64>,
    /// Seconds of validity after the timestamp, if the sender said so.
    pub ttl: Option<u32>,
    /// The authenticated topic that takes the place of the packet's, under
    /// `topic_binding = "carried"`.
    pub carried_topic: Option<String>,
    props: Props,
    outer: Outer,
}

/// PROPS as it stood inside, where it was hidden.
#[derive(Clone, Default, PartialEq, Eq)]
struct Props(Vec<u8>);

impl fmt::Debug for Props {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Which of the five properties of the packet count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outer {
    All,
    AllButFormat,
    None,
}

impl Delivery {
    fn clear() -> Self {
        Self {
            protection: Protection::Clear,
            verdict: None,
            proof: None,
            generation: None,
            kind: None,
            timestamp: None,
            ttl: None,
            carried_topic: None,
            props: Props::default(),
            outer: Outer::All,
        }
    }

    /// The message's properties: those that came inside, then those of the packet that count.
    pub fn properties<'a>(
        &'a self,
        packet: &'a [Property<'a>],
    ) -> impl Iterator<Item = Property<'a>> {
        let inside = Properties::parse(&self.props.0).unwrap_or_default();
        inside.iter().chain(packet.iter().copied().filter(|property| match self.outer {
            Outer::All => true,
            Outer::AllButFormat => !matches!(property, Property::PayloadFormat(_)),
            Outer::None => false,
        }))
    }
}

/// Why a message is not delivered. The application may be told the topic, the link and this;
/// never the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpenError {
    /// The topic is no topic name.
    Topic(TopicError),
    /// No rule covers the topic, or the carried topic does not belong to the rule.
    Refused,
    /// The rule keeps the topic to TLS, and the message came over plain TCP.
    WrongTransport,
    /// An empty payload: the retained value was deleted, by whom cannot be told.
    Cleared,
    /// A payload that was never sealed, on a topic whose rule asks for sealing.
    ClearOnSealedTopic,
    /// A version or a flag that this edition does not know.
    Unsupported,
    /// The header is cut or a number is out of range, or authentic plain text breaks the format.
    Malformed,
    /// Sealed under a key that is not in the keyring, or not of this scope.
    UnknownKey,
    /// Not made by a holder of the key, or not for this topic.
    NotAuthentic,
    /// Dated more than five seconds ahead of this receiver's clock.
    NotFresh,
    /// Authentic, and refused by the replay state.
    Rejected(Rejected),
}

impl OpenError {
    /// The error's name, for logs and counters.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Topic(_) => "Topic",
            Self::Refused => "Refused",
            Self::WrongTransport => "WrongTransport",
            Self::Cleared => "Cleared",
            Self::ClearOnSealedTopic => "ClearOnSealedTopic",
            Self::Unsupported => "Unsupported",
            Self::Malformed => "Malformed",
            Self::UnknownKey => "UnknownKey",
            Self::NotAuthentic => "NotAuthentic",
            Self::NotFresh => "NotFresh",
            Self::Rejected(Rejected::Duplicate) => "Duplicate",
            Self::Rejected(Rejected::TooOld) => "TooOld",
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Topic(error) => return error.fmt(f),
            Self::Rejected(rejected) => return rejected.fmt(f),
            Self::Refused => "no rule of the policy covers the topic",
            Self::WrongTransport => "the topic's rule asks for tls, and the message came over tcp",
            Self::Cleared => "the payload is empty: somebody deleted the retained value",
            Self::ClearOnSealedTopic => {
                "the payload is not sealed, and the topic's rule asks for it"
            }
            Self::Unsupported => "the message has an unknown version or flag",
            Self::Malformed => "the message is malformed",
            Self::UnknownKey => "the message is sealed under a key that the keyring does not hold",
            Self::NotAuthentic => "the message is not authentic",
            Self::NotFresh => "the message is dated ahead of this clock",
        })
    }
}

impl core::error::Error for OpenError {}

impl From<BodyError> for OpenError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Short => Self::Malformed,
            BodyError::NotAuthentic => Self::NotAuthentic,
        }
    }
}

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
    events: Events,
    aad: Vec<u8>,
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
            events: Events::default(),
            aad: Vec::new(),
        }
    }

    /// Keeps replay state within `limits` from now on.
    pub const fn set_replay_limits(&mut self, limits: ReplayLimits) {
        self.windows.set_limits(limits);
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
        let state = |windows: &Windows, topic| {
            windows.state_key(name.scope(), header.kid, header.id, topic)
        };
        // under `carried` the topic is not known yet
        let mut key = bound
            .filter(|_| rule.replay() == Replay::Window)
            .map(|topic| state(&self.windows, topic));
        let (proof, generation) =
            self.authenticate(rule, bound, name, key, header, message, out)?;

        let mut contents = read_contents(&self.config.policy, rule, header, proof, out)?;
        contents.delivery.generation = Some(generation);
        let payload = contents.payload.clone();
        if let Some(now) = message.now
            && contents.delivery.timestamp.is_some_and(|ts| ts > now.saturating_add(MAX_SKEW_MS))
        {
            return Err(OpenError::NotFresh);
        }
        if rule.replay() == Replay::Window {
            let carried = contents.delivery.carried_topic.as_deref().map(TopicName::parse);
            if let Some(Ok(topic)) = carried {
                key = Some(state(&self.windows, topic));
            }
            let key = key.ok_or(OpenError::Malformed)?;
            let lost = self.windows.lost();
            self.windows.accept(key, &proof).map_err(OpenError::Rejected)?;
            for _ in lost..self.windows.lost() {
                self.events.push(GuardEvent::TombstoneOverflow);
            }
            contents.delivery.verdict = Some(Verdict::New);
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
        let start = header.encoded_len().saturating_add(key.key.suite.commitment_len());
        if message.payload.len() < start.saturating_add(TAG_LEN) {
            return Err(OpenError::Malformed);
        }
        // seen already: a Duplicate, without any decryption
        if state
            .is_some_and(|key| self.windows.check(key, header.counter) == Err(Rejected::Duplicate))
        {
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
        let encoded = header.encode();
        self.aad.clear();
        message::aad(session, encoded.as_bytes(), bound, bind)
            .encode(|part| self.aad.extend_from_slice(part));
        out.extend_from_slice(message.payload);
        let proof = match session.authenticate(header, &self.aad, out) {
            Ok((proof, _)) => proof,
            Err(error) => {
                scope.failures = scope.failures.saturating_add(1);
                if scope.failures == WARN_FAILURES {
                    self.events.push(GuardEvent::ManyFailures { failures: WARN_FAILURES });
                }
                return Err(error.into());
            }
        };
        if let Some(session) = derived {
            remember(&mut key.sessions, session);
        }
        if let Some(scope) = fresh {
            self.scopes.insert(name, scope);
        }
        keep(out, start..out.len().saturating_sub(TAG_LEN));
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

/// Keeps `range` of `out` and wipes the rest.
fn keep(out: &mut Vec<u8>, range: Range<usize>) {
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
    let outer = match rule.properties() {
        PropertyHandling::Carry => Outer::None,
        PropertyHandling::Bind | PropertyHandling::Ignore => Outer::AllButFormat,
    };
    let format_only = props.iter().all(|property| matches!(property, Property::PayloadFormat(_)));
    if outer == Outer::AllButFormat && !format_only {
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
            props: Props(props.as_bytes().into()),
            outer,
        },
    })
}
