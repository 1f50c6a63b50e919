//! An authority at a broker: a loop over a [`Fleet`], a ledger and a client. Decides nothing.

use core::time::Duration;
use std::collections::VecDeque;
use std::path::Path;
use std::string::String;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use std::vec::Vec;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::event::{AuthorityError, Event};
use super::fleet::{Fleet, Heard, Outgoing};
use super::keys::Keys;
use crate::client::handle::{AsyncClient, EventLoop};
use crate::client::{ClientError, Event as Told, Message};
use crate::guard::QoS;
use crate::peer::{BrokerName, SpkiHash};
use crate::policy::{Policy, Rule, RuleError, Transport};
use crate::store::ledger_file::{Claim, LedgerFile, LedgerFileError, Settings};

/// How often it looks at the files, and writes what it heard.
const TICK: Duration = Duration::from_millis(100);
/// How often it tells that messages were ignored.
const REPORT: Duration = Duration::from_secs(1);
/// Updates that are stored with one write.
const BATCH: usize = 256;
/// Challenges that are told between two reports. Of more, which anybody can bring about who has
/// recorded one, devices are answered all the same.
const MAX_ASKED: u32 = 100;
/// Answers that wait to be sent, some 4 MiB of them: a whole fleet asks at once when a broker is back.
/// A device whose answer is let go asks again.
const MAX_ANSWERS: usize = 16_384;

/// An authority that runs: it answers its devices, publishes their updates and drives rotations.
///
/// It ends with its value, at any moment: what was not stored was not published, and the next one
/// on the same ledger goes on from there. `V` is the version of the MQTT client.
#[derive(Debug)]
pub struct Authority<V> {
    client: AsyncClient<V>,
    events: EventLoop,
    claim: Arc<Claim>,
    /// Changes by others that were seen.
    seen: u64,
    fleet: Fleet,
    keys: Keys,
    answers: VecDeque<Outgoing>,
    updates: VecDeque<Outgoing>,
    /// Whether the last message that was sent was an answer: an update goes next.
    answered: bool,
    told: VecDeque<Event>,
    ignored: u64,
    /// Challenges since the last report.
    asked: u32,
    reported: Instant,
    settled: bool,
    /// Whether it was told that the updates are ahead of the clock.
    is_ahead: bool,
    ticks: Interval,
    extra: Vec<u8>,
}

/// What an authority is made of, beside its client.
#[derive(Debug)]
#[non_exhaustive]
pub struct Setup {
    claim: Claim,
    keys: Keys,
    fleet: Fleet,
    seen: u64,
}

impl Setup {
    /// Claims `ledger` and reads the key file at `keys`. Devices may have brokers with any of
    /// `pins` from updates.
    ///
    /// # Errors
    /// [`AuthorityError::Ledger`], [`AuthorityError::Keys`], [`AuthorityError::Realm`],
    /// [`AuthorityError::Row`].
    pub fn new(
        ledger: &LedgerFile,
        keys: impl AsRef<Path>,
        pins: Vec<SpkiHash>,
    ) -> Result<Self, AuthorityError> {
        let claim = ledger.claim()?;
        let settings = ledger.settings();
        let keys = Keys::read(keys.as_ref(), settings.realm())?;
        let mut fleet = Fleet::new(settings, pins, now())?;
        let seen = claim.changes()?;
        fleet.load(claim.load()?)?;
        Ok(Self { claim, keys, fleet, seen })
    }

    /// Vouches for a broker with these TLS keys; of none, devices accept no TLS link to it.
    #[must_use]
    pub fn vouch(mut self, broker: BrokerName<'_>, pins: Vec<SpkiHash>) -> Self {
        self.fleet.vouch(broker, pins);
        self
    }

    /// Starts. `client` and `events` belong together and have the rules of [`policy`].
    ///
    /// # Errors
    /// [`AuthorityError::Client`].
    pub async fn start<V>(
        self,
        client: AsyncClient<V>,
        events: EventLoop,
    ) -> Result<Authority<V>, AuthorityError> {
        let Self { claim, keys, fleet, seen } = self;
        let settings = claim.ledger().settings();
        for filter in [settings.request(), settings.acknowledgements()] {
            client.subscribe(filter, QoS::AtLeastOnce).await?;
        }
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let extra = [&std::process::id().to_be_bytes()[..], &now().to_be_bytes()].concat();
        Ok(Authority {
            client,
            events,
            claim: Arc::new(claim),
            seen,
            fleet,
            keys,
            answers: VecDeque::new(),
            updates: VecDeque::new(),
            answered: false,
            told: VecDeque::new(),
            ignored: 0,
            asked: 0,
            reported: Instant::now(),
            settled: false,
            is_ahead: false,
            ticks,
            extra,
        })
    }
}

/// The rules of an authority's client, which needs no keyring: what it sends and takes on its own
/// topics is sealed already, and nothing else goes out.
///
/// # Errors
/// [`RuleError`] if the topics make no rule.
pub fn policy(settings: &Settings) -> Result<Policy, RuleError> {
    let topics = ["/keys/#", "/auth/#"].map(|filter| [settings.prefix(), filter].concat());
    let topics = topics.iter().map(String::as_str);
    let rule = Rule::clear(topics).transport(Transport::Any).build()?;
    Ok(Policy::new(std::vec![rule]))
}

impl<V> Authority<V> {
    /// The next event. Poll it: nothing goes on without.
    ///
    /// A future that is dropped may leave an update for the next connection to publish; drop the
    /// authority with it.
    ///
    /// # Errors
    /// [`AuthorityError`]: the authority has ended.
    pub async fn next(&mut self) -> Result<Event, AuthorityError> {
        loop {
            if let Some(event) = self.told.pop_front() {
                return Ok(event);
            }
            let is_answer = is_answer_next(self.answers.len(), self.updates.len(), self.answered);
            let waiting = if is_answer { &self.answers } else { &self.updates }.front();
            tokio::select! {
                event = self.events.poll() => self.take(event.ok_or(AuthorityError::Ended)?).await?,
                sent = publish(&self.client, waiting), if waiting.is_some() => {
                    self.told.extend(sent?);
                    self.sent(is_answer).await?;
                }
                _ = self.ticks.tick() => self.tick().await?,
            }
        }
    }

    /// The devices and the rotation as they stand.
    #[must_use]
    pub const fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Stores what was heard, sends what was prepared, and takes leave of the broker.
    ///
    /// # Errors
    /// [`AuthorityError`]; the authority has ended all the same.
    pub async fn stop(mut self) -> Result<(), AuthorityError> {
        self.fleet.disconnected();
        self.prepare().await?;
        if self.client.disconnect().await.is_ok() {
            while self.events.poll().await.is_some() {}
        }
        Ok(())
    }

    async fn take(&mut self, event: Told) -> Result<(), AuthorityError> {
        match event {
            Told::Message(message) => {
                self.hear(&message);
                self.client.ack(&message).await?;
            }
            Told::LinkUp { .. } => {
                self.fleet.connected();
                self.told.push_back(Event::Connected);
            }
            Told::LinkDown { error, .. } => {
                self.fleet.disconnected();
                self.answers.clear();
                self.updates.clear();
                self.told.push_back(Event::Disconnected { error });
            }
            Told::SubscribeFailed { filter, .. } => {
                return Err(AuthorityError::Subscribe { filter });
            }
            Told::PublishFailed { topic, reason } => {
                self.told.push_back(Event::NotPublished { topic, error: reason });
            }
            Told::Missed { count } => self.ignored = self.ignored.saturating_add(count),
            _ => {}
        }
        Ok(())
    }

    fn hear(&mut self, message: &Message) {
        let (topic, bytes) = (message.topic.as_str(), message.payload.as_slice());
        let mut rng = getrandom::SysRng;
        let heard = self.fleet.receive(topic, bytes, now(), &mut rng, &[&self.extra]);
        let event = match heard {
            Ok(Heard::Challenge { answer, device, broker }) if self.answers.len() < MAX_ANSWERS => {
                self.answers.push_back(answer);
                self.is_told().then_some(Event::Answered { device, broker })
            }
            Ok(Heard::OtherBroker { device, broker }) => {
                self.is_told().then_some(Event::OtherBroker { device, broker })
            }
            Ok(Heard::Seen { device, broker }) => Some(Event::Seen { device, broker }),
            Ok(Heard::Acknowledged { device, serial }) => {
                Some(Event::Acknowledged { device, serial })
            }
            Ok(Heard::Ahead { device, serial }) => Some(Event::Ahead { device, serial }),
            Ok(Heard::Old) => None,
            Ok(Heard::Challenge { .. }) | Err(_) => {
                self.ignored = self.ignored.saturating_add(1);
                None
            }
        };
        self.told.extend(event);
    }

    /// Whether one more challenge is told.
    const fn is_told(&mut self) -> bool {
        self.asked = self.asked.saturating_add(1);
        self.asked <= MAX_ASKED
    }

    async fn sent(&mut self, is_answer: bool) -> Result<(), AuthorityError> {
        self.answered = is_answer;
        if is_answer { &mut self.answers } else { &mut self.updates }.pop_front();
        // the next batch of what is left, without a pause
        if self.updates.is_empty() && self.fleet.is_due() {
            self.prepare().await?;
        }
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), AuthorityError> {
        // the keys before the ledger: whoever was revoked before a key was drawn is not given it
        match self.keys.refresh() {
            Ok(true) => self.fleet.keys_changed(),
            Ok(false) => {}
            Err(AuthorityError::Keys(error)) => {
                self.told.push_back(Event::KeysUnreadable { error });
            }
            Err(error) => return Err(error),
        }
        let changes = self.claim.changes()?;
        if changes != self.seen {
            let claim = Arc::clone(&self.claim);
            let loaded = patient(move || claim.load()).await?;
            self.fleet.load(loaded)?;
            self.seen = changes;
        }
        let (fleet, claim, seen) = (&self.fleet, &self.claim, self.seen);
        // asked under the lock of the key file, which whoever revokes holds: a generation is either
        // drawn before and thrown away for the revocation, or drawn with knowledge of it
        let unchanged = || claim.changes().is_ok_and(|changes| changes == seen);
        // one at a time: between two of them devices are told
        if fleet.step(self.keys.file(), now()).is_some()
            && let Some(step) = self
                .keys
                .change(|file| fleet.step(file, now()).filter(|_| unchanged()), now())
                .await?
        {
            self.fleet.keys_changed();
            self.told.push_back(Event::Stepped { step });
        }
        if self.updates.is_empty() {
            self.prepare().await?;
        }
        self.report();
        Ok(())
    }

    /// Stores and then publishes what there is.
    async fn prepare(&mut self) -> Result<(), AuthorityError> {
        let mut rng = getrandom::SysRng;
        let extra: &[&[u8]] = &[&self.extra];
        let prepared = self.fleet.prepare(self.keys.file(), now(), &mut rng, extra, BATCH)?;
        if !prepared.changes().is_empty() {
            let (claim, changes) = (Arc::clone(&self.claim), prepared.changes().clone());
            patient(move || claim.write(&changes)).await?;
        }
        let updated = prepared.updated();
        let updated = updated.map(|(device, serial)| (String::from(device), serial));
        let updated = updated.map(|(device, serial)| Event::Updated { device, serial });
        let unfit = prepared.unfit();
        let unfit = unfit.map(|(device, reason)| (String::from(device), reason));
        let unfit = unfit.map(|(device, reason)| Event::Unfit { device, reason });
        self.told.extend(updated.chain(unfit));
        self.updates.extend(prepared.stored());
        let ahead = self.fleet.ahead(now());
        if let Some(seconds) = ahead.filter(|_| !self.is_ahead) {
            self.told.push_back(Event::UpdatesAhead { seconds });
        }
        self.is_ahead = ahead.is_some();
        Ok(())
    }

    fn report(&mut self) {
        if self.reported.elapsed() >= REPORT {
            self.reported = Instant::now();
            self.asked = 0;
            if self.ignored > 0 {
                let count = core::mem::take(&mut self.ignored);
                self.told.push_back(Event::Ignored { count });
            }
        }
        let settled = self.fleet.is_settled();
        if settled && !self.settled {
            self.told.push_back(Event::Settled);
        }
        self.settled = settled;
    }
}

/// Whether an answer is sent next. They take turns with updates: challenges are repeated by anyone
/// who hears one, and would keep all updates back.
const fn is_answer_next(answers: usize, updates: usize, answered: bool) -> bool {
    answers > 0 && (updates == 0 || !answered)
}

/// Publishes one message, as soon as there is room for it, or says that it never goes out. Cancel
/// safe.
async fn publish<V>(
    client: &AsyncClient<V>,
    message: Option<&Outgoing>,
) -> Result<Option<Event>, AuthorityError> {
    let Some(Outgoing { topic, payload, retain }) = message else { return Ok(None) };
    match client.publish(topic.as_str(), QoS::AtLeastOnce, *retain, payload.as_slice()).await {
        Ok(_) => Ok(None),
        Err(error @ ClientError::TooLarge { .. }) => {
            Ok(Some(Event::NotPublished { topic: topic.clone(), error }))
        }
        Err(error) => Err(error.into()),
    }
}

/// Reads or writes the ledger, however long others keep it.
async fn patient<T: Send + 'static>(
    work: impl Fn() -> Result<T, LedgerFileError> + Clone + Send + 'static,
) -> Result<T, AuthorityError> {
    loop {
        match blocking(work.clone()).await? {
            Err(LedgerFileError::Busy { .. }) => {}
            outcome => return Ok(outcome?),
        }
    }
}

/// Runs what waits for the storage beside the runtime's threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AuthorityError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| AuthorityError::Thread)
}

/// Unix milliseconds.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn ledger_that_others_keep_is_waited_for() {
        let tries = Arc::new(AtomicU32::new(0));
        let work = move || match tries.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => Err(LedgerFileError::Busy { path: "ledger".into() }),
            2 => Ok(5),
            _ => Err(LedgerFileError::Damaged { path: "ledger".into() }),
        };
        assert_eq!(patient(work.clone()).await.unwrap(), 5);
        assert!(patient(work).await.is_err());
    }

    #[test]
    fn answers_do_not_keep_updates_back() {
        assert!(is_answer_next(9, 9, false));
        assert!(!is_answer_next(9, 9, true), "an update goes between two answers");
        assert!(is_answer_next(9, 0, true));
        assert!(!is_answer_next(0, 9, false));
        assert!(!is_answer_next(0, 0, false));
    }
}
