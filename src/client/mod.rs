//! MQTT clients with a guard: what every adapter shares. Seals nothing itself.
//!
//! Use an adapter: [`rumqttc_v4`] or [`rumqttc_v5`]. Each link is a task with an outbox of its own; both share one
//! guard.

mod backoff;
mod error;
mod event;
mod handle;
mod inbox;
mod link;
mod options;
mod outbox;
mod properties;
mod protocol;
mod reply;
pub mod rumqttc_v4;
pub mod rumqttc_v5;
mod start;

pub use error::{CertificateFault, ClientError, ConfigError, Ending, LinkError};
pub use error::{PropertyFault, PublishRefusal, Refusal};
pub use event::{Event, Message};
pub use handle::{AsyncClient, EventLoop};
pub use options::ClientOptions;
pub use properties::Properties;
pub use reply::ReplyError;
