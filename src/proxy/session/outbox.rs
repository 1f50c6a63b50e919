//! Bytes on their way to one end, some of which wait until something is durable. Knows no socket.

use std::collections::VecDeque;
use std::vec::Vec;

use crate::proxy::keeper::Mark;

/// Room that is kept when everything is sent: more is given back.
const KEPT: usize = 4 << 10;
/// Written bytes that are kept at most before those that wait, if these are fewer.
const MAX_WRITTEN: usize = 64 << 10;

/// What is to be written to one end, in order.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Outbox {
    bytes: Vec<u8>,
    /// How many of them were written.
    written: usize,
    /// So many of `bytes` may go before what the mark stands for is durable.
    gates: VecDeque<(usize, Mark)>,
}

impl Outbox {
    /// Bytes that wait.
    pub(in crate::proxy) const fn waiting(&self) -> usize {
        self.bytes.len().saturating_sub(self.written)
    }

    /// Where further bytes are put.
    pub(in crate::proxy) const fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(in crate::proxy) fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What is put from now on waits until `mark` is reached.
    pub(in crate::proxy) fn wait_for(&mut self, mark: Mark) {
        self.gates.push_back((self.bytes.len(), mark));
    }

    /// Opens the gates up to `done`.
    pub(in crate::proxy) fn reached(&mut self, done: Mark) {
        while self.gates.front().is_some_and(|(_, mark)| *mark <= done) {
            self.gates.pop_front();
        }
    }

    /// What may be written now.
    pub(in crate::proxy) fn ready(&self) -> &[u8] {
        let end = self.gates.front().map_or(self.bytes.len(), |(end, _)| *end);
        self.bytes.get(self.written..end).unwrap_or_default()
    }

    /// So many bytes of what was ready are written.
    pub(in crate::proxy) fn wrote(&mut self, len: usize) {
        self.written = self.written.saturating_add(len);
        if self.written < self.bytes.len() {
            self.forget_written();
            return;
        }
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        self.written = 0;
        for (end, _) in &mut self.gates {
            *end = 0;
        }
    }

    /// Gives up what was written. An end that always has something waiting never empties: without
    /// this everything that it was ever sent would stay.
    fn forget_written(&mut self) {
        if self.written < MAX_WRITTEN.max(self.waiting()) {
            return;
        }
        self.bytes.drain(..self.written);
        for (end, _) in &mut self.gates {
            *end = end.saturating_sub(self.written);
        }
        self.written = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_mark_is_not_ready_before_it() {
        let mut outbox = Outbox::default();
        outbox.put(b"ab");
        outbox.wait_for(Mark::of(1));
        outbox.put(b"cd");
        outbox.wait_for(Mark::of(2));
        outbox.put(b"e");
        assert_eq!(outbox.ready(), b"ab");
        outbox.wrote(1);
        outbox.reached(Mark::of(1));
        assert_eq!(outbox.ready(), b"bcd");
        outbox.wrote(3);
        assert_eq!(outbox.ready(), b"");
        assert_eq!(outbox.waiting(), 1);
        outbox.reached(Mark::of(2));
        assert_eq!(outbox.ready(), b"e");
        outbox.wrote(1);
        assert_eq!(outbox.waiting(), 0);
    }

    #[test]
    fn an_end_that_never_catches_up_keeps_what_waits_alone() {
        let mut outbox = Outbox::default();
        outbox.put(&[7; 1_000]);
        for number in 1..=2_000 {
            outbox.wait_for(Mark::of(number));
            outbox.put(&[u8::try_from(number % 251).unwrap(); 1_000]);
            assert_eq!(outbox.ready().len(), 1_000);
            outbox.wrote(1_000);
            assert_eq!((outbox.ready().len(), outbox.waiting()), (0, 1_000));
            outbox.reached(Mark::of(number));
            let expected = u8::try_from(number % 251).unwrap();
            assert!(outbox.ready().iter().all(|byte| *byte == expected), "{number}");
        }
        assert!(outbox.bytes.len() <= 2 * MAX_WRITTEN, "{}", outbox.bytes.len());
    }

    #[test]
    fn a_gate_behind_everything_that_was_written_holds_what_comes_next() {
        let mut outbox = Outbox::default();
        outbox.put(b"ab");
        outbox.wait_for(Mark::of(1));
        outbox.wrote(2);
        outbox.put(b"cd");
        assert_eq!(outbox.ready(), b"");
        outbox.reached(Mark::of(1));
        assert_eq!(outbox.ready(), b"cd");
    }
}
