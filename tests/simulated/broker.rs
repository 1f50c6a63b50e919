//! What a broker may do to messages, and what somebody on the way may.

use std::collections::{BTreeMap, VecDeque};

use mqtt_seal::guard::QoS;

/// A PUBLISH on its way.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) topic: &'static str,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) bytes: Vec<u8>,
    /// When it was sealed, among all messages; `None` for what somebody injects.
    pub(crate) number: u64,
}

/// The queue of one subscriber: in order within a topic and a quality of service, and nowhere else.
pub(crate) type Queue = BTreeMap<(&'static str, QoSLevel), VecDeque<Packet>>;

/// [`QoS`] with an order.
pub(crate) type QoSLevel = u8;

pub(crate) fn level(qos: QoS) -> QoSLevel {
    match qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce => 1,
        QoS::ExactlyOnce => 2,
        other => panic!("{other}"),
    }
}

#[derive(Default)]
pub(crate) struct Broker {
    pub(crate) queues: Vec<Queue>,
    pub(crate) retained: BTreeMap<&'static str, Packet>,
    /// Everything that ever passed, for whoever listens.
    pub(crate) recorded: Vec<Packet>,
}

impl Broker {
    /// Takes a packet and queues it at each of `to`.
    pub(crate) fn publish(&mut self, packet: &Packet, to: &[usize]) {
        self.recorded.push(packet.clone());
        if packet.retain {
            if packet.bytes.is_empty() {
                self.retained.remove(packet.topic);
            } else {
                self.retained.insert(packet.topic, packet.clone());
            }
        }
        for receiver in to {
            // live subscribers see RETAIN cleared
            self.queue(*receiver, Packet { retain: false, ..packet.clone() });
        }
    }

    pub(crate) fn queue(&mut self, receiver: usize, packet: Packet) {
        let key = (packet.topic, level(packet.qos));
        self.queues[receiver].entry(key).or_default().push_back(packet);
    }

    /// A new subscription is shown the retained values.
    pub(crate) fn subscribed(&mut self, receiver: usize) {
        for packet in self.retained.values().cloned().collect::<Vec<_>>() {
            self.queue(receiver, packet);
        }
    }
}
