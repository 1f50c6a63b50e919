//! The layer without a heap takes nothing from one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use allocation_counter::measure;
use mqtt_seal::guard::{Guard, Incoming, Outgoing};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::message::{Opener, Sealer};
use mqtt_seal::policy::{Link, Links, Policy, Rule};
use mqtt_seal::schedule;
use mqtt_seal::secret::SharedKey;
use mqtt_seal::suite::Suite;
use mqtt_seal::topic::TopicName;

#[test]
fn sealer_and_opener_allocate_nothing_after_the_first_message() {
    let topic = TopicName::parse("sensor/temp").unwrap();
    for suite in Suite::ALL {
        let root = schedule::root(&SharedKey::take(&mut [7; 32]), "realm").unwrap();
        let scope = || schedule::path_scope(&root, topic.path(2), suite);
        let mut sealer = Sealer::new(&scope(), suite, &mut getrandom::SysRng, 0, &[]).unwrap();
        let mut opener = Opener::<4>::new(scope(), suite).unwrap();
        let mut message = || {
            let mut buf = [0; 128];
            let start = sealer.headroom();
            buf[start..start + 2].copy_from_slice(b"27");
            let mut sealed = [0; 128];
            let len = {
                let bytes = sealer.seal_in_place(topic, &mut buf, 2).unwrap();
                sealed[..bytes.len()].copy_from_slice(bytes);
                bytes.len()
            };
            let opened = opener.open_in_place(topic, &mut sealed[..len]).unwrap();
            assert_eq!(opened.payload, b"27");
        };
        message();
        let counted = measure(|| (0..100).for_each(|_| message()));
        assert_eq!(counted.count_total, 0, "{suite}");
    }
}

#[test]
fn guard_allocates_nothing_for_a_known_sender_and_topic() {
    let policy = || Policy::new(vec![Rule::sealed(["#"]).build().unwrap()]);
    let keyring =
        || Keyring::new(vec![Grant::shared(&SharedKey::take(&mut [7; 32]), "realm").unwrap()]);
    let (mut tx, _) = Guard::new(policy(), keyring(), Links::Tcp).unwrap().split();
    let (_, mut rx) = Guard::new(policy(), keyring(), Links::Tcp).unwrap().split();
    let (mut sealed, mut payload) = (Vec::new(), Vec::new());
    let mut message = || {
        tx.seal(&Outgoing::new("sensor/temp", b"27"), &mut sealed).unwrap();
        rx.open(&Incoming::new("sensor/temp", &sealed, Link::Tcp), &mut payload).unwrap();
    };
    // the counter grows from one byte to two at 64, and the buffer with it
    (0..65).for_each(|_| message());
    let counted = measure(|| (0..100).for_each(|_| message()));
    assert_eq!(counted.count_total, 0);
}
