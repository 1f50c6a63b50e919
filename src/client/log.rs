//! The replay log on a thread of its own: everything in the order in which the guard asked for it,
//! one write for all that waits. Knows rows of bytes, and no messages.

use core::error::Error;
use core::fmt;
use std::boxed::Box;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::vec::Vec;

use tokio::sync::watch;

use super::event::Event;
use super::inbox::Inbox;
use crate::guard::{Prefer, ReplayLog, RowKey, Write};

/// Most jobs that are written at once.
const MAX_BATCH: usize = 1_024;

/// A replay log of any kind.
pub(super) trait Rows: Send {
    /// Writes all of it or nothing; it is durable when this returns.
    fn write(&mut self, writes: &[Write]) -> Result<(), Box<dyn Error + Send + Sync>>;
}

impl<L> Rows for L
where
    L: ReplayLog + Send,
    L::Error: Error + Send + Sync + 'static,
{
    fn write(&mut self, writes: &[Write]) -> Result<(), Box<dyn Error + Send + Sync>> {
        ReplayLog::write(self, writes).map_err(Into::into)
    }
}

/// A replay log and what it held when it was read.
pub(super) struct Taken {
    pub(super) log: Box<dyn Rows>,
    pub(super) rows: Vec<(RowKey, Vec<u8>)>,
    pub(super) prefer: Prefer,
}

/// So many writes were asked for; they are durable in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Mark(u64);

/// The log failed: nothing that it does not know may be told to anyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogFailed;

/// The way to the thread. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Sender<Job>,
    last: Mark,
}

/// What the thread has written so far. Without a log there is nothing to wait for.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Option<watch::Receiver<Mark>>);

type Job = (Vec<Write>, Mark);

/// Starts the thread.
pub(super) fn start(log: Box<dyn Rows>, inbox: &Arc<Inbox>) -> io::Result<(Writer, Progress)> {
    let (jobs, todo) = channel();
    let (written, progress) = watch::channel(Mark::default());
    let keeper = Keeper { todo, inbox: Arc::clone(inbox), log, written };
    thread::Builder::new().name("mqtt-seal replay log".into()).spawn(|| keeper.run())?;
    Ok((Writer { jobs, last: Mark::default() }, Progress(Some(progress))))
}

impl Writer {
    /// Asks for `writes`, behind all others. Returns what is durable with them, and is everything
    /// that was asked for before if there are none.
    pub(super) fn write(&mut self, writes: Vec<Write>) -> Mark {
        if !writes.is_empty() {
            self.last = Mark(self.last.0.saturating_add(1));
            // if the thread has ended, the mark is never reached
            let _ = self.jobs.send((writes, self.last));
        }
        self.last
    }
}

impl Progress {
    /// Whether everything up to `mark` is durable.
    pub(super) fn has(&self, mark: Mark) -> bool {
        self.0.as_ref().is_none_or(|written| *written.borrow() >= mark)
    }

    /// Waits until everything up to `mark` is durable.
    pub(super) async fn until(&mut self, mark: Mark) -> Result<(), LogFailed> {
        let Some(written) = &mut self.0 else {
            return Ok(());
        };
        written.wait_for(|written| *written >= mark).await.map(drop).map_err(|_| LogFailed)
    }

    /// Waits until more is durable. Cancel safe.
    pub(super) async fn more(&mut self) -> Result<(), LogFailed> {
        match &mut self.0 {
            Some(written) => written.changed().await.map_err(|_| LogFailed),
            None => core::future::pending().await,
        }
    }

    /// Whether the log failed, or was closed.
    pub(super) fn has_ended(&self) -> bool {
        self.0.as_ref().is_some_and(|written| written.has_changed().is_err())
    }

    /// Waits until the log is closed.
    pub(super) async fn end(&mut self) {
        while self.0.is_some() && self.more().await.is_ok() {}
    }
}

/// What the thread has.
struct Keeper {
    todo: Receiver<Job>,
    inbox: Arc<Inbox>,
    log: Box<dyn Rows>,
    // dropped last: with it the links learn that there is no log any more
    written: watch::Sender<Mark>,
}

impl Keeper {
    fn run(mut self) {
        while let Ok((mut writes, mut mark)) = self.todo.recv() {
            for (more, later) in self.todo.try_iter().take(MAX_BATCH) {
                writes.extend(more);
                mark = later;
            }
            if let Err(error) = self.log.write(&writes) {
                self.inbox.push(Event::ReplayLogFailed { error });
                return;
            }
            self.written.send_replace(mark);
        }
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows, {:?}", self.rows.len(), self.prefer)
    }
}
