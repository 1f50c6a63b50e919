mod authenticate;
mod outcomes;
mod reloaded;
mod replay_log;
mod updates;

use super::*;
use std::vec;
use std::vec::Vec;

use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::client::error::PublishRefusal;
use crate::client::event::Message;
use crate::client::inbox::Inbox;
use crate::client::outbox::Window;
use crate::client::properties::Properties;
use crate::client::protocol::{Call, Full, Publish, Received, ServerLimits};
use crate::client::ticket::Ticket;
use crate::guard::{Guard, GuardEvent, Outgoing, ReplayLimits};
use crate::keyring::{Grant, Keyring};
use crate::policy::{Links, Policy, Rule, Transport};
use crate::secret::SharedKey;

/// What a connection was asked to send.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Publish(String, Vec<u8>),
    Acknowledge(u16),
    Subscribe(String),
    Unsubscribe(String),
    Disconnect,
}

impl From<Request<'_>> for Asked {
    fn from(request: Request<'_>) -> Self {
        match request {
            Request::Publish(Publish { topic, payload, .. }) => {
                Self::Publish(topic.into(), payload.into())
            }
            Request::Acknowledge { id, .. } => Self::Acknowledge(id),
            Request::Subscribe { filter, .. } => Self::Subscribe(filter.into()),
            Request::Unsubscribe { filter } => Self::Unsubscribe(filter.into()),
            Request::Disconnect => Self::Disconnect,
        }
    }
}

/// A client whose broker is the test.
struct FakeDial(UnboundedSender<Broker>);

struct FakeRequests(UnboundedSender<Asked>);

struct FakeNetwork {
    inputs: UnboundedReceiver<Result<Input, LinkError>>,
    remainder: Vec<Input>,
}

/// The broker's end of one connection.
struct Broker {
    asked: UnboundedReceiver<Asked>,
    inputs: UnboundedSender<Result<Input, LinkError>>,
    /// Topic and payload.
    will: Option<(String, Vec<u8>)>,
}

impl Dial for FakeDial {
    type Requests = FakeRequests;
    type Network = FakeNetwork;

    fn dial(&self, call: Call<'_>) -> (FakeRequests, FakeNetwork) {
        let (ask, asked) = unbounded_channel();
        let (tell, inputs) = unbounded_channel();
        let remainder = Vec::new();
        let will = call.will.map(|will| (will.topic.into(), will.payload.into()));
        let broker = Broker { asked, inputs: tell, will };
        self.0.send(broker).unwrap();
        (FakeRequests(ask), FakeNetwork { inputs, remainder })
    }

    fn client_id(&self) -> String {
        "fake".into()
    }
}

impl Requests for FakeRequests {
    fn request(&self, request: Request<'_>) -> Result<(), Full> {
        self.0.send(request.into()).map_err(|_| Full)
    }
}

impl Network for FakeNetwork {
    async fn poll(&mut self) -> Result<Input, LinkError> {
        let polled = self.inputs.recv().await.unwrap();
        if polled.is_err() {
            // what the test sent behind the error came in with it
            while let Ok(Ok(input)) = self.inputs.try_recv() {
                self.remainder.push(input);
            }
        }
        polled
    }

    fn remainder(&mut self) -> Vec<Input> {
        core::mem::take(&mut self.remainder)
    }
}

/// Fails where something would never come. The deadline is waited out by a failing test alone.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(Duration::from_secs(10), future).await;
    done.expect("it never came")
}

impl Broker {
    fn tell(&self, input: Input) {
        self.inputs.send(Ok(input)).unwrap();
    }

    fn accept(&self) {
        self.accept_within(ServerLimits::NONE);
    }

    fn accept_within(&self, limits: ServerLimits) {
        self.tell(Input::Connected { session_present: false, limits });
    }

    fn fail(&self) {
        self.inputs.send(Err(LinkError::Closed)).unwrap();
    }

    fn send(&self, id: u16, qos: QoS, topic: &str, payload: &[u8]) {
        self.tell(Input::Received(Received {
            topic: topic.as_bytes().to_vec().into(),
            properties: Properties::default(),
            payload: payload.to_vec().into(),
            qos,
            retain: false,
            dup: false,
            id,
        }));
    }

    async fn asked(&mut self) -> Asked {
        soon(self.asked.recv()).await.unwrap()
    }

    /// The payload of the next PUBLISH, which must be on this topic.
    async fn published(&mut self, wanted: &str) -> Vec<u8> {
        match self.asked().await {
            Asked::Publish(topic, payload) if topic == wanted => payload,
            other => panic!("{other:?} in place of {wanted}"),
        }
    }
}

/// A running link and everything it has to do with.
struct Fixture {
    brokers: UnboundedReceiver<Broker>,
    entries: UnboundedSender<Entry>,
    commands: mpsc::Sender<Command>,
    room: Arc<Room>,
    inbox: Arc<Inbox>,
    guards: Guards,
}

const EVENTS: usize = 4;

fn guard() -> Guard {
    let tcp = |rule: crate::policy::RuleBuilder| rule.transport(Transport::Tcp).build().unwrap();
    let keyring =
        Keyring::new(vec![Grant::shared(&SharedKey::take(&mut [7; 32]), "test").unwrap()]);
    let policy = Policy::new(vec![tcp(Rule::clear(["clear/#"])), tcp(Rule::sealed(["sealed/#"]))]);
    Guard::new(policy, keyring, Links::Tcp).unwrap()
}

impl Fixture {
    fn start() -> Self {
        Self::with_window(8)
    }

    fn with_window(packets: usize) -> Self {
        Self::with(packets, guard(), None)
    }

    fn with(packets: usize, guard: Guard, will: Option<Will>) -> Self {
        Self::with_peer(packets, guard, will, None)
    }

    fn with_peer(packets: usize, guard: Guard, will: Option<Will>, peer: Option<Peer>) -> Self {
        let (tx, rx) = guard.split();
        Self::with_all(packets, will, (peer, |_, _| None), |_| Guards::new(tx, rx, None))
    }

    fn with_republishing(guard: Guard, bytes: usize) -> Self {
        let (tx, rx) = guard.split();
        let guards = |_: &_| Guards::new(tx, rx, None);
        Self::with_bytes(8, None, (None, |_: &_, _: &_| None), bytes, guards)
    }

    fn with_guards(
        packets: usize,
        will: Option<Will>,
        guards: impl FnOnce(&Arc<Inbox>) -> Guards,
    ) -> Self {
        Self::with_all(packets, will, (None, |_, _| None), guards)
    }

    fn with_all(
        packets: usize,
        will: Option<Will>,
        parts: (Option<Peer>, impl FnOnce(&Guards, &Arc<Inbox>) -> Option<Arc<Updates>>),
        guards: impl FnOnce(&Arc<Inbox>) -> Guards,
    ) -> Self {
        Self::with_bytes(packets, will, parts, 0, guards)
    }

    fn with_bytes(
        packets: usize,
        will: Option<Will>,
        (peer, updates): (Option<Peer>, impl FnOnce(&Guards, &Arc<Inbox>) -> Option<Arc<Updates>>),
        republish_bytes: usize,
        guards: impl FnOnce(&Arc<Inbox>) -> Guards,
    ) -> Self {
        let (dial, brokers) = unbounded_channel();
        let (entries, accepted) = unbounded_channel();
        let (commands, requested) = mpsc::channel(16);
        let inbox = Inbox::new(EVENTS);
        let room = Arc::new(Room::new(16, 10_000));
        let guards = guards(&inbox);
        let pause = Duration::from_millis(1);
        let worker = Worker::new(Parts {
            link: Link::Tcp,
            dial: FakeDial(dial),
            will: will.map(Arc::new),
            peer,
            updates: updates(&guards, &inbox),
            guards: guards.clone(),
            renewals: Renewals::new(Vec::new(), &guards, &inbox, &Handle::current()),
            room: Arc::clone(&room),
            _share: None,
            feed: inbox.feed(),
            entries: accepted,
            commands: requested,
            outbox: Outbox::new(Window { packets, packets_with_qos2: packets, ids: 100 }),
            backoff: Backoff::new(pause, pause),
            max_packet: 200,
            republish_bytes,
        });
        tokio::spawn(worker.run());
        Self { brokers, entries, commands, room, inbox, guards }
    }

    /// The next connection that is tried.
    async fn dialed(&mut self) -> Broker {
        soon(self.brokers.recv()).await.unwrap()
    }

    async fn connected(&mut self) -> Broker {
        let broker = self.dialed().await;
        broker.accept();
        broker
    }

    fn publish(&self, topic: &str, qos: QoS, payload: &[u8]) -> Ticket {
        let mut entry = Entry::new(topic.into(), qos, false, payload.into());
        let ticket = entry.accept(self.room.try_take(payload.len()).unwrap());
        assert!(self.entries.send(entry).is_ok());
        ticket
    }

    /// Waits until the link is up.
    async fn up(&self) {
        while !self.room.is_up() {
            tokio::task::yield_now().await;
        }
    }

    async fn command(&self, command: Command) {
        self.commands.send(command).await.unwrap();
    }

    async fn subscribe(&self, filter: &str) {
        let filter = filter.into();
        let qos = QoS::AtLeastOnce;
        self.command(Command::Subscribe { filter, qos }).await;
    }

    async fn event(&self) -> Option<Event> {
        soon(self.inbox.next()).await
    }

    async fn message(&self) -> Message {
        loop {
            if let Event::Message(message) = self.event().await.unwrap() {
                return message;
            }
        }
    }

    async fn ack(&self, message: &Message) {
        let confirm = |receipt| self.guards.rx().confirm(receipt);
        let mark = message.delivery.receipt.map(confirm).unwrap_or_default();
        self.command(Command::Acknowledge(message.receipt.unwrap(), mark)).await;
    }
}

/// Lets the link do all it can do by itself; it and the test share one thread.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

fn seal(topic: &str) -> Vec<u8> {
    let (mut tx, _) = guard().split();
    let mut out = Vec::new();
    tx.seal(&Outgoing::new(topic, b"text"), &mut out).unwrap();
    out
}

#[tokio::test]
async fn nothing_is_handed_over_before_the_broker_accepted() {
    let mut fixture = Fixture::start();
    let mut broker = fixture.dialed().await;
    fixture.publish("sealed/a", QoS::AtLeastOnce, b"text");
    settle().await;
    fixture.subscribe("clear/#").await;
    settle().await;
    broker.accept();
    assert_eq!(broker.asked().await, Asked::Subscribe("clear/#".into()));
    assert_eq!(broker.published("sealed/a").await[0], 0xFC);
}

#[tokio::test]
async fn message_that_waits_offline_is_sealed_in_the_session_of_its_connection() {
    let mut fixture = Fixture::start();
    let broker = fixture.dialed().await;
    fixture.publish("sealed/a", QoS::AtLeastOnce, b"text");
    settle().await;
    // were it sealed by now, this would be counter 1 of the same session
    let mut other = Vec::new();
    let message = Outgoing::new("sealed/a", b"text").qos(QoS::AtLeastOnce);
    fixture.guards.tx().seal(&message, &mut other).unwrap();
    assert_eq!(other[18], 0);
    drop(broker);
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again_as_the_same_bytes() {
    let mut fixture = Fixture::start();
    let mut broker = fixture.connected().await;
    let mut bytes = Vec::new();
    for (id, topic) in [(1, "sealed/a"), (2, "sealed/b"), (3, "sealed/c")] {
        fixture.publish(topic, QoS::AtLeastOnce, b"text");
        bytes.push(broker.published(topic).await);
        broker.tell(Input::Published { id });
    }
    broker.tell(Input::Acknowledged { id: 2 });
    broker.fail();
    let mut broker = fixture.connected().await;
    assert_eq!(broker.published("sealed/a").await, bytes[0]);
    assert_eq!(broker.published("sealed/c").await, bytes[2]);
    fixture.publish("sealed/d", QoS::AtLeastOnce, b"text");
    broker.published("sealed/d").await;
}

#[tokio::test]
async fn acknowledgement_that_came_with_the_error_counts() {
    let mut fixture = Fixture::start();
    let mut broker = fixture.connected().await;
    for (id, topic) in [(1, "clear/a"), (2, "clear/b")] {
        fixture.publish(topic, QoS::AtLeastOnce, b"text");
        broker.published(topic).await;
        broker.tell(Input::Published { id });
    }
    broker.fail();
    broker.tell(Input::Acknowledged { id: 1 });
    let mut broker = fixture.connected().await;
    broker.published("clear/b").await;
}

#[tokio::test]
async fn message_that_came_with_the_error_is_delivered() {
    let mut fixture = Fixture::start();
    let broker = fixture.connected().await;
    broker.fail();
    broker.send(0, QoS::AtMostOnce, "clear/0", b"");
    broker.send(1, QoS::AtLeastOnce, "sealed/1", &seal("sealed/1"));
    assert_eq!(fixture.message().await.topic, "clear/0");
    assert_eq!(fixture.message().await.topic, "sealed/1");
}

#[tokio::test]
async fn acknowledgement_counts_whose_publish_was_reported_with_the_error() {
    let mut fixture = Fixture::start();
    let mut broker = fixture.connected().await;
    for topic in ["clear/a", "clear/b"] {
        fixture.publish(topic, QoS::AtLeastOnce, b"text");
        broker.published(topic).await;
    }
    broker.fail();
    broker.tell(Input::Published { id: 1 });
    broker.tell(Input::Acknowledged { id: 1 });
    let mut broker = fixture.connected().await;
    broker.published("clear/b").await;
}

#[tokio::test]
async fn message_of_qos_0_is_sent_once() {
    let mut fixture = Fixture::start();
    let mut broker = fixture.connected().await;
    fixture.up().await;
    fixture.publish("clear/0", QoS::AtMostOnce, b"text");
    broker.published("clear/0").await;
    broker.fail();
    let mut broker = fixture.connected().await;
    fixture.publish("clear/1", QoS::AtLeastOnce, b"text");
    broker.published("clear/1").await;
}

#[tokio::test]
async fn no_more_than_the_window_is_on_the_way() {
    let mut fixture = Fixture::with_window(2);
    let mut broker = fixture.connected().await;
    for topic in ["clear/a", "clear/b", "clear/c"] {
        fixture.publish(topic, QoS::AtLeastOnce, b"text");
    }
    broker.published("clear/a").await;
    broker.published("clear/b").await;
    settle().await;
    assert!(broker.asked.try_recv().is_err());
    broker.tell(Input::Published { id: 1 });
    broker.tell(Input::Acknowledged { id: 1 });
    broker.published("clear/c").await;
}

#[tokio::test]
async fn ack_of_an_earlier_connection_is_not_sent() {
    let mut fixture = Fixture::start();
    let broker = fixture.connected().await;
    broker.send(1, QoS::AtLeastOnce, "clear/old", b"");
    let old = fixture.message().await;
    broker.fail();
    let mut broker = fixture.connected().await;
    // the same packet ID, of another message
    broker.send(1, QoS::AtLeastOnce, "clear/new", b"");
    broker.send(2, QoS::AtLeastOnce, "clear/newer", b"");
    fixture.message().await;
    let newer = fixture.message().await;
    fixture.ack(&old).await;
    fixture.ack(&newer).await;
    assert_eq!(broker.asked().await, Asked::Acknowledge(2));
}

#[tokio::test]
async fn second_ack_is_not_sent() {
    let mut fixture = Fixture::start();
    let mut broker = fixture.connected().await;
    broker.send(1, QoS::ExactlyOnce, "clear/a", b"");
    broker.send(2, QoS::ExactlyOnce, "clear/b", b"");
    let (a, b) = (fixture.message().await, fixture.message().await);
    for message in [&a, &a, &b] {
        fixture.ack(message).await;
    }
    assert_eq!(broker.asked().await, Asked::Acknowledge(1));
    assert_eq!(broker.asked().await, Asked::Acknowledge(2));
}

#[tokio::test]
async fn rejected_message_is_acknowledged_and_the_next_arrives() {
    let mut fixture = Fixture::start();
    let mut broker = fixture.connected().await;
    broker.send(1, QoS::AtLeastOnce, "sealed/a", b"forged");
    assert_eq!(broker.asked().await, Asked::Acknowledge(1));
    broker.send(2, QoS::AtLeastOnce, "sealed/a", &seal("sealed/a"));
    assert_eq!(fixture.message().await.payload, b"text");
    settle().await;
    assert!(broker.asked.try_recv().is_err());
}

#[tokio::test]
async fn what_the_guard_tells_is_an_event() {
    let mut fixture = Fixture::start();
    let mut limits = ReplayLimits::default();
    (limits.windows, limits.ring) = (1, 1);
    fixture.guards.rx().guard.set_replay_limits(limits);
    let broker = fixture.connected().await;
    // a window, a tombstone, and one too many
    for (id, topic) in (1..).zip(["sealed/a", "sealed/b", "sealed/c"]) {
        broker.send(id, QoS::AtLeastOnce, topic, &seal(topic));
    }
    loop {
        if let Event::Guard(event) = fixture.inbox.next().await.unwrap() {
            assert_eq!(event, GuardEvent::TombstoneOverflow);
            break;
        }
    }
}

#[tokio::test]
async fn a_packet_id_again_before_its_acknowledgement_is_no_second_message() {
    let mut fixture = Fixture::start();
    let broker = fixture.connected().await;
    for payload in [b"1", b"2"] {
        broker.send(7, QoS::AtLeastOnce, "clear/a", payload);
    }
    broker.send(8, QoS::AtLeastOnce, "clear/a", b"3");
    let payloads = [fixture.message().await.payload, fixture.message().await.payload];
    assert_eq!(payloads, [b"1", b"3"]);
}

#[tokio::test]
async fn subscriptions_are_asked_for_at_every_connection() {
    let mut fixture = Fixture::start();
    let mut broker = fixture.connected().await;
    for filter in ["clear/a", "clear/b"] {
        fixture.subscribe(filter).await;
        assert_eq!(broker.asked().await, Asked::Subscribe(filter.into()));
    }
    let filter = String::from("clear/a");
    fixture.command(Command::Unsubscribe { filter }).await;
    assert_eq!(broker.asked().await, Asked::Unsubscribe("clear/a".into()));
    broker.fail();
    fixture.subscribe("clear/c").await;
    let mut broker = fixture.connected().await;
    assert_eq!(broker.asked().await, Asked::Subscribe("clear/b".into()));
    assert_eq!(broker.asked().await, Asked::Subscribe("clear/c".into()));
}

#[tokio::test]
async fn answers_to_subscriptions_are_events() {
    let mut fixture = Fixture::start();
    let broker = fixture.connected().await;
    fixture.subscribe("clear/a").await;
    fixture.subscribe("clear/b").await;
    settle().await;
    for (id, granted) in [(1, Some(QoS::AtMostOnce)), (2, None)] {
        broker.tell(Input::Requested { id });
        broker.tell(Input::Subscribed { id, granted });
    }
    let up = fixture.event().await;
    assert!(matches!(up, Some(Event::LinkUp { link: Link::Tcp, .. })));
    let granted = fixture.event().await;
    assert!(matches!(granted, Some(Event::Subscribed { filter, qos, .. })
        if filter == "clear/a" && qos == QoS::AtMostOnce));
    let refused = fixture.event().await;
    assert!(matches!(refused, Some(Event::SubscribeFailed { filter, .. }) if filter == "clear/b"));
}

#[tokio::test]
async fn disconnect_waits_for_what_was_accepted() {
    let mut fixture = Fixture::start();
    let broker = fixture.dialed().await;
    fixture.publish("clear/a", QoS::ExactlyOnce, b"text");
    fixture.command(Command::Disconnect).await;
    settle().await;
    broker.fail();
    let mut broker = fixture.connected().await;
    broker.published("clear/a").await;
    broker.tell(Input::Published { id: 1 });
    settle().await;
    assert!(broker.asked.try_recv().is_err());
    broker.tell(Input::Acknowledged { id: 1 });
    assert_eq!(broker.asked().await, Asked::Disconnect);
    broker.tell(Input::Disconnected);
    while fixture.event().await.is_some() {}
}

#[tokio::test]
async fn disconnect_without_anything_to_send_needs_no_connection() {
    let mut fixture = Fixture::start();
    let broker = fixture.dialed().await;
    fixture.command(Command::Disconnect).await;
    assert!(fixture.event().await.is_none());
    drop(broker);
}

#[tokio::test]
async fn unread_messages_of_qos_0_are_counted_and_others_kept() {
    let mut fixture = Fixture::start();
    let mut broker = fixture.connected().await;
    for _ in 0..10 {
        broker.send(0, QoS::AtMostOnce, "clear/0", b"");
    }
    for id in 1..=5 {
        broker.send(id, QoS::AtLeastOnce, "clear/1", b"");
    }
    // publishing goes on all the while
    fixture.publish("clear/a", QoS::AtLeastOnce, b"text");
    broker.published("clear/a").await;
    settle().await;
    let (mut levels, mut missed) = (Vec::new(), 0);
    while levels.len() < EVENTS - 1 + 5 {
        match fixture.event().await.unwrap() {
            Event::Message(message) => levels.push(message.qos),
            Event::Missed { count } => missed += count,
            _ => {}
        }
    }
    // the first place was taken by LinkUp
    assert_eq!(levels.iter().filter(|qos| **qos == QoS::AtLeastOnce).count(), 5);
    assert_eq!(missed, 7);
}

#[tokio::test]
async fn message_that_cannot_be_sealed_is_reported_and_the_next_goes_out() {
    let mut fixture = Fixture::start();
    let mut broker = fixture.connected().await;
    fixture.publish("no/rule", QoS::AtLeastOnce, b"text");
    fixture.publish("clear/a", QoS::AtLeastOnce, &[7; 200]);
    fixture.publish("clear/b", QoS::AtLeastOnce, b"text");
    broker.published("clear/b").await;
    let mut failed = Vec::new();
    while failed.len() < 2 {
        if let Some(Event::PublishFailed { topic, reason }) = fixture.event().await {
            failed.push((topic, reason));
        }
    }
    let refused = ClientError::Seal(SealError::Refused);
    assert_eq!(failed[0], ("no/rule".into(), refused));
    assert!(matches!(failed[1].1, ClientError::TooLarge { max: 200, .. }));
}

#[tokio::test]
async fn report_that_fits_nothing_ends_the_connection() {
    let mut fixture = Fixture::start();
    let broker = fixture.connected().await;
    broker.tell(Input::Published { id: 1 });
    loop {
        if let Some(Event::LinkDown { error, .. }) = fixture.event().await {
            assert_eq!(error, LinkError::OutOfStep);
            break;
        }
    }
}

#[tokio::test]
async fn refused_message_is_reported_and_not_sent_again() {
    let mut fixture = Fixture::start();
    let mut broker = fixture.connected().await;
    for (id, topic) in [(1, "clear/a"), (2, "clear/b")] {
        fixture.publish(topic, QoS::AtLeastOnce, b"text");
        broker.published(topic).await;
        broker.tell(Input::Published { id });
    }
    let reason = PublishRefusal::QuotaExceeded;
    broker.tell(Input::Refused { id: 1, reason });
    broker.fail();
    // one that came with the error counts as well
    broker.tell(Input::Refused { id: 2, reason });
    let mut failed = Vec::new();
    while failed.len() < 2 {
        if let Some(Event::PublishFailed { topic, reason: told }) = fixture.event().await {
            assert_eq!(told, ClientError::Refused(reason));
            failed.push(topic);
        }
    }
    assert_eq!(failed, ["clear/a", "clear/b"]);
    let mut broker = fixture.connected().await;
    settle().await;
    assert!(broker.asked.try_recv().is_err());
}

#[tokio::test]
async fn disconnect_that_nobody_asked_for_does_not_end_the_link() {
    let mut fixture = Fixture::start();
    let broker = fixture.connected().await;
    broker.tell(Input::Disconnected);
    let mut broker = fixture.connected().await;
    fixture.publish("clear/a", QoS::AtLeastOnce, b"text");
    broker.published("clear/a").await;
}

#[tokio::test]
async fn filter_beyond_the_limit_of_the_broker_is_told_and_asked_for_at_the_next() {
    let mut fixture = Fixture::start();
    let broker = fixture.dialed().await;
    fixture.subscribe("clear/long").await;
    broker.accept_within(ServerLimits { max_packet: 18, ..ServerLimits::NONE });
    let failed = |event: &_| matches!(event, Event::SubscribeFailed { filter, .. } if filter == "clear/long");
    while !fixture.event().await.is_some_and(|event| failed(&event)) {}
    broker.fail();
    let broker = fixture.dialed().await;
    broker.accept_within(ServerLimits { max_packet: 19, ..ServerLimits::NONE });
    let mut broker = broker;
    assert_eq!(broker.asked().await, Asked::Subscribe("clear/long".into()));
}
