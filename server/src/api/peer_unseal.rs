//! `SealService`, what lets members open one another: the switch, and an admin's word for one voter (`peer_unseal/`).

use std::sync::Arc;

use proto::cluster::v1 as wire;
use state::{Command, Reply};
use types::{Action, NodeId, Reason, Refusal};

use super::cluster::hello;
use super::macros::request_fields;
use crate::core::Core;
use crate::node::Node;
use crate::request::authn::Caller;
use crate::request::mutation::{Desk, Findings, Mutation, NotCarriedOut};
use crate::request::target::Target;
use crate::wire::time;

impl Mutation for wire::SetPeerUnsealRequest {
    const ACTION: Action = Action::SetPeerUnseal;
    type Answer = wire::SetPeerUnsealResponse;
    request_fields!();

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    fn command(&self, _desk: &Desk<'_>) -> Result<Command, Refusal> {
        Ok(Command::SetPeerUnseal { on: self.on })
    }

    fn answer(&self, desk: &Desk<'_>, _reply: &Reply) -> Result<wire::SetPeerUnsealResponse, Refusal> {
        Ok(wire::SetPeerUnsealResponse { on: desk.state.peer_unseal().is_some_and(|row| row.on) })
    }
}

impl Mutation for wire::ApproveUnsealRequest {
    const ACTION: Action = Action::ApproveUnseal;
    type Answer = wire::ApproveUnsealResponse;
    request_fields!();

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    /// Only the members can say who is open; state cannot know. One that answers elsewhere than at its address, or does not answer
    /// in time, is not seen.
    async fn prepare(&self, node: &Arc<Node>, core: &Core) -> Result<Findings, NotCarriedOut> {
        let id = NodeId(self.node);
        if hello(node, core, id).await.is_some_and(|found| !found.sealed && found.node == self.node) {
            let text = format!("{id} is open: nobody needs to let it in");
            return Err(NotCarriedOut::Answered(Refusal::new(Reason::PreconditionFailed, text)));
        }
        Ok(Findings::default())
    }

    fn command(&self, _desk: &Desk<'_>) -> Result<Command, Refusal> {
        Ok(Command::ApproveUnseal { node: NodeId(self.node) })
    }

    fn answer(&self, desk: &Desk<'_>, _reply: &Reply) -> Result<wire::ApproveUnsealResponse, Refusal> {
        // None when the voter has used it since, which a retry may be told.
        let until = desk.state.peer_unseal().and_then(|row| row.approved.get(&NodeId(self.node)));
        Ok(wire::ApproveUnsealResponse { expire_time: until.and_then(|approval| time::timestamp(approval.until)) })
    }
}

impl Mutation for wire::CancelApprovalRequest {
    const ACTION: Action = Action::CancelApproval;
    type Answer = wire::CancelApprovalResponse;
    request_fields!();

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    fn command(&self, _desk: &Desk<'_>) -> Result<Command, Refusal> {
        Ok(Command::CancelApproval { node: NodeId(self.node) })
    }

    fn answer(&self, _desk: &Desk<'_>, _reply: &Reply) -> Result<wire::CancelApprovalResponse, Refusal> {
        Ok(wire::CancelApprovalResponse {})
    }
}
