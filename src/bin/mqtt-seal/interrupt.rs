//! Ctrl-C, which must not be lost while nobody waits for it.

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal as Source, SignalKind};
#[cfg(windows)]
use tokio::signal::windows::{CtrlC as Source, ctrl_c as source};

use crate::fault::Fault;

/// Interrupts by the user, since this was made.
pub(crate) struct Interrupts(Source);

impl Interrupts {
    /// Needs a tokio runtime.
    pub(crate) fn new() -> Result<Self, Fault> {
        source().map(Self).map_err(|error| {
            let what = format!("signals cannot be received, {}", error.kind());
            Fault::new(what, "start it another way")
        })
    }

    /// Returns when there is one that was not told yet. Cancel safe.
    pub(crate) async fn next(&mut self) {
        // there is no end of signals
        let _ = self.0.recv().await;
    }
}

#[cfg(unix)]
fn source() -> io::Result<Source> {
    tokio::signal::unix::signal(SignalKind::interrupt())
}
