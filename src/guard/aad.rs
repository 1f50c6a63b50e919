//! The associated data of a half of the Guard, in a buffer that grows with the topics.

use alloc::vec::Vec;

use crate::wire::aad::Aad;
use crate::wire::last_aad::LastAad;

/// More than CBOR adds to a header and a topic when nothing is bound.
const FRAME: usize = 64;

/// The buffer, and what it holds.
#[derive(Debug, Default)]
pub(super) struct AadBuffer {
    bytes: Vec<u8>,
    last: LastAad,
}

impl AadBuffer {
    /// Writes `aad` and returns it.
    pub(super) fn write(&mut self, aad: &Aad<'_>) -> &[u8] {
        let room = match aad.bind {
            None => aad.topic.len().saturating_add(aad.header.len()).saturating_add(FRAME),
            Some(_) => aad.encoded_len(),
        };
        if self.bytes.len() < room {
            self.bytes.resize(room, 0);
        }
        let written = self.last.write(aad, &mut self.bytes);
        debug_assert!(written.is_some(), "there is room");
        written.map_or(&[], |written| written.bytes)
    }
}
