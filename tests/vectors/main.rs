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

/// Everything in the vectors that is not built yet, by name. A case that needs one of these is
/// counted and left out; a name that no case needs fails the run, so that this list shrinks.
pub(crate) const NOT_YET: [(&str, &str); 8] = [
    ("replay", "policy latest"),
    ("replay", "policy fresh"),
    ("replay", "store"),
    ("replay", "own sessions"),
    ("replay", "first_contact"),
    ("replay", "echo"),
    ("replay", "max_skew and max_age of a rule"),
    ("seal", "replay policies latest and fresh"),
];

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
