//! The authority of a fleet: it answers devices that authenticate it, gives them their keys over
//! MQTT, and moves them from one generation to the next. Seals no application message.
//!
//! Its parts, each usable alone:
//! - [`Fleet`], the engine: messages, time and randomness in, messages and rows out. What it
//!   prepares must be stored before it is published: serials are never used twice.
//! - [`Step`], one change of the key file. The file itself says how far a rotation has come, so a
//!   crash between two steps costs nothing.
//! - [`Authority`], the loop around both: a ledger
//!   ([`LedgerFile`](crate::store::ledger_file::LedgerFile)), a key file and a client of this crate.
//!
//! A rotation is ordered in the ledger, and a revocation with it. What follows: another generation
//! is drawn, pending; every device is given it; when all have acknowledged, or the time for that is
//! over, it seals and the one before opens only; when the time of that is over too, it is erased.
//!
//! ```no_run
//! use mqtt_seal::client::authority::{self, Setup};
//! use mqtt_seal::peer::BrokerName;
//! use mqtt_seal::policy::Links;
//! use mqtt_seal::rumqttc_v4::{AsyncClient, ClientOptions};
//! use mqtt_seal::store::ledger_file::LedgerFile;
//! use mqtt_seal::{Guard, Keyring};
//! use rumqttc::MqttOptions;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let ledger = LedgerFile::open("ledger")?;
//! let options = ClientOptions::new().tcp(MqttOptions::new("authority", "localhost", 1883));
//! let policy = authority::policy(ledger.settings())?;
//! let guard = Guard::new(policy, Keyring::default(), Links::Tcp)?;
//! let (client, events) = AsyncClient::new(guard, options, 100)?;
//! let setup = Setup::new(&ledger, "keys.toml", vec![])?;
//! let setup = setup.vouch(BrokerName::parse("localhost:1883")?, vec![]);
//! let mut authority = setup.start(client, events).await?;
//! loop {
//!     println!("{}", authority.next().await?);
//! }
//! # }
//! ```

mod device;
mod event;
mod fleet;
mod keys;
mod run;
mod step;

pub use device::Unfit;
pub use event::{AuthorityError, Event};
pub use fleet::{BadRow, Fleet, Heard, HeardError, Outgoing, Prepared};
pub use run::{Authority, Setup, policy};
pub use step::{LEAST_OFFER, Step};

#[cfg(test)]
mod tests;
