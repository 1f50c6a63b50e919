//! mqtt-seal
