//! What a proxy is made with. Opens nothing.

use core::fmt;
use core::net::SocketAddr;
use std::path::PathBuf;
use std::string::String;
use std::vec::Vec;

use super::listener::is_loopback;
use super::meters::Shows;
use crate::client::PeerAuth;
use crate::policy::Links;
use crate::store::outbox_file::OutboxFile;
use crate::tls::TlsConfig;

/// Bytes of the largest packet that is taken in, unless said otherwise: 16 MiB.
pub const DEFAULT_MAX_PACKET: usize = 16 << 20;
/// Connections at a time, unless said otherwise.
pub const DEFAULT_MAX_CONNECTIONS: usize = 10_000;
/// What is appended to a client ID for the plain link, unless said otherwise.
pub const DEFAULT_PLAIN_SUFFIX: &str = "-tcp";

/// Where clients are listened for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Listen {
    /// A TCP port; port 0 takes any that is free.
    Tcp(SocketAddr),
    /// A Unix socket, for the proxy's own user alone.
    Unix(PathBuf),
}

impl Listen {
    /// Reads `127.0.0.1:1883`, `[::1]:1883` or `unix:/run/mqtt.sock`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("unix:") {
            Some("") => None,
            Some(path) => Some(Self::Unix(path.into())),
            None => text.parse().ok().map(Self::Tcp),
        }
    }
}

impl Listen {
    /// Whether no other machine reaches it.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => is_loopback(*address),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How a proxy listens, connects and treats its clients.
#[derive(Debug)]
pub struct ProxyOptions {
    pub(super) listen: Vec<Listen>,
    pub(super) tcp: Option<(String, u16)>,
    pub(super) tls: Option<(String, u16, TlsConfig)>,
    pub(super) peer: Option<PeerAuth>,
    pub(super) store: Option<OutboxFile>,
    pub(super) status: Option<(SocketAddr, Shows)>,
    pub(super) max_packet: usize,
    pub(super) max_connections: usize,
    pub(super) plain_suffix: String,
    pub(super) danger_listen_anywhere: bool,
    pub(super) danger_credentials_in_clear: bool,
    pub(super) danger_forward_bare_deletes: bool,
}

impl Default for ProxyOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ProxyOptions {
    /// No listener and no broker yet, and defaults for everything else.
    #[must_use]
    pub fn new() -> Self {
        Self {
            listen: Vec::new(),
            tcp: None,
            tls: None,
            peer: None,
            store: None,
            status: None,
            max_packet: DEFAULT_MAX_PACKET,
            max_connections: DEFAULT_MAX_CONNECTIONS,
            plain_suffix: DEFAULT_PLAIN_SUFFIX.into(),
            danger_listen_anywhere: false,
            danger_credentials_in_clear: false,
            danger_forward_bare_deletes: false,
        }
    }

    /// Listens here too: on a loopback address or a Unix socket, since what comes there is in clear.
    #[must_use]
    pub fn listen(mut self, listen: Listen) -> Self {
        self.listen.push(listen);
        self
    }

    /// Connects to this broker by plain TCP; beside a broker by TLS, for messages of `tcp` rules
    /// alone.
    #[must_use]
    pub fn broker(mut self, host: impl Into<String>, port: u16) -> Self {
        self.tcp = Some((host.into(), port));
        self
    }

    /// Connects to this broker by TLS.
    #[must_use]
    pub fn tls_broker(mut self, host: impl Into<String>, port: u16, tls: &TlsConfig) -> Self {
        self.tls = Some((host.into(), port, tls.clone()));
        self
    }

    /// Lets the authority verify the broker by TLS, whose configuration is one of
    /// [`verify_by_peer_alone`](crate::tls::TlsConfigBuilder::verify_by_peer_alone). The proxy is the
    /// device. Before the first client's connection it probes the broker: under a random client ID,
    /// without anything of a client, it asks the authority for the broker's key. All connections are
    /// to a server with that key; one with another key is probed anew. Where nobody vouches for the
    /// server, or nobody answers within ten seconds (or the `patience` of `auth`), clients are
    /// refused.
    ///
    /// Where `auth` has [`pins`](PeerAuth::pins), clients are let through to a server with one of
    /// these keys, and no probe comes before. A server with another key is probed; where the probe is
    /// not let in or not answered, the pinned keys count again.
    ///
    /// On the two topics of the run clients can neither publish nor be given anything.
    // SPEC §9, `verify = "peer"`
    #[must_use]
    pub fn require_peer_auth(mut self, auth: PeerAuth) -> Self {
        self.peer = Some(auth);
        self
    }

    /// Stores sealed messages before they leave, until they are acknowledged, and replay state: after
    /// a restart of the proxy a client's repetition is the bytes that it was, and what was received
    /// is refused.
    #[must_use]
    pub fn store(mut self, store: OutboxFile) -> Self {
        self.store = Some(store);
        self
    }

    /// Serves `/metrics` and a status page by HTTP at this loopback address. The page shows
    /// topics, sizes and sealed bytes to every user of the machine, and with `payloads` the first
    /// bytes of what was sealed.
    #[must_use]
    pub const fn status(mut self, address: SocketAddr, payloads: bool) -> Self {
        self.status = Some((address, if payloads { Shows::Payloads } else { Shows::Sealed }));
        self
    }

    /// Takes in packets of so many bytes at most, between 1 KiB and 128 MiB: half of what MQTT
    /// allows, so that there is room for what sealing adds.
    #[must_use]
    pub fn max_packet(mut self, bytes: usize) -> Self {
        self.max_packet = bytes.clamp(1 << 10, 128 << 20);
        self
    }

    /// Serves so many clients at a time, and lets others wait.
    #[must_use]
    pub fn max_connections(mut self, number: usize) -> Self {
        self.max_connections = number.clamp(1, 1_000_000);
        self
    }

    /// Appends this to the client ID on the plain link, where there are two.
    #[must_use]
    pub fn plain_suffix(mut self, suffix: impl Into<String>) -> Self {
        self.plain_suffix = suffix.into();
        self
    }

    /// Listens on addresses too that other machines reach: their clients' payloads, user names and
    /// passwords then cross the network in clear.
    #[must_use]
    pub const fn danger_listen_anywhere(mut self) -> Self {
        self.danger_listen_anywhere = true;
        self
    }

    /// Lets user names and passwords of clients go to a broker by plain TCP.
    #[must_use]
    pub const fn danger_credentials_in_clear(mut self) -> Self {
        self.danger_credentials_in_clear = true;
        self
    }

    /// Passes empty messages on sealed topics to clients, which take them for deletions of retained
    /// values: anyone on the way can make one.
    #[must_use]
    pub const fn danger_forward_bare_deletes(mut self) -> Self {
        self.danger_forward_bare_deletes = true;
        self
    }

    /// The links to the broker; `None` if there is none.
    #[must_use]
    pub const fn links(&self) -> Option<Links> {
        match (&self.tcp, &self.tls) {
            (Some(_), Some(_)) => Some(Links::Both),
            (Some(_), None) => Some(Links::Tcp),
            (None, Some(_)) => Some(Links::Tls),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn listeners_are_read_as_they_are_written() {
        for text in ["127.0.0.1:1883", "[::1]:0", "unix:/run/mqtt.sock"] {
            assert_eq!(Listen::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "localhost", "127.0.0.1", "unix:", "1883"] {
            assert_eq!(Listen::parse(text), None, "{text}");
        }
    }
}
