//! The seal: what stands between a node's disk and the root key (docs/spec/seal.md).
//!
//! A [`Seal`] turns a short secret that the node does not keep, or keeps elsewhere, into a wrapping key. `seal.json`
//! holds what that key has wrapped: the root key, once per epoch. It lies beside the Raft log and not in it, for the
//! log is sealed under that same root.

mod file;
mod passphrase;
mod record;
mod shamir;
mod shares;

pub(crate) use record::SealRecord;
pub(crate) use shamir::{Quorum, draw};
pub(crate) use shares::Shares;

use crypto::{LockedSecret, Secret};
use types::ClusterId;

use crate::config::SealKind;
use crate::folder::{Folder, FolderError};
use record::{Parameters, SlotKey};

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
    /// A share that was brought is not one of this seal's.
    #[error(transparent)]
    Share(#[from] shamir::ShareRefused),
    /// Shares for a seal that has none.
    #[error("this node's seal takes no shares")]
    NoShares,
    /// A seal of shares, and none of its kind to take part in.
    #[error("the members have no shamir seal to take part in: start this node with another seal")]
    NoQuorum,
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

/// What a root key is sealed with.
pub(crate) enum NewSeal<'a> {
    /// A key file beside the data.
    File,
    /// A passphrase.
    Passphrase(&'a [u8]),
    /// The public half of a key that was split.
    Quorum(Quorum),
}

/// What opens a seal.
#[derive(Clone, Copy)]
pub(crate) enum Offer<'a> {
    /// A passphrase; empty for a seal that asks for nothing.
    Passphrase(&'a [u8]),
    /// The key that enough shares gave.
    Private(&'a Secret<32>),
}

/// Wraps a root key for this node's disk.
///
/// # Errors
/// When the seal needs what it was not given, or the disk refuses.
pub(crate) fn seal(
    folder: &Folder,
    with: NewSeal<'_>,
    cluster: ClusterId,
    root: &LockedSecret,
) -> Result<(), SealError> {
    let record = match with {
        NewSeal::File => {
            let (parameters, key) = file::draw(folder)?;
            SealRecord::wrap(cluster, parameters, &key, root)
        }
        NewSeal::Passphrase(words) => {
            let (parameters, key) = passphrase::draw(words)?;
            SealRecord::wrap(cluster, parameters, &key, root)
        }
        NewSeal::Quorum(quorum) => SealRecord::for_quorum(cluster, quorum, root),
    };
    folder.write_json(SEAL_FILE, &record)?;
    Ok(())
}

/// Whether that seal would take that passphrase, before anything is asked of anybody for it.
///
/// # Errors
/// When the passphrase is missing or too short.
pub(crate) fn check_passphrase(kind: SealKind, passphrase: &[u8]) -> Result<(), SealError> {
    match kind {
        SealKind::File | SealKind::Shamir => Ok(()),
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
    offer: Offer<'_>,
    cluster: ClusterId,
) -> Result<LockedSecret, SealError> {
    if record.cluster != cluster {
        return Err(SealError::OtherCluster { found: record.cluster, expected: cluster });
    }
    record.open(|parameters| {
        Ok(match (parameters, offer) {
            (Parameters::File, Offer::Passphrase(_)) => Some(SlotKey::Wrapping(file::read(folder)?)),
            (Parameters::Passphrase { argon2id }, Offer::Passphrase(words)) => {
                Some(SlotKey::Wrapping(passphrase::derive(words, argon2id)?))
            }
            (Parameters::Shamir { .. }, Offer::Private(key)) => Some(SlotKey::Private(key)),
            _ => None,
        })
    })
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

    fn sealed(with: NewSeal<'_>) -> (tempfile::TempDir, Folder, LockedSecret) {
        let temporary = crate::folder::tests::temporary();
        let folder = Folder::open(temporary.path()).expect("opens");
        let root = crypto::entropy::locked().expect("locks");
        seal(&folder, with, CLUSTER, &root).expect("seals");
        (temporary, folder, root)
    }

    #[test]
    fn each_seal_gives_back_the_root_key() {
        let words = &b"correct horse battery"[..];
        for (with, passphrase) in [(NewSeal::File, &b""[..]), (NewSeal::Passphrase(words), words)] {
            let (_temporary, folder, root) = sealed(with);
            let record = read(&folder).expect("reads").expect("is there");
            let opened = unseal(&folder, &record, Offer::Passphrase(passphrase), CLUSTER).expect("opens");
            assert_eq!(opened.expose(), root.expose());
        }
    }

    #[test]
    fn enough_shares_give_back_the_root_key_and_nothing_else_does() {
        let (quorum, texts) = draw(CLUSTER, 2, 3).expect("draws");
        let (_temporary, folder, root) = sealed(NewSeal::Quorum(quorum));
        let record = read(&folder).expect("reads").expect("is there");
        let quorum = record.quorum().expect("has shares");
        let share = |at: usize| {
            let text = std::str::from_utf8(texts[at].expose()).expect("text");
            quorum.recognise(CLUSTER, text).expect("is known")
        };
        let key = quorum.combine(&[share(2), share(0)]).expect("combines");
        let opened = unseal(&folder, &record, Offer::Private(&key), CLUSTER).expect("opens");
        assert_eq!(opened.expose(), root.expose());
        let other = crypto::entropy::secret::<32>();
        for offer in [Offer::Private(&other), Offer::Passphrase(b""), Offer::Passphrase(b"correct horse battery")] {
            assert!(matches!(unseal(&folder, &record, offer, CLUSTER), Err(SealError::DoesNotOpen)));
        }
    }

    #[test]
    fn a_wrong_passphrase_a_missing_one_and_another_cluster_are_refused() {
        let (_temporary, folder, _root) = sealed(NewSeal::Passphrase(b"correct horse battery"));
        let record = read(&folder).expect("reads").expect("is there");
        let open =
            |passphrase: &[u8], cluster| unseal(&folder, &record, Offer::Passphrase(passphrase), cluster).map(drop);
        assert!(matches!(open(b"correct horse batterz", CLUSTER), Err(SealError::DoesNotOpen)));
        assert!(matches!(open(b"", CLUSTER), Err(SealError::PassphraseMissing)));
        assert!(matches!(open(b"correct horse battery", ClusterId([4; 16])), Err(SealError::OtherCluster { .. })));
    }

    #[test]
    fn the_root_key_is_in_no_file() {
        let (temporary, _folder, root) = sealed(NewSeal::File);
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
        let refused = seal(&folder, NewSeal::Passphrase(b"short"), CLUSTER, &root);
        assert!(matches!(refused, Err(SealError::PassphraseTooShort)));
        assert!(read(&folder).expect("reads").is_none());
    }
}
