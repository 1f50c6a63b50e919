//! The bytes of a CA file to root certificates. Trusts no input and keeps no key.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::vec::Vec;

use rustls::RootCertStore;
use zeroize::Zeroizing;

use super::error::{CaOrigin, TlsConfigError};
use super::form::{self, MAX_CERTS_LEN};

/// Adds all certificates of the file at `path`.
pub(super) fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsConfigError> {
    let bytes = read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => TlsConfigError::CaMissing { path: path.into() },
        kind => TlsConfigError::CaUnreadable { path: path.into(), kind },
    })?;
    add(roots, &bytes, &CaOrigin::File(path.into()))
}

/// Adds all certificates in `bytes`, or none and an error.
pub(super) fn add(
    roots: &mut RootCertStore,
    bytes: &[u8],
    origin: &CaOrigin,
) -> Result<(), TlsConfigError> {
    let certs = form::certificates(bytes).map_err(|fault| fault.in_ca(origin))?;
    let mut checked = Vec::new();
    for (cert, index) in certs.into_iter().zip(1..) {
        let mut one = RootCertStore::empty();
        let refused = |cause| TlsConfigError::CaRefused { origin: origin.clone(), index, cause };
        one.add(cert).map_err(refused)?;
        checked.append(&mut one.roots);
    }
    roots.extend(checked);
    Ok(())
}

/// The bytes of a file with certificates; of one that is too long, one byte too many.
// Wiped when dropped: the file may turn out to be a private key.
pub(super) fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    // The full capacity at once: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_CERTS_LEN.saturating_add(2)));
    let limit = u64::try_from(MAX_CERTS_LEN).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}
