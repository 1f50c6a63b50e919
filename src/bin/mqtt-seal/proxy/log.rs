//! The log of the proxy, on standard error. Knows no event.

use std::io;

use tracing::Level;

/// Writes events from here on, as text or JSON. Texts of strangers are escaped in both.
pub(super) fn start(format: Option<&str>, level: Option<&str>) {
    let level = level.and_then(|level| level.parse().ok()).unwrap_or(Level::INFO);
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr);
    let log = log.with_ansi(false).with_target(false);
    if format == Some("json") {
        log.json().flatten_event(true).init();
    } else {
        log.init();
    }
}
