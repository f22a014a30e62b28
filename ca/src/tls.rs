//! `verify_peer` inside a TLS handshake: one verifier for both sides of SVID mTLS. It checks the chain with `verify_peer`, the
//! id against what the caller accepts, and the handshake signature with the provider's algorithms. Host names play no part.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, PeerIncompatible, SignatureScheme,
};
use types::{SpiffeId, Time, TrustDomain};

use crate::{Bundles, PeerRefusal, verify_peer};

/// Where the verifier finds the bundles at the moment of a handshake: they change while it lives.
pub trait BundleSource: std::fmt::Debug + Send + Sync {
    /// The newest bundles held.
    fn bundles(&self) -> Arc<Bundles>;
}

/// Bundles that do not change.
impl BundleSource for Arc<Bundles> {
    fn bundles(&self) -> Arc<Bundles> {
        Self::clone(self)
    }
}

/// Which peers are accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Accept {
    /// Every workload of a trust domain that a bundle is held for.
    Any,
    /// Every workload of one trust domain.
    TrustDomain(TrustDomain),
    /// These workloads.
    Ids(BTreeSet<SpiffeId>),
}

impl Accept {
    fn takes(&self, id: &SpiffeId) -> bool {
        match self {
            Self::Any => true,
            Self::TrustDomain(domain) => id.trust_domain() == domain,
            Self::Ids(ids) => ids.contains(id),
        }
    }
}

/// Verifies the other side of an mTLS connection by its X.509-SVID, as client and as server.
#[derive(Debug)]
pub struct SpiffeVerifier {
    bundles: Box<dyn BundleSource>,
    accept: Accept,
    provider: Arc<CryptoProvider>,
}

impl SpiffeVerifier {
    /// A verifier for `ClientConfig::dangerous` and `ServerConfig::with_client_cert_verifier`.
    #[must_use]
    pub fn new(bundles: impl BundleSource + 'static, accept: Accept) -> Arc<Self> {
        Arc::new(Self { bundles: Box::new(bundles), accept, provider: crypto::tls::provider() })
    }

    /// The id of a peer whose chain (leaf first) holds and whom we accept. After a handshake this tells who it was.
    ///
    /// # Errors
    /// As rustls wants them: a certificate error, with [`PeerRefusal`] inside where rustls has no word for it.
    pub fn verify(&self, chain: &[CertificateDer<'_>], now: Time) -> Result<SpiffeId, rustls::Error> {
        let id = verify_peer(chain, &self.bundles.bundles(), now).map_err(as_tls)?;
        if self.accept.takes(&id) {
            return Ok(id);
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let chain: Vec<_> = std::iter::once(leaf).chain(intermediates).cloned().collect();
        self.verify(&chain, Time(now.as_secs().saturating_mul(1_000))).map(|_| ())
    }

    fn check_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &self.provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for SpiffeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for SpiffeVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // No hints: roots change while the listener lives, and the list would tell strangers who our authorities are.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn as_tls(refusal: PeerRefusal) -> rustls::Error {
    match refusal {
        PeerRefusal::NoCertificate => rustls::Error::NoCertificatesPresented,
        PeerRefusal::Expired => CertificateError::Expired.into(),
        PeerRefusal::NotValidYet => CertificateError::NotValidYet.into(),
        PeerRefusal::UnknownTrustDomain(_) | PeerRefusal::Untrusted(..) => CertificateError::UnknownIssuer.into(),
        PeerRefusal::Malformed(_) => CertificateError::BadEncoding.into(),
        PeerRefusal::WrongUsage => CertificateError::InvalidPurpose.into(),
        other => CertificateError::Other(OtherError(Arc::new(other))).into(),
    }
}

#[cfg(test)]
mod tests;
