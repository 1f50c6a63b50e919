//! Acknowledgements and the store.

use core::time::Duration;
use std::path::Path;
use std::thread;
use std::time::Instant;

use super::*;
use crate::proxy::clients;
use crate::store::outbox_file::OutboxFile;

#[test]
fn acknowledgements_pass_both_ways_with_the_clients_own_ids() {
    let mut rig = Rig::connected(POLICY, Version::V311);
    rig.client(&publish(Version::V311, 2, "s/a", 8, &[], b"27"));
    assert_eq!(rig.broker(&ack(PUBACK, 8)), Out::to_client(&ack(PUBACK, 8)));
    rig.client(&publish(Version::V311, 4, "s/a", 9, &[], b"27"));
    assert_eq!(rig.broker(&ack(PUBREC, 9)), Out::to_client(&ack(PUBREC, 9)));
    assert_eq!(rig.client(&ack(PUBREL, 9)), Out::to_main(&ack(PUBREL, 9)));
    assert_eq!(rig.broker(&ack(PUBCOMP, 9)), Out::to_client(&ack(PUBCOMP, 9)));
}

#[test]
fn release_of_a_message_that_the_broker_has_forgotten_sends_it_again() {
    let mut rig = Rig::connected(POLICY, Version::V311);
    let first = rig.client(&publish(Version::V311, 4, "s/a", 9, &[], b"27")).main;
    rig.broker(&ack(PUBREC, 9));
    rig.connect("pump", true);
    let out = rig.client(&ack(PUBREL, 9));
    assert_eq!(out, Out::to_main(&first));
    assert_eq!(rig.broker(&ack(PUBREC, 9)), Out::to_main(&ack(PUBREL, 9)));
    assert_eq!(rig.broker(&ack(PUBCOMP, 9)), Out::to_client(&ack(PUBCOMP, 9)));
    // a broker that has kept it is just told
    let mut rig = Rig::connected(POLICY, Version::V311);
    rig.client(&publish(Version::V311, 4, "s/a", 9, &[], b"27"));
    rig.broker(&ack(PUBREC, 9));
    rig.connect("pump", false);
    assert_eq!(rig.client(&ack(PUBREL, 9)), Out::to_main(&ack(PUBREL, 9)));
}

#[test]
fn release_of_an_unknown_id_goes_to_the_broker() {
    let mut rig = Rig::connected(POLICY, Version::V311);
    assert_eq!(rig.client(&ack(PUBREL, 9)), Out::to_main(&ack(PUBREL, 9)));
}

#[test]
fn release_of_a_message_of_qos_1_goes_to_the_broker() {
    for acknowledged in [false, true] {
        let mut rig = Rig::connected(POLICY, Version::V311);
        rig.client(&publish(Version::V311, 2, "s/a", 9, &[], b"27"));
        if acknowledged {
            rig.broker(&ack(PUBACK, 9));
        }
        rig.connect("pump", true);
        // nothing is sent again
        assert_eq!(rig.client(&ack(PUBREL, 9)), Out::to_main(&ack(PUBREL, 9)));
    }
}

const DEADLINE: Duration = Duration::from_mins(1);

/// A proxy with the store at `path`, and a client whose session goes on or not.
fn start(path: &Path, clean: bool) -> Rig {
    let start = Instant::now();
    let store = loop {
        // the thread of one before may take a moment to end
        match OutboxFile::open(path) {
            Ok(store) => break store,
            Err(error) => assert!(start.elapsed() < DEADLINE, "{error}"),
        }
        thread::sleep(Duration::from_millis(1));
    };
    let mut rig = Rig::with(POLICY, Version::V311, Links::Tcp, |options| options.store(store));
    rig.connect("pump", clean);
    rig
}

/// What goes to the broker, when it is stored.
fn stored(rig: &mut Rig) -> Vec<u8> {
    let start = Instant::now();
    let mut progress = rig.core.keeper.as_ref().unwrap().progress();
    while rig.session.to_main.waiting() > rig.session.to_main.ready().len() {
        assert!(start.elapsed() < DEADLINE, "nothing was stored");
        let done = *progress.borrow_and_update();
        rig.session.reached(done);
        thread::sleep(Duration::from_millis(1));
    }
    drain(&mut rig.session.to_main)
}

#[test]
fn sealed_message_leaves_when_it_is_stored_and_is_the_same_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let mut rig = start(&path, true);
    assert!(rig.client(&publish(Version::V311, 2, "s/a", 9, &[], b"27")).main.is_empty());
    // what follows waits behind it
    let clear = publish(Version::V311, 0, "c/a", 0, &[], b"28");
    assert!(rig.client(&clear).main.is_empty());
    let sent = stored(&mut rig);
    let (first, behind) = sent.split_at(sent.len() - clear.len());
    assert_eq!(behind, clear);
    // acknowledged, but the client did not hear of it
    rig.broker(&ack(PUBACK, 9));
    drop(rig);
    let mut rig = start(&path, true);
    let again = rig.client(&publish(Version::V311, 10, "s/a", 9, &[], b"27")).main;
    assert_eq!(again[1..], first[1..]);
    // an ID that is used for something else is free
    rig.client(&publish(Version::V311, 2, "s/a", 9, &[], b"29"));
    let new = stored(&mut rig);
    assert_ne!(new[1..], first[1..]);
}

#[test]
fn same_message_without_dup_is_a_new_one_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let mut rig = start(&path, false);
    let same = publish(Version::V311, 2, "s/a", 9, &[], b"27");
    rig.client(&same);
    let first = stored(&mut rig);
    rig.broker(&ack(PUBACK, 9));
    drop(rig);
    // the client has started anew as well, and counts its IDs from the beginning
    let mut rig = start(&path, false);
    assert!(rig.client(&same).main.is_empty(), "a receiver would take it for the first one");
    let second = stored(&mut rig);
    let mut peer = Peer::new(POLICY);
    for sent in [first, second] {
        assert_eq!(peer.open(&sent, Version::V311).0, b"27");
    }
}

#[test]
fn client_that_says_no_more_is_given_answers_alone() {
    let mut rig = Rig::connected(POLICY, Version::V311);
    rig.client(&publish(Version::V311, 2, "c/a", 1, &[], b"27"));
    rig.session.client_closed();
    // nobody would acknowledge it
    let brought = publish(Version::V311, 2, "c/b", 9, &[], b"28");
    assert_eq!(rig.broker(&brought), Out::default());
    assert_eq!(rig.broker(&ack(0x62, 8)), Out::default());
    assert_eq!(rig.broker(&ack(PUBACK, 1)), Out::to_client(&ack(PUBACK, 1)));
}

#[test]
fn answer_that_comes_late_ends_no_message_of_the_next_connection() {
    let mut rig = Rig::connected(POLICY, Version::V311);
    rig.client(&publish(Version::V311, 2, "s/a", 1, &[], b"27"));
    rig.session.client_closed();
    let number = rig.session.number;
    let before =
        core::mem::replace(&mut rig.session, Session::new(Arc::clone(&rig.core), number + 1));
    rig.client(&connect(Version::V311, "pump", true, &[]));
    rig.broker(&connack(Version::V311, false, &[]));
    rig.client(&publish(Version::V311, 2, "s/a", 1, &[], b"28"));
    let after = core::mem::replace(&mut rig.session, before);
    rig.broker(&ack(PUBACK, 1));
    rig.session = after;
    let client = rig.session.client.as_ref().unwrap();
    assert_eq!(clients::hold(client).sent.open(), 1);
}
