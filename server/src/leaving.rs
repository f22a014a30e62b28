//! How a member leaves for good: it retires when the leader asks it to, learns that it was removed, and closes
//! (docs/spec/membership.md).
//!
//! A removed voter goes on as a member of Raft until it has no vote any more: its own removal may need it for a majority.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chancery_client::{Address, Client, Config as ClientConfig};
use state::Command;
use types::{NodeId, Refusal};

use crate::core::Core;
use crate::duties::own_report;
use crate::membership::write_removed;
use crate::node::{Node, Phase};

/// How long calls under way may take to end.
const LAST_CALLS: Duration = Duration::from_secs(5);
/// A retired node that was not removed within this time, because the leader died, serves again.
const RETIRED_MAX: Duration = Duration::from_secs(60);
/// How long the others may take to say whether they know this node.
const ASKING: Duration = Duration::from_secs(3);

/// Takes no more calls, lets those under way end, and anchors the end of the audit log. Returns how long that log is.
///
/// # Errors
/// When the last report is not taken.
pub(crate) async fn retire(node: &Arc<Node>, core: &Arc<Core>) -> Result<u64, Refusal> {
    let was_draining = node.is_draining();
    node.drain();
    core.raft.let_campaign(false);
    node.calls.close();
    if tokio::time::timeout(LAST_CALLS, node.calls.wait()).await.is_err() {
        tracing::warn!("calls are still under way while this node retires: their records may not be anchored");
    }
    node.calls.reopen();
    // Given back, so that no fence waits for a node that is gone; none is asked for from here on.
    node.retired.store(true, Ordering::Relaxed);
    core.retire_lease().await;
    let report = own_report(node, core);
    let size = report.audit_size;
    let reported = core.propose_own(Command::ReportNode(report)).await;
    let (node, core) = (Arc::clone(node), Arc::clone(core));
    core.tasks.clone().spawn(async move {
        tokio::select! {
            () = core.stop.cancelled() => {}
            () = tokio::time::sleep(RETIRED_MAX) => {
                if node.check_not_removed(&core).is_ok() {
                    tracing::warn!("this node was to be removed and was not: it serves again");
                    node.retired.store(false, Ordering::Relaxed);
                    core.lease.come_back();
                    if !was_draining {
                        node.take_back();
                    }
                    core.raft.let_campaign(true);
                }
            }
        }
    });
    reported.map(|_| size)
}

/// Closes a node that was removed: its folder is marked first, so that it never comes back. Returns at once.
pub(crate) fn leave(node: &Arc<Node>, id: NodeId) {
    let node = Arc::clone(node);
    tokio::spawn(async move {
        let _turn = node.turning.lock().await;
        let Phase::Open(core) = node.phase() else { return };
        if let Err(error) = write_removed(&node.folder, core.cluster, id) {
            tracing::error!(%error, "the folder of a removed node could not be marked");
        }
        node.turn(Phase::Removed(id));
        tracing::error!(
            "{id} was removed from the cluster: it serves nobody any more and its folder is of no further use"
        );
        core.close().await;
    });
}

/// Whether the others have shut this node out: the trust document, which the cluster key signs, does not name it any more,
/// and no member lets it in on the peer port. For a node that was away when it was removed.
pub(crate) async fn is_shut_out(node: &Arc<Node>, core: &Core) -> bool {
    let state = core.state();
    let Some(row) = state.cluster() else { return false };
    let others = state.nodes().filter(|(id, _)| *id != core.node);
    let endpoints: Vec<Address> =
        others.filter_map(|(_, other)| Address::parse(&other.info.api_address).ok()).collect();
    if endpoints.is_empty() {
        return false;
    }
    let config = ClientConfig {
        endpoints,
        identity: node.identity.clone(),
        cluster_key_hash: ca::spki_hash(&row.spki),
        trust_cache: None,
        deadline: ASKING,
    };
    let Ok(client) = Client::connect(config).await else { return false };
    let trust = client.trust();
    let statement = trust.statement();
    let newer = (statement.generation, statement.sequence) >= (row.generation.get(), state.trust_sequence());
    let own = node.identity.spki();
    let named = statement.nodes.iter().any(|trusted| trusted.spki == own);
    newer && !named && !is_let_in(core).await
}

/// Whether any member answers this node on the peer port.
async fn is_let_in(core: &Core) -> bool {
    for id in core.raft.membership().all.keys().copied().filter(|id| *id != core.node) {
        let Ok(mut member) = core.member(id) else { continue };
        let mut request = tonic::Request::new(proto::member::v1::HelloRequest {});
        request.set_timeout(Duration::from_millis(500));
        if member.hello(request).await.is_ok() {
            return true;
        }
    }
    false
}
