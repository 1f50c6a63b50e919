//! The settings of a proxy as TOML. Knows their names and shapes; what an address or a pin means is
//! others' affair.
//!
//! Every setting may be missing. Relative paths are relative to the file:
//!
//! ```toml
//! listen = ["127.0.0.1:1883"]          # or "[::1]:1883" or "unix:mqtt.sock"
//! tls_broker = "broker.example:8883"
//! broker = "broker.example:1883"       # by plain TCP
//! cafile = "ca.pem"                    # how the broker by TLS is verified
//! capath = "cas"
//! tls_use_os_certs = false
//! pin = ["sha256/…"]
//! device = "proxy-7.toml"              # or by the authority of this device
//! cert = "client.pem"                  # what the proxy shows of itself
//! key = "client.key"
//! keys = "keys.toml"
//! policy = "policy.toml"
//! store = "outbox"
//! status = "127.0.0.1:9883"
//! status_payloads = false
//! max_packet = 16777216                # bytes
//! max_connections = 10000
//! plain_suffix = "-tcp"
//! danger_listen_anywhere = false
//! danger_credentials_in_clear = false
//! danger_forward_bare_deletes = false
//! log = "text"                         # or "json"
//! log_level = "info"                   # "error", "warn", "info", "debug" or "trace"
//! ```
//!
//! ```
//! use mqtt_seal::store::proxy_file;
//!
//! let text = "broker = \"localhost:1883\"\nkeys = \"keys.toml\"\n";
//! let file = proxy_file::parse(text, "/etc/mqtt-seal")?;
//! assert_eq!(file.broker.unwrap().value, "localhost:1883");
//! assert_eq!(file.keys.unwrap(), std::path::Path::new("/etc/mqtt-seal/keys.toml"));
//! # Ok::<(), proxy_file::ProxyFileError>(())
//! ```

mod error;

use alloc::{format, string::String, vec::Vec};
use std::fs;
use std::path::{Path, PathBuf};

pub use error::{ProxyFault, ProxyFileError};

use super::position::{Located, Position};
use super::section::{Section, Setting, document};

const KEYS: &[&str] = &[
    "listen",
    "broker",
    "tls_broker",
    "cafile",
    "capath",
    "tls_use_os_certs",
    "pin",
    "device",
    "cert",
    "key",
    "keys",
    "policy",
    "store",
    "status",
    "status_payloads",
    "max_packet",
    "max_connections",
    "plain_suffix",
    "danger_listen_anywhere",
    "danger_credentials_in_clear",
    "danger_forward_bare_deletes",
    "log",
    "log_level",
];
/// The formats of the log.
pub const LOGS: &[&str] = &["text", "json"];
/// What the log has, from the least to the most.
pub const LOG_LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];
/// Stands before the path of a Unix socket.
const UNIX: &str = "unix:";

/// A text, and where it stands: for whoever finds that it means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "it says no more")]
pub struct Written {
    /// The text.
    pub value: String,
    /// Where it stands in the file.
    pub at: Position,
}

/// The settings of a proxy that a file names. What it does not name is `None`, or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyFile {
    /// Where clients are listened for.
    pub listen: Vec<Written>,
    /// The broker by plain TCP.
    pub broker: Option<Written>,
    /// The broker by TLS.
    pub tls_broker: Option<Written>,
    /// A file with CA certificates.
    pub cafile: Option<PathBuf>,
    /// A folder of such files.
    pub capath: Option<PathBuf>,
    /// Whether those are trusted whom the system trusts.
    pub tls_use_os_certs: Option<bool>,
    /// Public keys of the broker.
    pub pin: Vec<Written>,
    /// The proxy's own device file.
    pub device: Option<PathBuf>,
    /// The client certificate.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// The key file.
    pub keys: Option<PathBuf>,
    /// The policy file.
    pub policy: Option<PathBuf>,
    /// The store of messages that are not acknowledged.
    pub store: Option<PathBuf>,
    /// Where the status page is.
    pub status: Option<Written>,
    /// Whether it shows payloads.
    pub status_payloads: Option<bool>,
    /// Bytes of the largest packet.
    pub max_packet: Option<usize>,
    /// Connections at a time.
    pub max_connections: Option<usize>,
    /// What is appended to client IDs on the plain link.
    pub plain_suffix: Option<String>,
    /// Whether other machines may connect.
    pub danger_listen_anywhere: Option<bool>,
    /// Whether user names and passwords may go by plain TCP.
    pub danger_credentials_in_clear: Option<bool>,
    /// Whether empty messages pass on sealed topics.
    pub danger_forward_bare_deletes: Option<bool>,
    /// The format of the log: one of [`LOGS`].
    pub log: Option<&'static str>,
    /// How much it has: one of [`LOG_LEVELS`].
    pub log_level: Option<&'static str>,
}

type Parsed<T> = Result<T, Located<ProxyFault>>;

/// The settings in `text`, with paths relative to `folder`.
///
/// # Errors
/// [`ProxyFileError::Invalid`] with the first thing that is wrong, and its place.
pub fn parse(text: &str, folder: impl AsRef<Path>) -> Result<ProxyFile, ProxyFileError> {
    settings(text, folder.as_ref()).map_err(|fault| ProxyFileError::invalid(None, text, fault))
}

/// The settings in the file at `path`, with paths relative to it.
///
/// # Errors
/// [`ProxyFileError::Unreadable`]; [`ProxyFileError::Invalid`] with the first thing that is wrong,
/// and its place.
pub fn read(path: impl AsRef<Path>) -> Result<ProxyFile, ProxyFileError> {
    let path = path.as_ref();
    let bytes = fs::read(path)
        .map_err(|error| ProxyFileError::Unreadable { path: path.into(), kind: error.kind() })?;
    let invalid = |text, fault| ProxyFileError::invalid(Some(path), text, fault);
    let folder = path.parent().unwrap_or(path);
    match core::str::from_utf8(&bytes) {
        Ok(text) => settings(text, folder).map_err(|fault| invalid(text, fault)),
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let good = core::str::from_utf8(good).unwrap_or_default();
            Err(invalid(good, Located::new(good.len(), ProxyFault::NotUtf8)))
        }
    }
}

fn settings(text: &str, folder: &Path) -> Parsed<ProxyFile> {
    let document = document(text).map_err(|error| {
        let message = error.what.message().into();
        Located::new(error.at, ProxyFault::Syntax { message })
    })?;
    let section = Section::new(0, document.get_ref());
    section.check_keys(KEYS)?;
    let reader = Reader { text, folder, section };
    Ok(ProxyFile {
        listen: reader.listeners()?,
        broker: reader.written("broker")?,
        tls_broker: reader.written("tls_broker")?,
        cafile: reader.path("cafile")?,
        capath: reader.path("capath")?,
        tls_use_os_certs: reader.flag("tls_use_os_certs")?,
        pin: reader.all_written("pin")?,
        device: reader.path("device")?,
        cert: reader.path("cert")?,
        key: reader.path("key")?,
        keys: reader.path("keys")?,
        policy: reader.path("policy")?,
        store: reader.path("store")?,
        status: reader.written("status")?,
        status_payloads: reader.flag("status_payloads")?,
        max_packet: reader.number("max_packet")?,
        max_connections: reader.number("max_connections")?,
        plain_suffix: reader.written("plain_suffix")?.map(|written| written.value),
        danger_listen_anywhere: reader.flag("danger_listen_anywhere")?,
        danger_credentials_in_clear: reader.flag("danger_credentials_in_clear")?,
        danger_forward_bare_deletes: reader.flag("danger_forward_bare_deletes")?,
        log: reader.choice("log", LOGS)?,
        log_level: reader.choice("log_level", LOG_LEVELS)?,
    })
}

struct Reader<'t> {
    text: &'t str,
    folder: &'t Path,
    section: Section<'t>,
}

impl<'t> Reader<'t> {
    /// What `read` makes of the setting `key`, if there is one.
    fn get<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(Setting<'t>) -> Parsed<T>,
    ) -> Parsed<Option<T>> {
        self.section.get(key).map(read).transpose()
    }

    fn flag(&self, key: &'static str) -> Parsed<Option<bool>> {
        self.get(key, |setting| Ok(setting.flag()?))
    }

    fn path(&self, key: &'static str) -> Parsed<Option<PathBuf>> {
        self.get(key, |setting| Ok(self.folder.join(setting.text()?)))
    }

    fn written(&self, key: &'static str) -> Parsed<Option<Written>> {
        self.get(key, |setting| {
            let value = setting.text()?.into();
            Ok(Written { value, at: Position::of(self.text, setting.at) })
        })
    }

    fn all_written(&self, key: &'static str) -> Parsed<Vec<Written>> {
        let written = |text: &Located<&str>| Written {
            value: text.what.into(),
            at: Position::of(self.text, text.at),
        };
        let all = self.get(key, |setting| Ok(setting.texts()?.iter().map(written).collect()))?;
        Ok(all.unwrap_or_default())
    }

    /// Listeners, with the paths of Unix sockets relative to the file.
    fn listeners(&self) -> Parsed<Vec<Written>> {
        let mut all = self.all_written("listen")?;
        for written in &mut all {
            if let Some(path) = written.value.strip_prefix(UNIX).filter(|path| !path.is_empty()) {
                written.value = format!("{UNIX}{}", self.folder.join(path).display());
            }
        }
        Ok(all)
    }

    fn number(&self, key: &'static str) -> Parsed<Option<usize>> {
        self.get(key, |setting| {
            let number = usize::try_from(setting.number()?).ok().filter(|number| *number > 0);
            number.ok_or_else(|| Located::new(setting.at, ProxyFault::OutOfRange { key }))
        })
    }

    fn choice(
        &self,
        key: &'static str,
        names: &'static [&'static str],
    ) -> Parsed<Option<&'static str>> {
        self.get(key, |setting| Ok(setting.choice(names, names)?))
    }
}

#[cfg(test)]
mod tests;
