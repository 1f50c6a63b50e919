//! A connection to a broker, as the flags of mosquitto_pub and mosquitto_sub name it. What of the
//! client's interface the tool uses is here alone.

mod login;

use core::fmt::Display;
use core::time::Duration;
use std::io;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use mqtt_seal::client::{ClientError, ConfigError, EventLoop, LinkError, Refusal, Ticket};
use mqtt_seal::guard::{GuardRx, Prefer, QoS, SealError};
use mqtt_seal::policy::{Links, Transport};
use mqtt_seal::session::{Entropy, NoEntropy};
use mqtt_seal::store::counter_file::CounterFile;
use mqtt_seal::store::replay_file::ReplayFile;
use mqtt_seal::tls::TlsConfig;
use mqtt_seal::topic::TopicFilter;
use mqtt_seal::wire::SenderNumber;
use mqtt_seal::{Guard, Keyring, Policy, Rule, rumqttc_v4, rumqttc_v5};
use rumqttc::v5;

use crate::fault::Fault;
use crate::files::{self, CountersArg, KeysArg, PolicyArg};
use crate::tls::TlsArgs;
use login::{Login, LoginArgs};

/// IANA: mqtt and secure-mqtt.
const TCP_PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;
/// Messages that wait to be sent.
const QUEUE: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct SessionArgs {
    /// The broker
    #[arg(short = 'h', long, default_value = "localhost")]
    host: String,
    /// Its port; 1883, or 8883 with TLS
    #[arg(short, long)]
    port: Option<u16>,
    /// The client ID; without, a random one
    #[arg(short, long)]
    id: Option<String>,
    #[command(flatten)]
    login: LoginArgs,
    /// Let user name and password travel over plain TCP, where anyone on the way reads them
    #[arg(long)]
    danger_credentials_in_clear: bool,
    /// Seconds between signs of life
    #[arg(short, long, default_value_t = 60)]
    keepalive: u16,
    /// Quality of service
    #[arg(short, long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=2))]
    qos: u8,
    /// The version of MQTT
    #[arg(short = 'V', long, default_value = "mqttv311")]
    protocol_version: Version,
    #[command(flatten)]
    tls: TlsArgs,
    /// What the broker publishes here when this client is cut off
    #[arg(long, value_name = "TOPIC")]
    will_topic: Option<String>,
    /// Its payload
    #[arg(long, requires = "will_topic", default_value = "", hide_default_value = true)]
    will_payload: String,
    /// Its quality of service
    #[arg(long, requires = "will_topic", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u8).range(..=2))]
    will_qos: u8,
    /// Whether the broker is to retain it
    #[arg(long, requires = "will_topic")]
    will_retain: bool,
    #[command(flatten)]
    keys: KeysArg,
    #[command(flatten)]
    policy: PolicyArg,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: (),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Version {
    #[value(name = "mqttv311", alias = "311")]
    V4,
    #[value(name = "mqttv5", alias = "5")]
    V5,
}

/// A topic or a filter that the policy does not allow, or MQTT.
fn unfit(error: &impl Display) -> Fault {
    Fault::told(error, "name another, or see mqtt-seal policy explain")
}

/// What the client does not take.
fn refused(error: &ClientError) -> Fault {
    match error {
        ClientError::Seal(SealError::Lease { number, .. }) => Fault::new(
            format!("sender number {} has no counters, as its compact form needs", number.get()),
            "name its counter file with --counters",
        ),
        ClientError::Seal(SealError::RollbackPossible) => Fault::new(
            "compact form under this suite needs counters that never come back in an older state",
            "use suite aes-256-gcm-siv, or declare it with --counters-never-roll-back",
        ),
        error => unfit(error),
    }
}

fn no_entropy(error: NoEntropy) -> Fault {
    Fault::told(&error, "see that the system has entropy")
}

/// The flags of a session that the broker keeps.
#[derive(Debug, Args)]
pub(crate) struct KeptArg {
    /// Let the broker keep the session of this client ID, and what comes for it, until the next run;
    /// with -i and --store, and up to QoS 1
    #[arg(short = 'c', long, requires_all = ["id", "store"])]
    disable_clean_session: bool,
    /// What the receiver has to know at its next run, so that nothing is delivered twice; made where
    /// it is not there
    #[arg(long, value_name = "FILE", requires = "disable_clean_session")]
    store: Option<PathBuf>,
}

impl KeptArg {
    pub(crate) const fn is_wanted(&self) -> bool {
        self.disable_clean_session
    }

    fn open(&self, session: &SessionArgs) -> Result<Option<ReplayFile>, Fault> {
        let Some(path) = &self.store else {
            return Ok(None);
        };
        if session.qos() == QoS::ExactlyOnce {
            return Err(Fault::usage(
                "-c goes up to QoS 1",
                "say -q 1: with the store, no sealed message comes twice either",
            ));
        }
        let there = path.try_exists().unwrap_or(true);
        let log = if there { ReplayFile::open(path) } else { ReplayFile::create(path) };
        log.map(Some).map_err(|error| Fault::told(&error, "name another file with --store"))
    }
}

/// The files of a client.
#[derive(Default)]
struct Beside {
    counters: Option<(SenderNumber, CounterFile)>,
    log: Option<ReplayFile>,
}

/// What asks the broker. Both versions have the same calls.
pub(crate) enum Client {
    V4(rumqttc_v4::AsyncClient),
    V5(rumqttc_v5::AsyncClient),
}

macro_rules! ask {
    ($client:expr, $call:ident($($argument:expr),*)) => {
        match $client {
            Self::V4(client) => client.$call($($argument),*).await,
            Self::V5(client) => client.$call($($argument),*).await,
        }
        .map_err(|error| refused(&error))
    };
}

impl Client {
    pub(crate) async fn publish(
        &self,
        topic: &str,
        qos: QoS,
        retain: bool,
        payload: Vec<u8>,
    ) -> Result<Ticket, Fault> {
        ask!(self, publish(topic, qos, retain, payload))
    }

    pub(crate) async fn subscribe(&self, filter: &str, qos: QoS) -> Result<(), Fault> {
        ask!(self, subscribe(filter, qos))
    }

    pub(crate) async fn ack(&self, message: &mqtt_seal::client::Message) -> Result<(), Fault> {
        ask!(self, ack(message))
    }

    pub(crate) async fn disconnect(&self) -> Result<(), Fault> {
        ask!(self, disconnect())
    }
}

impl SessionArgs {
    /// The broker's name and port.
    pub(crate) fn broker(&self) -> String {
        format!("{}:{}", self.host, self.port(self.uses_tls()))
    }

    pub(crate) const fn qos(&self) -> QoS {
        qos(self.qos)
    }

    /// Connects. Needs a tokio runtime.
    pub(crate) fn start(&self) -> Result<(Client, EventLoop), Fault> {
        let (policy, keyring) = files::protection(&self.policy, &self.keys)?;
        self.start_with(policy, keyring, Beside::default())
    }

    /// Connects, to subscribe in a session that the broker keeps.
    pub(crate) fn start_keeping(&self, kept: &KeptArg) -> Result<(Client, EventLoop), Fault> {
        let (policy, keyring) = files::protection(&self.policy, &self.keys)?;
        let log = kept.open(self)?;
        self.start_with(policy, keyring, Beside { log, ..Beside::default() })
    }

    /// Connects, with counters for compact form where they are named.
    pub(crate) fn start_counting(
        &self,
        counters: &CountersArg,
    ) -> Result<(Client, EventLoop), Fault> {
        let (policy, keyring) = files::protection(&self.policy, &self.keys)?;
        let counters = counters.open(&self.keys)?;
        self.start_with(policy, keyring, Beside { counters, ..Beside::default() })
    }

    /// Connects, and takes messages of these filters as they are; beside it, what opens them.
    pub(crate) fn start_beside_guard(
        &self,
        filters: &[String],
    ) -> Result<(Client, EventLoop, GuardRx), Fault> {
        // it would leave as it is, like all that this client sends
        if self.will_topic.is_some() {
            let what = "whoever watches publishes nothing, not even a will";
            return Err(Fault::usage(what, "leave out --will-topic"));
        }
        let (policy, keyring) = files::protection(&self.policy, &self.keys)?;
        let links = if self.uses_tls() { Links::Tls } else { Links::Tcp };
        for filter in filters {
            let filter = TopicFilter::parse(filter).map_err(|error| unfit(&error))?;
            // it may not make the broker send in clear what a rule keeps to TLS
            policy.subscribe_link(filter, links).map_err(|error| unfit(&error))?;
        }
        let guard = Guard::new(policy, keyring, links).map_err(no_entropy)?;
        let all = Rule::clear(["#", "$SYS/#"]).transport(Transport::Any).build();
        let all = all.map_err(|error| Fault::told(&error, "report it"))?;
        let (client, events) =
            self.start_with(Policy::new(vec![all]), Keyring::default(), Beside::default())?;
        Ok((client, events, guard.split().1))
    }

    /// Connects, to send and take what is sealed already.
    pub(crate) fn start_sealed(&self, policy: Policy) -> Result<(Client, EventLoop), Fault> {
        if self.will_topic.is_some() {
            let what = "an authority publishes nothing but keys, not even a will";
            return Err(Fault::usage(what, "leave out --will-topic"));
        }
        self.start_with(policy, Keyring::default(), Beside::default())
    }

    /// The key file.
    pub(crate) const fn keys(&self) -> &KeysArg {
        &self.keys
    }

    fn start_with(
        &self,
        policy: Policy,
        keyring: Keyring,
        beside: Beside,
    ) -> Result<(Client, EventLoop), Fault> {
        let tls = self.tls()?;
        let links = if tls.is_some() { Links::Tls } else { Links::Tcp };
        let guard = Guard::new(policy, keyring, links).map_err(no_entropy)?;
        let id = match &self.id {
            Some(id) => id.clone(),
            None => random_id()?,
        };
        let login = self.login.read()?;
        let refused = |error| match error {
            // its last part is no remedy
            ConfigError::WillTopic(_) => Fault::new(error.to_string(), "correct --will-topic"),
            error => Fault::told(&error, "correct the options"),
        };
        match self.protocol_version {
            Version::V4 => {
                let options = self.options(
                    rumqttc_v4::ClientOptions::new(),
                    self.v4(id, login),
                    tls.as_ref(),
                    beside,
                )?;
                let client = rumqttc_v4::AsyncClient::new(guard, options, QUEUE);
                client.map(|(client, events)| (Client::V4(client), events)).map_err(refused)
            }
            Version::V5 => {
                let options = self.options(
                    rumqttc_v5::ClientOptions::new(),
                    self.v5(id, login),
                    tls.as_ref(),
                    beside,
                )?;
                let client = rumqttc_v5::AsyncClient::new(guard, options, QUEUE);
                client.map(|(client, events)| (Client::V5(client), events)).map_err(refused)
            }
        }
    }

    fn options<M>(
        &self,
        options: mqtt_seal::client::ClientOptions<M>,
        mqtt: M,
        tls: Option<&TlsConfig>,
        beside: Beside,
    ) -> Result<mqtt_seal::client::ClientOptions<M>, Fault> {
        let options = match tls {
            Some(tls) => options.tls(mqtt, tls),
            None => options.tcp(mqtt),
        };
        let options = match beside.counters {
            Some((number, store)) => options.counter_store(number, store),
            None => options,
        };
        let options = match beside.log {
            // what was not confirmed comes again, rather than never
            Some(log) => options
                .persistent_subscriber()
                .replay_log(log, Prefer::NoLoss)
                .map_err(|error| Fault::told(&error, "name another file with --store"))?,
            None => options,
        };
        Ok(if self.danger_credentials_in_clear {
            options.danger_credentials_on_plain_link()
        } else {
            options
        })
    }

    fn port(&self, tls: bool) -> u16 {
        self.port.unwrap_or(if tls { TLS_PORT } else { TCP_PORT })
    }

    fn uses_tls(&self) -> bool {
        self.tls.is_named() || self.port == Some(TLS_PORT)
    }

    fn tls(&self) -> Result<Option<TlsConfig>, Fault> {
        self.uses_tls().then(|| self.tls.config()).transpose()
    }

    fn v4(&self, id: String, login: Option<Login>) -> rumqttc::MqttOptions {
        let mut mqtt = rumqttc::MqttOptions::new(id, &self.host, self.port(self.uses_tls()));
        mqtt.set_keep_alive(Duration::from_secs(self.keepalive.into()));
        if let Some((name, password)) = login {
            mqtt.set_credentials(name, password.as_str());
        }
        if let Some(topic) = &self.will_topic {
            let (payload, qos) = (self.will_payload.as_bytes(), qos(self.will_qos).into());
            mqtt.set_last_will(rumqttc::LastWill::new(topic, payload, qos, self.will_retain));
        }
        mqtt
    }

    fn v5(&self, id: String, login: Option<Login>) -> v5::MqttOptions {
        let mut mqtt = v5::MqttOptions::new(id, &self.host, self.port(self.uses_tls()));
        mqtt.set_keep_alive(Duration::from_secs(self.keepalive.into()));
        if let Some((name, password)) = login {
            mqtt.set_credentials(name, password.as_str());
        }
        if let Some(topic) = &self.will_topic {
            let (payload, qos) = (self.will_payload.as_bytes(), qos(self.will_qos).into());
            let will = v5::mqttbytes::v5::LastWill::new(
                topic.as_str(),
                payload.to_vec(),
                qos,
                self.will_retain,
                None,
            );
            mqtt.set_last_will(will);
        }
        mqtt
    }

    /// The failure of a connection that cannot be made.
    pub(crate) fn no_connection(&self, error: &LinkError) -> Fault {
        let port = self.port(self.uses_tls());
        let fix = match error {
            LinkError::Certificate(_) | LinkError::Tls(_) => {
                format!("see mqtt-seal certs check {}:{port} --ca FILE", self.host)
            }
            LinkError::Refused(Refusal::Credentials | Refusal::NotAuthorized) => {
                "check user name and password, and the broker's lists".into()
            }
            LinkError::Refused(_) => "see the broker's log".into(),
            _ => "check host and port, and that a broker listens there with TLS or without".into(),
        };
        Fault::new(format!("{}:{port}: {error}", self.host), fix)
    }
}

/// Warns of something that ends nothing.
pub(crate) fn warn(text: &str) {
    tell(&format!("warning: {text}"));
}

/// Tells something beside the output.
pub(crate) fn tell(text: &str) {
    use std::io::Write as _;
    // nobody is left to be told of another error
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn random_id() -> Result<String, Fault> {
    let mut random = [0; 32];
    let filled = getrandom::SysRng.fill(&mut random);
    filled.map_err(|error| Fault::told(&error, "see that the system has entropy"))?;
    let [a, b, c, d, ..] = random;
    Ok(format!("mqtt-seal-{}", base16ct::lower::encode_string(&[a, b, c, d])))
}

const fn qos(level: u8) -> QoS {
    match level {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

/// Runs what a command does with a broker.
pub(crate) fn run(work: impl Future<Output = Result<(), Fault>>) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Fault::new(format!("no threads, {}", error.kind()), "free some resources")
    })?;
    let outcome = runtime.block_on(work);
    // a thread that reads standard input may never end
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_mqtt() {
        use rumqttc::QoS as Level;
        let levels = [Level::AtMostOnce, Level::AtLeastOnce, Level::ExactlyOnce];
        for (number, level) in (0..).zip(levels) {
            assert_eq!(Level::from(qos(number)), level);
        }
    }
}
