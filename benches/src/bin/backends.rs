//! Compares the AEADs of the two backends by the clock, for the choice in `src/suite/mod.rs`.
//!
//! Both do the same batch in turns, and each pair of turns gives one ratio: whatever else the
//! machine does then is in both. Printed are medians of ratios.

use std::hint::black_box;
use std::time::{Duration, Instant};

use aes_gcm::Aes256Gcm;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use mqtt_seal_benches::{NONCE_LEN, Pure, Raw, ring};
use ring::aead::{AES_256_GCM, CHACHA20_POLY1305};

/// Bytes of text.
const SIZES: [usize; 8] = [2, 16, 64, 256, 1_024, 16 * 1_024, 64 * 1_024, 256 * 1_024];
/// Bytes of associated data: a header and a topic of 32 bytes.
const AAD: [u8; 97] = [1; 97];
/// Pairs of turns.
const ROUNDS: usize = 1_001;
/// How long a turn takes, at least: short, so that few are interrupted.
const TURN: Duration = Duration::from_micros(200);

fn main() {
    let key = &[7; 32].into();
    println!("| suite | bytes | ring / pure | the default build's / the faster |");
    println!("|---|---:|---:|---:|");
    let (pure, ring) = (Pure(ChaCha20Poly1305::new(key)), self::ring(&CHACHA20_POLY1305, &[7; 32]));
    table("chacha20-poly1305", &pure, &ring);
    let (pure, ring) = (Pure(Aes256Gcm::new(key)), self::ring(&AES_256_GCM, &[7; 32]));
    table("aes-256-gcm", &pure, &ring);
}

fn table(suite: &str, pure: &impl Raw, ring: &impl Raw) {
    for size in SIZES {
        let ratio = median_ratio(pure, ring, size);
        // both suites are ring's there
        println!("| {suite} | {size} | {ratio:.2} | {:.2} |", ratio.max(1.0));
    }
}

/// How long `ring` takes when `pure` takes 1.
fn median_ratio(pure: &impl Raw, ring: &impl Raw, size: usize) -> f64 {
    let mut text = vec![0; size];
    let mut batch = 1;
    while turn(pure, &mut text, batch) < TURN {
        batch *= 2;
    }
    let mut ratios: Vec<f64> = (0..ROUNDS)
        .map(|round| {
            // who goes first changes too
            if round % 2 == 0 {
                let first = turn(pure, &mut text, batch);
                turn(ring, &mut text, batch).div_duration_f64(first)
            } else {
                let first = turn(ring, &mut text, batch);
                first.div_duration_f64(turn(pure, &mut text, batch))
            }
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ROUNDS / 2]
}

/// Seals `batch` times.
fn turn(aead: &impl Raw, text: &mut [u8], batch: u32) -> Duration {
    let start = Instant::now();
    for counter in 0..batch {
        let mut nonce = [0; NONCE_LEN];
        nonce[8..].copy_from_slice(&counter.to_be_bytes());
        black_box(aead.seal(nonce, black_box(&AAD), black_box(text)));
    }
    start.elapsed()
}
