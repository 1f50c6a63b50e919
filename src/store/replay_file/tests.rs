use super::*;
use crate::guard::Write;
use std::fs::{self, OpenOptions};
use std::string::{String, ToString};
use std::{format, vec};

fn key(n: u8) -> RowKey {
    RowKey::new([n; ROW_KEY_LEN])
}

fn put(n: u8) -> Write {
    Write::Put(key(n), vec![n; 20])
}

/// A log with some rows, not open.
fn filled() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("replay");
    let mut log = ReplayFile::create(&path).unwrap();
    log.write(&[put(1), put(2), put(3), Write::Delete(key(2))]).unwrap();
    (dir, path)
}

fn rows_of_filled() -> Vec<Row> {
    vec![(key(1), vec![1; 20]), (key(3), vec![3; 20])]
}

/// What opening says behind the file's name.
fn complaint(path: &Path) -> String {
    let error = ReplayFile::open(path).unwrap_err().to_string();
    error.strip_prefix(&format!("replay log {} ", path.display())).unwrap().into()
}

const DAMAGED: &str =
    "is damaged: restore it, or create another and accept that recorded messages count as new";
const FOREIGN: &str = "is a file of something else: name another one";

#[test]
fn rows_are_there_after_a_restart() {
    let (_dir, path) = filled();
    assert_eq!(ReplayFile::open(&path).unwrap().rows().unwrap(), rows_of_filled());
}

#[test]
fn writes_are_applied_in_order() {
    let (_dir, path) = filled();
    let mut log = ReplayFile::open(&path).unwrap();
    log.write(&[Write::Delete(key(1)), put(1), put(3), Write::Delete(key(3))]).unwrap();
    assert_eq!(log.rows().unwrap(), [(key(1), vec![1; 20])]);
}

#[test]
fn write_is_in_the_file_when_it_returns() {
    let (dir, path) = filled();
    let mut log = ReplayFile::open(&path).unwrap();
    log.write(&[put(9)]).unwrap();
    // what a power cut would leave
    let copy = dir.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    let rows = ReplayFile::open(&copy).unwrap().rows().unwrap();
    assert_eq!(rows.last(), Some(&(key(9), vec![9; 20])));
}

#[test]
fn missing_file_or_folder_is_named_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("replay");
    let missing =
        "is missing: restore it, or create another and accept that recorded messages count as new";
    assert_eq!(complaint(&path), missing);
    assert!(!path.exists());
    let path = dir.path().join("sub").join("replay");
    assert_eq!(complaint(&path), "has no folder: make or mount that first");
    let error = ReplayFile::create(&path).unwrap_err();
    assert!(matches!(error, ReplayFileError::NoFolder { .. }), "{error}");
}

#[test]
fn creating_twice_is_refused_and_keeps_the_rows() {
    let (_dir, path) = filled();
    let error = ReplayFile::create(&path).unwrap_err().to_string();
    let text = "exists: open it, it keeps recorded messages from being new";
    assert_eq!(error, format!("replay log {} {text}", path.display()));
    assert_eq!(ReplayFile::open(&path).unwrap().rows().unwrap(), rows_of_filled());
}

#[test]
fn second_opener_is_kept_out_until_the_first_is_gone() {
    let (_dir, path) = filled();
    let first = ReplayFile::open(&path).unwrap();
    assert_eq!(complaint(&path), "is in use by another process: stop that one first");
    drop(first);
    ReplayFile::open(&path).unwrap();
}

#[test]
fn file_cut_anywhere_is_damaged() {
    let (_dir, path) = filled();
    let whole = fs::read(&path).unwrap();
    let steps = (0..whole.len()).step_by(whole.len() / 40).chain([8, 9, 320, whole.len() - 1]);
    for len in steps {
        fs::write(&path, &whole[..len]).unwrap();
        assert_eq!(complaint(&path), DAMAGED, "{len} bytes of {}", whole.len());
    }
}

#[test]
fn file_changed_in_a_byte_is_refused_or_means_the_same() {
    let (_dir, path) = filled();
    let whole = fs::read(&path).unwrap();
    let used: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let step = used.len().div_ceil(100);
    let mut refused = 0;
    for at in used.iter().copied().step_by(step) {
        let mut changed = whole.clone();
        changed[at] ^= 0x41;
        fs::write(&path, changed).unwrap();
        match ReplayFile::open(&path) {
            Ok(mut log) => assert_eq!(log.rows().unwrap(), rows_of_filled(), "byte {at}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0);
}

#[test]
fn damaged_row_is_refused() {
    let (_dir, path) = filled();
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(20).rposition(|row| row == [3; 20]).unwrap();
    bytes[at] = 4;
    fs::write(&path, bytes).unwrap();
    assert_eq!(complaint(&path), DAMAGED);
}

#[test]
fn something_else_is_foreign_and_an_empty_file_damaged() {
    let (_dir, path) = filled();
    fs::write(&path, "mqtt-seal counter v1\nsender 5\n").unwrap();
    assert_eq!(complaint(&path), FOREIGN);
    fs::write(&path, "").unwrap();
    assert_eq!(complaint(&path), DAMAGED);
}

#[test]
fn database_of_another_program_is_foreign_and_stays_as_it_is() {
    const THEIRS: TableDefinition<'_, u64, u64> = TableDefinition::new("rows");
    let (_dir, path) = filled();
    fs::write(&path, "").unwrap();
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(THEIRS).unwrap().insert(1, 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert_eq!(complaint(&path), FOREIGN);
    let database = Database::open(&path).unwrap();
    let table = database.begin_read().unwrap().open_table(THEIRS).unwrap();
    assert_eq!(table.get(1).unwrap().unwrap().value(), 2);
}

/// A log whose header says this version.
fn of_version(path: &Path, version: u64) {
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(FORMAT).unwrap().insert(VERSION_NAME, version).unwrap();
    transaction.commit().unwrap();
}

#[test]
fn newer_version_is_named() {
    let (_dir, path) = filled();
    of_version(&path, 2);
    assert_eq!(complaint(&path), "is of version 2: use the library that made it");
    of_version(&path, 0);
    assert_eq!(complaint(&path), DAMAGED);
    of_version(&path, 1);
    ReplayFile::open(&path).unwrap();
}

#[test]
fn folder_is_no_log() {
    let dir = tempfile::tempdir().unwrap();
    let text = "is a link, a folder or a device: name the file itself";
    assert_eq!(complaint(dir.path()), text);
}

#[test]
fn write_after_a_failed_one_is_refused() {
    let error = error::of(Path::new("replay"), redb::Error::PreviousIo).to_string();
    let text = "cannot be read or written, an earlier write failed, open it anew: make room, or \
                check the folder and its permissions";
    assert_eq!(error, format!("replay log replay {text}"));
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn new_file_is_its_owners_alone() {
        let (_dir, path) = filled();
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn file_that_others_have_access_to_is_refused() {
        let (_dir, path) = filled();
        for bits in [0o640, 0o620, 0o604, 0o602, 0o666] {
            fs::set_permissions(&path, PermissionsExt::from_mode(bits)).unwrap();
            let text = format!("is open to others (mode {bits:o}): set its mode to 600");
            assert_eq!(complaint(&path), text);
        }
    }

    #[test]
    fn symbolic_link_is_refused() {
        let (dir, path) = filled();
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(complaint(&link), "is a link, a folder or a device: name the file itself");
        let error = ReplayFile::create(&link).unwrap_err();
        assert!(matches!(error, ReplayFileError::Exists { .. }), "{error}");
    }

    #[test]
    fn file_that_was_exchanged_while_it_was_opened_is_refused() {
        let (dir, path) = filled();
        let other = dir.path().join("other");
        fs::copy(&path, &other).unwrap();
        let opened = OpenOptions::new().read(true).open(&other).unwrap().metadata().unwrap();
        let named = fs::symlink_metadata(&path).unwrap();
        let error = file::check(&path, &named, &opened).unwrap_err();
        assert!(matches!(error, ReplayFileError::NotAFile { .. }), "{error}");
    }
}
