use super::*;
use crate::guard::lru::Lru;
use std::format;

const ID: SessionId = SessionId::Random([1; 12]);

fn message(counter: u32) -> Authentic {
    Authentic::forged(KeyId::new([0; 4]), ID, counter)
}

fn stream(table: &mut ReplayTable, scope: &str, topic: &str) -> StateKey {
    let topic = TopicName::parse(topic).unwrap();
    table.stream_key(ScopeRef::Named(scope), KeyId::new([0; 4]), ID, topic)
}

#[test]
fn lower_limits_hold_at_once() {
    let mut table = ReplayTable::new([1; 16], ReplayLimits::default());
    for topic in 0..100 {
        let topic = format!("t{topic}");
        let key = stream(&mut table, "s", &topic);
        table.accept(key, &message(0), false).unwrap();
        let key = table.record_key(ScopeRef::Named("s"), TopicName::parse(&topic).unwrap());
        table.accept_latest(key, &message(0), &Arrival::default()).unwrap();
    }
    table.set_limits(ReplayLimits { windows: 1, records: 2, ring: 90, ..ReplayLimits::default() });
    assert_eq!((table.streams.len(), table.stream_graves.len()), (1, 90));
    assert_eq!((table.records.len(), table.record_graves.len()), (2, 90));
    assert_eq!(table.lost, 9 + 8);
}

#[test]
fn a_stream_takes_at_most_192_bytes() {
    // key, stream and links of one entry, and its slot in the table: an index and a control byte
    // at a load of at least 7/16
    let entry = Lru::<StateHash, Stream>::ENTRY_SIZE + (4 + 1) * 16 / 7;
    assert!(entry <= 192, "{entry}");
}

#[test]
fn a_promise_is_given_when_a_counter_passes_the_last_and_for_a_will_once() {
    let lease = Lease::default();
    let first = lease.for_counter(0).unwrap();
    assert_eq!((first.end, first.ahead), (65, 64));
    assert_eq!(first.for_counter(64), None);
    assert_eq!(first.for_counter(65).unwrap().end, 130);
    let will = first.for_counter(WILL_COUNTER).unwrap();
    assert_eq!((will.end, will.ahead, will.will), (65, 64, true));
    assert_eq!(will.for_counter(WILL_COUNTER), None);
}

#[test]
fn a_promise_at_the_end_of_the_counters_does_not_wrap() {
    let last = Lease::default().for_counter(WILL_COUNTER - 1).unwrap();
    assert_eq!((last.end, last.end - u32::from(last.ahead)), (u32::MAX, WILL_COUNTER));
}

#[test]
fn without_a_log_nothing_is_promised() {
    let mut table = ReplayTable::new([1; 16], ReplayLimits::default());
    let key = stream(&mut table, "s", "t");
    table.accept(key, &message(0), false).unwrap();
    assert_eq!(table.promise(key, 0), None);
}

#[test]
fn changes_that_nobody_fetches_are_bounded() {
    let limits = ReplayLimits { windows: 1, ring: 1, ..ReplayLimits::default() };
    let mut table = ReplayTable::new([1; 16], limits);
    table.restore(alloc::vec![], crate::guard::Prefer::NoReplay).unwrap();
    for topic in 0..MAX_PENDING + 100 {
        let key = stream(&mut table, "s", &format!("t{topic}"));
        table.accept(key, &message(0), false).unwrap();
    }
    assert_eq!(table.journal.unwrap().take().len(), MAX_PENDING);
}
