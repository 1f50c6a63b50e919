//! Whether an authentic message is delivered: time, echo, replay state. Knows no keys.

use alloc::vec::Vec;
use core::num::NonZeroU32;

use super::bound_topic;
use super::incoming::{Claimed, Delivery, Incoming, Receipt};
use super::log::Write;
use super::lru::Lru;
use super::rows::Lease;
use super::table::{ReplayLimits, ReplayTable};
use crate::policy::{FirstContact, Policy, Replay, Rule, Scope, TopicBinding};
use crate::replay::{Arrival, Rejected, Verdict};
use crate::session::Authentic;
use crate::topic::{TopicFilter, TopicName};
use crate::wire::header::{Form, WILL_COUNTER};

/// Messages that wait for confirmation: what two links have packet IDs for. Of more, the oldest
/// count as confirmed.
const MAX_UNCONFIRMED: usize = 2 * 65_535;

/// Why a message that was accepted may come again.
#[derive(Debug, Clone, Copy)]
enum Waiting {
    /// Its claim was not finished.
    ForLog(Verdict),
    /// The application has not confirmed it.
    ForApplication,
}

/// What a message is judged by.
pub(super) struct Case<'a> {
    pub(super) policy: &'a Policy,
    pub(super) rule: &'a Rule,
    pub(super) topic: TopicName<'a>,
    pub(super) message: &'a Incoming<'a>,
    pub(super) proof: Authentic,
    pub(super) receipt: &'a Receipt,
}

/// What the log has to know before a message is delivered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    pub(super) lease: Option<Lease>,
}

/// Replay state, and what else a receiver judges by.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) table: ReplayTable,
    waiting: Lru<Receipt, Waiting>,
    challenge: Option<[u8; 8]>,
    /// When the receiver started, as far as it knows.
    started: Option<u64>,
}

impl Judge {
    pub(super) fn new(key: [u8; 16]) -> Self {
        Self {
            table: ReplayTable::new(key, ReplayLimits::default()),
            waiting: Lru::new(),
            challenge: None,
            started: None,
        }
    }

    pub(super) const fn set_challenge(&mut self, challenge: [u8; 8]) {
        self.challenge = Some(challenge);
    }

    pub(super) const fn set_started(&mut self, now: u64) {
        self.started = Some(now);
    }

    /// The receiver is told the time.
    pub(super) fn hear(&mut self, now: Option<u64>) {
        self.started = self.started.or(now);
    }

    /// Whether the message was delivered and dealt with; touches nothing.
    // SPEC §6, peek
    pub(super) fn is_done(&self, receipt: &Receipt) -> bool {
        self.table.has_seen(receipt.state, receipt.counter) && self.waiting.get(receipt).is_none()
    }

    /// Judges an authentic message and enters it, if it is delivered, into the replay state.
    // SPEC §7.1
    pub(super) fn admit(
        &mut self,
        case: &Case<'_>,
        delivery: &mut Delivery,
    ) -> Result<Option<Due>, Rejected> {
        let (rule, now) = (case.rule, case.message.now);
        let ahead =
            |timestamp| now.is_some_and(|now| timestamp > now.saturating_add(rule.max_skew()));
        if delivery.timestamp.is_some_and(ahead) {
            return Err(Rejected::NotFresh);
        }
        let (verdict, due) = match rule.replay() {
            Replay::Off => (Verdict::Unchecked, None),
            Replay::Latest => self.latest(case, delivery)?,
            Replay::Window => {
                self.meet(case, delivery)?;
                self.stream(case, Verdict::New, delivery)?
            }
            Replay::Fresh => {
                if !self.is_fresh(case, delivery) {
                    return Err(Rejected::NotFresh);
                }
                self.stream(case, Verdict::Fresh, delivery)?
            }
        };
        delivery.verdict = Some(verdict);
        let receipt = self.table.manual && rule.replay() != Replay::Off;
        delivery.receipt = receipt.then_some(*case.receipt);
        Ok(due)
    }

    /// Whether a stream that is not known may begin.
    fn meet(&self, case: &Case<'_>, delivery: &Delivery) -> Result<(), Rejected> {
        let allowed = match case.rule.first_contact() {
            FirstContact::Accept => true,
            _ if self.table.knows(case.receipt.state) => true,
            FirstContact::Timed => self.echoes(delivery) || is_recent(case, delivery),
            FirstContact::Refuse => false,
        };
        if allowed { Ok(()) } else { Err(Rejected::NotFresh) }
    }

    /// Whether the message answers this receiver's challenge.
    // SPEC §7.5
    fn echoes(&self, delivery: &Delivery) -> bool {
        self.challenge.is_some() && delivery.echo == self.challenge
    }

    fn is_fresh(&self, case: &Case<'_>, delivery: &Delivery) -> bool {
        if self.echoes(delivery) {
            return true;
        }
        let (Some(timestamp), Some(now)) = (delivery.timestamp, case.message.now) else {
            return false;
        };
        let valid = delivery.ttl.is_none_or(|ttl| {
            now <= timestamp.saturating_add(u64::from(ttl).saturating_mul(1_000))
        });
        // without a log, what came before the start may have been delivered then
        let since = self.table.journal.is_some()
            || self.started.is_some_and(|started| timestamp >= started);
        valid && since && is_recent(case, delivery)
    }

    /// `window`, and `fresh` once it is.
    fn stream(
        &mut self,
        case: &Case<'_>,
        first: Verdict,
        delivery: &mut Delivery,
    ) -> Result<(Verdict, Option<Due>), Rejected> {
        let state = case.receipt.state;
        let fresh = case.rule.replay() == Replay::Fresh;
        let verdict = match self.table.accept(state, &case.proof, fresh) {
            Ok(before) => {
                delivery.gap = before.and_then(|next| gap(case, next));
                first
            }
            // seen, and perhaps since forgotten by the window
            Err(rejected) => match self.waiting.get(case.receipt) {
                Some(Waiting::ForLog(verdict)) => *verdict,
                Some(Waiting::ForApplication) => return Ok((Verdict::Redelivered, None)),
                None => return Err(rejected),
            },
        };
        let lease =
            if self.table.manual { None } else { self.table.promise(state, case.receipt.counter) };
        let due = lease.map(|lease| Due { lease: Some(lease) });
        self.wait(case.receipt, verdict, due);
        Ok((verdict, due))
    }

    fn latest(
        &mut self,
        case: &Case<'_>,
        delivery: &Delivery,
    ) -> Result<(Verdict, Option<Due>), Rejected> {
        let arrival = Arrival {
            timestamp: delivery.timestamp,
            retain: case.message.retain,
            now: case.message.now,
            max_skew: case.rule.max_skew(),
            confirm: !self.table.manual,
        };
        let accepted = self.table.accept_latest(case.receipt.state, &case.proof, &arrival);
        let verdict = match (accepted, self.waiting.get(case.receipt)) {
            (Ok(Verdict::New), _) => Verdict::New,
            (Ok(_) | Err(Rejected::Duplicate), Some(Waiting::ForLog(verdict))) => *verdict,
            (Ok(again), _) => return Ok((again, None)),
            (Err(rejected), _) => return Err(rejected),
        };
        let due = self.table.journal.is_some().then_some(Due { lease: None });
        if due.is_some() {
            self.table.put_record(case.receipt.state);
        }
        self.wait(case.receipt, verdict, due);
        Ok((verdict, due))
    }

    /// Notes what an accepted message waits for, if anything.
    fn wait(&mut self, receipt: &Receipt, verdict: Verdict, due: Option<Due>) {
        let waiting = match due {
            Some(_) => Some(Waiting::ForLog(verdict)),
            // records know themselves what is confirmed
            None if self.table.manual && !receipt.record => Some(Waiting::ForApplication),
            None => None,
        };
        self.waiting.remove(receipt);
        if let Some(waiting) = waiting {
            self.waiting.insert(*receipt, waiting);
            if self.waiting.len() > MAX_UNCONFIRMED {
                self.waiting.pop_oldest();
            }
        }
    }

    /// The writes of `claim` are durable.
    pub(super) fn finish(&mut self, claim: &Claimed) {
        if let Some(lease) = claim.lease {
            self.table.promised(claim.receipt.state, lease);
        }
        let verdict = claim.delivery.verdict.unwrap_or(Verdict::New);
        self.wait(&claim.receipt, verdict, None);
    }

    /// The application has dealt with a message.
    // SPEC §7.2, §7.4
    pub(super) fn confirm(&mut self, receipt: Receipt) -> Vec<Write> {
        if !self.table.manual {
            return Vec::new();
        }
        self.waiting.remove(&receipt);
        let Receipt { record, state, kid, id, counter } = receipt;
        if record {
            self.table.confirm_record(state, (kid, id, counter));
        } else if let Some(lease) = self.table.promise(state, counter) {
            self.table.promised(state, lease);
        }
        self.take_writes()
    }

    pub(super) fn take_writes(&mut self) -> Vec<Write> {
        self.table.journal.as_mut().map(super::table::Journal::take).unwrap_or_default()
    }

    /// The last writes: what was not confirmed may come again.
    pub(super) fn stop(&mut self) -> Vec<Write> {
        for (receipt, _) in self.waiting.iter() {
            self.table.forget(&receipt);
        }
        self.table.stop()
    }
}

/// Whether the message was sealed at most `max_age` ago.
fn is_recent(case: &Case<'_>, delivery: &Delivery) -> bool {
    let age = case.message.now.zip(delivery.timestamp).map(|(now, ts)| now.saturating_sub(ts));
    age.is_some_and(|age| age <= case.rule.max_age())
}

/// Counters that are missing between `next` and the message, where that is evidence: the session
/// serves one topic, and all of it comes here.
fn gap(case: &Case<'_>, next: u32) -> Option<NonZeroU32> {
    let counter = case.receipt.counter;
    let missing = NonZeroU32::new(counter.checked_sub(next)?)?;
    let told = counter != WILL_COUNTER
        && case.receipt.id.form() == Form::Session
        && !case.message.shared
        && has_one_topic(case.policy, case.rule, case.topic);
    told.then_some(missing)
}

/// Whether no other topic shares the scope.
fn has_one_topic(policy: &Policy, rule: &Rule, topic: TopicName<'_>) -> bool {
    match rule.scope() {
        // a topic of as many levels shares its scope with those below it
        Scope::Path { depth } => bound_topic(rule, topic)
            .is_some_and(|topic| topic.levels().count() < usize::from(*depth)),
        Scope::Named(_) => {
            let sharing = policy.rules().iter().filter(|other| other.scope() == rule.scope());
            let mut topics = rule.topics();
            let single = |filter: TopicFilter<'_>| !filter.as_str().contains(['+', '#']);
            let one = topics.next().is_some_and(single) && topics.next().is_none();
            one && sharing.count() == 1 && *rule.topic_binding() != TopicBinding::Carried
        }
    }
}

#[cfg(test)]
mod tests;
