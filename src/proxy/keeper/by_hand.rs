//! A store in memory that works when it is told to, as its thread would, and can be lost at any
//! moment. Exists under `--cfg fuzzing` alone.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::vec::Vec;

use tokio::sync::watch;
use zeroize::Zeroizing;

use super::{Job, Jobs, Keeper, Later, Mark, plan};
use crate::store::outbox_file::{Batch, NumberedRow};

type Rows = BTreeMap<u64, Vec<u8>>;

/// What does the work of the thread.
pub(in crate::proxy) struct ByHand {
    todo: Receiver<Job>,
    progress: watch::Sender<Mark>,
    later: Later,
    /// What a crash leaves, and what there is.
    durable: Rows,
    rows: Rows,
}

impl Keeper {
    /// A keeper of these rows without a thread.
    pub(in crate::proxy) fn by_hand(rows: &[NumberedRow], next: u64) -> (Self, ByHand) {
        let (sender, todo) = channel();
        let (progress, written) = watch::channel(Mark::default());
        let jobs = Jobs { sender: Some(sender), thread: None, last: Mark::default(), next };
        let rows: Rows = rows.iter().map(|(number, row)| (*number, row.to_vec())).collect();
        let later = Later::new();
        let hand = ByHand { todo, progress, later, durable: rows.clone(), rows };
        (Self { jobs: Mutex::new(jobs), written }, hand)
    }
}

impl ByHand {
    /// Writes up to so many jobs at once; whether there were any.
    pub(in crate::proxy) fn work(&mut self, jobs: usize) -> bool {
        let jobs: Vec<_> = self.todo.try_iter().take(jobs).collect();
        let any = !jobs.is_empty();
        let (batch, mark) = plan(jobs.into_iter(), &mut self.later);
        self.write(batch);
        if let Some(mark) = mark {
            self.progress.send_replace(mark);
        }
        any
    }

    /// As the file does: what is only removed is durable with what comes next.
    fn write(&mut self, batch: Batch) {
        let adds = !batch.add.is_empty();
        self.rows.extend(batch.add.into_iter().map(|(number, row)| (number, row.to_vec())));
        for number in &batch.remove {
            self.rows.remove(number);
        }
        if adds {
            self.sync();
        }
    }

    fn sync(&mut self) {
        self.durable.clone_from(&self.rows);
    }

    /// The moment is over after which rows go for good.
    pub(in crate::proxy) fn expire(&mut self) {
        for (_, number) in mem::take(&mut self.later) {
            self.rows.remove(&number);
        }
        self.sync();
    }

    /// Does what there is to do, and closes the file.
    pub(in crate::proxy) fn close(&mut self) {
        while self.work(usize::MAX) {}
        self.sync();
    }

    /// What is in the file, after a crash.
    pub(in crate::proxy) fn durable(&self) -> Vec<NumberedRow> {
        let rows = self.durable.iter();
        rows.map(|(number, row)| (*number, Zeroizing::new(row.clone()))).collect()
    }
}
