//! A received message as fields of a format, and as JSON. Knows no connection.

use mqtt_seal::client::Message;
use mqtt_seal::guard::Protection;
use mqtt_seal::session::Authentic;
use serde_json::{Value, json};

use crate::moment;

/// `format` with its fields filled in. What is no field stays as it is.
pub(super) fn fields(format: &str, message: &Message) -> Vec<u8> {
    let mut line = Vec::new();
    let mut rest = format;
    while let Some((text, behind)) = rest.split_once('%') {
        line.extend_from_slice(text.as_bytes());
        let mut after = behind.chars();
        let letter = after.next();
        rest = after.as_str();
        if let (Some('{'), Some((name, behind))) = (letter, rest.split_once('}')) {
            line.extend_from_slice(named(name, message).as_bytes());
            rest = behind;
            continue;
        }
        match letter {
            Some('p') => line.extend_from_slice(&message.payload),
            Some(letter) => line.extend_from_slice(field(letter, message).as_bytes()),
            None => line.push(b'%'),
        }
    }
    line.extend_from_slice(rest.as_bytes());
    line
}

/// A field of mosquitto_sub.
fn field(letter: char, message: &Message) -> String {
    match letter {
        't' => message.topic.clone(),
        'x' => base16ct::lower::encode_string(&message.payload),
        'X' => base16ct::upper::encode_string(&message.payload),
        'l' => message.payload.len().to_string(),
        'q' => message.qos.to_string(),
        'r' => u8::from(message.retain).to_string(),
        'U' => moment::now().to_string(),
        '%' => "%".into(),
        other => format!("%{other}"),
    }
}

/// A field of our own; `-` where the message has none.
fn named(name: &str, message: &Message) -> String {
    let delivery = &message.delivery;
    let proof = delivery.proof.as_ref();
    let value = match name {
        "protection" => Some(protection(message).into()),
        "generation" => delivery.generation.map(|generation| generation.to_string()),
        "kid" => proof.map(|proof| proof.kid().to_string()),
        "session" => proof.map(|proof| proof.session().to_string()),
        "counter" => proof.map(|proof| proof.counter().to_string()),
        "age" => age_ms(message).map(|age| format!("{age} ms")),
        "verdict" => delivery.verdict.map(|verdict| verdict.to_string()),
        other => return format!("%{{{other}}}"),
    };
    value.unwrap_or_else(|| "-".into())
}

fn protection(message: &Message) -> &'static str {
    match message.delivery.protection {
        Protection::Sealed => "sealed",
        _ => "clear",
    }
}

/// Milliseconds since the message was sealed, if the sender said when.
fn age_ms(message: &Message) -> Option<u64> {
    message.delivery.timestamp.map(|sealed| moment::now_ms().saturating_sub(sealed))
}

pub(super) fn json(message: &Message) -> Value {
    let delivery = &message.delivery;
    let proof = delivery.proof.as_ref();
    json!({
        "topic": message.topic,
        "payload": core::str::from_utf8(&message.payload).ok(),
        "hex": base16ct::lower::encode_string(&message.payload),
        "qos": message.qos.to_string(),
        "retain": message.retain,
        "protection": protection(message),
        "generation": delivery.generation,
        "kid": proof.map(|proof| proof.kid().to_string()),
        "session": proof.map(|proof| proof.session().to_string()),
        "counter": proof.map(Authentic::counter),
        "age_ms": age_ms(message),
        "verdict": delivery.verdict.map(|verdict| verdict.to_string()),
    })
}
