//! How a listener judges a caller: any key at all on the API port, where authn asks whose it is; members only on the
//! peer port.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::PinSet;
use super::possession::Possession;

/// Accepts every caller that holds the key of the certificate it presents, whoever signed that. It admits nobody to
/// anything: authn looks the key up, or verifies the SVID, and default deny does the rest.
#[derive(Debug)]
pub struct AnySelfSigned {
    mandatory: bool,
    possession: Possession,
}

/// Accepts exactly the callers whose key is in the set.
#[derive(Debug)]
pub struct PinnedClients {
    pins: PinSet,
    possession: Possession,
}

impl AnySelfSigned {
    /// Every caller must present a certificate.
    #[must_use]
    pub fn required() -> Arc<Self> {
        Arc::new(Self { mandatory: true, possession: Possession::new() })
    }

    /// A caller may present none and is then nobody: for calls that need no credential.
    #[must_use]
    pub fn optional() -> Arc<Self> {
        Arc::new(Self { mandatory: false, possession: Possession::new() })
    }
}

impl PinnedClients {
    /// A verifier over a set that may be changed later.
    #[must_use]
    pub fn new(pins: PinSet) -> Arc<Self> {
        Arc::new(Self { pins, possession: Possession::new() })
    }
}

impl ClientCertVerifier for AnySelfSigned {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Possession::key_of(leaf, others).map(|_| ClientCertVerified::assertion())
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

impl ClientCertVerifier for PinnedClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let key = Possession::key_of(leaf, others)?;
        if self.pins.contains(&key) {
            Ok(ClientCertVerified::assertion())
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
