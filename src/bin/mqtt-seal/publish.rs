//! `pub`: publishes, with the flags of mosquitto_pub.

use core::time::Duration;
use std::collections::VecDeque;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use mqtt_seal::client::{ClientError, Event, EventLoop, Ticket};
use mqtt_seal::guard::QoS;
use tokio::sync::{Notify, mpsc};

use crate::encoding;
use crate::fault::Fault;
use crate::files::CountersArg;
use crate::interrupt::Interrupts;
use crate::session::{self, Client, SessionArgs, tell, warn};

/// Lines of standard input that wait to be published.
const LINES_WAITING: usize = 100;
/// Messages whose acknowledgements are waited for while more are published.
const UNACKNOWLEDGED: usize = 1_000;
/// The rate is drawn anew so often, also while nothing comes.
const REDRAWN: Duration = Duration::from_millis(200);

/// Publish, with the flags of mosquitto_pub
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
#[command(after_help = "Example:\n  mqtt-seal pub -p 1883 -t sensor/temp -m 27")]
pub(crate) struct Args {
    /// The topic
    #[arg(short, long)]
    topic: String,
    #[command(flatten)]
    source: Source,
    /// Let the broker retain the message
    #[arg(short, long)]
    retain: bool,
    /// Taken as mosquitto_pub has it, and without effect: a publisher needs nothing of a session
    /// that the broker keeps
    #[arg(short = 'c', long)]
    disable_clean_session: bool,
    #[command(flatten)]
    counters: CountersArg,
    #[command(flatten)]
    session: SessionArgs,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// The payload
    #[arg(short, long)]
    message: Option<String>,
    /// The file with the payload
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// A message for each line of standard input
    #[arg(short = 'l', long)]
    stdin_line: bool,
    /// All of standard input as one message
    #[arg(short = 's', long)]
    stdin_file: bool,
    /// No payload
    #[arg(short, long)]
    null_message: bool,
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Fault> {
        session::run(self.publish())
    }

    async fn publish(&self) -> Result<(), Fault> {
        let single = self.source.single()?;
        let (client, events) = self.session.start_counting(&self.counters)?;
        let mut interrupts = Interrupts::new()?;
        let (up, shown) = (Notify::new(), self.source.rate());
        let work = async {
            let sent = self.send(&client, &up, single, &shown).await;
            let left = client.disconnect().await;
            sent.and(left)
        };
        let done = tokio::select! {
            done = async { tokio::try_join!(work, self.watch(events, &up, &shown)) } => done.map(drop),
            () = interrupts.next() => Err(interrupted(shown.position())),
        };
        let on_terminal = !shown.is_hidden();
        shown.finish_and_clear();
        if on_terminal && done.is_ok() {
            tell(&format!("{} messages published", shown.position()));
        }
        done
    }

    /// Publishes everything, and waits for its end.
    async fn send(
        &self,
        client: &Client,
        up: &Notify,
        single: Option<Vec<u8>>,
        shown: &ProgressBar,
    ) -> Result<(), Fault> {
        if let Some(payload) = single {
            if let Some(ticket) = self.hand_over(client, up, payload).await? {
                ended(ticket.await)?;
            }
            shown.inc(1);
            return Ok(());
        }
        let mut lines = lines();
        let mut tickets = VecDeque::new();
        while let Some(line) = lines.recv().await {
            tickets.extend(self.hand_over(client, up, line).await?);
            shown.inc(1);
            if tickets.len() > UNACKNOWLEDGED
                && let Some(first) = tickets.pop_front()
            {
                ended(first.await)?;
            }
        }
        for ticket in tickets {
            ended(ticket.await)?;
        }
        Ok(())
    }

    /// Gives a message to its link, and returns what tells its end. One of QoS 0 has ended then;
    /// without a link it was let go, and is given once more when there is one.
    async fn hand_over(
        &self,
        client: &Client,
        up: &Notify,
        payload: Vec<u8>,
    ) -> Result<Option<Ticket>, Fault> {
        let (topic, qos) = (self.topic.as_str(), self.session.qos());
        loop {
            let ticket = client.publish(topic, qos, self.retain, payload.clone()).await?;
            if qos != QoS::AtMostOnce {
                return Ok(Some(ticket));
            }
            match ticket.await {
                Err(ClientError::Dropped) => up.notified().await,
                outcome => return ended(outcome).map(|()| None),
            }
        }
    }

    /// Watches the link until it ends. What becomes of messages, their tickets tell.
    async fn watch(
        &self,
        mut events: EventLoop,
        up: &Notify,
        shown: &ProgressBar,
    ) -> Result<(), Fault> {
        let mut connected = false;
        while let Some(event) = events.poll().await {
            match event {
                Event::LinkUp { .. } => {
                    connected = true;
                    up.notify_one();
                }
                Event::LinkDown { error, .. } if !connected => {
                    return Err(self.session.no_connection(&error));
                }
                // without counters nothing goes out, now or later
                Event::CountersFailed { error, .. } => {
                    return Err(Fault::told(&error, "see that the counter file can be written"));
                }
                Event::LinkDown { error, .. } => {
                    shown.suspend(|| warn(&format!("{error}; connecting again")));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn interrupted(messages: u64) -> Fault {
    let what = format!("interrupted at {messages} messages: the last of them may be lost");
    Fault::new(what, "publish with -q 1 and to the end to lose none")
}

/// What a ticket told.
fn ended(outcome: Result<(), ClientError>) -> Result<(), Fault> {
    outcome.map_err(|error| Fault::told(&error, "see the broker's log"))
}

impl Source {
    /// What counts the messages, and on a terminal shows lines and their rate as they go out.
    fn rate(&self) -> ProgressBar {
        if !self.stdin_line {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::no_length();
        if let Ok(style) = ProgressStyle::with_template("{pos} messages, {per_sec}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(REDRAWN);
        bar
    }

    /// The one payload; `None` for lines.
    fn single(&self) -> Result<Option<Vec<u8>>, Fault> {
        if self.stdin_line {
            return Ok(None);
        }
        let file = self.file.as_deref().or_else(|| self.stdin_file.then_some(Path::new("-")));
        Ok(Some(match (&self.message, file) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(path)) => encoding::read(Some(path))?.to_vec(),
            (None, None) => Vec::new(),
        }))
    }
}

/// The lines of standard input, without their ends. A thread reads them: a terminal cannot be asked.
fn lines() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(LINES_WAITING);
    std::thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n') {
            let Ok(mut line) = line else { return };
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
