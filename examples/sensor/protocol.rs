//! The version of MQTT. The clients differ in how they are made; all else is shared.

use std::error::Error;

use mqtt_seal::client::{AsyncClient, EventLoop};
use mqtt_seal::guard::Guard;
use mqtt_seal::{rumqttc_v4, rumqttc_v5};

use super::Broker;
use super::args::Address;

/// Messages that wait for a link before a publisher does.
const QUEUE: usize = 100;

/// What `--protocol` chooses from.
#[derive(Clone, Copy)]
pub(crate) enum Version {
    V4,
    V5,
}

/// A client and what it is told.
pub(crate) type Client<V> = (AsyncClient<V>, EventLoop);

/// How a client of one version is made.
pub(crate) trait Protocol: Sized {
    fn client(name: &str, guard: Guard, broker: &Broker) -> Result<Client<Self>, Box<dyn Error>>;
}

impl Protocol for rumqttc_v4::V4 {
    fn client(name: &str, guard: Guard, broker: &Broker) -> Result<Client<Self>, Box<dyn Error>> {
        let mqtt = |link, Address { host, port }: &Address| {
            rumqttc::MqttOptions::new(id(name, link), host, *port)
        };
        let options = rumqttc_v4::ClientOptions::new()
            .tcp(mqtt("tcp", &broker.tcp))
            .tls(mqtt("tls", &broker.tls), broker.config.client_config());
        Ok(rumqttc_v4::AsyncClient::new(guard, options, QUEUE)?)
    }
}

impl Protocol for rumqttc_v5::V5 {
    fn client(name: &str, guard: Guard, broker: &Broker) -> Result<Client<Self>, Box<dyn Error>> {
        let mqtt = |link, Address { host, port }: &Address| {
            rumqttc::v5::MqttOptions::new(id(name, link), host, *port)
        };
        let options = rumqttc_v5::ClientOptions::new()
            .tcp(mqtt("tcp", &broker.tcp))
            .tls(mqtt("tls", &broker.tls), broker.config.client_config());
        Ok(rumqttc_v5::AsyncClient::new(guard, options, QUEUE)?)
    }
}

/// A client ID that no other run has at the same time.
fn id(name: &str, link: &str) -> String {
    format!("mqtt-seal-{name}-{link}-{}", std::process::id())
}
