//! The guard as links and handles share it, with what its replay log is asked for, and the clock.
//! Knows no network.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use std::vec::Vec;

use tokio::sync::watch;

use super::log::{Mark, Progress, Writer};
use crate::guard::{
    Claim, Config, Delivery, GuardEvent, GuardRx, GuardTx, Incoming, OpenError, Opened, Receipt,
};

/// Both halves of the guard, which all links and handles share. Each is held for one message at a
/// time.
#[derive(Debug, Clone)]
pub(super) struct Guards {
    tx: Arc<Mutex<GuardTx>>,
    rx: Arc<Mutex<Receiver>>,
    /// Held by the link whose message waits for the log: another must not open the same one.
    turn: Arc<tokio::sync::Mutex<()>>,
    progress: Progress,
    /// How often other rules and keys were put in force.
    reloads: Arc<watch::Sender<u64>>,
}

/// The receiving half and the way to its log, under one lock: the log is to have every write in the
/// order in which the guard made them.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) guard: GuardRx,
    log: Option<Writer>,
}

impl Guards {
    pub(super) fn new(tx: GuardTx, guard: GuardRx, log: Option<(Writer, Progress)>) -> Self {
        let (log, progress) = log.unzip();
        Self {
            tx: Arc::new(Mutex::new(tx)),
            rx: Arc::new(Mutex::new(Receiver { guard, log })),
            turn: Arc::default(),
            progress: progress.unwrap_or_default(),
            reloads: Arc::new(watch::Sender::new(0)),
        }
    }

    // A guard that panicked has spent its counter first and delivered nothing: it may be used.
    pub(super) fn tx(&self) -> MutexGuard<'_, GuardTx> {
        self.tx.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn rx(&self) -> MutexGuard<'_, Receiver> {
        self.rx.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `config` in force, for both halves at once.
    pub(super) fn replace(&self, config: &Arc<Config>) {
        let (mut tx, mut rx) = (self.tx(), self.rx());
        tx.replace(Arc::clone(config));
        rx.guard.replace(Arc::clone(config));
        drop((tx, rx));
        self.reloads.send_modify(|times| *times = times.wrapping_add(1));
    }

    /// Tells when other rules and keys were put in force.
    pub(super) fn reloads(&self) -> watch::Receiver<u64> {
        self.reloads.subscribe()
    }

    /// The rules and keys in force.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(self.tx().config())
    }

    /// Waits for the turn to open a message and see it through.
    pub(super) async fn turn(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// How far the replay log is.
    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Ends the use of the log cleanly; returns when it is closed. Nothing sealed is opened any
    /// more. Cancel safe.
    pub(super) async fn close_log(&self) {
        self.rx().stop();
        self.progress().end().await;
    }
}

impl Receiver {
    /// Opens a message. A claim's writes are on their way to the log: finish it once the mark is
    /// reached.
    pub(super) fn open(
        &mut self,
        message: &Incoming<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(Opened, Mark), OpenError> {
        let opened = self.guard.open(message, out)?;
        let mark = match &opened {
            Opened::NeedsClaim(claim) => self.write(claim.writes().to_vec()),
            Opened::Delivered(_) => Mark::default(),
        };
        Ok((opened, mark))
    }

    pub(super) fn finish(&mut self, claim: Claim, out: &mut Vec<u8>) -> Delivery {
        self.guard.finish(claim, out)
    }

    pub(super) fn next_event(&mut self) -> Option<GuardEvent> {
        self.guard.next_event()
    }

    /// The application has dealt with a message. Acknowledge it once the mark is reached: also
    /// where nothing was written for it, since it may rest on a lease that is not durable yet.
    pub(super) fn confirm(&mut self, receipt: Receipt) -> Mark {
        let writes = self.guard.confirm(receipt);
        self.write(writes)
    }

    /// What the log was asked for so far.
    pub(super) fn asked_for(&mut self) -> Mark {
        self.write(Vec::new())
    }

    /// Gives the log what no message waits for.
    pub(super) fn write_the_rest(&mut self) {
        let writes = self.guard.take_writes();
        self.write(writes);
    }

    fn stop(&mut self) {
        if self.log.is_some() {
            let writes = self.guard.stop();
            self.write(writes);
        }
        self.log = None;
    }

    fn write(&mut self, writes: Vec<crate::guard::Write>) -> Mark {
        self.log.as_mut().map(|log| log.write(writes)).unwrap_or_default()
    }
}

/// The clock in Unix milliseconds; `None` if it stands before 1970.
pub(super) fn now() -> Option<u64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.ok().and_then(|d| u64::try_from(d.as_millis()).ok())
}
