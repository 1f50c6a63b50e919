//! The store of messages that are not acknowledged: a thread that makes them durable, all that wait
//! at once. Knows rows of bytes, and neither packets nor connections.

use core::fmt;
use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::vec::Vec;

use tokio::sync::watch;
use zeroize::Zeroizing;

use super::meters::lock;
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
    sender: Option<Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
    last: Mark,
    /// The number of the next row.
    next: u64,
}

/// Rows that come and rows that go, in one step.
struct Job {
    add: Vec<(u64, Zeroizing<Vec<u8>>)>,
    remove: Vec<u64>,
    mark: Mark,
}

impl Keeper {
    /// Starts the thread; `next` is a number above those of all rows in `file`.
    pub(super) fn start(file: OutboxFile, next: u64) -> io::Result<Self> {
        let (sender, todo) = channel();
        let (progress, written) = watch::channel(Mark::default());
        let work = move || run(&todo, &file, &progress);
        let thread = thread::Builder::new().name("mqtt-seal store".into()).spawn(work)?;
        let (sender, thread) = (Some(sender), Some(thread));
        Ok(Self { jobs: Mutex::new(Jobs { sender, thread, last: Mark::default(), next }), written })
    }

    /// Asks for `row` to be stored: its number, and the mark that is reached when it is durable.
    pub(super) fn put(&self, row: Zeroizing<Vec<u8>>) -> (u64, Mark) {
        self.write(Vec::from([row]), Vec::new())
    }

    /// Asks for rows to be stored and others to be deleted, in one step. Returns the number of the
    /// first of them, which the others follow, and the mark that is reached when all are durable.
    pub(super) fn write(&self, rows: Vec<Zeroizing<Vec<u8>>>, remove: Vec<u64>) -> (u64, Mark) {
        let mut jobs = lock(&self.jobs);
        let first = jobs.next;
        let add: Vec<_> = (first..).zip(rows).collect();
        jobs.next = first.saturating_add(u64::try_from(add.len()).unwrap_or(u64::MAX));
        jobs.last = Mark(jobs.last.0.saturating_add(1));
        let mark = jobs.last;
        // if the thread has ended, the mark is never reached
        let _ = jobs.sender.as_ref().map(|jobs| jobs.send(Job { add, remove, mark }));
        (first, mark)
    }

    /// The row is not needed any more. Nobody waits for that.
    pub(super) fn delete(&self, number: u64) {
        self.write(Vec::new(), Vec::from([number]));
    }

    /// Returns when everything that was asked for is written and the file is closed. Blocks.
    pub(super) fn close(&self) {
        let thread = {
            let mut jobs = lock(&self.jobs);
            jobs.sender = None;
            jobs.thread.take()
        };
        // a thread that has panicked has said so
        let _ = thread.map(thread::JoinHandle::join);
    }

    /// One whose thread has ended.
    #[cfg(test)]
    pub(super) fn failed() -> Self {
        let (_, written) = watch::channel(Mark::default());
        let jobs = Jobs { sender: None, thread: None, last: Mark::default(), next: 0 };
        Self { jobs: Mutex::new(jobs), written }
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
        let mut mark = job.mark;
        for job in core::iter::once(job).chain(todo.try_iter().take(MAX_BATCH)) {
            batch.add.extend(job.add);
            batch.remove.extend(job.remove);
            mark = job.mark;
        }
        if let Err(error) = file.write(&batch) {
            tracing::error!(
                file = %file.path().display(), %error,
                "the store cannot be written: no message leaves any more"
            );
            return;
        }
        progress.send_replace(mark);
    }
    // makes the last removals durable
    let _ = file.write(&Batch::default());
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keeper")
    }
}
