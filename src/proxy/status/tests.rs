//! Metrics and JSON out of counters, and the page over real sockets.

use std::collections::BTreeSet;
use std::string::{String, ToString as _};
use std::sync::Arc;
use std::vec;
use std::vec::Vec;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::client::LinkError;
use crate::guard::Config;
use crate::keyring::Keyring;
use crate::policy::{Links, Policy, Rule, Transport};
use crate::proxy::clients::Clients;
use crate::proxy::meters::{Connection, Count, Direction, Meters, Rejection, Shows, lock};
use crate::proxy::packet::Version;
use crate::proxy::sent::DigestKey;
use crate::proxy::session::Limits;
use crate::proxy::vouch::tests::{AWAY, NOT_VOUCHED, SILENT, after, pinned};
use crate::proxy::{InForce, Settings};
use crate::replay::Verdict;

const HOSTILE: &str = "a\"} 1\nb\\<img src=x onerror=alert(1)>";

/// What a proxy has of a rule for `a/#`, and of a clear one for `topic` unless that is empty.
pub(super) fn core(topic: &str) -> Arc<Core> {
    core_that_shows(topic, Shows::Sealed)
}

/// The same before a broker that the authority verifies, after these probes.
pub(super) fn core_after(topic: &str, outcomes: &[Result<(), LinkError>]) -> Arc<Core> {
    let mut core = core(topic);
    let whole = Arc::get_mut(&mut core).unwrap();
    whole.settings.verified_by = "authority";
    whole.vouching = Some(after(outcomes));
    core
}

fn core_that_shows(topic: &str, shows: Shows) -> Arc<Core> {
    let mut rules = vec![Rule::sealed(["a/#"]).build().unwrap()];
    if !topic.is_empty() {
        rules.push(Rule::clear([topic]).transport(Transport::Any).build().unwrap());
    }
    let config = Config::new(Policy::new(rules), Keyring::default(), Links::Tcp);
    Arc::new(Core {
        settings: Settings {
            links: Links::Tcp,
            max_packet: 1 << 20,
            plain_suffix: "-tcp".into(),
            credentials_in_clear: false,
            forward_bare_deletes: false,
            verified_by: "nothing",
            auth_topics: None,
        },
        in_force: std::sync::RwLock::new(Arc::new(InForce::new(config))),
        clients: Clients::default(),
        keeper: None,
        digest_key: DigestKey([0; 16]),
        meters: Meters::new(shows),
        vouching: None,
        plain_limits: std::sync::Mutex::new(Limits::default()),
    })
}

fn busy_core() -> Arc<Core> {
    let core = core_after(HOSTILE, &[Ok(()), Ok(()), Err(NOT_VOUCHED)]);
    let in_force = core.in_force();
    let rule = in_force.meters.get(Some(0));
    rule.sealed.add(3);
    rule.opened.add(2);
    rule.verdict(Verdict::New);
    rule.verdict(Verdict::Redelivered);
    rule.reject(Direction::ToClient, "NotAuthentic");
    rule.reject(Direction::ToBroker, "Refused");
    in_force.meters.get(Some(1)).clear_out.add(1);
    in_force.meters.get(None).reject(Direction::ToBroker, "Refused");
    core.meters.took(Duration::from_micros(15), 2);
    core.meters.took(Duration::from_secs(1), 1);
    core
}

/// The samples of a text of metrics, checked as a scraper reads them: name, labels, value.
fn samples(text: &str) -> Vec<(&str, &str, f64)> {
    let mut families = Vec::new();
    let mut seen = BTreeSet::new();
    let mut samples = Vec::new();
    let body = text.strip_suffix("# EOF\n").unwrap();
    for line in body.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (family, kind) = kind.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(!families.contains(&(family, kind)), "{family} comes twice");
            families.push((family, kind));
            continue;
        }
        if let Some(help) = line.strip_prefix("# HELP ") {
            assert!(help.split_once(' ').is_some_and(|(_, text)| !text.is_empty()), "{line}");
            continue;
        }
        let (key, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = key
            .split_once('{')
            .map_or((key, ""), |(name, labels)| (name, labels.strip_suffix('}').unwrap()));
        let (family, kind) = *families.last().unwrap();
        let suffix = name.strip_prefix(family).unwrap();
        let suffixes: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_sum", "_count", "_bucket"],
            _ => &[""],
        };
        assert!(suffixes.contains(&suffix), "{name} in {family}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        assert!(seen.insert(key), "{key} comes twice");
        samples.push((name, labels, value.parse().unwrap()));
    }
    samples
}

fn value(samples: &[(&str, &str, f64)], name: &str, labels: &[&str]) -> f64 {
    let fits = |found: &&(&str, &str, f64)| {
        found.0 == name && labels.iter().all(|label| found.1.contains(label))
    };
    let found: Vec<_> = samples.iter().filter(fits).collect();
    assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
    found[0].2
}

#[test]
#[expect(clippy::float_cmp, reason = "small whole numbers")]
fn metrics_are_well_formed_and_count_by_rule() {
    let text = metrics::text(&busy_core()).unwrap();
    let samples = samples(&text);
    let one = |name, labels: &[&str]| value(&samples, name, labels);
    assert_eq!(one("mqtt_seal_proxy_sealed_messages_total", &["rule=\"1\""]), 3.0);
    assert_eq!(one("mqtt_seal_proxy_sealed_messages_total", &["rule=\"none\""]), 0.0);
    let verdict = |name| one("mqtt_seal_proxy_verdicts_total", &["rule=\"1\"", name]);
    assert_eq!(verdict("verdict=\"new\""), 1.0);
    assert_eq!(verdict("verdict=\"fresh\""), 0.0);
    let rejected = |labels: &[&str]| one("mqtt_seal_proxy_rejected_messages_total", labels);
    assert_eq!(rejected(&["rule=\"1\"", "to_client", "reason=\"NotAuthentic\""]), 1.0);
    assert_eq!(rejected(&["rule=\"none\"", "to_broker", "reason=\"Refused\""]), 1.0);
    assert_eq!(one("mqtt_seal_proxy_clear_messages_total", &["rule=\"2\"", "to_broker"]), 1.0);
}

#[test]
#[expect(clippy::float_cmp, reason = "small whole numbers")]
fn metrics_say_what_verifies_the_broker_and_how_probes_ended() {
    let text = metrics::text(&busy_core()).unwrap();
    let own = samples(&text);
    assert_eq!(value(&own, "mqtt_seal_proxy_broker_verification", &["by=\"authority\""]), 1.0);
    let probes = |outcome: &str| {
        value(&own, "mqtt_seal_proxy_probes_total", &[&*std::format!("=\"{outcome}\"")])
    };
    assert_eq!(["vouched", "refused", "silent", "no_broker"].map(probes), [2.0, 1.0, 0.0, 0.0]);
    assert_eq!(value(&own, "mqtt_seal_proxy_broker_vouched", &[]), 0.0);
    let text = metrics::text(&core_after("", &[Err(AWAY), Ok(())])).unwrap();
    assert_eq!(value(&samples(&text), "mqtt_seal_proxy_broker_vouched", &[]), 1.0);
    let text = metrics::text(&core("")).unwrap();
    assert_eq!(
        value(&samples(&text), "mqtt_seal_proxy_broker_verification", &["by=\"nothing\""]),
        1.0
    );
    assert!(!text.contains("probes") && !text.contains("vouched"), "{text}");
}

#[test]
fn status_says_how_the_broker_is_verified() {
    let broker = |core: &Arc<Core>| json::status(core)["broker"].clone();
    assert_eq!(broker(&core("")), serde_json::json!({ "verified_by": "nothing" }));
    for (outcomes, standing) in [
        (vec![], "unknown"),
        (vec![Err(AWAY)], "unknown"),
        (vec![Ok(())], "vouched"),
        (vec![Ok(()), Err(NOT_VOUCHED)], "refused"),
        (vec![Err(SILENT)], "refused"),
    ] {
        let told = broker(&core_after("", &outcomes));
        assert_eq!(told["standing"], standing, "{told}");
        assert_eq!(told["authority"], "authority");
        let failed = outcomes.last().and_then(|outcome| outcome.as_ref().err());
        assert_eq!(told["error"].as_str(), failed.map(std::string::ToString::to_string).as_deref());
        assert_eq!(told["key"].is_string(), standing == "vouched", "{told}");
        assert_eq!(told["since"].is_u64(), !outcomes.is_empty(), "{told}");
    }
    let mut core = core_after("", &[]);
    Arc::get_mut(&mut core).unwrap().vouching = Some(pinned());
    let told = broker(&core);
    assert_eq!((&told["standing"], &told["error"]), (&"pinned".into(), &serde_json::Value::Null));
}

#[test]
#[expect(clippy::float_cmp, reason = "small whole numbers")]
fn latency_buckets_are_cumulative_up_to_the_count() {
    let text = metrics::text(&busy_core()).unwrap();
    let samples = samples(&text);
    let name = "mqtt_seal_proxy_latency_seconds_bucket";
    let buckets: Vec<_> = samples.iter().filter(|sample| sample.0 == name).collect();
    assert!(buckets.is_sorted_by(|a, b| a.2 <= b.2));
    assert_eq!(value(&samples, name, &["le=\"0.00001\""]), 0.0);
    assert_eq!(value(&samples, name, &["le=\"0.00002\""]), 2.0);
    let count = value(&samples, "mqtt_seal_proxy_latency_seconds_count", &[]);
    assert_eq!(value(&samples, name, &["le=\"+Inf\""]), count);
    assert_eq!(count, 3.0);
}

#[test]
fn hostile_filters_stay_within_their_label() {
    let text = metrics::text(&busy_core()).unwrap();
    assert!(text.contains(r#"topics="a\"} 1\nb\\<img"#), "{text}");
}

#[test]
fn every_metric_stands_in_the_manual() {
    let manual = include_str!("../../../docs/proxy.md");
    let text = metrics::text(&busy_core()).unwrap();
    for (name, ..) in samples(&text) {
        let name = name.strip_prefix("mqtt_seal_proxy_").unwrap();
        let name = if name.starts_with("latency") { "latency_seconds" } else { name };
        assert!(manual.contains(&std::format!("`{name}`")), "{name}");
    }
}

#[test]
fn status_holds_what_happened() {
    let core = busy_core();
    let connection = Connection {
        client_id: std::sync::Mutex::new(HOSTILE.into()),
        version: Version::V5,
        since: 1,
        to_broker: Count::default(),
        to_client: Count::default(),
        rejected: Count::default(),
    };
    core.meters.connected(7, Arc::new(connection));
    core.meters.reject(Rejection {
        at: 5,
        client_id: "pump".into(),
        topic: HOSTILE.into(),
        direction: Direction::ToClient,
        reason: "NotAuthentic",
    });
    let status = json::status(&core);
    assert_eq!(status["connections"][0]["client_id"], HOSTILE);
    assert_eq!(status["connections"][0]["version"], "5.0");
    assert_eq!(status["rules"][0]["sealed"], 3);
    assert_eq!(status["rules"][0]["verdicts"]["redelivered"], 1);
    assert_eq!(status["rejections"][0]["topic"], HOSTILE);
    assert_eq!(status["no_rule"]["rejected"][0]["count"], 1);
}

#[test]
fn payloads_are_shown_only_when_asked_for() {
    const PAYLOAD: &[u8] = b"marker of a payload";
    for (shows, shown) in [(Shows::Sealed, false), (Shows::Payloads, true)] {
        let core = core_that_shows("", shows);
        core.meters.saw("a/b", Direction::ToBroker, PAYLOAD, PAYLOAD);
        core.meters.saw("a/b", Direction::ToBroker, b"\xfc\x40", PAYLOAD);
        let status = json::status(&core);
        let [sealed, clear] = [0, 1].map(|message| &status["messages"][message]);
        assert_eq!((&sealed["broker"]["text"], &sealed["clear"]), (&"fc40".into(), &false.into()));
        assert_eq!((&clear["broker"]["bytes"], &clear["clear"]), (&19.into(), &true.into()));
        let text = status.to_string();
        let hex =
            PAYLOAD.iter().map(|byte| std::format!("{byte:02x}")).collect::<Vec<_>>().concat();
        assert_eq!(text.matches("marker of a payload").count(), if shown { 3 } else { 0 });
        assert!(!text.contains(&hex));
    }
}

#[test]
fn a_page_that_shows_at_most_the_newest_messages_waits_for_nobody() {
    let core = core("");
    let held = lock(core.meters.seen_ring());
    core.meters.saw("a/b", Direction::ToBroker, b"", b"");
    assert!(held.is_empty());
    drop(held);
    for number in 0..200 {
        core.meters.saw(&number.to_string(), Direction::ToBroker, b"", b"");
    }
    let seen = core.meters.seen();
    assert_eq!((seen.len(), seen[0].topic.as_str()), (50, "199"));
}

/// What the page at `address` answers to these bytes.
async fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // what is too long may be answered before it is read
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(50), stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn served(patience: Duration) -> (SocketAddr, JoinSet<()>) {
    let mut status = StatusPage::open(([127, 0, 0, 1], 0).into()).await.unwrap();
    status.patience = patience;
    let address = status.address().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(status.serve(core("")));
    (address, tasks)
}

#[tokio::test]
async fn a_connection_carries_one_request() {
    let (address, _tasks) = served(PATIENCE).await;
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2);
    let answer = ask(address, &request).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 1, "{answer}");
    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
}

#[tokio::test]
async fn heads_that_are_too_long_are_refused() {
    let (address, _tasks) = served(PATIENCE).await;
    let long =
        std::format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(MAX_HEAD));
    let many =
        std::format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "x: y\r\n".repeat(MAX_HEADERS));
    for request in [long, many] {
        let answer = ask(address, request.as_bytes()).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
}

#[tokio::test]
async fn who_asks_nothing_keeps_others_waiting_for_a_while_only() {
    let (address, _tasks) = served(Duration::from_secs(1)).await;
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let answer = ask(address, b"GET /healthz HTTP/1.1\r\nHost: [::1]\r\n\r\n").await;
    assert!(answer.contains("200 OK"), "{answer}");
}
