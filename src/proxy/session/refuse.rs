//! Messages that do not pass: what the sender is told, and what the operator is. Knows no socket.

use super::connect::called;
use super::publish::Message;
use super::{Ended, Session};
use crate::guard::{QoS, SealError};
use crate::proxy::InForce;
use crate::proxy::clients::Client;
use crate::proxy::meters::{Direction, Rejection, unix_ms};
use crate::proxy::packet::{self, Kind};

/// Why a message does not leave.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refusal {
    Seal(SealError),
    /// The topic is one of the proxy's own runs of peer authentication.
    AuthTopic,
    /// The broker takes no such quality of service, or retains nothing.
    NotByBroker,
    /// Sealed, it is above the broker's limit.
    TooLargeForBroker {
        /// Whether it is above the limit, too, that the client was told.
        told: bool,
    },
}

impl Refusal {
    const fn name(self) -> &'static str {
        match self {
            Self::Seal(error) => error.name(),
            Self::AuthTopic => "AuthTopic",
            Self::NotByBroker => "NotByBroker",
            Self::TooLargeForBroker { .. } => "TooLargeForBroker",
        }
    }

    /// Whether the same message may leave later, without another policy: then a client that cannot
    /// be told has to keep it.
    const fn may_pass(self) -> bool {
        !matches!(
            self,
            Self::AuthTopic
                | Self::NotByBroker
                | Self::TooLargeForBroker { .. }
                | Self::Seal(
                    SealError::Refused
                        | SealError::NoLink
                        | SealError::Topic(_)
                        | SealError::Property(_)
                        | SealError::RetainNeedsLatest
                        | SealError::TooLarge { .. }
                )
        )
    }

    /// MQTT 5.0 §3.4.2.1.
    const fn reason(self) -> u8 {
        match self {
            Self::AuthTopic | Self::Seal(SealError::Refused | SealError::NoLink) => 0x87,
            Self::Seal(SealError::Topic(_)) => 0x90,
            Self::Seal(SealError::TooLarge { .. }) | Self::TooLargeForBroker { .. } => 0x97,
            Self::Seal(_) | Self::NotByBroker => 0x83,
        }
    }
}

impl Session {
    /// Answers a message that does not leave.
    pub(super) fn refuse_publish(
        &mut self,
        client: &mut Client,
        in_force: &InForce,
        message: &Message<'_>,
        refusal: Refusal,
    ) -> Result<(), Ended> {
        let publish = message.publish;
        self.rejected(in_force, message.rule, message.topic, Direction::ToBroker, refusal.name());
        match refusal {
            Refusal::TooLargeForBroker { told: true } => {
                return Err(self.bad_client(Ended::AboveLimit));
            }
            // a client that cannot be told keeps the message for its next connection
            Refusal::Seal(error)
                if error == SealError::ReconnectFirst
                    || (!self.version.is_5() && refusal.may_pass()) =>
            {
                return Err(self.bad_client(Ended::Seal(error)));
            }
            _ => {}
        }
        let kind = match publish.qos {
            QoS::AtMostOnce => return Ok(()),
            QoS::AtLeastOnce => Kind::Puback,
            QoS::ExactlyOnce => Kind::Pubrec,
        };
        let before = client.sent.remove(publish.id);
        self.forget(before);
        if kind == Kind::Pubrec && !self.version.is_5() {
            self.refused.insert(publish.id);
        }
        packet::acknowledge(kind, publish.id, refusal.reason(), self.version, self.to_client.end());
        Ok(())
    }

    /// Counts and tells a message that does not pass.
    pub(super) fn rejected(
        &self,
        in_force: &InForce,
        rule: Option<usize>,
        topic: &str,
        direction: Direction,
        reason: &'static str,
    ) {
        in_force.meters.get(rule).reject(direction, reason);
        let client_id = called(&self.client_id);
        let so_far = self.shown.as_ref().map_or(1, |shown| {
            shown.rejected.add(1);
            shown.rejected.get()
        });
        // each repetition would let a hostile broker fill the disk
        if so_far.is_power_of_two() {
            let direction = direction.name();
            tracing::warn!(%client_id, topic, direction, reason, so_far, "message rejected");
        }
        let topic = topic.into();
        self.core.meters.reject(Rejection { at: unix_ms(), client_id, topic, direction, reason });
    }
}
