//! Receivers with a replay log, and messages for them under any counter.

use mqtt_seal::guard::{Guard, GuardRx, ReplayLimits};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::message::danger::{self, RawMessage};
use mqtt_seal::policy::{Links, Policy, Replay, Rule};
use mqtt_seal::secret::RootKey;
use mqtt_seal::suite::Suite;
use mqtt_seal::topic::TopicName;
use mqtt_seal::wire::header::SessionId;

use crate::{Constant, ROOT, scope_key};

fn policy() -> Policy {
    let window = Rule::sealed(["window/#"]).build().expect("a legal rule");
    let latest = Rule::sealed(["latest/#"]).replay(Replay::Latest).build().expect("a legal rule");
    Policy::new(vec![window, latest])
}

/// A receiver that keeps at most `windows` windows.
///
/// # Panics
/// Never: nothing is drawn at random.
#[must_use]
pub fn replay_receiver(windows: usize) -> GuardRx {
    let keyring = Keyring::new(vec![Grant::root(RootKey::take(&mut { *ROOT.expose() }))]);
    let guard = Guard::with_entropy(policy(), keyring, Links::Tcp, Box::new(Constant));
    let mut limits = ReplayLimits::default();
    limits.windows = windows;
    guard.expect("a constant does not fail").with_replay_limits(limits).split().1
}

/// The message of one session with this counter.
///
/// # Panics
/// If `topic` is none, or no rule of these receivers covers it.
#[must_use]
pub fn message(topic: &str, counter: u32) -> Vec<u8> {
    let topic = TopicName::parse(topic).expect("a topic");
    let policy = policy();
    let scope = scope_key(policy.rule(topic).expect("a rule"), topic);
    let message = RawMessage {
        suite: Suite::default(),
        id: SessionId::Random([5; 12]),
        counter,
        inner: false,
        topic: Some(topic),
        bind: None,
        plaintext: b"27",
    };
    let sealed = danger::seal(&scope, &message, &mut [0; 64]).expect("built").map(<[u8]>::to_vec);
    sealed.expect("there is room")
}
