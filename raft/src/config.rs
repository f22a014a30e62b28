//! A member's settings, with the defaults that were measured (docs/adr/0002-openraft.md).
//!
//! Nothing is read from the environment here: the server parses its configuration and hands this in.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use types::{ClusterId, NodeId, limits};

use crate::room::Watermarks;

/// A member's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster; named on every call and in every sealed record.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeId,
    /// Folder of the log and the snapshots; made if absent.
    pub folder: PathBuf,
    /// The witness file. It belongs beside the node's identity and outside of `folder`, so that a lost folder is
    /// noticed: a voter that forgot its votes must not return under its number.
    pub witness: PathBuf,
    /// Time between two heartbeats.
    pub heartbeat: Duration,
    /// Shortest wait before a follower calls an election.
    pub election_min: Duration,
    /// Longest wait before a follower calls an election; also the leader's lease, so that fail-over takes this plus
    /// a draw between the two.
    pub election_max: Duration,
    /// A snapshot must be sent and installed within this time.
    pub install_snapshot_timeout: Duration,
    /// Log growth in bytes that triggers a snapshot, at least; within a minute of the last one, at least half the size of that.
    pub snapshot_log_bytes_min: u64,
    /// Size in bytes at which a log file is closed and the next begun.
    pub log_chunk_bytes: usize,
    /// How often the witness file follows the log.
    pub witness_interval: Duration,
    /// How long a member whose snapshots are damaged asks the others for one before it gives up.
    pub repair_patience: Duration,
    /// Bounds of the free space on the disk that holds `folder`.
    pub watermarks: Watermarks,
    /// How often that disk is looked at.
    pub room_interval: Duration,
}

/// Largest payload of one entry: the API's largest message, with room for what the leader adds.
pub(crate) const PAYLOAD_BYTES_MAX: usize = limits::MESSAGE_BYTES_MAX + 256 * 1_024;
/// Largest message on the peer port: one batch of entries, which is cut when it passes [`BATCH_BYTES`].
pub(crate) const PEER_MESSAGE_BYTES_MAX: usize = 2 * PAYLOAD_BYTES_MAX;
/// A batch of entries is cut once it has passed this size.
pub(crate) const BATCH_BYTES: usize = limits::MESSAGE_BYTES_MAX / 2;
/// How long a member may take to begin its answer when no openraft timeout applies.
pub(crate) const PEER_CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Entries read from the log at a time for `apply`.
pub(crate) const APPLY_BATCH: u64 = 256;

impl Config {
    /// The defaults, for a member whose data folder is `data`: `raft/` and `raft.witness` inside it.
    #[must_use]
    pub fn new(cluster: ClusterId, node: NodeId, data: &Path) -> Self {
        Self {
            cluster,
            node,
            folder: data.join("raft"),
            witness: data.join("raft.witness"),
            heartbeat: Duration::from_millis(150),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(1_000),
            install_snapshot_timeout: Duration::from_secs(10),
            snapshot_log_bytes_min: limits::SNAPSHOT_LOG_BYTES_MIN,
            log_chunk_bytes: 32 * 1_024 * 1_024,
            witness_interval: Duration::from_secs(1),
            repair_patience: Duration::from_secs(60),
            watermarks: Watermarks {
                low: limits::DISK_LOW_BYTES,
                enough: limits::DISK_ENOUGH_BYTES,
                none: limits::DISK_NONE_BYTES,
            },
            room_interval: limits::DISK_LOOK_INTERVAL.to_std(),
        }
    }

    /// Where the log lives.
    pub(crate) fn log_folder(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Where the snapshots live.
    pub(crate) fn snapshot_folder(&self) -> PathBuf {
        self.folder.join("snapshots")
    }

    /// openraft's settings. Snapshots and purges are ours to trigger (`duties.rs`): openraft knows neither bytes nor
    /// that a snapshot must have been read back before the log below it may go.
    pub(crate) fn openraft(&self) -> Result<Arc<openraft::Config>, openraft::ConfigError> {
        let config = openraft::Config {
            cluster_name: self.cluster.to_hex(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            install_snapshot_timeout: millis(self.install_snapshot_timeout),
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            enable_pre_vote: Some(true),
            enable_leader_restore: Some(false),
            allow_log_reversion: Some(false),
            ..openraft::Config::default()
        };
        Ok(Arc::new(config.validate()?))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
