//! Bytes to header and back. Knows no keys and trusts no input.

pub mod aad;
pub(crate) mod cbor;
pub mod control;
pub mod header;
pub mod inner;
pub(crate) mod last_aad;
pub mod property;
mod reader;
pub mod varint;

pub use header::{
    Form, Header, HeaderError, KeyId, MAX_HEADER_LEN, SenderNumber, SessionId, TAG_LEN,
};
pub use inner::{InnerError, InnerHeader, Kind};
pub use property::{Property, PropertyError};

pub(crate) use reader::Reader;
