//! A subscriber with a replay log is killed at random, and started again. What comes while it is
//! away, a clean session does not keep: the test itself sends on what was not told, as the same
//! bytes, and some of what was.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mqtt_seal::client::Event;
use mqtt_seal::guard::{Guard, Outgoing, Prefer};
use mqtt_seal::store::replay_file::ReplayFile;
use mqtt_seal::{rumqttc_v4::V4, rumqttc_v5::V5};
use rumqttc::{AsyncClient, MqttOptions, Packet};
use tokio::sync::watch;

use crate::support::DEADLINE;

use crate::scene::{Extras, Version, broker_with, count, guard, parse, qos, random, subscribe};

/// Tells a child from an ordinary run of the tests: version, port, preference, log.
const CHILD: &str = "MQTT_SEAL_CHAOS_SUBSCRIBER";
/// Messages that one life is sent.
const CHUNK: usize = 400;
/// Messages that are sent again although they were told.
const AGAIN: usize = 30;
/// What a kill may cost: a lease for each of the sessions of `QoS` 1 and 2 (SPEC §7.4), and what
/// was on its way to the application.
const COST: usize = 2 * 64 + IN_FLIGHT;
/// Messages that the broker sends without an acknowledgement: Mosquitto's default for a client.
const IN_FLIGHT: usize = 20;

/// Says when it is subscribed, what is delivered, and when "clear/end" came.
async fn serve<V: Version>(port: u16, prefer: Prefer, log: &Path, tell: impl Fn(String)) {
    // with acknowledgements by hand only what was told is confirmed
    let auto_ack = prefer == Prefer::NoReplay;
    let extras = Extras { auto_ack, log: Some((log.into(), prefer)), ..Extras::default() };
    let (reader, mut events) = V::client("reader", port, extras);
    subscribe(&reader, &mut events).await;
    tell("ready".into());
    while let Some(event) = events.poll().await {
        match event {
            Event::Message(message) => {
                if message.topic == "clear/end" {
                    tell("end".into());
                } else {
                    tell(format!("got {}", parse(&message.payload)));
                }
                if !auto_ack {
                    reader.ack(&message).await.unwrap();
                }
            }
            Event::ReplayLogFailed { error, .. } => panic!("{error}"),
            _ => {}
        }
    }
}

/// What a child runs, which is always killed; in an ordinary run it shows what is told.
#[tokio::test(flavor = "multi_thread")]
async fn subscriber_of_a_process_tells_what_is_delivered() {
    let Ok(child) = env::var(CHILD) else {
        let (_certs, broker) = broker_with(&[]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        drop(ReplayFile::create(&path).unwrap());
        let port = broker.tcp_port();
        let (telling, mut told) = tokio::sync::mpsc::unbounded_channel();
        let serving = tokio::spawn(async move {
            serve::<V4>(port, Prefer::NoLoss, &path, |text| telling.send(text).unwrap()).await;
        });
        assert_eq!(told.recv().await.unwrap(), "ready");
        broker.publish("clear/end", b"");
        assert_eq!(told.recv().await.unwrap(), "end");
        serving.abort();
        return;
    };
    let mut parts = child.splitn(4, ' ');
    let mut part = || parts.next().unwrap();
    let (version, port) = (part(), part().parse().unwrap());
    let prefer = if part() == "NoLoss" { Prefer::NoLoss } else { Prefer::NoReplay };
    let log = Path::new(part());
    let tell = |text| writeln!(io::stdout(), "\n{text}").unwrap();
    if version == V4::NAME {
        serve::<V4>(port, prefer, log, tell).await;
    } else {
        serve::<V5>(port, prefer, log, tell).await;
    }
}

fn child<V: Version>(port: u16, prefer: Prefer, log: &Path) -> Child {
    let name = "subscriber::subscriber_of_a_process_tells_what_is_delivered";
    Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, format!("{} {port} {prefer:?} {}", V::NAME, log.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Sends stored bytes, however often.
struct Source {
    client: AsyncClient,
    sealed: Vec<Vec<u8>>,
    sent: usize,
    /// What the broker has acknowledged.
    acknowledged: watch::Receiver<usize>,
}

impl Source {
    fn start(port: u16, guard: Guard) -> Self {
        let (mut tx, _) = guard.split();
        let seal = |number: usize| {
            let (payload, mut out) = (number.to_string(), Vec::new());
            let message = Outgoing::new("sealed/a", payload.as_bytes()).qos(qos(number));
            tx.seal(&message, &mut out).unwrap();
            out
        };
        let sealed = (0..count()).map(seal).collect();
        let mut options = MqttOptions::new("source", "localhost", port);
        // more on their way at QoS 2, and Mosquitto ends the connection
        options.set_inflight(10);
        let (client, mut events) = AsyncClient::new(options, 10);
        let (count, acknowledged) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                if let rumqttc::Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) = event {
                    count.send_modify(|count| *count += 1);
                }
            }
        });
        Self { client, sealed, sent: 0, acknowledged }
    }

    /// Waits until nothing is on its way: what is left of one life must not overtake what the next
    /// one is sent, as a broker would not let it.
    async fn settle(&mut self) {
        let sent = self.sent;
        let all = self.acknowledged.wait_for(|count| *count == sent);
        tokio::time::timeout(DEADLINE, all).await.expect("acknowledged in time").unwrap();
    }

    async fn send(&mut self, from: usize, to: usize) {
        self.sent += to - from + 1;
        for number in from..to {
            let qos =
                if number % 5 == 4 { rumqttc::QoS::ExactlyOnce } else { rumqttc::QoS::AtLeastOnce };
            let bytes = self.sealed[number].clone();
            self.client.publish("sealed/a", qos, false, bytes).await.unwrap();
        }
        // of QoS 2: one of QoS 1 would overtake others
        let end = self.client.publish("clear/end", rumqttc::QoS::ExactlyOnce, false, "");
        end.await.unwrap();
    }
}

/// What the subscribers told.
#[derive(Default)]
struct Told {
    /// How often each number was delivered.
    times: BTreeMap<usize, usize>,
    ended: bool,
}

impl Told {
    /// Where to go on: brokers pass a message of `QoS` 2 on late, so that those of `QoS` 1 overtake
    /// it. What a receiver gave up for no replay never comes.
    fn next(&self, prefer: Prefer) -> usize {
        match prefer {
            Prefer::NoLoss => {
                (0..count()).find(|number| !self.times.contains_key(number)).unwrap_or_else(count)
            }
            _ => self.times.last_key_value().map_or(0, |(number, _)| number + 1),
        }
    }

    /// Reads until so many messages were told, or "end", or the child is gone.
    fn read(&mut self, lines: &mut impl Iterator<Item = io::Result<String>>, limit: usize) {
        self.ended = false;
        let mut left = limit;
        while left > 0
            && !self.ended
            && let Some(line) = lines.next()
        {
            let line = line.unwrap();
            if let Some(number) = line.strip_prefix("got ") {
                *self.times.entry(parse(number.as_bytes())).or_default() += 1;
                left -= 1;
            }
            self.ended = line == "end";
        }
    }
}

struct Outcome {
    kills: usize,
    lost: usize,
    twice: usize,
}

/// Sends everything in chunks, to one subscriber after the other, each of which is killed.
async fn run<V: Version>(prefer: Prefer) -> Outcome {
    let (_certs, broker) = broker_with(&[]);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    drop(ReplayFile::create(&log).unwrap());
    let mut source = Source::start(broker.tcp_port(), guard());
    let (mut told, mut next, mut kills) = (Told::default(), 0, 0);
    while next < count() {
        source.settle().await;
        let mut child = child::<V>(broker.tcp_port(), prefer, &log);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = |line: &io::Result<String>| line.as_ref().unwrap() == "ready";
        tokio::task::block_in_place(|| assert!(lines.any(|line| ready(&line))));
        let end = count().min(next + CHUNK);
        source.send(next.saturating_sub(AGAIN), end).await;
        tokio::task::block_in_place(|| {
            told.read(&mut lines, 1 + random(2 * CHUNK));
            child.kill().unwrap();
            if !told.ended {
                told.read(&mut lines, usize::MAX);
            }
            child.wait().unwrap();
        });
        kills += 1;
        next = if told.ended { end } else { told.next(prefer) };
    }
    let lost = count() - told.times.len();
    let twice = told.times.values().map(|times| times - 1).sum();
    println!(
        "mqtt {} {prefer:?}: {} sent, {kills} kills, lost/twice {lost}/{twice}",
        V::NAME,
        count()
    );
    Outcome { kills, lost, twice }
}

async fn prefers_no_replay<V: Version>() {
    let Outcome { kills, lost, twice } = run::<V>(Prefer::NoReplay).await;
    assert_eq!(twice, 0);
    assert!(lost <= kills * COST, "{lost} lost by {kills} kills");
}

async fn prefers_no_loss<V: Version>() {
    let Outcome { kills, lost, twice } = run::<V>(Prefer::NoLoss).await;
    assert_eq!(lost, 0);
    assert!(twice <= kills * COST, "{twice} twice by {kills} kills");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_subscriber_of_mqtt_3_that_prefers_no_replay_repeats_nothing() {
    prefers_no_replay::<V4>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_subscriber_of_mqtt_5_that_prefers_no_replay_repeats_nothing() {
    prefers_no_replay::<V5>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_subscriber_of_mqtt_3_that_prefers_no_loss_loses_nothing() {
    prefers_no_loss::<V4>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_subscriber_of_mqtt_5_that_prefers_no_loss_loses_nothing() {
    prefers_no_loss::<V5>().await;
}
