//! Real handshakes over loopback sockets: who gets in where.

use std::sync::Arc;

use crypto::sign::P256Signer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use types::Time;

use super::*;
use crate::Address;

const NOW: Time = Time(1_795_358_000_000);

fn identity(name: &str) -> Identity {
    Identity::self_signed(&P256Signer::generate(), name, NOW).expect("an identity")
}

/// What each end saw: the server the caller's key, and the caller why it failed.
struct Seen {
    by_server: Result<Option<SpkiHash>, String>,
    by_client: Result<(), Option<FailureKind>>,
}

async fn handshake(
    certificate: Arc<CertificateSlot>,
    clients: Arc<dyn ClientCertVerifier>,
    caller: &Identity,
    servers: Arc<dyn ServerCertVerifier>,
) -> Seen {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = Address::parse(&listener.local_addr().expect("an address").to_string()).expect("an address");
    let acceptor = TlsAcceptor::from(Arc::new(server_config(certificate, clients).expect("a configuration")));
    let server = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.expect("accepts");
        let mut stream = acceptor.accept(tcp).await.map_err(|error| error.to_string())?;
        let seen = spki_of_peer(stream.get_ref().1);
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"!").await.map_err(|error| error.to_string())?;
        tokio::io::AsyncWriteExt::shutdown(&mut stream).await.map_err(|error| error.to_string())?;
        Ok(seen)
    });
    let connector = Connector::new(address, Arc::new(client_config(caller, servers).expect("a configuration")));
    let by_client = async {
        let mut stream = connector.connect().await.map_err(|_| connector.last_failure().map(|(kind, _)| kind))?;
        // TLS 1.3 tells a caller that its certificate was refused only with the first byte it reads.
        let mut byte = [0; 1];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut byte).await.map(|_| ()).map_err(|_| None)
    };
    let by_client = by_client.await;
    Seen { by_server: server.await.expect("does not panic"), by_client }
}

fn pins(keys: &[&Identity]) -> PinSet {
    keys.iter().map(|identity| identity.spki()).collect()
}

#[tokio::test]
async fn pinned_ends_recognise_each_other_by_key() {
    let (server, caller) = (identity("nodes/1"), identity("nodes/2"));
    let seen = handshake(
        CertificateSlot::new(&server),
        PinnedClients::new(pins(&[&caller])),
        &caller,
        PinnedServers::new(pins(&[&server])),
    )
    .await;
    assert_eq!(seen.by_server, Ok(Some(caller.spki())));
    assert_eq!(seen.by_client, Ok(()));
}

#[tokio::test]
async fn a_server_of_another_key_is_refused_and_named_so() {
    let (server, caller) = (identity("nodes/1"), identity("operators/root"));
    let seen = handshake(
        CertificateSlot::new(&server),
        AnySelfSigned::required(),
        &caller,
        PinnedServers::new(pins(&[&identity("nodes/1")])),
    )
    .await;
    assert_eq!(seen.by_client, Err(Some(FailureKind::UntrustedKey)));
    assert!(seen.by_server.is_err());
}

#[tokio::test]
async fn the_peer_port_refuses_strangers_and_forgets_removed_members() {
    let (server, caller) = (identity("nodes/1"), identity("nodes/2"));
    let members = pins(&[&caller]);
    let refused_after = |members: PinSet| {
        handshake(
            CertificateSlot::new(&server),
            PinnedClients::new(members),
            &caller,
            PinnedServers::new(pins(&[&server])),
        )
    };
    assert_eq!(refused_after(members.clone()).await.by_client, Ok(()));
    members.replace([]);
    let seen = refused_after(members).await;
    assert!(seen.by_server.is_err());
    assert_eq!(seen.by_client, Err(None), "refused by the server, not by the caller");
}

#[tokio::test]
async fn the_api_port_shows_any_key_to_authn() {
    let (server, caller) = (identity("nodes/1"), identity("nobody"));
    let recorder = DangerousRecordAnyServer::new();
    let seen = handshake(
        CertificateSlot::new(&server),
        AnySelfSigned::required(),
        &caller,
        Arc::clone(&recorder) as Arc<dyn ServerCertVerifier>,
    )
    .await;
    assert_eq!(seen.by_server, Ok(Some(caller.spki())));
    assert_eq!(recorder.seen(), Some(server.spki()));
}

#[tokio::test]
async fn a_certificate_over_a_stolen_name_without_its_key_gets_nowhere() {
    // The victim's certificate presented with another key: what a thief of certificates has.
    let (server, victim, thief) = (identity("nodes/1"), identity("operators/root"), identity("thief"));
    let forged = Identity { certified: victim.certified(), ..thief };
    let mut stolen = (*victim.certified()).clone();
    stolen.key = Arc::clone(&forged.key);
    let forged = Identity { certified: Arc::new(stolen), ..forged };
    let seen = handshake(
        CertificateSlot::new(&server),
        AnySelfSigned::required(),
        &forged,
        PinnedServers::new(pins(&[&server])),
    )
    .await;
    assert!(seen.by_server.is_err());
    assert!(seen.by_client.is_err());
}

#[tokio::test]
async fn only_a_certificate_over_the_same_key_takes_the_place_of_the_first() {
    let (server, other) = (identity("nodes/1"), identity("nodes/9"));
    let foreign = other.certified().cert.iter().map(|der| der.to_vec()).collect();
    assert!(matches!(server.with_chain(foreign), Err(IdentityFault::OtherKey)));
    assert!(matches!(server.with_chain(Vec::new()), Err(IdentityFault::OtherKey)));
    let own: Vec<Vec<u8>> = server.certified().cert.iter().map(|der| der.to_vec()).collect();
    let slot = CertificateSlot::new(&server);
    slot.replace(server.with_chain(own).expect("the same key"));
    let seen = handshake(slot, AnySelfSigned::optional(), &other, PinnedServers::new(pins(&[&server]))).await;
    assert_eq!(seen.by_client, Ok(()));
}
