//! mqtt-seal
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

pub mod message;
pub mod replay;
pub mod schedule;
pub mod secret;
pub mod session;
pub mod suite;
pub mod topic;
pub mod wire;
