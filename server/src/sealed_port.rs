//! The peer port of a sealed node: it says hello to members and nothing else, so that `cluster status` can tell a sealed
//! node from a dead one.

use std::sync::Arc;

use chancery_client::tls::{self, CertificateSlot, PinnedClients};
use proto::member::v1::member_service_server::MemberServiceServer;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::member::Member;
use crate::membership::read_members;
use crate::node::Node;
use crate::opening::{OpeningError, key_of};

/// The port while nobody else serves it.
#[derive(Debug, Default)]
pub(crate) struct SealedPort(Mutex<Option<Serving>>);

#[derive(Debug)]
struct Serving {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl SealedPort {
    /// Begins to serve; the members are those that the node knew when it was last open.
    pub(crate) async fn start(&self, node: &Arc<Node>) -> Result<(), OpeningError> {
        let mut serving = self.0.lock().await;
        if serving.is_some() {
            return Ok(());
        }
        node.pins.replace(read_members(&node.folder)?.all.values().map(|member| member.spki));
        let slot = CertificateSlot::new(&node.identity);
        let tls = Arc::new(tls::server_config(slot, PinnedClients::new(node.pins.clone()))?);
        let routes = tonic::service::Routes::new(MemberServiceServer::new(Member { node: Arc::clone(node) }));
        let stop = node.stop.child_token();
        let stopped = stop.clone().cancelled_owned();
        let listener = Arc::clone(&node.peer_listener);
        let here = tokio::runtime::Handle::current();
        let task = tokio::spawn(async move {
            if let Err(error) = raft::serve_peers(listener, tls, Arc::new(key_of), routes, here, stopped).await {
                tracing::warn!(%error, "the sealed node's peer port has stopped");
            }
        });
        *serving = Some(Serving { stop, task });
        Ok(())
    }

    /// Leaves the port to Raft; returns when nothing is served on it any more.
    pub(crate) async fn stop(&self) {
        if let Some(Serving { stop, task }) = self.0.lock().await.take() {
            stop.cancel();
            let _ = task.await;
        }
    }
}
