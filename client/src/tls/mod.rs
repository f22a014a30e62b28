//! TLS 1.3 for every connection between nodes, operators and agents: identities, configurations, and verifiers that
//! recognise a peer by the hash of its key.
//!
//! Certificates of this plane are self-signed or signed by an authority; either way our own ends look only at the key
//! (SubjectPublicKeyInfo), whose possession TLS proves. What is *not* done here: deciding who a key belongs to (the
//! server's authn does), and verifying workloads that present an SVID (`ca::verify_peer` does).

mod client_verifier;
mod connect;
mod pins;
mod possession;
mod self_identity;
mod server_verifier;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::version::TLS13;
use rustls::{ClientConfig, CommonState, ServerConfig};
use types::SpkiHash;

pub use client_verifier::{AnySelfSigned, PinnedClients};
pub use connect::{Connector, FailureKind, channel, unix_channel};
pub use pins::PinSet;
pub use self_identity::{CertificateSlot, Identity, IdentityFault};
pub use server_verifier::{DangerousRecordAnyServer, PinnedServers};

/// The only protocol spoken over our connections: HTTP/2, for gRPC.
pub const ALPN: &[u8] = b"h2";

/// The configuration of a listener: TLS 1.3, ALPN `h2`, no resumption.
///
/// Resumption is off on both sides because a resumed session does not ask the verifier again, so a key revoked in the
/// meantime would come back in. Connections live long enough that full handshakes cost little.
///
/// `certificate` answers for the listener: a [`CertificateSlot`], so that it can be exchanged while connections stand.
///
/// # Errors
/// When the provider offers no TLS 1.3.
pub fn server_config(
    certificate: Arc<dyn ResolvesServerCert>,
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(crypto::tls::provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The configuration of a caller that presents `identity` and judges servers by `servers`: TLS 1.3, ALPN `h2`, no
/// resumption (see [`server_config`]), no early data.
///
/// # Errors
/// When the provider offers no TLS 1.3.
pub fn client_config(identity: &Identity, servers: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(crypto::tls::provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous() // rustls' word for every verifier but its own; ours pins keys, which is stricter than a chain
        .with_custom_certificate_verifier(servers)
        .with_client_cert_resolver(identity.client_resolver());
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The hash of the key that the peer of this connection proved to hold; `None` when it presented no certificate.
///
/// Takes a `ServerConnection` or `ClientConnection` as well, by deref.
#[must_use]
pub fn spki_of_peer(connection: &CommonState) -> Option<SpkiHash> {
    let leaf = connection.peer_certificates()?.first()?;
    ca::spki_hash_of_cert(leaf).ok()
}

#[cfg(test)]
mod tests;
