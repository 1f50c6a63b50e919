//! The device's end of a run. Knows no clock but the one it is told.

use alloc::{string::String, sync::Arc, vec::Vec};
use core::fmt;
use core::ops::RangeInclusive;

use super::key::same;
use super::{Attestation, Names, PeerKey, PeerSession, Proof, RUN_MS, Record, SpkiHash};
use crate::schedule::auth::{self, Context};
use crate::session::{Entropy, NoEntropy};
use crate::wire::control::{Answer, Challenge, Confirmation, NONCE_LEN};
use crate::wire::header::KeyId;

/// How the device is connected to the broker, and what it saw of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "MQTT runs over one or the other")]
pub enum Hop {
    /// By plain TCP: what the authority says of TLS keys plays no part.
    Plain,
    /// By TLS, to a server that proved in the handshake to hold the key with this hash.
    Tls(SpkiHash),
}

/// Why an answer is not taken. An attacker can bring about all but the last two at will, so they
/// are nothing to act on: the run goes on until it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AnswerError {
    /// It came on another topic than the one the device listens to.
    OtherTopic,
    /// No run is open: none was started, or it is complete.
    NoRun,
    /// The run is over: 30 seconds have passed since it was started.
    Expired,
    /// It is no answer, byte for byte.
    Malformed,
    /// It was not made by the authority for this run with these names.
    NotAuthentic,
    /// The authority's attestation is not the map that it has to be. The run is over.
    Attestation,
    /// The TLS key that the server showed is none of the broker's: somebody stands between. The
    /// run is over, and so is the connection.
    BrokerNotVouched,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherTopic => "the answer came on another topic: it was ignored",
            Self::NoRun => "no authentication is under way: the answer was ignored",
            Self::Expired => "the authentication took more than 30 seconds: start another",
            Self::Malformed => "the answer is malformed: it was ignored",
            Self::NotAuthentic => "the answer is not authentic: it was ignored",
            Self::Attestation => "the authority's attestation is malformed: look at the authority",
            Self::BrokerNotVouched => {
                "the authority does not vouch for the broker's tls key: disconnect"
            }
        })
    }
}

impl core::error::Error for AnswerError {}

/// A device: it has one run at a time.
#[derive(Debug)]
pub struct Device {
    key: Arc<PeerKey>,
    id: String,
    authority: String,
    broker: String,
    request: String,
    response: String,
    made: u32,
    run: Option<Run>,
}

#[derive(Debug)]
struct Run {
    nonce: [u8; NONCE_LEN],
    /// m1.
    challenge: Vec<u8>,
    started: u64,
}

impl Run {
    // SPEC §9, "D has one run and ends it after 30 s"
    const fn is_over(&self, now: u64) -> bool {
        now.saturating_sub(self.started) > RUN_MS
    }
}

impl Device {
    /// A device without a run. Several, each on a link of its own, may share one key.
    #[must_use]
    pub fn new(key: impl Into<Arc<PeerKey>>, names: &Names<'_>) -> Self {
        Self {
            key: key.into(),
            id: names.device.as_str().into(),
            authority: names.authority.as_str().into(),
            broker: names.broker.as_str().into(),
            request: names.request.as_str().into(),
            response: names.response.as_str().into(),
            made: 0,
            run: None,
        }
    }

    /// The topic to subscribe to before a run is started.
    #[must_use]
    pub fn response_topic(&self) -> &str {
        &self.response
    }

    /// The topic to publish to.
    #[must_use]
    pub fn request_topic(&self) -> &str {
        &self.request
    }

    /// Starts a run, in place of any other, and appends its challenge to `out`: at every new
    /// network connection. `now` is in milliseconds, on any clock that never goes back; `extra`
    /// is what tells this run of the program from others (client ID, boot count, clock), in at
    /// most eight parts.
    ///
    /// # Errors
    /// [`NoEntropy`] if `rng` failed; nothing was started or written.
    pub fn start(
        &mut self,
        now: u64,
        rng: &mut (impl Entropy + ?Sized),
        extra: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Result<(), NoEntropy> {
        self.run = None;
        let nonce = self.key.draw(rng, &mut self.made, extra)?;
        let mut challenge = Vec::new();
        self.key.challenge(&self.challenge(nonce), &mut challenge);
        out.extend_from_slice(&challenge);
        self.run = Some(Run { nonce, challenge, started: now });
        Ok(())
    }

    fn challenge(&self, nonce: [u8; NONCE_LEN]) -> Challenge<'_> {
        Challenge { key_id: self.key.id, nonce, device: &self.id, broker: &self.broker }
    }

    /// Whether a run is open at `now`. Ends it if its time is over.
    pub fn is_running(&mut self, now: u64) -> bool {
        self.run.take_if(|run| run.is_over(now));
        self.run.is_some()
    }

    /// Takes an answer and appends the confirmation to `out`. Authenticated are the attestation,
    /// all names, and that the authority made the answer for this run.
    ///
    /// # Errors
    /// In this order: [`AnswerError::OtherTopic`], [`AnswerError::Expired`],
    /// [`AnswerError::NoRun`], [`AnswerError::Malformed`], [`AnswerError::NotAuthentic`],
    /// [`AnswerError::Attestation`], [`AnswerError::BrokerNotVouched`]. Nothing is written after
    /// an error, and only the second and the last two end the run.
    pub fn receive(
        &mut self,
        record: &Record<'_>,
        hop: Hop,
        out: &mut Vec<u8>,
    ) -> Result<Authenticated, AnswerError> {
        if record.topic != self.response {
            return Err(AnswerError::OtherTopic);
        }
        if self.run.take_if(|run| run.is_over(record.now)).is_some() {
            return Err(AnswerError::Expired);
        }
        let run = self.run.as_ref().ok_or(AnswerError::NoRun)?;
        let answer = Answer::parse(record.bytes).ok_or(AnswerError::Malformed)?;
        let context = self.context();
        let secrets = self.key.run(&context, &run.challenge, &answer.nonce, answer.attestation);
        if answer.key_id != self.key.id || !same(&auth::authority_mac(&secrets), &answer.mac) {
            return Err(AnswerError::NotAuthentic);
        }
        // from here on it is the authority that speaks, and the run ends one way or the other
        let run = self.run.take().ok_or(AnswerError::NoRun)?;
        let attestation = vouched(answer.attestation, hop)?;
        self.confirm(&run, &answer, *auth::device_mac(&secrets), out);
        Ok(Authenticated {
            key_id: self.key.id,
            proof: self.key.proof,
            realm: self.key.realm.clone(),
            device: self.id.clone(),
            started: run.started,
            received: record.now,
            attestation,
            session: PeerSession::new(&self.id, auth::session_key(&secrets)),
        })
    }

    fn context(&self) -> Context<'_> {
        Context {
            realm: &self.key.realm,
            device: &self.id,
            authority: &self.authority,
            broker: &self.broker,
            request: &self.request,
            response: &self.response,
        }
    }

    fn confirm(&self, run: &Run, answer: &Answer<'_>, mac: [u8; 16], out: &mut Vec<u8>) {
        let confirmation = Confirmation {
            key_id: self.key.id,
            device_nonce: run.nonce,
            authority_nonce: answer.nonce,
            mac,
            device: &self.id,
            broker: &self.broker,
            attestation: answer.attestation,
        };
        confirmation.encode(|part| out.extend_from_slice(part));
    }
}

/// Reads an authentic attestation and looks for the key of the far end in it.
// SPEC §9, "an empty list accepts no TLS key; on plain TCP the entry plays no part"
fn vouched(bytes: &[u8], hop: Hop) -> Result<Attestation, AnswerError> {
    let attestation = Attestation::parse(bytes).ok_or(AnswerError::Attestation)?;
    match hop {
        Hop::Tls(spki) if !attestation.pins.contains(&spki) => Err(AnswerError::BrokerNotVouched),
        Hop::Plain | Hop::Tls(_) => Ok(attestation),
    }
}

/// The outcome of a run at the device: only [`Device::receive`] makes one.
#[derive(Debug)]
pub struct Authenticated {
    /// Of the key of the run.
    pub(crate) key_id: KeyId,
    proof: Proof,
    realm: String,
    device: String,
    started: u64,
    received: u64,
    attestation: Attestation,
    session: PeerSession,
}

impl Authenticated {
    /// What is proved of the authority.
    #[must_use]
    pub const fn proof(&self) -> Proof {
        self.proof
    }

    /// The realm that it holds in.
    #[must_use]
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// The device's own id.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }

    /// What the authority said.
    #[must_use]
    pub const fn attestation(&self) -> &Attestation {
        &self.attestation
    }

    /// Milliseconds from the challenge to the answer.
    #[must_use]
    pub const fn rtt(&self) -> u64 {
        self.received.saturating_sub(self.started)
    }

    /// What time it is at the authority when the device's clock stands at `now`, in Unix
    /// milliseconds: the answer was made at some moment of the round trip. As a clock take the
    /// start; it is too old by the width of the range at most.
    // SPEC §9, "a time taken from attest[3] may be that much too old"
    #[must_use]
    pub const fn unix_time(&self, now: u64) -> RangeInclusive<u64> {
        let earliest = self.attestation.time.saturating_add(now.saturating_sub(self.received));
        earliest..=earliest.saturating_add(self.rtt())
    }

    /// By how many milliseconds the authority's clock is ahead of the device's own Unix clock,
    /// which stands at `own` when the other stands at `now`.
    #[must_use]
    pub fn clock_offset(&self, own: u64, now: u64) -> RangeInclusive<i64> {
        let time = self.unix_time(now);
        let ahead = |time: u64| {
            let offset = i128::from(time).saturating_sub(i128::from(own));
            let limit = if offset < 0 { i64::MIN } else { i64::MAX };
            i64::try_from(offset).unwrap_or(limit)
        };
        ahead(*time.start())..=ahead(*time.end())
    }

    /// The key of the channel between the two, for [`Channel`](super::Channel).
    #[must_use]
    pub const fn session(&self) -> &PeerSession {
        &self.session
    }

    /// The same, taken out.
    #[must_use]
    pub fn into_session(self) -> PeerSession {
        self.session
    }
}
