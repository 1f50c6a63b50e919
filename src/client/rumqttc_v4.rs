//! The adapter for rumqttc's MQTT 3.1.1 client: its method names, sealed payloads, one or two
//! links. Knows rumqttc and no policy.
//!
//! ```no_run
//! use mqtt_seal::guard::Guard;
//! use mqtt_seal::keyring::{Grant, Keyring};
//! use mqtt_seal::policy::{Links, Policy, Rule};
//! use mqtt_seal::rumqttc_v4::{AsyncClient, ClientOptions, Event, QoS};
//! use mqtt_seal::secret::SharedKey;
//! use rumqttc::MqttOptions;
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
//! client.publish("sensor/temp", QoS::AtLeastOnce, false, "27").await?;
//! while let Some(event) = events.poll().await {
//!     if let Event::Message(message) = event {
//!         println!("{}: {:?}", message.topic, message.payload);
//!         client.ack(&message).await?;
//!         client.disconnect().await?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is other than in rumqttc
//! The links run as tasks, so a client needs a tokio runtime with I/O and time, and
//! [`EventLoop::poll`] only takes events out of a queue: it is cancel safe, and whoever polls may
//! publish. Acknowledgements are always manual, by [`AsyncClient::ack`] or
//! [`ClientOptions::auto_ack`]; mind that brokers stop sending at some number of messages without
//! one (Mosquitto: 20).
//!
//! A connection may take half a minute, and so may each packet until it has left, where rumqttc
//! gives up after five seconds.
//!
//! Publishing returns a [`Ticket`], which may be dropped. `QoS` 0 never waits: without a link or
//! room its messages are let go and counted. A last will is sealed like a message on its topic.
//!
//! # Sessions and connections
//! Every connection begins a clean session: what a subscriber had not yet received when its
//! connection broke is lost with the broker's memory of it, as in MQTT. A persistent session is
//! refused ([`ConfigError::PersistentSession`]), but for a client that only subscribes
//! ([`ClientOptions::persistent_subscriber`]): a broker that remembers packet IDs of the connection
//! before takes new messages for old ones. What is published is kept here until the broker has
//! acknowledged it, and sent again on the next connection.

use std::string::String;
use std::sync::Arc;
use std::vec::Vec;

use rumqttc::{ConnectReturnCode, ConnectionError, LastWill, MqttOptions, Outgoing, Packet};
use rumqttc::{StateError, SubscribeReasonCode, Transport};

use super::options::Facts;
use super::peer::MAX_RECORD;
use super::protocol::{Call, Dial, Full, Input, Network, PATIENCE, Publish, Received, Request};
use super::protocol::{Requests, ServerLimits};
use super::start::{Mqtt, Setup, start};
use super::will::Will;
pub use super::{
    CertificateFault, ClientError, ConfigError, Event, EventLoop, KeyUpdates, KeyUpdatesError,
    LinkError, Message, PeerAuth, PeerFault, Properties, Refusal, ReloadError, Ticket,
};
use crate::guard::Guard;
pub use crate::guard::QoS;

/// Requests that a stranger's connection holds; it makes four.
#[cfg(feature = "proxy")]
const REQUESTS: usize = 8;

/// MQTT 3.1.1 by rumqttc.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct V4;

/// The client: see [`super::AsyncClient`].
pub type AsyncClient = super::AsyncClient<V4>;

/// The options: see [`super::ClientOptions`].
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
        start::<V4>(guard, options, cap)
    }
}

impl Mqtt for V4 {
    type Options = MqttOptions;
    type Dial = Dialer;
    const HAS_PROPERTIES: bool = false;

    fn facts(options: &MqttOptions) -> Facts {
        Facts {
            client_id: options.client_id(),
            broker: options.broker_address(),
            own_transport: !matches!(options.transport(), Transport::Tcp),
            clean_session: options.clean_session(),
            has_credentials: options.credentials().is_some(),
            keep_alive: options.keep_alive(),
            inflight: options.inflight(),
            will: options.last_will().map(|will| {
                Arc::new(Will {
                    topic: will.topic.into(),
                    payload: Vec::from(will.message).into(),
                    qos: will.qos.into(),
                    retain: will.retain,
                    attached: None,
                })
            }),
        }
    }

    fn dial(mut options: MqttOptions, setup: Setup) -> Dialer {
        options
            .set_manual_acks(true)
            .set_clean_session(!setup.persistent)
            .set_inflight(setup.ids.max(1))
            .set_max_packet_size(setup.max_incoming, setup.max_outgoing);
        #[cfg(feature = "tls")]
        if let Some(config) = setup.tls {
            let config = rumqttc::TlsConfiguration::Rustls(config);
            options.set_transport(Transport::tls_with_config(config));
        }
        Dialer { options, requests: setup.requests }
    }
}

pub(super) struct Dialer {
    options: MqttOptions,
    requests: usize,
}

impl Dial for Dialer {
    type Requests = rumqttc::AsyncClient;
    type Network = rumqttc::EventLoop;

    fn dial(&self, call: Call<'_>) -> (rumqttc::AsyncClient, rumqttc::EventLoop) {
        let mut options =
            call.anonymous.map_or_else(|| self.options.clone(), |id| anonymous(&self.options, id));
        #[cfg(feature = "tls")]
        if let Some(config) = call.tls {
            let config = rumqttc::TlsConfiguration::Rustls(config);
            options.set_transport(Transport::tls_with_config(config));
        }
        if let Some(Publish { topic, qos, retain, payload, attached: _ }) = call.will {
            options.set_last_will(LastWill::new(topic, payload, qos.into(), retain));
        }
        let (client, mut network) = rumqttc::AsyncClient::new(options, self.requests);
        network.network_options.set_connection_timeout(PATIENCE).set_tcp_nodelay(true);
        (client, network)
    }

    fn client_id(&self) -> String {
        self.options.client_id()
    }
}

impl Dialer {
    /// For connections that have nothing of a client's own.
    #[cfg(feature = "proxy")]
    pub(super) fn stranger((host, port): &(String, u16)) -> Self {
        Self { options: MqttOptions::new("", host, *port), requests: REQUESTS }
    }
}

/// To the same broker, and nothing else.
fn anonymous(own: &MqttOptions, id: &str) -> MqttOptions {
    let (host, port) = own.broker_address();
    let mut options = MqttOptions::new(id, host, port);
    options
        .set_keep_alive(own.keep_alive())
        .set_transport(own.transport())
        .set_manual_acks(true)
        .set_clean_session(true)
        .set_max_packet_size(MAX_RECORD, MAX_RECORD);
    options
}

impl Requests for rumqttc::AsyncClient {
    fn request(&self, request: Request<'_>) -> Result<(), Full> {
        let taken = match request {
            Request::Publish(Publish { topic, qos, retain, payload, attached: _ }) => {
                self.try_publish(topic, qos.into(), retain, payload)
            }
            Request::Acknowledge { id, qos } => {
                let mut publish = rumqttc::Publish::new("", qos.into(), Vec::new());
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

impl Network for rumqttc::EventLoop {
    async fn poll(&mut self) -> Result<Input, LinkError> {
        match Self::poll(self).await {
            Ok(event) => Ok(event.into()),
            Err(error) => Err((&error).into()),
        }
    }

    fn remainder(&mut self) -> Vec<Input> {
        self.state.events.drain(..).map(Input::from).collect()
    }
}

impl From<rumqttc::Event> for Input {
    fn from(event: rumqttc::Event) -> Self {
        match event {
            rumqttc::Event::Incoming(packet) => packet.into(),
            rumqttc::Event::Outgoing(Outgoing::Publish(id)) => Self::Published { id },
            rumqttc::Event::Outgoing(Outgoing::Subscribe(id) | Outgoing::Unsubscribe(id)) => {
                Self::Requested { id }
            }
            rumqttc::Event::Outgoing(Outgoing::Disconnect) => Self::Disconnected,
            rumqttc::Event::Outgoing(_) => Self::Other,
        }
    }
}

impl From<Packet> for Input {
    fn from(packet: Packet) -> Self {
        match packet {
            Packet::ConnAck(ack) => {
                Self::Connected { session_present: ack.session_present, limits: ServerLimits::NONE }
            }
            Packet::Publish(publish) => Self::Received(Received {
                topic: publish.topic.into(),
                properties: Properties::default(),
                payload: publish.payload,
                qos: publish.qos.into(),
                retain: publish.retain,
                dup: publish.dup,
                id: publish.pkid,
            }),
            Packet::PubAck(ack) => Self::Acknowledged { id: ack.pkid },
            Packet::PubComp(ack) => Self::Acknowledged { id: ack.pkid },
            Packet::SubAck(ack) => Self::Subscribed {
                id: ack.pkid,
                granted: match ack.return_codes.first() {
                    Some(SubscribeReasonCode::Success(qos)) => Some((*qos).into()),
                    Some(SubscribeReasonCode::Failure) | None => None,
                },
            },
            Packet::UnsubAck(ack) => Self::Unsubscribed { id: ack.pkid },
            _ => Self::Other,
        }
    }
}

impl From<&ConnectionError> for LinkError {
    fn from(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::MqttState(error) => error.into(),
            ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => Self::Timeout,
            #[cfg(feature = "tls")]
            ConnectionError::Tls(error) => error.into(),
            ConnectionError::Io(error) => error.into(),
            ConnectionError::ConnectionRefused(code) => refusal(*code),
            _ => Self::Protocol,
        }
    }
}

impl From<&StateError> for LinkError {
    fn from(error: &StateError) -> Self {
        use rumqttc::mqttbytes::Error as Bytes;
        match error {
            StateError::Io(error) | StateError::Deserialization(Bytes::Io(error)) => error.into(),
            StateError::ConnectionAborted => Self::Closed,
            StateError::AwaitPingResp => Self::Timeout,
            StateError::Deserialization(Bytes::PayloadSizeLimitExceeded(len)) => {
                Self::PacketTooLarge { len: *len }
            }
            _ => Self::Protocol,
        }
    }
}

#[cfg(feature = "tls")]
impl From<&rumqttc::TlsError> for LinkError {
    fn from(error: &rumqttc::TlsError) -> Self {
        match error {
            rumqttc::TlsError::Io(error) => error.into(),
            rumqttc::TlsError::TLS(error) => error.into(),
            rumqttc::TlsError::DNSName(_) | rumqttc::TlsError::Addr(_) => Self::HostName,
            _ => Self::Protocol,
        }
    }
}

fn refusal(code: ConnectReturnCode) -> LinkError {
    LinkError::Refused(match code {
        ConnectReturnCode::RefusedProtocolVersion => Refusal::ProtocolVersion,
        ConnectReturnCode::BadClientId => Refusal::ClientId,
        ConnectReturnCode::BadUserNamePassword => Refusal::Credentials,
        ConnectReturnCode::NotAuthorized => Refusal::NotAuthorized,
        ConnectReturnCode::ServiceUnavailable => Refusal::Unavailable,
        // a refusal with the code of success is none
        ConnectReturnCode::Success => return LinkError::Protocol,
    })
}

impl From<rumqttc::QoS> for QoS {
    fn from(qos: rumqttc::QoS) -> Self {
        match qos {
            rumqttc::QoS::AtMostOnce => Self::AtMostOnce,
            rumqttc::QoS::AtLeastOnce => Self::AtLeastOnce,
            rumqttc::QoS::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}

impl From<QoS> for rumqttc::QoS {
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
