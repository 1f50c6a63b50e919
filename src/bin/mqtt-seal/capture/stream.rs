//! One direction of a TCP connection put in order again: segments may come late, twice, overlapping
//! or never. Knows no protocol.

use smoltcp::storage::Assembler;

/// Bytes that may wait for one that is missing: more than most hosts have in flight.
const MAX_WAITING: usize = 4 << 20;

/// The bytes of a direction, from the first that is known on.
#[derive(Debug)]
pub(super) struct Stream {
    /// The sequence number of the first byte of `waiting`.
    next: Option<u32>,
    waiting: Vec<u8>,
    /// Which bytes of `waiting` are there.
    there: Assembler,
    /// Whether bytes are missing that will not come.
    broken: bool,
}

impl Default for Stream {
    fn default() -> Self {
        Self { next: None, waiting: Vec::new(), there: Assembler::new(), broken: false }
    }
}

impl Stream {
    /// Takes a segment; gives the bytes that are in order now.
    pub(super) fn take(&mut self, number: u32, syn: bool, data: &[u8]) -> Vec<u8> {
        if syn {
            *self = Self { next: Some(number.wrapping_add(1)), ..Self::default() };
            return Vec::new();
        }
        let next = *self.next.get_or_insert(number);
        let ahead = number.wrapping_sub(next);
        if data.is_empty() || self.broken {
            return Vec::new();
        }
        // numbers run in a circle: what lies in its second half came before
        let (at, new) = match usize::try_from(ahead.cast_signed()) {
            Ok(at) => (at, data),
            Err(_) => (0, data.get(before(ahead)..).unwrap_or_default()),
        };
        self.put(at, new)
    }

    fn put(&mut self, at: usize, new: &[u8]) -> Vec<u8> {
        let end = at.saturating_add(new.len());
        if end > MAX_WAITING || self.there.add(at, new.len()).is_err() {
            self.broken = true;
            self.waiting = Vec::new();
            return Vec::new();
        }
        if self.waiting.len() < end {
            self.waiting.resize(end, 0);
        }
        if let Some(place) = self.waiting.get_mut(at..end) {
            place.copy_from_slice(new);
        }
        let ready = self.there.remove_front();
        let step = u32::try_from(ready).unwrap_or(u32::MAX);
        self.next = self.next.map(|next| next.wrapping_add(step));
        self.waiting.drain(..ready).collect()
    }

    /// Whether bytes are missing: of what came after them nothing was given.
    pub(super) fn has_hole(&self) -> bool {
        self.broken || !self.there.is_empty()
    }
}

/// Bytes of a segment that were given already: it begins so many before the next one.
fn before(ahead: u32) -> usize {
    usize::try_from(ahead.wrapping_neg()).unwrap_or(usize::MAX)
}
