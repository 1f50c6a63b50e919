//! What the proxy costs: the same load straight to a Mosquitto and through `mqtt-seal proxy`, in
//! turns. Takes the path of the `mqtt-seal` binary; needs Linux and Mosquitto.
//!
//! ```text
//! proxy target/release/mqtt-seal throughput|latency|idle|lone
//! ```

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// Bytes of a payload.
const PAYLOAD: usize = 1024;
/// Messages of one round.
const MESSAGES: u32 = 50_000;
/// Messages that are not acknowledged at a time.
const WINDOW: u32 = 200;
/// Rounds of each kind.
const ROUNDS: usize = 7;
/// Connections that do nothing.
const IDLE: usize = 5_000;
/// Lone messages.
const LONE: u32 = 1_000;

struct Running {
    child: Child,
    port: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn main() {
    let mut args = env::args().skip(1);
    let binary = PathBuf::from(args.next().expect("the path of mqtt-seal"));
    let what = args.next().unwrap_or_else(|| "throughput".into());
    let folder = env::temp_dir().join(format!("mqtt-seal-bench-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let broker = mosquitto(&folder);
    let proxy = proxy(&binary, &folder, broker.port);
    match what.as_str() {
        "throughput" => {
            println!("pid {}", proxy.child.id());
            throughput(&broker, &proxy);
        }
        "latency" => latency(&broker, &proxy),
        "idle" => idle(&proxy),
        "lone" => lone(&proxy),
        other => panic!("{other}: there is no such measurement"),
    }
    fs::remove_dir_all(&folder).expect("the folder goes");
}

/// Messages per second to the broker and to a subscriber at the broker; the proxy's share.
fn throughput(broker: &Running, proxy: &Running) {
    let mut rates = [Vec::new(), Vec::new()];
    let mut spent = Vec::new();
    for _ in 0..ROUNDS {
        for (rates, port) in rates.iter_mut().zip([broker.port, proxy.port]) {
            let before = cpu(proxy);
            let rate = flood(port, broker.port);
            rates.push(rate);
            if port == proxy.port {
                spent.push(
                    cpu(proxy).saturating_sub(before).as_secs_f64() * 1e6 / f64::from(MESSAGES),
                );
            }
        }
    }
    let [direct, through] = rates.map(|mut rates| spread(&mut rates));
    println!(
        "messages/s direct     min {:.0} median {:.0} max {:.0}",
        direct.0, direct.1, direct.2
    );
    println!(
        "messages/s by proxy   min {:.0} median {:.0} max {:.0}",
        through.0, through.1, through.2
    );
    println!(
        "ratio of the medians  {:.3}, of the best {:.3}",
        through.1 / direct.1,
        through.2 / direct.2
    );
    let spent = spread(&mut spent);
    println!("proxy CPU us/message  min {:.2} median {:.2} max {:.2}", spent.0, spent.1, spent.2);
}

/// Publishes as fast as the window allows; returns messages per second.
fn flood(port: u16, broker: u16) -> f64 {
    let mut subscriber = connect(broker, "subscriber");
    subscriber.write_all(&[0x82, 8, 0, 1, 0, 3, b's', b'/', b'#', 0]).expect("SUBSCRIBE");
    read_exact(&mut subscriber, 5);
    let counter = thread::spawn(move || {
        let mut packets = Packets::default();
        let mut seen = 0;
        while seen < MESSAGES {
            seen += packets.read(&mut subscriber, 0x30);
        }
    });
    let mut publisher = connect(port, "publisher");
    let mut reader = publisher.try_clone().expect("a second handle");
    let start = Instant::now();
    let (mut sent, mut acknowledged) = (0_u32, 0);
    let mut packets = Packets::default();
    let mut batch = Vec::new();
    while acknowledged < MESSAGES {
        batch.clear();
        while sent < MESSAGES && sent - acknowledged < WINDOW {
            batch.extend(publish(u16::try_from(sent % 60_000 + 1).expect("16 bits")));
            sent += 1;
        }
        publisher.write_all(&batch).expect("PUBLISH");
        acknowledged += packets.read(&mut reader, 0x40);
    }
    counter.join().expect("the subscriber");
    f64::from(MESSAGES) / start.elapsed().as_secs_f64()
}

/// From a write at the publisher to the read at a subscriber, one message at a time.
fn latency(broker: &Running, proxy: &Running) {
    for port in [broker.port, proxy.port, broker.port, proxy.port] {
        let mut subscriber = connect(port, "subscriber");
        subscriber.write_all(&[0x82, 8, 0, 1, 0, 3, b's', b'/', b'#', 0]).expect("SUBSCRIBE");
        read_exact(&mut subscriber, 5);
        let mut publisher = connect(port, "publisher");
        let mut packets = Packets::default();
        let mut times = Vec::new();
        for id in 0..10_000_u16 {
            let message = publish(id % 60_000 + 1);
            let start = Instant::now();
            publisher.write_all(&message).expect("PUBLISH");
            while packets.read(&mut subscriber, 0x30) == 0 {}
            times.push(start.elapsed().as_secs_f64() * 1e6);
            read_exact(&mut publisher, 4);
        }
        times.sort_by(f64::total_cmp);
        let mean = times.iter().sum::<f64>() / 10_000.0;
        let name = if port == proxy.port { "by proxy twice" } else { "direct" };
        println!(
            "latency us {name:15} mean {mean:.0} median {:.0} p99 {:.0}",
            times[5_000], times[9_900]
        );
    }
}

/// Memory of connections that do nothing.
fn idle(proxy: &Running) {
    let before = resident(proxy);
    let idle: Vec<_> = (0..IDLE).map(|n| connect(proxy.port, &format!("idle-{n}"))).collect();
    let after = resident(proxy);
    println!("idle connections held  {}", idle.len());
    println!("bytes for each         {}", (after - before) / IDLE);
    let mut last = connect(proxy.port, "one-more");
    last.write_all(&publish(1)).expect("PUBLISH");
    read_exact(&mut last, 4);
    println!("and one more is served");
}

/// Messages with a pause between them, for a tool that counts system calls.
fn lone(proxy: &Running) {
    println!("pid {}", proxy.child.id());
    let mut publisher = connect(proxy.port, "publisher");
    thread::sleep(Duration::from_secs(3));
    for id in 1..=LONE {
        publisher.write_all(&publish(u16::try_from(id).expect("16 bits"))).expect("PUBLISH");
        read_exact(&mut publisher, 4);
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(Duration::from_secs(1));
}

// --- MQTT ---

fn connect(port: u16, id: &str) -> TcpStream {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    let mut packet = vec![0x10, u8::try_from(12 + id.len()).expect("short")];
    packet.extend(b"\0\x04MQTT\x04\x02\0\0\0");
    packet.push(u8::try_from(id.len()).expect("short"));
    packet.extend(id.as_bytes());
    stream.write_all(&packet).expect("CONNECT");
    assert_eq!(read_exact(&mut stream, 4), [0x20, 2, 0, 0]);
    stream
}

fn publish(id: u16) -> Vec<u8> {
    let len = 2 + 3 + 2 + PAYLOAD;
    let low = u8::try_from(len % 128).expect("7 bits") | 0x80;
    let mut packet = vec![0x32, low, u8::try_from(len / 128).expect("7 bits")];
    packet.extend(b"\0\x03s/a");
    packet.extend(id.to_be_bytes());
    packet.resize(packet.len() + PAYLOAD, 0x5A);
    packet
}

fn read_exact(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).expect("an answer");
    bytes
}

/// Counts packets in a stream.
#[derive(Default)]
struct Packets {
    bytes: Vec<u8>,
}

impl Packets {
    /// Reads once; returns how many packets of this kind were completed.
    fn read(&mut self, stream: &mut TcpStream, kind: u8) -> u32 {
        let mut buffer = vec![0; 65_536];
        let len = stream.read(&mut buffer).expect("bytes");
        assert!(len > 0, "the connection was closed");
        self.bytes.extend_from_slice(&buffer[..len]);
        let (mut at, mut found) = (0, 0);
        while let Some(len) = whole(&self.bytes[at..]) {
            found += u32::from(self.bytes[at] & 0xF0 == kind);
            at += len;
        }
        self.bytes.drain(..at);
        found
    }
}

fn whole(bytes: &[u8]) -> Option<usize> {
    let (mut len, mut shift, mut at) = (0_usize, 0, 1);
    loop {
        let byte = bytes.get(at)?;
        len |= usize::from(byte & 0x7F) << shift;
        (shift, at) = (shift + 7, at + 1);
        if byte & 0x80 == 0 {
            break;
        }
    }
    (bytes.len() >= at + len).then_some(at + len)
}

// --- processes ---

fn mosquitto(folder: &Path) -> Running {
    let port = free_port();
    let conf = folder.join("mosquitto.conf");
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n\
         max_inflight_messages 0\nset_tcp_nodelay true\nuser root\nlog_dest none\n"
    );
    fs::write(&conf, text).expect("a configuration");
    let child = Command::new("/usr/sbin/mosquitto").arg("-c").arg(conf).spawn().expect("mosquitto");
    wait_for(port);
    Running { child, port }
}

fn proxy(binary: &Path, folder: &Path, broker: u16) -> Running {
    let (port, policy, keys) = (free_port(), folder.join("policy.toml"), folder.join("keys.toml"));
    fs::write(
        &policy,
        "[[rule]]\ntopics = [\"#\"]\npayload = \"sealed\"\nsuite = \"aes-256-gcm\"\n",
    )
    .expect("a policy");
    let made = Command::new(binary).args(["keygen", "bench", "--out"]).arg(&keys).output();
    assert!(made.expect("keygen").status.success());
    let child = Command::new(binary)
        .args(["proxy", "--listen", &format!("127.0.0.1:{port}")])
        .args(["--broker", &format!("127.0.0.1:{broker}"), "--keys"])
        .arg(keys)
        .arg("--policy")
        .arg(policy)
        .stdout(Stdio::null())
        .spawn()
        .expect("the proxy");
    wait_for(port);
    Running { child, port }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

fn wait_for(port: u16) {
    let start = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "nothing listens on {port}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Time that the process has spent on a processor, of 100 ticks a second.
fn cpu(process: &Running) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.child.id())).expect("Linux");
    let fields: Vec<_> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// Bytes of memory that the process has.
fn resident(process: &Running) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", process.child.id())).expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    let kib = line.split_whitespace().nth(1).expect("a number");
    kib.parse::<usize>().expect("a number") * 1024
}

fn spread(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2], values[values.len() - 1])
}
