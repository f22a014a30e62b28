//! The bare peer: tonic over the same mutual TLS with the same bounds, the same messages of the same sizes, and nothing
//! between decoding a request and encoding its answer. What a node costs beyond this is what Chancery costs.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use chancery_client::tls::{CertificateSlot, Identity, PinSet, PinnedClients, server_config};
use crypto::sign::P256Signer;
use proto::kms::v1 as wire;
use proto::kms::v1::crypto_service_server::{CryptoService, CryptoServiceServer};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};
use types::{SpkiHash, limits};

use crate::cluster::now;
use crate::{Fault, child};

/// What a ciphertext is longer than its plaintext: the header and the tag.
const OVERHEAD: usize = kms::HEADER_BYTES + crypto::aead::TAG_BYTES;

/// Where the peer listens and by which key it is known.
#[derive(Serialize, Deserialize)]
pub(crate) struct Address {
    pub(crate) address: String,
    pub(crate) spki: String,
}

/// Runs until the parent ends it; takes connections of the key with that hash only.
pub(crate) async fn serve(client: &str) -> Result<(), Fault> {
    let client = SpkiHash::from_hex(client).ok_or("not the hash of a key")?;
    let identity = Identity::self_signed(&P256Signer::generate(), "echo", now()?)?;
    let clients = PinnedClients::new(PinSet::new([client]));
    let tls = server_config(CertificateSlot::new(&identity), clients)?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    child::tell(&Address { address: listener.local_addr()?.to_string(), spki: identity.spki().to_string() })?;
    let stop = child::answer_parent();
    let (ready, connections) = tokio::sync::mpsc::channel(64);
    tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(tls)), ready));
    tonic::transport::Server::builder()
        .max_concurrent_streams(Some(limits::STREAMS_PER_CONNECTION_MAX))
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .add_service(CryptoServiceServer::new(Echo))
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), stop.cancelled_owned())
        .await?;
    Ok(())
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, ready: tokio::sync::mpsc::Sender<io::Result<Connection>>) {
    while let Ok((tcp, _)) = listener.accept().await {
        // Handshakes are not measured, so one after the other will do.
        let _ = tcp.set_nodelay(true);
        if let Ok(stream) = tls.accept(tcp).await
            && ready.send(Ok(Connection(stream))).await.is_err()
        {
            return;
        }
    }
}

/// Answers as long as a node's, made of the request's own bytes.
struct Echo;

#[tonic::async_trait]
impl CryptoService for Echo {
    async fn encrypt(&self, request: Request<wire::EncryptRequest>) -> Result<Response<wire::EncryptResponse>, Status> {
        let mut ciphertext = request.into_inner().plaintext;
        ciphertext.resize(ciphertext.len() + OVERHEAD, 0);
        Ok(Response::new(wire::EncryptResponse { ciphertext, version: 1 }))
    }

    async fn decrypt(&self, request: Request<wire::DecryptRequest>) -> Result<Response<wire::DecryptResponse>, Status> {
        let mut plaintext = request.into_inner().ciphertext;
        plaintext.truncate(plaintext.len().saturating_sub(OVERHEAD));
        let key = crate::unary::KEY.to_owned();
        Ok(Response::new(wire::DecryptResponse { plaintext, key, version: 1 }))
    }

    async fn generate_data_key(
        &self,
        _request: Request<wire::GenerateDataKeyRequest>,
    ) -> Result<Response<wire::GenerateDataKeyResponse>, Status> {
        Err(Status::unimplemented("the echo has no keys"))
    }

    async fn re_encrypt(
        &self,
        _request: Request<wire::ReEncryptRequest>,
    ) -> Result<Response<wire::ReEncryptResponse>, Status> {
        Err(Status::unimplemented("the echo has no keys"))
    }

    async fn sign(&self, _request: Request<wire::SignRequest>) -> Result<Response<wire::SignResponse>, Status> {
        Err(Status::unimplemented("the echo has no keys"))
    }

    async fn verify(&self, _request: Request<wire::VerifyRequest>) -> Result<Response<wire::VerifyResponse>, Status> {
        Err(Status::unimplemented("the echo has no keys"))
    }

    async fn generate_mac(
        &self,
        _request: Request<wire::GenerateMacRequest>,
    ) -> Result<Response<wire::GenerateMacResponse>, Status> {
        Err(Status::unimplemented("the echo has no keys"))
    }

    async fn verify_mac(
        &self,
        _request: Request<wire::VerifyMacRequest>,
    ) -> Result<Response<wire::VerifyMacResponse>, Status> {
        Err(Status::unimplemented("the echo has no keys"))
    }

    async fn asymmetric_decrypt(
        &self,
        _request: Request<wire::AsymmetricDecryptRequest>,
    ) -> Result<Response<wire::AsymmetricDecryptResponse>, Status> {
        Err(Status::unimplemented("the echo has no keys"))
    }
}

/// A connection after its handshake, for tonic.
struct Connection(TlsStream<TcpStream>);

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
