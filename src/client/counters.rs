//! Counters of compact form, reserved before they are needed. Knows stores, and no messages.

use core::error::Error;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::boxed::Box;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use tokio::runtime::Handle;

use super::event::Event;
use super::guards::Guards;
use super::inbox::Inbox;
use crate::guard::RenewError;
use crate::session::CounterStore;
use crate::wire::header::SenderNumber;

/// Counters that are reserved at a time; a stop loses up to twice as many of 2^32.
const BLOCK: u32 = 1_024;

type StoreError = Box<dyn Error + Send + Sync>;

/// A counter store of any kind.
pub(super) trait Counters: Send {
    fn reserve(&mut self, count: u32) -> Result<Range<u32>, StoreError>;
    fn cannot_roll_back(&self) -> bool;
}

impl<S> Counters for S
where
    S: CounterStore + Send,
    S::Error: Send + Sync + 'static,
{
    fn reserve(&mut self, count: u32) -> Result<Range<u32>, StoreError> {
        CounterStore::reserve(self, count).map_err(Into::into)
    }

    fn cannot_roll_back(&self) -> bool {
        CounterStore::cannot_roll_back(self)
    }
}

/// The stores of a client, by sender number.
pub(super) type Stores = Vec<(SenderNumber, Box<dyn Counters>)>;

/// Keeps the guard in counters.
#[derive(Clone)]
pub(super) struct Renewals(Arc<[Numbered]>);

struct Numbered {
    number: SenderNumber,
    store: Mutex<Box<dyn Counters>>,
    /// Whether a renewal that nobody waits for is on its way.
    on_its_way: AtomicBool,
    made: AtomicU64,
    guards: Guards,
    inbox: Arc<Inbox>,
    runtime: Handle,
}

impl Renewals {
    pub(super) fn new(
        stores: Stores,
        guards: &Guards,
        inbox: &Arc<Inbox>,
        runtime: &Handle,
    ) -> Self {
        let numbered = |(number, store)| Numbered {
            number,
            store: Mutex::new(store),
            on_its_way: AtomicBool::new(false),
            made: AtomicU64::new(0),
            guards: guards.clone(),
            inbox: Arc::clone(inbox),
            runtime: runtime.clone(),
        };
        Self(stores.into_iter().map(numbered).collect())
    }

    /// Whether there is a store for a number.
    pub(super) fn has(&self, number: SenderNumber) -> bool {
        self.0.iter().any(|own| own.number == number)
    }

    /// How often counters of any number were added. Who asks before it turns out that some are
    /// missing can tell whether others may have had the same need.
    pub(super) fn made(&self) -> u64 {
        self.0.iter().fold(0, |made, own| made.wrapping_add(own.made()))
    }

    /// Blocks until counters of a number are on storage; `false` if there are none to be had.
    pub(super) fn lease(&self, number: SenderNumber) -> bool {
        self.0.iter().find(|own| own.number == number).is_some_and(|own| {
            let made = own.made();
            own.add_unless(|| own.made() != made, BLOCK)
        })
    }

    /// Reserves more for each number of which half is used, on another thread.
    pub(super) fn renew_soon(&self) {
        for (at, own) in self.0.iter().enumerate() {
            let made = own.made();
            if own.guards.tx().wants_lease(own.number)
                && !own.on_its_way.swap(true, Ordering::AcqRel)
            {
                let all = Arc::clone(&self.0);
                own.runtime.spawn_blocking(move || {
                    if let Some(own) = all.get(at) {
                        own.add_unless(|| own.made() != made, BLOCK);
                        own.on_its_way.store(false, Ordering::Release);
                    }
                });
            }
        }
    }

    /// Waits until more counters of a number are reserved, at least so many, or until others added
    /// some since there were `made` renewals; `false` if there are none to be had.
    pub(super) async fn renew(&self, number: SenderNumber, count: u32, made: u64) -> bool {
        let Some(at) = self.0.iter().position(|own| own.number == number) else {
            return false;
        };
        let all = self.clone();
        let added = tokio::task::spawn_blocking(move || {
            let met = || all.made() != made;
            all.0.get(at).is_some_and(|own| own.add_unless(met, count.max(BLOCK)))
        });
        added.await.unwrap_or(false)
    }
}

impl Numbered {
    /// How often counters were added.
    fn made(&self) -> u64 {
        self.made.load(Ordering::Acquire)
    }

    /// Blocks until counters are on storage, unless the need was met meanwhile.
    fn add_unless(&self, met: impl FnOnce() -> bool, count: u32) -> bool {
        let mut store = self.store();
        if met() {
            return true;
        }
        let added = store.reserve(count).map_err(RenewError::Store).and_then(|range| {
            let cannot_roll_back = store.cannot_roll_back();
            let added = self.guards.tx().add_lease(self.number, &range, cannot_roll_back);
            added.map_err(RenewError::Lease)
        });
        let Err(error) = added else {
            self.made.fetch_add(1, Ordering::Release);
            return true;
        };
        let error = match error {
            RenewError::Store(error) => error,
            RenewError::Lease(error) => error.into(),
        };
        self.inbox.push_or_miss(Event::CountersFailed { number: self.number, error });
        false
    }

    // A store that panicked reserved nothing that anyone uses.
    fn store(&self) -> MutexGuard<'_, Box<dyn Counters>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Renewals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|own| own.number)).finish()
    }
}

#[cfg(test)]
mod tests;
