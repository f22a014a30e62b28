//! The seal: what stands between a node's disk and the root key (docs/spec/seal.md).
//!
//! A [`Seal`] turns a short secret that the node does not keep, or keeps elsewhere, into a wrapping key. `seal.json`
//! holds what that key has wrapped: the root key, once per epoch. It lies beside the Raft log and not in it, for the
//! log is sealed under that same root.

mod file;
mod passphrase;
mod record;

pub(crate) use record::{SealRecord, WrongSeal};

use crypto::LockedSecret;
use types::ClusterId;

use crate::config::SealKind;
use crate::folder::{Folder, FolderError};

/// The file in the data folder.
pub(crate) const SEAL_FILE: &str = "seal.json";

/// Why a node cannot be sealed or unsealed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    /// The passphrase is wrong, or `seal.json` or the key file was changed.
    #[error("the seal does not open: wrong passphrase, or a damaged seal file")]
    DoesNotOpen,
    /// This seal needs a passphrase and none was given.
    #[error("the passphrase seal needs a passphrase")]
    PassphraseMissing,
    /// The passphrase is too short to protect anything.
    #[error("a passphrase needs at least {} characters", passphrase::CHARACTERS_MIN)]
    PassphraseTooShort,
    /// The file is of another cluster.
    #[error("seal.json belongs to cluster {found}, this data folder to {expected}")]
    OtherCluster {
        /// In the file.
        found: ClusterId,
        /// In node.json.
        expected: ClusterId,
    },
    /// No locked memory to be had.
    #[error("cannot lock memory for the root key: {0}")]
    Memory(#[from] crypto::locked::LockError),
    /// The data folder failed.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

impl From<WrongSeal> for SealError {
    fn from(_: WrongSeal) -> Self {
        Self::DoesNotOpen
    }
}

/// Wraps a root key for this node's disk.
///
/// # Errors
/// When the seal needs what it was not given, or the disk refuses.
pub(crate) fn seal(
    folder: &Folder,
    kind: SealKind,
    passphrase: &[u8],
    cluster: ClusterId,
    root: &LockedSecret,
) -> Result<(), SealError> {
    let (parameters, key) = match kind {
        SealKind::File => file::draw(folder)?,
        SealKind::Passphrase => passphrase::draw(passphrase)?,
    };
    let record = SealRecord::wrap(cluster, parameters, &key, root);
    folder.write_json(SEAL_FILE, &record)?;
    Ok(())
}

/// Whether that seal would take that passphrase, before anything is asked of anybody for it.
///
/// # Errors
/// When the passphrase is missing or too short.
pub(crate) fn check_passphrase(kind: SealKind, passphrase: &[u8]) -> Result<(), SealError> {
    match kind {
        SealKind::File => Ok(()),
        SealKind::Passphrase => passphrase::check(passphrase),
    }
}

/// Opens the root key of this node's disk.
///
/// # Errors
/// [`SealError::DoesNotOpen`] for a wrong passphrase as for a damaged file: they cannot be told apart.
pub(crate) fn unseal(
    folder: &Folder,
    record: &SealRecord,
    passphrase: &[u8],
    cluster: ClusterId,
) -> Result<LockedSecret, SealError> {
    if record.cluster != cluster {
        return Err(SealError::OtherCluster { found: record.cluster, expected: cluster });
    }
    let key = match record.parameters {
        record::Parameters::File => file::read(folder)?,
        record::Parameters::Passphrase { ref argon2id } => passphrase::derive(passphrase, argon2id)?,
    };
    record.unwrap(&key)
}

/// What the node has sealed, if it has been.
///
/// # Errors
/// When the file is there and damaged.
pub(crate) fn read(folder: &Folder) -> Result<Option<SealRecord>, SealError> {
    Ok(folder.read_json(SEAL_FILE)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId([3; 16]);

    fn sealed(kind: SealKind, passphrase: &[u8]) -> (tempfile::TempDir, Folder, LockedSecret) {
        let temporary = crate::folder::tests::temporary();
        let folder = Folder::open(temporary.path()).expect("opens");
        let root = crypto::entropy::locked().expect("locks");
        seal(&folder, kind, passphrase, CLUSTER, &root).expect("seals");
        (temporary, folder, root)
    }

    #[test]
    fn each_seal_gives_back_the_root_key() {
        for (kind, passphrase) in [(SealKind::File, &b""[..]), (SealKind::Passphrase, b"correct horse battery")] {
            let (_temporary, folder, root) = sealed(kind, passphrase);
            let record = read(&folder).expect("reads").expect("is there");
            let opened = unseal(&folder, &record, passphrase, CLUSTER).expect("opens");
            assert_eq!(opened.expose(), root.expose());
        }
    }

    #[test]
    fn a_wrong_passphrase_a_missing_one_and_another_cluster_are_refused() {
        let (_temporary, folder, _root) = sealed(SealKind::Passphrase, b"correct horse battery");
        let record = read(&folder).expect("reads").expect("is there");
        let open = |passphrase: &[u8], cluster| unseal(&folder, &record, passphrase, cluster).map(drop);
        assert!(matches!(open(b"correct horse batterz", CLUSTER), Err(SealError::DoesNotOpen)));
        assert!(matches!(open(b"", CLUSTER), Err(SealError::PassphraseMissing)));
        assert!(matches!(open(b"correct horse battery", ClusterId([4; 16])), Err(SealError::OtherCluster { .. })));
    }

    #[test]
    fn the_root_key_is_in_no_file() {
        let (temporary, _folder, root) = sealed(SealKind::File, b"");
        for file in std::fs::read_dir(temporary.path()).expect("lists") {
            let bytes = std::fs::read(file.expect("a file").path()).expect("reads");
            assert!(!bytes.windows(32).any(|window| window == root.expose()));
            let text = String::from_utf8_lossy(&bytes).to_lowercase();
            assert!(!text.contains(&hex::encode(root.expose())));
        }
    }

    #[test]
    fn a_short_passphrase_seals_nothing() {
        let temporary = crate::folder::tests::temporary();
        let folder = Folder::open(temporary.path()).expect("opens");
        let root = crypto::entropy::locked().expect("locks");
        let refused = seal(&folder, SealKind::Passphrase, b"short", CLUSTER, &root);
        assert!(matches!(refused, Err(SealError::PassphraseTooShort)));
        assert!(read(&folder).expect("reads").is_none());
    }
}
