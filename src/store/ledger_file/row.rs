//! The rows of a ledger, and their bytes. Knows no file and what no row is for.

use alloc::{string::String, vec::Vec};
use core::fmt;

use zeroize::Zeroizing;

use crate::keyring::ScopeRef;
use crate::secret::{KEY_LEN, SharedKey};
use crate::store::key_file::Share;
use crate::suite::Suite;
use crate::topic::PathScope;
use crate::wire::SenderNumber;
use crate::wire::cbor::{self, ARRAY, BYTES, Items, TEXT, UNSIGNED};

/// Bytes of the digest of what was last sent to a device.
pub const DIGEST_LEN: usize = 32;

/// Something that a device is granted, kept: see [`Share`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    kind: Kind,
    /// The levels of a path, joined by `/`, or a name.
    text: String,
    levels: u8,
    suite: Suite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Node,
    Path,
    Named,
}

const KINDS: [Kind; 3] = [Kind::Node, Kind::Path, Kind::Named];

impl Granted {
    /// Keeps `share`.
    #[must_use]
    pub fn new(share: Share<'_>) -> Self {
        let path = |path: PathScope<'_>| (path.as_str().into(), path.depth());
        let (kind, (text, levels), suite) = match share {
            Share::Node(node) => (Kind::Node, path(node), Suite::default()),
            Share::Scope(ScopeRef::Path(scope), suite) => (Kind::Path, path(scope), suite),
            Share::Scope(ScopeRef::Named(name), suite) => (Kind::Named, (name.into(), 0), suite),
        };
        Self { kind, text, levels, suite }
    }

    /// The share.
    #[must_use]
    pub fn share(&self) -> Share<'_> {
        // what was a path is one again
        let path = || PathScope::from_parts(&self.text, self.levels).unwrap_or(PathScope::REALM);
        match self.kind {
            Kind::Node => Share::Node(path()),
            Kind::Path => Share::Scope(ScopeRef::Path(path()), self.suite),
            Kind::Named => Share::Scope(ScopeRef::Named(&self.text), self.suite),
        }
    }
}

/// What was settled about a device when it was enrolled, and whether it still stands.
///
/// `Debug` prints no key.
#[derive(Debug)]
#[non_exhaustive]
pub struct DeviceRow {
    /// The key that it shares with its authority, and with nobody else.
    pub key: SharedKey,
    /// What it is granted.
    pub shares: Vec<Granted>,
    /// Whether it seals in compact form, under the sender number that the key file allots to it.
    pub compact: bool,
    /// Whether it was revoked: it is given no keys, and its challenges are not answered.
    pub revoked: bool,
    /// When it was enrolled, in Unix milliseconds.
    pub enrolled: u64,
}

impl DeviceRow {
    /// A device that is granted `shares`.
    #[must_use]
    pub const fn new(key: SharedKey, shares: Vec<Granted>, compact: bool, enrolled: u64) -> Self {
        Self { key, shares, compact, revoked: false, enrolled }
    }

    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut len = 0_usize;
        self.write(|part| len = len.saturating_add(part.len()));
        // all of it at once: what a vector leaves behind when it grows would not be wiped
        let mut bytes = Zeroizing::new(Vec::with_capacity(len));
        self.write(|part| bytes.extend_from_slice(part));
        bytes
    }

    fn write(&self, mut put: impl FnMut(&[u8])) {
        cbor::head(ARRAY, 5, &mut put);
        cbor::string(BYTES, self.key.expose(), &mut put);
        for number in [self.compact.into(), self.revoked.into(), self.enrolled] {
            cbor::head(UNSIGNED, number, &mut put);
        }
        cbor::head(ARRAY, cbor::len(&self.shares), &mut put);
        for Granted { kind, text, levels, suite } in &self.shares {
            let kind = (0..).zip(KINDS).find(|(_, other)| other == kind);
            cbor::head(ARRAY, 4, &mut put);
            cbor::head(UNSIGNED, kind.map_or(0, |(number, _)| number), &mut put);
            cbor::string(TEXT, text.as_bytes(), &mut put);
            cbor::head(UNSIGNED, (*levels).into(), &mut put);
            cbor::head(UNSIGNED, suite.id().into(), &mut put);
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut items = Items::new(bytes);
        items.expect_head(ARRAY, 5).ok()?;
        let mut key = Zeroizing::new(*items.array::<KEY_LEN>(BYTES).ok()?);
        let key = SharedKey::take(&mut key);
        let (compact, revoked) = (flag(&mut items)?, flag(&mut items)?);
        let enrolled = items.head(UNSIGNED).ok()?;
        // a wrong count ends with the bytes, before it costs memory
        let count = items.head(ARRAY).ok()?;
        let shares = (0..count).map(|_| granted(&mut items)).collect::<Option<_>>()?;
        items.is_empty().then_some(Self { key, shares, compact, revoked, enrolled })
    }
}

fn flag(items: &mut Items<'_>) -> Option<bool> {
    match items.head(UNSIGNED).ok()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn granted(items: &mut Items<'_>) -> Option<Granted> {
    items.expect_head(ARRAY, 4).ok()?;
    let kind = usize::try_from(items.head(UNSIGNED).ok()?).ok()?;
    let kind = *KINDS.get(kind)?;
    let text: String = items.text().ok()?.into();
    let levels = u8::try_from(items.head(UNSIGNED).ok()?).ok()?;
    let suite = Suite::from_id(u16::try_from(items.head(UNSIGNED).ok()?).ok()?)?;
    let good = match kind {
        Kind::Named => levels == 0,
        Kind::Node | Kind::Path => PathScope::from_parts(&text, levels).is_some(),
    };
    good.then_some(Granted { kind, text, levels, suite })
}

/// How far the updates of a device have come.
///
/// What is *offered* belongs to the newest serial; what is *known* was acknowledged. `Debug` prints
/// no key, for there is none in it.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Progress {
    /// The newest serial; 0 before the first.
    pub serial: u64,
    /// A digest of what has that serial, so that no other contents ever have it.
    pub digest: [u8; DIGEST_LEN],
    /// The greatest generation in it.
    pub offered: u32,
    /// A digest of the keys of that generation: another one may be given its number.
    pub offered_keys: [u8; DIGEST_LEN],
    /// The sender number in it.
    pub offered_sender: Option<SenderNumber>,
    /// The highest serial that the device acknowledged; 0 before the first.
    pub acknowledged: u64,
    /// The greatest generation that the device has.
    pub known: u32,
    /// A digest of its keys; zeros where the ledger is of before there was one.
    pub known_keys: [u8; DIGEST_LEN],
    /// The sender number that the device has taken.
    pub known_sender: Option<SenderNumber>,
    /// When the device last proved to be there, in Unix milliseconds; 0 before the first time.
    pub seen: u64,
}

impl Progress {
    /// Whether the device has the newest there is for it.
    #[must_use]
    pub const fn is_current(&self) -> bool {
        self.serial > 0 && self.acknowledged == self.serial
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let sender = |sender: Option<SenderNumber>| {
            sender.map_or(0, |sender| u64::from(sender.get()).saturating_add(1))
        };
        let mut bytes = Vec::new();
        let mut put = |part: &[u8]| bytes.extend_from_slice(part);
        cbor::head(ARRAY, 10, &mut put);
        cbor::string(BYTES, &self.digest, &mut put);
        for number in [
            self.serial,
            self.offered.into(),
            sender(self.offered_sender),
            self.acknowledged,
            self.known.into(),
            sender(self.known_sender),
            self.seen,
        ] {
            cbor::head(UNSIGNED, number, &mut put);
        }
        for keys in [&self.offered_keys, &self.known_keys] {
            cbor::string(BYTES, keys, &mut put);
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut items = Items::new(bytes);
        let len = items.head(ARRAY).ok().filter(|len| [8, 10].contains(len))?;
        let digest = *items.array(BYTES).ok()?;
        let mut number = || items.head(UNSIGNED).ok();
        let sender = |number: u64| match number.checked_sub(1) {
            None => Some(None),
            Some(number) => SenderNumber::new(u32::try_from(number).ok()?).map(Some),
        };
        let mut progress = Self {
            digest,
            serial: number()?,
            offered: u32::try_from(number()?).ok()?,
            offered_sender: sender(number()?)?,
            acknowledged: number()?,
            known: u32::try_from(number()?).ok()?,
            known_sender: sender(number()?)?,
            seen: number()?,
            ..Self::default()
        };
        if len == 10 {
            progress.offered_keys = *items.array(BYTES).ok()?;
            progress.known_keys = *items.array(BYTES).ok()?;
        }
        items.is_empty().then_some(progress)
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("serial", &self.serial)
            .field("acknowledged", &self.acknowledged)
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

/// An order: a generation after `past` is to seal. It is carried out when one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "an order has no more to it")]
pub struct Rotation {
    /// The greatest generation there was when the order was given. Who was revoked may hold it.
    pub past: u32,
    /// When it was given, in Unix milliseconds.
    pub ordered: u64,
    /// For how many seconds devices that have not acknowledged are waited for.
    pub patience: u64,
    /// For how many seconds the generation before opens after the new one seals.
    pub retire: u64,
}

impl Rotation {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |part: &[u8]| bytes.extend_from_slice(part);
        cbor::head(ARRAY, 4, &mut put);
        for number in [self.past.into(), self.ordered, self.patience, self.retire] {
            cbor::head(UNSIGNED, number, &mut put);
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut items = Items::new(bytes);
        items.expect_head(ARRAY, 4).ok()?;
        let mut number = || items.head(UNSIGNED).ok();
        let (past, ordered) = (u32::try_from(number()?).ok()?, number()?);
        let (patience, retire) = (number()?, number()?);
        items.is_empty().then_some(Self { past, ordered, patience, retire })
    }
}
