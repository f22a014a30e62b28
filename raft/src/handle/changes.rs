//! Who is a member and who leads, changed: one change at a time, by the leader, each with a deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::errors::{ChangeMembershipError, ClientWriteError, ForwardReason, RaftError};
use openraft::{ChangeMembers, RaftMetrics};
use tokio::time::Instant;
use types::NodeId;

use crate::error::ChangeError;
use crate::handle::RaftHandle;
use crate::machine::Machine;
use crate::member::Member;
use crate::status::Role;
use crate::type_config::TypeConfig;

/// A learner within this many entries of the leader has caught up.
const CAUGHT_UP_ENTRIES: u64 = 64;
/// How soon a change is tried again that had to wait for another.
const CHANGE_RETRY: Duration = Duration::from_millis(20);

impl<M: Machine> RaftHandle<M> {
    /// Adds a member that receives the log and does not vote; returns when that is committed.
    ///
    /// # Errors
    /// Only the leader can; one change at a time.
    pub async fn add_learner(&self, id: NodeId, member: Member, deadline: Duration) -> Result<(), ChangeError> {
        let change = ChangeMembers::AddNodes(BTreeMap::from([(id.0, member)]));
        self.change(change, Instant::now() + deadline).await
    }

    /// Waits until a learner has caught up and answers, then makes it a voter.
    ///
    /// # Errors
    /// Only the leader can; the learner must be there and catch up in time. Cut off half way, the change stays begun
    /// ([`Members::changing`]): [`RaftHandle::finish_change`].
    pub async fn promote(&self, id: NodeId, deadline: Duration) -> Result<(), ChangeError> {
        let by = Instant::now() + deadline;
        if self.membership().get(id).is_none() {
            return Err(ChangeError::Refused(format!("{id} is not a member; add it as a learner first")));
        }
        // One that has caught up and died would take the quorum with it, and so would one that does not know yet whom to obey.
        while !self.has_caught_up(id) {
            let status = self.status();
            if status.role != Role::Leader {
                return Err(ChangeError::NotLeader { leader: status.leader });
            }
            tokio::time::timeout_at(by, tokio::time::sleep(CHANGE_RETRY)).await.map_err(|_| ChangeError::NoQuorum)?;
        }
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id.0])), by).await
    }

    /// Whether this node leads, and the other lacks little, has read the members as they are now, and answers: it can become a
    /// voter.
    #[must_use]
    pub fn has_caught_up(&self, id: NodeId) -> bool {
        let metrics = self.inner.raft.metrics();
        let metrics = openraft::async_runtime::WatchReceiver::borrow_watched(&metrics);
        let matched = metrics.replication.as_ref().and_then(|all| all.get(&id.0).copied().flatten());
        let matched = matched.map(|place| place.index);
        let members_at = metrics.membership_config.log_id().map(|place| place.index);
        let lacks_little =
            matched.is_some_and(|at| metrics.last_log_index.is_none_or(|last| last <= at + CAUGHT_UP_ENTRIES));
        lacks_little && matched >= members_at && self.answers(id, &metrics)
    }

    /// Whether this node leads and the other has answered it lately.
    #[must_use]
    pub fn hears(&self, id: NodeId) -> bool {
        let metrics = self.inner.raft.metrics();
        let metrics = openraft::async_runtime::WatchReceiver::borrow_watched(&metrics);
        self.answers(id, &metrics)
    }

    fn answers(&self, id: NodeId, metrics: &RaftMetrics<TypeConfig>) -> bool {
        let answered = metrics.heartbeat.as_ref().and_then(|answered| answered.get(&id.0).copied().flatten());
        answered.is_some_and(|at| openraft::Instant::elapsed(&*at) <= self.inner.config.election_max)
    }

    /// Takes the second step of a change of voters whose first was taken: whoever began it may have gone away, or led no
    /// more. Without it the members could not be changed again.
    ///
    /// # Errors
    /// Only the leader can, and only if it votes afterwards: otherwise it hands leadership over first.
    pub async fn finish_change(&self, deadline: Duration) -> Result<(), ChangeError> {
        if !self.membership().changing {
            return Ok(());
        }
        let own = self.inner.config.node;
        let stays = {
            let metrics = self.inner.raft.metrics();
            let metrics = openraft::async_runtime::WatchReceiver::borrow_watched(&metrics);
            let sets = metrics.membership_config.membership().get_joint_config();
            sets.last().is_some_and(|newer| newer.contains(&own.0))
        };
        if !stays {
            return Err(ChangeError::Refused(format!(
                "{own} is on its way out; hand leadership to another voter first"
            )));
        }
        // Nothing more than what is under way: openraft then goes on to the newer of the two sets.
        self.change(ChangeMembers::AddVoterIds(BTreeSet::new()), Instant::now() + deadline).await
    }

    /// Removes a member, voter or learner. Its number must not be given to another node.
    ///
    /// # Errors
    /// Only the leader can, and not itself: it hands leadership over first. The last voter cannot be removed.
    pub async fn remove(&self, id: NodeId, deadline: Duration) -> Result<(), ChangeError> {
        let by = Instant::now() + deadline;
        let status = self.status();
        if status.role == Role::Leader && id == status.node {
            // Between the two steps it would lead without a vote; openraft takes no further change from such a leader.
            return Err(ChangeError::Refused(format!("{id} leads; hand leadership to another voter first")));
        }
        if status.members.is_voter(id) {
            self.change(ChangeMembers::RemoveVoters(BTreeSet::from([id.0])), by).await?;
        }
        self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id.0])), by).await
    }

    /// Hands leadership to another voter and waits until it leads.
    ///
    /// # Errors
    /// Only the leader can; when the other does not take over in time this node may lead on.
    pub async fn transfer_leader(&self, to: NodeId, deadline: Duration) -> Result<(), ChangeError> {
        let status = self.status();
        if status.role != Role::Leader {
            return Err(ChangeError::NotLeader { leader: status.leader });
        }
        if !status.members.is_voter(to) {
            return Err(ChangeError::Refused(format!("{to} does not vote")));
        }
        if to == status.node {
            // openraft would wait for this node to take over from itself, and take no entry while it waits.
            return Ok(());
        }
        self.inner.raft.trigger().transfer_leader(to.0).await.map_err(|error| ChangeError::Fatal(error.to_string()))?;
        self.until(Instant::now() + deadline, |status| status.leader == Some(to)).await?;
        Ok(())
    }

    /// The other voters, those that lack the least first: whom to hand leadership to. Only the leader knows what they
    /// lack; elsewhere there are none.
    #[must_use]
    pub fn successors(&self) -> Vec<NodeId> {
        let status = self.status();
        let lag = |id: &NodeId| status.lag.get(id).copied().flatten();
        let others = status.members.voters.iter().filter(|id| **id != status.node);
        let mut others: Vec<_> = others.filter_map(|id| lag(id).map(|behind| (behind, *id))).collect();
        others.sort_unstable();
        others.into_iter().map(|(_, id)| id).collect()
    }

    /// Changes the members, waiting its turn while an earlier change, or a new leader's first entry, is not committed.
    async fn change(&self, change: ChangeMembers<u64, Member>, by: Instant) -> Result<(), ChangeError> {
        loop {
            let attempt = self.inner.raft.change_membership(change.clone(), true);
            let done = tokio::time::timeout_at(by, attempt).await.map_err(|_| ChangeError::NoQuorum)?;
            let error = match done {
                Ok(response) => {
                    // The status follows a moment later; whoever asks for the members next must find the change.
                    self.until(by, |status| status.applied >= Some(response.log_id.index)).await?;
                    return Ok(());
                }
                Err(RaftError::Fatal(fatal)) => return Err(ChangeError::Fatal(fatal.to_string())),
                Err(RaftError::APIError(error)) => error,
            };
            match error {
                ClientWriteError::ForwardToLeader(to) if to.reason == ForwardReason::LeaseExpired => {}
                ClientWriteError::ForwardToLeader(to) => {
                    return Err(ChangeError::NotLeader { leader: to.leader_id.map(NodeId) });
                }
                ClientWriteError::LogEntryDiscarded(_) => return Err(ChangeError::NoQuorum),
                ClientWriteError::ChangeMembershipError(
                    ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
                ) => {}
                error => return Err(ChangeError::Refused(error.to_string())),
            }
            tokio::time::timeout_at(by, tokio::time::sleep(CHANGE_RETRY)).await.map_err(|_| ChangeError::NoQuorum)?;
        }
    }
}
