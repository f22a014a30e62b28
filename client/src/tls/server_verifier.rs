//! How a caller judges a server: by its key among pinned ones; or, once, not at all.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use types::SpkiHash;

use super::PinSet;
use super::possession::Possession;

/// Accepts exactly the servers whose key is in the set. Names, dates and chains are not looked at: a pinned key outlives
/// every certificate over it.
#[derive(Debug)]
pub struct PinnedServers {
    pins: PinSet,
    possession: Possession,
}

/// Accepts any server and remembers its key. Only for fetching the trust document, whose own signature is what is
/// trusted; the caller must compare [`DangerousRecordAnyServer::seen`] with the document before it says anything else.
#[derive(Debug)]
pub struct DangerousRecordAnyServer {
    seen: Mutex<Option<SpkiHash>>,
    possession: Possession,
}

impl PinnedServers {
    /// A verifier over a set that may be changed later.
    #[must_use]
    pub fn new(pins: PinSet) -> Arc<Self> {
        Arc::new(Self { pins, possession: Possession::new() })
    }
}

impl DangerousRecordAnyServer {
    /// A verifier for one connection.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { seen: Mutex::new(None), possession: Possession::new() })
    }

    /// The key that the server proved to hold in the last handshake.
    #[must_use]
    pub fn seen(&self) -> Option<SpkiHash> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerCertVerifier for PinnedServers {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = Possession::key_of(leaf, others)?;
        if self.pins.contains(&key) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Possession::refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.possession.verify(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.possession.schemes()
    }
}

impl ServerCertVerifier for DangerousRecordAnyServer {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = Possession::key_of(leaf, others)?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Possession::refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.possession.verify(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.possession.schemes()
    }
}
