//! Opens the connections under gRPC channels: TCP and TLS with our configurations, or a local unix socket.
//!
//! tonic's own TLS settings take PEM and no verifier, so its channels are given a connector instead, and their URIs stay
//! `http`: the scheme says nothing about what runs underneath.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use types::limits::HANDSHAKE_TIMEOUT;

use crate::Address;

/// A connection whose peer does not answer pings this long is given up, so that calls on it fail over.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Why the last attempt to connect failed: what a caller can do about it differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureKind {
    /// Nothing answers there.
    Unreachable,
    /// Something answers with a key that is not pinned.
    UntrustedKey,
    /// Something answers and the handshake fails: it is no node, or it refused our certificate.
    Handshake,
}

/// A connector for one address; clones share what they remember.
#[derive(Clone)]
pub struct Connector {
    address: Address,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    last_failure: Arc<Mutex<Option<(FailureKind, String)>>>,
}

impl Connector {
    /// A connector to `address` under that TLS configuration.
    #[must_use]
    pub fn new(address: Address, config: Arc<ClientConfig>) -> Self {
        let name = address.server_name();
        Self { address, name, config, last_failure: Arc::new(Mutex::new(None)) }
    }

    /// What went wrong last, in words, until a connection succeeds.
    #[must_use]
    pub fn last_failure(&self) -> Option<(FailureKind, String)> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connects once: TCP, then TLS, within [`HANDSHAKE_TIMEOUT`].
    ///
    /// # Errors
    /// Any failure, which [`Connector::last_failure`] then describes.
    pub async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let attempt = tokio::time::timeout(HANDSHAKE_TIMEOUT.to_std(), self.attempt());
        let outcome = attempt.await.unwrap_or_else(|_| {
            Err((FailureKind::Unreachable, io::Error::new(io::ErrorKind::TimedOut, "no answer in time")))
        });
        let (remembered, outcome) = match outcome {
            Ok(stream) => (None, Ok(stream)),
            Err((kind, error)) => (Some((kind, describe(kind, &error))), Err(error)),
        };
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = remembered;
        outcome
    }

    async fn attempt(&self) -> Result<TlsStream<TcpStream>, (FailureKind, io::Error)> {
        let unreachable = |error| (FailureKind::Unreachable, error);
        let tcp = TcpStream::connect(self.address.as_str()).await.map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        TlsConnector::from(Arc::clone(&self.config))
            .connect(self.name.clone(), tcp)
            .await
            .map_err(|error| (kind_of(&error), error))
    }
}

/// A lazy gRPC channel over that connector: connects on first use and again when the connection is lost.
///
/// # Errors
/// When the address makes no URI, which [`Address`] rules out.
pub fn channel(connector: Connector) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{}", connector.address))?
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .connect_timeout(HANDSHAKE_TIMEOUT.to_std());
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// A gRPC channel over a local unix socket, connected now so that a missing socket is an error here.
///
/// # Errors
/// When nothing listens at `path` or it may not be opened.
pub async fn unix_channel(path: &Path) -> io::Result<Channel> {
    // Tried once by hand: tonic would hide the cause behind "transport error".
    drop(UnixStream::connect(path).await?);
    let path = path.to_owned();
    let connector = tower::service_fn(move |_: http::Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    Ok(endpoint.connect_with_connector_lazy(connector))
}

impl tower::Service<http::Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: http::Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}

fn kind_of(error: &io::Error) -> FailureKind {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure)) => {
            FailureKind::UntrustedKey
        }
        _ => FailureKind::Handshake,
    }
}

fn describe(kind: FailureKind, error: &io::Error) -> String {
    match kind {
        FailureKind::Unreachable => match error.kind() {
            io::ErrorKind::ConnectionRefused => "nothing listens there (connection refused)".to_owned(),
            _ => error.to_string(),
        },
        FailureKind::UntrustedKey => "its key is not one that the cluster vouches for".to_owned(),
        FailureKind::Handshake => format!("TLS handshake failed: {error}"),
    }
}
