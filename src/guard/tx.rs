//! The sending half: decide, then seal.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    fmt,
    sync::atomic::{AtomicU32, Ordering},
};

use super::scopes::{Name, Scopes};
use super::{Config, QoS, bound_topic, scope_of};
use crate::keyring::{KeyCollision, LiveKey, NoSealingKey};
use crate::message;
use crate::policy::{Link, Payload, PropertyHandling, Replay, Retain, Rule};
use crate::secret::ScopeKey;
use crate::session::{Entropy, NoEntropy, SenderSession, SessionKeys, draw_id};
use crate::suite::SuiteNotBuilt;
use crate::topic::{TopicError, TopicName};
use crate::wire::header::{SessionId, TAG_LEN};
use crate::wire::inner::{InnerFields, Kind, padding_len, write_padding};
use crate::wire::property::{self, Property, PropertyError};
use crate::wire::varint;

/// Sessions that this process made so far, over all guards (SPEC §4, SID).
static SESSIONS_MADE: AtomicU32 = AtomicU32::new(0);
/// A session ends after this many milliseconds: 24 hours (SPEC §2).
const MAX_SESSION_MS: u64 = 24 * 60 * 60 * 1_000;
/// Sessions per scope: one for each `QoS` level.
const LEVELS: usize = 3;

/// A message that is to be published.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Outgoing<'a> {
    /// The topic name.
    pub topic: &'a str,
    /// The application's bytes.
    pub payload: &'a [u8],
    /// The quality of service of the PUBLISH.
    pub qos: QoS,
    /// Its RETAIN flag.
    pub retain: bool,
    /// Its MQTT 5 properties, of the five that belong to a payload.
    pub properties: &'a [Property<'a>],
    /// What the message is beside an ordinary one.
    pub kind: Option<Kind>,
    /// The clock in Unix milliseconds; `None` on a device without one.
    pub now: Option<u64>,
}

impl<'a> Outgoing<'a> {
    /// An ordinary message at `QoS` 0, not retained, without properties and clock.
    #[must_use]
    pub const fn new(topic: &'a str, payload: &'a [u8]) -> Self {
        let properties = &[];
        Self {
            topic,
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
            properties,
            kind: None,
            now: None,
        }
    }

    /// With this quality of service.
    #[must_use]
    pub const fn qos(mut self, qos: QoS) -> Self {
        self.qos = qos;
        self
    }

    /// With this RETAIN flag.
    #[must_use]
    pub const fn retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
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

/// What will become of a message, before anything is spent on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Plan {
    /// It goes out as it is.
    Pass {
        /// The link to publish on.
        link: Link,
    },
    /// It will be sealed.
    Seal {
        /// The link to publish on.
        link: Link,
        /// Bytes that sealing adds to the payload, padding and inner header included.
        growth: usize,
        /// What becomes of its properties.
        properties: PropertyHandling,
    },
}

impl Plan {
    /// Whether `property` will stay on the packet; if not, it is moved inside.
    #[must_use]
    pub const fn keeps(&self, property: &Property<'_>) -> bool {
        match self {
            Self::Pass { .. } => true,
            Self::Seal { properties, .. } => Outer::of(*properties).keeps(property),
        }
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sealed {
    /// The link to publish on.
    pub link: Link,
    /// The session and counter it was sealed under; `None` if it passed as it was.
    pub sealed: Option<(SessionId, u32)>,
    outer: Outer,
}

/// Which of the five properties stay on the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outer {
    All,
    AllButFormat,
    None,
}

impl Outer {
    /// Those of a message that is sealed.
    const fn of(handling: PropertyHandling) -> Self {
        match handling {
            PropertyHandling::Carry => Self::None,
            PropertyHandling::Bind | PropertyHandling::Ignore => Self::AllButFormat,
        }
    }

    const fn keeps(self, property: &Property<'_>) -> bool {
        match self {
            Self::All => true,
            Self::AllButFormat => !matches!(property, Property::PayloadFormat(_)),
            Self::None => false,
        }
    }
}

impl Sealed {
    /// Whether `property` stays on the packet; if not, it was moved inside.
    #[must_use]
    pub const fn keeps(&self, property: &Property<'_>) -> bool {
        self.outer.keeps(property)
    }
}

/// Why a message was not published. Nothing of it left, in clear or sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealError {
    /// The topic is no topic name.
    Topic(TopicError),
    /// A property breaks a rule of MQTT.
    Property(PropertyError),
    /// No rule of the policy covers the topic.
    Refused,
    /// The rule asks for TLS, and there is no TLS link.
    NoLink,
    /// The rule needs a clock, and none is set.
    ClockNeeded,
    /// A retained value under a `window` rule.
    RetainNeedsLatest,
    /// No active key covers the topic's scope under the rule's suite.
    NoKey,
    /// Active keys of more than one generation cover the topic's scope.
    SeveralKeys,
    /// The active key may not be used.
    KeyCollision(KeyCollision),
    /// The suite is not in this build.
    Suite(SuiteNotBuilt),
    /// No randomness for a new session.
    NoEntropy(NoEntropy),
    /// Sealed, it would exceed the packet limit of the rule.
    TooLarge {
        /// Bytes of the sealed payload.
        len: usize,
        /// The rule's limit in bytes.
        max: usize,
    },
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(error) => error.fmt(f),
            Self::Property(error) => error.fmt(f),
            Self::Refused => f.write_str("no rule of the policy covers the topic: add one"),
            Self::NoLink => f.write_str(
                "the topic's rule asks for tls, and there is no tls link: configure one",
            ),
            Self::ClockNeeded => f.write_str("the topic's rule needs a clock: set it"),
            Self::RetainNeedsLatest => f.write_str(
                "a retained value under replay = \"window\" may never be delivered: \
                 publish without RETAIN, or set retain = \"allow\"",
            ),
            Self::NoKey => {
                f.write_str("no key of the keyring seals in the topic's scope: grant one")
            }
            Self::SeveralKeys => f.write_str(
                "active keys of more than one generation cover the topic's scope: let one retire",
            ),
            Self::KeyCollision(error) => error.fmt(f),
            Self::Suite(error) => error.fmt(f),
            Self::NoEntropy(error) => error.fmt(f),
            Self::TooLarge { len, max } => {
                write!(f, "the sealed payload has {len} bytes and max_packet is {max}")
            }
        }
    }
}

impl core::error::Error for SealError {}

/// What is kept for a scope to seal in.
#[derive(Debug)]
struct Sending {
    key: LiveKey,
    sessions: [Option<Running>; LEVELS],
}

#[derive(Debug)]
struct Running {
    session: SenderSession,
    /// When it began; `None` without a clock.
    since: Option<u64>,
}

impl Running {
    fn is_over(&self, now: Option<u64>) -> bool {
        let old = self
            .since
            .zip(now)
            .is_some_and(|(since, now)| now.saturating_sub(since) >= MAX_SESSION_MS);
        old || self.session.peek().is_err()
    }
}

/// The sending half of a [`Guard`](super::Guard).
pub struct GuardTx {
    config: Arc<Config>,
    origin: Origin,
    scopes: Scopes<Sending>,
    aad: Vec<u8>,
}

/// What makes session IDs of this client differ from all others.
struct Origin {
    entropy: Box<dyn Entropy + Send>,
    client_id: Vec<u8>,
    process: u32,
}

impl Origin {
    // SPEC §4, SID
    fn draw(&mut self, scope: &ScopeKey) -> Result<SessionId, NoEntropy> {
        let made = SESSIONS_MADE.fetch_add(1, Ordering::Relaxed);
        let len = u16::try_from(self.client_id.len()).unwrap_or(u16::MAX).to_be_bytes();
        let process = self.process.to_be_bytes();
        draw_id(scope, &mut *self.entropy, made, &[&len, &self.client_id, &process])
    }
}

/// What the rule says of a message, once everything that needs no key was checked.
struct Decision<'a> {
    link: Link,
    /// `None`: it passes as it is.
    seal: Option<Sealing<'a>>,
}

struct Sealing<'a> {
    rule: &'a Rule,
    topic: TopicName<'a>,
    inner: InnerFields<'a>,
}

impl Sealing<'_> {
    /// Bytes of inner header, payload and padding.
    fn plaintext_len(&self, payload: usize) -> usize {
        self.inner.encoded_len().saturating_add(payload).saturating_add(self.inner.padding)
    }
}

impl GuardTx {
    pub(super) fn new(config: Arc<Config>, entropy: Box<dyn Entropy + Send>) -> Self {
        Self {
            config,
            origin: Origin { entropy, client_id: Vec::new(), process: process_id() },
            scopes: Scopes::new(),
            aad: Vec::new(),
        }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// A network connection was made under this MQTT client ID: every session ends here, and the
    /// next messages start new ones. What was sealed before and is not acknowledged is resent as
    /// the bytes it was, never sealed again.
    // SPEC §2, "A session MUST end at"
    pub fn connected(&mut self, client_id: &str) {
        self.origin.client_id.clear();
        self.origin.client_id.extend_from_slice(client_id.as_bytes());
        self.end_sessions();
    }

    fn end_sessions(&mut self) {
        for scope in self.scopes.values_mut() {
            scope.sessions = [const { None }; LEVELS];
        }
    }

    /// What will become of `message`. Nothing is spent and nothing changes.
    ///
    /// # Errors
    /// As [`GuardTx::seal`], but for what only sealing can find: `NoEntropy`.
    pub fn plan(&self, message: &Outgoing<'_>) -> Result<Plan, SealError> {
        let config = Arc::clone(&self.config);
        let decision = decide(&config, message)?;
        let link = decision.link;
        let Some(sealing) = decision.seal else {
            return Ok(Plan::Pass { link });
        };
        let name = Name::new(scope_of(sealing.rule, sealing.topic), sealing.rule.suite());
        let counter = match self.scopes.get(name) {
            Some(sending) => sending
                .sessions
                .get(level(message.qos))
                .and_then(Option::as_ref)
                .filter(|running| !running.is_over(message.now))
                .and_then(|running| running.session.peek().ok())
                .unwrap_or(0),
            None => sealing_key(&config, name).map(|_| 0)?,
        };
        let len = sealing.plaintext_len(message.payload.len());
        let total = sealed_len(sealing.rule, len, counter)?;
        let growth = total.saturating_sub(message.payload.len());
        Ok(Plan::Seal { link, growth, properties: sealing.rule.properties() })
    }

    /// Protects `message` as its rule says: `out` is replaced by the bytes to publish on
    /// [`Sealed::link`]. One counter is spent if it was sealed.
    ///
    /// # Errors
    /// [`SealError`] with the first that holds: `Topic`, `Property`, `Refused`, `NoLink`,
    /// `ClockNeeded`, `RetainNeedsLatest`, `Suite`, `NoKey`, `SeveralKeys`, `KeyCollision`,
    /// `NoEntropy`, `TooLarge`. `out` is empty then, and no counter is spent.
    // SPEC §6, seal
    pub fn seal(&mut self, message: &Outgoing<'_>, out: &mut Vec<u8>) -> Result<Sealed, SealError> {
        out.clear();
        self.leave_parent_process();
        let config = Arc::clone(&self.config);
        let decision = decide(&config, message)?;
        let link = decision.link;
        let Some(sealing) = decision.seal else {
            out.extend_from_slice(message.payload);
            return Ok(Sealed { link, sealed: None, outer: Outer::All });
        };
        let len = sealing.plaintext_len(message.payload.len());
        let session = session(&mut self.scopes, &mut self.origin, &config, &sealing, message, len)?;
        let total = sealed_len(sealing.rule, len, session.peek().unwrap_or(0))?;
        // the session has room for this message, or it would have been replaced
        let counter = session.spend(len).map_err(|_| too_large(sealing.rule, total))?;
        let id = session.keys.id;
        let sealed = write(&session.keys, counter, &sealing, message, total, &mut self.aad, out);
        if sealed.is_err() {
            zeroize::Zeroize::zeroize(out);
            return Err(too_large(sealing.rule, total));
        }
        let outer = Outer::of(sealing.rule.properties());
        Ok(Sealed { link, sealed: Some((id, counter)), outer })
    }

    /// A forked child shares memory with its parent: it must not share sessions.
    fn leave_parent_process(&mut self) {
        let process = process_id();
        if process != self.origin.process {
            self.origin.process = process;
            self.end_sessions();
        }
    }
}

impl fmt::Debug for GuardTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardTx").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The running session for a message of `len` bytes of plain text, or a new one.
fn session<'a>(
    scopes: &'a mut Scopes<Sending>,
    origin: &mut Origin,
    config: &Config,
    sealing: &Sealing<'_>,
    message: &Outgoing<'_>,
    len: usize,
) -> Result<&'a mut SenderSession, SealError> {
    let name = Name::new(scope_of(sealing.rule, sealing.topic), sealing.rule.suite());
    if scopes.get(name).is_none() {
        let key = sealing_key(config, name)?;
        scopes.insert(name, Sending { key, sessions: [const { None }; LEVELS] });
    }
    let sending = scopes.get_mut(name).ok_or(SealError::NoKey)?;
    let slot = sending.sessions.get_mut(level(message.qos)).ok_or(SealError::NoKey)?;
    let usable = slot.as_ref().is_some_and(|r| !r.is_over(message.now) && r.session.has_room(len));
    if !usable {
        // what cannot be sent must not start a session
        sealed_len(sealing.rule, len, 0)?;
        let LiveKey { kid, suite, key, .. } = &sending.key;
        let id = origin.draw(key).map_err(SealError::NoEntropy)?;
        let keys = SessionKeys::derive(key, *kid, *suite, id).map_err(SealError::Suite)?;
        *slot = Some(Running { session: SenderSession::new(keys), since: message.now });
    }
    slot.as_mut().map(|running| &mut running.session).ok_or(SealError::NoKey)
}

#[cfg(feature = "std")]
fn process_id() -> u32 {
    std::process::id()
}

#[cfg(not(feature = "std"))]
const fn process_id() -> u32 {
    0
}

const fn level(qos: QoS) -> usize {
    match qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce => 1,
        QoS::ExactlyOnce => 2,
    }
}

/// Everything that is decided before a key is looked up.
// SPEC §6, seal
fn decide<'a>(config: &'a Config, message: &Outgoing<'a>) -> Result<Decision<'a>, SealError> {
    let topic = TopicName::parse(message.topic).map_err(SealError::Topic)?;
    property::check(message.properties).map_err(SealError::Property)?;
    let rule = config.policy.rule(topic).ok_or(SealError::Refused)?;
    let link = config.links.publish_link(rule.transport()).ok_or(SealError::NoLink)?;
    let pass = Decision { link, seal: None };
    match rule.payload() {
        Payload::Clear => return Ok(pass),
        Payload::Observe { until } => {
            let live = message.now.is_some_and(|now| now <= until);
            return if live { Ok(pass) } else { Err(SealError::ClockNeeded) };
        }
        Payload::Sealed | Payload::Mixed { .. } => {}
    }
    // an empty retained payload deletes on the broker
    if message.payload.is_empty() && message.retain && message.kind.is_none() {
        return Ok(pass);
    }
    if rule.timestamp() && message.now.is_none() {
        return Err(SealError::ClockNeeded);
    }
    let value = message.retain && !message.payload.is_empty();
    if value && rule.replay() == Replay::Window && rule.retain() == Retain::Refuse {
        return Err(SealError::RetainNeedsLatest);
    }
    let inner = inner_fields(rule, topic, message);
    let inner_len = inner.encoded_len();
    if property::encoded_len(inner.properties, carried(rule)) > usize::from(u16::MAX) {
        return Err(SealError::Property(PropertyError::TooLong));
    }
    let padding = match rule.pad() {
        0 => 0,
        block => padding_len(
            block,
            with_padding(inner).encoded_len().saturating_add(message.payload.len()),
        ),
    };
    debug_assert!(inner_len <= with_padding(inner).encoded_len(), "padding sets a flag");
    Ok(Decision {
        link,
        seal: Some(Sealing { rule, topic, inner: InnerFields { padding, ..inner } }),
    })
}

/// The same fields as if there were padding: its flag alone may make an inner header.
const fn with_padding(inner: InnerFields<'_>) -> InnerFields<'_> {
    InnerFields { padding: 1, ..inner }
}

const fn carried(rule: &Rule) -> property::Carried {
    match rule.properties() {
        PropertyHandling::Carry => property::Carried::All,
        PropertyHandling::Bind | PropertyHandling::Ignore => property::Carried::FormatOnly,
    }
}

fn inner_fields<'a>(rule: &Rule, topic: TopicName<'a>, message: &Outgoing<'a>) -> InnerFields<'a> {
    InnerFields {
        timestamp: message.now.filter(|_| rule.timestamp()),
        ttl: None,
        topic: bound_topic(rule, topic).is_none().then_some(topic),
        properties: message.properties,
        carry_all: rule.properties() == PropertyHandling::Carry,
        echo: None,
        kind: message.kind,
        padding: 0,
    }
}

/// The key that seals in the scope of `name`.
fn sealing_key(config: &Config, name: Name<'_>) -> Result<LiveKey, SealError> {
    let suite = name.suite();
    if !suite.is_built() {
        return Err(SealError::Suite(SuiteNotBuilt { suite }));
    }
    config.keyring.sealing_key(name.scope(), suite).map_err(|none| match none {
        NoSealingKey::None => SealError::NoKey,
        NoSealingKey::Several => SealError::SeveralKeys,
        NoSealingKey::Collision(collision) => SealError::KeyCollision(collision),
    })
}

/// Bytes of a sealed payload in session form with `len` bytes of plain text.
fn sealed_len(rule: &Rule, len: usize, counter: u32) -> Result<usize, SealError> {
    // magic, VF, KID and SID
    let total = [18, varint::len(counter), rule.suite().commitment_len(), len, TAG_LEN]
        .into_iter()
        .fold(0, usize::saturating_add);
    if total > rule.max_packet() { Err(too_large(rule, total)) } else { Ok(total) }
}

fn too_large(rule: &Rule, len: usize) -> SealError {
    SealError::TooLarge { len, max: rule.max_packet() }
}

/// Writes header ‖ commitment ‖ encrypted (inner header ‖ payload ‖ padding) ‖ tag into `out`.
fn write(
    keys: &SessionKeys,
    counter: u32,
    sealing: &Sealing<'_>,
    message: &Outgoing<'_>,
    total: usize,
    aad: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(), crate::suite::TooLong> {
    let header = keys.header(counter, !sealing.inner.is_empty()).encode();
    let bind = (sealing.rule.properties() == PropertyHandling::Bind).then_some(message.properties);
    aad.clear();
    message::aad(keys, header.as_bytes(), bound_topic(sealing.rule, sealing.topic), bind)
        .encode(|part| aad.extend_from_slice(part));

    out.reserve_exact(total);
    out.extend_from_slice(header.as_bytes());
    let commitment = out.len();
    out.resize(commitment.saturating_add(keys.suite.commitment_len()), 0);
    let text = out.len();
    sealing.inner.encode(|part| out.extend_from_slice(part));
    out.extend_from_slice(message.payload);
    let padding = out.len();
    out.resize(padding.saturating_add(sealing.inner.padding), 0);
    write_padding(out.get_mut(padding..).unwrap_or_default());
    let tag = out.len();
    out.resize(tag.saturating_add(TAG_LEN), 0);
    debug_assert_eq!(out.len(), total, "the length was foretold");

    let (front, tag) = out.split_at_mut(tag);
    let (front, text) = front.split_at_mut(text);
    let (_, commitment) = front.split_at_mut(commitment);
    message::encrypt(keys, counter, aad, commitment, text, tag)
}
