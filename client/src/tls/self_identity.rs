//! Who we are on a connection: a P-256 key and a certificate over it.

use std::sync::{Arc, PoisonError, RwLock};

use crypto::sign::P256Signer;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use types::{Millis, SpkiHash, Time};

/// Dates of a self-signed certificate around the present. No verifier of ours looks at them (an enrolment's end is in
/// state); they are wide so that foreign tools that print certificates do not call a long-running process expired.
const BACKDATE: Millis = Millis::from_days(1);
const VALIDITY: Millis = Millis::from_days(3_650);

/// A key could not be made into an identity; never the peer's fault.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFault {
    /// The certificate could not be written.
    #[error(transparent)]
    Certificate(#[from] ca::Fault),
    /// The key could not be read back from its own encoding.
    #[error("the key could not be read: {0}")]
    Key(#[from] crypto::Unverified),
    /// The certificate is over another key.
    #[error("the certificate is not over the identity's key")]
    OtherKey,
}

/// A key with a certificate over it, ready to be presented. Cheap to clone; the key is shared.
#[derive(Clone)]
pub struct Identity {
    pub(super) key: Arc<dyn SigningKey>,
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) spki: SpkiHash,
}

/// Lends our signer to TLS, so that the key stays in memory that wipes itself; rustls' own key types take a plain copy.
#[derive(Debug, Clone)]
struct HandshakeKey(Arc<P256Signer>);

/// Holds the certificate that a listener presents, so that it can be exchanged while it runs: self-signed until an
/// authority has signed one over the same key.
#[derive(Debug)]
pub struct CertificateSlot(RwLock<Arc<CertifiedKey>>);

impl Identity {
    /// The identity of that key, with a self-signed certificate made now. `common_name` is for people who read
    /// certificates, for example `operators/alice`; nobody recognises us by it.
    ///
    /// # Errors
    /// When the certificate cannot be written.
    pub fn self_signed(signer: &P256Signer, common_name: &str, now: Time) -> Result<Self, IdentityFault> {
        let der = ca::self_signed(signer, common_name, now.before(BACKDATE), now.after(VALIDITY))?;
        let signer = P256Signer::from_pkcs8(signer.to_pkcs8().expose())?;
        let spki = ca::spki_hash(&signer.spki_der());
        let key: Arc<dyn SigningKey> = Arc::new(HandshakeKey(Arc::new(signer)));
        let certified = Arc::new(CertifiedKey::new(vec![CertificateDer::from(der)], Arc::clone(&key)));
        Ok(Self { key, certified, spki })
    }

    /// The hash by which others recognise this identity.
    #[must_use]
    pub fn spki(&self) -> SpkiHash {
        self.spki
    }

    /// The same key under a certificate chain that someone else signed: DER, leaf first.
    ///
    /// # Errors
    /// When the leaf is over another key.
    pub fn with_chain(&self, chain: Vec<Vec<u8>>) -> Result<Arc<CertifiedKey>, IdentityFault> {
        let leaf = chain.first().ok_or(IdentityFault::OtherKey)?;
        if ca::spki_hash_of_cert(leaf)? != self.spki {
            return Err(IdentityFault::OtherKey);
        }
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        Ok(Arc::new(CertifiedKey::new(chain, Arc::clone(&self.key))))
    }

    /// The self-signed certificate and its key.
    #[must_use]
    pub fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    /// Presents the self-signed certificate to every server that asks.
    pub(super) fn client_resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(self.certified()))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.spki)
    }
}

impl CertificateSlot {
    /// Starts with the self-signed certificate of that identity.
    #[must_use]
    pub fn new(identity: &Identity) -> Arc<Self> {
        Arc::new(Self(RwLock::new(identity.certified())))
    }

    /// Presents this certificate in every handshake from now on.
    pub fn replace(&self, certified: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
    }
}

impl ResolvesServerCert for CertificateSlot {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl SigningKey for HandshakeKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&Signer::scheme(self)).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for HandshakeKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(self.0.sign(message))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}
