//! The receiving half: open, then ask the replay state.

mod replace;

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{fmt, mem};

use zeroize::{Zeroize, Zeroizing};

use super::aad::AadBuffer;
use super::contents::{self, keep};
use super::counts::Counts;
use super::event::{Events, GuardEvent};
use super::incoming::{Claim, Claimed, Delivery, Incoming, OpenError, Opened, Receipt};
use super::judge::{Case, Due, Judge};
use super::log::{Prefer, RestoreError, RowKey, Write};
use super::lru::Lru;
use super::own::OwnSessions;
use super::recent::{Memo, NoRule, Recent};
use super::rows::{self, Row};
use super::scopes::{Name, Scopes};
use super::table::ReplayLimits;
use super::{Config, bound_topic, scope_of};
use crate::keyring::{KeyCollision, LiveKey};
use crate::message;
use crate::policy::{self, Payload, PropertyHandling, Replay, Rule};
use crate::replay::{Rejected, Sender};
use crate::session::{Authentic, Entropy, NoEntropy, SessionKeys};
use crate::suite::Suite;
use crate::topic::TopicName;
use crate::wire::header::{Header, HeaderError, KeyId, SessionId, TAG_LEN};

/// Session keys that are kept for each scope key; more senders are derived again.
const MAX_SESSIONS: usize = 256;
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
    sessions: Lru<SessionId, SessionKeys>,
}

/// The receiving half of a [`Guard`](super::Guard).
pub struct GuardRx {
    config: Arc<Config>,
    scopes: Scopes<ScopeKeys>,
    judge: Judge,
    own: OwnSessions,
    counts: Counts,
    /// Failures in scopes in which nothing was ever opened.
    strange_failures: u64,
    events: Events,
    aad: AadBuffer,
    recent: Option<Box<Recent>>,
    stopped: bool,
}

/// A sealed message with its rule.
struct Packet<'a> {
    config: &'a Config,
    rule: &'a Rule,
    topic: TopicName<'a>,
    header: Header,
    message: &'a Incoming<'a>,
}

impl Packet<'_> {
    fn name(&self) -> Name<'_> {
        Name::new(scope_of(self.rule, self.topic), self.rule.suite())
    }
}

impl GuardRx {
    pub(super) fn new(config: Arc<Config>, own: OwnSessions, random: &[u8; 32]) -> Self {
        let (key, _) = random.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        Self {
            config,
            scopes: Scopes::new(),
            judge: Judge::new(*key),
            own,
            counts: Counts::default(),
            strange_failures: 0,
            events: Events::default(),
            aad: AadBuffer::default(),
            recent: None,
            stopped: false,
        }
    }

    /// Keeps replay state within `limits` from now on.
    pub fn set_replay_limits(&mut self, limits: ReplayLimits) {
        let lost = self.forgotten();
        self.judge.table.set_limits(limits);
        self.tell_losses(lost);
    }

    /// From now on a delivered message counts as dealt with only after [`GuardRx::confirm`]: until
    /// then a repetition is delivered again, as
    /// [`Redelivered`](crate::replay::Verdict::Redelivered). For clients that acknowledge by hand.
    // SPEC §7.2
    pub const fn confirm_manually(&mut self) {
        self.judge.table.manual = true;
    }

    /// The application has dealt with the message of `receipt`: its repetitions are duplicates.
    /// What is returned has to be written to the replay log, if there is one, before the message is
    /// acknowledged to the broker. A receiver whose log failed here is not to be used any more.
    #[must_use = "the replay log has to know"]
    pub fn confirm(&mut self, receipt: Receipt) -> Vec<Write> {
        self.judge.confirm(receipt)
    }

    /// Takes up what a replay log holds, and keeps the log up to date from now on, by claims. What
    /// is returned has to be written before the first message is opened. Call it before that, and
    /// after [`GuardRx::set_replay_limits`].
    ///
    /// # Errors
    /// [`RestoreError`]; nothing may be opened then.
    pub fn restore(
        &mut self,
        rows: Vec<(RowKey, Vec<u8>)>,
        prefer: Prefer,
    ) -> Result<Vec<Write>, RestoreError> {
        let lost = self.forgotten();
        // fails closed
        self.stopped = true;
        self.recent = None;
        for (number, sender) in self.judge.table.restore(rows, prefer)? {
            self.own.know(sender);
            self.own.go_on_from(number.saturating_add(1));
        }
        self.stopped = false;
        self.tell_losses(lost);
        Ok(self.judge.take_writes())
    }

    /// What a replay log should know and no message waits for, such as this client's own sessions.
    /// Fetch it when a connection was made, and at times when nothing comes.
    pub fn take_writes(&mut self) -> Vec<Write> {
        self.learn_own_sessions();
        self.judge.take_writes()
    }

    /// Ends the use of the replay log cleanly: the next receiver on it knows what this one knew.
    /// What is returned has to be written as the last; nothing is opened any more.
    pub fn stop(&mut self) -> Vec<Write> {
        self.learn_own_sessions();
        self.stopped = true;
        self.judge.stop()
    }

    /// Opens nothing sealed any more.
    pub(super) const fn halt(&mut self) {
        self.stopped = true;
    }

    /// Draws a challenge for a receiver without a clock: publish it, and commands that carry it as
    /// their echo are [`Fresh`](crate::replay::Verdict::Fresh) until the next is drawn.
    ///
    /// # Errors
    /// [`NoEntropy`]; the challenge before stays in force then.
    // SPEC §7.5
    pub fn challenge(&mut self, entropy: &mut impl Entropy) -> Result<[u8; 8], NoEntropy> {
        let mut random = Zeroizing::new([0; 32]);
        entropy.fill(&mut random)?;
        let (challenge, _) = random.split_first_chunk().ok_or(NoEntropy)?;
        self.judge.set_challenge(*challenge);
        Ok(*challenge)
    }

    /// Tells when the receiver started, in Unix milliseconds: without a replay log, `fresh` rules
    /// refuse what was sealed before. If this is not called, the first time that it is told counts.
    pub const fn started(&mut self, now: u64) {
        self.judge.set_started(now);
    }

    /// What became of the messages so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The next thing that the operator should know, oldest first.
    pub fn next_event(&mut self) -> Option<GuardEvent> {
        self.events.pop()
    }

    /// Streams and values whose replay state had to be forgotten altogether: messages of theirs
    /// would count as new. It stays 0 unless authentic senders exceed the quotas.
    #[must_use]
    pub const fn forgotten(&self) -> u64 {
        self.judge.table.lost
    }

    fn tell_losses(&mut self, before: u64) {
        for _ in before..self.forgotten() {
            self.events.push(GuardEvent::TombstoneOverflow);
        }
    }

    fn learn_own_sessions(&mut self) {
        if self.own.has_news() {
            for sender in self.own.learn() {
                self.know_own(sender);
            }
        }
    }

    fn know_own(&mut self, sender: Sender) {
        let number = self.own.know(sender);
        let journal = self.judge.table.journal.as_mut();
        if let Some(journal) = journal.filter(|journal| journal.has_room()) {
            journal.put(rows::own_key(number), &Row::Own(sender));
        }
    }

    /// Messages of this session are the client's own, too: for what another Guard seals, such as
    /// that of an earlier run.
    pub fn add_own_session(&mut self, kid: KeyId, id: SessionId) {
        self.know_own(Sender { kid, id });
    }

    /// Opens `message` as the rule of its topic says: `out` is replaced by the application's
    /// bytes. Authenticated are the payload, the topic as the rule binds it and the properties as
    /// the rule says. Replay state changes only when a sealed message is delivered, or waits for
    /// its claim; `out` is empty in the second case.
    ///
    /// # Errors
    /// [`OpenError`] with the first that holds, in the order of its variants, but that a receiver
    /// that was stopped says so before it looks for a key, and that a carried topic is judged once it
    /// is known. A counter that was seen already is a `Duplicate` before any decryption. `out` is wiped and empty then.
    // SPEC §6, open
    pub fn open(&mut self, message: &Incoming<'_>, out: &mut Vec<u8>) -> Result<Opened, OpenError> {
        out.clear();
        self.judge.hear(message.now);
        let lost = self.forgotten();
        let opened = self.try_open(message, out);
        self.tell_losses(lost);
        match &opened {
            Ok(Opened::Delivered(delivery)) => self.counts.delivered(delivery),
            Ok(Opened::NeedsClaim(_)) => {}
            Err(error) => {
                self.failed(*error);
                // wipes the whole capacity
                out.zeroize();
            }
        }
        opened
    }

    /// The writes of `claim` are durable: its message is delivered, into `out`.
    pub fn finish(&mut self, mut claim: Claim, out: &mut Vec<u8>) -> Delivery {
        self.judge.finish(&claim.0);
        self.counts.delivered(&claim.0.delivery);
        out.zeroize();
        mem::swap(out, &mut claim.0.payload);
        claim.0.delivery
    }

    fn failed(&mut self, error: OpenError) {
        self.counts.failed(error);
        if error == OpenError::Rejected(Rejected::TooOld) {
            self.events.push(GuardEvent::TooOld { so_far: self.counts.too_old });
        }
    }

    fn try_open(&mut self, message: &Incoming<'_>, out: &mut Vec<u8>) -> Result<Opened, OpenError> {
        let config = Arc::clone(&self.config);
        let mut recent = self.recent.take().unwrap_or_default();
        let known = recent.turn_to(&config.policy, message.topic).map_err(OpenError::from);
        let opened = known.and_then(|known| self.open_on(&config, known, message, out));
        self.recent = Some(recent);
        opened
    }

    fn open_on(
        &mut self,
        config: &Config,
        (rule, topic, memo): (&Rule, TopicName<'_>, &mut Memo),
        message: &Incoming<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Opened, OpenError> {
        if !config.links.accepts(rule.transport(), message.link) {
            return Err(OpenError::WrongTransport);
        }
        if rule.payload() == Payload::Clear {
            out.extend_from_slice(message.payload);
            return Ok(Opened::Delivered(Delivery::clear(false)));
        }
        if message.payload.is_empty() {
            return Err(OpenError::Cleared(rule.bare_delete()));
        }
        let header = match Header::parse(message.payload) {
            Ok((header, _)) => header,
            Err(HeaderError::NotSealed) if accepts_clear(rule, message.now) => {
                out.extend_from_slice(message.payload);
                return Ok(Opened::Delivered(Delivery::clear(true)));
            }
            Err(HeaderError::NotSealed) => return Err(OpenError::ClearOnSealedTopic),
            Err(HeaderError::Unsupported) => return Err(OpenError::Unsupported),
            Err(HeaderError::Malformed) => return Err(OpenError::Malformed),
        };
        if self.stopped {
            return Err(OpenError::Stopped);
        }
        let packet = Packet { config, rule, topic, header, message };
        self.open_sealed(&packet, memo, out)
    }

    fn open_sealed(
        &mut self,
        packet: &Packet<'_>,
        memo: &mut Memo,
        out: &mut Vec<u8>,
    ) -> Result<Opened, OpenError> {
        let Packet { config, rule, topic, header, message } = packet;
        let bound = bound_topic(rule, *topic);
        // under `carried` the topic is not known yet
        let receipt = bound.map(|topic| self.receipt(packet, Some(memo), topic));
        let peeks = matches!(rule.replay(), Replay::Window | Replay::Fresh);
        let peeked = receipt.filter(|_| peeks);
        let (proof, generation) = self.authenticate(packet, bound, memo, peeked, out)?;

        let mut contents = contents::read(&config.policy, rule, header, proof, out)?;
        let delivery = &mut contents.delivery;
        delivery.generation = Some(generation);
        self.learn_own_sessions();
        delivery.own = self.own.is_own(header.kid, header.id);
        if delivery.own && rule.own() == policy::Own::Drop {
            return Err(OpenError::Rejected(Rejected::Own));
        }
        let carried = delivery.carried_topic.take();
        let inner = carried.as_deref().map(TopicName::parse).transpose();
        let topic = inner.map_err(OpenError::Topic)?.or(bound).ok_or(OpenError::Malformed)?;
        let receipt = receipt.unwrap_or_else(|| self.receipt(packet, None, topic));
        let case = Case { policy: &config.policy, rule, topic, message, proof, receipt: &receipt };
        let due = self.judge.admit(&case, delivery).map_err(OpenError::Rejected)?;
        contents.delivery.carried_topic = carried;
        keep(out, contents.payload);
        Ok(match due {
            None => Opened::Delivered(contents.delivery),
            Some(due) => Opened::NeedsClaim(self.claim(receipt, due, contents.delivery, out)),
        })
    }

    fn claim(
        &mut self,
        receipt: Receipt,
        due: Due,
        delivery: Delivery,
        out: &mut Vec<u8>,
    ) -> Claim {
        let payload = Zeroizing::new(mem::take(out));
        let writes = self.judge.take_writes();
        Claim(Box::new(Claimed { writes, receipt, lease: due.lease, delivery, payload }))
    }

    /// Names the state of a message on `topic`.
    fn receipt(
        &self,
        packet: &Packet<'_>,
        memo: Option<&mut Memo>,
        topic: TopicName<'_>,
    ) -> Receipt {
        let Header { kid, id, counter, .. } = packet.header;
        let record = packet.rule.replay() == Replay::Latest;
        let known = memo.as_ref().and_then(|memo| memo.state(kid, id));
        let state = known.unwrap_or_else(|| {
            let (table, scope) = (&self.judge.table, packet.name().scope());
            if record {
                table.record_key(scope, topic)
            } else {
                table.stream_key(scope, kid, id, topic)
            }
        });
        if let (None, Some(memo)) = (known, memo) {
            memo.set_state(kid, id, state);
        }
        Receipt { record, state, kid, id, counter }
    }

    /// Puts the plain text of an authentic message into `out`.
    fn authenticate(
        &mut self,
        packet: &Packet<'_>,
        bound: Option<TopicName<'_>>,
        memo: &mut Memo,
        peeked: Option<Receipt>,
        out: &mut Vec<u8>,
    ) -> Result<(Authentic, u32), OpenError> {
        let Packet { rule, header, message, .. } = packet;
        if memo.place.is_none() && self.scopes.get_mut(packet.name()).is_some() {
            memo.place = Some(self.scopes.last_place());
        }
        // keys of a scope that was not used yet are cached only after they opened something
        let mut fresh = None;
        let scope = memo.place.and_then(|place| self.scopes.at_mut(place));
        let known = scope.is_some();
        let scope = match scope {
            Some(scope) => scope,
            None => fresh.insert(ScopeKeys::new(&self.config, packet.name())),
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
        if peeked.is_some_and(|receipt| self.judge.is_done(&receipt)) {
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
            let failures = if known { &mut scope.failures } else { &mut self.strange_failures };
            *failures = failures.saturating_add(1);
            if *failures == WARN_FAILURES {
                self.events.push(GuardEvent::ManyFailures { failures: WARN_FAILURES });
            }
            return Err(OpenError::NotAuthentic);
        };
        if let Some(session) = derived {
            key.sessions.insert(session.id, session);
            if key.sessions.len() > MAX_SESSIONS {
                key.sessions.pop_oldest();
            }
        }
        if let Some(scope) = fresh {
            self.scopes.insert(packet.name(), scope, |_| true);
            memo.place = Some(self.scopes.last_place());
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

impl From<NoRule> for OpenError {
    fn from(none: NoRule) -> Self {
        match none {
            NoRule::Topic(error) => Self::Topic(error),
            NoRule::Refused => Self::Refused,
        }
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
        let receiving = |key| Receiving { key, sessions: Lru::new() };
        let keys = live.keys.into_iter().map(receiving).collect();
        Self { keys, collision: live.collision, failures: 0 }
    }
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
