//! The peer port: members talk to each other over TLS connections that are pinned to node keys.
//!
//! `listener` accepts, `service` answers, `network` asks, `snapshots`, `outbox` and `inbox` carry snapshots, `fetch` asks for
//! one when this node's own are damaged, `pool` keeps the connections, `gate` checks on every call that
//! cluster, sender and receiver are who they say, `convert` is the only place where wire types meet openraft's. TLS
//! configurations are handed in; certificates are not looked into here.

mod convert;
mod fetch;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod gate;
mod inbox;
mod listener;
mod network;
mod outbox;
mod pool;
mod service;
mod session;
mod snapshots;
mod vouch;

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use types::{NodeId, SpkiHash};

use crate::member::{Member, Members};
use crate::system::TcpListener;

pub(crate) use fetch::fetch;
pub(crate) use gate::{Gate, stamp};
pub use gate::{Names, check_names};
pub(crate) use inbox::Inbox;
pub use listener::serve_peers;
pub(crate) use network::NetworkFactory;
pub(crate) use pool::Pool;
pub(crate) use service::PeerService;
pub use session::Session;
pub use vouch::{ROOT_PROOF, Vouch};

/// The TLS client configuration to reach a member with: it presents this node's key and accepts only that member's.
pub type ClientTls = Arc<dyn Fn(NodeId, &Member) -> Arc<rustls::ClientConfig> + Send + Sync>;
/// The key hash of a peer's certificate; `None` when it is not a certificate.
pub type KeyOf = Arc<dyn Fn(&CertificateDer<'_>) -> Option<SpkiHash> + Send + Sync>;
/// Whether that node with that key is a member, for nodes that the log has not named yet: what the inviter of a joining
/// node said, or a member that was asked.
pub type Trust = Arc<dyn Fn(NodeId, &SpkiHash) -> bool + Send + Sync>;

/// What the peer port is made of.
#[derive(Clone)]
pub struct Peering {
    /// The peer port. Shared, so that a node that seals itself can go on answering on it.
    pub listener: Arc<TcpListener>,
    /// Asks for a client certificate, accepts members' keys only, offers ALPN `h2`.
    pub server_tls: Arc<rustls::ServerConfig>,
    /// How to reach a member; offers ALPN `h2`.
    pub client_tls: ClientTls,
    /// The key hash of a peer's certificate.
    pub key_of: KeyOf,
    /// Members that the log has not named yet.
    pub trust: Trust,
    /// What members show one another beside their keys.
    pub vouch: Arc<dyn Vouch>,
    /// Members as this node last knew them: whom it asks for a snapshot when none of its own reads, before its log can
    /// tell it.
    pub seed: Members,
    /// The server's own services between members, answered on the same port. They find a [`PeerInfo`] in the request's
    /// extensions and check it themselves.
    pub routes: tonic::service::Routes,
}

/// Who is at the other end of a connection to the peer port; in every request's extensions.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// From where.
    pub address: SocketAddr,
    /// The key that the TLS handshake proved.
    pub spki: SpkiHash,
    /// Which of the connections that are open.
    pub session: Session,
}
