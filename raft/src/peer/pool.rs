//! Connections to the other members: two each, so that a snapshot or a long batch never delays a heartbeat or a vote.
//!
//! Connections are made when they are first used and again when they break; nothing is retried here.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use proto::raft::v1::peer_service_client::PeerServiceClient;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Channel, Endpoint};
use types::{NodeId, limits};

use super::ClientTls;
use super::vouch::{Vouch, Vouched};
use crate::config::PEER_MESSAGE_BYTES_MAX;
use crate::envelope::Owner;
use crate::member::Member;
use crate::system::TcpStream;

/// How long the network may take to connect: short, so that a member is back soon after a cut has healed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the other side may leave a ping unanswered.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// The connections of this node to its peers; clones share them.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    owner: Owner,
    /// Where connections live, whoever asks for one first.
    home: tokio::runtime::Handle,
    client_tls: ClientTls,
    vouch: Arc<dyn Vouch>,
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
    /// Connections of the scheduler that this is called on.
    pub(crate) fn new(owner: Owner, client_tls: ClientTls, vouch: Arc<dyn Vouch>) -> Self {
        let (channels, home) = (Mutex::default(), tokio::runtime::Handle::current());
        Self { shared: Arc::new(Shared { owner, home, client_tls, vouch, channels }) }
    }

    pub(crate) fn owner(&self) -> &Owner {
        &self.shared.owner
    }

    /// A client of that member over one of its connections: both sides show that they may speak.
    pub(crate) fn client(&self, to: NodeId, channel: Channel) -> PeerServiceClient<Vouched> {
        PeerServiceClient::new(Vouched::new(channel, Arc::clone(&self.shared.vouch), to))
            .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX)
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
        let member = member.clone();
        let connector = tower::service_fn(move |_| {
            let (tls, member) = (Arc::clone(&tls), member.clone());
            async move {
                let tls = tls(id, &member);
                // A task: the channel goes on with a connection only while somebody waits for it, and nobody waits as long
                // as a busy member may need to shake hands.
                let connecting = tokio::spawn(async move { connect(id, &member, tls).await });
                let stream = AbortOnDropHandle::new(connecting).await.map_err(io::Error::other)??;
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        });
        let _home = self.shared.home.enter();
        // `http`: TLS is the connector's; with `https` tonic would want its own.
        Endpoint::from_static("http://peer")
            .http2_keep_alive_interval(Duration::from_secs(1))
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
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
    let late = |what| io::Error::new(io::ErrorKind::TimedOut, format!("no {what} with `{}` in time", member.address));
    let tcp = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(member.address.as_str()));
    let tcp = tcp.await.map_err(|_| late("connection"))??;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(id.to_string()).map_err(io::Error::other)?;
    // As long as the other side gives it: a handshake that is cut and begun anew costs a busy member more than one that
    // is waited for.
    let shaken = tokio::time::timeout(limits::HANDSHAKE_TIMEOUT.to_std(), TlsConnector::from(tls).connect(name, tcp));
    shaken.await.map_err(|_| late("handshake"))?
}
