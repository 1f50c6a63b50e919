//! The flags of the example.

use std::path::PathBuf;

use super::protocol::Version;

pub(crate) const USAGE: &str =
    "usage: sensor [--count N] [--protocol v4|v5] [--tcp HOST:PORT --tls HOST:PORT --ca FILE]
  --count N        messages per cell, 1000 without it
  --protocol v4|v5 MQTT 3.1.1 or 5, v4 without it
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
    pub(crate) protocol: Version,
    /// Plain listener, TLS listener, CA; `None`: bring our own.
    pub(crate) broker: Option<(Address, Address, PathBuf)>,
}

impl Args {
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut count, mut protocol) = (1_000, Version::V4);
        let (mut tcp, mut tls, mut ca) = (None, None, None);
        while let Some(flag) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{flag} needs a value\n{USAGE}"));
            match flag.as_str() {
                "--count" => {
                    let text = value()?;
                    count = text
                        .parse()
                        .map_err(|_| format!("--count takes a number, not {text:?}\n{USAGE}"))?;
                }
                "--protocol" => protocol = version(&value()?)?,
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
        Ok(Self { count, protocol, broker })
    }
}

fn version(text: &str) -> Result<Version, String> {
    match text {
        "v4" => Ok(Version::V4),
        "v5" => Ok(Version::V5),
        _ => Err(format!("--protocol takes v4 or v5, not {text:?}\n{USAGE}")),
    }
}

fn address(text: &str) -> Result<Address, String> {
    let parsed = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match parsed {
        Some((host, port)) if !host.is_empty() => Ok(Address { host: host.into(), port }),
        _ => Err(format!("{text:?} is not HOST:PORT\n{USAGE}")),
    }
}
