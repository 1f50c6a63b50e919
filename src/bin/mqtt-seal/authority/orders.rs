//! `authority rotate` and `authority revoke`: orders that an authority that runs carries out.

use mqtt_seal::Grant;
use mqtt_seal::keyring::{MAX_LIVE_KEYS, State};
use mqtt_seal::store::key_file::{self, KeyFile, KeyFileLock};
use mqtt_seal::store::ledger_file::{LedgerFile, Rotation};

use super::LedgerArg;
use crate::fault::Fault;
use crate::files::KeysArg;
use crate::{moment, show};

const CARRIED_OUT: &str = "mqtt-seal authority run carries it out";

/// Order the next generation of keys for every device
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mqtt-seal authority rotate --deadline 24h --retire 7d")]
pub(super) struct RotateArgs {
    /// How long devices are waited for that do not acknowledge the new generation
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = moment::seconds)]
    deadline: u64,
    /// How long the generation before opens after the new one seals; publish retained values anew
    /// within it
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = moment::seconds)]
    retire: u64,
    #[command(flatten)]
    ledger: LedgerArg,
    #[command(flatten)]
    keys: KeysArg,
}

/// Take a device out, and order the next generation for everybody else
///
/// It gets no new keys, and is told to forget those it has. Until the generation that it has is
/// erased it may go on with that one: keep both times short.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mqtt-seal authority revoke pump-7")]
pub(super) struct RevokeArgs {
    /// The device
    device: String,
    /// How long other devices are waited for that do not acknowledge the new generation
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = moment::seconds)]
    deadline: u64,
    /// How long the generation before opens after the new one seals
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = moment::seconds)]
    retire: u64,
    #[command(flatten)]
    ledger: LedgerArg,
    #[command(flatten)]
    keys: KeysArg,
}

impl RotateArgs {
    pub(super) fn run(&self) -> Result<(), Fault> {
        let (ledger, keys, _lock) = open(&self.ledger, &self.keys)?;
        let failed = |error| Fault::told(&error, "check the ledger");
        let order = ledger.rotation().map_err(failed)?;
        if let Some(order) = order.filter(|order| sealing(&keys) <= order.past) {
            let what = format!("a rotation after generation {} is under way", order.past);
            return Err(Fault::new(what, format!("wait: {CARRIED_OUT}")));
        }
        let numbers = generations(&keys, |_| true);
        if numbers.len() >= MAX_LIVE_KEYS {
            let what =
                format!("the key file has {} generations, and clients use no more", numbers.len());
            return Err(Fault::new(what, "erase one with mqtt-seal rotate erase"));
        }
        // what was drawn by hand, and never sealed, is as good as another
        let newest = keys.grants().max_by_key(|grant| grant.generation());
        let drawn = newest.filter(|grant| grant.state() == State::Pending);
        let past = greatest(&keys).saturating_sub(u32::from(drawn.is_some()));
        let rotation = ordered(past, self.deadline, self.retire);
        ledger.rotate(rotation).map_err(failed)?;
        show::line(&format!("a rotation after generation {past} is ordered: {CARRIED_OUT}"))
    }
}

impl RevokeArgs {
    pub(super) fn run(&self) -> Result<(), Fault> {
        let (ledger, keys, _lock) = open(&self.ledger, &self.keys)?;
        let past = greatest(&keys);
        let rotation = ordered(past, self.deadline, self.retire);
        let revoked = ledger.revoke(&self.device, rotation);
        revoked.map_err(|error| Fault::told(&error, "check the ledger"))?;
        show::line(&format!(
            "{} is revoked, and a rotation after generation {past} is ordered: {CARRIED_OUT}",
            self.device
        ))?;
        // a revocation is not put off for them
        let kept = generations(&keys, |grant| grant.state() != State::Pending);
        let surplus = kept.len().saturating_add(1).saturating_sub(MAX_LIVE_KEYS);
        kept.iter().take(surplus).try_for_each(|generation| {
            show::line(&format!(
                "clients use {MAX_LIVE_KEYS} generations: with the next one, what is sealed under \
                 generation {generation} opens no more; publish it again"
            ))
        })
    }
}

/// The ledger, and the keys: nobody draws another generation while the lock lives, so that what a
/// revoked device may have is known.
fn open(ledger: &LedgerArg, keys: &KeysArg) -> Result<(LedgerFile, KeyFile, KeyFileLock), Fault> {
    // before anything is created beside a file that is not there
    let (ledger, _) = ledger.open_with(keys)?;
    let lock = key_file::lock(&keys.keys).map_err(|error| {
        let what = format!("{}: cannot be locked, {}", keys.keys.display(), error.kind());
        Fault::new(what, "check the folder and its permissions")
    })?;
    Ok((ledger, keys.read()?, lock))
}

fn ordered(past: u32, patience: u64, retire: u64) -> Rotation {
    Rotation { past, ordered: moment::now_ms(), patience, retire }
}

/// The numbers of these generations, the oldest first.
fn generations(keys: &KeyFile, which: impl Fn(&&Grant) -> bool) -> Vec<u32> {
    let mut numbers: Vec<u32> = keys.grants().filter(which).map(Grant::generation).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn greatest(keys: &KeyFile) -> u32 {
    keys.grants().map(Grant::generation).max().unwrap_or_default()
}

fn sealing(keys: &KeyFile) -> u32 {
    let active = keys.grants().filter(|grant| grant.state() == State::Active);
    active.map(Grant::generation).max().unwrap_or_default()
}
