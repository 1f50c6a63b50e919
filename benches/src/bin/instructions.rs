//! Performs every operation a known number of times, for a tool that counts instructions.
//!
//! Before and behind each series stands a call of [`mark`]. Run under callgrind with
//! `--dump-before='*instructions::mark*'`, which writes what was counted since the last dump, the
//! even dumps hold one series each, in the order of the lines on standard output; what it took to
//! set up is in the odd ones. `scripts/check perf` does that and compares.

use std::hint::black_box;

use mqtt_seal::guard::{Guard, GuardRx, GuardTx, Incoming, OpenError, Outgoing};
use mqtt_seal::keyring::{Grant, Keyring};
use mqtt_seal::message::{Opener, Sealer};
use mqtt_seal::policy::{Link, Links, Policy, Rule};
use mqtt_seal::replay::Rejected;
use mqtt_seal::schedule;
use mqtt_seal::secret::{ScopeKey, SharedKey};
use mqtt_seal::session::{Entropy, NoEntropy};
use mqtt_seal::suite::Suite;
use mqtt_seal::topic::TopicName;
use mqtt_seal::wire::aad::Aad;
use mqtt_seal_benches::{self as raw, NONCE_LEN, Raw, TAG_LEN};

/// Messages before a series: from counter 64 on the header has the same length for long.
const WARM_UP: u32 = 64;
/// Messages of a series.
const SERIES: u32 = 256;
/// Bytes of payload.
const SIZES: [usize; 2] = [64, 1_024];
/// Bytes of a header in session form with a counter of two bytes.
const HEADER_LEN: usize = 20;
/// A byte of the key ID.
const KID_AT: usize = 2;
/// The counter's first byte, in session form; eight bytes are too many for one.
const COUNTER_AT: usize = 18;
const TOPIC: &str = "plant/line-3/press-7/temperature";
const NOW: Option<u64> = Some(1_790_000_000_000);

/// Prints a line for each series, behind what else the counts depend on.
fn main() {
    println!("cpu {}", cpu());
    println!("series {SERIES}");
    for size in SIZES {
        suites(size);
    }
}

/// What the processor offers, as far as the AEADs ask.
#[cfg(target_arch = "x86_64")]
fn cpu() -> String {
    use std::arch::is_x86_feature_detected as has;
    let features = [
        ("aes", has!("aes")),
        ("pclmulqdq", has!("pclmulqdq")),
        ("ssse3", has!("ssse3")),
        ("avx", has!("avx")),
        ("avx2", has!("avx2")),
        ("bmi2", has!("bmi2")),
        ("adx", has!("adx")),
        ("sha", has!("sha")),
        ("vaes", has!("vaes")),
        ("avx512f", has!("avx512f")),
    ];
    let present = features.iter().filter(|(_, present)| *present).map(|(name, _)| *name);
    ["x86_64"].into_iter().chain(present).collect::<Vec<_>>().join(" ")
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu() -> String {
    std::env::consts::ARCH.into()
}

#[cfg(feature = "ring")]
fn suites(size: usize) {
    use ring::aead::{AES_256_GCM, CHACHA20_POLY1305};
    for suite in [Suite::ChaCha20Poly1305, Suite::ChaCha20Poly1305Commit] {
        operations("ring", suite, size, &raw::ring(&CHACHA20_POLY1305, &[7; 32]));
    }
    for suite in [Suite::Aes256Gcm, Suite::Aes256GcmCommit] {
        operations("ring", suite, size, &raw::ring(&AES_256_GCM, &[7; 32]));
    }
}

#[cfg(not(feature = "ring"))]
fn suites(size: usize) {
    use chacha20poly1305::KeyInit;
    let key = &[7; 32].into();
    for suite in [Suite::ChaCha20Poly1305, Suite::ChaCha20Poly1305Commit] {
        let raw = raw::Pure(chacha20poly1305::ChaCha20Poly1305::new(key));
        operations("pure", suite, size, &raw);
    }
    for suite in [Suite::Aes256Gcm, Suite::Aes256GcmCommit] {
        operations("pure", suite, size, &raw::Pure(aes_gcm::Aes256Gcm::new(key)));
    }
    operations("pure", Suite::Aes256GcmSiv, size, &raw::Pure(aes_gcm_siv::Aes256GcmSiv::new(key)));
}

/// What a whole client takes for messages that are refused before any decryption.
fn refusals(backend: &str, suite: Suite, size: usize) {
    let payload = vec![b'x'; size];
    let outgoing = Outgoing::new(TOPIC, &payload).at(NOW);
    let (mut tx, mut rx) = guard(suite);
    let mut out = Vec::new();
    let seen = messages(|_| {
        tx.seal(&outgoing, &mut out).unwrap();
        out.clone()
    });
    let open = |rx: &mut GuardRx, bytes: &[u8], out: &mut Vec<u8>| {
        rx.open(&Incoming::new(TOPIC, black_box(bytes), Link::Tcp).at(NOW), out)
    };
    for message in &seen {
        open(&mut rx, message, &mut out).unwrap();
    }
    let with = |at: usize, change: fn(u8) -> u8| {
        let mut changed = seen.clone();
        for message in &mut changed {
            message[at] = change(message[at]);
        }
        changed
    };
    let refused = [
        ("seen", seen.clone(), OpenError::Rejected(Rejected::Duplicate)),
        ("unknown", with(KID_AT, |byte| byte ^ 1), OpenError::UnknownKey),
        ("malformed", with(COUNTER_AT, |byte| byte | 0xC0), OpenError::Malformed),
    ];
    for (name, mut messages, error) in refused {
        series(&format!("{backend} {suite} {size} open.{name}"), |counter| {
            let opened = open(&mut rx, at(&mut messages, counter), &mut out);
            assert_eq!(black_box(opened).unwrap_err(), error);
        });
    }
}

/// Seals and opens at every depth: the AEAD alone, one scope, a whole client.
fn operations(backend: &str, suite: Suite, size: usize, aead: &impl Raw) {
    let name = |operation: &str| format!("{backend} {suite} {size} {operation}");
    let (topic, payload) = (TopicName::parse(TOPIC).unwrap(), vec![b'x'; size]);

    let mut text = payload.clone();
    let aad = aad(suite);
    series(&name("raw.seal"), |counter| {
        black_box(aead.seal(nonce(counter), black_box(&aad), black_box(&mut text)));
    });
    let mut sealed = messages(|counter| {
        let mut text = payload.clone();
        let tag = aead.seal(nonce(counter), &aad, &mut text);
        [text.as_slice(), &tag].concat()
    });
    series(&name("raw.open"), |counter| {
        aead.open(nonce(counter), black_box(&aad), black_box(at(&mut sealed, counter)));
    });

    let mut sealer = sealer(suite);
    let mut buf = vec![b'x'; sealer.headroom() + size + TAG_LEN];
    series(&name("sealer"), |_| {
        black_box(sealer.seal_in_place(black_box(topic), black_box(&mut buf), size).unwrap());
    });
    let mut sealer = self::sealer(suite);
    let mut sealed = messages(|_| sealer.seal_in_place(topic, &mut buf, size).unwrap().to_vec());
    let mut opener = Opener::<8>::new(scope(suite), suite).unwrap();
    series(&name("opener"), |counter| {
        let buf = black_box(at(&mut sealed, counter).as_mut_slice());
        black_box(opener.open_in_place(black_box(topic), buf).unwrap());
    });

    let outgoing = Outgoing::new(TOPIC, &payload).at(NOW);
    let (mut tx, _) = guard(suite);
    let mut out = Vec::new();
    series(&name("guard.seal"), |_| {
        black_box(tx.seal(black_box(&outgoing), black_box(&mut out)).unwrap());
    });
    let (mut tx, mut rx) = guard(suite);
    let mut sealed = messages(|_| {
        tx.seal(&outgoing, &mut out).unwrap();
        out.clone()
    });
    series(&name("guard.open"), |counter| {
        let message = Incoming::new(TOPIC, at(&mut sealed, counter), Link::Tcp).at(NOW);
        black_box(rx.open(black_box(&message), black_box(&mut out)).unwrap());
    });
    // before any decryption suites and lengths make no difference
    if suite == Suite::ChaCha20Poly1305 && size == SIZES[0] {
        refusals(backend, suite, size);
    }
}

fn series(name: &str, mut operation: impl FnMut(u32)) {
    (0..WARM_UP).for_each(&mut operation);
    mark();
    (WARM_UP..WARM_UP + SERIES).for_each(&mut operation);
    mark();
    println!("{name}");
}

/// Ends a part of the count: a function of its own, for callgrind to see.
#[inline(never)]
fn mark() {
    black_box(());
}

/// As many messages as a series opens.
fn messages(make: impl FnMut(u32) -> Vec<u8>) -> Vec<Vec<u8>> {
    (0..WARM_UP + SERIES).map(make).collect()
}

fn at(messages: &mut [Vec<u8>], counter: u32) -> &mut Vec<u8> {
    messages.get_mut(usize::try_from(counter).unwrap()).unwrap()
}

fn nonce(counter: u32) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[8..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

/// Associated data of the length that messages of a series have.
fn aad(suite: Suite) -> Vec<u8> {
    let aad = Aad {
        suite: suite.id(),
        cose_algorithm: suite.cose_algorithm(),
        header: &[0; HEADER_LEN],
        topic: TOPIC,
        bind: None,
    };
    let mut bytes = Vec::new();
    aad.encode(|part| bytes.extend_from_slice(part));
    bytes
}

fn scope(suite: Suite) -> ScopeKey {
    let root = schedule::root(&SharedKey::take(&mut [7; 32]), "realm").unwrap();
    schedule::path_scope(&root, TopicName::parse(TOPIC).unwrap().path(1), suite)
}

fn sealer(suite: Suite) -> Sealer {
    Sealer::new(&scope(suite), suite, &mut Fixed, 0, &[]).unwrap()
}

fn guard(suite: Suite) -> (GuardTx, GuardRx) {
    let policy = Policy::new(vec![Rule::sealed(["plant/#"]).suite(suite).build().unwrap()]);
    let keyring =
        Keyring::new(vec![Grant::shared(&SharedKey::take(&mut [7; 32]), "realm").unwrap()]);
    Guard::with_entropy(policy, keyring, Links::Tcp, Box::new(Fixed)).unwrap().split()
}

/// The same in every run, so that counts are.
struct Fixed;

impl Entropy for Fixed {
    fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), NoEntropy> {
        *out = [9; 32];
        Ok(())
    }
}
