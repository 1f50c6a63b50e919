//! Both ends of a peer authentication, the same at every run, and messages with right macs.

use mqtt_seal::peer::{
    Action, Authority, BrokerName, Device, Enrolled, Names, PeerId, PeerKey, Record, RequestError,
};
use mqtt_seal::schedule::{self, auth};
use mqtt_seal::secret::{AuthKey, RunKey, SharedKey};
use mqtt_seal::topic::TopicName;
use mqtt_seal::wire::control::{Answer, Challenge, Confirmation};

use super::Constant;

/// The id of the one device that the authority knows.
pub const DEVICE: &str = "sensor-007";
/// The topic that the device listens to.
pub const RESPONSE: &str = "auth/sensor-007/res";
/// The authority's clock in Unix milliseconds, and when it was started.
pub const NOW: u64 = 1_800_000_000_000;
/// When the authority was started.
pub const STARTED: u64 = NOW - 20_000;

const REQUEST: &str = "auth/req";
const BROKER: &str = "broker.example:8883";
const REALM: &str = "acme-prod";
const NONCE: [u8; 16] = [6; 16];

fn shared() -> SharedKey {
    SharedKey::take(&mut [7; 32])
}

fn key() -> PeerKey {
    PeerKey::pairwise(&shared(), REALM).expect("a realm")
}

fn names() -> Names<'static> {
    Names {
        device: PeerId::parse(DEVICE).expect("an id"),
        authority: PeerId::parse("authority").expect("an id"),
        broker: BrokerName::parse(BROKER).expect("a broker"),
        request: TopicName::parse(REQUEST).expect("a topic"),
        response: TopicName::parse(RESPONSE).expect("a topic"),
    }
}

/// AK of both.
#[must_use]
pub fn auth_key() -> AuthKey {
    auth::key(&schedule::root(&shared(), REALM).expect("a realm"))
}

/// An authority that vouches for one broker.
#[must_use]
pub fn authority() -> Authority {
    let names = names();
    let mut authority = Authority::new(names.authority, names.request, STARTED);
    authority.vouch(names.broker, vec![[5; 32]]);
    authority
}

/// What the authority makes of a record.
///
/// # Errors
/// Those of the authority.
pub fn tell<'a>(
    authority: &mut Authority,
    bytes: &'a [u8],
    out: &mut Vec<u8>,
) -> Result<Action<'a>, RequestError> {
    // one key for each input is nothing to free
    static KEY: std::sync::LazyLock<PeerKey> = std::sync::LazyLock::new(key);
    let response = names().response;
    let find = |id: &str| (id == DEVICE).then_some(Enrolled { key: &KEY, response, serial: 4 });
    let record = Record { topic: REQUEST, bytes, now: NOW };
    authority.receive(&record, find, &mut Constant, &[], out)
}

/// A device in a run, and its challenge.
#[must_use]
pub fn started() -> (Device, Vec<u8>) {
    let (mut device, mut m1) = (Device::new(key(), &names()), Vec::new());
    device.start(0, &mut Constant, &[], &mut m1).expect("a constant does not fail");
    (device, m1)
}

fn run(m1: &[u8], attestation: &[u8]) -> RunKey {
    let context = auth::Context {
        realm: REALM,
        device: DEVICE,
        authority: "authority",
        broker: BROKER,
        request: REQUEST,
        response: RESPONSE,
    };
    auth::run_key(&auth_key(), &auth::transcript(&context.hash(), m1, &NONCE, attestation))
}

/// An answer to `m1` with the right mac.
#[must_use]
pub fn answer(m1: &[u8], attestation: &[u8]) -> Vec<u8> {
    let mac = *auth::authority_mac(&run(m1, attestation));
    let (key_id, mut record) = (auth::key_id(&auth_key()), Vec::new());
    let answer = Answer { key_id, nonce: NONCE, mac, attestation };
    answer.encode(|part| record.extend_from_slice(part));
    record
}

/// A confirmation of a run with the right mac.
///
/// # Panics
/// Never: the device writes a challenge.
#[must_use]
pub fn confirmation(attestation: &[u8]) -> Vec<u8> {
    let (_, m1) = started();
    let (challenge, ..) = Challenge::parse(&m1).expect("a challenge");
    let confirmation = Confirmation {
        key_id: challenge.key_id,
        device_nonce: challenge.nonce,
        authority_nonce: NONCE,
        mac: *auth::device_mac(&run(&m1, attestation)),
        device: DEVICE,
        broker: BROKER,
        attestation,
    };
    let mut record = Vec::new();
    confirmation.encode(|part| record.extend_from_slice(part));
    record
}
