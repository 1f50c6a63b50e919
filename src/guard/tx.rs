//! The sending half: decide, then seal.

mod replace;

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{fmt, ops::Range};

use super::aad::AadBuffer;
use super::leases::Leases;
use super::outgoing::{Outgoing, Plan, SealError, Sealed};
use super::own::Announce;
use super::recent::{Memo, NoRule, Recent};
use super::scopes::{Name, Scopes};
use super::{Config, Outer, QoS, bound_topic, scope_of};
use crate::keyring::{LiveKey, NoSealingKey};
use crate::message;
use crate::policy::{Link, Payload, PropertyHandling, Replay, Retain, Rule};
use crate::secret::ScopeKey;
use crate::session::{
    self, CounterStore, Entropy, LeaseError, NoEntropy, SenderSession, SessionKeys, draw_id,
};
use crate::suite::{Suite, SuiteNotBuilt};
use crate::topic::TopicName;
use crate::wire::header::{COM_LEN, Form, Header, SenderNumber, SessionId, TAG_LEN, WILL_COUNTER};
use crate::wire::inner::{InnerFields, Kind, padding_len, write_padding};
use crate::wire::property::{self, PropertyError};

/// A session ends after this many milliseconds: 24 hours (SPEC §2).
const MAX_SESSION_MS: u64 = 24 * 60 * 60 * 1_000;
/// Sessions per scope and link: one for each `QoS` level.
const LEVELS: usize = 3;
/// Links of a client, each of which has connections of its own.
const LINKS: usize = 2;
/// A link without sessions.
const NO_SESSIONS: [Option<Running>; LEVELS] = [const { None }; LEVELS];

/// What is kept for a scope to seal in.
#[derive(Debug)]
struct Sending {
    key: LiveKey,
    sessions: [[Option<Running>; LEVELS]; LINKS],
    /// The keys of compact form, which last as long as the generation.
    compact: Option<SessionKeys>,
}

impl Sending {
    const fn new(key: LiveKey) -> Self {
        Self { key, sessions: [NO_SESSIONS; LINKS], compact: None }
    }

    /// Whether a session's will lies at a broker: it must not be forgotten.
    fn has_will(&self) -> bool {
        self.sessions.iter().flatten().flatten().any(|running| running.session.has_will())
    }

    fn session(&self, link: Link, qos: QoS) -> Option<&Running> {
        self.sessions.get(place(link))?.get(level(qos))?.as_ref()
    }
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
        // a session whose will lies at the broker ends only with its connection
        !self.session.has_will() && (old || self.session.peek().is_err())
    }
}

/// The sending half of a [`Guard`](super::Guard).
pub struct GuardTx {
    config: Arc<Config>,
    announce: Announce,
    origin: Origin,
    scopes: Scopes<Sending>,
    leases: Leases,
    aad: AadBuffer,
    recent: Option<Box<Recent>>,
}

/// What makes session IDs of this client differ from all others.
struct Origin {
    entropy: Box<dyn Entropy + Send>,
    client_id: Vec<u8>,
    process: u32,
    /// When the Guard was made, where there is a clock: it tells runs under one process ID apart.
    started: u64,
}

impl Origin {
    fn set_client_id(&mut self, client_id: &str) {
        self.client_id.clear();
        self.client_id.extend_from_slice(client_id.as_bytes());
    }

    // SPEC §4, SID
    fn draw(&mut self, scope: &ScopeKey) -> Result<SessionId, NoEntropy> {
        let made = session::count();
        let len = u16::try_from(self.client_id.len()).unwrap_or(u16::MAX).to_be_bytes();
        let (process, started) = (self.process.to_be_bytes(), self.started.to_be_bytes());
        draw_id(scope, &mut *self.entropy, made, &[&len, &self.client_id, &process, &started])
    }
}

/// What the rule says of a message, once everything that needs no key was checked.
struct Decision<'a> {
    link: Link,
    /// `None`: it passes as it is.
    seal: Option<Sealing<'a>>,
    outer: Outer,
}

struct Sealing<'a> {
    rule: &'a Rule,
    link: Link,
    topic: TopicName<'a>,
    inner: InnerFields<'a>,
    /// Bytes of the inner header; 0 for none.
    inner_len: usize,
    /// Whether it is sealed in compact form.
    compact: bool,
}

impl Sealing<'_> {
    fn name(&self) -> Name<'_> {
        Name::new(scope_of(self.rule, self.topic), self.rule.suite())
    }

    /// Bytes of inner header, payload and padding.
    fn plaintext_len(&self, payload: usize) -> usize {
        self.inner_len.saturating_add(payload).saturating_add(self.inner.padding)
    }
}

impl GuardTx {
    pub(super) fn new(
        config: Arc<Config>,
        announce: Announce,
        entropy: Box<dyn Entropy + Send>,
    ) -> Self {
        Self {
            config,
            announce,
            origin: Origin {
                entropy,
                client_id: Vec::new(),
                process: process_id(),
                started: started(),
            },
            scopes: Scopes::new(),
            leases: Leases::default(),
            aad: AadBuffer::default(),
            recent: None,
        }
    }

    /// The configuration in force.
    #[must_use]
    pub const fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// A network connection is made under this MQTT client ID, the only one of the client: every
    /// session ends here, and the next messages start new ones. A will for this connection is
    /// sealed after this call and before CONNECT. What was sealed before and is not acknowledged is
    /// resent as the bytes it was, never sealed again.
    // SPEC §2, "A session MUST end at"; §6, wills
    pub fn connected(&mut self, client_id: &str) {
        self.origin.set_client_id(client_id);
        self.end_sessions();
    }

    /// As [`GuardTx::connected`], for one link of two: sessions of the other go on, and with them
    /// the will that lies at its broker.
    pub fn connected_on(&mut self, link: Link, client_id: &str) {
        self.origin.set_client_id(client_id);
        for scope in self.scopes.values_mut() {
            if let Some(sessions) = scope.sessions.get_mut(place(link)) {
                *sessions = NO_SESSIONS;
            }
        }
    }

    fn end_sessions(&mut self) {
        for scope in self.scopes.values_mut() {
            scope.sessions = [NO_SESSIONS; LINKS];
        }
    }

    /// Takes counters of a sender number that a [`CounterStore`] made durable, and whether that
    /// store declares that it cannot be rolled back.
    ///
    /// # Errors
    /// [`LeaseError::CounterLost`], [`LeaseError::Exhausted`]; nothing changes then.
    pub fn add_lease(
        &mut self,
        number: SenderNumber,
        range: &Range<u32>,
        cannot_roll_back: bool,
    ) -> Result<(), LeaseError> {
        self.leave_parent_process();
        self.leases.extend(number, range, cannot_roll_back)
    }

    /// Reserves `count` counters of a sender number in `store` and takes them.
    ///
    /// # Errors
    /// [`RenewError`]; nothing changes then.
    pub fn renew<S: CounterStore>(
        &mut self,
        number: SenderNumber,
        store: &mut S,
        count: u32,
    ) -> Result<(), RenewError<S::Error>> {
        let range = store.reserve(count).map_err(RenewError::Store)?;
        self.add_lease(number, &range, store.cannot_roll_back()).map_err(RenewError::Lease)
    }

    /// Whether it is time to reserve more counters of a sender number: half of the last are used.
    #[must_use]
    pub fn wants_lease(&self, number: SenderNumber) -> bool {
        self.leases.wants_more(number)
    }

    /// What will become of `message`. Nothing is spent and nothing changes.
    ///
    /// # Errors
    /// As [`GuardTx::seal`], but for what only sealing can find: `NoEntropy`, `WillSealed`,
    /// `ReconnectFirst`.
    pub fn plan(&self, message: &Outgoing<'_>) -> Result<Plan, SealError> {
        let config = Arc::clone(&self.config);
        let topic = TopicName::parse(message.topic).map_err(SealError::Topic)?;
        let rule = config.policy.rule(topic).ok_or(SealError::Refused)?;
        let decision = decide(&config, rule, topic, message)?;
        let link = decision.link;
        let Some(sealing) = decision.seal else {
            return Ok(Plan::Pass { link });
        };
        let len = sealing.plaintext_len(message.payload.len());
        let total = self.planned_len(&config, &sealing, message, len)?;
        let growth = total.saturating_sub(message.payload.len());
        Ok(Plan::Seal { link, growth, properties: sealing.rule.properties() })
    }

    fn planned_len(
        &self,
        config: &Config,
        sealing: &Sealing<'_>,
        message: &Outgoing<'_>,
        len: usize,
    ) -> Result<usize, SealError> {
        let name = sealing.name();
        let fresh;
        let sending = self.scopes.get(name);
        let key = if let Some(sending) = sending {
            &sending.key
        } else {
            fresh = sealing_key(config, name)?;
            &fresh
        };
        let (id, counter) = if sealing.compact {
            let number = compact_number(&self.leases, key)?;
            let counter = self.leases.peek(number, len);
            (SessionId::Sender(number), counter.map_err(|error| lease_error(number, error))?)
        } else {
            let running = sending.and_then(|sending| sending.session(sealing.link, message.qos));
            let counter = match running {
                _ if message.kind == Some(Kind::Will) => WILL_COUNTER,
                Some(running) if !running.is_over(message.now) => {
                    running.session.peek().unwrap_or(0)
                }
                _ => 0,
            };
            (SessionId::Random([0; 12]), counter)
        };
        sealed_len(sealing, key, &id, counter, len)
    }

    /// Protects `message` as its rule says: `out` is replaced by the bytes to publish on
    /// [`Sealed::link`]. One counter is spent if it was sealed.
    ///
    /// # Errors
    /// [`SealError`] with the first that holds: `Topic`, `Refused`, `Property`, `DeletePayload`,
    /// `NoLink`, `ClockNeeded`, `TtlNeedsTimestamp`, `RetainNeedsLatest`, `Suite`, `NoKey`,
    /// `SeveralKeys`, `KeyCollision`; in compact form `NoSender`, `RollbackPossible`, `Lease`; `TooLarge`; in
    /// session form `NoEntropy`, `WillSealed`, `ReconnectFirst`. `out` is empty then, and no
    /// counter is spent.
    // SPEC §6, seal
    pub fn seal(&mut self, message: &Outgoing<'_>, out: &mut Vec<u8>) -> Result<Sealed, SealError> {
        out.clear();
        self.leave_parent_process();
        let config = Arc::clone(&self.config);
        let mut recent = self.recent.take().unwrap_or_default();
        let known = recent.turn_to(&config.policy, message.topic).map_err(SealError::from);
        let sealed = known.and_then(|known| self.seal_on(&config, known, message, out));
        self.recent = Some(recent);
        sealed
    }

    fn seal_on(
        &mut self,
        config: &Config,
        (rule, topic, memo): (&Rule, TopicName<'_>, &mut Memo),
        message: &Outgoing<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Sealed, SealError> {
        let decision = decide(config, rule, topic, message)?;
        let link = decision.link;
        let Some(sealing) = decision.seal else {
            out.extend_from_slice(message.payload);
            return Ok(Sealed { link, sealed: None, outer: decision.outer });
        };
        let len = sealing.plaintext_len(message.payload.len());
        let place = match memo.place {
            Some(place) => place,
            None => *memo.place.insert(self.find(config, sealing.name())?),
        };
        let sending = self.scopes.at_mut(place).ok_or(SealError::NoKey)?;
        let (keys, counter, total) = if sealing.compact {
            spend_compact(sending, &mut self.leases, &mut self.announce, &sealing, len)?
        } else {
            let origin = (&mut self.origin, &mut self.announce);
            spend_session(sending, origin, &sealing, message, len)?
        };
        let id = keys.id;
        let sealed = write(keys, counter, &sealing, message, total, &mut self.aad, out);
        if sealed.is_err() {
            zeroize::Zeroize::zeroize(out);
            return Err(too_large(sealing.rule, total));
        }
        Ok(Sealed { link, sealed: Some((id, counter)), outer: decision.outer })
    }

    /// Where the keys of a scope stand, now at the latest.
    fn find(&mut self, config: &Config, name: Name<'_>) -> Result<usize, SealError> {
        if self.scopes.get_mut(name).is_none() {
            let sending = Sending::new(sealing_key(config, name)?);
            self.scopes.insert(name, sending, |sending| !sending.has_will());
        }
        Ok(self.scopes.last_place())
    }

    /// A forked child shares memory with its parent: it must share neither
    /// sessions nor counters.
    fn leave_parent_process(&mut self) {
        let process = process_id();
        if process != self.origin.process {
            self.origin.process = process;
            self.end_sessions();
            self.leases = Leases::default();
        }
    }
}

impl fmt::Debug for GuardTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardTx").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Why counters were not renewed.
#[derive(Debug)]
#[non_exhaustive]
pub enum RenewError<E> {
    /// The store gave none.
    Store(E),
    /// The store gave some that may not be used.
    Lease(LeaseError),
}

impl<E: fmt::Display> fmt::Display for RenewError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Lease(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for RenewError<E> {}

impl From<NoRule> for SealError {
    fn from(none: NoRule) -> Self {
        match none {
            NoRule::Topic(error) => Self::Topic(error),
            NoRule::Refused => Self::Refused,
        }
    }
}

/// The sender number to seal under in compact form, if that is allowed.
// SPEC §2, compact form: suite 0x0003, or a store that cannot be rolled back
fn compact_number(leases: &Leases, key: &LiveKey) -> Result<SenderNumber, SealError> {
    let number = key.sender.ok_or(SealError::NoSender)?;
    match leases.cannot_roll_back(number) {
        Some(false) if key.suite != Suite::Aes256GcmSiv => Err(SealError::RollbackPossible),
        _ => Ok(number),
    }
}

const fn lease_error(number: SenderNumber, error: LeaseError) -> SealError {
    SealError::Lease { number, error }
}

/// The keys, the spent counter and the length of a message in compact form.
fn spend_compact<'a>(
    sending: &'a mut Sending,
    leases: &mut Leases,
    announce: &mut Announce,
    sealing: &Sealing<'_>,
    len: usize,
) -> Result<(&'a SessionKeys, u32, usize), SealError> {
    let number = compact_number(leases, &sending.key)?;
    let id = SessionId::Sender(number);
    let counter = leases.peek(number, len).map_err(|error| lease_error(number, error))?;
    let total = sealed_len(sealing, &sending.key, &id, counter, len)?;
    let keys = match &mut sending.compact {
        Some(keys) => keys,
        none => {
            let LiveKey { kid, suite, key, .. } = &sending.key;
            let keys = SessionKeys::derive(key, *kid, *suite, id).map_err(SealError::Suite)?;
            announce.started(*kid, id);
            none.insert(keys)
        }
    };
    let counter = leases.spend(number, len).map_err(|error| lease_error(number, error))?;
    Ok((keys, counter, total))
}

/// The keys, the spent counter and the length of a message in session form.
fn spend_session<'a>(
    sending: &'a mut Sending,
    (origin, announce): (&mut Origin, &mut Announce),
    sealing: &Sealing<'_>,
    message: &Outgoing<'_>,
    len: usize,
) -> Result<(&'a SessionKeys, u32, usize), SealError> {
    let Sending { key, sessions, .. } = sending;
    let slot = sessions.get_mut(place(sealing.link));
    let slot = slot.and_then(|link| link.get_mut(level(message.qos))).ok_or(SealError::NoKey)?;
    let usable = slot.as_ref().is_some_and(|running| {
        running.session.has_will() || !running.is_over(message.now) && running.session.has_room(len)
    });
    let will = message.kind == Some(Kind::Will);
    let any = SessionId::Random([0; 12]);
    if !usable {
        // what cannot be sent must not start a session
        sealed_len(sealing, key, &any, if will { WILL_COUNTER } else { 0 }, len)?;
        let id = origin.draw(&key.key).map_err(SealError::NoEntropy)?;
        let keys =
            SessionKeys::derive(&key.key, key.kid, key.suite, id).map_err(SealError::Suite)?;
        announce.started(key.kid, id);
        *slot = Some(Running { session: SenderSession::new(keys), since: message.now });
    }
    let session = slot.as_mut().map(|running| &mut running.session).ok_or(SealError::NoKey)?;
    if will {
        let total = sealed_len(sealing, key, &any, WILL_COUNTER, len)?;
        let counter = session.spend_will(len).map_err(|_| SealError::WillSealed)?;
        return Ok((&session.keys, counter, total));
    }
    let counter = session.peek().map_err(|_| SealError::ReconnectFirst)?;
    let total = sealed_len(sealing, key, &any, counter, len)?;
    let counter = session.spend(len).map_err(|_| SealError::ReconnectFirst)?;
    Ok((&session.keys, counter, total))
}

#[cfg(feature = "std")]
fn process_id() -> u32 {
    std::process::id()
}

#[cfg(not(feature = "std"))]
const fn process_id() -> u32 {
    0
}

/// Nanoseconds since 1970, as many as fit: no measure of time, only unlike those of other runs.
#[cfg(feature = "std")]
fn started() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(not(feature = "std"))]
const fn started() -> u64 {
    0
}

const fn level(qos: QoS) -> usize {
    match qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce => 1,
        QoS::ExactlyOnce => 2,
    }
}

const fn place(link: Link) -> usize {
    match link {
        Link::Tcp => 0,
        Link::Tls => 1,
    }
}

/// Everything that is decided before a key is looked up.
// SPEC §6, seal
fn decide<'a>(
    config: &Config,
    rule: &'a Rule,
    topic: TopicName<'a>,
    message: &Outgoing<'a>,
) -> Result<Decision<'a>, SealError> {
    property::check(message.properties).map_err(SealError::Property)?;
    if message.kind == Some(Kind::Delete) && !message.payload.is_empty() {
        return Err(SealError::DeletePayload);
    }
    let link = config.links.publish_link(rule.transport()).ok_or(SealError::NoLink)?;
    let pass = Decision { link, seal: None, outer: Outer::All };
    match rule.payload() {
        Payload::Clear => return Ok(pass),
        Payload::Observe { until } => {
            let live = message.now.is_some_and(|now| now <= until);
            return if live { Ok(pass) } else { Err(SealError::ClockNeeded) };
        }
        Payload::Sealed | Payload::Mixed { .. } => {}
    }
    let outer = Outer::of(rule.properties());
    // an empty retained payload deletes on the broker; what the rule hides goes with no message
    if message.payload.is_empty() && message.retain && message.kind.is_none() {
        return Ok(Decision { outer, ..pass });
    }
    if rule.timestamp() && message.now.is_none() {
        return Err(SealError::ClockNeeded);
    }
    if message.ttl.is_some() && !rule.timestamp() {
        return Err(SealError::TtlNeedsTimestamp);
    }
    let value = message.retain && !message.payload.is_empty();
    if value && rule.replay() == Replay::Window && rule.retain() == Retain::Refuse {
        return Err(SealError::RetainNeedsLatest);
    }
    let mut inner = inner_fields(rule, topic, message);
    if property::encoded_len(inner.properties, carried(rule)) > usize::from(u16::MAX) {
        return Err(SealError::Property(PropertyError::TooLong));
    }
    // that there is padding is told by a flag, which alone may make an inner header
    inner.padding = usize::from(rule.pad() > 0);
    let inner_len = inner.encoded_len();
    if rule.pad() > 0 {
        inner.padding = padding_len(rule.pad(), inner_len.saturating_add(message.payload.len()));
    }
    // a will is sealed in session form, under the counter of wills
    let compact = rule.form() == Form::Compact && message.kind != Some(Kind::Will);
    Ok(Decision {
        link,
        seal: Some(Sealing { rule, link, topic, inner, inner_len, compact }),
        outer,
    })
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
        ttl: message.ttl.or_else(|| rule.ttl()).filter(|_| rule.timestamp()),
        topic: bound_topic(rule, topic).is_none().then_some(topic),
        properties: message.properties,
        carry_all: rule.properties() == PropertyHandling::Carry,
        echo: message.echo,
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

/// Bytes of a sealed payload with `len` bytes of plain text.
fn sealed_len(
    sealing: &Sealing<'_>,
    key: &LiveKey,
    id: &SessionId,
    counter: u32,
    len: usize,
) -> Result<usize, SealError> {
    let header = Header::new(key.kid, *id, counter, false).encoded_len();
    let total = [header, key.suite.commitment_len(), len, TAG_LEN]
        .into_iter()
        .fold(0, usize::saturating_add);
    if total > sealing.rule.max_packet() { Err(too_large(sealing.rule, total)) } else { Ok(total) }
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
    aad: &mut AadBuffer,
    out: &mut Vec<u8>,
) -> Result<(), crate::suite::TooLong> {
    let Sealing { rule, topic, inner, inner_len, .. } = sealing;
    let header = keys.header(counter, *inner_len > 0).encode();
    let bind = (rule.properties() == PropertyHandling::Bind).then_some(message.properties);
    let bound = bound_topic(rule, *topic);
    let aad = aad.write(&message::aad(keys, header.as_bytes(), bound, bind));

    out.reserve_exact(total);
    out.extend_from_slice(header.as_bytes());
    if keys.commitment.is_some() {
        out.extend_from_slice(&[0; COM_LEN]);
    }
    if *inner_len > 0 {
        inner.encode(|part| out.extend_from_slice(part));
    }
    out.extend_from_slice(message.payload);
    if inner.padding > 0 {
        let padding = out.len();
        out.resize(padding.saturating_add(inner.padding), 0);
        write_padding(out.get_mut(padding..).unwrap_or_default());
    }
    out.extend_from_slice(&[0; TAG_LEN]);
    debug_assert_eq!(out.len(), total, "the length was foretold");
    let body = out.get_mut(header.as_bytes().len()..).unwrap_or_default();
    message::encrypt(keys, counter, aad, body)
}
