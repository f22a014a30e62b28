//! `ClusterService`, what is done with members that there are: leadership handed over, a node drained before it stops
//! (docs/spec/membership.md).

use std::sync::Arc;

use audit::Detail;
use proto::cluster::v1 as wire;
use types::{Action, NodeId, Reason, Refusal, limits};

use super::cluster::hello;
use crate::core::{Core, StateView, no_leader};
use crate::node::Node;
use crate::request::authn::Caller;
use crate::request::query::{self, Consistency, Query};
use crate::request::relay::Relayed;
use crate::request::target::Target;

impl Relayed for wire::TransferLeaderRequest {
    fn members(&self, core: &Core) -> Vec<NodeId> {
        core.raft.leader().into_iter().collect()
    }
}

impl Query for wire::TransferLeaderRequest {
    const ACTION: Action = Action::TransferLeader;
    /// The leader that hands over is the one that knows.
    const CONSISTENCY: Consistency = Consistency::Local;
    const UNDER_LEASE: bool = false;
    type Answer = wire::TransferLeaderResponse;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::TransferLeaderResponse, Detail), Refusal> {
        let core = desk.core;
        let leader = core.raft.leader().ok_or_else(no_leader)?;
        let to = (self.node != 0).then_some(NodeId(self.node));
        // A retry of a request that was carried out, or a caller whose knowledge is old.
        let done = to == Some(leader) || (self.from != 0 && NodeId(self.from) != leader);
        let leader = if done { leader } else { hand_over(desk.node, core, to).await? };
        let detail = Detail::new().count("leader", leader.0);
        Ok((wire::TransferLeaderResponse { leader: leader.0 }, detail))
    }
}

/// Hands leadership to that voter, or to the one that lacks the least, and waits until it leads. Before anything is moved
/// the other must have answered: an heir that is down would cost an election.
pub(crate) async fn hand_over(node: &Node, core: &Core, to: Option<NodeId>) -> Result<NodeId, Refusal> {
    if !core.leads() {
        return Err(no_leader());
    }
    let refused = |text: String| Refusal::new(Reason::PreconditionFailed, text);
    let heirs = core.raft.successors();
    let wanted = match to {
        Some(to) if core.state().node(to).is_none() => return Err(Refusal::not_found("node", &to)),
        Some(to) if !core.raft.membership().is_voter(to) => {
            return Err(refused(format!("{to} is a learner: promote it first, `chancery cluster promote {}`", to.0)));
        }
        Some(to) => vec![to],
        None => heirs,
    };
    if wanted.is_empty() {
        return Err(refused("there is no other voter to lead".to_owned()));
    }
    let mut why = no_leader();
    for heir in wanted {
        match hello(node, core, heir).await {
            Some(found) if found.sealed => why = refused(format!("{heir} is sealed, so it cannot lead")),
            Some(found) if found.draining => why = refused(format!("{heir} is draining, so it is not to lead")),
            None => why = refused(format!("{heir} cannot be reached, so it cannot lead")),
            Some(_) => {
                let moved = core.raft.transfer_leader(heir, limits::CALL_TIMEOUT.to_std()).await;
                return moved.map(|()| heir).map_err(|error| {
                    Refusal::new(Reason::NoQuorum, format!("leadership was not handed over: {error}"))
                });
            }
        }
    }
    Err(why)
}

impl Relayed for wire::DrainNodeRequest {
    fn members(&self, core: &Core) -> Vec<NodeId> {
        core.state().node(NodeId(self.node)).map(|_| NodeId(self.node)).into_iter().collect()
    }
}

impl Query for wire::DrainNodeRequest {
    const ACTION: Action = Action::DrainNode;
    const CONSISTENCY: Consistency = Consistency::Local;
    const UNDER_LEASE: bool = false;
    type Answer = wire::DrainNodeResponse;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::DrainNodeResponse, Detail), Refusal> {
        let (node, core, id) = (desk.node, desk.core, NodeId(self.node));
        if id != core.node {
            // It came here because nobody of that number could be asked.
            return Err(match core.state().node(id) {
                None => Refusal::not_found("node", &id),
                Some(_) => Refusal::new(Reason::NoQuorum, format!("{id} cannot be reached: it has no callers")),
            });
        }
        if self.undo {
            node.take_back();
            core.raft.let_campaign(true);
        } else {
            drain(node, core).await?;
        }
        let leader = core.raft.leader().map_or(0, |leader| leader.0);
        let detail = Detail::new().text("node", &id.to_string()).count("undo", u64::from(self.undo));
        Ok((wire::DrainNodeResponse { leader }, detail))
    }
}

/// Moves leadership away, then sends clients elsewhere: in that order, for a node without callers must not be left with the
/// lead.
async fn drain(node: &Arc<Node>, core: &Core) -> Result<(), Refusal> {
    let members = core.raft.membership();
    if members.is_voter(core.node) && members.voters.len() == 1 {
        let text = "this node is the only voter, so its callers have nowhere to go: just stop it";
        return Err(Refusal::new(Reason::PreconditionFailed, text));
    }
    // Before the hand-over, or it might be elected again right after.
    core.raft.let_campaign(false);
    if core.leads()
        && let Err(refusal) = hand_over(node, core, None).await
    {
        core.raft.let_campaign(true);
        return Err(refusal);
    }
    node.drain();
    tracing::info!("this node is drained: clients are sent elsewhere until it stops");
    Ok(())
}
