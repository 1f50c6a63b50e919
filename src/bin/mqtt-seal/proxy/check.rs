//! What the proxy would do, without doing it.

use std::path::Path;

use mqtt_seal::keyring::{Covers, ScopeRef, State};
use mqtt_seal::policy::{Link, Links, Lint, Payload, Scope, TopicBinding};
use mqtt_seal::proxy::{Listen, Proxy};
use mqtt_seal::topic::{PathScope, TopicFilter};
use mqtt_seal::{Grant, Keyring, Policy, Rule};

use super::settings::{HostPort, Settings};
use super::{device, open_files};
use crate::fault::Fault;
use crate::{files, moment, session, show};

/// Reads and checks everything, and prints it.
pub(super) fn check(settings: &Settings) -> Result<(), Fault> {
    let (policy, _) = files::protection(&settings.policy, &settings.keys)?;
    let options = settings.options()?;
    Proxy::check(&options, &policy).map_err(|error| Fault::told(&error, "correct the options"))?;
    if let Some(path) = &settings.store {
        store_place(path)?;
    }
    for listen in &settings.listen {
        if let Listen::Unix(path) = listen {
            socket_place(path)?;
        }
    }
    show::table(&rows(settings, &policy)?)?;
    for warning in warnings(settings, &policy) {
        session::warn(&warning);
    }
    Ok(())
}

/// What is legal and yet probably not meant.
pub(super) fn warnings(settings: &Settings, policy: &Policy) -> Vec<String> {
    let lints = policy.lint(Some(moment::now_ms()));
    let lints = lints.iter().filter(|lint| may_happen(lint, settings.links(), policy));
    let mut warnings: Vec<_> = lints.map(ToString::to_string).collect();
    for (is_on, text) in [
        (settings.listen_anywhere, "what other machines send to this one comes in clear"),
        (settings.credentials_in_clear, "user names and passwords may go to the broker in clear"),
        (settings.forward_bare_deletes, "anyone on the way can delete a retained value"),
        (settings.status_payloads, "the status page shows payloads to every user of this machine"),
    ] {
        warnings.extend(is_on.then(|| text.to_owned()));
    }
    let sockets = if settings.links() == Some(Links::Both) { 3 } else { 2 };
    warnings.extend(open_files::warning(settings.max_connections, sockets));
    warnings
}

/// Whether a lint holds for the links that there are.
fn may_happen(lint: &Lint, links: Option<Links>, policy: &Policy) -> bool {
    let Lint::ClearOverTcp { rule } = lint else { return true };
    let rule = rule.checked_sub(1).and_then(|index| policy.rules().get(index));
    let link = rule.zip(links).and_then(|(rule, links)| links.publish_link(rule.transport()));
    link == Some(Link::Tcp)
}

fn rows(settings: &Settings, policy: &Policy) -> Result<Vec<Vec<String>>, Fault> {
    let mut rows = Vec::new();
    let mut row = |name: &str, text: String| rows.push(vec![name.to_owned(), text]);
    for listen in &settings.listen {
        row("listen", listen.to_string());
    }
    for (name, text) in brokers(settings) {
        row(name, text);
    }
    if let Some(device) = device::read(settings.device.as_deref())? {
        row("device", device.to_string());
    }
    row("keys", keys(settings, policy)?);
    let number = policy.rules().len();
    let rules = if number == 1 { "1 rule".into() } else { format!("{number} rules") };
    row(
        "policy",
        match &settings.policy.policy {
            Some(path) => format!("{}: {rules}", path.display()),
            None => "none is named: every topic is sealed".into(),
        },
    );
    row(
        "store",
        match &settings.store {
            Some(path) if path.exists() => path.display().to_string(),
            Some(path) => format!("{}, made at the start", path.display()),
            None => "none: a restart forgets what was received and what waits".into(),
        },
    );
    row(
        "status page",
        match settings.status {
            Some(address) if settings.status_payloads => {
                format!("http://{address}/, with payloads")
            }
            Some(address) => format!("http://{address}/, without payloads"),
            None => "none".into(),
        },
    );
    row("connections", format!("at most {}", settings.max_connections));
    Ok(rows)
}

fn brokers(settings: &Settings) -> Vec<(&'static str, String)> {
    let name = |(host, port): &HostPort| {
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    };
    let by_peer = if settings.device.is_some() { ", verified by the authority" } else { "" };
    match (&settings.tls_broker, &settings.broker) {
        (Some(tls), Some(tcp)) => vec![
            ("broker", format!("{}, by tls{by_peer}", name(tls))),
            ("broker", format!("{}, by plain tcp for transport = \"tcp\" alone", name(tcp))),
        ],
        (Some(tls), None) => vec![("broker", format!("{}, by tls{by_peer}", name(tls)))],
        (None, Some(tcp)) => vec![("broker", format!("{}, by plain tcp", name(tcp)))],
        (None, None) => Vec::new(),
    }
}

fn keys(settings: &Settings, policy: &Policy) -> Result<String, Fault> {
    let path = &settings.keys.keys;
    if !path.exists() {
        return Ok("none, and none is needed".into());
    }
    let file = settings.keys.read()?;
    let number = file.grants().count();
    let keys = if number == 1 { "1 key".into() } else { format!("{number} keys") };
    let text = format!("{}: {keys} of realm {}", path.display(), file.realm());
    let keyring = file.keyring();
    let without = (1..).zip(policy.rules()).filter(|(_, rule)| !may_seal(&keyring, rule));
    let without: Vec<String> = without.map(|(number, _): (usize, _)| number.to_string()).collect();
    Ok(match without.as_slice() {
        [] => text,
        [rule] => format!("{text}, none that seals under rule {rule}"),
        rules => format!("{text}, none that seals under rules {}", rules.join(", ")),
    })
}

/// Whether a key may seal something that is published under a rule, or none is needed.
fn may_seal(keyring: &Keyring, rule: &Rule) -> bool {
    let seals = matches!(rule.payload(), Payload::Sealed | Payload::Mixed { .. });
    // a prefix that is stripped is in the filters and not in the scopes
    let strips = matches!(rule.topic_binding(), TopicBinding::Strip(_));
    !seals || strips || keyring.grants().iter().any(|grant| covers(grant, rule))
}

fn covers(grant: &Grant, rule: &Rule) -> bool {
    let below = |path: PathScope<'_>| {
        let filter = match path.depth() {
            0 => "#".to_owned(),
            _ => format!("{}/#", path.as_str()),
        };
        TopicFilter::parse(&filter)
            .is_ok_and(|filter| rule.topics().any(|topics| topics.overlaps(filter)))
    };
    let suite = grant.suite().is_none_or(|suite| suite == rule.suite());
    let covers = match (grant.covers(), rule.scope()) {
        (Covers::Scope(ScopeRef::Named(name)), Scope::Named(wanted)) => name == wanted,
        (Covers::Node(path), Scope::Path { depth }) => path.depth() <= *depth && below(path),
        (Covers::Scope(ScopeRef::Path(path)), Scope::Path { .. }) => below(path),
        (other, _) => matches!(other, Covers::Realm),
    };
    suite && grant.state() == State::Active && covers
}

/// Whether there is a place for a store. One that is there may be in use, and is not opened.
fn store_place(path: &Path) -> Result<(), Fault> {
    folder(path, "store")?;
    if path.exists() && !path.is_file() {
        let what = format!("{}: this is no file", path.display());
        return Err(Fault::new(what, "name another with --store"));
    }
    private(path)
}

/// Whether there is a place for a socket. Nothing is asked of who listens there now.
fn socket_place(path: &Path) -> Result<(), Fault> {
    folder(path, "socket")?;
    if path.is_file() || path.is_dir() {
        let what = format!("{}: this is no socket", path.display());
        return Err(Fault::new(what, "name another with --listen"));
    }
    Ok(())
}

/// Whether the folder is there in which something is to be made.
fn folder(path: &Path, name: &str) -> Result<(), Fault> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    if folder.is_dir() {
        return Ok(());
    }
    let what = format!("{}: there is no such folder for the {name}", folder.display());
    Err(Fault::new(what, "make it, for the proxy's own user alone"))
}

/// Whether a store that is there is its owner's alone.
#[cfg(unix)]
fn private(path: &Path) -> Result<(), Fault> {
    use std::os::unix::fs::PermissionsExt as _;

    let Ok(found) = path.metadata() else { return Ok(()) };
    let mode = found.permissions().mode() & 0o777;
    let others = mode & 0o077;
    if others == 0 {
        return Ok(());
    }
    let path = path.display();
    let what = format!("{path}: others than its owner have access (mode {mode:04o})");
    Err(Fault::new(what, format!("run chmod 600 {path}")))
}

#[cfg(not(unix))]
fn private(_: &Path) -> Result<(), Fault> {
    Ok(())
}
