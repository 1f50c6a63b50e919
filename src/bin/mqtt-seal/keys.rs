//! `keys`: what a key file holds, without its secrets.

use mqtt_seal::Grant;
use mqtt_seal::keyring::{Covers, ScopeRef, State};
use mqtt_seal::policy::{Rule, Scope, TopicBinding};
use mqtt_seal::store::key_file::KeyFile;
use mqtt_seal::topic::{PathScope, TopicName};
use serde_json::{Value, json};

use crate::fault::Fault;
use crate::files::{KeysArg, PolicyArg};
use crate::{moment, show};

/// List what a key file holds, never a secret
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mqtt-seal keys --topic plant/a/temp")]
pub(crate) struct Args {
    /// Show the key IDs under which this topic is sealed, as they stand in messages
    #[arg(long)]
    topic: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    keys: KeysArg,
    #[command(flatten)]
    policy: PolicyArg,
}

impl Args {
    pub(crate) fn run(&self) -> Result<(), Fault> {
        let file = self.keys.read()?;
        let policy = self.policy.read()?;
        let topic = self.topic.as_deref().map(TopicName::parse).transpose();
        let topic = topic.map_err(|error| Fault::usage(error.to_string(), "name one topic"))?;
        let of_topic = match topic {
            None => None,
            Some(topic) => {
                let refused = || {
                    Fault::new(
                        format!("{}: no rule of the policy covers the topic", topic.as_str()),
                        "name another topic, or add a rule",
                    )
                };
                Some((topic, policy.rule(topic).ok_or_else(refused)?))
            }
        };
        let rows: Vec<Row> = file.grants().map(|grant| Row::new(&file, grant, of_topic)).collect();
        if self.json { print_json(&file, &rows) } else { print(&file, &rows) }
    }
}

struct Row {
    generation: u32,
    state: &'static str,
    covers: String,
    suite: Option<&'static str>,
    sender: Option<u32>,
    created: Option<u64>,
    not_after: Option<u64>,
    kid: Option<String>,
}

impl Row {
    fn new(file: &KeyFile, grant: &Grant, topic: Option<(TopicName<'_>, &Rule)>) -> Self {
        let kid = match (topic, grant.covers(), grant.suite()) {
            (Some((topic, rule)), ..) => grant.key_id(scope_of(rule, topic), rule.suite()),
            (None, Covers::Scope(scope), Some(suite)) => grant.key_id(scope, suite),
            _ => None,
        };
        let (state, not_after) = match grant.state() {
            State::Pending => ("pending", None),
            State::Active => ("active", None),
            State::Retiring { not_after } => ("retiring", not_after),
            _ => ("unknown", None),
        };
        Self {
            generation: grant.generation(),
            state,
            covers: covers(grant.covers()),
            suite: grant.suite().map(mqtt_seal::Suite::name),
            sender: grant.sender().map(mqtt_seal::wire::SenderNumber::get),
            created: file.created(grant.generation()),
            not_after,
            kid: kid.map(|kid| kid.to_string()),
        }
    }

    fn cells(&self) -> Vec<String> {
        let none = || "-".to_owned();
        let age = |second| format!("{} d", moment::age_in_days(second));
        vec![
            self.generation.to_string(),
            self.state.into(),
            self.covers.clone(),
            self.suite.unwrap_or("of the rule").into(),
            self.created.map_or_else(none, age),
            self.not_after.map_or_else(none, moment::day),
            self.sender.map_or_else(none, |sender| sender.to_string()),
            self.kid.clone().unwrap_or_else(none),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "generation": self.generation, "state": self.state, "covers": self.covers,
            "suite": self.suite, "created": self.created, "not_after": self.not_after,
            "sender": self.sender, "kid": self.kid,
        })
    }
}

const HEADS: [&str; 8] = ["generation", "state", "covers", "suite", "age", "ends", "sender", "KID"];

fn print(file: &KeyFile, rows: &[Row]) -> Result<(), Fault> {
    show::line(&format!("realm {}", file.realm()))?;
    let heads = HEADS.map(String::from).to_vec();
    let cells: Vec<_> = core::iter::once(heads).chain(rows.iter().map(Row::cells)).collect();
    show::table(&cells)?;
    for (sender, device) in file.allotted() {
        show::line(&format!("sender number {} is that of {device}", sender.get()))?;
    }
    Ok(())
}

fn print_json(file: &KeyFile, rows: &[Row]) -> Result<(), Fault> {
    let grants: Vec<Value> = rows.iter().map(Row::json).collect();
    let given = file.allotted();
    let given = given.map(|(sender, device)| json!({ "sender": sender.get(), "device": device }));
    let allotted: Vec<Value> = given.collect();
    show::json(&json!({ "realm": file.realm(), "grants": grants, "allotted": allotted }))
}

fn covers(what: Covers<'_>) -> String {
    let path = |path: PathScope<'_>| match path.depth() {
        0 => "the whole realm".to_owned(),
        _ => path.as_str().to_owned(),
    };
    match what {
        Covers::Realm => "the whole realm".into(),
        Covers::Node(node) => format!("{}/#", node.as_str()),
        Covers::Scope(ScopeRef::Path(scope)) => format!("scope {}", path(scope)),
        Covers::Scope(ScopeRef::Named(name)) => format!("scope {name:?}"),
        _ => "?".into(),
    }
}

/// The scope of `topic` under `rule`.
// SPEC §5: paths are cut from the topic after stripping
fn scope_of<'a>(rule: &'a Rule, topic: TopicName<'a>) -> ScopeRef<'a> {
    let topic = match rule.topic_binding() {
        TopicBinding::Strip(prefix) => topic.strip(prefix),
        _ => topic,
    };
    match rule.scope() {
        Scope::Named(name) => ScopeRef::Named(name),
        Scope::Path { depth } => ScopeRef::Path(topic.path(*depth)),
        _ => ScopeRef::Path(PathScope::REALM),
    }
}
