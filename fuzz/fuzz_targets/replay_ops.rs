//! Messages in any order, confirmations, evictions and restarts of a receiver with a log, beside a
//! model in sets. With automatic confirmation the model knows every verdict. With confirmation by
//! hand it knows that nothing confirmed comes again, nothing is new twice in one life, and that
//! what is higher than everything so far is new.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use mqtt_seal::guard::{
    GuardRx, Incoming, MemoryLog, OpenError, OpenWithLogError, Prefer, Receipt, ReplayLog, Write,
};
use mqtt_seal::policy::Link;
use mqtt_seal::replay::{Rejected, Verdict};
use mqtt_seal_fuzz::{message, replay_receiver, take};

const TOPICS: [&str; 4] = ["window/a", "window/b", "window/c", "window/d"];
const MANUAL: u8 = 1;
const NO_LOSS: u8 = 2;
const FEW: u8 = 4;
/// Operations of one run.
const MAX_STEPS: usize = 200;
// SPEC §7.1, §7.4
const WIDTH: u32 = 1_024;
const LEASE: u32 = 64;

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let [flags] = take(&mut data);
    let mut run = Run::new(flags);
    for _ in 0..MAX_STEPS {
        if data.is_empty() {
            break;
        }
        let [op, number] = take(&mut data);
        let at = usize::from(op >> 3) % TOPICS.len();
        let number = u32::from(number);
        let next = run.model.streams[at].top;
        match op % 8 {
            0 | 1 => run.open(at, next.saturating_add(number)),
            2 => run.open(at, next.saturating_sub(number)),
            3 => run.open(at, next.saturating_sub(number * 8)),
            4 => run.open(at, number * 257),
            5 => run.confirm(usize::from(op >> 3) + usize::try_from(number).expect("a byte")),
            6 => run.restart(true),
            _ => run.restart(false),
        }
    }
});

/// A receiver, its log, and the model of both.
struct Run {
    rx: GuardRx,
    log: MemoryLog,
    receipts: Vec<(usize, u32, Receipt)>,
    model: Model,
    flags: u8,
}

impl Run {
    fn new(flags: u8) -> Self {
        let windows = if flags & FEW == 0 { 1_000 } else { 2 };
        let model = Model { windows, ..Model::default() };
        let mut log = MemoryLog::default();
        let rx = start(&mut log, flags, windows);
        Self { rx, log, receipts: vec![], model, flags }
    }

    fn open(&mut self, at: usize, counter: u32) {
        let (topic, mut out) = (TOPICS[at], vec![]);
        let sealed = message(topic, counter);
        let incoming = Incoming::new(topic, &sealed, Link::Tcp);
        let opened = match self.rx.open_with_log(&incoming, &mut out, &mut self.log) {
            Ok(delivery) => {
                self.receipts.extend(delivery.receipt.map(|receipt| (at, counter, receipt)));
                Ok(delivery.verdict.expect("it was sealed"))
            }
            Err(OpenWithLogError::Open(OpenError::Rejected(rejected))) => Err(rejected),
            Err(error) => unreachable!("{error:?}"),
        };
        if self.flags & MANUAL == 0 {
            assert_eq!(opened.ok(), self.model.expected(at, counter), "{topic} {counter}");
        } else {
            self.model.allows(at, counter, opened);
        }
        if opened == Ok(Verdict::New) {
            self.model.accept(at, counter, self.flags & MANUAL != 0);
        }
    }

    fn confirm(&mut self, choice: usize) {
        let Some(place) = choice.checked_rem(self.receipts.len()) else { return };
        let (at, counter, receipt) = self.receipts.swap_remove(place);
        let Ok(()) = self.rx.confirm_with_log(receipt, &mut self.log);
        let stream = &mut self.model.streams[at];
        stream.confirmed.insert(counter);
        stream.top = stream.top.max(counter + 1 + LEASE);
    }

    fn restart(&mut self, clean: bool) {
        if clean {
            write(&mut self.log, &self.rx.stop());
        }
        self.rx = start(&mut self.log, self.flags, self.model.windows);
        self.receipts.clear();
        if clean {
            self.model.stop()
        } else {
            self.model.crash(self.flags & NO_LOSS != 0)
        }
        for stream in &mut self.model.streams {
            stream.life.clear();
        }
    }
}

fn start(log: &mut MemoryLog, flags: u8, windows: usize) -> GuardRx {
    let prefer = if flags & NO_LOSS == 0 { Prefer::NoReplay } else { Prefer::NoLoss };
    let mut rx = replay_receiver(windows);
    if flags & MANUAL != 0 {
        rx.confirm_manually();
    }
    let Ok(rows) = log.rows();
    let writes = rx.restore(rows, prefer).expect("what a receiver wrote");
    write(log, &writes);
    rx
}

fn write(log: &mut MemoryLog, writes: &[Write]) {
    let Ok(()) = log.write(writes);
}

/// A promise to the log: counters below `end`, of which `ahead` were not delivered then.
#[derive(Clone, Copy, Default)]
struct Lease {
    end: u32,
    ahead: u32,
}

#[derive(Default)]
struct Stream {
    /// Delivered, as far as it is to be known.
    seen: BTreeSet<u32>,
    /// Delivered in this life.
    life: BTreeSet<u32>,
    confirmed: BTreeSet<u32>,
    /// Above everything that was delivered or promised.
    top: u32,
    /// One more than the highest counter of the window.
    next: u32,
    /// Counters below are refused.
    floor: u32,
    live: bool,
    lease: Lease,
    /// What the log has.
    written: Option<Lease>,
}

#[derive(Default)]
struct Model {
    streams: [Stream; TOPICS.len()],
    /// Those with a window, the least recently accepted first.
    recent: Vec<usize>,
    windows: usize,
}

impl Model {
    /// With automatic confirmation.
    fn expected(&self, at: usize, counter: u32) -> Option<Verdict> {
        let stream = &self.streams[at];
        let refused = counter < stream.floor
            || stream.seen.contains(&counter)
            || stream.live && counter + WIDTH < stream.next;
        (!refused).then_some(Verdict::New)
    }

    /// With confirmation by hand.
    fn allows(&self, at: usize, counter: u32, opened: Result<Verdict, Rejected>) {
        let Stream { life, confirmed, top, .. } = &self.streams[at];
        let (met, done) = (life.contains(&counter), confirmed.contains(&counter));
        match opened {
            Ok(Verdict::New) => assert!(!met && !done, "{at} {counter}"),
            Ok(Verdict::Redelivered) => assert!(met && !done, "{at} {counter}"),
            Ok(other) => panic!("{at} {counter}: {other:?}"),
            Err(rejected) => assert!(counter < *top, "{at} {counter}: {rejected:?}"),
        }
    }

    fn accept(&mut self, at: usize, counter: u32, manual: bool) {
        let stream = &mut self.streams[at];
        stream.seen.insert(counter);
        stream.life.insert(counter);
        stream.live = true;
        stream.next = stream.next.max(counter + 1);
        stream.top = stream.top.max(stream.next);
        if !manual && counter >= stream.lease.end {
            stream.lease = Lease { end: counter + 1 + LEASE, ahead: LEASE };
            stream.written = Some(stream.lease);
            stream.top = stream.top.max(stream.lease.end);
        }
        self.recent.retain(|other| *other != at);
        self.recent.push(at);
        if self.recent.len() > self.windows {
            self.streams[self.recent.remove(0)].bury();
        }
    }

    fn stop(&mut self) {
        for stream in self.streams.iter_mut().filter(|stream| stream.written.is_some()) {
            // what was delivered, and what was promised beyond it while the stream had a window
            let delivered = stream.next.max(stream.floor);
            let end = if stream.live { stream.lease.end.max(delivered) } else { delivered };
            stream.lease = Lease { end, ahead: end - delivered };
            stream.written = Some(stream.lease);
        }
    }

    fn crash(&mut self, no_loss: bool) {
        self.recent.clear();
        for stream in &mut self.streams {
            if let Some(Lease { end, ahead }) = stream.written {
                stream.next = if no_loss { end - ahead } else { end };
                // what an evicted window had taken was not written either
                stream.floor = 0;
                stream.bury();
                stream.lease = Lease { end: stream.floor, ahead: 0 };
                stream.written = Some(stream.lease);
            }
            if no_loss {
                let floor = stream.floor;
                stream.seen.retain(|counter| *counter < floor);
                stream.confirmed.clear();
            }
        }
    }
}

impl Stream {
    fn bury(&mut self) {
        self.live = false;
        self.floor = self.floor.max(self.next);
    }
}
