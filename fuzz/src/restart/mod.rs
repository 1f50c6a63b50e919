//! A client, its broker, and a proxy between them that is killed and comes back with its store. All
//! but the proxy keep to MQTT, and so everything that MQTT promises has to hold.

mod broker;
mod client;
mod ledger;
mod proxy;
mod world;

use mqtt_seal::guard::{Guard, GuardTx};
use mqtt_seal::keyring::{Grant, Keyring, State};
use mqtt_seal::policy::{Links, Policy, Replay, Rule, Transport};
use mqtt_seal::secret::RootKey;

use broker::Broker;
use client::Client;
use ledger::Ledger;
use proxy::Proxy;
pub use world::World;

use crate::proxy::oracle::MARKER;
use crate::proxy::{NOW, TOPICS, policy};
use crate::{Constant, ROOT};

/// The topic that a second edition of the rules seals.
const BECOMES_SEALED: &str = "clear/b";

/// The topic on which the client always says the same.
const ALIKE: &str = TOPICS[ALIKE_PLACE];
/// Its place among [`TOPICS`].
pub const ALIKE_PLACE: usize = 1;

fn seals_one(rule: mqtt_seal::policy::RuleBuilder) -> Rule {
    rule.transport(Transport::Any).build().expect("a legal rule")
}

/// The rules of the proxy, in their first edition or the second.
fn rules(edition: usize) -> Policy {
    let sealed = (edition > 0).then(|| seals_one(Rule::sealed([BECOMES_SEALED])));
    policy(sealed, |replay| replay)
}

/// Of a receiver who takes both editions.
fn subscriber_rules() -> Policy {
    let mixed = Rule::mixed([BECOMES_SEALED], NOW + 1);
    policy(Some(seals_one(mixed)), |replay| replay)
}

/// Of one who takes everything that is sealed, as often as it comes.
fn observer_rules() -> Policy {
    let sealed = Rule::sealed([BECOMES_SEALED]).replay(Replay::Off);
    policy(Some(seals_one(sealed)), |_| Replay::Off)
}

/// The keys, in their first edition or the second, by which another seals.
fn keyring(edition: usize) -> Keyring {
    let first = || Grant::root(RootKey::take(&mut { *ROOT.expose() }));
    if edition == 0 {
        return Keyring::new(vec![first()]);
    }
    let old = first().with_state(State::Retiring { not_after: None });
    let new = Grant::root(RootKey::take(&mut [8; 32])).with_generation(2);
    Keyring::new(vec![old, new])
}

/// A sender behind the broker, with the keys of one edition.
fn sender(edition: usize) -> GuardTx {
    let keys = keyring(edition);
    let guard = Guard::with_entropy(rules(1), keys, Links::Tcp, Box::new(Constant));
    let mut tx = guard.expect("a constant does not fail").split().0;
    tx.connected("far-away");
    tx
}

/// What the client publishes as its message of this number; 0 where it always says the same.
fn payload(number: u32) -> Vec<u8> {
    [&MARKER[..], &number.to_be_bytes()].concat()
}

/// The number in a payload that begins so.
fn number_of(payload: &[u8], front: &[u8]) -> Option<u32> {
    let number = payload.strip_prefix(front)?;
    number.try_into().map(u32::from_be_bytes).ok()
}
