//! Why a backup is not what it should be, or could not be made or used.

use std::io;
use std::path::{Path, PathBuf};

use crypto::recipients::NotOpened;
use types::{Refusal, SpkiHash, Time};

/// A backup cannot be read, relied on or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The disk refuses.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No backup of a version that this build knows.
    #[error("`{}` is not a backup of version 1", path.display())]
    NotABackup {
        /// Which file.
        path: PathBuf,
    },
    /// Cut, changed, or signed by somebody else than it says.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// None of the identities is a recipient.
    #[error("none of the identities opens the backup; it is sealed to {}", recipients.join(", "))]
    NoIdentity {
        /// To whom it is sealed.
        recipients: Vec<String>,
    },
    /// It is of another cluster than the one that is pinned.
    #[error("the backup is signed by cluster key {found}, the identity belongs to the cluster of key {pinned}")]
    OtherCluster {
        /// Who signed it.
        found: SpkiHash,
        /// Who was expected.
        pinned: SpkiHash,
    },
    /// A later build made it.
    #[error("the backup is of version {found} of the state machine, this build knows those up to {known}")]
    Newer {
        /// Its version.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// The data folder is in use or not empty.
    #[error("`{}` is not empty: a backup is restored into a folder that is not there yet", path.display())]
    NotEmpty {
        /// Which folder.
        path: PathBuf,
    },
    /// A ledger that says nothing of this cluster.
    #[error("`{}`: {source}", path.display())]
    Ledger {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: audit::LedgerError,
    },
    /// This machine's clock cannot be right.
    #[error("the clock of this machine says {}, which is {why}: state time would go on from it", now.to_rfc3339())]
    Clock {
        /// What it says.
        now: Time,
        /// How it is wrong.
        why: String,
    },
    /// What the settings lack.
    #[error("{0}")]
    Settings(String),
    /// A step of the restore failed.
    #[error("{0}")]
    Failed(String),
}

impl BackupError {
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// An error while the content is read: what is cut or changed shows as one of these.
    pub(super) fn content(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damaged("it ends too early".to_owned()),
            io::ErrorKind::InvalidData | io::ErrorKind::Other => Self::Damaged(source.to_string()),
            _ => Self::Io { path: path.to_owned(), source },
        }
    }

    pub(super) fn not_opened(error: NotOpened, recipients: &[String], path: &Path) -> Self {
        match error {
            NotOpened::NoIdentity => Self::NoIdentity { recipients: recipients.to_vec() },
            NotOpened::Header => Self::Damaged("its body does not begin as a sealed stream does".to_owned()),
            NotOpened::Io(source) => Self::content(path)(source),
        }
    }

    /// Whether the backup is to blame, and not the disk or whoever asks.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::NotABackup { .. } | Self::Damaged(_))
    }
}

impl From<Refusal> for BackupError {
    fn from(refusal: Refusal) -> Self {
        Self::Damaged(refusal.message)
    }
}
