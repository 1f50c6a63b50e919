//! Acknowledgements and the store.

use super::*;
use crate::proxy::keeper::Mark;
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
fn sealed_message_leaves_when_it_is_stored_and_is_the_same_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let start = || {
        let store = OutboxFile::open(&path).unwrap();
        let mut rig = Rig::with(POLICY, Version::V311, Links::Tcp, |options| options.store(store));
        rig.connect("pump", true);
        rig
    };
    let stored = |rig: &mut Rig| {
        let keeper = rig.core.keeper.as_ref().unwrap();
        let mut progress = keeper.progress();
        let mark = Mark::of(u64::MAX);
        while rig.session.to_main.waiting() > rig.session.to_main.ready().len() {
            let done = *progress.borrow_and_update();
            assert!(done < mark);
            rig.session.reached(done);
            std::thread::sleep(core::time::Duration::from_millis(1));
        }
        drain(&mut rig.session.to_main)
    };
    let mut rig = start();
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
    let mut rig = loop {
        // the thread of the store may take a moment to end
        if OutboxFile::open(&path).is_ok() {
            break start();
        }
    };
    let again = rig.client(&publish(Version::V311, 10, "s/a", 9, &[], b"27")).main;
    assert_eq!(again[1..], first[1..]);
    // an ID that is used for something else is free
    rig.client(&publish(Version::V311, 2, "s/a", 9, &[], b"29"));
    let new = stored(&mut rig);
    assert_ne!(new[1..], first[1..]);
}
