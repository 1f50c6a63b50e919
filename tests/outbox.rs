//! What becomes of an outbox file that is not as it was left: named errors, and nothing emptied.
#![cfg(feature = "store")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mqtt_seal::store::outbox_file::{OutboxFile, OutboxFileError};

fn outbox() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox");
    OutboxFile::open(&path).unwrap();
    (folder, path)
}

fn error(path: &Path) -> String {
    OutboxFile::open(path).unwrap_err().to_string()
}

fn says(path: &Path, what: &str) {
    assert_eq!(error(path), format!("outbox file {} {what}", path.display()));
}

#[test]
fn new_file_is_its_owners_alone() {
    let (folder, path) = outbox();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // nothing is left beside it
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn file_that_others_may_read_is_refused() {
    let (_folder, path) = outbox();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    says(&path, "is open to others (mode 640): set its mode to 600");
}

#[test]
fn second_user_is_kept_out() {
    let (_folder, path) = outbox();
    let open = OutboxFile::open(&path).unwrap();
    says(&path, "is in use: stop the other process first");
    drop(open);
    OutboxFile::open(&path).unwrap();
}

#[test]
fn cut_file_is_damaged_at_every_length_and_stays_as_it_is() {
    let (_folder, path) = outbox();
    let whole = fs::read(&path).unwrap();
    let step = whole.len() / 64;
    for len in (0..16).chain((16..whole.len()).step_by(step.max(1))) {
        fs::write(&path, &whole[..len]).unwrap();
        let opened = OutboxFile::open(&path);
        assert!(matches!(opened, Err(OutboxFileError::Damaged { .. })), "{len}: {opened:?}");
        assert!(fs::metadata(&path).unwrap().len() > 0 || len == 0);
    }
    fs::write(&path, &whole[..0]).unwrap();
    says(&path, "is damaged: remove it to give up the messages in it");
}

#[test]
fn file_of_something_else_is_foreign_and_stays_as_it_is() {
    let (_folder, path) = outbox();
    let text = b"these are my notes, not an outbox";
    fs::write(&path, text).unwrap();
    says(&path, "is none: name another file");
    assert_eq!(fs::read(&path).unwrap(), text);
}

#[test]
fn folder_and_missing_folder_are_named() {
    let (folder, _) = outbox();
    let inside = folder.path().join("missing").join("outbox");
    assert!(error(&inside).contains("cannot be used, "));
    assert!(matches!(OutboxFile::open(folder.path()), Err(OutboxFileError::Io { .. })));
}
