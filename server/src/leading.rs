//! What a leader does for the cluster: members added and promoted, keys rotated on schedule, authorities moved on.
//!
//! Each duty is a question to state, asked again on each tick, so that nothing is lost when a leader dies in between. A
//! change of the membership may wait for a member that is slow to come, so it has a task of its own.

use std::sync::Arc;
use std::time::Duration;

use kms::RotationCause;
use raft::Member;
use state::command::AuthorityStep;
use state::{Command, State};
use types::{NodeId, Reason, Refusal};

use crate::api::next_version;
use crate::core::{Core, own_proposal};

/// How often the questions are asked.
const TICK: Duration = Duration::from_millis(250);
/// Rotations proposed in one tick: a storm must not starve everything else.
const ROTATIONS_PER_TICK: usize = 64;
/// A learner that lacks fewer entries than this has caught up.
const LAG_MAX: u64 = 64;
/// How long one change of the membership may take.
const MEMBERSHIP: Duration = Duration::from_secs(5);

/// The two tasks of one open node; they rest while another node leads.
#[derive(Clone, Debug)]
pub(crate) struct Leading {
    pub(crate) core: Arc<Core>,
}

impl Leading {
    /// Rotations and authorities, until the node closes.
    pub(crate) async fn run_schedules(self) {
        while self.next_tick().await {
            let state = self.core.state();
            self.rotate_due(&state).await;
            self.advance_authorities(&state).await;
        }
    }

    /// Members, until the node closes.
    pub(crate) async fn run_membership(self) {
        while self.next_tick().await {
            self.keep_members(&self.core.state()).await;
        }
    }

    /// Waits for the next tick at which this node leads; false when the node closes.
    async fn next_tick(&self) -> bool {
        loop {
            tokio::select! {
                () = self.core.stop.cancelled() => return false,
                () = tokio::time::sleep(TICK) => {}
            }
            if self.core.leads() && self.core.state().is_formed() {
                return true;
            }
        }
    }

    /// Adds admitted nodes as learners and promotes those that have caught up.
    async fn keep_members(&self, state: &State) {
        let members = self.core.raft.membership();
        if members.changing {
            return;
        }
        for (id, node) in state.nodes() {
            let done = match members.get(id) {
                None => {
                    let member = Member { address: node.info.peer_address.clone(), spki: node.info.spki };
                    self.core.raft.add_learner(id, member, MEMBERSHIP).await
                }
                Some(_) if !members.is_voter(id) && self.has_caught_up(id) => {
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

    fn has_caught_up(&self, id: NodeId) -> bool {
        self.core.raft.status().lag.get(&id).copied().flatten().is_some_and(|lag| lag < LAG_MAX)
    }

    /// Rotates what is due by state time. `apply` refuses a second rotation of the same due time.
    async fn rotate_due(&self, state: &State) {
        for due in state.rotations_due(state.time()).take(ROTATIONS_PER_TICK) {
            let command = next_version(state, &self.core.keyring, due.namespace, due.name, RotationCause::Schedule);
            let proposed = match command {
                Ok(command) => self.core.propose(&own_proposal(self.core.node, command)).await.map_err(Refusal::from),
                Err(refusal) => Err(refusal),
            };
            match proposed.and_then(|applied| applied.reply) {
                Ok(_) => tracing::debug!(key = %due.name, "rotated by schedule"),
                Err(refusal) if refusal.reason == Reason::NotDue => {}
                Err(refusal) => tracing::warn!(key = %due.name, %refusal, "a rotation that is due failed"),
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
