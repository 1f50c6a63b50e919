use super::*;
use std::vec;

fn row(number: u64, bytes: &[u8]) -> NumberedRow {
    (number, Zeroizing::new(bytes.to_vec()))
}

fn added(rows: Vec<NumberedRow>) -> Batch {
    Batch { add: rows, remove: Vec::new() }
}

fn removed(numbers: &[u64]) -> Batch {
    Batch { add: Vec::new(), remove: numbers.to_vec() }
}

fn numbers(outbox: &OutboxFile) -> Vec<u64> {
    outbox.rows().unwrap().into_iter().map(|(number, _)| number).collect()
}

fn temporary() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox");
    (folder, path)
}

#[test]
fn rows_come_back_in_order_after_a_restart() {
    let (_folder, path) = temporary();
    let rows = vec![row(2, b"b"), row(300, b""), row(1, b"a")];
    OutboxFile::open(&path).unwrap().write(&added(rows)).unwrap();
    let outbox = OutboxFile::open(&path).unwrap();
    assert_eq!(outbox.rows().unwrap(), [row(1, b"a"), row(2, b"b"), row(300, b"")]);
    outbox.write(&removed(&[2])).unwrap();
    drop(outbox);
    assert_eq!(numbers(&OutboxFile::open(&path).unwrap()), [1, 300]);
}

#[test]
fn what_was_written_is_in_a_copy_of_the_running_file() {
    let (folder, path) = temporary();
    let outbox = OutboxFile::open(&path).unwrap();
    for number in 0..50 {
        outbox.write(&added(vec![row(number, &[7; 300])])).unwrap();
        // as a process that is killed leaves it
        let copy = folder.path().join("copy");
        fs::copy(&path, &copy).unwrap();
        assert_eq!(numbers(&OutboxFile::open(&copy).unwrap()), (0..=number).collect::<Vec<_>>());
    }
}

#[test]
fn row_under_another_number_is_damage() {
    let (_folder, path) = temporary();
    let outbox = OutboxFile::open(&path).unwrap();
    let transaction = outbox.database.begin_write().unwrap();
    let stored = with_check(1, b"text");
    transaction.open_table(ROWS).unwrap().insert(2, stored.as_slice()).unwrap();
    transaction.commit().unwrap();
    assert!(matches!(outbox.rows(), Err(OutboxFileError::Damaged { .. })));
}

#[test]
fn file_of_a_newer_version_is_named() {
    let (_folder, path) = temporary();
    let outbox = OutboxFile::open(&path).unwrap();
    let transaction = outbox.database.begin_write().unwrap();
    transaction.open_table(FORMAT).unwrap().insert(VERSION_NAME, 2).unwrap();
    transaction.commit().unwrap();
    drop(outbox);
    let error = OutboxFile::open(&path).unwrap_err();
    assert!(matches!(error, OutboxFileError::NewerVersion { version: 2, .. }), "{error}");
}

#[test]
fn database_of_another_program_is_foreign() {
    let (_folder, path) = temporary();
    let file = create_private(&path).unwrap();
    let backend = FileBackend::new(file).unwrap();
    let database = redb::Builder::new().create_with_backend(backend).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(ROWS).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = OutboxFile::open(&path).unwrap_err();
    assert!(matches!(error, OutboxFileError::Foreign { .. }), "{error}");
}
