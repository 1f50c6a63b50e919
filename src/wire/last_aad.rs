//! Associated data of one message after another in one buffer. Knows which parts stay the same.

use super::aad::Aad;
use super::cbor::{self, head_len};

/// What a buffer holds, so that the next message on the same topic overwrites the header alone.
#[derive(Debug, Default)]
pub(crate) struct LastAad {
    /// `None`: nothing that could be used again.
    parts: Option<Parts>,
}

#[derive(Debug, Clone, Copy)]
struct Parts {
    suite: u16,
    cose_algorithm: i32,
    header: usize,
    header_len: usize,
    topic: usize,
    len: usize,
}

/// Associated data that was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written<'b> {
    pub(crate) bytes: &'b [u8],
    /// Whether the message before had the same topic. `false` says nothing.
    pub(crate) same_topic: bool,
}

impl LastAad {
    /// Writes `aad` into `buf`, which nobody else may change between two calls; `None` if it is
    /// too small.
    pub(crate) fn write<'b>(&mut self, aad: &Aad<'_>, buf: &'b mut [u8]) -> Option<Written<'b>> {
        if let Some(parts) = self.parts
            && parts.overwrite(aad, buf).is_some()
        {
            return Some(Written { bytes: buf.get(..parts.len)?, same_topic: true });
        }
        self.parts = None;
        let len = aad.write(buf)?.len();
        self.parts = Parts::of(aad, len);
        Some(Written { bytes: buf.get(..len)?, same_topic: false })
    }
}

impl Parts {
    /// Where the parts of `aad` stand. It ends with the header, the head of the topic, the topic
    /// and one byte for "nothing bound".
    fn of(aad: &Aad<'_>, len: usize) -> Option<Self> {
        if aad.bind.is_some() {
            return None;
        }
        let topic_head = head_len(cbor::len(aad.topic.as_bytes()));
        let topic_head = usize::try_from(topic_head).ok()?;
        let topic = len.checked_sub(1)?.checked_sub(aad.topic.len())?;
        let header_end = topic.checked_sub(topic_head)?;
        let header_len = aad.header.len();
        let header = header_end.checked_sub(header_len)?;
        let Aad { suite, cose_algorithm, .. } = *aad;
        Some(Self { suite, cose_algorithm, header, header_len, topic, len })
    }

    /// Overwrites the header if all else in `buf` is that of `aad`.
    fn overwrite(&self, aad: &Aad<'_>, buf: &mut [u8]) -> Option<()> {
        let (front, topic) = buf.get_mut(..self.len)?.split_at_mut_checked(self.topic)?;
        let (_, topic) = topic.split_last()?;
        let header = front.get_mut(self.header..)?.get_mut(..aad.header.len())?;
        let same = topic == aad.topic.as_bytes()
            && self.header_len == aad.header.len()
            && self.suite == aad.suite
            && self.cose_algorithm == aad.cose_algorithm
            && aad.bind.is_none();
        same.then(|| header.copy_from_slice(aad.header))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::property::Property;
    use proptest::prelude::*;
    use std::vec::Vec;

    const TOPICS: [usize; 8] = [0, 1, 5, 23, 24, 255, 256, 300];

    proptest! {
        #[test]
        fn one_buffer_for_all_messages_changes_no_byte(
            messages in prop::collection::vec(
                (0..3_u16, any::<[u8; 26]>(), 18..=26_usize, 0..8_usize, 0..2_u8, 0..8_u8),
                1..60,
            )
        ) {
            let mut last = LastAad::default();
            let mut buf = [0; 400];
            for (suite, header, header_len, topic, letter, bound) in messages {
                let topic: std::string::String =
                    [["a", "b"][usize::from(letter)]].repeat(TOPICS[topic]).concat();
                let bind = [Property::ContentType("x")];
                let aad = Aad {
                    suite,
                    cose_algorithm: i32::from(suite),
                    header: &header[..header_len],
                    topic: &topic,
                    bind: (bound == 0).then_some(&bind[..]),
                };
                let mut expected = Vec::new();
                aad.encode(|part| expected.extend_from_slice(part));
                let written = last.write(&aad, &mut buf).unwrap();
                prop_assert_eq!(written.bytes, expected);
            }
        }
    }

    #[test]
    fn the_same_topic_is_told_and_another_too() {
        let mut last = LastAad::default();
        let mut buf = [0; 100];
        let mut same = |topic, header: &[u8]| {
            let aad = Aad { suite: 1, cose_algorithm: 24, header, topic, bind: None };
            last.write(&aad, &mut buf).unwrap().same_topic
        };
        assert!(!same("a/b", &[1; 20]));
        assert!(same("a/b", &[2; 20]));
        assert!(!same("a/c", &[2; 20]));
        assert!(!same("a/b", &[2; 20]));
    }

    #[test]
    fn a_buffer_that_is_too_small_holds_nothing_to_use_again() {
        let mut last = LastAad::default();
        let mut buf = [0; 60];
        let mut write = |topic| {
            let aad = Aad { suite: 1, cose_algorithm: 24, header: &[1; 20], topic, bind: None };
            last.write(&aad, &mut buf).map(|written| written.same_topic)
        };
        assert_eq!(write("a"), Some(false));
        assert_eq!(write("a topic that does not fit"), None);
        assert_eq!(write("a"), Some(false));
    }
}
