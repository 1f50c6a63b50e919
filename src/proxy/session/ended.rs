//! Why a connection ends, and what the client is told. Knows no socket.

use core::fmt;

use super::{Session, Side, Stage};
use crate::guard::SealError;
use crate::proxy::clients::ClientError;
use crate::proxy::packet::{self, Kind, PacketError, Version};

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub(in crate::proxy) enum Ended {
    /// A client's packet is none, or too large.
    ClientPacket(PacketError),
    /// A broker's packet is none, or too large.
    BrokerPacket(PacketError),
    /// The first packet is no CONNECT.
    NotConnect,
    /// The client speaks a version that the proxy does not know.
    Version,
    /// A packet that cannot come from there, or not at this time.
    UnexpectedPacket(Kind),
    /// User name or password would travel in clear.
    Credentials,
    /// The will cannot be sealed.
    Will(SealError),
    /// The will is for a topic of the proxy's own runs of peer authentication.
    WillOnAuthTopic,
    /// A message cannot be sealed now, and the client has no way to hear of it.
    Seal(SealError),
    /// A topic alias that stands for nothing.
    Alias,
    /// A packet above the limit that the client was told.
    AboveLimit,
    /// The broker refused the plain link.
    PlainRefused {
        /// The reason code of its CONNACK.
        reason: u8,
    },
    /// More waits for the plain link than is kept.
    PlainQueue,
    /// More waits for an end than is kept: it takes too little.
    Backlog(Side),
    /// What a client needs cannot be had.
    Client(ClientError),
}

impl Ended {
    /// The reason code of MQTT 5 that tells a client (MQTT 5.0 §2.4).
    const fn reason(self) -> u8 {
        match self {
            Self::ClientPacket(PacketError::TooLarge { .. }) | Self::AboveLimit => 0x95,
            Self::ClientPacket(_) => 0x81,
            Self::Version => 0x84,
            Self::NotConnect | Self::UnexpectedPacket(_) => 0x82,
            Self::Credentials
            | Self::WillOnAuthTopic
            | Self::Will(SealError::Refused | SealError::NoLink) => 0x87,
            Self::Alias => 0x94,
            Self::PlainQueue => 0x97,
            Self::BrokerPacket(_)
            | Self::Will(_)
            | Self::Seal(_)
            | Self::PlainRefused { .. }
            | Self::Backlog(_)
            | Self::Client(_) => 0x83,
        }
    }

    /// The return code of an older CONNACK (MQTT 3.1.1 §3.2.2.3).
    const fn return_code(self) -> u8 {
        match self {
            Self::Version => 1,
            Self::Credentials
            | Self::WillOnAuthTopic
            | Self::Will(SealError::Refused | SealError::NoLink) => 5,
            _ => 3,
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientPacket(error) => write!(f, "from the client: {error}"),
            Self::BrokerPacket(error) => write!(f, "from the broker: {error}"),
            Self::NotConnect => f.write_str("the first packet is no CONNECT"),
            Self::Version => f.write_str("the client speaks none of MQTT 3.1, 3.1.1 and 5.0"),
            Self::UnexpectedPacket(kind) => write!(f, "a {kind:?} packet out of place"),
            Self::Credentials => f.write_str(
                "user name or password would go to the broker in clear: \
                 use --tls-broker, or --danger-credentials-in-clear",
            ),
            Self::Will(error) => write!(f, "the will cannot be sealed: {error}"),
            Self::WillOnAuthTopic => {
                f.write_str("the will is for a topic that the proxy authenticates itself on")
            }
            Self::Seal(error) => write!(f, "a message cannot be sealed: {error}"),
            Self::Alias => f.write_str("a topic alias that stands for nothing"),
            Self::AboveLimit => f.write_str("a packet above the limit that CONNACK told"),
            Self::PlainRefused { reason } => {
                write!(f, "the broker refuses the plain link, with code {reason}")
            }
            Self::PlainQueue => f.write_str("too much waits for the plain link"),
            Self::Backlog(side) => {
                write!(f, "too much waits for an end ({side:?}) that takes little")
            }
            Self::Client(ClientError::NoEntropy(error)) => error.fmt(f),
            Self::Client(ClientError::Restore(error)) => error.fmt(f),
        }
    }
}

impl core::error::Error for Ended {}

impl Session {
    pub(super) fn bad_packet(&mut self, side: Side, error: PacketError) -> Ended {
        match side {
            Side::Client => self.bad_client(Ended::ClientPacket(error)),
            Side::Main | Side::Plain => Ended::BrokerPacket(error),
        }
    }

    /// A fault that the client is told, as far as its version can say it.
    pub(super) fn bad_client(&mut self, ended: Ended) -> Ended {
        match (self.stage, self.version) {
            (Stage::Running, Version::V5) => {
                packet::disconnect(ended.reason(), self.to_client.end());
            }
            (Stage::Connecting, _) => self.refuse(ended),
            _ => {}
        }
        self.stage = Stage::Over;
        ended
    }

    /// Refuses a client that has said CONNECT.
    pub(super) fn refuse(&mut self, ended: Ended) {
        self.core.meters.refused_connections.add(1);
        let reason = if self.version.is_5() { ended.reason() } else { ended.return_code() };
        packet::refuse_connection(reason, self.version, self.to_client.end());
        self.stage = Stage::Over;
    }

    /// The broker cannot be reached.
    pub(in crate::proxy) fn no_broker(&mut self) {
        if self.stage == Stage::Connecting {
            let reason = if self.version.is_5() { 0x88 } else { 3 };
            packet::refuse_connection(reason, self.version, self.to_client.end());
        }
        self.stage = Stage::Over;
    }

    /// The proxy stops: a client of version 5 is told.
    pub(in crate::proxy) fn stop(&mut self) {
        if self.stage == Stage::Running && self.version.is_5() {
            packet::disconnect(0x8B, self.to_client.end());
        }
        self.stage = Stage::Over;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::RestoreError;
    use std::string::ToString;

    #[test]
    fn texts_say_what_happened() {
        let cases = [
            (Ended::ClientPacket(PacketError::Malformed), "from the client: a packet is malformed"),
            (Ended::BrokerPacket(PacketError::Malformed), "from the broker: a packet is malformed"),
            (Ended::NotConnect, "the first packet is no CONNECT"),
            (Ended::Version, "the client speaks none of MQTT 3.1, 3.1.1 and 5.0"),
            (Ended::UnexpectedPacket(Kind::Suback), "a Suback packet out of place"),
            (
                Ended::Credentials,
                "user name or password would go to the broker in clear: \
                 use --tls-broker, or --danger-credentials-in-clear",
            ),
            (
                Ended::Will(SealError::Refused),
                "the will cannot be sealed: no rule of the policy covers the topic: add one",
            ),
            (
                Ended::WillOnAuthTopic,
                "the will is for a topic that the proxy authenticates itself on",
            ),
            (
                Ended::Seal(SealError::ClockNeeded),
                "a message cannot be sealed: the topic's rule needs a clock: set it",
            ),
            (Ended::Alias, "a topic alias that stands for nothing"),
            (Ended::AboveLimit, "a packet above the limit that CONNACK told"),
            (Ended::PlainRefused { reason: 5 }, "the broker refuses the plain link, with code 5"),
            (Ended::PlainQueue, "too much waits for the plain link"),
            (Ended::Backlog(Side::Client), "too much waits for an end (Client) that takes little"),
        ];
        for (ended, text) in cases {
            assert_eq!(ended.to_string(), text);
        }
        let restore = ClientError::Restore(RestoreError::Damaged);
        assert_eq!(Ended::Client(restore).to_string(), RestoreError::Damaged.to_string());
    }
}
