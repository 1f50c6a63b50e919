//! A message in the store: whose it is, and what is sent again. Knows neither file nor socket.

use std::string::String;
use std::vec::Vec;

use zeroize::Zeroizing;

use super::sent::{Digest, DigestKey, Entry, Progress};
use crate::guard::RowKey;
use crate::policy::Link;
use crate::wire::Reader;

/// The first byte of a row, by which another program's are told apart: a message, the key of the
/// digests, and replay state.
const MESSAGE: u8 = 0xA1;
const DIGEST_KEY: u8 = 0xA2;
const REPLAY: u8 = 0xA3;

/// What a store holds.
#[derive(Debug)]
pub(super) enum Row {
    /// A message of a client under a packet ID.
    Message(String, u16, Entry),
    /// The key of the digests of all messages.
    DigestKey(DigestKey),
    /// Replay state of a client.
    Replay(String, RowKey, Vec<u8>),
}

pub(super) fn message(client_id: &str, id: u16, entry: &Entry) -> Zeroizing<Vec<u8>> {
    let mut row = Vec::with_capacity([entry.packet.len(), client_id.len(), 32].iter().sum());
    row.push(MESSAGE);
    row.push(match entry.link {
        Link::Tcp => 0,
        Link::Tls => 1,
    });
    row.extend_from_slice(&id.to_be_bytes());
    row.extend_from_slice(&entry.digest.to_be_bytes());
    row.extend_from_slice(&u16::try_from(client_id.len()).unwrap_or(u16::MAX).to_be_bytes());
    row.extend_from_slice(client_id.as_bytes());
    row.extend_from_slice(&entry.packet);
    Zeroizing::new(row)
}

pub(super) fn replay(client_id: &str, key: &RowKey, value: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut row = Vec::with_capacity([value.len(), client_id.len(), 20].iter().sum());
    row.push(REPLAY);
    row.extend_from_slice(&u16::try_from(client_id.len()).unwrap_or(u16::MAX).to_be_bytes());
    row.extend_from_slice(client_id.as_bytes());
    row.extend_from_slice(key.as_bytes());
    row.extend_from_slice(value);
    Zeroizing::new(row)
}

pub(super) fn digest_key(key: DigestKey) -> Zeroizing<Vec<u8>> {
    let mut row = Vec::with_capacity(17);
    row.push(DIGEST_KEY);
    row.extend_from_slice(&key.0);
    Zeroizing::new(row)
}

/// What a row says; `None` if another program made it.
pub(super) fn read(number: u64, row: &[u8]) -> Option<Row> {
    let mut reader = Reader(row);
    match reader.u8()? {
        DIGEST_KEY => {
            let key = reader.array()?;
            reader.0.is_empty().then_some(Row::DigestKey(DigestKey(key)))
        }
        REPLAY => {
            let client_id = reader.lp_text()?.into();
            let key = RowKey::new(reader.array()?);
            Some(Row::Replay(client_id, key, reader.0.to_vec()))
        }
        MESSAGE => {
            let link = match reader.u8()? {
                0 => Link::Tcp,
                1 => Link::Tls,
                _ => return None,
            };
            let id = u16::from_be_bytes(reader.array()?);
            let digest = Digest::from_be_bytes(reader.array()?);
            let client_id = reader.lp_text()?.into();
            let packet = reader.0.to_vec();
            let entry = Entry {
                link,
                sealed: true,
                connection: 0,
                progress: Progress::Sent,
                done_at: 0,
                digest,
                packet,
                row: Some(number),
            };
            Some(Row::Message(client_id, id, entry))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn rows_say_what_was_stored_and_nothing_when_cut() {
        let entry = Entry {
            link: Link::Tls,
            sealed: true,
            connection: 7,
            progress: Progress::Sent,
            done_at: 0,
            digest: 99,
            packet: vec![0x30, 0],
            row: None,
        };
        let stored = message("pump-7", 3, &entry);
        let Some(Row::Message(client_id, 3, read_back)) = read(5, &stored) else {
            panic!("no message of ID 3")
        };
        assert_eq!((client_id.as_str(), read_back.digest), ("pump-7", 99));
        assert_eq!((read_back.packet, read_back.row), (entry.packet, Some(5)));
        for len in 0..stored.len() - 2 {
            assert!(read(5, &stored[..len]).is_none(), "{len}");
        }
        let key = digest_key(DigestKey([7; 16]));
        assert!(matches!(read(0, &key), Some(Row::DigestKey(DigestKey([7, ..])))));
        assert!(read(0, &key[..16]).is_none());
    }
}
