//! What can go wrong with the store: it does not open, it cannot record, it cannot be read.

use std::path::{Path, PathBuf};

use audit::LogName;
use types::{Reason, Refusal};

/// Why the store refuses to open. Each needs a person: the node's evidence is not what it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log ends before the head that Raft holds.
    #[error(
        "audit log `{log}` in `{}` holds {held} records, {anchored} were anchored: records are lost; restore the folder, \
         or remove this node and join under a new id", dir.display()
    )]
    Shorter {
        /// Which log.
        log: LogName,
        /// Its folder.
        dir: PathBuf,
        /// Records that are there.
        held: u64,
        /// Records that the anchored head counts.
        anchored: u64,
    },
    /// The records do not give the root that Raft holds.
    #[error("audit log `{log}` differs from its anchored head of {anchored} records: run `chancery audit verify`")]
    Changed {
        /// Which log.
        log: LogName,
        /// Records that the anchored head counts.
        anchored: u64,
    },
    /// A record that was durable does not verify.
    #[error("audit log `{log}` is damaged at record {index} in `{}`: {why}", file.display())]
    Damaged {
        /// Which log.
        log: LogName,
        /// The first record that does not verify.
        index: u64,
        /// The file it stands in.
        file: PathBuf,
        /// What is wrong there.
        why: &'static str,
    },
    /// A file could not be read or written.
    #[error("audit store: `{}`: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// The record was not made durable, so the answer must not leave.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the audit log `{log}` cannot take a record: {why}")]
pub struct AuditUnavailable {
    /// Which log.
    pub log: LogName,
    /// For the operator's log, not for the caller.
    pub why: String,
}

/// Why records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store does not hold that log.
    #[error("this node does not hold the audit log `{0}`: ask the node it is named for")]
    UnknownLog(LogName),
    /// A stored record does not verify.
    #[error("audit log `{log}` is damaged at record {index}: {why}; run `chancery audit verify`")]
    Damaged {
        /// Which log.
        log: LogName,
        /// The first record that does not verify.
        index: u64,
        /// What is wrong there.
        why: &'static str,
    },
    /// The page token belongs to another query or was changed.
    #[error("the page token does not belong to this search: start again without one")]
    PageToken,
    /// A file could not be read.
    #[error("audit log: `{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The reading task was cut off by shutdown.
    #[error("the audit store is closing")]
    Closing,
}

impl OpenError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

impl ReadError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

impl From<AuditUnavailable> for Refusal {
    /// The caller learns that nothing was answered and why not; the cause stays in the node's own log.
    fn from(_: AuditUnavailable) -> Self {
        Self::new(
            Reason::AuditUnavailable,
            "the node's audit log cannot take a record, so it gives no answer; try another node",
        )
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        let reason = match error {
            ReadError::UnknownLog(_) => Reason::NotFound,
            ReadError::PageToken => Reason::InvalidArgument,
            ReadError::Damaged { .. } | ReadError::Io { .. } | ReadError::Closing => Reason::Internal,
        };
        match error {
            // The path is the operator's business.
            ReadError::Io { .. } => Self::new(reason, "the audit log could not be read; the node's log says why"),
            other => Self::new(reason, other.to_string()),
        }
    }
}
