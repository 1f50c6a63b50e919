//! mqtt-seal
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

#[cfg(feature = "cose")]
pub mod cose;
#[cfg(feature = "alloc")]
pub mod guard;
#[cfg(feature = "alloc")]
pub mod keyring;
pub mod message;
#[cfg(feature = "alloc")]
pub mod policy;
pub mod replay;
pub mod schedule;
pub mod secret;
pub mod session;
pub mod suite;
pub mod topic;
pub mod wire;
