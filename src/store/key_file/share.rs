//! Key files for devices, cut from that of an authority. Knows what a device need not have.

use alloc::vec::Vec;
use core::fmt;

use super::KeyFault;
use super::edit::KeyFile;
use super::entry::{Contradiction, Entry};
use super::grant::{check_level, check_name, check_size};
use crate::keyring::{Grant, ScopeRef};
use crate::suite::Suite;
use crate::topic::PathScope;
use crate::wire::SenderNumber;

/// What a device is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Share<'a> {
    /// The node at a path of at least one level: every path scope at or below it.
    Node(PathScope<'a>),
    /// One scope under one suite.
    Scope(ScopeRef<'a>, Suite),
}

/// Why there is no key file for a device. Shares are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShareError {
    /// No share was named.
    Nothing,
    /// The path or the name of a share cannot stand in a key file.
    Invalid {
        /// The share.
        share: usize,
        /// What is wrong with it.
        fault: KeyFault,
    },
    /// The node of the whole realm has the bytes of its root key.
    WholeRealm {
        /// The share.
        share: usize,
    },
    /// No grant of the file covers a share.
    NotCovered {
        /// The share.
        share: usize,
    },
    /// The sender number is that of the file's own holder.
    SenderTaken {
        /// The number.
        sender: u32,
    },
    /// Two grants of one generation give different keys for a share.
    TwoKeys {
        /// The share.
        share: usize,
        /// The generation.
        generation: u32,
    },
    /// Active grants of two generations cover a share.
    TwoActive {
        /// The share.
        share: usize,
    },
}

impl fmt::Display for ShareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("a device needs a key: name a node or a scope"),
            Self::Invalid { share, fault } => write!(f, "share {share}: {fault}"),
            Self::WholeRealm { share } => write!(
                f,
                "share {share}: a node of no levels is the root key: name at least one level"
            ),
            Self::NotCovered { share } => write!(
                f,
                "share {share}: no grant of the file covers it: cut it from a file that holds more"
            ),
            Self::SenderTaken { sender } => {
                write!(f, "sender number {sender} belongs to the holder of the file: allot another")
            }
            Self::TwoKeys { share, generation } => write!(
                f,
                "share {share}: two keys of generation {generation} cover it: remove one of them"
            ),
            Self::TwoActive { share } => write!(
                f,
                "share {share}: two active generations cover it: make one of them retiring first"
            ),
        }
    }
}

impl core::error::Error for ShareError {}

impl KeyFile {
    /// The file of a device that is to have `shares`: for each of them its keys in every generation
    /// of this file, in the state that the generation has here, and nothing more. With `sender` the
    /// device can seal in compact form; the number must never have been given to another sender
    /// below the same grants: [`KeyFile::allot`] gives one and remembers it.
    ///
    /// ```
    /// use mqtt_seal::keyring::ScopeRef;
    /// use mqtt_seal::store::key_file::{KeyFile, Share};
    /// use mqtt_seal::topic::TopicName;
    /// use mqtt_seal::Suite;
    ///
    /// let authority = KeyFile::generate("acme-prod", &mut getrandom::SysRng)?;
    /// let node = Share::Node(TopicName::parse("plant/a")?.path(2));
    /// let scope = Share::Scope(ScopeRef::Named("temps"), Suite::default());
    /// let device = authority.grant_for(&[node, scope], None)?;
    /// assert_eq!(device.grants().count(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// For each share in turn [`ShareError::Invalid`], [`ShareError::WholeRealm`],
    /// [`ShareError::SenderTaken`], [`ShareError::TwoKeys`], [`ShareError::TwoActive`],
    /// [`ShareError::NotCovered`]; at last [`ShareError::Nothing`].
    // SPEC §4, "Give a device a node or a scope key, never the shared key"
    pub fn grant_for(
        &self,
        shares: &[Share<'_>],
        sender: Option<SenderNumber>,
    ) -> Result<Self, ShareError> {
        // room for all of them, so that no copy stays behind
        let room = shares.len().saturating_mul(self.entries.len());
        let mut entries = Vec::with_capacity(room);
        for (number, share) in (1..).zip(shares) {
            share.check(number)?;
            let grants = self.grants().filter_map(|grant| share.of(grant));
            let mut covered = false;
            for (grant, source) in grants {
                covered = true;
                if let Some(sender) = sender.filter(|sender| source.sender() == Some(*sender)) {
                    return Err(ShareError::SenderTaken { sender: sender.get() });
                }
                let grant = match sender {
                    Some(sender) => grant.with_sender(sender),
                    None => grant,
                };
                enter(&mut entries, Entry { shared: None, grant, created: None }, number)?;
            }
            if !covered {
                return Err(ShareError::NotCovered { share: number });
            }
        }
        if entries.is_empty() {
            return Err(ShareError::Nothing);
        }
        Ok(Self { realm: self.realm.clone(), entries, allotted: Vec::new() })
    }
}

impl Share<'_> {
    /// What of `grant` this share is, beside the grant.
    fn of<'g>(&self, grant: &'g Grant) -> Option<(Grant, &'g Grant)> {
        let narrowed = match self {
            Self::Node(path) => grant.narrow_to_node(*path),
            Self::Scope(scope, suite) => grant.narrow_to_scope(*scope, *suite),
        };
        narrowed.map(|narrowed| (narrowed, grant))
    }

    fn check(&self, share: usize) -> Result<(), ShareError> {
        let checked = match self {
            Self::Node(path) if path.depth() == 0 => return Err(ShareError::WholeRealm { share }),
            Self::Node(path) | Self::Scope(ScopeRef::Path(path), _) => {
                check_size(path.as_str(), path.depth().into())
                    .and_then(|_| path.levels().try_for_each(check_level))
            }
            Self::Scope(ScopeRef::Named(name), _) => check_name(name),
        };
        checked.map_err(|fault| ShareError::Invalid { share, fault })
    }
}

/// Enters `entry`, unless it is there already: a root and a node may give the same key.
fn enter(entries: &mut Vec<Entry>, entry: Entry, share: usize) -> Result<(), ShareError> {
    match entry.contradicts(entries) {
        None => {
            entries.push(entry);
            Ok(())
        }
        Some(Contradiction::TwoActive) => Err(ShareError::TwoActive { share }),
        Some(Contradiction::SameGeneration) if entries.iter().any(|other| other.is(&entry)) => {
            Ok(())
        }
        Some(Contradiction::SameGeneration) => {
            Err(ShareError::TwoKeys { share, generation: entry.grant.generation() })
        }
    }
}
