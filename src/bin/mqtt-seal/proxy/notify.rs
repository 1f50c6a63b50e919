//! What a supervisor is told by way of `NOTIFY_SOCKET`. Knows systemd's words, and no proxy.

/// How far the proxy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It listens, or is done with a reload.
    Ready,
    /// It reads rules and keys again.
    Reloading,
    /// It ends.
    Stopping,
}

/// Tells the supervisor, if there is one.
#[cfg(unix)]
pub(super) fn tell(phase: Phase) {
    use sd_notify::NotifyState;

    let state = match phase {
        Phase::Ready => Ok(vec![NotifyState::Ready]),
        // systemd 253 and newer wait for the time, too
        Phase::Reloading => {
            NotifyState::monotonic_usec_now().map(|now| vec![NotifyState::Reloading, now])
        }
        Phase::Stopping => Ok(vec![NotifyState::Stopping]),
    };
    if let Err(error) = state.and_then(|state| sd_notify::notify(&state)) {
        tracing::warn!(%error, "the supervisor cannot be told");
    }
}

/// There is no such supervisor.
#[cfg(not(unix))]
pub(super) fn tell(_phase: Phase) {}
