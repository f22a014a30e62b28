//! One accept loop: each handshake is a task of its own with a deadline, and the loop backs off when the machine is out
//! of descriptors instead of ending.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use types::{SpkiHash, limits};

/// Where a request came from and which key its connection proved.
#[derive(Clone, Debug)]
pub(crate) struct ApiConnection {
    /// The peer's address.
    pub source: SocketAddr,
    /// The certificates it presented, leaf first; empty when it presented none.
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// The hash of the leaf's key: read once, for a connection keeps its certificate. Whose key it is, is asked each time.
    pub spki: Option<SpkiHash>,
}

/// A connection whose handshake is done; its place among [`limits::CONNECTIONS_MAX`] is freed with it.
#[derive(Debug)]
pub(crate) struct ApiStream {
    stream: TlsStream<TcpStream>,
    connection: ApiConnection,
    _place: OwnedSemaphorePermit,
}

/// Binds a port, or says who could not and what to do.
///
/// # Errors
/// With the address and the setting that changes it.
pub(crate) async fn bind(what: &'static str, address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let text = match error.kind() {
            io::ErrorKind::AddrInUse => format!(
                "the {what} port {address} is in use: stop what listens there, or set `{what}.listen` to another"
            ),
            _ => format!("cannot listen on {address} for {what}: {error}"),
        };
        io::Error::new(error.kind(), text)
    })
}

/// Accepts until `stop`, and yields the connections whose TLS handshake succeeded in time.
pub(crate) fn incoming(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    stop: CancellationToken,
) -> ReceiverStream<io::Result<ApiStream>> {
    let (ready, connections) = mpsc::channel(64);
    tokio::spawn(accept_loop(listener, TlsAcceptor::from(tls), stop, ready));
    ReceiverStream::new(connections)
}

async fn accept_loop(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    stop: CancellationToken,
    ready: mpsc::Sender<io::Result<ApiStream>>,
) {
    let places = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (tcp, source) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again shortly");
                let pause = tokio::time::sleep(Duration::from_millis(100));
                tokio::select! { () = stop.cancelled() => return, () = pause => continue }
            }
        };
        tokio::spawn(handshake(acceptor.clone(), tcp, source, place, ready.clone()));
    }
}

async fn handshake(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    source: SocketAddr,
    place: OwnedSemaphorePermit,
    ready: mpsc::Sender<io::Result<ApiStream>>,
) {
    // Answers are small and latency is what callers feel.
    let _ = tcp.set_nodelay(true);
    match tokio::time::timeout(limits::HANDSHAKE_TIMEOUT.to_std(), acceptor.accept(tcp)).await {
        Ok(Ok(stream)) => {
            let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let certificates = certificates.iter().map(|der| der.clone().into_owned()).collect();
            let spki = chancery_client::tls::spki_of_peer(stream.get_ref().1);
            let connection = ApiConnection { source, certificates, spki };
            let _ = ready.send(Ok(ApiStream { stream, connection, _place: place })).await;
        }
        Ok(Err(error)) => tracing::debug!(%source, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%source, "TLS handshake took too long"),
    }
}

impl Connected for ApiStream {
    type ConnectInfo = ApiConnection;

    fn connect_info(&self) -> ApiConnection {
        self.connection.clone()
    }
}

impl AsyncRead for ApiStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for ApiStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_says_what_to_change() {
        let first = bind("api", ([127, 0, 0, 1], 0).into()).await.expect("binds");
        let error = bind("api", first.local_addr().expect("bound")).await.expect_err("in use").to_string();
        assert!(error.contains("in use") && error.contains("api.listen"), "{error}");
    }
}
