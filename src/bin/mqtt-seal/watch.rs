//! `watch`: what the broker sees beside what a key holder sees, live.

mod screen;
mod topics;

use core::time::Duration;
use std::io::{self, IsTerminal as _};
use std::thread;
use std::time::Instant;

use mqtt_seal::client::{Event, EventLoop, Message};
use mqtt_seal::guard::{GuardRx, Incoming, OpenError};
use mqtt_seal::wire::Kind;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

use crate::fault::Fault;
use crate::interrupt::Interrupts;
use crate::session::{self, Client, SessionArgs, warn};
use crate::show;
use topics::{Seen, Topics};

/// Bytes of a payload that are shown.
const EXCERPT: usize = 64;
/// How often the screen is drawn.
const FRAME: Duration = Duration::from_millis(250);
/// How often the keyboard's thread looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// Watch what the broker sees beside what a key holder sees
///
/// On a terminal: a table of topics, with rates and mean sizes; q ends. In a pipe, or with --lines:
/// a line for each message, and the table at the end.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
#[command(after_help = "Example:\n  mqtt-seal watch -p 1883 -t sensor/# -W 1")]
pub(crate) struct Args {
    /// A filter of topics; may be repeated
    #[arg(short, long, required = true)]
    topic: Vec<String>,
    /// Print lines on a terminal, too
    #[arg(long)]
    lines: bool,
    /// End after this many messages
    #[arg(short = 'C', value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this many seconds
    #[arg(short = 'W', value_name = "SECONDS")]
    timeout: Option<u64>,
    #[command(flatten)]
    session: SessionArgs,
}

/// Where it is shown.
enum View {
    Lines,
    Screen { terminal: Box<DefaultTerminal>, title: String, colour: bool },
}

impl View {
    fn message(&mut self, seen: &Seen) -> Result<(), Fault> {
        match self {
            Self::Lines => show::line(&line(seen)),
            Self::Screen { .. } => Ok(()),
        }
    }

    fn draw(&mut self, topics: &Topics) -> Result<(), Fault> {
        if let Self::Screen { terminal, title, colour } = self {
            let now = Instant::now();
            terminal.draw(|frame| screen::draw(frame, title, topics, *colour, now))?;
        }
        Ok(())
    }
}

fn line(seen: &Seen) -> String {
    let holder = match &seen.holder {
        Ok(text) => format!("key holder: {text}"),
        Err(reason) => format!("rejected: {reason}"),
    };
    format!("{}  {} bytes, broker: {}  {holder}", seen.topic, seen.len, seen.broker)
}

/// Gives the terminal back, whatever happens.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Fault> {
        session::run(self.watch())
    }

    async fn watch(&self) -> Result<(), Fault> {
        let (client, mut events, mut rx) = self.session.start_beside_guard(&self.topic)?;
        let interrupts = Interrupts::new()?;
        for filter in &self.topic {
            client.subscribe(filter, self.session.qos()).await?;
        }
        let mut topics = Topics::new(Instant::now());
        let on_screen = io::stdout().is_terminal() && io::stdin().is_terminal() && !self.lines;
        let ended = if on_screen {
            // beside a screen a line of text would tear it
            let (_restore, view) = (Restore, self.screen()?);
            self.receive(&client, &mut events, interrupts, &mut rx, &mut topics, view).await
        } else {
            self.receive(&client, &mut events, interrupts, &mut rx, &mut topics, View::Lines).await
        };
        ended?;
        if client.disconnect().await.is_ok() {
            while events.poll().await.is_some() {}
        }
        summary(&topics)
    }

    fn screen(&self) -> Result<View, Fault> {
        let title = format!("mqtt-seal watch  {}  {}", self.session.broker(), self.topic.join(" "));
        let (title, colour) = (show::printable(&title), std::env::var_os("NO_COLOR").is_none());
        let terminal = Box::new(ratatui::try_init()?);
        Ok(View::Screen { terminal, title, colour })
    }

    async fn receive(
        &self,
        client: &Client,
        events: &mut EventLoop,
        mut interrupts: Interrupts,
        rx: &mut GuardRx,
        topics: &mut Topics,
        mut view: View,
    ) -> Result<(), Fault> {
        let seconds = self.timeout.map_or(Duration::MAX, Duration::from_secs);
        let (time, mut frames) = (tokio::time::sleep(seconds), tokio::time::interval(FRAME));
        let mut keys = keyboard(&view);
        let mut connected = false;
        tokio::pin!(time);
        loop {
            let event = tokio::select! {
                event = events.poll() => event,
                () = &mut time => return Ok(()),
                () = interrupts.next() => return Ok(()),
                Some(()) = keys.recv() => return Ok(()),
                _ = frames.tick() => {
                    view.draw(topics)?;
                    continue;
                }
            };
            match event {
                Some(Event::Message(message)) => {
                    let seen = seen(rx, &message);
                    client.ack(&message).await?;
                    view.message(&seen)?;
                    topics.take(seen, Instant::now());
                }
                Some(Event::LinkUp { .. }) => connected = true,
                Some(Event::LinkDown { error, .. }) if !connected => {
                    return Err(self.session.no_connection(&error));
                }
                Some(Event::SubscribeFailed { filter, .. }) => {
                    let what = format!("{filter}: the broker refused the subscription");
                    return Err(Fault::new(what, "check the broker's lists of who may read what"));
                }
                Some(Event::LinkDown { error, .. }) if matches!(view, View::Lines) => {
                    warn(&format!("{error}; connecting again"));
                }
                Some(_) => {}
                None => {
                    return Err(Fault::new("the connection ended", "see the broker's log"));
                }
            }
            if self.count.is_some_and(|count| topics.messages >= count) {
                return view.draw(topics);
            }
        }
    }
}

/// Tells when a key asks for the end. Without a screen nobody asks.
fn keyboard(view: &View) -> mpsc::Receiver<()> {
    let (ended, end) = mpsc::channel(1);
    if let View::Screen { .. } = view {
        thread::spawn(move || {
            while !ended.is_closed() {
                match event::poll(LOOK).and_then(|there| there.then(event::read).transpose()) {
                    Ok(Some(event::Event::Key(key))) if asks_for_end(key) => break,
                    Ok(_) => {}
                    // the terminal is gone
                    Err(_) => break,
                }
            }
            let _ = ended.blocking_send(());
        });
    }
    end
}

fn asks_for_end(key: KeyEvent) -> bool {
    let interrupt = key.code == KeyCode::Char('c') && key.modifiers == KeyModifiers::CONTROL;
    let quit = matches!(key.code, KeyCode::Char('q') | KeyCode::Esc);
    key.kind == KeyEventKind::Press && (interrupt || quit)
}

/// A message from both sides.
fn seen(rx: &mut GuardRx, message: &Message) -> Seen {
    let mut payload = Vec::new();
    let holder = open(rx, message, &mut payload).map_err(|error| error.to_string());
    Seen {
        topic: show::printable(&message.topic),
        len: message.payload.len(),
        broker: excerpt(&message.payload),
        holder: holder.map(|what| format!("{what}{}", excerpt(&payload))),
    }
}

/// Opens a message; tells what it is beside an ordinary one.
fn open(
    rx: &mut GuardRx,
    message: &Message,
    payload: &mut Vec<u8>,
) -> Result<&'static str, OpenError> {
    let properties: Vec<_> = message.properties.iter().collect();
    let incoming = Incoming::new(&message.topic, &message.payload, message.link)
        .properties(&properties)
        .retain(message.retain)
        .at(Some(crate::moment::now_ms()));
    // without a replay log nothing waits for one
    let delivery = rx.open(&incoming, payload)?.delivered().ok_or(OpenError::Stopped)?;
    Ok(match delivery.kind {
        Some(Kind::Will) => "will: ",
        Some(_) => "deleted",
        None => "",
    })
}

/// The beginning of a payload: as text where it is text, else in hexadecimal.
fn excerpt(payload: &[u8]) -> String {
    let (shown, rest) = payload.split_at_checked(EXCERPT).unwrap_or((payload, &[]));
    let text = match core::str::from_utf8(shown) {
        Ok(text) => show::printable(text),
        // cut in the middle of a character
        Err(error) if error.error_len().is_none() && !rest.is_empty() => {
            show::printable(shown.utf8_chunks().next().map_or("", |chunk| chunk.valid()))
        }
        Err(_) => base16ct::lower::encode_string(shown),
    };
    if rest.is_empty() { text } else { text + "…" }
}

/// What there was, at the end.
fn summary(topics: &Topics) -> Result<(), Fault> {
    let heads = ["topic", "messages", "rejected", "per second", "mean bytes"];
    let mut rows = vec![heads.map(String::from).to_vec()];
    let now = Instant::now();
    let seconds = topics.elapsed(now).as_secs().max(1);
    for (row, _) in topics.rows(usize::MAX, now) {
        let tenths = row.messages.saturating_mul(10).checked_div(seconds).unwrap_or_default();
        rows.push(vec![
            row.last.topic.clone(),
            row.messages.to_string(),
            row.rejected.to_string(),
            format!("{}.{}", tenths / 10, tenths % 10),
            row.mean().to_string(),
        ]);
    }
    show::line("")?;
    show::table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpt_is_text_or_hexadecimal_and_drives_no_terminal() {
        assert_eq!(excerpt(b"27"), "27");
        assert_eq!(excerpt(&[0xFC, 0x40]), "fc40");
        assert_eq!(excerpt(b"\x1b[2J"), "\\u{1b}[2J");
        assert_eq!(excerpt(&[b'x'; 65]), "x".repeat(64) + "…");
        assert_eq!(excerpt("é".repeat(40).as_bytes()), "é".repeat(32) + "…");
        assert_eq!(
            excerpt(("x".to_owned() + &"é".repeat(40)).as_bytes()),
            "x".to_owned() + &"é".repeat(31) + "…"
        );
    }

    #[test]
    fn q_escape_and_control_c_end_it_and_other_keys_do_not() {
        let plain = |code| KeyEvent::new(code, KeyModifiers::NONE);
        assert!(asks_for_end(plain(KeyCode::Char('q'))) && asks_for_end(plain(KeyCode::Esc)));
        assert!(asks_for_end(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(!asks_for_end(plain(KeyCode::Char('c'))));
    }
}
