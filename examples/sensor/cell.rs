//! One of the four ways to send a reading.

use std::error::Error;
use std::time::{Duration, Instant};

use mqtt_seal::client::{AsyncClient, Event, EventLoop, Message};
use mqtt_seal::guard::{Protection, QoS};
use mqtt_seal::policy::Link;
use tokio::time::timeout;

/// The reading.
pub(crate) const PAYLOAD: &[u8] = b"27";
/// Nothing new for so long means that nothing will come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether payloads are sealed, and how they travel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell {
    ClearTcp,
    ClearTls,
    SealedTcp,
    SealedTls,
}

/// What became of a cell's messages.
pub(crate) struct Outcome {
    pub(crate) delivered: usize,
    pub(crate) verified: usize,
    pub(crate) time: Duration,
}

impl Cell {
    pub(crate) const ALL: [Self; 4] =
        [Self::ClearTcp, Self::ClearTls, Self::SealedTcp, Self::SealedTls];

    pub(crate) fn topic(self) -> &'static str {
        match self {
            Self::ClearTcp => "sensor/temp/clear-tcp",
            Self::ClearTls => "sensor/temp/clear-tls",
            Self::SealedTcp => "sensor/temp/sealed-tcp",
            Self::SealedTls => "sensor/temp/sealed-tls",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        self.topic().trim_start_matches("sensor/temp/")
    }

    pub(crate) fn sealed(self) -> bool {
        matches!(self, Self::SealedTcp | Self::SealedTls)
    }

    pub(crate) fn tls(self) -> bool {
        matches!(self, Self::ClearTls | Self::SealedTls)
    }

    /// Publishes `count` readings and waits for all of them at the other end.
    pub(crate) async fn run<V>(
        self,
        publisher: &AsyncClient<V>,
        subscriber: &AsyncClient<V>,
        events: &mut EventLoop,
        count: usize,
    ) -> Result<Outcome, Box<dyn Error>> {
        subscriber.subscribe(self.topic(), QoS::AtLeastOnce).await?;
        self.subscribed(events).await?;

        let start = Instant::now();
        let publish = async {
            for _ in 0..count {
                publisher.publish(self.topic(), QoS::AtLeastOnce, false, PAYLOAD).await?;
            }
            Ok::<_, Box<dyn Error>>(())
        };
        let (published, (delivered, verified)) =
            tokio::join!(publish, self.receive(subscriber, events, count));
        published?;
        Ok(Outcome { delivered, verified, time: start.elapsed() })
    }

    async fn subscribed(self, events: &mut EventLoop) -> Result<(), Box<dyn Error>> {
        loop {
            match timeout(PATIENCE, events.poll()).await {
                Ok(Some(Event::Subscribed { filter, .. })) if filter == self.topic() => {
                    return Ok(());
                }
                Ok(Some(event)) => report(&event),
                Ok(None) => return Err("the client stopped".into()),
                Err(_) => return Err(format!("no subscription to {}", self.topic()).into()),
            }
        }
    }

    /// Counts messages, and those that are what was sent, protected as the rule says.
    async fn receive<V>(
        self,
        client: &AsyncClient<V>,
        events: &mut EventLoop,
        count: usize,
    ) -> (usize, usize) {
        let (mut delivered, mut verified) = (0, 0);
        while delivered < count {
            match timeout(PATIENCE, events.poll()).await {
                Ok(Some(Event::Message(message))) => {
                    delivered += 1;
                    verified += usize::from(self.verify(&message));
                    if let Err(error) = client.ack(&message).await {
                        eprintln!("sensor: {error}");
                    }
                }
                Ok(Some(event)) => report(&event),
                Ok(None) | Err(_) => break,
            }
        }
        (delivered, verified)
    }

    fn verify(self, message: &Message) -> bool {
        let protection = if self.sealed() { Protection::Sealed } else { Protection::Clear };
        let link = if self.tls() { Link::Tls } else { Link::Tcp };
        message.topic == self.topic()
            && message.payload == PAYLOAD
            && message.delivery.protection == protection
            && message.link == link
    }

    /// Whether the broker saw what it should have seen: the reading, or a sealed message.
    pub(crate) fn looks_right(self, seen: &[u8]) -> bool {
        if self.sealed() { seen.first() == Some(&0xFC) } else { seen == PAYLOAD }
    }
}

/// Tells what went wrong.
pub(crate) fn report(event: &Event) {
    match event {
        Event::LinkDown { link, error, .. } => eprintln!("sensor: {link} link down: {error}"),
        Event::Rejected { topic, link, reason, .. } => {
            eprintln!("sensor: {topic} over {link} rejected: {reason}");
        }
        Event::SubscribeFailed { filter, .. } => eprintln!("sensor: {filter} not subscribed"),
        Event::PublishFailed { topic, reason, .. } => {
            eprintln!("sensor: {topic} not published: {reason}");
        }
        Event::Missed { count, .. } => eprintln!("sensor: {count} events missed"),
        _ => {}
    }
}
