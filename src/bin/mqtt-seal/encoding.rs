//! Bytes in files and in lines of text: raw, hexadecimal, base64. Knows no command.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding as _};
use clap::{Args, ValueEnum};
use zeroize::Zeroizing;

use crate::fault::Fault;

/// Most bytes that are read: the longest packet of MQTT, in hexadecimal, and its line end.
const MAX_LEN: u64 = 2 * 268_435_455 + 2;

/// How bytes are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoding {
    /// The bytes as they are
    Raw,
    /// Two hexadecimal digits for each
    Hex,
    /// Base64 with padding
    Base64,
}

/// Where bytes come from and go to.
#[derive(Debug, Args)]
pub(crate) struct Bytes {
    /// The file to read; without, or with -, standard input
    file: Option<PathBuf>,
}

impl Bytes {
    /// All bytes, wiped when dropped.
    pub(crate) fn read(&self) -> Result<Zeroizing<Vec<u8>>, Fault> {
        read(self.file.as_deref())
    }
}

/// All bytes of a file, or of standard input.
pub(crate) fn read(path: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let path = path.filter(|path| *path != Path::new("-"));
    let name = path.map_or_else(|| "standard input".into(), |path| path.display().to_string());
    let unreadable = |error: io::Error| {
        let what = format!("{name}: cannot be read, {}", error.kind());
        Fault::new(what, "check the path and its permissions")
    };
    let mut bytes = Zeroizing::new(Vec::new());
    match path {
        None => io::stdin().take(MAX_LEN).read_to_end(&mut bytes),
        Some(path) => File::open(path).and_then(|file| file.take(MAX_LEN).read_to_end(&mut bytes)),
    }
    .map_err(unreadable)?;
    Ok(bytes)
}

impl Encoding {
    /// The bytes that `text` stands for. White space at the ends of hexadecimal and base64 does not
    /// count.
    pub(crate) fn decode(self, text: &[u8]) -> Result<Vec<u8>, Fault> {
        let trimmed = text.trim_ascii();
        match self {
            Self::Raw => Ok(text.to_vec()),
            Self::Hex => base16ct::mixed::decode_vec(trimmed).map_err(|_| {
                Fault::new(
                    "this is no hexadecimal",
                    "name another with --encoding, or copy it anew",
                )
            }),
            Self::Base64 => core::str::from_utf8(trimmed)
                .ok()
                .and_then(|text| Base64::decode_vec(text).ok())
                .ok_or_else(|| {
                    Fault::new("this is no base64", "name another with --encoding, or copy it anew")
                }),
        }
    }

    /// What stands for `bytes`; a line of its own, unless raw.
    pub(crate) fn encode(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Raw => bytes.to_vec(),
            Self::Hex => (base16ct::lower::encode_string(bytes) + "\n").into_bytes(),
            Self::Base64 => (Base64::encode_string(bytes) + "\n").into_bytes(),
        }
    }
}

/// Writes to a file, in the place of what is there, or to standard output.
pub(crate) fn write(path: Option<&Path>, bytes: &[u8]) -> Result<(), Fault> {
    let Some(path) = path else {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        return Ok(stdout.flush()?);
    };
    fs::write(path, bytes).map_err(|error| {
        let what = format!("{}: cannot be written, {}", path.display(), error.kind());
        Fault::new(what, "check the folder and its permissions")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_gives_back_its_bytes() {
        let bytes: Vec<u8> = (0..=255).collect();
        for encoding in [Encoding::Raw, Encoding::Hex, Encoding::Base64] {
            assert_eq!(encoding.decode(&encoding.encode(&bytes)).unwrap(), bytes, "{encoding:?}");
        }
    }
}
