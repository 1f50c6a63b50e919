//! One key of a snapshot: what it is for, and what may be done with it when. Knows no bytes.

use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::keyring::{Grant, Parts, ScopeRef, State};
use crate::policy::MAX_SCOPE_DEPTH;
use crate::schedule;
use crate::secret::{RootKey, ScopeKey};
use crate::suite::Suite;
use crate::topic::{MAX_TOPIC_LEN, PathScope};
use crate::wire::header::SenderNumber;

/// What the authority says of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyState {
    /// It opens only, until everybody has it.
    Pending,
    /// It seals and opens.
    Active,
    /// It opens only.
    Retiring,
    /// It is gone: forget it.
    Erased,
}

/// Why a grant cannot be sent in an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EntryError {
    /// The scope's name begins with `$`, which the format reserves.
    ReservedScope,
    /// The scope's name is empty, too long or contains U+0000.
    ScopeName,
    /// The path has more than 16 levels or 65,535 bytes, or `+`, `#` or U+0000 in a level.
    Path,
    /// A root or node key is kept to one suite, which updates have no word for.
    SuiteOfNode,
    /// A retiring key opens until second 0, for which updates have no word: there, 0 is no date.
    DateZero,
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReservedScope => {
                "names of scopes that begin with '$' are reserved: choose another"
            }
            Self::ScopeName => "the name of a scope has 1 to 65535 bytes and no U+0000",
            Self::Path => "a path has 0 to 16 levels without '+', '#' and U+0000",
            Self::SuiteOfNode => {
                "an update cannot keep a root or node key to one suite: send scope keys"
            }
            Self::DateZero => "a key that retired in second 0 opens nothing: leave it out",
        })
    }
}

impl core::error::Error for EntryError {}

/// What a device does about the sender number of a key, for compact form.
// SPEC §10, "The authority removes 9"
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SenderStep {
    /// Take this number: write its first lease in the same step as the serial. Seal nothing in
    /// compact form yet.
    Take(SenderNumber),
    /// The number is taken; the authority has not seen the acknowledgement yet. Seal nothing in
    /// compact form.
    Wait(SenderNumber),
    /// Seal in compact form under this number.
    Seal(SenderNumber),
    /// There is neither a lease nor a number: if the key is to seal in compact form, the counter
    /// is lost, and the cure is another number.
    CounterLost,
}

/// One key, its generation and its dates.
#[derive(Debug)]
pub struct Entry {
    grant: Grant,
    state: KeyState,
    not_before: Option<u64>,
    not_after: Option<u64>,
}

impl Entry {
    /// The key, generation, state and sender number of `grant`. With a sender number the device is
    /// asked to take it; leave it out in the next snapshot after the acknowledgement.
    ///
    /// # Errors
    /// [`EntryError`] if `grant` cannot be sent.
    pub fn new(grant: Grant) -> Result<Self, EntryError> {
        check(&grant)?;
        if grant.state() == (State::Retiring { not_after: Some(0) }) {
            return Err(EntryError::DateZero);
        }
        let (state, not_after) = match grant.state() {
            State::Pending => (KeyState::Pending, None),
            State::Active => (KeyState::Active, None),
            State::Retiring { not_after } => (KeyState::Retiring, not_after),
        };
        Ok(Self { grant, state, not_before: None, not_after })
    }

    /// In this state. The key of an erased generation is not sent.
    #[must_use]
    pub const fn with_state(mut self, state: KeyState) -> Self {
        self.state = state;
        self
    }

    /// Seals from this second on, and opens and seals until that one, in Unix seconds; 0 counts as
    /// none.
    #[must_use]
    pub fn between(mut self, not_before: Option<u64>, not_after: Option<u64>) -> Self {
        self.not_before = not_before.filter(|date| *date > 0);
        self.not_after = not_after.filter(|date| *date > 0);
        self
    }

    /// What the authority says of it.
    #[must_use]
    pub const fn state(&self) -> KeyState {
        self.state
    }

    /// The number of its generation.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.grant.generation()
    }

    /// The first second at which it seals, in Unix seconds.
    #[must_use]
    pub const fn not_before(&self) -> Option<u64> {
        self.not_before
    }

    /// The last second at which it opens, in Unix seconds.
    #[must_use]
    pub const fn not_after(&self) -> Option<u64> {
        self.not_after
    }

    /// The sender number that the device is asked to take.
    #[must_use]
    pub const fn sender(&self) -> Option<SenderNumber> {
        self.grant.sender()
    }

    /// Whether it is a key for `scope` under `suite`.
    #[must_use]
    pub fn covers(&self, scope: ScopeRef<'_>, suite: Suite) -> bool {
        self.grant.narrow_to_scope(scope, suite).is_some()
    }

    /// What the device does about the sender number, if its counter store has a lease for
    /// `leased` under this key.
    #[must_use]
    pub fn sender_step(&self, leased: Option<SenderNumber>) -> SenderStep {
        match (self.sender(), leased) {
            (Some(number), Some(taken)) if number == taken => SenderStep::Wait(number),
            (Some(number), _) => SenderStep::Take(number),
            (None, Some(taken)) => SenderStep::Seal(taken),
            (None, None) => SenderStep::CounterLost,
        }
    }

    /// What it is at `now`, in Unix milliseconds; `None` if it is gone. Without a clock a date
    /// ahead is not known to be reached, and one behind not to be over.
    pub(super) fn grant(&self, now: Option<u64>, leased: Option<SenderNumber>) -> Option<Grant> {
        let now = now.map(|now| now / 1_000);
        let reached = |date: u64| now.is_some_and(|now| now >= date);
        if now.zip(self.not_after).is_some_and(|(now, end)| now > end) {
            return None;
        }
        let state = match self.state {
            KeyState::Erased => return None,
            KeyState::Active if self.not_before.is_none_or(reached) => State::Active,
            KeyState::Active | KeyState::Pending => State::Pending,
            KeyState::Retiring => State::Retiring { not_after: self.not_after },
        };
        let grant = self.grant.without_sender().with_state(state);
        Some(match self.sender_step(leased) {
            SenderStep::Seal(number) => grant.with_sender(number),
            _ => grant,
        })
    }

    /// The moments at which its grant changes, in Unix milliseconds.
    pub(super) fn dates(&self) -> impl Iterator<Item = u64> {
        let end = self.not_after.map(|date| date.saturating_add(1));
        self.not_before.into_iter().chain(end).map(|date| date.saturating_mul(1_000))
    }

    pub(super) fn parts(&self) -> Parts<'_> {
        self.grant.parts()
    }

    #[cfg(feature = "rumqttc")]
    pub(super) const fn as_grant(&self) -> &Grant {
        &self.grant
    }

    /// Whether `grant` is a generation of the same key.
    #[cfg(feature = "rumqttc")]
    pub(super) fn is_generation_of_same(&self, grant: &Grant) -> bool {
        self.target() == target(grant)
    }

    /// Whether `grant` is the very key.
    #[cfg(feature = "rumqttc")]
    pub(super) fn is_key_of(&self, grant: &Grant) -> bool {
        self.is_generation_of_same(grant)
            && self.generation() == grant.generation()
            && bool::from(self.parts().expose().ct_eq(grant.parts().expose()))
    }

    /// The suite of a scope key.
    pub(super) const fn suite(&self) -> Option<Suite> {
        self.grant.suite()
    }

    /// What it is a key for: of equal ones, one generation is active at a time.
    pub(super) fn target(&self) -> Target<'_> {
        target(&self.grant)
    }

    /// Whether it is a key of the realm from which the named scope `name` has the key `scope`.
    pub(super) fn is_root_of(&self, name: &str, suite: Suite, scope: &ScopeKey) -> bool {
        let key = match self.parts() {
            Parts::Root(key) => key.expose(),
            // the node of no levels has the bytes of the root
            Parts::Node { path: PathScope::REALM, key } => key.expose(),
            _ => return false,
        };
        let root = RootKey::take(&mut Zeroizing::new(*key));
        let derived = schedule::named_scope(&root, name, suite);
        derived.expose().ct_eq(scope.expose()).into()
    }
}

/// Kind, path or name, levels of the path, suite.
type Target<'a> = (Kind, &'a str, u8, Option<u16>);

fn target(grant: &Grant) -> Target<'_> {
    let suite = grant.suite().map(Suite::id);
    match grant.parts() {
        Parts::Root(_) => (Kind::Root, "", 0, suite),
        Parts::Node { path, .. } => (Kind::Node, path.as_str(), path.depth(), suite),
        Parts::Scope { scope: ScopeRef::Path(path), .. } => {
            (Kind::Path, path.as_str(), path.depth(), suite)
        }
        Parts::Scope { scope: ScopeRef::Named(name), .. } => (Kind::Named, name, 0, suite),
    }
}

/// The kinds of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Root,
    Node,
    Path,
    Named,
}

// SPEC §10, "Named scopes that begin with `$` are reserved"
fn check(grant: &Grant) -> Result<(), EntryError> {
    match grant.parts() {
        Parts::Scope { scope: ScopeRef::Named(name), .. } => check_name(name),
        Parts::Scope { scope: ScopeRef::Path(path), .. } => check_path(path),
        _ if grant.suite().is_some() => Err(EntryError::SuiteOfNode),
        Parts::Node { path, .. } => check_path(path),
        Parts::Root(_) => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), EntryError> {
    match name {
        name if name.starts_with('$') => Err(EntryError::ReservedScope),
        name if name.is_empty() || name.len() > MAX_TOPIC_LEN || name.contains('\0') => {
            Err(EntryError::ScopeName)
        }
        _ => Ok(()),
    }
}

fn check_path(path: PathScope<'_>) -> Result<(), EntryError> {
    let text = path.as_str();
    let good = path.depth() <= MAX_SCOPE_DEPTH
        && text.len() <= MAX_TOPIC_LEN
        && !text.contains(['+', '#', '\0']);
    if good { Ok(()) } else { Err(EntryError::Path) }
}
