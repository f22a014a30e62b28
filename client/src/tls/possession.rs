//! The half of a certificate verifier that every verifier here shares: the peer proves that it holds the key.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerIncompatible, SignatureScheme};
use types::SpkiHash;

/// More certificates than this are refused unread: our chains have one or two.
const CHAIN_MAX: usize = 4;

/// Checks handshake signatures.
#[derive(Debug, Clone, Copy)]
pub(super) struct Possession(WebPkiSupportedAlgorithms);

impl Possession {
    pub(super) fn new() -> Self {
        Self(crypto::tls::provider().signature_verification_algorithms)
    }

    /// The key of the leaf, which the handshake signature is checked against afterwards.
    pub(super) fn key_of(leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<SpkiHash, Error> {
        if others.len() >= CHAIN_MAX {
            return Err(CertificateError::BadEncoding.into());
        }
        ca::spki_hash_of_cert(leaf).map_err(|_| CertificateError::BadEncoding.into())
    }

    /// The answer to a TLS 1.2 signature, which the configurations never negotiate.
    pub(super) fn refuse_tls12() -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
    }

    pub(super) fn verify(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &self.0)
    }

    pub(super) fn schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
