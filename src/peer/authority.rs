//! The authority's end: it answers, and keeps nothing of a run before it is complete. Knows no
//! clock but the one it is told.

use alloc::{string::String, vec::Vec};
use core::fmt;

use super::attestation::{self, Attestation};
use super::key::same;
use super::seen::{Refused, Seen};
use super::{BrokerName, PeerId, PeerKey, PeerSession, Proof, RUN_MS, Record, SpkiHash};
use crate::schedule::auth::{self, Context};
use crate::secret::RunKey;
use crate::session::{Entropy, NoEntropy};
use crate::topic::TopicName;
use crate::wire::control::{Answer, Challenge, Confirmation, NONCE_LEN, Step};

/// What an authority knows of one device.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "a ledger fills it in")]
pub struct Enrolled<'a> {
    /// The key that they share.
    pub key: &'a PeerKey,
    /// The topic that the device listens to.
    pub response: TopicName<'a>,
    /// The serial of the newest key update for it.
    pub serial: u64,
}

/// Why a record is not answered or accepted. None of it is told to whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// It came on another topic than the one the authority listens to.
    OtherTopic,
    /// It is neither a challenge nor a confirmation, byte for byte.
    Malformed,
    /// The ledger has no device with this id.
    UnknownDevice,
    /// It was not made by the device, or not with these names.
    NotAuthentic,
    /// The device is connected to a broker that the authority does not vouch for.
    UnknownBroker,
    /// The attestation in a confirmation is not the map that it has to be.
    Attestation,
    /// The attestation is ahead of the authority's clock.
    Ahead,
    /// The attestation is older than 30 seconds, than the authority's start or than that of the
    /// newest run of this device.
    TooOld,
    /// The run was accepted before.
    Repeated,
    /// The device, or all devices together, completed too many runs within 30 seconds.
    Busy,
    /// The broker has so many TLS keys that they do not fit into an answer.
    TooLong,
    /// The random generator failed.
    NoEntropy(NoEntropy),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherTopic => "the record came on another topic: it was ignored",
            Self::Malformed => "the record is malformed: it was ignored",
            Self::UnknownDevice => "no device has this id: enrol it, or leave it out",
            Self::NotAuthentic => "the record is not authentic: it was ignored",
            Self::UnknownBroker => "the device names a broker that is not vouched for: add it",
            Self::Attestation => "the attestation in the confirmation is malformed",
            Self::Ahead => "the attestation is ahead of the clock: look at the clock",
            Self::TooOld => "the attestation is too old: the device starts another run",
            Self::Repeated => "the run was accepted before: the repetition was ignored",
            Self::Busy => "too many runs were completed within 30 seconds: wait",
            Self::TooLong => "the broker's tls keys do not fit into an answer: name fewer",
            Self::NoEntropy(error) => return error.fmt(f),
        })
    }
}

impl core::error::Error for RequestError {}

/// What became of a record.
#[derive(Debug)]
#[non_exhaustive]
pub enum Action<'a> {
    /// A challenge was answered; nothing is remembered of it.
    Answer {
        /// The topic to publish the answer to.
        topic: TopicName<'a>,
        /// The broker that it vouches for.
        broker: &'a str,
    },
    /// A confirmation completes a run.
    Accepted(AcceptedRun<'a>),
}

/// The outcome of a run at the authority: only [`Authority::receive`] makes one.
#[derive(Debug)]
pub struct AcceptedRun<'a> {
    device: &'a str,
    broker: &'a str,
    proof: Proof,
    time: u64,
    session: PeerSession,
}

impl<'a> AcceptedRun<'a> {
    /// The device's id.
    #[must_use]
    pub const fn device(&self) -> &'a str {
        self.device
    }

    /// The broker that the device is configured with.
    #[must_use]
    pub const fn broker(&self) -> &'a str {
        self.broker
    }

    /// What is proved of the device.
    #[must_use]
    pub const fn proof(&self) -> Proof {
        self.proof
    }

    /// When the run was answered, in Unix milliseconds.
    #[must_use]
    pub const fn time(&self) -> u64 {
        self.time
    }

    /// The key of the channel between the two.
    #[must_use]
    pub fn into_session(self) -> PeerSession {
        self.session
    }
}

/// An authority: it answers the devices that the caller finds in a ledger.
#[derive(Debug)]
pub struct Authority {
    id: String,
    request: String,
    started: u64,
    brokers: Vec<(String, Vec<SpkiHash>)>,
    made: u32,
    seen: Seen,
}

impl Authority {
    /// An authority that vouches for no broker yet. `started` is its clock now, in Unix
    /// milliseconds: what was answered before is not accepted.
    #[must_use]
    pub fn new(id: PeerId<'_>, request: TopicName<'_>, started: u64) -> Self {
        Self {
            id: id.as_str().into(),
            request: request.as_str().into(),
            started,
            brokers: Vec::new(),
            made: 0,
            seen: Seen::default(),
        }
    }

    /// Vouches for a broker with these TLS keys, in place of those it had; of none, no device
    /// accepts a TLS link to it.
    pub fn vouch(&mut self, broker: BrokerName<'_>, pins: Vec<SpkiHash>) {
        self.disown(broker);
        self.brokers.push((broker.as_str().into(), pins));
    }

    /// Vouches for a broker no longer.
    pub fn disown(&mut self, broker: BrokerName<'_>) {
        self.brokers.retain(|(name, _)| name != broker.as_str());
    }

    /// Answers a challenge into `out`, or accepts a confirmation. `record.now` is in Unix
    /// milliseconds; `ledger` finds the device with an id, if there is one; `extra` is what tells
    /// this run of the program from others.
    ///
    /// # Errors
    /// Of both, in this order: [`RequestError::OtherTopic`], [`RequestError::Malformed`],
    /// [`RequestError::UnknownDevice`], [`RequestError::NotAuthentic`],
    /// [`RequestError::UnknownBroker`]. Then of a challenge [`RequestError::TooLong`] and
    /// [`RequestError::NoEntropy`]; of a confirmation [`RequestError::Attestation`],
    /// [`RequestError::Ahead`], [`RequestError::TooOld`], [`RequestError::Repeated`],
    /// [`RequestError::Busy`]. Nothing is written or remembered after an error.
    pub fn receive<'a>(
        &mut self,
        record: &Record<'a>,
        ledger: impl Fn(&str) -> Option<Enrolled<'a>>,
        rng: &mut (impl Entropy + ?Sized),
        extra: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Result<Action<'a>, RequestError> {
        if record.topic != self.request {
            return Err(RequestError::OtherTopic);
        }
        match Step::of(record.bytes) {
            Some(Step::Challenge) => self.answer(record, ledger, rng, extra, out),
            Some(Step::Confirmation) => self.accept(record, ledger).map(Action::Accepted),
            Some(Step::Answer) | None => Err(RequestError::Malformed),
        }
    }

    // SPEC §9, "A keeps no half-open runs"
    fn answer<'a>(
        &mut self,
        record: &Record<'a>,
        ledger: impl Fn(&str) -> Option<Enrolled<'a>>,
        rng: &mut (impl Entropy + ?Sized),
        extra: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Result<Action<'a>, RequestError> {
        let parsed = Challenge::parse(record.bytes).ok_or(RequestError::Malformed)?;
        let (challenge, covered, mac) = parsed;
        let Enrolled { key, response, serial } = find(ledger, challenge.device)?;
        if challenge.key_id != key.id || !same(&key.challenge_mac(covered), &mac) {
            return Err(RequestError::NotAuthentic);
        }
        let attestation = attestation::write(self.pins(challenge.broker)?, serial, record.now);
        if attestation.len() > usize::from(u16::MAX) {
            return Err(RequestError::TooLong);
        }
        let nonce = key.draw(rng, &mut self.made, extra).map_err(RequestError::NoEntropy)?;
        let context = self.context(key, challenge.device, challenge.broker, response);
        let secrets = key.run(&context, record.bytes, &nonce, &attestation);
        let mac = *auth::authority_mac(&secrets);
        let answer = Answer { key_id: key.id, nonce, mac, attestation: &attestation };
        answer.encode(|part| out.extend_from_slice(part));
        Ok(Action::Answer { topic: response, broker: challenge.broker })
    }

    // SPEC §9, "from m3 it recomputes m1 and th"
    fn accept<'a>(
        &mut self,
        record: &Record<'a>,
        ledger: impl Fn(&str) -> Option<Enrolled<'a>>,
    ) -> Result<AcceptedRun<'a>, RequestError> {
        let m3 = Confirmation::parse(record.bytes).ok_or(RequestError::Malformed)?;
        let Enrolled { key, response, .. } = find(ledger, m3.device)?;
        let secrets = self.recompute(key, &m3, response);
        if m3.key_id != key.id || !same(&auth::device_mac(&secrets), &m3.mac) {
            return Err(RequestError::NotAuthentic);
        }
        self.pins(m3.broker)?;
        let attestation = Attestation::parse(m3.attestation).ok_or(RequestError::Attestation)?;
        let time = self.check_time(attestation.time, record.now)?;
        let nonces = [m3.device_nonce, m3.authority_nonce];
        self.seen.accept(m3.device, nonces, time, record.now).map_err(|refused| match refused {
            Refused::Older => RequestError::TooOld,
            Refused::Repeated => RequestError::Repeated,
            Refused::Full => RequestError::Busy,
        })?;
        let session = PeerSession::new(m3.device, auth::session_key(&secrets));
        let (device, broker) = (m3.device, m3.broker);
        Ok(AcceptedRun { device, broker, proof: key.proof, time, session })
    }

    /// The secrets of a run, out of its confirmation alone.
    fn recompute(&self, key: &PeerKey, m3: &Confirmation<'_>, response: TopicName<'_>) -> RunKey {
        let Confirmation { key_id, device, broker, .. } = *m3;
        let nonce: [u8; NONCE_LEN] = m3.device_nonce;
        let mut m1 = Vec::new();
        key.challenge(&Challenge { key_id, nonce, device, broker }, &mut m1);
        let context = self.context(key, device, broker, response);
        key.run(&context, &m1, &m3.authority_nonce, m3.attestation)
    }

    const fn check_time(&self, time: u64, now: u64) -> Result<u64, RequestError> {
        match now.checked_sub(time) {
            None => Err(RequestError::Ahead),
            // a start ahead of the clock counts as absent: the clock was set back since
            Some(_) if time < self.started && self.started <= now => Err(RequestError::TooOld),
            Some(age) if age > RUN_MS => Err(RequestError::TooOld),
            Some(_) => Ok(time),
        }
    }

    fn pins(&self, broker: &str) -> Result<&[SpkiHash], RequestError> {
        let mut brokers = self.brokers.iter();
        let found = brokers.find(|(name, _)| name == broker);
        found.map(|(_, pins)| pins.as_slice()).ok_or(RequestError::UnknownBroker)
    }

    fn context<'a>(
        &'a self,
        key: &'a PeerKey,
        device: &'a str,
        broker: &'a str,
        response: TopicName<'a>,
    ) -> Context<'a> {
        let (realm, authority, request) = (&*key.realm, &*self.id, &*self.request);
        Context { realm, device, authority, broker, request, response: response.as_str() }
    }

    /// Devices and runs that are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> (usize, usize) {
        self.seen.size()
    }
}

/// Looks a device up, whose id is not trusted yet.
fn find<'a>(
    ledger: impl Fn(&str) -> Option<Enrolled<'a>>,
    id: &str,
) -> Result<Enrolled<'a>, RequestError> {
    let id = PeerId::parse(id).map_err(|_| RequestError::Malformed)?;
    ledger(id.as_str()).ok_or(RequestError::UnknownDevice)
}
