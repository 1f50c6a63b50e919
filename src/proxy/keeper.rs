//! The store of messages that are not acknowledged: a thread that makes them durable, all that wait
//! at once. Knows rows of bytes, and neither packets nor connections.

use core::fmt;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::vec::Vec;

use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::store::outbox_file::{Batch, OutboxFile};

/// Most jobs that are written at once.
const MAX_BATCH: usize = 4_096;

/// So many jobs were asked for; they are durable in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Mark(u64);

impl Mark {
    #[cfg(test)]
    pub(super) const fn of(number: u64) -> Self {
        Self(number)
    }
}

/// The way to the thread, which ends when this is dropped.
pub(super) struct Keeper {
    jobs: Mutex<Jobs>,
    written: watch::Receiver<Mark>,
}

struct Jobs {
    sender: Sender<Job>,
    last: Mark,
    /// The number of the next row.
    next: u64,
}

enum Job {
    Put(u64, Zeroizing<Vec<u8>>, Mark),
    Delete(u64),
}

impl Keeper {
    /// Starts the thread; `next` is a number above those of all rows in `file`.
    pub(super) fn start(file: OutboxFile, next: u64) -> io::Result<Self> {
        let (sender, todo) = channel();
        let (progress, written) = watch::channel(Mark::default());
        let work = move || run(&todo, &file, &progress);
        thread::Builder::new().name("mqtt-seal store".into()).spawn(work)?;
        Ok(Self { jobs: Mutex::new(Jobs { sender, last: Mark::default(), next }), written })
    }

    /// Asks for `row` to be stored: its number, and the mark that is reached when it is durable.
    pub(super) fn put(&self, row: Zeroizing<Vec<u8>>) -> (u64, Mark) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let number = jobs.next;
        jobs.next = number.saturating_add(1);
        jobs.last = Mark(jobs.last.0.saturating_add(1));
        // if the thread has ended, the mark is never reached
        let _ = jobs.sender.send(Job::Put(number, row, jobs.last));
        (number, jobs.last)
    }

    /// The row is not needed any more. Nobody waits for that.
    pub(super) fn delete(&self, number: u64) {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = jobs.sender.send(Job::Delete(number));
    }

    /// One whose thread has ended.
    #[cfg(test)]
    pub(super) fn failed() -> Self {
        let (sender, _) = channel();
        let (_, written) = watch::channel(Mark::default());
        Self { jobs: Mutex::new(Jobs { sender, last: Mark::default(), next: 0 }), written }
    }

    /// Whether the thread goes on: it ends when the file cannot be written.
    pub(super) fn works(&self) -> bool {
        self.written.has_changed().is_ok()
    }

    /// How far the thread is. It fails when the file cannot be written.
    pub(super) fn progress(&self) -> watch::Receiver<Mark> {
        self.written.clone()
    }
}

fn run(todo: &Receiver<Job>, file: &OutboxFile, progress: &watch::Sender<Mark>) {
    while let Ok(job) = todo.recv() {
        let mut batch = Batch::default();
        let mut mark = None;
        let jobs = core::iter::once(job).chain(todo.try_iter());
        for job in jobs.take(MAX_BATCH) {
            match job {
                Job::Put(number, row, at) => {
                    batch.add.push((number, row));
                    mark = Some(at);
                }
                Job::Delete(number) => batch.remove.push(number),
            }
        }
        if let Err(error) = file.write(&batch) {
            tracing::error!(
                file = %file.path().display(), %error,
                "the store cannot be written: no message leaves any more"
            );
            return;
        }
        if let Some(mark) = mark {
            progress.send_replace(mark);
        }
    }
    // makes the last removals durable
    let _ = file.write(&Batch::default());
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keeper")
    }
}
