//! `sub`: subscribes, with the flags of mosquitto_sub.

mod format;

use core::time::Duration;
use std::io::{self, Write};

use mqtt_seal::client::{Event, EventLoop, Message};

use crate::fault::Fault;
use crate::interrupt::Interrupts;
use crate::session::{self, Client, KeptArg, SessionArgs, warn};
use crate::{rejected, show};

/// Subscribe, with the flags of mosquitto_sub
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
#[command(
    after_help = "Example:\n  mqtt-seal sub -p 1883 -t sensor/# -v\n\nFields of -F: those of mosquitto_sub %t %p %x %X %l %q %r %U %%, and %{protection} %{generation}\n%{kid} %{session} %{counter} %{age} %{verdict}"
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Args {
    /// A filter of topics; may be repeated
    #[arg(short, long, required = true)]
    topic: Vec<String>,
    /// Print the topic before each payload
    #[arg(short, long)]
    verbose: bool,
    /// Print each message like this
    #[arg(short = 'F', long, value_name = "FORMAT", conflicts_with = "verbose")]
    format: Option<String>,
    /// Print each message as JSON
    #[arg(long, conflicts_with_all = ["verbose", "format"])]
    json: bool,
    /// Print no line end behind payloads
    #[arg(short = 'N')]
    no_line_end: bool,
    /// Leave out what the broker had retained
    #[arg(short = 'R')]
    no_retained: bool,
    /// End after this many messages
    #[arg(short = 'C', value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this many seconds: with exit code 3, unless messages came, and all of -C
    #[arg(short = 'W', value_name = "SECONDS")]
    timeout: Option<u64>,
    /// End with exit code 4 if a message was rejected that did not merely come twice
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    kept: KeptArg,
    #[command(flatten)]
    session: SessionArgs,
}

/// What came so far.
#[derive(Default)]
struct Seen {
    messages: u64,
    rejected: u64,
    connected: bool,
}

/// Why a subscription ends.
enum End {
    Enough,
    Time,
    Interrupted,
    Disconnected,
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Fault> {
        session::run(self.subscribe())
    }

    async fn subscribe(&self) -> Result<(), Fault> {
        let (client, mut events) = if self.kept.is_wanted() {
            self.session.start_keeping(&self.kept)?
        } else {
            self.session.start()?
        };
        let interrupts = Interrupts::new()?;
        for filter in &self.topic {
            client.subscribe(filter, self.session.qos()).await?;
        }
        let mut seen = Seen::default();
        let end = self.receive(&client, &mut events, interrupts, &mut seen).await?;
        // a link that was never up has nothing to end
        if seen.connected && client.disconnect().await.is_ok() {
            while events.poll().await.is_some() {}
        }
        self.conclude(&end, &seen)
    }

    async fn receive(
        &self,
        client: &Client,
        events: &mut EventLoop,
        mut interrupts: Interrupts,
        seen: &mut Seen,
    ) -> Result<End, Fault> {
        let seconds = self.timeout.map_or(Duration::MAX, Duration::from_secs);
        let time = tokio::time::sleep(seconds);
        tokio::pin!(time);
        loop {
            let event = tokio::select! {
                event = events.poll() => event,
                () = &mut time => return Ok(End::Time),
                () = interrupts.next() => return Ok(End::Interrupted),
            };
            let Some(event) = event else {
                return Ok(End::Disconnected);
            };
            self.take(client, event, seen).await?;
            if self.count.is_some_and(|count| seen.messages >= count) {
                return Ok(End::Enough);
            }
        }
    }

    async fn take(&self, client: &Client, event: Event, seen: &mut Seen) -> Result<(), Fault> {
        match event {
            Event::Message(message) => {
                if !(self.no_retained && message.retain) {
                    self.print(&message)?;
                    seen.messages = seen.messages.saturating_add(1);
                }
                client.ack(&message).await?;
            }
            Event::Rejected { topic, reason, .. } => {
                let topic = show::printable(&topic);
                warn(&format!("{topic} rejected: {reason}\n  fix: {}", rejected::fix(reason)));
                seen.rejected =
                    seen.rejected.saturating_add(u64::from(!rejected::is_harmless(reason)));
            }
            // anyone on the way can say so: no line for whoever reads the messages
            Event::Cleared { topic, .. } => {
                session::tell(&format!("cleared: {}", show::printable(&topic)));
            }
            Event::LinkUp { .. } => seen.connected = true,
            Event::LinkDown { error, .. } if !seen.connected => {
                return Err(self.session.no_connection(&error));
            }
            Event::LinkDown { error, .. } => warn(&format!("{error}; connecting again")),
            Event::SubscribeFailed { filter, .. } => {
                let what = format!("{filter}: the broker refused the subscription");
                return Err(Fault::new(what, "check the broker's lists of who may read what"));
            }
            Event::Missed { count, .. } => warn(&format!("{count} events were not kept")),
            _ => {}
        }
        Ok(())
    }

    fn print(&self, message: &Message) -> Result<(), Fault> {
        if self.json {
            return show::json(&format::json(message));
        }
        let mut line = match &self.format {
            Some(format) => format::fields(format, message),
            None if self.verbose => [message.topic.as_bytes(), b" ", &message.payload].concat(),
            None => message.payload.clone(),
        };
        if !self.no_line_end {
            line.push(b'\n');
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(&line)?;
        Ok(stdout.flush()?)
    }

    fn conclude(&self, end: &End, seen: &Seen) -> Result<(), Fault> {
        let Seen { messages, rejected, .. } = seen;
        let counts = format!("{messages} messages, {rejected} rejected");
        if let End::Interrupted = end {
            warn(&counts);
        }
        if self.strict && *rejected > 0 {
            return Err(Fault::rejected(counts, "do what stands beside each of them"));
        }
        match end {
            End::Time if *messages == 0 || self.count.is_some() => Err(Fault::nothing(
                format!("time ran out: {counts}"),
                "check the topic, and that somebody publishes; or wait longer with -W",
            )),
            End::Disconnected => Err(Fault::new("the connection ended", "see the broker's log")),
            _ => Ok(()),
        }
    }
}
