//! What happened to each message, and whether it may have.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mqtt_seal::guard::{Guard, GuardRx, Incoming, OpenError, Opened};
use mqtt_seal::policy::Link;
use mqtt_seal::proxy::packet::{Connect, Frame, Kind, Publish, Version};
use mqtt_seal::wire::header::Header;

use super::broker::Far;
use super::{ALIKE, BECOMES_SEALED, keyring, number_of, observer_rules, subscriber_rules};
use crate::Constant;
use crate::proxy::oracle::MARKER;
use crate::proxy::{NOW, is_plain, is_sealed};

/// A subscriber of the library behind the broker, which forgets nothing.
#[derive(Debug)]
pub struct Subscriber {
    rx: GuardRx,
    /// How often each message was delivered.
    delivered: BTreeMap<u32, usize>,
    /// The newest on each topic.
    newest: BTreeMap<String, u32>,
    /// Messages that may come twice.
    excused: BTreeSet<u32>,
    /// How many messages came that are all alike.
    alike: usize,
}

/// Both directions.
#[derive(Debug)]
pub struct Ledger {
    pub(super) subscriber: Subscriber,
    /// How often each message of the other sender came to the client's program.
    received: BTreeMap<u32, usize>,
    /// Those of which this process of the proxy knows that the client has them.
    pub(super) confirmed: BTreeSet<u32>,
    /// Those that the broker has brought again for no reason.
    pub(super) replayed: BTreeSet<u32>,
    /// Those that are all alike: what was published of them, and what is acknowledged.
    alike: [BTreeSet<u32>; 2],
    /// The newest of the other sender's values that came, and that is done with.
    latest: [u32; 2],
    watch: Watch,
}

fn guard(policy: mqtt_seal::policy::Policy) -> GuardRx {
    let links = mqtt_seal::policy::Links::Tcp;
    let guard = Guard::with_entropy(policy, keyring(1), links, Box::new(Constant));
    guard.expect("a constant does not fail").split().1
}

impl Ledger {
    pub(super) fn new(version: Version) -> Self {
        let subscriber = Subscriber {
            rx: guard(subscriber_rules()),
            delivered: BTreeMap::new(),
            newest: BTreeMap::new(),
            excused: BTreeSet::new(),
            alike: 0,
        };
        let watch = Watch { version, observer: guard(observer_rules()), nonces: HashMap::new() };
        let (received, confirmed, replayed) = Default::default();
        let (alike, latest) = Default::default();
        Self { subscriber, received, confirmed, replayed, alike, latest, watch }
    }

    /// The client was told that its message has arrived.
    pub(super) fn acknowledged(&mut self, topic: &str, number: u32) {
        if topic == ALIKE {
            self.alike[1].insert(number);
            let [came, owed] = [self.subscriber.alike, self.alike[1].len()];
            assert!(came >= owed, "{number} on {topic} is acknowledged, and one is lost");
            return;
        }
        let there = match topic.starts_with("latest") {
            // an older value is worth nothing
            true => self.subscriber.newest.get(topic).is_some_and(|newest| *newest >= number),
            false => self.subscriber.delivered.contains_key(&number),
        };
        assert!(there, "{number} on {topic} is acknowledged, and lost");
    }

    /// The client publishes this.
    pub(super) fn published(&mut self, topic: &str, number: u32) {
        if topic == ALIKE {
            self.alike[0].insert(number);
        }
    }

    /// No more came than was published, and the last value that is done with.
    pub(super) fn check(&self) {
        assert!(self.latest[0] >= self.latest[1], "a value is lost: {:?}", self.latest);
        let may = self.alike[0].len() + self.subscriber.excused.len();
        assert!(self.subscriber.alike <= may, "{} of {may} came", self.subscriber.alike);
    }

    /// The broker was told that the client has a message.
    pub(super) fn done(&mut self, far: &Far) {
        if far.topic.starts_with("latest") {
            // an older value may be refused before the newer comes
            self.latest[1] = self.latest[1].max(far.number);
            return;
        }
        let there = self.received.contains_key(&far.number);
        assert!(there || far.again, "{far:?} is acknowledged, and lost");
    }

    /// A message of the other sender comes to the client's program; how often it did.
    pub(super) fn arrived(&mut self, topic: &str, number: u32) -> usize {
        if topic.starts_with("latest") {
            self.latest[0] = self.latest[0].max(number);
        }
        let times = self.received.entry(number).or_default();
        *times += 1;
        *times
    }

    /// What the broker had for the client is lost.
    pub(super) fn lost(&mut self) {
        self.latest[1] = 0;
    }

    /// The client may say so as of another message, for its acknowledgement was lost for long.
    pub(super) fn excuse(&mut self, number: u32) {
        self.subscriber.excused.insert(number);
    }

    /// Sees what leaves for the broker. Whether this is in clear what is to be sealed from now on.
    pub(super) fn watch(&mut self, plain: bool, frame: &Frame<'_>) -> bool {
        self.watch.take(plain, frame)
    }
}

impl Subscriber {
    pub(super) fn take(&mut self, publish: &Publish<'_>) {
        let topic = std::str::from_utf8(publish.topic).expect("a text");
        let incoming = Incoming::new(topic, publish.payload, Link::Tcp).at(Some(NOW));
        let mut payload = vec![];
        match self.rx.open(&incoming, &mut payload) {
            Ok(Opened::Delivered(_)) => {}
            Err(OpenError::Rejected(_)) => return,
            other => panic!("{other:?} on {topic}"),
        }
        let number = number_of(&payload, MARKER).expect("from the client");
        if number == 0 {
            self.alike += 1;
            return;
        }
        let times = self.delivered.entry(number).or_default();
        *times += 1;
        if publish.payload == payload {
            // MQTT itself repeats what is not sealed, and it may be by now
            self.excused.insert(number);
        }
        let may = self.excused.contains(&number);
        assert!(*times == 1 || may, "{number} on {topic} twice");
        let newest = self.newest.entry(topic.into()).or_default();
        *newest = number.max(*newest);
    }
}

/// Everything that leaves for the broker.
#[derive(Debug)]
struct Watch {
    version: Version,
    observer: GuardRx,
    /// What was sealed under which nonce.
    nonces: HashMap<Vec<u8>, (String, Vec<u8>)>,
}

impl Watch {
    fn take(&mut self, plain: bool, frame: &Frame<'_>) -> bool {
        match frame.kind {
            Kind::Publish => {
                let publish = Publish::parse(frame, self.version).expect("a PUBLISH");
                let topic = std::str::from_utf8(publish.topic).expect("a text");
                assert!(!plain || is_plain(topic), "{topic} by the plain link");
                self.message(topic, publish.payload)
            }
            Kind::Connect => {
                let connect = Connect::parse(frame).expect("a CONNECT").expect("of this version");
                let will = connect.will.as_ref();
                will.is_some_and(|will| self.message("sealed/b", will.payload))
            }
            _ => {
                assert!(!frame.bytes.windows(MARKER.len()).any(|window| window == MARKER));
                false
            }
        }
    }

    fn message(&mut self, topic: &str, payload: &[u8]) -> bool {
        if !is_sealed(topic) && payload.starts_with(MARKER) {
            return topic == BECOMES_SEALED;
        }
        let mut out = vec![];
        let incoming = Incoming::new(topic, payload, Link::Tcp).at(Some(NOW));
        let opened = self.observer.open(&incoming, &mut out);
        assert!(matches!(opened, Ok(Opened::Delivered(_))), "{opened:?} on {topic}");
        let (header, len) = Header::parse(payload).expect("sealed");
        assert_eq!(header.encode().as_bytes().len(), len);
        // magic and flags are no part of a nonce
        let nonce = payload[2..len].to_vec();
        let what = (topic.into(), payload.to_vec());
        let before = self.nonces.entry(nonce).or_insert_with(|| what.clone());
        assert_eq!(*before, what, "a nonce again");
        false
    }
}
