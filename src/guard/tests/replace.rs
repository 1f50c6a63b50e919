//! Other keys and rules while messages flow.

use super::*;
use crate::keyring::State;

const RETIRING: State = State::Retiring { not_after: None };

fn generation(number: u8, state: State) -> Grant {
    let key = SharedKey::take(&mut [number; 32]);
    Grant::shared(&key, "realm").unwrap().with_generation(number.into()).with_state(state)
}

fn config(rule: Rule, grants: Vec<Grant>) -> Arc<Config> {
    Arc::new(Config::new(Policy::new(vec![rule]), Keyring::new(grants), Links::Tcp))
}

/// The keys after so many steps of a rotation.
fn step(number: usize) -> Arc<Config> {
    let grants = match number {
        0 => vec![generation(1, State::Active)],
        1 => vec![generation(1, State::Active), generation(2, State::Pending)],
        2 => vec![generation(1, RETIRING), generation(2, State::Active)],
        _ => vec![generation(2, State::Active)],
    };
    config(sealed_rule(), grants)
}

fn client(config: Arc<Config>) -> (GuardTx, GuardRx) {
    Guard::from_config(config, Box::new(getrandom::SysRng)).unwrap().split()
}

fn replace((tx, rx): &mut (GuardTx, GuardRx), config: &Arc<Config>) {
    tx.replace(Arc::clone(config));
    rx.replace(Arc::clone(config));
}

fn sent(tx: &mut GuardTx) -> Vec<u8> {
    seal(tx, &Outgoing::new("a/b", b"27")).0
}

#[test]
fn every_message_of_a_rotation_opens_at_the_other_end_whoever_is_first() {
    for first_is_ahead in [true, false] {
        let (mut ahead, mut behind) = (client(step(0)), client(step(0)));
        for number in 1..=3 {
            let (late, later) = (sent(&mut ahead.0), sent(&mut behind.0));
            let (end, other) =
                if first_is_ahead { (&mut ahead, &mut behind) } else { (&mut behind, &mut ahead) };
            replace(end, &step(number));
            assert!(open(&mut other.1, "a/b", &sent(&mut end.0)).is_ok(), "{number}");
            assert!(open(&mut end.1, "a/b", &sent(&mut other.0)).is_ok(), "{number}");
            replace(other, &step(number));
            // what was on its way; of an erased generation nothing is
            if number < 3 {
                assert!(open(&mut behind.1, "a/b", &late).is_ok(), "{number}");
                assert!(open(&mut ahead.1, "a/b", &later).is_ok(), "{number}");
            }
        }
    }
}

#[test]
fn erased_generation_opens_no_more_and_nothing_holds_its_keys() {
    let old = step(2);
    let mut end = client(Arc::clone(&old));
    let mut sender = client(step(0));
    let bytes = sent(&mut sender.0);
    assert!(open(&mut end.1, "a/b", &sent(&mut sender.0)).is_ok());
    replace(&mut end, &step(3));
    assert_eq!(open(&mut end.1, "a/b", &bytes).unwrap_err(), OpenError::UnknownKey);
    let config = Arc::downgrade(&old);
    drop(old);
    assert!(config.upgrade().is_none());
}

#[test]
fn session_goes_on_as_long_as_its_key_seals() {
    let mut end = client(step(0));
    let id = |tx: &mut GuardTx| seal(tx, &Outgoing::new("a", b"27")).1.sealed.unwrap();
    let (session, counter) = id(&mut end.0);
    replace(&mut end, &step(1));
    assert_eq!(id(&mut end.0), (session, counter + 1));
    replace(&mut end, &step(2));
    let (next, counter) = id(&mut end.0);
    assert!(next != session && counter == 0);
}

#[test]
fn replay_state_outlives_the_configuration() {
    let (mut sender, mut end) = (client(step(0)), client(step(0)));
    let bytes = sent(&mut sender.0);
    assert!(open(&mut end.1, "a/b", &bytes).is_ok());
    for number in 1..=2 {
        replace(&mut end, &step(number));
        let again = open(&mut end.1, "a/b", &bytes).unwrap_err();
        assert_eq!(again, OpenError::Rejected(Rejected::Duplicate));
    }
}

#[test]
fn other_rule_holds_for_the_topic_of_the_last_message() {
    let mut end = client(step(0));
    let bytes = sent(&mut end.0);
    assert!(open(&mut end.1, "a/b", &bytes).is_ok());
    let other = Rule::sealed(["other"]).build().unwrap();
    let clear = Rule::clear(["#"]).transport(Transport::Tcp).build().unwrap();
    let keyring = Keyring::new(vec![generation(1, State::Active)]);
    let config = Config::new(Policy::new(vec![other, clear]), keyring, Links::Tcp);
    replace(&mut end, &Arc::new(config));
    assert_eq!(sent(&mut end.0), b"27");
    assert_eq!(open(&mut end.1, "a/b", b"27").unwrap().0, b"27");
}

#[test]
fn compact_form_seals_under_the_sender_number_of_now() {
    let rule = || Rule::sealed(["#"]).form(Form::Compact).suite(Suite::Aes256GcmSiv).build();
    let number = |number| SenderNumber::new(number).unwrap();
    let with = |sender| {
        let grant = generation(1, State::Active).with_sender(number(sender));
        config(rule().unwrap(), vec![grant])
    };
    let mut end = client(with(1));
    for sender in [1, 2] {
        end.0.add_lease(number(sender), &(0..64), false).unwrap();
        replace(&mut end, &with(sender));
        let sealed = seal(&mut end.0, &Outgoing::new("a", b"27")).1.sealed;
        assert_eq!(sealed, Some((SessionId::Sender(number(sender)), 0)));
    }
}

#[test]
fn sealing_key_id_is_that_of_the_messages() {
    let mut end = client(step(0));
    let message = Outgoing::new("a/b", b"27");
    for number in 0..=3 {
        replace(&mut end, &step(number));
        let (bytes, _) = seal(&mut end.0, &message);
        assert_eq!(
            bytes.get(2..6),
            Some(&end.0.sealing_key_id(&message).unwrap().unwrap().to_bytes()[..])
        );
    }
    let clear = Rule::clear(["#"]).build().unwrap();
    replace(&mut end, &config(clear, vec![]));
    assert_eq!(end.0.sealing_key_id(&message), Ok(None));
}
