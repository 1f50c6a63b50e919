//! MQTT clients with a guard: what every adapter shares. Seals nothing itself.
//!
//! Use an adapter: [`rumqttc_v4`] or [`rumqttc_v5`]. Each link is a task with an outbox of its own; both share one
//! guard. A durable outbox is a thread between the handles and the links: what they accept is stored
//! first, with one write for all that wait.

mod accept;
#[cfg(all(feature = "serde", feature = "store"))]
pub mod authority;
mod backoff;
mod connection;
mod counters;
mod entry;
mod error;
mod event;
#[cfg(feature = "serde")]
mod files;
mod guards;
mod handle;
mod inbox;
mod journal;
mod link;
mod log;
mod options;
mod outbox;
mod peer;
#[cfg(feature = "proxy")]
pub(crate) mod probe;
mod properties;
mod protocol;
mod reload;
mod reply;
mod room;
pub mod rumqttc_v4;
pub mod rumqttc_v5;
mod start;
mod ticket;
mod updates;
mod will;

pub use error::{CertificateFault, ClientError, ConfigError, Ending, LinkError};
pub use error::{PeerFault, PropertyFault, PublishRefusal, Refusal};
pub use event::{Event, Message};
pub use handle::{AsyncClient, EventLoop};
pub use options::ClientOptions;
pub use peer::PeerAuth;
pub use properties::Properties;
pub use reload::ReloadError;
pub use reply::ReplyError;
pub use ticket::Ticket;
pub use updates::{KeyUpdates, KeyUpdatesError};
