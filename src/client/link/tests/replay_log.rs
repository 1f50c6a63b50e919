//! What waits for the replay log.

use super::*;
use std::boxed::Box;
use std::string::ToString;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::client::log;
use crate::guard::{MemoryLog, Prefer, ReplayLog, RowKey, Write};

/// Writes when the test lets it, and fails if the test says so.
struct Slow {
    log: MemoryLog,
    turns: Receiver<std::io::Result<()>>,
}

impl ReplayLog for Slow {
    type Error = std::io::Error;

    fn rows(&mut self) -> std::io::Result<Vec<(RowKey, Vec<u8>)>> {
        Ok(self.log.rows().unwrap())
    }

    fn write(&mut self, writes: &[Write]) -> std::io::Result<()> {
        self.turns.recv().unwrap_or(Ok(()))?;
        self.log.write(writes).unwrap();
        Ok(())
    }
}

/// A link whose log has written what a start writes.
fn start(manual: bool) -> (Fixture, Sender<std::io::Result<()>>) {
    let (turns, taken) = channel();
    let fixture = Fixture::with_guards(8, None, |inbox| {
        let (tx, mut rx) = guard().split();
        if manual {
            rx.confirm_manually();
        }
        let log = Slow { log: MemoryLog::default(), turns: taken };
        let (mut writer, progress) = log::start(Box::new(log), inbox).unwrap();
        writer.write(rx.restore(Vec::new(), Prefer::NoReplay).unwrap());
        Guards::new(tx, rx, Some((writer, progress)))
    });
    turns.send(Ok(())).unwrap();
    (fixture, turns)
}

/// Whether the link would still wait for the log, having done all it can.
async fn waits<T>(what: impl Future<Output = T>) -> bool {
    tokio::select! {
        biased;
        _ = what => false,
        () = settle() => true,
    }
}

#[tokio::test]
async fn nothing_is_dialed_before_the_log_has_what_a_start_writes() {
    let (turns, taken) = channel();
    let mut fixture = Fixture::with_guards(8, None, |inbox| {
        let (tx, mut rx) = guard().split();
        let log = Slow { log: MemoryLog::default(), turns: taken };
        let (mut writer, progress) = log::start(Box::new(log), inbox).unwrap();
        writer.write(rx.restore(Vec::new(), Prefer::NoReplay).unwrap());
        Guards::new(tx, rx, Some((writer, progress)))
    });
    assert!(waits(fixture.brokers.recv()).await);
    turns.send(Ok(())).unwrap();
    fixture.dialed().await;
}

#[tokio::test]
async fn message_is_delivered_when_the_log_has_its_claim_and_not_before() {
    let (mut fixture, turns) = start(false);
    let broker = fixture.connected().await;
    assert!(matches!(fixture.event().await, Some(Event::LinkUp { .. })));
    broker.send(1, QoS::AtLeastOnce, "sealed/a", &seal("sealed/a"));
    assert!(waits(fixture.inbox.next()).await);
    turns.send(Ok(())).unwrap();
    assert_eq!(fixture.message().await.payload, b"text");
}

#[tokio::test]
async fn message_is_acknowledged_when_the_log_has_its_confirmation_and_not_before() {
    let (mut fixture, turns) = start(true);
    let mut broker = fixture.connected().await;
    let (mut tx, _) = guard().split();
    let mut sealed = Vec::new();
    for id in 1..=2 {
        tx.seal(&Outgoing::new("sealed/a", b"text"), &mut sealed).unwrap();
        broker.send(id, QoS::AtLeastOnce, "sealed/a", &sealed);
    }
    let (first, second) = (fixture.message().await, fixture.message().await);
    fixture.ack(&first).await;
    // it needs no write of its own, and rests on that of the first
    fixture.ack(&second).await;
    assert!(waits(broker.asked.recv()).await);
    turns.send(Ok(())).unwrap();
    assert_eq!(broker.asked().await, Asked::Acknowledge(1));
    assert_eq!(broker.asked().await, Asked::Acknowledge(2));
}

#[tokio::test]
async fn duplicate_is_acknowledged_when_the_log_has_the_confirmation_of_the_first() {
    let (mut fixture, turns) = start(true);
    let mut broker = fixture.connected().await;
    let sealed = seal("sealed/a");
    broker.send(1, QoS::AtLeastOnce, "sealed/a", &sealed);
    fixture.ack(&fixture.message().await).await;
    broker.send(2, QoS::AtLeastOnce, "sealed/a", &sealed);
    assert!(waits(broker.asked.recv()).await);
    turns.send(Ok(())).unwrap();
    // the link may have seen either first
    let acknowledged = [broker.asked().await, broker.asked().await];
    assert!([1, 2].map(Asked::Acknowledge).iter().all(|asked| acknowledged.contains(asked)));
}

#[tokio::test]
async fn log_that_fails_ends_the_link_and_nothing_is_delivered_or_acknowledged() {
    let (mut fixture, turns) = start(false);
    let mut broker = fixture.connected().await;
    assert!(matches!(fixture.event().await, Some(Event::LinkUp { .. })));
    broker.send(1, QoS::AtLeastOnce, "sealed/a", &seal("sealed/a"));
    broker.send(2, QoS::AtLeastOnce, "clear/a", b"text");
    turns.send(Err(std::io::ErrorKind::StorageFull.into())).unwrap();
    let failed = fixture.event().await.unwrap();
    assert!(
        matches!(failed, Event::ReplayLogFailed { error } if error.to_string() == "no storage space")
    );
    let down = fixture.event().await.unwrap();
    assert!(matches!(down, Event::LinkDown { error: LinkError::ReplayLog, .. }));
    assert!(fixture.event().await.is_none());
    assert_eq!(soon(broker.asked.recv()).await, None);
    assert!(fixture.brokers.recv().await.is_none());
}

#[tokio::test]
async fn log_that_fails_for_another_link_ends_one_that_waits_for_nothing() {
    let (mut fixture, turns) = start(true);
    let broker = fixture.connected().await;
    broker.send(1, QoS::AtLeastOnce, "sealed/a", &seal("sealed/a"));
    let message = fixture.message().await;
    turns.send(Err(std::io::ErrorKind::StorageFull.into())).unwrap();
    // as another link's handle does
    fixture.guards.rx().confirm(message.delivery.receipt.unwrap());
    while fixture.event().await.is_some() {}
    assert!(fixture.room.is_closed());
}
