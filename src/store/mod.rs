//! Files: keys and policies as TOML texts, counters, key updates, replay logs, messages that wait.
//! Knows no network, no sessions and no clients.

pub mod counter_file;
#[cfg(feature = "serde")]
pub mod device_file;
#[cfg(feature = "serde")]
pub mod key_file;
#[cfg(all(feature = "serde", feature = "store"))]
pub mod ledger_file;
mod lock;
#[cfg(feature = "serde")]
mod moment;
#[cfg(feature = "store")]
pub mod outbox_file;
#[cfg(feature = "serde")]
pub mod policy_file;
#[cfg(feature = "serde")]
mod position;
pub(crate) mod private_file;
#[cfg(feature = "proxy")]
pub mod proxy_file;
#[cfg(feature = "serde")]
mod reload;
#[cfg(feature = "store")]
pub mod replay_file;
#[cfg(feature = "serde")]
mod section;
pub mod update_file;

#[cfg(feature = "serde")]
pub use position::Position;
#[cfg(feature = "serde")]
pub use reload::{FilesError, read_files};
#[cfg(feature = "serde")]
pub use section::Shape;

/// What to do where the operating system does not read or write.
const MEND_DISK: &str = "make room, or check the folder and its permissions";
