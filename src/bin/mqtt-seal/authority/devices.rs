//! `authority devices`: who is in the ledger, and how far each has come.

use mqtt_seal::store::ledger_file::{DeviceRow, Progress};
use serde_json::{Value, json};

use super::LedgerArg;
use crate::fault::Fault;
use crate::{moment, show};

/// List the devices of the ledger: when they were there, and which keys they have
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mqtt-seal authority devices")]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    ledger: LedgerArg,
}

impl Args {
    pub(super) fn run(&self) -> Result<(), Fault> {
        let ledger = self.ledger.open()?;
        let failed = |error| Fault::told(&error, "check the ledger");
        let (devices, order) = (ledger.devices().map_err(failed)?, ledger.rotation());
        let order = order.map_err(failed)?;
        if self.json {
            let rows = devices.iter().map(|(id, row, progress)| json_of(id, row, progress));
            let rows: Vec<Value> = rows.collect();
            let realm = ledger.settings().realm();
            let past = order.map(|order| order.past);
            return show::json(&json!({ "realm": realm, "rotation_after": past, "devices": rows }));
        }
        let heads = ["device", "seen", "generation", "serial", "acknowledged", "state"];
        let mut rows = vec![heads.map(String::from).to_vec()];
        rows.extend(devices.iter().map(|(id, row, progress)| cells(id, row, progress)));
        show::table(&rows)?;
        order.map_or(Ok(()), |order| {
            show::line(&format!("a rotation after generation {} is ordered", order.past))
        })
    }
}

const fn state(row: &DeviceRow, progress: &Progress) -> &'static str {
    match (row.revoked, progress.is_current()) {
        (true, true) => "revoked, forgot",
        (true, false) => "revoked",
        (false, true) => "current",
        (false, false) => "pending",
    }
}

fn cells(id: &str, row: &DeviceRow, progress: &Progress) -> Vec<String> {
    let number = |number: u64| if number == 0 { "-".into() } else { number.to_string() };
    let seen = Some(progress.seen).filter(|seen| *seen > 0);
    vec![
        id.into(),
        seen.map_or_else(|| "-".into(), moment::second),
        number(progress.known.into()),
        number(progress.serial),
        number(progress.acknowledged),
        state(row, progress).into(),
    ]
}

fn json_of(id: &str, row: &DeviceRow, progress: &Progress) -> Value {
    json!({
        "device": id, "seen": progress.seen, "generation": progress.known,
        "serial": progress.serial, "acknowledged": progress.acknowledged,
        "revoked": row.revoked, "current": progress.is_current(),
    })
}
