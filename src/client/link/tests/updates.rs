//! A link whose keys change by updates; authority and broker are played by the test.

use super::outcomes::will;
use super::*;
use crate::client::updates::tests::scene::{ACK, Authority, KEYS, Memory, grant, guard_of};
use crate::guard::{Incoming, OpenError};
use crate::replay::{Rejected, Verdict};
use crate::update::{KeyState, OpenError as UpdateOpenError, UpdateError};

/// A device with generation 1 by update 1.
struct Device {
    memory: Memory,
    authority: Authority,
    fixture: Fixture,
}

impl Device {
    fn start(will: Option<Will>) -> Self {
        Self::with(Memory::with_first(), will)
    }

    fn with(memory: Memory, will: Option<Will>) -> Self {
        Self::at(Link::Tcp, memory, will)
    }

    /// With updates that come by the link `home`; the one that runs is that over TCP.
    fn at(home: Link, memory: Memory, will: Option<Will>) -> Self {
        let (mut tx, mut rx) = guard_of(vec![]).split();
        rx.confirm_manually();
        let own = memory.updates();
        let base = own.take_up(&mut tx, &mut rx);
        let run = |guards: &Guards, inbox: &Arc<Inbox>| {
            let renewals = Renewals::new(Vec::new(), guards, inbox, &Handle::current());
            Some(own.run(base, (home, false), guards, &renewals, inbox))
        };
        let fixture = Fixture::with_all(8, will, (None, run), |_| Guards::new(tx, rx, None));
        Self { memory, authority: Authority::new(), fixture }
    }

    /// Connects, and lets the broker grant the subscription.
    async fn connected(&mut self) -> Broker {
        let mut broker = self.fixture.connected().await;
        broker.grants_updates().await;
        broker
    }
}

impl Broker {
    async fn grants_updates(&mut self) {
        assert_eq!(self.asked().await, Asked::Subscribe(KEYS.into()));
        self.tell(Input::Requested { id: 1 });
        self.tell(Input::Subscribed { id: 1, granted: Some(QoS::AtLeastOnce) });
    }

    fn retained(&self, topic: &str, payload: &[u8]) {
        self.tell(Input::Received(Received {
            topic: topic.as_bytes().to_vec().into(),
            properties: Properties::default(),
            payload: payload.to_vec().into(),
            qos: QoS::AtMostOnce,
            retain: true,
            dup: false,
            id: 0,
        }));
    }

    /// The serial of the next acknowledgement, which the broker takes.
    async fn acknowledged(&mut self, authority: &Authority, id: u16) -> u64 {
        let ack = self.published(ACK).await;
        self.tell(Input::Published { id });
        self.tell(Input::Acknowledged { id });
        authority.0.acknowledged(ACK, &ack).unwrap()
    }

    fn is_asked_nothing(&mut self) -> bool {
        self.asked.try_recv().is_err()
    }
}

impl Fixture {
    /// The next event but for those of links and subscriptions.
    async fn told(&self) -> Event {
        loop {
            match self.event().await.unwrap() {
                Event::LinkUp { .. } | Event::LinkDown { .. } | Event::Subscribed { .. } => {}
                event => return event,
            }
        }
    }

    async fn updated(&self) -> u64 {
        match self.told().await {
            Event::KeysUpdated { serial, .. } => serial,
            event => panic!("{event:?}"),
        }
    }

    async fn refused(&self) -> UpdateError {
        match self.told().await {
            Event::UpdateRefused { reason, .. } => reason,
            event => panic!("{event:?}"),
        }
    }
}

/// A message of another member under this generation.
fn sealed(number: u8, topic: &str, text: &[u8]) -> Vec<u8> {
    let (mut tx, _) = guard_of(vec![grant(number)]).split();
    let mut out = Vec::new();
    tx.seal(&Outgoing::new(topic, text), &mut out).unwrap();
    out
}

#[tokio::test]
async fn stored_keys_are_in_force_before_the_first_connection() {
    let mut device = Device::start(None);
    let mut other = Vec::new();
    let message = Outgoing::new("sealed/a", b"text");
    device.fixture.guards.tx().seal(&message, &mut other).unwrap();
    let broker = device.connected().await;
    broker.send(1, QoS::AtLeastOnce, "sealed/a", &sealed(1, "sealed/a", b"text"));
    assert_eq!(device.fixture.message().await.payload, b"text");
}

#[tokio::test]
async fn newer_update_is_stored_then_in_force_then_acknowledged() {
    let mut device = Device::start(None);
    let mut broker = device.connected().await;
    let update = device.authority.update(2, &[(1, KeyState::Retiring), (2, KeyState::Active)]);
    broker.retained(KEYS, &update);
    let Event::KeysUpdated { serial: 2, pins, .. } = device.fixture.told().await else {
        panic!("not updated")
    };
    assert_eq!(pins, [[5; 32]]);
    assert_eq!(broker.acknowledged(&device.authority, 1).await, 2);
    device.fixture.publish("sealed/a", QoS::AtMostOnce, b"text");
    let out = broker.published("sealed/a").await;
    let (_, mut rx) = guard_of(vec![grant(2)]).split();
    rx.open(&Incoming::new("sealed/a", &out, Link::Tcp), &mut Vec::new()).unwrap();
    // another start knows all that from its store
    assert_eq!(device.memory.updates().serial(), Some(2));
}

#[tokio::test]
async fn update_that_cannot_be_stored_changes_nothing_and_is_asked_for_again() {
    tokio::time::pause();
    let mut device = Device::start(None);
    let mut broker = device.connected().await;
    device.memory.breaks(true);
    let update = device.authority.update(2, &[(2, KeyState::Active)]);
    broker.retained(KEYS, &update);
    let Event::UpdateNotStored { error } = device.fixture.told().await else { panic!("stored") };
    assert_eq!(std::format!("{error}"), "the disk is full");
    settle().await;
    assert!(broker.is_asked_nothing());
    broker.send(1, QoS::AtLeastOnce, "sealed/a", &sealed(1, "sealed/a", b"text"));
    assert_eq!(device.fixture.message().await.payload, b"text");
    device.memory.breaks(false);
    tokio::time::advance(Duration::from_secs(31)).await;
    assert_eq!(broker.asked().await, Asked::Subscribe(KEYS.into()));
    broker.retained(KEYS, &update);
    assert_eq!(device.fixture.updated().await, 2);
}

#[tokio::test]
async fn what_an_update_does_not_list_is_erased() {
    let mut device = Device::start(None);
    let broker = device.connected().await;
    broker.retained(KEYS, &device.authority.update(2, &[(2, KeyState::Active)]));
    assert_eq!(device.fixture.updated().await, 2);
    let config = device.fixture.guards.config();
    let grants = config.keyring().grants();
    assert_eq!((grants.len(), grants[0].generation()), (1, 2));
}

#[tokio::test]
async fn equal_serial_is_acknowledged_again_and_at_every_connection() {
    let mut device = Device::start(None);
    let update = device.authority.update(1, &[(1, KeyState::Active)]);
    for _ in 0..2 {
        let mut broker = device.connected().await;
        broker.retained(KEYS, &update);
        assert_eq!(broker.acknowledged(&device.authority, 2).await, 1);
        broker.fail();
    }
    // one that its broker does not acknowledge is not heaped up
    let mut broker = device.connected().await;
    for _ in 0..3 {
        broker.retained(KEYS, &update);
    }
    // taken behind them
    broker.send(0, QoS::AtMostOnce, "clear/a", b"text");
    device.fixture.message().await;
    broker.published(ACK).await;
    settle().await;
    assert!(broker.is_asked_nothing());
    broker.fail();
    let mut broker = device.connected().await;
    settle().await;
    assert!(broker.is_asked_nothing());
}

#[tokio::test]
async fn lower_serial_and_older_update_are_refused_and_told() {
    let mut device = Device::start(None);
    let mut broker = device.connected().await;
    let old = device.authority.update(2, &[(2, KeyState::Active)]);
    broker.retained(KEYS, &device.authority.update(3, &[(3, KeyState::Active)]));
    assert_eq!(device.fixture.updated().await, 3);
    assert_eq!(broker.acknowledged(&device.authority, 2).await, 3);
    broker.retained(KEYS, &old);
    assert_eq!(device.fixture.refused().await, UpdateError::Rejected(Rejected::Stale));
    broker.retained(KEYS, &device.authority.update(2, &[(2, KeyState::Active)]));
    let rolled_back = UpdateError::RolledBack { serial: 2, least: 3 };
    assert_eq!(device.fixture.refused().await, rolled_back);
    // the authority sealed it, and does not know better
    assert_eq!(broker.acknowledged(&device.authority, 2).await, 3);
    settle().await;
    assert!(broker.is_asked_nothing());
}

#[tokio::test]
async fn what_is_on_the_topics_of_keys_is_never_delivered() {
    let mut device = Device::start(None);
    let mut broker = device.connected().await;
    let text = sealed(1, KEYS, b"text");
    broker.send(3, QoS::AtLeastOnce, KEYS, &text);
    assert_eq!(broker.asked().await, Asked::Acknowledge(3));
    let refused = device.fixture.refused().await;
    assert_eq!(refused, UpdateError::Open(UpdateOpenError::UnknownKey));
    broker.send(4, QoS::AtLeastOnce, ACK, &sealed(1, ACK, b"text"));
    assert_eq!(broker.asked().await, Asked::Acknowledge(4));
    broker.send(0, QoS::AtMostOnce, KEYS, b"");
    let refused = device.fixture.refused().await;
    assert_eq!(refused, UpdateError::Open(UpdateOpenError::Cleared));
    broker.send(5, QoS::AtLeastOnce, "clear/a", b"text");
    assert_eq!(device.fixture.message().await.topic, "clear/a");
}

#[tokio::test]
async fn link_that_is_not_for_updates_takes_none_and_delivers_none() {
    let mut device = Device::at(Link::Tls, Memory::with_first(), None);
    let mut broker = device.fixture.connected().await;
    broker.retained(KEYS, &device.authority.update(2, &[(2, KeyState::Active)]));
    broker.send(1, QoS::AtLeastOnce, ACK, b"text");
    assert_eq!(broker.asked().await, Asked::Acknowledge(1));
    broker.send(2, QoS::AtLeastOnce, "clear/a", b"text");
    let told = device.fixture.told().await;
    assert!(matches!(told, Event::Message(message) if message.topic == "clear/a"));
    // what waits here for a key is delivered when the other link has it
    broker.send(3, QoS::AtLeastOnce, "sealed/a", &sealed(2, "sealed/a", b"text"));
    assert_eq!(broker.asked().await, Asked::Acknowledge(3));
    let config = device.fixture.guards.config();
    let keyring = Keyring::new(vec![grant(2)]);
    let config = crate::guard::Config::new(config.policy().clone(), keyring, config.links());
    device.fixture.guards.replace(&Arc::new(config));
    assert_eq!(device.fixture.message().await.payload, b"text");
}

#[tokio::test]
async fn acknowledgement_that_was_not_sent_does_not_hold_the_end_up() {
    let mut device = Device::start(None);
    let mut broker = device.connected().await;
    broker.retained(KEYS, &device.authority.update(2, &[(2, KeyState::Active)]));
    assert_eq!(device.fixture.updated().await, 2);
    broker.published(ACK).await;
    broker.fail();
    let broker = device.fixture.dialed().await;
    device.fixture.command(Command::Disconnect).await;
    while device.fixture.event().await.is_some() {}
    drop(broker);
}

#[tokio::test]
async fn broker_without_qos_1_is_sent_the_acknowledgement_too() {
    let mut device = Device::start(None);
    let mut broker = device.fixture.dialed().await;
    broker.accept_within(ServerLimits { max_qos: QoS::AtMostOnce, ..ServerLimits::NONE });
    broker.grants_updates().await;
    broker.retained(KEYS, &device.authority.update(2, &[(2, KeyState::Active)]));
    let ack = broker.published(ACK).await;
    assert_eq!(device.authority.0.acknowledged(ACK, &ack), Ok(2));
}

#[tokio::test]
async fn refused_subscription_is_told() {
    let mut device = Device::start(None);
    let mut broker = device.fixture.connected().await;
    assert_eq!(broker.asked().await, Asked::Subscribe(KEYS.into()));
    broker.tell(Input::Requested { id: 1 });
    broker.tell(Input::Subscribed { id: 1, granted: None });
    let told = device.fixture.told().await;
    assert!(matches!(told, Event::SubscribeFailed { filter, .. } if filter == KEYS));
}

#[tokio::test]
async fn message_whose_key_comes_later_is_delivered_in_its_turn_and_confirmed() {
    let mut device = Device::start(None);
    let mut broker = device.connected().await;
    let mut bytes = Vec::new();
    for id in 1..=3_u16 {
        bytes.push(sealed(2, "sealed/a", std::format!("{id}").as_bytes()));
        broker.send(id, QoS::AtLeastOnce, "sealed/a", &bytes[usize::from(id) - 1]);
        assert_eq!(broker.asked().await, Asked::Acknowledge(id));
    }
    broker.retained(
        KEYS,
        &device.authority.update(2, &[(1, KeyState::Active), (2, KeyState::Pending)]),
    );
    // behind them, although it comes at once
    broker.send(4, QoS::AtLeastOnce, "sealed/a", &sealed(2, "sealed/a", b"4"));
    assert_eq!(device.fixture.updated().await, 2);
    broker.acknowledged(&device.authority, 9).await;
    let mut messages = Vec::new();
    for text in [b"1", b"2", b"3", b"4"] {
        let message = device.fixture.message().await;
        assert_eq!(message.payload, text);
        messages.push(message);
    }
    // no broker waits for it, and the guard has still to know
    let [first, ..] = &messages[..] else { unreachable!() };
    assert!(first.receipt.is_none());
    let receipt = first.delivery.receipt.expect("it was not confirmed yet");
    device.fixture.guards.rx().confirm(receipt);
    broker.send(5, QoS::AtLeastOnce, "sealed/a", &bytes[0]);
    let told = device.fixture.told().await;
    let duplicate = OpenError::Rejected(Rejected::Duplicate);
    assert!(matches!(told, Event::Rejected { reason, .. } if reason == duplicate), "not {told:?}");
    broker.send(6, QoS::AtLeastOnce, "sealed/a", &bytes[1]);
    assert_eq!(device.fixture.message().await.delivery.verdict, Some(Verdict::Redelivered));
}

#[tokio::test]
async fn message_whose_key_does_not_come_is_rejected_after_its_time() {
    tokio::time::pause();
    let mut device = Device::start(None);
    let mut broker = device.connected().await;
    broker.send(1, QoS::AtLeastOnce, "sealed/a", &sealed(2, "sealed/a", b"text"));
    assert_eq!(broker.asked().await, Asked::Acknowledge(1));
    // another update than the one that it needs
    broker.retained(
        KEYS,
        &device.authority.update(2, &[(1, KeyState::Active), (3, KeyState::Pending)]),
    );
    assert_eq!(device.fixture.updated().await, 2);
    broker.acknowledged(&device.authority, 2).await;
    settle().await;
    tokio::time::advance(Duration::from_secs(31)).await;
    let told = device.fixture.told().await;
    assert!(matches!(told, Event::Rejected { reason: OpenError::UnknownKey, .. }), "{told:?}");
}

#[tokio::test]
async fn message_that_waits_is_rejected_when_the_client_ends() {
    let mut device = Device::start(None);
    let mut broker = device.connected().await;
    broker.send(1, QoS::AtLeastOnce, "sealed/a", &sealed(2, "sealed/a", b"text"));
    assert_eq!(broker.asked().await, Asked::Acknowledge(1));
    device.fixture.command(Command::Disconnect).await;
    assert_eq!(broker.asked().await, Asked::Disconnect);
    broker.tell(Input::Disconnected);
    let told = device.fixture.told().await;
    assert!(matches!(told, Event::Rejected { reason: OpenError::UnknownKey, .. }), "{told:?}");
}

#[tokio::test]
async fn message_that_waits_outlives_its_connection() {
    let mut device = Device::start(None);
    let mut broker = device.connected().await;
    broker.send(1, QoS::AtLeastOnce, "sealed/a", &sealed(2, "sealed/a", b"text"));
    assert_eq!(broker.asked().await, Asked::Acknowledge(1));
    broker.fail();
    let broker = device.connected().await;
    broker.retained(KEYS, &device.authority.update(2, &[(2, KeyState::Active)]));
    assert_eq!(device.fixture.message().await.payload, b"text");
}

#[tokio::test]
async fn will_without_a_key_is_left_out_until_the_key_comes() {
    let mut device = Device::start(Some(will("sealed/will")));
    let broker = device.connected().await;
    assert!(broker.will.is_some());
    broker.retained(KEYS, &device.authority.update(2, &[]));
    assert_eq!(device.fixture.updated().await, 2);
    let mut broker = broker;
    broker.acknowledged(&device.authority, 2).await;
    assert_eq!(broker.asked().await, Asked::Disconnect);
    broker.tell(Input::Disconnected);
    let mut broker = device.connected().await;
    assert!(broker.will.is_none());
    let told = device.fixture.told().await;
    let no_key = ClientError::Seal(SealError::NoKey);
    assert!(matches!(told, Event::PublishFailed { reason, .. } if reason == no_key));
    broker.retained(KEYS, &device.authority.update(3, &[(3, KeyState::Active)]));
    assert_eq!(device.fixture.updated().await, 3);
    broker.acknowledged(&device.authority, 2).await;
    assert_eq!(broker.asked().await, Asked::Disconnect);
    broker.tell(Input::Disconnected);
    assert!(device.connected().await.will.is_some());
}
