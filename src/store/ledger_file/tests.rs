use std::format;
use std::string::ToString;
use std::vec;

use super::*;
use crate::keyring::ScopeRef;
use crate::secret::SharedKey;
use crate::store::key_file::Share;
use crate::suite::Suite;
use crate::topic::TopicName;
use crate::wire::SenderNumber;

fn settings() -> Settings {
    Settings::new("r", "authority", "p").unwrap()
}

fn device(byte: u8) -> DeviceRow {
    let path = TopicName::parse("plant/a").unwrap().path(2);
    let shares = vec![
        Granted::new(Share::Node(path)),
        Granted::new(Share::Scope(ScopeRef::Path(path), Suite::ChaCha20Poly1305Commit)),
        Granted::new(Share::Scope(ScopeRef::Named("temps"), Suite::ChaCha20Poly1305)),
    ];
    DeviceRow::new(SharedKey::take(&mut [byte; 32]), shares, byte.is_multiple_of(2), 17)
}

fn ledger() -> (tempfile::TempDir, LedgerFile) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = LedgerFile::create(dir.path().join("ledger"), settings()).unwrap();
    (dir, ledger)
}

const ORDER: Rotation = Rotation { past: 3, ordered: 9, patience: 70, retire: 60 };

fn progress() -> Progress {
    Progress {
        serial: 300,
        digest: [7; DIGEST_LEN],
        offered: 4,
        offered_keys: [5; DIGEST_LEN],
        offered_sender: SenderNumber::new(0),
        acknowledged: 299,
        known: 3,
        known_keys: [6; DIGEST_LEN],
        known_sender: None,
        seen: 1_800_000_000_000,
    }
}

#[test]
fn device_is_there_as_it_was_enrolled() {
    let (_dir, ledger) = ledger();
    for byte in [1, 2] {
        ledger.enrol(&format!("d{byte}"), &device(byte)).unwrap();
    }
    let found = LedgerFile::open(ledger.path()).unwrap().devices().unwrap();
    for ((id, row, progress), byte) in found.iter().zip([1, 2]) {
        let expected = device(byte);
        assert_eq!(*id, format!("d{byte}"));
        assert_eq!(row.key.expose(), expected.key.expose());
        assert_eq!(row.shares, expected.shares);
        assert_eq!((row.compact, row.revoked, row.enrolled), (byte == 2, false, 17));
        assert_eq!(*progress, Progress::default());
    }
    assert_eq!(found.len(), 2);
}

#[test]
fn id_is_given_once_whatever_became_of_the_device() {
    let (_dir, ledger) = ledger();
    ledger.enrol("d", &device(1)).unwrap();
    ledger.revoke("d", ORDER).unwrap();
    let error = ledger.enrol("d", &device(2)).unwrap_err().to_string();
    assert_eq!(error, "d is in the ledger, and ids are used once: choose another");
    assert_eq!(ledger.devices().unwrap()[0].1.key.expose(), &[1; 32]);
}

#[test]
fn devices_are_enrolled_together_or_not_at_all() {
    let (_dir, ledger) = ledger();
    let rows = [device(1), device(2)];
    for bad in ["d", "a/b"] {
        let error = ledger.enrol_all([("d", &rows[0]), (bad, &rows[1])]).unwrap_err();
        assert!(error.to_string().contains(bad), "{error}");
        assert!(ledger.devices().unwrap().is_empty());
    }
    ledger.enrol_all([("d", &rows[0]), ("e", &rows[1])]).unwrap();
    assert_eq!(ledger.devices().unwrap().len(), 2);
}

#[test]
fn revocation_and_its_rotation_are_one_write() {
    let (_dir, ledger) = ledger();
    ledger.enrol("d", &device(1)).unwrap();
    ledger.revoke("d", ORDER).unwrap();
    assert!(ledger.devices().unwrap()[0].1.revoked);
    assert_eq!(ledger.rotation().unwrap(), Some(ORDER));
    let error = ledger.revoke("e", ORDER).unwrap_err().to_string();
    assert_eq!(error, "no device is called e: name one of the ledger");
}

#[test]
fn later_order_does_not_bring_back_what_a_revoked_device_has() {
    let (_dir, ledger) = ledger();
    ledger.enrol("d", &device(1)).unwrap();
    ledger.revoke("d", ORDER).unwrap();
    let later = Rotation { past: 2, ordered: 11, patience: 1, retire: 2 };
    ledger.rotate(later).unwrap();
    assert_eq!(ledger.rotation().unwrap(), Some(Rotation { past: 3, ..later }));
}

#[test]
fn second_authority_is_refused_until_the_first_is_gone() {
    let (_dir, ledger) = ledger();
    let claim = ledger.claim().unwrap();
    let again = LedgerFile::open(ledger.path()).unwrap();
    let refused = again.claim().unwrap_err().to_string();
    let path = ledger.path().display();
    let expected = format!("ledger {path} has an authority that runs: stop that one first");
    assert_eq!(refused, expected);
    drop(claim);
    again.claim().unwrap();
}

#[test]
fn claim_sees_every_change_of_others_and_none_of_its_own() {
    let (_dir, ledger) = ledger();
    let claim = ledger.claim().unwrap();
    let mut before = claim.changes().unwrap();
    claim.write(&Changes { stamp: Some(9), ..Changes::default() }).unwrap();
    assert_eq!(claim.changes().unwrap(), before);
    let steps: [&dyn Fn(); 3] =
        [&|| ledger.enrol("d", &device(1)).unwrap(), &|| ledger.rotate(ORDER).unwrap(), &|| {
            ledger.revoke("d", ORDER).unwrap();
        }];
    for step in steps {
        step();
        assert!(claim.changes().unwrap() > before);
        before = claim.changes().unwrap();
    }
}

#[cfg(unix)]
#[test]
fn claim_without_its_lock_file_is_none() {
    let (_dir, ledger) = ledger();
    let claim = ledger.claim().unwrap();
    let path = lock_path(ledger.path());
    let spoils: [&dyn Fn(); 2] = [&|| fs::remove_file(&path).unwrap(), &|| {
        // what others change is told by another file now
        ledger.rotate(ORDER).unwrap();
    }];
    for spoil in spoils {
        spoil();
        let error = claim.changes().unwrap_err().to_string();
        let expected = "has lost its lock file, by which others are heard of: start again";
        assert!(error.ends_with(expected), "{error}");
    }
    ledger.claim().unwrap().changes().unwrap();
}

#[test]
fn what_an_authority_wrote_is_there_for_the_next() {
    let (_dir, ledger) = ledger();
    ledger.enrol("d", &device(1)).unwrap();
    let changes =
        Changes { progress: vec![("d".into(), progress())], stamp: Some(9), sealing: None };
    ledger.claim().unwrap().write(&changes).unwrap();
    let loaded = ledger.claim().unwrap().load().unwrap();
    assert_eq!(loaded.devices[0].2, progress());
    assert_eq!(loaded.stamp, 9);
}

#[test]
fn order_is_taken_away_by_what_carries_it_out_alone() {
    let (_dir, ledger) = ledger();
    ledger.rotate(ORDER).unwrap();
    let claim = ledger.claim().unwrap();
    for (sealing, left) in [(3, Some(ORDER)), (4, None)] {
        claim.write(&Changes { sealing: Some(sealing), ..Changes::default() }).unwrap();
        assert_eq!(ledger.rotation().unwrap(), left);
    }
}

#[test]
fn rows_are_read_whole_or_not_at_all() {
    type Check = fn(&[u8]) -> bool;
    let rows: [(Vec<u8>, Check); 3] = [
        (device(2).encode().to_vec(), |bytes| DeviceRow::decode(bytes).is_some()),
        (progress().encode(), |bytes| Progress::decode(bytes).is_some()),
        (ORDER.encode(), |bytes| Rotation::decode(bytes).is_some()),
    ];
    for (bytes, is_read) in rows {
        assert!(is_read(&bytes));
        assert!(!is_read(&[&bytes[..], &[0]].concat()));
        for len in 0..bytes.len() {
            assert!(!is_read(&bytes[..len]), "{len}");
        }
    }
    assert_eq!(Progress::decode(&progress().encode()), Some(progress()));
    // as it was before there were digests of keys
    let mut before = progress().encode();
    before[0] = 0x88;
    before.truncate(before.len() - 2 * (DIGEST_LEN + 2));
    let (offered_keys, known_keys) = ([0; DIGEST_LEN], [0; DIGEST_LEN]);
    let expected = Progress { offered_keys, known_keys, ..progress() };
    assert_eq!(Progress::decode(&before), Some(expected));
    assert_eq!(Rotation::decode(&ORDER.encode()), Some(ORDER));
}

#[cfg(unix)]
#[test]
fn file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, ledger) = ledger();
    drop(ledger.claim().unwrap());
    for path in [ledger.path().into(), lock_path(ledger.path())] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    fs::set_permissions(ledger.path(), fs::Permissions::from_mode(0o640)).unwrap();
    let error = LedgerFile::open(ledger.path()).unwrap_err().to_string();
    assert!(error.ends_with("is open to others (mode 640): set its mode to 600"), "{error}");
}

#[test]
fn file_of_something_else_is_refused_with_the_reason() {
    let (dir, ledger) = ledger();
    let complaint = |path: &Path| {
        let error = LedgerFile::open(path).unwrap_err().to_string();
        let name = format!("ledger {} ", path.display());
        error.strip_prefix(&name).unwrap().to_string()
    };
    let other = dir.path().join("other");
    assert_eq!(complaint(&other), "is missing: check the path, or make one");
    drop(crate::store::replay_file::ReplayFile::create(&other).unwrap());
    assert_eq!(complaint(&other), "is a file of something else: name another one");
    fs::write(ledger.path(), [0; 9]).unwrap();
    assert_eq!(complaint(ledger.path()), "is a file of something else: name another one");
    fs::write(ledger.path(), b"redb").unwrap();
    assert_eq!(complaint(ledger.path()), "is damaged: enrol the devices anew, in another one");
    let exists = LedgerFile::create(ledger.path(), settings()).unwrap_err().to_string();
    assert!(exists.ends_with(" exists: go on with it, or name another file"), "{exists}");
    #[cfg(unix)]
    {
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&other, &link).unwrap();
        assert_eq!(complaint(&link), "is a link, a folder or a device: name the file itself");
    }
}

#[test]
fn disk_that_is_full_is_told_with_what_to_do() {
    let error = std::io::Error::from(std::io::ErrorKind::StorageFull);
    assert_eq!(
        LedgerFileError::io(Path::new("ledger"), error).to_string(),
        "ledger ledger cannot be read or written, no storage space: make room, or check the folder \
         and its permissions"
    );
}

#[test]
fn settings_are_checked() {
    let complaint = |realm: &str, authority: &str, prefix: &str| {
        Settings::new(realm, authority, prefix).unwrap_err().to_string()
    };
    let reserved = "the authority's id: ids that begin with '$' are reserved: choose another";
    assert_eq!(complaint("r", "$a", "p"), reserved);
    let wildcard = "the prefix of topics: a topic name must not contain '+' or '#'";
    assert_eq!(complaint("r", "a", "p/#"), wildcard);
    assert!(complaint(&"r".repeat(65), "a", "p").contains("64"));
}

#[test]
fn names_that_brokers_close_connections_for_are_refused() {
    let (_dir, ledger) = ledger();
    for bad in ["a\n", "\u{1b}[31m", "\u{7f}", "\u{85}", "a\u{fdd0}", "\u{ffff}", "\u{1fffe}b"] {
        let refused = ledger.enrol(bad, &device(1)).unwrap_err().to_string();
        assert!(refused.contains("choose another"), "{refused}");
        assert!(!refused.contains(bad), "{refused}");
        for [id, prefix] in [[bad, "p"], ["a", bad]] {
            let refused = Settings::new("r", id, prefix).unwrap_err().to_string();
            assert!(refused.contains("control"), "{refused}");
        }
    }
    assert!(ledger.devices().unwrap().is_empty());
    ledger.enrol("Pumpe ü \u{fdcf}\u{fffd}", &device(1)).unwrap();
}

#[test]
fn topics_of_devices_are_told_apart() {
    let settings = settings();
    assert_eq!(settings.acknowledged_by("p/keys/d/ack"), Some("d"));
    for topic in ["p/keys/d", "p/keys/d/e/ack", "q/keys/d/ack", "p/keys//d/ack", "pp/keys/d/ack"] {
        assert_eq!(settings.acknowledged_by(topic), None, "{topic}");
    }
}

#[test]
fn debug_prints_no_key() {
    let printed = format!("{:?}", device(0xAB));
    assert!(printed.contains("SharedKey(..)") && !printed.contains("171"), "{printed}");
}
