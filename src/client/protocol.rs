//! What the shared code asks of an MQTT client. Knows no version of MQTT and no client by name.

use core::future::Future;
use std::string::String;
use std::vec::Vec;

use bytes::Bytes;

use super::error::{LinkError, PublishRefusal};
use super::properties::{Attached, Properties};
use crate::guard::QoS;

/// What a connection reports.
#[derive(Debug)]
pub(super) enum Input {
    /// The broker accepted the connection.
    Connected {
        /// Whether it kept a session of an earlier one.
        session_present: bool,
        /// What it asks the client to stay within.
        limits: ServerLimits,
    },
    /// A PUBLISH came in.
    Received(Received),
    /// A PUBLISH went out; at `QoS` 0 its ID is 0.
    Published {
        /// Its packet ID.
        id: u16,
    },
    /// A SUBSCRIBE or UNSUBSCRIBE went out.
    Requested {
        /// Its packet ID.
        id: u16,
    },
    /// The broker answers for a PUBLISH: PUBACK or PUBCOMP.
    Acknowledged {
        /// The packet ID of the PUBLISH.
        id: u16,
    },
    /// The broker refuses a PUBLISH, and will not be sent it again.
    Refused {
        /// The packet ID of the PUBLISH.
        id: u16,
        /// Why.
        reason: PublishRefusal,
    },
    /// SUBACK for the one filter of a SUBSCRIBE.
    Subscribed {
        /// The packet ID of the SUBSCRIBE.
        id: u16,
        /// What was granted; `None` if the broker refused.
        granted: Option<QoS>,
    },
    /// UNSUBACK.
    Unsubscribed {
        /// The packet ID of the UNSUBSCRIBE.
        id: u16,
    },
    /// A DISCONNECT went out.
    Disconnected,
    /// What nobody here asks for.
    Other,
}

/// What a broker asks of a client (MQTT 5.0 §3.2.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ServerLimits {
    /// Messages of `QoS` 1 and 2 that may be unacknowledged at a time.
    pub(super) receive_max: Option<u16>,
    /// Bytes of the largest packet.
    pub(super) max_packet: usize,
    pub(super) max_qos: QoS,
    /// Whether it keeps retained messages.
    pub(super) retain: bool,
}

impl ServerLimits {
    pub(super) const NONE: Self =
        Self { receive_max: None, max_packet: usize::MAX, max_qos: QoS::ExactlyOnce, retain: true };
}

/// An incoming PUBLISH.
pub(super) struct Received {
    /// As it came: perhaps no topic name.
    pub(super) topic: Bytes,
    pub(super) properties: Properties,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) dup: bool,
    /// The packet ID; 0 at `QoS` 0.
    pub(super) id: u16,
}

impl core::fmt::Debug for Received {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Received")
            .field("topic", &self.topic)
            .field("properties", &self.properties)
            .field("len", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// A message as it goes out, or a will as it is left with a broker.
#[derive(Clone, Copy)]
pub(super) struct Publish<'a> {
    pub(super) topic: &'a str,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) payload: &'a [u8],
    /// `None` before MQTT 5.
    pub(super) attached: Option<&'a Attached>,
}

/// What a connection is asked to send.
#[derive(Clone, Copy)]
pub(super) enum Request<'a> {
    Publish(Publish<'a>),
    /// PUBACK or PUBREC, as the `QoS` of the PUBLISH asks.
    Acknowledge {
        id: u16,
        qos: QoS,
    },
    Subscribe {
        filter: &'a str,
        qos: QoS,
    },
    Unsubscribe {
        filter: &'a str,
    },
    Disconnect,
}

/// The client takes no more requests before it has sent some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// Seconds that a connection may take, and with MQTT 3.1.1 a packet to leave. rumqttc's own 5 are
/// too few for a large packet on a slow network, which then begins anew for ever.
pub(super) const PATIENCE: u64 = 30;

/// What is special about a connection.
#[derive(Default)]
pub(super) struct Call<'a> {
    pub(super) will: Option<Publish<'a>>,
    /// Under this client ID in the place of the real one, and without anything else that is the
    /// client's own: user name, password, will.
    pub(super) anonymous: Option<&'a str>,
    /// In the place of the link's own.
    #[cfg(feature = "tls")]
    pub(super) tls: Option<std::sync::Arc<rustls::ClientConfig>>,
}

/// Makes connections to one broker, each with nothing left of the one before.
pub(super) trait Dial: Send + 'static {
    type Requests: Requests;
    type Network: Network;

    /// A connection that is made when its network is first polled.
    fn dial(&self, call: Call<'_>) -> (Self::Requests, Self::Network);

    /// The MQTT client ID.
    fn client_id(&self) -> String;
}

/// The end of a connection that takes requests, sent in the order in which they were taken.
pub(super) trait Requests: Send + Sync {
    fn request(&self, request: Request<'_>) -> Result<(), Full>;
}

/// The end of a connection that does the work.
pub(super) trait Network: Send {
    /// The next thing that happens. Not cancel safe: it is polled to its end.
    fn poll(&mut self) -> impl Future<Output = Result<Input, LinkError>> + Send;

    /// What had come in before an error and was not reported yet.
    fn remainder(&mut self) -> Vec<Input>;
}

/// Bytes of a PUBLISH packet, with properties of this many bytes if it is one of MQTT 5.
pub(super) fn publish_len(
    topic: usize,
    qos: QoS,
    properties: Option<usize>,
    payload: usize,
) -> usize {
    let id = if qos == QoS::AtMostOnce { 0 } else { 2 };
    let properties = properties.map_or(0, |len| length_len(len).saturating_add(len));
    packet_len([2, topic, id, properties, payload])
}

/// Bytes of an MQTT 3.1.1 SUBSCRIBE packet with one filter; an UNSUBSCRIBE has one less.
pub(super) fn subscribe_len(filter: usize) -> usize {
    packet_len([2, 2, filter, 1, 0])
}

/// Bytes that a SUBSCRIBE has more in MQTT 5: the length of its properties, and of itself.
pub(super) const SUBSCRIBE_PROPERTIES: usize = 2;

/// A packet with a body of these parts: type, remaining length, body.
fn packet_len(body: [usize; 5]) -> usize {
    let body = body.into_iter().fold(0, usize::saturating_add);
    length_len(body).saturating_add(1).saturating_add(body)
}

/// Bytes of a length in front of what it counts (MQTT 3.1.1 §2.2.3, MQTT 5.0 §1.5.5).
const fn length_len(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publish_len_is_that_of_rumqttc_at_every_length_of_the_length() {
        for len in [0, 100, 120, 121, 122, 123, 124, 16_376, 16_377, 16_378, 16_379, 2_097_150] {
            for (qos, theirs) in [
                (QoS::AtMostOnce, rumqttc::QoS::AtMostOnce),
                (QoS::AtLeastOnce, rumqttc::QoS::AtLeastOnce),
            ] {
                let mut packet = rumqttc::Publish::new("a/b", theirs, std::vec![0; len]);
                packet.pkid = u16::from(qos != QoS::AtMostOnce);
                assert_eq!(publish_len(3, qos, None, len), packet.size(), "{len}");
            }
        }
    }

    #[test]
    fn publish_len_with_properties_is_that_of_rumqttc() {
        use crate::wire::property::Property;
        use rumqttc::v5::mqttbytes::{QoS as TheirQoS, v5};
        let long = "x".repeat(200);
        let some = [
            Property::PayloadFormat(true),
            Property::ContentType("text"),
            Property::ResponseTopic("a/b"),
            Property::CorrelationData(&[1, 2]),
            Property::User("k", "v"),
            Property::User(&long, &long),
        ];
        for count in 0..=some.len() {
            let attached = Attached {
                properties: some.into_iter().take(count).collect(),
                message_expiry: (count > 2).then_some(60),
            };
            let theirs = v5::PublishProperties::from(&attached);
            let packet = v5::Publish::new("a/b", TheirQoS::AtMostOnce, "text", Some(theirs));
            let len = attached.len(|_| true);
            assert_eq!(publish_len(3, QoS::AtMostOnce, Some(len), 4), packet.size(), "{count}");
        }
    }

    #[test]
    fn subscribe_len_is_that_of_rumqttc() {
        for len in [1, 122, 123, 65_535] {
            let packet = rumqttc::Subscribe::new("x".repeat(len), rumqttc::QoS::AtMostOnce);
            assert_eq!(subscribe_len(len), packet.size(), "{len}");
        }
    }
}
