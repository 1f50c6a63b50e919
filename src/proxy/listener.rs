//! Where clients come in. Knows no MQTT.

use core::net::SocketAddr;
use core::time::Duration;
use std::io;
#[cfg(unix)]
use std::path::{Path, PathBuf};

use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;

use super::Listen;
use super::error::ProxyError;
use super::stream::Stream;

/// How long accepting rests when the system has no more to give.
pub(super) const REST: Duration = Duration::from_millis(100);

/// An open listener.
pub(super) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, Socket),
}

/// A Unix socket's file, which goes with its listener.
#[cfg(unix)]
pub(super) struct Socket(PathBuf);

#[cfg(unix)]
impl Drop for Socket {
    fn drop(&mut self) {
        // who takes it over has put another in its place
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Opens a listener, also one that other machines reach.
    pub(super) async fn open(listen: &Listen) -> Result<Self, ProxyError> {
        let opened = match listen {
            Listen::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
            #[cfg(unix)]
            Listen::Unix(path) => {
                private(path).map(|listener| Self::Unix(listener, Socket(path.clone())))
            }
            #[cfg(not(unix))]
            Listen::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        };
        opened.map_err(|error| ProxyError::Listen { listen: listen.clone(), error })
    }

    /// Where a TCP listener listens.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(unix)]
            Self::Unix(..) => None,
        }
    }

    /// Where it listens, with the port that it has.
    pub(super) fn listen(&self) -> Option<Listen> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(Listen::Tcp),
            #[cfg(unix)]
            Self::Unix(_, socket) => Some(Listen::Unix(socket.0.clone())),
        }
    }

    /// The next client.
    pub(super) async fn accept(&self) -> Stream {
        loop {
            match self.try_accept().await {
                Ok(stream) => return stream,
                Err(error) => {
                    tracing::warn!(%error, "a client cannot be accepted");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    async fn try_accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            #[cfg(unix)]
            Self::Unix(listener, _) => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }
}

pub(super) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// A socket that its owner alone may connect to, from the first moment on, whatever the umask: it is
/// made in a folder of its own, and gets its name last. A socket that nobody listens on any more is
/// replaced.
#[cfg(unix)]
fn private(path: &Path) -> io::Result<UnixListener> {
    use std::fs::{self, DirBuilder, Permissions};
    use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};

    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        _ => {}
    }
    let mut folder = std::ffi::OsString::from(path);
    folder.push(std::format!(".{}", std::process::id()));
    let folder = PathBuf::from(folder);
    let new = folder.join("s");
    let clear = || {
        let _ = fs::remove_file(&new);
        let _ = fs::remove_dir(&folder);
    };
    let make = || {
        DirBuilder::new().mode(0o700).create(&folder)?;
        let listener = UnixListener::bind(&new)?;
        fs::set_permissions(&new, Permissions::from_mode(0o600))?;
        fs::rename(&new, path)?;
        Ok(listener)
    };
    clear();
    let listener = make();
    clear();
    listener
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn socket_is_its_owners_and_nothing_stays_beside_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mqtt.sock");
        let listener = private(&path).unwrap();
        assert_eq!(private(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        // nobody listens on it any more
        let _listener = private(&path).unwrap();
        let mode = std::fs::symlink_metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
