//! Mutual TLS between workloads: each side presents its X.509-SVID and accepts exactly the SPIFFE ID it names.
//!
//! For one connection with the identity at hand. A listener that lives longer than its SVID keeps watching
//! ([`crate::workload::watch_x509`]) and uses the newest for each connection.

use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ca::{Accept, Bundle, Bundles, SpiffeVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, CommonState, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use types::{Millis, SpiffeId, SpiffeIdError, Time};

use crate::workload::X509Svid;

/// A connection whose two ends know each other.
#[derive(Debug)]
pub struct Mutual<S> {
    /// What to read and write.
    pub stream: S,
    /// The other side, as its certificate says.
    pub peer: SpiffeId,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum MtlsError {
    /// Our own identity cannot be used.
    #[error("our own identity cannot be used: {0}")]
    OwnIdentity(String),
    /// The other side is not who it should be, or refused us.
    #[error("TLS handshake failed: {0}")]
    Handshake(#[from] io::Error),
}

/// Completes the caller's side. A server that refuses our identity says so only when it is first read from: TLS 1.3
/// lets a client finish first.
///
/// # Errors
/// When the server does not prove to be `peer`, or our own identity cannot be used.
pub async fn connect(
    svid: &X509Svid,
    peer: &SpiffeId,
    tcp: TcpStream,
) -> Result<Mutual<client::TlsStream<TcpStream>>, MtlsError> {
    let verifier = verifier(svid, peer)?;
    let mut config = ClientConfig::builder_with_provider(crypto::tls::provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(own)?
        .dangerous() // rustls' word for every verifier but its own; ours knows SPIFFE IDs, which rustls does not
        .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
        .with_client_cert_resolver(Arc::new(certified(svid)?));
    config.resumption = rustls::client::Resumption::disabled();
    // The name plays no part: SPIFFE looks at the URI in the certificate alone (X509-SVID §5).
    let name = ServerName::IpAddress(tcp.peer_addr()?.ip().into());
    let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
    let peer = peer_of(stream.get_ref().1, &verifier)?;
    Ok(Mutual { stream, peer })
}

/// Completes the listener's side.
///
/// # Errors
/// When the caller does not prove to be `peer`, or our own identity cannot be used.
pub async fn accept(
    svid: &X509Svid,
    peer: &SpiffeId,
    tcp: TcpStream,
) -> Result<Mutual<server::TlsStream<TcpStream>>, MtlsError> {
    let verifier = verifier(svid, peer)?;
    let mut config = ServerConfig::builder_with_provider(crypto::tls::provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(own)?
        .with_client_cert_verifier(Arc::clone(&verifier) as _)
        .with_cert_resolver(Arc::new(certified(svid)?));
    // A resumed session would not ask the verifier again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    let stream = TlsAcceptor::from(Arc::new(config)).accept(tcp).await?;
    let peer = peer_of(stream.get_ref().1, &verifier)?;
    Ok(Mutual { stream, peer })
}

fn verifier(svid: &X509Svid, peer: &SpiffeId) -> Result<Arc<SpiffeVerifier>, MtlsError> {
    let id = SpiffeId::parse(&svid.spiffe_id).map_err(|error: SpiffeIdError| own(error))?;
    let bundle = Bundle {
        trust_domain: id.trust_domain().clone(),
        sequence: 0,
        refresh_hint: Millis::ZERO,
        roots: svid.bundle.clone(),
    };
    let accept = Accept::Ids([peer.clone()].into());
    Ok(SpiffeVerifier::new(Arc::new(Bundles::from(bundle)), accept))
}

fn certified(svid: &X509Svid) -> Result<SingleCertAndKey, MtlsError> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(svid.key.expose().to_vec()));
    let key = crypto::tls::provider().key_provider.load_private_key(key).map_err(own)?;
    let chain = svid.chain.iter().cloned().map(CertificateDer::from).collect();
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(own)?;
    Ok(SingleCertAndKey::from(certified))
}

/// The handshake has verified the chain; this reads whose it is out of it, by the same rules.
fn peer_of(connection: &CommonState, verifier: &SpiffeVerifier) -> Result<SpiffeId, MtlsError> {
    let chain = connection.peer_certificates().unwrap_or_default();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    Ok(verifier.verify(chain, now).map_err(io::Error::other)?)
}

fn own(error: impl std::fmt::Display) -> MtlsError {
    MtlsError::OwnIdentity(error.to_string())
}

#[cfg(test)]
mod tests {
    use ca::{Authority, Entry, EntrySpec, Grant, Issuer, RequestedKey, Selector, Serial, Step, SvidOrder};
    use crypto::SecretBytes;
    use crypto::sign::P256Signer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use types::{AgentName, NamespaceName, NodeId, Revision, TrustDomain};

    use super::*;

    /// An authority that signs now.
    struct Signing(TrustDomain, Authority, P256Signer);

    fn now() -> Time {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        Time(u64::try_from(since.as_millis()).expect("fits"))
    }

    fn serial() -> Serial {
        Serial::from_random(crypto::entropy::array())
    }

    impl Signing {
        fn new() -> Self {
            let (domain, signer) = (TrustDomain::parse("test.chancery").expect("a name"), P256Signer::generate());
            let linted = ca::generate_authority(NodeId(1), &domain, &signer, serial(), now()).expect("generates");
            let mut authority = Authority::generated(NodeId(1), linted.into_der(), &domain, now()).expect("lints");
            authority.advance(Step::Publish, now(), 1).expect("published");
            authority.advance(Step::Activate, now(), 1).expect("active");
            Self(domain, authority, signer)
        }

        fn svid(&self, name: &str) -> X509Svid {
            let Self(domain, authority, signer) = self;
            let namespace = NamespaceName::default_namespace();
            let grant = Grant { trust_domain: domain, namespace: &namespace, dns_suffixes: &[] };
            let spec = EntrySpec {
                spiffe_id: id(name),
                parent: AgentName::parse("dev").expect("a name"),
                selectors: [Selector::UnixUid(1)].into(),
                svid_ttl: Millis::from_hours(1),
                dns_names: Vec::new(),
                hint: String::new(),
            };
            let entry = Entry::new(spec, grant, now(), Revision(1)).expect("an entry");
            let key = P256Signer::generate();
            let request = ca::certificate_request(&key).expect("a request");
            let requested = RequestedKey::from_csr(&request).expect("a key");
            let order = SvidOrder { entry: &entry, grant, key: &requested, serial: serial(), now: now() };
            let issued = Issuer::new(authority, signer, now()).expect("signs").svid(&order).expect("issued");
            X509Svid {
                spiffe_id: id(name).to_string(),
                expires: issued.not_after,
                chain: vec![issued.certificate.into_der()],
                key: SecretBytes::from_vec(key.to_pkcs8().expose().to_vec()),
                bundle: vec![authority.certificate.clone()],
                hint: String::new(),
            }
        }
    }

    fn id(name: &str) -> SpiffeId {
        SpiffeId::parse(&format!("spiffe://test.chancery/ns/default/{name}")).expect("an id")
    }

    /// Connects the two, each expecting somebody; each one's peer, or why not. A byte goes each way, so that a
    /// refusal reaches both.
    async fn meet(
        (caller, expects): (X509Svid, &str),
        (listener, awaits): (X509Svid, &str),
    ) -> (Result<SpiffeId, String>, Result<SpiffeId, String>) {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = socket.local_addr().expect("bound");
        let listening = async {
            let (tcp, _) = socket.accept().await.map_err(|error| error.to_string())?;
            let mut met = accept(&listener, &id(awaits), tcp).await.map_err(|error| error.to_string())?;
            met.stream.write_u8(1).await.map_err(|error| error.to_string())?;
            met.stream.read_u8().await.map_err(|error| error.to_string())?;
            Ok(met.peer)
        };
        let calling = async {
            let tcp = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
            let mut met = connect(&caller, &id(expects), tcp).await.map_err(|error| error.to_string())?;
            met.stream.write_u8(1).await.map_err(|error| error.to_string())?;
            met.stream.read_u8().await.map_err(|error| error.to_string())?;
            Ok(met.peer)
        };
        tokio::join!(calling, listening)
    }

    #[tokio::test]
    async fn each_side_learns_who_the_other_is() {
        let ca = Signing::new();
        let (calling, listening) = meet((ca.svid("front"), "back"), (ca.svid("back"), "front")).await;
        assert_eq!((calling, listening), (Ok(id("back")), Ok(id("front"))));
    }

    #[tokio::test]
    async fn somebody_else_is_refused_by_either_side() {
        let ca = Signing::new();
        let (calling, listening) = meet((ca.svid("front"), "other"), (ca.svid("back"), "front")).await;
        assert!(calling.is_err() && listening.is_err());
        let (calling, listening) = meet((ca.svid("stranger"), "back"), (ca.svid("back"), "front")).await;
        assert!(calling.is_err() && listening.is_err());
    }

    #[tokio::test]
    async fn the_right_name_under_another_authority_is_refused() {
        let (ours, theirs) = (Signing::new(), Signing::new());
        let (calling, listening) = meet((theirs.svid("front"), "back"), (ours.svid("back"), "front")).await;
        assert!(calling.is_err() && listening.is_err());
    }

    #[tokio::test]
    async fn a_key_that_is_not_the_certificates_is_noticed_at_home() {
        let ca = Signing::new();
        let mixed = X509Svid { key: ca.svid("front").key, ..ca.svid("front") };
        let (calling, _) = meet((mixed, "back"), (ca.svid("back"), "front")).await;
        assert!(calling.expect_err("refused").starts_with("our own identity"));
    }
}
