//! `pub`: publishes, with the flags of mosquitto_pub.

use std::collections::VecDeque;
use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use mqtt_seal::client::{ClientError, Event, EventLoop, Ticket};
use mqtt_seal::guard::QoS;
use tokio::sync::{Notify, mpsc};

use crate::encoding;
use crate::fault::Fault;
use crate::session::{self, Client, SessionArgs, warn};

/// Lines of standard input that wait to be published.
const LINES_WAITING: usize = 100;
/// Messages whose acknowledgements are waited for while more are published.
const UNACKNOWLEDGED: usize = 1_000;

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
        let (client, events) = self.session.start()?;
        let up = Notify::new();
        let work = async {
            let sent = self.send(&client, &up, single).await;
            let left = client.disconnect().await;
            sent.and_then(|sent| left.map(|()| sent))
        };
        tokio::select! {
            done = async { tokio::try_join!(work, self.watch(events, &up)) } => {
                let (sent, ()) = done?;
                if self.source.stdin_line && io::stderr().is_terminal() {
                    warn(&format!("{sent} messages published"));
                }
                Ok(())
            }
            _ = tokio::signal::ctrl_c() => {
                Err(Fault::new("interrupted: what was not yet sent is lost", "publish it again"))
            }
        }
    }

    /// Publishes everything, and waits for its end; returns how many messages that were.
    async fn send(
        &self,
        client: &Client,
        up: &Notify,
        single: Option<Vec<u8>>,
    ) -> Result<u64, Fault> {
        if let Some(payload) = single {
            if let Some(ticket) = self.hand_over(client, up, payload).await? {
                ended(ticket.await)?;
            }
            return Ok(1);
        }
        let mut lines = lines();
        let mut tickets = VecDeque::new();
        let mut sent = 0_u64;
        while let Some(line) = lines.recv().await {
            tickets.extend(self.hand_over(client, up, line).await?);
            sent = sent.saturating_add(1);
            if tickets.len() > UNACKNOWLEDGED
                && let Some(first) = tickets.pop_front()
            {
                ended(first.await)?;
            }
        }
        for ticket in tickets {
            ended(ticket.await)?;
        }
        Ok(sent)
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
    async fn watch(&self, mut events: EventLoop, up: &Notify) -> Result<(), Fault> {
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
                Event::LinkDown { error, .. } => warn(&format!("{error}; connecting again")),
                _ => {}
            }
        }
        Ok(())
    }
}

/// What a ticket told.
fn ended(outcome: Result<(), ClientError>) -> Result<(), Fault> {
    outcome.map_err(|error| Fault::told(&error, "see the broker's log"))
}

impl Source {
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
