//! Who the proxy is to its authority: the file that says so. Knows no broker.

use core::fmt;
use std::path::{Path, PathBuf};

use mqtt_seal::client::PeerAuth;
use mqtt_seal::peer::PeerId;
use mqtt_seal::store::device_file::{DeviceFile, DeviceFileError};
use mqtt_seal::store::key_file::KeyFile;
use mqtt_seal::topic::TopicName;

use crate::fault::Fault;

/// A proxy that is a device.
pub(super) struct Device {
    file: DeviceFile,
    path: PathBuf,
}

/// Reads the file at `path`, if one is named.
pub(super) fn read(path: Option<&Path>) -> Result<Option<Device>, Fault> {
    let Some(path) = path else { return Ok(None) };
    let file = DeviceFile::read(path).map_err(|error| refused(path, &error))?;
    Ok(Some(Device { file, path: path.into() }))
}

fn refused(path: &Path, error: &DeviceFileError) -> Fault {
    if matches!(error, DeviceFileError::Invalid { .. }) && KeyFile::read(path).is_ok() {
        let what = format!("{}: it has keys, and says of no device who it is", path.display());
        return Fault::new(what, "name the file that mqtt-seal authority enrol has written");
    }
    Fault::told(error, "name the file that mqtt-seal authority enrol has written")
}

impl Device {
    /// What authenticates the proxy and its authority to each other.
    pub(super) fn auth(&self) -> Result<PeerAuth, Fault> {
        let told = |error: &dyn fmt::Display| Fault::told(&error, "check the file");
        let id = |text| PeerId::parse(text).map_err(|error| told(&error));
        let topic = |text| TopicName::parse(text).map_err(|error| told(&error));
        let Self { file, .. } = self;
        Ok(PeerAuth::new(
            file.peer_key().map_err(|error| told(&error))?,
            id(file.device())?,
            id(file.authority())?,
            topic(file.request())?,
            topic(file.response())?,
        )
        .pins(file.pins()))
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, path } = self;
        let (device, realm) = (file.device(), file.realm());
        write!(f, "{}: {device} of realm {realm}, to {}", path.display(), file.authority())?;
        match file.pins().len() {
            0 => Ok(()),
            1 => f.write_str(", with the pin of its broker"),
            number => write!(f, ", with {number} pins of its broker"),
        }
    }
}
