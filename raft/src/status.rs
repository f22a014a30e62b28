//! What a member knows of itself and the others, for `cluster status`, metrics and whoever waits for a change.

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft::{RaftMetrics, ServerState};
use types::NodeId;

use crate::member::Members;
use crate::room::Room;
use crate::type_config::{TypeConfig, members_of};

/// What a member is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It receives the log and does not vote.
    Learner,
    /// It votes and follows.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It leads.
    Leader,
    /// It has stopped; [`Status::failure`] says why unless it was asked to.
    Stopped,
}

/// What a member knows at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// What it is doing.
    pub role: Role,
    /// The leader it knows.
    pub leader: Option<NodeId>,
    /// The current term.
    pub term: u64,
    /// The last entry in its log, synced or not.
    pub last_log: Option<u64>,
    /// The last entry it knows to be committed.
    pub committed: Option<u64>,
    /// The last entry it applied.
    pub applied: Option<u64>,
    /// The last entry that its newest snapshot holds.
    pub snapshot: Option<u64>,
    /// The last entry that its log no longer holds.
    pub purged: Option<u64>,
    /// The members, as of the end of its log: a change counts before it is committed (Raft §4.1).
    pub members: Arc<Members>,
    /// On the leader: how many entries each other member is behind, `None` if it was not heard from yet.
    pub lag: BTreeMap<NodeId, Option<u64>>,
    /// How much this member's disk can still store.
    pub room: Room,
    /// Why this member stopped by itself: a failed write or sync, or a bug. It acknowledges nothing any more.
    pub failure: Option<String>,
}

impl Status {
    /// Before openraft has said anything.
    pub(crate) fn initial(node: NodeId, members: Members) -> Self {
        Self {
            node,
            role: Role::Learner,
            leader: None,
            term: 0,
            last_log: None,
            committed: None,
            applied: None,
            snapshot: None,
            purged: None,
            members: Arc::new(members),
            lag: BTreeMap::new(),
            room: Room::Enough,
            failure: None,
        }
    }

    pub(crate) fn from_metrics(metrics: &RaftMetrics<TypeConfig>) -> Self {
        let behind = |matched: u64| metrics.last_log_index.map_or(0, |last| last.saturating_sub(matched));
        let lag = metrics.replication.iter().flatten().filter(|(id, _)| **id != metrics.id);
        Self {
            node: NodeId(metrics.id),
            role: match (&metrics.running_state, metrics.state) {
                (Err(_), _) | (_, ServerState::Shutdown) => Role::Stopped,
                (_, ServerState::Learner) => Role::Learner,
                (_, ServerState::Follower) => Role::Follower,
                (_, ServerState::Candidate) => Role::Candidate,
                (_, ServerState::Leader) => Role::Leader,
            },
            leader: metrics.current_leader.map(NodeId),
            term: metrics.current_term,
            last_log: metrics.last_log_index,
            committed: metrics.local_committed.as_ref().map(|id| id.index),
            applied: metrics.last_applied.as_ref().map(|id| id.index),
            snapshot: metrics.snapshot.as_ref().map(|id| id.index),
            purged: metrics.purged.as_ref().map(|id| id.index),
            members: Arc::new(members_of(metrics.membership_config.membership())),
            lag: lag.map(|(id, matched)| (NodeId(*id), matched.as_ref().map(|id| behind(id.index)))).collect(),
            room: Room::Enough,
            failure: match &metrics.running_state {
                Ok(()) | Err(openraft::errors::Fatal::Stopped) => None,
                Err(error) => Some(error.to_string()),
            },
        }
    }
}
