//! Which clients are forgotten, and what of them.

use super::*;
use crate::guard::Config;
use crate::keyring::Keyring;
use crate::policy::{Link, Links, Policy};
use crate::store::outbox_file::OutboxFile;
use std::string::ToString;
use std::vec;
use zeroize::Zeroizing;

fn in_force() -> Arc<InForce> {
    let config = Config::new(Policy::new(Vec::new()), Keyring::default(), Links::Tcp);
    Arc::new(InForce::new(config))
}

/// A message of ten bytes.
fn message(qos: u8, row: Option<u64>) -> Entry {
    let mut packet = vec![0; 10];
    packet[0] = 0x30 | qos << 1;
    Entry {
        link: Link::Tcp,
        sealed: true,
        connection: 1,
        progress: Progress::Sent,
        done_at: 0,
        digest: 0,
        packet,
        row,
    }
}

/// A client with a message of `QoS` 1 and one of 2.
fn with_two(clients: &Clients, id: &str) -> Shared {
    let client = clients.get(id, in_force).unwrap();
    for qos in [1, 2] {
        lock(&client).sent.put(qos.into(), message(qos, None), |_| ());
    }
    client
}

/// Which of the two are kept.
fn kept(clients: &Clients, id: &str) -> Vec<u16> {
    let client = clients.get(id, || panic!("the client is known")).unwrap();
    let client = lock(&client);
    [1, 2].into_iter().filter(|id| client.sent.get(*id).is_some()).collect()
}

#[test]
fn clients_that_were_away_for_longest_are_forgotten_with_their_rows() {
    let mut stored = HashMap::new();
    for number in 0..u64::try_from(MAX_STORED).unwrap() + 3 {
        let mut client = Stored::default();
        client.rows.insert(RowKey::new([0; 17]), (number, vec![1]));
        client.rows.insert(RowKey::new([1; 17]), (number + 1_000_000, vec![1]));
        stored.insert(number.to_string(), client);
    }
    let mut rows = trim(&mut stored);
    rows.sort_unstable();
    assert_eq!(rows, [0, 1, 2, 1_000_000, 1_000_001, 1_000_002]);
    assert_eq!(stored.len(), MAX_STORED);
    assert!(!stored.contains_key("2") && stored.contains_key("3"));
    assert!(trim(&mut stored).is_empty());
}

#[test]
fn messages_of_clients_that_left_first_are_forgotten_and_counted() {
    let mut clients = Clients::default();
    let _here = with_two(&clients, "here");
    for id in ["first", "second"] {
        drop(with_two(&clients, id));
    }
    // what the client may only release goes last: it would not send it again
    let steps = [
        (40, [1, 2].as_slice(), [1, 2].as_slice(), 0),
        (39, &[2], &[1, 2], 1),
        (15, &[], &[2], 3),
        (0, &[], &[], 4),
    ];
    for (max, first, second, forgotten) in steps {
        clients.max_away = max;
        clients.bound();
        assert_eq!(clients.forgotten.get(), forgotten, "{max}");
        // in the order in which they left
        assert_eq!(kept(&clients, "first"), first, "{max}");
        assert_eq!(kept(&clients, "second"), second, "{max}");
    }
    assert_eq!(kept(&clients, "here"), [1, 2]);
}

#[test]
fn client_that_came_first_and_left_last_keeps_its_messages() {
    let mut clients = Clients::default();
    let first = with_two(&clients, "first");
    drop(with_two(&clients, "second"));
    drop(first);
    clients.max_away = 30;
    clients.left("first");
    assert_eq!(kept(&clients, "first"), [1, 2]);
    assert_eq!(kept(&clients, "second"), [2]);
}

#[test]
fn messages_that_are_forgotten_leave_the_store_and_come_before_those_of_later_clients() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let keeper = Arc::new(Keeper::start(OutboxFile::open(&path).unwrap(), 0).unwrap());
    let mut stored = Stored::default();
    let (row, _) = keeper.put(Zeroizing::new(vec![1]));
    stored.sent.put(1, message(1, Some(row)), |_| ());
    let stored = HashMap::from([("before".into(), stored)]);
    let mut clients = Clients::new(stored, Some(Arc::clone(&keeper)));
    drop(with_two(&clients, "since"));
    clients.max_away = 20;
    clients.bound();
    assert_eq!(kept(&clients, "since"), [1, 2]);
    assert_eq!(clients.forgotten.get(), 1);
    clients.stop();
    keeper.close();
    let rows = OutboxFile::open(&path).unwrap().rows().unwrap();
    assert!(rows.iter().all(|(number, _)| *number != row));
}

#[test]
fn messages_of_a_client_that_is_forgotten_are_counted() {
    let clients = Clients::default();
    drop(with_two(&clients, "first"));
    for number in 0..MAX_KEPT {
        clients.get(&number.to_string(), in_force).unwrap();
        assert_eq!(clients.forgotten.get(), 0);
    }
    clients.get("one more", in_force).unwrap();
    assert_eq!(clients.forgotten.get(), 2);
}
