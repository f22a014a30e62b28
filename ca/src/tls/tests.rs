//! Real handshakes between two rustls ends in memory, both presenting SVIDs.

use crypto::sign::P256Signer;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

use super::*;
use crate::testkit::{NOW, Office};

#[derive(Debug)]
struct Fixed(Time);

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(self.0.as_unix_seconds())))
    }
}

type Identity = Arc<SingleCertAndKey>;

fn identity(office: &Office) -> Identity {
    let key = P256Signer::generate();
    joined(office.issue(&key).certificate.into_der(), &key)
}

/// A certificate with a key, which nobody checks to belong to it.
fn joined(certificate: Vec<u8>, key: &P256Signer) -> Identity {
    let pkcs8 = PrivatePkcs8KeyDer::from(key.to_pkcs8().expose().to_vec());
    let key = crypto::tls::provider().key_provider.load_private_key(PrivateKeyDer::from(pkcs8)).expect("a key");
    Arc::new(SingleCertAndKey::from(CertifiedKey::new(vec![certificate.into()], key)))
}

fn bundles(office: &Office) -> Arc<Bundles> {
    Arc::new(office.bundle().into())
}

/// Shakes hands; the error is the one of the side that refused.
fn shake(
    client: Identity,
    server: Identity,
    of_client: Arc<SpiffeVerifier>,
    of_server: Arc<SpiffeVerifier>,
    now: Time,
) -> Result<SpiffeId, rustls::Error> {
    let config = ClientConfig::builder_with_details(crypto::tls::provider(), Arc::new(Fixed(now)))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(of_client)
        .with_client_cert_resolver(client);
    let name = ServerName::try_from("not-looked-at.example").expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let config = ServerConfig::builder_with_details(crypto::tls::provider(), Arc::new(Fixed(now)))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(of_server.clone())
        .with_cert_resolver(server);
    let mut server = ServerConnection::new(Arc::new(config)).expect("a server");
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory");
        }
        server.read_tls(&mut wire.as_slice()).expect("memory");
        server.process_new_packets()?;
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("memory");
        }
        client.read_tls(&mut wire.as_slice()).expect("memory");
        client.process_new_packets()?;
    }
    of_server.verify(server.peer_certificates().expect("a chain"), now)
}

#[test]
fn two_workloads_of_one_trust_domain_shake_hands() {
    let office = Office::new("example.org");
    let verifier = SpiffeVerifier::new(bundles(&office), Accept::Ids([office.id()].into()));
    let id = shake(identity(&office), identity(&office), Arc::clone(&verifier), verifier, NOW);
    assert_eq!(id, Ok(office.id()));
}

#[test]
fn each_side_refuses_whom_it_does_not_accept() {
    let office = Office::new("example.org");
    let any = || SpiffeVerifier::new(bundles(&office), Accept::Any);
    let other = office.trust_domain.workload("/ns/pay/other").expect("an id");
    let picky = || SpiffeVerifier::new(bundles(&office), Accept::Ids([other.clone()].into()));
    let refused = Err(CertificateError::ApplicationVerificationFailure.into());
    assert_eq!(shake(identity(&office), identity(&office), picky(), any(), NOW), refused);
    assert_eq!(shake(identity(&office), identity(&office), any(), picky(), NOW), refused);
    let domain = TrustDomain::parse("partner.org").expect("a name");
    let partners = SpiffeVerifier::new(bundles(&office), Accept::TrustDomain(domain));
    assert_eq!(shake(identity(&office), identity(&office), any(), partners, NOW), refused);
}

#[test]
fn a_foreign_or_expired_peer_is_refused_by_either_side() {
    let (office, foreign) = (Office::new("example.org"), Office::new("foreign.org"));
    let any = || SpiffeVerifier::new(bundles(&office), Accept::Any);
    let unknown = Err(CertificateError::UnknownIssuer.into());
    assert_eq!(shake(identity(&foreign), identity(&office), any(), any(), NOW), unknown);
    assert_eq!(shake(identity(&office), identity(&foreign), any(), any(), NOW), unknown);
    let late = NOW.after(types::limits::SVID_TTL_DEFAULT).after(types::Millis(1_000));
    let expired = Err(CertificateError::Expired.into());
    assert_eq!(shake(identity(&office), identity(&office), any(), any(), late), expired);
}

#[test]
fn a_stolen_certificate_without_its_key_is_refused() {
    let office = Office::new("example.org");
    let any = || SpiffeVerifier::new(bundles(&office), Accept::Any);
    let stolen = || office.issue(&P256Signer::generate()).certificate.into_der();
    let thief = || joined(stolen(), &P256Signer::generate());
    let refused = Err(CertificateError::BadSignature.into());
    assert_eq!(shake(thief(), identity(&office), any(), any(), NOW), refused);
    assert_eq!(shake(identity(&office), thief(), any(), any(), NOW), refused);
}
