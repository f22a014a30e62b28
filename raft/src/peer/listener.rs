//! Accepts connections to the peer port: TLS with a deadline, one task a handshake, a bound on all.
//!
//! A node that is sealed serves on the same listener with other routes: [`serve_peers`] knows nothing of Raft.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::service::Routes;
use tonic::transport::server::Connected;
use types::limits;

use super::session::Sessions;
use super::{KeyOf, PeerInfo};
use crate::system::{TcpListener, TcpStream};

/// Connections at once: two from each other member, and room for handshakes of strangers that will be refused.
const PEER_CONNECTIONS_MAX: usize = 16 * limits::NODES_MAX;

/// Serves `routes` to members until `stop`, then closes every connection and returns when the last one is gone. Handshakes,
/// which strangers can ask for, are done on `handshakes`.
///
/// # Errors
/// When serving HTTP/2 fails as a whole; a single connection's failure ends that connection only.
pub async fn serve_peers(
    listener: Arc<TcpListener>,
    tls: Arc<rustls::ServerConfig>,
    key_of: KeyOf,
    routes: Routes,
    handshakes: Handle,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error> {
    let closing = CancellationToken::new();
    let (ready, incoming) = mpsc::channel(16);
    let (tls, sessions) = (TlsAcceptor::from(tls), Sessions::default());
    let acceptor = Acceptor { tls, key_of, closing: closing.clone(), ready, sessions, handshakes };
    let accepting = acceptor.run(&listener);
    let serving = tonic::transport::Server::builder()
        .max_concurrent_streams(Some(limits::STREAMS_PER_CONNECTION_MAX))
        .http2_keepalive_interval(Some(Duration::from_secs(5)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
        .initial_stream_window_size(Some(4 * 1_024 * 1_024))
        .initial_connection_window_size(Some(8 * 1_024 * 1_024))
        .add_routes(routes)
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming), closing.cancelled());
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        result = &mut serving => result,
        () = accepting => Ok(()),
        () = stop => {
            // Append streams live as long as their connection: they are cut, not waited for.
            closing.cancel();
            serving.await
        }
    }
}

struct Acceptor {
    tls: TlsAcceptor,
    key_of: KeyOf,
    closing: CancellationToken,
    ready: mpsc::Sender<io::Result<PeerStream>>,
    sessions: Sessions,
    handshakes: Handle,
}

impl Acceptor {
    /// Accepts for ever. Running out of files or connections slows it down and never ends it.
    async fn run(self, listener: &TcpListener) {
        let home = self.handshakes.clone();
        let this = Arc::new(self);
        let slots = Arc::new(Semaphore::new(PEER_CONNECTIONS_MAX));
        let mut handshakes = JoinSet::new();
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let tcp = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((tcp, _)) => tcp,
                    Err(error) => {
                        tracing::warn!(%error, "the peer port cannot accept");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
                Some(_) = handshakes.join_next() => continue,
            };
            let this = Arc::clone(&this);
            let shaking = async move {
                let deadline = Duration::from_millis(limits::HANDSHAKE_TIMEOUT.0);
                match tokio::time::timeout(deadline, this.handshake(tcp, slot)).await {
                    Ok(Ok(stream)) => {
                        // The receiver is gone only when the port closes.
                        let _ = this.ready.send(Ok(stream)).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%error, "a handshake on the peer port failed"),
                    Err(_) => tracing::debug!("a handshake on the peer port took too long"),
                }
            };
            handshakes.spawn_on(shaking, &home);
        }
    }

    async fn handshake(&self, tcp: TcpStream, slot: OwnedSemaphorePermit) -> io::Result<PeerStream> {
        let address = tcp.peer_addr()?;
        tcp.set_nodelay(true)?;
        let tls = self.tls.accept(tcp).await?;
        let certificate = tls.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let spki = certificate
            .and_then(|certificate| (self.key_of)(certificate))
            .ok_or_else(|| io::Error::new(io::ErrorKind::PermissionDenied, "the peer proved no key"))?;
        let closing = Box::pin(self.closing.clone().cancelled_owned());
        let session = self.sessions.begin(spki);
        Ok(PeerStream { tls, info: PeerInfo { address, spki, session }, closing, _slot: slot })
    }
}

/// A connection that fails as soon as the port closes.
struct PeerStream {
    tls: TlsStream<TcpStream>,
    info: PeerInfo,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    _slot: OwnedSemaphorePermit,
}

impl Connected for PeerStream {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        self.info.clone()
    }
}

impl PeerStream {
    fn check_open(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.closing.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the peer port is closing")),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_open(context)?;
        Pin::new(&mut self.tls).poll_read(context, buffer)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_open(context)?;
        Pin::new(&mut self.tls).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_open(context)?;
        Pin::new(&mut self.tls).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(context)
    }
}
