//! The verbs of `chancery cluster` that do something with a member.

use std::time::Duration;

use chancery_client::Client;
use chancery_client::proto::cluster::v1::{
    ClusterStatus, DrainNodeRequest, GetStatusRequest, NodeRole, PromoteNodeRequest, RemoveNodeRequest,
    TransferLeaderRequest, UpgradeRequest,
};
use serde::Serialize;
use tokio::time::Instant;
use types::{NodeId, Reason};

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Show, note};

/// How long Raft's membership may take to follow what was decided.
const FOLLOWS: Duration = Duration::from_secs(60);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(200);

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

#[derive(Serialize)]
struct MemberView {
    node: u64,
    /// What it is now: voter or removed.
    is: &'static str,
}

impl Show for MemberView {
    fn text(&self) -> String {
        let node = NodeId(self.node);
        match self.is {
            "voter" => format!("{node} votes"),
            _ => format!("{node} was removed: stop it and delete its data folder, which is of no further use"),
        }
    }
}

#[derive(Serialize)]
struct VersionView {
    state_version: u32,
}

impl Show for VersionView {
    fn text(&self) -> String {
        format!("the state machine is at version {}", self.state_version)
    }
}

/// `cluster promote`.
pub(super) async fn promote(node: NodeId, context: &Context) -> Result<(), Failure> {
    let client = context.client().await?;
    client.cluster().promote_node(PromoteNodeRequest { node: node.0, ..PromoteNodeRequest::default() }).await?;
    let votes = |status: &ClusterStatus| {
        let found = status.nodes.iter().find(|other| other.node == node.0);
        found.is_some_and(|found| matches!(found.role(), NodeRole::Leader | NodeRole::Follower))
    };
    follow(&client, votes, &format!("{node} is to vote and has not caught up yet")).await?;
    context.print(&MemberView { node: node.0, is: "voter" })
}

/// `cluster remove`.
pub(super) async fn remove(node: NodeId, force: bool, compromised: bool, context: &Context) -> Result<(), Failure> {
    let client = context.client().await?;
    let request = RemoveNodeRequest { node: node.0, force, compromised, ..RemoveNodeRequest::default() };
    let fenced = match client.cluster().remove_node(request).await {
        Ok(_) => true,
        // It is removed for good; what is left of its lease is all that it may still serve under.
        Err(error) if error.reason() == Some(Reason::FencePending) => false,
        Err(error) => return Err(error.into()),
    };
    let gone = |status: &ClusterStatus| status.nodes.iter().all(|other| other.node != node.0);
    follow(&client, gone, &format!("{node} was removed and is not out of the membership yet")).await?;
    if compromised {
        note(
            "its authority is tainted, and what it signed is issued again by others; it has had the root key and every key that is \
             not destroyed: `chancery seal rekey`, then rotate what matters",
        );
    }
    let is = if fenced { "removed" } else { "removed; cut off, it may serve until its lease has run out" };
    context.print(&MemberView { node: node.0, is })
}

/// `cluster upgrade`.
pub(super) async fn upgrade(context: &Context) -> Result<(), Failure> {
    let client = context.client().await?;
    let answer = client.cluster().upgrade(UpgradeRequest::default()).await?;
    context.print(&VersionView { state_version: answer.version })
}

/// Waits until the members are what was decided. The removed node's own word does not count: it may be the one that is asked.
async fn follow(client: &Client, done: impl Fn(&ClusterStatus) -> bool, otherwise: &str) -> Result<(), Failure> {
    let by = Instant::now() + FOLLOWS;
    loop {
        let status = client.cluster().status(GetStatusRequest {}).await?;
        if done(&status) {
            return Ok(());
        }
        if Instant::now() >= by {
            return Err(Failure::new(Exit::Unavailable, otherwise.to_owned()).hint("chancery cluster status"));
        }
        tokio::time::sleep(LOOK).await;
    }
}
