//! Receivers on a replay log in a file: stopped, killed, copied, and two at a time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::format_collect,
    reason = "a test fails by panicking"
)]

#[path = "stores/errors.rs"]
mod errors;
#[path = "stores/kill.rs"]
mod kill;
#[path = "stores/restarts.rs"]
mod restarts;
#[path = "stores/scene.rs"]
mod scene;
#[path = "stores/verdicts.rs"]
mod verdicts;

use mqtt_seal::guard::{Prefer, ReplayLog};
use mqtt_seal::replay::{Rejected, Verdict};
use mqtt_seal::store::replay_file::{ReplayFile, ReplayFileError};

use scene::{Scene, messages, receiver, values};

const NEW: Result<Verdict, Rejected> = Ok(Verdict::New);

#[test]
fn cleanly_stopped_receiver_goes_on_exactly() {
    let (scene, mut log) = Scene::new();
    let mut rx = receiver(&mut log, Prefer::NoReplay);
    let messages = messages(10);
    // 7 is missing when it stops
    for at in [0, 1, 2, 3, 4, 5, 6, 8] {
        assert_eq!(messages[at].open(&mut rx, &mut log), NEW);
    }
    log.write(&rx.stop()).unwrap();
    drop(log);

    let mut log = scene.log();
    let mut rx = receiver(&mut log, Prefer::NoReplay);
    for at in [0, 1, 2, 3, 4, 5, 6, 8] {
        assert_eq!(messages[at].open(&mut rx, &mut log), Err(Rejected::Duplicate), "{at}");
    }
    assert_eq!(messages[7].open(&mut rx, &mut log), NEW);
    assert_eq!(messages[9].open(&mut rx, &mut log), NEW);
}

#[test]
fn crashed_receiver_refuses_what_it_may_have_delivered() {
    let (scene, mut log) = Scene::new();
    let mut rx = receiver(&mut log, Prefer::NoReplay);
    let messages = messages(70);
    assert_eq!(messages[0].open(&mut rx, &mut log), NEW);
    drop(log);

    let mut log = scene.log();
    let mut rx = receiver(&mut log, Prefer::NoReplay);
    // the lease of counter 0 ends behind 64
    for message in &messages[..65] {
        assert_eq!(message.open(&mut rx, &mut log), Err(Rejected::TooOld));
    }
    for message in &messages[65..] {
        assert_eq!(message.open(&mut rx, &mut log), NEW);
    }
}

#[test]
fn crashed_receiver_that_prefers_no_loss_refuses_nothing_undelivered() {
    let (scene, mut log) = Scene::new();
    let mut rx = receiver(&mut log, Prefer::NoLoss);
    let messages = messages(70);
    assert_eq!(messages[0].open(&mut rx, &mut log), NEW);
    drop(log);

    let mut log = scene.log();
    let mut rx = receiver(&mut log, Prefer::NoLoss);
    assert_eq!(messages[0].open(&mut rx, &mut log), Err(Rejected::TooOld));
    for message in &messages[1..] {
        assert_eq!(message.open(&mut rx, &mut log), NEW);
    }
}

#[test]
fn value_of_a_latest_topic_survives_a_crash_and_is_not_rolled_back() {
    let (scene, mut log) = Scene::new();
    let mut rx = receiver(&mut log, Prefer::NoReplay);
    let values = values(3);
    assert_eq!(values[1].open(&mut rx, &mut log), NEW);
    drop(log);

    let mut log = scene.log();
    let mut rx = receiver(&mut log, Prefer::NoReplay);
    assert_eq!(values[0].open(&mut rx, &mut log), Err(Rejected::Stale));
    assert_eq!(values[1].open(&mut rx, &mut log), Err(Rejected::Duplicate));
    assert_eq!(values[2].open(&mut rx, &mut log), NEW);
}

#[test]
fn copy_of_a_file_in_use_knows_what_was_delivered_before_it() {
    let (scene, mut log) = Scene::new();
    let mut rx = receiver(&mut log, Prefer::NoReplay);
    let messages = messages(200);
    for message in &messages[..100] {
        assert_eq!(message.open(&mut rx, &mut log), NEW);
    }
    let copy = scene.copy();
    assert_eq!(messages[100].open(&mut rx, &mut log), NEW, "the original goes on");

    let mut log = ReplayFile::open(copy).unwrap();
    let mut rx = receiver(&mut log, Prefer::NoReplay);
    for message in &messages[..100] {
        assert_eq!(message.open(&mut rx, &mut log), Err(Rejected::TooOld));
    }
    assert_eq!(messages[199].open(&mut rx, &mut log), NEW);
}

/// What the documentation of [`ReplayFile`] says that it cannot do.
#[test]
fn file_that_was_rolled_back_lets_later_messages_through_again() {
    let (scene, mut log) = Scene::new();
    let mut rx = receiver(&mut log, Prefer::NoReplay);
    let messages = messages(200);
    assert_eq!(messages[0].open(&mut rx, &mut log), NEW);
    let copy = scene.copy();
    assert_eq!(messages[150].open(&mut rx, &mut log), NEW);
    drop(log);

    std::fs::rename(copy, scene.path()).unwrap();
    let mut log = scene.log();
    let mut rx = receiver(&mut log, Prefer::NoReplay);
    assert_eq!(messages[0].open(&mut rx, &mut log), Err(Rejected::TooOld));
    assert_eq!(messages[150].open(&mut rx, &mut log), NEW);
}

#[test]
fn two_logs_of_one_receiver_do_not_mix() {
    let (_one, mut log) = Scene::new();
    let (two, mut other) = Scene::new();
    let mut rx = receiver(&mut log, Prefer::NoReplay);
    let messages = messages(1);
    assert_eq!(messages[0].open(&mut rx, &mut log), NEW);
    let mut rx = receiver(&mut other, Prefer::NoReplay);
    assert_eq!(messages[0].open(&mut rx, &mut other), NEW);
    let error = ReplayFile::open(two.path()).unwrap_err();
    assert!(matches!(error, ReplayFileError::InUse { .. }), "{error}");
}
