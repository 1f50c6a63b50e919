//! MQTT topic names and filters: parse, match, overlap. Knows no policy and no keys.

mod filter;
mod name;

#[cfg(feature = "alloc")]
pub(crate) use filter::OwnedFilter;
pub use filter::{FilterError, TopicFilter};
#[cfg(feature = "alloc")]
pub(crate) use name::OwnedName;
pub use name::{Levels, PathScope, TopicError, TopicName};

/// Longest topic name or filter in bytes (MQTT 5.0 §1.5.4: a UTF-8 string has a u16 length).
pub const MAX_TOPIC_LEN: usize = 65_535;
