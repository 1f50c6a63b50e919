//! Looks a certificate through for whatever makes clients refuse it.

use core::net::IpAddr;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use mqtt_seal::tls::SpkiPin;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use serde_json::{Value, json};
use x509_parser::asn1_rs::oid;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{OID_PKCS1_MD5WITHRSAENC, OID_PKCS1_SHA1WITHRSA};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use zeroize::Zeroizing;

use super::finding::Finding;
use super::{CheckArgs, fetch};
use crate::fault::Fault;
use crate::{moment, show};

/// Longest file with certificates or a key, in bytes: 4 MiB, as in the library.
const MAX_LEN: u64 = 4 << 20;
/// Smallest RSA key that rustls takes, in bits.
const MIN_RSA_BITS: usize = 2_048;

impl CheckArgs {
    pub(super) fn run(&self) -> Result<(), Fault> {
        let (certs, of_server) = self.certificates()?;
        let host = self.host.clone().or(of_server);
        let own = certs.first().ok_or_else(|| no_certificate(&self.what))?;
        let cert = parse(own).ok_or_else(|| no_certificate(&self.what))?;
        let mut findings = inherent(&cert);
        findings.extend(host.as_deref().and_then(|host| names(&cert, host)));
        if let Some(path) = &self.ca {
            findings.extend(chain(path, &cert, &certs)?);
        }
        if let Some(path) = &self.key {
            findings.extend(key(path, &cert)?);
        }
        if let (true, Some(path), Some(host)) = (findings.is_empty(), &self.ca, &host) {
            findings.extend(rustls(path, &certs, host)?);
        }
        self.print(&cert, own, &findings)?;
        if findings.is_empty() {
            return Ok(());
        }
        let what = format!("{}: clients will refuse this certificate", self.what);
        Err(Fault::new(what, "do what stands above"))
    }

    /// The certificates, and the host that they came from.
    fn certificates(&self) -> Result<(Vec<CertificateDer<'static>>, Option<String>), Fault> {
        let path = Path::new(&self.what);
        let address = self.what.rsplit_once(':').and_then(|(host, port)| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            port.parse().ok().map(|port: u16| (host, port))
        });
        match address {
            Some((host, port)) if !path.exists() => {
                Ok((fetch::certificates(host, port)?, Some(host.to_owned())))
            }
            _ => Ok((of_file(path)?, None)),
        }
    }

    fn print(
        &self,
        cert: &X509Certificate<'_>,
        der: &CertificateDer<'_>,
        findings: &[Finding],
    ) -> Result<(), Fault> {
        let names = alternative_names(cert);
        let end = seconds(cert.validity().not_after.timestamp());
        let pin = SpkiPin::of_certificate(der).ok().map(|pin| pin.to_string());
        if self.json {
            let found = findings.iter();
            let found = found.map(|found| json!({ "what": found.what(), "fix": found.fix() }));
            return show::json(&json!({
                "subject": cert.subject().to_string(), "issuer": cert.issuer().to_string(),
                "names": names, "not_after": end, "pin": pin,
                "findings": found.collect::<Vec<Value>>(),
            }));
        }
        let list = if names.is_empty() { "no host".to_owned() } else { names.join(", ") };
        let end = moment::day(end);
        show::line(&format!("{}: {}, for {list}, until {end}", self.what, cert.subject()))?;
        if let Some(pin) = pin {
            show::line(&format!("  pin: {pin}"))?;
        }
        for found in findings {
            show::line(&format!("  {}\n    fix: {}", found.what(), found.fix()))?;
        }
        if findings.is_empty() {
            show::line("  nothing is wrong with it")?;
        }
        Ok(())
    }
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    X509Certificate::from_der(der).ok().map(|(_, cert)| cert)
}

fn seconds(timestamp: i64) -> u64 {
    u64::try_from(timestamp).unwrap_or_default()
}

/// What is wrong whoever connects.
fn inherent(cert: &X509Certificate<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let version = cert.version().0.saturating_add(1);
    if version < 3 {
        findings.push(Finding::Version { number: version });
    } else if cert.is_ca() {
        findings.push(Finding::IsCa);
    } else if alternative_names(cert).is_empty() {
        findings.push(Finding::NoNames);
    }
    let (start, end) = (&cert.validity().not_before, &cert.validity().not_after);
    let (start, end) = (seconds(start.timestamp()), seconds(end.timestamp()));
    if moment::now() > end {
        findings.push(Finding::Expired { end });
    }
    if moment::now() < start {
        findings.push(Finding::NotYet { start });
    }
    if let Ok(PublicKey::RSA(key)) = cert.public_key().parsed()
        && key.key_size() < MIN_RSA_BITS
    {
        findings.push(Finding::SmallKey { bits: key.key_size() });
    }
    // ecdsa-with-SHA1, RFC 3279
    let weak = [OID_PKCS1_SHA1WITHRSA, OID_PKCS1_MD5WITHRSAENC, oid!(1.2.840.10045.4.1)];
    if weak.contains(&cert.signature_algorithm.algorithm) {
        findings.push(Finding::WeakSignature);
    }
    if let Ok(Some(usage)) = cert.extended_key_usage()
        && !usage.value.server_auth
        && !usage.value.any
    {
        findings.push(Finding::NotForServers);
    }
    findings
}

/// Whether it is for `host`. One without names has been found out already.
fn names(cert: &X509Certificate<'_>, host: &str) -> Option<Finding> {
    let names = alternative_names(cert);
    let address = host.parse::<IpAddr>().ok();
    let matches = |name: &String| match address {
        Some(address) => name.parse() == Ok(address),
        None => name.eq_ignore_ascii_case(host) || covers(name, host),
    };
    let wrong = !names.is_empty() && !names.iter().any(matches);
    wrong.then(|| Finding::WrongHost { host: host.to_owned(), names })
}

/// Whether the wildcard `name` covers `host`: one level, the leftmost (RFC 6125, section 6.4.3).
fn covers(name: &str, host: &str) -> bool {
    let parent = name.strip_prefix("*.");
    let of_host = host.split_once('.').map(|(_, parent)| parent);
    parent.zip(of_host).is_some_and(|(name, host)| name.eq_ignore_ascii_case(host))
}

fn alternative_names(cert: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = cert.subject_alternative_name() else {
        return Vec::new();
    };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    });
    names.collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// Whether the CA at `path` has signed it, or one of the others that come with it.
fn chain(
    path: &Path,
    cert: &X509Certificate<'_>,
    certs: &[CertificateDer<'_>],
) -> Result<Option<Finding>, Fault> {
    let cas = of_file(path)?;
    let cas: Vec<_> = cas.iter().filter_map(parse).collect();
    let first = cas.first().ok_or_else(|| no_certificate(&path.display().to_string()))?;
    let name = first.subject().to_string();
    if !cas.iter().any(may_sign) {
        return Ok(Some(Finding::NoCa { ca: name }));
    }
    let others: Vec<_> = certs.iter().skip(1).filter_map(parse).collect();
    let signed = |by: &X509Certificate<'_>| cert.verify_signature(Some(by.public_key())).is_ok();
    if cas.iter().chain(&others).any(signed) {
        return Ok(None);
    }
    let named = cas.iter().any(|ca| ca.subject() == cert.issuer());
    let issuer = cert.issuer().to_string();
    Ok(Some(if named {
        Finding::OtherCaKey { ca: name }
    } else {
        Finding::WrongCa { issuer, ca: name }
    }))
}

/// Whether it may sign others. One of version 1 cannot say so, and is taken for what it is used as.
fn may_sign(cert: &X509Certificate<'_>) -> bool {
    cert.is_ca() || cert.version().0 < 2
}

/// Whether the private key at `path` is that of the certificate.
fn key(path: &Path, cert: &X509Certificate<'_>) -> Result<Option<Finding>, Fault> {
    let bytes = read(path)?;
    let none = || {
        Fault::new(
            format!("{}: this is no private key that can be used", path.display()),
            "name the key in PEM or DER, not encrypted",
        )
    };
    let key = PrivateKeyDer::from_pem_slice(&bytes)
        .or_else(|_| PrivateKeyDer::try_from(bytes.to_vec()).map_err(|_| none()))
        .map_err(|_| none())?;
    let key = ring::sign::any_supported_type(&key).map_err(|_| none())?;
    let public = key.public_key().ok_or_else(none)?;
    let same = public.as_ref() == cert.public_key().raw;
    Ok((!same).then_some(Finding::WrongKey))
}

/// What rustls itself says, which has the last word.
fn rustls(
    path: &Path,
    certs: &[CertificateDer<'static>],
    host: &str,
) -> Result<Option<Finding>, Fault> {
    let refused = |why: String| Ok(Some(Finding::Refused { why }));
    let mut roots = RootCertStore::empty();
    for ca in of_file(path)? {
        if let Err(error) = roots.add(ca) {
            return refused(error.to_string());
        }
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let Ok(host) = ServerName::try_from(host) else {
        return Err(Fault::usage(
            format!("{host} is no host name and no address"),
            "correct --host",
        ));
    };
    let (Ok(verifier), Some((own, others))) = (verifier, certs.split_first()) else {
        return refused("there is no root".into());
    };
    match verifier.verify_server_cert(own, others, &host, &[], UnixTime::now()) {
        Ok(_) => Ok(None),
        Err(error) => refused(error.to_string()),
    }
}

fn of_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let bytes = read(path)?;
    let pem: Vec<_> = CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok).collect();
    if pem.is_empty() {
        return Ok(vec![CertificateDer::from(bytes.to_vec())]);
    }
    Ok(pem)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let unreadable = |error: std::io::Error| {
        let what = format!("{}: cannot be read, {}", path.display(), error.kind());
        Fault::new(what, "name a file, or HOST:PORT")
    };
    let len = fs::metadata(path).map_err(unreadable)?.len().min(MAX_LEN);
    // room for all of it: a vector that grows leaves copies behind
    let room = usize::try_from(len).unwrap_or_default().saturating_add(64);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let file = File::open(path).map_err(unreadable)?;
    file.take(len).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn no_certificate(what: &str) -> Fault {
    Fault::new(format!("{what}: this is no certificate"), "name one in PEM or DER")
}

#[cfg(test)]
mod tests;
