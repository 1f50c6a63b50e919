//! Where a broker is, and how it is reached. Knows no MQTT.

use core::fmt;
use core::time::Duration;
use std::boxed::Box;
use std::io;
use std::string::String;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::stream::Stream;
use crate::tls::TlsConfig;

/// A connection that is not made by then is given up.
const PATIENCE: Duration = Duration::from_secs(15);

/// A broker.
#[derive(Clone)]
pub(super) struct Target {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Target {
    pub(super) const fn tcp(host: String, port: u16) -> Self {
        Self { host, port, tls: None }
    }

    /// `None` if no certificate can be for such a host.
    pub(super) fn tls(host: String, port: u16, config: &TlsConfig) -> Option<Self> {
        let name = ServerName::try_from(host.clone()).ok()?;
        let connector = TlsConnector::from(config.client_config());
        Some(Self { host, port, tls: Some((connector, name)) })
    }

    pub(super) async fn connect(&self) -> io::Result<Stream> {
        let connected = timeout(PATIENCE, self.dial()).await;
        connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn dial(&self) -> io::Result<Stream> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            Some((connector, name)) => {
                Stream::Tls(Box::new(connector.connect(name.clone(), stream).await?))
            }
            None => Stream::Tcp(stream),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}
