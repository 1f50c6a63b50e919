//! Changes of a key file: one at a time, whole or not at all, the old file kept. Knows no command.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mqtt_seal::store::key_file::{self, KeyFile};

use crate::fault::Fault;
use crate::moment;

/// Changes the key file at `path` by `edit`, and returns what that gave and where the old file is
/// kept. Changes by other processes wait, so that no number is given twice. On an error the file is
/// as it was.
pub(crate) fn change<T>(
    path: &Path,
    edit: impl FnOnce(&mut KeyFile) -> Result<T, Fault>,
) -> Result<(T, PathBuf), Fault> {
    let read = |path: &Path| KeyFile::read(path);
    // before anything is created beside a file that is not there
    read(path).map_err(|error| Fault::told(&error, "check the path"))?;
    let target = fs::canonicalize(path).map_err(|error| refused(path, &error))?;
    let _lock =
        key_file::lock(&target).map_err(|error| refused(&beside(&target, "lock"), &error))?;
    let mut file = read(path).map_err(|error| Fault::told(&error, "check the path"))?;
    let outcome = edit(&mut file)?;
    let backup = backup(&target, moment::now_ms())?;
    key_file::replace(path, &file).map_err(|error| Fault::told(&error, "check the folder"))?;
    Ok((outcome, backup))
}

/// Keeps the file under a second name, with the time in it: `moment`, in Unix milliseconds, or the
/// first one from then on that no other backup has. It is the same file, so its owner alone can
/// read it still, and no key is copied.
fn backup(target: &Path, mut moment: u64) -> Result<PathBuf, Fault> {
    loop {
        let path = beside(target, &format!("{}.bak", moment::stamp(moment)?));
        match fs::hard_link(target, &path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                moment = moment.saturating_add(1);
            }
            Err(error) => return Err(refused(&path, &error)),
        }
    }
}

fn beside(target: &Path, extension: &str) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

fn refused(path: &Path, error: &io::Error) -> Fault {
    let what = format!("{}: cannot be written, {}", path.display(), error.kind());
    Fault::new(what, "check the folder and its permissions")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_of_the_same_moment_have_different_names_in_the_order_of_time() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("keys.toml");
        let at_once: Vec<_> = (0..3)
            .map(|number| {
                fs::write(&target, number.to_string()).unwrap();
                let path = backup(&target, 1_806_537_599_999).unwrap();
                fs::remove_file(&target).unwrap();
                path
            })
            .collect();
        let mut sorted = at_once.clone();
        sorted.sort();
        assert_eq!(sorted, at_once);
        let kept: Vec<_> = at_once.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        assert_eq!(kept, ["0", "1", "2"]);
    }
}
