//! The seals of a node: what stands between its disk and the root key (docs/spec/seal.md).
//!
//! Each seal gives the private half of a key pair back, from a short secret that the node does not keep, or keeps
//! elsewhere. `seal.json` holds what is sealed for the public halves: the root key, once per epoch. It lies beside the Raft
//! log and not in it, for the log is sealed under that same root.

mod desk;
mod file;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod hex;
mod passphrase;
mod pkcs11;
mod record;
mod shamir;
mod shares;
mod slot;
mod token;

pub(crate) use desk::{Addition, SealDesk};
pub(crate) use record::{Opened, SealRecord, Slot};
pub use shamir::new_shares;
pub(crate) use shamir::{Quorum, draw};
pub(crate) use shares::Shares;
pub(crate) use slot::{Offer, Place};

use types::ClusterId;

use crate::config::SealKind;
use crate::folder::{Folder, FolderError};
use crate::root::Root;
use slot::Parameters;

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
    /// The settings name no token.
    #[error("this node has no token for a pkcs11 seal: name one under `[seal.pkcs11]` in its configuration")]
    NoToken,
    /// The token cannot be used.
    #[error(transparent)]
    Token(#[from] token::TokenError),
    /// Shares for a seal that has none.
    #[error("this node's seal takes no shares")]
    NoShares,
    /// A seal of shares, and none of its kind to take part in.
    #[error("the members have no shamir seal to take part in: start this node with another seal")]
    NoQuorum,
    /// A node without a seal opens nowhere.
    #[error("this is the node's last seal: add another before it is dropped, `chancery seal add`")]
    LastSlot,
    /// There has never been such a seal here.
    #[error("this node has no seal {0}: `chancery seal status` lists those that it has")]
    NoSlot(u32),
    /// There can be one only.
    #[error("this node has a file seal already")]
    SecondFile,
    /// A root key is on its way.
    #[error(
        "root key {0} is on its way, and which seals open it has been decided: wait until it is active \
         (`chancery seal status`), or give it up (`chancery seal rekey --cancel`)"
    )]
    Staged(u32),
    /// The root keys changed while the seal was made.
    #[error("the root key is just being replaced: ask again in a moment")]
    Changing,
    /// As many as there may be.
    #[error("a node has at most {} seals: drop one first, `chancery seal drop`", types::limits::SEAL_SLOTS_MAX)]
    TooMany,
    /// The log is not past the older ones yet.
    #[error(
        "this node still holds the root keys of {} epochs that its log is not past",
        types::limits::ROOT_EPOCHS_MAX
    )]
    TooManyEpochs,
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

/// A seal to be made.
pub(crate) enum NewSeal<'a> {
    /// A key file beside the data.
    File,
    /// A passphrase.
    Passphrase(&'a [u8]),
    /// The public half of a key that was split.
    Quorum(Quorum),
    /// A key in the token that the settings name.
    Pkcs11,
}

impl NewSeal<'_> {
    fn draw(self, place: Place<'_>) -> Result<Parameters, SealError> {
        Ok(match self {
            NewSeal::File => Parameters::File(file::FileSeal::draw(place.folder)?),
            NewSeal::Passphrase(words) => Parameters::Passphrase(passphrase::PassphraseSeal::draw(words)?),
            NewSeal::Quorum(quorum) => Parameters::Shamir { quorum },
            NewSeal::Pkcs11 => Parameters::Pkcs11(pkcs11::Pkcs11Seal::draw(place)?),
        })
    }
}

/// Seals a node's first root key for its disk.
///
/// # Errors
/// When the seal needs what it was not given, or the disk refuses.
pub(crate) fn seal(place: Place<'_>, with: NewSeal<'_>, root: &Root) -> Result<(), SealError> {
    let mut record = SealRecord::new(place.cluster);
    record.add(with.draw(place)?, [root], None)?;
    place.folder.write_json(SEAL_FILE, &record)?;
    Ok(())
}

/// Whether that seal would take that passphrase, before anything is asked of anybody for it.
///
/// # Errors
/// When the passphrase is missing or too short.
pub(crate) fn check_passphrase(kind: SealKind, passphrase: &[u8]) -> Result<(), SealError> {
    match kind {
        SealKind::File | SealKind::Shamir | SealKind::Pkcs11 => Ok(()),
        SealKind::Passphrase => passphrase::check(passphrase),
    }
}

/// Opens the root keys of this node's disk.
///
/// # Errors
/// [`SealError::DoesNotOpen`] for a wrong passphrase as for a damaged file: they cannot be told apart.
pub(crate) fn unseal(record: &SealRecord, place: Place<'_>, offer: Offer<'_>) -> Result<Opened, SealError> {
    if record.cluster() != place.cluster {
        return Err(SealError::OtherCluster { found: record.cluster(), expected: place.cluster });
    }
    let asks_for_nothing = record.has("file") || record.has("pkcs11");
    if matches!(offer, Offer::Nothing) && !asks_for_nothing && record.has("passphrase") {
        return Err(SealError::PassphraseMissing);
    }
    record.open(place, offer)
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

    fn place(folder: &Folder) -> Place<'_> {
        Place { folder, cluster: CLUSTER, token: None }
    }

    fn sealed(with: NewSeal<'_>) -> (tempfile::TempDir, Folder, Root) {
        let temporary = crate::folder::tests::temporary();
        let folder = Folder::open(temporary.path()).expect("opens");
        let root = Root::draw(1).expect("locks");
        seal(place(&folder), with, &root).expect("seals");
        (temporary, folder, root)
    }

    fn open(folder: &Folder, offer: Offer<'_>) -> Result<[u8; 32], SealError> {
        let record = read(folder).expect("reads").expect("is there");
        let opened = unseal(&record, place(folder), offer)?;
        Ok(*opened.roots.last().expect("a root").dangerous_bytes())
    }

    #[test]
    fn each_seal_gives_back_the_root_key() {
        let words = &b"correct horse battery"[..];
        let (_temporary, folder, root) = sealed(NewSeal::File);
        assert_eq!(open(&folder, Offer::Nothing).expect("opens"), *root.dangerous_bytes());
        let (_temporary, folder, root) = sealed(NewSeal::Passphrase(words));
        assert_eq!(open(&folder, Offer::Passphrase(words)).expect("opens"), *root.dangerous_bytes());
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
        assert_eq!(open(&folder, Offer::Private(&key)).expect("opens"), *root.dangerous_bytes());
        let other = crypto::entropy::secret::<32>();
        for offer in [Offer::Private(&other), Offer::Nothing, Offer::Passphrase(b"correct horse battery")] {
            assert!(matches!(open(&folder, offer), Err(SealError::DoesNotOpen)));
        }
    }

    #[test]
    fn a_wrong_passphrase_a_missing_one_and_another_cluster_are_refused() {
        let (_temporary, folder, _root) = sealed(NewSeal::Passphrase(b"correct horse battery"));
        assert!(matches!(open(&folder, Offer::Passphrase(b"correct horse batterz")), Err(SealError::DoesNotOpen)));
        assert!(matches!(open(&folder, Offer::Nothing), Err(SealError::PassphraseMissing)));
        let record = read(&folder).expect("reads").expect("is there");
        let elsewhere = Place { cluster: ClusterId([4; 16]), ..place(&folder) };
        let refused = unseal(&record, elsewhere, Offer::Passphrase(b"correct horse battery")).map(drop);
        assert!(matches!(refused, Err(SealError::OtherCluster { .. })));
    }

    #[test]
    fn the_root_key_is_in_no_file() {
        let (temporary, _folder, root) = sealed(NewSeal::File);
        for file in std::fs::read_dir(temporary.path()).expect("lists") {
            let bytes = std::fs::read(file.expect("a file").path()).expect("reads");
            assert!(!bytes.windows(32).any(|window| window == root.dangerous_bytes()));
            let text = String::from_utf8_lossy(&bytes).to_lowercase();
            assert!(!text.contains(&::hex::encode(root.dangerous_bytes())));
        }
    }

    #[test]
    fn a_short_passphrase_seals_nothing() {
        let temporary = crate::folder::tests::temporary();
        let folder = Folder::open(temporary.path()).expect("opens");
        let root = Root::draw(1).expect("locks");
        let refused = seal(place(&folder), NewSeal::Passphrase(b"short"), &root);
        assert!(matches!(refused, Err(SealError::PassphraseTooShort)));
        assert!(read(&folder).expect("reads").is_none());
    }
}
