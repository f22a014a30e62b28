//! `SealService`, what lets members open one another: the switch, and an admin's word for one voter (`peer_unseal/`).

use proto::cluster::v1 as wire;
use state::{Command, Reply};
use types::{Action, NodeId, Refusal};

use super::macros::request_fields;
use crate::request::authn::Caller;
use crate::request::mutation::{Desk, Mutation};
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

    fn command(&self, _desk: &Desk<'_>) -> Result<Command, Refusal> {
        Ok(Command::ApproveUnseal { node: NodeId(self.node) })
    }

    fn answer(&self, desk: &Desk<'_>, _reply: &Reply) -> Result<wire::ApproveUnsealResponse, Refusal> {
        // None when the voter has used it since, which a retry may be told.
        let until = desk.state.peer_unseal().and_then(|row| row.approved.get(&NodeId(self.node)));
        Ok(wire::ApproveUnsealResponse { expire_time: until.and_then(|until| time::timestamp(*until)) })
    }
}
