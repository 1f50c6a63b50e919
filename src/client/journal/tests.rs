use super::*;
use core::time::Duration;
use std::sync::{Arc, Mutex};
use std::vec;

use crate::client::inbox::Inbox;
use crate::client::properties::{Attached, Properties};
use crate::client::room::Room;
use crate::client::ticket::Ticket;
use crate::guard::QoS;
use crate::wire::inner::Kind;

/// What was written: numbers added, numbers removed.
type Written = Arc<Mutex<Vec<(Vec<u64>, Vec<u64>)>>>;

/// Writes when the test lets it.
struct Slow {
    written: Written,
    turns: Receiver<io::Result<()>>,
}

impl Storage for Slow {
    fn write(&mut self, add: Vec<Numbered>, remove: Vec<u64>) -> io::Result<()> {
        self.turns.recv().unwrap_or(Ok(()))?;
        let added = add.into_iter().map(|(number, _)| number).collect();
        self.written.lock().unwrap().push((added, remove));
        Ok(())
    }
}

struct Fixture {
    journal: Journal,
    written: Written,
    turns: Sender<io::Result<()>>,
    inbox: Arc<Inbox>,
    link: mpsc::UnboundedSender<Entry>,
    passed: mpsc::UnboundedReceiver<Entry>,
    room: Room,
}

impl Fixture {
    fn start() -> Self {
        let (turns, taken) = channel();
        let written = Written::default();
        let storage = Slow { written: Arc::clone(&written), turns: taken };
        let inbox = Inbox::new(16);
        let journal = Journal::start(Box::new(storage), 7, 1, inbox.feed()).unwrap();
        let (link, passed) = mpsc::unbounded_channel();
        Self { journal, written, turns, inbox, link, passed, room: Room::new(99, 9_999) }
    }

    fn entry(&self) -> (Entry, Ticket) {
        let mut entry = Entry::new("a".into(), QoS::AtLeastOnce, false, b"text".to_vec());
        let ticket = entry.accept(self.room.try_take(4).unwrap());
        (entry, ticket)
    }

    fn store_soon(&self) -> Ticket {
        let (entry, ticket) = self.entry();
        self.journal.store_soon(entry, self.link.clone()).unwrap();
        ticket
    }

    fn let_write(&self, outcome: io::Result<()>) {
        self.turns.send(outcome).unwrap();
    }

    /// Ends the last link; all that was written, when the thread has ended.
    async fn end(self) -> Vec<(Vec<u64>, Vec<u64>)> {
        drop(self.journal.share());
        drop(self.turns);
        while self.inbox.next().await.is_some() {}
        self.written.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn message_is_passed_on_when_it_is_stored_and_not_before() {
    let mut fixture = Fixture::start();
    let (entry, _ticket) = fixture.entry();
    let journal = fixture.journal.clone();
    let mut storing = Box::pin(journal.store(entry, fixture.link.clone()));
    let waits = tokio::select! {
        biased;
        _ = &mut storing => false,
        () = tokio::task::yield_now() => true,
    };
    assert!(waits);
    assert!(fixture.passed.try_recv().is_err());
    fixture.let_write(Ok(()));
    assert_eq!(storing.as_mut().await, Ok(()));
    drop(storing);
    fixture.passed.recv().await.unwrap().end(Ok(()));
    assert_eq!(fixture.end().await[..2], [(vec![7], vec![]), (vec![], vec![7])]);
}

#[tokio::test]
async fn messages_that_wait_share_one_write() {
    let mut fixture = Fixture::start();
    let _first = fixture.store_soon();
    let others = [(); 9].map(|()| fixture.store_soon());
    for _ in 0..2 {
        fixture.let_write(Ok(()));
    }
    for _ in 0..=others.len() {
        fixture.passed.recv().await.unwrap();
    }
    let writes = fixture.written.lock().unwrap().len();
    assert!(writes <= 2, "{writes}");
}

#[tokio::test]
async fn message_that_cannot_be_stored_is_not_sent_and_told() {
    let mut fixture = Fixture::start();
    let kind = io::ErrorKind::StorageFull;
    let ticket = fixture.store_soon();
    fixture.let_write(Err(kind.into()));
    let told = tokio::time::timeout(Duration::from_secs(10), ticket).await;
    assert_eq!(told, Ok(Err(ClientError::NotStored { kind })));
    let failed = fixture.inbox.next().await;
    assert!(matches!(failed, Some(Event::OutboxFailed { kind: told }) if told == kind));
    let failed = fixture.inbox.next().await;
    assert!(matches!(failed, Some(Event::PublishFailed { topic, .. }) if topic == "a"));
    assert!(fixture.passed.try_recv().is_err());
}

#[tokio::test]
async fn message_for_a_link_that_has_ended_is_not_kept() {
    let mut fixture = Fixture::start();
    fixture.passed.close();
    let ticket = fixture.store_soon();
    fixture.let_write(Ok(()));
    assert_eq!(ticket.await, Err(ClientError::Closed));
    assert_eq!(fixture.end().await[..2], [(vec![7], vec![]), (vec![], vec![7])]);
}

#[tokio::test]
async fn message_that_ends_untold_stays_stored() {
    let mut fixture = Fixture::start();
    let _ticket = fixture.store_soon();
    fixture.let_write(Ok(()));
    drop(fixture.passed.recv().await.unwrap());
    // the last write has nothing in it
    assert_eq!(fixture.end().await, [(vec![7], vec![]), (vec![], vec![])]);
}

#[tokio::test]
async fn disconnect_comes_behind_what_was_to_be_stored() {
    let mut fixture = Fixture::start();
    let (commands, mut told) = mpsc::channel(1);
    let _ticket = fixture.store_soon();
    fixture.journal.disconnect(commands).unwrap();
    fixture.let_write(Ok(()));
    assert!(matches!(told.recv().await, Some(Command::Disconnect)));
    fixture.passed.try_recv().unwrap();
}

/// Messages with everything that a row can say.
fn entries() -> Vec<Entry> {
    let properties = Properties {
        payload_format: Some(true),
        content_type: Some("text".into()),
        response_topic: Some("b/c".into()),
        correlation_data: Some(vec![0, 1]),
        user: vec![("k".into(), "v".into()), ("k".into(), "w".into())],
    };
    let attached =
        |message_expiry| Some(Attached { properties: properties.clone(), message_expiry });
    let mut sealed = Entry::new("a/b".into(), QoS::ExactlyOnce, true, Vec::new());
    sealed.body = crate::client::entry::Body::Ready(vec![0xFC; 40]);
    let delete = Entry::new("d".into(), QoS::AtLeastOnce, true, Vec::new());
    vec![
        Entry::new("a".into(), QoS::AtLeastOnce, false, b"text".to_vec()).attach(attached(None)),
        sealed.attach(attached(Some(60))),
        delete.of_kind(Some(Kind::Delete)),
    ]
}

#[test]
fn row_brings_back_what_was_stored() {
    for entry in entries() {
        let again = row::decode(&row::encode(&entry)).unwrap();
        assert_eq!(row::encode(&again), row::encode(&entry));
        assert_eq!((again.topic, again.qos, again.retain), (entry.topic, entry.qos, entry.retain));
        assert_eq!((again.body.bytes(), again.kind), (entry.body.bytes(), entry.kind));
        let (again, entry) = (again.attached.unwrap(), entry.attached.unwrap_or_default());
        assert!(again.properties == entry.properties);
        assert_eq!(again.message_expiry, entry.message_expiry);
    }
}

#[test]
fn bytes_that_are_no_row_are_refused() {
    let row = row::encode(&entries()[1]);
    let without_payload = row.len() - 40;
    for len in 0..without_payload {
        assert!(row::decode(&row[..len]).is_none(), "{len}");
    }
    for flags in [0, 3, 1 | 1 << 6, 1 | 1 << 7] {
        let mut other = row.to_vec();
        other[0] = flags;
        assert!(row::decode(&other).is_none(), "{flags}");
    }
    assert!(read(vec![(0, row), (1, Zeroizing::new(vec![9]))]).is_none());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_a_row_or_are_refused(
        choice: proptest::sample::Index,
        at: proptest::sample::Index,
        byte: u8,
        cut in 0_usize..128,
    ) {
        let entries = entries();
        let mut bytes = row::encode(choice.get(&entries)).to_vec();
        *at.get_mut(&mut bytes) = byte;
        bytes.truncate(cut);
        if let Some(entry) = row::decode(&bytes) {
            proptest::prop_assert_eq!(row::encode(&entry).to_vec(), bytes);
        }
    }
}
