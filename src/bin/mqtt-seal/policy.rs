//! `policy`: checks, explains and shows policies.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use mqtt_seal::policy::Links;
use mqtt_seal::store::policy_file;
use mqtt_seal::topic::TopicName;
use serde_json::{Value, json};

use crate::fault::Fault;
use crate::{moment, show};

/// Check, explain and show policies
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  mqtt-seal policy example > policy.toml\n  mqtt-seal policy check policy.toml\n  mqtt-seal policy explain --policy policy.toml sensor/temp"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Read a policy, and tell what of it is legal and yet probably not meant
    #[command(after_help = "Example:\n  mqtt-seal policy check policy.toml")]
    Check {
        /// The policy
        file: PathBuf,
        /// Fail where there is anything to tell
        #[arg(long)]
        strict: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell which rule decides over a topic, and what follows from it
    #[command(after_help = "Example:\n  mqtt-seal policy explain --policy policy.toml sensor/temp")]
    Explain {
        /// The topic
        topic: String,
        /// The policy
        #[arg(long, value_name = "FILE", env = "MQTT_SEAL_POLICY", hide_env_values = true)]
        policy: PathBuf,
        /// The links that the client has
        #[arg(long, default_value = "both")]
        link: LinkArg,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a policy to begin with
    #[command(after_help = "Example:\n  mqtt-seal policy example > policy.toml")]
    Example,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LinkArg {
    Tcp,
    Tls,
    Both,
}

/// The policy that `example` prints.
pub(crate) const EXAMPLE: &str = include_str!("example.toml");

impl Args {
    pub(crate) fn run(&self) -> Result<(), Fault> {
        match &self.action {
            Action::Check { file, strict, json } => check(file, *strict, *json),
            Action::Explain { topic, policy, link, json } => explain(topic, policy, *link, *json),
            Action::Example => show::bytes(EXAMPLE.as_bytes()),
        }
    }
}

fn read(path: &PathBuf) -> Result<mqtt_seal::Policy, Fault> {
    policy_file::read(path).map_err(|error| Fault::told(&error, "check the file"))
}

fn check(path: &PathBuf, strict: bool, json: bool) -> Result<(), Fault> {
    let policy = read(path)?;
    let lints = policy.lint(Some(moment::now_ms()));
    let (rules, file) = (policy.rules().len(), path.display());
    if json {
        let lints: Vec<String> = lints.iter().map(ToString::to_string).collect();
        show::json(&json!({ "rules": rules, "lints": lints }))?;
    } else {
        show::line(&format!("{file}: {rules} {}", if rules == 1 { "rule" } else { "rules" }))?;
        for lint in &lints {
            show::line(&format!("{file}: {lint}"))?;
        }
    }
    if strict && !lints.is_empty() {
        let what = format!("{file}: {} things deserve a second look", lints.len());
        return Err(Fault::new(what, "change the rules, or leave out --strict"));
    }
    Ok(())
}

fn explain(topic: &str, path: &PathBuf, link: LinkArg, json: bool) -> Result<(), Fault> {
    let policy = read(path)?;
    let topic = TopicName::parse(topic)
        .map_err(|error| Fault::usage(format!("{topic:?}: {error}"), "name one topic"))?;
    let links = match link {
        LinkArg::Tcp => Links::Tcp,
        LinkArg::Tls => Links::Tls,
        LinkArg::Both => Links::Both,
    };
    let explanation = policy.explain(topic, links);
    if !json {
        return show::line(&explanation.to_string());
    }
    let rule = explanation.rule.as_ref().map(|(number, _)| *number);
    show::json(&json!({
        "topic": explanation.topic,
        "rule": rule,
        "filter": explanation.filter,
        "scope": explanation.scope,
        "link": explanation.link.map(|link| link.to_string()),
        "shadowed": explanation.shadowed,
        "text": Value::from(explanation.to_string()),
    }))
}
