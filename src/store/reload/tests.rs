use super::*;
use std::fs;
use std::string::ToString;

const POLICY: &str = "[[rule]]\ntopics = [\"a/#\"]\npayload = \"sealed\"\n";
const KEYS: &str = "realm = \"r\"\n[[grant]]\ngeneration = 1\nkind = \"shared\"\n\
                    key = \"c2VudGVuY2Ugb2YgdGhpcnR5LXR3byBieXRlcyEhISE=\"\n";

fn read(policy: &str, keys: &str) -> Result<(Policy, Keyring), FilesError> {
    let dir = tempfile::tempdir().unwrap();
    let (of_policy, of_keys) = (dir.path().join("policy.toml"), dir.path().join("keys.toml"));
    fs::write(&of_policy, policy).unwrap();
    fs::write(&of_keys, keys).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&of_keys, fs::Permissions::from_mode(0o600)).unwrap();
    }
    read_files(of_policy, of_keys)
}

#[test]
fn good_files_are_rules_and_keys() {
    let (policy, keyring) = read(POLICY, KEYS).unwrap();
    assert_eq!((policy.rules().len(), keyring.grants().len()), (1, 1));
}

#[test]
fn bad_file_is_named() {
    let error = read("nonsense", "nonsense").unwrap_err();
    assert!(matches!(&error, FilesError::Policy(_)));
    assert!(error.to_string().starts_with("the policy file: "));
    let error = read(POLICY, "nonsense").unwrap_err();
    assert!(matches!(&error, FilesError::Keys(_)) && error.source().is_some());
    assert!(error.to_string().starts_with("the key file: "));
}
