//! `ClusterService`, what changes who is a member: removal, promotion, and the version that all of them run
//! (docs/spec/membership.md).

use std::sync::Arc;

use futures::future::join_all;
use proto::cluster::v1 as wire;
use proto::member::v1::RetireRequest;
use state::{Command, Reply};
use tonic::Request;
use types::{Action, NodeId, Reason, Refusal, limits};

use super::cluster::hello;
use super::macros::request_fields;
use super::members::hand_over;
use crate::core::Core;
use crate::node::Node;
use crate::request::authn::Caller;
use crate::request::mutation::{Desk, Findings, Mutation, NotCarriedOut};
use crate::request::target::Target;

impl Mutation for wire::RemoveNodeRequest {
    const ACTION: Action = Action::RemoveNode;
    type Answer = wire::RemoveNodeResponse;
    request_fields!();

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    async fn prepare(&self, node: &Arc<Node>, core: &Core) -> Result<Findings, NotCarriedOut> {
        let id = NodeId(self.node);
        // What is not there, or is the last voter, `apply` refuses.
        if core.state().node(id).is_none() || core.state().voters().len() < 2 {
            return Ok(Findings::default());
        }
        if id == core.node {
            // The node that leads on takes it from here.
            hand_over(node, core, None).await.map_err(NotCarriedOut::Answered)?;
            return Err(NotCarriedOut::LedByAnother);
        }
        if !self.force {
            check_majority(node, core, id).await.map_err(NotCarriedOut::Answered)?;
        }
        match close_audit(core, id).await {
            Ok(findings) => Ok(findings),
            Err(why) if self.force => {
                tracing::warn!(node = %id, %why, "a node is removed although the end of its audit log is not known");
                Ok(Findings::default())
            }
            Err(why) => {
                let text = format!(
                    "the audit log of {id} cannot be closed ({}): start it and try again, or remove it with --force",
                    why.message
                );
                Err(NotCarriedOut::Answered(Refusal::new(Reason::PreconditionFailed, text)))
            }
        }
    }

    fn command(&self, desk: &Desk<'_>) -> Result<Command, Refusal> {
        let audit_closed = desk.findings.audit_closed;
        Ok(Command::RemoveNode {
            node: NodeId(self.node),
            audit_closed,
            forced: self.force,
            compromised: self.compromised,
        })
    }

    fn answer(&self, _desk: &Desk<'_>, _reply: &Reply) -> Result<wire::RemoveNodeResponse, Refusal> {
        Ok(wire::RemoveNodeResponse {})
    }
}

/// Whether a majority of the voters that remain is up: without one, the removal would be the last change there is.
async fn check_majority(node: &Node, core: &Core, removed: NodeId) -> Result<(), Refusal> {
    let voters = core.raft.membership().voters.clone();
    if !voters.contains(&removed) {
        return Ok(());
    }
    let rest: Vec<NodeId> = voters.into_iter().filter(|id| *id != removed).collect();
    let said = join_all(rest.iter().map(|id| hello(node, core, *id))).await;
    let up = said.iter().flatten().filter(|hello| !hello.sealed).count();
    let needed = rest.len() / 2 + 1;
    if up >= needed {
        return Ok(());
    }
    let text = format!(
        "without {removed} the cluster has {} voters, of which {up} are up and {needed} are needed: \
         bring one back or remove one that is down first; --force removes it all the same",
        rest.len()
    );
    Err(Refusal::new(Reason::PreconditionFailed, text))
}

/// Has a member stop serving and anchor the end of its audit log.
///
/// # Errors
/// When it cannot be asked, or its last report was not taken.
pub(crate) async fn close_audit(core: &Core, id: NodeId) -> Result<Findings, Refusal> {
    let mut request = Request::new(RetireRequest {});
    request.set_timeout(limits::CALL_TIMEOUT.to_std());
    let retired = core.member(id)?.retire(request).await;
    let retired = retired.map_err(|status| {
        let text = if status.message().is_empty() { "it does not answer" } else { status.message() };
        Refusal::new(Reason::NoQuorum, text)
    })?;
    Ok(Findings { audit_closed: Some(retired.into_inner().audit_size), ..Findings::default() })
}

impl Mutation for wire::PromoteNodeRequest {
    const ACTION: Action = Action::PromoteNode;
    type Answer = wire::PromoteNodeResponse;
    request_fields!();

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    fn command(&self, _desk: &Desk<'_>) -> Result<Command, Refusal> {
        Ok(Command::PromoteNode { node: NodeId(self.node) })
    }

    fn answer(&self, _desk: &Desk<'_>, _reply: &Reply) -> Result<wire::PromoteNodeResponse, Refusal> {
        Ok(wire::PromoteNodeResponse {})
    }
}

impl Mutation for wire::UpgradeRequest {
    const ACTION: Action = Action::UpgradeCluster;
    type Answer = wire::UpgradeResponse;
    request_fields!();

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    fn command(&self, desk: &Desk<'_>) -> Result<Command, Refusal> {
        let newest = || {
            desk.state.version_supported().ok_or_else(|| {
                let text = "a member has not said yet which versions it knows: try again in a moment";
                Refusal::new(Reason::PreconditionFailed, text)
            })
        };
        let version = if self.version == 0 { newest()? } else { self.version };
        Ok(Command::RaiseVersion { version })
    }

    fn answer(&self, desk: &Desk<'_>, _reply: &Reply) -> Result<wire::UpgradeResponse, Refusal> {
        Ok(wire::UpgradeResponse { version: desk.state.version() })
    }
}
