//! The adapter for rumqttc's MQTT 5 client: its method names, sealed payloads and properties, one
//! or two links. Knows rumqttc and no policy.
//!
//! ```no_run
//! use mqtt_seal::guard::Guard;
//! use mqtt_seal::keyring::{Grant, Keyring};
//! use mqtt_seal::policy::{Links, Policy, Rule};
//! use mqtt_seal::rumqttc_v5::{AsyncClient, ClientOptions, Event, PublishProperties, QoS};
//! use mqtt_seal::secret::SharedKey;
//! use rumqttc::v5::MqttOptions;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let policy = Policy::new(vec![Rule::sealed(["sensor/#"]).build()?]);
//! let shared = SharedKey::take(&mut [7; 32]); // 32 random bytes, from your provisioning
//! let keyring = Keyring::new(vec![Grant::shared(&shared, "acme-prod")?]);
//! let guard = Guard::new(policy, keyring, Links::Tcp)?;
//!
//! let options = ClientOptions::new().tcp(MqttOptions::new("sensor-7", "localhost", 1883));
//! let (client, mut events) = AsyncClient::new(guard, options, 100)?;
//! client.subscribe("sensor/#", QoS::AtLeastOnce).await?;
//! let ask = PublishProperties {
//!     response_topic: Some("sensor/answers".into()),
//!     ..PublishProperties::default()
//! };
//! client.publish_with_properties("sensor/ask", QoS::AtLeastOnce, false, "temp?", ask).await?;
//! while let Some(event) = events.poll().await {
//!     if let Event::Message(message) = event {
//!         client.ack(&message).await?;
//!         if message.properties.response_topic.is_some() {
//!             client.reply(&message, QoS::AtLeastOnce, "27").await?;
//!         } else {
//!             client.disconnect().await?;
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! As with [`rumqttc_v4`](super::rumqttc_v4), every connection begins with a clean session, which
//! ends with it. Of the MQTT options' connect properties are kept the receive maximum, the user
//! properties and what concerns authentication; the adapter sets the others. No topic alias is
//! used in either direction, and no subscription identifier is asked for. A connection may take
//! half a minute, or longer if the MQTT options say so.
//!
//! Of the limits that a broker tells, its receive maximum narrows the window. A message that
//! exceeds its maximum packet size or maximum `QoS`, or is to be retained where nothing is, comes
//! back as [`Event::PublishFailed`], and so does one that it refuses with a reason code.

mod reason;

use core::time::Duration;
use std::string::String;
use std::vec::Vec;

use bytes::Bytes;
use rumqttc::v5::MqttOptions;
pub use rumqttc::v5::mqttbytes::v5::PublishProperties;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnAckProperties, ConnectProperties, ConnectReturnCode, LastWillProperties, Packet,
    PubCompReason, SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{QoS as TheirQoS, v5};
use rumqttc::{Outgoing, Transport};

use reason::{refusal_of_qos1, refusal_of_qos2};

use super::entry::Entry;
use super::options::Facts;
use super::peer::MAX_RECORD;
use super::properties::Attached;
use super::protocol::{Call, Dial, Full, Input, Network, PATIENCE, Publish, Received, Request};
use super::protocol::{Requests, ServerLimits};
use super::start::{Mqtt, Setup, start};
use super::will::Will;
pub use super::{
    CertificateFault, ClientError, ConfigError, Ending, Event, EventLoop, KeyUpdates,
    KeyUpdatesError, LinkError, Message, PeerAuth, PeerFault, Properties, PropertyFault,
    PublishRefusal, Refusal, ReloadError, ReplyError, Ticket,
};
use crate::guard::Guard;
pub use crate::guard::QoS;

/// Messages on their way at a time, where the options do not say; rumqttc's own for MQTT 3.1.1.
const INFLIGHT: u16 = 100;

/// MQTT 5 by rumqttc.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct V5;

/// The client: see [`super::AsyncClient`].
pub type AsyncClient = super::AsyncClient<V5>;

/// The options: see [`super::ClientOptions`]. `inflight` is here
/// `set_outgoing_inflight_upper_limit`, 100 by default.
pub type ClientOptions = super::ClientOptions<MqttOptions>;

impl AsyncClient {
    /// Starts a client. For each link, `cap` messages (at least one) wait in the outbox before
    /// [`publish`](Self::publish) waits for room, beside those on their way; for the bound in bytes
    /// see [`outbox_bytes`](ClientOptions::outbox_bytes).
    ///
    /// # Errors
    /// [`ConfigError`]; nothing was started then.
    pub fn new(
        guard: Guard,
        options: ClientOptions,
        cap: usize,
    ) -> Result<(Self, EventLoop), ConfigError> {
        start::<V5>(guard, options, cap)
    }

    /// As [`publish`](Self::publish), with properties. Content type, response topic, correlation
    /// data, user properties and format indicator are moved inside, bound or left alone, as the
    /// topic's rule says; the message expiry interval stays on the packet, and brokers change it.
    ///
    /// Cancel safe: a message is accepted as a whole or not at all.
    ///
    /// # Errors
    /// [`ClientError::Property`], then as [`publish`](Self::publish).
    pub async fn publish_with_properties(
        &self,
        topic: impl Into<String>,
        qos: QoS,
        retain: bool,
        payload: impl Into<Vec<u8>>,
        properties: PublishProperties,
    ) -> Result<Ticket, ClientError> {
        let entry = Entry::new(topic.into(), qos, retain, payload.into());
        self.send(entry.attach(Some(attached(properties)?))).await
    }

    /// As [`publish_with_properties`](Self::publish_with_properties), without waiting.
    ///
    /// # Errors
    /// As there, and [`ClientError::Full`].
    pub fn try_publish_with_properties(
        &self,
        topic: impl Into<String>,
        qos: QoS,
        retain: bool,
        payload: impl Into<Vec<u8>>,
        properties: PublishProperties,
    ) -> Result<Ticket, ClientError> {
        let entry = Entry::new(topic.into(), qos, retain, payload.into());
        self.try_send(entry.attach(Some(attached(properties)?)))
    }

    /// Publishes an answer to `request` on its response topic, with its correlation data, not
    /// retained.
    ///
    /// The answer is never protected less than the request's rule asks for: where that rule seals,
    /// the response topic's has to; where it goes by TLS, the response topic's must not be `tcp`.
    /// The response topic of a sealed request counts only if it was protected with it
    /// (`properties = "carry"` or `"bind"`): else anyone on the way could say who is answered. A
    /// clear request, where the policy lets those in, is answered as its response topic's rule
    /// says; if its own rule seals and lets clear ones in for a while, the answer is sealed.
    ///
    /// Cancel safe: an answer is accepted as a whole or not at all.
    ///
    /// # Errors
    /// [`ClientError::Reply`], then as [`publish`](Self::publish).
    pub async fn reply(
        &self,
        request: &Message,
        qos: QoS,
        payload: impl Into<Vec<u8>>,
    ) -> Result<Ticket, ClientError> {
        self.send(self.answer(request, qos, payload.into())?).await
    }

    /// As [`reply`](Self::reply), without waiting.
    ///
    /// # Errors
    /// As [`reply`](Self::reply), and [`ClientError::Full`].
    pub fn try_reply(
        &self,
        request: &Message,
        qos: QoS,
        payload: impl Into<Vec<u8>>,
    ) -> Result<Ticket, ClientError> {
        self.try_send(self.answer(request, qos, payload.into())?)
    }
}

/// What the application may set of `properties`.
fn attached(properties: PublishProperties) -> Result<Attached, ClientError> {
    if properties.topic_alias.is_some() {
        return Err(ClientError::Property(PropertyFault::TopicAlias));
    }
    if !properties.subscription_identifiers.is_empty() {
        return Err(ClientError::Property(PropertyFault::SubscriptionIdentifier));
    }
    if properties.payload_format_indicator.is_some_and(|format| format > 1) {
        return Err(ClientError::Property(PropertyFault::PayloadFormat));
    }
    let message_expiry = properties.message_expiry_interval;
    Ok(Attached { properties: properties.into(), message_expiry })
}

impl From<PublishProperties> for Properties {
    /// A format indicator other than 0 and 1 counts as none.
    fn from(properties: PublishProperties) -> Self {
        Self {
            payload_format: match properties.payload_format_indicator {
                Some(0) => Some(false),
                Some(1) => Some(true),
                _ => None,
            },
            content_type: properties.content_type,
            response_topic: properties.response_topic,
            correlation_data: properties.correlation_data.map(Vec::from),
            user: properties.user_properties,
        }
    }
}

impl From<&Attached> for PublishProperties {
    fn from(Attached { properties, message_expiry }: &Attached) -> Self {
        Self {
            payload_format_indicator: properties.payload_format.map(u8::from),
            message_expiry_interval: *message_expiry,
            topic_alias: None,
            response_topic: properties.response_topic.clone(),
            correlation_data: properties.correlation_data.clone().map(Bytes::from),
            user_properties: properties.user.clone(),
            subscription_identifiers: Vec::new(),
            content_type: properties.content_type.clone(),
        }
    }
}

fn will(will: v5::LastWill) -> Will {
    let properties = will.properties.unwrap_or(NO_WILL_PROPERTIES);
    let attached = Attached {
        message_expiry: properties.message_expiry_interval,
        properties: Properties {
            payload_format: properties.payload_format_indicator.map(|format| format != 0),
            content_type: properties.content_type,
            response_topic: properties.response_topic,
            correlation_data: properties.correlation_data.map(Vec::from),
            user: properties.user_properties,
        },
    };
    Will {
        topic: will.topic.into(),
        payload: Vec::from(will.message).into(),
        qos: will.qos.into(),
        retain: will.retain,
        attached: Some(attached),
    }
}

/// A sealed will as rumqttc takes it; brokers publish it after `delay` seconds.
fn last_will(will: Publish<'_>, delay: Option<u32>) -> v5::LastWill {
    let Publish { topic, qos, retain, payload, attached } = will;
    let properties = attached.map(PublishProperties::from).unwrap_or_default();
    let properties = LastWillProperties {
        delay_interval: delay,
        payload_format_indicator: properties.payload_format_indicator,
        message_expiry_interval: properties.message_expiry_interval,
        content_type: properties.content_type,
        response_topic: properties.response_topic,
        correlation_data: properties.correlation_data,
        user_properties: properties.user_properties,
    };
    v5::LastWill::new(topic, payload, qos.into(), retain, Some(properties))
}

const NO_WILL_PROPERTIES: LastWillProperties = LastWillProperties {
    delay_interval: None,
    payload_format_indicator: None,
    message_expiry_interval: None,
    content_type: None,
    response_topic: None,
    correlation_data: None,
    user_properties: Vec::new(),
};

impl Mqtt for V5 {
    type Options = MqttOptions;
    type Dial = Dialer;
    const HAS_PROPERTIES: bool = true;

    fn facts(options: &MqttOptions) -> Facts {
        let authenticates = options.authentication_data().is_some();
        Facts {
            client_id: options.client_id(),
            broker: options.broker_address(),
            own_transport: !matches!(options.transport(), Transport::Tcp),
            clean_session: options.clean_start()
                && matches!(options.session_expiry_interval(), None | Some(0)),
            has_credentials: options.credentials().is_some() || authenticates,
            keep_alive: options.keep_alive(),
            inflight: options.get_outgoing_inflight_upper_limit().unwrap_or(INFLIGHT),
            will: options.last_will().map(|own| will(own).into()),
        }
    }

    fn dial(mut options: MqttOptions, setup: Setup) -> Dialer {
        let max_incoming = u32::try_from(setup.max_incoming).unwrap_or(u32::MAX).max(1);
        let mut network = options.network_options();
        network.set_tcp_nodelay(true);
        let kept = options.connect_properties().unwrap_or_default();
        let expiry = kept.session_expiry_interval.filter(|seconds| *seconds > 0);
        let expiry = if setup.persistent { expiry.unwrap_or(u32::MAX) } else { 0 };
        options
            .set_manual_acks(true)
            .set_clean_start(!setup.persistent)
            .set_outgoing_inflight_upper_limit(setup.ids.max(1))
            .set_network_options(network)
            .set_connect_properties(ConnectProperties {
                session_expiry_interval: Some(expiry),
                receive_maximum: kept.receive_maximum.filter(|max| *max > 0),
                max_packet_size: Some(max_incoming),
                topic_alias_max: Some(0),
                request_response_info: None,
                request_problem_info: None,
                ..kept
            });
        #[cfg(feature = "tls")]
        if let Some(config) = setup.tls {
            let config = rumqttc::TlsConfiguration::Rustls(config);
            options.set_transport(Transport::tls_with_config(config));
        }
        let spare = setup.ids.saturating_sub(setup.packets);
        Dialer { options, requests: setup.requests, spare }
    }
}

pub(super) struct Dialer {
    options: MqttOptions,
    requests: usize,
    /// Packet IDs beyond the window.
    spare: u16,
}

impl Dial for Dialer {
    type Requests = rumqttc::v5::AsyncClient;
    type Network = Connection;

    fn dial(&self, call: Call<'_>) -> (rumqttc::v5::AsyncClient, Connection) {
        let mut options =
            call.anonymous.map_or_else(|| self.options.clone(), |id| anonymous(&self.options, id));
        #[cfg(feature = "tls")]
        if let Some(config) = call.tls {
            let config = rumqttc::TlsConfiguration::Rustls(config);
            options.set_transport(Transport::tls_with_config(config));
        }
        if let Some(will) = call.will {
            let delay = options.last_will().and_then(|will| will.properties?.delay_interval);
            options.set_last_will(last_will(will, delay));
        }
        options.set_connection_timeout(options.connection_timeout().max(PATIENCE));
        let (client, network) = rumqttc::v5::AsyncClient::new(options, self.requests);
        let keep_alive = self.options.keep_alive();
        (client, Connection { network, keep_alive, spare: self.spare })
    }

    fn client_id(&self) -> String {
        self.options.client_id()
    }
}

/// To the same broker, and nothing else.
fn anonymous(own: &MqttOptions, id: &str) -> MqttOptions {
    let (host, port) = own.broker_address();
    let mut options = MqttOptions::new(id, host, port);
    options
        .set_keep_alive(own.keep_alive())
        .set_transport(own.transport())
        .set_network_options(own.network_options())
        .set_manual_acks(true)
        .set_clean_start(true)
        .set_connect_properties(ConnectProperties {
            session_expiry_interval: Some(0),
            max_packet_size: u32::try_from(MAX_RECORD).ok(),
            topic_alias_max: Some(0),
            ..ConnectProperties::new()
        });
    options
}

impl Requests for rumqttc::v5::AsyncClient {
    fn request(&self, request: Request<'_>) -> Result<(), Full> {
        let taken = match request {
            Request::Publish(Publish { topic, qos, retain, payload, attached }) => {
                let payload = Bytes::copy_from_slice(payload);
                let properties = attached.map(PublishProperties::from).unwrap_or_default();
                self.try_publish_with_properties(topic, qos.into(), retain, payload, properties)
            }
            Request::Acknowledge { id, qos } => {
                let mut publish = v5::Publish::new("", qos.into(), Bytes::new(), None);
                publish.pkid = id;
                self.try_ack(&publish)
            }
            Request::Subscribe { filter, qos } => self.try_subscribe(filter, qos.into()),
            Request::Unsubscribe { filter } => self.try_unsubscribe(filter),
            Request::Disconnect => self.try_disconnect(),
        };
        taken.map_err(|_| Full)
    }
}

/// A connection of rumqttc, with its mistakes put right.
pub(super) struct Connection {
    network: rumqttc::v5::EventLoop,
    /// As the options say; the broker may say something else.
    keep_alive: Duration,
    /// How many more messages may be refused: rumqttc counts those of `QoS` 2 as on their way for
    /// ever, and at its limit sends nothing more.
    spare: u16,
}

impl Network for Connection {
    async fn poll(&mut self) -> Result<Input, LinkError> {
        match self.network.poll().await {
            Ok(event) => self.take(event),
            Err(error) => Err((&error).into()),
        }
    }

    fn remainder(&mut self) -> Vec<Input> {
        self.network.state.events.drain(..).filter_map(|event| input(event).ok()).collect()
    }
}

impl Connection {
    fn take(&mut self, event: rumqttc::v5::Event) -> Result<Input, LinkError> {
        if let rumqttc::v5::Event::Incoming(packet) = &event {
            match packet {
                Packet::ConnAck(_) => self.connected(),
                Packet::PubRec(ack) if refusal_of_qos2(ack.reason).is_some() => self.leak()?,
                Packet::PubComp(ack) if ack.reason != PubCompReason::Success => self.leak()?,
                _ => {}
            }
        }
        input(event)
    }

    /// Undoes what rumqttc makes of a CONNACK: a receive maximum narrows the circle of its packet
    /// IDs, which SUBSCRIBE goes through as well, and stops all requests where the circle ends; a
    /// keep-alive of zero, which means none, makes it ping all the time.
    fn connected(&mut self) {
        let wide = Packet::ConnAck(ConnAck {
            session_present: false,
            code: ConnectReturnCode::Success,
            properties: Some(ConnAckProperties {
                receive_max: Some(u16::MAX),
                ..NO_CONNACK_PROPERTIES
            }),
        });
        if self.network.state.handle_incoming_packet(wide).is_ok() {
            self.network.state.events.pop_back();
        }
        if self.network.options.keep_alive().is_zero() {
            self.network.options.set_keep_alive(self.keep_alive.max(Duration::from_secs(5)));
        }
    }

    fn leak(&mut self) -> Result<(), LinkError> {
        self.spare = self.spare.checked_sub(1).ok_or(LinkError::ManyRefused)?;
        Ok(())
    }
}

const NO_CONNACK_PROPERTIES: ConnAckProperties = ConnAckProperties {
    session_expiry_interval: None,
    receive_max: None,
    max_qos: None,
    retain_available: None,
    max_packet_size: None,
    assigned_client_identifier: None,
    topic_alias_max: None,
    reason_string: None,
    user_properties: Vec::new(),
    wildcard_subscription_available: None,
    subscription_identifiers_available: None,
    shared_subscription_available: None,
    server_keep_alive: None,
    response_information: None,
    server_reference: None,
    authentication_method: None,
    authentication_data: None,
};

fn input(event: rumqttc::v5::Event) -> Result<Input, LinkError> {
    Ok(match event {
        rumqttc::v5::Event::Incoming(packet) => return incoming(packet),
        rumqttc::v5::Event::Outgoing(Outgoing::Publish(id)) => Input::Published { id },
        rumqttc::v5::Event::Outgoing(Outgoing::Subscribe(id) | Outgoing::Unsubscribe(id)) => {
            Input::Requested { id }
        }
        rumqttc::v5::Event::Outgoing(Outgoing::Disconnect) => Input::Disconnected,
        rumqttc::v5::Event::Outgoing(_) => Input::Other,
    })
}

fn incoming(packet: Packet) -> Result<Input, LinkError> {
    Ok(match packet {
        Packet::ConnAck(ack) => {
            let limits = ack.properties.as_ref().map_or(ServerLimits::NONE, limits);
            Input::Connected { session_present: ack.session_present, limits }
        }
        Packet::Publish(publish) => Input::Received(received(publish)?),
        Packet::PubAck(ack) => answer(ack.pkid, refusal_of_qos1(ack.reason)),
        Packet::PubRec(ack) => match refusal_of_qos2(ack.reason) {
            Some(reason) => Input::Refused { id: ack.pkid, reason },
            None => Input::Other,
        },
        Packet::PubComp(ack) => Input::Acknowledged { id: ack.pkid },
        Packet::SubAck(ack) => Input::Subscribed {
            id: ack.pkid,
            granted: match ack.return_codes.first() {
                Some(SubscribeReasonCode::Success(qos)) => Some((*qos).into()),
                _ => None,
            },
        },
        Packet::UnsubAck(ack) => Input::Unsubscribed { id: ack.pkid },
        _ => Input::Other,
    })
}

fn limits(properties: &ConnAckProperties) -> ServerLimits {
    let max_packet = properties.max_packet_size.and_then(|max| usize::try_from(max).ok());
    ServerLimits {
        receive_max: properties.receive_max,
        max_packet: max_packet.unwrap_or(usize::MAX),
        max_qos: match properties.max_qos {
            Some(0) => QoS::AtMostOnce,
            Some(1) => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        },
        retain: properties.retain_available != Some(0),
    }
}

/// rumqttc reports a PUBLISH before it resolves its alias, and reads one with several subscription
/// identifiers wrong, with bytes of them in front of the payload. Neither was asked for.
fn received(publish: v5::Publish) -> Result<Received, LinkError> {
    let properties = publish.properties.unwrap_or_default();
    if properties.topic_alias.is_some() || !properties.subscription_identifiers.is_empty() {
        return Err(LinkError::NotAskedFor);
    }
    Ok(Received {
        topic: publish.topic,
        properties: properties.into(),
        payload: publish.payload,
        qos: publish.qos.into(),
        retain: publish.retain,
        dup: publish.dup,
        id: publish.pkid,
    })
}

const fn answer(id: u16, refusal: Option<PublishRefusal>) -> Input {
    match refusal {
        Some(reason) => Input::Refused { id, reason },
        None => Input::Acknowledged { id },
    }
}

impl From<TheirQoS> for QoS {
    fn from(qos: TheirQoS) -> Self {
        match qos {
            TheirQoS::AtMostOnce => Self::AtMostOnce,
            TheirQoS::AtLeastOnce => Self::AtLeastOnce,
            TheirQoS::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}

impl From<QoS> for TheirQoS {
    fn from(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce => Self::AtMostOnce,
            QoS::AtLeastOnce => Self::AtLeastOnce,
            QoS::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}

#[cfg(test)]
mod tests;
