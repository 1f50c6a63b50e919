//! A broker, an authority and a fleet. A few connections speak for all devices; what a device
//! knows, it alone knows.

use core::time::Duration;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use mqtt_seal::secret::SharedKey;
use mqtt_seal::session::Entropy as _;
use mqtt_seal::store::device_file::DeviceFile;
use mqtt_seal::store::key_file::{self, KeyFile, Share};
use mqtt_seal::store::ledger_file::{DeviceRow, Granted, LedgerFile, Progress, Settings};
use mqtt_seal::tls::SpkiPin;
use mqtt_seal::topic::TopicName;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, Publish, QoS};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::device::{Device, Reaction};
use crate::support::DEADLINE;
use crate::support::certs::Certs;
use crate::support::mosquitto::{Mosquitto, Setup};

/// Connections that speak for the devices.
const GATEWAYS: usize = 4;
/// A message is for one device in so many.
const GROUPS: usize = 10;

pub(crate) struct Site {
    pub(crate) broker: Mosquitto,
    pub(crate) ledger: LedgerFile,
    pub(crate) devices: Vec<Device>,
    /// As they arrive at the devices.
    pub(crate) files: Vec<DeviceFile>,
    certs: Certs,
    dir: TempDir,
    authority: Option<Child>,
    gateways: Vec<AsyncClient>,
    heard: mpsc::UnboundedReceiver<(usize, Publish)>,
    /// Messages and the devices that have not opened them.
    pending: BTreeSet<(String, usize)>,
    sent: usize,
    /// The last update of each device, as the broker has it.
    pub(crate) updates: Vec<Vec<u8>>,
    /// What was sent since this was cleared.
    pub(crate) traffic: Vec<(String, Vec<u8>)>,
}

impl Site {
    pub(crate) async fn new(devices: usize) -> Self {
        let certs = Certs::new();
        let broker = Mosquitto::start(&Setup::new(&certs.of_other_ca));
        let dir = TempDir::new().unwrap();
        let keys = KeyFile::generate("acme-prod", &mut getrandom::SysRng).unwrap();
        key_file::write_new(dir.path().join("keys.toml"), &keys).unwrap();
        let settings = Settings::new("acme-prod", "authority", "acme").unwrap();
        let ledger = LedgerFile::create(dir.path().join("ledger"), settings).unwrap();
        let name = format!("localhost:{}", broker.tcp_port());
        let ids: Vec<String> = (0..devices).map(|number| format!("d{number}")).collect();
        let files = enrol(&ledger, &ids);
        let enrolled = files.iter().map(|file| Device::new(file, &name)).collect();
        let (tell, heard) = mpsc::unbounded_channel();
        let mut gateways = vec![];
        for number in 0..GATEWAYS {
            gateways.push(gateway(number, broker.tcp_port(), &tell).await);
        }
        let mut site = Self {
            broker,
            ledger,
            updates: vec![vec![]; devices],
            devices: enrolled,
            files,
            certs,
            dir,
            authority: None,
            gateways,
            heard,
            pending: BTreeSet::new(),
            sent: 0,
            traffic: vec![],
        };
        site.start_authority();
        site
    }

    pub(crate) fn keys(&self) -> KeyFile {
        KeyFile::read(self.dir.path().join("keys.toml")).unwrap()
    }

    /// Starts the tool.
    pub(crate) fn start_authority(&mut self) {
        self.authority = Some(self.authority_at(self.log()));
    }

    pub(crate) fn authority_at(&self, log: File) -> Child {
        let (port, tls_port) = (self.broker.tcp_port(), self.broker.tls_port());
        let certificate = std::fs::read(&self.certs.of_other_ca.cert.pem).unwrap();
        let pin = SpkiPin::of_certificate(&certificate).unwrap();
        Command::new(env!("CARGO_BIN_EXE_mqtt-seal"))
            .current_dir(self.dir.path())
            .args(["authority", "run", "-p", &port.to_string()])
            .args(["--broker", &format!("localhost:{port}")])
            .args(["--broker", &format!("localhost:{tls_port}")])
            .args(["--broker-key", &pin.to_string()])
            .env_remove("MQTT_SEAL_KEYS")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    pub(crate) fn log(&self) -> File {
        OpenOptions::new().create(true).append(true).open(self.dir.path().join("log")).unwrap()
    }

    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    pub(crate) fn authority_id(&self) -> u32 {
        self.authority.as_ref().unwrap().id()
    }

    /// Kills the authority: no farewell, no last write.
    pub(crate) fn kill_authority(&mut self) {
        let mut child = self.authority.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Every device that is there runs its authentication.
    pub(crate) fn ask_all(&mut self) {
        for number in 0..self.devices.len() {
            let message = self.devices[number].ask();
            self.publish(number, message);
        }
    }

    /// So does every device, again, whose run went unanswered: on a slow machine, for instance.
    fn ask_again(&mut self) {
        for number in 0..self.devices.len() {
            if self.speaks(number)
                && let Some(message) = self.devices[number].ask_again()
            {
                self.publish(number, message);
            }
        }
    }

    /// A device speaks by its gateway.
    pub(crate) fn publish(&self, number: usize, (topic, payload): (String, Vec<u8>)) {
        let gateway = &self.gateways[number % GATEWAYS];
        gateway.try_publish(topic, QoS::AtLeastOnce, false, payload).unwrap();
    }

    /// A device is back: it subscribes, and the broker shows it what is retained.
    pub(crate) fn come_back(&mut self, number: usize) {
        self.devices[number].online = true;
        let topic = self.devices[number].receiver.topics().keys().to_owned();
        self.gateways[number % GATEWAYS].try_subscribe(topic, QoS::AtLeastOnce).unwrap();
    }

    /// Every device that is there sends a message, which each of its group has to open.
    pub(crate) fn send_round(&mut self) {
        let online: Vec<usize> = (0..self.devices.len()).filter(|n| self.speaks(*n)).collect();
        for &number in &online {
            self.sent += 1;
            let text = format!("{}-{number}", self.sent);
            let message = self.devices[number].seal(text.as_bytes());
            let group = online.iter().filter(|to| *to % GROUPS == number % GROUPS);
            self.pending.extend(group.map(|to| (text.clone(), *to)));
            self.traffic.push(message.clone());
            self.publish(number, message);
        }
    }

    fn speaks(&self, number: usize) -> bool {
        self.devices[number].online && !self.devices[number].defiant
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes what comes until `done`, which fails the test if it does not happen.
    pub(crate) async fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            let (pending, said) = (self.pending.len(), self.said());
            let said = &said[said.len().saturating_sub(2_000)..];
            assert!(start.elapsed() < DEADLINE, "{what}: {pending} are not opened\n{said}");
            self.ask_again();
            let next = tokio::time::timeout(Duration::from_millis(50), self.heard.recv()).await;
            let Ok(message) = next else { continue };
            let (gateway, publish) = message.unwrap();
            self.take(gateway, &publish);
            // all that is there before asking again
            while let Ok((gateway, publish)) = self.heard.try_recv() {
                self.take(gateway, &publish);
            }
        }
    }

    fn take(&mut self, gateway: usize, publish: &Publish) {
        let Publish { topic, payload, retain, .. } = publish;
        let parts: Vec<&str> = topic.split('/').collect();
        match parts[..] {
            ["acme", "keys", id] => {
                let number = number(id);
                if number % GATEWAYS == gateway && self.devices[number].online {
                    self.updates[number] = payload.to_vec();
                    let reaction = self.devices[number].update(payload, *retain);
                    self.react(number, reaction);
                }
            }
            ["acme", "auth", id, "res"] => {
                let number = number(id);
                if number % GATEWAYS == gateway
                    && let Some(reaction) = self.devices[number].answer(topic, payload)
                {
                    self.react(number, reaction);
                }
            }
            ["plant", "a", id] => {
                for to in (number(id) % GROUPS..self.devices.len()).step_by(GROUPS) {
                    if to % GATEWAYS == gateway && self.speaks(to) {
                        let opened = self.devices[to].open(topic, payload);
                        let opened = opened.into_iter().collect();
                        self.react(to, Reaction { opened, ..Reaction::default() });
                    }
                }
            }
            _ => panic!("{topic}"),
        }
    }

    fn react(&mut self, number: usize, reaction: Reaction) {
        for text in reaction.opened {
            let text = String::from_utf8(text).unwrap();
            // a message of before this device came back is nobody's loss
            self.pending.remove(&(text, number));
        }
        for message in reaction.publish {
            self.publish(number, message);
        }
    }

    /// Enters another device, of which nothing is heard.
    pub(crate) fn enrol(&self, id: &str) {
        drop(enrol(&self.ledger, &[id.to_owned()]));
    }

    pub(crate) fn all(&self, what: impl Fn(&Device) -> bool) -> bool {
        self.devices.iter().filter(|device| device.online && !device.defiant).all(what)
    }

    pub(crate) fn progress(&self) -> Vec<(bool, Progress)> {
        let rows = self.ledger.devices().unwrap();
        rows.into_iter().map(|(_, row, progress)| (row.revoked, progress)).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut child) = self.authority.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn number(id: &str) -> usize {
    id.strip_prefix('d').unwrap().parse().unwrap()
}

/// Enters devices, and returns their files as they arrive there.
fn enrol(ledger: &LedgerFile, ids: &[String]) -> Vec<DeviceFile> {
    let node = Share::Node(TopicName::parse("plant/a").unwrap().path(2));
    let (mut rows, mut files) = (vec![], vec![]);
    for id in ids {
        let mut key = [0; 32];
        getrandom::SysRng.fill(&mut key).unwrap();
        let (mut again, shares) = (key, vec![Granted::new(node)]);
        rows.push(DeviceRow::new(SharedKey::take(&mut key), shares, false, 0));
        let key = SharedKey::take(&mut again);
        files.push(DeviceFile::new(ledger.settings(), id, key).unwrap());
    }
    ledger.enrol_all(ids.iter().map(String::as_str).zip(&rows)).unwrap();
    files
}

/// A connection, subscribed to everything that concerns devices.
async fn gateway(
    number: usize,
    port: u16,
    tell: &mpsc::UnboundedSender<(usize, Publish)>,
) -> AsyncClient {
    let mut options = MqttOptions::new(format!("gateway-{number}"), "localhost", port);
    options.set_inflight(1_000);
    let (client, mut events) = AsyncClient::new(options, 100_000);
    let filters = ["acme/keys/+", "acme/auth/+/res", "plant/#"];
    for filter in filters {
        client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
    }
    let mut granted = 0;
    while granted < filters.len() {
        let event = tokio::time::timeout(DEADLINE, events.poll()).await.unwrap().unwrap();
        granted += usize::from(matches!(event, Event::Incoming(Packet::SubAck(_))));
    }
    let tell = tell.clone();
    // ends with the runtime of the test
    tokio::spawn(async move {
        while let Ok(event) = events.poll().await {
            if let Event::Incoming(Packet::Publish(publish)) = event {
                let _ = tell.send((number, publish));
            }
        }
    });
    client
}
