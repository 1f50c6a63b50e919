//! The real thing for tests: certificates, a Mosquitto, a subscriber that knows
//! no keys, and a relay that records. All on loopback; all stopped when dropped.
//!
//! What waits here blocks its thread: a test that waits while a task of its own
//! has to go on, the relay's for one, needs `flavor = "multi_thread"`.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[cfg(feature = "rumqttc")]
pub(crate) mod authority;
pub(crate) mod bytes;
pub(crate) mod certs;
pub(crate) mod fake_broker;
pub(crate) mod mosquitto;
pub(crate) mod plain_sub;
#[cfg(feature = "cli")]
pub(crate) mod proxy;
pub(crate) mod relay;

use core::hash::{BuildHasher, Hasher};
use core::net::Ipv4Addr;
use core::sync::atomic::{AtomicU16, Ordering};
use core::time::Duration;
use std::collections::hash_map::RandomState;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Instant;
use std::{env, thread};

/// How long anything may take before the test fails. Generous, since it is only
/// ever waited out in full by a test that fails.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// Blocks until `done` returns true; panics with `what` and the state in `show` at the deadline.
pub(crate) fn wait_until(what: &str, show: impl Fn() -> String, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < DEADLINE, "{what} did not happen in {DEADLINE:?}:\n{}", show());
        thread::sleep(Duration::from_millis(10));
    }
}

/// A port on loopback for a program that is told where to listen, and maybe listens there again
/// later. Meanwhile neither the system gives it to anybody, as it would one of its own choice, nor
/// does this function, in any test program that runs at the same time.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    // where the ports begin that Linux gives to whoever asks for any
    const COUNT: u16 = 32_768 - FIRST;
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| {
        let random = RandomState::new().build_hasher().finish() % u64::from(COUNT);
        AtomicU16::new(random.try_into().unwrap())
    });
    loop {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        if is_ours(port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Keeps a port from other test programs while this one runs, by a name that one of them can have.
#[cfg(target_os = "linux")]
fn is_ours(port: u16) -> bool {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    use std::sync::Mutex;

    static NAMES: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    let name = SocketAddr::from_abstract_name(format!("mqtt-seal test port {port}")).unwrap();
    let Ok(held) = UnixListener::bind_addr(&name) else { return false };
    NAMES.lock().unwrap().push(held);
    true
}

#[cfg(not(target_os = "linux"))]
fn is_ours(_: u16) -> bool {
    true
}

/// Whether `needle` stands anywhere in `haystack`.
pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle)
}

/// Finds a program of Mosquitto; `/usr/sbin` is not in everybody's `PATH`.
pub(crate) fn program(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| Path::is_file(file))
        .unwrap_or_else(|| {
            panic!(
                "{name} is not installed; run `scripts/check install`, or \
                 `apt-get install mosquitto mosquitto-clients`"
            )
        })
}
