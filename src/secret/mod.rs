//! Keys as types of their own. Knows how to hold and wipe them; knows nothing of what they are for.

use core::fmt;

use zeroize::{Zeroize, Zeroizing};

/// Length in bytes of every key in the schedule (SPEC §1: a shared key is 32 random bytes).
pub const KEY_LEN: usize = 32;

/// The given key does not have [`KEY_LEN`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyLengthError {
    /// The number of bytes that was given.
    pub len: usize,
}

impl fmt::Display for KeyLengthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a key has {KEY_LEN} bytes, this has {}", self.len)
    }
}

impl core::error::Error for KeyLengthError {}

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Wiped when dropped; not `Clone`, not comparable, and `Debug` prints the name alone.
        pub struct $name(Zeroizing<[u8; KEY_LEN]>);

        impl $name {
            /// Takes the key out of `source` and wipes `source`.
            #[must_use]
            pub fn take(source: &mut [u8; KEY_LEN]) -> Self {
                let key = Self(Zeroizing::new(*source));
                source.zeroize();
                key
            }

            /// Takes the key out of `source`, which is wiped whatever the outcome.
            ///
            /// # Errors
            /// [`KeyLengthError`] unless `source` has [`KEY_LEN`] bytes.
            pub fn take_slice(source: &mut [u8]) -> Result<Self, KeyLengthError> {
                let key = <[u8; KEY_LEN]>::try_from(&*source)
                    .map(|bytes| Self(Zeroizing::new(bytes)))
                    .map_err(|_| KeyLengthError { len: source.len() });
                source.zeroize();
                key
            }

            /// The secret bytes. Whoever calls this answers for what becomes of them.
            #[must_use]
            pub fn expose(&self) -> &[u8; KEY_LEN] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

key! {
    /// The random bytes that the members of a group share; the root of everything else.
    SharedKey
}
key! {
    /// RK of the schedule: a shared key bound to a realm. Opens every scope of the realm.
    RootKey
}
key! {
    /// NK of the schedule: opens every path scope at or below one topic level.
    NodeKey
}
key! {
    /// SK of the schedule: opens one scope under one suite.
    ScopeKey
}

key! {
    /// AK of the schedule: what two ends of a peer authentication have in common.
    AuthKey
}
key! {
    /// AK1 of the schedule: authenticates the challenge that opens a run.
    ChallengeKey
}
key! {
    /// PRK of the schedule: bound to everything that was said in one run.
    RunKey
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn debug_prints_the_name_only() {
        let mut bytes = [0xAB; KEY_LEN];
        assert_eq!(format!("{:?}", SharedKey::take(&mut bytes)), "SharedKey(..)");
        let mut bytes = [0xAB; KEY_LEN];
        assert_eq!(format!("{:#?}", ScopeKey::take(&mut bytes)), "ScopeKey(..)");
    }

    #[test]
    fn take_wipes_its_source() {
        let mut bytes = [7; KEY_LEN];
        let key = SharedKey::take(&mut bytes);
        assert_eq!(bytes, [0; KEY_LEN]);
        assert_eq!(key.expose(), &[7; KEY_LEN]);
    }

    #[test]
    fn take_slice_of_a_wrong_length_fails_and_wipes() {
        for len in (0..80).filter(|len| *len != KEY_LEN) {
            let mut bytes = std::vec![9; len];
            let error = SharedKey::take_slice(&mut bytes).unwrap_err();
            assert_eq!(format!("{error}"), format!("a key has 32 bytes, this has {len}"));
            assert!(bytes.iter().all(|byte| *byte == 0));
        }
    }
}
