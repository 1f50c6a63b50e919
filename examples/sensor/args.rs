//! The flags of the example.

use std::path::PathBuf;

pub(crate) const USAGE: &str =
    "usage: sensor [--count N] [--tcp HOST:PORT --tls HOST:PORT --ca FILE]
  --count N        messages per cell, 1000 without it
  --tcp HOST:PORT  the plain listener of a broker
  --tls HOST:PORT  its TLS listener
  --ca FILE        the CA of its certificate, PEM or DER
without --tcp, --tls and --ca the example brings its own broker";

/// A listener of the broker.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// What was asked for.
pub(crate) struct Args {
    pub(crate) count: usize,
    /// Plain listener, TLS listener, CA; `None`: bring our own.
    pub(crate) broker: Option<(Address, Address, PathBuf)>,
}

impl Args {
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut count, mut tcp, mut tls, mut ca) = (1_000, None, None, None);
        while let Some(flag) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{flag} needs a value\n{USAGE}"));
            match flag.as_str() {
                "--count" => {
                    let text = value()?;
                    count = text
                        .parse()
                        .map_err(|_| format!("--count takes a number, not {text:?}\n{USAGE}"))?;
                }
                "--tcp" => tcp = Some(address(&value()?)?),
                "--tls" => tls = Some(address(&value()?)?),
                "--ca" => ca = Some(PathBuf::from(value()?)),
                _ => return Err(format!("unknown flag {flag:?}\n{USAGE}")),
            }
        }
        let broker = match (tcp, tls, ca) {
            (None, None, None) => None,
            (Some(tcp), Some(tls), Some(ca)) => Some((tcp, tls, ca)),
            _ => return Err(format!("--tcp, --tls and --ca go together\n{USAGE}")),
        };
        Ok(Self { count, broker })
    }
}

fn address(text: &str) -> Result<Address, String> {
    let parsed = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match parsed {
        Some((host, port)) if !host.is_empty() => Ok(Address { host: host.into(), port }),
        _ => Err(format!("{text:?} is not HOST:PORT\n{USAGE}")),
    }
}
