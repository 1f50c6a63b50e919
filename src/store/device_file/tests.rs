use std::fs;
use std::string::ToString;
use std::vec;

use super::*;

const KEY: &str = "3q2+78r+ur7erb7vyv66vt6tvu/K/rq+3q2+78r+ur4=";
/// Of 32 bytes of 1.
const PIN: &str = "sha256/AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

fn text() -> String {
    format!(
        "realm = \"acme-prod\"\ndevice = \"pump-7\"\nauthority = \"authority\"\n\
         prefix = \"acme\"\nrequest = \"acme/auth/req\"\nresponse = \"acme/auth/pump-7/res\"\n\
         key = \"{KEY}\"\n"
    )
}

/// The same with pins: one in each form.
fn pinned() -> String {
    let pins = format!("pins = [\"{PIN}\", \"{}\"]\nkey = ", "fF".repeat(32));
    text().replace("key = ", &pins)
}

fn complaint(text: &str) -> String {
    DeviceFile::parse(&mut text.into()).unwrap_err().to_string()
}

#[test]
fn file_is_read_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pump-7.toml");
    let file = DeviceFile::parse(&mut text()).unwrap();
    file.write_new(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{HEAD}{}", text()));
    let again = DeviceFile::read(&path).unwrap();
    assert_eq!(again.texts().collect::<Vec<_>>(), file.texts().collect::<Vec<_>>());
    assert_eq!(again.key.expose(), file.key.expose());
}

#[test]
fn pins_are_read_in_both_forms_and_written_in_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pump-7.toml");
    let file = DeviceFile::parse(&mut pinned()).unwrap();
    assert_eq!(file.pins(), [[1; 32], [0xFF; 32]]);
    file.write_new(&path).unwrap();
    let written = pinned().replace(&"fF".repeat(32), &format!("sha256/{}8=", "/".repeat(42)));
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{HEAD}{written}"));
    assert_eq!(DeviceFile::read(&path).unwrap().pins(), file.pins());
}

#[test]
fn file_without_pins_has_none_and_so_has_one_with_an_empty_list() {
    for mut text in [text(), text() + "pins = []\n"] {
        assert!(DeviceFile::parse(&mut text).unwrap().pins().is_empty());
    }
}

#[test]
fn pins_are_as_many_as_an_authority_can_vouch_for() {
    let list = |number| format!("{}pins = [{}]", text(), format!("\"{PIN}\",").repeat(number));
    let file = DeviceFile::parse(&mut list(MAX_PINS)).unwrap();
    assert_eq!(file.pins().len(), MAX_PINS);
    let many = complaint(&list(MAX_PINS + 1));
    let text = "a broker has at most 1926 pins: leave out those of old keys";
    assert_eq!(many, format!("8:{}: {text}", 9 + MAX_PINS * (PIN.len() + 3)));
    let again = file.with_pins(vec![[1; 32]; MAX_PINS + 1]);
    assert_eq!(again.unwrap_err(), DeviceFault::TooManyPins);
}

#[test]
fn file_that_is_there_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pump-7.toml");
    fs::write(&path, "x").unwrap();
    let refused = DeviceFile::parse(&mut text()).unwrap().write_new(&path);
    assert_eq!(refused, Err(WriteKeyFileError::Exists { path: path.clone() }));
    assert_eq!(fs::read_to_string(&path).unwrap(), "x");
}

#[cfg(unix)]
#[test]
fn file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pump-7.toml");
    DeviceFile::parse(&mut text()).unwrap().write_new(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = DeviceFile::read(&path).unwrap_err().to_string();
    assert!(refused.contains("(mode 0640): run chmod 600"), "{refused}");
}

#[test]
fn every_setting_is_needed_and_checked_where_it_stands() {
    for (slip, expected) in [
        (text().replace("realm = \"acme-prod\"\n", ""), "1:1: realm is missing: add realm = …"),
        (text().replace("prefix", "prefx"), "4:1: unknown key: did you mean \"prefix\"?"),
        (
            text().replace("\"pump-7\"\n", "\"a/b\"\n"),
            "2:10: an id is one level of a topic: leave out '/', '+', '#' and U+0000",
        ),
        (
            text().replace("\"authority\"", "\"$a\""),
            "3:13: ids that begin with '$' are reserved: choose another",
        ),
        (
            text().replace("acme/auth/req", "acme/+/req"),
            "5:11: a topic name must not contain '+' or '#'",
        ),
        (
            text().replace("\"acme\"", "7"),
            "4:10: prefix has the wrong type: write a text, as in \"…\"",
        ),
        (
            text().replace(KEY, "AAAA"),
            "7:7: a key has 32 bytes, this one has 3: check that it is whole",
        ),
        (
            pinned().replace(PIN, &PIN[..50]),
            "7:9: this is no pin: write sha256/ and 44 characters of base64, or 64 hexadecimal \
             digits",
        ),
        (
            pinned().replace("fF\"", "fG\""),
            "7:64: this is no pin: write sha256/ and 44 characters of base64, or 64 hexadecimal \
             digits",
        ),
        (
            pinned().replace(&format!("\"{PIN}\""), "7"),
            "7:9: pins has the wrong type: write a list of texts, as in [\"…\", \"…\"]",
        ),
        (
            text() + &format!("pins = \"{PIN}\""),
            "8:8: pins has the wrong type: write a list of texts, as in [\"…\", \"…\"]",
        ),
        (text() + "pin = []", "8:1: unknown key: did you mean \"pins\"?"),
    ] {
        assert_eq!(complaint(&slip), expected);
    }
}

#[test]
fn no_complaint_shows_a_part_of_the_key() {
    let text = pinned();
    for (at, c) in text.char_indices() {
        let (before, behind) = text.split_at(at);
        let rest = &behind[c.len_utf8()..];
        for slip in [before.into(), format!("{before}{rest}"), format!("{before}\"{rest}")] {
            let Err(error) = DeviceFile::parse(&mut slip.clone()) else { continue };
            let shown = format!("{error} {error:?}");
            for window in KEY.as_bytes().windows(6) {
                let piece = core::str::from_utf8(window).unwrap();
                assert!(!shown.contains(piece), "{shown} shows {piece} of {slip}");
            }
        }
    }
}

#[test]
fn debug_prints_no_key_and_the_source_is_wiped() {
    let mut source = text();
    let file = DeviceFile::parse(&mut source).unwrap();
    assert!(source.is_empty());
    assert_eq!(format!("{file:?}"), "DeviceFile { realm: \"acme-prod\", device: \"pump-7\", .. }");
}

#[test]
fn device_of_a_file_has_its_names() {
    let file = DeviceFile::parse(&mut text()).unwrap();
    let names = file.names("broker.example:8883").unwrap();
    assert_eq!(names.request.as_str(), file.request());
    assert_eq!(names.response.as_str(), file.response());
    let parts = [names.device.as_str(), names.authority.as_str(), names.broker.as_str()];
    assert_eq!(vec![file.device(), file.authority(), "broker.example:8883"], parts);
    assert_eq!(file.updates(Some(3)).unwrap().topics().acknowledgements(), "acme/keys/pump-7/ack");
}
