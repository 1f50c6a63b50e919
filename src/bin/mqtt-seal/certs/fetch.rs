//! The certificates that a TLS server shows. They are looked at and not trusted: nothing is sent
//! over the connection.

use core::time::Duration;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

use crate::fault::Fault;

/// How long a server may be silent.
const PATIENCE: Duration = Duration::from_secs(10);

/// The certificates of the server at `host` and `port`, its own first.
pub(super) fn certificates(host: &str, port: u16) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let silent = |why: String| {
        let what = format!("{host}:{port}: no TLS handshake, {why}");
        Fault::new(what, "check host and port, and that the listener there speaks TLS")
    };
    let name = ServerName::try_from(host.to_owned()).map_err(|_| {
        Fault::usage(format!("{host} is no host name and no address"), "name HOST:PORT")
    })?;
    let recorder = Arc::new(Recorder::default());
    let verifier: Arc<dyn ServerCertVerifier> = Arc::<Recorder>::clone(&recorder);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| silent(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let mut tls =
        ClientConnection::new(Arc::new(config), name).map_err(|error| silent(error.to_string()))?;
    let mut socket = connect(host, port).map_err(|error| silent(error.kind().to_string()))?;
    let mut outcome = Ok(());
    while tls.is_handshaking() && outcome.is_ok() {
        outcome = tls.complete_io(&mut socket).map(drop);
    }
    let seen = core::mem::take(&mut *recorder.0.lock().unwrap_or_else(PoisonError::into_inner));
    match (seen.is_empty(), outcome) {
        // a certificate of version 1 ends the handshake behind the recorder
        (false, _) => Ok(seen),
        (true, Err(error)) => Err(silent(error.to_string())),
        (true, Ok(())) => Err(silent("it showed no certificate".into())),
    }
}

fn connect(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(socket) => {
                socket.set_read_timeout(Some(PATIENCE))?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Takes every certificate, to be looked at.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<CertificateDer<'static>>>);

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = core::iter::once(end_entity).chain(intermediates);
        let shown = shown.map(|cert| cert.clone().into_owned()).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = shown;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
