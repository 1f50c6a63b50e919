use super::*;
use std::format;
use std::string::ToString;

fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("updates");
    (dir, path)
}

fn written(state: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let (dir, path) = folder();
    UpdateFile::open(&path).unwrap().write(state).unwrap();
    (dir, path)
}

fn state(path: &Path) -> Option<Vec<u8>> {
    UpdateFile::open(path).unwrap().read().unwrap().map(|state| state.to_vec())
}

#[track_caller]
fn assert_refused(path: &Path, expected: &str) {
    let error = UpdateFile::open(path).unwrap_err().to_string();
    assert_eq!(error, format!("update file {} {expected}", path.display()));
}

#[test]
fn state_is_there_after_a_restart_and_the_last_one_counts() {
    let (_dir, path) = folder();
    assert_eq!(state(&path), None);
    for text in [&b"first"[..], b"", b"third"] {
        UpdateFile::open(&path).unwrap().write(text).unwrap();
        assert_eq!(state(&path).unwrap(), text);
    }
}

#[cfg(unix)]
#[test]
fn file_is_its_owners_alone_and_one_open_to_others_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, path) = written(b"state");
    // who can read a file can lock it
    for file in [&path, &beside(&path, ".lock")] {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_refused(&path, &format!("is open to others (mode {mode:o}): set its mode to 600"));
    }
}

#[cfg(unix)]
#[test]
fn leftover_of_an_interrupted_write_is_replaced_and_its_mode_does_not_stay() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, path) = written(b"old");
    let new = beside(&path, ".new");
    fs::write(&new, b"half of").unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(state(&path).unwrap(), b"old");
    UpdateFile::open(&path).unwrap().write(b"new").unwrap();
    assert_eq!(state(&path).unwrap(), b"new");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!new.exists());
}

#[test]
fn file_that_is_cut_or_changed_is_refused_and_stays() {
    let (_dir, path) = written(b"state");
    let good = fs::read(&path).unwrap();
    let damaged = "is damaged: remove it, and the keys come anew by the next update";
    for len in 0..good.len() {
        fs::write(&path, &good[..len]).unwrap();
        assert_refused(&path, damaged);
    }
    for at in (0..good.len()).filter(|at| *at != FIRST_LINE.len() - 2) {
        let mut bad = good.clone();
        bad[at] ^= 0x80;
        fs::write(&path, &bad).unwrap();
        assert_refused(&path, damaged);
        assert_eq!(fs::read(&path).unwrap(), bad);
    }
    let mut newer = good;
    newer[FIRST_LINE.len() - 2] = b'2';
    fs::write(&path, newer).unwrap();
    assert_refused(&path, "is of a newer version: use the library that made it");
}

#[test]
fn second_process_is_kept_out() {
    let (_dir, path) = folder();
    let store = UpdateFile::open(&path).unwrap();
    assert_refused(&path, "is in use: stop the other process first");
    drop(store);
    UpdateFile::open(&path).unwrap();
}

#[test]
fn folder_in_its_place_is_refused() {
    let (dir, _) = folder();
    let path = dir.path().join("inside");
    fs::create_dir(&path).unwrap();
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    #[cfg(unix)]
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o700);
    fs::set_permissions(&path, permissions).unwrap();
    assert_refused(&path, "is none: name a file");
}

#[test]
fn state_beyond_the_limit_is_not_written() {
    let (_dir, path) = written(b"old");
    let mut store = UpdateFile::open(&path).unwrap();
    let error = store.write(&std::vec![7; 1 << 20]).unwrap_err();
    assert!(matches!(error, UpdateFileError::TooLong { .. }));
    let expected =
        format!("update file {} would exceed 1 MiB: send the device fewer keys", path.display());
    assert_eq!(error.to_string(), expected);
    assert_eq!(store.read().unwrap().unwrap().as_slice(), b"old");
}

#[test]
fn folder_that_cannot_be_written_leaves_the_old_state() {
    let (_dir, path) = written(b"old");
    let mut store = UpdateFile::open(&path).unwrap();
    fs::create_dir(beside(&path, ".new")).unwrap();
    let error = store.write(b"new").unwrap_err();
    assert!(matches!(error, UpdateFileError::Io { .. }), "{error}");
    let remedy = ": make room, or check the folder and its permissions";
    assert!(error.to_string().ends_with(remedy), "{error}");
    assert_eq!(store.read().unwrap().unwrap().as_slice(), b"old");
}

#[test]
fn debug_shows_nothing_of_the_state() {
    let (_dir, path) = written(b"marker");
    let store = UpdateFile::open(&path).unwrap();
    assert!(!format!("{store:?}").contains("marker"));
}
