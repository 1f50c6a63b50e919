//! The durable outbox: a thread that stores messages before they count as accepted. Knows no
//! network; files are somebody else's.

mod row;

use core::fmt;
use std::boxed::Box;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::vec::Vec;

use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use super::entry::Entry;
use super::error::ClientError;
use super::event::Event;
use super::inbox::Feed;
use super::link::Command;

/// Most that is written at once.
const MAX_BATCH: usize = 1_024;

/// A number and the bytes that are stored under it.
pub(super) type Numbered = (u64, Zeroizing<Vec<u8>>);

/// Where messages are stored.
pub(super) trait Storage: Send {
    /// Writes all of it or nothing. What is added is durable when this returns.
    fn write(&mut self, add: Vec<Numbered>, remove: Vec<u64>) -> io::Result<()>;
}

/// A storage and what is in it.
pub(super) struct Stored {
    pub(super) storage: Box<dyn Storage>,
    pub(super) kept: Vec<Kept>,
}

#[cfg(feature = "store")]
impl Storage for crate::store::outbox_file::OutboxFile {
    fn write(&mut self, add: Vec<Numbered>, remove: Vec<u64>) -> io::Result<()> {
        Self::write(self, &crate::store::outbox_file::Batch { add, remove })
    }
}

/// The way to the thread.
#[derive(Clone)]
pub(super) struct Journal(Sender<Job>);

/// Where one message is stored.
pub(super) struct Row {
    number: u64,
    journal: Journal,
}

/// A link's share in the journal, which ends when all are dropped.
pub(super) struct Share(Journal);

type Answer = oneshot::Sender<Result<(), ClientError>>;

#[expect(clippy::large_enum_variant, reason = "half of all jobs are the large one")]
enum Job {
    Store {
        entry: Entry,
        /// The link that sends it, once it is stored.
        link: mpsc::UnboundedSender<Entry>,
        /// Who waits until it is stored.
        answer: Option<Answer>,
    },
    Remove(u64),
    /// Behind everything that was to be stored before.
    Disconnect(mpsc::Sender<Command>),
    LinkEnded,
}

impl Journal {
    /// Starts the thread, which ends when so many shares are dropped.
    pub(super) fn start(
        storage: Box<dyn Storage>,
        next: u64,
        links: usize,
        feed: Feed,
    ) -> io::Result<Self> {
        let (jobs, todo) = channel();
        let journal = Self(jobs);
        let own = journal.clone();
        let keeper = Keeper { todo, journal: own, next, links, storage, feed };
        thread::Builder::new().name("mqtt-seal outbox".into()).spawn(|| keeper.run())?;
        Ok(journal)
    }

    /// Stores `entry` and passes it on to its link; returns when it is durable. Whoever drops the
    /// future has it accepted all the same.
    ///
    /// # Errors
    /// [`ClientError::NotStored`], [`ClientError::Closed`].
    pub(super) async fn store(
        &self,
        entry: Entry,
        link: mpsc::UnboundedSender<Entry>,
    ) -> Result<(), ClientError> {
        let (answer, stored) = oneshot::channel();
        self.ask(Job::Store { entry, link, answer: Some(answer) })?;
        stored.await.unwrap_or(Err(ClientError::Closed))
    }

    /// As [`Journal::store`], without waiting: the ticket tells if it failed.
    pub(super) fn store_soon(
        &self,
        entry: Entry,
        link: mpsc::UnboundedSender<Entry>,
    ) -> Result<(), ClientError> {
        self.ask(Job::Store { entry, link, answer: None })
    }

    /// Passes a command to disconnect on, behind everything that is to be stored.
    pub(super) fn disconnect(&self, link: mpsc::Sender<Command>) -> Result<(), ClientError> {
        self.ask(Job::Disconnect(link))
    }

    pub(super) fn share(&self) -> Share {
        Share(self.clone())
    }

    pub(super) fn row(&self, number: u64) -> Row {
        Row { number, journal: self.clone() }
    }

    fn ask(&self, job: Job) -> Result<(), ClientError> {
        self.0.send(job).map_err(|_| ClientError::Closed)
    }
}

impl Row {
    /// The message is done with. Nobody waits for that: it would only be sent again.
    pub(super) fn delete(self) {
        let _ = self.journal.ask(Job::Remove(self.number));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let _ = self.0.ask(Job::LinkEnded);
    }
}

/// What the thread has.
struct Keeper {
    todo: Receiver<Job>,
    journal: Journal,
    /// The number of the next message.
    next: u64,
    /// Links that are not ended.
    links: usize,
    // dropped before the feed, with which the application learns that the file is closed
    storage: Box<dyn Storage>,
    feed: Feed,
}

/// What is written at once, and what is told when it is.
#[derive(Default)]
struct Work {
    add: Vec<Numbered>,
    remove: Vec<u64>,
    waiting: Vec<(Entry, mpsc::UnboundedSender<Entry>, Option<Answer>)>,
    leaving: Vec<mpsc::Sender<Command>>,
}

impl Keeper {
    fn run(mut self) {
        while self.links > 0
            && let Ok(job) = self.todo.recv()
        {
            let mut work = Work::default();
            self.plan(job, &mut work);
            for _ in 1..MAX_BATCH {
                let Ok(job) = self.todo.try_recv() else {
                    break;
                };
                self.plan(job, &mut work);
            }
            self.work(work);
        }
        // makes the last removals durable
        let _ = self.write(Vec::new(), Vec::new());
    }

    fn plan(&mut self, job: Job, work: &mut Work) {
        match job {
            Job::Store { mut entry, link, answer } => {
                work.add.push((self.next, row::encode(&entry)));
                entry.stored(self.journal.row(self.next));
                self.next = self.next.saturating_add(1);
                work.waiting.push((entry, link, answer));
            }
            Job::Remove(number) => work.remove.push(number),
            Job::Disconnect(link) => work.leaving.push(link),
            Job::LinkEnded => self.links = self.links.saturating_sub(1),
        }
    }

    fn work(&mut self, work: Work) {
        let idle = work.add.is_empty() && work.remove.is_empty();
        let written = if idle { Ok(()) } else { self.write(work.add, work.remove) };
        for (entry, link, answer) in work.waiting {
            self.pass_on(entry, &link, answer, written);
        }
        for link in work.leaving {
            // a link that has ended needs no leave
            let _ = link.blocking_send(Command::Disconnect);
        }
    }

    fn pass_on(
        &self,
        entry: Entry,
        link: &mpsc::UnboundedSender<Entry>,
        answer: Option<Answer>,
        written: Result<(), ClientError>,
    ) {
        let passed = match written {
            Ok(()) => link.send(entry).map_err(|refused| (refused.0, ClientError::Closed)),
            Err(error) => Err((entry, error)),
        };
        let outcome = passed.map_err(|(entry, reason)| {
            let event = entry.fail(reason);
            if answer.is_none() {
                let _ = self.feed.push(event);
            }
            reason
        });
        if let Some(answer) = answer {
            let _ = answer.send(outcome);
        }
    }

    fn write(&mut self, add: Vec<Numbered>, remove: Vec<u64>) -> Result<(), ClientError> {
        self.storage.write(add, remove).map_err(|error| {
            let kind = error.kind();
            let _ = self.feed.push(Event::OutboxFailed { kind });
            ClientError::NotStored { kind }
        })
    }
}

/// A message that was stored before this start, and its number.
pub(super) type Kept = (u64, Entry);

/// The messages of `rows`; `None` if one of them is none, so that another program made it.
#[cfg_attr(
    not(any(feature = "store", test)),
    expect(dead_code, reason = "without the feature there is nothing to read from")
)]
pub(super) fn read(rows: Vec<Numbered>) -> Option<Vec<Kept>> {
    rows.into_iter().map(|(number, bytes)| Some((number, row::decode(&bytes)?))).collect()
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} messages", self.kept.len())
    }
}

#[cfg(test)]
mod tests;
