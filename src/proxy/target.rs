//! Where a broker is, and how it is reached. Knows no MQTT.

use core::fmt;
use core::time::Duration;
use std::boxed::Box;
use std::io;
use std::string::String;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::stream::Stream;
use super::vouch::Vouching;
use crate::client::LinkError;
use crate::tls::TlsConfig;

/// A connection that is not made by then is given up.
const PATIENCE: Duration = Duration::from_secs(15);

/// A broker.
#[derive(Clone)]
pub(super) struct Target {
    host: String,
    port: u16,
    tls: Option<(Verified, ServerName<'static>)>,
}

/// What verifies a broker by TLS.
#[derive(Clone)]
enum Verified {
    Config(Arc<ClientConfig>),
    /// The authority, and then the key that it vouched for.
    ByPeer(Arc<Vouching>),
}

impl Target {
    pub(super) const fn tcp(host: String, port: u16) -> Self {
        Self { host, port, tls: None }
    }

    /// `None` if no certificate can be for such a host. With `vouching`, it has the last word.
    pub(super) fn tls(
        host: String,
        port: u16,
        config: &TlsConfig,
        vouching: Option<Arc<Vouching>>,
    ) -> Option<Self> {
        let name = ServerName::try_from(host.clone()).ok()?;
        let config = || Verified::Config(config.client_config());
        let verified = vouching.map_or_else(config, Verified::ByPeer);
        Some(Self { host, port, tls: Some((verified, name)) })
    }

    /// Connects. Nothing of a client has left before, and by TLS nothing leaves but to a server that
    /// was verified.
    pub(super) async fn connect(&self) -> io::Result<Stream> {
        let connected = timeout(PATIENCE, self.dial()).await;
        connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn dial(&self) -> io::Result<Stream> {
        match &self.tls {
            None => Ok(Stream::Tcp(self.open().await?)),
            Some((Verified::Config(config), name)) => self.shake(config, name).await,
            Some((Verified::ByPeer(vouching), name)) => self.dial_vouched(vouching, name).await,
        }
    }

    /// To a server with the key that is vouched for. If it has another, the authority is asked, once.
    // SPEC §9, "the ordinary connection follows with the pin enforced"
    async fn dial_vouched(
        &self,
        vouching: &Vouching,
        name: &ServerName<'static>,
    ) -> io::Result<Stream> {
        let mut again = true;
        loop {
            let key = vouching.key().await.map_err(io::Error::other)?;
            let error = match self.shake(&key.tls, name).await {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            if !matches!(LinkError::from(&error), LinkError::Certificate(_)) {
                return Err(error);
            }
            vouching.forget(&key);
            if !core::mem::take(&mut again) {
                return Err(error);
            }
        }
    }

    async fn open(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn shake(
        &self,
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
    ) -> io::Result<Stream> {
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector.connect(name.clone(), self.open().await?).await?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}
