//! The node's server certificate: its identity key, self-signed until an authority has signed it, changed while running.

use std::sync::{Arc, RwLock};

use chancery_client::tls::AnySelfSigned;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The certificate that the next handshake gets.
#[derive(Debug)]
pub struct ServerCertificate {
    key: PrivateKeyDer<'static>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl ServerCertificate {
    /// A chain, leaf first, and the PKCS#8 key of its leaf.
    ///
    /// # Errors
    /// When key and chain do not fit.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Arc<Self>, rustls::Error> {
        let current = RwLock::new(certify(chain, &key)?);
        Ok(Arc::new(Self { key, current }))
    }

    /// Presents another chain over the same key from the next handshake on.
    ///
    /// # Errors
    /// When the key does not fit; the old chain then stays.
    pub fn replace(&self, chain: Vec<CertificateDer<'static>>) -> Result<(), rustls::Error> {
        let certified = certify(chain, &self.key)?;
        if let Ok(mut current) = self.current.write() {
            *current = certified;
        }
        Ok(())
    }
}

fn certify(
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, rustls::Error> {
    CertifiedKey::from_der(chain, key.clone_key(), &crypto::tls::provider()).map(Arc::new)
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.read().ok().map(|current| Arc::clone(&current))
    }
}

/// The API's TLS: version 1.3 only, HTTP/2, and a client certificate that is asked for, proven, and judged later.
///
/// # Errors
/// When the provider does not offer TLS 1.3.
pub fn server_tls(certificate: Arc<ServerCertificate>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(crypto::tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(AnySelfSigned::optional()))
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec()];
    // Early data could be replayed, and a request must be answered once.
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}
