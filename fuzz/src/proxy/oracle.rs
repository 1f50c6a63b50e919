//! What must hold of everything that a proxy writes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use mqtt_seal::proxy::packet::{
    Acknowledgement, Connack, Connect, Frame, Kind, Publish, Subscribe, Version,
};
use mqtt_seal::wire::property::Property;

use super::pair::Written;
use super::{Observer, frames, is_plain, is_sealed, packet};

/// Stands in every payload that a client publishes to a sealed topic.
pub const MARKER: &[u8; 16] = b"never in clear!!";

/// A message as its receiver understands it.
pub struct Message<'a> {
    pub topic: String,
    pub payload: &'a [u8],
    pub properties: Vec<Property<'a>>,
}

/// A receiver who takes the last of several topic aliases, as many do.
pub struct Reader {
    version: Version,
    aliases: HashMap<u32, String>,
}

impl Reader {
    #[must_use]
    pub fn new(version: Version) -> Self {
        Self { version, aliases: HashMap::new() }
    }

    /// The message of a PUBLISH; `None` for other packets.
    ///
    /// # Panics
    /// If it is a PUBLISH that nobody understands.
    pub fn message<'a>(&mut self, frame: &Frame<'a>) -> Option<Message<'a>> {
        if frame.kind != Kind::Publish {
            return None;
        }
        let publish = Publish::parse(frame, self.version).expect("a PUBLISH");
        let mut topic = String::from_utf8(publish.topic.to_vec()).expect("a text");
        let alias = publish.properties.iter().filter(|setting| setting.id == 0x23).last();
        if let Some(alias) = alias.and_then(|setting| setting.value.number()) {
            if topic.is_empty() {
                topic = self.aliases.get(&alias).expect("an alias that was set").clone();
            } else {
                self.aliases.insert(alias, topic.clone());
            }
        }
        let mut properties = vec![];
        publish.payload_properties(&mut properties).expect("properties");
        Some(Message { topic, payload: publish.payload, properties })
    }
}

/// The answer that a broker owes.
#[derive(Debug, Clone, Copy)]
pub enum Owed {
    Connack,
    Acknowledgement(Kind, u16),
    /// Packet ID, and how many filters.
    Suback(u16, usize),
}

/// Watches one proxy, over all connections of its client.
pub struct Oracle {
    version: Version,
    readers: [Reader; 3],
    observer: Observer,
    /// Topics and payloads that were sealed under the key.
    known: BTreeSet<(String, Vec<u8>)>,
    /// PUBLISH and PUBREL of the client that nothing has answered.
    unanswered: BTreeMap<(bool, u16), u32>,
    /// IDs of PUBREL that nothing has answered on this connection.
    releasing: BTreeSet<u16>,
    /// Whether the broker has said nothing but what it owed.
    pub honest: bool,
    /// What the broker owes, by the main link and the plain one.
    pub owed: [VecDeque<Owed>; 2],
    /// Packets on sealed topics, the topic first.
    pub history: Vec<(String, [Vec<u8>; 2])>,
    written: u64,
    longest: usize,
    connected: [bool; 2],
    answered: bool,
}

impl Oracle {
    #[must_use]
    pub fn new(version: Version) -> Self {
        Self {
            version,
            readers: [0; 3].map(|_| Reader::new(version)),
            observer: Observer::default(),
            known: BTreeSet::new(),
            unanswered: BTreeMap::new(),
            releasing: BTreeSet::new(),
            honest: true,
            owed: Default::default(),
            history: vec![],
            written: 0,
            longest: 0,
            connected: [false; 2],
            answered: false,
        }
    }

    /// The client connects again: the links are new, and nothing is owed by them.
    pub fn reconnect(&mut self) {
        self.readers = [0; 3].map(|_| Reader::new(self.version));
        self.owed = Default::default();
        self.releasing.clear();
        (self.written, self.connected, self.answered) = (0, [false; 2], false);
    }

    /// Somebody else has sealed this.
    pub fn sealed(&mut self, topic: &str, payload: &[u8]) {
        self.known.insert((topic.into(), payload.to_vec()));
    }

    /// The client says PUBLISH, or PUBREL, with this packet ID.
    pub fn asked(&mut self, release: bool, id: u16) {
        *self.unanswered.entry((release, id)).or_default() += 1;
        if release {
            self.releasing.insert(id);
        }
    }

    /// Whether the client has to leave this packet ID alone.
    #[must_use]
    pub fn is_releasing(&self, id: u16) -> bool {
        self.releasing.contains(&id)
    }

    /// No packet that was given to the proxy has more bytes.
    pub fn read(&mut self, longest: usize) {
        self.longest = self.longest.max(longest);
    }

    /// Checks what was written, after so many packets of this connection.
    ///
    /// # Panics
    /// If something must not be.
    pub fn check(&mut self, written: &[Written; 2], packets: u64, growth: usize) {
        let [client, main, plain] = &written[0];
        for frame in frames(client) {
            self.to_client(&frame);
            self.bounded(&frame, growth);
        }
        for (at, bytes) in [main, plain].into_iter().enumerate() {
            let marker = bytes.windows(MARKER.len()).any(|window| window == MARKER);
            assert!(!marker, "in clear to the broker");
            for frame in frames(bytes) {
                self.to_broker(at, &frame);
                self.bounded(&frame, growth);
            }
        }
        // CONNECT is answered by two, an error by one more, and each packet of the client may say
        // on the plain link that it lives
        assert!(self.written <= 3 * packets + 2, "{} after {packets}", self.written);
        self.remember(written);
    }

    fn bounded(&mut self, frame: &Frame<'_>, growth: usize) {
        self.written += 1;
        let max = self.longest + growth + 48;
        assert!(frame.bytes.len() <= max, "{} bytes of {max}", frame.bytes.len());
    }

    fn to_client(&mut self, frame: &Frame<'_>) {
        if let Some(message) = self.readers[0].message(frame) {
            let key = (message.topic, message.payload.to_vec());
            assert!(!is_sealed(&key.0) || self.known.contains(&key), "not sealed: {key:?}");
            return;
        }
        match frame.kind {
            Kind::Connack => {
                assert!(!std::mem::replace(&mut self.answered, true), "two CONNACKs");
                assert!(!(self.version.is_5() && refers(frame)), "the client is sent elsewhere");
            }
            Kind::Puback | Kind::Pubrec | Kind::Pubcomp => self.answer(frame),
            Kind::Disconnect => {
                assert!(!(self.version.is_5() && refers(frame)), "the client is sent elsewhere")
            }
            Kind::Pubrel | Kind::Suback | Kind::Unsuback | Kind::Pingresp | Kind::Auth => {}
            kind => panic!("{kind:?} to the client"),
        }
    }

    fn answer(&mut self, frame: &Frame<'_>) {
        let id = Acknowledgement::parse(frame).expect("an acknowledgement").id;
        let release = frame.kind == Kind::Pubcomp;
        if release {
            self.releasing.remove(&id);
        }
        if self.honest {
            let left = self.unanswered.entry((release, id)).or_default();
            *left = left.checked_sub(1).unwrap_or_else(|| panic!("{:?} {id} again", frame.kind));
        }
    }

    fn to_broker(&mut self, at: usize, frame: &Frame<'_>) {
        let first = !std::mem::replace(&mut self.connected[at], true);
        assert_eq!(first, frame.kind == Kind::Connect, "{:?}", frame.kind);
        if let Some(message) = self.readers[at + 1].message(frame) {
            let Message { topic, payload, properties } = message;
            // a deletion with RETAIN and without a payload passes as it is
            let deletes = payload.is_empty() && frame.flags & 1 != 0;
            if is_sealed(&topic) && !deletes {
                let opened = self.observer.open(&topic, payload, &properties);
                self.known.insert((topic.clone(), opened.expect("sealed for the broker")));
            }
            assert!(at == 0 || is_plain(&topic));
        }
        match frame.kind {
            Kind::Connect => self.connect(at, frame),
            Kind::Publish => {
                let publish = Publish::parse(frame, self.version).expect("a PUBLISH");
                match publish.flags >> 1 & 3 {
                    0 => {}
                    1 => self.owe(at, Kind::Puback, publish.id),
                    _ => self.owe(at, Kind::Pubrec, publish.id),
                }
            }
            Kind::Pubrel => {
                let id = Acknowledgement::parse(frame).expect("a PUBREL").id;
                self.owe(at, Kind::Pubcomp, id);
            }
            Kind::Subscribe => {
                let subscribe = Subscribe::parse(frame, self.version).expect("a SUBSCRIBE");
                self.owed[at].push_back(Owed::Suback(subscribe.id, subscribe.filters.len()));
            }
            Kind::Puback | Kind::Pubrec | Kind::Pubcomp | Kind::Unsubscribe | Kind::Auth => {
                assert_eq!(at, 0, "{:?} by the plain link", frame.kind);
            }
            Kind::Pingreq | Kind::Disconnect => {}
            kind => panic!("{kind:?} to the broker"),
        }
    }

    fn owe(&mut self, at: usize, kind: Kind, id: u16) {
        self.owed[at].push_back(Owed::Acknowledgement(kind, id));
    }

    fn connect(&mut self, at: usize, frame: &Frame<'_>) {
        let connect = Connect::parse(frame).expect("a CONNECT").expect("of a known version");
        self.owed[at].push_back(Owed::Connack);
        let Some(will) = connect.will else { return };
        assert_eq!(at, 0, "a will by the plain link");
        let topic = std::str::from_utf8(will.topic).expect("a text");
        if is_sealed(topic) {
            let mut properties = vec![];
            will.payload_properties(&mut properties).expect("properties");
            let opened = self.observer.open(topic, will.payload, &properties);
            self.known.insert((topic.into(), opened.expect("sealed for the broker")));
        }
    }

    /// Keeps sealed payloads, which a broker may bring again.
    fn remember(&mut self, written: &[Written; 2]) {
        for at in [1, 2] {
            let all = written[1][at].as_slice();
            if frames(&written[0][at]).len() != frames(all).len() {
                continue;
            }
            for (a, b) in frames(&written[0][at]).into_iter().zip(frames(all)) {
                let parse = |frame| Publish::parse(frame, self.version);
                let (Kind::Publish, Ok(a), Ok(b)) = (a.kind, parse(&a), parse(&b)) else {
                    continue;
                };
                let topic = String::from_utf8_lossy(a.topic).into_owned();
                self.history.push((topic, [a.payload.to_vec(), b.payload.to_vec()]));
            }
        }
    }
}

/// Whether CONNACK or DISCONNECT sends the client to another server.
fn refers(frame: &Frame<'_>) -> bool {
    // one has a byte more in front of its reason
    let front: &[u8] = if frame.kind == Kind::Disconnect { &[0] } else { &[] };
    let bytes = packet(0x20, &[front, frame.body].concat());
    let frame = Frame::first(&bytes, usize::MAX).expect("a packet").expect("all of it");
    let connack = Connack::parse(&frame, Version::V5);
    connack.is_ok_and(|connack| connack.properties.get(0x1C).is_some())
}
