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

mod cose;
mod json;
mod keys;
mod mutation;
mod open;
mod replay;
mod seal;
mod topics;

/// Files that belong to layers that are not built yet.
pub(crate) const FILES_NOT_YET: [&str; 1] = ["auth.json"];

#[test]
fn every_file_is_covered_or_named() {
    let covered = ["keys", "seal", "open_accept", "open_reject", "topics", "replay", "cose"];
    for file in std::fs::read_dir(json::directory()).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let Some(stem) = name.strip_suffix(".json") else {
            continue;
        };
        let known = covered.contains(&stem) || FILES_NOT_YET.contains(&name.as_str());
        assert!(known, "{name} is neither covered nor named in FILES_NOT_YET");
    }
}
