//! What an authority that runs tells its operator, and why it ends.

use core::fmt;
use std::io;
use std::string::String;

use super::device::Unfit;
use super::fleet::BadRow;
use super::step::Step;
use crate::client::error::{ClientError, LinkError};
use crate::store::key_file::{EditError, KeyFileError, ReplaceKeyFileError};
use crate::store::ledger_file::LedgerFileError;
use crate::update::PublishError;

/// Something that happened. No event holds a key.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// There is a connection: all updates are published anew.
    Connected,
    /// The connection was lost, or could not be made. It is tried again.
    #[non_exhaustive]
    Disconnected {
        /// Why.
        error: LinkError,
    },
    /// A device asked, and is answered.
    #[non_exhaustive]
    Answered {
        /// The device.
        device: String,
        /// The broker that it is told the keys of.
        broker: String,
    },
    /// A device asked for the keys of a broker that is not vouched for, and is not answered.
    #[non_exhaustive]
    OtherBroker {
        /// The device.
        device: String,
        /// The broker, as the device is configured with it.
        broker: String,
    },
    /// A device proved to be there.
    #[non_exhaustive]
    Seen {
        /// The device.
        device: String,
        /// The broker that it is connected to.
        broker: String,
    },
    /// A device is given a new update: it is stored, and will be published.
    #[non_exhaustive]
    Updated {
        /// The device.
        device: String,
        /// Its serial.
        serial: u64,
    },
    /// A device has stored the newest update.
    #[non_exhaustive]
    Acknowledged {
        /// The device.
        device: String,
        /// Its serial.
        serial: u64,
    },
    /// A device has a newer update than the ledger knows of.
    #[non_exhaustive]
    Ahead {
        /// The device.
        device: String,
        /// The serial that it has.
        serial: u64,
    },
    /// Updates are dated ahead of the clock, for their dates never go back: devices with a right clock
    /// refuse them until then.
    #[non_exhaustive]
    UpdatesAhead {
        /// By how much.
        seconds: u64,
    },
    /// A device keeps what it has, since it cannot be given what it was granted.
    #[non_exhaustive]
    Unfit {
        /// The device.
        device: String,
        /// Why.
        reason: Unfit,
    },
    /// A message does not go out: it is too large, or the broker refuses it. What the device has
    /// stays, and the others are served.
    #[non_exhaustive]
    NotPublished {
        /// Its topic, which names the device.
        topic: String,
        /// Why.
        error: ClientError,
    },
    /// The key file was changed.
    #[non_exhaustive]
    Stepped {
        /// How.
        step: Step,
    },
    /// Somebody changed the key file, and it is no good: what was read before is in force.
    #[non_exhaustive]
    KeysUnreadable {
        /// What is wrong with it.
        error: KeyFileError,
    },
    /// Messages were not taken: forged, repeated or late, or more than can be answered.
    #[non_exhaustive]
    Ignored {
        /// How many, since this was told last.
        count: u64,
    },
    /// Everybody has what there is for them, as far as they are not revoked.
    Settled,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("connected: publishing all updates anew"),
            Self::Disconnected { error: error @ LinkError::PacketTooLarge { .. } } => write!(
                f,
                "{error}; connecting again: somebody wrote it to a topic of this authority, so limit \
                 packets at the broker or use mqtt 5, and delete it if it is retained"
            ),
            Self::Disconnected { error } => write!(f, "{error}; connecting again"),
            Self::Answered { device, broker } => write!(f, "{device} asked, over {broker}"),
            Self::OtherBroker { device, broker } => write!(
                f,
                "{device} asks for the keys of {broker}, which is not vouched for: name it with \
                 --broker, or correct it at the device"
            ),
            Self::Seen { device, broker } => write!(f, "{device} is there, over {broker}"),
            Self::Updated { device, serial } => write!(f, "{device} is given update {serial}"),
            Self::Acknowledged { device, serial } => write!(f, "{device} has update {serial}"),
            Self::Ahead { device, serial } => write!(
                f,
                "{device} has update {serial}, which the ledger does not know: if an older copy was \
                 put back, revoke again who was revoked since"
            ),
            Self::UpdatesAhead { seconds } => write!(
                f,
                "updates are dated {seconds} seconds ahead of this clock, and devices refuse them \
                 until then: is it right, or was it wrong before?"
            ),
            Self::Unfit { device, reason } => {
                write!(f, "{device} keeps what it has: {reason}")
            }
            Self::NotPublished { topic, error } => write!(f, "{topic}: not published: {error}"),
            Self::Stepped { step } => step.fmt(f),
            Self::KeysUnreadable { error } => write!(f, "the key file is left aside: {error}"),
            Self::Ignored { count } => write!(
                f,
                "{count} {} ignored: not authentic, of no device in the ledger, repeated or late",
                if *count == 1 { "message was" } else { "messages were" }
            ),
            Self::Settled => f.write_str("every device has what there is for it"),
        }
    }
}

/// Why an authority ends. What is in the ledger is in force: start it again.
#[derive(Debug)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The ledger.
    Ledger(LedgerFileError),
    /// A row of it.
    Row(BadRow),
    /// The key file, at the start.
    Keys(KeyFileError),
    /// The key file and the ledger are of different realms.
    Realm {
        /// That of the ledger.
        ledger: String,
        /// That of the key file.
        keys: String,
    },
    /// The file beside the key file cannot be locked.
    Lock(io::Error),
    /// The key file does not take a step of the rotation.
    Step(EditError),
    /// The key file was not written.
    Replace(ReplaceKeyFileError),
    /// An update was not sealed.
    Publish(PublishError),
    /// The client does not take a message or a subscription.
    Client(ClientError),
    /// The broker does not let the authority listen.
    Subscribe {
        /// To this.
        filter: String,
    },
    /// The client was disconnected.
    Ended,
    /// A thread that writes files was lost.
    Thread,
}

impl fmt::Display for AuthorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ledger(error) => error.fmt(f),
            Self::Row(error) => error.fmt(f),
            Self::Keys(error) => error.fmt(f),
            Self::Realm { ledger, keys } => write!(
                f,
                "the ledger is of realm {ledger}, the key file of realm {keys}: name files of one"
            ),
            Self::Lock(error) => write!(
                f,
                "the key file cannot be locked, {}: check its folder and permissions",
                error.kind()
            ),
            Self::Step(error) => error.fmt(f),
            Self::Replace(error) => error.fmt(f),
            Self::Publish(error) => error.fmt(f),
            Self::Client(error) => error.fmt(f),
            Self::Subscribe { filter } => write!(
                f,
                "{filter}: the broker refused the subscription: check its lists of who may read \
                 what"
            ),
            Self::Ended => f.write_str("the connection ended: start the authority again"),
            Self::Thread => f.write_str("a thread was lost: start the authority again"),
        }
    }
}

impl core::error::Error for AuthorityError {}

macro_rules! from {
    ($($error:ty => $variant:ident),* $(,)?) => {
        $(impl From<$error> for AuthorityError {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })*
    };
}

from! {
    LedgerFileError => Ledger,
    BadRow => Row,
    EditError => Step,
    ReplaceKeyFileError => Replace,
    PublishError => Publish,
    ClientError => Client,
}
