use super::*;
use core::convert::Infallible;
use std::sync::mpsc;
use std::vec;

use tokio::runtime::Builder;

use crate::guard::Guard;
use crate::keyring::Keyring;
use crate::policy::{Links, Policy, Rule, Transport};

/// Gives all counters, and tells how often it was asked.
struct Store(Arc<AtomicU64>, u32);

impl CounterStore for Store {
    type Error = Infallible;

    fn cannot_roll_back(&self) -> bool {
        true
    }

    fn reserve(&mut self, count: u32) -> Result<Range<u32>, Infallible> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let start = self.1;
        self.1 = start.saturating_add(count);
        Ok(start..self.1)
    }
}

fn number() -> SenderNumber {
    SenderNumber::new(7).unwrap()
}

/// The counters of one number, and how often they were reserved.
fn renewals() -> (Renewals, Arc<AtomicU64>) {
    let rule = Rule::sealed(["#"]).transport(Transport::Tcp).build().unwrap();
    let guard = Guard::new(Policy::new(vec![rule]), Keyring::default(), Links::Tcp).unwrap();
    let (tx, rx) = guard.split();
    let (guards, reserved) = (Guards::new(tx, rx, None), Arc::<AtomicU64>::default());
    let stores: Stores = vec![(number(), Box::new(Store(Arc::clone(&reserved), 0)))];
    let renewals = Renewals::new(stores, &guards, &Inbox::new(4), &Handle::current());
    (renewals, reserved)
}

fn times(reserved: &AtomicU64) -> u64 {
    reserved.load(Ordering::Relaxed)
}

#[tokio::test]
async fn need_that_others_had_too_is_met_once() {
    let (renewals, reserved) = renewals();
    let made = renewals.made();
    for _ in 0..2 {
        assert!(renewals.renew(number(), 1, made).await);
    }
    assert_eq!(times(&reserved), 1);
    assert!(renewals.renew(number(), 1, renewals.made()).await);
    assert_eq!(times(&reserved), 2);
}

#[test]
fn renewal_that_comes_late_reserves_nothing_more() {
    let runtime = Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    let _in_it = runtime.enter();
    let (renewals, reserved) = renewals();
    let (free, busy) = mpsc::channel::<()>();
    let waiting = runtime.spawn_blocking(move || busy.recv());
    renewals.renew_soon();
    assert!(renewals.lease(number()));
    drop(free);
    runtime.block_on(waiting).unwrap().unwrap_err();
    // behind it in the queue
    runtime.block_on(runtime.spawn_blocking(|| ())).unwrap();
    assert_eq!(times(&reserved), 1);
}
