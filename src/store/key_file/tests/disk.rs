//! Files that are read and made.

use super::*;
use crate::session::{Entropy, NoEntropy};
use std::{fs, io};

#[test]
fn read_names_what_is_wrong_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    let shown = path.display();
    let error = || read(&path).unwrap_err().to_string();
    assert_eq!(error(), format!("{shown}: there is no such file: check the path"));
    let file = KeyFile::generate("r", &mut getrandom::SysRng).unwrap();
    write_new(&path, &file).unwrap();
    let handle = fs::OpenOptions::new().write(true).open(&path).unwrap();
    handle.set_len(MAX_FILE_LEN).unwrap();
    assert!(error().starts_with(&format!("{shown}:8:1: this is not TOML")), "{}", error());
    handle.set_len(MAX_FILE_LEN + 1).unwrap();
    assert_eq!(error(), format!("{shown}: a key file has at most 1048576 bytes: check the path"));
    handle.set_len(0).unwrap();
    assert_eq!(error(), format!("{shown}:1:1: realm is missing: add realm = …"));
    fs::write(&path, b"realm = \"\xff\"").unwrap();
    assert_eq!(error(), format!("{shown}:1:10: this is not UTF-8: save the file as UTF-8 text"));
    assert_eq!(
        read(folder.path()).unwrap_err().to_string(),
        format!("{}: this is no file: name a file with keys", folder.path().display())
    );
    assert_eq!(
        KeyFileError::unreadable(&path, &io::ErrorKind::PermissionDenied.into()).to_string(),
        format!("{shown}: cannot be read, permission denied: check who owns the file")
    );
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_use_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    let shown = path.display();
    write_new(&path, &KeyFile::generate("r", &mut getrandom::SysRng).unwrap()).unwrap();
    for mode in (0o400..=0o777_u32).filter(|mode| mode & 0o700 >= 0o400) {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        match read(&path) {
            Ok(_) => assert_eq!(mode & 0o077, 0, "{mode:o}"),
            Err(error) => {
                assert_ne!(mode & 0o077, 0, "{mode:o}");
                assert_eq!(
                    error.to_string(),
                    format!(
                        "{shown}: others than its owner have access (mode {mode:04o}): \
                         run chmod 600 {shown}"
                    )
                );
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn a_new_file_belongs_to_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    write_new(&path, &KeyFile::generate("r", &mut getrandom::SysRng).unwrap()).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_file_that_exists_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    fs::write(&path, "mine").unwrap();
    let file = KeyFile::generate("r", &mut getrandom::SysRng).unwrap();
    assert_eq!(
        write_new(&path, &file).unwrap_err().to_string(),
        format!(
            "{}: there is such a file already, and it was not touched: choose another name",
            path.display()
        )
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    let path = folder.path().join("no/keys.toml");
    assert_eq!(
        write_new(&path, &file).unwrap_err().to_string(),
        format!(
            "{}: cannot be written, entity not found: check the folder and its permissions",
            path.display()
        )
    );
}

#[test]
fn a_generated_file_reads_back_as_the_same_keyring() {
    let folder = tempfile::tempdir().unwrap();
    for (index, realm) in
        ["acme-prod", "", "a\"b'\\\n\u{1}é", "é".repeat(32).as_str()].into_iter().enumerate()
    {
        let path = folder.path().join(format!("{index}.toml"));
        let file = KeyFile::generate(realm, &mut getrandom::SysRng).unwrap();
        write_new(&path, &file).unwrap();
        let scope = ScopeRef::Named("n");
        let read = read(&path).unwrap();
        assert_eq!(kids(&read, scope), kids(&file.keyring(), scope), "{realm:?}");
        assert_eq!(format!("{file:?}"), format!("KeyFile {{ realm: {realm:?}, .. }}"));
    }
}

#[test]
fn two_generated_keys_differ() {
    let [a, b] = [(); 2].map(|()| KeyFile::generate("r", &mut getrandom::SysRng).unwrap());
    let scope = ScopeRef::Named("n");
    assert_ne!(kids(&a.keyring(), scope), kids(&b.keyring(), scope));
}

#[test]
fn generate_refuses_a_wrong_realm_and_a_broken_generator() {
    struct Broken;
    impl Entropy for Broken {
        fn fill(&mut self, _: &mut [u8; 32]) -> Result<(), NoEntropy> {
            Err(NoEntropy)
        }
    }
    let error = |realm: &str| KeyFile::generate(realm, &mut Broken).unwrap_err();
    assert_eq!(
        error(&"r".repeat(65)).to_string(),
        "a realm has at most 64 bytes, this one has 65: shorten it"
    );
    assert_eq!(error("\0").to_string(), "a realm must not contain U+0000: remove it");
    assert_eq!(error("r"), GenerateError::NoEntropy(NoEntropy));
    assert_eq!(error("r").to_string(), NoEntropy.to_string());
}
