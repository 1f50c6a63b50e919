//! What happens to messages when connections are cut, brokers are stopped and clients are killed,
//! against a real Mosquitto. On sealed rules each message arrives once at a subscriber that lives.
//! `MQTT_SEAL_LONG=1` sends ten times as many.
#![cfg(all(feature = "rumqttc", feature = "store"))]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and children tell by standard output"
)]

mod broker;
mod cuts;
mod publisher;
mod scene;
mod subscriber;
#[path = "../support/mod.rs"]
mod support;
