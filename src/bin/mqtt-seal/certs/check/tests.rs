use rcgen::{Certificate, CertificateParams, KeyPair, date_time_ymd};

use super::*;

fn made(change: impl FnOnce(&mut CertificateParams)) -> Certificate {
    let mut params = CertificateParams::new(["a.example".into(), "*.b.example".into()]).unwrap();
    change(&mut params);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap()
}

fn found(cert: &Certificate) -> Vec<Finding> {
    inherent(&parse(cert.der()).unwrap())
}

#[test]
fn a_certificate_without_fault_has_no_finding() {
    assert_eq!(found(&made(|_| {})), []);
}

#[test]
fn dates_that_are_over_or_to_come_are_told() {
    let over = found(&made(|params| params.not_after = date_time_ymd(2020, 1, 31)));
    assert_eq!(over.len(), 1);
    assert_eq!(over[0].what(), "it expired on 2020-01-31");
    assert_eq!(over[0].fix(), "make it anew with mqtt-seal certs, or set the clock if it is wrong");
    let early = found(&made(|params| params.not_before = date_time_ymd(2999, 1, 31)));
    assert_eq!(early.len(), 1);
    assert_eq!(early[0].what(), "it is not valid before 2999-01-31");
    assert_eq!(early[0].fix(), "set the clock of this machine, or of the one that made it");
}

#[test]
fn names_cover_hosts_as_rustls_has_it() {
    let cert = made(|_| {});
    let x509 = parse(cert.der()).unwrap();
    let der = cert.der();
    let webpki = rustls::server::ParsedCertificate::try_from(der).unwrap();
    for host in [
        "a.example",
        "A.Example",
        "b.example",
        "x.b.example",
        "x.y.b.example",
        "aa.example",
        ".b.example",
        "192.0.2.1",
    ] {
        let Ok(name) = ServerName::try_from(host) else {
            continue;
        };
        let expected = rustls::client::verify_server_name(&webpki, &name).is_ok();
        assert_eq!(names(&x509, host).is_none(), expected, "{host}");
    }
}
