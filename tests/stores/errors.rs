//! What a Guard says to a log that it cannot use.

use mqtt_seal::guard::{LogError, Prefer, ReplayLog, RestoreError, RowKey, Write};

use crate::scene::{Scene, guard, messages, receiver};

/// What taking up a log says whose head row has these bytes, and is otherwise as it was left.
fn complaint(change: impl FnOnce(&mut Vec<u8>)) -> RestoreError {
    let (scene, mut log) = Scene::new();
    let mut rx = receiver(&mut log, Prefer::NoReplay);
    messages(1)[0].open(&mut rx, &mut log).unwrap();
    let head = RowKey::new([0; 17]);
    let rows = log.rows().unwrap();
    let (_, mut value) = rows.into_iter().find(|(key, _)| *key == head).unwrap();
    change(&mut value);
    log.write(&[Write::Put(head, value)]).unwrap();
    drop(log);
    match guard().with_replay_log(&mut scene.log(), Prefer::NoReplay) {
        Err(LogError::Restore(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rows_of_a_newer_version_are_not_taken_up() {
    assert_eq!(complaint(|value| value[0] = 2), RestoreError::NewerVersion);
}

#[test]
fn row_that_is_cut_is_not_taken_up() {
    assert_eq!(complaint(|value| value.truncate(17)), RestoreError::Damaged);
}

#[test]
fn rows_without_their_head_are_not_taken_up() {
    let (_scene, mut log) = Scene::new();
    let mut rx = receiver(&mut log, Prefer::NoReplay);
    messages(1)[0].open(&mut rx, &mut log).unwrap();
    log.write(&[Write::Delete(RowKey::new([0; 17]))]).unwrap();
    let error = guard().with_replay_log(&mut log, Prefer::NoReplay).unwrap_err();
    assert!(matches!(error, LogError::Restore(RestoreError::Damaged)), "{error}");
}
