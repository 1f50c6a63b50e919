//! What an authority remembers: numbers that nobody is given twice, and ages.

use super::*;

fn authority() -> KeyFile {
    KeyFile::generate("r", &mut getrandom::SysRng).unwrap()
}

/// The file as it is after a restart.
fn read_again(file: &KeyFile) -> KeyFile {
    let mut text = write::text(file);
    KeyFile::parse(&mut text).unwrap()
}

#[test]
fn sender_numbers_are_never_given_twice() {
    let mut file = authority();
    let mut given = Vec::new();
    for device in ["a", "b", "a", "c"] {
        given.push(file.allot(device).unwrap().get());
        file = read_again(&file);
    }
    assert_eq!(given, [0, 1, 2, 3]);
    assert_eq!(file.sender_of("a"), SenderNumber::new(2));
    assert_eq!(file.sender_of("d"), None);
}

#[test]
fn numbers_stay_given_when_their_generation_is_erased() {
    let mut file = authority();
    file.allot("a").unwrap();
    file.add_generation(&mut getrandom::SysRng).unwrap();
    file.set_state(1, State::Retiring { not_after: None }).unwrap();
    file.set_state(2, State::Active).unwrap();
    file.erase(1).unwrap();
    assert_eq!(read_again(&file).allot("b").unwrap().get(), 1);
}

#[test]
fn the_number_of_the_holder_is_given_to_nobody() {
    let mut text = granted("kind = \"shared\"\nsender = 41");
    let mut file = KeyFile::parse(&mut text).unwrap();
    assert_eq!(file.allot("a").unwrap().get(), 42);
}

#[test]
fn the_last_number_is_followed_by_none() {
    let last = format!("kind = \"shared\"\nsender = {}", SenderNumber::MAX);
    let mut file = KeyFile::parse(&mut granted(&last)).unwrap();
    assert_eq!(file.allot("a"), Err(AllotError::NoNumberLeft));
    assert_eq!(
        AllotError::NoNumberLeft.to_string(),
        "all sender numbers are given away: begin a new realm"
    );
}

#[test]
fn names_that_are_no_names_are_given_no_number() {
    let mut file = authority();
    for name in ["", "a\nb", "a\u{7f}", &"x".repeat(65)] {
        let error = file.allot(name).unwrap_err();
        assert_eq!(error, AllotError::Device, "{name:?}");
        assert_eq!(
            error.to_string(),
            "the name of a device has 1 to 64 bytes and no control characters: choose another"
        );
    }
    assert_eq!(file.allotted().count(), 0);
    assert!(file.allot(&"x".repeat(64)).is_ok());
}

#[test]
fn a_ledger_that_contradicts_itself_is_refused() {
    let allotted = |sender: &str, device: &str| {
        format!("[[allotted]]\nsender = {sender}\ndevice = {device:?}\n")
    };
    let with = |tail: String| error(&(granted("kind = \"shared\"") + &tail));
    let twice = with(allotted("7", "a") + &allotted("7", "b"));
    assert_eq!(
        twice,
        "11:10: an earlier device has this sender number: give back a backup of the file"
    );
    let unnamed = with(allotted("7", ""));
    assert_eq!(
        unnamed,
        "9:10: the name of a device has 1 to 64 bytes and no control characters: choose another"
    );
    assert!(with(allotted("1073741824", "a")).contains("a sender has a number"));
}

#[test]
fn a_generation_keeps_the_day_on_which_it_was_drawn() {
    let mut file = authority();
    assert_eq!(file.created(1), None);
    file.set_created(1, 1_800_000_000).unwrap();
    let next = file.add_generation(&mut getrandom::SysRng).unwrap();
    let file = read_again(&file);
    assert_eq!(file.created(1), Some(1_800_000_000));
    assert_eq!(file.created(next), None);
}

#[test]
fn days_that_cannot_be_written_are_refused() {
    let mut file = authority();
    assert_eq!(file.set_created(1, u64::MAX), Err(EditError::NotAfter));
    assert_eq!(file.set_created(2, 0), Err(EditError::UnknownGeneration { generation: 2 }));
}

#[test]
fn a_device_is_told_nothing_of_the_ledger() {
    let mut file = authority();
    let sender = file.allot("a").unwrap();
    file.set_created(1, 1_800_000_000).unwrap();
    let device = file.grant_for(&[Share::Node(path("plant", 1))], Some(sender)).unwrap();
    assert_eq!(device.allotted().count(), 0);
    assert_eq!(device.created(1), None);
}
