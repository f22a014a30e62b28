//! Connections to the other members: two each, so that a snapshot or a long batch never delays a heartbeat or a vote.
//!
//! Connections are made when they are first used and again when they break; nothing is retried here.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use types::NodeId;

use super::ClientTls;
use crate::envelope::Owner;
use crate::member::Member;
use crate::system::TcpStream;

/// The connections of this node to its peers; clones share them.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    owner: Owner,
    client_tls: ClientTls,
    connect_timeout: Duration,
    channels: Mutex<BTreeMap<NodeId, Lanes>>,
}

/// The two connections to one member.
#[derive(Clone)]
pub(crate) struct Lanes {
    member: Member,
    /// Heartbeats, votes, read indexes, and what the server asks.
    pub(crate) control: Channel,
    /// Entries and snapshots.
    pub(crate) bulk: Channel,
}

impl Pool {
    pub(crate) fn new(owner: Owner, client_tls: ClientTls, connect_timeout: Duration) -> Self {
        let channels = Mutex::default();
        Self { shared: Arc::new(Shared { owner, client_tls, connect_timeout, channels }) }
    }

    pub(crate) fn owner(&self) -> &Owner {
        &self.shared.owner
    }

    /// The connections to a member, made anew when its address or key has changed.
    pub(crate) fn lanes(&self, id: NodeId, member: &Member) -> Lanes {
        let mut channels = self.shared.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lanes) = channels.get(&id).filter(|lanes| lanes.member == *member) {
            return lanes.clone();
        }
        let lanes = Lanes { member: member.clone(), control: self.channel(id, member), bulk: self.channel(id, member) };
        channels.insert(id, lanes.clone());
        lanes
    }

    fn channel(&self, id: NodeId, member: &Member) -> Channel {
        let tls = Arc::clone(&self.shared.client_tls);
        let (member, timeout) = (member.clone(), self.shared.connect_timeout);
        let connector = tower::service_fn(move |_| {
            let (tls, member) = (Arc::clone(&tls), member.clone());
            async move {
                let connect = connect(id, &member, tls(id, &member));
                let stream = tokio::time::timeout(timeout, connect).await.map_err(|_| timed_out(&member))??;
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        });
        // `http`: TLS is the connector's; with `https` tonic would want its own.
        Endpoint::from_static("http://peer")
            .http2_keep_alive_interval(Duration::from_secs(1))
            .keep_alive_timeout(Duration::from_secs(1))
            .keep_alive_while_idle(true)
            .initial_stream_window_size(4 * 1_024 * 1_024)
            .initial_connection_window_size(8 * 1_024 * 1_024)
            .connect_with_connector_lazy(connector)
    }
}

async fn connect(
    id: NodeId,
    member: &Member,
    tls: Arc<rustls::ClientConfig>,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(member.address.as_str()).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(id.to_string()).map_err(io::Error::other)?;
    TlsConnector::from(tls).connect(name, tcp).await
}

fn timed_out(member: &Member) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no connection to `{}` in time", member.address))
}
