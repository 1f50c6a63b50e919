//! Guards and a broker in one thread, under a virtual clock and random schedules.
//!
//! `MQTT_SEAL_SEED=N cargo test --test simulated` runs the one schedule of that number;
//! `MQTT_SEAL_LONG=1` runs ten times as many.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod broker;
mod measured;
mod receiver;
mod rng;
mod sender;
mod world;

use std::time::Instant;

use world::{Tally, World};

const SCHEDULES: u64 = 10_000;

/// Every `step`th schedule from `first` on.
fn run_every(first: u64, step: u64, schedules: u64) -> Tally {
    let mut tally = Tally::default();
    for seed in (first..schedules).step_by(usize::try_from(step).unwrap()) {
        let run = std::panic::catch_unwind(|| World::run(seed));
        tally.add(&run.unwrap_or_else(|_| panic!("see MQTT_SEAL_SEED={seed}")));
    }
    tally
}

#[test]
fn no_schedule_breaks_a_promise() {
    if let Some(seed) = std::env::var_os("MQTT_SEAL_SEED") {
        World::run(seed.to_str().unwrap().parse().unwrap());
        return;
    }
    let schedules = if std::env::var_os("MQTT_SEAL_LONG").is_some() { 10 } else { 1 } * SCHEDULES;
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let workers: Vec<_> = (0..threads)
        .map(|first| std::thread::spawn(move || run_every(first, threads, schedules)))
        .collect();
    let mut tally = Tally::default();
    for worker in workers {
        tally.add(&worker.join().unwrap());
    }
    let per_second = schedules / started.elapsed().as_secs().max(1);
    println!("{schedules} schedules, {per_second} per second: {tally:?}");
    // a simulation in which something never happens proves nothing about it
    tally.assert_all_happened();
}
