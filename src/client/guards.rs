//! The guard as links and handles share it, and the clock. Knows no network.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::guard::{GuardRx, GuardTx};

/// Both halves of the guard, which all links and handles share. Each is held for one message at a
/// time.
#[derive(Debug, Clone)]
pub(super) struct Guards {
    tx: Arc<Mutex<GuardTx>>,
    rx: Arc<Mutex<GuardRx>>,
}

impl Guards {
    pub(super) fn new(tx: GuardTx, rx: GuardRx) -> Self {
        Self { tx: Arc::new(Mutex::new(tx)), rx: Arc::new(Mutex::new(rx)) }
    }

    // A guard that panicked has spent its counter first and delivered nothing: it may be used.
    pub(super) fn tx(&self) -> MutexGuard<'_, GuardTx> {
        self.tx.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn rx(&self) -> MutexGuard<'_, GuardRx> {
        self.rx.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock in Unix milliseconds; `None` if it stands before 1970.
pub(super) fn now() -> Option<u64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.ok().and_then(|d| u64::try_from(d.as_millis()).ok())
}
