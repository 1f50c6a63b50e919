//! What flags and file say together. A flag holds instead of the same setting in the file; of what
//! can only be switched on, either does it.

use core::fmt::Display;
use core::net::{IpAddr, SocketAddr};
use core::str::FromStr;
use std::path::{Path, PathBuf};

use mqtt_seal::policy::Links;
use mqtt_seal::proxy::{DEFAULT_MAX_CONNECTIONS, Listen, ProxyOptions};
use mqtt_seal::store::Position;
use mqtt_seal::store::proxy_file::{self, ProxyFile, Written};

use super::{Args, device};
use crate::fault::Fault;
use crate::files::{KeysArg, PolicyArg};
use crate::tls::TlsArgs;

/// What clients use where nothing else is said.
const LISTEN: &str = "127.0.0.1:1883";
const KEYS: &str = "keys.toml";

/// A broker.
pub(super) type HostPort = (String, u16);

/// What the proxy is run with. No file of it is read yet, but for the settings themselves.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct Settings {
    pub(super) listen: Vec<Listen>,
    pub(super) broker: Option<HostPort>,
    pub(super) tls_broker: Option<HostPort>,
    tls: TlsArgs,
    pub(super) device: Option<PathBuf>,
    pub(super) keys: KeysArg,
    pub(super) policy: PolicyArg,
    pub(super) store: Option<PathBuf>,
    pub(super) status: Option<SocketAddr>,
    pub(super) status_payloads: bool,
    max_packet: Option<usize>,
    pub(super) max_connections: usize,
    plain_suffix: Option<String>,
    pub(super) listen_anywhere: bool,
    pub(super) credentials_in_clear: bool,
    pub(super) forward_bare_deletes: bool,
    pub(super) log: Option<String>,
    pub(super) log_level: Option<String>,
}

/// A text, and who gave it.
struct Given<'a> {
    text: &'a str,
    name: &'static str,
    whence: Option<(&'a Path, Position)>,
}

impl Given<'_> {
    /// A value that means nothing.
    fn fault(&self, what: impl Display, fix: &str) -> Fault {
        let Self { text, name, whence } = self;
        match whence {
            Some((path, at)) => {
                Fault::new(format!("{}:{at}: {name} {text:?} {what}", path.display()), fix)
            }
            None => Fault::usage(format!("--{} {text:?} {what}", name.replace('_', "-")), fix),
        }
    }
}

impl Settings {
    pub(super) fn new(args: Args) -> Result<Self, Fault> {
        let path = args.config.clone();
        let (path, file) = match &path {
            Some(path) => (path.as_path(), read(path)?),
            None => (Path::new(""), ProxyFile::default()),
        };
        let first = |name, flag: &Option<String>, written: Option<Written>| Choice {
            name,
            flag: flag.clone(),
            written,
            path: path.into(),
        };
        let broker = first("broker", &args.broker, file.broker).map(host_port)?;
        let tls_broker = first("tls_broker", &args.tls_broker, file.tls_broker).map(host_port)?;
        let status = first("status", &args.status, file.status).map(status)?;
        let listen = listeners(&args.listen, &file.listen, path)?;
        let pin = pins(&args.tls, &file.pin, path)?;
        let settings = Self {
            listen,
            broker,
            tls_broker,
            tls: TlsArgs {
                cafile: args.tls.cafile.or(file.cafile),
                capath: args.tls.capath.or(file.capath),
                tls_use_os_certs: args.tls.tls_use_os_certs || on(file.tls_use_os_certs),
                pin,
                cert: args.tls.cert.or(file.cert),
                key: args.tls.key.or(file.key),
            },
            device: args.device.or(file.device),
            keys: KeysArg { keys: args.keys.or(file.keys).unwrap_or_else(|| KEYS.into()) },
            policy: PolicyArg { policy: args.policy.or(file.policy) },
            store: args.store.or(file.store),
            status,
            status_payloads: args.status_payloads || on(file.status_payloads),
            max_packet: number(args.max_packet).or(file.max_packet),
            max_connections: number(args.max_connections)
                .or(file.max_connections)
                .unwrap_or(DEFAULT_MAX_CONNECTIONS),
            plain_suffix: args.plain_suffix.or(file.plain_suffix),
            listen_anywhere: args.danger_listen_anywhere || on(file.danger_listen_anywhere),
            credentials_in_clear: args.danger_credentials_in_clear
                || on(file.danger_credentials_in_clear),
            forward_bare_deletes: args.danger_forward_bare_deletes
                || on(file.danger_forward_bare_deletes),
            log: args.log.or_else(|| file.log.map(Into::into)),
            log_level: args.log_level.or_else(|| file.log_level.map(Into::into)),
        };
        settings.consistent()
    }

    /// What cannot be meant together.
    fn consistent(self) -> Result<Self, Fault> {
        if self.tls.is_named() && self.tls_broker.is_none() {
            let what = "a CA, a pin or a certificate is named, and no broker by TLS";
            return Err(Fault::usage(what, "name the broker with --tls-broker"));
        }
        if self.device.is_some() && self.tls_broker.is_none() {
            let what = "a device file is named, and no broker by TLS to ask its authority for";
            return Err(Fault::usage(what, "name the broker with --tls-broker"));
        }
        if self.device.is_some() && self.tls.names_trust() {
            let what = "beside the device file, whose authority verifies the broker, a CA or a pin \
                        is named";
            return Err(Fault::usage(what, "leave out the one or the other"));
        }
        if self.tls.cert.is_some() != self.tls.key.is_some() {
            let what = "of a certificate and its private key, one is named alone";
            return Err(Fault::usage(what, "name both, with --cert and --key"));
        }
        if self.status_payloads && self.status.is_none() {
            let what = "payloads are to be shown, and there is no status page";
            return Err(Fault::usage(what, "name its address with --status"));
        }
        if [&self.broker, &self.tls_broker].into_iter().flatten().any(|broker| self.is_own(broker))
        {
            let what = "the broker is where the proxy listens: it would connect to itself";
            return Err(Fault::usage(what, "name another port with --listen"));
        }
        if let Some(twice) = self.listened_on_twice() {
            let what = format!("{twice} would be listened on twice");
            return Err(Fault::usage(what, "name another address"));
        }
        Ok(self)
    }

    /// An address that clients or the status page cannot have beside each other.
    fn listened_on_twice(&self) -> Option<Listen> {
        let all: Vec<_> = self.listen.iter().cloned().chain(self.status.map(Listen::Tcp)).collect();
        let free = |listen: &Listen| matches!(listen, Listen::Tcp(address) if address.port() == 0);
        let mut rest = all.as_slice();
        while let Some((listen, others)) = rest.split_first() {
            if others.contains(listen) && !free(listen) {
                return Some(listen.clone());
            }
            rest = others;
        }
        None
    }

    /// The links to the broker, if there is any.
    pub(super) const fn links(&self) -> Option<Links> {
        match (&self.broker, &self.tls_broker) {
            (Some(_), Some(_)) => Some(Links::Both),
            (Some(_), None) => Some(Links::Tcp),
            (None, Some(_)) => Some(Links::Tls),
            (None, None) => None,
        }
    }

    /// Whether the proxy itself would be found there.
    fn is_own(&self, (host, port): &HostPort) -> bool {
        let address = host.parse::<IpAddr>();
        let local = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        let listens = |listen: &Listen| match listen {
            Listen::Tcp(address) => address.port() == *port,
            _ => false,
        };
        local && self.listen.iter().any(listens)
    }

    /// The options of the proxy, but for the store. Reads certificates.
    pub(super) fn options(&self) -> Result<ProxyOptions, Fault> {
        let mut options = ProxyOptions::new().max_connections(self.max_connections);
        for listen in &self.listen {
            options = options.listen(listen.clone());
        }
        if let Some((host, port)) = &self.broker {
            options = options.broker(host, *port);
        }
        if let Some((host, port)) = &self.tls_broker {
            options = match device::read(self.device.as_deref())? {
                Some(device) => options
                    .tls_broker(host, *port, &self.tls.by_peer()?)
                    .require_peer_auth(device.auth()?),
                None => options.tls_broker(host, *port, &self.tls.config()?),
            };
        }
        if let Some(address) = self.status {
            options = options.status(address, self.status_payloads);
        }
        if let Some(bytes) = self.max_packet {
            options = options.max_packet(bytes);
        }
        if let Some(suffix) = &self.plain_suffix {
            options = options.plain_suffix(suffix);
        }
        Ok(self.dangers(options))
    }

    fn dangers(&self, mut options: ProxyOptions) -> ProxyOptions {
        if self.listen_anywhere {
            options = options.danger_listen_anywhere();
        }
        if self.credentials_in_clear {
            options = options.danger_credentials_in_clear();
        }
        if self.forward_bare_deletes {
            options = options.danger_forward_bare_deletes();
        }
        options
    }
}

/// A setting that flag and file may name.
struct Choice {
    name: &'static str,
    flag: Option<String>,
    written: Option<Written>,
    path: PathBuf,
}

impl Choice {
    fn map<T>(self, read: impl Fn(&Given<'_>) -> Result<T, Fault>) -> Result<Option<T>, Fault> {
        let name = self.name;
        match (&self.flag, &self.written) {
            (Some(text), _) => read(&Given { text, name, whence: None }).map(Some),
            (None, Some(Written { value: text, at })) => {
                read(&Given { text, name, whence: Some((&self.path, *at)) }).map(Some)
            }
            (None, None) => Ok(None),
        }
    }
}

fn read(path: &Path) -> Result<ProxyFile, Fault> {
    proxy_file::read(path).map_err(|error| Fault::told(&error, "check the file"))
}

fn on(flag: Option<bool>) -> bool {
    flag.unwrap_or_default()
}

fn number(flag: Option<u32>) -> Option<usize> {
    flag.map(|number| usize::try_from(number).unwrap_or(usize::MAX))
}

/// The listeners of the flags, else of the file, else the usual one.
fn listeners(flags: &[String], file: &[Written], path: &Path) -> Result<Vec<Listen>, Fault> {
    let name = "listen";
    let all: Vec<Given<'_>> = match (flags, file) {
        ([], []) => vec![Given { text: LISTEN, name, whence: None }],
        ([], file) => {
            let whence = |written: &Written| Some((path, written.at));
            file.iter()
                .map(|text| Given { text: &text.value, name, whence: whence(text) })
                .collect()
        }
        (flags, _) => flags.iter().map(|text| Given { text, name, whence: None }).collect(),
    };
    let read = |given: &Given<'_>| {
        let fix = "write 127.0.0.1:1883, [::1]:1883 or unix:PATH";
        Listen::parse(given.text).ok_or_else(|| given.fault("is no address to listen on", fix))
    };
    all.iter().map(read).collect()
}

/// The pins of the flags, else of the file.
fn pins(
    flags: &TlsArgs,
    file: &[Written],
    path: &Path,
) -> Result<Vec<mqtt_seal::tls::SpkiPin>, Fault> {
    if !flags.pin.is_empty() {
        return Ok(flags.pin.clone());
    }
    let read = |Written { value: text, at }: &Written| {
        let given = Given { text, name: "pin", whence: Some((path, *at)) };
        let fix = "write sha256/ and 44 characters of base64, as mqtt-seal certs check prints it";
        text.parse().map_err(|_| given.fault("is no pin", fix))
    };
    file.iter().map(read).collect()
}

/// A host and a port: `broker.example:8883`, `10.0.0.1:1883`, `[::1]:1883`.
fn host_port(given: &Given<'_>) -> Result<HostPort, Fault> {
    let parts = given.text.rsplit_once(':').and_then(|(host, port)| {
        let port = u16::from_str(port).ok().filter(|port| *port != 0)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        // an address of version 6 needs its brackets
        (!host.is_empty() && (bare.is_some() || !host.contains(':'))).then(|| (host.into(), port))
    });
    parts.ok_or_else(|| given.fault("is no broker", "write HOST:PORT, as in localhost:1883"))
}

fn status(given: &Given<'_>) -> Result<SocketAddr, Fault> {
    let fix = "write 127.0.0.1:9883 or [::1]:9883";
    given.text.parse().map_err(|_| given.fault("is no address of a page", fix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_a_host_and_a_port() {
        let read = |text| host_port(&Given { text, name: "broker", whence: None }).ok();
        let broker = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(read("localhost:1883"), broker("localhost", 1883));
        assert_eq!(read("10.0.0.1:8883"), broker("10.0.0.1", 8883));
        assert_eq!(read("[::1]:1883"), broker("::1", 1883));
        for text in ["", "localhost", ":1883", "localhost:0", "localhost:x", "::1:1883", "[]:1"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
