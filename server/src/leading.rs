//! What a leader does for the cluster: members added and promoted, keys rotated on schedule, authorities moved on.
//!
//! Each duty is a question to state, asked again on each tick, so that nothing is lost when a leader dies in between. A
//! change of the membership may wait for a member that is slow to come, so it has a task of its own.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use raft::{ChangeError, Member, Members};
use state::command::AuthorityStep;
use state::{Command, DestructionDue, Reply, RotationDue, State};
use types::{Reason, Refusal};

use crate::api::{close_audit, draw_for, hand_over, next_version};
use crate::core::{Core, own_proposal};
use crate::node::Node;

/// How often the questions are asked.
const TICK: Duration = Duration::from_millis(250);
/// Rotations that are proposed before the leader looks after its other work: a storm must not starve that.
const ROTATIONS_PER_TICK: usize = 64;
/// Those that wait for the log at the same time.
const ROTATIONS_AT_ONCE: usize = 16;
/// Destructions proposed in one tick.
const DESTRUCTIONS_PER_TICK: usize = 64;
/// How long one change of the membership may take.
const MEMBERSHIP: Duration = Duration::from_secs(5);

/// Whether a new version is made in no time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Making {
    Quick,
    Slow,
}

/// The tasks of one open node; they rest while another node leads.
#[derive(Clone, Debug)]
pub(crate) struct Leading {
    pub(crate) node: Arc<Node>,
    pub(crate) core: Arc<Core>,
}

impl Leading {
    /// Rotations and authorities, until the node closes.
    pub(crate) async fn run_schedules(self) {
        let mut more = false;
        while self.next_turn(if more { Duration::ZERO } else { TICK }).await {
            let state = self.core.state();
            more = self.rotate_due(&state, Making::Quick).await;
            self.destroy_due(&state).await;
            self.advance_authorities(&state).await;
            self.settle_lease().await;
            self.settle_departures().await;
        }
    }

    /// Rotations of keys that take long to make, until the node closes: nothing else waits for them.
    pub(crate) async fn run_slow_rotations(self) {
        while self.next_turn(TICK).await {
            self.rotate_due(&self.core.state(), Making::Slow).await;
        }
    }

    /// Lets go of a longer lease once nobody can hold one: successors need not reckon with it.
    async fn settle_lease(&self) {
        let Some(revision) = self.core.lease_to_settle().await else { return };
        let command = Command::SettleLease { revision };
        let proposed = self.core.propose(&own_proposal(self.core.node, command)).await;
        match proposed.map_err(Refusal::from).and_then(|applied| applied.reply) {
            Ok(_) => tracing::info!("no node can hold a lease of the longer kind any more"),
            Err(refusal) => tracing::debug!(%refusal, "the lease could not be settled now"),
        }
    }

    /// Lets go of removed members once they can hold no lease: successors need not wait for them.
    async fn settle_departures(&self) {
        for node in self.core.departures_to_settle().await {
            let command = Command::SettleDeparture { node };
            let proposed = self.core.propose(&own_proposal(self.core.node, command)).await;
            match proposed.map_err(Refusal::from).and_then(|applied| applied.reply) {
                Ok(_) => tracing::info!(%node, "a removed node can hold no lease any more"),
                Err(refusal) => tracing::debug!(%node, %refusal, "a removed node could not be settled now"),
            }
        }
    }

    /// Members, until the node closes.
    pub(crate) async fn run_membership(self) {
        while self.next_turn(TICK).await {
            self.keep_members(&self.core.state()).await;
        }
    }

    /// Waits for that long, and then for as long as this node does not lead; false when the node closes.
    async fn next_turn(&self, mut pause: Duration) -> bool {
        loop {
            tokio::select! {
                () = self.core.stop.cancelled() => return false,
                () = tokio::time::sleep(std::mem::replace(&mut pause, TICK)) => {}
            }
            if self.core.leads() && self.core.state().is_formed() {
                return true;
            }
        }
    }

    /// Makes Raft's membership what state says: removed nodes go, admitted ones come as learners, and those that are to vote
    /// are promoted once they have caught up.
    async fn keep_members(&self, state: &State) {
        let members = self.core.raft.membership();
        if members.changing {
            self.finish_change().await;
            return;
        }
        if self.let_go(state, &members).await {
            return;
        }
        self.finish_replacements(state, &members).await;
        for (id, node) in state.nodes() {
            let done = match members.get(id) {
                None => {
                    let member = Member { address: node.info.peer_address.clone(), spki: node.info.spki };
                    self.core.raft.add_learner(id, member, MEMBERSHIP).await
                }
                Some(_) if node.votes && !members.is_voter(id) && self.core.raft.has_caught_up(id) => {
                    self.core.raft.promote(id, MEMBERSHIP).await
                }
                Some(_) => continue,
            };
            match done {
                Ok(()) => tracing::info!(node = %id, "the membership was changed"),
                Err(error) => tracing::debug!(node = %id, %error, "the membership could not be changed now"),
            }
            // One change at a time; the next tick asks again.
            return;
        }
    }

    /// Goes on with a change of voters that was left half way, by this leader or an earlier one.
    async fn finish_change(&self) {
        match self.core.raft.finish_change(MEMBERSHIP).await {
            Ok(()) => tracing::info!("a change of the members that was left half way is finished"),
            // This node is not among those who vote afterwards.
            Err(ChangeError::Refused(_)) => {
                self.hand_over("this node is on its way out and nobody takes the lead from it").await
            }
            Err(error) => tracing::warn!(%error, "a change of the members is still half way"),
        }
    }

    async fn hand_over(&self, failed: &str) {
        if let Err(refusal) = hand_over(&self.node, &self.core, None).await {
            tracing::warn!(%refusal, "{failed}");
        }
    }

    /// Takes a removed member out of Raft; true when there was one. Whether it was removed is asked of its key, not of the
    /// table of nodes: a leader whose state is behind its log does not know every member yet.
    async fn let_go(&self, state: &State, members: &Members) -> bool {
        let removed = members.all.iter().find(|(_, member)| state.is_spent(&member.spki)).map(|(id, _)| *id);
        let Some(id) = removed else { return false };
        if id == self.core.node {
            self.hand_over("this node was removed and nobody takes the lead from it").await;
            return true;
        }
        match self.core.raft.remove(id, MEMBERSHIP).await {
            Ok(()) => tracing::info!(node = %id, "a removed node is out of the membership"),
            Err(error) => tracing::warn!(node = %id, %error, "a removed node is still in the membership"),
        }
        true
    }

    /// Removes the members in whose place another was admitted that votes by now. Whoever made that one's token decided it,
    /// whether the old one can still be asked for the end of its audit log or not.
    async fn finish_replacements(&self, state: &State, members: &Members) {
        let voting = state.nodes().filter(|(id, _)| members.is_voter(*id));
        let replaced = voting.filter_map(|(_, node)| node.replaces).find(|old| state.node(*old).is_some());
        let Some(old) = replaced else { return };
        if old == self.core.node {
            // The next leader removes it.
            self.hand_over("this node is to be replaced and nobody takes the lead from it").await;
            return;
        }
        let audit_closed = match close_audit(&self.core, old).await {
            Ok(found) => found.audit_closed,
            Err(why) => {
                tracing::warn!(node = %old, %why, "a node is replaced although the end of its audit log is not known");
                None
            }
        };
        let command =
            Command::RemoveNode { node: old, audit_closed, forced: audit_closed.is_none(), compromised: false };
        let proposed = self.core.propose(&own_proposal(self.core.node, command)).await.map_err(Refusal::from);
        match proposed.and_then(|applied| applied.reply) {
            Ok(_) => tracing::info!(node = %old, "a node that was replaced is removed"),
            Err(refusal) => tracing::warn!(node = %old, %refusal, "a node that was replaced could not be removed"),
        }
    }

    /// Rotates what is due by state time or by use, as much as is done at a time; says whether all of that was made, and more may be due.
    /// `apply` refuses a second rotation for the same reason.
    async fn rotate_due(&self, state: &State, making: Making) -> bool {
        let due = state.rotations_due(state.time()).filter(|due| {
            let key = state.key(due.namespace, due.name);
            key.is_some_and(|key| key.algorithm.is_slow_to_make()) == (making == Making::Slow)
        });
        let due: Vec<_> = due.take(ROTATIONS_PER_TICK).collect();
        let mut rotating = Vec::with_capacity(due.len());
        for due in &due {
            rotating.push(self.rotate_one(state, due));
        }
        // Together, so that they share the syncs of the log.
        let at_once = if making == Making::Slow { 1 } else { ROTATIONS_AT_ONCE };
        let made = futures::stream::iter(rotating).buffer_unordered(at_once).filter(|made| std::future::ready(*made));
        made.count().await == ROTATIONS_PER_TICK
    }

    /// Whether a version was made.
    async fn rotate_one(&self, state: &State, due: &RotationDue<'_>) -> bool {
        if self.core.stop.is_cancelled() || !self.core.leads() {
            return false;
        }
        let rotated = self.rotate(state, due).await;
        match &rotated {
            Ok(_) => {
                self.node.metrics.rotated(due.cause);
                tracing::debug!(key = %due.name, cause = due.cause.as_str(), "rotated by itself");
            }
            Err(refusal) if refusal.reason == Reason::NotDue => {}
            Err(refusal) => tracing::warn!(key = %due.name, %refusal, "a rotation that is due failed"),
        }
        rotated.is_ok()
    }

    async fn rotate(&self, state: &State, due: &RotationDue<'_>) -> Result<Reply, Refusal> {
        let RotationDue { namespace, name, cause, .. } = *due;
        let drawn = draw_for(&self.core, namespace, name).await?;
        let command = next_version(state, &self.core.keyring, (namespace, name), cause, drawn.as_deref())?;
        self.core.propose(&own_proposal(self.core.node, command)).await.map_err(Refusal::from)?.reply
    }

    /// Destroys what has waited for long enough by state time. `apply` judges each again, so a repeat is harmless.
    async fn destroy_due(&self, state: &State) {
        let due: Vec<_> = state.destructions_due(state.time()).take(DESTRUCTIONS_PER_TICK).collect();
        for due in due {
            if self.core.stop.is_cancelled() || !self.core.leads() {
                return;
            }
            let command = match due {
                DestructionDue::Key { namespace, name, version } => {
                    Command::CarryOutDestruction { namespace: namespace.clone(), name: name.clone(), version }
                }
                DestructionDue::Namespace(name) => Command::CarryOutNamespaceDestruction { name: name.clone() },
            };
            let proposed = self.core.propose(&own_proposal(self.core.node, command)).await.map_err(Refusal::from);
            match proposed.and_then(|applied| applied.reply) {
                Ok(_) => tracing::info!(?due, "a waiting period is over: destroyed"),
                Err(refusal) if refusal.reason == Reason::NotDue => {}
                Err(refusal) => tracing::warn!(?due, %refusal, "a destruction that is due failed"),
            }
        }
    }

    /// Moves authorities through their lives, as far as state says that a step is due.
    async fn advance_authorities(&self, state: &State) {
        for (authority, step) in state.authority_steps_due(state.time()) {
            let step = match step {
                ca::Step::Activate => AuthorityStep::Activate,
                ca::Step::Drain => AuthorityStep::Drain,
                ca::Step::Retire => AuthorityStep::Retire,
                // Publishing is the voter's own command, tainting an operator's.
                _ => continue,
            };
            let command = Command::AdvanceAuthority { authority, step };
            let proposed = self.core.propose(&own_proposal(self.core.node, command)).await.map_err(Refusal::from);
            if let Err(refusal) = proposed.and_then(|applied| applied.reply) {
                tracing::debug!(%authority, ?step, %refusal, "an authority's step was refused");
            }
        }
    }
}
