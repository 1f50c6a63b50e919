//! Whatever a replay log holds, a receiver refuses it and then opens nothing, or takes it up and
//! then keeps its promises: nothing is delivered twice, also not by the next receiver on the log.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt_seal::guard::{
    GuardRx, Incoming, MemoryLog, OpenError, OpenWithLogError, Prefer, ROW_KEY_LEN, ReplayLog,
    RowKey, Write,
};
use mqtt_seal::policy::Link;
use mqtt_seal_fuzz::{message, replay_receiver, take};

const WINDOWS: usize = 4;
const TOPICS: [&str; 4] = ["window/a", "window/b", "latest/a", "latest/b"];
const COUNTERS: [u32; 5] = [0, 1, 70, 70_000, u32::MAX - 1];

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let [flags] = take(&mut data);
    let prefer = if flags & 1 == 0 { Prefer::NoReplay } else { Prefer::NoLoss };
    let mut log = MemoryLog::default();
    write(&mut log, &rows(data));

    let mut rx = replay_receiver(WINDOWS);
    let Some(writes) = restored(&mut rx, &mut log, prefer) else {
        assert_eq!(open(&mut rx, "window/a", 0, &mut log), Err(OpenError::Stopped));
        return;
    };
    write(&mut log, &writes);
    let delivered: Vec<(&str, u32)> = messages()
        .filter(|(topic, counter)| open(&mut rx, topic, *counter, &mut log).is_ok())
        .collect();
    refuses(&mut rx, &delivered, &mut log);
    let writes = rx.stop();
    write(&mut log, &writes);

    let mut rx = replay_receiver(WINDOWS);
    let writes = restored(&mut rx, &mut log, prefer).expect("what a receiver wrote");
    write(&mut log, &writes);
    refuses(&mut rx, &delivered, &mut log);
});

/// Rows of the input: a key, a length, a value.
fn rows(mut data: &[u8]) -> Vec<Write> {
    let mut rows = vec![];
    while !data.is_empty() {
        let key = RowKey::new(take::<ROW_KEY_LEN>(&mut data));
        let [len] = take(&mut data);
        let (value, rest) = data.split_at(usize::from(len).min(data.len()));
        data = rest;
        rows.push(Write::Put(key, value.to_vec()));
    }
    rows
}

fn messages() -> impl Iterator<Item = (&'static str, u32)> {
    TOPICS.into_iter().flat_map(|topic| COUNTERS.map(|counter| (topic, counter)))
}

fn write(log: &mut MemoryLog, writes: &[Write]) {
    let Ok(()) = log.write(writes);
}

fn restored(rx: &mut GuardRx, log: &mut MemoryLog, prefer: Prefer) -> Option<Vec<Write>> {
    let Ok(rows) = log.rows();
    rx.restore(rows, prefer).ok()
}

fn open(rx: &mut GuardRx, topic: &str, counter: u32, log: &mut MemoryLog) -> Result<(), OpenError> {
    let (sealed, mut out) = (message(topic, counter), vec![]);
    match rx.open_with_log(&Incoming::new(topic, &sealed, Link::Tcp), &mut out, log) {
        Ok(_) => Ok(assert_eq!(out, b"27")),
        Err(OpenWithLogError::Open(error)) => Err(error),
        Err(error) => unreachable!("{error:?}"),
    }
}

fn refuses(rx: &mut GuardRx, delivered: &[(&str, u32)], log: &mut MemoryLog) {
    for (topic, counter) in delivered {
        let again = open(rx, topic, *counter, log);
        assert!(matches!(again, Err(OpenError::Rejected(_))), "{topic} {counter}: {again:?}");
    }
}
