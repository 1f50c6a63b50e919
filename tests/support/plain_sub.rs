//! A subscriber that knows no keys: `mosquitto_sub`, so that what it sees is
//! what the broker saw.

use core::str;
use core::sync::atomic::{AtomicU32, Ordering};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use super::mosquitto::Mosquitto;
use super::{program, wait_until};

/// One message as the broker passed it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
}

/// A running subscriber; dropping it kills the process.
pub(crate) struct PlainSub {
    child: Child,
    id: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl PlainSub {
    /// Subscribes at QoS 1 over the plain listener; returns when the broker has
    /// confirmed the subscription.
    pub(crate) fn start(broker: &Mosquitto, filter: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("plain-sub-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut child = Command::new(program("mosquitto_sub"))
            .args(["-h", "127.0.0.1", "-p", &broker.tcp_port().to_string()])
            .args(["-i", &id, "-q", "1", "-t", filter, "-F", "%t %x"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let seen = Arc::default();
        collect(child.stdout.take().unwrap(), Arc::clone(&seen));
        let sub = Self { child, id, seen };
        // From the broker's log, as the subscriber itself says so only into a
        // buffer, and a probe message would reach other subscribers too.
        broker.wait_for_log(&format!("Sending SUBACK to {}\n", sub.id));
        sub
    }

    /// Its client id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// All messages so far, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Blocks until at least `count` messages were seen, and returns all.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Seen> {
        self.wait_until(&format!("message {count}"), |seen| seen.len() >= count)
    }

    /// Blocks until a message on `topic` was seen, and returns all. The broker
    /// keeps the order, so what was published earlier and is not there, never comes.
    pub(crate) fn wait_for_topic(&self, topic: &str) -> Vec<Seen> {
        self.wait_until(topic, |seen| seen.iter().any(|message| message.topic == topic))
    }

    fn wait_until(&self, what: &str, done: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        wait_until(what, || format!("{:?}", self.seen()), || done(&self.seen.lock().unwrap()));
        self.seen()
    }
}

impl Drop for PlainSub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(stdout: ChildStdout, seen: Arc<Mutex<Vec<Seen>>>) {
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // Topics may have blanks; hexadecimal has none.
            let (topic, hex) = line.rsplit_once(' ').unwrap();
            let payload = hex
                .as_bytes()
                .chunks(2)
                .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
                .collect();
            seen.lock().unwrap().push(Seen { topic: topic.to_owned(), payload });
        }
    });
}
