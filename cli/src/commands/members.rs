//! The verbs of `chancery cluster` that do something with a member.

use chancery_client::proto::cluster::v1::{DrainNodeRequest, GetStatusRequest, TransferLeaderRequest};
use serde::Serialize;
use types::NodeId;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::Show;

#[derive(Serialize)]
struct LeaderView {
    leader: u64,
}

impl Show for LeaderView {
    fn text(&self) -> String {
        format!("{} leads", NodeId(self.leader))
    }
}

#[derive(Serialize)]
struct DrainView {
    node: u64,
    draining: bool,
    leader: u64,
}

impl Show for DrainView {
    fn text(&self) -> String {
        let node = NodeId(self.node);
        if self.draining {
            let back = format!("`chancery cluster drain {} --undo`", self.node);
            format!("{node} is drained: callers go to other nodes until it has been restarted, or until {back}")
        } else {
            format!("{node} answers calls again")
        }
    }
}

/// `cluster transfer-leader`.
pub(super) async fn transfer_leader(node: Option<NodeId>, context: &Context) -> Result<(), Failure> {
    let client = context.client().await?;
    let from = match node {
        Some(_) => 0,
        // Without a name the request says from whom, so that a retry does not move the lead on.
        None => client.cluster().status(GetStatusRequest {}).await?.leader,
    };
    let request = TransferLeaderRequest { node: node.map_or(0, |node| node.0), from };
    let answer = client.cluster().transfer_leader(request).await?;
    context.print(&LeaderView { leader: answer.leader })
}

/// `cluster drain`.
pub(super) async fn drain(node: NodeId, undo: bool, context: &Context) -> Result<(), Failure> {
    let request = DrainNodeRequest { node: node.0, undo };
    let answer = context.client().await?.cluster().drain_node(request).await?;
    context.print(&DrainView { node: node.0, draining: !undo, leader: answer.leader })
}
