//! The desk at which this node's own X.509 authorities lie: keys made here, sealed on this disk, never in the log.
//!
//! A restart finds them again; a lost disk loses them, and the cluster drains what it knew of them. When an authority may
//! sign is decided by replicated state alone; the desk only has the keys.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crypto::Secret;
use crypto::sign::P256Signer;
use serde::{Deserialize, Serialize};
use types::{ClusterId, NodeId, SpkiHash};
use zeroize::Zeroize;

use crate::folder::{Folder, FolderError};
use crate::root::Root;

const FILE: &str = "authority.sealed";
/// More than a node can have in the bundle at once.
const KEYS_MAX: usize = 8;

/// The keys of this node's authorities.
pub(crate) struct AuthorityDesk {
    /// The key that it is sealed under, with its epoch.
    sealing: RwLock<(u32, Secret<32>)>,
    aad: Vec<u8>,
    keys: RwLock<BTreeMap<SpkiHash, Arc<P256Signer>>>,
}

/// The desk cannot be opened or kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeskError {
    /// The file does not open: changed, or of another node or cluster.
    #[error("authority.sealed does not open: it was damaged or belongs to another node")]
    Damaged,
    /// The node has as many authorities as it may have.
    #[error("this node holds {KEYS_MAX} authority keys already")]
    Full,
    /// The disk refuses.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// What the file holds, before it is sealed.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// PKCS#8 DER of each key.
    keys: Vec<Vec<u8>>,
}

impl AuthorityDesk {
    /// Reads the keys of earlier starts, sealed under any of these root keys; seals them under the active one if they were
    /// not.
    ///
    /// # Errors
    /// When the file is there and does not open.
    pub(crate) fn open(
        folder: &Folder,
        roots: &[Arc<Root>],
        active: &Root,
        cluster: ClusterId,
        node: NodeId,
    ) -> Result<Self, DeskError> {
        let aad = [b"chancery authority keys v1".as_slice(), &cluster.0, &node.0.to_be_bytes()].concat();
        let stored = match folder.read_private(FILE)? {
            None => None,
            Some(sealed) => {
                let opened = roots.iter().find_map(|root| {
                    let plain = crypto::wrap::unwrap(sealing_key(root).expose(), &aad, &sealed).ok()?;
                    Some((root.epoch, plain))
                });
                let (epoch, plain) = opened.ok_or(DeskError::Damaged)?;
                let stored: Stored = postcard::from_bytes(plain.expose()).map_err(|_| DeskError::Damaged)?;
                Some((epoch, stored))
            }
        };
        let (epoch, keys) = match &stored {
            None => (active.epoch, BTreeMap::new()),
            Some((epoch, stored)) => (*epoch, stored.keys.iter().map(|pkcs8| read(pkcs8)).collect::<Result<_, _>>()?),
        };
        let desk = Self { sealing: RwLock::new((epoch, sealing_key(active))), aad, keys: RwLock::new(keys) };
        desk.seal_under(folder, active)?;
        Ok(desk)
    }

    /// Seals the keys under that root key, on the disk too.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn seal_under(&self, folder: &Folder, root: &Root) -> Result<(), DeskError> {
        let keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let mut sealing = self.sealing.write().unwrap_or_else(PoisonError::into_inner);
        if sealing.0 == root.epoch {
            return Ok(());
        }
        let key = sealing_key(root);
        if !keys.is_empty() {
            store(folder, &keys, &key, &self.aad)?;
        }
        *sealing = (root.epoch, key);
        Ok(())
    }

    /// The signer of that authority, when it is one of this node's.
    #[must_use]
    pub(crate) fn signer(&self, authority: &SpkiHash) -> Option<Arc<P256Signer>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(authority).cloned()
    }

    /// Takes a new key, on the disk before it is used: a published authority without its key could never sign. When the
    /// desk is full, keys that `known` does not name are forgotten; not before, for a certificate whose proposal seemed
    /// lost may still be committed.
    ///
    /// # Errors
    /// When the desk is full or the disk refuses.
    pub(crate) fn add(
        &self,
        folder: &Folder,
        signer: P256Signer,
        known: impl Fn(&SpkiHash) -> bool,
    ) -> Result<SpkiHash, DeskError> {
        let id = ca::spki_hash(&signer.spki_der());
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let mut more = keys.clone();
        if more.len() >= KEYS_MAX {
            more.retain(|key, _| known(key));
        }
        if more.len() >= KEYS_MAX {
            return Err(DeskError::Full);
        }
        more.insert(id, Arc::new(signer));
        store(folder, &more, &self.sealing.read().unwrap_or_else(PoisonError::into_inner).1, &self.aad)?;
        *keys = more;
        Ok(id)
    }
}

fn sealing_key(root: &Root) -> Secret<32> {
    root.derive(&[b"authority"])
}

fn store(
    folder: &Folder,
    keys: &BTreeMap<SpkiHash, Arc<P256Signer>>,
    sealing: &Secret<32>,
    aad: &[u8],
) -> Result<(), DeskError> {
    let keys = keys.values().map(|signer| signer.to_pkcs8().expose().to_vec()).collect();
    let plain = postcard::to_stdvec(&Stored { keys }).map_err(|_| DeskError::Damaged)?;
    let plain = crypto::SecretBytes::from_vec(plain);
    let sealed = crypto::wrap::wrap(sealing.expose(), crypto::entropy::array(), aad, plain.expose());
    folder.write_private(FILE, &sealed.map_err(|_| DeskError::Full)?)?;
    Ok(())
}

impl std::fmt::Debug for AuthorityDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthorityDesk(redacted)")
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.keys.iter_mut().for_each(Zeroize::zeroize);
    }
}

fn read(pkcs8: &[u8]) -> Result<(SpkiHash, Arc<P256Signer>), DeskError> {
    let signer = P256Signer::from_pkcs8(pkcs8).map_err(|_| DeskError::Damaged)?;
    Ok((ca::spki_hash(&signer.spki_der()), Arc::new(signer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_a_restart_and_open_for_nobody_else() {
        let temporary = crate::folder::tests::temporary();
        let folder = Folder::open(temporary.path()).expect("opens");
        let root = |bytes| Arc::new(Root::new(1, &Secret::from_bytes(bytes)).expect("locks"));
        let desk =
            |bytes, node| AuthorityDesk::open(&folder, &[root(bytes)], &root(bytes), ClusterId([1; 16]), NodeId(node));
        let first = desk([7; 32], 1).expect("opens");
        let id = first.add(&folder, P256Signer::generate(), |_| false).expect("keeps");
        let again = desk([7; 32], 1).expect("opens");
        assert!(again.signer(&id).is_some());
        assert!(matches!(desk([8; 32], 1), Err(DeskError::Damaged)));
        assert!(matches!(desk([7; 32], 2), Err(DeskError::Damaged)));
        for _ in 1..KEYS_MAX {
            again.add(&folder, P256Signer::generate(), |_| false).expect("keeps");
        }
        assert!(again.signer(&id).is_some());
        assert!(matches!(again.add(&folder, P256Signer::generate(), |_| true), Err(DeskError::Full)));
        again.add(&folder, P256Signer::generate(), |key| *key == id).expect("makes room");
        let last = desk([7; 32], 1).expect("opens");
        assert!(last.signer(&id).is_some());
        assert_eq!(last.keys.read().expect("no panic").len(), 2);
    }

    #[test]
    fn keys_move_under_the_next_root_key_and_open_wherever_the_move_was_cut_off() {
        let temporary = crate::folder::tests::temporary();
        let folder = Folder::open(temporary.path()).expect("opens");
        let (old, new) = (Arc::new(Root::draw(1).expect("locks")), Arc::new(Root::draw(2).expect("locks")));
        let both = [Arc::clone(&old), Arc::clone(&new)];
        let open =
            |roots: &[Arc<Root>], active| AuthorityDesk::open(&folder, roots, active, ClusterId([1; 16]), NodeId(1));
        let desk = open(&both[..1], &old).expect("opens");
        let id = desk.add(&folder, P256Signer::generate(), |_| false).expect("keeps");
        // Cut off before it was sealed again: the start does it.
        assert!(open(&both, &old).expect("opens").signer(&id).is_some());
        assert!(open(&both, &new).expect("opens").signer(&id).is_some());
        assert!(open(&both[1..], &new).expect("under the new one alone").signer(&id).is_some());
        assert!(matches!(open(&both[..1], &old), Err(DeskError::Damaged)), "not under the old one any more");
        let other = desk.add(&folder, P256Signer::generate(), |_| false).expect("keeps, still under the old one");
        desk.seal_under(&folder, &new).expect("seals");
        assert!(open(&both[1..], &new).expect("opens").signer(&other).is_some());
    }
}
