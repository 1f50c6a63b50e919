//! A key file in the place of another, whatever goes wrong.

use super::*;
use std::fs;
use std::path::PathBuf;

struct Place {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    /// A folder with a key file.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        write_new(&path, &fresh()).unwrap();
        Self { _folder: folder, path }
    }

    fn temporary(&self) -> PathBuf {
        self.path.with_file_name("keys.toml.new")
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }

    #[track_caller]
    fn assert_is(&self, file: &KeyFile) {
        assert_eq!(self.bytes(), write::text(file).as_bytes());
        assert!(!self.temporary().exists());
    }
}

fn fresh() -> KeyFile {
    KeyFile::generate("r", &mut getrandom::SysRng).unwrap()
}

#[test]
fn replacing_puts_the_new_file_in_the_place_of_the_old_one() {
    let place = Place::new();
    let mut file = KeyFile::read(&place.path).unwrap();
    file.add_generation(&mut getrandom::SysRng).unwrap();
    replace(&place.path, &file).unwrap();
    place.assert_is(&file);
    assert_eq!(KeyFile::read(&place.path).unwrap().grants().count(), 2);
}

#[test]
fn a_file_that_is_missing_or_open_to_others_is_not_replaced() {
    let place = Place::new();
    let missing = place.path.with_file_name("none.toml");
    assert_eq!(
        replace(&missing, &fresh()).unwrap_err().to_string(),
        format!("{}: there is no such file: check the path", missing.display())
    );
    assert!(!missing.exists());
    let folder = place.path.parent().unwrap();
    assert_eq!(
        replace(folder, &fresh()).unwrap_err().to_string(),
        format!("{}: this is no file: name a file with keys", folder.display())
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let (before, shown) = (place.bytes(), place.path.display());
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o601] {
            fs::set_permissions(&place.path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(
                replace(&place.path, &fresh()).unwrap_err().to_string(),
                format!(
                    "{shown}: others than its owner have access (mode {mode:04o}): \
                     run chmod 600 {shown}"
                )
            );
            assert_eq!(place.bytes(), before);
            assert!(!place.temporary().exists());
        }
    }
}

#[cfg(unix)]
#[test]
fn the_new_file_belongs_to_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    fs::write(place.temporary(), "open to all").unwrap();
    fs::set_permissions(place.temporary(), fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(&place.path, fs::Permissions::from_mode(0o400)).unwrap();
    let file = fresh();
    replace(&place.path, &file).unwrap();
    place.assert_is(&file);
    assert_eq!(fs::metadata(&place.path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[cfg(unix)]
#[test]
fn the_new_file_has_the_owner_of_the_old_one() {
    use std::os::unix::fs::{MetadataExt, chown};
    let place = Place::new();
    // only an administrator can give files away
    if chown(&place.path, Some(65_534), Some(65_534)).is_err() {
        return;
    }
    let file = fresh();
    replace(&place.path, &file).unwrap();
    place.assert_is(&file);
    assert_eq!(fs::metadata(&place.path).unwrap().uid(), 65_534);
}

#[test]
fn a_write_interrupted_anywhere_leaves_the_old_file_and_hinders_no_later_one() {
    let place = Place::new();
    let (before, file) = (place.bytes(), fresh());
    let text = write::text(&file);
    for written in 0..=text.len() {
        // what is there when the power fails before the rename
        fs::write(place.temporary(), &text.as_bytes()[..written]).unwrap();
        assert_eq!(place.bytes(), before);
        assert!(KeyFile::read(&place.path).is_ok());
    }
    replace(&place.path, &file).unwrap();
    place.assert_is(&file);
}

#[test]
fn a_write_that_fails_leaves_the_old_file() {
    let place = Place::new();
    let before = place.bytes();
    // nothing can be written under this name
    fs::create_dir(place.temporary()).unwrap();
    let error = replace(&place.path, &fresh()).unwrap_err();
    assert!(matches!(error, ReplaceKeyFileError::Failed { .. }), "{error}");
    assert_eq!(place.bytes(), before);
    fs::remove_dir(place.temporary()).unwrap();
    let file = fresh();
    replace(&place.path, &file).unwrap();
    place.assert_is(&file);
}

#[cfg(unix)]
#[test]
fn a_link_in_the_way_is_not_followed() {
    let place = Place::new();
    let elsewhere = place.path.with_file_name("elsewhere");
    fs::write(&elsewhere, "mine").unwrap();
    std::os::unix::fs::symlink(&elsewhere, place.temporary()).unwrap();
    let file = fresh();
    replace(&place.path, &file).unwrap();
    place.assert_is(&file);
    assert_eq!(fs::read_to_string(elsewhere).unwrap(), "mine");
}

#[cfg(unix)]
#[test]
fn a_link_to_the_file_stays_one() {
    let place = Place::new();
    let link = place.path.with_file_name("link.toml");
    std::os::unix::fs::symlink(&place.path, &link).unwrap();
    let file = fresh();
    replace(&link, &file).unwrap();
    place.assert_is(&file);
    assert!(fs::symlink_metadata(link).unwrap().is_symlink());
}

#[test]
fn of_many_at_once_one_wins_and_every_reader_sees_a_whole_file() {
    let place = Place::new();
    let files: Vec<_> = (0..4).map(|_| fresh()).collect();
    let done = core::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(core::sync::atomic::Ordering::Relaxed) {
                KeyFile::read(&place.path).unwrap();
            }
        });
        let writers: Vec<_> = files
            .iter()
            .map(|file| scope.spawn(|| (0..8).for_each(|_| replace(&place.path, file).unwrap())))
            .collect();
        let written: Vec<_> =
            writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, core::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap();
        assert!(written.iter().all(Result::is_ok));
    });
    let last = place.bytes();
    assert!(files.iter().any(|file| write::text(file).as_bytes() == last));
    assert!(!place.temporary().exists());
}

#[test]
fn every_error_of_replacing_says_what_to_do() {
    let path = PathBuf::from("keys.toml");
    let kind = std::io::ErrorKind::StorageFull;
    assert_eq!(
        ReplaceKeyFileError::Failed { path: path.clone(), kind }.to_string(),
        "keys.toml: cannot be written, no storage space: check the folder and its permissions"
    );
    assert_eq!(
        ReplaceKeyFileError::NotDurable { path, kind }.to_string(),
        "keys.toml: is replaced, but not safe from a loss of power, no storage space: repeat"
    );
}
