//! Where a device keeps its updates. Knows rows of bytes, and nothing of what they mean.

use alloc::vec::Vec;

use zeroize::Zeroizing;

/// Where a device's newest update survives: one string of bytes, replaced as a whole. What is in it
/// is for this crate to know; it has **keys**, so whatever keeps it keeps it to its owner.
///
/// # What a wrong answer costs
/// A store that brings back an older state gives the device keys that were taken away from it, and
/// lets a broker repeat the updates since. One that forgets makes the device ask its authority how
/// new its keys have to be before it takes any.
///
/// A store belongs to one device and one process at a time.
pub trait UpdateStore {
    /// Why the store failed.
    type Error;

    /// What was written last, in memory that is wiped; `None` if nothing ever was.
    ///
    /// # Errors
    /// The state cannot be read as a whole: never a part of it.
    fn read(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, Self::Error>;

    /// Puts `state` in the place of what was written before, as a whole or not at all; it is
    /// durable when this returns. It may block.
    ///
    /// # Errors
    /// The state is not known to be durable. What was written before may still be there, or the
    /// new one; both are whole.
    fn write(&mut self, state: &[u8]) -> Result<(), Self::Error>;
}
