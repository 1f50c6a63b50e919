//! A broker of our own, so that the example needs none: knows no keys, listens
//! on free loopback ports, and makes fresh certificates at every start.

use core::error::Error;
use core::net::{Ipv4Addr, SocketAddr};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mqtt5::broker::config::{StorageBackend, StorageConfig};
use mqtt5::broker::{BrokerConfig, MqttBroker};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;

/// How many messages wait for a slow subscriber before the oldest is dropped.
const QUEUE: usize = 1_000_000;

/// Where the broker listens. It runs as long as the tokio runtime does.
pub(crate) struct EmbeddedBroker {
    /// The plain listener.
    pub(crate) tcp: SocketAddr,
    /// The TLS listener; its certificate is for `localhost` and 127.0.0.1.
    pub(crate) tls: SocketAddr,
    /// The CA of the TLS listener, in PEM, and beside it the listener's own certificate as
    /// `server.pem`; gone when this value is dropped.
    pub(crate) ca_file: PathBuf,
    _dir: TempDir,
}

/// Starts the broker and returns when both listeners are open.
pub(crate) async fn start() -> Result<EmbeddedBroker, Box<dyn Error>> {
    let dir = TempDir::new()?;
    let ca_file = dir.path().join("ca.pem");
    let tcp = start_plain().await?;
    let tls = start_tls(tcp, certify(&ca_file)?).await?;
    Ok(EmbeddedBroker { tcp, tls, ca_file, _dir: dir })
}

async fn start_plain() -> Result<SocketAddr, Box<dyn Error>> {
    let storage = StorageConfig::new()
        .with_backend(StorageBackend::Memory)
        .with_max_queued_messages_per_client(QUEUE);
    let config = BrokerConfig::new()
        .with_bind_address((Ipv4Addr::LOCALHOST, 0))
        .with_storage(storage)
        .with_sys_topics_enabled(false);
    let mut broker = MqttBroker::with_config(config).await?;
    let address = broker.local_addr().ok_or("the broker has no listener")?;
    let mut ready = broker.ready_receiver();
    tokio::spawn(async move { broker.run().await });
    ready.wait_for(|ready| *ready).await?;
    Ok(address)
}

/// Takes TLS off before the plain listener. The broker's own TLS listener makes
/// handshakes one after the other: a client that stays silent would block it.
async fn start_tls(tcp: SocketAddr, config: ServerConfig) -> Result<SocketAddr, Box<dyn Error>> {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            // A client that fails its handshake or hangs up concerns nobody else.
            tokio::spawn(terminate(acceptor.clone(), client, tcp));
        }
    });
    Ok(address)
}

async fn terminate(
    acceptor: TlsAcceptor,
    client: TcpStream,
    tcp: SocketAddr,
) -> Result<(), io::Error> {
    client.set_nodelay(true)?;
    let mut client = acceptor.accept(client).await?;
    let mut broker = TcpStream::connect(tcp).await?;
    broker.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut broker).await?;
    Ok(())
}

/// Makes a CA, writes its certificate to `ca_file` and has it certify a server, whose certificate is
/// written beside it; both private keys stay in memory.
fn certify(ca_file: &Path) -> Result<ServerConfig, Box<dyn Error>> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "mqtt-seal example CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    fs::write(ca_file, ca.as_ref().pem())?;

    let names = ["localhost", "127.0.0.1"].map(String::from);
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "mqtt-seal example broker");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let cert = params.signed_by(&key, &ca)?;
    fs::write(ca_file.with_file_name("server.pem"), cert.pem())?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.serialize_der().try_into()?)?;
    Ok(config)
}
