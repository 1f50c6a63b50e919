use super::*;
use crate::guard::{Guard, GuardTx, MemoryLog, Outgoing, Prefer, RowKey, Write};
use crate::keyring::{Grant, Keyring};
use crate::policy::{Link, Links, Policy, Rule};
use crate::replay::{Rejected, Verdict};
use crate::secret::SharedKey;
use core::convert::Infallible;
use std::{format, string::ToString, vec, vec::Vec};

/// A log that fails when told to.
#[derive(Default)]
struct Moody {
    fails: bool,
    log: MemoryLog,
}

impl ReplayLog for Moody {
    type Error = &'static str;

    fn rows(&mut self) -> Result<Vec<(RowKey, Vec<u8>)>, &'static str> {
        self.log.rows().map_err(|error: Infallible| match error {})
    }

    fn write(&mut self, writes: &[Write]) -> Result<(), &'static str> {
        if self.fails {
            return Err("disk full");
        }
        self.log.write(writes).map_err(|error| match error {})
    }
}

fn guard() -> Guard {
    let policy = Policy::new(vec![Rule::sealed(["#"]).build().unwrap()]);
    let grant = Grant::shared(&SharedKey::take(&mut [7; 32]), "r").unwrap();
    Guard::new(policy, Keyring::new(vec![grant]), Links::Tcp).unwrap()
}

fn receiver(log: &mut Moody) -> GuardRx {
    guard().with_replay_log(log, Prefer::NoReplay).unwrap().split().1
}

fn sealed(tx: &mut GuardTx) -> Vec<u8> {
    let mut out = vec![];
    tx.seal(&Outgoing::new("a", b"27"), &mut out).unwrap();
    out
}

type Failed = OpenWithLogError<&'static str>;

fn open(rx: &mut GuardRx, bytes: &[u8], log: &mut Moody) -> Result<Delivery, Failed> {
    let mut out = b"left from before".to_vec();
    let opened = rx.open_with_log(&Incoming::new("a", bytes, Link::Tcp), &mut out, log);
    assert_eq!(out, if opened.is_ok() { &b"27"[..] } else { b"" });
    opened
}

const DUPLICATE: OpenError = OpenError::Rejected(Rejected::Duplicate);
const TOO_OLD: OpenError = OpenError::Rejected(Rejected::TooOld);

#[test]
fn delivered_message_is_in_the_log() {
    let (mut tx, _) = guard().split();
    let (mut log, bytes) = (Moody::default(), sealed(&mut tx));
    let mut rx = receiver(&mut log);
    assert_eq!(open(&mut rx, &bytes, &mut log).unwrap().verdict, Some(Verdict::New));
    assert_eq!(open(&mut rx, &bytes, &mut log), Err(OpenWithLogError::Open(DUPLICATE)));
    let mut rx = receiver(&mut log);
    assert_eq!(open(&mut rx, &bytes, &mut log), Err(OpenWithLogError::Open(TOO_OLD)));
}

#[test]
fn message_whose_log_failed_is_delivered_when_it_comes_again() {
    let (mut tx, _) = guard().split();
    let (mut log, bytes) = (Moody::default(), sealed(&mut tx));
    let mut rx = receiver(&mut log);
    log.fails = true;
    assert_eq!(open(&mut rx, &bytes, &mut log), Err(OpenWithLogError::Log("disk full")));
    log.fails = false;
    assert_eq!(open(&mut rx, &bytes, &mut log).unwrap().verdict, Some(Verdict::New));
}

#[test]
fn confirmed_message_is_in_the_log() {
    let (mut tx, _) = guard().split();
    let (mut log, bytes) = (Moody::default(), sealed(&mut tx));
    for confirms in [false, true] {
        let mut rx = receiver(&mut log);
        rx.confirm_manually();
        let delivery = open(&mut rx, &bytes, &mut log).unwrap();
        assert_eq!(delivery.verdict, Some(Verdict::New), "it was not confirmed before");
        if confirms {
            rx.confirm_with_log(delivery.receipt.unwrap(), &mut log).unwrap();
        }
    }
    let mut rx = receiver(&mut log);
    assert_eq!(open(&mut rx, &bytes, &mut log), Err(OpenWithLogError::Open(TOO_OLD)));
}

#[test]
fn receiver_whose_log_failed_at_a_confirmation_opens_nothing_more() {
    let (mut tx, _) = guard().split();
    let (mut log, bytes) = (Moody::default(), sealed(&mut tx));
    let mut rx = receiver(&mut log);
    rx.confirm_manually();
    let receipt = open(&mut rx, &bytes, &mut log).unwrap().receipt.unwrap();
    log.fails = true;
    assert_eq!(rx.confirm_with_log(receipt, &mut log), Err("disk full"));
    log.fails = false;
    let stopped = Err(OpenWithLogError::Open(OpenError::Stopped));
    assert_eq!(open(&mut rx, &sealed(&mut tx), &mut log), stopped);
}

#[test]
fn error_is_told_as_what_it_came_from() {
    let open: Failed = OpenWithLogError::Open(OpenError::Refused);
    assert_eq!(open.to_string(), OpenError::Refused.to_string());
    let log: Failed = OpenWithLogError::Log("disk full");
    assert_eq!(format!("{log}"), "disk full");
}
