//! What an authority has to remember beside its keys: who has which sender number, and when a
//! generation was drawn. Knows no key.

use alloc::{borrow::ToOwned, string::String, vec::Vec};
use core::fmt;

use super::edit::{EditError, KeyFile};
use super::{KeyFault, Parsed};
use crate::store::moment::Unit;
use crate::store::position::Located;
use crate::store::section::Section;
use crate::wire::SenderNumber;

/// Longest name of a device in bytes: as long as the longest realm.
pub const MAX_DEVICE_LEN: usize = 64;

const KEYS: &[&str] = &["sender", "device"];

/// A sender number that was given away, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Allotted {
    pub(super) sender: SenderNumber,
    pub(super) device: String,
}

/// Why a device is given no sender number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AllotError {
    /// The name is empty, longer than [`MAX_DEVICE_LEN`], or contains a control character.
    Device,
    /// All numbers are given away.
    NoNumberLeft,
}

impl fmt::Display for AllotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device => write!(
                f,
                "the name of a device has 1 to {MAX_DEVICE_LEN} bytes and no control characters: \
                 choose another"
            ),
            Self::NoNumberLeft => {
                f.write_str("all sender numbers are given away: begin a new realm")
            }
        }
    }
}

impl core::error::Error for AllotError {}

impl KeyFile {
    /// Gives `device` a sender number that nobody has or had, and records it in this file: one more
    /// than the greatest so far. A device that has one already is given another; see
    /// [`KeyFile::sender_of`]. Write the file before the number is used.
    ///
    /// ```
    /// use mqtt_seal::store::key_file::KeyFile;
    ///
    /// let mut authority = KeyFile::generate("acme-prod", &mut getrandom::SysRng)?;
    /// let pump = authority.allot("pump-7")?;
    /// assert_eq!(authority.sender_of("pump-7"), Some(pump));
    /// assert_ne!(authority.allot("pump-8")?, pump);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`AllotError::Device`], [`AllotError::NoNumberLeft`]; nothing changes then.
    // SPEC §2, "SND unique"; never used again, in whatever generation
    pub fn allot(&mut self, device: &str) -> Result<SenderNumber, AllotError> {
        if !is_device(device) {
            return Err(AllotError::Device);
        }
        let own = self.grants().filter_map(crate::keyring::Grant::sender);
        let greatest = self.allotted.iter().map(|allotted| allotted.sender).chain(own).max();
        let next = greatest.map_or(Some(0), |greatest| greatest.get().checked_add(1));
        let sender = next.and_then(SenderNumber::new).ok_or(AllotError::NoNumberLeft)?;
        self.allotted.push(Allotted { sender, device: device.to_owned() });
        Ok(sender)
    }

    /// The newest sender number of `device`.
    #[must_use]
    pub fn sender_of(&self, device: &str) -> Option<SenderNumber> {
        let mut given = self.allotted.iter().rev();
        given.find(|allotted| allotted.device == device).map(|allotted| allotted.sender)
    }

    /// Every sender number that was given away, and to whom, the oldest first.
    pub fn allotted(&self) -> impl Iterator<Item = (SenderNumber, &str)> {
        self.allotted.iter().map(|allotted| (allotted.sender, allotted.device.as_str()))
    }

    /// When the keys of `generation` were drawn, in Unix seconds, if the file says so.
    #[must_use]
    pub fn created(&self, generation: u32) -> Option<u64> {
        let of_it = self.entries.iter().filter(|entry| entry.grant.generation() == generation);
        of_it.filter_map(|entry| entry.created).min()
    }

    /// Records when the keys of `generation` were drawn, in Unix seconds.
    ///
    /// # Errors
    /// [`EditError::NotAfter`] if that is not in the years from 1970 to 9999;
    /// [`EditError::UnknownGeneration`].
    pub fn set_created(&mut self, generation: u32, second: u64) -> Result<(), EditError> {
        let number =
            i64::try_from(second).ok().and_then(|second| Unit::Seconds.number(second).ok());
        let second = number.ok_or(EditError::NotAfter)?;
        self.check_generation(generation)?;
        for entry in &mut self.entries {
            if entry.grant.generation() == generation {
                entry.created = Some(second);
            }
        }
        Ok(())
    }
}

/// The `[[allotted]]` of `sections`, of which no two have the same number.
pub(super) fn allotted(sections: &[Section<'_>]) -> Parsed<Vec<Allotted>> {
    let mut all: Vec<Allotted> = Vec::with_capacity(sections.len());
    for section in sections {
        section.check_keys(KEYS)?;
        let setting = section.need("sender")?;
        let sender = super::grant::sender(setting)?;
        if all.iter().any(|other| other.sender == sender) {
            return Err(Located::new(setting.at, KeyFault::SenderTwice));
        }
        let setting = section.need("device")?;
        let device = setting.text()?;
        if !is_device(device) {
            return Err(Located::new(setting.at, KeyFault::Device));
        }
        all.push(Allotted { sender, device: device.to_owned() });
    }
    Ok(all)
}

fn is_device(name: &str) -> bool {
    (1..=MAX_DEVICE_LEN).contains(&name.len()) && !name.contains(char::is_control)
}
