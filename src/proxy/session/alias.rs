//! Topic aliases of one direction: what the sender means, and what the receiver was told. Knows no
//! packet.

use std::collections::HashMap;
use std::string::String;

/// Bytes of topics that are kept for a direction: more is refused.
const MAX_BYTES: usize = 1 << 20;

/// An alias that was never set, or more aliases than are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadAlias;

/// Aliases of one direction on one connection (MQTT 5.0 §3.3.2.3.4).
#[derive(Debug, Default)]
pub(super) struct Aliases {
    meant: HashMap<u16, String>,
    told: HashMap<u16, String>,
    bytes: usize,
}

impl Aliases {
    /// The topic of a packet with this alias, whose topic is empty if the alias stands for it.
    pub(super) fn resolve<'a>(
        &'a mut self,
        alias: u16,
        topic: &'a str,
    ) -> Result<&'a str, BadAlias> {
        if topic.is_empty() {
            return self.meant.get(&alias).map(String::as_str).ok_or(BadAlias);
        }
        set(&mut self.meant, &mut self.bytes, alias, topic)?;
        Ok(topic)
    }

    /// Whether a packet with this alias, passed on, needs its topic. The receiver knows it then.
    pub(super) fn tell(&mut self, alias: u16, topic: &str) -> Result<bool, BadAlias> {
        if self.told.get(&alias).is_some_and(|told| told == topic) {
            return Ok(false);
        }
        set(&mut self.told, &mut self.bytes, alias, topic)?;
        Ok(true)
    }
}

fn set(
    aliases: &mut HashMap<u16, String>,
    bytes: &mut usize,
    alias: u16,
    topic: &str,
) -> Result<(), BadAlias> {
    let before = aliases.get(&alias).map_or(0, String::len);
    *bytes = bytes.saturating_sub(before).saturating_add(topic.len());
    if *bytes > MAX_BYTES {
        return Err(BadAlias);
    }
    let kept = aliases.entry(alias).or_default();
    kept.clear();
    kept.push_str(topic);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_means_the_topic_that_was_set_last() {
        let mut aliases = Aliases::default();
        assert_eq!(aliases.resolve(1, ""), Err(BadAlias));
        assert_eq!(aliases.resolve(1, "a"), Ok("a"));
        assert_eq!(aliases.resolve(1, ""), Ok("a"));
        assert_eq!(aliases.resolve(1, "b"), Ok("b"));
        assert_eq!(aliases.resolve(1, ""), Ok("b"));
    }

    #[test]
    fn a_receiver_is_told_a_topic_once_and_again_when_it_changes() {
        let mut aliases = Aliases::default();
        for (topic, needed) in [("a", true), ("a", false), ("b", true), ("a", true)] {
            assert_eq!(aliases.tell(7, topic), Ok(needed), "{topic}");
        }
    }

    #[test]
    fn topics_of_aliases_are_bounded() {
        let mut aliases = Aliases::default();
        let topic = "t".repeat(65_535);
        let refused = (1..=u16::MAX).find(|alias| aliases.resolve(*alias, &topic).is_err());
        assert_eq!(refused, Some(17));
    }
}
