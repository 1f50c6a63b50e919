//! SUBSCRIBE and SUBACK: filters that the policy does not allow are answered here. Knows no socket.

use std::sync::Arc;
use std::vec::Vec;

use super::connect::called;
use super::{Ended, Session};
use crate::policy::{Policy, SubscribeError};
use crate::proxy::clients::Client;
use crate::proxy::packet::{Frame, Suback, Subscribe};
use crate::topic::TopicFilter;

/// A filter was refused, in version 3 (MQTT 3.1.1 §3.9.3).
const FAILURE: u8 = 0x80;
/// "Not authorized" and "Topic Filter invalid" (MQTT 5.0 §3.9.3).
const NOT_AUTHORIZED: u8 = 0x87;
const INVALID: u8 = 0x8F;

impl Session {
    pub(super) fn subscribe(&mut self, client: &Client, frame: &Frame<'_>) -> Result<(), Ended> {
        let subscribe = Subscribe::parse(frame, self.version)
            .map_err(|malformed| self.bad_client(Ended::ClientPacket(malformed.into())))?;
        let in_force = Arc::clone(&client.in_force);
        let answers: Vec<_> = subscribe
            .filters
            .iter()
            .map(|(filter, _)| self.judge(in_force.config.policy(), filter))
            .collect();
        if answers.iter().all(Option::is_none) {
            self.to_main.put(frame.bytes);
            return Ok(());
        }
        let refused: Vec<_> = answers.iter().flatten().copied().collect();
        if refused.len() == answers.len() {
            Suback::own(subscribe.id).write_with(self.version, &refused, self.to_client.end());
            return Ok(());
        }
        let keep = |at: usize| answers.get(at).is_some_and(Option::is_none);
        subscribe.write_some(self.version, keep, self.to_main.end());
        self.subscriptions.insert(subscribe.id, answers);
        Ok(())
    }

    /// The proxy's own answer to a filter; `None` if the broker is to answer.
    fn judge(&mut self, policy: &Policy, filter: &[u8]) -> Option<u8> {
        let is_5 = self.version.is_5();
        let refuse = |reason| Some(if is_5 { reason } else { FAILURE });
        let text = core::str::from_utf8(filter).ok();
        let Some(filter) = text.and_then(|text| TopicFilter::parse(text).ok()) else {
            return refuse(INVALID);
        };
        match policy.subscribe_link(filter, self.core.settings.links) {
            Ok(_) => None,
            Err(error @ (SubscribeError::Refused | SubscribeError::NeedsTls)) => {
                self.refused_filters = self.refused_filters.saturating_add(1);
                let (filter, so_far) = (filter.as_str(), self.refused_filters);
                // one packet may hold millions
                if so_far.is_power_of_two() {
                    let client_id = called(&self.client_id);
                    tracing::warn!(%client_id, filter, %error, so_far, "filter refused");
                }
                refuse(NOT_AUTHORIZED)
            }
        }
    }

    pub(super) fn suback(&mut self, frame: &Frame<'_>) -> Result<(), Ended> {
        let suback = Suback::parse(frame, self.version)
            .map_err(|malformed| Ended::BrokerPacket(malformed.into()))?;
        let Some(answers) = self.subscriptions.remove(&suback.id) else {
            self.to_client.put(frame.bytes);
            return Ok(());
        };
        let mut given = suback.reasons.iter().copied();
        let failure = if self.version.is_5() { NOT_AUTHORIZED } else { FAILURE };
        let reasons: Vec<_> = answers
            .into_iter()
            .map(|own| own.or_else(|| given.next()).unwrap_or(failure))
            .collect();
        suback.write_with(self.version, &reasons, self.to_client.end());
        Ok(())
    }
}
