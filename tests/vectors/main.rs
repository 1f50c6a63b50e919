//! Test vectors made by an independent implementation of the format.
//!
//! `MQTT_SEAL_VECTORS=DIR cargo test --test vectors` runs another directory of the same form.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod auth;
mod cose;
mod json;
mod keys;
mod mutation;
mod open;
mod replay;
mod seal;
mod topics;

#[test]
fn every_file_is_covered() {
    let covered =
        ["keys", "seal", "open_accept", "open_reject", "topics", "replay", "cose", "auth"];
    for file in std::fs::read_dir(json::directory()).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let Some(stem) = name.strip_suffix(".json") else {
            continue;
        };
        assert!(covered.contains(&stem), "{name} is not covered");
    }
}
