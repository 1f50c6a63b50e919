//! `mqtt-seal proxy` as a process: what it tells its supervisor, what signals do, what its status
//! page shows in a browser, and the files of `packaging`.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod packaging;
mod page;
mod process;
mod scene;
