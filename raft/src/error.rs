//! What can go wrong, by whose fault and what to do next. Refusals of requests are not here: they are replies.

use std::path::PathBuf;

use types::NodeId;

use crate::envelope::Tampered;

/// A member cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Reading or writing failed.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted, with the path.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The log or the vote goes back behind what the witness has seen, or a file in the middle of the log is damaged.
    /// A voter that forgets may help to lose acknowledged writes, so it does not start.
    #[error("the raft log in `{}` is damaged: {why}; keep the folder for inspection and let this node rejoin under a new id", folder.display())]
    Damaged {
        /// The log folder.
        folder: PathBuf,
        /// What was found and what was expected.
        why: String,
    },
    /// The files belong to another cluster or node, or are sealed under another key.
    #[error("`{}` does not open: {source}; the data folder belongs to another node or cluster, or the storage key is not the one it was written under", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Tampered,
    },
    /// No snapshot is readable although the log below one is gone, and no member gave one.
    #[error("no snapshot in `{}` reaches up to entry {purged}, below which the log is gone, and no member gave one: {why}; start this node again when another member can be reached, or let it rejoin under a new id", folder.display())]
    NoSnapshot {
        /// The snapshot folder.
        folder: PathBuf,
        /// The last entry that the log no longer holds.
        purged: u64,
        /// Why none came from the other members.
        why: String,
    },
    /// The settings contradict each other.
    #[error("raft settings: {0}")]
    Config(String),
    /// The member stopped while it was starting.
    #[error("raft did not start: {0}")]
    Fatal(String),
}

/// An entry was not acknowledged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposeError {
    /// This node does not lead; nothing was proposed. Ask the leader, if one is known.
    #[error("this node does not lead")]
    NotLeader {
        /// The leader that this node knows.
        leader: Option<NodeId>,
    },
    /// Not committed by the deadline; it may still commit. Retry with the same request id.
    #[error("no quorum acknowledged the entry in time; it may still be committed")]
    NoQuorum,
    /// Another leader took over; the entry may or may not be committed. Retry with the same request id.
    #[error("leadership changed before the entry was acknowledged; it may still be committed")]
    Unknown {
        /// The leader that this node knows.
        leader: Option<NodeId>,
    },
    /// The payload is larger than an entry may be; nothing was proposed.
    #[error("an entry of {given} bytes is too large, the most is {max}")]
    TooLarge {
        /// Its length in bytes.
        given: usize,
        /// The most.
        max: usize,
    },
    /// This member has stopped: a write or sync failed, or it was shut down. Nothing more is acknowledged by it.
    #[error("raft has stopped: {0}")]
    Fatal(String),
    /// This member leads and its disk is nearly full; nothing was proposed.
    #[error("the leader's disk has only {free} bytes left; make room there, or wait until another node leads")]
    NoRoom {
        /// Free space in bytes.
        free: u64,
    },
}

/// A linearizable read is not possible now.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// No leader is known, or it cannot be reached.
    #[error("no leader can be reached")]
    NoLeader,
    /// The leader could not confirm that it still leads, or this node did not catch up, in time.
    #[error("no quorum confirmed the read in time")]
    NoQuorum,
    /// This member has stopped.
    #[error("raft has stopped: {0}")]
    Fatal(String),
}

/// The membership was not changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChangeError {
    /// This node does not lead. Ask the leader, if one is known.
    #[error("this node does not lead")]
    NotLeader {
        /// The leader that this node knows.
        leader: Option<NodeId>,
    },
    /// Not done by the deadline; it may still happen.
    #[error("the change was not done in time; it may still happen")]
    NoQuorum,
    /// The change is not possible as the members are: another is under way, or the node is unknown.
    #[error("the members cannot be changed so: {0}")]
    Refused(String),
    /// The disk has no room for what it takes.
    #[error("the disk has no room for another snapshot: {lacks} bytes more have to be free")]
    NoRoom {
        /// How much has to be freed.
        lacks: u64,
    },
    /// This member has stopped.
    #[error("raft has stopped: {0}")]
    Fatal(String),
}

impl OpenError {
    /// An I/O error with what was attempted.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
