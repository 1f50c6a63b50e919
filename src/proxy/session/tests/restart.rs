//! Replay state in the store, over restarts.

use std::path::Path;

use super::*;
use crate::proxy::row::{self, Row};
use crate::store::outbox_file::OutboxFile;

const V4: Version = Version::V311;

fn start(path: &Path) -> Rig {
    let store = OutboxFile::open(path).unwrap();
    let mut rig = Rig::with(POLICY, V4, Links::Tcp, |options| options.store(store));
    rig.connect("pump", false);
    rig
}

/// Ends a proxy, in good order or not; its store is closed.
fn end(rig: &Rig, clean: bool) {
    if clean {
        rig.core.clients.stop();
    }
    rig.core.keeper.as_ref().unwrap().close();
}

/// Waits until everything is durable, and takes what may leave.
fn settle(rig: &mut Rig) -> Out {
    let mut progress = rig.core.keeper.as_ref().unwrap().progress();
    loop {
        rig.session.reached(*progress.borrow_and_update());
        let Session { to_client, to_main, .. } = &rig.session;
        if [to_client, to_main].iter().all(|out| out.ready().len() == out.waiting()) {
            break;
        }
        std::thread::sleep(core::time::Duration::from_millis(1));
    }
    let Session { to_client, to_main, .. } = &mut rig.session;
    let [client, main] = [to_client, to_main].map(drain);
    Out { client, main, ..Out::default() }
}

/// Brings a message; what leaves when everything is durable.
fn bring(rig: &mut Rig, flags: u8, id: u16, sealed: &[u8]) -> Out {
    bring_on(rig, "s/a", flags, id, sealed)
}

fn bring_on(rig: &mut Rig, topic: &str, flags: u8, id: u16, sealed: &[u8]) -> Out {
    let now = rig.broker(&publish(V4, flags, topic, id, &[], sealed));
    let later = settle(rig);
    Out {
        client: [now.client, later.client].concat(),
        main: [now.main, later.main].concat(),
        ..Out::default()
    }
}

#[test]
fn value_leaves_when_the_store_knows_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = start(&folder.path().join("store"));
    let sealed = Peer::new(POLICY).seal("state/a", b"27");
    let out = rig.broker(&publish(V4, 2, "state/a", 9, &[], &sealed));
    assert!(out.client.is_empty() && rig.session.to_client.waiting() > 0);
    assert_eq!(settle(&mut rig), Out::to_client(&publish(V4, 2, "state/a", 9, &[], b"27")));
}

#[test]
fn broker_hears_of_an_acknowledgement_when_the_store_knows_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = start(&folder.path().join("store"));
    let sealed = Peer::new(POLICY).seal("s/a", b"27");
    bring(&mut rig, 2, 9, &sealed);
    assert!(rig.client(&ack(PUBACK, 9)).main.is_empty());
    assert_eq!(settle(&mut rig), Out::to_main(&ack(PUBACK, 9)));
}

#[test]
fn recorded_message_is_refused_after_a_restart_and_the_next_is_not() {
    for clean in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let mut peer = Peer::new(POLICY);
        let [first, second] = [b"27", b"28"].map(|payload| peer.seal("s/a", payload));
        let mut rig = start(&path);
        assert!(!bring(&mut rig, 2, 9, &first).client.is_empty());
        rig.client(&ack(PUBACK, 9));
        settle(&mut rig);
        end(&rig, clean);
        let mut rig = start(&path);
        assert_eq!(bring(&mut rig, 2, 9, &first), Out::to_main(&ack(PUBACK, 9)), "{clean}");
        assert!(!bring(&mut rig, 2, 10, &second).client.is_empty(), "{clean}");
        end(&rig, clean);
    }
}

#[test]
fn message_that_was_not_acknowledged_comes_again_after_a_restart() {
    for clean in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let sealed = Peer::new(POLICY).seal("s/a", b"27");
        let mut rig = start(&path);
        bring(&mut rig, 2, 9, &sealed);
        end(&rig, clean);
        let mut rig = start(&path);
        let again = publish(V4, 10, "s/a", 9, &[], b"27");
        assert_eq!(bring(&mut rig, 10, 9, &sealed), Out::to_client(&again), "{clean}");
        end(&rig, clean);
    }
}

#[test]
fn release_reaches_a_client_that_took_the_message_before_a_restart() {
    for clean in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let sealed = Peer::new(POLICY).seal("s/a", b"27");
        let mut rig = start(&path);
        assert!(!bring(&mut rig, 4, 9, &sealed).client.is_empty());
        rig.client(&ack(PUBREC, 9));
        settle(&mut rig);
        end(&rig, clean);
        let mut rig = start(&path);
        // the broker did not get PUBREC; the client waits for PUBREL, and delivers then
        assert_eq!(bring(&mut rig, 12, 9, &sealed), Out::to_main(&ack(PUBREC, 9)), "{clean}");
        assert_eq!(rig.broker(&ack(PUBREL, 9)), Out::to_client(&ack(PUBREL, 9)), "{clean}");
        end(&rig, clean);
    }
}

#[test]
fn release_reaches_a_client_that_took_an_older_value_before_a_restart() {
    for clean in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let mut peer = Peer::new(POLICY);
        let mut rig = start(&path);
        let [old, new] = [b"27", b"28"].map(|payload| peer.seal("state/a", payload));
        for (id, sealed) in [(9, &old), (10, &new)] {
            assert!(!bring_on(&mut rig, "state/a", 4, id, sealed).client.is_empty());
        }
        end(&rig, clean);
        let mut rig = start(&path);
        assert_eq!(bring_on(&mut rig, "state/a", 12, 9, &old), Out::to_main(&ack(PUBREC, 9)));
        assert_eq!(rig.broker(&ack(PUBREL, 9)), Out::to_client(&ack(PUBREL, 9)), "{clean}");
        end(&rig, clean);
    }
}

#[test]
fn new_message_after_a_restart_is_no_repetition_of_one_like_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let message = publish(V4, 2, "s/a", 9, &[], b"27");
    let mut rig = start(&path);
    rig.client(&message);
    let first = settle(&mut rig).main;
    rig.broker(&ack(PUBACK, 9));
    end(&rig, true);
    let mut rig = start(&path);
    // its ID is free again, and this is another message of the same contents
    let now = rig.client(&message).main;
    assert_ne!([now, settle(&mut rig).main].concat(), first);
    end(&rig, true);
}

#[test]
fn client_that_leaves_in_good_order_leaves_no_acknowledged_message_in_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let mut rig = start(&path);
    rig.connect("pump", true);
    for id in [8, 9] {
        rig.client(&publish(V4, 2, "s/a", id, &[], b"27"));
    }
    settle(&mut rig);
    rig.broker(&ack(PUBACK, 9));
    rig.client(&[0xE0, 0]);
    end(&rig, true);
    let store = OutboxFile::open(&path).unwrap();
    let rows = store.rows().unwrap();
    let ids: Vec<_> = rows
        .iter()
        .filter_map(|(_, row)| match row::read(0, row) {
            Some(Row::Message(_, id, _)) => Some(id),
            _ => None,
        })
        .collect();
    assert_eq!(ids, [8]);
}

#[test]
fn client_that_was_refused_is_not_served_at_its_next_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let mut rig = start(&path);
    let sealed = Peer::new(POLICY).seal("s/a", b"27");
    bring(&mut rig, 2, 9, &sealed);
    end(&rig, true);
    let store = OutboxFile::open(&path).unwrap();
    let weaker = POLICY.replacen("sealed", "clear", 1);
    let mut rig = Rig::with(&weaker, V4, Links::Tcp, |options| options.store(store));
    for _ in 0..2 {
        rig.renew();
        let refused = rig.give(Side::Client, &connect(V4, "pump", false, &[]));
        assert!(matches!(refused, Err(Ended::Client(_))), "{refused:?}");
    }
    end(&rig, true);
}

#[test]
fn client_without_a_name_leaves_nothing_in_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let mut rig = start(&path);
    rig.connect("", true);
    let sealed = Peer::new(POLICY).seal("s/a", b"27");
    let out = rig.broker(&publish(V4, 0, "s/a", 0, &[], &sealed));
    assert_eq!(out, Out::to_client(&publish(V4, 0, "s/a", 0, &[], b"27")));
    // nobody can send it again
    assert!(!rig.client(&publish(V4, 2, "s/a", 1, &[], b"27")).main.is_empty());
    end(&rig, true);
    let store = OutboxFile::open(&path).unwrap();
    let nameless = |row: &[u8]| match row::read(0, row) {
        Some(Row::Message(id, ..) | Row::Replay(id, ..)) => id.is_empty(),
        _ => false,
    };
    assert!(!store.rows().unwrap().iter().any(|(_, row)| nameless(row)));
}

#[test]
fn client_whose_id_the_broker_chose_leaves_nothing_in_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let mut rig = start(&path);
    rig.version = Version::V5;
    rig.renew();
    rig.client(&connect(Version::V5, "", true, &[]));
    rig.broker(&connack(Version::V5, false, &[vec![0x12], lp(b"auto-1")].concat()));
    assert!(!rig.client(&publish(Version::V5, 2, "s/a", 1, &[], b"27")).main.is_empty());
    end(&rig, true);
    let store = OutboxFile::open(&path).unwrap();
    let is_its = |row: &[u8]| match row::read(0, row) {
        Some(Row::Message(id, ..) | Row::Replay(id, ..)) => id == "auto-1",
        _ => false,
    };
    assert!(!store.rows().unwrap().iter().any(|(_, row)| is_its(row)));
}
