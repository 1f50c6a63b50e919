//! The store of messages that are not acknowledged: a thread that makes them durable, all that wait
//! at once. Knows rows of bytes, and neither packets nor connections.

#[cfg(fuzzing)]
pub(super) mod by_hand;

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Instant;
use std::vec::Vec;

use tokio::sync::watch;
use zeroize::Zeroizing;

use super::meters::lock;
use super::sent::DONE_MS;
use crate::store::outbox_file::{Batch, OutboxFile};

/// Most jobs that are written at once.
const MAX_BATCH: usize = 4_096;
/// How long the thread sleeps when there is nothing to do.
const IDLE: Duration = Duration::from_hours(1);
/// See [`DONE_MS`].
const DONE: Duration = Duration::from_millis(DONE_MS);

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

enum Job {
    /// Rows that come and rows that go, in one step.
    Write { add: Vec<(u64, Zeroizing<Vec<u8>>)>, remove: Vec<u64>, mark: Mark },
    /// A row that goes in a moment.
    DeleteLater(u64),
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
        let _ = jobs.sender.as_ref().map(|jobs| jobs.send(Job::Write { add, remove, mark }));
        (first, mark)
    }

    /// The row is not needed any more. Nobody waits for that; [`DONE_MS`] from now it is gone for good.
    pub(super) fn delete(&self, number: u64) {
        self.write(Vec::new(), Vec::from([number]));
    }

    /// The row is not needed any more in a moment: [`DONE_MS`] from now it is gone for good.
    pub(super) fn delete_later(&self, number: u64) {
        let jobs = lock(&self.jobs);
        let _ = jobs.sender.as_ref().map(|jobs| jobs.send(Job::DeleteLater(number)));
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
    let (mut later, mut loose) = (VecDeque::new(), None);
    loop {
        let job = match todo.recv_timeout(pause(&later, loose)) {
            Ok(job) => Some(job),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let (batch, mark) = plan(job.into_iter().chain(todo.try_iter()), &mut later);
        let written = write(file, &batch, &mut loose);
        let written = written.and_then(|()| write_removals(file, &mut later, &mut loose));
        if let Err(error) = written {
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

/// Rows and when they go, in that order.
type Later = VecDeque<(Instant, u64)>;

/// When removals have to be durable that are not yet: a crash would bring the rows back.
type Loose = Option<Instant>;

/// How long to wait for jobs.
fn pause(later: &Later, loose: Loose) -> Duration {
    let due = later.front().map(|(due, _)| *due).into_iter().chain(loose).min();
    due.map_or(IDLE, |due| due.saturating_duration_since(Instant::now()))
}

/// What is written at once.
fn plan(jobs: impl Iterator<Item = Job>, later: &mut Later) -> (Batch, Option<Mark>) {
    let (mut batch, mut reached) = (Batch::default(), None);
    for job in jobs.take(MAX_BATCH) {
        match job {
            Job::Write { add, remove, mark } => {
                batch.add.extend(add);
                batch.remove.extend(remove);
                reached = Some(mark);
            }
            Job::DeleteLater(number) => {
                later.extend(Instant::now().checked_add(DONE).map(|due| (due, number)));
            }
        }
    }
    (batch, reached)
}

fn write(file: &OutboxFile, batch: &Batch, loose: &mut Loose) -> io::Result<()> {
    if batch.add.is_empty() && batch.remove.is_empty() {
        return Ok(());
    }
    file.write(batch)?;
    // what only removes is durable with the next that does not
    let until = || Instant::now().checked_add(DONE);
    *loose = if batch.add.is_empty() { loose.or_else(until) } else { None };
    Ok(())
}

/// Removes what is due, and makes removals durable: a row that came back after a crash would be taken
/// for a message that is on its way.
fn write_removals(file: &OutboxFile, later: &mut Later, loose: &mut Loose) -> io::Result<()> {
    let now = Instant::now();
    let due = later.iter().take_while(|(due, _)| *due <= now).count();
    if due > 0 {
        let remove = later.drain(..due).map(|(_, number)| number).collect();
        file.write(&Batch { add: Vec::new(), remove })?;
        *loose = Some(now);
    }
    if loose.is_some_and(|due| due <= now) {
        file.write(&Batch::default())?;
        *loose = None;
    }
    Ok(())
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keeper")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::vec;

    fn rows(path: &Path) -> Option<usize> {
        OutboxFile::open(path).ok()?.rows().ok().map(|rows| rows.len())
    }

    /// Waits until a crash would leave so many rows.
    fn wait_for_rows(path: &Path, count: usize) {
        let copy = path.with_extension("copy");
        // unless it is copied while it is written
        let there = || {
            std::fs::copy(path, &copy).unwrap();
            rows(&copy) == Some(count)
        };
        let start = Instant::now();
        while !there() {
            assert!(start.elapsed() < Duration::from_mins(1), "there are not {count} rows");
            thread::sleep(Duration::from_millis(50));
        }
    }

    #[test]
    fn row_that_is_deleted_later_stays_for_a_moment_and_never_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let keeper = Keeper::start(OutboxFile::open(&path).unwrap(), 0).unwrap();
        let (number, _) = keeper.put(Zeroizing::new(vec![1]));
        keeper.put(Zeroizing::new(vec![2]));
        keeper.delete_later(number);
        keeper.close();
        assert_eq!(rows(&path), Some(2));
        let keeper = Keeper::start(OutboxFile::open(&path).unwrap(), 2).unwrap();
        keeper.delete_later(number);
        wait_for_rows(&path, 1);
        keeper.close();
    }

    #[test]
    fn row_that_is_deleted_does_not_come_back_although_nothing_else_is_stored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let keeper = Keeper::start(OutboxFile::open(&path).unwrap(), 0).unwrap();
        let (number, _) = keeper.put(Zeroizing::new(vec![1]));
        wait_for_rows(&path, 1);
        keeper.delete(number);
        wait_for_rows(&path, 0);
        keeper.close();
    }
}
