//! The proxy's counters as Prometheus reads them. Knows no HTTP.

use core::fmt;
use core::time::Duration;
use std::borrow::ToOwned as _;
use std::boxed::Box;
use std::string::{String, ToString as _};
use std::sync::Arc;
use std::vec::Vec;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::proxy::meters::{Direction, LATENCY_BOUNDS, RuleMeter, VERDICTS, lock};
use crate::proxy::vouch::{OUTCOMES, Standing};
use crate::proxy::{Core, InForce};

/// Stands before every name.
const PREFIX: &str = "mqtt_seal_proxy";

/// All metrics in one text.
pub(super) fn text(core: &Arc<Core>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Metrics(Arc::clone(core))));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Metrics(Arc<Core>);

/// Labels of one number.
type Labels = Vec<(&'static str, String)>;
/// The numbers of one rule under one name.
type OfRule = fn(&RuleMeter) -> Vec<(Labels, u64)>;

/// What is counted for each rule: its name, what it means, and where it is.
const RULES: [(&str, &str, OfRule); 9] = [
    ("sealed_messages", "Messages sealed towards the broker", |rule| one(rule.sealed.get())),
    ("sealed_bytes", "Bytes of their payloads before", |rule| one(rule.sealed_bytes.get())),
    ("opened_messages", "Messages opened for clients", |rule| one(rule.opened.get())),
    ("opened_bytes", "Bytes of their payloads after", |rule| one(rule.opened_bytes.get())),
    ("clear_messages", "Messages passed in clear", |rule| {
        let directed =
            |direction: &str, count| ([("direction", direction.to_owned())].into(), count);
        [directed("to_broker", rule.clear_out.get()), directed("to_client", rule.clear_in.get())]
            .into()
    }),
    ("clear_bytes", "Bytes of their payloads", |rule| one(rule.clear_bytes.get())),
    ("resent_messages", "Messages sent again as they were", |rule| one(rule.resent.get())),
    ("verdicts", "Messages opened, by what is known of their newness", |rule| {
        let verdicts = VERDICTS.iter().zip(&rule.verdicts);
        verdicts
            .map(|(name, count)| ([("verdict", (*name).to_owned())].into(), count.get()))
            .collect()
    }),
    ("rejected_messages", "Messages that did not pass, replays among them", |rule| {
        let rejected = lock(&rule.rejected);
        let row = |(&(direction, reason), &count): (&(Direction, &str), &u64)| {
            let labels =
                [("direction", direction.name().to_owned()), ("reason", reason.to_owned())];
            (labels.into(), count)
        };
        rejected.iter().map(row).collect()
    }),
];

fn one(count: u64) -> Vec<(Labels, u64)> {
    [(Labels::new(), count)].into()
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let meters = &self.0.meters;
        build(&mut encoder)?;
        let mut gauge = |name, help, value: u64| {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)
        };
        gauge("connections", "Clients that are connected", meters.open.get())?;
        if let Some(vouching) = &self.0.vouching {
            let vouched = matches!(vouching.standing(), Standing::Vouched { .. });
            gauge("broker_vouched", "Whether the broker's key is vouched for", vouched.into())?;
        }
        let mut counter = |name, help, value: u64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)
        };
        counter("connections_accepted", "Connections of clients", meters.accepted.get())?;
        let refused = meters.refused_connections.get();
        counter("connections_refused", "CONNECTs that the proxy refused", refused)?;
        let failures = meters.broker_failures.get();
        counter("broker_failures", "Connections to the broker that failed", failures)?;
        let help = "Messages without acknowledgement that were forgotten to make room";
        counter("forgotten_messages", help, self.0.clients.forgotten.get())?;
        counter(
            "reloads",
            "Times that other rules and keys were put in force",
            meters.reloads.get(),
        )?;
        self.broker(&mut encoder)?;
        let in_force = self.0.in_force();
        for (name, help, of_rule) in RULES {
            rules(&mut encoder, (name, help), &in_force, of_rule)?;
        }
        self.latency(&mut encoder)
    }
}

fn build(encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "The version that runs";
    // no info metric: those who read the older format do not know that type
    let mut metric = encoder.encode_descriptor("build_info", help, None, MetricType::Gauge)?;
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    ConstGauge::new(1_i64).encode(metric.encode_family(&version)?)
}

/// Writes what `of_rule` finds, for each rule and for topics without one.
fn rules(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    in_force: &InForce,
    of_rule: OfRule,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    let meters = &in_force.meters;
    let numbers = (1_usize..).map(|number| number.to_string());
    let rules = numbers.zip(&meters.rules).chain([("none".into(), &meters.no_rule)]);
    for (number, rule) in rules {
        for (own, count) in of_rule(rule) {
            let mut labels =
                Labels::from([("rule", number.clone()), ("topics", rule.topics.clone())]);
            labels.extend(own);
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

impl Metrics {
    /// What verifies the broker, and how the authority answered where it is asked.
    fn broker(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "What verifies the broker";
        let mut metric =
            encoder.encode_descriptor("broker_verification", help, None, MetricType::Gauge)?;
        let by = [("by", self.0.settings.verified_by)];
        ConstGauge::new(1_i64).encode(metric.encode_family(&by)?)?;
        let Some(vouching) = &self.0.vouching else { return Ok(()) };
        let help = "Times that the authority was asked for the broker's key, by what came of it";
        let mut family = encoder.encode_descriptor("probes", help, None, MetricType::Counter)?;
        for (outcome, count) in OUTCOMES.iter().zip(&vouching.probes) {
            let labels = [("outcome", *outcome)];
            ConstCounter::new(count.get()).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// How long packets are in the proxy, from when they were read to when they were written.
    fn latency(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (counts, sum) = self.0.meters.latency();
        let seconds = |micros: u64| Duration::from_micros(micros).as_secs_f64();
        let bounds = LATENCY_BOUNDS.iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(counts.iter().copied()).collect();
        let count = counts.iter().fold(0, |sum: u64, count| sum.saturating_add(*count));
        let help = "Seconds from reading a packet to writing it";
        let kind = MetricType::Histogram;
        let mut metric = encoder.encode_descriptor("latency_seconds", help, None, kind)?;
        metric.encode_histogram::<NoLabelSet>(seconds(sum), count, &buckets, None)
    }
}
