//! A device's own file as TOML: who it is, who its authority is, and the key that the two share.
//! Shows no key, whatever is wrong.
//!
//! ```toml
//! realm = "acme-prod"                  # at most 64 bytes
//! device = "pump-7"                    # the device's id
//! authority = "authority"              # that of its authority
//! prefix = "acme"                      # its updates come on acme/keys/pump-7
//! request = "acme/auth/req"            # where the authority is asked
//! response = "acme/auth/pump-7/res"    # where it answers
//! pins = ["sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]
//!                                      # TLS keys that its broker may have; may be left out
//! key = "3q2+78r+ur7erb7vyv66vt6tvu/K/rq+3q2+78r+ur4="
//!                                      # the pairwise key: base64 with padding, 32 bytes
//! ```

mod error;

use alloc::{format, string::String, vec::Vec};
use core::fmt;
use std::path::Path;

use base64ct::{Base64, Encoding};
use zeroize::{Zeroize, Zeroizing};

pub use error::{DeviceFault, DeviceFileError};

use super::key_file::{self, ENCODED_LEN, KeyFault, WriteKeyFileError, quoted};
use super::position::Located;
use super::section::{Section, Slip, document};
use crate::peer::{
    BrokerName, MAX_PINS, NameError, Names, PeerId, PeerKey, SpkiHash, parse_pin, pin_text,
};
use crate::schedule::{RealmError, check_realm};
use crate::secret::SharedKey;
use crate::topic::{TopicError, TopicName};
use crate::update::{Receiver, Topics};

const KEYS: &[&str] =
    &["realm", "device", "authority", "prefix", "request", "response", "pins", "key"];
const HEAD: &str =
    "# Whoever can read this file is the device: keep it to its owner (mode 0600).\n";

type Parsed<T> = Result<T, Located<DeviceFault>>;

/// What a device has to know of its authority before it hears from it.
///
/// Not `Clone`, and `Debug` prints no key.
///
/// ```
/// use mqtt_seal::secret::SharedKey;
/// use mqtt_seal::store::device_file::DeviceFile;
/// use mqtt_seal::store::ledger_file::Settings;
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("pump-7.toml");
/// let settings = Settings::new("acme-prod", "authority", "acme")?;
/// let key = SharedKey::take(&mut [7; 32]); // 32 random bytes, which the ledger has too
/// DeviceFile::new(&settings, "pump-7", key)?.write_new(&path)?;
///
/// let device = DeviceFile::read(&path)?; // at the device
/// assert_eq!(device.updates(None)?.topics().keys(), "acme/keys/pump-7");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DeviceFile {
    realm: String,
    device: String,
    authority: String,
    prefix: String,
    request: String,
    response: String,
    pins: Vec<SpkiHash>,
    key: SharedKey,
}

impl DeviceFile {
    /// The file of a device of the authority with `settings`.
    ///
    /// # Errors
    /// [`DeviceFault::Id`], [`DeviceFault::Topic`] if `device` is no id.
    #[cfg(feature = "store")]
    pub fn new(
        settings: &super::ledger_file::Settings,
        device: &str,
        key: SharedKey,
    ) -> Result<Self, DeviceFault> {
        let id = PeerId::parse(device).map_err(DeviceFault::Id)?;
        settings.topics(id).map_err(DeviceFault::Topic)?;
        Ok(Self {
            realm: settings.realm().into(),
            device: device.into(),
            authority: settings.authority().into(),
            prefix: settings.prefix().into(),
            request: settings.request(),
            response: settings.response(device),
            pins: Vec::new(),
            key,
        })
    }

    /// With the TLS keys that the device's broker may have, by
    /// [`SpkiPin::to_bytes`](crate::tls::SpkiPin::to_bytes), in the place of those before. A device
    /// connects to a broker with one of them without a probe, which may so refuse clients without a
    /// password.
    ///
    /// # Errors
    /// [`DeviceFault::TooManyPins`].
    // SPEC §9, "needs the pin in the grant"
    pub fn with_pins(mut self, pins: Vec<SpkiHash>) -> Result<Self, DeviceFault> {
        if pins.len() > MAX_PINS {
            return Err(DeviceFault::TooManyPins);
        }
        self.pins = pins;
        Ok(self)
    }

    /// The file that `text` is. `text` is wiped and empty afterwards, whatever the outcome.
    ///
    /// # Errors
    /// [`DeviceFileError::Invalid`] with the first thing that is wrong, and its place.
    pub fn parse(text: &mut String) -> Result<Self, DeviceFileError> {
        let file = from_text(text).map_err(|fault| DeviceFileError::invalid(None, text, fault));
        text.zeroize();
        file
    }

    /// The file at `path`, to which nobody but its owner may have access.
    ///
    /// # Errors
    /// [`DeviceFileError::File`]; [`DeviceFileError::Invalid`] with the first thing that is wrong,
    /// and its place.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, DeviceFileError> {
        let path = path.as_ref();
        let bytes = key_file::load(path).map_err(DeviceFileError::File)?;
        let invalid = |text, fault| DeviceFileError::invalid(Some(path), text, fault);
        match core::str::from_utf8(&bytes) {
            Ok(text) => from_text(text).map_err(|fault| invalid(text, fault)),
            Err(error) => {
                let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
                let good = core::str::from_utf8(good).unwrap_or_default();
                let fault = DeviceFault::Setting(KeyFault::NotUtf8);
                Err(invalid(good, Located::new(good.len(), fault)))
            }
        }
    }

    /// Writes it to a new file at `path`, as [`key_file::write_new`] does: for its owner alone, and
    /// never in the place of another.
    ///
    /// # Errors
    /// [`WriteKeyFileError`].
    pub fn write_new(&self, path: impl AsRef<Path>) -> Result<(), WriteKeyFileError> {
        let mut buffer = Zeroizing::new([0; ENCODED_LEN]);
        // the buffer has exactly the length that a key needs
        let key = Base64::encode(self.key.expose(), &mut *buffer).unwrap_or_default();
        let settings = self.texts().map(|(name, text)| line(name, text));
        let settings: String = settings.chain([pins_line(&self.pins)]).collect();
        let len = [HEAD, &settings, "key = \"\"\n", key].map(str::len).iter().sum();
        // room for all of it, so that no copy stays behind
        let mut text = Zeroizing::new(String::with_capacity(len));
        for part in [HEAD, &settings, "key = \"", key, "\"\n"] {
            text.push_str(part);
        }
        key_file::write_text(path.as_ref(), &text)
    }

    fn texts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let Self { realm, device, authority, prefix, request, response, .. } = self;
        let texts = [realm, device, authority, prefix, request, response];
        KEYS.iter().copied().zip(texts.map(String::as_str))
    }

    /// The realm.
    #[must_use]
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// The device's id.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }

    /// The authority's id.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What the topics of its updates begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The topic on which the authority is asked.
    #[must_use]
    pub fn request(&self) -> &str {
        &self.request
    }

    /// The topic on which it answers.
    #[must_use]
    pub fn response(&self) -> &str {
        &self.response
    }

    /// The TLS keys that the device's broker may have, for `client::PeerAuth::pins`; none, if the
    /// authority is to be asked for them.
    #[must_use]
    pub fn pins(&self) -> &[SpkiHash] {
        &self.pins
    }

    /// The key that the device and its authority share, for `client::KeyUpdates`.
    #[must_use]
    pub const fn key(&self) -> &SharedKey {
        &self.key
    }

    /// The key for peer authentication.
    ///
    /// # Errors
    /// None for a file that was read.
    pub fn peer_key(&self) -> Result<PeerKey, RealmError> {
        PeerKey::pairwise(&self.key, &self.realm)
    }

    /// The names of a run of peer authentication over `broker`.
    ///
    /// # Errors
    /// [`DeviceFault::Id`] if `broker` is none; nothing else for a file that was read.
    pub fn names<'a>(&'a self, broker: &'a str) -> Result<Names<'a>, DeviceFault> {
        let topic = |text| TopicName::parse(text).map_err(DeviceFault::Topic);
        Ok(Names {
            device: PeerId::parse(&self.device).map_err(DeviceFault::Id)?,
            authority: PeerId::parse(&self.authority).map_err(DeviceFault::Id)?,
            broker: BrokerName::parse(broker).map_err(DeviceFault::Id)?,
            request: topic(&self.request)?,
            response: topic(&self.response)?,
        })
    }

    /// What takes the device's updates; `serial` is the highest that it has stored.
    ///
    /// # Errors
    /// None for a file that was read.
    pub fn updates(&self, serial: Option<u64>) -> Result<Receiver, DeviceFault> {
        let device = PeerId::parse(&self.device).map_err(DeviceFault::Id)?;
        let topics = Topics::new(&self.prefix, device).map_err(DeviceFault::Topic)?;
        let receiver = Receiver::new(&self.key, &self.realm, device, topics, serial);
        receiver.map_err(|error| DeviceFault::Setting(KeyFault::Realm(error)))
    }
}

fn line(name: &str, text: &str) -> String {
    format!("{name} = {}\n", quoted(text))
}

/// The line of pins, if there are any.
fn pins_line(pins: &[SpkiHash]) -> String {
    if pins.is_empty() {
        return String::new();
    }
    let pins: Vec<String> = pins.iter().map(|pin| quoted(&pin_text(pin))).collect();
    format!("pins = [{}]\n", pins.join(", "))
}

impl fmt::Debug for DeviceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceFile")
            .field("realm", &self.realm)
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

fn from_text(text: &str) -> Parsed<DeviceFile> {
    // an error of the parser keeps a copy of its whole text, which nobody wipes
    let syntax = |error: Located<toml::de::Error>| {
        Located::new(error.at, DeviceFault::Setting(KeyFault::Syntax))
    };
    document(&key_file::without_keys(text)).map(drop).map_err(syntax)?;
    let document = document(text).map_err(syntax)?;
    let section = Section::new(0, document.get_ref());
    section.check_keys(KEYS).map_err(setting)?;
    let realm = text_of(section, "realm", |realm| {
        check_realm(realm).map_err(|error| DeviceFault::Setting(KeyFault::Realm(error)))
    })?;
    let device = text_of(section, "device", id)?;
    let authority = text_of(section, "authority", id)?;
    let prefix = text_of(section, "prefix", |prefix| {
        let device = PeerId::parse(&device).map_err(DeviceFault::Id)?;
        Topics::new(prefix, device).map(drop).map_err(DeviceFault::Topic)
    })?;
    let request = text_of(section, "request", topic)?;
    let response = text_of(section, "response", topic)?;
    let pins = pins_of(section)?;
    let mut key = key_file::key(section)
        .map_err(|fault| Located::new(fault.at, DeviceFault::Setting(fault.what)))?;
    let key = SharedKey::take(&mut key);
    Ok(DeviceFile { realm, device, authority, prefix, request, response, pins, key })
}

fn setting(slip: Located<Slip<'_>>) -> Located<DeviceFault> {
    let fault: Located<KeyFault> = slip.into();
    Located::new(fault.at, DeviceFault::Setting(fault.what))
}

/// A text that `check` has nothing against.
fn text_of(
    section: Section<'_>,
    name: &'static str,
    check: impl FnOnce(&str) -> Result<(), DeviceFault>,
) -> Parsed<String> {
    let found = section.need(name).map_err(setting)?;
    let text = found.text().map_err(setting)?;
    check(text).map_err(|fault| Located::new(found.at, fault))?;
    Ok(text.into())
}

/// The pins, if the section names any.
fn pins_of(section: Section<'_>) -> Parsed<Vec<SpkiHash>> {
    let Some(found) = section.get("pins") else { return Ok(Vec::new()) };
    let texts = found.texts().map_err(setting)?;
    if let Some(first) = texts.get(MAX_PINS) {
        return Err(Located::new(first.at, DeviceFault::TooManyPins));
    }
    let pin = |text: &Located<&str>| {
        parse_pin(text.what).ok_or_else(|| Located::new(text.at, DeviceFault::Pin))
    };
    texts.iter().map(pin).collect()
}

fn id(text: &str) -> Result<(), DeviceFault> {
    PeerId::parse(text).map(drop).map_err(|error: NameError| DeviceFault::Id(error))
}

fn topic(text: &str) -> Result<(), DeviceFault> {
    let topic = TopicName::parse(text).and_then(TopicName::subscribable);
    topic.map(drop).map_err(|error: TopicError| DeviceFault::Topic(error))
}

#[cfg(test)]
mod tests;
