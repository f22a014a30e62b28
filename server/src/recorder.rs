//! Brings the cluster log's leaves from `apply` to the disk, in order, and closes gaps from peers.
//!
//! A gap opens when this node installed a snapshot: the leaves below it were never applied here. They are fetched from
//! the other members and handed in first. What a member hands over is not checked here: `audit verify` compares the whole
//! log with the head that Raft agreed on.

use std::sync::Arc;
use std::time::Duration;

use audit::LogName;
use proto::member::v1::FetchLeavesRequest;
use state::AuditLeaf;
use tokio::sync::{mpsc, watch};
use types::limits;

use crate::audit_store::AuditUnavailable;
use crate::core::Core;

/// How long to wait before a peer is asked again for missing leaves.
const PAUSE: Duration = Duration::from_millis(250);

/// The least time between two syncs of this log while leaves keep coming. No answer waits for them: the entry that a leaf
/// is made from is durable in the Raft log, which keeps it until the leaf is. A sync for each would take the disk from it.
const PACE: Duration = Duration::from_millis(20);

/// The task and what it works on.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// Where leaves go, and whom missing ones come from.
    pub core: Arc<Core>,
    /// Leaves in the order in which they were applied.
    pub leaves: mpsc::UnboundedReceiver<AuditLeaf>,
    /// How many are durable.
    pub recorded: watch::Sender<u64>,
}

impl Recorder {
    /// Runs until it is stopped. A store that cannot be written is tried again: a full disk may get room, and Raft keeps
    /// what is needed to make the leaves again, because no snapshot is taken before they are durable.
    pub(crate) async fn run(mut self) {
        self.publish();
        let mut batch = Vec::new();
        loop {
            let received = tokio::select! {
                () = self.core.stop.cancelled() => return,
                received = self.leaves.recv_many(&mut batch, limits::PAGE_SIZE_MAX) => received,
            };
            let Some(first) = batch.first().map(|leaf| leaf.index).filter(|_| received > 0) else { return };
            if let Err(gap) = self.close_gap(first).await {
                tracing::warn!(%gap, "the cluster audit log has a gap that no member fills; trying again");
            }
            let leaves: Vec<_> = batch.drain(..).map(|leaf| leaf.bytes).collect();
            while let Err(error) = self.write(first, leaves.clone()).await {
                tracing::error!(%error, "the cluster audit log cannot be written now; trying again");
                let pause = tokio::time::sleep(PAUSE);
                tokio::select! {
                    () = self.core.stop.cancelled() => return,
                    () = pause => {}
                }
            }
            // A full batch has more behind it.
            if received < limits::PAGE_SIZE_MAX {
                let _ = tokio::time::timeout(PACE, self.core.stop.cancelled()).await;
            }
        }
    }

    async fn write(&self, first: u64, leaves: Vec<Vec<u8>>) -> Result<(), AuditUnavailable> {
        self.core.audit.append_cluster(first, leaves).await?.recorded().await?;
        self.publish();
        Ok(())
    }

    fn size(&self) -> u64 {
        self.core.audit.head(LogName::Cluster).map_or(0, |head| head.size)
    }

    fn publish(&self) {
        self.recorded.send_replace(self.size());
    }

    /// Fetches the leaves between what is held and `first` until they are all here or the node stops.
    async fn close_gap(&self, first: u64) -> Result<(), String> {
        while self.size() < first {
            let held = self.size();
            for member in self.core.raft.membership().all.keys() {
                if let Some(leaves) = self.fetch(*member, held, first - held).await
                    && self.write(held, leaves).await.is_ok()
                {
                    break;
                }
            }
            if self.size() == held {
                let pause = tokio::time::sleep(PAUSE);
                tokio::select! {
                    () = self.core.stop.cancelled() => return Err(format!("stopped at leaf {held} of {first}")),
                    () = pause => {}
                }
            }
        }
        Ok(())
    }

    async fn fetch(&self, member: types::NodeId, start_index: u64, count: u64) -> Option<Vec<Vec<u8>>> {
        let count_max = u32::try_from(count.min(limits::PAGE_SIZE_MAX as u64)).ok()?;
        let mut request = tonic::Request::new(FetchLeavesRequest { start_index, count_max });
        request.set_timeout(limits::CALL_TIMEOUT.to_std());
        let answer = self.core.member(member).ok()?.fetch_leaves(request).await.ok()?.into_inner();
        (!answer.leaves.is_empty()).then_some(answer.leaves)
    }
}
