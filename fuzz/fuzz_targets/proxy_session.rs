//! A client, its broker and the plain link beside it, each saying packets in any order, some of
//! them mangled, to two sessions of the proxy: one gets each packet whole, the other in pieces.
//!
//! What a client publishes to a sealed topic never reaches a broker but sealed; nothing reaches the
//! client on such a topic that was not sealed under the key; everything written is whole packets of
//! kinds that the other end may get; what is written is bounded by what was read; pieces make no
//! difference; and while the broker is honest, each PUBLISH and PUBREL of the client is answered at
//! most once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt_seal::guard::GuardTx;
use mqtt_seal::policy::Links;
use mqtt_seal::proxy::packet::{Kind, Version};
use mqtt_seal_fuzz::proxy::oracle::{MARKER, Oracle, Owed};
use mqtt_seal_fuzz::proxy::pair::Pair;
use mqtt_seal_fuzz::proxy::{
    CLEAR, TOPICS, is_sealed, packet, properties, publish, seal, sender, text,
};
use mqtt_seal_fuzz::take;

/// Operations of one run.
const MAX_STEPS: usize = 100;
/// The property by which a broker sends its clients elsewhere.
const ELSEWHERE: &[u8] = b"\x1C\0\x09elsewhere";
/// Ends, as places in `SIDES`.
const CLIENT: usize = 0;
const MAIN: usize = 1;
const PLAIN: usize = 2;

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let [flags] = take(&mut data);
    let mut run = Run::new(flags);
    for _ in 0..MAX_STEPS {
        if data.is_empty() {
            break;
        }
        let [op, a, b, c] = take(&mut data);
        if run.pair.is_over() {
            run.connect(a);
            continue;
        }
        match op % 16 {
            0..=3 => run.publish(a, b, c),
            4 | 5 => run.acknowledge(a, b, c),
            6 => run.ask(a, c),
            7..=9 => run.bring(a, b, c),
            10 | 11 => run.answer(usize::from(a & 1), b, c),
            12 => run.lie(a, b, c),
            13 => run.connect(a),
            14 => run.mangle = Some([a, b, c]),
            _ => {
                let (raw, rest) = data.split_at(data.len().min(usize::from(b % 32)));
                data = rest;
                run.raw(usize::from(a % 3), raw, c);
            }
        }
    }
});

struct Run {
    version: Version,
    pair: Pair,
    oracle: Oracle,
    /// Another client, far away.
    far: GuardTx,
    count: u32,
    /// The client's aliases, as far as all its packets are what they seem.
    aliases: [Option<usize>; 4],
    trusted: bool,
    mangle: Option<[u8; 3]>,
}

impl Run {
    fn new(flags: u8) -> Self {
        let version =
            [Version::V5, Version::V311, Version::V5, Version::V31][usize::from(flags & 3)];
        let links = [Links::Both, Links::Both, Links::Tls, Links::Tcp][usize::from(flags >> 2 & 3)];
        let mut run = Self {
            version,
            pair: Pair::new(links, version),
            oracle: Oracle::new(version),
            far: sender(),
            count: 0,
            aliases: [None; 4],
            trusted: true,
            mangle: None,
        };
        run.hello(flags >> 4);
        run
    }

    /// Gives a packet to the proxy, mangled if that was asked for.
    fn feed(&mut self, side: usize, mut packets: [Vec<u8>; 2], piece: u8) {
        if !self.pair.has(side) {
            return;
        }
        if let Some(how) = self.mangle.take() {
            self.distrust(side);
            let random = packets[0] != packets[1];
            if random && how[0] & 4 != 0 {
                packets.iter_mut().for_each(|packet| tamper(packet, how));
            } else {
                // random bytes may come to stand for something else
                self.pair.ambiguous |= random;
                packets.iter_mut().for_each(|packet| mangle(packet, how));
            }
        }
        let piece = [1, 2, 5, 13][usize::from(piece >> 6)];
        let written = self.pair.feed(side, [&packets[0], &packets[1]], piece);
        self.oracle.read(self.pair.longest());
        self.oracle.check(&written, self.pair.packets(), self.pair.growth());
    }

    fn say(&mut self, side: usize, packet: Vec<u8>, piece: u8) {
        self.feed(side, [packet.clone(), packet], piece);
    }

    fn distrust(&mut self, side: usize) {
        self.oracle.honest = false;
        self.trusted &= side != CLIENT;
    }

    /// The client connects anew.
    fn connect(&mut self, flags: u8) {
        self.pair.reconnect();
        self.oracle.reconnect();
        self.aliases = [None; 4];
        self.trusted = true;
        self.hello(flags);
    }

    /// CONNECT, and mostly the broker's answer.
    fn hello(&mut self, flags: u8) {
        let mut body = vec![];
        let (name, level): (&[u8], u8) = match self.version {
            Version::V31 => (b"MQIsdp", 3),
            Version::V311 => (b"MQTT", 4),
            _ => (b"MQTT", 5),
        };
        text(&mut body, name);
        let will = flags & 2 != 0;
        body.extend_from_slice(&[level, (flags & 1) << 1 | u8::from(will) << 2, 0, 60]);
        let limit: &[u8] = if flags & 8 != 0 { &[0x27, 0, 0, 2, 0] } else { &[] };
        properties(&mut body, self.version, limit);
        text(&mut body, b"pump-7");
        if will {
            properties(&mut body, self.version, &[1, 1]);
            text(&mut body, b"sealed/b");
            text(&mut body, MARKER);
        }
        self.say(CLIENT, packet(0x10, &body), flags << 4);
        if flags & 4 == 0 {
            self.answer(0, flags >> 1, flags);
        }
    }

    /// The client publishes.
    fn publish(&mut self, a: u8, b: u8, c: u8) {
        let mut place = usize::from(a) % TOPICS.len();
        let (mut qos, id) = (b % 3, u16::from(c & 3) + 1);
        // the answer to PUBREL may take another PUBREC, which no other message has for its own
        if self.oracle.honest && self.oracle.is_releasing(id) {
            qos = 0;
        }
        let flags = qos << 1 | b >> 2 & 1 | b & 8;
        let alias = if self.version.is_5() { usize::from(b >> 4 & 3) } else { 0 };
        let mut about = vec![];
        let mut topic = TOPICS[place];
        if alias != 0 {
            about.extend_from_slice(&[0x23, 0, alias as u8]);
            match self.aliases[alias] {
                Some(known) if c & 4 != 0 => (place, topic) = (known, ""),
                _ => self.aliases[alias] = Some(place),
            }
        }
        let secret = place < CLEAR && self.trusted && self.mangle.is_none();
        let mut payload = if secret { MARKER.to_vec() } else { b"open".to_vec() };
        payload.extend_from_slice(&[a, c]);
        if c & 8 != 0 && !TOPICS[place].starts_with("bind") {
            // what belongs to the payload is sealed with it
            about.push(0x03);
            text(&mut about, &payload[..payload.len() - 2]);
        }
        if b & 64 != 0 && c & 16 != 0 {
            about.extend_from_slice(&[0x23, 0, 1 + (a & 1)]);
            self.distrust(CLIENT);
        }
        if qos > 0 {
            self.oracle.asked(false, id);
        }
        self.say(CLIENT, publish(self.version, flags, topic, id, &about, &payload), c);
    }

    /// The client acknowledges something, or releases.
    fn acknowledge(&mut self, a: u8, b: u8, c: u8) {
        let (first, id) = ([0x40, 0x50, 0x62, 0x70][usize::from(a & 3)], u16::from(b & 3) + 1);
        if first == 0x62 {
            self.oracle.asked(true, id);
        }
        self.say(
            CLIENT,
            acknowledgement(first, id, if self.version.is_5() { b & 0x80 } else { 0 }),
            c,
        );
    }

    /// The client asks for something else.
    fn ask(&mut self, a: u8, c: u8) {
        let id = [0, 1 + (a >> 6)];
        let mut body = id.to_vec();
        properties(&mut body, self.version, &[]);
        let packet = match a % 5 {
            0 => packet(0xC0, &[]),
            1 => {
                for (filter, bit) in [("sealed/#", 8), ("other/#", 16), ("clear/+", 32)] {
                    if a & bit != 0 {
                        text(&mut body, filter.as_bytes());
                        body.push(1);
                    }
                }
                packet(0x82, &body)
            }
            2 => {
                text(&mut body, b"sealed/#");
                packet(0xA2, &body)
            }
            3 => packet(0xE0, &[]),
            _ => packet(0xF0, &[]),
        };
        self.say(CLIENT, packet, c);
    }

    /// The broker brings a message: one that somebody sealed, one that came before, or clear text.
    fn bring(&mut self, a: u8, b: u8, c: u8) {
        let topic = TOPICS[usize::from(a) % TOPICS.len()];
        let (qos, id) = (b % 3, u16::from(c & 3) + 1);
        let flags = qos << 1 | b >> 2 & 1 | b & 8;
        let mut about = vec![];
        let mut name = topic;
        let aliases = [b >> 4 & 3, b >> 6 & 3].into_iter().filter(|alias| *alias != 0);
        for alias in aliases.filter(|_| self.version.is_5()) {
            about.extend_from_slice(&[0x23, 0, alias]);
            if c & 4 != 0 {
                name = "";
            }
        }
        let payloads = self.payloads(topic, name, c >> 3 & 7, a, flags & 1 != 0);
        let packets = payloads.map(|p| publish(self.version, flags, name, id, &about, &p));
        self.feed(MAIN, packets, c);
    }

    /// `name` is what stands for `topic` on the packet.
    fn payloads(&mut self, topic: &str, name: &str, kind: u8, a: u8, retain: bool) -> [Vec<u8>; 2] {
        let both = |payload: Vec<u8>| [payload.clone(), payload];
        match kind {
            0..=2 => {
                self.count += 1;
                let payload = format!("genuine {} on {topic}", self.count).into_bytes();
                self.oracle.sealed(topic, &payload);
                let sealed = both(seal(&mut self.far, topic, &payload, retain));
                self.oracle.history.push((topic.into(), sealed.clone()));
                sealed
            }
            3 | 4 if !self.oracle.history.is_empty() => {
                let place = usize::from(a) % self.oracle.history.len();
                let again = self.oracle.history[place].1.clone();
                // an alias may stand for a sealed topic, where what one has sealed is not its own to
                // the other
                self.pair.ambiguous |= name.is_empty() && again[0] != again[1];
                // what passes as it is is the same to both
                if is_sealed(topic) { again } else { both(again[0].clone()) }
            }
            5 => both(vec![]),
            _ => both(b"in clear".to_vec()),
        }
    }

    /// The broker says what it owes.
    fn answer(&mut self, link: usize, b: u8, c: u8) {
        let Some(owed) = self.oracle.owed[link].pop_front() else { return };
        let packet = match owed {
            Owed::Connack => self.connack(b),
            Owed::Acknowledgement(Kind::Puback, id) => acknowledgement(0x40, id, 0),
            Owed::Acknowledgement(Kind::Pubrec, id) => acknowledgement(0x50, id, 0),
            Owed::Acknowledgement(_, id) => acknowledgement(0x70, id, 0),
            Owed::Suback(id, filters) => {
                let mut body = id.to_be_bytes().to_vec();
                properties(&mut body, self.version, &[]);
                body.extend((0..filters).map(|_| b & 1));
                packet(0x90, &body)
            }
        };
        self.say([MAIN, PLAIN][link], packet, c);
    }

    fn connack(&self, b: u8) -> Vec<u8> {
        let mut body = vec![b & 1, if b == 0xFE { 5 } else { 0 }];
        let mut about = vec![0x22, 0, 3];
        for (bit, setting) in [
            (2, &[0x21, 0, 1][..]),
            (4, &[0x24, 1]),
            (8, &[0x25, 0]),
            (16, &[0x27, 0, 0, 0, 100]),
            (32, &[0x12, 0, 1, b'x']),
        ] {
            if b & bit != 0 {
                about.extend_from_slice(setting);
            }
        }
        properties(&mut body, self.version, &about);
        packet(0x20, &body)
    }

    /// The broker says anything.
    fn lie(&mut self, a: u8, b: u8, c: u8) {
        let side = [MAIN, PLAIN][usize::from(a & 1)];
        self.distrust(side);
        let packet = match a >> 1 & 7 {
            0 => self.connack(b),
            kind @ 1..=4 => {
                let first = [0x40, 0x50, 0x62, 0x70][usize::from(kind - 1)];
                acknowledgement(
                    first,
                    u16::from(c & 3) + 1,
                    if self.version.is_5() { b } else { 0 },
                )
            }
            5 if b & 4 != 0 => {
                let mut body = if b & 8 == 0 { vec![b] } else { vec![0, b] };
                properties(&mut body, self.version, ELSEWHERE);
                packet(if b & 8 == 0 { 0xE0 } else { 0x20 }, &body)
            }
            5 => packet([0xB0, 0xD0, 0xE0, 0xF0][usize::from(b & 3)], &[]),
            6 => packet(b, &[0, c & 3, 0]),
            _ => packet(0x90, &[0, c & 3, 0, 1, 2]),
        };
        self.say(side, packet, c);
    }

    /// Anything at all.
    fn raw(&mut self, side: usize, bytes: &[u8], piece: u8) {
        self.distrust(side);
        // the marker is not to come from here
        let bytes = bytes.iter().map(|byte| if MARKER.ends_with(&[*byte]) { 0 } else { *byte });
        self.say(side, bytes.collect(), piece);
    }
}

fn acknowledgement(first: u8, id: u16, reason: u8) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let body = [high, low, reason];
    packet(first, if reason == 0 { &body[..2] } else { &body })
}

/// Changes one byte, or leaves out or doubles some.
fn mangle(packet: &mut Vec<u8>, [how, at, value]: [u8; 3]) {
    let Some(at) = usize::from(at).checked_rem(packet.len()) else { return };
    match how % 4 {
        0 => packet[at] = value,
        1 => packet[at] ^= 1 << (value & 7),
        2 => drop(packet.remove(at)),
        _ => packet.insert(at, value),
    }
}

/// Changes one bit of a sealed payload, which ends the packet.
fn tamper(packet: &mut [u8], [_, at, value]: [u8; 3]) {
    let from_end = 1 + usize::from(at) % 40;
    if let Some(byte) = packet.len().checked_sub(from_end).and_then(|at| packet.get_mut(at)) {
        *byte ^= 1 << (value & 7);
    }
}
