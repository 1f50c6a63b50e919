//! A server's certificate against the pins. Whatever else is checked or not, the handshake's
//! signatures are.

use std::sync::Arc;
use std::vec::Vec;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

use super::pin::{PinMismatch, SpkiPin};

/// Accepts a server by its key: with a chain to a root beside, or by it alone. Without pins it
/// accepts one by the chain alone.
///
/// A pin says which key is the server's; that the server has that key is what its signature over
/// the handshake shows. Anybody can send the certificate, so both signature checks are those of
/// the provider, in either case.
///
/// rustls asks no verifier when a session is resumed. A session is in the store of a configuration
/// only after a full handshake under that configuration, the pins never change within one, and no
/// other configuration has that store: whoever resumes has shown one of these very pins before.
#[derive(Debug)]
pub(super) struct PinVerifier {
    pins: Vec<SpkiPin>,
    /// `None`: by the pin alone.
    chain: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinVerifier {
    pub(super) const fn new(
        pins: Vec<SpkiPin>,
        chain: Option<Arc<WebPkiServerVerifier>>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self { pins, chain, algorithms }
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(chain) = &self.chain {
            let verified = chain.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            )?;
            if self.pins.is_empty() {
                return Ok(verified);
            }
        }
        // without a chain and without a pin, nobody is accepted
        let presented = SpkiPin::of(end_entity)?;
        if self.pins.contains(&presented) {
            return Ok(ServerCertVerified::assertion());
        }
        let mismatch = OtherError(Arc::new(PinMismatch::new(presented)));
        Err(CertificateError::Other(mismatch).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
