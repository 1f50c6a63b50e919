//! `inspect`: what a sealed payload shows to whoever sees it, and what its keys show beside; alone,
//! in lines of mosquitto_sub, or in a network capture.

use core::fmt::Write as _;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use mqtt_seal::guard::{Delivery, GuardRx, Incoming, OpenError};
use mqtt_seal::policy::Link;
use mqtt_seal::wire::header::{Form, Header, HeaderError, TAG_LEN};
use serde_json::{Value, json};

use crate::encoding::{Bytes, Encoding};
use crate::fault::Fault;
use crate::files::{self, KeysArg, PolicyArg};
use crate::{capture, moment, show};

/// Show what a sealed payload tells, or what a network capture does, without keys or with them
///
/// A file of pcap or pcapng is known by its first bytes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mqtt-seal inspect --encoding hex sealed.hex\n  \
                  mqtt-seal inspect --lines stream.txt\n  mqtt-seal inspect capture.pcapng")]
pub(crate) struct Args {
    #[command(flatten)]
    bytes: Bytes,
    /// How the payload is written down
    #[arg(long, default_value = "raw")]
    encoding: Encoding,
    /// Read lines of topic and hexadecimal payload, as mosquitto_sub -F '%t %x' prints them
    #[arg(long, conflicts_with = "encoding")]
    lines: bool,
    /// Also show what is inside, with the keys of --keys
    #[arg(long)]
    open: bool,
    /// The topic of the payload, to open it
    #[arg(long, conflicts_with = "lines")]
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
        let input = self.bytes.read()?;
        if !self.lines && self.encoding == Encoding::Raw && capture::is_capture(&input) {
            return self.show_capture(&input);
        }
        if self.open && !self.lines && self.topic.is_none() {
            return Err(Fault::usage("--open needs a topic", "name it with --topic"));
        }
        let rx = self.open.then(|| self.policy.guard(&self.keys)).transpose()?;
        let mut rx = rx.map(|guard| guard.split().1);
        if !self.lines {
            let bytes = self.encoding.decode(&input)?;
            return self.show(None, self.topic.as_deref(), &bytes, rx.as_mut());
        }
        let text = core::str::from_utf8(&input).map_err(|_| not_lines(1))?;
        for (number, line) in (1..).zip(text.lines()) {
            // a topic may contain blanks, hexadecimal does not
            let (topic, payload) = line.rsplit_once(' ').ok_or_else(|| not_lines(number))?;
            let bytes = Encoding::Hex.decode(payload.as_bytes()).map_err(|_| not_lines(number))?;
            self.show(None, Some(topic), &bytes, rx.as_mut())?;
        }
        Ok(())
    }

    /// Every direction is opened by a receiver of its own, as its real one does.
    fn show_capture(&self, bytes: &[u8]) -> Result<(), Fault> {
        let config = self.open.then(|| self.policy.config(&self.keys)).transpose()?;
        let mut receivers = HashMap::new();
        capture::read(bytes, |way, seen| {
            let capture::Seen::Message { topic, payload, .. } = *seen else {
                return self.show_seen(&way, seen);
            };
            let rx = match (&config, receivers.entry(way.clone())) {
                (None, _) => None,
                (Some(_), Entry::Occupied(entry)) => Some(entry.into_mut()),
                (Some(config), Entry::Vacant(entry)) => {
                    Some(entry.insert(files::guard(config)?.split().1))
                }
            };
            self.show(Some((&way, seen)), Some(topic), payload, rx)
        })
    }

    /// What is no message.
    fn show_seen(&self, way: &str, seen: &capture::Seen<'_>) -> Result<(), Fault> {
        if self.json {
            let mut value = capture_json(seen);
            if let Some(map) = value.as_object_mut() {
                map.insert("connection".into(), way.into());
            }
            return show::json(&value);
        }
        show::line(&format!("{way}: {}", capture_text(seen)))
    }

    fn show(
        &self,
        from: Option<(&str, &capture::Seen<'_>)>,
        topic: Option<&str>,
        bytes: &[u8],
        rx: Option<&mut GuardRx>,
    ) -> Result<(), Fault> {
        let seen = Seen { from, ..Seen::of(topic, bytes) };
        let inside = rx.zip(topic).map(|(rx, topic)| open(rx, topic, bytes));
        if self.json {
            return show::json(&seen.json(inside.as_ref()));
        }
        show::line(seen.text(inside.as_ref()).trim_end())
    }
}

fn not_lines(number: usize) -> Fault {
    let what = format!("line {number}: this is no topic with a payload in hexadecimal");
    Fault::new(what, "print them with mosquitto_sub -F '%t %x'")
}

/// What is inside, and how long the payload is.
type Inside = Result<(Delivery, usize), OpenError>;

fn open(rx: &mut GuardRx, topic: &str, bytes: &[u8]) -> Inside {
    let message = Incoming::new(topic, bytes, Link::Tls).at(Some(moment::now_ms()));
    let mut payload = Vec::new();
    // without a replay log nothing waits for one
    let delivery = rx.open(&message, &mut payload)?.delivered().ok_or(OpenError::Stopped)?;
    Ok((delivery, payload.len()))
}

/// What anybody sees.
struct Seen<'a> {
    /// The connection in a capture, and what was seen there.
    from: Option<(&'a str, &'a capture::Seen<'a>)>,
    topic: Option<&'a str>,
    len: usize,
    header: Result<(Header, usize), HeaderError>,
}

impl<'a> Seen<'a> {
    fn of(topic: Option<&'a str>, bytes: &[u8]) -> Self {
        Self { from: None, topic, len: bytes.len(), header: Header::parse(bytes) }
    }

    /// Bytes between header and tag: an upper bound of the payload.
    fn body(&self) -> usize {
        let header = self.header.as_ref().map_or(0, |(_, len)| *len);
        self.len.saturating_sub(header).saturating_sub(TAG_LEN)
    }

    const fn is_will(&self) -> bool {
        matches!(self.from, Some((_, capture::Seen::Message { will: true, .. })))
    }

    fn text(&self, inside: Option<&Inside>) -> String {
        let mut text = self.from.map_or_else(String::new, |(way, _)| format!("{way}: "));
        if self.is_will() {
            text.push_str("the will for ");
        }
        if let Some(topic) = self.topic {
            let _ = write!(text, "{}: ", show::printable(topic));
        }
        match &self.header {
            Err(error) => {
                let _ = writeln!(text, "{}, {} bytes", reason(*error), self.len);
            }
            Ok((header, len)) => {
                let inner = if header.inner { "with" } else { "without" };
                let _ = write!(
                    text,
                    "sealed, {}, {inner} inner header\n  key ID: {}\n  session: {}\n  counter: {}\n  \
                     bytes: {} = header {len} + {} + tag {TAG_LEN}\n  anybody sees: topic, size, \
                     time, and which messages are of one session; not the payload\n",
                    form(header),
                    header.kid,
                    header.id,
                    header.counter,
                    self.len,
                    self.body(),
                );
            }
        }
        match inside {
            None => {}
            Some(Err(error)) => {
                let _ = writeln!(text, "  with these keys: {error}");
            }
            Some(Ok((delivery, len))) => {
                let _ = writeln!(text, "  with these keys: {}", inside_text(delivery, *len));
            }
        }
        text
    }

    fn json(&self, inside: Option<&Inside>) -> Value {
        let mut value = match &self.header {
            Err(error) => json!({ "sealed": false, "why": reason(*error) }),
            Ok((header, len)) => json!({
                "sealed": true, "form": form(header), "inner": header.inner,
                "kid": header.kid.to_string(), "session": header.id.to_string(),
                "counter": header.counter, "header": len,
            }),
        };
        let inside = inside.map(|inside| match inside {
            Err(error) => json!({ "error": error.name() }),
            Ok((delivery, len)) => json!({
                "bytes": len, "generation": delivery.generation, "timestamp": delivery.timestamp,
                "ttl": delivery.ttl, "topic": delivery.carried_topic,
            }),
        });
        if let Some(map) = value.as_object_mut() {
            map.insert("topic".into(), self.topic.into());
            map.insert("bytes".into(), self.len.into());
            if let Some((way, _)) = self.from {
                map.insert("connection".into(), way.into());
                map.insert("will".into(), self.is_will().into());
            }
            map.extend(inside.map(|inside| ("inside".into(), inside)));
        }
        value
    }
}

fn capture_text(seen: &capture::Seen<'_>) -> String {
    match *seen {
        capture::Seen::Connect { level, client_id, user_name, password } => {
            let mut text =
                format!("{}, client ID {:?}", protocol(level), show::printable(client_id));
            if let Some(name) = user_name {
                let _ = write!(text, ", user name {:?}", show::printable(name));
            }
            if password {
                text.push_str(", and a password that anybody reads");
            }
            text
        }
        capture::Seen::Tls { there, back } => format!(
            "TLS, {there} bytes there and {back} back; anybody sees addresses, sizes and times"
        ),
        capture::Seen::UnknownAlias { alias, len } => format!(
            "{len} bytes under topic alias {alias}, which was agreed on before the capture began"
        ),
        capture::Seen::Hole => {
            "bytes are missing in the capture; what came after them is not shown".into()
        }
        capture::Seen::Malformed => "this is no MQTT; what came after it is not shown".into(),
        capture::Seen::Message { topic, .. } => show::printable(topic),
    }
}

fn capture_json(seen: &capture::Seen<'_>) -> Value {
    match *seen {
        capture::Seen::Connect { level, client_id, user_name, password } => json!({ "connect": {
            "protocol": protocol(level), "client_id": client_id, "user_name": user_name,
            "password_in_clear": password,
        }}),
        capture::Seen::Tls { there, back } => json!({ "tls": { "there": there, "back": back } }),
        capture::Seen::UnknownAlias { alias, len } => {
            json!({ "unknown_alias": alias, "bytes": len })
        }
        capture::Seen::Hole => json!({ "missing": "bytes" }),
        capture::Seen::Malformed => json!({ "malformed": true }),
        capture::Seen::Message { topic, .. } => json!({ "topic": topic }),
    }
}

const fn protocol(level: u8) -> &'static str {
    match level {
        3 => "MQTT 3.1",
        4 => "MQTT 3.1.1",
        _ => "MQTT 5",
    }
}

const fn reason(error: HeaderError) -> &'static str {
    match error {
        HeaderError::Unsupported => "an unknown version or flag",
        HeaderError::Malformed => "begins as a sealed payload, and is malformed",
        _ => "not sealed: anybody reads it",
    }
}

const fn form(header: &Header) -> &'static str {
    match header.id.form() {
        Form::Compact => "compact form",
        _ => "session form",
    }
}

fn inside_text(delivery: &Delivery, len: usize) -> String {
    let mut text = format!("a payload of {len} bytes");
    if let Some(generation) = delivery.generation {
        let _ = write!(text, ", generation {generation}");
    }
    if let Some(ms) = delivery.timestamp {
        let _ = write!(text, ", sealed on {}", moment::day(ms / 1_000));
    }
    if let Some(seconds) = delivery.ttl {
        let _ = write!(text, ", valid for {seconds} s");
    }
    if let Some(topic) = &delivery.carried_topic {
        let _ = write!(text, ", for {topic}");
    }
    text
}
