//! Files of keys, policies and counters. Knows the file system and no network.

pub mod counter_file;
