//! Peer authentication: what a shared key lacks compared with the server authentication of TLS.
//! Knows no MQTT client and no clock; the caller brings messages, time and randomness.
//!
//! A device and an authority that share a key prove to each other that they are there, now, over
//! the same broker. The device learns which TLS keys that broker has, so that it needs no CA; how
//! new its own keys should be, so that withheld updates show; and the time. Three messages, of
//! which the device may use the connection after the second:
//!
//! ```text
//! device ── m1, challenge ─────▶ authority      who asks, for which broker
//! device ◀─ m2, answer ───────── authority      proof, attestation
//! device ── m3, confirmation ──▶ authority      proof
//! ```
//!
//! It does not prove that the broker is honest, nor, over plain TCP, that nobody relays.
//!
//! ```
//! use mqtt_seal::peer::{
//!     Action, Authority, BrokerName, Device, Enrolled, Hop, Names, PeerId, PeerKey, Record,
//! };
//! use mqtt_seal::secret::SharedKey;
//! use mqtt_seal::topic::TopicName;
//!
//! // 32 random bytes, from your provisioning, that only these two hold
//! let key = || PeerKey::pairwise(&SharedKey::take(&mut [7; 32]), "acme-prod");
//! let names = Names {
//!     device: PeerId::parse("sensor-7")?,
//!     authority: PeerId::parse("authority")?,
//!     broker: BrokerName::parse("broker.example:8883")?,
//!     request: TopicName::parse("auth/req")?,
//!     response: TopicName::parse("auth/sensor-7/res")?,
//! };
//! let mut device = Device::new(key()?, &names);
//! let spki = [5; 32]; // the hash of the key that the server showed
//! let now = 1_800_000_000_000; // Unix milliseconds
//! let mut authority = Authority::new(names.authority, names.request, now);
//! authority.vouch(names.broker, vec![spki]);
//! let enrolled = key()?;
//! let ledger = |id: &str| {
//!     (id == "sensor-7").then_some(Enrolled { key: &enrolled, response: names.response, serial: 4 })
//! };
//! let mut rng = getrandom::SysRng;
//!
//! let (mut m1, mut m2, mut m3) = (Vec::new(), Vec::new(), Vec::new());
//! device.start(0, &mut rng, &[], &mut m1)?;
//! let record = Record { topic: "auth/req", bytes: &m1, now };
//! authority.receive(&record, &ledger, &mut rng, &[], &mut m2)?;
//! let record = Record { topic: "auth/sensor-7/res", bytes: &m2, now: 40 };
//! let authenticated = device.receive(&record, Hop::Tls(spki), &mut m3)?;
//! assert_eq!(authenticated.attestation().serial, 4);
//! let record = Record { topic: "auth/req", bytes: &m3, now };
//! let action = authority.receive(&record, &ledger, &mut rng, &[], &mut Vec::new())?;
//! assert!(matches!(action, Action::Accepted(run) if run.device() == "sensor-7"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Nothing but a run makes an [`Authenticated`]:
//!
//! ```compile_fail
//! # use mqtt_seal::peer::Authenticated;
//! let authenticated = Authenticated {};
//! ```

mod attestation;
mod authority;
mod channel;
mod device;
mod key;
mod name;
#[cfg(any(feature = "serde", feature = "tls"))]
mod pin;
mod seen;

pub use attestation::{Attestation, MAX_PINS, SpkiHash};
pub(crate) use attestation::{read_pins, write_pins};
pub use authority::{AcceptedRun, Action, Authority, Enrolled, RequestError};
pub use channel::{Channel, PeerSession};
pub use device::{AnswerError, Authenticated, Device, Hop};
pub use key::{PeerKey, Proof};
pub use name::{BrokerName, MAX_BROKER_LEN, MAX_ID_LEN, NameError, PeerId};
#[cfg(any(feature = "serde", feature = "tls"))]
pub(crate) use pin::{parse_pin, pin_text};

use crate::topic::TopicName;

/// How long a run lasts, an attestation is good, a replaced session key opens and an accepted run
/// is remembered, in milliseconds (SPEC §9).
pub const RUN_MS: u64 = 30_000;

/// Who talks to whom, and where. Both ends have to have the same names, or nothing is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the format is frozen, so are its names")]
pub struct Names<'a> {
    /// The device's id.
    pub device: PeerId<'a>,
    /// The authority's id.
    pub authority: PeerId<'a>,
    /// The broker as the device is configured with it.
    pub broker: BrokerName<'a>,
    /// The topic that the authority listens to.
    pub request: TopicName<'a>,
    /// The topic that the device listens to.
    pub response: TopicName<'a>,
}

/// A message that came in on an authentication topic. These topics are matched before the policy
/// and carry nothing else; the application sees none of it.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "a message has no more to it")]
pub struct Record<'a> {
    /// The topic that it came in on.
    pub topic: &'a str,
    /// The payload.
    pub bytes: &'a [u8],
    /// The receiver's clock in milliseconds: at a device any clock that never goes back, at an
    /// authority Unix time.
    pub now: u64,
}

#[cfg(test)]
mod tests;
