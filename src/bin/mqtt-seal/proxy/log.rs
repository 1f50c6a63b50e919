//! The log of the proxy, on standard error: a line for each event, whatever is in it. Knows no event.

use std::io::{self, Write};

use tracing::Level;

use crate::show;

/// Writes events from here on, as text or JSON.
pub(super) fn start(format: Option<&str>, level: Option<&str>) {
    let level = level.and_then(|level| level.parse().ok()).unwrap_or(Level::INFO);
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(|| Lines(io::stderr()));
    let log = log.with_ansi(false).with_target(false);
    if format == Some("json") {
        log.json().flatten_event(true).init();
    } else {
        log.init();
    }
}

/// Takes an event at each call, and writes it as one line: a client ID or a topic with a line break
/// in it would else forge events, and one with control characters would command a terminal.
struct Lines<W>(W);

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = show::printable(text.strip_suffix('\n').unwrap_or(&text));
        self.0.write_all(format!("{line}\n").as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let mut written = Vec::new();
        let event = b"WARN client_id=a\nERROR forged \x1b[2J \xff topic=\"b\"\n";
        Lines(&mut written).write_all(event).unwrap();
        let written = String::from_utf8(written).unwrap();
        assert_eq!(written.matches('\n').count(), 1, "{written}");
        assert!(written.starts_with("WARN client_id=a\\nERROR forged \\u{1b}[2J "), "{written}");
    }
}
