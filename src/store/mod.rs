//! Files: policies and keys as TOML texts. Knows no network, no sessions and no clients.

pub mod key_file;
pub mod policy_file;
mod position;
mod section;

pub use position::Position;
pub use section::Shape;
