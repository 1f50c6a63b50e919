#![doc = include_str!("../README.md")]
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

#[cfg(feature = "rumqttc")]
pub mod client;
#[cfg(feature = "cose")]
pub mod cose;
#[cfg(feature = "alloc")]
pub mod guard;
#[cfg(feature = "alloc")]
pub mod keyring;
pub mod message;
#[cfg(feature = "alloc")]
pub mod peer;
#[cfg(feature = "alloc")]
pub mod policy;
#[cfg(feature = "proxy")]
pub mod proxy;
pub mod replay;
pub mod schedule;
pub mod secret;
pub mod session;
#[cfg(feature = "std")]
pub mod store;
pub mod suite;
#[cfg(feature = "tls")]
pub mod tls;
pub mod topic;
#[cfg(feature = "alloc")]
pub mod update;
pub mod wire;

#[cfg(feature = "rumqttc")]
pub use client::{rumqttc_v4, rumqttc_v5};
#[cfg(feature = "alloc")]
pub use guard::{Guard, GuardRx, GuardTx};
#[cfg(feature = "alloc")]
pub use keyring::{Grant, Keyring};
pub use message::{Opener, Sealer};
#[cfg(feature = "alloc")]
pub use policy::{Policy, Rule};
pub use secret::SharedKey;
pub use suite::Suite;
