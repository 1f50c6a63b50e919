//! What the status page shows, as JSON. Texts of strangers stand in it as they are: whoever shows
//! them takes care.

use std::string::{String, ToString as _};
use std::vec::Vec;

use serde_json::{Value, json};

use crate::policy::Links;
use crate::proxy::Core;
use crate::proxy::meters::{
    Connection, Rejection, RuleMeter, Seen, Shows, VERDICTS, lock, unix_ms,
};
use crate::proxy::vouch::{Failure, Standing};

/// Connections that are shown; of more, the number is.
const MAX_CONNECTIONS: usize = 200;

/// Everything that the page shows.
pub(super) fn status(core: &Core) -> Value {
    let meters = &core.meters;
    let connections = meters.connections();
    let shown = connections.iter().take(MAX_CONNECTIONS).map(|(_, one)| connection(one));
    let in_force = core.in_force();
    let rules = (1..).zip(&in_force.meters.rules);
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "now": unix_ms(),
        "started": meters.started,
        "links": match core.settings.links {
            Links::Tcp => "tcp",
            Links::Tls => "tls",
            Links::Both => "tls and tcp",
        },
        "broker": broker(core),
        "payloads": meters.shows == Shows::Payloads,
        "open": meters.open.get(),
        "accepted": meters.accepted.get(),
        "refused": meters.refused_connections.get(),
        "broker_failures": meters.broker_failures.get(),
        "forgotten": core.clients.forgotten.get(),
        "reloads": meters.reloads.get(),
        "connections": shown.collect::<Vec<_>>(),
        "rules": rules.map(|(number, meter)| rule(Some(number), meter)).collect::<Vec<_>>(),
        "no_rule": rule(None, &in_force.meters.no_rule),
        "rejections": meters.rejections().iter().map(rejection).collect::<Vec<_>>(),
        "messages": meters.seen().iter().map(message).collect::<Vec<_>>(),
    })
}

/// How the broker is verified, and what came of it where the authority has to be asked.
fn broker(core: &Core) -> Value {
    let by = core.settings.verified_by;
    let Some(vouching) = &core.vouching else {
        return json!({ "verified_by": by });
    };
    let (standing, key, since, error) = match vouching.standing() {
        Standing::Unknown => ("unknown", None, None, None),
        Standing::Vouched { pin, since, .. } => {
            ("vouched", Some(pin.to_string()), Some(since), None)
        }
        Standing::Pinned { failure, .. } => {
            ("pinned", None, failure.map(|failure| failure.since), None)
        }
        Standing::Failed(Failure { error, since, .. }) => {
            let standing = if error.is_refusal() { "refused" } else { "unknown" };
            (standing, None, Some(since), Some(error.to_string()))
        }
    };
    json!({
        "verified_by": by,
        "authority": vouching.authority(),
        "standing": standing,
        "key": key,
        "since": since,
        "error": error,
    })
}

fn connection(connection: &Connection) -> Value {
    json!({
        "client_id": *lock(&connection.client_id),
        "version": connection.version.to_string(),
        "since": connection.since,
        "to_broker": connection.to_broker.get(),
        "to_client": connection.to_client.get(),
        "rejected": connection.rejected.get(),
    })
}

fn rule(number: Option<u64>, meter: &RuleMeter) -> Value {
    let verdicts = VERDICTS.iter().zip(&meter.verdicts);
    let verdicts = verdicts.map(|(name, count)| (String::from(*name), count.get().into()));
    let rejected = lock(&meter.rejected);
    let rejected = rejected.iter().map(|((direction, reason), count)| {
        json!({ "direction": direction.name(), "reason": reason, "count": count })
    });
    json!({
        "rule": number,
        "topics": meter.topics,
        "payload": meter.payload,
        "sealed": meter.sealed.get(),
        "opened": meter.opened.get(),
        "clear_to_broker": meter.clear_out.get(),
        "clear_to_client": meter.clear_in.get(),
        "resent": meter.resent.get(),
        "verdicts": Value::Object(verdicts.collect()),
        "rejected": rejected.collect::<Vec<_>>(),
    })
}

fn rejection(rejection: &Rejection) -> Value {
    json!({
        "at": rejection.at,
        "client_id": rejection.client_id,
        "topic": rejection.topic,
        "direction": rejection.direction.name(),
        "reason": rejection.reason,
    })
}

fn message(seen: &Seen) -> Value {
    let side = |(text, bytes): &(Option<String>, usize)| json!({ "text": text, "bytes": bytes });
    json!({
        "at": seen.at,
        "topic": seen.topic,
        "direction": seen.direction.name(),
        "clear": seen.clear,
        "broker": side(&seen.broker),
        "client": side(&seen.client),
    })
}
