//! One accept loop: each handshake is a task of its own with a deadline, and the loop backs off when the machine is out
//! of descriptors instead of ending.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Sleep;
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
    /// Until the first bytes come, the time by which they must.
    silence: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

/// A connection's place among all and among those of its address; given back when it is dropped.
#[derive(Debug)]
struct Place {
    address: IpAddr,
    held: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// None when the address holds as many as it may.
    fn take(held: &Arc<Mutex<BTreeMap<IpAddr, usize>>>, address: IpAddr, permit: OwnedSemaphorePermit) -> Option<Self> {
        let mut counts = held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= limits::CONNECTIONS_PER_ADDRESS_MAX {
            return None;
        }
        *count += 1;
        Some(Self { address, held: Arc::clone(held), _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
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
    let held = Arc::new(Mutex::new(BTreeMap::new()));
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
        let Some(place) = Place::take(&held, source.ip(), place) else {
            tracing::debug!(%source, "an address holds as many connections as it may");
            continue;
        };
        tokio::spawn(handshake(acceptor.clone(), tcp, source, place, ready.clone()));
    }
}

async fn handshake(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    source: SocketAddr,
    place: Place,
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
            // A connection that says nothing is not kept: it would hold its place for ever.
            let silence = Some(Box::pin(tokio::time::sleep(limits::HANDSHAKE_TIMEOUT.to_std())));
            let _ = ready.send(Ok(ApiStream { stream, connection, silence, _place: place })).await;
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
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.silence = None;
        }
        let too_silent = read.is_pending() && self.silence.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready());
        if too_silent { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { read }
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
    async fn an_address_has_a_bound_and_gets_its_places_back() {
        let all = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
        let held = Arc::new(Mutex::new(BTreeMap::new()));
        let take = |last: u8| {
            let permit = Arc::clone(&all).try_acquire_owned().expect("room for all");
            Place::take(&held, IpAddr::from([127, 0, 0, last]), permit)
        };
        let mut places: Vec<_> = (0..limits::CONNECTIONS_PER_ADDRESS_MAX).map(|_| take(1).expect("a place")).collect();
        assert!(take(1).is_none());
        assert!(take(2).is_some());
        places.pop();
        assert!(take(1).is_some());
        drop(places);
        assert!(held.lock().expect("no panic").is_empty());
        assert_eq!(all.available_permits(), limits::CONNECTIONS_MAX);
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_is_closed() {
        use chancery_client::tls::{Identity, PinSet, PinnedClients, PinnedServers, client_config, server_config};
        use tokio::io::AsyncReadExt as _;
        use tokio_stream::StreamExt as _;

        crypto::tls::install_provider();
        let identity = Identity::self_signed(&crypto::sign::P256Signer::generate(), "a", crate::clock::now());
        let identity = identity.expect("an identity");
        let pins = PinSet::new([identity.spki()]);
        let slot = chancery_client::tls::CertificateSlot::new(&identity);
        let tls = server_config(slot, PinnedClients::new(pins.clone())).expect("a configuration");
        let listener = bind("api", ([127, 0, 0, 1], 0).into()).await.expect("binds");
        let address = listener.local_addr().expect("bound");
        let mut connections = incoming(listener, Arc::new(tls), CancellationToken::new());
        let client = tokio_rustls::TlsConnector::from(Arc::new(
            client_config(&identity, PinnedServers::new(pins)).expect("a configuration"),
        ));
        let tcp = TcpStream::connect(address).await.expect("connects");
        let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
        let (silent, accepted) = tokio::join!(client.connect(name, tcp), connections.next());
        let _silent = silent.expect("shakes hands");
        let mut accepted = accepted.expect("goes on").expect("a connection");

        tokio::time::pause();
        let read = accepted.read_u8().await.expect_err("nothing comes");
        assert_eq!(read.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_port_in_use_says_what_to_change() {
        let first = bind("api", ([127, 0, 0, 1], 0).into()).await.expect("binds");
        let error = bind("api", first.local_addr().expect("bound")).await.expect_err("in use").to_string();
        assert!(error.contains("in use") && error.contains("api.listen"), "{error}");
    }
}
