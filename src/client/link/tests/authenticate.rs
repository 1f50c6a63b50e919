//! A link that authenticates itself and its authority, which is played by the test.

use super::*;
use crate::client::error::PeerFault;
use crate::client::peer::{PeerAuth, Sight};
use crate::peer::{
    Action, Authority, BrokerName, Enrolled, PeerId, PeerKey, Record as Given, RequestError,
};
use crate::topic::TopicName;

const REQUEST: &str = "auth/req";
const RESPONSE: &str = "auth/res";
const NOW: u64 = 1_800_000_000_000;

fn key(byte: u8) -> PeerKey {
    PeerKey::pairwise(&SharedKey::take(&mut [byte; 32]), "test").unwrap()
}

fn topic(text: &str) -> TopicName<'_> {
    TopicName::parse(text).unwrap()
}

fn id(text: &str) -> PeerId<'_> {
    PeerId::parse(text).unwrap()
}

fn peer(patience: Duration) -> Peer {
    let names = (id("device"), id("authority"), topic(REQUEST), topic(RESPONSE));
    let auth = PeerAuth::new(key(7), names.0, names.1, names.2, names.3).patience(patience);
    Peer::new(&auth, &("broker".into(), 1883), Sight::Plain).unwrap()
}

fn fixture() -> Fixture {
    with_patience(Duration::from_secs(30))
}

fn with_patience(patience: Duration) -> Fixture {
    Fixture::with_peer(8, guard(), None, Some(peer(patience)))
}

/// Answers to a challenge with this key; whether a confirmation was accepted.
fn authority(key: &PeerKey) -> impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, RequestError> {
    let mut authority = Authority::new(id("authority"), topic(REQUEST), NOW);
    authority.vouch(BrokerName::parse("broker:1883").unwrap(), vec![]);
    move |bytes| {
        let enrolled = || Enrolled { key, response: topic(RESPONSE), serial: 4 };
        let ledger = |id: &str| (id == "device").then(enrolled);
        let record = Given { topic: REQUEST, bytes, now: NOW };
        let mut out = Vec::new();
        let action = authority.receive(&record, ledger, &mut getrandom::SysRng, &[], &mut out)?;
        Ok(matches!(action, Action::Answer { .. }).then_some(out))
    }
}

impl Broker {
    /// Grants the subscription of the answers, and returns the challenge.
    async fn challenged(&mut self) -> Vec<u8> {
        assert_eq!(self.asked().await, Asked::Subscribe(RESPONSE.into()));
        self.tell(Input::Requested { id: 1 });
        self.tell(Input::Subscribed { id: 1, granted: Some(QoS::AtMostOnce) });
        self.challenged_again().await
    }

    async fn challenged_again(&mut self) -> Vec<u8> {
        let challenge = self.published(REQUEST).await;
        self.tell(Input::Published { id: 0 });
        challenge
    }

    fn answer(&self, bytes: &[u8]) {
        self.send(0, QoS::AtMostOnce, RESPONSE, bytes);
    }

    /// A whole run.
    async fn authenticates(&mut self) {
        let key = key(7);
        let mut authority = authority(&key);
        let challenge = self.challenged().await;
        self.answer(&authority(&challenge).unwrap().unwrap());
        let confirmation = self.published(REQUEST).await;
        self.tell(Input::Published { id: 0 });
        assert_eq!(authority(&confirmation), Ok(None));
    }
}

#[tokio::test]
async fn nothing_of_the_application_goes_out_before_the_authority_answered() {
    let mut fixture = fixture();
    for _ in 0..2 {
        let mut broker = fixture.dialed().await;
        fixture.publish("sealed/a", QoS::AtLeastOnce, b"text");
        fixture.subscribe("clear/#").await;
        broker.accept();
        let challenge = broker.challenged().await;
        fixture.subscribe("clear/more").await;
        fixture.publish("clear/a", QoS::AtLeastOnce, b"text");
        settle().await;
        assert!(broker.asked.try_recv().is_err());
        let key = key(7);
        broker.answer(&authority(&key)(&challenge).unwrap().unwrap());
        broker.published(REQUEST).await;
        assert_eq!(broker.asked().await, Asked::Subscribe("clear/#".into()));
        assert_eq!(broker.asked().await, Asked::Subscribe("clear/more".into()));
        assert_eq!(broker.published("sealed/a").await[0], 0xFC);
        broker.fail();
    }
}

#[tokio::test]
async fn authentication_is_told_before_the_link_is_up() {
    let mut fixture = fixture();
    let mut broker = fixture.connected().await;
    broker.authenticates().await;
    let Some(Event::Authenticated { peer, run, clock_offset, .. }) = fixture.event().await else {
        panic!("not authenticated")
    };
    assert_eq!((&*peer, run.attestation().serial), ("authority", 4));
    let offset = clock_offset.unwrap();
    let own = now().unwrap().cast_signed();
    assert!(*offset.start() <= NOW.cast_signed() - own + 10_000);
    assert!(matches!(fixture.event().await, Some(Event::LinkUp { .. })));
}

#[tokio::test]
async fn what_comes_on_the_topics_of_a_run_is_never_delivered() {
    let mut fixture = fixture();
    let mut broker = fixture.connected().await;
    broker.authenticates().await;
    for topic in [REQUEST, RESPONSE] {
        broker.send(0, QoS::AtMostOnce, topic, b"text");
    }
    broker.send(3, QoS::AtLeastOnce, RESPONSE, b"text");
    assert_eq!(broker.asked().await, Asked::Acknowledge(3));
    broker.send(0, QoS::AtMostOnce, "clear/a", b"text");
    loop {
        match fixture.event().await.unwrap() {
            Event::Message(message) => {
                assert_eq!(message.topic, "clear/a");
                break;
            }
            Event::Authenticated { .. } | Event::LinkUp { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn message_before_authentication_waits_for_it() {
    let mut fixture = fixture();
    let mut broker = fixture.connected().await;
    broker.send(1, QoS::AtLeastOnce, "clear/a", b"early");
    broker.send(0, QoS::AtMostOnce, "clear/a", b"soon");
    broker.authenticates().await;
    broker.send(0, QoS::AtMostOnce, "clear/a", b"late");
    assert!(matches!(fixture.event().await, Some(Event::Authenticated { .. })));
    assert!(matches!(fixture.event().await, Some(Event::LinkUp { .. })));
    for payload in [&b"early"[..], b"soon", b"late"] {
        assert_eq!(fixture.message().await.payload, payload);
    }
}

#[tokio::test]
async fn broker_that_sends_too_much_before_authentication_is_left() {
    let mut fixture = fixture();
    let broker = fixture.connected().await;
    for id in 1..=1_025 {
        broker.send(id, QoS::AtLeastOnce, "clear/a", b"early");
    }
    let left =
        |event: &_| matches!(event, Event::LinkDown { error: LinkError::TooMuchWaiting, .. });
    while !left(&fixture.event().await.unwrap()) {}
}

#[tokio::test]
async fn answers_that_anybody_could_send_change_nothing() {
    let mut fixture = fixture();
    let mut broker = fixture.connected().await;
    let challenge = broker.challenged().await;
    let key = key(7);
    let right = authority(&key)(&challenge).unwrap().unwrap();
    let mut forged = right.clone();
    forged[30] ^= 1;
    for bytes in [&b""[..], b"text", &challenge, &forged] {
        broker.answer(bytes);
    }
    settle().await;
    assert!(broker.asked.try_recv().is_err());
    broker.answer(&right);
    broker.published(REQUEST).await;
}

#[tokio::test]
async fn silent_authority_is_told_and_asked_again() {
    let mut fixture = with_patience(Duration::from_millis(1));
    let mut broker = fixture.connected().await;
    let first = broker.challenged().await;
    assert!(matches!(fixture.event().await, Some(Event::PeerSilent { .. })));
    let second = broker.challenged_again().await;
    assert_ne!(first, second);
}

#[tokio::test]
async fn broker_that_refuses_the_topic_of_answers_is_told_and_left() {
    let mut fixture = fixture();
    let mut broker = fixture.connected().await;
    assert_eq!(broker.asked().await, Asked::Subscribe(RESPONSE.into()));
    broker.tell(Input::Requested { id: 1 });
    broker.tell(Input::Subscribed { id: 1, granted: None });
    let refused = fixture.event().await;
    assert!(matches!(refused, Some(Event::PeerRefused { fault: PeerFault::NotSubscribed, .. })));
    let down = fixture.event().await;
    let expected = LinkError::Peer(PeerFault::NotSubscribed);
    assert!(matches!(down, Some(Event::LinkDown { error, .. }) if error == expected));
    fixture.dialed().await;
}
