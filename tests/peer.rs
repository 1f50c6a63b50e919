//! Peer authentication over a network that loses, repeats, changes and invents: both ends and the
//! attacker in one thread, on a virtual clock.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

use allocation_counter::measure;
use mqtt_seal::guard::{Guard, Incoming, Outgoing};
use mqtt_seal::keyring::Keyring;
use mqtt_seal::peer::{
    Action, AnswerError, Authenticated, Authority, BrokerName, Channel, Device, Enrolled, Hop,
    Names, PeerId, PeerKey, PeerSession, Proof, RUN_MS, Record, RequestError,
};
use mqtt_seal::policy::{Link, Links, Policy, Rule, Scope};
use mqtt_seal::secret::SharedKey;
use mqtt_seal::session::{Entropy, NoEntropy};
use mqtt_seal::topic::TopicName;

/// Unix milliseconds when a simulation starts.
const EPOCH: u64 = 1_800_000_000_000;
const REQUEST: &str = "auth/req";
const RESPONSE: &str = "auth/sensor-007/res";
const BROKER: &str = "broker.example:8883";
const SPKI: [u8; 32] = [5; 32];
const SERIAL: u64 = 4;

/// The same numbers at every run.
struct Counting(u64);

impl Entropy for Counting {
    fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), NoEntropy> {
        self.0 += 1;
        *out = [0; 32];
        out[..8].copy_from_slice(&self.0.to_be_bytes());
        Ok(())
    }
}

fn shared(byte: u8) -> SharedKey {
    SharedKey::take(&mut [byte; 32])
}

fn pairwise(byte: u8) -> PeerKey {
    PeerKey::pairwise(&shared(byte), "acme-prod").unwrap()
}

fn names() -> Names<'static> {
    Names {
        device: PeerId::parse("sensor-007").unwrap(),
        authority: PeerId::parse("authority").unwrap(),
        broker: BrokerName::parse(BROKER).unwrap(),
        request: TopicName::parse(REQUEST).unwrap(),
        response: TopicName::parse(RESPONSE).unwrap(),
    }
}

/// The authority, its one device of the ledger, the clock and the randomness of everybody.
struct World {
    authority: Authority,
    enrolled: PeerKey,
    now: u64,
    rng: Counting,
}

/// What the authority made of a record.
#[derive(Debug)]
enum Said {
    Answer(Vec<u8>),
    Accepted(Proof, PeerSession),
}

impl World {
    fn new() -> Self {
        let names = names();
        let mut authority = Authority::new(names.authority, names.request, EPOCH);
        authority.vouch(names.broker, vec![SPKI]);
        Self { authority, enrolled: pairwise(7), now: 0, rng: Counting(0) }
    }

    fn tell(&mut self, topic: &str, bytes: &[u8]) -> Result<Said, RequestError> {
        let record = Record { topic, bytes, now: EPOCH + self.now };
        let (mut out, key) = (Vec::new(), &self.enrolled);
        let ledger = |id: &str| {
            let response = TopicName::parse(RESPONSE).unwrap();
            (id == "sensor-007").then_some(Enrolled { key, response, serial: SERIAL })
        };
        match self.authority.receive(&record, ledger, &mut self.rng, &[], &mut out)? {
            Action::Answer { topic, broker } => {
                assert_eq!((topic.as_str(), broker), (RESPONSE, BROKER));
                Ok(Said::Answer(out))
            }
            Action::Accepted(run) => {
                assert_eq!((run.device(), run.broker()), ("sensor-007", BROKER));
                assert!(out.is_empty());
                Ok(Said::Accepted(run.proof(), run.into_session()))
            }
            action => panic!("{action:?}"),
        }
    }

    fn answer(&mut self, m1: &[u8]) -> Vec<u8> {
        match self.tell(REQUEST, m1).unwrap() {
            Said::Answer(m2) => m2,
            said @ Said::Accepted(..) => panic!("{said:?}"),
        }
    }

    fn accept(&mut self, m3: &[u8]) -> PeerSession {
        match self.tell(REQUEST, m3).unwrap() {
            Said::Accepted(_, session) => session,
            said @ Said::Answer(_) => panic!("{said:?}"),
        }
    }

    fn start(&mut self, device: &mut Device) -> Vec<u8> {
        let mut m1 = Vec::new();
        device.start(self.now, &mut self.rng, &[], &mut m1).unwrap();
        m1
    }

    fn hear(
        &self,
        device: &mut Device,
        m2: &[u8],
        hop: Hop,
    ) -> Result<(Authenticated, Vec<u8>), AnswerError> {
        let (record, mut m3) = (Record { topic: RESPONSE, bytes: m2, now: self.now }, Vec::new());
        let outcome = device.receive(&record, hop, &mut m3);
        assert_eq!(outcome.is_err(), m3.is_empty(), "a confirmation if and only if it is right");
        outcome.map(|authenticated| (authenticated, m3))
    }

    /// A whole run.
    fn run(&mut self, device: &mut Device) -> ([Vec<u8>; 3], Authenticated, PeerSession) {
        let m1 = self.start(device);
        let m2 = self.answer(&m1);
        let (authenticated, m3) = self.hear(device, &m2, Hop::Tls(SPKI)).unwrap();
        let session = self.accept(&m3);
        ([m1, m2, m3], authenticated, session)
    }
}

fn device() -> Device {
    Device::new(pairwise(7), &names())
}

#[test]
fn an_honest_run_proves_both_ends_to_each_other() {
    let (mut world, mut device) = (World::new(), device());
    let (_, authenticated, session) = world.run(&mut device);
    assert_eq!(authenticated.proof(), Proof::PeerAuthenticated);
    assert_eq!(authenticated.attestation().serial, SERIAL);
    let own = authenticated.into_session().into_key();
    assert_eq!(own.expose(), session.into_key().expose());
}

#[test]
fn messages_are_no_longer_than_they_were() {
    let ([m1, m2, m3], ..) = World::new().run(&mut device());
    assert_eq!([m1.len(), m2.len(), m3.len()], [72, 90, 139]);
}

#[test]
fn a_man_in_the_middle_with_another_tls_key_is_refused() {
    let (mut world, mut device) = (World::new(), device());
    let m1 = world.start(&mut device);
    let m2 = world.answer(&m1);
    let refused = world.hear(&mut device, &m2, Hop::Tls([6; 32]));
    assert_eq!(refused.unwrap_err(), AnswerError::BrokerNotVouched);
    // that was the run's one answer: the right key does not come into it afterwards
    let again = world.hear(&mut device, &m2, Hop::Tls(SPKI));
    assert_eq!(again.unwrap_err(), AnswerError::NoRun);
}

#[test]
fn a_broker_without_tls_keys_is_accepted_over_plain_tcp_alone() {
    let (mut world, mut device) = (World::new(), device());
    world.authority.vouch(names().broker, vec![]);
    let m1 = world.start(&mut device);
    let m2 = world.answer(&m1);
    let refused = world.hear(&mut device, &m2, Hop::Tls(SPKI));
    assert_eq!(refused.unwrap_err(), AnswerError::BrokerNotVouched);
    let m1 = world.start(&mut device);
    let m2 = world.answer(&m1);
    assert!(world.hear(&mut device, &m2, Hop::Plain).is_ok());
}

#[test]
fn a_relay_learns_nothing_that_completes_a_run_of_its_own() {
    let (mut world, mut device) = (World::new(), device());
    let ([m1, _, m3], ..) = world.run(&mut device);
    // it starts a run with what it saw, and confirms it with what it saw
    let m2 = world.answer(&m1);
    let mut forged = m3.clone();
    forged[23..39].copy_from_slice(&m2[7..23]);
    assert_eq!(world.tell(REQUEST, &forged).unwrap_err(), RequestError::NotAuthentic);
    assert_eq!(world.tell(REQUEST, &m3).unwrap_err(), RequestError::Repeated);
}

#[test]
fn an_answer_of_an_earlier_run_is_refused() {
    let (mut world, mut device) = (World::new(), device());
    let ([_, old, _], ..) = world.run(&mut device);
    let m1 = world.start(&mut device);
    let refused = world.hear(&mut device, &old, Hop::Tls(SPKI));
    assert_eq!(refused.unwrap_err(), AnswerError::NotAuthentic);
    // and does not get in the way of the right one
    let m2 = world.answer(&m1);
    assert!(world.hear(&mut device, &m2, Hop::Tls(SPKI)).is_ok());
}

#[test]
fn a_confirmation_is_accepted_once() {
    let (mut world, mut device) = (World::new(), device());
    let ([_, _, m3], ..) = world.run(&mut device);
    for (later, error) in [
        (0, RequestError::Repeated),
        (RUN_MS, RequestError::Repeated),
        (RUN_MS + 1, RequestError::TooOld),
        (3_600_000, RequestError::TooOld),
    ] {
        world.now = later;
        assert_eq!(world.tell(REQUEST, &m3).unwrap_err(), error, "{later} ms later");
    }
}

#[test]
fn a_withheld_confirmation_does_not_take_the_place_of_a_newer_run() {
    let (mut world, mut device) = (World::new(), device());
    let m1 = world.start(&mut device);
    let m2 = world.answer(&m1);
    let (_, withheld) = world.hear(&mut device, &m2, Hop::Tls(SPKI)).unwrap();
    world.now = 1;
    world.run(&mut device);
    assert_eq!(world.tell(REQUEST, &withheld).unwrap_err(), RequestError::TooOld);
}

#[test]
fn a_confirmation_from_before_a_restart_is_refused() {
    let (mut world, mut device) = (World::new(), device());
    let m1 = world.start(&mut device);
    let m2 = world.answer(&m1);
    let (_, m3) = world.hear(&mut device, &m2, Hop::Tls(SPKI)).unwrap();
    let names = names();
    world.authority = Authority::new(names.authority, names.request, EPOCH + 1);
    world.authority.vouch(names.broker, vec![SPKI]);
    world.now = 2;
    assert_eq!(world.tell(REQUEST, &m3).unwrap_err(), RequestError::TooOld);
}

#[test]
fn a_confirmation_ahead_of_the_clock_is_refused() {
    let (mut world, mut device) = (World::new(), device());
    world.now = 10;
    let m1 = world.start(&mut device);
    let m2 = world.answer(&m1);
    let (_, m3) = world.hear(&mut device, &m2, Hop::Tls(SPKI)).unwrap();
    world.now = 9;
    assert_eq!(world.tell(REQUEST, &m3).unwrap_err(), RequestError::Ahead);
}

#[test]
fn messages_that_come_back_to_their_sender_are_refused() {
    let (mut world, mut device) = (World::new(), device());
    let m1 = world.start(&mut device);
    let m2 = world.answer(&m1);
    assert_eq!(world.hear(&mut device, &m1, Hop::Plain).unwrap_err(), AnswerError::Malformed);
    assert_eq!(world.tell(REQUEST, &m2).unwrap_err(), RequestError::Malformed);
    // m3 with the head of an answer, and m2 with that of a confirmation
    let mut turned = m2.clone();
    turned[2] = 3;
    assert_eq!(world.tell(REQUEST, &turned).unwrap_err(), RequestError::Malformed);
    let (_, m3) = world.hear(&mut device, &m2, Hop::Plain).unwrap();
    world.start(&mut device);
    assert_eq!(world.hear(&mut device, &m3, Hop::Plain).unwrap_err(), AnswerError::Malformed);
}

#[test]
fn messages_on_other_topics_are_refused() {
    let (mut world, mut device) = (World::new(), device());
    let m1 = world.start(&mut device);
    assert_eq!(world.tell(RESPONSE, &m1).unwrap_err(), RequestError::OtherTopic);
    let m2 = world.answer(&m1);
    let record = Record { topic: REQUEST, bytes: &m2, now: 0 };
    let refused = device.receive(&record, Hop::Plain, &mut Vec::new());
    assert_eq!(refused.unwrap_err(), AnswerError::OtherTopic);
}

/// What the two ends make of a run when the device is `device`.
fn outcome(device: &mut Device) -> (Option<RequestError>, Option<AnswerError>) {
    let mut world = World::new();
    let m1 = world.start(device);
    match world.tell(REQUEST, &m1) {
        Err(error) => (Some(error), None),
        Ok(Said::Answer(m2)) => (None, world.hear(device, &m2, Hop::Tls(SPKI)).err()),
        Ok(said) => panic!("{said:?}"),
    }
}

#[test]
fn a_difference_in_any_name_or_key_proves_nothing() {
    let id = |text| PeerId::parse(text).unwrap();
    let topic = |text| TopicName::parse(text).unwrap();
    let broker = |text| BrokerName::parse(text).unwrap();
    let same = names();
    let not_authentic = (Some(RequestError::NotAuthentic), None);
    let refused_by_device = (None, Some(AnswerError::NotAuthentic));
    let unknown = (Some(RequestError::UnknownDevice), None);
    let key = || pairwise(7);
    let realm = PeerKey::pairwise(&shared(7), "acme-test").unwrap();
    let cases = [
        (realm, same, not_authentic),
        (pairwise(8), same, not_authentic),
        (key(), Names { device: id("sensor-008"), ..same }, unknown),
        // the ids swapped
        (key(), Names { device: same.authority, authority: same.device, ..same }, unknown),
        (key(), Names { authority: id("other"), ..same }, refused_by_device),
        (
            key(),
            Names { broker: broker("broker.example:8884"), ..same },
            (Some(RequestError::UnknownBroker), None),
        ),
        (key(), Names { request: topic("auth/other"), ..same }, refused_by_device),
    ];
    for (key, names, expected) in cases {
        assert_eq!(outcome(&mut Device::new(key, &names)), expected, "{names:?}");
    }
    assert_eq!(outcome(&mut device()), (None, None));
}

#[test]
fn another_broker_that_is_vouched_for_cannot_be_put_in_its_place() {
    let (mut world, mut device) = (World::new(), device());
    let evil = "broker.eample:18883";
    assert_eq!(evil.len(), BROKER.len());
    world.authority.vouch(BrokerName::parse(evil).unwrap(), vec![SPKI]);
    let ([m1, _, m3], ..) = world.run(&mut device);
    for (message, error) in [(m1, RequestError::NotAuthentic), (m3, RequestError::NotAuthentic)] {
        let at = message.windows(BROKER.len()).position(|part| part == BROKER.as_bytes()).unwrap();
        let mut renamed = message.clone();
        renamed[at..at + evil.len()].copy_from_slice(evil.as_bytes());
        assert_eq!(world.tell(REQUEST, &renamed).unwrap_err(), error);
    }
}

fn flips(message: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..message.len() * 8).map(|bit| {
        let mut changed = message.to_vec();
        changed[bit / 8] ^= 0x80 >> (bit % 8);
        changed
    })
}

#[test]
fn a_message_with_any_bit_changed_is_refused_and_the_right_one_still_taken() {
    let (mut world, mut device) = (World::new(), device());
    let m1 = world.start(&mut device);
    for changed in flips(&m1) {
        assert!(world.tell(REQUEST, &changed).is_err(), "{changed:x?}");
    }
    let m2 = world.answer(&m1);
    for changed in flips(&m2) {
        assert!(world.hear(&mut device, &changed, Hop::Tls(SPKI)).is_err(), "{changed:x?}");
    }
    let (_, m3) = world.hear(&mut device, &m2, Hop::Tls(SPKI)).unwrap();
    for changed in flips(&m3) {
        assert!(world.tell(REQUEST, &changed).is_err(), "{changed:x?}");
    }
    world.accept(&m3);
}

#[test]
fn a_flood_of_challenges_costs_no_memory_and_locks_nobody_out() {
    let (mut world, mut honest) = (World::new(), device());
    let replayed = world.start(&mut device());
    let mut forged = replayed.clone();
    let left = measure(|| {
        for count in 0..10_000_u64 {
            forged[7..15].copy_from_slice(&count.to_be_bytes());
            assert_eq!(world.tell(REQUEST, &forged).unwrap_err(), RequestError::NotAuthentic);
            world.answer(&replayed);
            world.now += 1;
        }
    });
    assert!(left.count_total > 10_000, "allocations are counted");
    assert_eq!((left.count_current, left.bytes_current), (0, 0));
    world.run(&mut honest);
}

#[test]
fn a_device_is_served_in_the_middle_of_a_flood() {
    let (mut world, mut honest) = (World::new(), device());
    let flood = world.start(&mut device());
    let m1 = world.start(&mut honest);
    for _ in 0..1_000 {
        world.answer(&flood);
    }
    let m2 = world.answer(&m1);
    let noise = world.answer(&flood);
    for _ in 0..1_000 {
        let refused = world.hear(&mut honest, &noise, Hop::Tls(SPKI));
        assert_eq!(refused.unwrap_err(), AnswerError::NotAuthentic);
    }
    let (_, m3) = world.hear(&mut honest, &m2, Hop::Tls(SPKI)).unwrap();
    world.accept(&m3);
}

#[test]
fn a_device_that_hears_nothing_ends_its_run_after_30_seconds() {
    let (mut world, mut device) = (World::new(), device());
    let m1 = world.start(&mut device);
    let late = world.answer(&m1);
    assert!(device.is_running(RUN_MS));
    assert!(!device.is_running(RUN_MS + 1));
    let m1 = world.start(&mut device);
    let in_time = world.answer(&m1);
    world.now = RUN_MS + 1;
    let refused = world.hear(&mut device, &late, Hop::Tls(SPKI));
    assert_eq!(refused.unwrap_err(), AnswerError::Expired);
    let refused = world.hear(&mut device, &in_time, Hop::Tls(SPKI));
    assert_eq!(refused.unwrap_err(), AnswerError::NoRun);
    world.run(&mut device);
}

#[test]
fn any_lost_message_is_made_up_for_by_another_run() {
    for lost in 1..=3 {
        let (mut world, mut device) = (World::new(), device());
        let m1 = world.start(&mut device);
        if lost > 1 {
            let m2 = world.answer(&m1);
            if lost > 2 {
                assert!(world.hear(&mut device, &m2, Hop::Tls(SPKI)).is_ok());
            }
        }
        world.now += 5_000;
        let (_, authenticated, session) = world.run(&mut device);
        let own = authenticated.into_session().into_key();
        assert_eq!(own.expose(), session.into_key().expose(), "m{lost} was lost");
    }
}

#[test]
fn messages_that_come_twice_complete_one_run() {
    let (mut world, mut device) = (World::new(), device());
    let m1 = world.start(&mut device);
    let (first, second) = (world.answer(&m1), world.answer(&m1));
    assert_ne!(first, second);
    let (_, m3) = world.hear(&mut device, &second, Hop::Tls(SPKI)).unwrap();
    for m2 in [&first, &second] {
        let refused = world.hear(&mut device, m2, Hop::Tls(SPKI));
        assert_eq!(refused.unwrap_err(), AnswerError::NoRun);
    }
    world.accept(&m3);
    assert_eq!(world.tell(REQUEST, &m3).unwrap_err(), RequestError::Repeated);
}

#[test]
fn a_group_key_proves_membership_and_no_more() {
    let mut world = World::new();
    world.enrolled = PeerKey::group(&shared(7), "acme-prod").unwrap();
    let mut device = Device::new(PeerKey::group(&shared(7), "acme-prod").unwrap(), &names());
    let m1 = world.start(&mut device);
    let m2 = world.answer(&m1);
    let (authenticated, m3) = world.hear(&mut device, &m2, Hop::Tls(SPKI)).unwrap();
    assert_eq!(authenticated.proof(), Proof::GroupMembership);
    let Said::Accepted(proof, _) = world.tell(REQUEST, &m3).unwrap() else { panic!("m3") };
    assert_eq!(proof, Proof::GroupMembership);
}

#[test]
fn the_time_of_the_authority_lies_in_the_range_that_a_device_concludes() {
    for (there, back) in [(0, 0), (40, 2), (3, 20_000)] {
        let (mut world, mut device) = (World::new(), device());
        let m1 = world.start(&mut device);
        world.now += there;
        let m2 = world.answer(&m1);
        world.now += back;
        let (authenticated, _) = world.hear(&mut device, &m2, Hop::Tls(SPKI)).unwrap();
        assert_eq!(authenticated.rtt(), there + back);
        let later = world.now + 1_000;
        let range = authenticated.unix_time(later);
        assert!(range.contains(&(EPOCH + later)), "{range:?}");
        assert_eq!(range.end() - range.start(), there + back);
        // its own clock is a second behind
        let offset = authenticated.clock_offset(EPOCH + later - 1_000, later);
        assert!(offset.contains(&1_000), "{offset:?}");
    }
}

fn guard(keyring: Keyring) -> Guard {
    let rule = Rule::sealed(["#"]).scope(Scope::Path { depth: 0 }).build().unwrap();
    let entropy = Box::new(Counting(0));
    Guard::with_entropy(Policy::new(vec![rule]), keyring, Links::Tcp, entropy).unwrap()
}

#[test]
fn a_replaced_channel_key_opens_for_30_seconds_more_and_seals_no_more() {
    let (mut world, mut device) = (World::new(), device());
    let (mut own, mut theirs) = (Channel::new(), Channel::new());
    let (_, first, session) = world.run(&mut device);
    own.install(first.session(), 0);
    theirs.install(&session, 0);
    let mut old = Vec::new();
    guard(theirs.keyring()).split().0.seal(&Outgoing::new("a", b"old"), &mut old).unwrap();
    let (_, second, session) = world.run(&mut device);
    own.install(second.session(), 1_000);
    theirs.install(&session, 1_000);
    let mut new = Vec::new();
    guard(theirs.keyring()).split().0.seal(&Outgoing::new("a", b"new"), &mut new).unwrap();
    let opens = |channel: &Channel, sealed: &[u8]| {
        let incoming = Incoming::new("a", sealed, Link::Tcp);
        guard(channel.keyring()).split().1.open(&incoming, &mut Vec::new()).is_ok()
    };
    assert!(!own.expire(1_000 + RUN_MS));
    assert!(opens(&own, &old) && opens(&own, &new));
    assert_eq!(own.expires(), Some(1_000 + RUN_MS + 1));
    assert!(own.expire(1_000 + RUN_MS + 1));
    assert!(!opens(&own, &old) && opens(&own, &new));
    // it was sealed under the new key: without the old one it opens too
    assert_ne!(old[2..6], new[2..6]);
}
