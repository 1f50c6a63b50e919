//! mqtt-seal
#[cfg(feature = "tls")]
pub mod tls;
